package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
)

const demoUsage = `usage: sotto demo [--seed N] [--messages N]

Alice and Bob talk over a network that drops, duplicates and reorders what they
write. Nobody sends anything again: what is dropped stays dropped. One of them
goes offline for a while, and then gets everything at once. Both keep their
sessions on disk, as an app has to that may be killed at any time: every step
reads the session, and stores it before a message leaves and before one is
acknowledged.

The account has a line for each message and for each copy that arrives:
  initial     it carries the handshake, which the sender repeats until the
              first answer; later ones are ordinary
  key f1e2d3/4
              the start of the sender's public ratchet key, and the number of
              the message under it
  after 3     the network holds the message back until 3 more were written
  DH step     the message brought a new ratchet key: the reader takes secrets
              from it and will answer under a new key of its own
  late        newer messages were read before; the reader had kept the key
  recognises  a second copy, which is dropped

The last line is for scripts. The exit code is 1 if a message that was delivered
was lost, shown to its reader twice, or changed. One seed gives one account, but
for the keys.

flags:
`

// demo runs "sotto demo".
func demo(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sotto demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	seed := flags.Uint64("seed", 1, "what the network does and who writes when")
	messages := flags.Int("messages", 24, "how many messages are written, 1 to 100000")
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
	if flags.NArg() > 0 || *messages < 1 || *messages > 100_000 {
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

// newConversation makes Alice and Bob, and a bad network between them.
func newConversation(seed uint64) (*conversation, error) {
	alice, err := newDevice("Alice", memory{})
	if err != nil {
		return nil, err
	}
	bob, err := newDevice("Bob", memory{})
	if err != nil {
		return nil, err
	}
	return &conversation{
		seed:    seed,
		rng:     rand.New(rand.NewPCG(seed, streamWriters)),
		net:     &badNetwork{rng: rand.New(rand.NewPCG(seed, streamNetwork))},
		account: newAccount(io.Discard),
		alice:   alice,
		bob:     bob,
	}, nil
}

// Who writes when and what the network does come from two streams of one seed,
// so that one does not change when the other is made to draw more often.
const streamWriters, streamNetwork = 1, 4

// A conversation is two devices, the network between them, and an account of
// what happens.
type conversation struct {
	seed       uint64
	rng        *rand.Rand // who writes when
	net        network
	account    *account
	alice, bob *device
	offline    *device
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
	bundle, err := c.bob.bundle()
	if err != nil {
		return err
	}
	if err := c.alice.start(bundle); err != nil {
		return err
	}
	c.account.printf("Alice has Bob's bundle, whose signature is good, and makes a session.")

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
		if writer == c.offline || !writer.canWrite() {
			writer = c.other(writer)
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
	c.net.wait()
	if err := c.deliver(); err != nil {
		return err
	}
	return c.end()
}

func (c *conversation) other(d *device) *device {
	if d == c.alice {
		return c.bob
	}
	return c.alice
}

func (c *conversation) goOffline() {
	c.offline = c.alice
	if c.rng.IntN(2) == 1 || !c.bob.canWrite() { // somebody has to be able to write
		c.offline = c.bob
	}
	c.account.printf("---- %s goes offline; %s keeps writing", c.offline.name, c.other(c.offline).name)
}

func (c *conversation) goOnline() error {
	if c.offline == nil {
		return nil
	}
	c.account.printf("---- %s is back", c.offline.name)
	c.offline = nil
	return c.deliver()
}

// write has a device write a message, and the network take it.
func (c *conversation) write(d *device, number int) error {
	text := fmt.Sprintf("%s (%d)", phrases[c.rng.IntN(len(phrases))], number)
	typ, body, err := d.write(text)
	if err != nil {
		return fmt.Errorf("%s cannot write: %w", d.name, err)
	}
	p := packet{number: number, from: d.name, to: c.other(d).name, typ: typ, body: body}
	return c.account.wrote(p, text, c.net.send(p))
}

// deliver gives each device that is online what has arrived for it.
func (c *conversation) deliver() error {
	for _, d := range []*device{c.alice, c.bob} {
		if d == c.offline {
			continue
		}
		for _, p := range c.net.receive(d.name) {
			c.account.got(p, d.receive(p))
		}
	}
	return nil
}

// end compares safety numbers and judges.
func (c *conversation) end() error {
	c.account.endPart()
	if c.bob.canWrite() {
		alices, err := c.alice.safetyNumber("Bob")
		if err != nil {
			return err
		}
		bobs, err := c.bob.safetyNumber("Alice")
		if err != nil {
			return err
		}
		c.account.printf("Safety number that Alice sees: %s", alices)
		c.account.printf("                 and Bob sees: %s", bobs)
		if alices != bobs {
			return errors.New("the safety numbers differ")
		}
	}
	c.account.judge("Alice", c.alice.inbox())
	c.account.judge("Bob", c.bob.inbox())
	return nil
}

var phrases = []string{
	"Are you there?", "Half past four", "On the train", "Did it arrive?", "No signal here",
	"Bring the blue one", "Yes", "Tea or coffee?", "I forgot the key", "Look at the moon",
}
