package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/sesame"
)

// Rules of SPEC.md §8 and §9 that only server and client together can keep.

// letters is a table with a ciphertext for each device.
func letters(t *testing.T, list ...envelope.Recipient) envelope.Recipients {
	for i := range list {
		list[i].Type, list[i].Ciphertext = 2, []byte("x")
	}
	return table(t, list...)
}

func frame(t *testing.T, m envelope.Message) []byte {
	b, err := m.AppendBinary(nil)
	require.NoError(t, err)
	return b
}

// ask sends frames to the server without a client, until nothing happens any
// more, and returns what the server has sent.
func (w *world) ask(d envelope.Device, frames ...[]byte) (answers []envelope.Message) {
	a, b := net.Pipe()
	served, read := make(chan struct{}), make(chan struct{})
	go func() { _ = w.server.Serve(b, d); close(served) }()
	var sent [][]byte
	go func() {
		defer close(read)
		for {
			buf, err := envelope.ReadDelimited(a, nil)
			if err != nil {
				return
			}
			sent = append(sent, buf)
		}
	}()
	for _, f := range frames {
		if writeFrame(a, f) != nil {
			break
		}
	}
	synctest.Wait()
	a.Close()
	<-served
	<-read
	for _, buf := range sent {
		m, err := new(envelope.Frame).Parse(buf)
		require.NoError(w.t, err)
		answers = append(answers, m)
	}
	return answers
}

// round connects each device once, until nothing happens any more.
func (w *world) round(devices ...envelope.Device) {
	for _, d := range devices {
		stop := w.connect(d)
		synctest.Wait()
		stop()
	}
}

// stamp is the one that a message of the screen was given.
func stamp(m Message) uint64 { return binary.BigEndian.Uint64(m.Key[13:]) }

// R-8.4-6: a submission in the name of another device is refused and changes
// nothing, neither for the device that it names nor for the one that sent it.
func TestSenderIsTheConnection(t *testing.T) {
	for name, forged := range map[string]envelope.Device{
		"another user":                    phone,
		"another device number":           {User: bob.User, ID: 2},
		"another user, one device number": laptop,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, everyone...)
				w.t = t
				// The table is right for the device that is connected.
				submit := &envelope.Submit{Header: envelope.Header{Conversation: chat, ID: id('m', 1), Sender: forged, Stamp: 1}, Counter: 1,
					Recipients: letters(t, w.to(bob)...)}
				answers := w.ask(bob, frame(t, submit))
				require.Len(t, answers, 1)
				require.Equal(t, frame(t, &envelope.Result{ID: id('m', 1), Code: envelope.Refused}), frame(t, answers[0]))
				for _, d := range everyone {
					require.True(t, w.acknowledged(d), "nothing is delivered")
				}
				submit.Header.Sender = bob // the same ID and counter are still to be had
				require.Equal(t, frame(t, &envelope.Result{ID: id('m', 1), Code: envelope.Accepted, Epoch: 1, Sequence: 1}),
					frame(t, w.ask(bob, frame(t, submit))[0]))
				w.send(phone, 1, "one")
				w.round(phone, laptop)
				require.Contains(t, w.screen(laptop), "one")
			})
		})
	}
}

// R-8.4-6: neither is an ephemeral message handed on in the name of another.
func TestEphemeralSenderIsTheConnection(t *testing.T) {
	for _, forged := range []envelope.Device{phone, bob} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			w.t = t
			a, b := net.Pipe()
			var heard bytes.Buffer
			go func() { _ = w.server.Serve(b, laptop) }()
			go func() { _, _ = io.Copy(&heard, a) }()
			synctest.Wait()
			m := &envelope.Submit{Header: envelope.Header{Conversation: chat, ID: id('e', 1), Sender: forged}, Ephemeral: true,
				Recipients: letters(t, w.to(bob)...)}
			require.Empty(t, w.ask(bob, frame(t, m)))
			a.Close()
			synctest.Wait()
			if forged == bob { // else the test could not fail
				require.Equal(t, []string{"*envelope.Deliver"}, kinds(t, heard.Bytes()))
			} else {
				require.Empty(t, heard.Bytes())
			}
		})
	}
}

