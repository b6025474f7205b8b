package lamport

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func id(b byte) (v [16]byte) {
	for i := range v {
		v[i] = b
	}
	return v
}

// num is a message ID with a number in it.
func num(n uint64) (v [16]byte) {
	v[0] = 0xaa
	for i := range 8 {
		v[15-i] = byte(n >> (8 * i))
	}
	return v
}

var (
	alice   = Device{id(0xa1), 1}
	bob     = Device{id(0xb0), 2}
	mallory = Device{id(0x66), 1}
)

// R-9.3-1: the bytes of a key.
func TestKeyBytes(t *testing.T) {
	d := Device{id(0x33), 0x01020304}
	k := ConfirmedKey(Position{0x11121314, 0x0005060708090a0b}, 0x0001020304050607, d, id(0x22))
	require.Equal(t, "11121314"+"0005060708090a0b"+"00"+"0001020304050607"+strings.Repeat("33", 16)+"01020304"+strings.Repeat("22", 16),
		hex.EncodeToString(k[:]))
	k = PendingKey(Position{}, 7, d, id(0x22))
	require.Equal(t, "00000000"+"0000000000000000"+"01"+"0000000000000007"+strings.Repeat("33", 16)+"01020304"+strings.Repeat("22", 16),
		hex.EncodeToString(k[:]))
}

// R-9.3-2: what decides, in this order: epoch, number, confirmed before pending,
// stamp, user, device, message ID.
func TestKeyPrecedence(t *testing.T) {
	base := func() (Position, Stamp, Device, [16]byte) { return Position{2, 20}, 200, Device{id(2), 2}, id(2) }
	p, s, d, m := base()
	k := ConfirmedKey(p, s, d, m)
	low, high := Device{id(1), 1}, Device{id(9), 9}
	for name, up := range map[string]Key{
		"epoch":   ConfirmedKey(Position{3, 1}, 1, low, id(1)),
		"number":  ConfirmedKey(Position{2, 21}, 1, low, id(1)),
		"pending": PendingKey(Position{2, 20}, 1, low, id(1)),
		"stamp":   ConfirmedKey(p, 201, low, id(1)),
		"user":    ConfirmedKey(p, s, Device{id(3), 1}, id(1)),
		"device":  ConfirmedKey(p, s, Device{id(2), 3}, id(1)),
		"message": ConfirmedKey(p, s, d, id(3)),
	} {
		require.Equal(t, -1, k.Compare(up), name)
		require.Equal(t, 1, up.Compare(k), name)
		require.Equal(t, bytes.Compare(k[:], up[:]), k.Compare(up), "in an index as in Go")
	}
	require.Equal(t, -1, PendingKey(Position{2, 20}, Max, high, id(9)).Compare(ConfirmedKey(Position{2, 21}, 1, low, id(1))),
		"a pending message stays above what comes next")
	require.Zero(t, k.Compare(k))
	require.Equal(t, 1, k.Compare(Key{}))
}

// The comparison that the key replaces, "by sequence if both have one, else by
// stamp", has a cycle; the key order of the same messages has none.
func TestMixedComparatorIsCyclic(t *testing.T) {
	type message struct {
		seq   uint64
		stamp Stamp
	}
	less := func(a, b message) bool {
		if a.seq != 0 && b.seq != 0 {
			return a.seq < b.seq
		}
		return a.stamp < b.stamp
	}
	a, b, c := message{1, 10}, message{2, 5}, message{0, 7}
	require.True(t, less(a, b) && less(b, c) && less(c, a))

	ka := ConfirmedKey(Position{1, 1}, 10, alice, id(1))
	kb := ConfirmedKey(Position{1, 2}, 5, bob, id(2))
	kc := PendingKey(Position{1, 1}, 7, alice, id(3)) // had seen a
	require.True(t, ka.Compare(kc) < 0 && kc.Compare(kb) < 0 && ka.Compare(kb) < 0)
}

// L04: every order of arrival gives the same order on the screen, of messages that
// differ in one thing only.
func TestPermutationIndependence(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	type message struct {
		pending bool
		p       Position
		stamp   Stamp
		sender  Device
		id      [16]byte
	}
	key := func(m message) Key {
		if m.pending {
			return PendingKey(m.p, m.stamp, m.sender, m.id)
		}
		return ConfirmedKey(m.p, m.stamp, m.sender, m.id)
	}
	var want []message
	for n := range uint64(1 << 7) { // two values of each
		bit := func(i int) uint64 { return n >> i & 1 }
		want = append(want, message{bit(0) == 1, Position{uint32(1 + bit(1)), 1 + bit(2)}, Stamp(1 + bit(3)),
			Device{id(byte(1 + bit(4))), uint32(1 + bit(5))}, num(bit(6))})
	}
	slices.SortFunc(want, func(a, b message) int { return key(a).Compare(key(b)) })
	for range 20 {
		got := slices.Clone(want)
		r.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		slices.SortFunc(got, func(a, b message) int { return key(a).Compare(key(b)) })
		require.True(t, slices.Equal(want, got))
	}
}

// R-9.3-3, R-9.3-4: a message moves once, from its anchor to a position behind
// it; a server that says otherwise is found out.
func TestConfirm(t *testing.T) {
	k := PendingKey(Position{2, 20}, 7, alice, id(1))
	for _, p := range []Position{{2, 21}, {2, Max}, {3, 1}} {
		c, err := k.Confirm(p)
		require.NoError(t, err)
		require.Equal(t, ConfirmedKey(p, 7, alice, id(1)), c)
		require.Equal(t, -1, k.Compare(c), "never up")
		again, err := c.Confirm(Position{9, 9})
		require.ErrorIs(t, err, ErrOrder, "once")
		require.Equal(t, c, again)
	}
	for _, p := range []Position{{2, 20}, {2, 1}, {1, Max}, {0, 21}, {3, 0}, {2, Max + 1}, {}} {
		c, err := k.Confirm(p)
		require.ErrorIs(t, err, ErrOrder, p)
		require.Equal(t, k, c)
	}
	_, err := Key{}.Confirm(Position{1, 1})
	require.ErrorIs(t, err, ErrOrder)
}

func TestPositionCompare(t *testing.T) {
	order := []Position{{}, {1, 1}, {1, 2}, {1, Max}, {2, 1}}
	for i, a := range order {
		for j, b := range order {
			require.Equal(t, i < j, a.Compare(b) < 0)
			require.Equal(t, i == j, a.Compare(b) == 0)
		}
	}
}
