// Package kdf derives keys: every HMAC, every HKDF and every label of the
// module.
//
// HMAC and HKDF (RFC 2104, RFC 5869) are written out over sha256.Sum256 for
// keys of 32 bytes and short inputs, which is all the protocol has. That takes
// two thirds of the time of crypto/hmac and none of its nine allocations, on
// the path that a forged message can make us walk 25,000 times. Both are
// checked against the standard library and the RFCs' vectors.
package kdf

import (
	"crypto/sha256"
	"crypto/subtle"
)

const (
	blockSize = sha256.BlockSize
	maxInput  = 32 + 4*32 // the longest: the input of X3DH with a one-time prekey
)

// X3DH derives the first root key and chain key from the agreements DH1 … DH3
// or DH4, in that order (SPEC.md §4.3).
func X3DH(dh [][32]byte) (rk, ck [32]byte) {
	if len(dh) > 4 {
		panic("kdf: too many agreements") // the caller's bug: one would be left out
	}
	var ikm [maxInput]byte
	for i := range 32 {
		ikm[i] = x3dhDiscontinuity
	}
	n := 32
	for i := range dh {
		n += copy(ikm[n:], dh[i][:])
	}
	var okm [64]byte
	HKDF(okm[:], &[32]byte{}, ikm[:n], labelX3DH)
	return [32]byte(okm[:32]), [32]byte(okm[32:])
}

// RootKey is KDF_RK: it derives the next root key and a chain key from the
// root key and an agreement (SPEC.md §5.2).
func RootKey(rk, dh *[32]byte) (next, ck [32]byte) {
	var okm [64]byte
	HKDF(okm[:], rk, dh[:], labelRatchet)
	return [32]byte(okm[:32]), [32]byte(okm[32:])
}

// ChainKey is the half of KDF_CK that moves a chain one step (SPEC.md §5.2).
func ChainKey(ck [32]byte) [32]byte {
	return HMAC(&ck, []byte{constChainKey}, "", nil)
}

// MessageSeed is the half of KDF_CK that derives what a message key is stored
// as (SPEC.md §5.2).
func MessageSeed(ck [32]byte) [32]byte {
	return HMAC(&ck, []byte{constMessageKey}, "", nil)
}

// MessageKeys are the keys of one message.
type MessageKeys struct {
	Cipher [32]byte
	MAC    [32]byte
	IV     [16]byte
}

// ExpandSeed derives the keys of a message from its seed (SPEC.md §5.2). salt
// is where version 4 puts the key of the post-quantum ratchet; in version 3 it
// is nil, which is 32 zero bytes.
func ExpandSeed(seed, salt *[32]byte) (k MessageKeys) {
	if salt == nil {
		salt = &[32]byte{}
	}
	var okm [80]byte
	HKDF(okm[:], salt, seed[:], labelMessageKeys)
	copy(k.Cipher[:], okm[:32])
	copy(k.MAC[:], okm[32:64])
	copy(k.IV[:], okm[64:])
	return k
}

// GroupMessageKeys are the keys of one message of a group. It has no MAC but a
// signature.
type GroupMessageKeys struct {
	IV     [16]byte
	Cipher [32]byte
}

// ExpandGroupSeed derives the keys of a group message from its seed (SPEC.md
// §11.2). The IV comes first, other than in [ExpandSeed].
func ExpandGroupSeed(seed *[32]byte) (k GroupMessageKeys) {
	var okm [48]byte
	HKDF(okm[:], &[32]byte{}, seed[:], labelGroup)
	copy(k.IV[:], okm[:16])
	copy(k.Cipher[:], okm[16:])
	return k
}

// MessageMAC is the untruncated MAC of a message: over the identity keys of
// its sender and its receiver, 33 bytes each, then the message from the version
// byte to the end of the protobuf (SPEC.md §5.4).
func MessageMAC(key *[32]byte, sender, receiver *[33]byte, message []byte) [32]byte {
	var pad [blockSize]byte
	xorPad(&pad, key, &ipad)
	h := sha256.New()
	h.Write(pad[:])
	h.Write(sender[:])
	h.Write(receiver[:])
	h.Write(message)
	var inner [32]byte
	h.Sum(inner[:0])
	return outer(key, &inner)
}

// HKDF sets out, at most 255·32 bytes, to HKDF-SHA256 with a salt of 32 bytes,
// for ikm of at most 160 bytes and info of at most 127. A shorter salt, also
// none, is one filled up with zeros. It is exported, like [HMAC], to be checked
// with published vectors; the protocol has the derivations above.
func HKDF(out []byte, salt *[32]byte, ikm []byte, info string) {
	if len(out) > 255*32 {
		panic("kdf: output too long") // the caller's bug: the counter is a byte
	}
	prk := HMAC(salt, ikm, "", nil)
	var t [32]byte
	prev := t[:0]
	for i := byte(1); len(out) > 0; i++ {
		t = HMAC(&prk, prev, info, []byte{i})
		prev = t[:]
		out = out[copy(out, t[:]):]
	}
}

// HMAC is HMAC-SHA256 over a ‖ b ‖ c, at most 160 bytes together.
func HMAC(key *[32]byte, a []byte, b string, c []byte) [32]byte {
	if len(a)+len(b)+len(c) > maxInput {
		panic("kdf: input too long") // the caller's bug: its end would be left out
	}
	var in [blockSize + maxInput]byte
	xorPad((*[blockSize]byte)(in[:]), key, &ipad)
	n := blockSize
	n += copy(in[n:], a)
	n += copy(in[n:], b)
	n += copy(in[n:], c)
	inner := sha256.Sum256(in[:n])
	return outer(key, &inner)
}

func outer(key, inner *[32]byte) [32]byte {
	var out [blockSize + 32]byte
	xorPad((*[blockSize]byte)(out[:]), key, &opad)
	copy(out[blockSize:], inner[:])
	return sha256.Sum256(out[:])
}

// xorPad sets pad to key, filled up with zeros, xor fill.
func xorPad(pad *[blockSize]byte, key *[32]byte, fill *[blockSize]byte) {
	*pad = *fill
	subtle.XORBytes(pad[:32], pad[:32], key[:])
}

var ipad, opad = repeat(0x36), repeat(0x5c)

func repeat(b byte) (pad [blockSize]byte) {
	for i := range pad {
		pad[i] = b
	}
	return pad
}
