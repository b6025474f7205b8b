package main

import (
	"fmt"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
)

// What travels between a device and the server, and what becomes of it.

// connect gives a device a new connection. It asks for everything after what it
// has, and sends what is in its outbox: both are in its store, and nothing else
// is known of the connection before.
func (c *conversation) connect(d *device) error {
	l := newLine(d, c.server)
	c.lines[d] = l
	fetch, err := next(l.fromClient)
	if err != nil {
		return err
	}
	frames, err := c.fetch(l, fetch)
	if err != nil {
		return err
	}
	for _, frame := range frames {
		if err := c.underway(l, frame); err != nil {
			return err
		}
	}
	for range pending(l.client.Messages(c.chat)) {
		frame, err := next(l.fromClient)
		if err != nil {
			return err
		}
		if err := c.submit(l, frame); err != nil {
			return err
		}
		if c.lines[d] != l {
			return nil // it broke, and the next connection has sent the rest
		}
	}
	return nil
}

func pending(screen []relay.Message) (waiting []relay.Message) {
	for _, m := range screen {
		if m.State == relay.Pending {
			waiting = append(waiting, m)
		}
	}
	return waiting
}

// hangUp ends the connection of a device, and with it what is under way to it.
func (c *conversation) hangUp(l *line) {
	l.close()
	c.account.refused += l.client.Stats().Refused
	delete(c.lines, l.device)
}

// breaks is a connection that breaks. The device connects again.
func (c *conversation) breaks(l *line) error {
	c.account.cuts++
	c.hangUp(l)
	return c.connect(l.device)
}

// submit passes a message on to the server, and the answer back.
func (c *conversation) submit(l *line, frame []byte) error {
	var f envelope.Frame
	v, err := f.Parse(frame)
	if err != nil {
		return err
	}
	s, ok := v.(*envelope.Submit)
	if !ok {
		return fmt.Errorf("a device sends %T", v)
	}
	m := c.account.byID[s.Header.ID]
	if m.submits > 0 {
		c.account.about(m, "is sent again")
	}
	c.account.submitted(m)
	fate := c.net.submit(frame)
	if fate == cut {
		c.account.about(m, "the connection breaks in it")
		half(l.toServer, frame)
		return c.breaks(l)
	}
	times := 1
	if fate == repeated {
		times = 2
	}
	var result []byte
	for i := range times {
		if i > 0 {
			c.account.submitted(m)
			c.account.about(m, "comes again")
		}
		if err := pass(l.toServer, frame); err != nil {
			return err
		}
		if result, err = c.accepted(l, m); err != nil {
			return err
		}
		if fate == lost {
			c.account.about(m, "the answer is lost")
			half(l.toClient, result)
			return c.breaks(l)
		}
		if err := pass(l.toClient, result); err != nil {
			return err
		}
		if _, err := next(l.device.changed); err != nil {
			return err
		}
	}
	return nil
}

// accepted reads the answer of the server to a submission. If it accepts, the
// other device has got something, and is given it if it is connected.
func (c *conversation) accepted(l *line, m *message) (result []byte, err error) {
	if result, err = next(l.fromServer); err != nil {
		return nil, err
	}
	var f envelope.Frame
	v, err := f.Parse(result)
	if err != nil {
		return nil, err
	}
	r, ok := v.(*envelope.Result)
	if !ok {
		return nil, fmt.Errorf("the server answers a submission with %T", v)
	}
	c.account.answered(m, r)
	if r.Code != envelope.Accepted {
		return result, nil
	}
	other := c.other(l.device)
	c.last[other]++
	if to := c.lines[other]; to != nil {
		frame, err := next(to.fromServer)
		if err != nil {
			return nil, err
		}
		return result, c.underway(to, frame)
	}
	return result, nil
}

