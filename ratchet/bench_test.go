package ratchet

import (
	"crypto/aes"
	"crypto/cipher"
	"testing"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
)

// A benchmark and its floor do the same work: the floor calls the primitives
// as often as the protocol needs them and nothing else. Compare the two in one
// run; the ratio is the figure, not the time.

var benchSizes = []struct {
	name string
	n    int
}{{"64B", 64}, {"1KiB", 1 << 10}, {"64KiB", 64 << 10}}

func eachSize(b *testing.B, f func(b *testing.B, plaintext []byte)) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			b.SetBytes(int64(size.n))
			b.ReportAllocs()
			f(b, make([]byte, size.n))
		})
	}
}

func BenchmarkEncrypt(b *testing.B) {
	eachSize(b, func(b *testing.B, plaintext []byte) {
		alice, _ := newPair(b, Signal)
		for b.Loop() {
			if _, _, err := alice.Encrypt(nil, plaintext); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// floorKeys are the key derivations of a message: two HMACs, and an HKDF of
// 80 bytes.
func floorKeys(ck [32]byte) ([32]byte, kdf.MessageKeys) {
	seed := kdf.MessageSeed(ck)
	return kdf.ChainKey(ck), kdf.ExpandSeed(&seed, nil)
}

func BenchmarkFloorEncrypt(b *testing.B) {
	eachSize(b, func(b *testing.B, plaintext []byte) {
		var ck [32]byte
		var id [33]byte
		var keys kdf.MessageKeys
		for b.Loop() {
			ck, keys = floorKeys(ck)
			out := make([]byte, cbc.PaddedLen(len(plaintext)))
			copy(out, plaintext)
			block, err := aes.NewCipher(keys.Cipher[:])
			if err != nil {
				b.Fatal(err)
			}
			cipher.NewCBCEncrypter(block, keys.IV[:]).CryptBlocks(out, out)
			kdf.MessageMAC(&keys.MAC, &id, &id, out)
		}
	})
}

func BenchmarkDecrypt(b *testing.B) {
	eachSize(b, func(b *testing.B, plaintext []byte) {
		alice, bob := newPair(b, Signal)
		m, _ := send(b, alice, "the DH step")
		receive(b, bob, m, "the DH step")
		message, _, err := alice.Encrypt(nil, plaintext)
		if err != nil {
			b.Fatal(err)
		}
		before := *bob.load()
		again := new(state) // Decrypt is done with the state that it replaced
		for b.Loop() {
			*again = before
			bob.box.Store(again)
			if _, err := bob.Decrypt(nil, message); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFloorDecrypt(b *testing.B) {
	eachSize(b, func(b *testing.B, plaintext []byte) {
		var ck [32]byte
		var id [33]byte
		var keys kdf.MessageKeys
		ciphertext := make([]byte, cbc.PaddedLen(len(plaintext)))
		for b.Loop() {
			ck, keys = floorKeys(ck)
			kdf.MessageMAC(&keys.MAC, &id, &id, ciphertext)
			out := append([]byte(nil), ciphertext...)
			block, err := aes.NewCipher(keys.Cipher[:])
			if err != nil {
				b.Fatal(err)
			}
			cipher.NewCBCDecrypter(block, keys.IV[:]).CryptBlocks(out, out)
		}
	})
}

// One message each way: two DH steps.
func BenchmarkPingPong(b *testing.B) {
	alice, bob := newPair(b, Signal)
	plaintext := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range [][2]*Session{{alice, bob}, {bob, alice}} {
			m, _, err := s[0].Encrypt(nil, plaintext)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := s[1].Decrypt(nil, m); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkFloorPingPong(b *testing.B) {
	var rk, ck, dh [32]byte
	var id [33]byte
	var keys kdf.MessageKeys
	peer := curve.GenerateKey()
	pub := peer.Public()
	b.ReportAllocs()
	for b.Loop() {
		for range 2 {
			for range 2 { // encrypt, decrypt
				ck, keys = floorKeys(ck)
				out := make([]byte, 80)
				block, err := aes.NewCipher(keys.Cipher[:])
				if err != nil {
					b.Fatal(err)
				}
				cipher.NewCBCEncrypter(block, keys.IV[:]).CryptBlocks(out, out)
				kdf.MessageMAC(&keys.MAC, &id, &id, out)
			}
			k := curve.GenerateKey() // the DH step
			k.Public()
			for range 2 {
				if err := curve.X25519(&dh, &k, &pub); err != nil {
					b.Fatal(err)
				}
				rk, ck = kdf.RootKey(&rk, &dh)
			}
		}
	}
}

// 1,000 messages of one chain that arrive in reverse order.
func BenchmarkReverse1000(b *testing.B) {
	alice, bob := newPair(b, Signal)
	before := *bob.load()
	messages := make([][]byte, 1000)
	for i := range messages {
		var err error
		if messages[i], _, err = alice.Encrypt(nil, make([]byte, 64)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		bob.box.Store(new(before))
		for i := len(messages) - 1; i >= 0; i-- {
			if _, err := bob.Decrypt(nil, messages[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(messages)), "ns/message")
}

func BenchmarkFloorReverse1000(b *testing.B) {
	var ck [32]byte
	var id [33]byte
	var keys kdf.MessageKeys
	b.ReportAllocs()
	for b.Loop() {
		for range 1000 {
			ck, keys = floorKeys(ck)
			out := make([]byte, 80)
			block, err := aes.NewCipher(keys.Cipher[:])
			if err != nil {
				b.Fatal(err)
			}
			cipher.NewCBCDecrypter(block, keys.IV[:]).CryptBlocks(out, out)
			kdf.MessageMAC(&keys.MAC, &id, &id, out)
		}
	}
}

// A forged message at the limit, which only its MAC betrays.
func BenchmarkForgedJump25000(b *testing.B) {
	alice, bob := newPair(b, Signal)
	forged := forge(b, alice, MaxForwardJump)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bob.Decrypt(nil, forged); err != ErrAuthentication {
			b.Fatal(err)
		}
	}
}

func BenchmarkFloorForgedJump25000(b *testing.B) {
	var ck [32]byte
	var id [33]byte
	b.ReportAllocs()
	for b.Loop() {
		for range MaxForwardJump {
			ck = kdf.ChainKey(ck)
		}
		_, keys := floorKeys(ck)
		kdf.MessageMAC(&keys.MAC, &id, &id, make([]byte, 60))
	}
}
