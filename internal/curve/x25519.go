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

	// The names are those of RFC 7748. Four elements, each overwritten by what is
	// made of it, and no step right after the one that it needs: that is a twentieth
	// faster than the order of the RFC.
	var a, b, c, d field.Element
	swap := 0
	for t := 254; t >= 0; t-- {
		bit := int(k[t/8]>>(t%8)) & 1
		swap ^= bit
		x2.Swap(&x3, swap)
		z2.Swap(&z3, swap)
		swap = bit

		d.Subtract(&x3, &z3)
		b.Subtract(&x2, &z2)
		a.Add(&x2, &z2)
		c.Add(&x3, &z3)
		d.Multiply(&d, &a) // DA
		c.Multiply(&c, &b) // CB
		b.Square(&b)       // BB
		a.Square(&a)       // AA
		x3.Add(&d, &c)
		z3.Subtract(&d, &c)
		x2.Multiply(&a, &b)
		a.Subtract(&a, &b) // E
		z3.Square(&z3)
		z2.Mult32(&a, 121666) // BB + 121666 E is AA + 121665 E
		x3.Square(&x3)
		z2.Add(&z2, &b)
		z3.Multiply(&z3, &x1)
		z2.Multiply(&z2, &a)
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
