package relay

import (
	"fmt"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
)

// The bounds of a connection, seen by a device that is played.

// fill puts messages into a mailbox.
func (w *world) fill(d envelope.Device, from, to uint64) {
	require.NoError(w.t, w.server.Store.Update(func(tx *Tx) error {
		for n := from; n <= to; n++ {
			if err := tx.enqueue(d, mail(w.t, n, n, "").(*envelope.Deliver), 1<<40); err != nil {
				return err
			}
		}
		return nil
	}))
}

// What is not acknowledged is bounded; each acknowledgement lets the same number
// follow, once each. What is acknowledged before it was sent is not sent, and no
// gap is told of.
func TestDeliveriesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.fill(bob, 1, 1000)
		a, b := net.Pipe()
		go func() { _ = w.server.Serve(b, bob) }()
		var got []uint64
		go func() {
			for {
				buf, err := envelope.ReadDelimited(a, nil)
				if err != nil {
					return
				}
				m, err := new(envelope.Frame).Parse(buf)
				require.NoError(t, err)
				got = append(got, m.(*envelope.Deliver).Untrusted.Position)
			}
		}()
		require.NoError(t, writeFrame(a, frame(t, &envelope.Fetch{})))
		synctest.Wait()
		require.Len(t, got, maxInFlight)
		for _, acked := range []uint64{1, 100, 250, 250, 500} {
			require.NoError(t, writeFrame(a, frame(t, &envelope.Ack{MailboxEpoch: 1, Position: acked})))
			synctest.Wait()
			require.GreaterOrEqual(t, len(got), int(acked)+maxInFlight)
			require.Less(t, len(got), int(acked)+maxInFlight+16)
		}
		for i, n := range got {
			require.Equal(t, uint64(i+1), n)
		}
		before := len(got)
		require.NoError(t, writeFrame(a, frame(t, &envelope.Ack{MailboxEpoch: 1, Position: 990})))
		synctest.Wait()
		require.Equal(t, []uint64{991, 992, 993, 994, 995, 996, 997, 998, 999, 1000}, got[before:])
		a.Close()
		require.Equal(t, encoded(t, mail(t, 1000, 1000, "")), encoded(t, w.ask(bob,
			frame(t, &envelope.Ack{MailboxEpoch: 1, Position: 999}), frame(t, &envelope.Fetch{MailboxEpoch: 1, After: 990}))...))
	})
}

// A device that submits and does not read the answers is refused.
func TestAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		a, b := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- w.server.Serve(b, phone) }()
		submit := frame(t, &envelope.Submit{Header: envelope.Header{Conversation: chat, ID: id('m', 1), Sender: bob, Stamp: 1}, Counter: 1,
			Recipients: letters(t, w.to(phone)...)})
		n := 0
		for ; n < 10*maxQueue && writeFrame(a, submit) == nil; n++ {
		}
		require.ErrorIs(t, <-ended, errRefused)
		require.GreaterOrEqual(t, n, maxQueue)
		require.LessOrEqual(t, n, 2*maxQueue)
	})
}

// R-8.4-5: the bound of whispers is one of those that wait: a device that reads
// gets them all.
func TestWhispersInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		shown := 0
		w.clients[bob].Show = func([16]byte, envelope.Device, []byte) { shown++ }
		stop := w.connect(bob)
		a, b := net.Pipe()
		go func() { _ = w.server.Serve(b, phone) }()
		for n := range byte(3 * maxWhispers) {
			synctest.Wait()
			require.NoError(t, w.clients[phone].Whisper(a, chat, id('e', n), w.to(phone), []byte("typing…")))
		}
		synctest.Wait()
		require.Equal(t, 3*maxWhispers, shown)
		a.Close()
		stop()
	})
}

// R-8.8-2: what a device acknowledges while it is read from the mailbox is not
// delivered any more, and what follows is.
func TestAckWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.t = t
		w.fill(bob, 1, 3)
		commits := 0
		w.server.Store.fault = func() (bool, bool) {
			w.server.mu.Lock()
			c := w.server.live[bob]
			w.server.mu.Unlock()
			if c == nil {
				return false, false
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.fetched {
				if commits++; commits == 1 { // the writer has read, and an Ack overtakes it
					c.acked, c.sent = 2, 2
				}
			}
			return false, false
		}
		var positions []uint64
		for _, m := range w.ask(bob, frame(t, &envelope.Fetch{})) {
			positions = append(positions, m.(*envelope.Deliver).Untrusted.Position)
		}
		require.Equal(t, []uint64{3}, positions)
	})
}

// R-8.8-5: a connection that is closing says why, and delivers nothing behind it.
func TestClosingDeliversNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.fill(bob, 1, 3)
		a, b := net.Pipe()
		c := &connection{conn: b, wake: make(chan struct{}, 1), fetched: true}
		c.close(&envelope.Error{Code: envelope.Replaced})
		go func() { w.server.write(c, bob, nil); b.Close() }()
		var got []string
		for {
			buf, err := envelope.ReadDelimited(a, nil)
			if err != nil {
				break
			}
			m, err := new(envelope.Frame).Parse(buf)
			require.NoError(t, err)
			got = append(got, fmt.Sprintf("%T", m))
		}
		require.Equal(t, []string{"*envelope.Error"}, got)
	})
}

// A device that was removed leaves no row: nothing is kept for it, it is in no
// table, and what it had is not found by who gets its number by mistake.
func TestUnregisterDeletesRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.t = t
		w.fill(bob, 1, 3)
		w.fill(laptop, 1, 3)
		before := map[string]int{}
		for _, prefix := range []string{"item", "device", "mailbox"} {
			before[prefix] = len(w.server.Store.keys(deviceKey(prefix, bob)))
			require.NotZero(t, before[prefix], prefix)
		}
		require.NoError(t, w.server.Unregister(bob))
		for prefix, n := range before {
			require.Empty(t, w.server.Store.keys(deviceKey(prefix, bob)), prefix)
			require.Len(t, w.server.Store.keys(deviceKey(prefix, laptop)), n, prefix)
		}
		answers := w.ask(bob, frame(t, &envelope.Fetch{}))
		require.Equal(t, encoded(t, &envelope.Error{Code: envelope.Refused}), encoded(t, answers...))
		require.NoError(t, w.server.Register(bob, 5))
		require.Empty(t, w.ask(bob, frame(t, &envelope.Fetch{})))
	})
}
