package ratchet

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// content is what stored keys are to the rest of the package.
func (s skippedKeys) content() map[uint32]messageKey {
	m := map[uint32]messageKey{}
	for n, k := range s.descending {
		m[n] = *k
	}
	return m
}

// States share the memory of their stored keys. Random histories of keys that
// are stored and taken are compared with maps: the last value, and every
// earlier one, which has to stay what it was until its keys are erased.
func TestSkippedKeysAgainstMaps(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	dropped, middles, branches := 0, 0, 0
	seed := rand.Uint64()
	for i := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, i))
		type version struct {
			s skippedKeys
			m map[uint32]messageKey
		}
		var s skippedKeys
		model := map[uint32]messageKey{}
		history := []version{{s, maps.Clone(model)}}
		ck := chainKey{key: [32]byte{byte(i)}}
		for range 50 {
			if len(model) > 0 && rng.IntN(2) == 0 { // a late message
				numbers := slices.Sorted(maps.Keys(model))
				n := numbers[rng.IntN(len(numbers))]
				r, k, ok := s.find(n)
				require.True(t, ok, "seed %d, %d", seed, i)
				require.Equal(t, model[n], s[r].keys[k])
				if k > 0 && k < len(s[r].keys)-1 {
					middles++
				}
				s, _ = s.without(r, k)
				delete(model, n)
			} else { // a message after n that are missing
				n := uint32(rng.IntN(6))
				if rng.IntN(6) == 0 {
					n = uint32(rng.IntN(MaxSkippedKeys + 1))
				}
				if rng.IntN(4) == 0 {
					// A decryption that failed after all: what it derived is
					// thrown away, and wrote nothing that matters.
					other := ck
					other.key[31] ^= 1
					s.with(other, n, s.len())
					branches++
				}
				var discarded skippedKeys
				s, discarded = s.with(ck, n, s.len())
				for range n {
					model[ck.index] = messageKey{seed: ck.seed()}
					ck = ck.advance(1)
				}
				ck = ck.advance(1) // the message itself
				gone := map[uint32]messageKey{}
				for _, n := range slices.Sorted(maps.Keys(model))[:max(0, len(model)-MaxSkippedKeys)] {
					gone[n] = model[n]
					delete(model, n)
				}
				require.Equal(t, gone, discarded.content(), "seed %d, %d: the lowest go", seed, i)
				require.False(t, slices.ContainsFunc(discarded, func(r run) bool { return len(r.keys) == 0 }))
				dropped += len(gone)
			}
			require.Equal(t, model, s.content(), "seed %d, %d", seed, i)
			require.Equal(t, len(model), s.len())
			checkRuns(t, s)
			for _, n := range []uint32{0, ck.index - 1, ck.index, rng.Uint32N(ck.index + 1)} {
				_, has := model[n]
				_, _, ok := s.find(n)
				require.Equal(t, has, ok)
			}
			history = append(history, version{s, maps.Clone(model)})
		}
		for _, v := range history {
			require.Equal(t, v.m, v.s.content(), "seed %d, %d: an old value has changed", seed, i)
		}
	}
	require.Positive(t, dropped)
	require.Positive(t, middles)
	require.Positive(t, branches)
}

// What goes is whole runs, or the beginning of one.
func TestLimitAtTheEndOfARun(t *testing.T) {
	var s, dropped skippedKeys
	var ck chainKey
	add := func(n uint32) {
		s, dropped = s.with(ck, n, s.len())
		ck = ck.advance(n + 1)
	}
	add(600)
	require.Nil(t, dropped)
	add(1400)
	require.Nil(t, dropped)
	add(600)
	require.Equal(t, skippedKeys{{0, dropped[0].keys, 600}}, dropped)
	require.Len(t, dropped[0].keys, 600)
	require.Len(t, s, 2)
	require.Equal(t, uint32(601), s[0].first)
	add(1)
	require.Equal(t, skippedKeys{{601, dropped[0].keys, 1400}}, dropped)
	require.Len(t, dropped[0].keys, 1)
	require.Equal(t, MaxSkippedKeys, s.len())
	checkRuns(t, s)
}

// A part that is less than half of its memory leaves that, half does not.
func TestPartOfARun(t *testing.T) {
	r := run{7, make([]messageKey, 10), 10}
	shared, old := r.part(5, 5)
	require.Equal(t, run{12, r.keys[5:], 10}, shared)
	require.Same(t, &r.keys[5], &shared.keys[0])
	require.Nil(t, old)
	moved, old := r.part(6, 4)
	require.Equal(t, run{13, r.keys[6:], 4}, moved)
	require.NotSame(t, &r.keys[6], &moved.keys[0])
	require.Same(t, &r.keys[6], &old[0])
	require.Len(t, old, 4)
}

// Keys that were used or dropped are erased, and no other ones: the next state
// shares their memory.
func TestErasingDiscardedKeys(t *testing.T) {
	var c receivingChain
	c.ck.key = [32]byte{1}
	dropped := 0
	read := func(n uint32) {
		before := c.skipped.content()
		old := c.skipped
		f, err := c.find(n)
		require.NoError(t, err)
		discarded := c.apply(&f)
		dropped += len(discarded.used[0]) + discarded.limit.len()
		want := c.skipped.content()
		discarded.erase()
		require.Equal(t, want, c.skipped.content())
		for n, k := range old.descending {
			if _, kept := want[n]; !kept || *k != before[n] {
				require.Zero(t, *k, "key %d is still there", n) // used, or moved
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	read(1500)
	for range 40 {
		numbers := slices.Sorted(maps.Keys(c.skipped.content()))
		read(numbers[rng.IntN(len(numbers))])
		read(c.ck.index + rng.Uint32N(100))
	}
	require.Greater(t, dropped, 40)
}

// A peer that delivers all but one of each 2,000 skipped messages leaves few
// keys stored, and the memory that they need, not that of the others.
func TestFewKeysKeepLittleMemory(t *testing.T) {
	var c receivingChain
	c.ck.key = [32]byte{1}
	read := func(n uint32) {
		f, err := c.find(n)
		require.NoError(t, err)
		d := c.apply(&f)
		d.erase()
	}
	for range 20 {
		first := c.ck.index
		read(first + 500)
		for _, order := range [][2]uint32{{499, 251}, {0, 249}} { // the end downwards, the start upwards
			for i := order[0]; ; {
				read(first + i)
				if i == order[1] {
					break
				}
				if order[0] > order[1] {
					i--
				} else {
					i++
				}
			}
		}
	}
	require.Equal(t, 20, c.skipped.len())
	room := 0
	for _, r := range c.skipped {
		room += r.room
		require.LessOrEqual(t, cap(r.keys), r.room)
	}
	require.LessOrEqual(t, room, 2*c.skipped.len()+2)
}
