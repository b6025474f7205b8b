package kdf

import (
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/testvectors"
)

// key32 gives a key of any length the form that this package takes: HMAC hashes
// a key over 64 bytes and fills up a shorter one with zeros, so that each of
// the RFCs' keys has an equal of 32 bytes.
func key32(t *testing.T, k []byte) (out [32]byte) {
	if len(k) > 64 {
		return sha256.Sum256(k)
	}
	require.LessOrEqual(t, len(k), 32)
	copy(out[:], k)
	return out
}

func TestRFC4231(t *testing.T) {
	tests, err := testvectors.Tests[testvectors.HMAC]("rfc4231_hmac_sha256.json")
	require.NoError(t, err)
	require.Len(t, tests, 7)
	for _, c := range tests {
		key := key32(t, c.Key)
		got := HMAC(&key, c.Message, "", nil)
		require.Equal(t, []byte(c.Tag), got[:len(c.Tag)], c.Comment)
	}
}

func TestRFC5869(t *testing.T) {
	tests, err := testvectors.Tests[testvectors.HKDF]("rfc5869_hkdf_sha256.json")
	require.NoError(t, err)
	require.Len(t, tests, 3)
	for _, c := range tests {
		salt := key32(t, c.Salt)
		prk := HMAC(&salt, c.IKM, "", nil)
		require.Equal(t, []byte(c.PRK), prk[:], c.Comment)
		got := make([]byte, c.Length)
		HKDF(got, &salt, c.IKM, string(c.Info))
		require.Equal(t, []byte(c.OKM), got, c.Comment)
	}
}
