package ratchet

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/wire"
)

// The sizes that SPEC.md and the package promise.
func TestRecordSize(t *testing.T) {
	a, b := newDevice(t, Signal, true), newDevice(t, Signal, true)
	alice := a.start(t, b)
	require.LessOrEqual(t, len(record(t, alice)), 400)
	m, _ := send(t, alice, "first")
	bob, _, err := b.accept(t, m)
	require.NoError(t, err)
	require.LessOrEqual(t, len(record(t, bob)), 400)

	messages := sendN(t, alice, 1001)
	before := len(record(t, bob))
	im, err := x3dhMessage(t, messages[1000])
	require.NoError(t, err)
	receive(t, bob, im, number(1000))
	require.Equal(t, 1000, bob.load().stored())
	require.LessOrEqual(t, len(record(t, bob))-before, 45*1000)

	for range MaxReceivingChains {
		m, _ := send(t, bob, "")
		receive(t, alice, m, "")
		m, _ = send(t, alice, "")
		receive(t, bob, m, "")
	}
	// Memory is asked for once. The race detector makes two of it.
	require.LessOrEqual(t, testing.AllocsPerRun(5, func() { record(t, bob) }), 2.0)
	require.LessOrEqual(t, testing.AllocsPerRun(5, func() { _, _ = bob.AppendHead(nil) }), 2.0)
}

// editor builds records that no writer makes.
type editor struct {
	version   uint64
	sender    []byte
	receivers [][]byte
	pending   []byte
	extra     []byte
	omit      int // field number left out
}

var (
	editKey1, editKey2 = curve.PublicKey{9}, publicOf(1)
	editSecret         = bytes.Repeat([]byte{0x48}, 32) // clamped
)

func publicOf(b byte) curve.PublicKey {
	k := curve.NewPrivateKey([32]byte{1: b})
	return k.Public()
}

func chainBytes(key []byte, private []byte, index uint64, stored ...[]byte) []byte {
	b := wire.AppendBytes(nil, 1, key)
	if private != nil {
		b = wire.AppendBytes(b, 2, private)
	}
	ck := wire.AppendUintNonZero(nil, 1, index)
	b = wire.AppendBytes(b, 3, wire.AppendBytes(ck, 2, editSecret))
	for _, s := range stored {
		b = wire.AppendBytes(b, 4, s)
	}
	return b
}

func seedBytes(n uint64) []byte {
	return wire.AppendBytes(wire.AppendUintNonZero(nil, 1, n), 5, editSecret)
}

func newEditor() *editor {
	return &editor{
		version:   3,
		sender:    chainBytes(editKey2.Append(nil), editSecret, 4),
		receivers: [][]byte{chainBytes(editKey1.Append(nil), nil, 5, seedBytes(3), seedBytes(1), seedBytes(0))},
	}
}

func (e *editor) bytes() (b []byte) {
	id1, id2 := publicOf(2), publicOf(3)
	field := func(num int, f func([]byte) []byte) {
		if num != e.omit {
			b = f(b)
		}
	}
	field(1, func(b []byte) []byte { return wire.AppendUint(b, 1, e.version) })
	field(2, func(b []byte) []byte { return wire.AppendBytes(b, 2, id1.Append(nil)) })
	field(3, func(b []byte) []byte { return wire.AppendBytes(b, 3, id2.Append(nil)) })
	field(4, func(b []byte) []byte { return wire.AppendBytes(b, 4, editSecret) })
	field(6, func(b []byte) []byte { return wire.AppendBytes(b, 6, e.sender) })
	for _, r := range e.receivers {
		b = wire.AppendBytes(b, 7, r)
	}
	if e.pending != nil {
		b = wire.AppendBytes(b, 9, e.pending)
	}
	b = wire.AppendUint(b, 10, 1)
	field(13, func(b []byte) []byte { return wire.AppendBytes(b, 13, editKey1.Append(nil)) })
	return append(b, e.extra...)
}

