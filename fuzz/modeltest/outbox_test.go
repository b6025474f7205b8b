package modeltest

import (
	"errors"
	"slices"

	"github.com/sotto-im/sotto/lamport"
)

// The sending half of a device: clocks, counters, outbox.

// seal writes a message into the outbox: stamp, counter and outbox row in one
// transaction. The hostile device stamps as high as it dares, and higher, and
// takes IDs that others use.
func (m *model) seal(d *device) {
	if !m.broken.ignoreWindow && !m.room(d, d.counter+1) {
		return
	}
	k := m.choose("conversation", conversations)
	c := m.clock(d, k)
	s, err := c.Tick()
	if err != nil {
		m.fail("I-08: %v", err)
	}
	if d.hostile {
		s = m.server.high[k] + [...]lamport.Stamp{1, lamport.MaxLead, lamport.MaxLead, lamport.MaxLead + 1, 1 << 50}[m.choose("lead", 5)]
	} else if s <= d.heard[k] {
		m.fail("I-08: stamp %d, and %d was received", s, d.heard[k])
	} else if s <= d.stamp[k] {
		m.fail("I-08: stamp %d after %d", s, d.stamp[k])
	}
	if m.choose("commit", 4) == 0 { // crash before: nothing has happened
		m.crash(d)
		return
	}
	if !m.broken.clockNotStored {
		d.clocks[k] = must(c.AppendBinary(nil))
	}
	d.stamp[k] = s
	d.counter++
	d.sent++
	sub := lamport.Submission{Conversation: conversationID(k), ID: messageID(uint64(d.sent)),
		Sender: d.Device, Counter: d.counter, Stamp: s}
	d.outbox = append(d.outbox, sub)
	m.after[origin{d.Device, sub.ID}] = d.top[k]
	m.showPending(d, sub)
}

func (m *model) clock(d *device, k int) *lamport.Clock {
	c := new(lamport.Clock)
	if err := c.UnmarshalBinary(d.clocks[k]); err != nil {
		m.fail("clock: %v", err)
	}
	return c
}

// hear merges the stamp of a message that was accepted. A device that trimmed mail
// has not seen may be told more than it can take; then the clock goes as far as
// the bound.
func (m *model) hear(d *device, k int, s lamport.Stamp) {
	c := m.clock(d, k)
	before := c.Now()
	switch {
	case m.broken.doesNotObserve:
	case m.broken.observesAnything:
		*c, _ = lamport.NewClock(max(before, s))
	default:
		if err := c.Observe(s); err != nil {
			m.fail("%v", err)
		}
	}
	switch {
	case c.Now() < before:
		m.fail("I-08: observing %d lowered %d to %d", s, before, c.Now())
	case c.Now() > before+lamport.MaxLead:
		m.fail("I-08: one message moved a clock from %d to %d", before, c.Now())
	}
	d.heard[k] = max(d.heard[k], min(s, before+lamport.MaxLead))
	d.clocks[k] = must(c.AppendBinary(nil))
}

// room is the client's rule for counters: SPEC.md R-9.4-3.
func (m *model) room(d *device, next uint64) bool {
	return len(d.outbox) == 0 || next-d.outbox[0].Counter < lamport.WindowSize
}

// burn spends counters on messages that are sealed, fail for good, and never
// reach the server.
func (m *model) burn(d *device) {
	next := d.counter + uint64(1+m.choose("burn", 5)*700)
	if m.broken.ignoreWindow || m.room(d, next) {
		d.counter = next
	}
}

func (m *model) giveUp(d *device) {
	if len(d.outbox) > 0 && m.choose("give up", 4) == 0 {
		i := m.choose("which", len(d.outbox))
		m.hide(d, d.outbox[i])
		d.outbox = slices.Delete(slices.Clone(d.outbox), i, i+1)
	}
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
	if len(m.late) < 8 && m.choose("copy", 4) == 0 {
		m.late = append(m.late, s)
	}
	if fate == 0 { // the request is lost
		return
	}
	receipt, maxStamp, err := m.submit(s, fate == 1)
	if fate == 1 || fate == 2 { // not committed; committed, and the answer is lost
		m.stats.crashes++
		return
	}
	was, before := m.server.accepted[origin{s.Sender, s.ID}]
	switch {
	case err == nil || errors.Is(err, lamport.ErrDuplicate):
		if !before || was.at != receipt.Position || was.Conversation != receipt.Conversation {
			m.fail("I-02: answered %v, accepted %v", receipt, was)
		}
		if err != nil {
			m.stats.duplicate++
		}
		m.hear(d, conversation(s), s.Stamp)
		m.confirm(d, s, receipt.Position)
	case errors.Is(err, lamport.ErrTooOld): // its place is learned elsewhere
		m.stats.tooOld++
		if !before {
			m.fail("I-02: too old, and never accepted: %v", s)
		}
	case errors.Is(err, lamport.ErrClockBound):
		if !d.hostile {
			m.fail("I-08: honest stamp %d refused, max %d", s.Stamp, maxStamp)
		}
		m.hide(d, s)
	default:
		m.fail("submit: %v", err)
	}
	d.outbox = slices.Delete(slices.Clone(d.outbox), i, i+1)
}

// sendLate is a request that the network has kept. Nobody waits for its answer;
// what was accepted must not be accepted again, however long ago.
func (m *model) sendLate() {
	if len(m.late) > 0 {
		i := m.choose("late", len(m.late))
		if _, _, err := m.submit(m.late[i], false); err == nil {
			m.stats.late++
		}
		m.late = slices.Delete(slices.Clone(m.late), i, i+1)
	}
}
