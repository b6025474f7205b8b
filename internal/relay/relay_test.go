package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/sesame"
)

func id(b ...byte) (v [16]byte) {
	v[0] = 0xee
	copy(v[1:], b)
	return v
}

var (
	phone    = envelope.Device{User: id('a'), ID: 1}
	laptop   = envelope.Device{User: id('a'), ID: 2}
	bob      = envelope.Device{User: id('b'), ID: 1}
	mallory  = envelope.Device{User: id('m'), ID: 1}
	everyone = []envelope.Device{phone, laptop, bob}
	chat     = id('c', 1)
	private  = id('c', 2) // of the user a alone
)

// A world is a server and its devices. Ciphertexts are plaintexts behind the
// names of both ends and a number that, like a message key, works once. The
// numbers are stored in the transaction of the message.
type world struct {
	t       *testing.T
	server  *Server
	clients map[envelope.Device]*Client
	stores  map[envelope.Device]*Store
}

func seal(from, to envelope.Device, plaintext []byte) []byte {
	return append([]byte(fmt.Sprintf("%x/%d>%x/%d:", from.User, from.ID, to.User, to.ID)), plaintext...)
}

func decode(b []byte) (n uint64) {
	for _, v := range b {
		n = n<<8 | uint64(v)
	}
	return n
}

func newWorld(t *testing.T, devices ...envelope.Device) *world {
	w := &world{t: t, server: &Server{Store: &Store{}, Now: func() uint64 { return 1_700_000_000_000 }}, clients: map[envelope.Device]*Client{}, stores: map[envelope.Device]*Store{}}
	for i, d := range devices {
		require.NoError(t, w.server.Register(d, uint32(100+i)))
		w.clients[d] = w.client(d, &Store{})
	}
	return w
}

func (w *world) client(d envelope.Device, store *Store) *Client {
	w.stores[d] = store
	return &Client{Self: d, Do: store.Do,
		Seal: func(rows sesame.Tx, to envelope.Device, _ uint32, plaintext []byte) (uint8, []byte, error) {
			tx := &Tx{rows: rows}
			key := deviceKey("session/out", to)
			n := binary.BigEndian.AppendUint64(nil, decode(tx.Get(key))+1)
			tx.Put(key, n)
			return 2, append(seal(d, to, n), plaintext...), tx.err
		},
		Open: func(rows sesame.Tx, from envelope.Device, _ uint8, ciphertext []byte) ([]byte, envelope.Sender, error) {
			tx := &Tx{rows: rows}
			head := seal(from, d, nil)
			if !bytes.HasPrefix(ciphertext, head) || len(ciphertext) < len(head)+8 {
				return nil, envelope.Sender{}, fmt.Errorf("%w: does not decrypt", ErrUnreadable)
			}
			key := fmt.Sprintf("%s/%x", deviceKey("session/in", from), ciphertext[len(head):len(head)+8])
			if tx.Get(key) != nil {
				return nil, envelope.Sender{}, fmt.Errorf("%w: key used before", ErrUnreadable)
			}
			tx.Put(key, nil)
			return ciphertext[len(head)+8:], envelope.Sender(from), tx.err
		},
		Member: func(conversation [16]byte, from envelope.Device) bool {
			return conversation == chat || from.User == phone.User
		},
	}
}

// to is the recipient table of a device, as its directory has it: all but itself.
func (w *world) to(from envelope.Device) (list []envelope.Recipient) {
	for i, d := range everyone {
		if d != from {
			list = append(list, envelope.Recipient{Device: d, RegistrationID: uint32(100 + i)})
		}
	}
	return list
}

// connect runs a connection until stop is called.
func (w *world) connect(d envelope.Device) (stop func()) {
	a, b := net.Pipe()
	return w.run(d, a, b)
}

func (w *world) run(d envelope.Device, client, server net.Conn) (stop func()) {
	done := make(chan struct{}, 2)
	c := w.clients[d]
	go func() { _ = w.server.Serve(server, d); done <- struct{}{} }()
	go func() { _ = c.Run(client); done <- struct{}{} }()
	return func() { client.Close(); <-done; <-done }
}

func (w *world) send(from envelope.Device, n byte, text string) {
	require.NoError(w.t, w.clients[from].Send(chat, id('m', n), w.to(from), []byte(text)))
}

func (w *world) screen(d envelope.Device) (lines []string) {
	for _, m := range w.clients[d].Messages(chat) {
		lines = append(lines, fmt.Sprintf("%s%s", map[State]string{Pending: "…", Failed: "✗"}[m.State], m.Body))
	}
	return lines
}

