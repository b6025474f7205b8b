package relay

import (
	"fmt"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/sesame"
)

// fake runs a connection of a device to a server that says what it is told to.
// It returns what the device has submitted.
func (w *world) fake(d envelope.Device, answer func(*envelope.Submit) *envelope.Result) (submitted []*envelope.Submit) {
	a, b := net.Pipe()
	ended := make(chan struct{})
	go func() { _ = w.clients[d].Run(a); close(ended) }()
	go func() {
		for {
			buf, err := envelope.ReadDelimited(b, nil)
			if err != nil {
				return
			}
			m, err := new(envelope.Frame).Parse(buf)
			require.NoError(w.t, err)
			s, ok := m.(*envelope.Submit)
			if !ok {
				continue
			}
			submitted = append(submitted, s)
			if r := answer(s); r != nil {
				r.ID = s.Header.ID
				out, err := r.AppendBinary(nil)
				require.NoError(w.t, err)
				if writeFrame(b, out) != nil {
					return
				}
			}
		}
	}()
	synctest.Wait()
	a.Close()
	b.Close()
	<-ended
	return submitted
}

func table(t *testing.T, list ...envelope.Recipient) envelope.Recipients {
	r, err := envelope.NewRecipients(list...)
	require.NoError(t, err)
	return r
}

func accepted(n uint64) *envelope.Result {
	return &envelope.Result{Code: envelope.Accepted, Epoch: 1, Sequence: n}
}

// texts is what a device has submitted, with its stamps: the plaintexts that
// were sealed for bob.
func texts(t *testing.T, list []*envelope.Submit) (out []string) {
	for _, s := range list {
		for v := range s.Recipients.All() {
			if v.Device != bob {
				continue
			}
			head := len(seal(s.Header.Sender, bob, nil)) + 8
			body, err := envelope.Unpack(&s.Header, envelope.Sender(s.Header.Sender), v.Ciphertext[head:])
			require.NoError(t, err, "header and packed plaintext go together")
			out = append(out, fmt.Sprintf("%s@%d", body, s.Header.Stamp))
		}
	}
	return out
}

func (w *world) setClock(d envelope.Device, at lamport.Stamp) {
	c, err := lamport.NewClock(at)
	require.NoError(w.t, err)
	require.NoError(w.t, w.stores[d].Update(func(tx *Tx) error { return tx.save(clockKey(chat), &c) }))
}

// R-9.2-6: a clock that began with a false stamp comes down, and all messages
// that wait get stamps of their own, in their order, under their counters.
func TestClockBoundRepair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.send(bob, 9, "zero")
		w.round(bob)
		w.setClock(phone, lamport.Max-10)
		for n := range byte(3) {
			w.send(phone, n, fmt.Sprint("message ", n))
		}
		stop := w.connect(phone)
		synctest.Wait()
		w.send(phone, 3, "message 3")
		synctest.Wait()
		stop()
		want := []string{"zero", "message 0", "message 1", "message 2", "message 3"}
		require.Equal(t, want, w.screen(phone))
		for i, m := range w.clients[phone].Messages(chat) {
			require.Equal(t, uint64(i+1), decode(m.Key[13:21]), "stamp")
		}
		w.round(bob)
		require.Equal(t, want, w.screen(bob))
		require.Equal(t, uint64(4), w.row("counter"))
		require.Zero(t, w.clients[phone].Stats().Contradictions)
	})
}

