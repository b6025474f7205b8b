package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
)

const demoUsage = `usage: sotto demo [--seed N] [--messages N]

Alice and Bob talk through a server that cannot read them, over connections that
break in the middle of a frame, lose answers, repeat, delay and reorder. One of
them goes offline for a while; what he writes waits in his outbox, and what he
is written waits in his mailbox. Now and then they hint at what they are about
to write, in ephemeral messages that nobody stores: those are dropped, too. Both
keep everything in a store, as an app has to that may be killed at any time:
session and message are stored in one transaction, before a message leaves and
before one is acknowledged.

The account has a line for each message, and one for each that arrives:
  #3          a message; ~3 is a hint
  initial     it carries the handshake, which the sender repeats until the
              first answer; later ones are ordinary
  key f1e2d3/4
              the start of the sender's public ratchet key, and the number of
              the message under it
  is number 5 the place in the conversation that the server gave it; "as
              before" if it was accepted before: the first answer, again
  comes after 3
              the network holds it back until 3 more were written
  DH step     the message brought a new ratchet key: the reader takes secrets
              from it and will answer under a new key of its own
  late        newer messages were read before; the reader had kept the key
  recognises  a second copy, which is dropped

The last line is for scripts. The exit code is 1 if a message that was accepted
is missing on one of the two screens, or stands there twice, changed, or in
another order than the server's. One seed gives one account, but for the keys.

flags:
`

// demo runs "sotto demo".
func demo(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sotto demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	seed := flags.Uint64("seed", 1, "what the network does and who writes when")
	messages := flags.Int("messages", 24, "how many messages are written, 1 to 10000")
	help := false
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), demoUsage)
		flags.PrintDefaults()
	}
	flags.BoolFunc("h", "print this", func(string) error { help = true; return nil })
	flags.BoolFunc("help", "print this", func(string) error { help = true; return nil })
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	if help {
		flags.SetOutput(stdout)
		flags.Usage()
		return exitOK
	}
	if flags.NArg() > 0 || *messages < 1 || *messages > 10_000 {
		flags.Usage()
		return exitUsage
	}

	c, err := newConversation(*seed)
	if err != nil {
		fmt.Fprintln(stderr, "sotto demo:", err)
		return exitFailed
	}
	return c.show(*messages, stdout, stderr)
}

// newConversation makes Alice and Bob, a server, and a bad network.
func newConversation(seed uint64) (*conversation, error) {
	alice, err := newDevice("Alice")
	if err != nil {
		return nil, err
	}
	bob, err := newDevice("Bob")
	if err != nil {
		return nil, err
	}
	c := &conversation{
		seed:    seed,
		rng:     rand.New(rand.NewPCG(seed, streamWriters)),
		net:     &badNetwork{rng: rand.New(rand.NewPCG(seed, streamNetwork))},
		account: newAccount(io.Discard),
		server:  &relay.Server{Store: &relay.Store{}},
		chat:    newID(),
		alice:   alice,
		bob:     bob,
		lines:   map[*device]*line{},
		last:    map[*device]uint64{},
	}
	return c, errors.Join(c.server.Register(alice.id, alice.registrationID()), c.server.Register(bob.id, bob.registrationID()))
}

// Who writes when and what the network does come from two streams of one seed,
// so that one does not change when the other is made to draw more often.
const streamWriters, streamNetwork = 1, 46

// A conversation is two devices, the server and the network between them, and an
// account of what happens.
type conversation struct {
	seed       uint64
	rng        *rand.Rand // who writes when
	net        network
	account    *account
	server     *relay.Server
	chat       [16]byte // the opaque tag of the conversation
	alice, bob *device
	offline    *device

	lines map[*device]*line  // connections
	last  map[*device]uint64 // positions that the server has given out in a mailbox
	now   int                // messages written
}

// The stretches in which one side is offline: of every period messages, those
// from first on, as many as length.
const (
	period = 24
	first  = 8
	length = 6
)

// show runs the conversation, prints the account of it, and returns the exit
// code.
func (c *conversation) show(messages int, stdout, stderr io.Writer) int {
	out := bufio.NewWriter(stdout)
	c.account.w = out
	err := c.run(messages)
	c.account.endPart()
	if err == nil {
		fmt.Fprintln(out, c.account.summary(c.seed))
		if !c.account.ok() {
			err = errors.New("something that must hold did not")
		}
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		fmt.Fprintln(stderr, "sotto demo:", err)
		return exitFailed
	}
	return exitOK
}

