package curve

import (
	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// edwardsY returns the encoding of y = (u − 1)/(u + 1), the Edwards point with
// that u coordinate and sign bit 0. For u = −1, which has no image, it is
// y = 0; a [PublicKey.Valid] key is never −1.
func (p *PublicKey) edwardsY() [32]byte {
	var u, n, d, one field.Element
	if _, err := u.SetBytes(p[:]); err != nil {
		panic("curve: 32 bytes refused") // cannot happen: the length is in the type
	}
	one.One()
	n.Subtract(&u, &one)
	d.Add(&u, &one)
	d.Invert(&d)
	n.Multiply(&n, &d)
	return [32]byte(n.Bytes())
}

// TorsionFree reports whether p lies in the subgroup of prime order, where all
// honest keys lie: whether L·P is the identity. Adding a point of order 2, 4 or
// 8 changes the bytes of a key and none of its agreements, so that without this
// check one initial message has eight base keys, and a replay cache keyed by
// them remembers one of the eight. A point of the twist is not on the Edwards
// curve and fails too.
func (p PublicKey) TorsionFree() bool {
	y := p.edwardsY()
	point, err := new(edwards25519.Point).SetBytes(y[:])
	if err != nil {
		return false
	}
	// (L−1)·P + P, since scalars of the package are reduced mod L.
	var q edwards25519.Point
	q.VarTimeDoubleScalarBaseMult(minusOne, point, edwards25519.NewScalar())
	q.Add(&q, point)
	return q.Equal(edwards25519.NewIdentityPoint()) == 1
}

// minusOne is L − 1.
var minusOne = func() *edwards25519.Scalar {
	one, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		panic("curve: the scalar 1 refused") // cannot happen
	}
	return edwards25519.NewScalar().Negate(one)
}()
