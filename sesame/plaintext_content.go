package sesame

import (
	"bytes"
	"crypto/subtle"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/x3dh"
)

// A retryRequest is libsignal's DecryptionErrorMessage. It travels in a
// PlaintextContent, which nothing encrypts or authenticates (SPEC.md §10.7):
//
//	c0 ‖ Content {8 DecryptionErrorMessage} ‖ 80
type retryRequest struct {
	ratchetKey x3dh.PublicKey // of the message that did not decrypt; none for a group message
	timestamp  uint64         // of that message
	device     uint32         // that wrote it, of the user that is asked
}

const (
	plaintextBegin = 0xc0 // in place of a version byte
	plaintextEnd   = 0x80 // the padding that Signal's applications put behind a Content
)

// parseRetryRequest reads a PlaintextContent. What it accepts it would write as
// the same bytes: nobody can hide anything beside the request.
func parseRetryRequest(b []byte) (*retryRequest, error) {
	content, begins := bytes.CutPrefix(b, []byte{plaintextBegin})
	content, ends := bytes.CutSuffix(content, []byte{plaintextEnd})
	if !begins || !ends {
		return nil, wire.ErrMalformed
	}
	var message []byte
	d := wire.Decode(content)
	for d.Next() {
		message = d.Bytes()
	}
	if err := d.Close(); err != nil {
		return nil, err
	}
	q := new(retryRequest)
	d = wire.Decode(message)
	for d.Next() {
		switch d.Num() {
		case 1:
			q.ratchetKey, _ = x3dh.ParsePublicKey(d.Bytes())
		case 2:
			q.timestamp = d.Uint64()
		case 3:
			q.device = d.Uint32()
		default:
			d.Fail()
		}
	}
	if err := d.Close(); err != nil {
		return nil, err
	}
	// Field numbers, order, and an invalid key, which is none.
	if subtle.ConstantTimeCompare(b, q.appendPlaintext(nil)) != 1 {
		return nil, wire.ErrMalformed
	}
	return q, nil
}

// appendPlaintext appends the PlaintextContent.
func (q *retryRequest) appendPlaintext(b []byte) []byte {
	var m []byte
	if q.ratchetKey != none {
		m = wire.AppendBytes(m, 1, q.ratchetKey.Bytes())
	}
	m = wire.AppendUint(m, 2, q.timestamp)
	m = wire.AppendUint(m, 3, uint64(q.device))
	return append(wire.AppendBytes(append(b, plaintextBegin), 8, m), plaintextEnd)
}
