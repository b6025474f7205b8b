package conformance

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
)

// A step of a schedule is three bytes: what happens, in the low five bits, to which
// account of two, in the highest bit, and whether the second of them is the third of
// all, in bit 5; to which parcel; and how.
type step struct {
	act            action
	who, what, how int
	third          bool
}

// pair is the account of a step, and the other one.
func (s step) pair() (who, with int) {
	pair := [2]int{0, 1}
	if s.third {
		pair[1] = 2
	}
	return pair[s.who], pair[s.who^1]
}

// reader is where a parcel arrives: where it should, or in a step with the third account
// at the one that neither wrote it nor is to read it.
func (s step) reader(p *parcel) int {
	if s.third {
		return 3 - p.from - p.to
	}
	return p.to
}

type action int

const (
	startSession action = iota // with a one-time prekey if bit 0 of how
	startBoth                  // each from the other's bundle
	send                       // how is the size
	deliver
	drop
	duplicate // a copy arrives, and stays under way
	replay    // something of all that was sent arrives
	corrupt   // a copy arrives with one bit flipped: bit what>>5 of byte how/256 of the way
	cut       // a copy arrives that ends there, or has a byte more
	stray     // a copy arrives at its author, or as from a stranger, or as of another type
	flush     // everything arrives, backwards if bit 0 of how
	reload    // the sessions are exported and imported
	reset     // the session is archived
	jump      // a number of messages is written and lost
	turns     // messages there and back
	sessions  // one after the other, each with a message that arrives
	reinstall // an account begins anew, with another identity key
	trust     // the other's identity key is trusted by decree
	distribute
	groupSend
	groupJump
	groupReload
	rotate // a new chain: under a new ID, or in place of the old one
	actions
)

var actionNames = [...]string{
	"start", "both start", "send", "deliver", "drop", "duplicate", "replay", "corrupt", "cut", "stray", "flush", "reload", "reset", "jump",
	"turns", "sessions", "reinstall", "trust", "distribute", "group send", "group jump", "group reload", "rotate",
}

func (a action) String() string { return actionNames[a] }

// damages reports whether what arrives is not what was sent.
func (s step) damages() bool { return s.act == corrupt || s.act == cut }

// steps reads a schedule. At the end everything arrives, and both write.
func steps(b []byte) (s []step) {
	for c := range slices.Chunk(b, 3) {
		if len(c) == 3 {
			s = append(s, step{action(c[0] & 31 % byte(actions)), int(c[0] >> 7), int(c[1]), int(c[2]), c[0]&withThird != 0})
		}
	}
	return append(s, step{act: flush}, step{act: turns, how: 1})
}

// familyOf is the family in which a schedule is played: bit 6 of its first byte.
func familyOf(b []byte) ratchet.Family {
	if len(b) > 0 && b[0]&inWhatsApp != 0 {
		return ratchet.WhatsApp
	}
	return ratchet.Signal
}

const (
	inWhatsApp = 1 << 6
	withThird  = 1 << 5
)

// ofMau is a schedule without what go.mau.fi/libsignal has not: sessions are archived
// by the next one alone.
func ofMau(schedule []step) []step {
	return slices.DeleteFunc(schedule, func(s step) bool { return s.act == reset })
}

// ofGroups is a schedule without what only sessions have, or nothing if no group is left.
func ofGroups(all []step) (s []step) {
	groups := false
	for _, st := range all {
		switch st.act {
		case distribute, groupSend, groupJump, groupReload, rotate:
			groups = true
			s = append(s, st)
		case deliver, drop, duplicate, replay, corrupt, cut, stray, flush:
			s = append(s, st)
		}
	}
	if !groups {
		return nil
	}
	return s
}

// Sizes of plaintexts in bytes, and of jumps, where SPEC.md §5.6 has its limits.
var (
	textSizes = []int{0, 1, 15, 16, 17, 100, 300}
	jumps     = []uint64{1, 2, 10, 100, 500, 1998, 1999, 2000, 2001, 25001, 1<<32 - 3}
)

