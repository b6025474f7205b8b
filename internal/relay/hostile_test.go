package relay

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/sesame"
)

// What a server is caught at: SPEC.md R-8.10-3. It keeps a ciphertext and shows
// it as something else.
func TestLyingServer(t *testing.T) {
	for name, lie := range map[string]func(*envelope.Deliver){
		"conversation": func(m *envelope.Deliver) { m.Header.Conversation = private },
		"message ID":   func(m *envelope.Deliver) { m.Header.ID = id('m', 99) },
		"sender":       func(m *envelope.Deliver) { m.Header.Sender = laptop },
		"stamp":        func(m *envelope.Deliver) { m.Header.Stamp++ },
		"ciphertext":   func(m *envelope.Deliver) { m.Ciphertext = []byte("x") },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			w.send(phone, 1, "yes, do it")
			w.round(phone)
			require.NoError(t, w.server.Store.Update(func(tx *Tx) error {
				var f envelope.Frame
				m, err := f.Parse(tx.Get(itemKey(bob, 1)))
				require.NoError(t, err)
				lie(m.(*envelope.Deliver))
				b, err := m.AppendBinary(nil)
				require.NoError(t, err)
				tx.Put(itemKey(bob, 1), b)
				return nil
			}))
			w.round(bob)
			require.Empty(t, w.screen(bob), name)
			require.Empty(t, w.clients[bob].Messages(private), name)
			require.Equal(t, Stats{Refused: 1}, w.clients[bob].Stats(), name)
			require.True(t, w.acknowledged(bob), "the verdict is stored, and the mailbox goes on")
		})
	}
}

func (w *world) acknowledged(d envelope.Device) bool {
	return len(w.server.Store.keys(deviceKey("item", d)+"/")) == 0
}

// E14: what a user's devices tell each other is refused from anybody else, before
// the body is looked at.
func TestSelfOnlyContentFromPeerRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		require.NoError(t, w.clients[bob].Send(private, id('m', 1), w.to(bob), []byte("take my history")))
		require.NoError(t, w.clients[laptop].Send(private, id('m', 2), w.to(laptop), []byte("read up to 5")))
		for _, d := range everyone {
			w.round(d)
		}
		w.round(phone)
		require.Len(t, w.clients[phone].Messages(private), 1)
		require.Equal(t, laptop, w.clients[phone].Messages(private)[0].Sender)
		require.Equal(t, Stats{Refused: 1}, w.clients[phone].Stats())
	})
}

// A tap sees what the client sends.
type tap struct {
	net.Conn
	sent *bytes.Buffer
}

func (c tap) Write(b []byte) (int, error) { c.sent.Write(b); return c.Conn.Write(b) }

func kinds(t *testing.T, stream []byte) (list []string) {
	r := bytes.NewReader(stream)
	for {
		b, err := envelope.ReadDelimited(r, nil)
		if err != nil {
			return list
		}
		m, err := new(envelope.Frame).Parse(b)
		require.NoError(t, err)
		list = append(list, fmt.Sprintf("%T", m))
	}
}

// tapped connects a device once, as round does, and returns the kinds of frames
// that it sent.
func (w *world) tapped(d envelope.Device) []string {
	a, b := net.Pipe()
	var sent bytes.Buffer
	stop := w.run(d, tap{a, &sent}, b)
	synctest.Wait()
	stop()
	return kinds(w.t, sent.Bytes())
}

// E13: a device that receives tells nobody but the server's mailbox. There is no
// receipt unless the application sends a message that is one.
func TestReceiptsAreCallerOptIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		for n := range byte(5) {
			w.send(phone, n+1, "hello")
		}
		w.round(phone)
		sent := w.tapped(bob)
		require.Len(t, w.screen(bob), 5)
		require.Contains(t, sent, "*envelope.Ack")
		require.Subset(t, []string{"*envelope.Fetch", "*envelope.Ack"}, sent)
	})
}

// E13: nor for what does not decrypt, or is of somebody unknown: the position is
// acknowledged to the server, as for every other message, and no more.
func TestNoReceiptForUnknownTargetOrInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		m := w.client(mallory, &Store{})
		w.clients[mallory] = m
		require.NoError(t, w.server.Register(mallory, 9))
		m.Seal = func(_ sesame.Tx, to envelope.Device, _ uint32, p []byte) (uint8, []byte, error) {
			return 2, []byte("garbage"), nil
		}
		require.NoError(t, m.Send(chat, id('m', 1), []envelope.Recipient{{Device: bob, RegistrationID: 102}}, []byte("x")))
		w.round(mallory)
		sent := w.tapped(bob)
		require.Empty(t, w.screen(bob))
		require.Equal(t, 1, w.clients[bob].Stats().Refused)
		require.NotContains(t, sent, "*envelope.Submit")
		require.True(t, w.acknowledged(bob))
	})
}

