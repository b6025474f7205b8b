package modeltest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
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
	ignoreWindowRule, neverObserve, ackBeforeCommit, receiptByIDOnly, trimSilently bool

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

// crash takes what is not durable; the device connects again and fetches.
func (m *model) crash(d *device) {
	m.stats.crashes++
	d.in = lamport.Inbox{}
	if err := d.in.UnmarshalBinary(d.inbox); err != nil {
		m.fail("%v", err)
	}
	m.fetch(d)
}

func (m *model) fetch(d *device) {
	d.flight = nil
	b := m.boxes[d.Device]
	after := uint64(0)
	if d.in.At().Epoch == 1 {
		after = d.in.At().Number
	}
	if b.trimmed > after && !m.trimSilently {
		d.flight = append(d.flight, delivery{n: after + 1, to: b.trimmed})
	}
	for _, n := range slices.Sorted(maps.Keys(b.rows)) {
		if n > after {
			d.flight = append(d.flight, delivery{n: n, entry: b.rows[n]})
		}
	}
}

func (m *model) receive(d *device) {
	if len(d.flight) == 0 {
		m.fetch(d)
		if len(d.flight) == 0 {
			return
		}
	}
	i := m.choose("which", min(len(d.flight), 5))
	v := d.flight[i]
	switch m.choose("network", 8) {
	case 0: // lost
		d.flight = slices.Delete(slices.Clone(d.flight), i, i+1)
		return
	case 1: // repeated: it stays in flight
	default:
		d.flight = slices.Delete(slices.Clone(d.flight), i, i+1)
	}
	m.deliver(d, v)
}

func (m *model) deliver(d *device, v delivery) {
	verdict := m.verdict(d, v)
	if verdict == lamport.Resync {
		if err := d.in.Restart(1); err != nil {
			m.fail("%v", err)
		}
		verdict = m.verdict(d, v)
	}
	switch verdict {
	case lamport.Process:
		if v.to == 0 {
			m.process(d, v.n, v.entry)
		} else {
			from := d.lostTo
			for n := max(v.n, from+1); n <= d.in.At().Number; n++ {
				d.lost = append(d.lost, lamport.Position{Epoch: 1, Number: n})
			}
			m.commit(d)
		}
		for {
			p, frame, ok := d.in.Next()
			if !ok {
				return
			}
			n := binary.BigEndian.Uint64(frame)
			if n != p.Number {
				m.fail("held %d as %d", n, p.Number)
			}
			e, ok := m.boxes[d.Device].rows[n]
			if !ok { // trimmed while it was held; the frame is the copy
				e = m.original(d, n)
			}
			m.process(d, n, e)
		}
	case lamport.Acknowledge:
		m.ack(d)
	case lamport.Fetch:
		m.fetch(d)
	case lamport.Hold:
	default:
		m.fail("verdict %d", verdict)
	}
}

// original is the message at position n of a mailbox, whether it is still there
// or not: all that was accepted from others, in order.
func (m *model) original(d *device, n uint64) entry {
	for _, e := range m.history {
		if e.Sender != d.Device {
			if n--; n == 0 {
				return e
			}
		}
	}
	m.fail("position beyond the end")
	return entry{}
}

func (m *model) verdict(d *device, v delivery) lamport.Verdict {
	var verdict lamport.Verdict
	var err error
	if v.to != 0 {
		verdict, err = d.in.Skip(1, v.n, v.to)
	} else {
		verdict, err = d.in.Receive(lamport.Position{Epoch: 1, Number: v.n}, binary.BigEndian.AppendUint64(nil, v.n))
	}
	if err != nil {
		m.fail("%v", err)
	}
	return verdict
}

