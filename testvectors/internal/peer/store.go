package peer

import (
	"time"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
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

// sesame is the address for a device, which has no users without a name.
func (a address) sesame() sesame.Address {
	return sesame.Address{User: "@" + a.name, Device: a.deviceID}
}

// maxName is the size of the longest name in bytes.
const maxName = sesame.MaxUserSize - 1

// A party is one device and its store. A command is one transaction: whatever
// fails on the way, the store is what it was, and every message takes the state
// through its rows once more.
type party struct {
	address
	family         ratchet.Family
	registrationID uint32
	private        curve.PrivateKey // of identity, which the device does not give away
	identity       x3dh.PublicKey

	store  *sesame.Memory
	device *sesame.Device
	now    time.Time // of the command

	senderKeys senderKeys // of groups, which the device does not have yet
}

func newParty(who address, family ratchet.Family, registrationID uint32, private curve.PrivateKey) (*party, error) {
	s := &party{address: who, family: family, registrationID: registrationID, private: private, store: new(sesame.Memory)}
	err := s.store.Do(func(tx sesame.Tx) error { return putLocal(tx, private, registrationID) })
	if err != nil {
		return nil, err
	}
	return s, s.open()
}

// open opens the device that is in the store.
func (s *party) open() error {
	return s.store.Do(func(tx sesame.Tx) (err error) {
		s.device, err = sesame.Open(tx, sesame.Config{Now: func() time.Time { return s.now }, Family: s.family})
		if err != nil {
			return err
		}
		s.identity, _, err = s.device.Identity(tx)
		return err
	})
}
