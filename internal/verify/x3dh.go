package verify

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/replay"
	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

func x3dhAgreement(c *testvectors.X3DHAgreement) error {
	a := agreement{X3DHAgreement: c, private: curve.NewPrivateKey([32]byte(c.IdentityPrivate))}
	a.identity = wire.AppendBytes(wire.AppendBytes(nil, 1, a.private.Public().Append(nil)), 2, a.private[:])
	var got, differs error
	switch c.Role {
	case "initiator":
		got, differs = a.initiate()
	case "responder":
		got, differs = a.respond()
	}
	if err := answer(&c.Case, got); err != nil || got != nil {
		return err
	}
	return differs
}

// An agreement is one that is checked: what the library refuses is one error, what
// differs from the vector another.
type agreement struct {
	*testvectors.X3DHAgreement
	private  curve.PrivateKey
	identity []byte // its record
}

// clamped is a drawn key as it is used.
func clamped(b []byte) curve.PrivateKey { return curve.NewPrivateKey([32]byte(b)) }

func (a *agreement) config() replay.SessionConfig {
	return replay.SessionConfig{Family: uint8(families[a.Family]), RegistrationID: a.RegistrationID, Created: a.Now}
}

func (a *agreement) initiate() (refused, differs error) {
	base := clamped(a.Random.BaseKey)
	h, err := replay.Initiate(a.identity, a.Bundle, base)
	if err != nil {
		return err, nil
	}
	b, err := x3dh.ParseBundle(a.Bundle)
	if err != nil {
		return err, nil
	}
	i := b.Info()
	terms := []term{{a.private, i.SignedPreKey.Key}, {base, i.IdentityKey}, {base, i.SignedPreKey.Key}}
	if i.OneTimePreKey != nil {
		terms = append(terms, term{base, i.OneTimePreKey.Key})
	}
	if err := a.check(h, terms); err != nil {
		return nil, err
	}
	k := given{key: a.Random.RatchetKey}
	record, err := replay.NewSession(h, a.config(), k.draw)
	if err != nil {
		return err, nil
	}
	s, err := ratchet.ParseSession(record, families[a.Family])
	if err != nil {
		return err, nil
	}
	message, typ, err := s.Encrypt(nil, a.Plaintext)
	if err != nil {
		return err, nil
	}
	return nil, errors.Join(k.check(), same("record", a.Record, record), equal("type", ratchet.Initial, typ),
		same("message", a.Message, message), writtenAgain(s, a.RecordAfter))
}

func (a *agreement) respond() (refused, differs error) {
	m, err := x3dh.ParseInitialMessage(a.Message)
	if err != nil {
		return err, nil
	}
	self, err := x3dh.ParseIdentityKey(a.identity)
	if err != nil {
		return err, nil
	}
	signed, err := x3dh.ParseSignedPreKey(a.SignedPreKeyRecord)
	if err != nil {
		return err, nil
	}
	var oneTime *x3dh.PreKey
	if a.PreKeyRecord != nil {
		if oneTime, err = x3dh.ParsePreKey(a.PreKeyRecord); err != nil {
			return err, nil
		}
	}
	acceptance, err := x3dh.Respond(self, m, signed, oneTime)
	if err != nil {
		return err, nil
	}
	h := secret.Take(&acceptance.Handoff)
	if a.Result == testvectors.Valid {
		spk := privateHalf(a.SignedPreKeyRecord)
		terms := []term{{spk, m.IdentityKey}, {a.private, m.BaseKey}, {spk, m.BaseKey}}
		if oneTime != nil {
			terms = append(terms, term{privateHalf(a.PreKeyRecord), m.BaseKey})
		}
		differs = a.check(h, terms)
	}
	k := given{key: a.Random.RatchetKey}
	record, plaintext, err := replay.AcceptSession(h, a.config(), k.draw)
	if err != nil {
		return err, nil
	}
	return nil, errors.Join(differs, k.check(), same("record", a.Record, record), same("plaintext", a.Plaintext, plaintext))
}

// privateHalf takes field 3 out of the record of a prekey, which was parsed before.
func privateHalf(record []byte) curve.PrivateKey {
	var k [32]byte
	d := wire.Decode(record)
	for d.Next() {
		if d.Num() == 3 {
			d.Fixed(k[:])
		} else {
			d.Skip()
		}
	}
	return curve.NewPrivateKey(k)
}

// A term is one of the agreements of X3DH.
type term struct {
	private curve.PrivateKey
	public  x3dh.PublicKey
}

// check compares the terms, and what is derived from them, with the vector and with
// the library's handshake.
func (a *agreement) check(h *secret.Handshake, terms []term) error {
	if len(terms) != len(a.Terms) {
		return fmt.Errorf("%d terms, want %d", len(terms), len(a.Terms))
	}
	dh := make([][32]byte, len(terms))
	for i, t := range terms {
		public, err := curve.ParsePublicKey(t.public.Bytes())
		if err != nil {
			return err
		}
		if err := curve.X25519(&dh[i], &t.private, &public); err != nil {
			return err
		}
		if err := same(fmt.Sprintf("DH%d", i+1), a.Terms[i], dh[i][:]); err != nil {
			return err
		}
	}
	rk, ck := kdf.X3DH(dh)
	return errors.Join(same("rootKey0", a.RootKey0, rk[:]), same("chainKey0", a.ChainKey0, ck[:]),
		same("root key of the handshake", rk[:], h.RootKey[:]), same("chain key of the handshake", ck[:], h.ChainKey[:]))
}
