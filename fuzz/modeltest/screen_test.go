package modeltest

import (
	"cmp"
	"math"
	"slices"

	"github.com/sotto-im/sotto/lamport"
)

// A line is a message on the screen of a device. Without a place it waits, or its
// place was not answered.
type line struct {
	key lamport.Key
	lamport.Submission
	anchor, at lamport.Position
}

func (l line) origin() origin { return origin{l.Sender, l.ID} }

func (m *model) compare(a, b line) int {
	if m.broken.mixedOrder {
		if a.at.Number != 0 && b.at.Number != 0 {
			return a.at.Compare(b.at)
		}
		return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), a.key.Compare(b.key))
	}
	if m.broken.orderByStamp {
		return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), a.key.Compare(b.key))
	}
	return a.key.Compare(b.key)
}

func (m *model) showPending(d *device, s lamport.Submission) {
	k := conversation(s)
	l := line{Submission: s, anchor: d.seen[k]}
	if m.broken.noAnchor {
		l.anchor = lamport.Position{}
	}
	l.key = lamport.PendingKey(l.anchor, s.Stamp, s.Sender, s.ID)
	d.screen[k] = append(d.screen[k], l)
}

// show puts a message of another device where the server has put it.
func (m *model) show(d *device, e entry) {
	k := conversation(e.Submission)
	d.screen[k] = append(d.screen[k], line{Submission: e.Submission, at: e.at, key: lamport.ConfirmedKey(e.at, e.Stamp, e.Sender, e.ID)})
	m.sees(d, k, e.at, true)
}

// confirm moves an own message to the place that was answered.
func (m *model) confirm(d *device, s lamport.Submission, p lamport.Position) {
	l := m.find(d, s)
	key, err := l.key.Confirm(p)
	if err != nil {
		m.fail("I-06: %v at %v, behind %v: %v", s, p, l.anchor, err)
	}
	l.key, l.at = key, p
	m.sees(d, conversation(s), p, false)
}

func (m *model) sees(d *device, k int, p lamport.Position, received bool) {
	if p.Compare(d.seen[k]) > 0 && !(received && m.broken.anchorOfOwnOnly) {
		d.seen[k] = p
	}
	if p.Compare(d.top[k]) > 0 {
		d.top[k] = p
	}
}

func (m *model) hide(d *device, s lamport.Submission) {
	k := conversation(s)
	d.screen[k] = slices.DeleteFunc(d.screen[k], func(l line) bool { return l.Sender == s.Sender && l.ID == s.ID })
}

func (m *model) find(d *device, s lamport.Submission) *line {
	list := d.screen[conversation(s)]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Sender == s.Sender && list[i].ID == s.ID {
			return &list[i]
		}
	}
	m.fail("I-03: %v is not on its own screen", s)
	return nil
}

// look: I-05, I-06. The order of a screen does not depend on the order of
// arrival, and a message of an honest device stands behind what it had seen, also
// while it waits.
func (m *model) look(d *device) {
	for k := range conversations {
		list := slices.Clone(d.screen[k])
		slices.SortFunc(list, m.compare)
		other := slices.Clone(d.screen[k])
		slices.Reverse(other)
		slices.SortFunc(other, m.compare)
		if !slices.Equal(list, other) {
			m.fail("I-05: the screen of %v depends on the order of arrival", d.Device)
		}
		for i := 1; i < len(list); i++ {
			if list[i-1].origin() == list[i].origin() {
				m.fail("I-02: %v is shown twice", list[i].origin())
			}
			if m.compare(list[i-1], list[i]) >= 0 {
				m.fail("I-05: no order between %v and %v", list[i-1], list[i])
			}
		}
		m.behindWhatWasSeen(d, list)
		m.waitInOrder(d, k, list)
	}
}

func (m *model) behindWhatWasSeen(d *device, list []line) {
	first := lamport.Position{Epoch: math.MaxUint32} // of all below
	for _, l := range slices.Backward(list) {
		if after := m.after[l.origin()]; !m.hostile(l.Sender) && after.Number != 0 && first.Compare(after) <= 0 {
			m.fail("I-06: %v shows %v above %v, which its sender had seen", d.Device, l, first)
		}
		if l.at.Number != 0 && l.at.Compare(first) < 0 {
			first = l.at
		}
	}
}

// waitInOrder: what a device has written itself it has seen, too.
func (m *model) waitInOrder(d *device, k int, list []line) {
	if d.hostile {
		return
	}
	counter := uint64(0)
	for _, l := range list {
		if l.Sender == d.Device && slices.ContainsFunc(d.outbox, func(s lamport.Submission) bool { return s.ID == l.ID }) {
			if l.Counter < counter {
				m.fail("I-06: %d waits below %d", l.Counter, counter)
			}
			counter = l.Counter
		}
	}
}

func (m *model) hostile(d lamport.Device) bool { return d.User == user(3) }

// agree: I-05. Two devices show what both have in one order. A message that was
// accepted again, since the store had lost it, stands where each device saw it
// first.
func (m *model) agree(a, b *device) {
	for k := range conversations {
		x, y := m.common(a, b, k), m.common(b, a, k)
		if !slices.Equal(x, y) {
			m.fail("I-05: %v and %v show one set of messages in two orders", a.Device, b.Device)
		}
	}
}

func (m *model) common(d, with *device, k int) (list []origin) {
	has := map[origin]bool{}
	for _, l := range with.screen[k] {
		has[l.origin()] = l.at.Number != 0
	}
	lines := slices.Clone(d.screen[k])
	slices.SortFunc(lines, m.compare)
	for _, l := range lines {
		if l.at.Number != 0 && has[l.origin()] && m.places[l.origin()] == 1 {
			list = append(list, l.origin())
		}
	}
	return list
}
