package verify

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"math/big"
	"slices"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

// runners are the runners of all types of tests.
var runners = map[string]runner{
	"X25519":              single(x25519),
	"PublicKey":           single(publicKey),
	"HKDF-SHA256":         single(hkdf),
	"HMAC-SHA256":         single(hmac),
	"AES-CBC":             single(aesCBC),
	"Ed25519":             single(ed),
	"XEdDSA":              single(xeddsa),
	"Fingerprint":         single(fingerprint),
	"RetryRequest":        single(retryRequest),
	"PlaintextContent":    single(plaintextContent),
	"SessionTranscript":   steps(sessionTranscript),
	"GroupTranscript":     steps(groupTranscript),
	"MessageParse":        single(messageParse),
	"StateRecord":         single(stateRecord),
	"EnvelopeParse":       single(envelopeParse),
	"EnvelopeStream":      single(envelopeStream),
	"SenderKeyRotation":   steps(senderKeyRotation),
	"LamportSequence":     steps(lamportSequence),
	"X3dhAgree":           single(x3dhAgreement),
	"RatchetTranscript":   steps(ratchetTranscript),
	"SenderKeyTranscript": steps(senderKeyTranscript),
}

// basePoint is the u coordinate that a public key is a multiple of.
var basePoint = curve.PublicKey{9}

func x25519(c *testvectors.X25519) error {
	k, u := [32]byte(c.Private), [32]byte(c.Public)
	for range c.Iterations {
		private, public := curve.NewPrivateKey(k), curve.PublicKey(u)
		var shared [32]byte
		if err := curve.X25519(&shared, &private, &public); err != nil {
			return answer(&c.Case, err)
		}
		if public == basePoint { // public keys are made in another way
			made := private.Public()
			if err := same("public key", shared[:], made[:]); err != nil {
				return err
			}
		}
		k, u = shared, k
	}
	return same("shared", c.Shared, k[:])
}

func publicKey(c *testvectors.PublicKey) error {
	k, err := x3dh.ParsePublicKey(c.Encoded)
	if err != nil {
		return answer(&c.Case, err)
	}
	return errors.Join(answer(&c.Case, nil), same("encoded again", c.Encoded, k.Bytes()))
}

// key32 gives a key of HMAC the form that the library takes: a key of over 64
// bytes is hashed, a shorter one filled up with zeros.
func key32(k []byte) (out [32]byte, err error) {
	switch {
	case len(k) > 64:
		return sha256.Sum256(k), nil
	case len(k) > 32:
		return out, errors.New("a key of 33 to 64 bytes, which has no equal of 32")
	}
	copy(out[:], k)
	return out, nil
}

func hmac(c *testvectors.HMAC) error {
	key, err := key32(c.Key)
	if err != nil {
		return err
	}
	sum := kdf.HMAC(&key, c.Message, "", nil)
	if n := len(c.Tag); n < 16 || n > len(sum) {
		return errors.New("tag: 16 to 32 bytes are a check")
	}
	return same("tag", c.Tag, sum[:len(c.Tag)])
}

func hkdf(c *testvectors.HKDF) error {
	salt, err := key32(c.Salt)
	if err != nil {
		return err
	}
	prk := kdf.HMAC(&salt, c.IKM, "", nil)
	okm := make([]byte, c.Length)
	kdf.HKDF(okm, &salt, c.IKM, string(c.Info))
	return errors.Join(same("prk", c.PRK, prk[:]), same("okm", c.OKM, okm))
}

func aesCBC(c *testvectors.AESCBC) error {
	key, iv, room := [32]byte(c.Key), [cbc.BlockSize]byte(c.IV), make([]byte, cbc.BlockSize)
	buf := slices.Clone(c.Plaintext)
	if c.Padding == "pkcs7" {
		buf = append(buf, make([]byte, cbc.PaddedLen(len(buf))-len(buf))...)
		cbc.Pad(buf, len(c.Plaintext))
	}
	cbc.Encrypt(&key, &iv, room, buf)
	if err := same("ciphertext", c.Ciphertext, buf); err != nil || c.Padding == "none" {
		return err // the library decrypts nothing without padding
	}
	plaintext, ok := cbc.Decrypt(&key, &iv, room, buf)
	return errors.Join(equal("decrypted", true, ok), same("plaintext", c.Plaintext, plaintext))
}

// ed checks Ed25519, which XEdDSA stands on, and the verifier of XEdDSA with the
// same signature: its key is the u coordinate, and the sign of the Edwards key
// travels in the signature.
func ed(c *testvectors.Ed25519) error {
	key := ed25519.NewKeyFromSeed(c.Seed)
	if err := errors.Join(same("public", c.Public, key.Public().(ed25519.PublicKey)),
		same("signature", c.Signature, ed25519.Sign(key, c.Message))); err != nil {
		return err
	}
	signature := slices.Clone(c.Signature)
	signature[63] |= c.Public[31] & 0x80
	return answer(&c.Case, signed(montgomery(c.Public).Verify(c.Message, signature)))
}

// montgomery is u = (1 + y) / (1 - y), of public bytes.
func montgomery(edwards []byte) (u curve.PublicKey) {
	b := slices.Clone(edwards)
	b[31] &= 0x7f
	slices.Reverse(b)
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	y, one := new(big.Int).SetBytes(b), big.NewInt(1)
	z := new(big.Int).ModInverse(new(big.Int).Mod(new(big.Int).Sub(one, y), p), p)
	z.Mod(z.Mul(z, new(big.Int).Add(one, y)), p)
	z.FillBytes(b)
	slices.Reverse(b)
	return curve.PublicKey(b)
}

// signed is the error of a signature that does not verify.
func signed(ok bool) error {
	if !ok {
		return x3dh.ErrAuthentication
	}
	return nil
}

func xeddsa(c *testvectors.XEdDSA) error {
	public, err := curve.ParsePublicKey(c.Public)
	if err != nil {
		return answer(&c.Case, err)
	}
	if err := answer(&c.Case, signed(public.Verify(c.Message, c.Signature))); err != nil || c.Private == nil {
		return err
	}
	if c.Random == nil {
		return errors.New("a private key without random")
	}
	private, err := privateKey(c.Private)
	if err != nil {
		return err
	}
	made := private.Public()
	signature := private.SignWith((*[64]byte)(c.Random.Z), c.Message)
	return errors.Join(same("public", public[:], made[:]), same("signature made", c.Signature, signature[:]))
}

// privateKey reads a private key, which is clamped wherever it is stored.
func privateKey(b []byte) (curve.PrivateKey, error) {
	k := curve.NewPrivateKey([32]byte(b))
	return k, same("clamped private key", k[:], b)
}
