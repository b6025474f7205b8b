package envelope

import (
	"slices"

	"github.com/sotto-im/sotto/internal/wire"
)

// Limits of SPEC.md §8.3.
const (
	MaxFrame      = 1 << 20  // bytes of a frame, its version byte included
	MaxCiphertext = 96 << 10 // bytes of one ciphertext
	MaxRecipients = 5000     // devices in one recipient table
)

// version is the first byte of every frame that this package writes or reads.
const version = 1

// Kinds of a frame: the field number of the body in envelope.proto.
const (
	kindSubmit = 1 + iota
	kindResult
	kindDeliver
	kindAck
	kindFetch
	kindGap
	kindError
)

// A Message is the content of a frame: *[Submit], *[Result], *[Deliver], *[Ack],
// *[Fetch], *[Gap] or *[Error], and no other type. SPEC.md §8.2.
type Message interface {
	// AppendBinary appends the frame to dst and returns the longer slice. A
	// value that breaks a rule of SPEC.md §8 gives [ErrInvalid] or
	// [ErrTooLarge] and dst as it was. It allocates only to grow dst and keeps
	// no reference to it.
	AppendBinary(dst []byte) ([]byte, error)

	sealed()
}

// A Frame is the room into which frames are parsed. The zero value is ready. Use
// one Frame for a connection: parsing then allocates nothing. It is not safe for
// concurrent use.
type Frame struct {
	submit  Submit
	result  Result
	deliver Deliver
	ack     Ack
	fetch   Fetch
	gap     Gap
	err     Error
}

// Parse reads the one frame that b consists of. It accepts exactly the bytes
// that AppendBinary writes.
//
// The result points into f and is overwritten by the next Parse of f; its
// ciphertexts and recipients are subslices of b. Parse allocates nothing. On an
// error ([ErrMalformed], [ErrVersion], [ErrTooLarge]) f and the values that it
// returned before are as they were. SPEC.md §8.2.
func (f *Frame) Parse(b []byte) (Message, error) {
	switch {
	case len(b) > MaxFrame:
		return nil, ErrTooLarge
	case len(b) == 0:
		return nil, ErrMalformed
	case b[0] != version:
		return nil, ErrVersion
	}
	d := wire.DecodeCanonical(b[1:])
	if !d.Next() {
		return nil, ErrMalformed
	}
	kind := d.Num()
	body := d.Message()
	if d.Close() != nil { // exactly one body
		return nil, ErrMalformed
	}
	var m Message
	var err error
	switch kind {
	case kindSubmit:
		m, err = &f.submit, f.submit.parse(body)
	case kindResult:
		m, err = &f.result, f.result.parse(body)
	case kindDeliver:
		m, err = &f.deliver, f.deliver.parse(body)
	case kindAck:
		m, err = &f.ack, f.ack.parse(body)
	case kindFetch:
		m, err = &f.fetch, f.fetch.parse(body)
	case kindGap:
		m, err = &f.gap, f.gap.parse(body)
	case kindError:
		m, err = &f.err, f.err.parse(body)
	default:
		err = ErrMalformed
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// begin appends what stands before a body of n bytes.
func begin(dst []byte, kind, n int) ([]byte, error) {
	size := 1 + wire.SizeBytes(kind, n)
	if size > MaxFrame {
		return dst, ErrTooLarge
	}
	dst = append(slices.Grow(dst, size), version)
	return wire.AppendBytesHeader(dst, kind, n), nil
}