// R-8.8-2: an Ack of a higher epoch is refused although its position was given
// out; one of a lower epoch has no effect, nor has a repeated one.
func TestAckOfAnotherEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		w.t = t
		for n := range byte(3) {
			w.send(phone, n+1, "hello")
		}
		w.round(phone)
		ack := func(epoch uint32, position uint64) []envelope.Message {
			return w.ask(bob, frame(t, &envelope.Ack{MailboxEpoch: epoch, Position: position}))
		}
		left := func() (positions []uint64) { // what a new device would get
			for _, m := range w.ask(bob, frame(t, &envelope.Fetch{})) {
				if m, ok := m.(*envelope.Deliver); ok { // before them, a gap where it was acknowledged
					positions = append(positions, m.Untrusted.Position)
				}
			}
			return positions
		}
		refused := frame(t, &envelope.Error{Code: envelope.Refused})
		for _, epoch := range []uint32{2, 1 << 31} {
			answers := ack(epoch, 2)
			require.Len(t, answers, 1)
			require.Equal(t, refused, frame(t, answers[0]))
			require.Equal(t, []uint64{1, 2, 3}, left())
		}
		require.Empty(t, ack(1, 2))
		require.Equal(t, []uint64{3}, left())
		require.Empty(t, ack(1, 1), "acknowledged already")
		require.Equal(t, []uint64{3}, left())
		require.NoError(t, w.server.RaiseEpoch(2))
		require.Equal(t, []uint64{1}, left(), "numbered anew")
		require.Empty(t, ack(1, 1), "of the old numbers")
		require.Equal(t, []uint64{1}, left())
		require.Empty(t, ack(2, 1))
		require.Empty(t, left())
	})
}

// R-9.2-2: a client takes over the stamps of what it receives, so what it answers
// has a higher one; and it takes none from what does not unpack.
func TestClientObserves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		for n := range byte(5) {
			w.send(phone, n+1, "hello")
		}
		w.round(phone, bob)
		w.send(bob, 6, "an answer")
		w.round(bob, laptop)
		for _, d := range []envelope.Device{bob, laptop} {
			var stamps []uint64
			for _, m := range w.clients[d].Messages(chat) {
				stamps = append(stamps, stamp(m))
			}
			require.Equal(t, []uint64{1, 2, 3, 4, 5, 6}, stamps)
		}
		w.clients[phone].Seal = func(sesame.Tx, envelope.Device, uint32, []byte) (uint8, []byte, error) {
			return 2, []byte("garbage"), nil
		}
		for n := range byte(5) {
			w.send(phone, n+10, "not for bob")
		}
		w.round(phone, bob)
		require.Equal(t, 5, w.clients[bob].Stats().Refused)
		w.send(bob, 20, "another")
		list := w.clients[bob].Messages(chat)
		require.Equal(t, uint64(7), stamp(list[len(list)-1]))
	})
}

// L03, R-9.2-5: the clock is stored with the message, in one transaction: whichever
// commit of a Send fails, and whoever goes on with the store, no stamp is given
// to two messages, and a message that was not stored takes none.
func TestSendStoresTheClock(t *testing.T) {
	for fails := range 4 { // this one and those behind it
		for after := range 2 {
			w := newWorld(t, everyone...)
			store := w.stores[phone]
			w.send(phone, 1, "one")
			n := 0
			store.fault = func() (bool, bool) { n++; return n > fails && after == 0, n > fails && after == 1 }
			_ = w.clients[phone].Send(chat, id('m', 2), w.to(phone), []byte("two"))
			store.fault = nil
			w.clients[phone] = w.client(phone, store) // a start of the program
			w.clients[phone].Seal = func(sesame.Tx, envelope.Device, uint32, []byte) (uint8, []byte, error) {
				return 0, nil, errors.New("no session")
			}
			require.ErrorContains(t, w.clients[phone].Send(chat, id('m', 3), w.to(phone), []byte("three")), "no session")
			w.clients[phone] = w.client(phone, store)
			w.send(phone, 4, "four")
			var stamps []uint64
			for _, m := range w.clients[phone].Messages(chat) {
				stamps = append(stamps, stamp(m))
			}
			want := []uint64{1, 2, 3}
			if fails == 0 && after == 0 {
				want = []uint64{1, 2}
			}
			require.Equal(t, want, stamps, "commit %d", fails)
		}
	}
}

