package relay

import (
	"errors"
	"io"
	"iter"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/sesame"
)

// twice runs every function that writes a second time: the first one meets
// another writer, and its transaction is rolled back.
func twice(do func(func(sesame.Tx) error) error) func(func(sesame.Tx) error) error {
	errAgain := errors.New("again")
	return func(f func(sesame.Tx) error) error {
		if err := do(func(tx sesame.Tx) error {
			if err := f(tx); err != nil {
				return err
			}
			return errAgain
		}); !errors.Is(err, errAgain) {
			return err
		}
		return do(f)
	}
}

// The function of a transaction may run again: what a client tells, counts and
// stores is what one run does.
func TestTransactionsRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		for _, d := range everyone {
			w.clients[d].Do = twice(w.stores[d].Do)
		}
		w.server.MaxMailbox = 4
		for n := range byte(6) {
			w.send(phone, n, string('a'+rune(n)))
		}
		w.round(phone)
		require.NoError(t, w.server.Register(laptop, 555))
		w.clients[bob].Member = func([16]byte, envelope.Device) bool { return false }
		w.send(phone, 9, "g") // is repaired
		w.round(phone, bob, laptop)
		require.Equal(t, []string{"a", "b", "c", "d", "e", "f", "g"}, w.screen(phone))
		require.Equal(t, []string{"d", "e", "f", "g"}, w.screen(laptop))
		require.Equal(t, Stats{Gaps: 3, Refused: 4}, w.clients[bob].Stats())
		require.Equal(t, Stats{Gaps: 3}, w.clients[laptop].Stats())
	})
}

// failing makes one step of each transaction fail, as the application's database
// may; the error is not that of a message.
type failing struct {
	sesame.Tx
	left *int
}

var errDisk = errors.New("disk failed")

func (f failing) step() error {
	if *f.left--; *f.left == 0 {
		return errDisk
	}
	return nil
}

func (f failing) Get(key string) ([]byte, uint64, error) {
	if err := f.step(); err != nil {
		return nil, 0, err
	}
	return f.Tx.Get(key)
}

func (f failing) Put(key string, value []byte, rev uint64) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.Tx.Put(key, value, rev)
}

// An error of the database at any step rolls the transaction back and ends the
// connection, with that error; the next connection does what was not done.
func TestDatabaseErrors(t *testing.T) {
	failed := 0
	for n := range 40 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			w.send(phone, 1, "one")
			w.round(phone)
			c, do := w.clients[bob], w.stores[bob].Do
			left := n + 1
			c.Do = func(f func(sesame.Tx) error) error {
				return do(func(tx sesame.Tx) error { return f(failing{tx, &left}) })
			}
			err := c.Send(chat, id('m', 2), w.to(bob), []byte("two"))
			if err != nil {
				require.ErrorIs(t, err, errDisk)
				require.Empty(t, w.stores[bob].keys(""), "nothing is stored")
			}
			a, b := net.Pipe()
			ended := make(chan error, 1)
			go func() { _ = w.server.Serve(b, bob) }()
			go func() { ended <- c.Run(a) }()
			synctest.Wait()
			a.Close()
			if err := <-ended; left <= 0 && errors.Is(err, errDisk) {
				failed++
			}
			c.Do = do
			if err != nil {
				w.send(bob, 2, "two")
			}
			w.round(bob, phone, laptop)
			for _, d := range everyone {
				require.Equal(t, []string{"one", "two"}, w.screen(d), "step %d", n)
				require.Zero(t, w.clients[d].Stats().Refused)
			}
		})
	}
	require.Greater(t, failed, 15)
}

// A Tx ends with its first error, whatever the function that it was given to
// makes of it, and does nothing after it. An empty row is not an absent one, also
// if the database says nil for it.
func TestTxKeepsErrors(t *testing.T) {
	for n := range 5 {
		s, left := &Store{}, n+1
		did := 0
		err := s.Do(func(rows sesame.Tx) error {
			tx := &Tx{rows: failing{rows, &left}}
			return tx.run(func(tx *Tx) error {
				tx.Put("a", []byte("1")) // reads, writes
				if did++; n < 2 {
					require.Nil(t, tx.Get("a"))
					require.Empty(t, tx.Keys(""))
				}
				tx.Delete("b")
				tx.Put("c", nil)
				return errors.New("hidden")
			})
		})
		require.ErrorIs(t, err, errDisk, "step %d", n)
		require.Empty(t, s.keys(""))
	}
	s := &Store{}
	require.NoError(t, s.Update(func(tx *Tx) error { tx.Put("a", nil); return nil }))
	require.NoError(t, s.Do(func(rows sesame.Tx) error {
		tx := &Tx{rows: nils{rows}}
		require.NotNil(t, tx.Get("a"))
		require.Nil(t, tx.Get("b"))
		return nil
	}))
}

// nils is a database that makes no difference between empty and nil.
type nils struct{ sesame.Tx }

func (n nils) Get(key string) ([]byte, uint64, error) {
	v, rev, err := n.Tx.Get(key)
	if len(v) == 0 {
		v = nil
	}
	return v, rev, err
}