// R23, R-6.1-1 to R-6.1-3: what is taken is written back; what makes no sense
// is refused.
func TestParseSession(t *testing.T) {
	key := editKey1.Append(nil)
	pendingBytes := wire.AppendUint(wire.AppendBytes(wire.AppendUint(nil, 1, 0), 2, key), 3, 22)
	expanded := wire.AppendBytes(wire.AppendBytes(wire.AppendBytes(wire.AppendUint(nil, 1, 2), 2, editSecret), 3, editSecret), 4, editSecret[:16])
	backwards := slices.Concat(expanded[2+34+34:], expanded[2+34:2+34+34], expanded[2:2+34], expanded[:2])
	many := func(n int) (s [][]byte) {
		for i := range n {
			s = append(s, seedBytes(uint64(n-1-i)))
		}
		return s
	}
	receivers := func(n int) (r [][]byte) {
		for i := range n {
			k := publicOf(byte(i + 1))
			r = append(r, chainBytes(k.Append(nil), nil, 0))
		}
		return r
	}
	for name, c := range map[string]struct {
		edit func(*editor)
		want error
	}{
		"as it is":                    {func(e *editor) {}, nil},
		"no receiving chain":          {func(e *editor) { e.receivers = nil }, nil},
		"a prekey pending, ID 0":      {func(e *editor) { e.pending = pendingBytes }, nil},
		"a prekey pending, no ID":     {func(e *editor) { e.pending = pendingBytes[2:] }, nil},
		"signed prekey ID over 2^31":  {func(e *editor) { e.pending = wire.AppendUint(pendingBytes[:37:37], 3, 1<<64-1) }, nil},
		"five receiving chains":       {func(e *editor) { e.receivers = receivers(5) }, nil},
		"2,000 stored keys":           {func(e *editor) { e.receivers[0] = chainBytes(key, nil, 2000, many(2000)...) }, nil},
		"a key stored in the old way": {func(e *editor) { e.receivers[0] = chainBytes(key, nil, 5, seedBytes(3), expanded, seedBytes(1)) }, nil},
		"empty fields of version 4":   {func(e *editor) { e.extra = []byte{0x72, 0, 0x7a, 0} }, nil},
		"unknown fields":              {func(e *editor) { e.extra = []byte{0x40, 1, 0x60, 1} }, nil},
		"an old key in any order":     {func(e *editor) { e.receivers[0] = chainBytes(key, nil, 5, backwards) }, nil},
		"ascending order":             {func(e *editor) { e.receivers[0] = chainBytes(key, nil, 5, seedBytes(0), seedBytes(1), seedBytes(3)) }, nil},

		"version 0":                   {func(e *editor) { e.version = 0 }, ErrVersion},
		"version 2":                   {func(e *editor) { e.version = 2 }, ErrVersion},
		"version 4":                   {func(e *editor) { e.version = 4 }, ErrVersion},
		"a KEM ciphertext":            {func(e *editor) { e.extra = []byte{0x72, 1, 0} }, ErrVersion},
		"a post-quantum ratchet":      {func(e *editor) { e.extra = []byte{0x7a, 1, 0} }, ErrVersion},
		"no version":                  {func(e *editor) { e.omit = 1 }, ErrCorrupt},
		"no local identity":           {func(e *editor) { e.omit = 2 }, ErrCorrupt},
		"no remote identity":          {func(e *editor) { e.omit = 3 }, ErrCorrupt},
		"no root key":                 {func(e *editor) { e.omit = 4 }, ErrCorrupt},
		"no sender chain":             {func(e *editor) { e.omit = 6 }, ErrCorrupt},
		"no base key":                 {func(e *editor) { e.omit = 13 }, ErrCorrupt},
		"sender chain, no private":    {func(e *editor) { e.sender = chainBytes(key, nil, 4) }, ErrCorrupt},
		"sender chain, bad key":       {func(e *editor) { e.sender = chainBytes(make([]byte, 33), editSecret, 4) }, ErrCorrupt},
		"sender chain, short private": {func(e *editor) { e.sender = chainBytes(key, editSecret[1:], 4) }, ErrCorrupt},
		"index over 32 bits":          {func(e *editor) { e.sender = chainBytes(key, editSecret, 1<<32) }, ErrCorrupt},
		"two sender chains":           {func(e *editor) { e.extra = wire.AppendBytes(nil, 6, e.sender) }, ErrCorrupt},
		"six receiving chains":        {func(e *editor) { e.receivers = receivers(6) }, ErrCorrupt},
		"a receiving chain twice":     {func(e *editor) { e.receivers = append(e.receivers, e.receivers[0]) }, ErrCorrupt},
		"chain key missing":           {func(e *editor) { e.receivers[0] = wire.AppendBytes(nil, 1, key) }, ErrCorrupt},
		"2,001 stored keys":           {func(e *editor) { e.receivers[0] = chainBytes(key, nil, 2001, many(2001)...) }, ErrCorrupt},
		"a stored key ahead":          {func(e *editor) { e.receivers[0] = chainBytes(key, nil, 5, seedBytes(5)) }, ErrCorrupt},
		"a stored key twice":          {func(e *editor) { e.receivers[0] = chainBytes(key, nil, 5, seedBytes(2), seedBytes(2)) }, ErrCorrupt},
		"a stored key without one":    {func(e *editor) { e.receivers[0] = chainBytes(key, nil, 5, []byte{0x08, 1}) }, ErrCorrupt},
		"a stored key in both forms":  {func(e *editor) { e.receivers[0] = chainBytes(key, nil, 5, append(expanded, seedBytes(0)...)) }, ErrCorrupt},
		"half of an old stored key":   {func(e *editor) { e.receivers[0] = chainBytes(key, nil, 5, expanded[:2+34+34]) }, ErrCorrupt},
		"the IV of an old stored key": {func(e *editor) { e.receivers[0] = chainBytes(key, nil, 5, expanded[2+34+34:]) }, ErrCorrupt},
		"another base key pending":    {func(e *editor) { e.pending = wire.AppendBytes(nil, 2, editKey2.Append(nil)) }, ErrCorrupt},
		"no base key pending":         {func(e *editor) { e.pending = []byte{} }, ErrCorrupt},
		"signed prekey ID over int32": {func(e *editor) { e.pending = wire.AppendUint(pendingBytes[:37:37], 3, 1<<31) }, ErrCorrupt},
		"a group":                     {func(e *editor) { e.extra = []byte{0x43, 0x44} }, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEditor()
			c.edit(e)
			b := e.bytes()
			s, err := ParseSession(b, Signal)
			require.ErrorIs(t, err, c.want)
			if err != nil {
				require.Nil(t, s)
				return
			}
			again := record(t, s)
			for _, c := range s.load().receiving {
				checkRuns(t, c.skipped)
			}
			if e.extra == nil && !strings.HasSuffix(name, "order") {
				require.Equal(t, b, again)
			}
			s, err = ParseSession(again, Signal)
			require.NoError(t, err)
			require.Equal(t, again, record(t, s))
			if s.load().stored() == 0 {
				head, err := s.AppendHead(nil)
				require.NoError(t, err)
				require.Equal(t, again, head)
			}
			for n := range b {
				if len(b) > 1000 {
					break
				}
				_, err := ParseSession(b[:n], Signal)
				require.True(t, err != nil || e.extra != nil, "cut to %d", n)
			}
		})
	}
}

// R-6.1-1: a key stored in the old form decrypts, and stays in its form.
func TestOldStoredKeyDecrypts(t *testing.T) {
	alice, bob := newPair(t, Signal)
	messages := sendN(t, alice, 4)
	receive(t, bob, messages[3], number(3))
	st := bob.load()
	keys := st.receiving[st.nReceiving-1].skipped[0].keys
	for _, i := range []int{0, 2} {
		keys[i].expanded = new(kdf.ExpandSeed(&keys[i].seed, nil))
		keys[i].seed = [32]byte{}
	}
	bob = reload(t, bob)
	for i := range 3 {
		receive(t, bob, messages[i], number(i))
		bob = reload(t, bob)
	}
	require.Zero(t, bob.load().stored())
}