// fetch passes on what a device asks for, and reads what the server has for it.
func (c *conversation) fetch(l *line, frame []byte) (frames [][]byte, err error) {
	var f envelope.Frame
	v, err := f.Parse(frame)
	if err != nil {
		return nil, err
	}
	m, ok := v.(*envelope.Fetch)
	if !ok {
		return nil, fmt.Errorf("a device sends %T before it fetches", v)
	}
	at := m.After
	if err := pass(l.toServer, frame); err != nil {
		return nil, err
	}
	for at < c.last[l.device] {
		if frame, err = next(l.fromServer); err != nil {
			return nil, err
		}
		switch v, err := f.Parse(frame); m := v.(type) {
		case *envelope.Deliver:
			at = m.Untrusted.Position
		case *envelope.Gap:
			at = m.To
		default:
			return nil, fmt.Errorf("the server delivers %T: %w", v, err)
		}
		frames = append(frames, frame)
	}
	return frames, nil
}

// underway asks the network what it does with a frame for a device.
func (c *conversation) underway(l *line, frame []byte) error {
	fate := c.net.deliver(frame)
	m, err := c.messageOf(frame)
	if err != nil {
		return err
	}
	c.account.travels(m, fate)
	if !fate.dropped || m.name[0] != '~' {
		l.put(c.now, frame, fate)
	}
	return nil
}

// messageOf is what a frame of the server delivers.
func (c *conversation) messageOf(frame []byte) (*message, error) {
	var f envelope.Frame
	v, err := f.Parse(frame)
	switch m := v.(type) {
	case *envelope.Deliver:
		if m := c.account.byID[m.Header.ID]; m != nil {
			return m, nil
		}
	case *envelope.Gap:
		return &message{name: fmt.Sprintf("a gap of %d", m.To-m.From+1)}, nil
	}
	return nil, fmt.Errorf("the server delivers what nobody wrote: %w", err)
}

// deliver gives each device that is connected what is due.
func (c *conversation) deliver() error {
	for _, d := range []*device{c.alice, c.bob} {
		for c.lines[d] != nil {
			l := c.lines[d]
			a, ok := l.take(c.now)
			if !ok {
				break
			}
			if err := c.hand(l, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// hand gives a frame to a device, and passes on what it says.
func (c *conversation) hand(l *line, a arrival) error {
	m, err := c.messageOf(a.frame)
	if err != nil {
		return err
	}
	if a.breaks {
		c.account.does(l.device, "gets half of %s, the connection breaks", m.name)
		half(l.toClient, a.frame)
		return c.breaks(l)
	}
	if err := pass(l.toClient, a.frame); err != nil {
		return err
	}
	if m.name[0] == '~' {
		return c.whispered(l.device, m)
	}
	// Everything in a mailbox is answered: with an acknowledgement, after the
	// commit, or with a Fetch.
	var again [][]byte
	answer, err := next(l.fromClient)
	if err != nil {
		return err
	}
	read := c.tell(l.device)
	var f envelope.Frame
	switch v, err := f.Parse(answer); v.(type) {
	case *envelope.Ack:
		if read == 0 && m.from != nil {
			c.account.duplicates++
			c.account.does(l.device, "recognises %s, which it has", m.name)
		}
		if c.net.loseAck() {
			c.account.note("the connection breaks before it is acknowledged")
			half(l.toServer, answer)
			return c.breaks(l)
		}
		if err := pass(l.toServer, answer); err != nil {
			return err
		}
	case *envelope.Fetch:
		c.account.gaps++
		c.account.does(l.device, "gets %s, holds it back, and asks for what is missing", m.name)
		if again, err = c.fetch(l, answer); err != nil {
			return err
		}
	default:
		return fmt.Errorf("a device answers with %T: %w", v, err)
	}
	for _, frame := range again {
		if err := c.hand(l, arrival{frame: frame}); err != nil || c.lines[l.device] != l {
			return err
		}
	}
	return nil
}

// whispered waits until a device has read a whisper, or refused it.
func (c *conversation) whispered(d *device, m *message) error {
	m.handed++
	o, err := next(d.opened)
	if err != nil {
		return err
	}
	c.account.opened(d, o)
	if o.verdict != nil {
		return nil
	}
	text, err := next(d.heard)
	if err == nil {
		c.account.heard(text)
	}
	return err
}

// tell tells what a device has decrypted since, and how much that was.
func (c *conversation) tell(d *device) (n int) {
	for {
		select {
		case o := <-d.opened:
			c.account.opened(d, o)
			n++
		default:
			select { // the screen of before the answer
			case <-d.changed:
			default:
			}
			return n
		}
	}
}
