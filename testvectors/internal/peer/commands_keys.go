package peer

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// newIdentity makes the party of a store, in place of the one that was there.
func newIdentity(p *peer, store string, a *args) (any, error) {
	who := address{a.stringOr("name", randomUUID()), a.device("deviceId", new(uint32(1)))}
	registrationID := a.uint32Or("registrationId", randomRegistrationID())
	private := a.privateKeyOr("identityPrivate", curve.GenerateKey)
	if err := a.close(); err != nil {
		return nil, err
	}
	s, err := newParty(who, p.family, registrationID, private)
	if err != nil {
		return nil, err
	}
	p.parties[store] = s
	return struct {
		Name            string `json:"name"`
		DeviceID        uint32 `json:"deviceId"`
		RegistrationID  uint32 `json:"registrationId"`
		IdentityPublic  string `json:"identityPublic"`
		IdentityPrivate string `json:"identityPrivate"`
	}{
		who.name, who.deviceID, registrationID,
		hex.EncodeToString(s.identity.Bytes()), hex.EncodeToString(private[:]),
	}, nil
}

func randomUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4, variant 1
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// randomRegistrationID draws from 1 to 16380, the range of all clients.
func randomRegistrationID() uint32 {
	var b [8]byte
	rand.Read(b[:])
	return uint32(1 + binary.LittleEndian.Uint64(b[:])%16380)
}

// A bundle is a bundle as the protocol writes it. The fields for the KEM prekey
// of version 4 are there and null.
type bundle struct {
	RegistrationID        uint32  `json:"registrationId"`
	DeviceID              uint32  `json:"deviceId"`
	IdentityKey           string  `json:"identityKey"`
	PreKeyID              *uint32 `json:"preKeyId"`
	PreKeyPublic          *string `json:"preKeyPublic"`
	SignedPreKeyID        uint32  `json:"signedPreKeyId"`
	SignedPreKeyPublic    string  `json:"signedPreKeyPublic"`
	SignedPreKeySignature string  `json:"signedPreKeySignature"`
	KyberPreKeyID         *uint32 `json:"kyberPreKeyId"`
	KyberPreKeyPublic     *string `json:"kyberPreKeyPublic"`
	KyberPreKeySignature  *string `json:"kyberPreKeySignature"`
}

// makeBundle makes prekeys, stores them, and gives away their public halves. A
// prekey with the ID 0 is for callers of the Signal family: the others read it
// as absent, and who lets them have it learns what they do with it.
func makeBundle(s *party, a *args) (any, error) {
	withPreKey, id := a.boolOr("preKey", true), a.uint32Or("preKeyId", 1)
	signedID := a.uint32Or("signedPreKeyId", 1)
	oneTimePrivate := a.privateKeyOr("preKeyPrivate", curve.GenerateKey)
	signedPrivate := a.privateKeyOr("signedPreKeyPrivate", curve.GenerateKey)
	created := uint64(a.timeOr("timestamp").UnixMilli())
	if err := a.close(); err != nil {
		return nil, err
	}

	record := signedPreKey(signedID, signedPrivate, s.private, created)
	signed, err := x3dh.ParseSignedPreKey(record)
	if err != nil {
		return nil, err
	}
	var oneTime *x3dh.PreKey
	err = s.store.Do(func(tx sesame.Tx) error {
		if err := overwrite(tx, rowSigned(signedID), record); err != nil || !withPreKey {
			return err
		}
		record := preKey(id, oneTimePrivate)
		if oneTime, err = x3dh.ParsePreKey(record); err != nil {
			return err
		}
		return overwrite(tx, rowPreKey(id), record)
	})
	if err != nil {
		return nil, err
	}
	return s.publish(signed, oneTime), nil
}

func (s *party) publish(signed *x3dh.SignedPreKey, oneTime *x3dh.PreKey) bundle {
	pub := signed.Public()
	b := bundle{
		RegistrationID:        s.registrationID,
		DeviceID:              s.deviceID,
		IdentityKey:           hex.EncodeToString(s.identity.Bytes()),
		SignedPreKeyID:        pub.ID,
		SignedPreKeyPublic:    hex.EncodeToString(pub.Key.Bytes()),
		SignedPreKeySignature: hex.EncodeToString(pub.Signature[:]),
	}
	if oneTime != nil {
		b.PreKeyID = new(oneTime.Public().ID)
		b.PreKeyPublic = nullHex(oneTime.Public().Key.Bytes())
	}
	return b
}

// bundle takes a bundle, whose signature is not looked at yet.
func (a *args) bundle(name string) x3dh.BundleInfo {
	o := a.object(name)
	i := x3dh.BundleInfo{
		RegistrationID: o.uint32("registrationId"),
		DeviceID:       o.device("deviceId", nil),
		IdentityKey:    o.publicKey("identityKey"),
		SignedPreKey:   x3dh.PublicSignedPreKey{ID: o.uint32("signedPreKeyId"), Key: o.publicKey("signedPreKeyPublic")},
	}
	signature := o.bytes("signedPreKeySignature")
	if len(signature) != curve.SignatureSize {
		o.fail(fail(nameSignatureValidationFailed, "a signature of %d bytes", len(signature)))
	}
	copy(i.SignedPreKey.Signature[:], signature)
	id, key := o.optionalUint32("preKeyId"), o.optionalPublicKey("preKeyPublic")
	if (id == nil) != (key == nil) {
		o.failf("%spreKeyId without preKeyPublic, or the other way round", o.prefix)
	}
	if id != nil && key != nil {
		i.OneTimePreKey = &x3dh.PublicPreKey{ID: *id, Key: *key}
	}
	for _, n := range []string{"kyberPreKeyId", "kyberPreKeyPublic", "kyberPreKeySignature"} {
		// To leave it aside would be to agree on less than was offered.
		if _, ok := o.take(n); ok {
			o.failf("%s%s: there is no version 4 here", o.prefix, n)
		}
	}
	a.fail(o.close())
	return i
}

func getIdentity(s *party, a *args) (any, error) {
	who := a.address("address")
	if err := a.close(); err != nil {
		return nil, err
	}
	var p *peerRow
	err := s.store.Do(func(tx sesame.Tx) (err error) {
		p, err = getPeer(tx, who)
		return err
	})
	if err != nil {
		return nil, err
	}
	return struct {
		IdentityKey *string `json:"identityKey"`
	}{nullHex(p.identity)}, nil
}

func saveIdentity(s *party, a *args) (any, error) {
	who, key := a.address("address"), a.publicKey("identityKey")
	if err := a.close(); err != nil {
		return nil, err
	}
	change := "NewOrUnchanged"
	err := s.store.Do(func(tx sesame.Tx) error {
		p, err := getPeer(tx, who)
		if err != nil {
			return err
		}
		if p.identity != nil && !bytes.Equal(p.identity, key.Bytes()) {
			change = "ReplacedExisting"
		}
		p.identity = key.Bytes()
		return putPeer(tx, who, p)
	})
	return struct {
		Change string `json:"change"`
	}{change}, err
}
