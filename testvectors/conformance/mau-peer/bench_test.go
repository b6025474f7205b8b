package main

import (
	"context"
	"testing"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/libsignal/groups"
	groupRecord "go.mau.fi/libsignal/groups/state/record"
	"go.mau.fi/libsignal/keys/identity"
	"go.mau.fi/libsignal/keys/prekey"
	"go.mau.fi/libsignal/logger"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/session"
	"go.mau.fi/libsignal/state/record"
	"go.mau.fi/libsignal/util/optional"

	"github.com/sotto-im/sotto/testvectors/conformance/bench/work"
)

// BenchmarkStore is the work with the stores of the peer, which keep serialised
// records; BenchmarkLive with stores that keep the sessions themselves.
func BenchmarkStore(b *testing.B) { run(b, false) }
func BenchmarkLive(b *testing.B)  { run(b, true) }

func run(b *testing.B, live bool) {
	var l logger.Loggable = silent{}
	logger.Setup(&l)
	work.Run(b, work.Library{
		Devices: func() (alice, bob work.Device) { return newBench(live), newBench(live) },
		Group: func() (encrypt, decrypt func([]byte) []byte) {
			a, b := newBench(live), newBench(live)
			name := protocol.NewSenderKeyName("group", a.party.address())
			d, err := groups.NewGroupSessionBuilder(a, pb).Create(context.Background(), name)
			must(err)
			must(groups.NewGroupSessionBuilder(b, pb).Process(context.Background(), name, d))
			encrypt = func(plaintext []byte) []byte {
				m, err := groups.NewGroupCipher(groups.NewGroupSessionBuilder(a, pb), name, a).Encrypt(context.Background(), full(plaintext))
				must(err)
				return m.SignedSerialize()
			}
			decrypt = func(message []byte) []byte {
				m, err := protocol.NewSenderKeyMessageFromBytes(message, pb.SenderKeyMessage)
				must(err)
				plaintext, err := groups.NewGroupCipher(groups.NewGroupSessionBuilder(b, pb), name, b).Decrypt(context.Background(), m)
				must(err)
				return plaintext
			}
			return encrypt, decrypt
		},
	})
}

// A bench is a party, whose sessions and sender keys are live objects if the
// maps are not nil.
type bench struct {
	*party
	live   map[string]*record.Session
	groups map[string]*groupRecord.SenderKey
	signed *record.SignedPreKey
	next   uint32
}

func newBench(live bool) *bench {
	kp, err := ecc.GenerateKeyPair()
	must(err)
	p := &party{
		name: "device", deviceID: 1, reg: 1, pair: identity.NewKeyPair(identity.NewKey(kp.PublicKey()), kp.PrivateKey()),
		identities: map[string][]byte{}, sessions: map[string][]byte{}, pre: map[uint32][]byte{},
		spk: map[uint32][]byte{}, sender: map[string][]byte{}, groups: map[string]string{},
	}
	spk, err := ecc.GenerateKeyPair()
	must(err)
	sig := ecc.CalculateSignature(kp.PrivateKey(), spk.PublicKey().Serialize())
	d := &bench{party: p, signed: record.NewSignedPreKey(1, 1, spk, sig, pb.SignedPreKeyRecord)}
	must(p.StoreSignedPreKey(context.Background(), 1, d.signed))
	if live {
		d.live, d.groups = map[string]*record.Session{}, map[string]*groupRecord.SenderKey{}
	}
	return d
}

func (d *bench) LoadSession(ctx context.Context, a *protocol.SignalAddress) (*record.Session, error) {
	if r, ok := d.live[addrKey(a)]; ok {
		return r, nil
	}
	return d.party.LoadSession(ctx, a)
}

func (d *bench) StoreSession(ctx context.Context, a *protocol.SignalAddress, r *record.Session) error {
	if d.live != nil {
		d.live[addrKey(a)] = r
		return nil
	}
	return d.party.StoreSession(ctx, a, r)
}

func (d *bench) ContainsSession(ctx context.Context, a *protocol.SignalAddress) (bool, error) {
	if _, ok := d.live[addrKey(a)]; ok {
		return true, nil
	}
	return d.party.ContainsSession(ctx, a)
}

func (d *bench) LoadSenderKey(ctx context.Context, n *protocol.SenderKeyName) (*groupRecord.SenderKey, error) {
	if r, ok := d.groups[senderKeyName(n)]; ok {
		return r, nil
	}
	return d.party.LoadSenderKey(ctx, n)
}

func (d *bench) StoreSenderKey(ctx context.Context, n *protocol.SenderKeyName, r *groupRecord.SenderKey) error {
	if d.groups != nil {
		d.groups[senderKeyName(n)] = r
		return nil
	}
	return d.party.StoreSenderKey(ctx, n, r)
}

func to(peer int) *protocol.SignalAddress { return protocol.NewSignalAddress("peer", uint32(peer)) }

func (d *bench) cipher(peer int) (*session.Builder, *session.Cipher) {
	b := session.NewBuilder(d, d, d, d, to(peer), pb)
	return b, session.NewCipher(b, to(peer))
}

// full is b without spare capacity, into which the library would write.
func full(b []byte) []byte { return b[:len(b):len(b)] }

func (d *bench) Publish() any {
	d.next++
	opk, err := ecc.GenerateKeyPair()
	must(err)
	must(d.StorePreKey(context.Background(), d.next, record.NewPreKey(d.next, opk, pb.PreKeyRecord)))
	return prekey.NewBundle(d.reg, d.deviceID, optional.NewOptionalUint32(d.next), 1, opk.PublicKey(), d.signed.KeyPair().PublicKey(),
		d.signed.Signature(), d.pair.PublicKey())
}

func (d *bench) Start(peer int, bundle any) {
	b, _ := d.cipher(peer)
	must(b.ProcessBundle(context.Background(), bundle.(*prekey.Bundle)))
}

func (d *bench) Encrypt(peer int, plaintext []byte) work.Message {
	_, c := d.cipher(peer)
	m, err := c.Encrypt(context.Background(), full(plaintext))
	must(err)
	return work.Message{Type: int(m.Type()), Bytes: m.Serialize()}
}

func (d *bench) Decrypt(peer int, m work.Message) []byte {
	_, c := d.cipher(peer)
	if m.Type == protocol.PREKEY_TYPE {
		parsed, err := protocol.NewPreKeySignalMessageFromBytes(m.Bytes, pb.PreKeySignalMessage, pb.SignalMessage)
		must(err)
		plaintext, err := c.DecryptMessage(context.Background(), parsed)
		must(err)
		return plaintext
	}
	parsed, err := protocol.NewSignalMessageFromBytes(m.Bytes, pb.SignalMessage)
	must(err)
	plaintext, err := c.Decrypt(context.Background(), parsed)
	must(err)
	return plaintext
}

func (d *bench) RecordSize(peer int) int {
	r, err := d.LoadSession(context.Background(), to(peer))
	must(err)
	return len(r.Serialize())
}
