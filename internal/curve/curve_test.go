package curve

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"math/big"
	"slices"
	"testing"

	"filippo.io/edwards25519"
	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/testvectors"
)

// x25519 is X25519 on raw bytes.
func x25519(t testing.TB, k, u []byte) []byte {
	t.Helper()
	priv, pub := NewPrivateKey([32]byte(k)), PublicKey(u)
	var out [32]byte
	require.NoError(t, X25519(&out, &priv, &pub))
	return out[:]
}

// RFC 7748 §5.2, §6.1. The 1,000,000 iterations of the RFC take a minute.
func TestX25519Vectors(t *testing.T) {
	tests, err := testvectors.Tests[testvectors.X25519]("rfc7748_x25519.json")
	require.NoError(t, err)
	require.Len(t, tests, 8)
	iterations, bases := 0, 0
	for _, c := range tests {
		k, u := []byte(c.Private), []byte(c.Public)
		for range c.Iterations {
			k, u = x25519(t, k, u), k
			iterations++
		}
		require.Equal(t, []byte(c.Shared), k, c.Comment)
		if [32]byte(c.Public) == [32]byte{9} && c.Iterations == 1 {
			bases++
			private := NewPrivateKey([32]byte(c.Private))
			public := private.Public()
			require.Equal(t, []byte(c.Shared), public[:])
		}
	}
	require.Equal(t, 1007, iterations)
	require.Equal(t, 3, bases)
}

func againstECDH(t testing.TB, scalar, u [32]byte) {
	t.Helper()
	std, err := ecdh.X25519().NewPrivateKey(scalar[:])
	require.NoError(t, err)
	k := NewPrivateKey(scalar)
	pub := k.Public()
	require.Equal(t, std.PublicKey().Bytes(), pub[:])

	peer, err := ecdh.X25519().NewPublicKey(u[:])
	require.NoError(t, err)
	want, stdErr := std.ECDH(peer)
	var got [32]byte
	p := PublicKey(u)
	if err := X25519(&got, &k, &p); err != nil {
		require.ErrorIs(t, err, ErrAgreement)
		require.Error(t, stdErr)
		require.False(t, p.Valid(), "a valid key gave zero")
		return
	}
	require.NoError(t, stdErr)
	require.Equal(t, want, got[:])
}

func TestAgainstECDH(t *testing.T) {
	var k, u [32]byte
	for range 200 {
		rand.Read(k[:])
		rand.Read(u[:])
		againstECDH(t, k, u)
	}
	for i := range u { // around the edges of the field
		u[i] = 0xff
	}
	for b := range 256 {
		u[0] = byte(b)
		againstECDH(t, k, u)
	}
}

func FuzzX25519(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 64 {
			againstECDH(t, [32]byte(b[:32]), [32]byte(b[32:]))
		}
	})
}

// What is a public key has one encoding, the canonical one of a point that is not of
// low order; big.Int says what is canonical, the vectors what is of low order.
func FuzzParsePublicKey(f *testing.F) {
	lowOrder, nonCanonical := badKeys(f, "LowOrder", 14), badKeys(f, "NonCanonical", 19)
	for _, u := range slices.Concat(lowOrder, nonCanonical) {
		f.Add(encode(u))
	}
	k := GenerateKey()
	good := k.Public().Append(nil)
	_, err := ParsePublicKey(good)
	require.NoError(f, err)
	f.Add(good)
	f.Add(append(good, 0))
	f.Add(good[:32])
	field := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParsePublicKey(b)
		sound := len(b) == PublicKeySize && b[0] == djbType
		if sound {
			u := slices.Clone(b[1:])
			sound = !slices.ContainsFunc(lowOrder, func(low []byte) bool { return bytes.Equal(low, u) })
			slices.Reverse(u)
			sound = sound && new(big.Int).SetBytes(u).Cmp(field) < 0
		}
		require.Equal(t, sound, err == nil, "%x: %v", b, err)
		if err != nil {
			require.Zero(t, k)
			return
		}
		require.Equal(t, b, k.Append(nil))
	})
}

func encode(u []byte) []byte { return append([]byte{djbType}, u...) }

// badKeys are the u coordinates with a flag of x25519_public_keys.json.
func badKeys(t testing.TB, flag string, n int) (bad [][]byte) {
	t.Helper()
	tests, err := testvectors.Tests[testvectors.PublicKey]("x25519_public_keys.json")
	require.NoError(t, err)
	for _, c := range tests {
		if slices.Contains(c.Flags, flag) {
			bad = append(bad, c.Encoded[1:])
		}
	}
	require.Len(t, bad, n)
	return bad
}

// Many keys together have the public keys that they have one by one.
func TestPublicKeys(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 100} {
		keys, want := make([]PrivateKey, n), make([]PublicKey, n)
		for i := range keys {
			keys[i] = GenerateKey()
			want[i] = keys[i].Public()
		}
		require.Equal(t, want, PublicKeys(keys))
	}
	same := GenerateKey()
	require.Equal(t, []PublicKey{same.Public(), same.Public()}, PublicKeys([]PrivateKey{same, same}))
}

