package hostile

import (
	"fmt"
	"slices"
	"time"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/sesame"
)

// A device is an app: relay.Client for what the server sees, sesame.Device for
// keys, and the rules that are the app's own. It shows nothing under an identity
// key that is not trusted, writes to no device that its user has not met, and
// tells its user what was refused and what is missing.
//
// It is never killed, so what it knows beside its rows is in memory.
type device struct {
	w         *world
	id        envelope.Device
	rows      sesame.Memory
	time      time.Time
	sesame    *sesame.Device
	published *sesame.Publication
	client    *relay.Client
	exchange  *relay.Exchange

	known   map[envelope.Device]bool // devices that its user has met
	coming  map[string]*envelope.Deliver
	held    map[string]*envelope.Deliver // group messages that wait for a distribution
	stamps  map[string]uint64            // the highest of each conversation and installation
	fresh   map[envelope.Device]bool     // authors whose distribution has just come
	touched bool                         // since the last judgement
	late    []relay.Message              // what was held, and is shown now
	asks    []sesame.Message             // requests for what could not be read

	sending *chat // a group that is written to
	shared  []byte

	connecting bool
	failures   int
	at         uint64
	box        box

	read     map[string][]byte // plaintexts that [ShowDuplicates] keeps
	verdicts map[Verdict]int   // what its user was told
	stats    relay.Stats       // those that were told
	opened   int               // refusals that are told, which the client counts as well
	reading  bool              // open has given a plaintext
	disorder bool              // its user knows that the server contradicts itself
}

func (d *device) String() string { return nameOf(d.id) }

func nameOf(d envelope.Device) string { return fmt.Sprintf("%s/%d", address(d).User, d.ID) }

// install is a device with rows of its own, at the server.
func (w *world) install(id envelope.Device) *device {
	d := w.installUnseen(id)
	must(w.server.Register(id, d.published.RegistrationID))
	w.users[id.User] = append(w.users[id.User], d)
	w.devices = append(w.devices, d)
	d.connect()
	return d
}

func (w *world) installUnseen(id envelope.Device) *device {
	d := &device{w: w, id: id, time: w.time, known: map[envelope.Device]bool{},
		coming: map[string]*envelope.Deliver{}, held: map[string]*envelope.Deliver{}, fresh: map[envelope.Device]bool{}, stamps: map[string]uint64{},
		read: map[string][]byte{}, verdicts: map[Verdict]int{}, box: box{epoch: 1, sent: map[uint64][]byte{}}}
	must(d.rows.Do(func(tx sesame.Tx) (err error) {
		d.sesame, err = sesame.Open(tx, sesame.Config{Now: func() time.Time { return d.time }})
		return err
	}))
	d.publish(4)
	d.client = &relay.Client{Self: id, Do: d.rows.Do, Seal: d.seal, Open: d.open, Meet: d.meetAll, Member: d.member}
	return d
}

// publish makes n one-time prekeys.
func (d *device) publish(n int) {
	must(d.rows.Do(func(tx sesame.Tx) (err error) {
		d.published, err = d.sesame.Publish(tx, sesame.PreKeyBatch-n)
		return err
	}))
}

// note tells the user.
func (d *device) note(v Verdict) {
	if d.deaf(v) {
		return
	}
	d.w.trace("  %v: %s", d, v)
	d.verdicts[v]++
}

// connect begins a connection. After some that ended at once it gives up.
func (d *device) connect() {
	d.connecting = true
	x, frames, err := d.client.Exchange()
	must(err)
	d.exchange = x
	for _, f := range frames {
		if d.exchange == x {
			d.w.fromDevice(d, f)
		}
	}
	d.connecting = false
}

// take takes a frame of the server.
func (d *device) take(frame []byte) {
	if d.touched = true; d.exchange == nil {
		return
	}
	d.reading = false
	if m, err := new(envelope.Frame).Parse(slices.Clone(frame)); err == nil {
		if frame = d.misread(m, frame); frame == nil {
			return
		}
		if m, ok := m.(*envelope.Deliver); ok {
			d.coming[string(m.Ciphertext)] = m
		}
	}
	x := d.exchange
	frames, err := x.Take(frame)
	d.tell()
	if err != nil {
		d.note(verdictOf(err))
		d.exchange = nil
		if d.failures++; d.failures < 50 {
			d.connect()
		}
		return
	}
	for _, f := range frames {
		if d.exchange == x {
			d.w.fromDevice(d, f)
		}
	}
}

// tell tells the user what the client has counted.
func (d *device) tell() {
	s := d.client.Stats()
	told := func(now int, before *int, v Verdict) {
		if *before < now {
			d.note(v)
		}
		*before = now
	}
	if refused := s.Refused - d.stats.Refused - d.opened; refused > 0 {
		d.verdicts[Mismatch] += refused - 1
		d.note(Mismatch)
	}
	d.stats.Refused, d.opened = s.Refused, 0
	if s.Contradictions > d.stats.Contradictions {
		d.disorder = !d.deaf(Contradiction)
	}
	told(s.Duplicate, &d.stats.Duplicate, Repeated)
	told(s.Gaps, &d.stats.Gaps, GapShown)
	told(s.Restarts, &d.stats.Restarts, Restarted)
	told(s.Contradictions, &d.stats.Contradictions, Contradiction)
	told(s.Unreached, &d.stats.Unreached, Unreached)
}

// send writes a letter, and sends it.
func (d *device) send(l *letter) error {
	to, err := d.recipients(l.chat)
	if err == nil {
		if d.sending, d.shared = nil, nil; l.chat.group && l.body[0] != distributionTag {
			d.sending = l.chat
		}
		err = d.client.Send(l.chat.id, l.id, to, []byte(l.body))
		d.sending = nil
	}
	if err != nil {
		d.note(verdictOf(err))
		return err
	}
	if x := d.exchange; x != nil {
		frames, err := x.Outbox()
		must(err)
		for _, f := range frames {
			if d.exchange == x {
				d.w.fromDevice(d, f)
			}
		}
	}
	if (len(l.to) == 0 || d.w.answer != nil) && d.state(l) == relay.Failed {
		d.note(Failed)
	}
	return nil
}

// state is that of a message of the device's own.
func (d *device) state(l *letter) relay.State {
	for _, m := range d.client.Messages(l.chat.id) {
		if m.ID == l.id && m.Sender == d.id {
			return m.State
		}
	}
	return 0
}

// lines is what stands on the screen in a conversation.
func (d *device) lines(c *chat) []relay.Message {
	list := d.client.Messages(c.id)
	for _, m := range d.late {
		if m.Conversation == c.id {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b relay.Message) int { return a.Key.Compare(b.Key) })
	return list
}