// Messages of two users reach three devices, in one order, also one that sleeps.
func TestSleepingDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.send(phone, 1, "one")
		stopPhone, stopBob := w.connect(phone), w.connect(bob)
		synctest.Wait()
		w.send(bob, 2, "two")
		synctest.Wait()
		w.send(phone, 3, "three")
		synctest.Wait()
		require.Empty(t, w.screen(laptop), "it sleeps")
		stopPhone()
		w.send(phone, 4, "four")
		require.Equal(t, []string{"one", "two", "three", "…four"}, w.screen(phone))
		stopLaptop := w.connect(laptop)
		synctest.Wait()
		require.Equal(t, []string{"one", "two", "three"}, w.screen(laptop))
		stopPhone = w.connect(phone)
		synctest.Wait()
		for _, d := range everyone {
			require.Equal(t, []string{"one", "two", "three", "four"}, w.screen(d))
			require.Equal(t, Stats{}, w.clients[d].Stats())
		}
		require.NoError(t, w.server.Store.Update(func(tx *Tx) error {
			require.Empty(t, tx.Keys("item/"), "all is acknowledged")
			return nil
		}))
		stopPhone()
		stopBob()
		stopLaptop()
	})
}

// A cutConn breaks after some bytes, in the middle of a frame as well.
type cutConn struct {
	net.Conn
	in, out int
}

func (c *cutConn) Write(b []byte) (int, error) {
	if len(b) > c.out {
		_, _ = c.Conn.Write(b[:c.out])
		c.Close()
		return c.out, io.ErrClosedPipe
	}
	c.out -= len(b)
	return c.Conn.Write(b)
}

func (c *cutConn) Read(b []byte) (int, error) {
	if c.in == 0 {
		c.Close()
		return 0, io.ErrClosedPipe
	}
	n, err := c.Conn.Read(b[:min(len(b), c.in)])
	c.in -= n
	return n, err
}

// I-01, I-02, I-03, I-04: connections that break anywhere, and stores on both
// sides that fail before and after their commits. Nothing is lost, nothing comes
// twice, and all screens are the same.
func TestBrokenConnectionsAndCrashes(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 5))
			w := newWorld(t, everyone...)
			stores := []*Store{w.server.Store}
			for _, d := range everyone {
				stores = append(stores, w.stores[d])
			}
			for i, s := range stores {
				r := rand.New(rand.NewPCG(seed, uint64(100+i)))
				s.fault = func() (bool, bool) { n := r.IntN(24); return n == 0, n == 1 }
			}
			const each = 30
			sent := 0
			var stops []func()
			for round := 0; ; round++ {
				require.Less(t, round, 3000)
				for _, stop := range stops {
					stop()
				}
				stops = nil
				synctest.Wait()
				if sent == each*len(everyone) && w.settled() {
					break
				}
				for i, d := range everyone {
					if c := w.clients[d]; sent < each*len(everyone) && i == sent%len(everyone) {
						mid := id('m', byte(sent))
						if err := c.Send(chat, mid, w.to(d), []byte(fmt.Sprint("message ", sent))); err != nil {
							require.ErrorIs(t, err, errCrash)
						}
						// After a crash only the store knows whether it is written.
						if slices.ContainsFunc(c.Messages(chat), func(m Message) bool { return m.ID == mid }) {
							sent++
						}
					}
					if r.IntN(4) > 0 { // else it sleeps
						a, b := net.Pipe()
						stops = append(stops, w.run(d, &cutConn{a, r.IntN(4000), r.IntN(4000)}, b))
					}
				}
				synctest.Wait()
			}
			var want []Message
			for _, d := range everyone {
				got := w.clients[d].Messages(chat)
				require.Len(t, got, sent)
				for i := range got {
					require.Equal(t, Sent, got[i].State)
				}
				if want == nil {
					want = got
				}
				require.Equal(t, want, got)
				require.Zero(t, w.clients[d].Stats().Refused)
				require.Zero(t, w.clients[d].Stats().Gaps)
				require.Zero(t, w.clients[d].Stats().Contradictions)
				require.Zero(t, w.clients[d].Stats().Duplicate, "the inbox lets none through")
			}
		})
	}
}

// settled tells whether all is answered and all is acknowledged. It looks past
// the faults.
func (w *world) settled() bool {
	ok := true
	look := func(s *Store, prefix string) {
		ok = ok && len(s.keys(prefix)) == 0
	}
	look(w.server.Store, "item/")
	for _, s := range w.stores {
		look(s, "outbox/")
	}
	return ok
}

