package envelope

import (
	"bytes"

	"github.com/sotto-im/sotto/internal/wire"
)

// Limits of SPEC.md §8.3 that have no exported name.
const (
	maxNumber = 1<<53 - 1 // stamps, counters, positions, sequence numbers, times: exact in every language
	maxDevice = 1<<31 - 1 // positive as a signed 32-bit integer, too
)

// A Device names one device of one account. It is comparable; its zero value is
// no device, and every function refuses it. SPEC.md §8.1.
type Device struct {
	User [16]byte // the account's opaque identifier, such as a UUID in its 16 bytes
	ID   uint32   // 1 to 2³¹−1, never used twice within an account
}

// Compare orders devices by user and then by number: the order of a recipient
// table. It returns -1, 0 or 1.
func (d Device) Compare(o Device) int {
	if c := bytes.Compare(d.User[:], o.User[:]); c != 0 {
		return c
	}
	switch {
	case d.ID < o.ID:
		return -1
	case d.ID > o.ID:
		return 1
	}
	return 0
}

func (d Device) valid() bool { return validID(d.User) && d.ID != 0 && d.ID <= maxDevice }

// validID refuses the two reserved values of a UUID, which name nothing.
func validID(id [16]byte) bool {
	const all = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
	return id != [16]byte{} && string(id[:]) != all
}

// A Header is what both the sender and the server know of a message. In a frame
// it is a claim; [Unpack] compares it with the copy inside the plaintext. It is
// plain data and comparable; the zero value is refused by every function.
// SPEC.md §8.1.
type Header struct {
	Conversation [16]byte // opaque tag, drawn at random by clients; never derived from users
	ID           [16]byte // message ID, a random UUID in its 16 bytes; unique for the sending device
	Sender       Device
	Stamp        uint64 // Lamport stamp, 1 to 2⁵³−1; 0 exactly if the message is ephemeral
}

func (h *Header) valid(ephemeral bool) bool {
	return validID(h.Conversation) && validID(h.ID) && h.Sender.valid() &&
		h.Stamp <= maxNumber && ephemeral == (h.Stamp == 0)
}

func (h *Header) size() int {
	return 3*wire.SizeBytes(1, 16) + wire.SizeUint(4, uint64(h.Sender.ID)) + sizeNonZero(5, h.Stamp)
}

// append writes h as the sub-message num.
func (h *Header) append(b []byte, num int) []byte {
	b = wire.AppendBytesHeader(b, num, h.size())
	b = wire.AppendBytes(b, 1, h.Conversation[:])
	b = wire.AppendBytes(b, 2, h.ID[:])
	b = wire.AppendBytes(b, 3, h.Sender.User[:])
	b = wire.AppendUint(b, 4, uint64(h.Sender.ID))
	return wire.AppendUintNonZero(b, 5, h.Stamp)
}

// parse reads the bytes of a header sub-message into h, which its caller throws
// away on an error. Values are checked by valid.
func (h *Header) parse(b []byte) error {
	d := wire.DecodeCanonical(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			d.Fixed(h.Conversation[:])
		case 2:
			d.Fixed(h.ID[:])
		case 3:
			d.Fixed(h.Sender.User[:])
		case 4:
			h.Sender.ID = d.Uint32()
		case 5:
			h.Stamp = d.Uint64()
		default:
			d.Skip()
		}
	}
	return d.Close(1, 2, 3, 4)
}
