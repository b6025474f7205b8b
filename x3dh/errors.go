package x3dh

import (
	"errors"

	"github.com/sotto-im/sotto/internal/curve"
)

// Each error says what the caller does next. Test them with [errors.Is]; the
// texts carry no key bytes.
var (
	// ErrMalformed: the bytes are not what they should be. Drop them; if they
	// came from the server as a bundle, fetch it again, once.
	ErrMalformed = errors.New("x3dh: malformed")

	// ErrVersion: a protocol version that this library does not speak. Drop
	// the message; the peer needs an older or a newer client.
	ErrVersion = errors.New("x3dh: unsupported version")

	// ErrInvalidKey: a public key that no honest peer has: not canonical, of
	// low order, or (a base key) with a torsion part. Drop what carried it.
	// Where it is found inside other bytes, ErrMalformed is wrapped as well.
	ErrInvalidKey = curve.ErrInvalidKey

	// ErrAuthentication: a signature does not verify. Do not use the bundle:
	// somebody, most likely the server, replaced a key in it.
	ErrAuthentication = errors.New("x3dh: signature does not verify")

	// ErrPreKey: the prekeys given are not those that the message names. Look
	// them up by the IDs in the message. If they are gone, the sender has to
	// start a session from a fresh bundle.
	ErrPreKey = errors.New("x3dh: not the prekeys that the message needs")

	// ErrPreKeyID: prekey IDs would leave the range 1 to MaxPreKeyID. Start a
	// new identity, or begin again at IDs that were never published.
	ErrPreKeyID = errors.New("x3dh: prekey ID out of range")

	// ErrUninitialized: the caller's bug: a zero or nil value, or an agreement
	// that was used before.
	ErrUninitialized = errors.New("x3dh: use of an uninitialized or spent value")
)
