package lamport

import (
	"encoding/binary"
	"math/bits"

	"github.com/sotto-im/sotto/internal/wire"
)

// WindowSize is the number of counters, up to the highest one marked, that a
// [Window] tells apart.
//
// A client must not seal a message whose counter is WindowSize or more above its
// oldest counter without an answer. Then an unmarked counter never falls out of
// the window, and [ErrTooOld] always means: accepted before. SPEC.md §9.4.
const WindowSize = 4096

// A Window remembers which send counters of one device were accepted: the
// highest, and a bit for each of the [WindowSize] up to it. What is below counts
// as accepted. So duplicates are refused for ever in half a KiB, also when the
// receipts are long deleted. The zero value is refused by every method.
// SPEC.md §9.4.
type Window struct {
	device Device
	high   uint64
	ring   [WindowSize / 64]uint64 // bit n % WindowSize: counter n, for those in the window
}

// NewWindow makes the window of a device that has sent nothing. It fails with
// [ErrInvalid].
func NewWindow(d Device) (*Window, error) {
	if !d.valid() {
		return nil, ErrInvalid
	}
	return &Window{device: d}, nil
}

// Device is the device whose counters these are.
func (w *Window) Device() Device { return w.device }

// Check tells whether counter n, 1 to [Max], is new (nil) or was accepted before
// ([ErrTooOld]). It changes nothing: marking belongs to the commit.
func (w *Window) Check(n uint64) error {
	switch {
	case !w.device.valid() || n == 0 || n > Max:
		return ErrInvalid
	case n > w.high:
		return nil
	case n+WindowSize <= w.high || w.ring[n/64%(WindowSize/64)]>>(n%64)&1 == 1:
		return ErrTooOld
	}
	return nil
}

// Mark marks counter n as accepted. Its errors are those of Check, and then
// nothing has changed.
func (w *Window) Mark(n uint64) error {
	if err := w.Check(n); err != nil {
		return err
	}
	w.ring[n/64%(WindowSize/64)] |= 1 << (n % 64)
	old := w.high
	w.high = max(old, n)
	for i := max(old, w.base()) + 1; i < n; i++ { // their places held counters that fall out
		w.ring[i/64%(WindowSize/64)] &^= 1 << (i % 64)
	}
	return nil
}

// base is the highest counter below the window.
func (w *Window) base() uint64 {
	return w.high - min(w.high, WindowSize)
}

// floor is the highest counter up to which everything counts as accepted.
func (w *Window) floor() uint64 {
	n := w.base() + 1
	for n <= w.high {
		ones := uint64(bits.TrailingZeros64(^(w.ring[n/64%(WindowSize/64)] >> (n % 64))))
		n += ones
		if n%64 != 0 || ones == 0 {
			break
		}
	}
	return min(n-1, w.high)
}

// AppendBinary appends the record: about 25 bytes while counters arrive in
// order, 549 at most. It fails with [ErrInvalid] for the zero value. SPEC.md §9.9.
func (w *Window) AppendBinary(b []byte) ([]byte, error) {
	if !w.device.valid() {
		return b, ErrInvalid
	}
	b = append(b, recordWindow)
	b = wire.AppendBytes(b, 1, w.device.User[:])
	b = wire.AppendUint(b, 2, uint64(w.device.ID))
	floor := w.floor()
	b = wire.AppendUintNonZero(b, 3, floor)
	if floor == w.high {
		return b, nil
	}
	// Bit i, from the lowest bit of the first byte, is counter floor+1+i. The
	// first bit is 0 and the last byte is not.
	n := int(w.high-floor+7) / 8
	b = wire.AppendBytesHeader(b, 4, n)
	end := len(b) + n
	for n := floor + 1; n <= w.high; n += 64 {
		b = binary.LittleEndian.AppendUint64(b, w.get(n)&(^uint64(0)>>(64-min(64, w.high-n+1))))
	}
	return b[:end], nil
}

// UnmarshalBinary reads a record. On [ErrMalformed] w is as it was.
func (w *Window) UnmarshalBinary(b []byte) error {
	var v Window
	var floor uint64
	var set []byte
	d := record(recordWindow, b)
	for d.Next() {
		switch d.Num() {
		case 1:
			d.Fixed(v.device.User[:])
		case 2:
			v.device.ID = d.Uint32()
		case 3:
			floor = d.Uint64()
		case 4:
			set = d.Bytes()
		default:
			d.Skip()
		}
	}
	if d.Close(1, 2) != nil || !v.device.valid() || floor > Max || len(set) > WindowSize/8 {
		return ErrMalformed
	}
	v.high = floor
	if n := len(set); n > 0 {
		if set[n-1] == 0 || set[0]&1 == 1 {
			return ErrMalformed // not the shortest form
		}
		v.high = floor + uint64(8*n-bits.LeadingZeros8(set[n-1]))
		if v.high > Max {
			return ErrMalformed
		}
	}
	for i := range v.ring { // all up to floor; places above high do not count
		v.ring[i] = ^uint64(0)
	}
	for n := floor + 1; n <= v.high; n += 64 {
		var word [8]byte
		copy(word[:], set[(n-floor)/8:])
		v.put(n, binary.LittleEndian.Uint64(word[:]), ^uint64(0)>>(64-min(64, v.high-n+1)))
	}
	*w = v
	return nil
}

// get reads the bits of 64 counters from n on.
func (w *Window) get(n uint64) uint64 {
	const words = WindowSize / 64
	at, shift := n/64%words, n%64
	return w.ring[at]>>shift | w.ring[(at+1)%words]<<(64-shift) // a shift by 64 leaves nothing
}

// put writes the bits of mask, which are counters from n on.
func (w *Window) put(n, set, mask uint64) {
	const words = WindowSize / 64
	at, shift := n/64%words, n%64
	w.ring[at] = w.ring[at]&^(mask<<shift) | set<<shift
	at = (at + 1) % words
	w.ring[at] = w.ring[at]&^(mask>>(64-shift)) | set>>(64-shift) // a shift by 64 leaves nothing
}
