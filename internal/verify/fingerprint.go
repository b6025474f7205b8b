package verify

import (
	"errors"

	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

func fingerprint(c *testvectors.Fingerprint) error {
	f, err := newFingerprint(c)
	if err == nil && c.Scanned != nil {
		var scanned x3dh.Fingerprint
		var match bool
		if scanned, err = x3dh.ParseFingerprint(c.Scanned); err == nil {
			match, err = f.Matches(scanned)
		}
		if err == nil && c.Match != nil {
			if err := equal("match", *c.Match, match); err != nil {
				return err
			}
		}
	}
	// What is shown is checked whatever becomes of what is scanned.
	if f == (x3dh.Fingerprint{}) {
		return answer(&c.Case, err)
	}
	b, appendErr := f.AppendBinary(nil)
	again, parseErr := x3dh.ParseFingerprint(c.Scannable)
	return errors.Join(answer(&c.Case, err), appendErr, parseErr,
		equal("display", c.Display, f.String()), same("scannable", c.Scannable, b), equal("scannable read again", f, again))
}

// newFingerprint is x3dh.NewFingerprint. With another number of iterations it goes
// through the scannable form, which is then the only thing that is not compared
// with the library's own.
func newFingerprint(c *testvectors.Fingerprint) (f x3dh.Fingerprint, err error) {
	local, err := x3dh.ParsePublicKey(c.LocalKey)
	if err != nil {
		return f, err
	}
	remote, err := x3dh.ParsePublicKey(c.RemoteKey)
	if err != nil {
		return f, err
	}
	if c.Iterations == 0 {
		return x3dh.NewFingerprint(c.Version, c.LocalID, local, c.RemoteID, remote)
	}
	b := wire.AppendUint(nil, 1, uint64(c.Version))
	for i, hash := range [][32]byte{
		kdf.Fingerprint(c.Iterations, local.Bytes(), c.LocalID),
		kdf.Fingerprint(c.Iterations, remote.Bytes(), c.RemoteID),
	} {
		b = wire.AppendBytes(b, 2+i, wire.AppendBytes(nil, 1, hash[:]))
	}
	return x3dh.ParseFingerprint(b)
}
