package curve

import (
	"crypto/ecdh"
	"crypto/rand"
	"testing"

	"filippo.io/edwards25519"
)

// What the primitives themselves cost, against the standard library's.

func BenchmarkX25519(b *testing.B) {
	k := GenerateKey()
	p := k.Public()
	var out [32]byte
	b.ReportAllocs()
	for b.Loop() {
		if err := X25519(&out, &k, &p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkECDH(b *testing.B) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	p := k.PublicKey()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.ECDH(p); err != nil {
			b.Fatal(err)
		}
	}
}

// With the private key as a record has it.
func BenchmarkECDHStored(b *testing.B) {
	private, other := GenerateKey(), GenerateKey()
	public := other.Public()
	b.ReportAllocs()
	for b.Loop() {
		k, err := ecdh.X25519().NewPrivateKey(private[:])
		if err != nil {
			b.Fatal(err)
		}
		p, err := ecdh.X25519().NewPublicKey(public[:])
		if err != nil {
			b.Fatal(err)
		}
		if _, err := k.ECDH(p); err != nil {
			b.Fatal(err)
		}
	}
}

// With a window of four bits on the Edwards curve, for keys of prime order alone.
func BenchmarkEdwardsMultiplication(b *testing.B) {
	private, other := GenerateKey(), GenerateKey()
	public := other.Public()
	var want [32]byte
	if err := X25519(&want, &private, &public); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		k, err := edwards25519.NewScalar().SetBytesWithClamping(private[:])
		if err != nil {
			b.Fatal(err)
		}
		y := public.edwardsY()
		p, err := new(edwards25519.Point).SetBytes(y[:])
		if err != nil {
			b.Fatal(err)
		}
		if [32]byte(p.ScalarMult(k, p).BytesMontgomery()) != want {
			b.Fatal("another agreement")
		}
	}
}

func BenchmarkTorsionFree(b *testing.B) {
	k := GenerateKey()
	p := k.Public()
	b.ReportAllocs()
	for b.Loop() {
		if !p.TorsionFree() {
			b.Fatal("torsion")
		}
	}
}

func BenchmarkSign(b *testing.B) {
	k := GenerateKey()
	b.ReportAllocs()
	for b.Loop() {
		k.Sign([]byte("message"))
	}
}
