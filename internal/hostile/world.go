package hostile

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// Config is what a run does.
type Config struct {
	Seed  uint64
	Break Defect    // what is wrong with the devices on purpose; Sound if nothing is
	Trace io.Writer // what happens, or nil
}

// A world is one run: the devices, their server, and what is really so.
type world struct {
	Config
	rng    *rand.Rand
	report *Report

	server  *relay.Server // the honest part
	time    time.Time
	users   map[[16]byte][]*device
	devices []*device // of the members, and of guests
	members [4]*device
	chats   map[[16]byte]*chat

	guests int

	// What the server does instead of what it should; nil is honest.
	answer func(d *device, m *envelope.Submit) []envelope.Message
	forge  func(asker, of *device, honest []byte) []byte
	catch  *device // the one whose deliveries are caught

	letters map[string]*letter // by body
	order   []*letter
	keys    map[string]string          // message key to ciphertext
	sealed  map[pair][]*sealed         // pairwise messages, in the order of writing
	part    int                        // attacks, and honest traffic between them, are counted
	class   *Class                     // that is being played
	also    []Verdict                  // how else it may surface, as it was played
	spied   func(v envelope.Recipient) // sees every ciphertext
}

// A chat is a conversation, and who is really in it.
type chat struct {
	id      [16]byte
	name    string
	users   [][16]byte
	group   bool // with sender keys
	written int  // letters
	touched bool // since the last judgement

	stamp uint64 // the highest that an honest device should have
}

// A letter is a message as its author wrote it.
type letter struct {
	number int // in the order of writing in the conversation
	from   *device
	chat   *chat
	id     [16]byte
	body   string
	to     []*device // whom the server has accepted it for
	missed map[*device]bool
}

// String is its body, if that is not a distribution.
func (l *letter) String() string {
	if l.body[0] == distributionTag {
		return fmt.Sprintf("a distribution of %v", l.from)
	}
	return fmt.Sprintf("%q", l.body)
}

// Run plays every class once, in an order of the seed, between honest traffic.
func Run(c Config) (report *Report) {
	w := newWorld(c)
	w.report.Runs++
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(stuck); !ok {
				panic(v)
			}
		}
		report = w.report
	}()
	w.calm()
	for _, i := range w.rng.Perm(len(Classes)) {
		w.play(&Classes[i])
		w.heal()
		w.calm()
	}
	return w.report
}

// stuck ends a run in which honest devices do not reach each other any more.
type stuck struct{}

// heal has an hour pass. Members whose keys seem to have changed compare safety
// numbers, and confirm the key that the other one has; what could not be read is
// asked for.
func (w *world) heal() {
	w.time = w.time.Add(time.Hour)
	for _, d := range w.devices {
		d.time = d.time.Add(time.Hour)
	}
	for _, d := range w.members {
		for _, o := range w.members {
			if d == o || d.peer(o.id).Changed == (x3dh.PublicKey{}) {
				continue
			}
			b, err := x3dh.ParseBundle(o.bundle(false))
			must(err)
			must(d.rows.Do(func(tx sesame.Tx) error {
				if err := d.sesame.Start(tx, address(o.id), b); err != nil {
					return err
				}
				return d.sesame.Confirm(tx, address(o.id), o.published.IdentityKey)
			}))
		}
	}
	w.ask()
}

// ask brings the requests for what could not be read to the devices whose
// messages they were. Nothing is in their logs, and so nothing is sent again; but a
// session that the other one does not have ends.
func (w *world) ask() {
	for _, d := range w.devices {
		for _, q := range d.asks {
			o := w.find(envelope.Device{User: user(q.To.User), ID: q.To.Device})
			if o == nil {
				continue
			}
			must(o.rows.Do(func(tx sesame.Tx) error {
				_, err := o.sesame.HandleRetry(tx, address(d.id), o.id.ID, q.Bytes, func(uint64) (bool, error) { return true, nil })
				return err
			}))
		}
		d.asks = nil
	}
}

func newWorld(c Config) *world {
	w := &world{Config: c, rng: rand.New(rand.NewPCG(c.Seed, 77)), report: newReport(),
		server: &relay.Server{Store: &relay.Store{}}, time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), users: map[[16]byte][]*device{},
		chats: map[[16]byte]*chat{}, letters: map[string]*letter{}, keys: map[string]string{}, sealed: map[pair][]*sealed{}}
	for i, v := range []envelope.Device{{User: user("alice"), ID: 1}, {User: user("alice"), ID: 2}, {User: user("bob"), ID: 1}, {User: user("carol"), ID: 1}} {
		w.members[i] = w.install(v)
	}
	w.begin("chat", false, "alice", "bob", "carol")
	w.begin("pair", false, "alice", "bob")
	w.begin("private", false, "alice")
	w.begin("group", true, "alice", "bob", "carol")
	for range 2 { // sessions that both sides have written in
		for _, d := range w.members {
			for _, name := range []string{"chat", "group"} {
				w.write(d, w.named(name))
			}
		}
	}
	return w
}

func user(name string) (u [16]byte) { copy(u[:], name); return u }

