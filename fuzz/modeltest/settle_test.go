package modeltest

import "github.com/sotto-im/sotto/lamport"

// settle delivers what is left without faults, and checks what must hold then.
func (m *model) settle() {
	choose := m.choose
	m.choose = func(label string, n int) int { return n - 1 } // no fault is the last choice
	defer func() { m.choose = choose }()
	for _, d := range m.devices {
		m.look(d)
	}
	for _, d := range m.devices {
		for left := 4*len(d.outbox) + 4; len(d.outbox) > 0; left-- {
			if left == 0 {
				m.fail("I-10: a message stays in the outbox")
			}
			m.send(d)
		}
	}
	for _, d := range m.devices {
		m.crash(d)
		for rounds := 0; len(d.flight) > 0; rounds++ {
			if rounds > 100_000 {
				m.fail("I-17: a mailbox does not empty")
			}
			v := d.flight[0]
			d.flight = d.flight[1:]
			m.deliver(d, v)
		}
		m.checkNothingLost(d)
		m.learnPlaces(d)
		m.look(d)
	}
	for i, a := range m.devices {
		for _, b := range m.devices[:i] {
			m.agree(a, b)
		}
	}
}

// checkNothingLost: I-03, I-04, I-07. What the server knows to be accepted is on
// the screen, or the device was told that it is lost.
func (m *model) checkNothingLost(d *device) {
	shown := map[origin]bool{}
	for k := range conversations {
		for _, l := range d.screen[k] {
			shown[l.origin()] = true
		}
	}
	for _, e := range m.history {
		o := e.origin()
		if m.server.accepted[o] == e && o.device != d.Device && !shown[o] && !d.gone[o] {
			m.fail("I-03: %v never reached %v, and no gap tells", e, d.Device)
		}
	}
}

// learnPlaces is what a device does after TOO_OLD: another device of its user has
// the message, and its place.
func (m *model) learnPlaces(d *device) {
	for k := range conversations {
		for _, l := range d.screen[k] {
			if e, ok := m.server.accepted[l.origin()]; ok && l.at == (lamport.Position{}) {
				m.confirm(d, l.Submission, e.at)
			}
		}
	}
}
