// Package goolm measures goolm, which is MPL-2.0, at the work of package work.
package goolm

import (
	"crypto/ed25519"
	"encoding/base64"
	"testing"

	"maunium.net/go/mautrix/crypto/goolm/account"
	"maunium.net/go/mautrix/crypto/goolm/session"
	"maunium.net/go/mautrix/crypto/olm"
	"maunium.net/go/mautrix/id"

	"github.com/sotto-im/sotto/testvectors/conformance/bench/work"
)

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// BenchmarkStore is the work with sessions that are read from, and written to,
// libolm's record for each message, without the encryption of the record;
// BenchmarkLive with sessions that are in memory.
func BenchmarkStore(b *testing.B) { run(b, true) }
func BenchmarkLive(b *testing.B)  { run(b, false) }

func run(b *testing.B, stored bool) {
	work.Run(b, work.Library{
		Devices:    func() (alice, bob work.Device) { return newDevice(stored), newDevice(stored) },
		Group:      func() (encrypt, decrypt func([]byte) []byte) { return group(stored) },
		MaxSkipped: 40,
	})
}

type bundle struct {
	identity  id.Curve25519
	signing   id.Ed25519
	oneTime   id.Curve25519
	signature []byte
}

type device struct {
	stored   bool
	account  *account.Account
	sessions map[int]olm.Session
	records  map[int][]byte
}

func newDevice(stored bool) *device {
	return &device{stored, must(account.NewAccount()), map[int]olm.Session{}, map[int][]byte{}}
}

func (d *device) load(peer int) olm.Session {
	if d.stored {
		s := session.NewOlmSession()
		check(s.UnpickleLibOlm(append([]byte(nil), d.records[peer]...)))
		return s
	}
	return d.sessions[peer]
}

func (d *device) save(peer int, s olm.Session) {
	d.sessions[peer] = s
	if d.stored {
		d.records[peer] = s.(*session.OlmSession).PickleLibOlm()
	}
}

func (d *device) Publish() any {
	check(d.account.GenOneTimeKeys(1))
	signing, identity, err := d.account.IdentityKeys()
	check(err)
	for _, key := range must(d.account.OneTimeKeys()) {
		d.account.MarkKeysAsPublished()
		return bundle{identity, signing, key, must(d.account.Sign([]byte(key)))}
	}
	panic("no one-time key")
}

// Start checks the signature of the one-time key as clients do.
func (d *device) Start(peer int, b any) {
	from := b.(bundle)
	public := must(base64.RawStdEncoding.DecodeString(string(from.signing)))
	signature := must(base64.RawStdEncoding.DecodeString(string(from.signature)))
	if !ed25519.Verify(public, []byte(from.oneTime), signature) {
		panic("signature")
	}
	d.save(peer, must(d.account.NewOutboundSession(from.identity, from.oneTime)))
}

func (d *device) Encrypt(peer int, plaintext []byte) work.Message {
	s := d.load(peer)
	typ, out, err := s.Encrypt(plaintext)
	check(err)
	d.save(peer, s)
	return work.Message{Type: int(typ), Bytes: out}
}

func (d *device) Decrypt(peer int, m work.Message) []byte {
	var s olm.Session
	if _, ok := d.sessions[peer]; ok {
		s = d.load(peer)
	} else {
		s = must(d.account.NewInboundSession(string(m.Bytes)))
		check(d.account.RemoveOneTimeKeys(s))
	}
	out := must(s.Decrypt(string(m.Bytes), id.OlmMsgType(m.Type)))
	d.save(peer, s)
	return out
}

func (d *device) RecordSize(peer int) int {
	return len(d.sessions[peer].(*session.OlmSession).PickleLibOlm())
}

func group(stored bool) (encrypt, decrypt func([]byte) []byte) {
	out := must(session.NewMegolmOutboundSession())
	in := must(session.NewMegolmInboundSession([]byte(out.Key())))
	outRecord, inRecord := out.PickleLibOlm(), in.PickleLibOlm()
	encrypt = func(plaintext []byte) []byte {
		if stored {
			out = new(session.MegolmOutboundSession)
			check(out.UnpickleLibOlm(append([]byte(nil), outRecord...)))
		}
		message := must(out.Encrypt(plaintext))
		if stored {
			outRecord = out.PickleLibOlm()
		}
		return message
	}
	decrypt = func(message []byte) []byte {
		if stored {
			in = new(session.MegolmInboundSession)
			check(in.UnpickleLibOlm(append([]byte(nil), inRecord...)))
		}
		plaintext, _, err := in.Decrypt(message)
		check(err)
		if stored {
			inRecord = in.PickleLibOlm()
		}
		return plaintext
	}
	return encrypt, decrypt
}
