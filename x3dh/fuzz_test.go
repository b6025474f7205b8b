package x3dh

import (
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/testvectors"
)

// Each decoder is total: it answers every input with a value or with one of
// its errors, in memory that the input pays for. A value encodes to bytes that
// parse to the same value and encode to the same bytes, and what our encoder
// wrote is such an encoding already.

type appender interface {
	AppendBinary([]byte) ([]byte, error)
}

// seeds are bytes from a recorded peer and of fresh values. canonical says
// that an encoder with our rules wrote them.
type seed struct {
	bytes     []byte
	canonical bool
}

// addSeeds adds seeds to f, and fails if there are none or if one does not
// parse: a target that starts from nothing finds nothing, and still passes.
func addSeeds[T appender](f *testing.F, parse func([]byte) (T, error), seeds []seed) {
	f.Helper()
	require.NotEmpty(f, seeds)
	for _, s := range seeds {
		v, err := parse(s.bytes)
		require.NoError(f, err, "%x", s.bytes)
		b, err := v.AppendBinary(nil)
		require.NoError(f, err)
		require.Equal(f, s.canonical, slices.Equal(s.bytes, b), "%x", s.bytes)
		f.Add(s.bytes)
	}
	require.True(f, slices.ContainsFunc(seeds, func(s seed) bool { return s.canonical }))
}

// checkDecoder checks what every decoder has to do. An encoding is at most
// grows bytes longer than what was parsed: the fields that may be absent and
// are written all the same.
func checkDecoder[T appender](t *testing.T, b []byte, parse func([]byte) (T, error), grows int, errs ...error) (v T, ok bool) {
	t.Helper()
	given := slices.Clone(b)
	var err error
	allocated := bytesAllocated(func() { v, err = parse(b) })
	require.LessOrEqual(t, allocated, uint64(8<<10), "for %d bytes", len(b))
	require.Equal(t, given, b, "the input was changed")
	if err != nil {
		require.True(t, slices.ContainsFunc(errs, func(e error) bool { return errors.Is(err, e) }), "%v", err)
		return v, false
	}
	encoded, err := v.AppendBinary([]byte("dst"))
	require.NoError(t, err)
	require.Equal(t, "dst", string(encoded[:3]))
	encoded = encoded[3:]
	require.LessOrEqual(t, len(encoded), len(b)+grows)
	again, err := parse(encoded)
	require.NoError(t, err)
	twice, err := again.AppendBinary(nil)
	require.NoError(t, err)
	require.Equal(t, encoded, twice)
	return again, true
}

// bytesAllocated is what f allocates, as far as one goroutine runs.
func bytesAllocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// record is the recorded conversation.
func record(f *testing.F) *testvectors.RecordedConversation {
	f.Helper()
	r, err := testvectors.LoadConversation()
	require.NoError(f, err)
	return r
}

// encode is the encoding of a fresh value.
func encode(f *testing.F, v appender) []byte {
	f.Helper()
	b, err := v.AppendBinary(nil)
	require.NoError(f, err)
	return b
}

func FuzzParseBundle(f *testing.F) {
	r := record(f)
	identity, err := ParsePublicKey(r.Bob.IdentityPublic)
	require.NoError(f, err)
	signed, err := ParsePublicKey(r.Bob.SignedPreKeyPublic)
	require.NoError(f, err)
	oneTime, err := ParsePreKey(r.Bob.OneTimePreKeyRecord)
	require.NoError(f, err)
	info := BundleInfo{
		RegistrationID: r.Bob.RegistrationID,
		DeviceID:       3,
		IdentityKey:    identity,
		SignedPreKey:   PublicSignedPreKey{r.Bob.SignedPreKeyID, signed, [64]byte(r.Bob.SignedPreKeySignature)},
	}
	without, err := NewBundle(info)
	require.NoError(f, err)
	info.OneTimePreKey = new(oneTime.Public())
	with, err := NewBundle(info)
	require.NoError(f, err)
	last := encode(f, without)
	first := append(slices.Clone(last[len(last)-66:]), last[:len(last)-66]...) // the signature comes first
	addSeeds(f, ParseBundle, []seed{{encode(f, with), true}, {last, true}, {first, false}})
	f.Add(append(encode(f, with), wire.AppendUint(nil, 9, 1)...)) // an unknown field is refused

	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := checkDecoder(t, b, ParseBundle, 0, ErrMalformed, ErrAuthentication)
		if !ok {
			return
		}
		// A bundle has one encoding but for the order of its fields, and a
		// valid signature.
		require.Len(t, encodeT(t, v), len(b))
		again, err := NewBundle(v.Info())
		require.NoError(t, err)
		require.Equal(t, v.Info(), again.Info())
	})
}

