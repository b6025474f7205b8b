package demo

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
)

// A demo that cannot fail shows nothing. Each sabotage breaks one thing that the
// library, the server, the network or the app has to do, and each kind of damage
// is told apart.
func TestSabotage(t *testing.T) {
	for _, test := range []struct {
		name     string
		sabotage func(*conversation)
		found    func(counts) int
		word     string
	}{
		{"a network that alters ciphertexts", func(c *conversation) {
			n := 0
			reads(c.laptop, func(open opener, tx sesame.Tx, from sesame.Address, typ ratchet.Type, b []byte) (*sesame.Result, error) {
				if n++; n%7 == 0 {
					b = slices.Clone(b)
					b[len(b)-1] ^= 1
				}
				return open(tx, from, typ, b)
			})
		}, func(n counts) int { return min(n.lost, n.refused) }, "LOST:"},
		{"a reader that stores its session and no text", func(c *conversation) {
			n := 0
			reads(c.laptop, func(open opener, tx sesame.Tx, from sesame.Address, typ ratchet.Type, b []byte) (*sesame.Result, error) {
				r, err := open(tx, from, typ, b)
				if n++; n%7 == 0 {
					return &sesame.Result{Err: sesame.ErrUndecryptable}, err
				}
				return r, err
			})
		}, func(n counts) int { return min(n.lost, n.refused) }, "LOST:"},
		{"a text that changes", func(c *conversation) {
			reads(c.laptop, func(open opener, tx sesame.Tx, from sesame.Address, typ ratchet.Type, b []byte) (*sesame.Result, error) {
				r, err := open(tx, from, typ, b)
				if err == nil && r.Err == nil {
					r.Plaintext[61] ^= 1 // the first byte of the body
				}
				return r, err
			})
		}, func(n counts) int { return min(n.wrong, n.lost) }, "WRONG:"},
		{"a reader that does not store its session with the text", func(c *conversation) {
			reads(c.laptop, func(open opener, tx sesame.Tx, from sesame.Address, typ ratchet.Type, b []byte) (*sesame.Result, error) {
				return open(forgetful{tx, "sotto/session/"}, from, typ, b)
			})
		}, func(n counts) int { return n.repeated }, "REPEATED:"},
		{"a writer that does not store its session with the message", func(c *conversation) {
			seal := c.phone.seal
			c.phone.seal = func(tx sesame.Tx, plaintext []byte, to sesame.Address, id uint32) (sesame.Message, error) {
				return seal(forgetful{tx, "sotto/session/"}, plaintext, to, id)
			}
		}, func(n counts) int { return min(n.reused, n.lost) }, "KEY USED TWICE:"},
		{"a message that is lost and looks like a duplicate", func(c *conversation) {
			n := 0
			var last []byte
			var lastType ratchet.Type
			var lastFrom sesame.Address
			reads(c.laptop, func(open opener, tx sesame.Tx, from sesame.Address, typ ratchet.Type, b []byte) (*sesame.Result, error) {
				if n++; n%7 == 0 {
					return open(tx, lastFrom, lastType, last)
				}
				last, lastType, lastFrom = slices.Clone(b), typ, from
				return open(tx, from, typ, b)
			})
		}, func(n counts) int { return n.lost }, "LOST:"},
		{"a reader that does not mark a changed key", func(c *conversation) {
			reads(c.phone, func(open opener, tx sesame.Tx, from sesame.Address, typ ratchet.Type, b []byte) (*sesame.Result, error) {
				r, err := open(tx, from, typ, b)
				if err == nil {
					r.IdentityChanged = false
				}
				return r, err
			})
		}, func(n counts) int { return n.wrong }, "WRONG: phone reads"},
		{"a phone that is replaced by a copy of its rows", func(c *conversation) {
			c.databases = func(name string) (Do, error) { return c.bob.rows, nil }
		}, func(n counts) int { return n.wrong }, "which was sealed for the phone before"},
		{"a server that does not notice that a device was installed anew", func(c *conversation) {
			c.register = func(envelope.Device, uint32) error { return nil }
		}, func(n counts) int { return min(n.refused, n.lost) }, "LOST:"},
		{"a server that keeps the window of a device that was installed anew", func(c *conversation) {
			c.register = func(d envelope.Device, id uint32) error {
				var key string
				var window []byte
				return errors.Join(c.server.Store.Update(func(tx *relay.Tx) error {
					for _, key = range tx.Keys("window/") {
						if strings.HasPrefix(key, fmt.Sprintf("window/%x/", d.User)) {
							window = slices.Clone(tx.Get(key))
							break
						}
					}
					return nil
				}), c.server.Register(d, id), c.server.Store.Update(func(tx *relay.Tx) error {
					tx.Put(key, window)
					return nil
				}))
			}
		}, func(n counts) int { return n.wrong }, "WRONG:"},
		{"a database that says that it has committed, and has not", func(c *conversation) {
			rows, n := c.laptop.rows, 0
			c.laptop.rows = func(f func(sesame.Tx) error) error {
				errLost := errors.New("lost")
				err := rows(func(tx sesame.Tx) error {
					w := &writes{Tx: tx}
					if err := f(w); err != nil || !w.any {
						return err
					}
					if n++; n%9 == 0 {
						return errLost
					}
					return nil
				})
				if err == errLost {
					return nil
				}
				return err
			}
			c.laptop.process = newProcess(c.laptop.rows)
		}, func(n counts) int { return n.reused }, "KEY USED TWICE:"},
		{"a server that shows a ciphertext under the ID of another message", func(c *conversation) {
			var last [16]byte
			c.net = lying{c.net, c.laptop, func(m *envelope.Deliver) { m.Header.ID, last = last, m.Header.ID }}
		}, func(n counts) int { return n.lost }, "LOST:"},
		{"a server that tells the devices different orders", func(c *conversation) {
			c.net = lying{c.net, c.laptop, func(m *envelope.Deliver) { m.Untrusted.Sequence ^= 1 }}
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
			for seed := uint64(0); seed < 8 && found == 0; seed++ {
				synctest.Test(t, func(t *testing.T) { // nobody waits for what does not come
					c, err := newConversation(Options{Seed: seed, Open: Memory})
					require.NoError(t, err)
					test.sabotage(c)
					var out bytes.Buffer
					err = c.show(40, &out)
					n := test.found(c.account.counts)
					found += n
					if n > 0 && strings.Contains(out.String(), "\nsummary: ") {
						require.ErrorIs(t, err, errJudged)
						require.Contains(t, out.String(), test.word)
					}
				})
			}
			require.Positive(t, found)
		})
	}
}

