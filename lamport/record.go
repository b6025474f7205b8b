package lamport

import "github.com/sotto-im/sotto/internal/wire"

// A record is one byte for its type and version, and a canonical protobuf
// message, like frames, so that it can gain fields: SPEC.md §9.9. A row that was
// stored in the wrong column is no record.
const (
	recordClock = 0x11 + 0x10*iota // version 1 of each
	recordWindow
	recordConversation
	recordReceipt
	recordRegister
	recordInbox
)

// record starts reading a record of the given kind. Of any other bytes there is
// nothing to read but what fails.
func record(kind byte, b []byte) wire.Decoder {
	if len(b) == 0 || b[0] != kind {
		d := wire.DecodeCanonical(nil)
		d.Fail()
		return d
	}
	return wire.DecodeCanonical(b[1:])
}

// A Device names one device of one account: the user's opaque identifier and the
// device's number in it, 1 to 2³¹−1, never used twice. It has the fields of
// envelope.Device and converts to and from it. The zero value is no device.
// SPEC.md §9.1.
type Device struct {
	User [16]byte
	ID   uint32
}

func (d Device) valid() bool { return validID(d.User) && d.ID != 0 && d.ID < 1<<31 }

// validID refuses the two reserved values of a UUID, as envelope does.
func validID(id [16]byte) bool {
	const all = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
	return id != [16]byte{} && string(id[:]) != all
}
