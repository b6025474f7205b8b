package ratchet

import (
	"iter"
	"slices"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/x3dh"
)

// A session may be stored in parts, so that a chain with 2,000 stored keys
// costs the next message nothing: the head, and beside it the stored keys of
// each chain that has any (SPEC.md §6.3). A session that was read from its head
// fetches the keys of a chain when a message needs them, and tells which chains
// have other keys than before.

// apart is what a chain knows of its stored keys' place.
type apart struct {
	missing uint16 // keys that stand apart and were not supplied; then skipped is empty
	row     bool   // what stands apart has keys of this chain
	changed bool   // and others than these
}

// AppendHead appends the head of the session to b: its record less the stored
// keys, which [Session.Changed] has. It is secret. The only error is
// [ErrUninitialized].
func (s *Session) AppendHead(b []byte) ([]byte, error) {
	st := s.load()
	if st == nil {
		return b, ErrUninitialized
	}
	return st.append(b, true), nil
}

// ParseHead reads what [Session.AppendHead] wrote. The session encrypts, and
// decrypts what needs no stored keys; else Decrypt and DecryptInitial fail with
// [ErrKeysApart] until the keys of the message's chain have been supplied.
// [ParseSession] says what holds besides.
func ParseHead(head []byte, family Family) (*Session, error) { return parse(head, family, true) }

// Missing returns the ratchet keys of the chains whose stored keys stand apart
// and were not supplied.
func (s *Session) Missing() (ratchetKeys []x3dh.PublicKey) {
	st := s.load()
	if st == nil {
		return nil
	}
	for i := range st.receiving[:st.nReceiving] {
		if c := &st.receiving[i]; c.apart.missing > 0 {
			ratchetKeys = append(ratchetKeys, publicKey(encode(c.ratchetKey)))
		}
	}
	return ratchetKeys
}

// Supply gives a session that was read from its head the stored keys of the
// chain of a ratchet key, as [Session.Changed] had them last, nil if there are
// none. keys is not kept. Errors: [ErrCorrupt] if the keys do not fit the head,
// or if it does not miss any of that chain; [ErrConcurrentUse];
// [ErrUninitialized].
func (s *Session) Supply(ratchetKey x3dh.PublicKey, keys []byte) error {
	old := s.load()
	if old == nil {
		return ErrUninitialized
	}
	i, ok := old.findKey(ratchetKey)
	if !ok || old.receiving[i].apart.missing == 0 {
		return ErrCorrupt
	}
	next := new(state)
	*next = *old
	c := &next.receiving[i]
	d := wire.Decode(keys)
	n := int(c.apart.missing)
	stored := make([]numberedKey, 0, min(n, len(keys)/34)) // a key takes more than its seed
	for d.Next() {
		if d.Num() != 4 || len(stored) == n {
			return ErrCorrupt
		}
		stored = append(stored, readMessageKey(&d))
	}
	if d.Close() != nil || len(stored) != n {
		return ErrCorrupt
	}
	if c.skipped, ok = newSkippedKeys(stored, c.ck.index); !ok {
		return ErrCorrupt
	}
	c.apart.missing = 0
	return s.commit(old, next)
}

// Changed yields the ratchet keys of the chains whose stored keys are others
// than those that stand apart, and what has to stand there now: nil if the
// chain has none any more, or is gone. For a session that was not read from its
// head that is all that it has. The keys are secret, 40 bytes each.
func (s *Session) Changed() iter.Seq2[x3dh.PublicKey, []byte] {
	return func(yield func(x3dh.PublicKey, []byte) bool) {
		st := s.load()
		if st == nil {
			return
		}
		for _, k := range st.dropped {
			if !yield(publicKey(encode(k)), nil) {
				return
			}
		}
		for i := range st.receiving[:st.nReceiving] {
			c := &st.receiving[i]
			if !c.apart.changed || len(c.skipped) == 0 && !c.apart.row {
				continue
			}
			var keys []byte
			if len(c.skipped) > 0 {
				keys = c.skipped.append(make([]byte, 0, c.skipped.size()))
			}
			if !yield(publicKey(encode(c.ratchetKey)), keys) {
				return
			}
		}
	}
}

// findKey returns the chain of a ratchet key.
func (s *state) findKey(ratchetKey x3dh.PublicKey) (int, bool) {
	k, err := curve.ParsePublicKey(ratchetKey.Bytes())
	if err != nil {
		return 0, false
	}
	return s.findChain(&k)
}

// drop notes that a chain is gone.
func (s *state) drop(c *receivingChain) {
	if c.apart.row {
		s.dropped = append(slices.Clip(s.dropped), c.ratchetKey)
	}
}

// stored is the number of stored keys, here or apart.
func (c *receivingChain) stored() int { return int(c.apart.missing) + c.skipped.len() }

// readMissing reads the number of keys that stand apart.
func (c *receivingChain) readMissing(d *wire.Decoder) {
	n := d.Uint32()
	if n == 0 || n > MaxSkippedKeys {
		d.Fail()
	}
	c.apart = apart{missing: uint16(n), row: true}
}