// Run ends with the error of the database also when the outbox cannot be read,
// and when it fails in an ephemeral message.
func TestDatabaseErrorsEndTheConnection(t *testing.T) {
	run := func(w *world, d envelope.Device, f func(toServer net.Conn)) error {
		a, b := net.Pipe()
		ended := make(chan error, 1)
		go func() { _ = w.server.Serve(b, d) }()
		go func() { ended <- w.clients[d].Run(a) }()
		synctest.Wait()
		f(a)
		synctest.Wait()
		a.Close()
		return <-ended
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		do := w.stores[phone].Do
		w.clients[phone].Do = func(f func(sesame.Tx) error) error {
			return do(func(tx sesame.Tx) error { return f(noScan{tx}) })
		}
		a, b := net.Pipe()
		ended := make(chan error, 1)
		go func() { _, _ = io.Copy(io.Discard, b) }()
		go func() { ended <- w.clients[phone].Run(a) }()
		require.ErrorIs(t, <-ended, errDisk)
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		c := w.clients[bob]
		c.Open = func(sesame.Tx, envelope.Device, uint8, []byte) ([]byte, envelope.Sender, error) {
			return nil, envelope.Sender{}, errDisk
		}
		require.ErrorIs(t, run(w, bob, func(net.Conn) {
			w.server.pass(phone, &envelope.Submit{Ephemeral: true, Header: envelope.Header{Conversation: chat, ID: id('e', 1), Sender: phone},
				Recipients: table(t, envelope.Recipient{Device: bob, RegistrationID: 102, Type: 2, Ciphertext: []byte("x")})})
		}), errDisk)
	})
}

// noScan is a database in which nothing can be listed.
type noScan struct{ sesame.Tx }

func (n noScan) Scan(string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield("", errDisk) }
}

// R-9.4-6: a device that is installed anew counts from 1, and is heard; what the
// installation before has sent is not.
func TestInstalledAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		for n := range byte(3) {
			w.send(bob, n, string('a'+rune(n)))
		}
		old := w.clients[bob]
		stop := w.connect(bob)
		synctest.Wait()
		require.NoError(t, w.server.Register(bob, 102)) // the same one
		require.NotEmpty(t, w.server.live)
		require.NoError(t, w.server.Register(bob, 777))
		synctest.Wait()
		require.Empty(t, w.server.live, "hung up")
		stop()

		w.clients[bob] = w.client(bob, &Store{})
		require.NoError(t, w.stores[bob].Update(func(tx *Tx) error { // other keys than before
			tx.Put(deviceKey("session/out", phone), []byte{100})
			tx.Put(deviceKey("session/out", laptop), []byte{100})
			return nil
		}))
		for n := range byte(4) {
			w.send(bob, n+10, string('d'+rune(n)))
		}
		w.round(bob, phone)
		require.Equal(t, []string{"a", "b", "c", "d", "e", "f", "g"}, w.screen(phone))
		require.Equal(t, []string{"d", "e", "f", "g"}, w.screen(bob))
		require.NoError(t, old.Send(chat, id('m', 99), w.to(bob), []byte("late")))

		// A connection that outlives its installation changes nothing.
		a, b := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- w.server.Serve(b, laptop) }()
		synctest.Wait()
		w.server.mu.Lock()
		delete(w.server.live, laptop)
		w.server.mu.Unlock()
		require.NoError(t, w.server.Register(laptop, 888))
		items := w.server.Store.keys("item/")
		ack, err := (&envelope.Ack{MailboxEpoch: 1, Position: 1}).AppendBinary(nil)
		require.NoError(t, err)
		go func() { _ = writeFrame(a, ack); _, _ = envelope.ReadDelimited(a, nil); a.Close() }()
		require.ErrorIs(t, <-ended, errRefused)
		require.Equal(t, items, w.server.Store.keys("item/"))
	})
}

// Before a message is sealed for devices that the server names, the application
// meets them; while it waits for its user the message stays, byte for byte, and
// so do those behind it.
func TestMeetAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.send(phone, 1, "one")
		w.send(phone, 2, "two")
		require.NoError(t, w.server.Register(bob, 777))
		c := w.clients[phone]
		var met []envelope.Recipient
		agreed := false
		inner := c.Seal
		c.Meet = func(list []envelope.Recipient) error { met = append(met, list...); return nil }
		c.Seal = func(tx sesame.Tx, to envelope.Device, reg uint32, p []byte) (uint8, []byte, error) {
			if to == bob && !agreed {
				return 0, nil, ErrWaits
			}
			return inner(tx, to, reg, p)
		}
		before := w.stores[phone].get(outboxKey(1))
		w.round(phone)
		require.Equal(t, []envelope.Recipient{{Device: bob, RegistrationID: 777}}, met)
		require.Equal(t, []string{"…one", "…two"}, w.screen(phone))
		require.Equal(t, before, w.stores[phone].get(outboxKey(1)))
		require.ErrorIs(t, c.Send(chat, id('m', 3), w.to(phone), []byte("three")), ErrWaits)

		agreed = true
		w.round(phone, bob)
		require.Equal(t, []string{"one", "two"}, w.screen(phone))
		require.Equal(t, []string{"one", "two"}, w.screen(bob))

		// One that was answered before is nobody's to meet for.
		met = nil
		require.NoError(t, c.meet(&envelope.Result{ID: id('m', 1), Code: envelope.DeviceMismatch,
			Stale: table(t, envelope.Recipient{Device: bob, RegistrationID: 1})}))
		require.Empty(t, met)
		w.send(phone, 4, "four")
		c.Meet = func([]envelope.Recipient) error { return errDisk }
		require.NoError(t, w.server.Register(bob, 778))
		w.round(phone)
		require.Equal(t, []string{"one", "two", "…four"}, w.screen(phone))
	})
}
