package relay

import (
	"fmt"
	"io"
	"math"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/sesame"
)

// G08, R-8.6-5: a server cannot add anybody to a conversation: nothing is encrypted
// for a device of a user for whom the message is not, for one who is no member,
// or for ourselves. The message has failed.
func TestServerCannotAddDevices(t *testing.T) {
	tablet := envelope.Device{User: bob.User, ID: 2}
	for name, v := range map[string]struct {
		device  envelope.Device
		removed bool // from the conversation
	}{"another user": {mallory, false}, "ourselves": {phone, false}, "no member": {tablet, true}} {
		for _, stale := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, everyone...)
				w.send(phone, 1, "secret for bob")
				c := w.clients[phone]
				c.Member = func([16]byte, envelope.Device) bool { return !v.removed }
				c.Seal = func(sesame.Tx, envelope.Device, uint32, []byte) (uint8, []byte, error) {
					t.Fatal("it is encrypted")
					return 0, nil, nil
				}
				c.Meet = func([]envelope.Recipient) error { t.Fatal("it is met"); return nil }
				got := w.fake(phone, func(*envelope.Submit) *envelope.Result {
					r := &envelope.Result{Code: envelope.DeviceMismatch}
					list := table(t, envelope.Recipient{Device: v.device, RegistrationID: 1})
					if r.Missing = list; stale {
						r.Missing, r.Stale = r.Stale, list
					}
					return r
				})
				require.Len(t, got, 1, name)
				require.Equal(t, []string{"✗secret for bob"}, w.screen(phone), name)
				require.Equal(t, Stats{Contradictions: 1}, c.Stats(), name)
			})
		}
	}
}

// R-8.6-4: bob has left. What was for him is not sent because a device of our own
// is still in the table; what was for that device alone is.
func TestOnlyOurselvesLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.send(phone, 1, "for bob")
		require.NoError(t, w.clients[phone].Send(private, id('m', 2), append(w.to(phone)[:1],
			envelope.Recipient{Device: envelope.Device{User: phone.User, ID: 9}}), []byte("for us")))
		require.NoError(t, w.server.Unregister(bob))
		w.round(phone)
		require.Equal(t, []string{"✗for bob"}, w.screen(phone))
		require.Equal(t, Sent, w.clients[phone].Messages(private)[0].State)
	})
}

// R-8.6-4: of several users one has left, or the server says so. The message goes to the others, and its
// author is told.
func TestOneUserUnreached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		carol := envelope.Device{User: id('u', 3), ID: 1}
		require.NoError(t, w.clients[phone].Send(chat, id('m', 1), append(w.to(phone),
			envelope.Recipient{Device: carol, RegistrationID: 1}), []byte("for bob and carol")))
		w.round(phone)
		require.Equal(t, []string{"for bob and carol"}, w.screen(phone))
		require.Equal(t, Stats{Unreached: 1}, w.clients[phone].Stats())
		w.round(bob)
		require.Equal(t, []string{"for bob and carol"}, w.screen(bob))
	})
}

