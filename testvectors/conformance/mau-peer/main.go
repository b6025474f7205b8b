// Command mau-peer is a test peer: go.mau.fi/libsignal (GPL-3.0) as a process that speaks the Sotto peer protocol
// (../peer/README.md), WhatsApp family. It is its own module and is never linked into Sotto. Written
// from the library's exported signatures and observed behaviour only.
//
// Stores keep serialised records. A command that fails, or panics inside the library, leaves every store as it was;
// --no-rollback keeps what the library had stored before it failed (as its users get it).
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"sort"
	"strings"
	"syscall"
	"time"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/libsignal/groups"
	groupRecord "go.mau.fi/libsignal/groups/state/record"
	"go.mau.fi/libsignal/kdf"
	"go.mau.fi/libsignal/keys/identity"
	"go.mau.fi/libsignal/keys/prekey"
	"go.mau.fi/libsignal/logger"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/serialize"
	"go.mau.fi/libsignal/session"
	"go.mau.fi/libsignal/signalerror"
	"go.mau.fi/libsignal/state/record"
	"go.mau.fi/libsignal/util/optional"
)

const libVersion = "v0.2.1"

var pb = serialize.NewProtoBufSerializer()

// ---- errors ----

type peerError struct{ name, msg string }

func (e *peerError) Error() string { return e.msg }

func fail(name, format string, a ...any) { panic(&peerError{name, fmt.Sprintf(format, a...)}) }
func bad(format string, a ...any)        { fail("BadRequest", format, a...) }
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// names maps the library's sentinels, first match wins: a wrapped error may hold several.
var names = []struct {
	err  error
	name string
}{
	{signalerror.ErrOldCounter, "DuplicatedMessage"},
	{signalerror.ErrUntrustedIdentity, "UntrustedIdentity"},
	{signalerror.ErrNoOneTimeKeyFound, "InvalidPreKeyId"},
	{signalerror.ErrNoSignedPreKey, "InvalidSignedPreKeyId"},
	{signalerror.ErrInvalidSignature, "SignatureValidationFailed"},
	{signalerror.ErrSenderKeyStateVerificationFailed, "SignatureValidationFailed"},
	{signalerror.ErrNoSenderKeyForUser, "NoSenderKeyState"},
	{signalerror.ErrNoSenderKeyStateForID, "NoSenderKeyState"},
	{signalerror.ErrNoSenderKeyStatesInRecord, "NoSenderKeyState"},
	{signalerror.ErrNoSessionForUser, "SessionNotFound"},
	{signalerror.ErrOldMessageVersion, "LegacyCiphertextVersion"},
	{signalerror.ErrUnknownMessageVersion, "UnrecognizedCiphertextVersion"},
	{signalerror.ErrIncompleteMessage, "InvalidProtobufEncoding"},
	{ecc.ErrBadKeyType, "InvalidKey"},
	{signalerror.ErrBadMAC, "InvalidMessage"},
	{signalerror.ErrNoValidSessions, "InvalidMessage"},
	{signalerror.ErrTooFarIntoFuture, "InvalidMessage"},
	{signalerror.ErrUninitializedSession, "InvalidMessage"},
	{signalerror.ErrWrongMessageVersion, "InvalidMessage"},
}

func errorName(v any) (name, msg string) {
	err, ok := v.(error)
	if !ok {
		return "InvalidMessage", fmt.Sprintf("panic: %v", v)
	}
	var pe *peerError
	if errors.As(err, &pe) {
		return pe.name, pe.msg
	}
	for _, n := range names {
		if errors.Is(err, n.err) {
			return n.name, err.Error()
		}
	}
	if strings.Contains(err.Error(), "proto") {
		return "InvalidProtobufEncoding", err.Error()
	}
	if re, ok := v.(interface{ RuntimeError() }); ok {
		return "InvalidMessage", fmt.Sprintf("panic: %v", re)
	}
	return "InvalidMessage", err.Error()
}

// ---- a party: all stores, serialised ----

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

// ---- arguments ----

type args map[string]any

func (a args) has(k string) bool { return a[k] != nil }

func (a args) bytes(k string) []byte {
	s, ok := a[k].(string)
	if !ok {
		bad("%s is missing or not a string", k)
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		bad("%s is not hex", k)
	}
	return b
}

func (a args) int(k string, def, max int64) int64 {
	v, ok := a[k]
	if !ok || v == nil {
		if def < 0 {
			bad("%s is missing", k)
		}
		return def
	}
	f, ok := v.(float64)
	if !ok || f != math.Trunc(f) || f < 0 || f > float64(max) {
		bad("%s is not an integer in 0..%d", k, max)
	}
	return int64(f)
}

