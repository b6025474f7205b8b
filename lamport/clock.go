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
type Clock struct {
	now  Stamp
	seen Stamp // the highest that was accepted, as far as is known; not above now
}

// NewClock starts a clock at a known stamp, 0 to [Max]: for a device that joins
// late, told in an authenticated message by a device or a member that it trusts.
// A clock from 0 gets there as well, by [MaxLead] a message. It fails with
// [ErrInvalid].
func NewClock(at Stamp) (Clock, error) {
	if at > Max {
		return Clock{}, ErrInvalid
	}
	return Clock{now: at}, nil
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

// Observe merges the stamp of a message that the server has accepted: one that
// was received and unpacked, or one of this device's own, when it is answered.
// The clock becomes the higher of the two, but moves on by [MaxLead] at most: one
// message with a stamp of 2⁵³−1 does not end a conversation, and a device that is
// far behind catches up with the next ones. A stamp that is 0 or over [Max] fails
// with [ErrInvalid], and the clock stays.
func (c *Clock) Observe(s Stamp) error {
	if s == 0 || s > Max {
		return ErrInvalid
	}
	s = min(s, c.now+MaxLead)
	c.now = max(c.now, s)
	c.seen = max(c.seen, s)
	return nil
}

// Lower takes the answer ClockBound to a message with the stamp refused, and the
// maxStamp that came with it. The clock was too high: it was started with a stamp
// that nobody had sent. It goes back to maxStamp, or to the highest stamp that it
// has observed if that is higher. Give new stamps, in the order of their
// counters, to all messages of the conversation that wait for an answer, in the
// same transaction.
//
// It fails with [ErrOrder] if the server contradicts itself: refused is within
// its bound, or stamps that it had accepted are beyond it. The message has failed
// then. [ErrInvalid] if a stamp is over [Max], or refused is 0. On errors the
// clock stays.
func (c *Clock) Lower(refused, maxStamp Stamp) error {
	if refused == 0 || refused > Max || maxStamp > Max {
		return ErrInvalid
	}
	bound := maxStamp + MaxLead
	if refused <= bound || c.seen >= bound {
		return ErrOrder
	}
	c.now = min(c.now, max(maxStamp, c.seen))
	return nil
}

// AppendBinary appends the record of the clock, at most 19 bytes. The error is
// always nil. SPEC.md §9.9.
func (c *Clock) AppendBinary(b []byte) ([]byte, error) {
	b = wire.AppendUintNonZero(append(b, recordClock), 1, uint64(c.now))
	return wire.AppendUintNonZero(b, 2, uint64(c.seen)), nil
}

// UnmarshalBinary reads a record. On [ErrMalformed] c is as it was.
func (c *Clock) UnmarshalBinary(b []byte) error {
	var now, seen uint64
	d := record(recordClock, b)
	for d.Next() {
		switch d.Num() {
		case 1:
			now = d.Uint64()
		case 2:
			seen = d.Uint64()
		default:
			d.Skip()
		}
	}
	if d.Close() != nil || now > Max || seen > now {
		return ErrMalformed
	}
	*c = Clock{Stamp(now), Stamp(seen)}
	return nil
}
