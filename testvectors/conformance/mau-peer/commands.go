package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"sort"
	"strings"
	"time"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/libsignal/groups"
	"go.mau.fi/libsignal/kdf"
	"go.mau.fi/libsignal/keys/identity"
	"go.mau.fi/libsignal/keys/prekey"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/state/record"
	"go.mau.fi/libsignal/util/optional"
)

type result map[string]any

var (
	parties = map[string]*party{}
	ctx     = context.Background()
	cmds    map[string]func(args) result
)

func optID(o *optional.Uint32) any {
	if o == nil || o.IsEmpty {
		return nil
	}
	return o.Value
}

func init() {
	cmds = map[string]func(args) result{
		"version": func(args) result {
			var cs []string
			for c := range cmds {
				cs = append(cs, c)
			}
			sort.Strings(cs)
			return result{"package": "go.mau.fi/libsignal " + libVersion, "version": libVersion, "family": "whatsapp", "commands": cs}
		},
		"newIdentity": func(a args) result {
			p := &party{
				name: a.str("name", uuid()), deviceID: uint32(a.int("deviceId", 1, 127)),
				identities: map[string][]byte{}, sessions: map[string][]byte{}, pre: map[uint32][]byte{},
				spk: map[uint32][]byte{}, sender: map[string][]byte{}, groups: map[string]string{},
			}
			var r [2]byte
			rand.Read(r[:])
			p.reg = a.u32("registrationId", (int64(r[0])<<8|int64(r[1]))%16380+1)
			var kp *ecc.ECKeyPair
			kp, p.private = a.keyPair("identityPrivate")
			p.pair = identity.NewKeyPair(identity.NewKey(kp.PublicKey()), kp.PrivateKey())
			parties[a.str("store", "main")] = p
			return result{"name": p.name, "deviceId": p.deviceID, "registrationId": p.reg,
				"identityPublic": hex.EncodeToString(kp.PublicKey().Serialize()), "identityPrivate": hex.EncodeToString(p.private[:])}
		},
		"makeBundle": func(a args) result {
			p := a.party()
			with := true
			if a.has("preKey") {
				b, ok := a["preKey"].(bool)
				if !ok {
					bad("preKey is not a boolean")
				}
				with = b
			}
			id, sid := a.u32("preKeyId", 1), a.u32("signedPreKeyId", 1)
			ts := a.int("timestamp", time.Now().UnixMilli(), 1<<53)
			spk, _ := a.keyPair("signedPreKeyPrivate")
			sig := ecc.CalculateSignature(p.pair.PrivateKey(), spk.PublicKey().Serialize())
			r := result{
				"registrationId": p.reg, "deviceId": p.deviceID, "identityKey": hex.EncodeToString(p.pair.PublicKey().PublicKey().Serialize()),
				"preKeyId": nil, "preKeyPublic": nil,
				"signedPreKeyId": sid, "signedPreKeyPublic": hex.EncodeToString(spk.PublicKey().Serialize()), "signedPreKeySignature": hex.EncodeToString(sig[:]),
				"kyberPreKeyId": nil, "kyberPreKeyPublic": nil, "kyberPreKeySignature": nil,
			}
			if with {
				opk, _ := a.keyPair("preKeyPrivate")
				must(p.StorePreKey(ctx, id, record.NewPreKey(id, opk, pb.PreKeyRecord)))
				r["preKeyId"], r["preKeyPublic"] = id, hex.EncodeToString(opk.PublicKey().Serialize())
			}
			must(p.StoreSignedPreKey(ctx, sid, record.NewSignedPreKey(sid, ts, spk, sig, pb.SignedPreKeyRecord)))
			return r
		},
		"processBundle": func(a args) result {
			p, to, b := a.party(), a.address("address"), a.sub("bundle")
			if b.has("kyberPreKeyId") {
				bad("Kyber prekeys are not for version 3")
			}
			pid, pk := optional.NewEmptyUint32(), ecc.ECPublicKeyable(nil)
			if b.has("preKeyId") {
				pid, pk = optional.NewOptionalUint32(b.u32("preKeyId", -1)), public(b.bytes("preKeyPublic"))
			}
			var sig [64]byte
			if s := b.bytes("signedPreKeySignature"); copy(sig[:], s) != 64 || len(s) != 64 {
				fail("SignatureValidationFailed", "signature of %d bytes", len(s))
			}
			bundle := prekey.NewBundle(b.u32("registrationId", -1), uint32(b.int("deviceId", -1, 127)), pid, b.u32("signedPreKeyId", -1),
				pk, public(b.bytes("signedPreKeyPublic")), sig, identity.NewKey(public(b.bytes("identityKey"))))
			builder, _ := p.cipher(to)
			must(builder.ProcessBundle(ctx, bundle))
			return result{}
		},
		"encrypt": func(a args) result {
			p, to, pt := a.party(), a.address("address"), a.bytes("plaintext")
			// The library panics on an address without a session, so ask first.
			if r, err := p.LoadSession(ctx, to); err != nil || r.SessionState() == nil || !r.SessionState().HasSenderChain() {
				fail("SessionNotFound", "no session with %s", addrKey(to))
			}
			// It also writes its padding behind the caller's slice: give it a full one.
			_, c := p.cipher(to)
			m, err := c.Encrypt(ctx, pt[:len(pt):len(pt)])
			must(err)
			return result{"type": m.Type(), "ciphertext": hex.EncodeToString(m.Serialize())}
		},
		"decrypt": func(a args) result {
			p, from, t, ct := a.party(), a.address("address"), a.int("type", -1, math.MaxUint32), a.bytes("ciphertext")
			_, c := p.cipher(from)
			var pt []byte
			switch t {
			case protocol.WHISPER_TYPE:
				m, err := protocol.NewSignalMessageFromBytes(ct, pb.SignalMessage)
				must(err)
				pt, err = c.Decrypt(ctx, m)
				must(err)
			case protocol.PREKEY_TYPE:
				m, err := protocol.NewPreKeySignalMessageFromBytes(ct, pb.PreKeySignalMessage, pb.SignalMessage)
				must(err)
				pt, err = c.DecryptMessage(ctx, m)
				must(err)
			default:
				bad("type %d is neither 2 nor 3", t)
			}
			return result{"plaintext": hex.EncodeToString(pt)}
		},
		"deleteSession": func(a args) result {
			must(a.party().DeleteSession(ctx, a.address("address")))
			return result{}
		},
		// No archiveSession: a record without a current session cannot be stored (Session.Serialize panics on a fresh State).
		// ProcessBundle archives by itself.
		"sessionInfo": func(a args) result {
			p, to := a.party(), a.address("address")
			b, ok := p.sessions[addrKey(to)]
			if !ok {
				return result{"exists": false, "hasCurrentState": false, "size": 0}
			}
			r, err := p.LoadSession(ctx, to)
			must(err)
			return result{"exists": true, "hasCurrentState": r.SessionState() != nil && r.SessionState().HasSenderChain(), "size": len(b),
				"archived": len(r.PreviousSessionStates())}
		},
		"getIdentity": func(a args) result {
			if k, ok := a.party().identities[addrKey(a.address("address"))]; ok {
				return result{"identityKey": hex.EncodeToString(k)}
			}
			return result{"identityKey": nil}
		},
		"saveIdentity": func(a args) result {
			p, to, k := a.party(), addrKey(a.address("address")), public(a.bytes("identityKey")).Serialize()
			change := "NewOrUnchanged"
			if old, ok := p.identities[to]; ok && !bytes.Equal(old, k) {
				change = "ReplacedExisting"
			}
			p.identities[to] = k
			return result{"change": change}
		},
		// Groups: the library writes the pre-2021 format, without a UUID. The distribution id only names the group here;
		// receivers find it by sender and key id, or take it from the optional argument.
		"senderKeyDistributionCreate": func(a args) result {
			p, id := a.party(), a.group()
			m, err := groups.NewGroupSessionBuilder(p, pb).Create(ctx, protocol.NewSenderKeyName(id, p.address()))
			must(err)
			return result{"message": hex.EncodeToString(m.Serialize()), "distributionId": id, "chainId": m.ID(), "iteration": m.Iteration()}
		},
		"senderKeyDistributionProcess": func(a args) result {
			p, from := a.party(), a.address("sender")
			m, err := protocol.NewSenderKeyDistributionMessageFromBytes(a.bytes("message"), pb.SenderKeyDistributionMessage)
			must(err)
			id := strings.ToLower(a.str("distributionId", ""))
			must(groups.NewGroupSessionBuilder(p, pb).Process(ctx, protocol.NewSenderKeyName(id, from), m))
			p.groups[fmt.Sprintf("%s/%d", addrKey(from), m.ID())] = id
			return result{"distributionId": id, "chainId": m.ID(), "iteration": m.Iteration()}
		},
		"groupEncrypt": func(a args) result {
			p, id, pt := a.party(), a.group(), a.bytes("plaintext")
			n := protocol.NewSenderKeyName(id, p.address())
			if _, ok := p.sender[senderKeyName(n)]; !ok {
				fail("NoSenderKeyState", "no sender key for %s", id)
			}
			m, err := groups.NewGroupCipher(groups.NewGroupSessionBuilder(p, pb), n, p).Encrypt(ctx, pt[:len(pt):len(pt)])
			must(err)
			// Type() is 4 (Java's number); the peer protocol's is 7.
			return result{"type": 7, "ciphertext": hex.EncodeToString(m.SignedSerialize())}
		},
		"groupDecrypt": func(a args) result {
			p, from := a.party(), a.address("sender")
			m, err := protocol.NewSenderKeyMessageFromBytes(a.bytes("ciphertext"), pb.SenderKeyMessage)
			must(err)
			id := p.groups[fmt.Sprintf("%s/%d", addrKey(from), m.KeyID())]
			if a.has("distributionId") {
				id = a.group()
			}
			n := protocol.NewSenderKeyName(id, from)
			if _, ok := p.sender[senderKeyName(n)]; !ok {
				fail("NoSenderKeyState", "no sender key of %s", addrKey(from))
			}
			pt, err := groups.NewGroupCipher(groups.NewGroupSessionBuilder(p, pb), n, p).Decrypt(ctx, m)
			must(err)
			return result{"plaintext": hex.EncodeToString(pt)}
		},
		"sign": func(a args) result {
			m := a.bytes("message")
			var k ecc.ECPrivateKeyable
			if a.has("private") {
				k = ecc.NewDjbECPrivateKey(a.private("private"))
			} else {
				k = a.party().pair.PrivateKey()
			}
			s := ecc.CalculateSignature(k, m)
			return result{"signature": hex.EncodeToString(s[:])}
		},
		"verify": func(a args) result {
			k, m, s := public(a.bytes("public")), a.bytes("message"), a.bytes("signature")
			if len(s) != 64 {
				return result{"valid": false}
			}
			return result{"valid": ecc.VerifySignature(k, m, [64]byte(s))}
		},
		"agree": func(a args) result {
			s := kdf.CalculateSharedSecret(public(a.bytes("public")).PublicKey(), a.private("private"))
			return result{"secret": hex.EncodeToString(s[:])}
		},
		"parseSignalMessage": func(a args) result {
			m, err := protocol.NewSignalMessageFromBytes(a.bytes("message"), pb.SignalMessage)
			must(err)
			s := m.Structure()
			return result{"version": m.MessageVersion(), "ratchetKey": hex.EncodeToString(s.RatchetKey), "counter": s.Counter,
				"previousCounter": s.PreviousCounter, "ciphertext": hex.EncodeToString(s.CipherText), "mac": hex.EncodeToString(s.Mac)}
		},
		"parsePreKeySignalMessage": func(a args) result {
			b := a.bytes("message")
			m, err := protocol.NewPreKeySignalMessageFromBytes(b, pb.PreKeySignalMessage, pb.SignalMessage)
			must(err)
			s, err := pb.PreKeySignalMessage.Deserialize(b) // WhisperMessage().Serialize() re-encodes, with version byte 33
			must(err)
			return result{"version": m.MessageVersion(), "registrationId": m.RegistrationID(), "preKeyId": optID(m.PreKeyID()),
				"signedPreKeyId": m.SignedPreKeyID(), "baseKey": hex.EncodeToString(m.BaseKey().Serialize()),
				"identityKey": hex.EncodeToString(m.IdentityKey().PublicKey().Serialize()), "message": hex.EncodeToString(s.Message),
				"kyberPreKeyId": nil, "kyberCiphertext": nil}
		},
		"parseSenderKeyMessage": func(a args) result {
			m, err := protocol.NewSenderKeyMessageFromBytes(a.bytes("message"), pb.SenderKeyMessage)
			must(err)
			s := m.Signature()
			return result{"version": m.Version(), "distributionId": nil, "chainId": m.KeyID(), "iteration": m.Iteration(),
				"ciphertext": hex.EncodeToString(m.Ciphertext()), "signature": hex.EncodeToString(s[:])}
		},
	}
	maps.Copy(cmds, records)
}
