// Package wire is a strict protobuf codec over protowire: the only place in
// the module that reads a varint.
//
// A protobuf message has many encodings; the usual decoders accept them all
// and take the last of two values. Here every field that is read has exactly
// one accepted encoding, so two programs that read the same bytes read the
// same values. Refused (SPEC.md §2.3): overlong varints, values over the
// field's type, a wrong wire type, a singular field given twice, a missing
// required field, groups, field number 0, and truncation. Fields may stand in
// any order. What to do with an unknown field is the caller's decision.
//
// Reading allocates nothing and follows no claimed length: bytes are subslices
// of the input.
//
// Messages that only our own code writes are read with [DecodeCanonical], which
// accepts exactly one encoding of each message (SPEC.md §8.2).
package wire

import (
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed is the one error of this package. Callers wrap it in their own.
var ErrMalformed = errors.New("wire: malformed protobuf")

// A Decoder walks over the fields of one message. Its use is
//
//	d := wire.Decode(b)
//	for d.Next() {
//		switch d.Num() {
//		case 1:
//			counter = d.Uint32()
//		default:
//			d.Skip()
//		}
//	}
//	err := d.Close(1)
//
// Exactly one reading method is called for each field. After an error Next
// returns false and Close tells.
type Decoder struct {
	rest []byte
	seen uint64 // bit n: field n was read as a singular field
	num  protowire.Number
	typ  protowire.Type
	bad  bool

	canonical bool
}

// maxNum is the highest field number that a known field of ours may have; the
// set of fields seen is one word.
const maxNum = 63

// Decode starts reading the message b, which is not copied.
func Decode(b []byte) Decoder { return Decoder{rest: b} }

// DecodeCanonical starts reading a message that has one encoding only, the one
// that protobuf runtimes write for proto3 without unknown fields: field numbers
// ascend, and a scalar or bytes field with its default value is left out. Skip
// fails, so no unknown field passes. A sub-message, which may be empty, is read
// with Message.
func DecodeCanonical(b []byte) Decoder { return Decoder{rest: b, canonical: true} }

// Next moves to the next field and reports whether there is one.
func (d *Decoder) Next() bool {
	if d.bad || len(d.rest) == 0 {
		return false
	}
	tag, ok := d.uvarint()
	if !ok {
		d.bad = true
		return false
	}
	prev := d.num
	d.num, d.typ = protowire.DecodeTag(tag)
	if !d.num.IsValid() || d.canonical && d.num < prev {
		d.bad = true
	}
	switch d.typ {
	case protowire.VarintType, protowire.Fixed32Type, protowire.Fixed64Type, protowire.BytesType:
	default: // groups (nested without bound) and the two unassigned types
		d.bad = true
	}
	return !d.bad
}

// Num is the number of the current field.
func (d *Decoder) Num() int { return int(d.num) }

// Unread is the number of bytes that have not been read yet.
func (d *Decoder) Unread() int { return len(d.rest) }

// Close reports whether the whole message was well formed and each of the
// required fields was there.
func (d *Decoder) Close(required ...int) error {
	if d.bad || len(d.rest) != 0 {
		return ErrMalformed
	}
	for _, n := range required {
		if !d.Has(n) {
			return ErrMalformed
		}
	}
	return nil
}

// Has reports whether the singular field n has been read.
func (d *Decoder) Has(n int) bool { return d.seen>>n&1 == 1 }

// Uint32 reads a singular uint32.
func (d *Decoder) Uint32() uint32 {
	v := d.Uint64()
	if v > math.MaxUint32 {
		d.bad = true
		return 0
	}
	return uint32(v)
}

// Int32 reads a singular int32. A negative value takes ten bytes, as protobuf
// has it.
func (d *Decoder) Int32() int32 {
	v := int64(d.Uint64())
	if v != int64(int32(v)) {
		d.bad = true
		return 0
	}
	return int32(v)
}

// Uint64 reads a singular uint64.
func (d *Decoder) Uint64() uint64 {
	if !d.singular(protowire.VarintType) {
		return 0
	}
	v, ok := d.uvarint()
	d.bad = d.bad || !ok || d.canonical && v == 0
	return v
}

// Bool reads a singular bool: 0 or 1, where protobuf takes every number above
// as true.
func (d *Decoder) Bool() bool {
	v := d.Uint64()
	d.bad = d.bad || v > 1
	return v == 1
}

// Fixed64 reads a singular fixed64.
func (d *Decoder) Fixed64() uint64 {
	if !d.singular(protowire.Fixed64Type) {
		return 0
	}
	v, n := protowire.ConsumeFixed64(d.rest)
	if n != 8 || d.canonical && v == 0 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// Bytes reads a singular bytes field. The result is a subslice of the input
// without spare capacity, and not nil.
func (d *Decoder) Bytes() []byte {
	b := d.Message()
	if d.canonical && len(b) == 0 {
		d.bad = true
		return nil
	}
	return b
}

// Message reads a singular sub-message: Bytes, except that a canonical message
// may hold an empty one.
func (d *Decoder) Message() []byte {
	if !d.singular(protowire.BytesType) {
		return nil
	}
	return d.bytes()
}

// Fixed reads a singular bytes field of exactly len(dst) bytes into dst. On
// any error dst is left alone.
func (d *Decoder) Fixed(dst []byte) {
	b := d.Bytes()
	if d.bad || len(b) != len(dst) {
		d.bad = true
		return
	}
	copy(dst, b)
}

// Repeated reads one element of a repeated bytes or message field.
func (d *Decoder) Repeated() []byte {
	if d.bad || d.typ != protowire.BytesType {
		d.bad = true
		return nil
	}
	return d.bytes()
}

// Skip passes over a field that the caller does not know. Its encoding has to
// be sound all the same. In a canonical message there is none: Skip fails.
func (d *Decoder) Skip() {
	d.bad = d.bad || d.canonical
	if d.bad {
		return
	}
	switch d.typ {
	case protowire.VarintType:
		_, ok := d.uvarint()
		d.bad = !ok
	case protowire.BytesType:
		d.bytes()
	default:
		n := protowire.ConsumeFieldValue(d.num, d.typ, d.rest)
		if protowire.ParseError(n) != nil {
			d.bad = true
			return
		}
		d.rest = d.rest[n:]
	}
}

// Fail marks the message as malformed: for a value that has the right
// encoding and a wrong meaning.
func (d *Decoder) Fail() { d.bad = true }

// singular checks the type of the current field, and that it is here for the
// first time.
func (d *Decoder) singular(t protowire.Type) bool {
	if d.bad || d.typ != t || d.num > maxNum || d.Has(int(d.num)) {
		d.bad = true
		return false
	}
	d.seen |= 1 << d.num
	return true
}

func (d *Decoder) bytes() []byte {
	n, ok := d.uvarint()
	if !ok || n > uint64(len(d.rest)) {
		d.bad = true
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

// uvarint reads a varint in its shortest form.
func (d *Decoder) uvarint() (uint64, bool) {
	if len(d.rest) > 0 && d.rest[0] < 0x80 { // nearly all of them
		v := uint64(d.rest[0])
		d.rest = d.rest[1:]
		return v, true
	}
	v, n := protowire.ConsumeVarint(d.rest)
	if n != protowire.SizeVarint(v) { // an error is negative
		return 0, false
	}
	d.rest = d.rest[n:]
	return v, true
}