func (c *conversation) run(messages int) error {
	defer func() {
		for _, l := range c.lines {
			c.hangUp(l)
		}
	}()
	bundle, err := c.bob.bundle()
	if err != nil {
		return err
	}
	if err := c.alice.start(c.bob.id, bundle); err != nil {
		return err
	}
	c.account.printf("Alice has Bob's bundle, whose signature is good, and makes a session.")
	if err := errors.Join(c.connect(c.alice), c.connect(c.bob)); err != nil {
		return err
	}

	writer := c.alice
	for i := range messages {
		switch i % period {
		case first:
			c.goOffline()
		case first + length:
			if err := c.goOnline(); err != nil {
				return err
			}
		}
		if c.rng.IntN(100) < 45 {
			writer = c.other(writer)
		}
		if !writer.canWrite(c.other(writer)) {
			writer = c.other(writer)
		}
		if c.rng.IntN(100) < 35 && c.lines[writer] != nil {
			if err := c.hint(writer); err != nil {
				return err
			}
		}
		if err := c.write(writer, i+1); err != nil {
			return err
		}
		if err := c.deliver(); err != nil {
			return err
		}
	}
	if err := c.goOnline(); err != nil {
		return err
	}
	for c.underWay() {
		c.now += maxDelay
		if err := c.deliver(); err != nil {
			return err
		}
	}
	return c.end()
}

func (c *conversation) other(d *device) *device {
	if d == c.alice {
		return c.bob
	}
	return c.alice
}

// underWay reports whether the network holds something.
func (c *conversation) underWay() bool {
	for _, l := range c.lines {
		if len(l.under) > 0 {
			return true
		}
	}
	return false
}

func (c *conversation) goOffline() {
	c.offline = c.alice
	if c.rng.IntN(2) == 1 {
		c.offline = c.bob
	}
	c.account.printf("---- %s goes offline", c.offline.name)
	c.hangUp(c.lines[c.offline])
}

func (c *conversation) goOnline() error {
	if c.offline == nil {
		return nil
	}
	d := c.offline
	c.offline = nil
	c.account.printf("---- %s is back", d.name)
	if err := c.connect(d); err != nil {
		return err
	}
	return c.deliver()
}

// to is the recipient table of a device, as its directory has it.
func (c *conversation) to(d *device) []envelope.Recipient {
	o := c.other(d)
	return []envelope.Recipient{{Device: o.id, RegistrationID: o.registrationID()}}
}

// write has a device write a message. Send stores it, with the session that has
// used up its key, in one transaction; the connection that runs sends it, or the
// next one.
func (c *conversation) write(d *device, number int) error {
	c.now++
	m := &message{name: fmt.Sprintf("#%d", number), from: d}
	m.text = fmt.Sprintf("%s (%d)", phrases[c.rng.IntN(len(phrases))], number)
	l, id := c.lines[d], newID()
	client := d.client()
	if l != nil {
		client = l.client
	}
	if err := client.Send(c.chat, id, c.to(d), []byte(m.text)); err != nil {
		return fmt.Errorf("%s cannot write: %w", d.name, err)
	}
	c.account.wrote(m, id, c.other(d))
	if l == nil {
		c.account.note("waits in the outbox")
		return nil
	}
	frame, err := next(l.fromClient)
	if err != nil {
		return err
	}
	return c.submit(l, frame)
}

// hint has a device send an ephemeral message. It uses a key of the session as
// any other; if it is dropped, the reader keeps that key.
func (c *conversation) hint(d *device) error {
	m := &message{name: fmt.Sprintf("~%d", c.now+1), from: d, text: fmt.Sprintf("typing (%d)", c.now+1)}
	l, id := c.lines[d], newID()
	sent := make(chan error, 1)
	go func() { sent <- l.client.Whisper(l.app, c.chat, id, c.to(d), []byte(m.text)) }()
	frame, err := next(l.fromClient)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	c.account.wrote(m, id, c.other(d))
	to := c.lines[c.other(d)]
	if to == nil {
		c.account.note("%s is not there", c.other(d).name)
		return nil
	}
	if err := pass(l.toServer, frame); err != nil {
		return err
	}
	if frame, err = next(to.fromServer); err != nil {
		return err
	}
	return c.underway(to, frame)
}

// end compares safety numbers and judges.
func (c *conversation) end() error {
	for _, d := range []*device{c.alice, c.bob} {
		c.hangUp(c.lines[d])
	}
	c.account.endPart()
	if c.bob.canWrite(c.alice) {
		alices, err := c.alice.safetyNumber(c.bob)
		if err != nil {
			return err
		}
		bobs, err := c.bob.safetyNumber(c.alice)
		if err != nil {
			return err
		}
		c.account.printf("Safety number that Alice sees: %s", alices)
		c.account.printf("                 and Bob sees: %s", bobs)
		if alices != bobs {
			return errors.New("the safety numbers differ")
		}
	}
	c.account.judge(c.alice, c.alice.client().Messages(c.chat))
	c.account.judge(c.bob, c.bob.client().Messages(c.chat))
	c.account.judgeWhispers()
	return nil
}

var phrases = []string{
	"Are you there?", "Half past four", "On the train", "Did it arrive?", "No signal here",
	"Bring the blue one", "Yes", "Tea or coffee?", "I forgot the key", "Look at the moon",
}