// script runs one connection of a device to a server that is played: it answers
// each frame as told, until nothing happens any more. It returns what the device
// has sent.
func (w *world) script(d envelope.Device, answer func(envelope.Message) []envelope.Message) (sent []envelope.Message, err error) {
	a, b := net.Pipe()
	ended, played := make(chan error, 1), make(chan struct{})
	go func() { ended <- w.clients[d].Run(a) }()
	go func() {
		defer close(played)
		for {
			buf, err := envelope.ReadDelimited(b, nil)
			if err != nil {
				return
			}
			m, err := new(envelope.Frame).Parse(buf)
			if err != nil {
				return
			}
			sent = append(sent, m)
			for _, m := range answer(m) {
				out, err := envelope.AppendDelimited(nil, m)
				if err != nil {
					return
				}
				if _, err := b.Write(out); err != nil {
					return
				}
			}
		}
	}()
	synctest.Wait()
	b.Close()
	err = <-ended
	<-played
	return sent, err
}

// mail is a message of the phone to bob, at a position of his mailbox and of the
// conversation.
func mail(t *testing.T, position, sequence uint64, text string) envelope.Message {
	header := envelope.Header{Conversation: chat, ID: id('p', byte(position)), Sender: phone, Stamp: position}
	plaintext, err := envelope.Pack(nil, &header, []byte(text))
	require.NoError(t, err)
	number := binary.BigEndian.AppendUint64(nil, position)
	return &envelope.Deliver{Header: header, Type: 2, Ciphertext: append(seal(phone, bob, number), plaintext...),
		Untrusted: envelope.Untrusted{MailboxEpoch: 1, Position: position, Epoch: 1, Sequence: sequence}}
}

func acceptedAt(m *envelope.Submit, sequence uint64) envelope.Message {
	r := accepted(sequence)
	r.ID = m.Header.ID
	return r
}

// R-9.3-1: what is written waits behind the last message that was received, or
// answered, when it was written; a lower sequence does not move the anchor back.
func TestAnchorMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, everyone...)
		n := byte(0)
		anchor := func() lamport.Position {
			n++
			w.send(bob, n, "")
			for _, m := range w.clients[bob].Messages(chat) {
				if m.ID == id('m', n) {
					p := lamport.Position{Epoch: binary.BigEndian.Uint32(m.Key[:]), Number: binary.BigEndian.Uint64(m.Key[4:])}
					require.Equal(t, lamport.PendingKey(p, lamport.Stamp(stamp(m)), lamport.Device(bob), m.ID), m.Key)
					return p
				}
			}
			return lamport.Position{Epoch: 99}
		}
		deliver := func(position, sequence uint64) {
			_, err := w.script(bob, func(m envelope.Message) []envelope.Message {
				if _, ok := m.(*envelope.Fetch); ok {
					return []envelope.Message{mail(t, position, sequence, "")}
				}
				return nil
			})
			require.Error(t, err)
		}
		require.Equal(t, lamport.Position{}, anchor())
		deliver(1, 5)
		require.Equal(t, lamport.Position{Epoch: 1, Number: 5}, anchor())
		deliver(2, 9)
		require.Equal(t, lamport.Position{Epoch: 1, Number: 9}, anchor())
		deliver(3, 7)
		require.Equal(t, lamport.Position{Epoch: 1, Number: 9}, anchor())
		_, _ = w.script(bob, func(m envelope.Message) []envelope.Message {
			if m, ok := m.(*envelope.Submit); ok {
				return []envelope.Message{acceptedAt(m, 20+m.Counter)}
			}
			return nil
		})
		require.Equal(t, lamport.Position{Epoch: 1, Number: 24}, anchor())
		require.Equal(t, 1, w.clients[bob].Stats().Contradictions, "7 came behind 9")
	})
}

// R-9.3-5: the messages of a conversation stand in a mailbox in their order. What
// comes out of it is shown where the server says, and is counted.
func TestSequencesAscend(t *testing.T) {
	for name, v := range map[string]struct {
		sequences []uint64
		want      int
	}{"holes": {[]uint64{2, 5, 9}, 0}, "back": {[]uint64{5, 2, 6}, 1}, "again": {[]uint64{5, 5}, 1}, "all": {[]uint64{9, 5, 2}, 2}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			for i, n := range v.sequences {
				w.given(bob, mail(t, uint64(i+1), n, fmt.Sprint(n)))
			}
			require.Len(t, w.screen(bob), len(v.sequences), name)
			require.Equal(t, Stats{Contradictions: v.want}, w.clients[bob].Stats(), name)
		})
	}
}

