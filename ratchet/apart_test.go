package ratchet

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/x3dh"
)

// parts is a session as sesame stores it: the head and the blocks of stored keys.
type parts struct {
	head   []byte
	blocks map[x3dh.PublicKey]map[uint32][]byte
	reads  int   // of blocks
	err    error // of the next read
}

func (p *parts) Block(ratchetKey x3dh.PublicKey, number uint32) ([]byte, error) {
	p.reads++
	return p.blocks[ratchetKey][number], p.err
}

func (p *parts) Lowest(ratchetKey x3dh.PublicKey, n int) ([]uint32, error) {
	numbers := slices.Sorted(maps.Keys(p.blocks[ratchetKey]))
	return numbers[:min(n, len(numbers))], p.err
}

func (p *parts) load(t testing.TB) *Session {
	t.Helper()
	s, err := ParseHead(p.head, Signal, p)
	require.NoError(t, err)
	return s
}

func (p *parts) store(t testing.TB, s *Session) {
	t.Helper()
	head, err := s.AppendHead([]byte("x"))
	require.NoError(t, err)
	p.head = head[1:]
	if p.blocks == nil {
		p.blocks = map[x3dh.PublicKey]map[uint32][]byte{}
	}
	for _, k := range s.Dropped() {
		require.Contains(t, p.blocks, k, "nothing is to be deleted that is not there")
		delete(p.blocks, k)
	}
	for b := range s.Changed() {
		chain := p.blocks[b.RatchetKey]
		if chain == nil {
			chain = map[uint32][]byte{}
			p.blocks[b.RatchetKey] = chain
		}
		require.NotEqual(t, chain[b.Number], b.Keys, "a block that did not change")
		if chain[b.Number] = b.Keys; b.Keys == nil {
			delete(chain, b.Number)
		}
		if len(chain) == 0 {
			delete(p.blocks, b.RatchetKey)
		}
	}
}

// only is the one chain that has blocks.
func (p *parts) only(t testing.TB) (ratchetKey x3dh.PublicKey, blocks map[uint32][]byte) {
	t.Helper()
	require.Len(t, p.blocks, 1)
	for ratchetKey, blocks = range p.blocks {
	}
	return ratchetKey, blocks
}

// whole puts the parts together.
func (p *parts) whole(t testing.TB) []byte {
	t.Helper()
	b, err := p.load(t).AppendBinary(nil)
	require.NoError(t, err)
	return b
}

// R-6.3-1, R-6.3-2: random conversations over a bad network, in which one side is stored whole
// and in parts after every step, and both are always the same record.
func TestPartsAgainstWhole(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	seed := rand.Uint64()
	read, plain, evicted, deleted, limit := 0, 0, 0, 0, 0
	for run := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, run))
		alice, bob := newPair(t, Signal)
		var p parts
		p.store(t, bob)
		record := p.whole(t)
		var late [][]byte
		for range 120 {
			before := len(p.blocks)
			if rng.IntN(6) == 0 { // Bob answers: Alice's next message is of a new chain
				s := p.load(t)
				m, _, err := s.Encrypt(nil, nil)
				require.NoError(t, err)
				for range s.Changed() {
					t.Fatal("nothing stored changes when a message is encrypted")
				}
				p.store(t, s)
				record = p.whole(t)
				receive(t, alice, m, "")
				continue
			}
			n := rng.IntN(4)
			if rng.IntN(10) == 0 {
				n = rng.IntN(MaxSkippedKeys)
			}
			late = append(late, sendN(t, alice, n+1)...)
			i := len(late) - 1
			if rng.IntN(2) == 0 {
				i = max(0, i-rng.IntN(40))
			}
			m, err := parseMessage(late[i], 3)
			require.NoError(t, err)
			late = slices.Delete(late, i, i+1)

			fresh := curve.GenerateKey()
			draw := func() curve.PrivateKey { return fresh }
			whole, err := ParseSession(record, Signal)
			require.NoError(t, err)
			_, wantState, dropped, want := whole.load().decrypt(nil, &m, draw)
			limit += dropped.limit.len()
			s := p.load(t)
			reads := p.reads
			_, next, _, err := s.load().decrypt(nil, &m, draw)
			if p.reads > reads {
				read++
			} else {
				plain++
			}
			require.Equal(t, want, err)
			if err != nil {
				continue
			}
			p.store(t, newSession(next))
			record = wantState.appendBinary(nil)
			require.Equal(t, record, p.whole(t), "seed %d, run %d", seed, run)
			require.Empty(t, wantState.apart.dropped, "of a session that was whole nothing stands apart")
			evicted += len(next.apart.dropped)
			if len(p.blocks) < before {
				deleted++
			}
			for i := range wantState.receiving[:wantState.nReceiving] {
				c := &wantState.receiving[i]
				if n := c.skipped.len(); n > 0 {
					size := 0
					for _, b := range p.blocks[publicKey(encode(c.ratchetKey))] {
						require.LessOrEqual(t, len(b), 45*blockSize)
						size += len(b)
					}
					require.LessOrEqual(t, size, 45*n)
				}
			}
		}
	}
	t.Logf("%d steps without stored keys, %d with, %d times the last key of a chain went, %d times a chain, %d keys over the limit", plain, read, deleted, evicted, limit)
	for _, n := range []int{read, plain, deleted, evicted, limit} {
		require.NotZero(t, n)
	}
}

