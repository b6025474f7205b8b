package ratchet

import (
	"errors"
	"slices"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/x3dh"
)

// macSize is the size of the MAC of a message in bytes. It is the peer's: with
// 8 bytes a forger succeeds once in 2^64 tries, each of which the receiver has
// to see (SPEC.md §5.4).
const macSize = 8

// A Message is an ordinary message as anybody on the way can read it (SPEC.md
// §5.3). It proves nothing: only [Session.Decrypt] does. It is for tools, and
// for callers who look for the session that a message belongs to.
type Message struct {
	Version         byte // the version byte
	RatchetKey      x3dh.PublicKey
	Counter         uint32 // the number of the message under that key, from 0
	PreviousCounter uint32
	Ciphertext, MAC []byte
}

// ParseMessage reads an ordinary message of version 3. Ciphertext and MAC alias
// b. Errors: [ErrMalformed] (with x3dh.ErrInvalidKey if that is why),
// [ErrVersion].
func ParseMessage(b []byte) (*Message, error) {
	m, err := parseMessage(b, sessionVersion)
	if err != nil {
		return nil, err
	}
	return &Message{
		Version:         b[0],
		RatchetKey:      publicKey(encode(m.ratchetKey)),
		Counter:         m.counter,
		PreviousCounter: m.previousCounter,
		Ciphertext:      m.ciphertext,
		MAC:             m.mac,
	}, nil
}

// A message is a parsed SignalMessage. All slices alias the input.
// previousCounter tells what is missing, and makes no keys: a receiver keeps the
// old chain instead (SPEC.md §5.5).
type message struct {
	ratchetKey      curve.PublicKey
	counter         uint32
	previousCounter uint32
	ciphertext      []byte
	body            []byte // what the MAC covers: version byte and protobuf, as received
	mac             []byte
}

// parseMessage reads a SignalMessage of a session version.
func parseMessage(b []byte, version uint32) (m message, err error) {
	if len(b) < 1+macSize {
		return message{}, ErrMalformed
	}
	if uint32(b[0]>>4) != version {
		return message{}, ErrVersion
	}
	m.body, m.mac = b[:len(b)-macSize], b[len(b)-macSize:]
	var keyErr error
	d := wire.Decode(m.body[1:])
	for d.Next() {
		switch d.Num() {
		case 1:
			m.ratchetKey, keyErr = curve.ParsePublicKey(d.Bytes())
		case 2:
			m.counter = d.Uint32()
		case 3:
			m.previousCounter = d.Uint32()
		case 4:
			m.ciphertext = d.Bytes()
		default: // newer peers add fields; the MAC covers them
			d.Skip()
		}
	}
	if d.Close(1, 2, 4) != nil {
		return message{}, ErrMalformed
	}
	if keyErr != nil {
		return message{}, errMalformedKey
	}
	return m, nil
}

var errMalformedKey = errors.Join(ErrMalformed, curve.ErrInvalidKey)

// appendMessage encrypts plaintext under k and appends the SignalMessage to
// dst. plaintext may overlap dst and the memory behind it.
func (s *state) appendMessage(dst, plaintext []byte, k *kdf.MessageKeys) []byte {
	ratchetKey, counter := &s.sending.public, s.sending.ck.index
	padded := cbc.PaddedLen(len(plaintext))
	size := 1 + wire.SizeBytes(1, curve.PublicKeySize) + wire.SizeUint(2, uint64(counter)) +
		wire.SizeUint(3, uint64(s.previousCounter)) + wire.SizeBytes(4, padded) + macSize

	start := len(dst)
	dst = slices.Grow(dst, size)[:start+size]
	msg := dst[start:]

	// The plaintext moves first: the header may overwrite where it came from.
	ciphertext := msg[size-macSize-padded : size-macSize]
	copy(ciphertext, plaintext)
	cbc.Pad(ciphertext, len(plaintext))
	cbc.Encrypt(&k.Cipher, &k.IV, msg[:cbc.BlockSize], ciphertext)

	h := append(msg[:0], s.family.versionByte())
	h = ratchetKey.Append(wire.AppendBytesHeader(h, 1, curve.PublicKeySize))
	h = wire.AppendUint(h, 2, uint64(counter))
	h = wire.AppendUint(h, 3, uint64(s.previousCounter))
	wire.AppendBytesHeader(h, 4, padded)

	body := msg[:size-macSize]
	mac := kdf.MessageMAC(&k.MAC, &s.local, &s.remote, body)
	copy(msg[size-macSize:], mac[:macSize])
	return dst
}
