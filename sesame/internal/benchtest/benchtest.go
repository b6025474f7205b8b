// Package benchtest measures a device on any store: the same benchmarks run in
// memory and on databases. The figure is not the time but the ratio to the bare
// ratchet step of the same run ("x/bare"): a session that is in memory, parsed,
// and stored nowhere.
package benchtest

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/txtest"
	"github.com/sotto-im/sotto/x3dh"
)

// Open opens an empty store.
type Open func(b *testing.B) txtest.Store

var plaintext = make([]byte, 64)

// eachStored runs f for devices that keep no, some and the most keys of missing
// messages in the chain that the messages are in.
func eachStored(b *testing.B, f func(b *testing.B, stored int)) {
	for _, stored := range []int{0, 100, ratchet.MaxSkippedKeys} {
		b.Run(fmt.Sprintf("stored=%d", stored), func(b *testing.B) {
			b.ReportAllocs()
			f(b, stored)
		})
	}
}

// Encrypt measures one message in a transaction of its own.
func Encrypt(b *testing.B, open Open) {
	eachStored(b, func(b *testing.B, stored int) {
		bare := bareEncrypt(b)
		_, bob := conversation(b, open, stored)
		for b.Loop() {
			bob.encrypt("alice", 1)
		}
		report(b, bare, 1)
	})
}

// Decrypt measures the next message of a chain in a transaction of its own.
func Decrypt(b *testing.B, open Open) { decrypt(b, open, 0) }

// DecryptSwapped measures two messages, the second of which comes first: one
// makes a stored key, the other uses it.
func DecryptSwapped(b *testing.B, open Open) { decrypt(b, open, 1, 0) }

// decrypt measures messages that come in an order, each in a transaction of its
// own.
func decrypt(b *testing.B, open Open, order ...int) {
	eachStored(b, func(b *testing.B, stored int) {
		bare := bareDecrypt(b)
		alice, bob := conversation(b, open, stored)
		var messages []sesame.Message
		for b.Loop() {
			if len(messages) == 0 {
				b.StopTimer()
				messages = alice.encrypt("bob", batch)
				runtime.GC() // what that left is not what is measured
				b.StartTimer()
			}
			for _, i := range order {
				bob.decrypt("alice", messages[i])
			}
			messages = messages[len(order):]
		}
		report(b, bare, len(order))
	})
}

// Fanout1000 measures one plaintext for 1,000 devices in one transaction.
func Fanout1000(b *testing.B, open Open) {
	const devices = 1000
	b.ReportAllocs()
	bare := bareEncrypt(b)
	_, bob := conversation(b, func(*testing.B) txtest.Store { return new(sesame.Memory) }, 0)
	alice := newDevice(b, open(b))
	var to []sesame.Address
	for i := range devices {
		to = append(to, sesame.Address{User: fmt.Sprintf("user%d", i/4), Device: uint32(i % 4)})
	}
	bundle := bob.bundle()
	alice.do(func(tx sesame.Tx) error {
		for _, a := range to {
			if err := alice.dev.Start(tx, a, bundle); err != nil {
				return err
			}
		}
		return nil
	})
	for b.Loop() {
		alice.do(func(tx sesame.Tx) error {
			messages, err := alice.dev.Encrypt(tx, plaintext, to...)
			if len(messages) != devices || messages[devices-1].Err != nil {
				b.Fatal("not all devices have a message")
			}
			return err
		})
	}
	report(b, bare, devices)
}