// refuseHead is refuse for a session that is not whole.
func refuseHead(t testing.TB, s *Session, message []byte, want error) {
	t.Helper()
	before, err := s.AppendHead(nil)
	require.NoError(t, err)
	dst := []byte("dst")
	out, err := s.Decrypt(dst[:3:3], message)
	require.Equal(t, want, err)
	require.Equal(t, dst, out)
	after, err := s.AppendHead(nil)
	require.NoError(t, err)
	require.Equal(t, before, after)
	for range s.Changed() {
		t.Fatal("nothing changes in a call that fails")
	}
}

// waiting is a session in parts that waits for two messages, and for the next;
// far is too far ahead.
func waiting(t testing.TB) (p parts, used, late, next, jump []byte, peer *Session) {
	t.Helper()
	alice, bob := newPair(t, Signal)
	m := sendN(t, alice, 4)
	receive(t, bob, m[0], number(0))
	receive(t, bob, m[3], number(3))
	m = append(m, sendN(t, alice, 3)...)
	p.store(t, bob)
	require.Len(t, p.blocks, 1)
	return p, m[0], m[1], m[4], m[6], alice
}

// R-6.3-1: what needs no stored keys works without them, what needs them says
// so, and nothing is taken for a duplicate because its key stands apart.
func TestHeadAlone(t *testing.T) {
	p, used, late, next, jump, alice := waiting(t)
	s, err := ParseHead(p.head, Signal, nil)
	require.NoError(t, err)
	for _, m := range [][]byte{used, late, jump} {
		refuseHead(t, s, m, ErrKeysApart)
	}
	refuseHead(t, s, forge(t, alice, MaxForwardJump+100), ErrTooFarAhead)
	b, err := s.AppendBinary([]byte("x"))
	require.Equal(t, ErrKeysApart, err, "a record without its stored keys is none")
	require.Equal(t, "x", string(b))
	receive(t, s, next, number(0))
	for range s.Changed() {
		t.Fatal("the next message changes no stored keys")
	}
	p.store(t, s)
	require.Less(t, len(p.head), 500)

	s = p.load(t)
	refuse(t, s, used, ErrDuplicate)
	receive(t, s, late, number(1))
	refuse(t, s, late, ErrDuplicate)
	receive(t, s, jump, number(2))
}

// R-6.3-1: a failure to read stored keys is not a verdict on the message.
func TestKeysThatCannotBeRead(t *testing.T) {
	p, used, late, next, jump, _ := waiting(t)
	for _, m := range [][]byte{used, late, jump} {
		s := p.load(t)
		p.err = errors.New("the disk is gone")
		refuseHead(t, s, m, p.err)
		dst := make([]byte, 0, 100)
		_, err := s.Decrypt(dst, m)
		require.Equal(t, p.err, err)
		require.NotContains(t, string(dst[:cap(dst)]), number(2), "the jump was decrypted, and is not given out")
		_, err = s.AppendBinary(nil)
		require.Equal(t, p.err, err)
		p.err = nil
	}
	s := p.load(t)
	p.err = errors.New("not read")
	receive(t, s, next, number(0))
}

// The late message whose key is the last: the keys are gone, and that is told.
func TestLastStoredKeyDeletesThem(t *testing.T) {
	alice, bob := newPair(t, Signal)
	m := sendN(t, alice, 2)
	receive(t, bob, m[1], number(1))
	var p parts
	p.store(t, bob)
	require.Len(t, p.blocks, 1)
	s := p.load(t)
	receive(t, s, m[0], number(0))
	p.store(t, s)
	require.Empty(t, p.blocks)
	p.reads = 0
	refuse(t, p.load(t), m[0], ErrDuplicate)
	require.Zero(t, p.reads, "there are none to ask for")
}

