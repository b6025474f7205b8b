// Package work is what the benchmarks of Sotto and of its peers do: the same
// for all. Each peer's are in a module of its own, with the licence of the peer.
package work

import (
	"bytes"
	"fmt"
	"testing"
)

// A Message is one for the other device.
type Message struct {
	Type  int
	Bytes []byte
}

// A Device holds any number of sessions, told apart by a number. What fails
// panics.
type Device interface {
	Publish() any               // a bundle, with a one-time prekey of its own
	Start(peer int, bundle any) // checks the signature in it
	Encrypt(peer int, plaintext []byte) Message
	Decrypt(peer int, m Message) []byte
	RecordSize(peer int) int // of the stored session in bytes
}

// A Library makes two devices, and both sides of a group.
type Library struct {
	Devices    func() (alice, bob Device)
	Group      func() (encrypt, decrypt func([]byte) []byte)
	MaxSkipped int // keys of missing messages that it keeps; 0 is 1,000 or more
}

const batch = 50

// Run runs all benchmarks.
func Run(b *testing.B, l Library) {
	first := make([]byte, 64)
	b.Run("initiate", func(b *testing.B) {
		var alice, bob Device
		var bundles [batch]any
		inBatches(b, func() {
			alice, bob = l.Devices()
			for i := range bundles {
				bundles[i] = bob.Publish()
			}
		}, func(i int) {
			alice.Start(i, bundles[i])
			alice.Encrypt(i, first)
		})
	})
	b.Run("respond", func(b *testing.B) {
		var bob Device
		var messages [batch]Message
		inBatches(b, func() {
			var alice Device
			alice, bob = l.Devices()
			for i := range messages {
				alice.Start(i, bob.Publish())
				messages[i] = alice.Encrypt(i, first)
			}
		}, func(i int) { bob.Decrypt(i, messages[i]) })
	})
	for _, size := range []struct {
		name string
		n    int
	}{{"64B", 64}, {"1KiB", 1 << 10}, {"64KiB", 64 << 10}} {
		plaintext := bytes.Repeat([]byte{7}, size.n)
		b.Run("encrypt "+size.name, func(b *testing.B) {
			alice, _ := l.conversation()
			b.ReportAllocs()
			for b.Loop() {
				alice.Encrypt(0, plaintext)
			}
		})
		b.Run("decrypt "+size.name, func(b *testing.B) {
			alice, bob := l.conversation()
			var messages [batch]Message
			inBatches(b, func() {
				for i := range messages {
					messages[i] = alice.Encrypt(0, plaintext)
				}
			}, func(i int) { expect(bob.Decrypt(0, messages[i]), plaintext) })
		})
	}
	b.Run("ping-pong", func(b *testing.B) { // one message each way
		alice, bob := l.conversation()
		b.ReportAllocs()
		for b.Loop() {
			bob.Decrypt(0, alice.Encrypt(0, first))
			alice.Decrypt(0, bob.Encrypt(0, first))
		}
	})
	if l.MaxSkipped == 0 {
		b.Run("reverse 1000", func(b *testing.B) { // per message
			alice, bob := l.conversation()
			messages := make([]Message, 1000)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				for i := range messages {
					messages[i] = alice.Encrypt(0, first)
				}
				b.StartTimer()
				for i := range messages {
					bob.Decrypt(0, messages[len(messages)-1-i])
				}
			}
			perItem := float64(b.Elapsed().Nanoseconds()) / float64(b.N*len(messages))
			b.ReportMetric(perItem, "ns/op")
		})
	}
	plaintext := bytes.Repeat([]byte{7}, 1<<10)
	b.Run("group encrypt 1KiB", func(b *testing.B) {
		encrypt, _ := l.Group()
		b.ReportAllocs()
		for b.Loop() {
			encrypt(plaintext)
		}
	})
	b.Run("group decrypt 1KiB", func(b *testing.B) {
		encrypt, decrypt := l.Group()
		var messages [batch][]byte
		inBatches(b, func() {
			for i := range messages {
				messages[i] = encrypt(plaintext)
			}
		}, func(i int) { expect(decrypt(messages[i]), plaintext) })
	})
	l.records(b)
}

// records reports sizes: the metric "B", whatever the time.
func (l Library) records(b *testing.B) {
	size := func(name string, f func(alice, bob Device)) {
		b.Run("record "+name, func(b *testing.B) {
			var n int
			for b.Loop() {
				alice, bob := l.Devices()
				alice.Start(0, bob.Publish())
				bob.Decrypt(0, alice.Encrypt(0, short))
				f(alice, bob)
				n = bob.RecordSize(0)
			}
			b.ReportMetric(float64(n), "B")
		})
	}
	size("1 message", func(alice, bob Device) {})
	size("100 messages", func(alice, bob Device) {
		for range 50 {
			alice.Decrypt(0, bob.Encrypt(0, short))
			bob.Decrypt(0, alice.Encrypt(0, short))
		}
	})
	if l.MaxSkipped == 0 {
		size("1000 skipped keys", func(alice, bob Device) {
			for range 1000 {
				alice.Encrypt(0, short)
			}
			bob.Decrypt(0, alice.Encrypt(0, short))
		})
	}
}

var short = make([]byte, 20)

// conversation returns two devices that have exchanged messages both ways.
func (l Library) conversation() (alice, bob Device) {
	alice, bob = l.Devices()
	alice.Start(0, bob.Publish())
	bob.Decrypt(0, alice.Encrypt(0, short))
	alice.Decrypt(0, bob.Encrypt(0, short))
	bob.Decrypt(0, alice.Encrypt(0, short))
	return alice, bob
}

// inBatches measures f, which uses up what prepare made.
func inBatches(b *testing.B, prepare func(), f func(i int)) {
	b.ReportAllocs()
	i := batch
	for b.Loop() {
		if i == batch {
			b.StopTimer()
			prepare()
			i = 0
			b.StartTimer()
		}
		f(i)
		i++
	}
}

func expect(got, want []byte) {
	if !bytes.Equal(got, want) {
		panic(fmt.Sprintf("%d bytes out, %d in", len(got), len(want)))
	}
}