// GroupFanout1000 measures one message to a group of 1,000 devices in one
// transaction: warm, if all have the chain, against the bare Sender, with its
// record read and written; cold, if all need the distribution, against the bare
// ratchet step for each.
func GroupFanout1000(b *testing.B, open Open) {
	const devices = 1000
	_, bob := conversation(b, func(*testing.B) txtest.Store { return new(sesame.Memory) }, 0)
	bundle := bob.bundle()
	for _, warm := range []bool{false, true} {
		name := map[bool]string{false: "cold", true: "warm"}[warm]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			bare := bareEncrypt(b) * devices
			if warm {
				bare = bareSender(b, devices)
			}
			alice, g := newDevice(b, open(b)), sesame.Group{Name: "group"}
			alice.do(func(tx sesame.Tx) error {
				for i := range devices {
					a := sesame.Address{User: fmt.Sprintf("user%d", i/4), Device: uint32(i % 4)}
					g.Devices = append(g.Devices, a)
					if err := alice.dev.Start(tx, a, bundle); err != nil {
						return err
					}
				}
				return nil
			})
			send := func() {
				alice.do(func(tx sesame.Tx) error {
					m, err := alice.dev.EncryptGroup(tx, 0, g, plaintext, func(d []byte) []byte { return d })
					if err == nil && m.Messages[devices-1].Err != nil {
						b.Fatal(m.Messages[devices-1].Err)
					}
					return err
				})
			}
			messages := 100 // until the chain is replaced
			for b.Loop() {
				if warm && messages == 100 {
					b.StopTimer()
					alice.do(func(tx sesame.Tx) error {
						m, err := alice.dev.EncryptGroup(tx, 0, g, plaintext, func(d []byte) []byte { return d })
						if err != nil {
							return err
						}
						return alice.dev.Distributed(tx, g.Name, m.Chain, g.Devices...)
					})
					messages = 1
					b.StartTimer()
				}
				send()
				messages++
			}
			report(b, bare, 1)
		})
	}
}

// bareSender is the time of a message to members who have the chain.
func bareSender(b *testing.B, devices int) time.Duration {
	config := senderkey.Config{MaxMessages: senderkey.MaxSkippedKeys}
	var roster senderkey.Roster
	for i := range devices {
		roster.Members = append(roster.Members, senderkey.Member{0: byte(i >> 8), 1: byte(i), 31: 1})
	}
	s := senderkey.NewSender(config)
	now := time.Unix(1_700_000_000, 0)
	sent, err := s.Encrypt(roster, now, plaintext)
	require.NoError(b, err)
	require.NoError(b, s.Delivered(sent.Chain, roster.Members...))
	row, err := s.AppendBinary(nil)
	require.NoError(b, err)
	return shortest(b, func() {
		s, err := senderkey.ParseSender(row, config)
		if err == nil {
			_, err = s.Encrypt(roster, now, plaintext)
		}
		if err == nil {
			_, err = s.AppendBinary(nil)
		}
		if err != nil {
			b.Fatal(err)
		}
	})
}

const batch = 1000

func report(b *testing.B, bare time.Duration, steps int) {
	each := float64(b.Elapsed().Nanoseconds()) / float64(b.N*steps)
	b.ReportMetric(float64(bare.Nanoseconds()), "bare-ns")
	b.ReportMetric(each/float64(bare.Nanoseconds()), "x/bare")
}

// A device is a device with its store.
type device struct {
	b     *testing.B
	store txtest.Store
	dev   *sesame.Device
	pub   *sesame.Publication
}

