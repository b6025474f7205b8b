package ratchet

import (
	"iter"
	"slices"
	"sort"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/x3dh"
)

// A session may be stored in parts: the head, and beside it the stored keys of
// its chains in blocks (SPEC.md §6.3). So 2,000 stored keys cost the next message
// nothing, and a late one a block. A session that was read from its head reads
// blocks when a message needs them, and tells which ones are to be written.

// blockSize is how many consecutive numbers of messages have their stored keys
// in one block.
const blockSize = 32

// StoredKeys is where the blocks of stored keys stand of a session that was read
// from its head. What its methods answer is what was written last, and an error
// of theirs is one of the call that needed it.
type StoredKeys interface {
	// Block returns a block of the chain of a ratchet key as [Session.Changed]
	// gave it, empty if there is none. It is only read, and not kept.
	Block(ratchetKey x3dh.PublicKey, number uint32) ([]byte, error)

	// Lowest returns the numbers of the lowest n blocks of a chain, or of all, if
	// there are fewer, in ascending order. The slice is the caller's.
	Lowest(ratchetKey x3dh.PublicKey, n int) ([]uint32, error)
}

// A KeyBlock is the stored keys of those of the messages 32·Number to
// 32·Number + 31 of a chain that are missing, secret, 40 bytes each.
type KeyBlock struct {
	RatchetKey x3dh.PublicKey
	Number     uint32
	Keys       []byte // nil if there are none any more
}

// apart is what a session knows of its stored keys that stand apart.
type apart struct {
	head    bool       // the session was read from its head
	keys    StoredKeys // nil if none can be read
	here    []block    // read since, or made; all of them have changed
	dropped []curve.PublicKey
}

