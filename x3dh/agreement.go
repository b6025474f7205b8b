package x3dh

import (
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/secret"
)

// An Agreement is the secret result of [Initiate]. ratchet.New takes it, once,
// and makes a session of it. It must not be copied; nobody else can open it.
type Agreement struct{ secret.Handoff }

// An Acceptance is the secret result of [Respond], together with the message
// that it answers. ratchet.Accept takes it, once; it becomes a session only if
// that message decrypts. It must not be copied; nobody else can open it.
type Acceptance struct{ secret.Handoff }

// Initiate starts a session of self with the device that published the bundle
// (SPEC.md §4.2). It draws the base key. It sends nothing and changes nothing:
// the first messages of the session carry what the peer needs.
//
// Without a one-time prekey in the bundle the first messages can be replayed
// to the peer and read by whoever learns its signed prekey later; see SPEC.md
// §4.6. The only error is [ErrUninitialized].
func Initiate(self *IdentityKey, peer *Bundle) (*Agreement, error) {
	identity := self.load()
	if identity == nil || !peer.valid() {
		return nil, ErrUninitialized
	}
	base := curve.GenerateKey()
	h, err := initiate(identity, &peer.info, &base)
	clear(base[:])
	if err != nil {
		return nil, err
	}
	a := new(Agreement)
	secret.Give(&a.Handoff, h)
	return a, nil
}

// initiate is Initiate with the base key given.
func initiate(self *identity, peer *BundleInfo, base *curve.PrivateKey) (*secret.Handshake, error) {
	h := &secret.Handshake{
		Version:              sessionVersion,
		LocalIdentity:        self.public,
		RemoteIdentity:       peer.IdentityKey.p,
		BaseKey:              base.Public(),
		SignedPreKey:         peer.SignedPreKey.Key.p,
		SignedPreKeyID:       peer.SignedPreKey.ID,
		RemoteRegistrationID: peer.RegistrationID,
	}
	terms := []term{
		{&self.private, &peer.SignedPreKey.Key.p}, // DH1
		{base, &peer.IdentityKey.p},               // DH2
		{base, &peer.SignedPreKey.Key.p},          // DH3
	}
	if k := peer.OneTimePreKey; k != nil {
		terms = append(terms, term{base, &k.Key.p}) // DH4
		h.OneTimePreKeyID = new(k.ID)
	}
	return h, derive(h, terms)
}

// Respond derives the session of an initial message at its receiver (SPEC.md
// §4.4). signed and oneTime are the prekeys that m names; oneTime is nil if m
// names none. The result proves nothing yet: delete the one-time prekey only
// together with storing the session that ratchet.Accept returns.
//
// It changes nothing; the result aliases m.Message. Errors: [ErrPreKey] if the
// prekeys are not those that m names; [ErrInvalidKey] if the base key has a
// torsion part, which would give one message many names; [ErrVersion];
// [ErrUninitialized].
func Respond(self *IdentityKey, m *InitialMessage, signed *SignedPreKey, oneTime *PreKey) (*Acceptance, error) {
	identity := self.load()
	if identity == nil || m == nil || !m.BaseKey.valid() || !m.IdentityKey.valid() {
		return nil, ErrUninitialized
	}
	if m.Version>>4 != sessionVersion {
		return nil, ErrVersion
	}
	spk, opk := signed.load(), oneTime.load()
	if spk == nil || spk.id != m.SignedPreKeyID || (opk != nil) != (m.OneTimePreKeyID != nil) {
		return nil, ErrPreKey
	}
	if opk != nil && opk.id != *m.OneTimePreKeyID {
		return nil, ErrPreKey
	}
	if !m.BaseKey.p.TorsionFree() {
		return nil, ErrInvalidKey
	}
	h, err := respond(identity, m, spk, opk)
	if err != nil {
		return nil, err
	}
	a := new(Acceptance)
	secret.Give(&a.Handoff, h)
	return a, nil
}

func respond(self *identity, m *InitialMessage, spk *signedPreKey, opk *preKey) (*secret.Handshake, error) {
	h := &secret.Handshake{
		Version:              sessionVersion,
		LocalIdentity:        self.public,
		RemoteIdentity:       m.IdentityKey.p,
		BaseKey:              m.BaseKey.p,
		SignedPreKey:         spk.public,
		SignedPreKeyPrivate:  spk.private,
		SignedPreKeyID:       spk.id,
		RemoteRegistrationID: m.RegistrationID,
		Message:              m.Message,
	}
	terms := []term{
		{&spk.private, &m.IdentityKey.p}, // DH1
		{&self.private, &m.BaseKey.p},    // DH2
		{&spk.private, &m.BaseKey.p},     // DH3
	}
	if opk != nil {
		terms = append(terms, term{&opk.private, &m.BaseKey.p}) // DH4
		h.OneTimePreKeyID = new(opk.id)
	}
	return h, derive(h, terms)
}

// A term is one of the agreements of X3DH.
type term struct {
	private *curve.PrivateKey
	public  *curve.PublicKey
}

// derive computes the terms and sets the first root and chain key.
func derive(h *secret.Handshake, terms []term) error {
	var dh [4][32]byte
	for i, t := range terms {
		if err := curve.X25519(&dh[i], t.private, t.public); err != nil {
			return ErrInvalidKey
		}
	}
	h.RootKey, h.ChainKey = kdf.X3DH(dh[:len(terms)])
	clear(dh[:])
	return nil
}
