package sesame

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// Config is how a device behaves.
type Config struct {
	// Now is the clock. Required: the package has none of its own.
	Now func() time.Time

	// Family is the family that messages are written for.
	Family ratchet.Family

	// Trust decides about identity keys that were never seen. The zero value
	// is TrustOnFirstUse.
	Trust Trust

	// PairwiseGroups is the number of devices up to which a group gets pairwise
	// messages, which heal by themselves, and no chain. 0 is never.
	PairwiseGroups int
}

// A Device is this device: its identity, its prekeys, and its conversations
// with all other devices. It keeps no state in memory; every call works in the
// caller's transaction, and is undone with it. It is safe for concurrent use,
// each goroutine with a transaction of its own.
type Device struct{ config Config }

// Open returns the device whose rows are in the database, and creates it the
// first time: an identity key and a registration ID, once and for all. Errors:
// those of the transaction, [ErrCorrupt], [ErrConfig].
func Open(tx Tx, c Config) (*Device, error) {
	if c.Now == nil || c.Family > ratchet.WhatsApp || c.Trust > ConfirmFirst || c.PairwiseGroups < 0 {
		return nil, ErrConfig
	}
	_, rev, err := get(tx, rowLocal, parseLocal)
	if err != nil {
		return nil, err
	}
	if rev == 0 {
		l := &localRecord{
			identity:       x3dh.GenerateIdentityKey(),
			registrationID: newRegistrationID(),
			nextPreKey:     1,
			nextSigned:     1,
		}
		if err := put(tx, rowLocal, l, 0); err != nil {
			return nil, err
		}
	}
	return &Device{config: c}, nil
}

// maxRegistrationID is the highest registration ID that is drawn. IDs have 14
// bits on some wires.
const maxRegistrationID = 16380

func newRegistrationID() uint32 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return 1 + uint32(binary.BigEndian.Uint64(b[:])%maxRegistrationID)
}

// A localRecord is what this device is.
type localRecord struct {
	identity       *x3dh.IdentityKey
	registrationID uint32
	nextPreKey     uint32 // IDs that were never given out
	nextSigned     uint32
}

func parseLocal(b []byte) (*localRecord, error) {
	l := new(localRecord)
	var identity []byte
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			identity = d.Bytes()
		case 2:
			l.registrationID = d.Uint32()
		case 3:
			l.nextPreKey = d.Uint32()
		case 4:
			l.nextSigned = d.Uint32()
		default:
			d.Fail()
		}
	}
	if err := d.Close(1, 2, 3, 4); err != nil {
		return nil, err
	}
	var err error
	l.identity, err = x3dh.ParseIdentityKey(identity)
	return l, err
}

func (l *localRecord) AppendBinary(b []byte) ([]byte, error) {
	identity, err := l.identity.AppendBinary(nil)
	if err != nil {
		return b, err
	}
	b = wire.AppendBytes(b, 1, identity)
	b = wire.AppendUint(b, 2, uint64(l.registrationID))
	b = wire.AppendUint(b, 3, uint64(l.nextPreKey))
	return wire.AppendUint(b, 4, uint64(l.nextSigned)), nil
}

// local reads what this device is.
func (d *Device) local(tx Tx) (*localRecord, uint64, error) {
	if d == nil || d.config.Now == nil {
		return nil, 0, ErrUninitialized
	}
	l, rev, err := get(tx, rowLocal, parseLocal)
	if err == nil && rev == 0 {
		err = ErrUninitialized // Open's transaction was rolled back
	}
	return l, rev, err
}

// Identity returns the identity key of this device and its registration ID,
// which is another one after each installation.
func (d *Device) Identity(tx Tx) (x3dh.PublicKey, uint32, error) {
	l, _, err := d.local(tx)
	if err != nil {
		return x3dh.PublicKey{}, 0, err
	}
	return l.identity.Public(), l.registrationID, nil
}

func (d *Device) sessionConfig(l *localRecord) ratchet.Config {
	return ratchet.Config{Family: d.config.Family, RegistrationID: l.registrationID, Created: d.config.Now()}
}