func newDevice(b *testing.B, store txtest.Store) *device {
	d := &device{b: b, store: store}
	d.do(func(tx sesame.Tx) (err error) {
		d.dev, err = sesame.Open(tx, sesame.Config{Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
		if err == nil {
			d.pub, err = d.dev.Publish(tx, sesame.PreKeyBatch)
		}
		return err
	})
	return d
}

func (d *device) do(f func(sesame.Tx) error) {
	for {
		err := d.store.Do(f)
		if err == nil {
			return
		}
		if !errors.Is(err, sesame.ErrConflict) {
			d.b.Fatal(err)
		}
	}
}

func (d *device) bundle() *x3dh.Bundle {
	b, err := x3dh.NewBundle(x3dh.BundleInfo{
		RegistrationID: d.pub.RegistrationID, DeviceID: 1, IdentityKey: d.pub.IdentityKey, SignedPreKey: d.pub.SignedPreKey,
	})
	require.NoError(d.b, err)
	return b
}

// encrypt encrypts n messages in one transaction.
func (d *device) encrypt(to string, n int) []sesame.Message {
	messages := make([]sesame.Message, 0, n)
	d.do(func(tx sesame.Tx) error {
		messages = messages[:0]
		for range n {
			m, err := d.dev.Encrypt(tx, plaintext, sesame.Address{User: to, Device: 1})
			if err != nil {
				return err
			}
			if m[0].Err != nil {
				d.b.Fatal(m[0].Err)
			}
			messages = append(messages, m[0])
		}
		return nil
	})
	return messages
}

func (d *device) decrypt(from string, m sesame.Message) {
	d.do(func(tx sesame.Tx) error {
		r, err := d.dev.Decrypt(tx, sesame.Address{User: from, Device: 1}, m.Type, m.Bytes)
		if err == nil && r.Err != nil {
			d.b.Fatal(r.Err)
		}
		return err
	})
}

// conversation is Alice, in memory, and Bob, in the store to be measured, who
// waits for stored messages of the chain that Alice writes in.
func conversation(b *testing.B, open Open, stored int) (alice, bob *device) {
	alice, bob = newDevice(b, new(sesame.Memory)), newDevice(b, open(b))
	bundle := bob.bundle()
	alice.do(func(tx sesame.Tx) error { return alice.dev.Start(tx, sesame.Address{User: "bob", Device: 1}, bundle) })
	bob.decrypt("alice", alice.encrypt("bob", 1)[0])
	alice.decrypt("bob", bob.encrypt("alice", 1)[0])
	bob.decrypt("alice", alice.encrypt("bob", stored+1)[stored])
	return alice, bob
}

// bareSessions are the two sessions of such a conversation, out of stores.
func bareSessions(b *testing.B) (alice, bob *ratchet.Session) {
	a, z := x3dh.GenerateIdentityKey(), x3dh.GenerateIdentityKey()
	signed, err := x3dh.GenerateSignedPreKey(z, 1, time.Unix(1_700_000_000, 0))
	require.NoError(b, err)
	bundle, err := x3dh.NewBundle(x3dh.BundleInfo{DeviceID: 1, IdentityKey: z.Public(), SignedPreKey: signed.Public()})
	require.NoError(b, err)
	agreement, err := x3dh.Initiate(a, bundle)
	require.NoError(b, err)
	alice, err = ratchet.New(agreement, ratchet.Config{})
	require.NoError(b, err)
	first, _, err := alice.Encrypt(nil, plaintext)
	require.NoError(b, err)
	m, err := x3dh.ParseInitialMessage(first)
	require.NoError(b, err)
	acceptance, err := x3dh.Respond(z, m, signed, nil)
	require.NoError(b, err)
	bob, _, err = ratchet.Accept(nil, acceptance, ratchet.Config{})
	require.NoError(b, err)
	answer, _, err := bob.Encrypt(nil, plaintext)
	require.NoError(b, err)
	_, err = alice.Decrypt(nil, answer)
	require.NoError(b, err)
	turn, _, err := alice.Encrypt(nil, plaintext)
	require.NoError(b, err)
	_, err = bob.Decrypt(nil, turn)
	require.NoError(b, err)
	return alice, bob
}

// bareEncrypt is the time of an Encrypt, the shortest of several means.
func bareEncrypt(b *testing.B) time.Duration {
	alice, _ := bareSessions(b)
	return shortest(b, func() {
		if _, _, err := alice.Encrypt(nil, plaintext); err != nil {
			b.Fatal(err)
		}
	})
}

func bareDecrypt(b *testing.B) time.Duration {
	alice, bob := bareSessions(b)
	messages := make([][]byte, rounds*steps)
	for i := range messages {
		var err error
		messages[i], _, err = alice.Encrypt(nil, plaintext)
		require.NoError(b, err)
	}
	return shortest(b, func() {
		if _, err := bob.Decrypt(nil, messages[0]); err != nil {
			b.Fatal(err)
		}
		messages = messages[1:]
	})
}

// The rounds are short, so that some are undisturbed on a busy machine.
const rounds, steps = 50, 100

func shortest(b *testing.B, step func()) time.Duration {
	best := time.Hour
	for range rounds {
		b.ResetTimer()
		for range steps {
			step()
		}
		best = min(best, b.Elapsed()/steps)
	}
	return best
}