// R-8.6-4: a message that would miss a device is not accepted; it is repaired
// under the same ID and counter, and what still fits is not encrypted again.
func TestDeviceMismatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		tablet, gone := envelope.Device{User: bob.User, ID: 2}, envelope.Device{User: bob.User, ID: 7}
		w.clients[tablet] = w.client(tablet, &Store{})
		require.NoError(t, w.server.Register(tablet, 7))
		require.NoError(t, w.server.Register(laptop, 555)) // registered anew

		sealed := map[envelope.Device]int{}
		c := w.clients[phone]
		inner := c.Seal
		c.Seal = func(tx sesame.Tx, to envelope.Device, reg uint32, p []byte) (uint8, []byte, error) {
			sealed[to]++
			return inner(tx, to, reg, p)
		}
		list := append(w.to(phone), envelope.Recipient{Device: gone, RegistrationID: 9})
		require.NoError(t, c.Send(chat, id('m', 1), list, []byte("one")))
		var stops []func()
		for _, d := range append(slices.Clone(everyone), tablet) {
			stops = append(stops, w.connect(d))
		}
		synctest.Wait()
		for _, d := range append(slices.Clone(everyone), tablet) {
			require.Equal(t, []string{"one"}, w.screen(d))
		}
		require.Equal(t, map[envelope.Device]int{bob: 1, laptop: 2, tablet: 1, gone: 1}, sealed)
		require.Equal(t, uint64(1), w.row("counter"), "one counter")
		for _, stop := range stops {
			stop()
		}
	})
}

func (w *world) row(key string) (n uint64) {
	return decode(w.stores[phone].get(key))
}

// R-8.8-6: a mailbox that is full drops its oldest messages and says so.
func TestTrimmedMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.server.MaxMailbox = 10
		for n := range byte(25) {
			w.send(phone, n+1, fmt.Sprint(n+1))
		}
		w.round(phone, bob)
		require.Len(t, w.screen(bob), 10)
		require.Equal(t, "16", w.screen(bob)[0])
		require.Equal(t, Stats{Gaps: 15}, w.clients[bob].Stats())
		require.True(t, w.acknowledged(bob))
	})
}

// A store that was restored from a copy raises its epoch. Messages that the copy
// lacks are lost at the server; nothing else is, nothing comes twice, and what is
// sent afterwards is sequenced behind everything.
func TestRestoredServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		round := func() {
			for range 2 {
				for _, d := range everyone {
					w.round(d)
				}
			}
		}
		w.send(phone, 1, "one")
		round()
		w.send(phone, 2, "two")
		w.round(phone)
		copied := w.server.Store.copy() // one is acknowledged, two lies in the mailboxes
		w.send(phone, 3, "three")
		round()
		require.Equal(t, []string{"one", "two", "three"}, w.screen(bob))
		w.server.Store = copied
		require.NoError(t, w.server.RaiseEpoch(2))
		w.send(bob, 4, "four")
		w.send(phone, 5, "five")
		round()
		for _, d := range everyone {
			require.Subset(t, w.screen(d), []string{"one", "two", "three", "four", "five"}, d.ID)
			require.Len(t, w.screen(d), 5)
			require.Equal(t, []string{"one", "two", "three"}, w.screen(d)[:3])
			require.True(t, w.acknowledged(d))
			places := map[string]bool{} // epoch and sequence
			for _, m := range w.clients[d].Messages(chat) {
				places[string(m.Key[:12])] = true
			}
			require.Len(t, places, 5, "a sequence number was given out twice")
		}
		require.Equal(t, w.screen(bob), w.screen(laptop))
		require.Equal(t, w.screen(bob), w.screen(phone))
		require.Equal(t, 1, w.clients[bob].Stats().Refused, "two came again, and its key was used")
	})
}

// R-8.4-5: ephemeral messages reach who is connected, and leave nothing behind.
func TestEphemeral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		var shown []string
		w.clients[bob].Show = func(_ [16]byte, from envelope.Device, body []byte) { shown = append(shown, string(body)) }
		stop := w.connect(bob)
		a, b := net.Pipe()
		go func() { _ = w.server.Serve(b, phone) }()
		synctest.Wait()
		whisper := func(n byte, text string) {
			require.NoError(t, w.clients[phone].Whisper(a, chat, id('e', n), w.to(phone), []byte(text)))
			synctest.Wait()
		}
		whisper(1, "typing…")
		stop()
		whisper(2, "still typing…")
		a.Close()
		synctest.Wait()
		require.Equal(t, []string{"typing…"}, shown)
		require.Empty(t, w.screen(bob))
		require.NoError(t, w.server.Store.Update(func(tx *Tx) error {
			require.Empty(t, tx.Keys("item/"))
			require.Empty(t, tx.Keys("receipt/"))
			require.Empty(t, tx.Keys("conversation/"))
			return nil
		}))
	})
}

// look reads a store past its faults.
func (s *Store) look(f func(*Tx)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.rows.Do(func(tx sesame.Tx) error { f(&Tx{rows: tx}); return nil })
}

func (s *Store) keys(prefix string) (keys []string) {
	s.look(func(tx *Tx) { keys = tx.Keys(prefix) })
	return keys
}

func (s *Store) get(key string) (value []byte) {
	s.look(func(tx *Tx) { value = tx.Get(key) })
	return value
}

// copy is a copy of the rows.
func (s *Store) copy() *Store {
	copied := &Store{}
	s.look(func(tx *Tx) {
		copied.look(func(to *Tx) {
			for _, k := range tx.Keys("") {
				to.Put(k, tx.Get(k))
			}
		})
	})
	return copied
}
