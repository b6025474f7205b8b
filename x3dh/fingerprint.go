package x3dh

import (
	"crypto/subtle"
	"fmt"

	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/wire"
)

// A Fingerprint is the safety number of two people: what they compare, by eye
// or by camera, to know that no one stands between them (SPEC.md §7). The zero
// value is invalid.
type Fingerprint struct {
	version       uint32
	local, remote [32]byte
}

// NewFingerprint computes the safety number of two identity keys and the stable
// identifiers of their owners, such as account IDs. version is the
// application's convention for identifiers, and part of the scannable form
// only: Signal's is 1 for phone numbers and 2 for account IDs (16 bytes). It
// takes a few milliseconds by design. The only error is [ErrUninitialized] for
// a zero key.
func NewFingerprint(version uint32, localID []byte, local PublicKey, remoteID []byte, remote PublicKey) (Fingerprint, error) {
	if !local.valid() || !remote.valid() {
		return Fingerprint{}, ErrUninitialized
	}
	return Fingerprint{
		version: version,
		local:   kdf.Fingerprint(kdf.FingerprintIterations, local.Bytes(), localID),
		remote:  kdf.Fingerprint(kdf.FingerprintIterations, remote.Bytes(), remoteID),
	}, nil
}

// String returns the 60 digits, the same on both sides. Print them in groups
// of five.
func (f Fingerprint) String() string {
	local, remote := digits(&f.local), digits(&f.remote)
	return min(local, remote) + max(local, remote)
}

func digits(hash *[32]byte) (s string) {
	for i := range 6 {
		var v uint64
		for _, b := range hash[5*i : 5*i+5] {
			v = v<<8 | uint64(b)
		}
		s += fmt.Sprintf("%05d", v%100000)
	}
	return s
}

// AppendBinary appends the scannable form to b, for a QR code (SPEC.md §7.2).
// The only error is [ErrUninitialized].
func (f Fingerprint) AppendBinary(b []byte) ([]byte, error) {
	if f == (Fingerprint{}) {
		return b, ErrUninitialized
	}
	b = wire.AppendUint(b, 1, uint64(f.version))
	for i, hash := range [][32]byte{f.local, f.remote} {
		b = wire.AppendBytesHeader(b, 2+i, wire.SizeBytes(1, len(hash)))
		b = wire.AppendBytes(b, 1, hash[:])
	}
	return b, nil
}

// ParseFingerprint reads the scannable form as its maker sees it: local is
// theirs. The error is [ErrMalformed].
func ParseFingerprint(b []byte) (Fingerprint, error) {
	var f Fingerprint
	half := func(d *wire.Decoder, hash *[32]byte) {
		inner := wire.Decode(d.Bytes())
		for inner.Next() {
			if inner.Num() == 1 {
				inner.Fixed(hash[:])
			} else {
				inner.Skip()
			}
		}
		if inner.Close(1) != nil {
			d.Fail()
		}
	}
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			f.version = d.Uint32()
		case 2:
			half(&d, &f.local)
		case 3:
			half(&d, &f.remote)
		default:
			d.Skip()
		}
	}
	if d.Close(2, 3) != nil || f == (Fingerprint{}) {
		return Fingerprint{}, ErrMalformed
	}
	return f, nil
}

// Matches compares f with the scanned fingerprint of the other side, in
// constant time. False means that somebody is in between, or that one side's
// key changed: say so, loudly. [ErrVersion] means that the applications use
// different identifiers, so that nothing can be said before one is updated.
func (f Fingerprint) Matches(scanned Fingerprint) (bool, error) {
	if f == (Fingerprint{}) || scanned == (Fingerprint{}) {
		return false, ErrUninitialized
	}
	if f.version != scanned.version {
		return false, ErrVersion
	}
	same := subtle.ConstantTimeCompare(f.local[:], scanned.remote[:]) &
		subtle.ConstantTimeCompare(f.remote[:], scanned.local[:])
	return same == 1, nil
}
