package x3dh

import (
	"time"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/internal/wire"
)

// MaxPreKeyID is the highest prekey ID that is given out: 24 bits, which is
// what the WhatsApp family sends. Readers accept any uint32 (SPEC.md §3.6).
const MaxPreKeyID = 1<<24 - 1

// A PreKey is a one-time prekey: a private key and its ID. Store it before its
// public half leaves the device; delete it in the same transaction that stores
// the session whose first message was decrypted with it, and not earlier, so
// that garbage cannot burn it. SPEC.md §3.6.
//
// It is immutable and safe for concurrent use. It must not be copied. The zero
// value is refused by every function that takes it.
type PreKey struct{ box secret.Box[preKey] }

type preKey struct {
	id      uint32
	private curve.PrivateKey
	public  curve.PublicKey
}

func generate(id uint32) preKey {
	k := preKey{id: id, private: curve.GenerateKey()}
	k.public = k.private.Public()
	return k
}

// A PublicPreKey is the half of a [PreKey] that is published.
type PublicPreKey struct {
	ID  uint32
	Key PublicKey
}

// GeneratePreKeys draws n one-time prekeys with the IDs first, first+1, …
//
// The caller keeps the next free ID, stored together with the keys, and never
// derives it from the number of keys that are left: an ID that is used twice
// makes messages to the first key undecryptable. IDs start at 1, since the
// WhatsApp family takes 0 for absent. A range that leaves 1 to [MaxPreKeyID]
// is [ErrPreKeyID]; IDs never wrap.
func GeneratePreKeys(first uint32, n int) ([]*PreKey, error) {
	if first == 0 || n < 0 || int64(first)+int64(n)-1 > MaxPreKeyID {
		return nil, ErrPreKeyID
	}
	private := make([]curve.PrivateKey, n)
	for i := range private {
		private[i] = curve.GenerateKey()
	}
	public := curve.PublicKeys(private)
	keys := make([]*PreKey, n)
	for i := range keys {
		keys[i] = new(PreKey)
		keys[i].box.Store(&preKey{first + uint32(i), private[i], public[i]})
	}
	clear(private)
	return keys, nil
}

// ParsePreKey reads what [PreKey.AppendBinary] wrote, or libsignal's
// PreKeyRecordStructure. The error is [ErrMalformed].
func ParsePreKey(record []byte) (*PreKey, error) {
	var r preKey
	d := wire.Decode(record)
	for d.Next() {
		if !r.read(&d) {
			d.Skip()
		}
	}
	if d.Close(2, 3) != nil || !r.matches() {
		return nil, ErrMalformed
	}
	k := new(PreKey)
	k.box.Store(&r)
	return k, nil
}

// read reads one of the fields that both prekey records have. It reports
// whether the current field is one.
func (k *preKey) read(d *wire.Decoder) bool {
	switch d.Num() {
	case 1:
		k.id = d.Uint32()
	case 2:
		var err error
		if k.public, err = readKey(d); err != nil {
			d.Fail()
		}
	case 3:
		var b [32]byte
		d.Fixed(b[:])
		k.private = curve.NewPrivateKey(b)
	default:
		return false
	}
	return true
}

// matches reports whether the two halves belong together: of a damaged record,
// the public half would invite messages that nobody can read.
func (k *preKey) matches() bool { return k.private.Public() == k.public }

func (k *preKey) appendBinary(b []byte) []byte {
	b = wire.AppendUintNonZero(b, 1, uint64(k.id))
	b = appendKey(b, 2, k.public)
	return wire.AppendBytes(b, 3, k.private[:])
}

// AppendBinary appends the record of k, at most 75 bytes, to b: libsignal's
// PreKeyRecordStructure (SPEC.md §6.2). It is secret. The only error is
// [ErrUninitialized].
func (k *PreKey) AppendBinary(b []byte) ([]byte, error) {
	r := k.load()
	if r == nil {
		return b, ErrUninitialized
	}
	return r.appendBinary(b), nil
}

