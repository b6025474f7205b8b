package kdf

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func random32() (b [32]byte) { rand.Read(b[:]); return b }

func stdHMAC(key []byte, parts ...[]byte) [32]byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}

func TestHMACAgainstStandardLibrary(t *testing.T) {
	for n := 0; n <= maxInput; n++ {
		key, in := random32(), make([]byte, n)
		rand.Read(in)
		require.Equal(t, stdHMAC(key[:], in), HMAC(&key, in, "", nil), "length %d", n)
		require.Equal(t, stdHMAC(key[:], in), HMAC(&key, in[:n/3], string(in[n/3:n/2]), in[n/2:]), "length %d", n)
	}
}

func TestHKDFAgainstStandardLibrary(t *testing.T) {
	for n := 1; n <= 100; n++ {
		salt, ikm := random32(), make([]byte, n)
		rand.Read(ikm)
		want, err := hkdf.Key(sha256.New, ikm, salt[:], "label", n)
		require.NoError(t, err)
		got := make([]byte, n)
		HKDF(got, &salt, ikm, "label")
		require.Equal(t, want, got)
	}
}

// The derivations, restated over the standard library from SPEC.md.
func TestDerivations(t *testing.T) {
	key := func(secret, salt []byte, info string, n int) []byte {
		b, err := hkdf.Key(sha256.New, secret, salt, info, n)
		require.NoError(t, err)
		return b
	}
	for _, terms := range []int{3, 4} {
		dh := make([][32]byte, terms)
		ikm := []byte{}
		for range 32 {
			ikm = append(ikm, 0xff)
		}
		for i := range dh {
			dh[i] = random32()
			ikm = append(ikm, dh[i][:]...)
		}
		rk, ck := X3DH(dh)
		require.Equal(t, key(ikm, nil, "WhisperText", 64), append(rk[:], ck[:]...))
	}

	rk, dh := random32(), random32()
	next, ck := RootKey(&rk, &dh)
	require.Equal(t, key(dh[:], rk[:], "WhisperRatchet", 64), append(next[:], ck[:]...))

	require.Equal(t, stdHMAC(ck[:], []byte{2}), ChainKey(ck))
	seed := MessageSeed(ck)
	require.Equal(t, stdHMAC(ck[:], []byte{1}), seed)

	for _, salt := range []*[32]byte{nil, &rk} {
		k := ExpandSeed(&seed, salt)
		var s []byte
		if salt != nil {
			s = salt[:]
		}
		require.Equal(t, key(seed[:], s, "WhisperMessageKeys", 80), append(append(k.Cipher[:], k.MAC[:]...), k.IV[:]...))
	}

	g := ExpandGroupSeed(&seed)
	require.Equal(t, key(seed[:], nil, "WhisperGroup", 48), append(g.IV[:], g.Cipher[:]...))

	from, to := [33]byte{5, 1}, [33]byte{5, 2}
	for _, n := range []int{0, 1, 63, 64, 65, 10000} {
		m := make([]byte, n)
		rand.Read(m)
		require.Equal(t, stdHMAC(rk[:], from[:], to[:], m), MessageMAC(&rk, &from, &to, m))
	}
}

// H30: the hash of a safety number, restated from SPEC.md §7.1.
func TestFingerprint(t *testing.T) {
	key, id := random32(), []byte("id")
	sum := sha512.Sum512(slices.Concat([]byte{0, 0}, key[:], id, key[:]))
	require.Equal(t, 1+5199, FingerprintIterations)
	for n := 1; n <= 5200; n++ {
		if n < 4 || n == 5200 {
			require.Equal(t, [32]byte(sum[:32]), Fingerprint(n, key[:], id), "%d times", n)
		}
		sum = sha512.Sum512(slices.Concat(sum[:], key[:]))
	}
}

func TestDerivationsDoNotAllocate(t *testing.T) {
	a, b := random32(), random32()
	from, to := [33]byte{5, 1}, [33]byte{5, 2}
	m := make([]byte, 100)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		a, b = RootKey(&a, &b)
		a = ChainKey(a)
		b = MessageSeed(a)
		k := ExpandSeed(&b, nil)
		ExpandGroupSeed(&b)
		MessageMAC(&k.MAC, &from, &to, m)
	}))
}

// Input over the limit is a bug of ours, and not cut off in silence: version 4
// has one more secret.
func TestInputIsNeverCutOff(t *testing.T) {
	key := random32()
	require.Panics(t, func() { X3DH(make([][32]byte, 5)) })
	require.Panics(t, func() { HMAC(&key, make([]byte, maxInput), "x", nil) })
	require.Panics(t, func() { HMAC(&key, make([]byte, maxInput-1), "", []byte{1, 2}) })
	require.NotPanics(t, func() { HMAC(&key, make([]byte, maxInput), "", nil) })
	require.Panics(t, func() { HKDF(make([]byte, 255*32+1), &key, nil, "") })
	require.NotPanics(t, func() { HKDF(make([]byte, 255*32), &key, nil, "") })
}
