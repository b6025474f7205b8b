package x3dh

import (
	"errors"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
)

// MaxDeviceID is the highest device ID. The WhatsApp family counts from 0,
// Signal from 1.
const MaxDeviceID = 127

// A Bundle is what a device publishes, and what another needs to write to it
// first (SPEC.md §4.1). A *Bundle exists only with a valid signature: there is
// nothing to verify, and nothing to forget. It is public and immutable.
//
// Whether its identity key is the right person's is a question that no
// signature answers: compare [Bundle.Info]'s IdentityKey with the one that the
// user has for this contact before use.
type Bundle struct{ info BundleInfo }

// BundleInfo is the content of a bundle.
type BundleInfo struct {
	RegistrationID uint32
	DeviceID       uint32 // at most MaxDeviceID
	IdentityKey    PublicKey
	SignedPreKey   PublicSignedPreKey
	OneTimePreKey  *PublicPreKey // nil if the server had none left
}

// NewBundle checks the signature of the signed prekey and returns the bundle.
// Errors: [ErrAuthentication]; [ErrInvalidKey] for a zero key; [ErrMalformed]
// for a device ID over [MaxDeviceID]. i is copied.
func NewBundle(i BundleInfo) (*Bundle, error) {
	if i.DeviceID > MaxDeviceID {
		return nil, ErrMalformed
	}
	if !i.IdentityKey.valid() || !i.SignedPreKey.Key.valid() {
		return nil, ErrInvalidKey
	}
	if i.OneTimePreKey != nil {
		if !i.OneTimePreKey.Key.valid() {
			return nil, ErrInvalidKey
		}
		oneTime := *i.OneTimePreKey
		i.OneTimePreKey = &oneTime
	}
	var signed [PublicKeySize]byte
	i.SignedPreKey.Key.p.Append(signed[:0])
	if !i.IdentityKey.p.Verify(signed[:], i.SignedPreKey.Signature[:]) {
		return nil, ErrAuthentication
	}
	return &Bundle{i}, nil
}

// ParseBundle reads and verifies what [Bundle.AppendBinary] wrote. This is
// Sotto's own encoding, since libsignal has none: unknown fields are refused.
// Errors: [ErrMalformed], with [ErrInvalidKey] if that is why, and
// [ErrAuthentication]. b is not kept.
func ParseBundle(b []byte) (*Bundle, error) {
	var i BundleInfo
	var oneTime PublicPreKey
	var keyErr error
	key := func(d *wire.Decoder) PublicKey {
		k, err := readKey(d)
		keyErr = errors.Join(keyErr, err)
		return PublicKey{k}
	}
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			i.RegistrationID = d.Uint32()
		case 2:
			i.DeviceID = d.Uint32()
		case 3:
			i.IdentityKey = key(&d)
		case 4:
			oneTime.ID = d.Uint32()
		case 5:
			oneTime.Key = key(&d)
		case 6:
			i.SignedPreKey.ID = d.Uint32()
		case 7:
			i.SignedPreKey.Key = key(&d)
		case 8:
			d.Fixed(i.SignedPreKey.Signature[:])
		default: // 9, 10 and 11 are kept for the KEM prekey of version 4
			d.Fail()
		}
	}
	if d.Close(1, 2, 3, 6, 7, 8) != nil || d.Has(4) != d.Has(5) {
		return nil, ErrMalformed
	}
	if keyErr != nil {
		return nil, malformedKey
	}
	if d.Has(4) {
		i.OneTimePreKey = &oneTime
	}
	return NewBundle(i)
}

// AppendBinary appends the encoding of the bundle to dst (SPEC.md §4.1). The only
// error is [ErrUninitialized].
func (b *Bundle) AppendBinary(dst []byte) ([]byte, error) {
	if !b.valid() {
		return dst, ErrUninitialized
	}
	i := &b.info
	dst = wire.AppendUint(dst, 1, uint64(i.RegistrationID))
	dst = wire.AppendUint(dst, 2, uint64(i.DeviceID))
	dst = appendKey(dst, 3, i.IdentityKey.p)
	if k := i.OneTimePreKey; k != nil {
		dst = wire.AppendUint(dst, 4, uint64(k.ID))
		dst = appendKey(dst, 5, k.Key.p)
	}
	dst = wire.AppendUint(dst, 6, uint64(i.SignedPreKey.ID))
	dst = appendKey(dst, 7, i.SignedPreKey.Key.p)
	return wire.AppendBytes(dst, 8, i.SignedPreKey.Signature[:]), nil
}

// Info returns the content, in memory of its own; zero for a zero Bundle.
func (b *Bundle) Info() BundleInfo {
	if b == nil {
		return BundleInfo{}
	}
	i := b.info
	if i.OneTimePreKey != nil {
		i.OneTimePreKey = new(*i.OneTimePreKey)
	}
	return i
}

func (b *Bundle) valid() bool { return b != nil && b.info.IdentityKey.valid() }

// malformedKey is ErrMalformed with its reason.
var malformedKey = errors.Join(ErrMalformed, curve.ErrInvalidKey)
