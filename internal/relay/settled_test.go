package relay

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/sesame"
)

// How a client takes the answers to what it has sent.

// R-9.2-2, R-9.2-6: a stamp that a server has accepted, or says it had, is one
// that it cannot call out of bounds afterwards.
func TestBoundAfterAccepted(t *testing.T) {
	for _, first := range []*envelope.Result{accepted(1), {Code: envelope.TooOld}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			w.setClock(phone, 1_000_000)
			w.send(phone, 1, "a")
			w.send(phone, 2, "b")
			got := w.fake(phone, func(s *envelope.Submit) *envelope.Result {
				if s.Header.ID == id('m', 2) {
					return &envelope.Result{Code: envelope.ClockBound}
				}
				return first
			})
			require.Equal(t, []string{"a@1000001", "b@1000002"}, texts(t, got))
			require.ElementsMatch(t, []string{"a", "✗b"}, w.screen(phone))
			require.Equal(t, Stats{Contradictions: 1}, w.clients[phone].Stats())
		})
	}
}

// R-9.2-6: a clock that comes down is stored so, stays where it is in other
// conversations, and does not move the messages on the screen.
func TestLowerChangesOneConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		deliver := func(m envelope.Message) {
			_, _ = w.script(bob, func(asked envelope.Message) []envelope.Message {
				if _, ok := asked.(*envelope.Fetch); ok {
					return []envelope.Message{m}
				}
				return nil
			})
		}
		deliver(mail(t, 1, 5, "five"))
		w.setClock(bob, 1_000_000)
		w.send(bob, 1, "a") // behind five
		require.NoError(t, w.clients[bob].Send(private, id('m', 2), w.to(bob), []byte("elsewhere")))
		deliver(mail(t, 2, 9, "nine"))
		elsewhere := w.stores[bob].get(outboxKey(2))
		lowered := func(m envelope.Message) []envelope.Message {
			s, ok := m.(*envelope.Submit)
			if !ok {
				return nil
			}
			r := &envelope.Result{ID: s.Header.ID, Code: envelope.Quota, RetryAfter: 1}
			if s.Header.Stamp > lamport.MaxLead+2 {
				r = &envelope.Result{ID: s.Header.ID, Code: envelope.ClockBound, MaxStamp: 2}
			}
			return []envelope.Message{r}
		}
		sent, _ := w.script(bob, lowered)
		require.Len(t, sent, 4, "Fetch, two messages, and one of them again")
		require.Equal(t, elsewhere, w.stores[bob].get(outboxKey(2)))
		key := lamport.PendingKey(lamport.Position{Epoch: 1, Number: 5}, 3, lamport.Device(bob), id('m', 1))
		require.Equal(t, key, w.clients[bob].Messages(chat)[1].Key)
		require.Equal(t, []string{"five", "…a", "nine"}, w.screen(bob))
		w.send(bob, 3, "b")
		list := w.clients[bob].Messages(chat)
		require.Equal(t, uint64(4), stamp(list[len(list)-1]), "the clock is stored")
	})
}

// R-9.5-4 before R-8.6-4: what the server says of a message that it has forgotten,
// when its recipients have changed.
func TestTooOldIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		submit := frame(t, &envelope.Submit{Header: envelope.Header{Conversation: chat, ID: id('m', 1), Sender: phone, Stamp: 1}, Counter: 1,
			Recipients: letters(t, w.to(phone)...)})
		require.Equal(t, envelope.Accepted, w.ask(phone, submit)[0].(*envelope.Result).Code)
		require.NoError(t, w.server.Register(bob, 999))
		require.Equal(t, envelope.Duplicate, w.ask(phone, submit)[0].(*envelope.Result).Code)
		require.NoError(t, w.server.Store.Update(func(tx *Tx) error {
			for _, k := range tx.Keys("receipt/") {
				tx.Delete(k)
			}
			return nil
		}))
		require.Equal(t, envelope.TooOld, w.ask(phone, submit)[0].(*envelope.Result).Code)
	})
}