// R-9.2-6: a server that lies about its bound does not get one stamp for two
// messages, nor a stamp below one that it has accepted, nor an answer for ever.
func TestLyingClockBound(t *testing.T) {
	bound := func(m uint64) *envelope.Result { return &envelope.Result{Code: envelope.ClockBound, MaxStamp: m} }
	for name, v := range map[string]struct {
		answers []*envelope.Result // the last one again and again
		want    []string
		states  []State
		lies    int
	}{
		"within the bound that it tells": {[]*envelope.Result{bound(5)}, []string{"a@101", "b@102"}, []State{Failed, Failed}, 2},
		"after it had accepted": {[]*envelope.Result{accepted(1), bound(0)},
			[]string{"a@101", "b@102"}, []State{Sent, Failed}, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			w.setClock(phone, 100)
			w.send(phone, 1, "a")
			w.send(phone, 2, "b")
			got := w.fake(phone, func(*envelope.Submit) *envelope.Result {
				r := v.answers[0]
				if len(v.answers) > 1 {
					v.answers = v.answers[1:]
				}
				return r
			})
			require.Equal(t, v.want, texts(t, got), name)
			require.Equal(t, v.lies, w.clients[phone].Stats().Contradictions, name)
			for i, m := range w.clients[phone].Messages(chat) {
				require.Equal(t, v.states[len(v.states)-1-i], m.State, name) // failed ones stand where they were written
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.setClock(phone, lamport.Max-100)
		w.send(phone, 1, "a")
		w.send(phone, 2, "b")
		m := uint64(1 << 50)
		got := w.fake(phone, func(s *envelope.Submit) *envelope.Result { m /= 2; return bound(m) })
		require.Len(t, got, 2*(1+maxRounds))
		seen := map[uint64][16]byte{}
		for _, s := range got {
			id, ok := seen[s.Header.Stamp]
			require.True(t, !ok || id == s.Header.ID, "stamp %d stands on two messages", s.Header.Stamp)
			seen[s.Header.Stamp] = s.Header.ID
		}
		require.ElementsMatch(t, []string{"✗a", "✗b"}, w.screen(phone), "given up")
		require.Empty(t, w.outbox(phone))
	})
}

func (w *world) outbox(d envelope.Device) (keys []string) {
	_ = w.stores[d].Update(func(tx *Tx) error { keys = tx.Keys("outbox/"); return nil })
	return keys
}

// R-9.4-5: a message is not overtaken by the next of its conversation while it is
// repaired, or waits for a quota. Those of other conversations go on.
func TestMessagesKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		gone := envelope.Recipient{Device: envelope.Device{User: bob.User, ID: 7}, RegistrationID: 9}
		require.NoError(t, w.clients[phone].Send(chat, id('m', 1), append(w.to(phone), gone), []byte("one")))
		w.send(phone, 2, "two")
		require.NoError(t, w.clients[phone].Send(private, id('m', 3), w.to(phone), []byte("elsewhere")))
		w.round(phone)
		require.Equal(t, []string{"one", "two"}, w.screen(phone))
		w.round(bob)
		require.Equal(t, []string{"one", "two"}, w.screen(bob))
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.send(phone, 1, "one")
		w.send(phone, 2, "two")
		require.NoError(t, w.clients[phone].Send(private, id('m', 3), w.to(phone), []byte("elsewhere")))
		answers := map[[16]byte]*envelope.Result{
			id('m', 1): {Code: envelope.Quota, RetryAfter: 1000}, id('m', 2): accepted(1), id('m', 3): accepted(1)}
		got := w.fake(phone, func(s *envelope.Submit) *envelope.Result { return answers[s.Header.ID] })
		require.Equal(t, []string{"one@1", "elsewhere@1"}, texts(t, got))
		answers[id('m', 1)], answers[id('m', 2)] = accepted(1), accepted(2)
		got = w.fake(phone, func(s *envelope.Submit) *envelope.Result { return answers[s.Header.ID] })
		require.Equal(t, []string{"one@1", "two@2"}, texts(t, got), "the same bytes")
		require.Equal(t, []string{"one", "two"}, w.screen(phone))
	})
}

// R-8.6-4: a server that names other devices every time is answered five times;
// for a device that our own rules exclude nothing is encrypted; and a message to
// nobody does not exist. All such messages have failed, say so, and do not keep
// the next from being sent.
func TestRepairGivesUp(t *testing.T) {
	stranger := envelope.Device{User: bob.User, ID: 66}
	for name, v := range map[string]struct {
		answer    func(n int, s *envelope.Submit) *envelope.Result
		submitted int
		sealed    int // for the stranger
	}{
		"other devices every time": {func(n int, s *envelope.Submit) *envelope.Result {
			return &envelope.Result{Code: envelope.DeviceMismatch, Stale: table(t, envelope.Recipient{Device: bob, RegistrationID: uint32(1000 + n)})}
		}, 1 + maxRounds, 0},
		"a device that is excluded": {func(n int, s *envelope.Submit) *envelope.Result {
			return &envelope.Result{Code: envelope.DeviceMismatch, Missing: table(t, envelope.Recipient{Device: stranger, RegistrationID: 1})}
		}, 1, 0},
		"nobody is left": {func(n int, s *envelope.Submit) *envelope.Result {
			return &envelope.Result{Code: envelope.DeviceMismatch, Extra: table(t, envelope.Recipient{Device: bob}, envelope.Recipient{Device: laptop})}
		}, 1, 0},
		"one device in all lists": {func(n int, s *envelope.Submit) *envelope.Result {
			if n > 1 {
				return accepted(1)
			}
			bobs := table(t, envelope.Recipient{Device: bob, RegistrationID: 5})
			return &envelope.Result{Code: envelope.DeviceMismatch, Extra: bobs, Missing: bobs, Stale: bobs}
		}, 2, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			w.send(phone, 1, "one")
			w.send(phone, 2, "two")
			c := w.clients[phone]
			inner, sealed := c.Seal, 0
			c.Seal = func(tx sesame.Tx, to envelope.Device, reg uint32, p []byte) (uint8, []byte, error) {
				if to == stranger {
					return 0, nil, fmt.Errorf("not signed by bob: %w", ErrExcluded)
				}
				return inner(tx, to, reg, p)
			}
			n := 0
			got := w.fake(phone, func(s *envelope.Submit) *envelope.Result {
				if s.Header.ID == id('m', 2) {
					return accepted(9)
				}
				n++
				return v.answer(n, s)
			})
			require.Equal(t, v.submitted, n, name)
			require.Equal(t, v.sealed, sealed, name)
			require.Len(t, got, n+1, name)
			want := []string{"✗one", "two"}
			if name == "one device in all lists" {
				want[0] = "one"
			}
			require.Equal(t, want, w.screen(phone), name)
			require.Empty(t, w.outbox(phone), name)
		})
	}
}

