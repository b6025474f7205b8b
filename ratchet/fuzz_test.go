package ratchet

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

// recordedSeeds are the ordinary messages and the sessions of the recorded
// transcript.
func recordedSeeds(f *testing.F) (messages, sessions [][]byte) {
	f.Helper()
	tr, err := testvectors.LoadConversation()
	require.NoError(f, err)
	for _, s := range tr.Steps {
		switch m := []byte(s.Message); Type(s.Type) {
		case Initial:
			im, err := x3dh.ParseInitialMessage(m)
			require.NoError(f, err)
			messages = append(messages, im.Message)
		case Ordinary:
			messages = append(messages, m)
		}
		for _, record := range [][]byte{s.AliceSession, s.BobSession} {
			if len(record) > 0 {
				sessions = append(sessions, currentSession(f, record))
			}
		}
	}
	// A target that starts from nothing finds nothing, and still passes.
	require.NotEmpty(f, messages)
	require.NotEmpty(f, sessions)
	return messages, sessions
}

// freshSession is a session of ours without a peer.
func freshSession(f *testing.F, c Config) *Session {
	f.Helper()
	identity := x3dh.GenerateIdentityKey()
	signed, err := x3dh.GenerateSignedPreKey(identity, x3dh.MaxPreKeyID, time.UnixMilli(1))
	require.NoError(f, err)
	bundle, err := x3dh.NewBundle(x3dh.BundleInfo{IdentityKey: identity.Public(), SignedPreKey: signed.Public()})
	require.NoError(f, err)
	a, err := x3dh.Initiate(x3dh.GenerateIdentityKey(), bundle)
	require.NoError(f, err)
	s, err := New(a, c)
	require.NoError(f, err)
	return s
}

// encode is the encoding of m in ascending order, less what is not kept.
func (m *message) encode() []byte {
	b := append([]byte{m.body[0]}, wire.AppendBytes(nil, 1, m.ratchetKey.Append(nil))...)
	b = wire.AppendUint(b, 2, uint64(m.counter))
	b = wire.AppendBytes(b, 4, m.ciphertext)
	return append(b, m.mac...)
}

func FuzzParseMessage(f *testing.F) {
	recorded, _ := recordedSeeds(f)
	fresh, _, err := freshSession(f, Config{Family: WhatsApp}).Encrypt(nil, nil)
	require.NoError(f, err)
	im, err := x3dh.ParseInitialMessage(fresh)
	require.NoError(f, err)
	for _, b := range append(recorded, im.Message) {
		_, err := parseMessage(b, 3)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		m, err := parseMessage(b, 3)
		require.Equal(t, given, b)
		if err != nil {
			require.True(t, errors.Is(err, ErrMalformed) || errors.Is(err, ErrVersion), "%v", err)
			require.Zero(t, m)
			return
		}
		require.True(t, m.ratchetKey.Valid())
		require.Equal(t, b, append(bytes.Clone(m.body), m.mac...), "the MAC covers all that came before it")
		require.Len(t, m.mac, macSize)
		require.Equal(t, len(m.ciphertext), cap(m.ciphertext), "an append would write into the MAC")
		again, err := parseMessage(m.encode(), 3)
		require.NoError(t, err)
		require.LessOrEqual(t, len(m.encode()), len(b))
		require.Equal(t, []any{m.ratchetKey, m.counter, m.ciphertext, m.mac}, []any{again.ratchetKey, again.counter, again.ciphertext, again.mac})
	})
}

// Messages come from strangers: reading one takes no memory, whatever it says.
func TestParsingMessagesAllocatesNothing(t *testing.T) {
	key := curve.GenerateKey()
	m := message{ratchetKey: key.Public(), body: []byte{0x34}, ciphertext: make([]byte, 16), mac: make([]byte, macSize)}
	sound := m.encode()
	_, err := parseMessage(sound, 3)
	require.NoError(t, err)
	huge := append([]byte{0x34, 0x22, 0xff, 0xff, 0xff, 0xff, 0x0f}, make([]byte, 100)...) // 4 GiB of ciphertext
	for name, b := range map[string][]byte{"sound": sound, "huge": huge, "cut": sound[:20], "empty": nil} {
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = parseMessage(b, 3) }), name)
	}
}