func (a args) u32(k string, def int64) uint32 { return uint32(a.int(k, def, math.MaxUint32)) }

func (a args) str(k, def string) string {
	v, ok := a[k]
	if !ok || v == nil {
		return def
	}
	s, ok := v.(string)
	if !ok {
		bad("%s is not a string", k)
	}
	return s
}

func (a args) sub(k string) args {
	m, ok := a[k].(map[string]any)
	if !ok {
		bad("%s is missing or not an object", k)
	}
	return m
}

func (a args) address(k string) *protocol.SignalAddress {
	m := a.sub(k)
	if _, ok := m["name"].(string); !ok {
		bad("%s.name is missing", k)
	}
	return protocol.NewSignalAddress(m.str("name", ""), uint32(m.int("deviceId", -1, 127)))
}

// The library zero-pads short keys, so lengths are checked here.
func public(b []byte) ecc.ECPublicKeyable {
	if len(b) != 33 {
		fail("InvalidKey", "public key of %d bytes", len(b))
	}
	k, err := ecc.DecodePoint(b, 0)
	if err != nil {
		fail("InvalidKey", "%v", err)
	}
	return k
}

func clamp(b []byte) (k [32]byte) {
	if len(b) != 32 {
		fail("InvalidKey", "private key of %d bytes", len(b))
	}
	copy(k[:], b)
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

func (a args) private(k string) [32]byte { return clamp(a.bytes(k)) }

// keyPair takes a private key, or makes one.
func (a args) keyPair(k string) (*ecc.ECKeyPair, [32]byte) {
	if a.has(k) {
		priv := a.private(k)
		return ecc.CreateKeyPair(priv[:]), priv
	}
	kp, err := ecc.GenerateKeyPair()
	must(err)
	return kp, kp.PrivateKey().Serialize()
}

func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&15|64, b[8]&63|128
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (a args) group() string {
	id := a.str("distributionId", "")
	if id == "" {
		bad("distributionId is missing")
	}
	return strings.ToLower(id)
}

func (a args) party() *party {
	p := parties[a.str("store", "main")]
	if p == nil {
		bad("store %q has no identity: newIdentity first", a.str("store", "main"))
	}
	return p
}

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
}

// ---- the loop ----

type silent struct{}

func (silent) Debug(string, string)   {}
func (silent) Info(string, string)    {}
func (silent) Warning(string, string) {}
func (silent) Error(string, string)   {}
func (silent) Configure(string)       {}

var rollback = true

func answer(line []byte) (out result) {
	var id any
	var store string
	var before *party
	defer func() {
		if v := recover(); v != nil {
			if rollback && before != nil {
				parties[store] = before
			}
			name, msg := errorName(v)
			out = result{"id": id, "ok": false, "error": result{"name": name, "message": msg}}
		}
	}()
	var r any
	if err := json.Unmarshal(line, &r); err != nil {
		bad("not JSON: %v", err)
	}
	m, ok := r.(map[string]any)
	if !ok {
		bad("not a JSON object")
	}
	a := args(m)
	id = a["id"]
	c, _ := a["cmd"].(string)
	f := cmds[c]
	if f == nil {
		bad("unknown command %q", c)
	}
	store = a.str("store", "main")
	if p := parties[store]; p != nil {
		before = p.snapshot()
	}
	return result{"id": id, "ok": true, "result": f(a)}
}

func main() {
	// The protocol owns standard output; whatever the library prints goes to /dev/null.
	fd, err := syscall.Dup(1)
	must(err)
	out := bufio.NewWriter(os.NewFile(uintptr(fd), "protocol"))
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	must(err)
	must(syscall.Dup3(int(null.Fd()), 1, 0))
	var l logger.Loggable = silent{}
	logger.Setup(&l)

	quiet := false
	for _, f := range os.Args[1:] {
		switch f {
		case "--quiet-start":
			quiet = true
		case "--no-rollback":
			rollback = false
		}
	}
	put := func(r result) {
		b, err := json.Marshal(r)
		must(err)
		out.Write(append(b, '\n'))
		if out.Flush() != nil {
			os.Exit(0)
		}
	}
	if !quiet {
		put(result{"id": 0, "ok": true, "result": result{"ready": true, "version": "go.mau.fi/libsignal " + libVersion}})
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<16)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			put(answer(line))
		}
		if err != nil {
			return
		}
	}
}