// R-8.6-4: each user is counted once, over several rounds, an answer that comes again and a restart;
// not while another device of his is named, and not for a message that fails at once.
func TestUnreachedOnce(t *testing.T) {
	carol, dave := envelope.Device{User: id('u', 3), ID: 1}, envelope.Device{User: id('u', 4), ID: 1}
	gone := func(missing, extra envelope.Device) *envelope.Result {
		r := &envelope.Result{Code: envelope.DeviceMismatch, Extra: table(t, envelope.Recipient{Device: extra})}
		if missing != (envelope.Device{}) {
			r.Missing = table(t, envelope.Recipient{Device: missing, RegistrationID: 1})
		}
		return r
	}
	none, carols, bobs := envelope.Device{}, envelope.Device{User: carol.User, ID: 2}, envelope.Device{User: bob.User, ID: 2}
	for name, v := range map[string]struct {
		answers   []*envelope.Result
		unreached []int // after each
		screen    string
	}{
		"two, one after the other": {[]*envelope.Result{gone(none, carol), gone(none, carol), gone(none, laptop), gone(none, dave), accepted(1)}, []int{1, 1, 1, 2, 2}, "text"},
		"who has another device":   {[]*envelope.Result{gone(carols, carol), gone(none, carols), accepted(1)}, []int{0, 1, 1}, "text"},
		"an excluded device":       {[]*envelope.Result{gone(bobs, carol)}, []int{0}, "✗text"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			require.NoError(t, w.clients[phone].Send(chat, id('m', 1), append(w.to(phone), envelope.Recipient{Device: carol},
				envelope.Recipient{Device: dave}), []byte("text")))
			for i, answer := range v.answers {
				c := w.client(phone, w.stores[phone]) // a restart
				w.clients[phone] = c
				inner := c.Seal
				c.Seal = func(tx sesame.Tx, to envelope.Device, reg uint32, p []byte) (uint8, []byte, error) {
					if to == bobs {
						return 0, nil, ErrExcluded
					}
					return inner(tx, to, reg, p)
				}
				first := true
				w.fake(phone, func(*envelope.Submit) *envelope.Result {
					if !first {
						return nil
					}
					first = false
					return answer
				})
				require.Equal(t, Stats{Unreached: v.unreached[i]}, c.Stats(), "%s: answer %d", name, i)
			}
			require.Equal(t, []string{v.screen}, w.screen(phone), name)
		})
	}
}

// An answer that comes twice repairs once: what fits already stays as it is.
func TestRepairedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.send(phone, 1, "one")
		r := &envelope.Result{Code: envelope.DeviceMismatch, Stale: table(t, envelope.Recipient{Device: bob, RegistrationID: 7})}
		n := 0
		got := w.fake(phone, func(*envelope.Submit) *envelope.Result {
			if n++; n < 3 {
				return r
			}
			return accepted(1)
		})
		require.Len(t, got, 3)
		a, err := got[1].AppendBinary(nil)
		require.NoError(t, err)
		b, err := got[2].AppendBinary(nil)
		require.NoError(t, err)
		require.Equal(t, a, b)
	})
}

// slow is a connection that reads some bytes a second.
type slow struct {
	net.Conn
	rate int
}

func (s slow) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b[:min(len(b), 16<<10)])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(s.rate))
	return n, err
}

// R-8.4-5: whispers do not hold back what is in the mailbox.
func TestWhispersStandBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		a, b := net.Pipe()
		go func() { _ = w.server.Serve(b, bob) }()
		go func() { _ = w.clients[bob].Run(slow{a, 1 << 20}) }()
		synctest.Wait()
		begin := time.Now()
		whispers := &envelope.Submit{Ephemeral: true, Header: envelope.Header{Conversation: chat, ID: id('e'), Sender: laptop},
			Recipients: table(t, envelope.Recipient{Device: bob, RegistrationID: 1, Type: 1, Ciphertext: make([]byte, 90<<10)})}
		go func() {
			for time.Since(begin) < time.Minute {
				w.server.pass(laptop, whispers)
				time.Sleep(50 * time.Millisecond)
			}
		}()
		time.Sleep(10 * time.Second)
		w.send(phone, 1, "one")
		stop := w.connect(phone)
		time.Sleep(4 * time.Second) // the whispers of two rounds
		require.Equal(t, []string{"one"}, w.screen(bob))
		stop()
		a.Close()
		time.Sleep(time.Minute)
	})
}

// R-9.6-6: that messages are lost is stored with the position, and shown, also
// what was held behind them.
func TestGapIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		for n := range byte(4) {
			w.send(phone, n+1, fmt.Sprint(n+1))
		}
		w.round(phone)
		var item []byte
		require.NoError(t, w.server.Store.Update(func(tx *Tx) error { item = append(item, tx.Get(itemKey(bob, 3))...); return nil }))
		gap, err := (&envelope.Gap{MailboxEpoch: 1, From: 1, To: 4, Reason: envelope.Trimmed}).AppendBinary(nil)
		require.NoError(t, err)
		changed := 0
		w.clients[bob].Changed = func() { changed++ }
		a, b := net.Pipe()
		ended := make(chan struct{})
		go func() { _ = w.clients[bob].Run(a); close(ended) }()
		go func() { _, _ = io.Copy(io.Discard, b) }()
		require.NoError(t, writeFrame(b, item))
		require.NoError(t, writeFrame(b, gap))
		synctest.Wait()
		require.Equal(t, []string{"3"}, w.screen(bob))
		require.Equal(t, 1, changed)
		a.Close()
		<-ended
		w.clients[bob] = w.client(bob, w.stores[bob]) // the program starts again
		require.Equal(t, Stats{Gaps: 3}, w.clients[bob].Stats())
	})
}

