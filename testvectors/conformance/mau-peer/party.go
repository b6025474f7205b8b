package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"

	groupRecord "go.mau.fi/libsignal/groups/state/record"
	"go.mau.fi/libsignal/keys/identity"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/session"
	"go.mau.fi/libsignal/state/record"
)

// A party is all stores of a device, serialised.
type party struct {
	name       string
	deviceID   uint32
	reg        uint32
	pair       *identity.KeyPair
	private    [32]byte
	identities map[string][]byte
	sessions   map[string][]byte
	pre        map[uint32][]byte
	spk        map[uint32][]byte
	sender     map[string][]byte
	groups     map[string]string // sender address + key id -> group, learned from distribution messages
}

func (p *party) snapshot() *party {
	c := *p
	c.identities, c.sessions = maps.Clone(p.identities), maps.Clone(p.sessions)
	c.pre, c.spk = maps.Clone(p.pre), maps.Clone(p.spk)
	c.sender, c.groups = maps.Clone(p.sender), maps.Clone(p.groups)
	return &c
}

func (p *party) address() *protocol.SignalAddress {
	return protocol.NewSignalAddress(p.name, p.deviceID)
}

func addrKey(a *protocol.SignalAddress) string { return fmt.Sprintf("%s:%d", a.Name(), a.DeviceID()) }

func (p *party) GetIdentityKeyPair() *identity.KeyPair { return p.pair }
func (p *party) GetLocalRegistrationID() uint32        { return p.reg }
func (p *party) SaveIdentity(_ context.Context, a *protocol.SignalAddress, k *identity.Key) error {
	p.identities[addrKey(a)] = bytes.Clone(k.PublicKey().Serialize())
	return nil
}
func (p *party) IsTrustedIdentity(_ context.Context, a *protocol.SignalAddress, k *identity.Key) (bool, error) {
	old, ok := p.identities[addrKey(a)] // trust on first use, both directions
	return !ok || bytes.Equal(old, k.PublicKey().Serialize()), nil
}

func (p *party) LoadPreKey(_ context.Context, id uint32) (*record.PreKey, error) {
	b, ok := p.pre[id]
	if !ok {
		return nil, nil
	}
	return record.NewPreKeyFromBytes(b, pb.PreKeyRecord)
}
func (p *party) StorePreKey(_ context.Context, id uint32, r *record.PreKey) error {
	p.pre[id] = bytes.Clone(r.Serialize())
	return nil
}
func (p *party) ContainsPreKey(_ context.Context, id uint32) (bool, error) {
	_, ok := p.pre[id]
	return ok, nil
}
func (p *party) RemovePreKey(_ context.Context, id uint32) error { delete(p.pre, id); return nil }

func (p *party) LoadSignedPreKey(_ context.Context, id uint32) (*record.SignedPreKey, error) {
	b, ok := p.spk[id]
	if !ok {
		return nil, &peerError{"InvalidSignedPreKeyId", fmt.Sprintf("no signed prekey with id %d", id)}
	}
	return record.NewSignedPreKeyFromBytes(b, pb.SignedPreKeyRecord)
}
func (p *party) LoadSignedPreKeys(ctx context.Context) ([]*record.SignedPreKey, error) {
	var out []*record.SignedPreKey
	for id := range p.spk {
		r, err := p.LoadSignedPreKey(ctx, id)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}
func (p *party) StoreSignedPreKey(_ context.Context, id uint32, r *record.SignedPreKey) error {
	p.spk[id] = bytes.Clone(r.Serialize())
	return nil
}
func (p *party) ContainsSignedPreKey(_ context.Context, id uint32) (bool, error) {
	_, ok := p.spk[id]
	return ok, nil
}
func (p *party) RemoveSignedPreKey(_ context.Context, id uint32) error { delete(p.spk, id); return nil }

func (p *party) LoadSession(_ context.Context, a *protocol.SignalAddress) (*record.Session, error) {
	b, ok := p.sessions[addrKey(a)]
	if !ok {
		return record.NewSession(pb.Session, pb.State), nil
	}
	return record.NewSessionFromBytes(b, pb.Session, pb.State)
}
func (p *party) GetSubDeviceSessions(_ context.Context, name string) ([]uint32, error) {
	var out []uint32
	for k := range p.sessions {
		i := strings.LastIndexByte(k, ':')
		var d uint32
		if k[:i] == name {
			fmt.Sscan(k[i+1:], &d)
			out = append(out, d)
		}
	}
	return out, nil
}
func (p *party) StoreSession(_ context.Context, a *protocol.SignalAddress, r *record.Session) error {
	p.sessions[addrKey(a)] = bytes.Clone(r.Serialize())
	return nil
}
func (p *party) ContainsSession(_ context.Context, a *protocol.SignalAddress) (bool, error) {
	_, ok := p.sessions[addrKey(a)]
	return ok, nil
}
func (p *party) DeleteSession(_ context.Context, a *protocol.SignalAddress) error {
	delete(p.sessions, addrKey(a))
	return nil
}
func (p *party) DeleteAllSessions(context.Context) error { clear(p.sessions); return nil }

func senderKeyName(n *protocol.SenderKeyName) string { return n.GroupID() + "/" + addrKey(n.Sender()) }

func (p *party) LoadSenderKey(_ context.Context, n *protocol.SenderKeyName) (*groupRecord.SenderKey, error) {
	b, ok := p.sender[senderKeyName(n)]
	if !ok {
		return groupRecord.NewSenderKey(pb.SenderKeyRecord, pb.SenderKeyState), nil
	}
	return groupRecord.NewSenderKeyFromBytes(b, pb.SenderKeyRecord, pb.SenderKeyState)
}
func (p *party) StoreSenderKey(_ context.Context, n *protocol.SenderKeyName, r *groupRecord.SenderKey) error {
	p.sender[senderKeyName(n)] = bytes.Clone(r.Serialize())
	return nil
}

func (p *party) cipher(a *protocol.SignalAddress) (*session.Builder, *session.Cipher) {
	b := session.NewBuilder(p, p, p, p, a, pb)
	return b, session.NewCipher(b, a)
}