// R-6.3-2, R-6.3-4: what a message reads and writes is the block of its key, or those that
// the skipped ones fall into, and at the limit the lowest ones.
func TestBlocksOfAMessage(t *testing.T) {
	alice, bob := newPair(t, Signal)
	m := sendN(t, alice, MaxSkippedKeys+3*blockSize)
	var p parts
	p.store(t, bob)
	var last *Session
	changes := func(i int) (numbers []uint32, reads int) {
		t.Helper()
		s := p.load(t)
		p.reads = 0
		receive(t, s, m[i], number(i))
		last, reads = s, p.reads
		for b := range s.Changed() {
			numbers = append(numbers, b.Number)
		}
		p.store(t, s)
		return numbers, reads
	}
	check := func(i int, wantReads int, want ...uint32) {
		t.Helper()
		numbers, reads := changes(i)
		require.Equal(t, want, numbers, "message %d", i)
		require.Equal(t, wantReads, reads, "message %d", i)
	}
	check(0, 0)
	check(blockSize-1, 0, 0) // 1 … 30 are stored
	_, blocks := p.only(t)
	require.Equal(t, []byte{'"', 36, 8, 30}, blocks[0][:4], "the highest first")
	check(blockSize, 0)
	check(3*blockSize, 1, 1, 2) // 33 … 95: a chain that misses keys asks for block 1
	check(5, 1, 0)
	check(2*blockSize, 1, 2)
	check(2*blockSize+1, 1, 2)
	check(3*blockSize+1, 0)

	// 29 + 61 keys are stored. The 1,990 that come evict the lowest 80, which are
	// all of block 0, all of block 1 and the lowest 20 of block 2.
	n := MaxSkippedKeys - 10
	numbers, reads := changes(3*blockSize + 2 + n)
	require.Equal(t, 4, reads, "the block that they begin in, then from the lowest on")
	require.Equal(t, []uint32{0, 1, 2}, numbers[:3])
	require.Len(t, numbers, 3+n/blockSize+1)
	_, blocks = p.only(t)
	require.NotContains(t, blocks, uint32(0))
	require.NotContains(t, blocks, uint32(1))
	require.Equal(t, 10, bytes.Count(blocks[2], []byte{5<<3 | 2, 32}))
	require.Equal(t, MaxSkippedKeys, last.load().stored())
	refuse(t, p.load(t), m[blockSize+1], ErrDuplicate)
	receive(t, p.load(t), m[3*blockSize-1], number(3*blockSize-1))
	require.Equal(t, p.whole(t), record(t, mustParse(t, p.whole(t))))
}

// R-5.6-3: a session decrypts several messages, of which the first empties the lowest block and the next
// one reaches the limit, and was not stored in between. A block that is stored without keys is corrupt.
func TestLowestBlockIsEmpty(t *testing.T) {
	alice, whole := newPair(t, Signal)
	m := sendN(t, alice, blockSize+MaxSkippedKeys+3)
	for i := 1; i < blockSize; i++ {
		receive(t, whole, m[i], number(i))
	}
	last := blockSize + MaxSkippedKeys - 1
	receive(t, whole, m[last], number(last)) // one key in block 0, and all that the limit leaves room for
	var p parts
	p.store(t, whole)
	s := p.load(t)
	for _, i := range []int{0, last + 3, blockSize + 2} { // the third is in a block that was read for the second
		receive(t, s, m[i], number(i))
		receive(t, whole, m[i], number(i))
		require.Equal(t, record(t, whole), record(t, s))
	}

	_, blocks := p.only(t)
	blocks[0] = []byte{}
	refuseHead(t, p.load(t), m[last+3], ErrCorrupt)
}

// A session that was whole gives all of its blocks, whatever runs the keys are in.
func TestBlocksOfAWholeSession(t *testing.T) {
	alice, bob := newPair(t, Signal)
	m := sendN(t, alice, 6*blockSize+1)
	for _, i := range []int{2 * blockSize, 6 * blockSize, 3*blockSize + 5, 3*blockSize + 7} {
		receive(t, bob, m[i], number(i))
	}
	var p parts
	p.store(t, bob)
	_, blocks := p.only(t)
	require.Equal(t, []uint32{0, 1, 2, 3, 4, 5}, slices.Sorted(maps.Keys(blocks)))
	require.Equal(t, record(t, bob), p.whole(t))
}

