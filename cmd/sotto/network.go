package main

import (
	"math/rand/v2"
	"slices"

	"github.com/sotto-im/sotto/ratchet"
)

// A packet is a message under way. All that a server would see of it is here:
// the number is the account's, as a postmark.
type packet struct {
	number   int
	from, to string
	typ      ratchet.Type
	body     []byte
}

// A network takes packets and hands them over, if it likes, when it likes, and
// as often as it likes. That it alters none is not its merit: an altered one
// would be refused.
type network interface {
	send(p packet) fate
	receive(to string) []packet // what has arrived for a device; each once
	wait()                      // until nothing is under way any more
}

// A fate is what the network does with a packet. Time is counted in packets.
type fate struct {
	dropped bool
	delays  []int // of each copy
}

// A badNetwork drops, duplicates and reorders.
type badNetwork struct {
	rng      *rand.Rand
	now      int
	underway []arrival // ascending in due
}

type arrival struct {
	due int
	packet
}

// maxDelay is how long a packet can take. Devices keep the keys of late
// messages for the last ratchet.MaxReceivingChains ratchet keys of the peer.
// Five new ones take ten messages under way in turn, so that nothing that a
// badNetwork delivers is too old to be read.
const maxDelay = 8

func (n *badNetwork) send(p packet) (f fate) {
	n.now++
	if n.rng.IntN(100) < 14 {
		f.dropped = true
		return f
	}
	copies := 1
	if n.rng.IntN(100) < 18 {
		copies = 2
	}
	for range copies {
		delay := 0
		if n.rng.IntN(100) < 35 {
			delay = 1 + n.rng.IntN(maxDelay)
		}
		f.delays = append(f.delays, delay)
		n.underway = append(n.underway, arrival{n.now + delay, p})
	}
	slices.SortStableFunc(n.underway, func(a, b arrival) int { return a.due - b.due })
	return f
}

func (n *badNetwork) receive(to string) (arrived []packet) {
	n.underway = slices.DeleteFunc(n.underway, func(a arrival) bool {
		if a.to != to || a.due > n.now {
			return false
		}
		arrived = append(arrived, a.packet)
		return true
	})
	return arrived
}

func (n *badNetwork) wait() { n.now += maxDelay }
