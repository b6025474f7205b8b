package sesame

import (
	"errors"
	"time"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
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
	messages := make([]Message, 0, len(to))
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

// encrypt is Encrypt for one device.
func (d *Device) encrypt(tx Tx, plaintext []byte, to Address) (Message, error) {
	o, err := d.outbound(tx, to)
	if err == nil && o.Err == nil {
		err = o.seal(plaintext)
	}
	if err != nil {
		return Message{To: to}, err
	}
	return o.Message, nil
}

// An outbound is a device that is about to get a message, with the session that
// it is to be written in, unless Err is set.
type outbound struct {
	Message
	session *session
	member  senderkey.Member // in groups
}

// outbound looks whether a device can be written to. Rows of it that do not make
// sense are the device's fault, not that of all others.
func (d *Device) outbound(tx Tx, to Address) (*outbound, error) {
	o := &outbound{Message: Message{To: to}}
	err := d.open(tx, o)
	if errors.Is(err, ErrCorrupt) {
		return &outbound{Message: Message{To: to, Err: err}}, nil
	}
	return o, err
}

func (d *Device) open(tx Tx, o *outbound) error {
	to := o.To
	if !to.valid() {
		o.Err = ErrAddress
		return nil
	}
	p, peerRev, err := d.peer(tx, to)
	if err != nil {
		return err
	}
	if p.current() == none {
		o.Err = ErrNoSession
		return nil
	}
	s, err := d.session(tx, to, p.current())
	if err != nil {
		return err
	}
	if since, pending := s.Unacknowledged(); pending && since.Add(UnacknowledgedAge).Before(d.config.Now()) {
		o.Err = ErrNoSession
		return nil
	}
	// If another transaction made the session one of the past before we read it,
	// it has forgotten its prekeys, and a peer that has no message of it yet could
	// not read this one.
	if err := unchanged(tx, to, peerRev); err != nil {
		return err
	}
	if p.changed != none || s.RemoteIdentity() != p.identity {
		o.Err = ErrIdentityChanged
		return nil
	}
	o.session, o.identity, o.RegistrationID = s, p.identity, s.RemoteRegistrationID()
	return nil
}

// seal encrypts the message.
func (o *outbound) seal(plaintext []byte) (err error) {
	o.Bytes, o.Type, err = o.session.Encrypt(nil, plaintext)
	if err == ratchet.ErrChainExhausted {
		o.Message = Message{To: o.To, Err: ErrNoSession}
		return nil
	}
	if err != nil {
		return err
	}
	return o.session.store()
}
