package senderkey

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"testing"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
)

// A benchmark and its floor do the same work: the floor calls the primitives
// as often as the protocol needs them and nothing else. Compare the two in one
// run; the ratio is the figure, not the time.

func eachSize(b *testing.B, f func(b *testing.B, plaintext []byte)) {
	for _, size := range []struct {
		name string
		n    int
	}{{"64B", 64}, {"1KiB", 1 << 10}} {
		b.Run(size.name, func(b *testing.B) {
			b.SetBytes(int64(size.n))
			b.ReportAllocs()
			f(b, make([]byte, size.n))
		})
	}
}

func BenchmarkGroupEncrypt(b *testing.B) {
	eachSize(b, func(b *testing.B, plaintext []byte) {
		c := NewChain(Signal, testID)
		for b.Loop() {
			if _, err := c.Encrypt(nil, plaintext); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// floorKeys are the key derivations of a message: two HMACs, and an HKDF of
// 48 bytes.
func floorKeys(ck [32]byte) ([32]byte, kdf.GroupMessageKeys) {
	seed := kdf.MessageSeed(ck)
	return kdf.ChainKey(ck), kdf.ExpandGroupSeed(&seed)
}

func BenchmarkFloorGroupEncrypt(b *testing.B) {
	eachSize(b, func(b *testing.B, plaintext []byte) {
		var ck [32]byte
		var keys kdf.GroupMessageKeys
		signing := curve.GenerateKey()
		for b.Loop() {
			ck, keys = floorKeys(ck)
			out := make([]byte, cbc.PaddedLen(len(plaintext)))
			copy(out, plaintext)
			block, err := aes.NewCipher(keys.Cipher[:])
			if err != nil {
				b.Fatal(err)
			}
			cipher.NewCBCEncrypter(block, keys.IV[:]).CryptBlocks(out, out)
			signing.Sign(out)
		}
	})
}

func BenchmarkGroupDecrypt(b *testing.B) {
	eachSize(b, func(b *testing.B, plaintext []byte) {
		c, r := newPair(b, Signal)
		message, err := c.Encrypt(nil, plaintext)
		if err != nil {
			b.Fatal(err)
		}
		before := *r.load()
		again := new(receiver) // Decrypt is done with the state that it replaced
		for b.Loop() {
			*again = before
			r.box.Store(again)
			if _, _, err := r.Decrypt(nil, message); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFloorGroupDecrypt(b *testing.B) {
	eachSize(b, func(b *testing.B, plaintext []byte) {
		var ck [32]byte
		var keys kdf.GroupMessageKeys
		signing := curve.GenerateKey()
		public := signing.Public()
		ciphertext := make([]byte, cbc.PaddedLen(len(plaintext)))
		signature := signing.Sign(ciphertext)
		for b.Loop() {
			if !public.Verify(ciphertext, signature[:]) {
				b.Fatal("signature")
			}
			ck, keys = floorKeys(ck)
			out := append([]byte(nil), ciphertext...)
			block, err := aes.NewCipher(keys.Cipher[:])
			if err != nil {
				b.Fatal(err)
			}
			cipher.NewCBCDecrypter(block, keys.IV[:]).CryptBlocks(out, out)
		}
	})
}

// A new chain, and its distribution message.
func BenchmarkDistributionCreate(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		d, err := NewChain(Signal, testID).Distribution()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := d.AppendBinary(nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFloorDistributionCreate(b *testing.B) {
	b.ReportAllocs()
	var random [36]byte
	for b.Loop() {
		rand.Read(random[:])
		k := curve.GenerateKey()
		public := k.Public()
		out := make([]byte, 0, 110)
		_ = append(append(out, random[:]...), public[:]...)
	}
}

// A distribution message, read and stored in the receiver. There is no
// cryptography in it: the floor is a copy of the state, and a check of the key.
func BenchmarkDistributionProcess(b *testing.B) {
	c, r := NewChain(Signal, testID), NewReceiver(Signal)
	message := record(b, distributionOf(b, c))
	before := *r.load()
	again := new(receiver)
	b.ReportAllocs()
	for b.Loop() {
		*again = before
		r.box.Store(again)
		d, err := ParseDistribution(message, Signal)
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Process(d); err != nil {
			b.Fatal(err)
		}
	}
}

var sink *receiver

func BenchmarkFloorDistributionProcess(b *testing.B) {
	message := record(b, distributionOf(b, NewChain(Signal, testID)))
	before := *NewReceiver(Signal).load()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := curve.ParsePublicKey(message[len(message)-33:]); err != nil {
			b.Fatal(err)
		}
		sink = new(before)
	}
}

// A message to 1,000 members who all have the chain, with the record of the
// sender read and written.
func BenchmarkSenderEncrypt1000(b *testing.B) {
	roster := Roster{}
	for i := range 1000 {
		roster.Members = append(roster.Members, Member{0: byte(i >> 8), 1: byte(i), 31: 1})
	}
	config := Config{MaxMessages: MaxSkippedKeys}
	s := NewSender(config)
	sent, err := s.Encrypt(roster, testTime, nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Delivered(sent.Chain, roster.Members...); err != nil {
		b.Fatal(err)
	}
	row := record(b, s)
	plaintext := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		s, err := ParseSender(row, config)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Encrypt(roster, testTime, plaintext); err != nil {
			b.Fatal(err)
		}
		if _, err := s.AppendBinary(nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(row)), "B/record")
}
