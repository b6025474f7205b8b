package modeltest

import (
	"encoding/binary"

	"github.com/sotto-im/sotto/lamport"
)

// The model: a server with rows that survive crashes, clients with rows that
// survive crashes, and between them a network that loses, repeats and reorders.
// Every choice is drawn from choose, so that a failing run shrinks. What must
// hold (SPEC.md §9.8) is checked at each step; fail is called for what does not,
// and does not return.
//
//	server_test.go    the server's transaction, receipts, quotas
//	restore_test.go   a store that loses what it had committed, and its epochs
//	outbox_test.go    clocks, sealing, sending, answers
//	delivery_test.go  mailboxes and inboxes
//	screen_test.go    the display order
//	settle_test.go    what must hold in the end
//	broken_test.go    each rule broken, to see that the model notices
type model struct {
	choose func(label string, n int) int // 0 to n-1
	fail   func(format string, args ...any)
	broken rules
	calm   bool // the store loses nothing in this run

	epoch   uint32 // kept apart from the store, which may be restored
	server  server
	backup  server
	devices []*device
	late    []lamport.Submission // on their way for long

	// What the model knows and nobody else, whatever the store loses.
	history  []entry // all that was ever accepted
	given    map[place]origin
	places   map[origin]int // how many a message was given: more than one only after a restore
	high     [conversations]lamport.Stamp
	lost     [conversations]lamport.Stamp // what was allowed for at restores
	numbered [conversations]int           // messages accepted
	after    map[origin]lamport.Position  // what the sender had seen when it sealed

	stats struct{ accepted, duplicate, tooOld, processed, gaps, crashes, restores, again, far, late int }
}

const conversations = 2

type origin struct {
	device lamport.Device
	id     [16]byte
}

// A place is a position in one of the conversations.
type place struct {
	conversation int
	at           lamport.Position
}

// An entry is a message that was accepted; index is its place in the history.
type entry struct {
	lamport.Submission
	at    lamport.Position
	index int
}

func (e entry) origin() origin { return origin{e.Sender, e.ID} }

func conversation(s lamport.Submission) int { return int(s.Conversation[1]) }

// A device has what is durable and, apart, what a crash takes.
type device struct {
	lamport.Device
	hostile, asleep bool

	clocks  [conversations][]byte
	counter uint64
	outbox  []lamport.Submission
	sent    int
	inbox   []byte
	seen    [conversations]lamport.Position // the anchor of what is written next
	screen  [conversations][]line           // in order of arrival
	had     map[origin]bool                 // messages of others that were processed
	gone    map[origin]bool                 // and those that it was told are lost

	in     inbox
	flight []delivery
	early  map[uint64]uint64 // positions that came early: where the inbox was then

	// What the model knows of it.
	ledger map[lamport.Position]entry      // all that its mailbox ever held
	heard  [conversations]lamport.Stamp    // what its clock has to be above
	stamp  [conversations]lamport.Stamp    // the last one given
	top    [conversations]lamport.Position // the last place on its screen
}

// A delivery is a message at p or, with to, a gap from p to to.
type delivery struct {
	p     lamport.Position
	to    uint64
	entry entry
}

func user(b byte) (u [16]byte) { u[0] = b; return u }

func messageID(n uint64) (id [16]byte) {
	id[0] = 1
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

func conversationID(n int) (id [16]byte) { id[0], id[1] = 0xc0, byte(n); return id }

// newModel has two users with two devices, and a hostile third. Device numbers
// repeat across users, and so do message IDs: nothing may depend on either alone.
func newModel(choose func(string, int) int, fail func(string, ...any), broken rules) *model {
	m := &model{choose: choose, fail: fail, broken: broken, epoch: 1, server: newServer(1),
		given: map[place]origin{}, places: map[origin]int{}, after: map[origin]lamport.Position{}}
	for i, d := range []lamport.Device{{User: user(1), ID: 1}, {User: user(1), ID: 2}, {User: user(2), ID: 1}, {User: user(2), ID: 2}, {User: user(3), ID: 1}} {
		c := &device{Device: d, hostile: i == 4, in: m.newInbox(), early: map[uint64]uint64{},
			had: map[origin]bool{}, gone: map[origin]bool{}, ledger: map[lamport.Position]entry{}}
		for k := range c.clocks {
			c.clocks[k] = must((&lamport.Clock{}).AppendBinary(nil))
		}
		c.inbox = must(c.in.AppendBinary(nil))
		m.devices = append(m.devices, c)
		m.server.boxes[d] = &box{rows: map[uint64]entry{}}
	}
	m.backup = m.server.clone()
	m.calm = choose("calm", 2) == 1
	return m
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func (m *model) step() {
	d := m.devices[m.choose("device", len(m.devices))]
	switch a := m.choose("action", 28); {
	case a < 4:
		for range 1 + m.choose("seals", 3) {
			m.seal(d)
		}
	case a < 9:
		for range 1 + m.choose("sends", 4) {
			m.send(d)
		}
	case a < 10:
		m.burn(d)
	case a < 11:
		m.giveUp(d)
	case a < 12:
		m.purge()
	case a < 13:
		m.trim(d)
	case a < 14:
		m.crash(d)
	case a < 15:
		m.look(d)
	case a < 16:
		d.asleep = d.asleep != (m.choose("sleep", 8) == 0)
	case a < 17:
		if n := m.choose("store", 20); n == 0 && !m.calm {
			m.restore()
		} else if n == 1 {
			m.backup = m.server.clone()
		}
	case a < 18 && m.choose("wait", 6) == 0:
		m.sendLate()
	case !d.asleep:
		for range 1 + m.choose("deliveries", 6) {
			m.receive(d)
		}
	}
}
