package main

import (
	"bytes"
	"encoding/hex"

	groupRatchet "go.mau.fi/libsignal/groups/ratchet"
	groupRecord "go.mau.fi/libsignal/groups/state/record"
	"go.mau.fi/libsignal/keys/chain"
	"go.mau.fi/libsignal/keys/message"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/serialize"
	"go.mau.fi/libsignal/state/record"
	"go.mau.fi/libsignal/util/optional"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The library stores JSON. Here its structures become libsignal's records, and the other
// way about.

var records = map[string]func(args) result{
	"exportSession": func(a args) result {
		p, with := a.party(), addrKey(a.address("address"))
		if p.sessions[with] == nil {
			return result{"record": nil}
		}
		s, err := pb.Session.Deserialize(p.sessions[with])
		must(err)
		r := &serialize.RecordStructure{CurrentSession: toSession(s.SessionState)}
		for _, old := range s.PreviousStates {
			r.PreviousSessions = append(r.PreviousSessions, toSession(old))
		}
		return encoded(r)
	},
	"importSession": func(a args) result {
		var r serialize.RecordStructure
		a.record(&r)
		if r.CurrentSession == nil {
			bad("the library cannot store a record without a current session")
		}
		s := &record.SessionStructure{SessionState: fromSession(r.CurrentSession), PreviousStates: []*record.StateStructure{}}
		for _, old := range r.PreviousSessions {
			s.PreviousStates = append(s.PreviousStates, fromSession(old))
		}
		a.party().sessions[addrKey(a.address("address"))] = pb.Session.Serialize(s)
		return result{}
	},
	"exportSenderKey": func(a args) result {
		b := a.party().sender[a.senderKey()]
		if b == nil {
			return result{"record": nil}
		}
		s, err := pb.SenderKeyRecord.Deserialize(b)
		must(err)
		var r serialize.SenderKeyRecordStructure
		for _, state := range s.SenderKeyStates {
			r.SenderKeyStates = append(r.SenderKeyStates, toChain(state))
		}
		return encoded(&r)
	},
	"importSenderKey": func(a args) result {
		var r serialize.SenderKeyRecordStructure
		a.record(&r)
		var s groupRecord.SenderKeyStructure
		for _, state := range r.SenderKeyStates {
			s.SenderKeyStates = append(s.SenderKeyStates, fromChain(state))
		}
		a.party().sender[a.senderKey()] = pb.SenderKeyRecord.Serialize(&s)
		return result{}
	},
}

// senderKey names a record: of the party's own chain by its group, of all chains of
// another device without, as senderKeyDistributionProcess stores them.
func (a args) senderKey() string {
	p := a.party()
	if a.has("sender") {
		if from := a.address("sender"); addrKey(from) != addrKey(p.address()) {
			return senderKeyName(protocol.NewSenderKeyName("", from))
		}
	}
	return senderKeyName(protocol.NewSenderKeyName(a.group(), p.address()))
}

func (a args) record(m proto.Message) {
	if err := proto.Unmarshal(a.bytes("record"), m); err != nil {
		fail("InvalidProtobufEncoding", "%v", err)
	}
}

func encoded(m proto.Message) result {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	must(err)
	return result{"record": hex.EncodeToString(b)}
}

// number leaves out 0, as libsignal does.
func number(n uint32) *uint32 {
	if n == 0 {
		return nil
	}
	return &n
}

func toSession(s *record.StateStructure) *serialize.SessionStructure {
	if s == nil {
		return nil
	}
	out := &serialize.SessionStructure{
		SessionVersion: proto.Uint32(uint32(s.SessionVersion)), LocalIdentityPublic: s.LocalIdentityPublic, RemoteIdentityPublic: s.RemoteIdentityPublic,
		RootKey: s.RootKey, PreviousCounter: number(s.PreviousCounter), SenderChain: toRatchetChain(s.SenderChain),
		RemoteRegistrationId: number(s.RemoteRegistrationID), LocalRegistrationId: number(s.LocalRegistrationID), AliceBaseKey: s.SenderBaseKey,
	}
	for _, c := range s.ReceiverChains {
		out.ReceiverChains = append(out.ReceiverChains, toRatchetChain(c))
	}
	if p := s.PendingPreKey; p != nil {
		out.PendingPreKey = &serialize.SessionStructure_PendingPreKey{SignedPreKeyId: proto.Int32(int32(p.SignedPreKeyID)), BaseKey: p.BaseKey}
		if p.PreKeyID != nil && !p.PreKeyID.IsEmpty {
			out.PendingPreKey.PreKeyId = &p.PreKeyID.Value
		}
	}
	return out
}

func fromSession(s *serialize.SessionStructure) *record.StateStructure {
	out := &record.StateStructure{
		SessionVersion: int(s.GetSessionVersion()), LocalIdentityPublic: s.LocalIdentityPublic, RemoteIdentityPublic: s.RemoteIdentityPublic,
		RootKey: s.RootKey, PreviousCounter: s.GetPreviousCounter(), SenderChain: fromRatchetChain(s.SenderChain),
		RemoteRegistrationID: s.GetRemoteRegistrationId(), LocalRegistrationID: s.GetLocalRegistrationId(), SenderBaseKey: s.AliceBaseKey,
	}
	for _, c := range s.ReceiverChains {
		out.ReceiverChains = append(out.ReceiverChains, fromRatchetChain(c))
	}
	if p := s.PendingPreKey; p != nil {
		out.PendingPreKey = &record.PendingPreKeyStructure{PreKeyID: optional.NewEmptyUint32(), SignedPreKeyID: uint32(p.GetSignedPreKeyId()), BaseKey: p.BaseKey}
		if p.PreKeyId != nil {
			out.PendingPreKey.PreKeyID = optional.NewOptionalUint32(p.GetPreKeyId())
		}
	}
	return out
}

func toRatchetChain(c *record.ChainStructure) *serialize.SessionStructure_Chain {
	if c == nil {
		return nil
	}
	out := &serialize.SessionStructure_Chain{
		SenderRatchetKey: c.SenderRatchetKeyPublic, SenderRatchetKeyPrivate: c.SenderRatchetKeyPrivate,
		ChainKey: &serialize.SessionStructure_Chain_ChainKey{Index: number(c.ChainKey.Index), Key: c.ChainKey.Key},
	}
	for _, k := range c.MessageKeys {
		out.MessageKeys = append(out.MessageKeys, &serialize.SessionStructure_Chain_MessageKey{Index: number(k.Index), CipherKey: k.CipherKey, MacKey: k.MacKey, Iv: k.IV})
	}
	return out
}

func fromRatchetChain(c *serialize.SessionStructure_Chain) *record.ChainStructure {
	out := &record.ChainStructure{
		SenderRatchetKeyPublic: c.GetSenderRatchetKey(), SenderRatchetKeyPrivate: c.GetSenderRatchetKeyPrivate(),
		ChainKey:    &chain.KeyStructure{Index: c.GetChainKey().GetIndex(), Key: c.GetChainKey().GetKey()},
		MessageKeys: []*message.KeysStructure{},
	}
	for _, k := range c.GetMessageKeys() {
		if len(k.CipherKey) == 0 {
			bad("the library stores keys, not their seeds")
		}
		out.MessageKeys = append(out.MessageKeys, &message.KeysStructure{Index: k.GetIndex(), CipherKey: k.CipherKey, MacKey: k.MacKey, IV: k.Iv})
	}
	return out
}

// The library keeps 32 zeros where it has no private key.
var noKey [32]byte

func toChain(s *groupRecord.SenderKeyStateStructure) *serialize.SenderKeyStateStructure {
	out := &serialize.SenderKeyStateStructure{
		SenderKeyId:      number(s.KeyID),
		SenderChainKey:   &serialize.SenderKeyStateStructure_SenderChainKey{Iteration: number(s.SenderChainKey.Iteration), Seed: s.SenderChainKey.ChainKey},
		SenderSigningKey: &serialize.SenderKeyStateStructure_SenderSigningKey{Public: s.SigningKeyPublic},
	}
	if !bytes.Equal(s.SigningKeyPrivate, noKey[:]) {
		out.SenderSigningKey.Private = s.SigningKeyPrivate
	}
	for _, k := range s.Keys {
		out.SenderMessageKeys = append(out.SenderMessageKeys, &serialize.SenderKeyStateStructure_SenderMessageKey{Iteration: number(k.Iteration), Seed: k.Seed})
	}
	// message_version, which the library's schema does not have.
	out.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 5, protowire.VarintType), 3))
	return out
}

func fromChain(s *serialize.SenderKeyStateStructure) *groupRecord.SenderKeyStateStructure {
	out := &groupRecord.SenderKeyStateStructure{
		KeyID:            s.GetSenderKeyId(),
		SenderChainKey:   &groupRatchet.SenderChainKeyStructure{Iteration: s.GetSenderChainKey().GetIteration(), ChainKey: s.GetSenderChainKey().GetSeed()},
		SigningKeyPublic: s.GetSenderSigningKey().GetPublic(), SigningKeyPrivate: s.GetSenderSigningKey().GetPrivate(),
		Keys: []*groupRatchet.SenderMessageKeyStructure{},
	}
	if len(out.SigningKeyPrivate) == 0 {
		out.SigningKeyPrivate = noKey[:]
	}
	for _, k := range s.SenderMessageKeys {
		key, err := groupRatchet.NewSenderMessageKey(k.GetIteration(), k.Seed)
		must(err)
		out.Keys = append(out.Keys, groupRatchet.NewStructFromSenderMessageKey(key))
	}
	return out
}
