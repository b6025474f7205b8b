package main

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// Here is what the protocol asks for and a device does not offer: keys that
// somebody else drew, records that come and go, and identity keys that are
// trusted by decree. It is written into the rows of the device, and read out of
// them (SPEC.md §10.2).
const (
	rowLocal    = "sotto/local"
	rowsSession = "sotto/session/"
)

func rowPreKey(id uint32) string { return fmt.Sprintf("sotto/prekey/%08x", id) }
func rowSigned(id uint32) string { return fmt.Sprintf("sotto/signed/%08x", id) }

func rowPeer(a address) string { return "sotto/peer/" + a.key() }

func rowSession(a address, base []byte) string {
	return rowsSession + a.key() + "/" + hex.EncodeToString(base[1:])
}

// key is the address as a part of row keys.
func (a address) key() string {
	s := a.sesame()
	return fmt.Sprintf("%x.%d", s.User, s.Device)
}

// overwrite writes a row, whatever it was.
func overwrite(tx sesame.Tx, key string, value []byte) error {
	_, rev, err := tx.Get(key)
	if err != nil {
		return err
	}
	return tx.Put(key, value, rev)
}

// putLocal writes what a device is.
func putLocal(tx sesame.Tx, identity curve.PrivateKey, registrationID uint32) error {
	b := wire.AppendBytes(nil, 1, appendIdentity(nil, identity))
	b = wire.AppendUint(b, 2, uint64(registrationID))
	b = wire.AppendUint(b, 3, 1) // the IDs of prekeys that it would draw itself
	b = wire.AppendUint(b, 4, 1)
	return overwrite(tx, rowLocal, b)
}

func appendIdentity(b []byte, private curve.PrivateKey) []byte {
	return wire.AppendBytes(appendPublicKey(b, 1, private), 2, private[:])
}

// preKey is a one-time prekey of a given private key, and with any ID.
func preKey(id uint32, private curve.PrivateKey) []byte {
	return appendPreKey(nil, id, private)
}

// signedPreKey is preKey for one that identity signs; created is in
// milliseconds since 1970.
func signedPreKey(id uint32, private, identity curve.PrivateKey, created uint64) []byte {
	signature := identity.Sign(private.Public().Append(nil))
	b := wire.AppendBytes(appendPreKey(nil, id, private), 4, signature[:])
	return wire.AppendFixed64(b, 5, created)
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

// A peerRow is what a device knows of another one. No identity key waits for
// confirmation here: what would make it wait is refused.
type peerRow struct {
	identity []byte
	sessions [][]byte // base keys
	active   bool     // the first session is the current one
}

func getPeer(tx sesame.Tx, who address) (*peerRow, error) {
	b, _, err := tx.Get(rowPeer(who))
	if err != nil {
		return nil, err
	}
	p := new(peerRow)
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			p.identity = d.Bytes()
		case 3:
			p.sessions = append(p.sessions, d.Repeated())
		case 4:
			p.active = d.Uint32() == 1
		default:
			d.Fail()
		}
	}
	return p, d.Close()
}

func putPeer(tx sesame.Tx, who address, p *peerRow) error {
	b := wire.AppendBytes(nil, 1, p.identity)
	for _, base := range p.sessions {
		b = wire.AppendBytes(b, 3, base)
	}
	if p.active {
		b = wire.AppendUint(b, 4, 1)
	}
	return overwrite(tx, rowPeer(who), b)
}

// A record is libsignal's RecordStructure: the session with another device that
// is in use, if any, and those of the past, all encoded.
type record struct {
	current  []byte
	archived [][]byte // the newest first
}

func parseRecord(b []byte) (*record, error) {
	r := new(record)
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			r.current = d.Bytes()
		case 2:
			r.archived = append(r.archived, d.Repeated())
		default:
			d.Skip()
		}
	}
	return r, d.Close()
}

func (r *record) encode() []byte {
	var b []byte
	if r.current != nil {
		b = wire.AppendBytes(b, 1, r.current)
	}
	for _, s := range r.archived {
		b = wire.AppendBytes(b, 2, s)
	}
	return b
}

// getRecord makes the record of the sessions with another device, nil if there
// are none.
func getRecord(tx sesame.Tx, who address) ([]byte, error) {
	p, err := getPeer(tx, who)
	if err != nil || len(p.sessions) == 0 {
		return nil, err
	}
	r := new(record)
	for i, base := range p.sessions {
		s, _, err := tx.Get(rowSession(who, base))
		switch {
		case err != nil:
			return nil, err
		case i == 0 && p.active:
			r.current = s
		default:
			r.archived = append(r.archived, s)
		}
	}
	return r.encode(), nil
}

// putRecord replaces the sessions with another device. Its identity key is
// trusted if none was. It is a failure if a session of the record cannot be
// read, is there twice, or is one too many.
func putRecord(tx sesame.Tx, who address, b []byte, family ratchet.Family) error {
	r, err := parseRecord(b)
	if err != nil {
		return recordError(err)
	}
	if err := deleteSessions(tx, who); err != nil {
		return err
	}
	p, err := getPeer(tx, who)
	if err != nil {
		return err
	}
	all := r.archived
	if p.active = r.current != nil; p.active {
		all = slices.Insert(all, 0, r.current)
	}
	if len(r.archived) > sesame.MaxArchivedSessions {
		return recordError(fmt.Errorf("%d sessions of the past", len(r.archived)))
	}
	for _, b := range all {
		s, err := ratchet.ParseSession(b, family)
		if err != nil {
			return recordError(err)
		}
		base := s.BaseKey()
		if base == (x3dh.PublicKey{}) {
			return recordError(fmt.Errorf("a session without base key"))
		}
		if p.identity == nil {
			p.identity = s.RemoteIdentity().Bytes()
		}
		p.sessions = append(p.sessions, base.Bytes())
		if err := tx.Put(rowSession(who, base.Bytes()), b, 0); err != nil {
			return recordError(err)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return putPeer(tx, who, p)
}

// deleteSessions deletes the sessions with another device. Its identity key
// stays trusted, and the messages that began sessions stay refused.
func deleteSessions(tx sesame.Tx, who address) error {
	p, err := getPeer(tx, who)
	if err != nil || len(p.sessions) == 0 {
		return err
	}
	for _, base := range p.sessions {
		_, rev, err := tx.Get(rowSession(who, base))
		if err != nil {
			return err
		}
		if err := tx.Delete(rowSession(who, base), rev); err != nil {
			return err
		}
	}
	return putPeer(tx, who, &peerRow{identity: p.identity})
}
