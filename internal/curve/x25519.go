package curve

import (
	"crypto/subtle"
	"errors"

	"filippo.io/edwards25519/field"
)

// ErrAgreement says that an agreement gave the all-zero value, so that anybody
// knows it (RFC 7748 §6.1).
var ErrAgreement = errors.New("key agreement with a point of low order")

// X25519 sets dst to the agreement of k and p (RFC 7748 §5). An all-zero result
// is [ErrAgreement]; a parsed key cannot give it, so this is the second line
// of defence.
//
// It is a ladder of its own because crypto/ecdh has no way to use stored
// private bytes without computing their public key first: a second ladder for
// each agreement, and a key object. It runs over the same field arithmetic in
// the same number of steps, allocates nothing, and is checked against
// crypto/ecdh by test and by fuzzing.
func X25519(dst *[32]byte, k *PrivateKey, p *PublicKey) error {
	var x1, x2, z2, x3, z3 field.Element
	if _, err := x1.SetBytes(p[:]); err != nil { // ignores bit 255, as RFC 7748 asks
		panic("curve: 32 bytes refused") // cannot happen: the length is in the type
	}
	x2.One()
	x3.Set(&x1)
	z3.One()

	var a, b, aa, bb, e, c, d, da, cb field.Element
	swap := 0
	for t := 254; t >= 0; t-- {
		bit := int(k[t/8]>>(t%8)) & 1
		swap ^= bit
		x2.Swap(&x3, swap)
		z2.Swap(&z3, swap)
		swap = bit

		a.Add(&x2, &z2)
		b.Subtract(&x2, &z2)
		c.Add(&x3, &z3)
		d.Subtract(&x3, &z3)
		da.Multiply(&d, &a)
		cb.Multiply(&c, &b)
		aa.Square(&a)
		bb.Square(&b)
		x3.Add(&da, &cb)
		x3.Square(&x3)
		z3.Subtract(&da, &cb)
		z3.Square(&z3)
		z3.Multiply(&z3, &x1)
		x2.Multiply(&aa, &bb)
		e.Subtract(&aa, &bb)
		z2.Mult32(&e, 121665)
		z2.Add(&z2, &aa)
		z2.Multiply(&z2, &e)
	}
	x2.Swap(&x3, swap)
	z2.Swap(&z3, swap)

	z2.Invert(&z2)
	x2.Multiply(&x2, &z2)
	copy(dst[:], x2.Bytes())

	var zero [32]byte
	if subtle.ConstantTimeCompare(dst[:], zero[:]) == 1 {
		return ErrAgreement
	}
	return nil
}
