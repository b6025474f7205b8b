package modeltest

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/sotto-im/sotto/lamport"
)

// The receiving half of a device: mailbox, inbox.

// An inbox is a lamport.Inbox, or one that breaks a rule of it.
type inbox interface {
	At() lamport.Position
	Receive(p lamport.Position, frame []byte) (lamport.Verdict, error)
	Skip(epoch uint32, from, to uint64) (lamport.Verdict, error)
	Next() (p lamport.Position, frame []byte, ok bool)
	Advance(p lamport.Position) error
	Restart(epoch uint32) error
	AppendBinary(b []byte) ([]byte, error)
	UnmarshalBinary(b []byte) error
}

func (m *model) newInbox() inbox {
	if m.broken.holdsEverything {
		return &hoarder{kept: map[uint64][]byte{}}
	}
	return new(lamport.Inbox)
}

// crash takes what is not durable; the device connects again and fetches.
func (m *model) crash(d *device) {
	m.stats.crashes++
	d.in = m.newInbox()
	if err := d.in.UnmarshalBinary(d.inbox); err != nil {
		m.fail("%v", err)
	}
	d.early = map[uint64]uint64{}
	m.fetch(d)
}

func (m *model) fetch(d *device) {
	d.flight = nil
	b := m.server.boxes[d.Device]
	after := uint64(0)
	if at := d.in.At(); at.Epoch == m.epoch {
		after = at.Number
	}
	if b.trimmed > after && !m.broken.trimSilently {
		d.flight = append(d.flight, delivery{p: lamport.Position{Epoch: m.epoch, Number: after + 1}, to: b.trimmed})
	}
	for _, n := range slices.Sorted(maps.Keys(b.rows)) {
		if n > after {
			d.flight = append(d.flight, delivery{p: lamport.Position{Epoch: m.epoch, Number: n}, entry: b.rows[n]})
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
	reach := 5
	if m.choose("order", 6) == 0 {
		reach = len(d.flight)
	}
	i := m.choose("which", min(len(d.flight), reach))
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
	before := d.in.At()
	verdict := m.verdict(d, v)
	if verdict == lamport.Resync {
		if err := d.in.Restart(v.p.Epoch); err != nil {
			m.fail("%v", err)
		}
		before, d.early = d.in.At(), map[uint64]uint64{}
		m.commit(d)
		old := d.flight // arrives all the same
		m.fetch(d)
		d.flight = append(d.flight, old...)
		verdict = m.verdict(d, v)
	}
	switch verdict {
	case lamport.Process:
		if v.to == 0 {
			m.process(d, v.p, v.entry)
		} else {
			m.passOver(d, before)
			m.commit(d)
			m.ack(d, d.in.At())
		}
		m.processHeld(d)
	case lamport.Acknowledge:
		m.ack(d, d.in.At())
	case lamport.Fetch:
		m.early(d, v)
		m.fetch(d)
	case lamport.Hold:
		m.early(d, v)
	default:
		m.fail("verdict %d", verdict)
	}
}

func (m *model) verdict(d *device, v delivery) lamport.Verdict {
	var verdict lamport.Verdict
	var err error
	if v.to != 0 {
		verdict, err = d.in.Skip(v.p.Epoch, v.p.Number, v.to)
	} else {
		verdict, err = d.in.Receive(v.p, binary.BigEndian.AppendUint64(nil, uint64(v.entry.index)))
	}
	if err != nil {
		m.fail("%v", err)
	}
	return verdict
}

// early notes what came before its turn. How much of it is held shows when its
// turn comes.
func (m *model) early(d *device, v delivery) {
	if v.to == 0 {
		at := d.in.At().Number
		if v.p.Number > at+lamport.MaxHeld {
			m.stats.far++
		}
		d.early[v.p.Number] = max(d.early[v.p.Number], at)
	}
}

// processHeld: I-17. What is held back is near what was next when it came.
func (m *model) processHeld(d *device) {
	for p, frame, ok := d.in.Next(); ok; p, frame, ok = d.in.Next() {
		at, ok := d.early[p.Number]
		if !ok || p.Number > at+lamport.MaxHeld {
			m.fail("I-17: %v was held back since %d", p, at)
		}
		m.process(d, p, m.history[binary.BigEndian.Uint64(frame)])
	}
}

// passOver notes a gap: what the device is told is lost is what was there.
func (m *model) passOver(d *device, before lamport.Position) {
	for n := before.Number + 1; n <= d.in.At().Number; n++ {
		e, ok := d.ledger[lamport.Position{Epoch: before.Epoch, Number: n}]
		if !ok {
			m.fail("I-03: a gap at %d, where nothing was", n)
		}
		if at, ok := d.early[n]; ok && n <= at+lamport.MaxHeld {
			m.fail("I-03: %d is held back, and passed over as a gap", n)
		}
		d.gone[e.origin()] = true
		m.stats.gaps++
	}
}

// process is the client's transaction: plaintext, clock and inbox together, then
// the acknowledgement. A crash may come on either side of the commit.
func (m *model) process(d *device, p lamport.Position, e entry) {
	if want, ok := d.ledger[p]; !ok || want != e {
		m.fail("I-03: %v processed at %v, where %v was put", e, p, want)
	}
	crash := m.choose("crash", 12)
	if m.broken.ackBeforeCommit {
		m.ack(d, p)
	}
	if crash == 0 {
		m.crash(d)
		return
	}
	if err := d.in.Advance(p); err != nil {
		m.fail("%v", err)
	}
	m.passOver(d, p) // a gap may go on behind it
	o := e.origin()
	if m.broken.toldByIDOnly {
		o.device = lamport.Device{}
	}
	if !d.had[o] || m.broken.notTold { // after a restore it may come again
		d.had[o] = true
		m.hear(d, conversation(e.Submission), e.Stamp)
		m.show(d, e)
	}
	m.stats.processed++
	m.commit(d)
	if crash == 1 {
		m.crash(d)
		return
	}
	m.ack(d, d.in.At())
}

func (m *model) commit(d *device) { d.inbox = must(d.in.AppendBinary(nil)) }

// ack is the server's half: what is of an older epoch has no effect.
func (m *model) ack(d *device, p lamport.Position) {
	if p.Epoch != m.epoch && !m.broken.ackOfAnyEpoch {
		return
	}
	b := m.server.boxes[d.Device]
	for i := b.acked + 1; i <= min(p.Number, b.last); i++ {
		delete(b.rows, i)
		b.acked = i
	}
}
