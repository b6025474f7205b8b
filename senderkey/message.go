package senderkey

import (
	"slices"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/wire"
)

// A Message is a group message as anybody on the way can read it (SPEC.md
// §11.3). It proves nothing: only [Receiver.Decrypt] does. It is for tools, and
// for callers who look for the receiver that a message is for.
type Message struct {
	Version               byte           // the version byte
	ID                    DistributionID // zero in the WhatsApp family
	ChainID, Iteration    uint32
	Ciphertext, Signature []byte
}

// ParseMessage reads a group message. Ciphertext and Signature alias b. Errors:
// [ErrMalformed], [ErrVersion].
func ParseMessage(b []byte, f Family) (*Message, error) {
	m, err := parseMessage(b, f)
	if err != nil {
		return nil, err
	}
	return &Message{b[0], m.id, m.chainID, m.iteration, m.ciphertext, m.signature}, nil
}

// A message is a parsed SenderKeyMessage. All slices alias the input.
type message struct {
	id                 DistributionID
	chainID, iteration uint32
	ciphertext         []byte
	body               []byte // what is signed: version byte and protobuf, as received
	signature          []byte
}

func parseMessage(b []byte, f Family) (m message, err error) {
	if len(b) < 1+curve.SignatureSize {
		return message{}, ErrMalformed
	}
	if b[0]>>4 != version {
		return message{}, ErrVersion
	}
	n := len(b) - curve.SignatureSize
	m.body, m.signature = b[:n:n], b[n:]
	d := wire.Decode(m.body[1:])
	for d.Next() {
		switch f.number(d.Num()) {
		case 1:
			d.Fixed(m.id[:])
		case 2:
			m.chainID = d.Uint32()
		case 3:
			m.iteration = d.Uint32()
		case 4:
			m.ciphertext = d.Bytes()
		default: // newer peers may add fields; the signature covers them
			d.Skip()
		}
	}
	if !f.complete(&d, 4) {
		return message{}, ErrMalformed
	}
	return m, nil
}

// appendMessage encrypts plaintext under k, signs, and appends the
// SenderKeyMessage to dst. plaintext may overlap dst and the memory behind it.
func (c *chain) appendMessage(dst, plaintext []byte, k *kdf.GroupMessageKeys) []byte {
	f, padded := c.family, cbc.PaddedLen(len(plaintext))
	size := 1 + wire.SizeUint(2, uint64(c.id)) + wire.SizeUint(3, uint64(c.ck.iteration)) +
		wire.SizeBytes(4, padded) + curve.SignatureSize
	if f != WhatsApp {
		size += wire.SizeBytes(1, len(c.distribution))
	}
	start := len(dst)
	dst = slices.Grow(dst, size)[:start+size]
	msg := dst[start:]

	// The plaintext moves first: the header, and the IV, may overwrite where it
	// came from.
	body := msg[:size-curve.SignatureSize]
	ciphertext := body[len(body)-padded:]
	copy(ciphertext, plaintext)
	cbc.Pad(ciphertext, len(plaintext))
	cbc.Encrypt(&k.Cipher, &k.IV, msg[size-curve.SignatureSize:][:cbc.BlockSize], ciphertext)

	h := append(msg[:0], versionByte)
	if f != WhatsApp {
		h = wire.AppendBytes(h, 1, c.distribution[:])
	}
	h = wire.AppendUint(h, f.wireNumber(2), uint64(c.id))
	h = wire.AppendUint(h, f.wireNumber(3), uint64(c.ck.iteration))
	wire.AppendBytesHeader(h, f.wireNumber(4), padded)

	signature := c.signing.Sign(body)
	copy(msg[len(body):], signature[:])
	return dst
}