// Public returns the half that is published, zero if k is uninitialized.
func (k *PreKey) Public() PublicPreKey {
	r := k.load()
	if r == nil {
		return PublicPreKey{}
	}
	return PublicPreKey{ID: r.id, Key: PublicKey{r.public}}
}

func (k *PreKey) load() *preKey {
	if k == nil {
		return nil
	}
	return k.box.Load()
}

// A SignedPreKey is the prekey that every bundle of a device carries, signed by
// its identity key. Replace it every week or so, and keep the old ones for as
// long as a message to them may be under way. SPEC.md §3.6.
//
// It is immutable and safe for concurrent use. It must not be copied. The zero
// value is refused by every function that takes it.
type SignedPreKey struct{ box secret.Box[signedPreKey] }

type signedPreKey struct {
	preKey
	signature [curve.SignatureSize]byte
	created   uint64 // milliseconds since 1970
}

// A PublicSignedPreKey is the half of a [SignedPreKey] that is published. The
// signature is an XEdDSA signature by the identity key over Key.Bytes().
type PublicSignedPreKey struct {
	ID        uint32
	Key       PublicKey
	Signature [64]byte
}

// GenerateSignedPreKey draws a signed prekey of self. id is in 1 to
// [MaxPreKeyID], with a numbering apart from that of one-time prekeys; created
// is kept in the record, to the millisecond, for the caller's rotation. Errors:
// [ErrPreKeyID], [ErrUninitialized].
func GenerateSignedPreKey(self *IdentityKey, id uint32, created time.Time) (*SignedPreKey, error) {
	identity := self.load()
	if identity == nil {
		return nil, ErrUninitialized
	}
	if id == 0 || id > MaxPreKeyID {
		return nil, ErrPreKeyID
	}
	r := signedPreKey{preKey: generate(id), created: uint64(created.UnixMilli())}
	r.signature = identity.private.Sign(r.public.Append(nil))
	k := new(SignedPreKey)
	k.box.Store(&r)
	return k, nil
}

// ParseSignedPreKey reads what [SignedPreKey.AppendBinary] wrote, or
// libsignal's SignedPreKeyRecordStructure. The error is [ErrMalformed].
func ParseSignedPreKey(record []byte) (*SignedPreKey, error) {
	var r signedPreKey
	d := wire.Decode(record)
	for d.Next() {
		switch d.Num() {
		case 4:
			d.Fixed(r.signature[:])
		case 5:
			r.created = d.Fixed64()
		default:
			if !r.read(&d) {
				d.Skip()
			}
		}
	}
	if d.Close(2, 3, 4) != nil || !r.matches() {
		return nil, ErrMalformed
	}
	k := new(SignedPreKey)
	k.box.Store(&r)
	return k, nil
}

// AppendBinary appends the record of k, at most 150 bytes, to b: libsignal's
// SignedPreKeyRecordStructure (SPEC.md §6.2). It is secret. The only error is
// [ErrUninitialized].
func (k *SignedPreKey) AppendBinary(b []byte) ([]byte, error) {
	r := k.load()
	if r == nil {
		return b, ErrUninitialized
	}
	b = wire.AppendBytes(r.appendBinary(b), 4, r.signature[:])
	if r.created != 0 {
		b = wire.AppendFixed64(b, 5, r.created)
	}
	return b, nil
}

// Public returns the half that is published, zero if k is uninitialized.
func (k *SignedPreKey) Public() PublicSignedPreKey {
	r := k.load()
	if r == nil {
		return PublicSignedPreKey{}
	}
	return PublicSignedPreKey{ID: r.id, Key: PublicKey{r.public}, Signature: r.signature}
}

// Created returns the time of creation, to the millisecond.
func (k *SignedPreKey) Created() time.Time {
	r := k.load()
	if r == nil {
		return time.Time{}
	}
	return time.UnixMilli(int64(r.created))
}

func (k *SignedPreKey) load() *signedPreKey {
	if k == nil {
		return nil
	}
	return k.box.Load()
}
