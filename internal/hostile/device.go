package hostile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
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

// recipients lists the devices that a message is for. The server says which a
// user has of whom none was met; further ones are not believed.
func (d *device) recipients(c *chat) (list []envelope.Recipient, err error) {
	for _, u := range c.users {
		d.encounter(u)
		for _, o := range d.w.devicesOf(u) {
			if !d.known[o] {
				continue
			}
			if err := d.meet(o, 0); err != nil {
				return nil, err
			}
			p := d.peer(o)
			list = append(list, envelope.Recipient{Device: o, RegistrationID: p.RegistrationID})
		}
	}
	return list, nil
}

func (d *device) peer(o envelope.Device) (p sesame.Peer) {
	must(d.rows.Do(func(tx sesame.Tx) (err error) { p, err = d.sesame.Peer(tx, address(o)); return err }))
	return p
}

// meet makes a session from a bundle, unless there is one with the installation.
func (d *device) meet(o envelope.Device, registrationID uint32) error {
	p := d.peer(o)
	if p.Connected && (registrationID == 0 || p.RegistrationID == registrationID) {
		return nil
	}
	b, err := x3dh.ParseBundle(d.w.bundle(d, o))
	if err != nil {
		return err
	}
	return d.rows.Do(func(tx sesame.Tx) error { return d.sesame.Start(tx, address(o), b) })
}

func (d *device) meetAll(list []envelope.Recipient) error {
	for _, v := range list {
		if !d.trusts(v.Device) {
			continue // nothing will be sealed for it
		}
		if err := d.meet(v.Device, v.RegistrationID); err != nil {
			return err
		}
	}
	return nil
}

// trusts reports whether the user has met a device.
func (d *device) trusts(o envelope.Device) bool { return d.known[o] || d.w.Break == AnyDevice }

// encounter takes the devices of a user of whom none was met for his.
func (d *device) encounter(u [16]byte) {
	for o := range d.known {
		if o.User == u {
			return
		}
	}
	for _, o := range d.w.devicesOf(u) {
		d.known[o] = o != d.id
	}
}

// member is who may write in a conversation, as this user knows: in his
// conversations the devices that he has met.
func (d *device) member(conversation [16]byte, from envelope.Device) bool {
	reading := d.reading
	d.reading = false
	if d.w.Break == NoMembers {
		return true
	}
	c := d.w.chats[conversation]
	if c != nil && c.has(d.id) && c.has(from) {
		if d.encounter(from.User); d.trusts(from) {
			return true
		}
	}
	if reading {
		d.note(NotMember)
		d.opened++
	}
	return false
}

// seal is the Seal of the client.
func (d *device) seal(tx sesame.Tx, to envelope.Device, registrationID uint32, plaintext []byte) (uint8, []byte, error) {
	if !d.trusts(to) {
		d.note(Excluded)
		return 0, nil, relay.ErrExcluded
	}
	if d.sending != nil {
		if d.shared == nil {
			out, err := d.sesame.EncryptGroup(tx, 0, d.group(d.sending), plaintext, func(b []byte) []byte { return b })
			if err != nil {
				return 0, nil, err
			}
			d.shared = out.Ciphertext
		}
		return groupType, d.shared, nil
	}
	list, err := d.sesame.Repair(tx, plaintext, nil, sesame.Mismatch{Missing: map[sesame.Address]uint32{address(to): registrationID}})
	if err != nil {
		return 0, nil, err
	}
	m := list[0]
	if errors.Is(m.Err, sesame.ErrIdentityChanged) && d.w.Break == AnyIdentity {
		p, err := d.sesame.Peer(tx, address(to))
		if err == nil {
			err = d.sesame.Confirm(tx, address(to), p.Changed)
		}
		if err != nil {
			return 0, nil, err
		}
		return d.seal(tx, to, registrationID, plaintext)
	}
	switch {
	case errors.Is(m.Err, sesame.ErrIdentityChanged): // until the user has compared
		d.note(IdentityChanged)
		return 0, nil, relay.ErrWaits
	case m.Err != nil: // no session with that installation, whatever the server gives
		d.note(verdictOf(m.Err))
		return 0, nil, relay.ErrExcluded
	}
	return uint8(m.Type), m.Bytes, nil
}