type opener = func(tx sesame.Tx, from sesame.Address, typ ratchet.Type, ciphertext []byte) (*sesame.Result, error)

// reads replaces how a device decrypts.
func reads(d *device, f func(open opener, tx sesame.Tx, from sesame.Address, typ ratchet.Type, ciphertext []byte) (*sesame.Result, error)) {
	open := d.open
	d.open = func(tx sesame.Tx, from sesame.Address, typ ratchet.Type, ciphertext []byte) (*sesame.Result, error) {
		return f(open, tx, from, typ, ciphertext)
	}
}

// forgetful does not store what becomes of a row that there is: a session, or a
// chain of a group.
type forgetful struct {
	sesame.Tx
	prefix string
}

func (f forgetful) Put(key string, value []byte, rev uint64) error {
	if rev != 0 && strings.HasPrefix(key, f.prefix) {
		return nil
	}
	return f.Tx.Put(key, value, rev)
}

// lying changes every other stored message of others than a device, but for the
// first two, if the frame keeps its size.
type lying struct {
	network
	not    *device
	change func(*envelope.Deliver)
}

func (l lying) deliver(frame []byte) deliverFate {
	var f envelope.Frame
	v, err := f.Parse(frame)
	if m, ok := v.(*envelope.Deliver); err == nil && ok && !m.Ephemeral && m.Header.Sender != l.not.id && m.Untrusted.Position > 2 && m.Untrusted.Position%2 == 0 {
		d := *m
		l.change(&d)
		if b, err := d.AppendBinary(nil); err == nil && len(b) == len(frame) {
			copy(frame, b)
		}
	}
	return l.network.deliver(frame)
}

// writes tells whether a transaction writes.
type writes struct {
	sesame.Tx
	any bool
}

func (w *writes) Put(key string, value []byte, rev uint64) error {
	w.any = true
	return w.Tx.Put(key, value, rev)
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
