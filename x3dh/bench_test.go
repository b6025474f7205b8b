package x3dh

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"testing"
	"time"

	"filippo.io/edwards25519/field"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
)

// A benchmark and its floor do the same work: the floor calls the primitives
// as often as the protocol needs them and nothing else. Compare the two in one
// run; the ratio is the figure, not the time.

func BenchmarkGenerateKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := GeneratePreKeys(1, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// The floor of key generation is the standard library's, one ladder.
func BenchmarkFloorGenerateKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		k, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		k.PublicKey()
	}
}

type benchSides struct {
	alice, bob *IdentityKey
	signed     *SignedPreKey
	oneTime    *PreKey // nil for noopk
	bundle     *Bundle
}

func newBenchSides(b *testing.B, opk bool) (s benchSides) {
	b.Helper()
	s.alice, s.bob = GenerateIdentityKey(), GenerateIdentityKey()
	var err error
	if s.signed, err = GenerateSignedPreKey(s.bob, 1, time.Unix(1, 0)); err != nil {
		b.Fatal(err)
	}
	info := BundleInfo{IdentityKey: s.bob.Public(), SignedPreKey: s.signed.Public()}
	if opk {
		keys, err := GeneratePreKeys(1, 1)
		if err != nil {
			b.Fatal(err)
		}
		s.oneTime = keys[0]
		info.OneTimePreKey = new(keys[0].Public())
	}
	if s.bundle, err = NewBundle(info); err != nil {
		b.Fatal(err)
	}
	return s
}

func eachPreKey(b *testing.B, f func(b *testing.B, s benchSides)) {
	for name, opk := range map[string]bool{"opk": true, "noopk": false} {
		b.Run(name, func(b *testing.B) {
			s := newBenchSides(b, opk)
			b.ReportAllocs()
			f(b, s)
		})
	}
}

func BenchmarkBundleVerify(b *testing.B) {
	eachPreKey(b, func(b *testing.B, s benchSides) {
		info := s.bundle.Info()
		for b.Loop() {
			if _, err := NewBundle(info); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The floor of a verification is one of Ed25519, and one inversion: that of the
// map from u to y.
func BenchmarkFloorBundleVerify(b *testing.B) {
	eachPreKey(b, func(b *testing.B, s benchSides) {
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			b.Fatal(err)
		}
		signed := s.signed.Public().Key.Bytes()
		signature := ed25519.Sign(private, signed)
		x := new(field.Element).One()
		x.Add(x, x)
		for b.Loop() {
			x.Invert(x)
			if !ed25519.Verify(public, signed, signature) {
				b.Fatal("signature")
			}
		}
	})
}

func BenchmarkInitiate(b *testing.B) {
	eachPreKey(b, func(b *testing.B, s benchSides) {
		for b.Loop() {
			if _, err := Initiate(s.alice, s.bundle); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// floorAgreements are the three or four agreements of X3DH, and its HKDF.
func floorAgreements(b *testing.B, k curve.PrivateKey, p curve.PublicKey, opk bool) {
	n := 3
	if opk {
		n = 4
	}
	var dh [4][32]byte
	for i := range n {
		if err := curve.X25519(&dh[i], &k, &p); err != nil {
			b.Fatal(err)
		}
	}
	kdf.X3DH(dh[:n])
}

func BenchmarkFloorInitiate(b *testing.B) {
	eachPreKey(b, func(b *testing.B, s benchSides) {
		for b.Loop() {
			base := curve.GenerateKey()
			base.Public()
			floorAgreements(b, base, s.bob.Public().p, s.oneTime != nil)
		}
	})
}

func BenchmarkRespond(b *testing.B) {
	eachPreKey(b, func(b *testing.B, s benchSides) {
		base := curve.GenerateKey()
		m := &InitialMessage{
			Version: 0x34, SignedPreKeyID: 1,
			BaseKey: PublicKey{base.Public()}, IdentityKey: s.alice.Public(),
		}
		if s.oneTime != nil {
			m.OneTimePreKeyID = new(uint32(1))
		}
		for b.Loop() {
			if _, err := Respond(s.bob, m, s.signed, s.oneTime); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The check that the base key is free of torsion is one of the primitives that
// the responder needs.
func BenchmarkFloorRespond(b *testing.B) {
	eachPreKey(b, func(b *testing.B, s benchSides) {
		base := curve.GenerateKey()
		pub := base.Public()
		for b.Loop() {
			if !pub.TorsionFree() {
				b.Fatal("torsion")
			}
			floorAgreements(b, base, pub, s.oneTime != nil)
		}
	})
}

// The keys of a batch share one inversion.
func BenchmarkGeneratePreKeys100(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := GeneratePreKeys(1, 100); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFloorGeneratePreKeys100(b *testing.B) {
	b.ReportAllocs()
	var keys [100]curve.PrivateKey
	for b.Loop() {
		for i := range keys {
			keys[i] = curve.GenerateKey()
		}
		curve.PublicKeys(keys[:])
	}
}
