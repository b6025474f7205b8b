package sesame

import (
	"errors"
	"time"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// UnacknowledgedAge is the age at which a session that the peer never answered
// is not written in any more: its prekeys may be gone. It is libsignal's.
const UnacknowledgedAge = 30 * 24 * time.Hour

// A Message is what [Device.Encrypt] made for one device.
type Message struct {
	To    Address
	Type  ratchet.Type
	Bytes []byte

	// RegistrationID is that of the device, as the session has it that made the
	// message. A server that has another one refuses the message: [Device.Repair].
	RegistrationID uint32

	// Timestamp is that of [Device.EncryptLogged], also when the message is
	// encrypted again; 0 for all others. It travels beside the message.
	Timestamp uint64

	// Err says why there is none: [ErrNoSession], [ErrIdentityChanged],
	// [ErrAddress], [ErrCorrupt]; [ErrRetryRefused] of [Device.HandleRetry]. The
	// messages for other devices are good all the same.
	Err error

	identity x3dh.PublicKey // that it is encrypted for
}

// Encrypt encrypts one plaintext for each of a set of devices. The result has
// one message for each, in their order. Store them in the same transaction,
// and send them when it has committed: the very bytes, as often as it takes.
//
// An error is the transaction's, and means: roll back. What keeps a single
// device from getting the message is in [Message].Err.
func (d *Device) Encrypt(tx Tx, plaintext []byte, to ...Address) ([]Message, error) {
	var messages []Message
	done := make(map[Address]bool, len(to))
	for _, a := range to {
		if done[a] {
			continue
		}
		done[a] = true
		m, err := d.encrypt(tx, plaintext, a)
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	return messages, nil
}

// encrypt is Encrypt for one device. Rows of it that do not make sense are the
// device's fault, not that of all others.
func (d *Device) encrypt(tx Tx, plaintext []byte, to Address) (Message, error) {
	m, err := d.encryptOne(tx, plaintext, to)
	if errors.Is(err, ErrCorrupt) {
		return Message{To: to, Err: err}, nil
	}
	return m, err
}

func (d *Device) encryptOne(tx Tx, plaintext []byte, to Address) (Message, error) {
	m := Message{To: to}
	if !to.valid() {
		m.Err = ErrAddress
		return m, nil
	}
	p, peerRev, err := d.peer(tx, to)
	if err != nil {
		return m, err
	}
	if p.current() == none {
		m.Err = ErrNoSession
		return m, nil
	}
	s, err := d.session(tx, to, p.current())
	if err != nil {
		return m, err
	}
	if since, pending := s.Unacknowledged(); pending && since.Add(UnacknowledgedAge).Before(d.config.Now()) {
		m.Err = ErrNoSession
		return m, nil
	}
	// If another transaction made the session one of the past before we read it,
	// it has forgotten its prekeys, and a peer that has no message of it yet could
	// not read this one.
	if err := unchanged(tx, to, peerRev); err != nil {
		return m, err
	}
	if p.changed != none || s.RemoteIdentity() != p.identity {
		m.Err = ErrIdentityChanged
		return m, nil
	}
	m.Bytes, m.Type, err = s.Encrypt(nil, plaintext)
	if err == ratchet.ErrChainExhausted {
		m.Err = ErrNoSession
		return m, nil
	}
	if err != nil {
		return m, err
	}
	m.RegistrationID = s.RemoteRegistrationID()
	m.identity = p.identity
	return m, s.store(tx)
}
