// Package curve is X25519 and XEdDSA on Curve25519: the only place in the
// module that touches a curve, and the only importer of edwards25519.
//
// A [PublicKey] that came out of [ParsePublicKey] is canonical and not of low
// order, so that one key has one encoding and == tells the truth, and no
// agreement can be forced to a known value. libsignal accepts more; SPEC.md
// §3.2 and appendix A list the difference.
package curve

import (
	"crypto/rand"
	"errors"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// Sizes in bytes.
const (
	PublicKeySize = 33 // 05 || u
	SignatureSize = 64
)

// djbType is the first byte of an encoded public key (SPEC.md §3.1).
const djbType = 0x05

// ErrInvalidKey says that bytes are not a public key: wrong length, wrong type
// byte, bit 255 set, u ≥ p, or a point of low order.
var ErrInvalidKey = errors.New("invalid Curve25519 key")

// A PublicKey is a u coordinate, 32 bytes little endian. The zero value is the
// point of order 2 and refused everywhere.
type PublicKey [32]byte

// A PrivateKey is a clamped scalar, 32 bytes little endian (SPEC.md §3.1).
type PrivateKey [32]byte

// GenerateKey draws a private key.
func GenerateKey() PrivateKey {
	var k PrivateKey
	rand.Read(k[:]) // never fails: crypto/rand
	k.clamp()
	return k
}

// NewPrivateKey clamps b, as libsignal does at every import: the clamped form is
// the only one that is stored.
func NewPrivateKey(b [32]byte) PrivateKey {
	k := PrivateKey(b)
	k.clamp()
	return k
}

func (k *PrivateKey) clamp() {
	k[0] &= 248
	k[31] &= 127
	k[31] |= 64
}

// scalar is k mod L. Multiples of the base point and signatures see k only
// through it.
func (k *PrivateKey) scalar() *edwards25519.Scalar {
	s, err := edwards25519.NewScalar().SetBytesWithClamping(k[:])
	if err != nil {
		panic("curve: 32 bytes refused") // cannot happen: the length is in the type
	}
	return s
}

// Public returns the public key of k. It goes through the table of multiples of
// the Edwards base point, at 0.4 of the price of a Montgomery ladder.
func (k *PrivateKey) Public() PublicKey {
	var p edwards25519.Point
	p.ScalarBaseMult(k.scalar())
	return PublicKey(p.BytesMontgomery())
}

// PublicKeys returns the public keys of many private keys. They share the one
// inversion that the map to Montgomery's form takes (Montgomery's trick), which is
// a sixth of the time of a key.
func PublicKeys(keys []PrivateKey) []PublicKey {
	// u = (Z + Y)/(Z − Y). before[i] is the product of the denominators before i.
	numerators, denominators := make([]field.Element, len(keys)), make([]field.Element, len(keys))
	before := make([]field.Element, len(keys))
	product := new(field.Element).One()
	for i := range keys {
		var p edwards25519.Point
		_, y, z, _ := p.ScalarBaseMult(keys[i].scalar()).ExtendedCoordinates()
		numerators[i].Add(z, y)
		denominators[i].Subtract(z, y) // not 0: no clamped scalar is a multiple of L
		before[i] = *product
		product.Multiply(product, &denominators[i])
	}
	inverse := product.Invert(product) // of all denominators up to i
	public := make([]PublicKey, len(keys))
	for i := len(keys) - 1; i >= 0; i-- {
		var u field.Element
		u.Multiply(&numerators[i], u.Multiply(inverse, &before[i]))
		public[i] = PublicKey(u.Bytes())
		inverse.Multiply(inverse, &denominators[i])
	}
	return public
}

// ParsePublicKey reads the 33-byte encoding 05 || u (SPEC.md §3.2).
func ParsePublicKey(b []byte) (PublicKey, error) {
	if len(b) != PublicKeySize || b[0] != djbType {
		return PublicKey{}, ErrInvalidKey
	}
	p := PublicKey(b[1:])
	if !p.Valid() {
		return PublicKey{}, ErrInvalidKey
	}
	return p, nil
}

// Append appends the 33-byte encoding 05 || u.
func (p PublicKey) Append(b []byte) []byte {
	return append(append(b, djbType), p[:]...)
}

// Valid reports whether p is canonical and not of low order. Public keys are
// public: it does not run in constant time.
func (p PublicKey) Valid() bool { return p.canonical() && !p.lowOrder() }

// canonical reports whether u < p = 2^255 − 19, with bit 255 clear.
func (p *PublicKey) canonical() bool {
	if p[31] != 0x7f {
		return p[31]&0x80 == 0
	}
	for _, v := range p[1:31] {
		if v != 0xff {
			return true
		}
	}
	return p[0] < 0xed
}

// lowOrder reports whether p, which is canonical, is of order 1, 2, 4 or 8 on
// the curve or its twist. Any agreement with such a point is all zeros.
func (p *PublicKey) lowOrder() bool {
	for i := range lowOrderPoints {
		if *p == lowOrderPoints[i] {
			return true
		}
	}
	return false
}

// The canonical u coordinates of low order: 0 (order 2), 1 (order 4), −1 (order
// 4 on the twist), and the two of order 8.
var lowOrderPoints = [5]PublicKey{
	{},
	{1},
	{
		0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
	},
	{
		0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
		0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
	},
	{
		0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
		0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
	},
}
