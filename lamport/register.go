package lamport

import (
	"bytes"
	"cmp"

	"github.com/sotto-im/sotto/internal/wire"
)

// MaxValue is the number of bytes of the largest value of a [Register].
const MaxValue = 4096

// A Register holds one value of one author, such as my reaction to a message, or
// a setting of my account. The last writer among the author's devices wins, by
// stamp and not by clock on the wall. Applying writes is commutative,
// associative and idempotent: devices that have seen the same writes hold the
// same value, in whatever order they came. The zero value is refused by every
// method. SPEC.md §9.7.
//
// A deletion is a write (a tombstone), so that it wins or loses like one. Keep
// tombstones as long as a device may come back with an older write.
type Register struct {
	author [16]byte
	w      Write
}

// A Write sets or deletes the value of a register. Device is the authenticated
// sender.
type Write struct {
	Device  Device
	Stamp   Stamp // 1 to Max, from the author's clock
	Deleted bool
	Value   []byte // at most MaxValue bytes; empty if Deleted
}

// compare orders writes: stamp, device, deletion over value, bytes. The last two
// decide only if a device has used a stamp twice, and then all decide alike.
func (w *Write) compare(o *Write) int {
	deleted := func(w *Write) int {
		if w.Deleted {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(w.Stamp, o.Stamp), cmp.Compare(w.Device.ID, o.Device.ID),
		cmp.Compare(deleted(w), deleted(o)), bytes.Compare(w.Value, o.Value))
}

func (w *Write) valid() bool {
	return w.Device.valid() && w.Stamp != 0 && w.Stamp <= Max && len(w.Value) <= MaxValue &&
		!(w.Deleted && len(w.Value) != 0)
}

// NewRegister makes a register of the author, a user, without a value. It fails
// with [ErrInvalid].
func NewRegister(author [16]byte) (*Register, error) {
	if !validID(author) {
		return nil, ErrInvalid
	}
	return &Register{author: author}, nil
}

// Author is the user whose devices may write.
func (r *Register) Author() [16]byte { return r.author }

// Stamp is that of the current write, 0 if there is none. A device writes over
// what it sees only with a higher one.
func (r *Register) Stamp() Stamp { return r.w.Stamp }

// Value is the current value, and false if it was never set or is deleted. The
// bytes are the register's own: do not change them.
func (r *Register) Value() ([]byte, bool) {
	return r.w.Value, r.w.Stamp != 0 && !r.w.Deleted
}

// Apply takes a write and reports whether it has won. The value is copied. A
// device of another user fails with [ErrAuthor], an invalid write with
// [ErrInvalid], and nothing has changed.
//
// The register has no bound for stamps: a bound by the state of one device would
// refuse on one what another took, and they would never agree. The server's
// bound (Conversation.Submit) holds for all alike.
func (r *Register) Apply(w Write) (won bool, err error) {
	if !validID(r.author) || !w.valid() {
		return false, ErrInvalid
	}
	if w.Device.User != r.author {
		return false, ErrAuthor
	}
	if w.compare(&r.w) <= 0 {
		return false, nil
	}
	w.Value = bytes.Clone(w.Value)
	r.w = w
	return true, nil
}

// Contradicts reports whether w and the current write are of one device and one
// stamp and say different things: the device has told one of them to some and
// the other to others. Apply decides alike everywhere; tell the user.
func (r *Register) Contradicts(w Write) bool {
	return w.Stamp != 0 && w.Stamp == r.w.Stamp && w.Device == r.w.Device && w.compare(&r.w) != 0
}

// Merge takes the write of another replica of the register and reports whether
// it has won. Registers of two authors fail with [ErrConflict].
func (r *Register) Merge(o *Register) (won bool, err error) {
	switch {
	case o == nil || !validID(r.author) || !validID(o.author):
		return false, ErrInvalid
	case r.author != o.author:
		return false, ErrConflict
	case o.w.Stamp == 0:
		return false, nil
	}
	return r.Apply(o.w)
}

// AppendBinary appends the record: the value and at most 44 bytes. It fails with
// [ErrInvalid] for the zero value. SPEC.md §9.9.
func (r *Register) AppendBinary(b []byte) ([]byte, error) {
	if !validID(r.author) {
		return b, ErrInvalid
	}
	b = wire.AppendBytes(append(b, recordRegister), 1, r.author[:])
	if r.w.Stamp == 0 {
		return b, nil
	}
	b = wire.AppendUint(b, 2, uint64(r.w.Device.ID))
	b = wire.AppendUint(b, 3, uint64(r.w.Stamp))
	if r.w.Deleted {
		return wire.AppendUint(b, 4, 1), nil
	}
	if len(r.w.Value) == 0 {
		return b, nil
	}
	return wire.AppendBytes(b, 5, r.w.Value), nil
}

// UnmarshalBinary reads a record; the value is copied. On [ErrMalformed] r is as
// it was.
func (r *Register) UnmarshalBinary(b []byte) error {
	var v Register
	var stamp uint64
	d := record(recordRegister, b)
	for d.Next() {
		switch d.Num() {
		case 1:
			d.Fixed(v.author[:])
		case 2:
			v.w.Device.ID = d.Uint32()
		case 3:
			stamp = d.Uint64()
		case 4:
			v.w.Deleted = d.Bool()
		case 5:
			v.w.Value = d.Bytes()
		default:
			d.Skip()
		}
	}
	if d.Close(1) != nil || !validID(v.author) {
		return ErrMalformed
	}
	if d.Has(2) || d.Has(3) || d.Has(4) || d.Has(5) { // it was written
		v.w.Stamp = Stamp(stamp)
		v.w.Device.User = v.author
		if !v.w.valid() {
			return ErrMalformed
		}
		v.w.Value = bytes.Clone(v.w.Value)
	}
	*r = v
	return nil
}
