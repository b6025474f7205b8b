package demo

import (
	"errors"
	"net"
	"sync"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/sesame"
)

// A wire is the connection of a member, with the network at its end: a member
// has no loop of its own, and is asked for each frame.
type wire struct {
	toServer   net.Conn
	fromServer chan []byte
	under      arrivals
	closed     chan struct{}
	all        sync.WaitGroup
}

func newWire(m *member, server *relay.Server) *wire {
	w := &wire{fromServer: make(chan []byte), closed: make(chan struct{})}
	var far net.Conn
	w.toServer, far = net.Pipe()
	w.all.Go(func() { _ = server.Serve(far, m.id) })
	w.all.Go(func() { pump(w.toServer, w.fromServer, w.closed) })
	return w
}

func (w *wire) close() {
	close(w.closed)
	w.toServer.Close()
	w.all.Wait()
}

// connect gives a member a connection. It asks for everything after what it has,
// and sends what is in its outbox.
func (g *group) connect(m *member) error {
	w := newWire(m, g.server)
	g.wires[m] = w
	var at position
	if err := m.update(func(_ sesame.Tx, rows *relay.Tx) error { at = position{}; return load(rows, "position", &at) }); err != nil {
		return err
	}
	if err := g.fetch(m, at.fetch()); err != nil {
		return err
	}
	return g.flush(m)
}

// fetch passes on what a member asks for, and takes what the server has for it.
func (g *group) fetch(m *member, fetch *envelope.Fetch) error {
	frame, err := fetch.AppendBinary(nil)
	if err == nil {
		err = pass(g.wires[m].toServer, frame)
	}
	for n := fetch.After; n < g.last[m] && err == nil; n++ {
		err = g.comes(m)
	}
	return err
}

// comes takes a frame that the server has for a member, which the network
// delivers in its own time.
func (g *group) comes(m *member) error {
	w := g.wires[m]
	frame, err := next(w.fromServer)
	if err != nil {
		return err
	}
	w.under.put(g.now, frame, g.net.deliver(frame))
	return nil
}

func (g *group) hangUp(m *member) {
	g.wires[m].close()
	delete(g.wires, m)
}

// breaks is a connection that breaks. The member connects again.
func (g *group) breaks(m *member) error {
	g.account.cuts++
	g.hangUp(m)
	return g.connect(m)
}

// killed is a process that was killed. Another one begins on its rows.
func (g *group) killed(m *member, doing string) error {
	g.account.kills++
	g.account.says("            %-6s is killed when %s, %s", m.name, doing, m.process.where)
	m.process = newProcess(m.rows)
	g.hangUp(m)
	return g.connect(m)
}

// flush sends what is in the outbox of a member, one frame after another.
func (g *group) flush(m *member) error {
	for {
		frame, err := m.next()
		if frame == nil || err != nil {
			return err
		}
		w := g.wires[m]
		if err := g.submit(m, frame); err != nil || g.wires[m] != w {
			return err // it broke, and the next connection has sent the rest
		}
	}
}

// submit passes a frame on to the server, and the answer back.
func (g *group) submit(m *member, frame []byte) error {
	s, err := parse[*envelope.Submit](frame)
	if err != nil {
		return err
	}
	n := g.account.sees(m, s)
	w := g.wires[m]
	fate := g.net.submit(frame)
	if fate == cut {
		g.account.on(n, "the connection breaks in it")
		half(w.toServer, frame)
		return g.breaks(m)
	}
	times := 1
	if fate == repeated {
		times = 2
	}
	for range times {
		if err := pass(w.toServer, frame); err != nil {
			return err
		}
		b, err := next(w.fromServer)
		if err != nil {
			return err
		}
		r, err := parse[*envelope.Result](b)
		if err != nil {
			return err
		}
		g.account.answers(n, s, r)
		if r.Code == envelope.Accepted {
			if err := g.accepted(s); err != nil {
				return err
			}
		}
		if fate == lost {
			g.account.on(n, "the answer is lost")
			return g.breaks(m)
		}
		m.process.killAt(g.net.kill())
		if err := m.answered(r); errors.Is(err, errKilled) {
			return g.killed(m, "it learns what became of "+n.name)
		} else if err != nil {
			return err
		}
		m.process.killAt(0)
		if r.Code == envelope.DeviceMismatch {
			return nil // it is sealed anew
		}
	}
	return nil
}

// accepted takes what the server has for the recipients now.
func (g *group) accepted(s *envelope.Submit) error {
	for v := range s.Recipients.All() {
		for _, o := range g.members {
			if o.id != v.Device {
				continue
			}
			if g.last[o]++; g.wires[o] == nil {
				continue
			}
			if err := g.comes(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// deliver gives each member what is due.
func (g *group) deliver() error {
	for _, m := range g.members {
		for g.wires[m] != nil {
			a, ok := g.wires[m].under.take(g.now)
			if !ok {
				break
			}
			if err := g.hand(m, a); err != nil {
				return err
			}
		}
	}
	g.account.tellReads()
	return nil
}

// hand gives a member a frame, and passes its acknowledgement on.
func (g *group) hand(m *member, a arrival) error {
	if a.breaks {
		return g.breaks(m)
	}
	d, err := parse[*envelope.Deliver](a.frame)
	if err != nil {
		return err
	}
	m.process.killAt(g.net.kill())
	answer, err := m.receive(d)
	if errors.Is(err, errKilled) {
		return g.killed(m, "it takes "+g.account.called(d))
	} else if err != nil {
		return err
	}
	m.process.killAt(0)
	switch answer := answer.(type) {
	case *envelope.Fetch:
		return g.fetch(m, answer)
	case *envelope.Ack:
		frame, err := answer.AppendBinary(nil)
		if err != nil {
			return err
		}
		if g.net.loseAck() {
			half(g.wires[m].toServer, frame)
			return g.breaks(m)
		}
		return pass(g.wires[m].toServer, frame)
	}
	return nil
}
