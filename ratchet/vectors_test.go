package ratchet

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/testvectors"
)

// NIST SP 800-38A F.2: those of its cases that have a 256-bit key.
func TestCBCVectors(t *testing.T) {
	var v struct {
		Source, Licence, Verified string
		Vectors                   []struct {
			Name                           string
			Key, IV, Plaintext, Ciphertext testvectors.Hex
		}
		Padded struct {
			Note       string
			Ciphertext testvectors.Hex
		} `json:"derived_pkcs7"`
	}
	require.NoError(t, testvectors.Load("standard/sp800_38a_aes_cbc.json", &v))
	run := 0
	for _, c := range v.Vectors {
		if len(c.Key) != 32 {
			continue
		}
		run++
		k := &kdf.MessageKeys{Cipher: [32]byte(c.Key), IV: [16]byte(c.IV)}
		buf := append([]byte(nil), c.Plaintext...)
		encryptCBC(k, make([]byte, 16), buf)
		require.Equal(t, []byte(c.Ciphertext), buf, c.Name)

		// NIST's have no padding; derived_pkcs7 is the same with it.
		n := len(c.Plaintext)
		buf = append(append(buf[:0], c.Plaintext...), make([]byte, paddedLen(n)-n)...)
		pad(buf, n)
		encryptCBC(k, make([]byte, 16), buf)
		require.Equal(t, []byte(v.Padded.Ciphertext), buf)
		got, ok := decryptCBC(k, make([]byte, 16), buf)
		require.True(t, ok)
		require.Equal(t, []byte(c.Plaintext), got)
	}
	require.Equal(t, 1, run)
}