// R-6.3-4: when the keys that come reach the limit, and do not pass it, none go, and the
// lowest block is not read.
func TestLimitIsReached(t *testing.T) {
	alice, bob := newPair(t, Signal)
	m := sendN(t, alice, MaxSkippedKeys+blockSize+1)
	var p parts
	receive(t, bob, m[10], number(10))
	for i := 11; i <= blockSize; i++ {
		receive(t, bob, m[i], number(i))
	}
	p.store(t, bob)
	s := p.load(t)
	last := blockSize + 1 + MaxSkippedKeys - 10
	receive(t, s, m[last], number(last))
	require.Equal(t, MaxSkippedKeys, s.load().receiving[s.load().nReceiving-1].stored())
	require.Equal(t, 1, p.reads, "the block that they begin in")
}

// R-6.3-1: what a session has stored since, over the limit too, it reads nowhere.
func TestStoredSinceTheHead(t *testing.T) {
	alice, bob := newPair(t, Signal)
	m := sendN(t, alice, MaxSkippedKeys+10)
	var p parts
	p.store(t, bob)
	s, err := ParseHead(p.head, Signal, nil)
	require.NoError(t, err)
	receive(t, s, m[5], number(5))
	receive(t, s, m[MaxSkippedKeys+6], number(MaxSkippedKeys+6))
	require.Equal(t, MaxSkippedKeys, s.load().stored())
	refuse(t, s, m[4], ErrDuplicate)
	receive(t, s, m[6], number(6))
}

// R-6.3-1: a repeated message is a duplicate after its own block was read, if all
// blocks are there, and for no other reason.
func TestRepeatedMessageReadsOneBlock(t *testing.T) {
	alice, bob := newPair(t, Signal)
	m := sendN(t, alice, 40*blockSize+1)
	for i := range m[:40*blockSize] {
		if i%blockSize != 7 {
			receive(t, bob, m[i], number(i))
		}
	}
	var p parts
	p.store(t, bob)
	chain, blocks := p.only(t)
	require.Len(t, blocks, 40)
	p.reads = 0
	refuseHead(t, p.load(t), m[3], ErrDuplicate)
	require.Equal(t, 1, p.reads)
	s := p.load(t)
	receive(t, s, m[7], number(7))
	refuse(t, s, m[7], ErrDuplicate)
	p.store(t, s)
	require.Len(t, p.blocks[chain], 39)
	refuseHead(t, p.load(t), m[7], ErrDuplicate)

	kept := p.blocks[chain][20]
	delete(p.blocks[chain], 20)
	for _, i := range []int{3, 7, 20*blockSize + 7} {
		refuseHead(t, p.load(t), m[i], ErrCorrupt)
	}
	p.blocks[chain][20], p.blocks[chain][41] = kept, kept
	refuseHead(t, p.load(t), m[7], ErrCorrupt)
}

