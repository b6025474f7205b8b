package relay

import (
	"encoding/binary"
	"math"
)

// Stats counts what a user does not see on the screen of this client, and an
// application shows: it is stored with what it counts, in one transaction.
type Stats struct {
	Refused        int // deliveries that did not decrypt, or belonged to another header
	Duplicate      int // messages that came again, by sender and message ID
	Gaps           int // positions that the server has lost
	Restarts       int // mailboxes that were numbered anew, whose server may have lost messages
	Contradictions int // answers that contradict what the server said before
	Unreached      int // users who, the server says, have no devices for a message any more, which goes on to others
}

func (s *Stats) fields() [6]*int {
	return [...]*int{&s.Refused, &s.Duplicate, &s.Gaps, &s.Restarts, &s.Contradictions, &s.Unreached}
}

// Stats returns the counters; zero if the database fails.
func (c *Client) Stats() (s Stats) {
	_ = c.update(func(tx *Tx) error { s = tx.stored(); return nil })
	return s
}

func (tx *Tx) stored() (s Stats) {
	if b := tx.Get("stats"); len(b) == 8*len(s.fields()) {
		for i, v := range s.fields() {
			*v = int(binary.BigEndian.Uint64(b[8*i:]))
		}
	}
	return s
}

// positions is a number of positions as it is counted: a server may claim that
// 2⁵³ are lost, and an int of 32 bits would be negative then.
func positions(n uint64) int { return int(min(n, math.MaxInt32)) }

// count stores what the transaction has counted.
func (tx *Tx) count() {
	if tx.stats == (Stats{}) {
		return
	}
	sum := tx.stored()
	var b []byte
	for i, v := range sum.fields() {
		b = binary.BigEndian.AppendUint64(b, min(uint64(*v)+uint64(*tx.stats.fields()[i]), math.MaxInt32))
	}
	tx.Put("stats", b)
}
