package relay

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
)

// How the costs of a server grow: cmd/floor -scale fits the exponents.

func numbered(i int) [16]byte {
	v := id('n')
	binary.BigEndian.PutUint64(v[8:], uint64(i))
	return v
}

// each runs f for each size on a server that is prepared once.
func each(b *testing.B, sizes []int, prepare func(b *testing.B, s *Server, n int), f func(b *testing.B, s *Server, n int)) {
	for _, n := range sizes {
		var s *Server
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			if s == nil {
				s = &Server{Store: &Store{}}
				require.NoError(b, s.Register(phone, 1))
				require.NoError(b, s.Register(bob, 1))
				prepare(b, s, n)
			}
			f(b, s, n)
		})
	}
}

// A message in one of n conversations, from the frame to the rows.
func BenchmarkScaleConversations(b *testing.B) {
	prepare := func(b *testing.B, s *Server, n int) {
		require.NoError(b, s.Store.Update(func(tx *Tx) error {
			for i := range n {
				c, err := lamport.NewConversation(numbered(i), 1)
				if err != nil {
					return err
				}
				if err := tx.save(fmt.Sprintf("conversation/%x", numbered(i)), c); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	sent := 0
	each(b, []int{1e3, 1e4, 1e5, 1e6}, prepare, func(b *testing.B, s *Server, n int) {
		to, err := envelope.NewRecipients(envelope.Recipient{Device: bob, RegistrationID: 1, Type: 2, Ciphertext: make([]byte, 200)})
		require.NoError(b, err)
		for b.Loop() {
			sent++
			m := &envelope.Submit{Counter: uint64(sent), Recipients: to, Header: envelope.Header{
				Conversation: numbered(sent * 7919 % n), ID: numbered(sent), Sender: phone, Stamp: 1}}
			require.NoError(b, s.Store.Update(func(tx *Tx) error {
				r, err := s.accept(tx, phone, m)
				if err == nil && r.Code != envelope.Accepted {
					b.Fatal(r.Code)
				}
				return err
			}))
		}
	})
}

// A message into a mailbox in which n wait, the page of 64 that the device fetches,
// and the acknowledgement of one.
func BenchmarkScalePending(b *testing.B) {
	message := &envelope.Deliver{Type: 2, Untrusted: envelope.Untrusted{Epoch: 1, Sequence: 1}, Ciphertext: make([]byte, 200), Header: envelope.Header{Conversation: chat, ID: numbered(1), Sender: phone, Stamp: 1}}
	prepare := func(b *testing.B, s *Server, n int) {
		require.NoError(b, s.Store.Update(func(tx *Tx) error {
			for range n {
				if err := tx.enqueue(bob, message, 20_000); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	each(b, []int{100, 1_000, 10_000}, prepare, func(b *testing.B, s *Server, _ int) {
		for b.Loop() {
			require.NoError(b, s.Store.Update(func(tx *Tx) error {
				if err := tx.enqueue(bob, message, 20_000); err != nil {
					return err
				}
				h := tx.head(bob)
				frames, _, err := tx.after(bob, h.acked, 64)
				if len(frames) != 64 || !tx.acknowledge(bob, &envelope.Ack{MailboxEpoch: 1, Position: h.acked + 1}) {
					b.Fatal("page, acknowledgement")
				}
				return err
			}))
		}
	})
}
