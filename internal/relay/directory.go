package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/envelope"
)

// Register enters a device into the directory. Who sends to one of the user's
// devices has to send to all of them.
//
// Another registration ID than before is a new installation (SPEC.md R-9.4-6).
// Its counters begin again, and so does its window; connections of the one before
// are of no use any more. What is in the mailbox stays, sealed for the one before.
func (s *Server) Register(d envelope.Device, registrationID uint32) error {
	row := binary.BigEndian.AppendUint32(nil, registrationID)
	anew := false
	err := s.Store.Update(func(tx *Tx) error {
		if anew = !bytes.Equal(tx.Get(deviceKey("device", d)), row); anew {
			tx.Delete(deviceKey("window", d))
			tx.Put(deviceKey("device", d), row)
		}
		return nil
	})
	if err == nil && anew {
		s.hangUp(d)
	}
	return err
}

func (s *Server) hangUp(d envelope.Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.live[d]; c != nil {
		c.conn.Close()
	}
}

// Unregister removes a device and its mailbox, and ends its connection.
func (s *Server) Unregister(d envelope.Device) error {
	err := s.Store.Update(func(tx *Tx) error {
		for _, key := range append(tx.Keys(deviceKey("item", d)+"/"), deviceKey("device", d), deviceKey("mailbox", d)) {
			tx.Delete(key)
		}
		return nil
	})
	if err == nil {
		s.hangUp(d)
	}
	return err
}

// update is a transaction for a connection: refused if the device is not in the
// directory, or was installed anew since the connection began.
func (s *Server) update(c *connection, d envelope.Device, f func(*Tx) error) error {
	return s.Store.Update(func(tx *Tx) error {
		if now := tx.Get(deviceKey("device", d)); now == nil || !bytes.Equal(now, c.installation) {
			return errRefused
		}
		return f(tx)
	})
}

// checkDevices compares the table with the directory: all devices of every user
// in it, and all other devices of the sender. A message that would miss one is
// not accepted; to warn afterwards would be too late.
func (s *Server) checkDevices(tx *Tx, from envelope.Device, m *envelope.Submit, result *envelope.Result) (bool, error) {
	table := map[envelope.Device]envelope.Recipient{}
	users := map[[16]byte]bool{from.User: true}
	for v := range m.Recipients.All() {
		table[v.Device] = v
		users[v.Device.User] = true
	}
	var missing, extra, stale []envelope.Recipient
	for u := range users {
		for _, key := range tx.Keys(fmt.Sprintf("device/%x/", u)) {
			d := parseDevice(key)
			entry := envelope.Recipient{Device: d, RegistrationID: binary.BigEndian.Uint32(tx.Get(key))}
			v, ok := table[d]
			switch {
			case d == from:
				continue
			case !ok:
				missing = append(missing, entry)
			case v.RegistrationID != entry.RegistrationID:
				stale = append(stale, entry)
			}
			delete(table, d)
		}
	}
	for d := range table {
		extra = append(extra, envelope.Recipient{Device: d})
	}
	if len(missing)+len(extra)+len(stale) == 0 {
		return true, nil
	}
	if m.Recipients.Len()+len(missing)-len(extra) > envelope.MaxRecipients {
		return false, nil // refused: no table holds them all
	}
	result.Code = envelope.DeviceMismatch
	var err [3]error
	result.Missing, err[0] = envelope.NewRecipients(missing...)
	result.Extra, err[1] = envelope.NewRecipients(extra...)
	result.Stale, err[2] = envelope.NewRecipients(stale...)
	return false, errors.Join(err[:]...)
}
