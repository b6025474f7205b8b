package x3dh

import (
	"slices"

	"github.com/sotto-im/sotto/internal/wire"
)

// An InitialMessage is a PreKey message: what the initiator of a session sends
// until the first answer, a ratchet message together with all that the other
// side needs to derive the session (SPEC.md §4.5). Nothing in it is
// authenticated before the message inside has been decrypted.
//
// To answer it, look up the prekeys that it names, then call [Respond]. An
// initial message whose session exists already is for that session:
// ratchet.Session.DecryptInitial.
type InitialMessage struct {
	Version         byte // the version byte: 0x34 written by Signal, 0x33 by the WhatsApp family
	RegistrationID  uint32
	SignedPreKeyID  uint32
	OneTimePreKeyID *uint32 // nil: made without a one-time prekey
	BaseKey         PublicKey
	IdentityKey     PublicKey // the sender's, as it claims
	Message         []byte    // the ratchet message
}

// sessionVersion is the version of X3DH sessions, the high nibble of the
// version byte. The low nibble, which tells the family, is not looked at.
const sessionVersion = 3

// ParseInitialMessage reads a PreKey message. Message aliases b. Errors:
// [ErrVersion]; [ErrMalformed], with [ErrInvalidKey] if that is why.
func ParseInitialMessage(b []byte) (*InitialMessage, error) {
	if len(b) == 0 {
		return nil, ErrMalformed
	}
	if b[0]>>4 != sessionVersion {
		return nil, ErrVersion
	}
	m := &InitialMessage{Version: b[0]}
	var baseErr, identityErr error
	d := wire.Decode(b[1:])
	for d.Next() {
		switch d.Num() {
		case 1:
			m.OneTimePreKeyID = new(d.Uint32())
		case 2:
			m.BaseKey.p, baseErr = readKey(&d)
		case 3:
			m.IdentityKey.p, identityErr = readKey(&d)
		case 4:
			m.Message = d.Bytes()
		case 5:
			m.RegistrationID = d.Uint32()
		case 6:
			m.SignedPreKeyID = d.Uint32()
		default: // newer peers add fields
			d.Skip()
		}
	}
	if d.Close(2, 3, 4, 6) != nil {
		return nil, ErrMalformed
	}
	if baseErr != nil || identityErr != nil {
		return nil, malformedKey
	}
	return m, nil
}

// AppendBinary appends the encoding of m to b. A zero or invalid field is
// [ErrUninitialized].
func (m *InitialMessage) AppendBinary(b []byte) ([]byte, error) {
	if m == nil || m.Version>>4 != sessionVersion || !m.BaseKey.valid() || !m.IdentityKey.valid() {
		return b, ErrUninitialized
	}
	b = slices.Grow(b, 128+len(m.Message)) // the fields beside Message take at most 101 bytes
	b = append(b, m.Version)
	if m.OneTimePreKeyID != nil {
		b = wire.AppendUint(b, 1, uint64(*m.OneTimePreKeyID))
	}
	b = appendKey(b, 2, m.BaseKey.p)
	b = appendKey(b, 3, m.IdentityKey.p)
	b = wire.AppendBytes(b, 4, m.Message)
	b = wire.AppendUint(b, 5, uint64(m.RegistrationID))
	return wire.AppendUint(b, 6, uint64(m.SignedPreKeyID)), nil
}