func address(d envelope.Device) sesame.Address {
	return sesame.Address{User: strings.TrimRight(string(d.User[:]), "\x00"), Device: d.ID}
}

// draw draws a tag.
func (w *world) draw() (id [16]byte) {
	binary.BigEndian.PutUint64(id[:], w.rng.Uint64()|1)
	binary.BigEndian.PutUint64(id[8:], w.rng.Uint64()&^1)
	return id
}

func pick[T any](w *world, list []T) T { return list[w.rng.IntN(len(list))] }

// begin begins a conversation.
func (w *world) begin(name string, group bool, users ...string) *chat {
	c := &chat{id: w.draw(), name: name, group: group}
	for _, u := range users {
		c.users = append(c.users, user(u))
	}
	w.chats[c.id] = c
	return c
}

func (w *world) named(name string) *chat {
	for _, c := range w.chats {
		if c.name == name {
			return c
		}
	}
	panic("hostile: no conversation " + name)
}

// has reports whether a device is really in a conversation.
func (c *chat) has(d envelope.Device) bool { return slices.Contains(c.users, d.User) }

// guest is somebody new, and a conversation with a member.
func (w *world) guest(with *device) (*device, *chat) {
	w.guests++
	name := fmt.Sprintf("guest %d", w.guests)
	g := w.install(envelope.Device{User: user(name), ID: 1})
	return g, w.begin(name, false, name, strings.TrimRight(string(with.id.User[:]), "\x00"))
}

// devicesOf is what the server says that a user has.
func (w *world) devicesOf(u [16]byte) (list []envelope.Device) {
	for _, d := range w.users[u] {
		list = append(list, d.id)
	}
	return list
}

func (w *world) find(id envelope.Device) *device {
	for _, d := range w.users[id.User] {
		if d.id == id {
			return d
		}
	}
	return nil
}

// bundle is what a device is given as the bundle of another one.
func (w *world) bundle(asker *device, of envelope.Device) []byte {
	d := w.find(of)
	var honest []byte
	if d != nil {
		honest = d.bundle(true)
	}
	if w.forge != nil {
		return w.forge(asker, d, honest)
	}
	return honest
}

// bundle is the bundle of a device; with gives its next one-time prekey out.
func (d *device) bundle(with bool) []byte {
	p := d.published
	info := x3dh.BundleInfo{RegistrationID: p.RegistrationID, DeviceID: d.id.ID, IdentityKey: p.IdentityKey, SignedPreKey: p.SignedPreKey}
	if with && len(p.OneTimePreKeys) > 0 {
		info.OneTimePreKey, p.OneTimePreKeys = &p.OneTimePreKeys[0], p.OneTimePreKeys[1:]
	}
	return encodeBundle(info)
}

func encodeBundle(info x3dh.BundleInfo) []byte {
	b, err := x3dh.NewBundle(info)
	must(err)
	out, err := b.AppendBinary(nil)
	must(err)
	return out
}

// must is for what cannot fail here: the store is in memory, and the caller wrote
// the values.
func must(err error) {
	if err != nil {
		panic("hostile: " + err.Error())
	}
}

func (w *world) trace(format string, args ...any) {
	if w.Trace != nil {
		fmt.Fprintf(w.Trace, format+"\n", args...)
	}
}

// calm is honest traffic. Nothing may be refused or reported in it.
func (w *world) calm() {
	w.part++
	before := w.snapshot()
	names := []string{"chat", "pair", "private", "group"}
	for range 1 + w.rng.IntN(2) {
		c := w.named(pick(w, names))
		if l := w.write(pick(w, w.inside(c)), c); l == nil || len(l.to) == 0 {
			w.violation("a message in %s is not accepted", c.name)
		}
	}
	w.judge(nil, before)
}

// inside lists the devices of a conversation.
func (w *world) inside(c *chat) (list []*device) {
	for _, d := range w.devices {
		if c.has(d.id) {
			list = append(list, d)
		}
	}
	return list
}

// play plays one class, and judges what came of it.
func (w *world) play(c *Class) {
	w.trace("%s: %s", c.Name, c.Does)
	w.class = c
	w.part++
	before := w.snapshot()
	c.play(w)
	w.answer, w.forge, w.spied, w.catch = nil, nil, nil, nil
	w.judge(c, before)
	w.class, w.also = nil, nil
}

// write has a device write to a conversation. It is nil if it could not.
func (w *world) write(d *device, c *chat) *letter {
	if c.group {
		d.distribute(c)
	}
	return w.say(d, c, fmt.Sprintf("%d by %v in %s", len(w.letters), d, c.name))
}

func (w *world) say(d *device, c *chat, body string) *letter {
	c.written++
	c.stamp++
	l := &letter{number: c.written, from: d, chat: c, id: w.draw(), body: body, missed: map[*device]bool{}}
	w.letters[body] = l
	w.order = append(w.order, l)
	c.touched, d.touched = true, true
	w.trace("  %v writes %v", d, l)
	if err := d.send(l); err != nil {
		w.trace("  and cannot: %v", err)
		return nil
	}
	return l
}
