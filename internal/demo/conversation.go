package demo

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/sesame"
)

// A conversation is three devices, the server and the network between them, and
// an account of what happens.
type conversation struct {
	seed      uint64
	rng       *rand.Rand // who writes when
	net       network
	account   *account
	server    *relay.Server
	directory *directory
	chat      [16]byte // the opaque tag of the conversation
	databases func(name string) (Do, error)
	register  func(d envelope.Device, registrationID uint32) error // at the server

	phone, laptop, bob *device
	devices            []*device
	offline            *device
	tunnel             bool // Bob is where there is no signal, and loses his phone there

	lines map[*device]*line  // connections
	last  map[*device]uint64 // positions that the server has given out in a mailbox
	now   int                // messages written
}

// Who writes when, what the network does and who is killed come from three
// streams of one seed, so that one does not change when another is made to draw
// more often.
const streamWriters, streamNetwork, streamKiller = 2, 47, 9

// The stretches in which one device is offline: of every period messages, those
// from first on, as many as length.
const (
	period = 24
	first  = 5
	length = 5
)

// A conversation in which Bob installs anew has that many messages or more.
const shortest, never = 4, -10

// newConversation makes the devices, a server, and a bad network.
func newConversation(o Options) (*conversation, error) {
	c := &conversation{
		seed: o.Seed,
		rng:  rand.New(rand.NewPCG(o.Seed, streamWriters)),
		net: &badNetwork{rng: rand.New(rand.NewPCG(o.Seed, streamNetwork)),
			killer: rand.New(rand.NewPCG(o.Seed, streamKiller))},
		account:   newAccount(),
		server:    &relay.Server{Store: &relay.Store{}},
		directory: &directory{published: map[envelope.Device]*sesame.Publication{}},
		chat:      newID(),
		databases: o.Open,
		lines:     map[*device]*line{},
		last:      map[*device]uint64{},
	}
	c.phone = c.newDevice("phone", "Alice", 1)
	c.laptop = c.newDevice("laptop", "Alice", 2)
	c.bob = c.newDevice("Bob", "Bob", 1)
	c.account.bob, c.register = c.bob, c.server.Register
	for d, name := range map[*device]string{c.phone: "phone", c.laptop: "laptop", c.bob: "bob"} {
		if err := c.install(d, name); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *conversation) newDevice(name, owner string, number uint32) *device {
	d := &device{name: name, id: envelope.Device{User: user(owner), ID: number}, others: [][16]byte{user("Alice"), user("Bob")},
		directory: c.directory, opened: make(chan opening, 1000), heard: make(chan string, 1), changed: make(chan struct{}, 1)}
	c.devices = append(c.devices, d)
	return d
}

// install installs the app on a database without rows, and registers it.
func (c *conversation) install(d *device, database string) error {
	rows, err := c.databases(database)
	if err != nil {
		return err
	}
	registrationID, err := d.install(rows)
	if err != nil {
		return err
	}
	return c.register(d.id, registrationID)
}

func (c *conversation) run(messages int) error {
	defer func() {
		for _, l := range c.lines {
			c.hangUp(l)
		}
	}()
	c.account.printf("Alice has a phone and a laptop, Bob has a phone. They have published prekeys, and know nothing of each other.")
	for _, d := range c.devices {
		if err := c.connect(d); err != nil {
			return err
		}
	}
	writer := c.phone
	anew := messages / 2 // when Bob installs anew
	if messages < shortest {
		anew = never
	}
	for i := range messages {
		if err := c.happens(i, anew); err != nil {
			return err
		}
		if c.rng.IntN(100) < 50 {
			writer = c.devices[c.rng.IntN(len(c.devices))]
		}
		switch i {
		case 0, 1, 2:
			writer = []*device{c.phone, c.bob, c.laptop}[i]
		case anew: // who does not know yet
			writer = c.devices[c.rng.IntN(2)]
		case anew + 1, anew + 2:
			writer = c.bob
		}
		if err := c.turn(writer, i+1); err != nil {
			return err
		}
	}
	if err := c.goOnline(); err != nil {
		return err
	}
	return c.end()
}

// happens is what happens before a message is written.
func (c *conversation) happens(i, anew int) (err error) {
	switch i % period {
	case first:
		c.goOffline()
	case first + length:
		err = c.goOnline()
	}
	switch i {
	case anew - 2:
		c.goUnderground()
	case anew:
		err = errors.Join(err, c.installAnew())
	}
	return err
}

// turn is the turn of a device to write, after what its user has to do first.
func (c *conversation) turn(d *device, number int) error {
	if d != c.bob && d.mustConfirm(c.bob) {
		if err := c.compare(d); err != nil {
			return err
		}
	}
	if c.rng.IntN(100) < 20 && c.lines[d] != nil {
		if err := c.hint(d, number); err != nil {
			return err
		}
	}
	if err := c.write(d, number); err != nil {
		return err
	}
	return c.deliver()
}

func (c *conversation) others(d *device) (list []*device) {
	for _, o := range c.devices {
		if o != d {
			list = append(list, o)
		}
	}
	return list
}

// arrive lets everything arrive that is under way.
func (c *conversation) arrive() error {
	for underWay := true; underWay; {
		c.now += maxDelay
		if err := c.deliver(); err != nil {
			return err
		}
		underWay = false
		for _, l := range c.lines {
			underWay = underWay || len(l.under) > 0
		}
	}
	return nil
}

func (c *conversation) goOffline() {
	c.offline = c.devices[c.rng.IntN(len(c.devices))]
	c.account.printf("---- %s goes offline", c.offline.name)
	if l := c.lines[c.offline]; l != nil {
		c.hangUp(l)
	}
}

func (c *conversation) goOnline() error {
	if c.offline == nil {
		return nil
	}
	d := c.offline
	c.offline = nil
	if d == c.bob && c.tunnel {
		return nil
	}
	c.account.printf("---- %s is back", d.name)
	if err := c.connect(d); err != nil {
		return err
	}
	return c.deliver()
}

// write has a device write a message. Send stores it, with the sessions that have
// used up their keys, in one transaction; the connection that runs sends it, or
// the next one.
func (c *conversation) write(d *device, number int) error {
	c.now++
	m := &message{name: fmt.Sprintf("#%d", number), from: d}
	m.text = fmt.Sprintf("%s (%d)", phrases[c.rng.IntN(len(phrases))], number)
	id := newID()
	for stored := false; !stored; {
		d.process.killAt(c.net.kill())
		err := c.send(d, id, m.text)
		if !errors.Is(err, errKilled) {
			d.process.killAt(0)
			if err != nil {
				return fmt.Errorf("%s cannot write: %w", d.name, err)
			}
			break
		}
		where := d.process.where
		d.process = newProcess(d.rows) // its rows say whether it has written
		for _, line := range d.client().Messages(c.chat) {
			stored = stored || line.ID == id
		}
		c.account.kills++
		if !stored {
			c.account.does(d, "is killed when it writes %s, %s. It writes it again", m.name, where)
			if err := c.again(d); err != nil {
				return err
			}
			continue
		}
		c.account.wrote(m, id)
		c.account.note("is killed %s", where)
		return c.again(d)
	}
	c.account.wrote(m, id)
	if c.lines[d] == nil {
		c.account.note("waits in the outbox")
		return nil
	}
	return c.flush(c.lines[d])
}

// send is what the app does when its user has written.
func (c *conversation) send(d *device, id [16]byte, text string) error {
	to, err := d.recipients()
	if err != nil {
		return err
	}
	client := d.client()
	if l := c.lines[d]; l != nil {
		client = l.client
	}
	return client.Send(c.chat, id, to, []byte(text))
}

// hint has a device send an ephemeral message. It uses a key of each session as
// any other; if it is dropped, the reader keeps that key.
func (c *conversation) hint(d *device, number int) error {
	m := &message{name: fmt.Sprintf("~%d", number), from: d, text: fmt.Sprintf("typing (%d)", number)}
	l, id := c.lines[d], newID()
	to, err := d.recipients()
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { sent <- l.client.Whisper(l.app, c.chat, id, to, []byte(m.text)) }()
	frame, err := next(l.fromClient)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	s, err := parse[*envelope.Submit](frame)
	if err != nil {
		return err
	}
	c.account.wrote(m, id)
	c.account.sees(m, s, c.others(d))
	if err := pass(l.toServer, frame); err != nil {
		return err
	}
	for _, o := range c.others(d) {
		for v := range s.Recipients.All() {
			if v.Device != o.id {
				continue
			}
			m.to[o] = &fate{installation: o.installation}
			if v.RegistrationID != o.registrationID {
				m.to[o].installation--
			}
			if err := c.passed(m, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// passed is a hint that the server hands to a device, if it is there.
func (c *conversation) passed(m *message, o *device) error {
	to := c.lines[o]
	if to == nil {
		c.account.note("%s is not there", o.name)
		return nil
	}
	frame, err := next(to.fromServer)
	if err != nil {
		return err
	}
	return c.underway(to, frame)
}

// end compares safety numbers and judges.
func (c *conversation) end() error {
	if err := c.arrive(); err != nil {
		return err
	}
	for _, d := range []*device{c.phone, c.laptop} {
		if d.mustConfirm(c.bob) {
			if err := c.compare(d); err != nil {
				return err
			}
		}
	}
	if err := c.arrive(); err != nil {
		return err
	}
	for _, d := range c.devices {
		c.hangUp(c.lines[d])
	}
	c.account.endPart()
	for _, d := range c.devices {
		c.account.judge(d, d.client().Messages(c.chat))
	}
	c.account.judgeWhispers()
	c.account.judgeTrust(c.phone, c.laptop)
	return nil
}

var phrases = []string{
	"Are you there?", "Half past four", "On the train", "Did it arrive?", "No signal here",
	"Bring the blue one", "Yes", "Tea or coffee?", "I forgot the key", "Look at the moon",
}
