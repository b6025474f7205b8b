package modeltest

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sotto-im/sotto/lamport"
)

// A server is what stands in its store, and what the model knows of it.
type server struct {
	rows     map[string][]byte // conversations, windows, receipts
	receipts []string          // keys of the receipts, oldest first
	boxes    map[lamport.Device]*box

	epoch    uint32
	accepted map[origin]entry
	last     [conversations]uint64
	high     [conversations]lamport.Stamp // that the bound is above
	stamp    [conversations]lamport.Stamp // that was accepted
}

// A box is the mailbox of one device: dense positions, and which of them are
// trimmed.
type box struct {
	last, acked, trimmed uint64
	rows                 map[uint64]entry
}

func newServer(epoch uint32) server {
	return server{rows: map[string][]byte{}, boxes: map[lamport.Device]*box{}, epoch: epoch, accepted: map[origin]entry{}}
}

func (s server) clone() server {
	c := s
	c.rows, c.accepted, c.receipts = maps.Clone(s.rows), maps.Clone(s.accepted), slices.Clone(s.receipts)
	c.boxes = map[lamport.Device]*box{}
	for d, b := range s.boxes {
		c.boxes[d] = &box{b.last, b.acked, b.trimmed, maps.Clone(b.rows)}
	}
	return c
}

// submit is the server's transaction. A crash before the commit leaves the rows
// as they were.
func (m *model) submit(s lamport.Submission, crash bool) (lamport.Receipt, lamport.Stamp, error) {
	k := conversation(s)
	c := m.conversation(k)
	conversationKey, windowKey, receiptKey := fmt.Sprint("c", k), fmt.Sprint("w", s.Sender), fmt.Sprint("r", s.Sender, s.ID)
	if m.broken.windowByNumberOnly {
		windowKey = fmt.Sprint("w", s.Sender.ID)
	}
	if m.broken.receiptByIDOnly || m.broken.foreignReceipt {
		receiptKey = fmt.Sprint("r", s.ID)
	}
	w, err := lamport.NewWindow(s.Sender)
	if err != nil {
		m.fail("%v", err)
	}
	if b, ok := m.server.rows[windowKey]; ok {
		if err := w.UnmarshalBinary(b); err != nil {
			m.fail("%v", err)
		}
	}
	var prior *lamport.Receipt
	if b, ok := m.server.rows[receiptKey]; ok {
		prior = new(lamport.Receipt)
		if err := prior.UnmarshalBinary(b); err != nil {
			m.fail("%v", err)
		}
	}
	m.refusesForeignRows(c, w, s)
	receipt, err := m.decide(c, w, s, prior)
	if crash && m.broken.sequenceOutside {
		m.server.rows[conversationKey] = must(c.AppendBinary(nil))
	}
	if err != nil || crash {
		return receipt, c.MaxStamp(), err
	}
	m.server.rows[conversationKey] = must(c.AppendBinary(nil))
	m.server.rows[windowKey] = must(w.AppendBinary(nil))
	m.server.rows[receiptKey] = must(receipt.AppendBinary(nil))
	m.server.receipts = append(m.server.receipts, receiptKey)
	e := entry{s, receipt.Position, len(m.history)}
	for _, d := range m.devices {
		if d.Device != s.Sender {
			m.enqueue(d, e)
		}
	}
	m.note(k, e)
	return receipt, c.MaxStamp(), nil
}

// decide is Submit, or what a server does that breaks a rule of it.
func (m *model) decide(c *lamport.Conversation, w *lamport.Window, s lamport.Submission, prior *lamport.Receipt) (lamport.Receipt, error) {
	if m.broken.foreignReceipt && prior != nil {
		prior.Sender, prior.Conversation = s.Sender, s.Conversation
	}
	if m.broken.boundBySequence && prior == nil && w.Check(s.Counter) == nil && s.Stamp > lamport.Stamp(c.Last().Number+lamport.MaxLead) {
		return lamport.Receipt{}, lamport.ErrClockBound
	}
	if m.broken.forgetsLost && prior == nil && w.Check(s.Counter) == nil && s.Stamp > m.server.stamp[conversation(s)]+lamport.MaxLead {
		return lamport.Receipt{}, lamport.ErrClockBound
	}
	r, err := c.Submit(w, s, prior)
	if m.broken.noBound && errors.Is(err, lamport.ErrClockBound) {
		s.Stamp = c.MaxStamp() + lamport.MaxLead
		return c.Submit(w, s, prior)
	}
	return r, err
}