// Kept ciphertexts are kept byte for byte, over several rounds.
func TestRepairKeepsCiphertexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.send(phone, 1, "one")
		n := 0
		got := w.fake(phone, func(s *envelope.Submit) *envelope.Result {
			if n++; n == 3 {
				return accepted(1)
			}
			return &envelope.Result{Code: envelope.DeviceMismatch, Stale: table(t, envelope.Recipient{Device: laptop, RegistrationID: uint32(1000 + n)})}
		})
		require.Len(t, got, 3)
		of := func(s *envelope.Submit, d envelope.Device) envelope.Recipient {
			for v := range s.Recipients.All() {
				if v.Device == d {
					return v
				}
			}
			t.Fatal("not in the table")
			return envelope.Recipient{}
		}
		for i := range got[1:] {
			require.Equal(t, got[0].Header, got[i+1].Header)
			require.Equal(t, got[0].Counter, got[i+1].Counter)
			require.Equal(t, of(got[0], bob), of(got[i+1], bob))
			require.Equal(t, uint32(1001+i), of(got[i+1], laptop).RegistrationID)
			require.NotEqual(t, of(got[i], laptop).Ciphertext, of(got[i+1], laptop).Ciphertext)
		}
	})
}

// R-8.6-4: no table holds the devices of this user, so the message is refused,
// and the connection goes on.
func TestDirectoryOverTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		for n := range uint32(envelope.MaxRecipients) {
			require.NoError(t, w.server.Register(envelope.Device{User: bob.User, ID: 100 + n}, 1))
		}
		w.send(phone, 1, "one")
		require.NoError(t, w.clients[phone].Send(private, id('m', 2), []envelope.Recipient{{Device: laptop, RegistrationID: 101}}, []byte("two")))
		w.round(phone)
		require.Equal(t, []string{"✗one"}, w.screen(phone))
		require.Equal(t, Sent, w.clients[phone].Messages(private)[0].State)
	})
}

// R-9.5-4 before R-8.6-4: what was accepted long ago is too old, whatever its
// recipients have become.
func TestTooOldBeforeDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.send(phone, 1, "one")
		backup := w.stores[phone].copy()
		w.round(phone)
		require.NoError(t, w.server.Store.Update(func(tx *Tx) error {
			for _, k := range tx.Keys("receipt/") {
				tx.Delete(k)
			}
			return nil
		}))
		require.NoError(t, w.server.Register(bob, 999))
		w.clients[phone] = w.client(phone, backup) // it never heard the answer
		w.round(phone)
		require.Equal(t, []string{"one"}, w.screen(phone))
		require.Zero(t, w.clients[phone].Stats())
		require.Len(t, w.server.Store.keys(deviceKey("item", bob)+"/"), 1)
	})
}

// R-8.8-3: a device that has lost its state, or a part of it, is told what it
// had acknowledged and cannot get again; then it goes on.
func TestRolledBackDevice(t *testing.T) {
	for _, kept := range []int{0, 2} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			store := w.stores[bob]
			for n := range byte(6) {
				if int(n) == kept {
					store = w.stores[bob].copy()
				}
				if n < 5 {
					w.send(phone, n, fmt.Sprint(n))
				}
				for _, d := range []envelope.Device{phone, bob} {
					w.round(d)
				}
			}
			w.clients[bob] = w.client(bob, store)
			w.send(phone, 9, "nine")
			for _, d := range []envelope.Device{phone, bob} {
				w.round(d)
			}
			require.Equal(t, Stats{Gaps: 5 - kept}, w.clients[bob].Stats())
			require.Len(t, w.screen(bob), kept+1)
			require.Equal(t, "nine", w.screen(bob)[kept])
			require.True(t, w.acknowledged(bob))
		})
	}
}

