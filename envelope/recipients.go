package envelope

import (
	"iter"
	"slices"

	"github.com/sotto-im/sotto/internal/wire"
)

// A Recipient is one line of a recipient table. SPEC.md §8.5.
type Recipient struct {
	Device         Device
	RegistrationID uint32 // of the session that sealed the ciphertext; 0 if there is none
	Type           uint8  // the ciphertext's type as ratchet or senderkey gave it, not 0; 0 if the ciphertext is shared
	Ciphertext     []byte // at most MaxCiphertext; empty if the ciphertext is shared
}

// Recipients is a recipient table: up to [MaxRecipients] devices in ascending
// order, none twice. A table that exists is valid; the zero value is the empty
// table. It is immutable, and so safe for concurrent use as long as nobody
// writes to the frame that it was parsed from. SPEC.md §8.5.
type Recipients struct {
	enc    []byte // the elements as they stand in a frame, tags included
	n      int
	sealed int // how many carry a ciphertext
}

// NewRecipients makes a table. The list may be in any order and is neither
// changed nor kept; ciphertexts are copied. It fails with [ErrInvalid] for a
// device that is invalid or listed twice, a ciphertext without a type or a type
// without a ciphertext, and with [ErrTooLarge] for a ciphertext or a table over
// its limit.
func NewRecipients(list ...Recipient) (Recipients, error) {
	if len(list) > MaxRecipients {
		return Recipients{}, ErrTooLarge
	}
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b Recipient) int { return a.Device.Compare(b.Device) })
	size := 0
	for i := range sorted {
		if err := sorted[i].check(); err != nil {
			return Recipients{}, err
		}
		if i > 0 && sorted[i].Device == sorted[i-1].Device {
			return Recipients{}, ErrInvalid
		}
		size += wire.SizeBytes(1, sorted[i].size())
	}
	if size > MaxFrame {
		return Recipients{}, ErrTooLarge
	}
	r := Recipients{enc: make([]byte, 0, size)}
	for i := range sorted {
		r.enc = sorted[i].append(r.enc)
		r.count(&sorted[i])
	}
	return r, nil
}

// Len is the number of devices in the table.
func (r *Recipients) Len() int { return r.n }

// All walks over the table in ascending order of devices. It allocates nothing;
// the ciphertexts are subslices of the table, and so of the frame that it was
// parsed from.
func (r *Recipients) All() iter.Seq[Recipient] {
	return func(yield func(Recipient) bool) {
		d := wire.DecodeCanonical(r.enc)
		for d.Next() {
			var v Recipient
			if v.parse(d.Repeated()) != nil || !yield(v) {
				return // the first does not happen: the table was checked when it was made
			}
		}
	}
}

func (r *Recipients) count(v *Recipient) {
	r.n++
	if v.Type != 0 {
		r.sealed++
	}
}

// append writes the table as the repeated field num, which is below 16 like the
// one that it was encoded for: the tags are of one byte.
func (r *Recipients) append(b []byte, num int) []byte {
	tag := byte(num<<3 | 2)
	if r.n == 0 || r.enc[0] == tag {
		return append(b, r.enc...)
	}
	d := wire.DecodeCanonical(r.enc)
	for d.Next() {
		b = wire.AppendBytes(b, num, d.Repeated())
	}
	return b
}

// A tableScan collects the elements of one repeated field of the body b.
type tableScan struct {
	Recipients
	start, end int
	last       Device
}

// next takes the element that d stands on. Every error of an element is an
// error of the frame.
func (s *tableScan) next(b []byte, d *wire.Decoder) error {
	start := len(b) - d.Unread() - 1 // the tag is one byte
	var v Recipient
	if err := v.parse(d.Repeated()); err != nil {
		return err
	}
	if s.n == MaxRecipients {
		return ErrTooLarge
	}
	if s.n == 0 {
		s.start = start
	} else if s.last.Compare(v.Device) >= 0 {
		return ErrMalformed
	}
	s.last = v.Device
	s.end = len(b) - d.Unread()
	s.count(&v)
	return nil
}

// table is the table that was collected, a subslice of b.
func (s *tableScan) table(b []byte) Recipients {
	if s.n == 0 {
		return Recipients{}
	}
	s.enc = b[s.start:s.end]
	return s.Recipients
}

func (v *Recipient) check() error {
	if len(v.Ciphertext) > MaxCiphertext {
		return ErrTooLarge
	}
	if !v.Device.valid() || (v.Type == 0) != (len(v.Ciphertext) == 0) {
		return ErrInvalid
	}
	return nil
}

func (v *Recipient) size() int {
	n := wire.SizeBytes(1, 16) + wire.SizeUint(2, uint64(v.Device.ID)) +
		sizeNonZero(3, uint64(v.RegistrationID)) + sizeNonZero(4, uint64(v.Type))
	if len(v.Ciphertext) != 0 {
		n += wire.SizeBytes(5, len(v.Ciphertext))
	}
	return n
}

// append writes v as an element of Submit.recipients.
func (v *Recipient) append(b []byte) []byte {
	b = wire.AppendBytesHeader(b, 7, v.size())
	b = wire.AppendBytes(b, 1, v.Device.User[:])
	b = wire.AppendUint(b, 2, uint64(v.Device.ID))
	b = wire.AppendUintNonZero(b, 3, uint64(v.RegistrationID))
	b = wire.AppendUintNonZero(b, 4, uint64(v.Type))
	return appendBytesNonEmpty(b, 5, v.Ciphertext)
}

// parse reads an element. On an error v is undefined, and thrown away.
func (v *Recipient) parse(b []byte) error {
	var typ uint32
	d := wire.DecodeCanonical(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			d.Fixed(v.Device.User[:])
		case 2:
			v.Device.ID = d.Uint32()
		case 3:
			v.RegistrationID = d.Uint32()
		case 4:
			typ = d.Uint32()
		case 5:
			v.Ciphertext = d.Bytes()
		default:
			d.Skip()
		}
	}
	v.Type = uint8(typ)
	if d.Close(1, 2) != nil || uint32(v.Type) != typ {
		return ErrMalformed
	}
	return malformed(v.check())
}