// refusesForeignRows: R-9.5-9. Rows of another submission are refused, and
// nothing has changed.
func (m *model) refusesForeignRows(c *lamport.Conversation, w *lamport.Window, s lamport.Submission) {
	if m.choose("foreign rows", 8) != 0 {
		return
	}
	before := [][]byte{must(c.AppendBinary(nil)), must(w.AppendBinary(nil))}
	own := lamport.Receipt{Conversation: s.Conversation, ID: s.ID, Sender: s.Sender, Position: lamport.Position{Epoch: 1, Number: 1}}
	sibling, namesake, other := own, own, own
	sibling.Sender.ID ^= 3
	namesake.Sender.User = user(9)
	other.ID = messageID(1 << 40)
	for _, r := range []*lamport.Receipt{&sibling, &namesake, &other} {
		if _, err := c.Submit(w, s, r); !errors.Is(err, lamport.ErrInvalid) {
			m.fail("I-02: %v answered with the receipt of %v: %v", s, r, err)
		}
	}
	own.Conversation = conversationID((conversation(s) + 1) % conversations)
	if _, err := c.Submit(w, s, &own); !errors.Is(err, lamport.ErrConflict) {
		m.fail("I-02: %v answered with a receipt of another conversation: %v", s, err)
	}
	for _, d := range []lamport.Device{sibling.Sender, namesake.Sender} {
		foreign, err := lamport.NewWindow(d)
		if err != nil {
			m.fail("%v", err)
		}
		if _, err := c.Submit(foreign, s, nil); !errors.Is(err, lamport.ErrInvalid) {
			m.fail("I-02: %v accepted in the window of %v: %v", s, d, err)
		}
	}
	if _, err := m.conversation((conversation(s)+1)%conversations).Submit(w, s, nil); !errors.Is(err, lamport.ErrInvalid) {
		m.fail("I-01: %v accepted in another conversation: %v", s, err)
	}
	for i, b := range [][]byte{must(c.AppendBinary(nil)), must(w.AppendBinary(nil))} {
		if string(b) != string(before[i]) {
			m.fail("a refusal has changed a row")
		}
	}
}

func (m *model) conversation(k int) *lamport.Conversation {
	c, err := lamport.NewConversation(conversationID(k), m.epoch)
	if err != nil {
		m.fail("%v", err)
	}
	if b, ok := m.server.rows[fmt.Sprint("c", k)]; ok {
		if err := c.UnmarshalBinary(b); err != nil {
			m.fail("%v", err)
		}
	}
	if err := c.Restart(m.epoch); err != nil {
		m.fail("%v", err)
	}
	return c
}

func (m *model) enqueue(d *device, e entry) {
	b := m.server.boxes[d.Device]
	b.last++
	b.rows[b.last] = e
	d.ledger[lamport.Position{Epoch: m.epoch, Number: b.last}] = e
}

// note holds what was accepted against the invariants.
func (m *model) note(k int, e entry) {
	s := &m.server
	if s.last[k]++; e.at != (lamport.Position{Epoch: m.epoch, Number: s.last[k]}) {
		m.fail("I-01: %v is number %d of the epoch", e.at, s.last[k])
	}
	if was, ok := m.given[place{k, e.at}]; ok {
		m.fail("I-01: %v given to %v and to %v", e.at, was, e.origin())
	}
	if was, ok := s.accepted[e.origin()]; ok {
		m.fail("I-02: accepted twice: %v and %v", was, e)
	}
	if e.Stamp > s.high[k]+lamport.MaxLead {
		m.fail("I-08: one message moved the clock from %d to %d", s.high[k], e.Stamp)
	}
	if after := m.after[e.origin()]; e.at.Compare(after) <= 0 {
		m.fail("I-06: sequenced at %v, and its sender had seen %v", e.at, after)
	}
	s.high[k] = max(s.high[k], e.Stamp)
	s.stamp[k] = max(s.stamp[k], e.Stamp)
	s.accepted[e.origin()] = e
	m.high[k] = max(m.high[k], e.Stamp)
	m.numbered[k]++
	if m.high[k] > lamport.Stamp(m.numbered[k])*lamport.MaxLead+m.lost[k] {
		m.fail("I-08: %d messages moved the clock to %d", m.numbered[k], m.high[k])
	}
	m.given[place{k, e.at}] = e.origin()
	if m.places[e.origin()]++; m.places[e.origin()] > 1 {
		m.stats.again++
	}
	m.history = append(m.history, e)
	m.stats.accepted++
}

// purge deletes all receipts but the last few.
func (m *model) purge() {
	s := &m.server
	for len(s.receipts) > 3 {
		delete(s.rows, s.receipts[0])
		s.receipts = s.receipts[1:]
	}
}

// trim drops the oldest rows of a mailbox, as a quota would: a small one, or one
// that lets a device fall behind by more than an inbox holds back.
func (m *model) trim(d *device) {
	b := m.server.boxes[d.Device]
	if len(b.rows) < 40 || m.choose("trim", 4) != 0 {
		return
	}
	keep := uint64(32 + 400*m.choose("quota", 3))
	for n := b.acked + 1; n+keep <= b.last; n++ {
		delete(b.rows, n)
		b.trimmed = max(b.trimmed, n)
	}
}
