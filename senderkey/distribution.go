package senderkey

import (
	"slices"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/internal/wire"
)

// A Distribution is what lets a device read a chain, from one message on
// (SPEC.md §11.3). It is secret, proves nothing about where it comes from, and
// therefore travels through the pairwise session of the device whose chain it
// is, and no other way. It is immutable, and must not be copied. The zero value
// is refused.
type Distribution struct{ box secret.Box[distribution] }

type distribution struct {
	family  Family
	id      DistributionID
	chainID uint32
	ck      receivingChainKey
	signing curve.PublicKey
}

func newDistribution(d *distribution) *Distribution {
	out := new(Distribution)
	out.box.Store(d)
	return out
}

func (d *Distribution) load() *distribution {
	if d == nil {
		return nil
	}
	return d.box.Load()
}

// ID returns the distribution ID; zero in the WhatsApp family, and if d is
// uninitialized.
func (d *Distribution) ID() DistributionID {
	if v := d.load(); v != nil {
		return v.id
	}
	return DistributionID{}
}

// ChainID returns the number that, with the distribution ID, names the chain
// among those of its device.
func (d *Distribution) ChainID() uint32 {
	if v := d.load(); v != nil {
		return v.chainID
	}
	return 0
}

// Iteration returns the number of the first message that can be read.
func (d *Distribution) Iteration() uint32 {
	if v := d.load(); v != nil {
		return v.ck.iteration
	}
	return 0
}

// AppendBinary appends the distribution message to b, about 100 bytes: the
// plaintext of a pairwise message. The only error is [ErrUninitialized].
func (d *Distribution) AppendBinary(b []byte) ([]byte, error) {
	v := d.load()
	if v == nil {
		return b, ErrUninitialized
	}
	return v.append(b), nil
}

func (d *distribution) append(b []byte) []byte {
	b = append(slices.Grow(b, 110), versionByte)
	if d.family != WhatsApp {
		b = wire.AppendBytes(b, 1, d.id[:])
	}
	b = wire.AppendUint(b, d.family.wireNumber(2), uint64(d.chainID))
	b = wire.AppendUint(b, d.family.wireNumber(3), uint64(d.ck.iteration))
	b = wire.AppendBytes(b, d.family.wireNumber(4), d.ck.key[:])
	return appendKey(b, d.family.wireNumber(5), d.signing)
}

// ParseDistribution reads a distribution message. b is not kept. Errors:
// [ErrMalformed], [ErrVersion].
func ParseDistribution(b []byte, f Family) (*Distribution, error) {
	if len(b) == 0 {
		return nil, ErrMalformed
	}
	if b[0]>>4 != version {
		return nil, ErrVersion
	}
	v := distribution{family: f}
	d := wire.Decode(b[1:])
	for d.Next() {
		switch f.number(d.Num()) {
		case 1:
			d.Fixed(v.id[:])
		case 2:
			v.chainID = d.Uint32()
		case 3:
			v.ck.iteration = d.Uint32()
		case 4:
			d.Fixed(v.ck.key[:])
		case 5:
			v.signing = readKey(&d)
		default: // newer peers may add fields
			d.Skip()
		}
	}
	if !f.complete(&d, 5) {
		return nil, ErrMalformed
	}
	return newDistribution(&v), nil
}

// complete reports whether a message was well formed and has all fields up to
// last.
func (f Family) complete(d *wire.Decoder, last int) bool {
	for n := f.number(1); n <= last; n++ {
		if !d.Has(f.wireNumber(n)) {
			return false
		}
	}
	return d.Close() == nil
}

func appendKey(b []byte, num int, k curve.PublicKey) []byte {
	return k.Append(wire.AppendBytesHeader(b, num, curve.PublicKeySize))
}

func readKey(d *wire.Decoder) curve.PublicKey {
	k, err := curve.ParsePublicKey(d.Bytes())
	if err != nil {
		d.Fail()
	}
	return k
}
