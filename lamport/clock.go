package lamport

import "github.com/sotto-im/sotto/internal/wire"

// Limits of SPEC.md §9.1 and §9.2.
const (
	// Max is the highest stamp, counter, sequence number and position: 2⁵³−1,
	// the last integer that every language counts exactly.
	Max = 1<<53 - 1

	// MaxLead is how far a stamp may be above the highest one known.
	MaxLead = 1 << 16
)

// A Stamp is a logical time, 1 to [Max]; 0 is before everything. SPEC.md §9.2.
type Stamp uint64

// A Clock is the Lamport clock of one device in one conversation. The zero value
// is ready and stands at 0. SPEC.md §9.2.
//
// Tick when a message is sealed, not when it is written, so that drafts cost
// nothing, and store the record in the transaction that stores the sealed
// message: a clock that is rolled back gives a stamp twice. A device restored
// from a backup gets a new device ID.
type Clock struct{ now Stamp }

// NewClock starts a clock at a known stamp, 0 to [Max]: for a device that joins
// late, told by a device or a member that it trusts in an authenticated message;
// or, lower than before, with the MaxStamp of a server's ClockBound, after
// somebody inflated the clock. It fails with [ErrInvalid].
func NewClock(at Stamp) (Clock, error) {
	if at > Max {
		return Clock{}, ErrInvalid
	}
	return Clock{at}, nil
}

// Now is the highest stamp given or observed; 0 if there is none.
func (c *Clock) Now() Stamp { return c.now }

// Tick moves the clock on by one and returns the stamp for a message. It never
// wraps: at [Max] it fails with [ErrExhausted] and the clock stays.
func (c *Clock) Tick() (Stamp, error) {
	if c.now >= Max {
		return 0, ErrExhausted
	}
	c.now++
	return c.now, nil
}

// Observe merges the stamp of a message that was received and unpacked: the
// clock becomes the higher of the two. A stamp over Now()+[MaxLead] fails with
// [ErrClockBound], one that is 0 or over [Max] with [ErrInvalid], and the clock
// stays. This bound is why one message with a stamp of 2⁵³−1 does not end a
// conversation.
func (c *Clock) Observe(s Stamp) error {
	switch {
	case s == 0 || s > Max:
		return ErrInvalid
	case s > c.now+MaxLead:
		return ErrClockBound
	}
	c.now = max(c.now, s)
	return nil
}

// AppendBinary appends the record of the clock, at most 10 bytes. The error is
// always nil. SPEC.md §9.9.
func (c *Clock) AppendBinary(b []byte) ([]byte, error) {
	return wire.AppendUintNonZero(append(b, recordClock), 1, uint64(c.now)), nil
}

// UnmarshalBinary reads a record. On [ErrMalformed] c is as it was.
func (c *Clock) UnmarshalBinary(b []byte) error {
	var now uint64
	d := record(recordClock, b)
	for d.Next() {
		switch d.Num() {
		case 1:
			now = d.Uint64()
		default:
			d.Skip()
		}
	}
	if d.Close() != nil || now > Max {
		return ErrMalformed
	}
	c.now = Stamp(now)
	return nil
}