// open is the Open of the client.
func (d *device) open(tx sesame.Tx, from envelope.Device, typ uint8, ciphertext []byte) ([]byte, envelope.Sender, error) {
	m := d.coming[string(ciphertext)]
	var r *sesame.Result
	var err error
	switch {
	case typ == groupType:
		r, err = d.sesame.DecryptGroup(tx, address(from), m.Header.Stamp, fmt.Sprintf("%x", m.Header.Conversation), ciphertext)
	case ratchet.Type(typ) == ratchet.PlaintextContent:
		var answer sesame.Message
		answer, err = d.sesame.HandleRetry(tx, address(from), d.id.ID, ciphertext, func(uint64) (bool, error) { return true, nil })
		r = &sesame.Result{Err: answer.Err}
	default:
		r, err = d.sesame.Decrypt(tx, address(from), ratchet.Type(typ), ciphertext)
		if err == nil && r.Err == nil {
			r.Missing = d.w.opened(pair{from, d.id}, ciphertext, r.Missing)
		}
	}
	if err != nil {
		return nil, envelope.Sender{}, err
	}
	if plaintext := d.misjudge(tx, r, m, typ); plaintext != nil {
		return plaintext, envelope.Sender(from), nil
	}
	verdict := r.Err
	if verdict == nil && r.IdentityChanged {
		verdict = sesame.ErrIdentityChanged
	}
	if verdict != nil {
		if errors.Is(verdict, sesame.ErrHeld) {
			d.held[heldKey(from, m.Header.Stamp)] = m
		}
		q, err := d.sesame.RetryRequest(tx, r, m.Header.Stamp)
		if err != nil {
			return nil, envelope.Sender{}, err
		}
		if q != nil {
			d.asks = append(d.asks, *q)
		}
		d.note(verdictOf(verdict))
		d.opened++
		return nil, envelope.Sender{}, fmt.Errorf("%w: %w", relay.ErrUnreadable, verdict)
	}
	if typ == groupType {
		if d.fresh[from] && r.Missing > 0 {
			r.Missing-- // what its author found out with who needs a distribution
		}
		d.fresh[from] = false
	}
	if r.Missing > 0 {
		d.note(Missing)
	}
	d.reading = true
	body, err := envelope.Unpack(&m.Header, envelope.Sender(from), r.Plaintext)
	if c := d.w.chats[m.Header.Conversation]; err != nil || c == nil || !c.has(from) {
		return r.Plaintext, envelope.Sender(from), nil // the client says no
	}
	d.orders(m, r)
	if len(body) > 0 && body[0] == distributionTag && typ != groupType {
		if err := d.takeDistribution(tx, r, m.Header.Conversation, body[1:]); err != nil {
			return nil, envelope.Sender{}, err
		}
	}
	return r.Plaintext, envelope.Sender(from), nil
}

// orders looks at the stamps of an installation. They ascend in what it writes to
// a conversation, and the server delivers in that order: R-9.3-5.
func (d *device) orders(m *envelope.Deliver, r *sesame.Result) {
	key := fmt.Sprintf("%x %v %x", m.Header.Conversation, m.Header.Sender, r.Identity.Bytes())
	if m.Header.Stamp <= d.stamps[key] {
		d.disorder = !d.deaf(Disorder)
		d.note(Disorder)
	}
	d.stamps[key] = max(d.stamps[key], m.Header.Stamp)
}

// The type of a group message, and what begins a body that brings a distribution.
const (
	groupType       = 7
	distributionTag = 'D'
)

// group is a group as this user knows it.
func (d *device) group(c *chat) sesame.Group {
	g := sesame.Group{Name: fmt.Sprintf("%x", c.id)}
	for o := range d.known {
		if d.known[o] && c.has(o) {
			g.Devices = append(g.Devices, address(o))
		}
	}
	slices.SortFunc(g.Devices, func(a, b sesame.Address) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	return g
}

var errUndo = errors.New("hostile: nothing to distribute")

// distribute brings those the distribution of the device's chain who need it, in
// a message of its own. What finds it out, for the group and for each of them, is not sent.
func (d *device) distribute(c *chat) {
	if _, err := d.recipients(c); err != nil {
		d.note(verdictOf(err))
		return
	}
	var distribution []byte
	var out *sesame.GroupMessage
	err := d.rows.Do(func(tx sesame.Tx) (err error) {
		out, err = d.sesame.EncryptGroup(tx, 0, d.group(c), []byte("who needs it?"), func(b []byte) []byte {
			distribution = slices.Clone(b)
			return b
		})
		if err == nil && distribution == nil {
			return errUndo
		}
		return err
	})
	if err != nil {
		if !errors.Is(err, errUndo) {
			must(err)
		}
		return
	}
	for _, m := range out.Messages {
		if m.Bytes != nil {
			d.w.seals(pair{d.id, envelope.Device{User: user(m.To.User), ID: m.To.Device}}, m.Bytes, true)
		}
	}
	if l := d.w.say(d, c, string(distributionTag)+string(distribution)); l != nil && len(l.to) > 0 {
		must(d.rows.Do(func(tx sesame.Tx) error {
			return d.sesame.Distributed(tx, d.group(c).Name, out.Chain, d.group(c).Devices...)
		}))
	}
}

func heldKey(from envelope.Device, stamp uint64) string { return fmt.Sprint(from, stamp) }

// takeDistribution takes a distribution, and shows what was held for it.
func (d *device) takeDistribution(tx sesame.Tx, r *sesame.Result, conversation [16]byte, b []byte) error {
	d.fresh[envelope.Device{User: user(r.From.User), ID: r.From.Device}] = true
	results, err := d.sesame.ProcessDistribution(tx, r, fmt.Sprintf("%x", conversation), b)
	if err != nil {
		return err
	}
	for _, v := range results {
		if v.Err != nil {
			d.note(verdictOf(v.Err))
			continue
		}
		from := envelope.Device{User: user(v.From.User), ID: v.From.Device}
		m := d.held[heldKey(from, v.Timestamp)]
		if m == nil {
			d.note(Mismatch)
			continue
		}
		body, err := envelope.Unpack(&m.Header, envelope.Sender(from), v.Plaintext)
		if err != nil || !d.member(m.Header.Conversation, from) {
			d.note(Mismatch)
			continue
		}
		at := lamport.Position{Epoch: m.Untrusted.Epoch, Number: m.Untrusted.Sequence}
		d.late = append(d.late, relay.Message{Key: lamport.ConfirmedKey(at, lamport.Stamp(m.Header.Stamp), lamport.Device(from), m.Header.ID),
			Conversation: m.Header.Conversation, ID: m.Header.ID, Sender: from, State: relay.Sent, Body: slices.Clone(body)})
	}
	return nil
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
