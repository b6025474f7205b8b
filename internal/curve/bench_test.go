package curve

import (
	"crypto/ecdh"
	"crypto/rand"
	"testing"
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