// A device that was removed is cut off, and accepted nothing from.
func TestUnregistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		stop := w.connect(laptop)
		synctest.Wait()
		require.NoError(t, w.server.Unregister(laptop))
		synctest.Wait()
		require.Empty(t, w.server.live)
		stop()
		w.send(laptop, 1, "still here")
		w.round(laptop)
		require.Equal(t, []string{"…still here"}, w.screen(laptop))
		require.NoError(t, w.server.Store.Update(func(tx *Tx) error {
			require.Empty(t, tx.Keys("item/"))
			require.Empty(t, tx.Keys("conversation/"))
			return nil
		}))
	})
}

// R-8.8-5, R-8.9-3: a length that is none is refused in so many words.
func TestLengthsRefused(t *testing.T) {
	for _, raw := range [][]byte{{0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			a, b := net.Pipe()
			ended := make(chan error, 1)
			go func() { ended <- w.server.Serve(b, phone) }()
			go func() { _, _ = a.Write(raw) }()
			buf, err := envelope.ReadDelimited(a, nil)
			require.NoError(t, err)
			m, err := new(envelope.Frame).Parse(buf)
			require.NoError(t, err)
			require.Equal(t, &envelope.Error{Code: envelope.Refused}, m)
			require.ErrorIs(t, <-ended, errRefused)
		})
	}
}

// R-9.4-5: conversations under a quota do not hold up the others.
func TestQuotasDoNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		for n := range byte(maxUnanswered + 10) {
			require.NoError(t, w.clients[phone].Send(id('c', 100, n), id('m', n), w.to(phone), []byte("x")))
		}
		w.send(phone, 200, "goes")
		got := w.fake(phone, func(s *envelope.Submit) *envelope.Result {
			if s.Header.Conversation == chat {
				return accepted(1)
			}
			return &envelope.Result{Code: envelope.Quota, RetryAfter: 1}
		})
		require.Len(t, got, maxUnanswered+11)
		require.Equal(t, []string{"goes"}, w.screen(phone))
	})
}

// R-8.8-5: what still comes on a connection that was replaced is not accepted.
func TestReplacedAcceptsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		m := &envelope.Submit{Header: envelope.Header{Conversation: chat, ID: id('m', 1), Sender: phone, Stamp: 1}, Counter: 1,
			Recipients: table(t, envelope.Recipient{Device: bob, RegistrationID: 102, Type: 2, Ciphertext: []byte("x")},
				envelope.Recipient{Device: laptop, RegistrationID: 101, Type: 2, Ciphertext: []byte("x")})}
		frame, err := m.AppendBinary(nil)
		require.NoError(t, err)
		a, b := net.Pipe() // nobody reads why it ends
		go func() { _ = w.server.Serve(b, phone) }()
		synctest.Wait()
		stop := w.connect(phone)
		synctest.Wait()
		require.NoError(t, writeFrame(a, frame))
		synctest.Wait()
		require.Empty(t, w.server.Store.keys("receipt/"))
		stop()
		a.Close()
	})
}

// R-9.6-6: a server that claims that all is lost is believed, on 32 bits as well;
// and again in the next epoch.
func TestGapWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		for epoch := range uint32(2) {
			w.given(bob, &envelope.Gap{MailboxEpoch: epoch + 1, From: 1, To: lamport.Max, Reason: envelope.Trimmed})
			require.Equal(t, Stats{Gaps: math.MaxInt32, Restarts: int(epoch)}, w.clients[bob].Stats())
		}
	})
}
