package ratchet

import (
	"slices"
	"sort"

	"github.com/sotto-im/sotto/internal/kdf"
)

// skippedKeys are the keys of messages that have not arrived yet, in ascending
// order of their numbers (MKSKIPPED of one chain, SPEC.md §5.5).
//
// They are kept as runs of consecutive numbers, because that is how messages
// go missing. A key taken from an end of a run is a shorter slice, one from the
// middle makes two runs of one: nothing is copied but the short list of runs,
// until a run needs less than half of the memory that it keeps. States that
// share keys share memory.
type skippedKeys []run

// A run holds the keys of the messages first, first+1, …
type run struct {
	first uint32
	keys  []messageKey
	room  int // keys that the memory behind keys holds, or held
}

// part is the run of n keys from key i on. It shares memory with r unless that
// would keep more than twice of what it needs: then it is a copy, and old is
// what the caller erases when nobody needs r any more.
func (r *run) part(i, n int) (p run, old []messageKey) {
	p = run{r.first + uint32(i), r.keys[i : i+n], r.room}
	if 2*n < r.room {
		old = p.keys
		p.keys, p.room = slices.Clone(old), n
	}
	return p, old
}

// A messageKey is what is stored for a skipped message: the seed, or, in
// records of libsignal before 0.67.2, the keys made of it.
type messageKey struct {
	seed     [32]byte
	expanded *kdf.MessageKeys
}

// expand derives the keys of the message.
func (k *messageKey) expand() kdf.MessageKeys {
	if k.expanded != nil {
		return *k.expanded
	}
	return kdf.ExpandSeed(&k.seed, nil)
}

// find returns the position of the key of message n, and whether it is there.
func (s skippedKeys) find(n uint32) (r, i int, ok bool) {
	r = sort.Search(len(s), func(r int) bool { return s[r].last() >= n })
	if r == len(s) || s[r].first > n {
		return 0, 0, false
	}
	return r, int(n - s[r].first), true
}

func (r *run) last() uint32 { return r.first + uint32(len(r.keys)-1) }

// without returns s less the key at position r, i, and what there is to erase.
// s is unchanged.
func (s skippedKeys) without(r, i int) (_ skippedKeys, g garbage) {
	old := &s[r]
	before, b := old.part(0, i)
	after, a := old.part(i+1, len(old.keys)-i-1)
	g = garbage{old.keys[i : i+1], b, a}

	left := make(skippedKeys, 0, 2)
	for _, p := range []run{before, after} {
		if len(p.keys) > 0 {
			left = append(left, p)
		}
	}
	return slices.Concat(s[:r], left, s[r+1:]), g
}

// with returns s and the keys of the n ≤ MaxSkippedKeys messages from ck on,
// less the lowest ones over the limit of a chain that has stored keys, which are
// what there is to erase. Of s, only the memory behind its end is written.
func (s skippedKeys) with(ck chainKey, n uint32, stored int) (_, dropped skippedKeys) {
	if n == 0 {
		return s, nil
	}
	r := run{ck.index, make([]messageKey, n), int(n)}
	for i := range r.keys {
		r.keys[i].seed = ck.seed()
		ck = ck.advance(1)
	}
	s = append(s, r)
	over := stored + int(n) - MaxSkippedKeys
	for len(s[0].keys) <= over {
		over -= len(s[0].keys)
		dropped = append(dropped, s[0])
		s = s[1:]
	}
	if over > 0 {
		first := s[0]
		s = slices.Clone(s) // s[0] is still that of the state that we come from
		s[0] = run{first.first + uint32(over), first.keys[over:], first.room}
		dropped = append(dropped, run{first.first, first.keys[:over], first.room})
	}
	return s, dropped
}

// garbage are keys in memory that is not needed any more. They are erased when
// the state without them has been committed, since states share memory.
type garbage [3][]messageKey

func (g garbage) erase() {
	for _, keys := range g {
		clear(keys)
	}
}

// erase clears the keys in place.
func (s skippedKeys) erase() {
	for i := range s {
		clear(s[i].keys)
	}
}

// len is the number of keys.
func (s skippedKeys) len() (n int) {
	for i := range s {
		n += len(s[i].keys)
	}
	return n
}