// R-6.3-3, R-1-1: blocks that do not fit the head are refused, and nothing is changed.
func TestBlocksThatDoNotFit(t *testing.T) {
	p, used, late, _, jump, _ := waiting(t)
	chain, blocks := p.only(t)
	keys := blocks[0]
	key := func(n uint64, seed byte) []byte {
		b := wire.AppendUintNonZero(nil, 1, n)
		return wire.AppendBytes(nil, 4, wire.AppendBytes(b, 5, bytes.Repeat([]byte{seed}, 32)))
	}
	require.Equal(t, 2, bytes.Count(keys, []byte{5<<3 | 2, 32}))
	blocks[0] = append(key(1, 1), key(2, 1)...)
	refuseHead(t, p.load(t), late, ErrAuthentication) // what follows is refused for its content
	for name, bad := range map[string]map[uint32][]byte{
		"none":             {},
		"empty":            {0: {}},
		"too many":         {0: append(bytes.Clone(keys), key(0, 1)...)},
		"twice":            {0: append(key(1, 1), key(1, 2)...)},
		"of the future":    {0: append(key(1, 1), key(4, 1)...)},
		"cut":              {0: keys[:len(keys)-1]},
		"another field":    {0: append(bytes.Clone(keys), wire.AppendUint(nil, 5, 1)...)},
		"no seed":          {0: append(key(1, 1), wire.AppendBytes(nil, 4, wire.AppendUint(nil, 1, 2))...)},
		"of another block": {0: append(key(1, 1), key(33, 1)...)},
	} {
		p.blocks[chain] = bad
		refuseHead(t, p.load(t), late, ErrCorrupt)
		refuseHead(t, p.load(t), used, ErrCorrupt)
		_, err := p.load(t).AppendBinary(nil)
		require.Equal(t, ErrCorrupt, err, name)
	}
	p.blocks[chain] = map[uint32][]byte{0: keys[:len(keys)-1]}
	refuseHead(t, p.load(t), jump, ErrCorrupt)
	p.blocks[chain] = map[uint32][]byte{0: key(2, 1)}
	_, err := p.load(t).AppendBinary(nil)
	require.Equal(t, ErrCorrupt, err, "too few")
	p.blocks[chain] = map[uint32][]byte{0: keys}
	receive(t, p.load(t), late, number(1))

	// The numbers in the head: 1 to 2,000 keys, and not more than there were messages,
	// in as many blocks as they can be in.
	chainOf := func(n, blocks uint64) []byte {
		st := p.load(t).load()
		st.receiving[0].ck.index = 2_001
		for i := range st.receiving[:st.nReceiving] {
			st.receiving[i].missing, st.receiving[i].blocks = 0, 0
		}
		b := st.append(nil, true)
		c := wire.AppendBytes(nil, 1, chain.Bytes())
		c[len(c)-1] ^= 1 // a chain of its own
		c = wire.AppendBytes(c, 3, wire.AppendBytes(wire.AppendUint(nil, 1, 2_001), 2, make([]byte, 32)))
		return wire.AppendBytes(b, 7, wire.AppendUint(wire.AppendUint(c, 5, n), 6, blocks))
	}
	for n, ok := range map[[2]uint64]bool{
		{0, 0}: false, {0, 1}: false, {1, 0}: false, {1, 1}: true, {1, 2}: false, {32, 1}: true, {33, 1}: false, {33, 33}: true,
		{MaxSkippedKeys, 63}: true, {MaxSkippedKeys, 62}: false, {MaxSkippedKeys, MaxSkippedKeys}: true,
		{MaxSkippedKeys + 1, 63}: false, {1 << 16, 1}: false, {1<<16 + 1, 1}: false, {1 << 40, 1}: false, {1, 1<<16 + 1}: false,
	} {
		_, err := ParseHead(chainOf(n[0], n[1]), Signal, nil)
		require.Equal(t, ok, err == nil, "%d: %v", n, err)
	}
	st := p.load(t).load()
	for i := range st.receiving[:st.nReceiving] {
		if c := &st.receiving[i]; c.missing > 0 {
			c.missing = uint16(c.ck.index + 1)
		}
	}
	_, err = ParseHead(st.append(nil, true), Signal, nil)
	require.Equal(t, ErrCorrupt, err, "more keys than messages")
	_, err = ParseHead([]byte(record(t, mustParse(t, p.whole(t)))), Signal, nil)
	require.Equal(t, ErrCorrupt, err, "a record with stored keys is no head")

	var zero Session
	_, err = zero.AppendHead(nil)
	require.Equal(t, ErrUninitialized, err)
	require.Empty(t, zero.Dropped())
	for range zero.Changed() {
		t.Fatal("nothing changed")
	}
}

func mustParse(t testing.TB, b []byte) *Session {
	t.Helper()
	s, err := ParseSession(b, Signal)
	require.NoError(t, err)
	return s
}

// R-6.3-3
func FuzzHead(f *testing.F) {
	p, used, late, next, jump, _ := waiting(f)
	_, blocks := p.only(f)
	f.Add(p.head, uint32(0), blocks[0])
	f.Add(p.head, uint32(0), blocks[0][:len(blocks[0])/2])
	f.Add(p.head, uint32(1), blocks[0])
	f.Add(record(f, freshSession(f, Config{})), uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, head []byte, number uint32, keys []byte) {
		s, err := ParseHead(head, Signal, nil)
		if err != nil {
			require.Nil(t, s)
			require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "%v", err)
			return
		}
		encoded, err := s.AppendHead(nil)
		require.NoError(t, err)
		again, err := ParseHead(encoded, Signal, nil)
		require.NoError(t, err)
		require.Equal(t, s.load(), again.load())
		checkState(t, again.load())

		p := parts{head: encoded, blocks: map[x3dh.PublicKey]map[uint32][]byte{}}
		st := s.load()
		for i := range st.receiving[:st.nReceiving] {
			p.blocks[publicKey(encode(st.receiving[i].ratchetKey))] = map[uint32][]byte{number: keys}
		}
		for _, m := range [][]byte{used, late, jump, next} {
			s := p.load(t)
			if _, err := s.Decrypt(nil, m); err != nil {
				same, err := s.AppendHead(nil)
				require.NoError(t, err)
				require.Equal(t, encoded, same, "a call that fails changes nothing")
			}
			checkState(t, s.load())
		}
		s = p.load(t)
		if b, err := s.AppendBinary(nil); err != nil {
			require.Equal(t, ErrCorrupt, err)
		} else {
			_, err := ParseSession(b, Signal)
			require.NoError(t, err)
		}
	})
}
