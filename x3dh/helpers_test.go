package x3dh

import (
	"testing"

	"filippo.io/edwards25519"
	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/testvectors"
)

// badKeys are u coordinates that no honest peer has.
func badKeys(t testing.TB) (bad []testvectors.Hex) {
	t.Helper()
	tests, err := testvectors.Tests[testvectors.PublicKey]("x25519_public_keys.json")
	require.NoError(t, err)
	require.Len(t, tests, 27)
	for _, c := range tests {
		bad = append(bad, c.Encoded[1:])
	}
	return bad
}

// torsionVariants are the public key of k plus each of the eight points of the
// torsion subgroup.
func torsionVariants(t testing.TB, k curve.PrivateKey) (variants []curve.PublicKey) {
	t.Helper()
	s, err := edwards25519.NewScalar().SetBytesWithClamping(k[:])
	require.NoError(t, err)
	p := new(edwards25519.Point).ScalarBaseMult(s)
	// A point of order 8.
	torsion, err := new(edwards25519.Point).SetBytes([]byte{
		0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
	})
	require.NoError(t, err)
	for range 8 {
		variants = append(variants, curve.PublicKey(p.BytesMontgomery()))
		p.Add(p, torsion)
	}
	require.Equal(t, variants[0], curve.PublicKey(p.BytesMontgomery()), "the point has order 8")
	return variants
}

// without returns an encoded message less one of its fields.
func without(t testing.TB, b []byte, num int) (out []byte) {
	t.Helper()
	rest := b
	for len(rest) > 0 {
		d := wire.Decode(rest)
		require.True(t, d.Next())
		n := d.Num()
		d.Skip()
		field := rest
		// What Skip passed over is what is left of rest.
		rest = rest[fieldLen(t, rest):]
		if n != num {
			out = append(out, field[:len(field)-len(rest)]...)
		}
	}
	return out
}

// fieldLen is the length of the first field of b, by trying.
func fieldLen(t testing.TB, b []byte) int {
	t.Helper()
	for n := 1; n <= len(b); n++ {
		d := wire.Decode(b[:n])
		if d.Next() {
			d.Skip()
			if d.Close() == nil {
				return n
			}
		}
	}
	t.Fatal("no field")
	return 0
}
