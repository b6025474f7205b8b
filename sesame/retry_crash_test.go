package sesame_test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// count is the number of rows with a prefix, in a database that does not fail.
func (p *phone) count(w *world, prefix string) (n int) {
	require.NoError(w.t, p.memory.Do(func(tx sesame.Tx) error {
		for _, err := range tx.Scan(prefix) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	}))
	return n
}

// unreadable is a message of a session that nobody has.
func unreadable(t *testing.T) []byte {
	t.Helper()
	b := wire.AppendBytes([]byte{0x34}, 1, x3dh.GenerateIdentityKey().Public().Bytes())
	b = wire.AppendUint(b, 2, 0)
	b = wire.AppendUint(b, 3, 0)
	b = append(wire.AppendBytes(b, 4, make([]byte, 16)), make([]byte, 8)...)
	_, err := ratchet.ParseMessage(b)
	require.NoError(t, err)
	return b
}

// R-10.7-2, R-10.7-4, R-10.7-5: with every fault at every step, and the process
// started anew between any two, the outboxes hold five requests for a message
// and five answers to the requests for one, neither more nor fewer, each answer
// under a key of its own, and one session was ended in the hour.
func TestRetryLimitsSurviveFaults(t *testing.T) {
	runs, faults := 60, 0
	if testing.Short() {
		runs = 10
	}
	seed := rand.Uint64()
	for run := range runs {
		w := newWorld(t, seed+uint64(run), 80)
		alice, bob := w.phones[0], w.phones[1]
		reopen := func(p *phone) {
			w.try(p, func(tx sesame.Tx) error {
				dev, err := sesame.Open(tx, sesame.Config{Now: func() time.Time { return now }})
				if err == nil {
					p.dev = dev
				}
				return err
			})
		}
		const timestamp, rounds = 7, 40
		allowed := func(uint64) (bool, error) { return true, nil }

		// Bob gets one message again and again, and cannot read it.
		lost := unreadable(t)
		for n := range rounds {
			if n == rounds-6 {
				w.rate = 0
			}
			reopen(bob)
			w.try(bob, func(tx sesame.Tx) error {
				r, err := bob.dev.Decrypt(tx, alice.at, ratchet.Ordinary, lost)
				if err != nil {
					return err
				}
				require.ErrorIs(t, r.Err, sesame.ErrNoSession)
				request, err := bob.dev.RetryRequest(tx, r, timestamp)
				if err != nil || request == nil {
					return err
				}
				return tx.Put(fmt.Sprintf("app/request/%d", n), request.Bytes, 0)
			})
			require.LessOrEqual(t, bob.count(w, "app/request/"), 5)
		}
		require.Equal(t, 5, bob.count(w, "app/request/"), "run %d of seed %d", run, seed)

		// Alice wrote it, and gets requests that name whatever key is current.
		for !w.started(alice, bob) {
			w.start(alice, bob)
		}
		for !w.has(alice, "app/first") {
			w.try(alice, func(tx sesame.Tx) error {
				out, err := alice.dev.EncryptLogged(tx, timestamp, []byte("hello"), bob.at)
				if err != nil {
					return err
				}
				require.NoError(t, out[0].Err)
				return tx.Put("app/first", out[0].Bytes, 0)
			})
		}
		first, _ := alice.read(w, "app/first")
		w.noteKey(first, ratchet.Initial)
		newest := first
		w.rate = 80
		for n := range rounds {
			if n == rounds-8 {
				w.rate = 0
			}
			reopen(alice)
			key := fmt.Sprintf("app/answer/%d", n)
			request := retryRequest(t, newest, timestamp, alice.at.Device)
			var m sesame.Message
			committed := w.try(alice, func(tx sesame.Tx) (err error) {
				m, err = alice.dev.HandleRetry(tx, bob.at, alice.at.Device, request, allowed)
				if err != nil || m.Err != nil {
					return err
				}
				return tx.Put(key, m.Bytes, 0)
			})
			if answer, there := alice.read(w, key); there {
				w.noteKey(answer, ratchet.Initial)
				newest = answer
			}
			if committed && m.Err == sesame.ErrNoSession {
				w.start(alice, bob)
			}
			require.LessOrEqual(t, alice.count(w, "app/answer/"), 5)
		}
		require.Equal(t, 5, alice.count(w, "app/answer/"), "run %d of seed %d", run, seed)
		require.Len(t, w.keys, 6)
		keys := map[string]bool{}
		for k := range w.keys {
			keys[strings.Split(k, "/")[0]] = true
		}
		require.Len(t, keys, 2, "one reset: run %d of seed %d", run, seed)
		faults += w.faults
	}
	t.Logf("%d runs, %d faults", runs, faults)
	require.Greater(t, faults, 5*runs)
}

// retryRequest asks for the message with a timestamp, and names the ratchet key
// of an initial message. It is written out here, apart from the code.
func retryRequest(t *testing.T, initial []byte, timestamp byte, device uint32) []byte {
	t.Helper()
	m, err := x3dh.ParseInitialMessage(initial)
	require.NoError(t, err)
	inner, err := ratchet.ParseMessage(m.Message)
	require.NoError(t, err)
	b, err := hex.DecodeString(fmt.Sprintf("c042270a21%x10%02x18%02x80", inner.RatchetKey.Bytes(), timestamp, device))
	require.NoError(t, err)
	return b
}

func (w *world) has(p *phone, key string) bool {
	_, there := p.read(w, key)
	return there
}

// started reports whether p has a session with q.
func (w *world) started(p, q *phone) (ok bool) {
	require.NoError(w.t, p.memory.Do(func(tx sesame.Tx) error {
		peer, err := p.dev.Peer(tx, q.at)
		ok = peer.Connected
		return err
	}))
	return ok
}
