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
// however many keys are stored, and states that share keys share memory.
type skippedKeys []run

// A run holds the keys of the messages first, first+1, …
type run struct {
	first uint32
	keys  []messageKey
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

// without returns s less the key at position r, i. s is unchanged.
func (s skippedKeys) without(r, i int) skippedKeys {
	out := make(skippedKeys, 0, len(s)+1)
	out = append(out, s[:r]...)
	if i > 0 {
		out = append(out, run{s[r].first, s[r].keys[:i]})
	}
	if rest := s[r].keys[i+1:]; len(rest) > 0 {
		out = append(out, run{s[r].first + uint32(i) + 1, rest})
	}
	return append(out, s[r+1:]...)
}

// with returns s and the keys of the n ≤ MaxSkippedKeys messages from ck on,
// less the lowest ones over the limit, which are the second result. Of s, only
// the memory behind its end is written.
func (s skippedKeys) with(ck chainKey, n uint32) (_, discarded skippedKeys) {
	if n == 0 {
		return s, nil
	}
	r := run{first: ck.index, keys: make([]messageKey, n)}
	for i := range r.keys {
		r.keys[i].seed = ck.seed()
		ck = ck.advance(1)
	}
	s = append(s, r)
	over := s.len() - MaxSkippedKeys
	for over > 0 && len(s[0].keys) <= over {
		over -= len(s[0].keys)
		discarded = append(discarded, s[0])
		s = s[1:]
	}
	if over > 0 {
		first := s[0]
		s = slices.Clone(s) // s[0] is still that of the state that we come from
		s[0] = run{first.first + uint32(over), first.keys[over:]}
		discarded = append(discarded, run{first.first, first.keys[:over]})
	}
	return s, discarded
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