// R23: total, no memory by a claimed count, and what is accepted works.
func FuzzUnmarshalSession(f *testing.F) {
	_, seeds := recordedSeeds(f)
	for _, c := range []Config{{}, {RegistrationID: 1<<32 - 1, Created: time.Unix(1<<40, 0)}} {
		b, err := freshSession(f, c).AppendBinary(nil)
		require.NoError(f, err)
		seeds = append(seeds, b)
	}
	full := freshSession(f, Config{}).load()
	full.receiving[0].ck.index = 5_000
	full.receiving[0].skipped = skippedKeys{
		{first: 0, keys: []messageKey{{expanded: &kdf.MessageKeys{IV: [16]byte{1}}}}}, // of an old libsignal
		{first: 7, keys: make([]messageKey, 3)},
		{first: 4_999, keys: make([]messageKey, 1)},
	}
	seeds = append(seeds, full.appendBinary(nil))
	for _, b := range seeds {
		s, err := ParseSession(b, Signal)
		require.NoError(f, err)
		require.Equal(f, b, s.load().appendBinary(nil), "a record that was written so is written so again")
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		var s *Session
		var err error
		allocated := bytesAllocated(func() { s, err = ParseSession(b, Signal) })
		require.LessOrEqual(t, allocated, uint64(16<<10+8*len(b)), "for %d bytes", len(b))
		require.Equal(t, given, b)
		if err != nil {
			require.Nil(t, s)
			require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "%v", err)
			return
		}
		encoded := s.load().appendBinary(nil)
		require.LessOrEqual(t, len(encoded), len(b))
		again, err := ParseSession(encoded, Signal)
		require.NoError(t, err)
		require.Equal(t, s.load(), again.load())
		require.Equal(t, encoded, again.load().appendBinary(nil))
		checkState(t, s.load())

		// Whatever it holds, a session works or refuses, and a failed call
		// leaves it as it is.
		m, _, err := again.Encrypt(nil, []byte("x"))
		if err == nil {
			_, err = s.Decrypt(nil, m)
			require.Error(t, err, "a session reads no messages of its own")
			require.Equal(t, encoded, s.load().appendBinary(nil))
		} else {
			require.Equal(t, ErrChainExhausted, err)
		}
	})
}

// checkState checks what the other code relies on.
func checkState(t *testing.T, s *state) {
	t.Helper()
	require.LessOrEqual(t, s.nReceiving, MaxReceivingChains)
	for i := range s.nReceiving {
		c := &s.receiving[i]
		require.True(t, c.ratchetKey.Valid())
		require.LessOrEqual(t, c.skipped.len(), MaxSkippedKeys)
		checkRuns(t, c.skipped)
		if n := len(c.skipped); n > 0 {
			require.Less(t, c.skipped[n-1].last(), c.ck.index)
		}
	}
}

// checkRuns checks that the runs are not empty, ascend, and have a gap between them.
func checkRuns(t *testing.T, s skippedKeys) {
	t.Helper()
	require.False(t, slices.ContainsFunc(s, func(r run) bool { return len(r.keys) == 0 }))
	for i := 1; i < len(s); i++ {
		require.Less(t, s[i-1].last()+1, s[i].first)
	}
}

// bytesAllocated is what f allocates, as far as one goroutine runs.
func bytesAllocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// R01: no bytes change a session that they do not decrypt in; and what does
// decrypt was made by its peer.
func FuzzDecryptNoMutation(f *testing.F) {
	recorded, _ := recordedSeeds(f)
	for _, m := range recorded {
		f.Add(m, uint16(0), byte(0))
	}
	f.Add([]byte{}, uint16(40), byte(1))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, flip byte) {
		alice, bob := newPair(t, Signal)
		genuine := sendN(t, alice, 5)
		receive(t, bob, genuine[1], number(1))
		refuses := func(m []byte) {
			before := record(t, bob)
			_, err := bob.Decrypt(nil, m)
			require.Error(t, err)
			require.Equal(t, before, record(t, bob))
		}
		refuses(b)
		refuses(append([]byte{0x34}, b...))
		for _, i := range []int{0, 2, 4} { // a stored key, the next message, one ahead
			bad := bytes.Clone(genuine[i])
			bad[int(at)%len(bad)] ^= flip | 1
			refuses(bad)
			refuses(append(bad, b...))
		}
		for _, i := range []int{2, 0, 4, 3} {
			receive(t, bob, genuine[i], number(i))
		}
	})
}
