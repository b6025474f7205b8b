package x3dh

import "github.com/sotto-im/sotto/internal/curve"

// PublicKeySize is the size of an encoded public key in bytes: 05, then the u
// coordinate (SPEC.md §3.1).
const PublicKeySize = curve.PublicKeySize

// A PublicKey is an X25519 public key: of an identity, a prekey or a base key.
// Since only canonical encodings parse, == compares keys. The zero value is
// invalid and refused everywhere. SPEC.md §3.2.
type PublicKey struct{ p curve.PublicKey }

// ParsePublicKey reads the 33-byte encoding. Any other length, another type
// byte, a u coordinate that is not canonical, or a point of low order is
// [ErrInvalidKey]. b is not kept.
func ParsePublicKey(b []byte) (PublicKey, error) {
	p, err := curve.ParsePublicKey(b)
	return PublicKey{p}, err
}

// Bytes returns the 33-byte encoding, in memory of its own.
func (k PublicKey) Bytes() []byte { return k.p.Append(make([]byte, 0, PublicKeySize)) }

// valid reports whether k came out of a parser or a private key.
func (k PublicKey) valid() bool { return k.p != curve.PublicKey{} }
