package ratchet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"

	"github.com/sotto-im/sotto/internal/kdf"
)

// encryptCBC encrypts buf in place: AES-256-CBC. buf ends in padding already.
func encryptCBC(k *kdf.MessageKeys, iv, buf []byte) {
	cipher.NewCBCEncrypter(newAES(k), append(iv[:0], k.IV[:]...)).CryptBlocks(buf, buf)
}

// decryptCBC decrypts buf in place and returns it without its padding; false
// if the length or the padding is wrong. The MAC is checked before, so that
// what this says is no oracle (Vaudenay) to anybody but the authenticated peer.
//
// Both take a place in the caller's buffer for the IV: the constructors of
// package cipher make theirs escape, which would cost an allocation.
func decryptCBC(k *kdf.MessageKeys, iv, buf []byte) ([]byte, bool) {
	if len(buf) == 0 || len(buf)%aes.BlockSize != 0 {
		return nil, false
	}
	cipher.NewCBCDecrypter(newAES(k), append(iv[:0], k.IV[:]...)).CryptBlocks(buf, buf)
	return unpad(buf)
}

func newAES(k *kdf.MessageKeys) cipher.Block {
	b, err := aes.NewCipher(k.Cipher[:])
	if err != nil {
		panic("ratchet: 32-byte AES key refused") // cannot happen: the length is in the type
	}
	return b
}

// paddedLen is the length of n bytes with PKCS #7 padding, always some.
func paddedLen(n int) int { return n + aes.BlockSize - n%aes.BlockSize }

// pad fills buf, of which n bytes are plaintext.
func pad(buf []byte, n int) {
	for i := n; i < len(buf); i++ {
		buf[i] = byte(len(buf) - n)
	}
}

// unpad checks and removes PKCS #7 padding from whole blocks, reading the same
// bytes whatever their values.
func unpad(buf []byte) ([]byte, bool) {
	last := buf[len(buf)-aes.BlockSize:]
	n := int(last[aes.BlockSize-1])
	ok := subtle.ConstantTimeLessOrEq(1, n) & subtle.ConstantTimeLessOrEq(n, aes.BlockSize)
	for i, b := range last {
		inPadding := subtle.ConstantTimeLessOrEq(aes.BlockSize-i, n)
		ok &= subtle.ConstantTimeSelect(inPadding, subtle.ConstantTimeByteEq(b, byte(n)), 1)
	}
	if ok != 1 {
		return nil, false
	}
	return buf[:len(buf)-n], true
}