// R-9.3-4: a server that sequences a message before one that its sender had
// received contradicts itself. The message is shown there, and it is counted.
func TestContradictionIsCounted(t *testing.T) {
	for sequence, contradictions := range map[uint64]int{3: 1, 5: 1, 6: 0} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			_, _ = w.script(bob, func(m envelope.Message) []envelope.Message {
				if _, ok := m.(*envelope.Fetch); ok {
					return []envelope.Message{mail(t, 1, 4, "four"), mail(t, 2, 5, "five")}
				}
				return nil
			})
			w.send(bob, 1, "six")
			_, _ = w.script(bob, func(m envelope.Message) []envelope.Message {
				if m, ok := m.(*envelope.Submit); ok {
					return []envelope.Message{acceptedAt(m, sequence), acceptedAt(m, sequence)} // counted once
				}
				return nil
			})
			require.Equal(t, Stats{Contradictions: contradictions}, w.clients[bob].Stats(), "sequence %d", sequence)
			at := lamport.ConfirmedKey(lamport.Position{Epoch: 1, Number: sequence}, 3, lamport.Device(bob), id('m', 1))
			list := w.clients[bob].Messages(chat)
			require.Len(t, list, 3)
			shown := false
			for _, m := range list {
				shown = shown || m.Key == at && m.State == Sent
			}
			require.True(t, shown, "at its position")
		})
	}
}

// R-8.6-3, and the table of §8.6: what a client does with each answer to a message
// that was not accepted, and that it takes no code that does not answer one.
func TestAnswers(t *testing.T) {
	for name, v := range map[string]struct {
		result envelope.Result
		state  State
		again  bool // it is sent with the next connection
	}{
		"too old": {envelope.Result{Code: envelope.TooOld}, Sent, false},
		"refused": {envelope.Result{Code: envelope.Refused}, Failed, false},
		"quota":   {envelope.Result{Code: envelope.Quota, RetryAfter: 1}, Pending, true},
		"another": {envelope.Result{Code: envelope.TooOld, ID: id('m', 99)}, Pending, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, everyone...)
				w.t = t
				w.send(bob, 1, "one")
				before := w.clients[bob].Messages(chat)[0]
				answer := func(m envelope.Message) []envelope.Message {
					s, ok := m.(*envelope.Submit)
					if !ok {
						return nil
					}
					r := v.result
					if r.ID == ([16]byte{}) {
						r.ID = s.Header.ID
					}
					return []envelope.Message{&r}
				}
				sent, _ := w.script(bob, answer)
				require.Len(t, sent, 2) // Fetch and Submit
				list := w.clients[bob].Messages(chat)
				require.Len(t, list, 1)
				require.Equal(t, v.state, list[0].State)
				require.Equal(t, before.Key, list[0].Key, "its place is not known")
				require.Equal(t, "one", string(list[0].Body))
				again, _ := w.script(bob, answer)
				if v.again {
					require.Len(t, again, 2)
					require.Equal(t, frame(t, sent[1]), frame(t, again[1]), "the same bytes")
				} else {
					require.Len(t, again, 1)
				}
				w.send(bob, 2, "two") // which follows what is settled
				again, _ = w.script(bob, answer)
				next := again[1].(*envelope.Submit).Header.ID
				require.Equal(t, v.again, next == id('m', 1))
				require.Equal(t, !v.again, next == id('m', 2))
			})
		})
	}
	tooOld, refused := frame(t, &envelope.Result{ID: id(1), Code: envelope.TooOld}), frame(t, &envelope.Result{ID: id(1), Code: envelope.Refused})
	at := 0
	for tooOld[at] == refused[at] {
		at++
	}
	for _, code := range []byte{0, byte(envelope.Trimmed), byte(envelope.Expired), byte(envelope.Replaced), 11} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, everyone...)
			w.send(bob, 1, "one")
			_, err := w.script(bob, func(m envelope.Message) []envelope.Message {
				if s, ok := m.(*envelope.Submit); ok {
					b := frame(t, &envelope.Result{ID: s.Header.ID, Code: envelope.TooOld})
					b[at] = code
					return []envelope.Message{raw{&envelope.Result{}, b}}
				}
				return nil
			})
			require.ErrorIs(t, err, envelope.ErrMalformed, "code %d", code)
			require.Equal(t, []string{"…one"}, w.screen(bob))
		})
	}
}

// raw is a frame that a codec would not write.
type raw struct {
	envelope.Message
	frame []byte
}

func (f raw) AppendBinary(b []byte) ([]byte, error) { return append(b, f.frame...), nil }