// R-8.4-6: what no honest device sends ends the connection and changes nothing.
func TestServerRefuses(t *testing.T) {
	table, err := envelope.NewRecipients(envelope.Recipient{Device: bob, RegistrationID: 102, Type: 2, Ciphertext: []byte("x")},
		envelope.Recipient{Device: laptop, RegistrationID: 101, Type: 2, Ciphertext: []byte("x")})
	require.NoError(t, err)
	submit := &envelope.Submit{Header: envelope.Header{Conversation: chat, ID: id('m', 1), Sender: phone, Stamp: 1}, Counter: 1, Recipients: table}
	for name, v := range map[string]struct {
		from   envelope.Device
		frames [][]byte
		want   []envelope.Message
	}{
		"garbage":               {phone, [][]byte{[]byte("garbage")}, []envelope.Message{&envelope.Error{Code: envelope.Refused}}},
		"a frame of the server": {phone, [][]byte{frame(t, &envelope.Gap{MailboxEpoch: 1, From: 1, To: 2, Reason: envelope.Trimmed})}, []envelope.Message{&envelope.Error{Code: envelope.Refused}}},
		"ack beyond the end":    {phone, [][]byte{frame(t, &envelope.Ack{MailboxEpoch: 1, Position: 1})}, []envelope.Message{&envelope.Error{Code: envelope.Refused}}},
		"ack of another epoch":  {phone, [][]byte{frame(t, &envelope.Ack{MailboxEpoch: 2, Position: 1})}, []envelope.Message{&envelope.Error{Code: envelope.Refused}}},
		"fetch of the future":   {phone, [][]byte{frame(t, &envelope.Fetch{MailboxEpoch: 1, After: 1})}, []envelope.Message{&envelope.Error{Code: envelope.Refused}}},
		"another's message":     {bob, [][]byte{frame(t, submit)}, []envelope.Message{&envelope.Result{ID: id('m', 1), Code: envelope.Refused}}},
		"accepted, for once":    {phone, [][]byte{frame(t, submit)}, []envelope.Message{&envelope.Result{ID: id('m', 1), Code: envelope.Accepted, Epoch: 1, Sequence: 1}}},
		"accepted, and again": {phone, [][]byte{frame(t, submit), frame(t, submit)}, []envelope.Message{
			&envelope.Result{ID: id('m', 1), Code: envelope.Accepted, Epoch: 1, Sequence: 1}, &envelope.Result{ID: id('m', 1), Code: envelope.Duplicate, Epoch: 1, Sequence: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, everyone...)
				w.t = t
				got := w.ask(v.from, v.frames...)
				require.Len(t, got, len(v.want))
				for i := range got {
					b, err := got[i].AppendBinary(nil)
					require.NoError(t, err)
					require.Equal(t, frame(t, v.want[i]), b)
				}
			})
		})
	}
}

// R-9.4-3: the client does not seal beyond the window of its oldest message
// without an answer.
func TestOutboxFull(t *testing.T) {
	w := newWorld(t, everyone...)
	w.send(phone, 1, "one")
	require.NoError(t, w.stores[phone].Update(func(tx *Tx) error {
		tx.Put("counter", []byte{0, 0, 0, 0, 0, 0, 0x10, 0}) // 4096
		return nil
	}))
	err := w.clients[phone].Send(chat, id('m', 2), w.to(phone), []byte("two"))
	require.ErrorIs(t, err, ErrOutboxFull)
	require.NoError(t, w.stores[phone].Update(func(tx *Tx) error {
		tx.Put("counter", []byte{0, 0, 0, 0, 0, 0, 0x0f, 0xff})
		return nil
	}))
	require.NoError(t, w.clients[phone].Send(chat, id('m', 2), w.to(phone), []byte("two")))
}

// A second connection of a device takes over, and the first is told.
func TestReplacedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		a, b := net.Pipe()
		ended := make(chan error, 1)
		go func() { _ = w.server.Serve(b, bob) }()
		go func() { ended <- w.clients[bob].Run(a) }()
		synctest.Wait()
		again := w.client(bob, w.stores[bob])
		w.clients[bob] = again
		stop := w.connect(bob)
		synctest.Wait()
		require.ErrorIs(t, <-ended, ErrReplaced)
		w.send(phone, 1, "one")
		stopPhone := w.connect(phone)
		synctest.Wait()
		require.Equal(t, []string{"one"}, w.screen(bob))
		stop()
		stopPhone()
	})
}

// A device that seals one message ID twice, under two counters, once the receipt
// is deleted: the server accepts both, and receivers show the first.
func TestMessageIDTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		for _, text := range []string{"yes", "no"} {
			w.send(phone, 1, text)
			w.round(phone)
			require.NoError(t, w.server.Store.Update(func(tx *Tx) error {
				for _, k := range tx.Keys("receipt/") {
					tx.Delete(k)
				}
				return nil
			}))
		}
		w.round(bob)
		require.Equal(t, []string{"yes"}, w.screen(bob))
		require.Equal(t, Stats{Duplicate: 1}, w.clients[bob].Stats())
		require.True(t, w.acknowledged(bob))
	})
}
