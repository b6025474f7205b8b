package curve

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"

	"filippo.io/edwards25519"
)

// noncePrefix is 2^256 − 2 in little endian: it keeps the hash that makes the
// nonce apart from the one that makes the challenge (XEdDSA, hash_1).
var noncePrefix = [32]byte{
	0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
}

// Sign makes an XEdDSA signature in libsignal's dialect (SPEC.md §3.4): the
// scalar is not negated, and the sign of the Edwards public key travels in bit
// 7 of the last byte. The public key is derived here; a signer that takes it
// as an argument can be made to leak the private key.
func (k *PrivateKey) Sign(message []byte) [SignatureSize]byte {
	var z [64]byte
	rand.Read(z[:])
	return k.SignWith(&z, message)
}

// SignWith is Sign with the random bytes Z given, for known answers.
func (k *PrivateKey) SignWith(z *[64]byte, message []byte) (sig [SignatureSize]byte) {
	a := k.scalar()
	pub := new(edwards25519.Point).ScalarBaseMult(a).Bytes()

	r := hashToScalar(noncePrefix[:], k[:], message, z[:])
	copy(sig[:32], new(edwards25519.Point).ScalarBaseMult(r).Bytes())
	h := hashToScalar(sig[:32], pub, message)
	copy(sig[32:], h.MultiplyAdd(h, a, r).Bytes())

	sig[63] |= pub[31] & 0x80 // s < L < 2^253: the bit is free
	return sig
}

// Verify checks an XEdDSA signature (SPEC.md §3.5). Both dialects are one to
// the verifier: a signer by the XEdDSA paper has sign bit 0. Stricter than
// libsignal, it refuses s ≥ L, and keys that are not [PublicKey.Valid], under
// which anybody can forge.
func (p PublicKey) Verify(message, signature []byte) bool {
	if len(signature) != SignatureSize || !p.Valid() {
		return false
	}
	pub := p.edwardsY()
	pub[31] |= signature[63] & 0x80
	sig := [SignatureSize]byte(signature)
	sig[63] &= 0x7f
	return ed25519.Verify(pub[:], message, sig[:])
}

func hashToScalar(parts ...[]byte) *edwards25519.Scalar {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	s, err := edwards25519.NewScalar().SetUniformBytes(h.Sum(nil))
	if err != nil {
		panic("curve: 64 bytes refused") // cannot happen: the size of SHA-512
	}
	return s
}
