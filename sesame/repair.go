package sesame

import (
	"cmp"
	"errors"
	"maps"
	"slices"
)

// A Mismatch is a server's answer to a message that it did not accept: how the
// devices that it was encrypted for differ from those that the server knows.
// Take out of Missing what your own list of devices does not have.
type Mismatch struct {
	Missing map[Address]uint32 // devices that have no message, by registration ID; 0 if not told
	Stale   map[Address]uint32 // devices with another registration ID than the message's; 0 if not told
	Extra   []Address          // devices that do not exist
}

// Repair makes the messages for the devices that the server wants from those
// that it did not accept, which Encrypt or Repair made of the same plaintext.
// The result has one message for each device: those of sealed in their order,
// less the extra ones, then the new ones by user and device. Store and send
// them as those of [Device.Encrypt]. Those of [Device.EncryptLogged] stay in the
// log, and new ones are added under the Timestamp of the others.
//
// A message is kept, byte for byte, unless the server has another registration
// ID for its device. All others are encrypted anew, and only in a session with
// the registration ID that the server has; any other one is [Device.Reset], and
// Err is [ErrNoSession]. Fetch a bundle and Start, each device in a transaction
// of its own; then call Repair again with the result and the same mismatch: it
// makes what was not there and keeps the rest. Extra devices are reset too.
//
// The device's own rules stand above the server: Err is [ErrIdentityChanged]
// for a device whose key waits for confirmation, and no identity key is
// forgotten because the server says so. Give up after five answers that refuse
// one message; count them in its row.
//
// An error is the transaction's, and means: roll back. plaintext and sealed are
// not modified; the result shares the bytes of sealed.
func (d *Device) Repair(tx Tx, plaintext []byte, sealed []Message, m Mismatch) ([]Message, error) {
	done := map[Address]bool{}
	for _, a := range m.Extra {
		done[a] = true
		if err := d.reset(tx, a); err != nil {
			return nil, err
		}
	}
	named := slices.Concat(slices.Collect(maps.Keys(m.Missing)), slices.Collect(maps.Keys(m.Stale)))
	slices.SortFunc(named, func(a, b Address) int {
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Device, b.Device))
	})
	sealed = slices.Clone(sealed)
	for _, a := range named {
		sealed = append(sealed, Message{To: a, Err: ErrNoSession})
	}

	var messages []Message
	for _, old := range sealed {
		if done[old.To] {
			continue
		}
		done[old.To] = true
		if old.Err != nil || m.stale(old, old.RegistrationID) {
			var err error
			if old, err = d.encryptAgain(tx, plaintext, old, m); err != nil {
				return nil, err
			}
		}
		messages = append(messages, old)
	}
	return messages, d.logRepaired(tx, plaintext, sealed, messages)
}

// stale reports whether a registration ID is not that of the device of a
// message, as the server has it.
func (m Mismatch) stale(old Message, id uint32) bool {
	want, ok := m.Stale[old.To]
	if ok && want == 0 { // only what was sealed is known to be wrong
		return old.Err == nil && id == old.RegistrationID
	}
	if !ok {
		want = m.Missing[old.To]
	}
	return want != 0 && want != id
}

// encryptAgain encrypts in place of old, unless the current session is stale.
func (d *Device) encryptAgain(tx Tx, plaintext []byte, old Message, m Mismatch) (Message, error) {
	if old.To.valid() {
		err := d.resetIfStale(tx, old, m)
		if err != nil && !errors.Is(err, ErrCorrupt) { // encrypt finds it corrupt too
			return Message{}, err
		}
	}
	again, err := d.encrypt(tx, plaintext, old.To)
	if err == nil && again.Err == nil && m.stale(old, again.RegistrationID) {
		err = ErrConflict // another transaction put this session in the place of the one that was looked at
	}
	return again, err
}

// resetIfStale ends the current session with the device of a message, if it is
// stale.
func (d *Device) resetIfStale(tx Tx, old Message, m Mismatch) error {
	p, rev, err := d.peer(tx, old.To)
	if err != nil || !p.active {
		return err
	}
	s, err := d.session(tx, old.To, p.current())
	if err != nil || !m.stale(old, s.RemoteRegistrationID()) {
		return err
	}
	return d.end(tx, old.To, p, rev)
}

// reset is Reset for a device that the server names: one that is none, or
// whose row does not make sense, has no session to write in.
func (d *Device) reset(tx Tx, a Address) error {
	err := d.Reset(tx, a)
	if errors.Is(err, ErrAddress) || errors.Is(err, ErrCorrupt) {
		return nil
	}
	return err
}
