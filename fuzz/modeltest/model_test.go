package modeltest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/lamport"
)

// The model: a server with rows that survive crashes, clients with rows that
// survive crashes, and between them a network that loses, repeats and reorders.
// Every choice is drawn from choose, so that a failing run shrinks. What must
// hold (SPEC.md §9.8) is checked at each step; fail is called for what does not.
type model struct {
	choose func(label string, n int) int // 0 to n-1
	fail   func(format string, args ...any)

	// Rules that a run may break, to see that the model notices.
	ignoreWindowRule, ackBeforeCommit, receiptByIDOnly, trimSilently bool

	epoch    uint32
	rows     map[string][]byte // conversations, windows, receipts
	receipts []string          // keys of the receipts, oldest first
	log      [conversations][]entry
	accepted map[origin]entry
	history  []entry // all that was accepted, in order of acceptance
	boxes    map[lamport.Device]*box
	devices  []*device
	order    []lamport.Device // keys of boxes, for choices that repeat

	stats struct{ accepted, duplicate, tooOld, processed, gaps, crashes int }
}

const conversations = 2

type origin struct {
	device lamport.Device
	id     [16]byte
}

type entry struct {
	lamport.Submission
	at lamport.Position
}

// A box is the mailbox of one device at the server: dense positions, and which
// of them are trimmed.
type box struct {
	last, acked, trimmed uint64
	rows                 map[uint64]entry
}

// A device has what is durable and, apart, what a crash takes.
type device struct {
	lamport.Device
	hostile bool

	clocks    [conversations][]byte
	counter   uint64
	outbox    []lamport.Submission
	sent      int
	inbox     []byte
	processed []entry
	lost      []lamport.Position // shown as gaps
	lostTo    uint64

	in     lamport.Inbox
	flight []delivery
}

