// Package bench measures Sotto at the work that its peers are measured at.
package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/testvectors/conformance/bench/work"
	"github.com/sotto-im/sotto/x3dh"
)

var now = time.Unix(1_700_000_000, 0)

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// BenchmarkStore is the work with a store: each call is a transaction, that of
// sesame on its store in memory.
func BenchmarkStore(b *testing.B) {
	work.Run(b, work.Library{
		Devices: func() (alice, bob work.Device) { return newStored(), newStored() },
		Group:   func() (encrypt, decrypt func([]byte) []byte) { return group(true) },
	})
}

// BenchmarkLive is the work with sessions that are in memory and stored nowhere.
func BenchmarkLive(b *testing.B) {
	work.Run(b, work.Library{
		Devices: func() (alice, bob work.Device) { return newLive(), newLive() },
		Group:   func() (encrypt, decrypt func([]byte) []byte) { return group(false) },
	})
}

// A stored is a device of sesame.
type stored struct {
	store sesame.Memory
	dev   *sesame.Device
	pub   *sesame.Publication
	next  int
}

func newStored() *stored {
	d := new(stored)
	d.do(func(tx sesame.Tx) (err error) {
		d.dev, err = sesame.Open(tx, sesame.Config{Now: func() time.Time { return now }})
		if err == nil {
			d.pub, err = d.dev.Publish(tx, 0)
		}
		return err
	})
	return d
}

func (d *stored) do(f func(sesame.Tx) error) { check(d.store.Do(f)) }

func address(peer int) sesame.Address {
	return sesame.Address{User: fmt.Sprint("user ", peer), Device: 1}
}

func (d *stored) Publish() any {
	d.next++
	return x3dh.BundleInfo{
		RegistrationID: d.pub.RegistrationID, DeviceID: 1, IdentityKey: d.pub.IdentityKey, SignedPreKey: d.pub.SignedPreKey,
		OneTimePreKey: &d.pub.OneTimePreKeys[d.next-1],
	}
}

func (d *stored) Start(peer int, bundle any) {
	b := must(x3dh.NewBundle(bundle.(x3dh.BundleInfo)))
	d.do(func(tx sesame.Tx) error { return d.dev.Start(tx, address(peer), b) })
}

func (d *stored) Encrypt(peer int, plaintext []byte) (m work.Message) {
	d.do(func(tx sesame.Tx) error {
		out, err := d.dev.Encrypt(tx, plaintext, address(peer))
		if err == nil {
			err = out[0].Err
			m = work.Message{Type: int(out[0].Type), Bytes: out[0].Bytes}
		}
		return err
	})
	return m
}

func (d *stored) Decrypt(peer int, m work.Message) (plaintext []byte) {
	d.do(func(tx sesame.Tx) error {
		r, err := d.dev.Decrypt(tx, address(peer), ratchet.Type(m.Type), m.Bytes)
		if err == nil {
			plaintext, err = r.Plaintext, r.Err
		}
		return err
	})
	return plaintext
}

// RecordSize is that of all rows of sessions.
func (d *stored) RecordSize(int) (n int) {
	d.do(func(tx sesame.Tx) error {
		for _, prefix := range []string{"sotto/session/", "sotto/skipped/"} {
			for key, err := range tx.Scan(prefix) {
				check(err)
				value, _, err := tx.Get(key)
				check(err)
				n += len(value)
			}
		}
		return nil
	})
	return n
}

// A live is a device without a store.
type live struct {
	identity *x3dh.IdentityKey
	signed   *x3dh.SignedPreKey
	preKeys  []*x3dh.PreKey
	sessions map[int]*ratchet.Session
}

var config = ratchet.Config{RegistrationID: 1, Created: now}

func newLive() *live {
	identity := x3dh.GenerateIdentityKey()
	return &live{identity: identity, signed: must(x3dh.GenerateSignedPreKey(identity, 1, now)), sessions: map[int]*ratchet.Session{}}
}

func (d *live) Publish() any {
	k := must(x3dh.GeneratePreKeys(uint32(len(d.preKeys)+1), 1))[0]
	d.preKeys = append(d.preKeys, k)
	return x3dh.BundleInfo{
		RegistrationID: 1, DeviceID: 1, IdentityKey: d.identity.Public(), SignedPreKey: d.signed.Public(), OneTimePreKey: new(k.Public()),
	}
}

func (d *live) Start(peer int, bundle any) {
	b := must(x3dh.NewBundle(bundle.(x3dh.BundleInfo)))
	d.sessions[peer] = must(ratchet.New(must(x3dh.Initiate(d.identity, b)), config))
}

func (d *live) Encrypt(peer int, plaintext []byte) work.Message {
	out, typ, err := d.sessions[peer].Encrypt(nil, plaintext)
	check(err)
	return work.Message{Type: int(typ), Bytes: out}
}

func (d *live) Decrypt(peer int, m work.Message) []byte {
	s := d.sessions[peer]
	if ratchet.Type(m.Type) == ratchet.Ordinary {
		return must(s.Decrypt(nil, m.Bytes))
	}
	initial := must(x3dh.ParseInitialMessage(m.Bytes))
	if s != nil && s.Matches(initial) {
		return must(s.DecryptInitial(nil, initial))
	}
	a := must(x3dh.Respond(d.identity, initial, d.signed, d.preKeys[*initial.OneTimePreKeyID-1]))
	s, plaintext, err := ratchet.Accept(nil, a, config)
	check(err)
	d.sessions[peer] = s
	return plaintext
}

// RecordSize is that of libsignal's SessionStructure.
func (d *live) RecordSize(peer int) int { return len(must(d.sessions[peer].AppendBinary(nil))) }

// group returns both sides of a chain, with the records read and written for
// each message if they are stored.
func group(stored bool) (encrypt, decrypt func([]byte) []byte) {
	const f = senderkey.Signal
	id := senderkey.DistributionID{1}
	c, r := senderkey.NewChain(f, id), senderkey.NewReceiver(f)
	d := must(must(c.Distribution()).AppendBinary(nil))
	check(r.Process(must(senderkey.ParseDistribution(d, f))))
	chain, receiver := must(c.AppendBinary(nil)), must(r.AppendBinary(nil))
	encrypt = func(plaintext []byte) []byte {
		if stored {
			c = must(senderkey.ParseChain(chain, f, id))
		}
		out := must(c.Encrypt(nil, plaintext))
		if stored {
			chain = must(c.AppendBinary(nil))
		}
		return out
	}
	decrypt = func(message []byte) []byte {
		if stored {
			r = must(senderkey.ParseReceiver(receiver, f))
		}
		out, _, err := r.Decrypt(nil, message)
		check(err)
		if stored {
			receiver = must(r.AppendBinary(nil))
		}
		return out
	}
	return encrypt, decrypt
}