// act does one step. What has nothing to work on does nothing.
func (c *cast) act(s step) {
	who, with := s.pair()
	other := c.accounts[with]
	switch s.act {
	case startSession:
		c.start(who, with, s.how&1 == 1)
	case startBoth:
		a, b := c.bundle(0, s.how&1 == 1), c.bundle(who+with, s.how&2 == 2)
		c.process(0, who+with, b)
		c.process(who+with, 0, a)
	case send:
		c.send(who, with, textSizes[s.how%len(textSizes)])
	case deliver:
		if p := c.take(s.what); p != nil {
			c.arrive(p, s.reader(p), p.raw)
		}
	case drop:
		if p := c.take(s.what); p != nil {
			c.say(outcome{done: fmt.Sprintf("%d is lost", p.serial)})
		}
	case duplicate:
		if p := peek(c.underway, s.what); p != nil {
			c.arrive(p, s.reader(p), p.raw)
		}
	case replay:
		if p := peek(c.sent, s.what); p != nil {
			c.arrive(p, s.reader(p), p.raw)
		}
	case corrupt:
		if p := peek(c.underway, s.what&31); p != nil {
			raw := bytes.Clone(p.raw)
			raw[s.how*len(raw)/256] ^= 1 << (s.what >> 5)
			c.arrive(p, s.reader(p), raw)
		}
	case cut:
		if p := peek(c.underway, s.what); p != nil {
			c.arrive(p, s.reader(p), append(bytes.Clone(p.raw), 8)[:(s.how+1)*(len(p.raw)+1)/256])
		}
	case stray:
		if p := peek(c.underway, s.what); p != nil {
			c.stray(p, s.how)
		}
	case flush:
		if s.how&1 == 1 {
			slices.Reverse(c.underway)
		}
		for len(c.underway) > 0 {
			c.deliver(c.take(0))
		}
	case reload:
		c.reload(who, with)
	case reset:
		_, refused := c.ask(who, "archiveSession", object{"address": other.address})
		c.say(outcome{who: who, done: "archived", refused: refused, looks: c.session(who, other.address)})
	case jump:
		c.jump(who, with, jumps[s.how%len(jumps)])
	case turns:
		for range 1 + s.how%6 {
			c.talk(who, with)
			c.talk(with, who)
		}
	case sessions:
		for range 1 + s.how%8 {
			c.start(who, with, s.how&1 == 1)
			c.talk(who, with)
		}
	case reinstall:
		c.install(who)
		c.say(outcome{who: who, done: "installed"})
	case trust:
		r, refused := c.ask(who, "saveIdentity", object{"address": other.address, "identityKey": other.identity})
		c.say(outcome{who: who, done: r.Change, refused: refused, looks: c.session(who, other.address)})
	case distribute:
		c.distribute(who, with)
	case groupSend:
		c.groupSend(who, with, textSizes[s.how%len(textSizes)])
	case groupJump:
		c.groupJump(who, jumps[s.how%len(jumps)])
	case groupReload:
		c.groupReload(who)
	case rotate:
		if s.how&1 == 1 {
			c.newGroup(who)
		} else {
			c.replaceChain(who)
		}
		c.say(outcome{who: who, done: "another chain", looks: c.chains(who, c.accounts[who].address)})
	}
}

// peek is the n-th of what is there, counted around, and nil if nothing is.
func peek(parcels []*parcel, n int) *parcel {
	if len(parcels) == 0 {
		return nil
	}
	return parcels[n%len(parcels)]
}

// take is peek for what is under way, which is taken off.
func (c *cast) take(n int) *parcel {
	p := peek(c.underway, n)
	if p != nil {
		c.underway = slices.Delete(c.underway, n%len(c.underway), n%len(c.underway)+1)
	}
	return p
}

// stray gives a parcel to the wrong one.
func (c *cast) stray(p *parcel, how int) {
	author, reader := c.accounts[p.from].address, c.accounts[p.to].address
	switch how % 3 {
	case 0: // its author, as from the one whom it is for
		c.receive(p, p.from, reader, p.kind, p.raw)
	case 1:
		c.receive(p, p.to, object{"name": stranger, "deviceId": 3}, p.kind, p.raw)
	case 2:
		other := map[kind]kind{ordinary: initial, initial: ordinary, groupMessage: distribution, distribution: groupMessage}[p.kind]
		c.receive(p, p.to, author, other, p.raw)
	}
}