// R-3.2-1, R-3.2-2, R-3.3-1. The other slots that hold a key are tested in x3dh and
// ratchet; all go through ParsePublicKey.
func TestDHRejectsAllLowOrderPoints(t *testing.T) {
	k := GenerateKey()
	for _, u := range badKeys(t, "LowOrder", 14) {
		_, err := ParsePublicKey(encode(u))
		require.ErrorIs(t, err, ErrInvalidKey, "%x", u)

		var out [32]byte
		p := PublicKey(u)
		require.ErrorIs(t, X25519(&out, &k, &p), ErrAgreement, "%x", u)
	}
}

// R-3.2-1: bit 255, u ≥ p, lengths and type bytes.
func TestParsePublicKeyRejectsNonCanonical(t *testing.T) {
	for _, u := range badKeys(t, "NonCanonical", 19) {
		_, err := ParsePublicKey(encode(u))
		require.ErrorIs(t, err, ErrInvalidKey, "%x", u)
	}
	k := GenerateKey()
	pub := k.Public()
	good := pub.Append(nil)
	p, err := ParsePublicKey(good)
	require.NoError(t, err)
	require.Equal(t, pub, p)

	for n := range 70 {
		b := make([]byte, n)
		copy(b, good)
		_, err := ParsePublicKey(b)
		require.Equal(t, n == PublicKeySize, err == nil, "length %d", n)
	}
	for typ := range 256 {
		b := append([]byte{byte(typ)}, good[1:]...)
		_, err := ParsePublicKey(b)
		require.Equal(t, typ == djbType, err == nil, "type %d", typ)
	}
	high := append([]byte(nil), good...)
	high[32] |= 0x80
	_, err = ParsePublicKey(high)
	require.ErrorIs(t, err, ErrInvalidKey)

	// The largest canonical value is p − 2 (p − 1 is of low order); from p on
	// all are refused.
	u := make([]byte, 32)
	for i := range u {
		u[i] = 0xff
	}
	u[31] = 0x7f
	for b := range 256 {
		u[0] = byte(b)
		_, err := ParsePublicKey(encode(u))
		require.Equal(t, b < 0xec, err == nil, "p − %d", 0xed-b)
	}
	for i := 1; i < 31; i++ {
		u[i] = 0xfe
		_, err = ParsePublicKey(encode(u))
		require.NoError(t, err, "less than p in byte %d", i)
		u[i] = 0xff
	}
}

// R-3.1-1, R-3.1-2
func TestNewPrivateKeyClamps(t *testing.T) {
	for range 50 {
		k := GenerateKey()
		require.Equal(t, k, NewPrivateKey(k))
		require.Zero(t, k[0]&7)
		require.Equal(t, byte(0x40), k[31]&0xc0)
		for _, bit := range []struct{ i, b int }{{0, 0}, {0, 1}, {0, 2}, {31, 6}, {31, 7}} {
			c := k
			c[bit.i] ^= 1 << bit.b
			require.Equal(t, k, NewPrivateKey(c))
		}
	}
	require.NotEqual(t, GenerateKey(), GenerateKey())
}

// torsion returns the eight points of the torsion subgroup.
func torsion(t testing.TB) (points []*edwards25519.Point) {
	t.Helper()
	// A point of order 8: L times any point outside the prime-order subgroup.
	for y := byte(2); ; y++ {
		p, err := new(edwards25519.Point).SetBytes(append([]byte{y}, make([]byte, 31)...))
		if err != nil {
			continue
		}
		g := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p, edwards25519.NewScalar())
		g.Add(g, p)
		four := new(edwards25519.Point).Add(g, g)
		four.Add(four, four)
		if four.Equal(edwards25519.NewIdentityPoint()) == 1 {
			continue // order 4 or less
		}
		acc := edwards25519.NewIdentityPoint()
		for range 8 {
			points = append(points, new(edwards25519.Point).Set(acc))
			acc.Add(acc, g)
		}
		require.Equal(t, 1, acc.Equal(edwards25519.NewIdentityPoint()))
		return points
	}
}

// TorsionVariants: eight encodings, one agreement.
func TestTorsionFree(t *testing.T) {
	for range 20 {
		k, peer := GenerateKey(), GenerateKey()
		point := new(edwards25519.Point).ScalarBaseMult(k.scalar())
		want := x25519(t, peer[:], point.BytesMontgomery())
		seen := map[PublicKey]bool{}
		for i, tor := range torsion(t) {
			p := PublicKey(new(edwards25519.Point).Add(point, tor).BytesMontgomery())
			seen[p] = true
			require.True(t, p.Valid())
			require.Equal(t, want, x25519(t, peer[:], p[:]), "the variants agree alike")
			require.Equal(t, i == 0, p.TorsionFree(), "variant %d", i)
		}
		require.Len(t, seen, 8)
	}
	twist := PublicKey{2}
	require.True(t, twist.Valid())
	require.False(t, twist.TorsionFree())
	require.True(t, PublicKey{9}.TorsionFree())
	for _, p := range lowOrderPoints {
		require.False(t, p.TorsionFree(), "%x", p) // all but the identity, which has no u
	}
}