// R-8.6-4: what the server says of a table: a device of our own is missing like
// any other; over the limit no table holds them all; and those that are extra
// make room for those that are missing.
func TestDevicesAreSaid(t *testing.T) {
	others := func(n int) (list []envelope.Recipient) {
		for i := range n {
			list = append(list, envelope.Recipient{Device: envelope.Device{User: bob.User, ID: uint32(100 + i)}, RegistrationID: 1})
		}
		return list
	}
	bobs := envelope.Recipient{Device: bob, RegistrationID: 102}
	for name, v := range map[string]struct {
		registered, table []envelope.Recipient
		code              envelope.Code
		missing, extra    int
	}{
		"our own is missing": {nil, []envelope.Recipient{bobs}, envelope.DeviceMismatch, 1, 0},
		"over the limit":     {others(envelope.MaxRecipients), []envelope.Recipient{bobs}, envelope.Refused, 0, 0},
		"extra make room":    {nil, append(others(envelope.MaxRecipients-1), bobs), envelope.DeviceMismatch, 1, envelope.MaxRecipients - 1},
		"just full":          {others(envelope.MaxRecipients - 2), []envelope.Recipient{bobs}, envelope.DeviceMismatch, envelope.MaxRecipients - 1, 0},
		"one too many":       {others(envelope.MaxRecipients - 1), []envelope.Recipient{bobs}, envelope.Refused, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			for _, d := range v.registered {
				require.NoError(t, w.server.Register(d.Device, d.RegistrationID))
			}
			answers := w.ask(phone, frame(t, &envelope.Submit{Header: envelope.Header{Conversation: chat, ID: id('m', 1), Sender: phone, Stamp: 1}, Counter: 1,
				Recipients: letters(t, v.table...)}))
			require.Len(t, answers, 1, name)
			r := answers[0].(*envelope.Result)
			require.Equal(t, v.code, r.Code, name)
			require.Equal(t, []int{v.missing, v.extra, 0}, []int{r.Missing.Len(), r.Extra.Len(), r.Stale.Len()}, name)
			require.Empty(t, w.server.Store.keys("receipt/"), name)
		})
	}
}

// R-8.6-4: a message that is repaired is as urgent as it was; one that has become
// too large by it has failed, and the next one goes.
func TestRepairedMessage(t *testing.T) {
	for size, want := range map[int][]string{1 << 10: {"one", "two"}, envelope.MaxCiphertext: {"✗one", "two"}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			w.send(phone, 1, "one")
			w.send(phone, 2, "two")
			w.clients[phone].Seal = func(sesame.Tx, envelope.Device, uint32, []byte) (uint8, []byte, error) {
				return 2, make([]byte, size), nil
			}
			var missing []envelope.Recipient
			for n := range uint32(12) { // of 96 KiB: over 1 MiB
				missing = append(missing, envelope.Recipient{Device: envelope.Device{User: bob.User, ID: 10 + n}, RegistrationID: 1})
			}
			first := true
			for _, s := range w.fake(phone, func(s *envelope.Submit) *envelope.Result {
				if first && s.Header.ID == id('m', 1) {
					first = false
					return &envelope.Result{Code: envelope.DeviceMismatch, Missing: table(t, missing...)}
				}
				return accepted(s.Counter)
			}) {
				require.True(t, s.Urgent)
			}
			require.ElementsMatch(t, want, w.screen(phone))
			require.Empty(t, w.outbox(phone))
		})
	}
}

// R-9.4-5: a server that does not answer has a bounded number of messages.
func TestUnansweredAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		for n := range byte(maxUnanswered + 10) {
			require.NoError(t, w.clients[phone].Send(id('c', 100, n), id('m', n), w.to(phone), []byte("x")))
		}
		require.Len(t, w.fake(phone, func(*envelope.Submit) *envelope.Result { return nil }), maxUnanswered)
		require.Len(t, w.fake(phone, func(s *envelope.Submit) *envelope.Result { return accepted(1) }), maxUnanswered+10)
	})
}