// A gap that was not told yet survives a restart of the store; the connections of
// before are closed, for they count as before.
func TestRaiseEpochKeepsGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.server.MaxMailbox = 3
		for n := range byte(5) {
			w.send(phone, n+1, fmt.Sprint(n+1))
		}
		stopPhone := w.connect(phone)
		synctest.Wait()
		require.NoError(t, w.server.RaiseEpoch(2))
		require.ErrorIs(t, w.server.RaiseEpoch(2), lamport.ErrInvalid)
		synctest.Wait()
		require.Empty(t, w.server.live, "closed")
		stopPhone()
		for range 2 { // the second time nothing is told again
			w.round(bob)
			require.Equal(t, []string{"3", "4", "5"}, w.screen(bob))
			require.Equal(t, Stats{Gaps: 1}, w.clients[bob].Stats())
		}
		require.NoError(t, w.server.RaiseEpoch(3))
		w.round(bob)
		require.Equal(t, Stats{Gaps: 1}, w.clients[bob].Stats(), "and not after it was acknowledged")
	})
}

// A new device asks once.
func TestNewDeviceFetchesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.send(phone, 1, "one")
		w.send(phone, 2, "two")
		w.round(phone)
		sent := w.tapped(bob)
		require.Equal(t, []string{"*envelope.Fetch", "*envelope.Ack", "*envelope.Ack"}, sent)
		require.Equal(t, []string{"one", "two"}, w.screen(bob))
	})
}

// R-8.4-5: whispers to a device that does not read are dropped. They neither pile
// up nor push out what it is waiting for.
func TestWhispersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		a, b := net.Pipe() // a device that does not read
		go func() { _ = w.server.Serve(b, phone) }()
		synctest.Wait()
		for n := range uint32(1000) {
			w.server.pass(bob, &envelope.Submit{Ephemeral: true, Header: envelope.Header{Conversation: chat, ID: id('e', byte(n>>8), byte(n)), Sender: bob},
				Recipients: table(t, envelope.Recipient{Device: phone, RegistrationID: 100, Type: 1, Ciphertext: make([]byte, 90<<10)})})
		}
		w.server.mu.Lock()
		c := w.server.live[phone]
		w.server.mu.Unlock()
		c.mu.Lock()
		require.Len(t, c.whisper, maxWhispers)
		c.mu.Unlock()
		for range maxQueue - 1 {
			require.True(t, c.push(&envelope.Result{ID: id('m', 1), Code: envelope.TooOld}))
		}
		a.Close()
	})
}

// A connection that has been refused ends, also if its device does not read why.
func TestRefusedConnectionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		a, b := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- w.server.Serve(b, phone) }()
		require.NoError(t, writeFrame(a, []byte("garbage")))
		require.ErrorIs(t, <-ended, errRefused) // after a while, or this never ends
		require.Empty(t, w.server.live)
	})
}

// Rows that do not belong together end the connection, not the program.
func TestCorruptRows(t *testing.T) {
	for _, damage := range []func(tx *Tx){
		func(tx *Tx) { tx.Delete(tx.Keys("screen/")[0]) },
		func(tx *Tx) { tx.Put(tx.Keys("outbox/")[0], []byte("x")) },
		func(tx *Tx) { k := tx.Keys("outbox/")[0]; tx.Put(k, tx.Get(k)[:90]) },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			w.send(phone, 1, "one")
			a, b := net.Pipe()
			ended := make(chan error, 1)
			go func() { ended <- w.clients[phone].Run(a) }()
			_, err := envelope.ReadDelimited(b, nil) // Fetch
			require.NoError(t, err)
			_, err = envelope.ReadDelimited(b, nil)
			require.NoError(t, err)
			require.NoError(t, w.stores[phone].Update(func(tx *Tx) error { damage(tx); return nil }))
			r := accepted(1)
			r.ID = id('m', 1)
			out, err := r.AppendBinary(nil)
			require.NoError(t, err)
			require.NoError(t, writeFrame(b, out))
			require.ErrorIs(t, <-ended, errCorrupt)
		})
	}
}
