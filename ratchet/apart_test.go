package ratchet

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/x3dh"
)

// parts is a session as sesame stores it: the head and the stored keys.
type parts struct {
	head []byte
	keys map[x3dh.PublicKey][]byte
}

func (p *parts) load(t testing.TB) *Session {
	t.Helper()
	s, err := ParseHead(p.head, Signal)
	require.NoError(t, err)
	return s
}

func (p *parts) store(t testing.TB, s *Session) {
	t.Helper()
	head, err := s.AppendHead([]byte("x"))
	require.NoError(t, err)
	p.head = head[1:]
	if p.keys == nil {
		p.keys = map[x3dh.PublicKey][]byte{}
	}
	for k, b := range s.Changed() {
		if b == nil {
			require.Contains(t, p.keys, k, "nothing is to be deleted that is not there")
			delete(p.keys, k)
			continue
		}
		require.NotEmpty(t, b)
		p.keys[k] = b
	}
}

// whole puts the parts together.
func (p *parts) whole(t testing.TB) []byte {
	t.Helper()
	s := p.load(t)
	for k, b := range p.keys {
		require.NoError(t, s.Supply(k, b), "there are no keys of other chains")
	}
	b, err := s.AppendBinary(nil)
	require.NoError(t, err)
	return b
}

// R-6.3-1, R-6.3-2: random conversations over a bad network, in which one side is stored whole
// and in parts after every step, and both are always the same record.
func TestPartsAgainstWhole(t *testing.T) {
	seed := rand.Uint64()
	supplied, plain, evicted, deleted := 0, 0, 0, 0
	for run := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, run))
		alice, bob := newPair(t, Signal)
		var p parts
		p.store(t, bob)
		record := p.whole(t)
		var late [][]byte
		for range 120 {
			before := len(p.keys)
			if rng.IntN(4) == 0 { // Bob answers: Alice's next message is of a new chain
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
			if rng.IntN(20) == 0 {
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
			_, wantState, _, want := whole.load().decrypt(nil, &m, draw)
			s := p.load(t)
			_, next, _, err := s.load().decrypt(nil, &m, draw)
			if errors.Is(err, ErrKeysApart) {
				supplied++
				k := publicKey(encode(m.ratchetKey))
				require.NoError(t, s.Supply(k, p.keys[k]), "there are keys of that chain")
				_, next, _, err = s.load().decrypt(nil, &m, draw)
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
			require.Empty(t, wantState.dropped, "of a session that was whole nothing stands apart")
			evicted += len(next.dropped)
			if len(p.keys) < before {
				deleted++
			}
			for i := range wantState.receiving[:wantState.nReceiving] {
				c := &wantState.receiving[i]
				if n := c.skipped.len(); n > 0 {
					require.LessOrEqual(t, len(p.keys[publicKey(encode(c.ratchetKey))]), 45*n)
				}
			}
		}
	}
	t.Logf("%d steps without stored keys, %d with, %d times the last key of a chain went, %d times a chain", plain, supplied, deleted, evicted)
	require.NotZero(t, supplied)
	require.NotZero(t, plain)
	require.NotZero(t, deleted)
	require.NotZero(t, evicted)
}

// refuseHead is refuse for a session that is not whole.
func refuseHead(t testing.TB, s *Session, message []byte, want error) {
	t.Helper()
	before, err := s.AppendHead(nil)
	require.NoError(t, err)
	_, err = s.Decrypt(nil, message)
	require.Equal(t, want, err)
	after, err := s.AppendHead(nil)
	require.NoError(t, err)
	require.Equal(t, before, after)
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
	require.Len(t, p.keys, 1)
	return p, m[0], m[1], m[4], m[6], alice
}

// R-6.3-1: what needs no stored keys works without them, what needs them says
// so, and nothing is taken for a duplicate because its key stands apart.
func TestHeadAlone(t *testing.T) {
	p, used, late, next, jump, alice := waiting(t)
	s := p.load(t)
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
	for k, b := range p.keys {
		require.NoError(t, s.Supply(k, b))
	}
	refuse(t, s, used, ErrDuplicate)
	receive(t, s, late, number(1))
	refuse(t, s, late, ErrDuplicate)
	receive(t, s, jump, number(2))
}

// The late message whose key is the last: the keys are gone, and that is told.
func TestLastStoredKeyDeletesThem(t *testing.T) {
	alice, bob := newPair(t, Signal)
	m := sendN(t, alice, 2)
	receive(t, bob, m[1], number(1))
	var p parts
	p.store(t, bob)
	require.Len(t, p.keys, 1)
	s := p.load(t)
	for k, b := range p.keys {
		require.NoError(t, s.Supply(k, b))
	}
	receive(t, s, m[0], number(0))
	p.store(t, s)
	require.Empty(t, p.keys)
	refuse(t, p.load(t), m[0], ErrDuplicate) // without asking for any
}

// R-6.3-3, R-1-1: keys that do not fit the head are refused, and change nothing.
func TestSupplyRefuses(t *testing.T) {
	p, _, late, _, _, _ := waiting(t)
	var chain x3dh.PublicKey
	var keys []byte
	for chain, keys = range p.keys {
	}
	key := func(n uint64, seed byte) []byte {
		b := wire.AppendUintNonZero(nil, 1, n)
		return wire.AppendBytes(nil, 4, wire.AppendBytes(b, 5, bytes.Repeat([]byte{seed}, 32)))
	}
	require.Equal(t, 2, bytes.Count(keys, []byte{5<<3 | 2, 32}))
	require.NoError(t, p.load(t).Supply(chain, append(key(1, 1), key(2, 1)...)), "what follows is refused for its content")
	for name, bad := range map[string][]byte{
		"none":          nil,
		"too few":       key(1, 1),
		"too many":      append(bytes.Clone(keys), key(0, 1)...),
		"twice":         append(key(1, 1), key(1, 2)...),
		"of the future": append(key(1, 1), key(4, 1)...),
		"cut":           keys[:len(keys)-1],
		"another field": append(bytes.Clone(keys), wire.AppendUint(nil, 5, 1)...),
		"no seed":       append(key(1, 1), wire.AppendBytes(nil, 4, wire.AppendUint(nil, 1, 2))...),
	} {
		s := p.load(t)
		require.Equal(t, ErrCorrupt, s.Supply(chain, bad), name)
		head, err := s.AppendHead(nil)
		require.NoError(t, err)
		require.Equal(t, p.head, head)
		refuseHead(t, s, late, ErrKeysApart)
	}
	s := p.load(t)
	require.Equal(t, ErrCorrupt, s.Supply(x3dh.GenerateIdentityKey().Public(), keys), "of another chain")
	require.Equal(t, ErrCorrupt, s.Supply(x3dh.PublicKey{}, keys))
	require.NoError(t, s.Supply(chain, keys))
	require.Equal(t, ErrCorrupt, s.Supply(chain, keys), "twice")

	// The number in the head: 1 to 2,000, and not more than there were messages.
	chainOf := func(n uint64) []byte {
		st := p.load(t).load()
		st.receiving[0].ck.index = 2_001
		for i := range st.receiving[:st.nReceiving] {
			st.receiving[i].apart.missing = 0
		}
		b := st.append(nil, true)
		c := wire.AppendBytes(nil, 1, chain.Bytes())
		c[len(c)-1] ^= 1 // a chain of its own
		c = wire.AppendBytes(c, 3, wire.AppendBytes(wire.AppendUint(nil, 1, 2_001), 2, make([]byte, 32)))
		return wire.AppendBytes(b, 7, wire.AppendUint(c, 5, n))
	}
	for n, ok := range map[uint64]bool{0: false, 1: true, MaxSkippedKeys: true, MaxSkippedKeys + 1: false, 1 << 16: false, 1<<16 + 1: false, 1 << 40: false} {
		_, err := ParseHead(chainOf(n), Signal)
		require.Equal(t, ok, err == nil, "%d: %v", n, err)
	}
	st := p.load(t).load()
	for i := range st.receiving[:st.nReceiving] {
		if c := &st.receiving[i]; c.apart.missing > 0 {
			c.apart.missing = uint16(c.ck.index + 1)
		}
	}
	_, err := ParseHead(st.append(nil, true), Signal)
	require.Equal(t, ErrCorrupt, err, "more keys than messages")
	_, err = ParseHead([]byte(record(t, mustParse(t, p.whole(t)))), Signal)
	require.Equal(t, ErrCorrupt, err, "a record with stored keys is no head")

	var zero Session
	require.Equal(t, ErrUninitialized, zero.Supply(chain, keys))
	_, err = zero.AppendHead(nil)
	require.Equal(t, ErrUninitialized, err)
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
	p, _, late, next, _, _ := waiting(f)
	for chain, keys := range p.keys {
		f.Add(p.head, chain.Bytes(), keys)
		f.Add(p.head, chain.Bytes(), keys[:len(keys)/2])
	}
	f.Add(record(f, freshSession(f, Config{})), make([]byte, 33), []byte{})
	f.Fuzz(func(t *testing.T, head, chain, keys []byte) {
		s, err := ParseHead(head, Signal)
		if err != nil {
			require.Nil(t, s)
			require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "%v", err)
			return
		}
		encoded, err := s.AppendHead(nil)
		require.NoError(t, err)
		again, err := ParseHead(encoded, Signal)
		require.NoError(t, err)
		require.Equal(t, s.load(), again.load())
		if k, err := x3dh.ParsePublicKey(chain); err == nil {
			if err := again.Supply(k, keys); err != nil {
				require.Equal(t, ErrCorrupt, err)
				require.Equal(t, s.load(), again.load())
			}
		}
		same, err := again.AppendHead(nil)
		require.NoError(t, err)
		require.Equal(t, encoded, same, "the head does not say what was supplied")
		checkState(t, again.load())
		for _, m := range [][]byte{late, next} {
			_, _ = again.Decrypt(nil, m)
			checkState(t, again.load())
		}
	})
}
