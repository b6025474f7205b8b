package relay

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
)

// How a client takes what it receives, from a server that is played.

// given runs one connection to a server that answers the first frame, which is a
// Fetch, with these.
func (w *world) given(d envelope.Device, list ...envelope.Message) (sent []envelope.Message) {
	first := true
	sent, _ = w.script(d, func(envelope.Message) []envelope.Message {
		if !first {
			return nil
		}
		first = false
		return list
	})
	return sent
}

// in is a delivery of another epoch of the mailbox.
func in(epoch uint32, m envelope.Message) envelope.Message {
	m.(*envelope.Deliver).Untrusted.MailboxEpoch = epoch
	return m
}

func encoded(t *testing.T, list ...envelope.Message) (frames [][]byte) {
	for _, m := range list {
		frames = append(frames, frame(t, m))
	}
	return frames
}

// R-9.6-4: what was held is processed when what was before it has come, and is not
// asked for again.
func TestHeldIsProcessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		sent := w.given(bob, mail(t, 2, 2, "two"), mail(t, 4, 4, "four"), mail(t, 3, 3, "three"), mail(t, 1, 1, "one"))
		require.Equal(t, []string{"one", "two", "three", "four"}, w.screen(bob))
		require.Equal(t, encoded(t, &envelope.Fetch{}, &envelope.Fetch{MailboxEpoch: 1}, &envelope.Ack{MailboxEpoch: 1, Position: 4}), encoded(t, sent...))
	})
}

// R-9.6-7: that a mailbox is numbered anew is stored before anything of it is
// processed; nothing of the old numbers is acknowledged, and the gap at its
// beginning is counted from there.
func TestResyncIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		for n := range uint64(5) {
			w.given(bob, mail(t, n+1, n+1, fmt.Sprint(n+1)))
		}
		late := in(2, mail(t, 7, 7, "seven")) // behind a hole
		sent := w.given(bob, late, mail(t, 5, 5, "again"))
		require.Equal(t, encoded(t, &envelope.Fetch{MailboxEpoch: 1, After: 5}, &envelope.Fetch{MailboxEpoch: 2}, &envelope.Fetch{MailboxEpoch: 2}), encoded(t, sent...))
		require.Equal(t, Stats{Restarts: 1}, w.clients[bob].Stats())
		sent = w.given(bob, in(1, mail(t, 5, 5, "again")), &envelope.Gap{MailboxEpoch: 2, From: 1, To: 3, Reason: envelope.Trimmed})
		require.Equal(t, encoded(t, &envelope.Fetch{MailboxEpoch: 2}, &envelope.Ack{MailboxEpoch: 2, Position: 3}), encoded(t, sent...))
		require.Equal(t, Stats{Restarts: 1, Gaps: 3}, w.clients[bob].Stats())
		w.given(bob, &envelope.Gap{MailboxEpoch: 3, From: 1, To: 2, Reason: envelope.Expired})
		require.Equal(t, Stats{Restarts: 2, Gaps: 5}, w.clients[bob].Stats())
	})
}

// R-8.4-5, R-8.10-3: a whisper is shown if it decrypts, belongs to its header, and
// comes from a member; and nothing of it is stored. One under another header is
// counted: the server may have taken a message, which is then never read.
func TestWhisperIsChecked(t *testing.T) {
	for name, lie := range map[string]func(*envelope.Deliver){
		"":                 func(*envelope.Deliver) {},
		"message ID":       func(m *envelope.Deliver) { m.Header.ID = id('m', 99) },
		"conversation":     func(m *envelope.Deliver) { m.Header.Conversation = id('c', 77) },
		"ciphertext":       func(m *envelope.Deliver) { m.Ciphertext = []byte("x") },
		"not of a message": func(m *envelope.Deliver) { m.Ciphertext = append(m.Ciphertext, 0) },
		"sender":           func(m *envelope.Deliver) { m.Header.Sender = laptop },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			h := envelope.Header{Conversation: chat, ID: id('e', 1), Sender: phone}
			plaintext, err := envelope.Pack(nil, &h, []byte("typing…"))
			require.NoError(t, err)
			m := &envelope.Deliver{Header: h, Ephemeral: true, Type: 2, Ciphertext: append(seal(phone, bob, make([]byte, 8)), plaintext...)}
			lie(m)
			shown := 0
			w.clients[bob].Show = func([16]byte, envelope.Device, []byte) { shown++ }
			w.given(bob, m, mail(t, 1, 1, "one"))
			require.Equal(t, name == "", shown == 1, name)
			require.Equal(t, []string{"one"}, w.screen(bob), "the connection goes on")
			refused := 0
			if name == "message ID" || name == "conversation" {
				refused = 1
			}
			require.Equal(t, Stats{Refused: refused}, w.clients[bob].Stats(), name)
		})
	}
}
