package main

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
)

// A demo that cannot fail shows nothing. Each sabotage breaks one thing that
// the library, the server or the network has to do, and each kind of damage is
// told apart.
func TestSabotage(t *testing.T) {
	for _, test := range []struct {
		name     string
		sabotage func(*conversation)
		found    func(counts) int
		word     string
	}{
		{"a network that alters ciphertexts", func(c *conversation) {
			n := 0
			c.bob.reads(func(open opener, tx *relay.Tx, typ uint8, b []byte) ([]byte, error) {
				if n++; n%7 == 0 {
					b = slices.Clone(b)
					b[len(b)-1] ^= 1
				}
				return open(tx, c.alice.id, typ, b)
			})
		}, func(n counts) int { return min(n.lost, n.refused) }, "LOST:"},
		{"a reader that stores its session and no text", func(c *conversation) {
			n := 0
			c.bob.reads(func(open opener, tx *relay.Tx, typ uint8, b []byte) ([]byte, error) {
				plaintext, err := open(tx, c.alice.id, typ, b)
				if n++; n%7 == 0 {
					return nil, errors.New("killed")
				}
				return plaintext, err
			})
		}, func(n counts) int { return min(n.lost, n.refused) }, "LOST:"},
		{"a text that changes", func(c *conversation) {
			c.bob.reads(func(open opener, tx *relay.Tx, typ uint8, b []byte) ([]byte, error) {
				plaintext, err := open(tx, c.alice.id, typ, b)
				if err == nil {
					plaintext[61] ^= 1 // the first byte of the body
				}
				return plaintext, err
			})
		}, func(n counts) int { return min(n.wrong, n.lost) }, "WRONG:"},
		{"a reader that does not store its session with the text", func(c *conversation) {
			c.bob.reads(func(open opener, tx *relay.Tx, typ uint8, b []byte) ([]byte, error) {
				before := tx.Get(peerRow(rowSession, c.alice.id))
				plaintext, err := open(tx, c.alice.id, typ, b)
				if before != nil {
					tx.Put(peerRow(rowSession, c.alice.id), before)
				}
				return plaintext, err
			})
		}, func(n counts) int { return n.repeated }, "REPEATED:"},
		{"a writer that does not store its session with the message", func(c *conversation) {
			seal := c.alice.seal
			c.alice.seal = func(tx *relay.Tx, to envelope.Device, id uint32, plaintext []byte) (uint8, []byte, error) {
				before := tx.Get(peerRow(rowSession, to))
				typ, b, err := seal(tx, to, id, plaintext)
				tx.Put(peerRow(rowSession, to), before)
				return typ, b, err
			}
		}, func(n counts) int { return n.lost }, "LOST:"},
		{"a message that is lost and looks like a duplicate", func(c *conversation) {
			n := 0
			var last []byte
			c.bob.reads(func(open opener, tx *relay.Tx, typ uint8, b []byte) ([]byte, error) {
				if n++; n%7 == 0 {
					return open(tx, c.alice.id, typ, last)
				}
				last = slices.Clone(b)
				return open(tx, c.alice.id, typ, b)
			})
		}, func(n counts) int { return n.lost }, "LOST:"},
		{"a server that shows a ciphertext under the ID of another message", func(c *conversation) {
			var last [16]byte
			c.net = lying{c.net, func(m *envelope.Deliver) { m.Header.ID, last = last, m.Header.ID }}
		}, func(n counts) int { return min(n.lost, n.refused) }, "LOST:"},
		{"a server that tells the devices different orders", func(c *conversation) {
			c.net = lying{c.net, func(m *envelope.Deliver) { m.Untrusted.Sequence ^= 1 }}
		}, func(n counts) int { return n.outOfOrder }, "OUT OF ORDER:"},
		{"a server that forgets what it has accepted", func(c *conversation) {
			c.net = forgetting{c.net, c.server}
		}, func(n counts) int { return n.wrong }, "WRONG:"},
		{"a mailbox that is too small", func(c *conversation) {
			c.server.MaxMailbox = 2
		}, func(n counts) int { return n.lost }, "LOST:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := 0
			for seed := range uint64(8) {
				c, err := newConversation(seed)
				require.NoError(t, err)
				test.sabotage(c)
				var out, errs bytes.Buffer
				code := c.show(60, &out, &errs)
				n := test.found(c.account.counts)
				found += n
				if n > 0 {
					require.Equal(t, exitFailed, code)
					require.Contains(t, out.String(), test.word)
					require.Equal(t, "sotto demo: something that must hold did not\n", errs.String())
				}
			}
			require.Positive(t, found)
		})
	}
}

type opener = func(tx *relay.Tx, from envelope.Device, typ uint8, ciphertext []byte) ([]byte, error)

// reads replaces how a device decrypts.
func (d *device) reads(f func(open opener, tx *relay.Tx, typ uint8, ciphertext []byte) ([]byte, error)) {
	open := d.open
	d.open = func(tx *relay.Tx, _ envelope.Device, typ uint8, ciphertext []byte) ([]byte, error) {
		return f(open, tx, typ, ciphertext)
	}
}

// lying changes the stored messages to Bob, but for the first two, if the frame
// keeps its size.
type lying struct {
	network
	change func(*envelope.Deliver)
}

func (l lying) deliver(frame []byte) deliverFate {
	var f envelope.Frame
	v, err := f.Parse(frame)
	if m, ok := v.(*envelope.Deliver); err == nil && ok && !m.Ephemeral && m.Header.Sender.User[0] == 'A' && m.Untrusted.Position > 2 {
		d := *m
		l.change(&d)
		if b, err := d.AppendBinary(nil); err == nil && len(b) == len(frame) {
			copy(frame, b)
		}
	}
	return l.network.deliver(frame)
}

// forgetting loses receipts and windows before each submission.
type forgetting struct {
	network
	server *relay.Server
}

func (f forgetting) submit(frame []byte) submitFate {
	_ = f.server.Store.Update(func(tx *relay.Tx) error {
		for _, key := range append(tx.Keys("receipt/"), tx.Keys("window/")...) {
			tx.Delete(key)
		}
		return nil
	})
	return f.network.submit(frame)
}
