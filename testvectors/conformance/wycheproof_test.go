package conformance

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/big"
	"slices"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// A vector is a case of any of the files, with what its group says of it.
type vector struct {
	group

	ID                      int `json:"tcId"`
	Comment, Result         string
	Flags                   []string
	Public, Private, Shared hexBytes // X25519
	IKM, Salt, Info, OKM    hexBytes // HKDF
	Size                    int
	Key, Msg, Tag, IV, CT   hexBytes // HMAC, AES-CBC
	Sig                     hexBytes // Ed25519, with Msg
}

// A group has sizes in bits.
type group struct {
	KeySize, IVSize, TagSize int
	PublicKey                struct{ PK hexBytes }
}

func (v *vector) valid() bool          { return v.Result == "valid" }
func (v *vector) has(flag string) bool { return slices.Contains(v.Flags, flag) }

// wycheproofFile returns all cases of a file, which must be as many as it
// declares, and as many as we know of: a file that shrinks is not unnoticed.
func wycheproofFile(t *testing.T, name string, want int) []*vector {
	b, err := fs.ReadFile(wycheproof.TestVectors, name)
	require.NoError(t, err)
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			group
			Tests []*vector
		}
	}
	require.NoError(t, json.Unmarshal(b, &file))
	var all []*vector
	for _, g := range file.TestGroups {
		for _, v := range g.Tests {
			v.group = g.group
			all = append(all, v)
		}
	}
	require.Equal(t, want, file.NumberOfTests)
	require.Len(t, all, want)
	return all
}

// wycheproofCases runs f on all cases of a file. f reports whether Sotto has
// anything to say to the case; those it has must be want.
func wycheproofCases(t *testing.T, name string, declared, want int, f func(t *testing.T, v *vector) bool) {
	n := 0
	for _, v := range wycheproofFile(t, name, declared) {
		t.Run(fmt.Sprint("tcId ", v.ID), func(t *testing.T) {
			if f(t, v) {
				n++
			}
		})
	}
	require.Equal(t, want, n, "cases that were run")
	count("Wycheproof", n)
}

// Of the keys that RFC 7748 accepts, Sotto refuses those with a second
// encoding and those that lead to zero (SPEC.md §3.2), and no others.
func TestWycheproofX25519(t *testing.T) {
	wycheproofCases(t, "x25519_test.json", 518, 518, func(t *testing.T, v *vector) bool {
		public, err := curve.ParsePublicKey(append([]byte{5}, v.Public...))
		if v.has("ZeroSharedSecret") || v.has("NonCanonicalPublic") {
			require.Equal(t, "acceptable", v.Result)
			require.ErrorIs(t, err, curve.ErrInvalidKey)
			return true
		}
		require.NoError(t, err)
		k := curve.NewPrivateKey([32]byte(v.Private))
		var shared [32]byte
		require.NoError(t, curve.X25519(&shared, &k, &public))
		require.Equal(t, []byte(v.Shared), shared[:])
		return true
	})
}

// key32 gives a key of HMAC the form that Sotto takes: HMAC hashes a key over
// 64 bytes and fills up a shorter one with zeros, so that all but those of 33
// to 64 bytes have an equal of 32.
func key32(b []byte) (key [32]byte, ok bool) {
	switch {
	case len(b) > 64:
		return sha256.Sum256(b), true
	case len(b) <= 32:
		copy(key[:], b)
		return key, true
	}
	return key, false
}

// A salt of 33 to 64 bytes cannot be put to our HKDF: nine cases. An output
// over 255 blocks is a bug of the caller, and not an error that it has to handle.
func TestWycheproofHKDF(t *testing.T) {
	wycheproofCases(t, "hkdf_sha256_test.json", 86, 77, func(t *testing.T, v *vector) bool {
		salt, ok := key32(v.Salt)
		if !ok {
			return false
		}
		out := make([]byte, v.Size)
		derive := func() { kdf.HKDF(out, &salt, v.IKM, string(v.Info)) }
		if !v.valid() {
			require.True(t, v.has("SizeTooLarge"))
			require.Panics(t, derive)
			return true
		}
		derive()
		require.Equal(t, []byte(v.OKM), out)
		return true
	})
}

