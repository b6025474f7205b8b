package fuzz

import (
	"maps"
	"slices"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
)

// The model of a receiver: numbers, and no keys but public ones. It says what
// has to become of a genuine message.
type receiver struct {
	chains []*chain // oldest first, at most ratchet.MaxReceivingChains
	old    map[ratchetKey]bool
}

type ratchetKey [33]byte

type chain struct {
	key    ratchetKey
	next   uint32
	stored map[uint32]bool
}

// A verdict is what becomes of a genuine message.
type verdict string

const (
	opens     verdict = "opens"                         // in order, or skipping some
	opensNew  verdict = "opens with a DH step"          // its ratchet key is new
	opensLate verdict = "opens with a stored key"       //
	duplicate verdict = "is a duplicate"                //
	discarded verdict = "is of a discarded key"         // one of over 2,000, and answers as a duplicate
	forgotten verdict = "is of a chain that is no more" // older than five: does not authenticate
)

func (v verdict) err() error {
	switch v {
	case duplicate, discarded:
		return ratchet.ErrDuplicate
	case forgotten:
		return ratchet.ErrAuthentication
	}
	return nil
}

func (r *receiver) find(key ratchetKey) *chain {
	for _, c := range r.chains {
		if c.key == key {
			return c
		}
	}
	return nil
}

// judge says what becomes of message n under a ratchet key of the peer.
func (r *receiver) judge(m *message) verdict {
	c := r.find(m.key)
	switch {
	case c == nil && r.old[m.key]:
		return forgotten
	case c == nil:
		return opensNew
	case m.counter >= c.next:
		return opens
	case c.stored[m.counter]:
		return opensLate
	case m.read:
		return duplicate
	default:
		return discarded
	}
}

// read is what a message that opened changes.
func (r *receiver) read(m *message) {
	c := r.find(m.key)
	if c == nil {
		c = r.push(m.key)
	}
	if m.counter < c.next {
		delete(c.stored, m.counter)
		return
	}
	for ; c.next < m.counter; c.next++ {
		c.stored[c.next] = true
	}
	c.next++
	numbers := slices.Sorted(maps.Keys(c.stored))
	for len(c.stored) > ratchet.MaxSkippedKeys { // the lowest go
		delete(c.stored, numbers[0])
		numbers = numbers[1:]
	}
}

func (r *receiver) push(key ratchetKey) *chain {
	if len(r.chains) == ratchet.MaxReceivingChains {
		r.old[r.chains[0].key] = true
		r.chains = r.chains[1:]
	}
	c := &chain{key: key, stored: map[uint32]bool{}}
	r.chains = append(r.chains, c)
	return c
}

// A record is what a stored session says, read without the code under test.
type record struct {
	sending   chainRecord
	receiving []chainRecord
	pending   bool
}

type chainRecord struct {
	key    ratchetKey
	ck     [32]byte
	next   uint32
	stored []uint32 // as they stand there: descending
}

func readRecord(b []byte) (r record, ok bool) {
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 6:
			c, ok := readChain(d.Bytes())
			if r.sending = c; !ok {
				d.Fail()
			}
		case 7:
			c, ok := readChain(d.Repeated())
			if r.receiving = append(r.receiving, c); !ok {
				d.Fail()
			}
		case 9:
			d.Bytes()
			r.pending = true
		default:
			d.Skip()
		}
	}
	return r, d.Close(6) == nil
}

func readChain(b []byte) (c chainRecord, ok bool) {
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			d.Fixed(c.key[:])
		case 3:
			inner := wire.Decode(d.Bytes())
			for inner.Next() {
				switch inner.Num() {
				case 1:
					c.next = inner.Uint32()
				case 2:
					inner.Fixed(c.ck[:])
				default:
					inner.Fail()
				}
			}
			if inner.Close(2) != nil {
				d.Fail()
			}
		case 4:
			var n uint32
			inner := wire.Decode(d.Repeated())
			for inner.Next() {
				if inner.Num() == 1 {
					n = inner.Uint32()
				} else {
					inner.Skip()
				}
			}
			if inner.Close() != nil {
				d.Fail()
			}
			c.stored = append(c.stored, n)
		default:
			d.Skip()
		}
	}
	return c, d.Close(1, 3) == nil
}

// matches reports whether a record holds exactly what the model knows.
func (r *receiver) matches(chains []chainRecord) bool {
	return slices.EqualFunc(r.chains, chains, func(c *chain, rec chainRecord) bool {
		if c.key != rec.key || c.next != rec.next || len(c.stored) != len(rec.stored) ||
			len(rec.stored) > ratchet.MaxSkippedKeys {
			return false
		}
		for i, n := range rec.stored {
			if !c.stored[n] || i > 0 && rec.stored[i-1] <= n {
				return false
			}
		}
		return true
	})
}