// talk sends a message that overtakes all others.
func (c *cast) talk(who, with int) {
	n := len(c.underway)
	if c.send(who, with, 16); len(c.underway) > n {
		c.deliver(c.take(n))
	}
}

// reload exports and imports the sessions of an account, which changes nothing.
func (c *cast) reload(who, with int) {
	other := c.accounts[with].address
	if looks := c.session(who, other); c.stored(who, other) != "" {
		before := c.stored(who, other)
		c.must(who, "importSession", object{"address": other, "record": before})
		c.session(who, other)
		require.Equal(c.t, before, c.stored(who, other), "%s: a session that was exported and imported", c.name)
		c.say(outcome{who: who, done: "session reloaded", looks: looks})
	}
}

func (c *cast) groupReload(who int) {
	for _, a := range c.accounts {
		looks := c.chains(who, a.address)
		before := maps.Clone(c.records[who])
		for _, id := range c.groupsOf(who, a.address) {
			if record := before[rowOf(id, a.address)]; record != "" {
				c.must(who, "importSenderKey", object{"distributionId": id, "sender": a.address, "record": record})
				c.say(outcome{who: who, done: "chains reloaded", looks: looks})
			}
		}
		c.chains(who, a.address)
		require.Equal(c.t, before, c.records[who], "%s: chains that were exported and imported", c.name)
	}
}

// jump takes the sending chain of an account n messages on, as if they had been
// written and lost. (libsignal takes seconds for the keys of a few thousand.)
func (c *cast) jump(who, with int, n uint64) {
	other := c.accounts[with].address
	if n < mostJump {
		if c.jumped += n; c.jumped > 4_100 {
			return
		}
	}
	c.session(who, other)
	record := edited(c.bytes(c.stored(who, other)), sendingChainKey, walked(n))
	if record == nil {
		return
	}
	c.must(who, "importSession", object{"address": other, "record": hex.EncodeToString(record)})
	c.say(outcome{who: who, done: "jumped", looks: c.session(who, other)})
}

func (c *cast) groupJump(who int, n uint64) {
	self := c.accounts[who]
	c.chains(who, self.address)
	record := edited(c.bytes(c.records[who][rowOf(self.group, self.address)]), groupChainKey, walked(n))
	if record == nil {
		return
	}
	c.must(who, "importSenderKey", object{"distributionId": self.group, "record": hex.EncodeToString(record)})
	c.say(outcome{who: who, done: "jumped", looks: c.chains(who, self.address)})
}

// distribution is that of the chain of an account, which is made if it has none.
// The ID of a chain has as many bytes in all casts, so that all messages have: five.
func (c *cast) distribution(who int) result {
	id := object{"distributionId": c.accounts[who].group}
	r := c.must(who, "senderKeyDistributionCreate", id)
	if r.ChainID < 1<<28 {
		c.replaceChain(who)
		r = c.must(who, "senderKeyDistributionCreate", id)
	}
	return r
}

// replaceChain puts a new chain in the place of the one of an account: as the protocol
// has no command for that, one that another account made.
func (c *cast) replaceChain(who int) {
	self := c.accounts[who]
	maker := &account{client: self.client, store: self.store + " maker", address: self.address}
	for {
		maker.client.do(c.t, "newIdentity", object{"store": maker.store, "name": self.address["name"], "deviceId": self.address["deviceId"]})
		r, _ := maker.client.do(c.t, "senderKeyDistributionCreate", object{"store": maker.store, "distributionId": self.group})
		if r.ChainID < 1<<28 {
			continue
		}
		r, _ = maker.client.do(c.t, "exportSenderKey", object{"store": maker.store, "distributionId": self.group})
		c.must(who, "importSenderKey", object{"distributionId": self.group, "record": *r.Record})
		return
	}
}
