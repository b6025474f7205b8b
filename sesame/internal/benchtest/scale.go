package benchtest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/txtest"
)

// each runs f for each size. What f prepares it prepares once, and returns what is
// measured.
func each[T any](b *testing.B, sizes []int, prepare func(b *testing.B, n int) T, f func(b *testing.B, v T)) {
	for _, n := range sizes {
		var v T
		prepared := false
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			if !prepared {
				v, prepared = prepare(b, n), true
			}
			f(b, v)
		})
	}
}

// pair is Alice, and Bob, whose part is measured.
type pair struct {
	alice, bob *device
	messages   []sesame.Message
}

func inMemory(*testing.B) txtest.Store { return new(sesame.Memory) }

func withStored(b *testing.B, n int) *pair {
	alice, bob := conversation(b, inMemory, n)
	return &pair{alice: alice, bob: bob}
}

// next is the next message of Alice to Bob, made outside of the time measured.
func (p *pair) next(b *testing.B, n int) []sesame.Message {
	if len(p.messages) < n {
		b.StopTimer()
		p.alice.b, p.bob.b = b, b
		p.messages = p.alice.encrypt("bob", 200)
		b.StartTimer()
	}
	m := p.messages[:n]
	p.messages = p.messages[n:]
	return m
}

func (p *pair) decryptNext(b *testing.B) {
	for b.Loop() {
		p.bob.decrypt("alice", p.next(b, 1)[0])
	}
}

var storedSizes = []int{0, 20, 200, ratchet.MaxSkippedKeys}

// ScaleEncryptStored measures a message while n keys of missing ones are stored.
func ScaleEncryptStored(b *testing.B) {
	each(b, storedSizes, withStored, func(b *testing.B, p *pair) {
		for b.Loop() {
			p.bob.encrypt("alice", 1)
		}
	})
}

// ScaleDecryptStored measures the next message while n keys are stored.
func ScaleDecryptStored(b *testing.B) {
	each(b, storedSizes, withStored, func(b *testing.B, p *pair) { p.decryptNext(b) })
}

// ScaleDecryptSwapped measures two swapped messages in the chain that has n keys
// stored: the row of stored keys is written twice.
func ScaleDecryptSwapped(b *testing.B) {
	each(b, storedSizes, withStored, func(b *testing.B, p *pair) {
		for b.Loop() {
			m := p.next(b, 2)
			p.bob.decrypt("alice", m[1])
			p.bob.decrypt("alice", m[0])
		}
	})
}

// ScaleChains measures the next message of a session with n receiving chains.
func ScaleChains(b *testing.B) {
	turns := func(b *testing.B, n int) *pair {
		p := withStored(b, 0)
		for range n {
			p.alice.decrypt("bob", p.bob.encrypt("alice", 1)[0])
			p.bob.decrypt("alice", p.alice.encrypt("bob", 1)[0])
		}
		return p
	}
	each(b, []int{1, 2, 3, 4, 5}, turns, func(b *testing.B, p *pair) { p.decryptNext(b) })
}

// withArchived is a pair whose Bob keeps n sessions of the past.
func withArchived(b *testing.B, n int) *pair {
	p := withStored(b, 0)
	bundle := p.bob.bundle()
	for range n {
		p.alice.do(func(tx sesame.Tx) error {
			return p.alice.dev.Start(tx, sesame.Address{User: "bob", Device: 1}, bundle)
		})
		p.bob.decrypt("alice", p.alice.encrypt("bob", 1)[0])
	}
	p.alice.decrypt("bob", p.bob.encrypt("alice", 1)[0])
	return p
}

var archiveSizes = []int{1, 5, 10, 20, sesame.MaxArchivedSessions}

// ScaleArchived measures the next message of the current session.
func ScaleArchived(b *testing.B) {
	each(b, archiveSizes, withArchived, func(b *testing.B, p *pair) { p.decryptNext(b) })
}

// ScaleForgedArchived measures a message that no session opens, and all are asked.
func ScaleForgedArchived(b *testing.B) {
	each(b, archiveSizes, withArchived, func(b *testing.B, p *pair) {
		m := p.next(b, 1)[0]
		forged := append([]byte(nil), m.Bytes...)
		_, stranger := bareSessions(b)
		copy(forged[3:], stranger.RatchetKey().Bytes()) // a ratchet key that no session knows
		for b.Loop() {
			p.bob.do(func(tx sesame.Tx) error {
				r, err := p.bob.dev.Decrypt(tx, sesame.Address{User: "alice", Device: 1}, m.Type, forged)
				if err == nil && r.Err == nil {
					b.Fatal("a forged message was opened")
				}
				return err
			})
		}
	})
}

// ScaleDevices measures one plaintext for n devices.
func ScaleDevices(b *testing.B) {
	each(b, []int{1, 4, 16, 64, 256}, withDevices, func(b *testing.B, f *fan) {
		for b.Loop() {
			f.alice.do(func(tx sesame.Tx) error {
				_, err := f.alice.dev.Encrypt(tx, plaintext, f.Devices...)
				return err
			})
		}
	})
}

// ScaleGroup measures a message to a group of n devices, all of which have the
// chain.
func ScaleGroup(b *testing.B) {
	each(b, []int{10, 50, 250, 1000, 5000}, withDevices, func(b *testing.B, f *fan) {
		for b.Loop() {
			if f.sent%90 == 0 { // the chain is replaced after 100
				b.StopTimer()
				f.distribute()
				b.StartTimer()
			}
			f.sent++
			f.send()
		}
	})
}

// A fan is Alice and the devices that she writes to.
type fan struct {
	alice *device
	sesame.Group
	sent int
}

func withDevices(b *testing.B, n int) *fan {
	f := &fan{alice: newDevice(b, new(sesame.Memory)), Group: sesame.Group{Name: "group"}}
	bundle := newDevice(b, new(sesame.Memory)).bundle()
	f.alice.do(func(tx sesame.Tx) error {
		f.Devices = nil
		for i := range n {
			a := sesame.Address{User: fmt.Sprintf("user%d", i/4), Device: uint32(i % 4)}
			f.Devices = append(f.Devices, a)
			if err := f.alice.dev.Start(tx, a, bundle); err != nil {
				return err
			}
		}
		return nil
	})
	return f
}

func (f *fan) send() (m *sesame.GroupMessage) {
	f.alice.do(func(tx sesame.Tx) (err error) {
		m, err = f.alice.dev.EncryptGroup(tx, 0, f.Group, plaintext, func(d []byte) []byte { return d })
		return err
	})
	return m
}

// distribute starts a chain, and tells that all devices have it.
func (f *fan) distribute() {
	f.alice.do(func(tx sesame.Tx) error { return f.alice.dev.ForgetGroup(tx, f.Name) })
	m := f.send()
	f.alice.do(func(tx sesame.Tx) error { return f.alice.dev.Distributed(tx, f.Name, m.Chain, f.Devices...) })
	require.Nil(f.alice.b, f.send().Messages[len(f.Devices)-1].Bytes)
	f.sent = 1
}
