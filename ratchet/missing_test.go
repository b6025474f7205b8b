package ratchet

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/x3dh"
)

// L10, R-5.5-8: a session counts each message that has not come once, when the first one behind
// it comes, in the same chain or in the next.
func TestMissing(t *testing.T) {
	eachFamily(t, func(t *testing.T, family Family) {
		alice, bob := newPair(t, family)
		missing := func(s *Session, message []byte, plaintext string, want uint32) {
			t.Helper()
			receive(t, s, message, plaintext)
			require.Equal(t, want, s.Missing())
			require.Zero(t, reload(t, s).Missing(), "it is not stored")
		}
		m := sendN(t, alice, 10)
		missing(bob, m[0], number(0), 0)
		missing(bob, m[3], number(3), 2)
		refuse(t, bob, m[3], ErrDuplicate)
		require.EqualValues(t, 2, bob.Missing(), "nothing was decrypted since")
		missing(bob, m[1], number(1), 0)
		missing(bob, m[4], number(4), 0)
		missing(bob, m[7], number(7), 2)

		answer, _ := send(t, bob, "answer")
		require.EqualValues(t, 2, bob.Missing(), "nor by that")
		missing(alice, answer, "answer", 0)
		next := sendN(t, alice, 3)
		missing(bob, next[1], number(1), 1+2) // and 8 and 9
		missing(bob, m[9], number(9), 0)
		missing(bob, next[2], number(2), 0)
		missing(bob, next[0], number(0), 0)

		answer, _ = send(t, bob, "answer")
		missing(alice, answer, "answer", 0)
		last, _ := send(t, alice, "last")
		missing(bob, last, "last", 0)

		const jump = MaxForwardJump
		far := sendN(t, alice, jump+1)
		missing(bob, far[jump], number(jump), jump)

		require.Zero(t, new(Session).Missing())
		require.Zero(t, (*Session)(nil).Missing())
	})
}

// What a peer says of its chain before is its word: as much as it likes, and never less than nothing.
func TestMissingIsWhatThePeerSays(t *testing.T) {
	for previous, want := range map[uint64]uint32{0: 1, 1: 2, 2: 3, math.MaxUint32 - 1: math.MaxUint32, math.MaxUint32: math.MaxUint32} {
		alice, bob := newPair(t, Signal)
		m, _ := send(t, alice, "number 0 of the chain")
		receive(t, bob, m, "number 0 of the chain")
		answer, _ := send(t, bob, "answer")
		receive(t, alice, answer, "answer")
		send(t, alice, "number 0 of the next")
		receive(t, bob, sealed(t, alice, func(f *fields) { f.previous = previous }), "plaintext")
		require.Equal(t, want, bob.Missing(), previous)
	}
}

// R-5.5-8, by what was written: whatever order messages come in, each that does not come is
// counted once, by the first that was written after it and comes before it.
func TestMissingInAnyOrder(t *testing.T) {
	type written struct {
		bytes            []byte
		typ              Type
		arrived, counted bool
	}
	eachFamily(t, func(t *testing.T, family Family) {
		total, evicted := uint32(0), 0
		for seed := range uint64(50) {
			rng := rand.New(rand.NewPCG(seed, 5))
			devices := [2]*device{newDevice(t, family, true), newDevice(t, family, true)}
			sessions := [2]*Session{devices[0].start(t, devices[1]), nil}
			var sent [2][]*written
			underway := func(from int) (list []*written) {
				for _, w := range sent[from] {
					if !w.arrived {
						list = append(list, w)
					}
				}
				return list
			}
			for range 200 {
				from := rng.IntN(2)
				list := underway(from)
				if rng.IntN(2) == 0 || len(list) == 0 {
					if sessions[from] != nil {
						m, typ := send(t, sessions[from], "text")
						sent[from] = append(sent[from], &written{bytes: m, typ: typ})
					}
					continue
				}
				w := list[max(rng.IntN(len(list)), rng.IntN(len(list)))]
				to := 1 - from
				var err error
				switch s := sessions[to]; {
				case s == nil:
					sessions[to], _, err = devices[to].accept(t, w.bytes)
				case w.typ == Initial:
					m, parseErr := x3dh.ParseInitialMessage(w.bytes)
					require.NoError(t, parseErr)
					_, err = s.DecryptInitial(nil, m)
				default:
					_, err = s.Decrypt(nil, w.bytes)
				}
				w.arrived = true
				if err != nil { // its chain was evicted
					require.ErrorIs(t, err, ErrAuthentication)
					require.True(t, w.counted)
					evicted++
					continue
				}
				want := uint32(0)
				for _, before := range sent[from][:slices.Index(sent[from], w)] {
					if !before.arrived && !before.counted {
						before.counted = true
						want++
					}
				}
				w.counted = true
				require.Equal(t, want, sessions[to].Missing(), "seed %d", seed)
				total += want
				if rng.IntN(3) == 0 {
					sessions[to] = reload(t, sessions[to])
				}
			}
		}
		require.Greater(t, total, uint32(500))
		require.Positive(t, evicted)
	})
}
