// Package cbc is AES-256-CBC with PKCS #7 padding: the cipher of both kinds of
// messages. It authenticates nothing. Callers check a MAC or a signature
// before they decrypt, or else the padding is an oracle (Vaudenay).
package cbc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
)

// BlockSize is the size of a block and of an IV in bytes.
const BlockSize = aes.BlockSize

// Encrypt encrypts buf, whole blocks that end in padding already, in place.
//
// Encrypt and Decrypt take a place for a block in the caller's buffer, for the
// IV: the constructors of package cipher make theirs escape, which would cost
// an allocation. room must not overlap buf; afterwards
// it holds the IV.
func Encrypt(key *[32]byte, iv *[BlockSize]byte, room, buf []byte) {
	cipher.NewCBCEncrypter(newAES(key), append(room[:0], iv[:]...)).CryptBlocks(buf, buf)
}

// Decrypt decrypts buf in place and returns it without its padding; false if
// the length or the padding is wrong.
func Decrypt(key *[32]byte, iv *[BlockSize]byte, room, buf []byte) ([]byte, bool) {
	if len(buf) == 0 || len(buf)%BlockSize != 0 {
		return nil, false
	}
	cipher.NewCBCDecrypter(newAES(key), append(room[:0], iv[:]...)).CryptBlocks(buf, buf)
	return unpad(buf)
}

func newAES(key *[32]byte) cipher.Block {
	b, err := aes.NewCipher(key[:])
	if err != nil {
		panic("cbc: 32-byte AES key refused") // cannot happen: the length is in the type
	}
	return b
}

// PaddedLen is the length of n bytes with padding, always some.
func PaddedLen(n int) int { return n + BlockSize - n%BlockSize }

// Pad fills buf, of which n bytes are plaintext.
func Pad(buf []byte, n int) {
	for i := n; i < len(buf); i++ {
		buf[i] = byte(len(buf) - n)
	}
}

// unpad checks and removes the padding from whole blocks, reading the same
// bytes whatever their values.
func unpad(buf []byte) ([]byte, bool) {
	last := buf[len(buf)-BlockSize:]
	n := int(last[BlockSize-1])
	ok := subtle.ConstantTimeLessOrEq(1, n) & subtle.ConstantTimeLessOrEq(n, BlockSize)
	for i, b := range last {
		inPadding := subtle.ConstantTimeLessOrEq(BlockSize-i, n)
		ok &= subtle.ConstantTimeSelect(inPadding, subtle.ConstantTimeByteEq(b, byte(n)), 1)
	}
	if ok != 1 {
		return nil, false
	}
	return buf[:len(buf)-n], true
}
