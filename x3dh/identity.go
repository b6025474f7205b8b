package x3dh

import (
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/internal/wire"
)

// An IdentityKey is the long-term private key of a device (SPEC.md §3.6). It
// signs prekeys and agrees on sessions, and nothing else: there is no general
// Sign, so that no signature can be taken for one that it is not, and no
// message carries one that proves to others who wrote it.
//
// It is immutable and safe for concurrent use. It must not be copied. The zero
// value is refused by every function that takes it.
type IdentityKey struct{ box secret.Box[identity] }

type identity struct {
	private curve.PrivateKey
	public  curve.PublicKey
}

func newIdentityKey(private curve.PrivateKey) *IdentityKey {
	k := new(IdentityKey)
	k.box.Store(&identity{private, private.Public()})
	return k
}

// GenerateIdentityKey draws a new identity. Store it, with [IdentityKey.AppendBinary],
// before its public key leaves the device.
func GenerateIdentityKey() *IdentityKey { return newIdentityKey(curve.GenerateKey()) }

// ParseIdentityKey reads what [IdentityKey.AppendBinary] wrote, or libsignal's
// IdentityKeyPairStructure. A record in which the two halves do not belong
// together is [ErrMalformed].
func ParseIdentityKey(record []byte) (*IdentityKey, error) {
	var id identity
	d := wire.Decode(record)
	for d.Next() {
		switch d.Num() {
		case 1:
			var err error
			if id.public, err = readKey(&d); err != nil {
				d.Fail()
			}
		case 2:
			var b [32]byte
			d.Fixed(b[:])
			id.private = curve.NewPrivateKey(b)
		default:
			d.Skip()
		}
	}
	if d.Close(1, 2) != nil || id.private.Public() != id.public {
		return nil, ErrMalformed
	}
	k := new(IdentityKey)
	k.box.Store(&id)
	return k, nil
}

// AppendBinary appends the record of k, 69 bytes, to b: libsignal's
// IdentityKeyPairStructure (SPEC.md §6.2). It is secret. The only error is
// [ErrUninitialized].
func (k *IdentityKey) AppendBinary(b []byte) ([]byte, error) {
	id := k.load()
	if id == nil {
		return b, ErrUninitialized
	}
	b = appendKey(b, 1, id.public)
	return wire.AppendBytes(b, 2, id.private[:]), nil
}

// Public returns the public identity key, the zero key if k is uninitialized.
func (k *IdentityKey) Public() PublicKey {
	if id := k.load(); id != nil {
		return PublicKey{id.public}
	}
	return PublicKey{}
}

func (k *IdentityKey) load() *identity {
	if k == nil {
		return nil
	}
	return k.box.Load()
}

// appendKey writes a public key as field num.
func appendKey(b []byte, num int, k curve.PublicKey) []byte {
	return k.Append(wire.AppendBytesHeader(b, num, PublicKeySize))
}

// readKey reads a public key field.
func readKey(d *wire.Decoder) (curve.PublicKey, error) {
	return curve.ParsePublicKey(d.Bytes())
}
