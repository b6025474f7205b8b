package modeltest

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/sotto-im/sotto/lamport"
)

// The client's half of the model, and what must hold at the end.

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
	for gone := n + 1; gone <= d.in.At().Number; gone++ { // a gap goes on behind it
		d.lost = append(d.lost, lamport.Position{Epoch: 1, Number: gone})
	}
	k := int(e.Conversation[1])
	var c lamport.Clock
	if err := c.UnmarshalBinary(d.clocks[k]); err != nil {
		m.fail("%v", err)
	}
	before := c.Now()
	// A device that trimmed mail has not seen may be told more than it can
	// take; then the clock goes as far as the bound.
	if err := c.Observe(e.Stamp); err != nil || c.Now() != max(before, min(e.Stamp, before+lamport.MaxLead)) {
		m.fail("I-08: observing %d moved %d to %d, %v", e.Stamp, before, c.Now(), err)
	}
	d.clocks[k] = must(c.AppendBinary(nil))
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
