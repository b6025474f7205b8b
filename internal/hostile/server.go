package hostile

import (
	"bytes"
	"slices"

	"github.com/sotto-im/sotto/envelope"
)

// A box is a mailbox as the hostile server keeps it: what the honest part has
// accepted, numbered when it is sent.
type box struct {
	epoch  uint32
	last   uint64
	sent   map[uint64][]byte   // what a Fetch gets
	caught []*envelope.Deliver // not numbered yet
}

func encode(m envelope.Message) []byte {
	b, err := m.AppendBinary(nil)
	must(err)
	return b
}

// fromDevice takes a frame of a device.
func (w *world) fromDevice(d *device, frame []byte) {
	m, err := new(envelope.Frame).Parse(bytes.Clone(frame))
	must(err)
	switch m := m.(type) {
	case *envelope.Submit:
		w.look(d, m)
		if w.answer != nil {
			if answers := w.answer(d, m); answers != nil {
				for _, r := range answers {
					d.take(encode(r))
				}
				return
			}
		}
		d.take(encode(w.accept(d, m)))
	case *envelope.Fetch:
		if !d.connecting {
			d.note(Fetched)
		}
		w.again(d, m)
	case *envelope.Ack:
		d.at = m.Position
	}
}

// again sends what follows a position.
func (w *world) again(d *device, m *envelope.Fetch) {
	if m.MailboxEpoch > d.box.epoch {
		return
	}
	for p := m.After + 1; p <= d.box.last; p++ {
		if frame, ok := d.box.sent[p]; ok {
			d.take(frame)
		}
	}
}

// accept is what an honest server does with a message, and delivers it.
func (w *world) accept(d *device, m *envelope.Submit) *envelope.Result {
	r, err := w.server.Accept(d.id, m)
	must(err)
	if r.Code != envelope.Accepted {
		return r
	}
	for _, l := range w.letters {
		if l.id == m.Header.ID && l.from == d {
			for v := range m.Recipients.All() {
				if o := w.find(v.Device); o != nil {
					l.to = append(l.to, o)
				}
			}
		}
	}
	for v := range m.Recipients.All() {
		o := w.find(v.Device)
		if o == nil {
			continue
		}
		o.touched = true
		frames, err := w.server.Mailbox(o.id)
		must(err)
		for _, b := range frames {
			f, err := new(envelope.Frame).Parse(b)
			must(err)
			o.box.caught = append(o.box.caught, f.(*envelope.Deliver))
		}
		if w.catch != o {
			w.deliver(o)
		}
	}
	return r
}

// deliver sends a device what was caught.
func (w *world) deliver(o *device) {
	list := o.box.caught
	o.box.caught = nil
	for _, m := range list {
		w.send(o, m)
	}
}

// number gives a delivery the next position, and has it ready for a Fetch.
func (w *world) number(o *device, m *envelope.Deliver) []byte {
	o.box.last++
	m = copyOf(m)
	m.Untrusted.MailboxEpoch, m.Untrusted.Position = o.box.epoch, o.box.last
	b := encode(m)
	o.box.sent[o.box.last] = b
	return b
}

// send delivers at the next position.
func (w *world) send(o *device, m *envelope.Deliver) { o.take(w.number(o, m)) }

// resent delivers what stands at a position, again.
func (w *world) resent(o *device, p uint64) { o.take(o.box.sent[p]) }

// caughtIn has somebody else write n messages to a conversation, and catches
// those for one device; all others get theirs.
func (w *world) caughtIn(name string, n int) (v *device, list []*envelope.Deliver) {
	c := w.named(name)
	v = pick(w, w.inside(c))
	others := slices.DeleteFunc(w.inside(c), func(d *device) bool { return d == v })
	return v, w.caughtFor(v, pick(w, others), c, n)
}

func (w *world) caughtFor(v, author *device, c *chat, n int) []*envelope.Deliver {
	if c.group {
		author.distribute(c)
	}
	w.catch = v
	for range n {
		w.write(author, c)
	}
	w.catch = nil
	list := v.box.caught
	v.box.caught = nil
	if len(list) < n {
		w.violation("%v cannot write to %v", author, v)
		panic(stuck{})
	}
	return list
}

// copyOf is a copy to be altered.
func copyOf(m *envelope.Deliver) *envelope.Deliver {
	v := *m
	v.Ciphertext = bytes.Clone(m.Ciphertext)
	return &v
}

// altered sends a copy that f has altered, and then the genuine one.
func altered(name string, f func(w *world, v *device, m *envelope.Deliver)) func(*world) {
	return func(w *world) {
		v, list := w.caughtIn(name, 1)
		m := copyOf(list[0])
		f(w, v, m)
		w.send(v, m)
		w.send(v, list[0])
	}
}
