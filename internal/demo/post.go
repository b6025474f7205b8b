package demo

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/envelope"
)

// What travels between a device and the server, and what becomes of it.

// connect gives a device a new connection. It asks for everything after what it
// has, and sends what is in its outbox: both are in its rows, and nothing else is
// known of the connection before.
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
	return c.flush(l)
}

// hangUp ends the connection of a device, and with it what is under way to it.
func (c *conversation) hangUp(l *line) {
	l.close()
	delete(c.lines, l.device)
}

// breaks is a connection that breaks. The device connects again.
func (c *conversation) breaks(l *line) error {
	c.account.cuts++
	c.hangUp(l)
	return c.connect(l.device)
}

// killed is a process that was killed, on which somebody waited.
func (c *conversation) killed(d *device, doing string) error {
	c.account.kills++
	c.account.does(d, "is killed when %s, %s", doing, d.process.where)
	d.process = newProcess(d.rows)
	return c.again(d)
}

// again is a process that starts.
func (c *conversation) again(d *device) error {
	l := c.lines[d]
	if l == nil {
		return nil
	}
	c.hangUp(l)
	for len(d.changed)+len(d.heard) > 0 { // what the one before has said
		select {
		case <-d.changed:
		case <-d.heard:
		}
	}
	return c.connect(d)
}

// flush passes everything on that is in the outbox of a device, one after
// another. If a message waits because its recipient's key has changed, the users
// compare, and it goes on.
func (c *conversation) flush(l *line) error {
	for {
		n, err := l.device.waiting()
		if n == 0 || err != nil {
			return err
		}
		frame, err := next(l.fromClient)
		if err != nil {
			return err
		}
		waits, err := c.submit(l, frame)
		if err != nil || c.lines[l.device] != l {
			return err // it broke, and the next connection has sent the rest
		}
		if waits {
			return c.compare(l.device)
		}
	}
}

// submit passes a message on to the server, and the answer back. It reports
// whether the message waits for its user.
func (c *conversation) submit(l *line, frame []byte) (waits bool, err error) {
	s, err := parse[*envelope.Submit](frame)
	if err != nil {
		return false, err
	}
	m := c.account.byID[s.Header.ID]
	if m.submits > 0 {
		c.account.about(m, "is sent again")
	}
	c.account.sees(m, s, c.others(l.device))
	c.account.submitted(m)
	fate := c.net.submit(frame)
	if fate == cut {
		c.account.about(m, "the connection breaks in it")
		half(l.toServer, frame)
		return false, c.breaks(l)
	}
	times := 1
	if fate == repeated {
		times = 2
	}
	for i := range times {
		if i > 0 {
			c.account.submitted(m)
			c.account.about(m, "comes again")
		}
		if err := pass(l.toServer, frame); err != nil {
			return false, err
		}
		result, code, err := c.accepted(l, m)
		if err != nil {
			return false, err
		}
		if fate == lost {
			c.account.about(m, "the answer is lost")
			half(l.toClient, result)
			return false, c.breaks(l)
		}
		d := l.device
		d.process.killAt(c.net.kill())
		if err := pass(l.toClient, result); err != nil {
			return false, err
		}
		if _, err := await(d.changed, d.process.died); errors.Is(err, errKilled) {
			return false, c.killed(d, "it learns that of "+m.name)
		} else if err != nil {
			return false, err
		}
		d.process.killAt(0)
		if code == envelope.DeviceMismatch {
			if waits = d != c.bob && d.mustConfirm(c.bob); waits {
				c.account.waits(m)
			}
			return waits, nil
		}
	}
	return false, nil
}

// accepted reads the answer of the server to a submission. If it accepts, the
// other devices have got something, and are given it if they are connected.
func (c *conversation) accepted(l *line, m *message) (result []byte, code envelope.Code, err error) {
	if result, err = next(l.fromServer); err != nil {
		return nil, 0, err
	}
	r, err := parse[*envelope.Result](result)
	if err != nil {
		return nil, 0, err
	}
	c.account.answered(m, r, c.others(l.device))
	if r.Code != envelope.Accepted {
		return result, r.Code, nil
	}
	for _, o := range c.others(l.device) {
		c.last[o]++
		to := c.lines[o]
		if to == nil {
			continue
		}
		frame, err := next(to.fromServer)
		if err == nil {
			err = c.underway(to, frame)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	return result, r.Code, nil
}

// parse reads a frame of a kind.
func parse[T envelope.Message](frame []byte) (m T, err error) {
	v, err := new(envelope.Frame).Parse(frame)
	if err != nil {
		return m, err
	}
	m, ok := v.(T)
	if !ok {
		return m, fmt.Errorf("%T where %T has to follow", v, m)
	}
	return m, nil
}

// fetch passes on what a device asks for, and reads what the server has for it.
func (c *conversation) fetch(l *line, frame []byte) (frames [][]byte, err error) {
	m, err := parse[*envelope.Fetch](frame)
	if err != nil {
		return nil, err
	}
	at := m.After
	var f envelope.Frame
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
	c.account.travels(m, l.device, fate)
	if !fate.dropped || m.name[0] != '~' {
		l.under.put(c.now, frame, fate)
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
	for _, d := range c.devices {
		for c.lines[d] != nil {
			l := c.lines[d]
			a, ok := l.under.take(c.now)
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
	d := l.device
	if a.breaks {
		c.account.does(d, "gets half of %s, the connection breaks", m.name)
		half(l.toClient, a.frame)
		return c.breaks(l)
	}
	d.process.killAt(c.net.kill())
	if err := pass(l.toClient, a.frame); err != nil {
		return err
	}
	if m.name[0] == '~' {
		return c.whispered(d, m)
	}
	// Everything in a mailbox is answered: with an acknowledgement, after the
	// commit, or with a Fetch.
	answer, err := await(l.fromClient, d.process.died)
	read := c.tell(d)
	if d.process.ended() {
		return c.killed(d, "it reads "+m.name)
	}
	d.process.killAt(0)
	if err != nil {
		return err
	}
	return c.answer(l, m, answer, read)
}

// answer passes on what a device says to a frame of which it has read so many
// messages.
func (c *conversation) answer(l *line, m *message, answer []byte, read int) error {
	var again [][]byte
	var f envelope.Frame
	switch v, err := f.Parse(answer); v.(type) {
	case *envelope.Ack:
		switch {
		case m.from == nil:
			c.account.does(l.device, "is told of %s: the phone before had acknowledged them", m.name)
		case read == 0:
			c.account.duplicates++
			c.account.does(l.device, "recognises %s, which it has", m.name)
		}
		if c.net.loseAck() {
			c.account.note("the connection breaks before it is acknowledged")
			c.account.subject = ""
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
	o, err := await(d.opened, d.process.died)
	if err == nil {
		c.account.opened(d, o)
	}
	if d.process.ended() { // it may have said so just before
		m.to[d].excused = true
		return c.killed(d, "it reads "+m.name)
	}
	d.process.killAt(0)
	if err != nil {
		return err
	}
	if m.to[d].installation == d.installation {
		m.to[d].handed++
	}
	if o.verdict != nil {
		return nil
	}
	text, err := next(d.heard)
	if err == nil {
		c.account.heard(d, text)
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
