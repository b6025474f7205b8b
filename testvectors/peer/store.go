package main

import (
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// A peer is the process: its parties by the names of their stores.
type peer struct {
	family  ratchet.Family
	parties map[string]*party
}

func newPeer(family ratchet.Family) *peer {
	return &peer{family, map[string]*party{}}
}

// An address names another device.
type address struct {
	name     string
	deviceID uint32
}

// A party is one device and its stores. Sessions are kept encoded, and a
// command works on what it parsed of them: whatever fails on the way, the
// stores are what they were, and every message takes the state through its
// record once more. The prekeys and public keys in the stores are immutable.
//
// Trust, and sessions of the past, are the business of a device, which package
// sesame will be; this program will then stand on it.
type party struct {
	address
	family         ratchet.Family
	registrationID uint32
	private        curve.PrivateKey // of identity, which does not give it away
	identity       *x3dh.IdentityKey

	preKeys       map[uint32]*x3dh.PreKey
	signedPreKeys map[uint32]*x3dh.SignedPreKey
	identities    map[address]x3dh.PublicKey
	sessions      map[address][]byte // records
}

func newParty(who address, family ratchet.Family, registrationID uint32, private curve.PrivateKey) (*party, error) {
	// Package x3dh takes no private key but in a record.
	identity, err := x3dh.ParseIdentityKey(
		wire.AppendBytes(appendPublicKey(nil, 1, private), 2, private[:]))
	if err != nil {
		return nil, err
	}
	return &party{
		address:        who,
		family:         family,
		registrationID: registrationID,
		private:        private,
		identity:       identity,
		preKeys:        map[uint32]*x3dh.PreKey{},
		signedPreKeys:  map[uint32]*x3dh.SignedPreKey{},
		identities:     map[address]x3dh.PublicKey{},
		sessions:       map[address][]byte{},
	}, nil
}

// newPreKey makes a one-time prekey of a given private key, and with any ID.
func newPreKey(id uint32, private curve.PrivateKey) (*x3dh.PreKey, error) {
	return x3dh.ParsePreKey(appendPreKey(nil, id, private))
}

// newSignedPreKey is newPreKey for one that identity signs; created is in
// milliseconds since 1970.
func newSignedPreKey(id uint32, private, identity curve.PrivateKey, created uint64) (*x3dh.SignedPreKey, error) {
	signature := identity.Sign(private.Public().Append(nil))
	b := wire.AppendBytes(appendPreKey(nil, id, private), 4, signature[:])
	return x3dh.ParseSignedPreKey(wire.AppendFixed64(b, 5, created))
}

// appendPreKey writes the fields that both prekey records have.
func appendPreKey(b []byte, id uint32, private curve.PrivateKey) []byte {
	b = appendPublicKey(wire.AppendUintNonZero(b, 1, uint64(id)), 2, private)
	return wire.AppendBytes(b, 3, private[:])
}

// appendPublicKey writes the public key of private as field num.
func appendPublicKey(b []byte, num int, private curve.PrivateKey) []byte {
	return wire.AppendBytes(b, num, private.Public().Append(nil))
}

// checkTrust trusts an identity key on first use, and from then on no other
// one, in either direction, until saveIdentity.
func (s *party) checkTrust(who address, key x3dh.PublicKey) error {
	if known, ok := s.identities[who]; ok && known != key {
		return fail(nameUntrustedIdentity, "%.40q, device %d, has another identity key than before", who.name, who.deviceID)
	}
	return nil
}

// saveIdentity trusts a key, and reports whether it replaces another one.
func (s *party) saveIdentity(who address, key x3dh.PublicKey) (replaced bool) {
	known, ok := s.identities[who]
	s.identities[who] = key
	return ok && known != key
}