type block struct {
	chain  curve.PublicKey
	number uint32
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

// ParseHead reads what [Session.AppendHead] wrote. Of the stored keys it has
// those that keys gives it: a message that came late, a repeated one, and one that
// was not the next of a chain with stored keys make Decrypt and DecryptInitial read
// them. These fail with the error that keys answers, with [ErrCorrupt] if the blocks
// do not fit the head, or with [ErrKeysApart] if keys is nil. [ParseSession] says
// what holds besides.
//
// keys is kept as long as the session. When that changed, store its head and its
// blocks together, and read it again.
func ParseHead(head []byte, family Family, keys StoredKeys) (*Session, error) {
	return parse(head, family, apart{head: true, keys: keys})
}

// whole is s with all of its stored keys.
func (s *state) whole() (*state, error) {
	if !s.apart.head {
		return s, nil
	}
	whole := *s
	for i := range whole.receiving[:whole.nReceiving] {
		if c := &whole.receiving[i]; c.missing > 0 {
			if err := whole.apart.fetchLowest(c, MaxSkippedKeys); err != nil {
				return nil, err
			}
		}
	}
	return &whole, nil
}

// Changed yields the blocks of stored keys that are to be written, or deleted, with
// the head: those that changed since the session was read from its head, but not
// those of [Session.Dropped], which are to be deleted first. For a session that was
// not, that is all that it has. Keys is the caller's.
func (s *Session) Changed() iter.Seq[KeyBlock] {
	return func(yield func(KeyBlock) bool) {
		st := s.load()
		if st == nil {
			return
		}
		for i := range st.receiving[:st.nReceiving] {
			c := &st.receiving[i]
			for _, number := range st.changed(c) {
				b := KeyBlock{publicKey(encode(c.ratchetKey)), number, nil}
				if keys := c.skipped.block(number); len(keys) > 0 {
					b.Keys = keys.append(make([]byte, 0, keys.size()))
				}
				if !yield(b) {
					return
				}
			}
		}
	}
}

// Dropped returns the ratchet keys of chains that are gone since the session was
// read from its head: all of their blocks are to be deleted.
func (s *Session) Dropped() (ratchetKeys []x3dh.PublicKey) {
	if st := s.load(); st != nil {
		for _, k := range st.apart.dropped {
			ratchetKeys = append(ratchetKeys, publicKey(encode(k)))
		}
	}
	return ratchetKeys
}

// changed returns the numbers of the blocks of a chain that are to be written.
func (s *state) changed(c *receivingChain) (numbers []uint32) {
	if !s.apart.head {
		for i := range c.skipped {
			r := &c.skipped[i]
			for n := r.first / blockSize; n <= r.last()/blockSize; n++ {
				numbers = append(numbers, n)
			}
		}
		return slices.Compact(numbers)
	}
	for _, b := range s.apart.here {
		if b.chain == c.ratchetKey {
			numbers = append(numbers, b.number)
		}
	}
	return numbers
}

// drop notes that a chain is gone, if blocks of it may stand apart.
func (a *apart) drop(c *receivingChain) {
	made := func(b block) bool { return b.chain == c.ratchetKey }
	if a.head && (c.missing > 0 || slices.ContainsFunc(a.here, made)) {
		a.dropped = append(slices.Clip(a.dropped), c.ratchetKey)
	}
}

func (a *apart) isHere(c *receivingChain, number uint32) bool {
	return slices.Contains(a.here, block{c.ratchetKey, number})
}

// fetch reads a block of a chain, unless it is here or no keys are missing.
func (a *apart) fetch(c *receivingChain, number uint32) error {
	if c.missing == 0 || a.isHere(c, number) {
		return nil
	}
	keys, err := a.read(c, number)
	if err != nil || len(keys) == 0 {
		return err
	}
	a.here = append(a.here, block{c.ratchetKey, number})
	return c.insert(keys, 1)
}

// fetchLowest reads the lowest blocks of a chain that misses keys which are not
// here, until they have n keys, or all keys are here.
func (a *apart) fetchLowest(c *receivingChain, n int) error {
	if a.keys == nil {
		return ErrKeysApart
	}
	numbers, err := a.lowest(c, n)
	if err != nil {
		return err
	}
	var keys []numberedKey
	for i, number := range numbers {
		more, err := a.read(c, number)
		if err != nil {
			return err
		}
		if len(more) == 0 {
			return ErrCorrupt
		}
		keys = append(keys, more...)
		a.here = append(a.here, block{c.ratchetKey, number})
		if len(keys) >= min(n, int(c.missing)) {
			return c.insert(keys, i+1)
		}
	}
	return ErrCorrupt
}

// lowest returns the numbers of the lowest n blocks of a chain that are not here.
func (a *apart) lowest(c *receivingChain, n int) ([]uint32, error) {
	numbers, err := a.keys.Lowest(publicKey(encode(c.ratchetKey)), n+len(a.here))
	return slices.DeleteFunc(numbers, func(number uint32) bool { return a.isHere(c, number) }), err
}

// fetchKey reads what has to be here before find says whether the key of message
// n, which is not the next one, is stored. The message is a duplicate only if all
// blocks that the head counts are there, and its key is not.
func (a *apart) fetchKey(c *receivingChain, n uint32) error {
	if err := a.fetch(c, n/blockSize); err != nil {
		return err
	}
	if _, _, ok := c.skipped.find(n); ok || c.missing == 0 {
		return nil
	}
	numbers, err := a.lowest(c, MaxSkippedKeys)
	if err == nil && (len(numbers) != int(c.blocks) || slices.Contains(numbers, n/blockSize)) {
		err = ErrCorrupt // a block is not there, or had no keys
	}
	return err
}

// makeRoom reads what has to be here before apply stores the keys of f: the block
// that they begin in, and the lowest ones, which go if there are too many.
func (a *apart) makeRoom(c *receivingChain, f *found) error {
	n := f.at.index - f.from.index
	if !a.head || n == 0 {
		return nil
	}
	first, last := f.from.index/blockSize, (f.at.index-1)/blockSize
	if err := a.fetch(c, first); err != nil {
		return err
	}
	if over := c.stored() + int(n) - MaxSkippedKeys; over > 0 && c.missing > 0 {
		if err := a.fetchLowest(c, over); err != nil {
			return err
		}
	}
	for number := first; number <= last; number++ {
		if !a.isHere(c, number) {
			a.here = append(a.here, block{c.ratchetKey, number})
		}
	}
	return nil
}

// read reads a block. It has no keys if there is none.
func (a *apart) read(c *receivingChain, number uint32) (keys []numberedKey, err error) {
	if a.keys == nil {
		return nil, ErrKeysApart
	}
	b, err := a.keys.Block(publicKey(encode(c.ratchetKey)), number)
	if err != nil {
		return nil, err
	}
	d := wire.Decode(b)
	for d.Next() {
		if d.Num() != 4 || len(keys) == blockSize {
			return nil, ErrCorrupt
		}
		k := readMessageKey(&d)
		if k.n/blockSize != number {
			d.Fail()
		}
		keys = append(keys, k)
	}
	if d.Close() != nil {
		return nil, ErrCorrupt
	}
	return keys, nil
}

// insert puts keys that were missing, those of some blocks, to those that are here.
func (c *receivingChain) insert(keys []numberedKey, blocks int) (err error) {
	if len(keys) > int(c.missing) || blocks > int(c.blocks) {
		return ErrCorrupt
	}
	c.missing -= uint16(len(keys))
	c.blocks -= uint16(blocks)
	if !c.fits() {
		return ErrCorrupt
	}
	for n, k := range c.skipped.descending {
		keys = append(keys, numberedKey{n, *k})
	}
	var ok bool
	if c.skipped, ok = newSkippedKeys(keys, c.ck.index); !ok {
		return ErrCorrupt
	}
	return nil
}

// stored is the number of stored keys, here or apart.
func (c *receivingChain) stored() int { return int(c.missing) + c.skipped.len() }

// fits reports whether so many keys can be missing in so many blocks.
func (c *receivingChain) fits() bool {
	return c.blocks <= c.missing && int(c.missing) <= int(c.blocks)*blockSize && int64(c.missing) <= int64(c.ck.index)
}

// readMissing reads the number of keys that stand apart, or of their blocks.
func readMissing(d *wire.Decoder) uint16 {
	n := d.Uint32()
	if n == 0 || n > MaxSkippedKeys {
		d.Fail()
	}
	return uint16(n)
}

// blocks is the number of blocks that s has keys of.
func (s skippedKeys) blocks() (n int) {
	for i := range s {
		first, last := s[i].first/blockSize, s[i].last()/blockSize
		n += int(last - first)
		if i == 0 || s[i-1].last()/blockSize != first {
			n++
		}
	}
	return n
}

// block is the part of s that is in a block. It shares memory with s.
func (s skippedKeys) block(number uint32) (part skippedKeys) {
	first := number * blockSize
	last := first + (blockSize - 1)
	r := sort.Search(len(s), func(r int) bool { return s[r].last() >= first })
	for ; r < len(s) && s[r].first <= last; r++ {
		from, to := max(first, s[r].first), min(last, s[r].last())
		part = append(part, run{first: from, keys: s[r].keys[from-s[r].first : to-s[r].first+1]})
	}
	return part
}