type delivery struct {
	n, to uint64 // to: a gap marker from n to to
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
func newModel(choose func(string, int) int, fail func(string, ...any)) *model {
	m := &model{choose: choose, fail: fail, epoch: 1, rows: map[string][]byte{}, accepted: map[origin]entry{},
		boxes: map[lamport.Device]*box{}}
	for i, d := range []lamport.Device{{User: user(1), ID: 1}, {User: user(1), ID: 2}, {User: user(2), ID: 1}, {User: user(2), ID: 2}, {User: user(3), ID: 1}} {
		c := &device{Device: d, hostile: i == 4}
		for k := range c.clocks {
			c.clocks[k] = must((&lamport.Clock{}).AppendBinary(nil))
		}
		c.inbox = must((&lamport.Inbox{}).AppendBinary(nil))
		m.devices = append(m.devices, c)
		m.boxes[d] = &box{rows: map[uint64]entry{}}
		m.order = append(m.order, d)
	}
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
	switch a := m.choose("action", 24); {
	case a < 4:
		m.seal(d)
	case a < 9:
		m.send(d)
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
	default:
		for range 1 + m.choose("deliveries", 6) {
			m.receive(d)
		}
	}
}

// seal writes a message into the outbox: stamp, counter and outbox row in one
// transaction. The hostile device stamps as high as it dares, and takes IDs that
// others use.
func (m *model) seal(d *device) {
	if !m.ignoreWindowRule && !m.room(d, d.counter+1) {
		return
	}
	k := m.choose("conversation", conversations)
	var c lamport.Clock
	if err := c.UnmarshalBinary(d.clocks[k]); err != nil {
		m.fail("clock: %v", err)
	}
	before := c.Now()
	s, err := c.Tick()
	if err != nil || s != before+1 {
		m.fail("I-08: tick from %d gave %d, %v", before, s, err)
	}
	if d.hostile {
		s = m.conversation(k).MaxStamp() + lamport.Stamp(1+m.choose("lead", 2)*(lamport.MaxLead-1))
	}
	if m.choose("commit", 4) == 0 { // crash before: nothing has happened
		m.crash(d)
		return
	}
	d.clocks[k] = must(c.AppendBinary(nil))
	d.counter++
	d.sent++
	d.outbox = append(d.outbox, lamport.Submission{Conversation: conversationID(k), ID: messageID(uint64(d.sent)),
		Sender: d.Device, Counter: d.counter, Stamp: s})
}

// room is the client's rule for counters: SPEC.md R-9.4-3.
func (m *model) room(d *device, next uint64) bool {
	return len(d.outbox) == 0 || next-d.outbox[0].Counter < lamport.WindowSize
}

// burn spends counters on messages that are sealed, fail for good, and never
// reach the server.
func (m *model) burn(d *device) {
	next := d.counter + uint64(1+m.choose("burn", 5)*700)
	if m.ignoreWindowRule || m.room(d, next) {
		d.counter = next
	}
}

func (m *model) giveUp(d *device) {
	if len(d.outbox) > 0 && m.choose("give up", 4) == 0 {
		i := m.choose("which", len(d.outbox))
		d.outbox = slices.Delete(slices.Clone(d.outbox), i, i+1)
	}
}

// purge deletes all receipts but the last few.
func (m *model) purge() {
	for len(m.receipts) > 3 {
		delete(m.rows, m.receipts[0])
		m.receipts = m.receipts[1:]
	}
}

func (m *model) conversation(k int) *lamport.Conversation {
	c, err := lamport.NewConversation(conversationID(k), m.epoch)
	if err != nil {
		m.fail("%v", err)
	}
	if b, ok := m.rows[fmt.Sprint("c", k)]; ok {
		if err := c.UnmarshalBinary(b); err != nil {
			m.fail("%v", err)
		}
	}
	if err := c.Restart(m.epoch); err != nil {
		m.fail("%v", err)
	}
	return c
}

// send submits any message of the outbox, not only the first, and may lose the
// request, the answer, or the server on either side of its commit.
func (m *model) send(d *device) {
	if len(d.outbox) == 0 {
		return
	}
	i := m.choose("message", min(len(d.outbox), 6))
	s := d.outbox[i]
	fate := m.choose("fate", 5)
	if fate == 0 { // the request is lost
		return
	}
	receipt, maxStamp, err := m.submit(s, fate == 1)
	if fate == 2 { // committed, and the answer is lost
		m.stats.crashes++
		return
	}
	if fate == 1 {
		m.stats.crashes++
		return
	}
	was, before := m.accepted[origin{s.Sender, s.ID}]
	switch {
	case err == nil || errors.Is(err, lamport.ErrDuplicate):
		if !before || was.at != receipt.Position || was.Conversation != receipt.Conversation {
			m.fail("I-02: answered %v, accepted %v", receipt, was)
		}
		if err != nil {
			m.stats.duplicate++
		}
	case errors.Is(err, lamport.ErrTooOld):
		m.stats.tooOld++
		if !before {
			m.fail("I-02: too old, and never accepted: %v", s)
		}
	case errors.Is(err, lamport.ErrClockBound):
		if !d.hostile {
			m.fail("I-08: honest stamp %d refused, max %d", s.Stamp, maxStamp)
		}
	default:
		m.fail("submit: %v", err)
	}
	d.outbox = slices.Delete(slices.Clone(d.outbox), i, i+1)
}

// submit is the server's transaction. A crash before the commit leaves the rows
// as they were.
func (m *model) submit(s lamport.Submission, crash bool) (lamport.Receipt, lamport.Stamp, error) {
	k := int(s.Conversation[1])
	c := m.conversation(k)
	w, err := lamport.NewWindow(s.Sender)
	if err != nil {
		m.fail("%v", err)
	}
	windowKey := fmt.Sprint("w", s.Sender)
	if b, ok := m.rows[windowKey]; ok {
		if err := w.UnmarshalBinary(b); err != nil {
			m.fail("%v", err)
		}
	}
	receiptKey := fmt.Sprint("r", s.Sender, s.ID)
	if m.receiptByIDOnly {
		receiptKey = fmt.Sprint("r", s.ID)
	}
	var prior *lamport.Receipt
	if b, ok := m.rows[receiptKey]; ok {
		prior = new(lamport.Receipt)
		if err := prior.UnmarshalBinary(b); err != nil {
			m.fail("%v", err)
		}
	}
	receipt, err := c.Submit(w, s, prior)
	if err != nil || crash {
		return receipt, c.MaxStamp(), err
	}
	m.rows[fmt.Sprint("c", k)] = must(c.AppendBinary(nil))
	m.rows[windowKey] = must(w.AppendBinary(nil))
	m.rows[receiptKey] = must(receipt.AppendBinary(nil))
	m.receipts = append(m.receipts, receiptKey)
	e := entry{s, receipt.Position}
	for _, d := range m.order {
		if d != s.Sender {
			b := m.boxes[d]
			b.last++
			b.rows[b.last] = e
		}
	}
	m.note(k, e)
	return receipt, c.MaxStamp(), nil
}

// note holds what was accepted against the invariants.
func (m *model) note(k int, e entry) {
	if e.at != (lamport.Position{Epoch: m.epoch, Number: uint64(len(m.log[k]) + 1)}) {
		m.fail("I-01: %v after %d messages", e.at, len(m.log[k]))
	}
	if was, ok := m.accepted[origin{e.Sender, e.ID}]; ok {
		m.fail("I-02: accepted twice: %v and %v", was, e)
	}
	var high lamport.Stamp
	for _, p := range m.log[k] {
		high = max(high, p.Stamp)
	}
	if e.Stamp > high+lamport.MaxLead {
		m.fail("I-08: one message moved the clock from %d to %d", high, e.Stamp)
	}
	m.accepted[origin{e.Sender, e.ID}] = e
	m.log[k] = append(m.log[k], e)
	m.history = append(m.history, e)
	m.stats.accepted++
}

// trim drops the oldest rows of a mailbox, as a quota would.
func (m *model) trim(d *device) {
	b := m.boxes[d.Device]
	if len(b.rows) < 40 || m.choose("trim", 4) != 0 {
		return
	}
	for n := b.acked + 1; n <= b.last-32; n++ {
		delete(b.rows, n)
		b.trimmed = n
	}
}
