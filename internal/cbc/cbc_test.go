package cbc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/testvectors"
)

// NIST SP 800-38A F.2, of which the case with a 256-bit key, without padding as
// it stands there, and with it.
func TestCBCVectors(t *testing.T) {
	tests, err := testvectors.Tests[testvectors.AESCBC]("sp800_38a_aes_cbc.json")
	require.NoError(t, err)
	require.Len(t, tests, 2)
	for _, c := range tests {
		key, iv, room := [32]byte(c.Key), [16]byte(c.IV), make([]byte, 16)
		n := len(c.Plaintext)
		buf := append([]byte(nil), c.Plaintext...)
		if c.Padding == "pkcs7" {
			buf = append(buf, make([]byte, PaddedLen(n)-n)...)
			Pad(buf, n)
		}
		Encrypt(&key, &iv, room, buf)
		require.Equal(t, []byte(c.Ciphertext), buf, c.Comment)
		if c.Padding == "pkcs7" {
			got, ok := Decrypt(&key, &iv, room, buf)
			require.True(t, ok)
			require.Equal(t, []byte(c.Plaintext), got)
		}
	}
}

// Whatever the last block says, the padding is right or the answer is no.
func TestPadding(t *testing.T) {
	var key [32]byte
	var iv [16]byte
	room := make([]byte, 16)
	for n := range 100 {
		buf := make([]byte, PaddedLen(n))
		for i := range n {
			buf[i] = byte(i)
		}
		Pad(buf, n)
		Encrypt(&key, &iv, room, buf)
		got, ok := Decrypt(&key, &iv, room, buf)
		require.True(t, ok)
		require.Len(t, got, n)
		for i := range got {
			require.Equal(t, byte(i), got[i])
		}
	}
	for length := range 50 {
		_, ok := Decrypt(&key, &iv, room, make([]byte, length))
		require.False(t, ok, "%d zeros", length) // they do not decrypt to padding
	}
	for last := range 256 {
		for _, fill := range []byte{0xaa, byte(last)} {
			buf := make([]byte, 32)
			for i := range buf {
				buf[i] = fill
			}
			buf[31] = byte(last)
			Encrypt(&key, &iv, room, buf)
			_, ok := Decrypt(&key, &iv, room, buf)
			require.Equal(t, last == 1 || fill == byte(last) && 1 <= last && last <= 16, ok, "%d after %d", last, fill)
		}
	}
}