func encodeT(t *testing.T, v appender) []byte {
	b, err := v.AppendBinary(nil)
	require.NoError(t, err)
	return b
}

func FuzzParseInitialMessage(f *testing.F) {
	var seeds []seed
	for _, s := range record(f).Steps {
		if s.Type == 3 {
			seeds = append(seeds, seed{s.Message, true})
		}
	}
	require.Len(f, seeds, 3)
	bare := InitialMessage{
		Version:     0x33,
		BaseKey:     GenerateIdentityKey().Public(),
		IdentityKey: GenerateIdentityKey().Public(),
		Message:     []byte{},
	}
	b := encode(f, &bare)
	seeds = append(seeds, seed{b, true}, seed{append(slices.Clone(b), wire.AppendBytes(nil, 8, []byte("kem"))...), false})
	addSeeds(f, ParseInitialMessage, seeds)

	f.Fuzz(func(t *testing.T, b []byte) {
		const registration = 2 // the ID may be absent, and is 0
		v, ok := checkDecoder(t, b, ParseInitialMessage, registration, ErrMalformed, ErrVersion)
		if !ok {
			return
		}
		require.Equal(t, byte(3), v.Version>>4)
		require.Equal(t, len(v.Message), cap(v.Message), "an append would write into what follows")
		first, err := ParseInitialMessage(b)
		require.NoError(t, err)
		require.Equal(t, first, v)
	})
}

func FuzzParseIdentityKey(f *testing.F) {
	r := record(f)
	recorded := wire.AppendBytes(wire.AppendBytes(nil, 1, r.Bob.IdentityPublic), 2, r.Bob.IdentityPrivate)
	addSeeds(f, ParseIdentityKey, []seed{{recorded, true}, {encode(f, GenerateIdentityKey()), true}})

	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := checkDecoder(t, b, ParseIdentityKey, 0, ErrMalformed)
		if ok {
			require.True(t, v.Public().valid())
			require.Len(t, encodeT(t, v), 69)
		}
	})
}

func FuzzParsePreKey(f *testing.F) {
	keys, err := GeneratePreKeys(MaxPreKeyID, 1)
	require.NoError(f, err)
	addSeeds(f, ParsePreKey, []seed{{record(f).Bob.OneTimePreKeyRecord, true}, {encode(f, keys[0]), true}})

	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := checkDecoder(t, b, ParsePreKey, 0, ErrMalformed)
		if ok {
			require.True(t, v.Public().Key.valid())
			require.LessOrEqual(t, len(encodeT(t, v)), 75)
		}
	})
}

func FuzzParseSignedPreKey(f *testing.F) {
	now, err := GenerateSignedPreKey(GenerateIdentityKey(), 1, time.Now())
	require.NoError(f, err)
	never, err := GenerateSignedPreKey(GenerateIdentityKey(), MaxPreKeyID, time.UnixMilli(0))
	require.NoError(f, err)
	addSeeds(f, ParseSignedPreKey, []seed{{record(f).Bob.SignedPreKeyRecord, true}, {encode(f, now), true}, {encode(f, never), true}})

	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := checkDecoder(t, b, ParseSignedPreKey, 0, ErrMalformed)
		if ok {
			require.True(t, v.Public().Key.valid())
			require.LessOrEqual(t, len(encodeT(t, v)), 150)
		}
	})
}

func FuzzParseFingerprint(f *testing.F) {
	local, remote := GenerateIdentityKey().Public(), GenerateIdentityKey().Public()
	v, err := NewFingerprint(1, []byte("+14152222222"), local, []byte("+14153333333"), remote)
	require.NoError(f, err)
	unversioned := encode(f, v)[2:]
	addSeeds(f, ParseFingerprint, []seed{{encode(f, v), true}, {unversioned, false}})

	f.Fuzz(func(t *testing.T, b []byte) {
		const version = 2 // may be absent, and is 0
		v, ok := checkDecoder(t, b, ParseFingerprint, version, ErrMalformed)
		if !ok {
			return
		}
		require.Regexp(t, `^[0-9]{60}$`, v.String())
		theirs := Fingerprint{v.version, v.remote, v.local}
		same, err := theirs.Matches(v)
		require.NoError(t, err)
		require.True(t, same)
		require.Equal(t, v.String(), theirs.String())
	})
}