// process is the client's transaction: plaintext, clock and inbox together, then
// the acknowledgement. A crash may come on either side of the commit.
func (m *model) process(d *device, n uint64, e entry) {
	crash := m.choose("crash", 12)
	if m.ackBeforeCommit {
		m.ackAt(d, n)
	}
	if crash == 0 {
		m.crash(d)
		return
	}
	if err := d.in.Advance(lamport.Position{Epoch: 1, Number: n}); err != nil {
		m.fail("%v", err)
	}
	k := int(e.Conversation[1])
	if !m.neverObserve {
		var c lamport.Clock
		if err := c.UnmarshalBinary(d.clocks[k]); err != nil {
			m.fail("%v", err)
		}
		before := c.Now()
		// A device that trimmed mail has not seen may be told more than it can
		// take; then the clock must stand still.
		if err := c.Observe(e.Stamp); err == nil && c.Now() != max(before, e.Stamp) || err != nil && c.Now() != before {
			m.fail("I-08: observing %d moved %d to %d, %v", e.Stamp, before, c.Now(), err)
		}
		d.clocks[k] = must(c.AppendBinary(nil))
	}
	d.processed = append(d.processed, e)
	m.stats.processed++
	m.commit(d)
	if crash == 1 {
		m.crash(d)
		return
	}
	m.ack(d)
}

func (m *model) commit(d *device) {
	d.inbox = must(d.in.AppendBinary(nil))
	d.lostTo = d.in.At().Number
}

func (m *model) ack(d *device) { m.ackAt(d, d.in.At().Number) }

func (m *model) ackAt(d *device, n uint64) {
	b := m.boxes[d.Device]
	for i := b.acked + 1; i <= n; i++ {
		delete(b.rows, i)
	}
	b.acked = max(b.acked, n)
}

// settle delivers what is left without faults, and checks what must hold then.
func (m *model) settle() {
	choose := m.choose
	m.choose = func(label string, n int) int { return n - 1 } // no fault is the last choice
	defer func() { m.choose = choose }()
	for _, d := range m.devices {
		for len(d.outbox) > 0 {
			n := len(d.outbox)
			m.send(d)
			if len(d.outbox) == n {
				m.fail("I-10: a message stays in the outbox")
			}
		}
	}
	for _, d := range m.devices {
		m.crash(d)
		for rounds := 0; len(d.flight) > 0; rounds++ {
			if rounds > 100_000 {
				m.fail("I-17: a mailbox does not empty")
				return
			}
			v := d.flight[0]
			d.flight = d.flight[1:]
			m.deliver(d, v)
		}
		m.checkNothingLost(d)
	}
	m.checkConvergence()
}

// checkNothingLost: I-03, I-04. What was accepted for a device is processed, or
// known to be lost; each once, and in the order of the mailbox.
func (m *model) checkNothingLost(d *device) {
	want := map[origin]bool{}
	gaps := len(d.lost)
	m.stats.gaps += gaps
	var i int
	for _, e := range m.history {
		if e.Sender == d.Device {
			continue
		}
		want[origin{e.Sender, e.ID}] = true
		if i < len(d.processed) && d.processed[i] == e {
			i++
			continue
		}
		if gaps == 0 {
			m.fail("I-03: %v never reached %v, and no gap tells", e, d.Device)
			return
		}
		gaps--
	}
	if i != len(d.processed) || gaps != 0 {
		m.fail("I-03: %v processed %d, in order %d, %d gaps too many", d.Device, len(d.processed), i, gaps)
	}
	seen := map[origin]bool{}
	for _, e := range d.processed {
		o := origin{e.Sender, e.ID}
		if seen[o] || !want[o] {
			m.fail("I-02: %v processed twice, or never sent", e)
		}
		seen[o] = true
	}
}

// checkConvergence: I-05, I-07. Devices that have the same messages show them in
// the same order, whatever order they came in: that of the server.
func (m *model) checkConvergence() {
	for _, d := range m.devices {
		var keys []lamport.Key
		byKey := map[lamport.Key]entry{}
		for _, e := range d.processed {
			k := lamport.ConfirmedKey(e.at, e.Stamp, e.Sender, e.ID)
			if _, ok := byKey[k]; ok {
				m.fail("I-05: two messages with one key")
			}
			byKey[k] = e
			keys = append(keys, k)
		}
		slices.SortFunc(keys, lamport.Key.Compare)
		for i := 1; i < len(keys); i++ {
			if byKey[keys[i-1]].at.Compare(byKey[keys[i]].at) > 0 {
				m.fail("I-06: shown before what it follows")
			}
		}
	}
}