// Long messages go the way of a message's MAC, whose first 66 bytes are the two
// identity keys. Tags of 16 bytes are truncated ones.
func TestWycheproofHMAC(t *testing.T) {
	wycheproofCases(t, "hmac_sha256_test.json", 174, 174, func(t *testing.T, v *vector) bool {
		key, ok := key32(v.Key)
		require.True(t, ok)
		var sums [][32]byte
		if len(v.Msg) <= 160 {
			sums = append(sums, kdf.HMAC(&key, v.Msg, "", nil))
		}
		if m := v.Msg; len(m) >= 66 {
			sums = append(sums, kdf.MessageMAC(&key, (*[33]byte)(m[:33]), (*[33]byte)(m[33:66]), m[66:]))
		}
		require.NotEmpty(t, sums)
		for _, sum := range sums {
			require.Equal(t, v.valid(), slices.Equal(v.Tag, sum[:v.TagSize/8]))
		}
		return true
	})
}

// Sotto has keys of 256 bits only. What the cases with shorter ones say of the
// padding is moved under a key of 256 bits by the standard library.
func TestWycheproofAESCBC(t *testing.T) {
	wycheproofCases(t, "aes_cbc_pkcs5_test.json", 216, 216, func(t *testing.T, v *vector) bool {
		iv, room := [16]byte(v.IV), make([]byte, cbc.BlockSize)
		var key [32]byte
		copy(key[:], v.Key)
		given, err := aes.NewCipher(v.Key)
		require.NoError(t, err)
		ours, err := aes.NewCipher(key[:])
		require.NoError(t, err)
		move := func(from, to cipher.Block, b []byte) []byte {
			b = slices.Clone(b)
			if v.KeySize != 256 && len(b)%cbc.BlockSize == 0 {
				cipher.NewCBCDecrypter(from, iv[:]).CryptBlocks(b, b)
				cipher.NewCBCEncrypter(to, iv[:]).CryptBlocks(b, b)
			}
			return b
		}

		plaintext, ok := cbc.Decrypt(&key, &iv, room, move(given, ours, v.CT))
		require.Equal(t, v.valid(), ok)
		if !ok {
			return true
		}
		require.Equal(t, []byte(v.Msg), append([]byte{}, plaintext...))

		buf := make([]byte, cbc.PaddedLen(len(v.Msg)))
		copy(buf, v.Msg)
		cbc.Pad(buf, len(v.Msg))
		cbc.Encrypt(&key, &iv, room, buf)
		require.Equal(t, []byte(v.CT), move(ours, given, buf))
		return true
	})
}

// A signature of Ed25519 is one of XEdDSA (SPEC.md §3.4): the key is given as u
// = (1 + y)/(1 - y), and its sign moves to the last bit of the signature, which
// is free in every signature that is valid.
func TestWycheproofEd25519(t *testing.T) {
	wycheproofCases(t, "ed25519_test.json", 151, 151, func(t *testing.T, v *vector) bool {
		u, sign := montgomery(v.PublicKey.PK)
		public, err := curve.ParsePublicKey(append([]byte{5}, u...))
		require.NoError(t, err)
		signature := slices.Clone(v.Sig)
		if len(signature) == curve.SignatureSize {
			signature[63] ^= sign
		}
		require.Equal(t, v.valid(), public.Verify(v.Msg, signature))
		return true
	})
}

// montgomery maps the public key of Ed25519 to the u coordinate, 32 bytes, and
// the sign of x as the top bit of a byte.
func montgomery(pk []byte) (u []byte, sign byte) {
	be := slices.Clone(pk)
	slices.Reverse(be)
	sign = be[0] & 0x80
	be[0] &= 0x7f
	one, y := big.NewInt(1), new(big.Int).SetBytes(be)
	p := new(big.Int).Sub(new(big.Int).Lsh(one, 255), big.NewInt(19))
	n := new(big.Int).Add(one, y)
	d := new(big.Int).Sub(one, y)
	n.Mul(n, d.ModInverse(d.Mod(d, p), p)).Mod(n, p)
	u = n.FillBytes(make([]byte, 32))
	slices.Reverse(u)
	return u, sign
}
