package peer

import (
	"fmt"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/sesame"
)

// Here is what the protocol asks for and a device does not offer: keys that
// somebody else drew, sessions that are deleted, and identity keys that are
// trusted by decree. It is written into the rows of the device, and read out of
// them (SPEC.md §10.2).
const (
	rowLocal    = "sotto/local"
	rowsSession = "sotto/session/"
	rowsSkipped = "sotto/skipped/"
)

func rowPreKey(id uint32) string { return fmt.Sprintf("sotto/prekey/%08x", id) }
func rowSigned(id uint32) string { return fmt.Sprintf("sotto/signed/%08x", id) }

func rowPeer(a address) string { return "sotto/peer/" + a.key() }

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

// A peerRow is what a device knows of another one, less an identity key that
// waits for confirmation: none does here. What would make it wait is refused, and an
// import drops it.
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
		case 2:
			d.Bytes()
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

// deleteSessions deletes the sessions with another device. Its identity key
// stays trusted, and the messages that began sessions stay refused.
func deleteSessions(tx sesame.Tx, who address) error {
	p, err := getPeer(tx, who)
	if err != nil || len(p.sessions) == 0 {
		return err
	}
	for _, prefix := range []string{rowsSession, rowsSkipped} {
		for key, err := range tx.Scan(prefix + who.key() + "/") {
			if err != nil {
				return err
			}
			_, rev, err := tx.Get(key)
			if err == nil {
				err = tx.Delete(key, rev)
			}
			if err != nil {
				return err
			}
		}
	}
	return putPeer(tx, who, &peerRow{identity: p.identity})
}
