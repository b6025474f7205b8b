package demo

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// A device is an app that keeps all it has in its rows: relay.Client its outbox,
// inbox and screen, sesame.Device its keys and sessions. Both work in one
// transaction, which is the rule of the library: persist before you send, persist
// before you acknowledge.
type device struct {
	name      string
	id        envelope.Device
	others    [][16]byte // the users of the conversation
	directory *directory

	rows         Do       // those of this installation
	installation int      // 1, and 2 after it was installed anew
	process      *process // the one that runs
	sesame       *sesame.Device

	// The two functions that encrypt, each within a transaction of the client:
	//
	//	Send      clock, counter, sessions (seal), outbox row, line on the screen; commit; send
	//	delivery  position, session (open), line on the screen; commit; acknowledge
	seal func(tx sesame.Tx, plaintext []byte, to sesame.Address, registrationID uint32) (sesame.Message, error)
	open func(tx sesame.Tx, from sesame.Address, typ ratchet.Type, message []byte) (*sesame.Result, error)

	// For the account only.
	opened  chan opening  // what open was given, and what became of it
	heard   chan string   // ephemeral messages that were shown
	changed chan struct{} // the screen has changed

	registrationID uint32
}

// An opening is a message that a device has tried to read.
type opening struct {
	typ        ratchet.Type
	ciphertext []byte
	marked     bool // its identity key waits for confirmation
	verdict    error
}

// The library takes the time as a value; what is late here is not about time.
func now() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func user(name string) (u [16]byte) { copy(u[:], name); return u }

func address(d envelope.Device) sesame.Address {
	return sesame.Address{User: string(bytes.TrimRight(d.User[:], "\x00")), Device: d.ID}
}

// install is a fresh installation on a database without rows: sesame draws an
// identity key and a registration ID, and makes prekeys. What is published is
// in the rows already.
func (d *device) install(rows Do) (registrationID uint32, err error) {
	d.rows = rows
	d.installation++
	d.process = newProcess(rows)
	d.seal, d.open = d.encrypt, d.decrypt
	var p *sesame.Publication
	if err := rows(func(tx sesame.Tx) (err error) {
		if d.sesame, err = sesame.Open(tx, sesame.Config{Now: now}); err == nil {
			p, err = d.sesame.Publish(tx, 0)
		}
		return err
	}); err != nil {
		return 0, err
	}
	d.directory.publish(d.id, p)
	d.registrationID = p.RegistrationID
	return p.RegistrationID, nil
}

// client is the device in the server's language, for one connection.
func (d *device) client() *relay.Client {
	p := d.process
	return &relay.Client{
		Self: d.id, Do: p.do,
		Seal: func(tx sesame.Tx, to envelope.Device, registrationID uint32, plaintext []byte) (uint8, []byte, error) {
			m, err := d.seal(tx, plaintext, address(to), registrationID)
			switch {
			case err != nil:
				return 0, nil, err
			case errors.Is(m.Err, sesame.ErrIdentityChanged):
				return 0, nil, relay.ErrWaits // until the user has compared the safety number
			}
			return uint8(m.Type), m.Bytes, m.Err
		},
		Open: func(tx sesame.Tx, from envelope.Device, typ uint8, ciphertext []byte) ([]byte, envelope.Sender, error) {
			r, err := d.open(tx, address(from), ratchet.Type(typ), ciphertext)
			if err != nil {
				return nil, envelope.Sender{}, err
			}
			o := opening{ratchet.Type(typ), slices.Clone(ciphertext), r.IdentityChanged, r.Err}
			p.afterCommit(func() { d.opened <- o })
			if r.Err != nil {
				return nil, envelope.Sender{}, fmt.Errorf("%w: %w", relay.ErrUnreadable, r.Err)
			}
			return r.Plaintext, envelope.Sender(from), nil // a session with them opened it
		},
		Meet: func(list []envelope.Recipient) error {
			for _, v := range list {
				if err := d.meet(v.Device, v.RegistrationID); err != nil {
					return err
				}
			}
			return nil
		},
		Show: func(_ [16]byte, _ envelope.Device, body []byte) { d.heard <- string(body) },
		Changed: func() {
			select {
			case d.changed <- struct{}{}:
			default:
			}
		},
	}
}

// encrypt is the Seal of the client. A message for one device that the server
// names is a repair of one that nobody has yet: only a session with that
// installation will do. Only after the commit is anything sent.
func (d *device) encrypt(tx sesame.Tx, plaintext []byte, to sesame.Address, registrationID uint32) (sesame.Message, error) {
	list, err := d.sesame.Repair(tx, plaintext, nil, sesame.Mismatch{Missing: map[sesame.Address]uint32{to: registrationID}})
	if err != nil {
		return sesame.Message{}, err
	}
	return list[0], nil
}

// decrypt is the Open of the client. Plaintext or verdict, it is committed, and
// only then is the message acknowledged, and the server forgets it.
func (d *device) decrypt(tx sesame.Tx, from sesame.Address, typ ratchet.Type, message []byte) (*sesame.Result, error) {
	return d.sesame.Decrypt(tx, from, typ, message)
}

// meet makes a session with an installation of a device, from a bundle, unless
// there is one.
func (d *device) meet(other envelope.Device, registrationID uint32) error {
	p, err := d.peer(other)
	if err != nil || p.Connected && p.RegistrationID == registrationID {
		return err
	}
	b, err := d.directory.bundle(other)
	if err != nil {
		return err
	}
	bundle, err := x3dh.ParseBundle(b) // verifies it
	if err != nil {
		return err
	}
	return d.process.do(func(tx sesame.Tx) error { return d.sesame.Start(tx, address(other), bundle) })
}

// recipients lists the devices that a message goes to, all but this one. It asks
// the directory about users of whom no device is known.
func (d *device) recipients() (list []envelope.Recipient, err error) {
	for _, u := range d.others {
		known, err := d.known(u)
		if err != nil {
			return nil, err
		}
		if len(known) == 0 {
			known = slices.DeleteFunc(d.directory.devices(u), func(o envelope.Device) bool { return o == d.id })
		}
		for _, o := range known {
			p, err := d.peer(o)
			if err == nil && !p.Connected {
				if err = d.meet(o, p.RegistrationID); err == nil {
					p, err = d.peer(o)
				}
			}
			if err != nil {
				return nil, err
			}
			list = append(list, envelope.Recipient{Device: o, RegistrationID: p.RegistrationID})
		}
	}
	return list, nil
}

// known lists the devices of a user that are in the rows.
func (d *device) known(u [16]byte) (list []envelope.Device, err error) {
	err = d.rows(func(tx sesame.Tx) error {
		list = nil
		for a, err := range d.sesame.Devices(tx, address(envelope.Device{User: u}).User) {
			if err != nil {
				return err
			}
			list = append(list, envelope.Device{User: u, ID: a.Device})
		}
		return nil
	})
	return list, err
}

func (d *device) peer(other envelope.Device) (p sesame.Peer, err error) {
	err = d.rows(func(tx sesame.Tx) (err error) { p, err = d.sesame.Peer(tx, address(other)); return err })
	return p, err
}

// mustConfirm reports whether another device shows a key that is not the trusted
// one.
func (d *device) mustConfirm(other *device) bool {
	p, err := d.peer(other.id)
	return err == nil && p.Changed != x3dh.PublicKey{}
}

// confirm trusts that key, after the safety numbers were compared.
func (d *device) confirm(other *device) error {
	p, err := d.peer(other.id)
	if err != nil {
		return err
	}
	return d.process.do(func(tx sesame.Tx) error { return d.sesame.Confirm(tx, address(other.id), p.Changed) })
}

// safetyNumber is what users compare, in groups of five.
func (d *device) safetyNumber(other *device) (out string, err error) {
	const names = 0 // our identifiers are names, which is no convention of Signal's
	err = d.rows(func(tx sesame.Tx) error {
		f, err := d.sesame.SafetyNumber(tx, address(other.id), names, []byte(d.name), []byte(other.name))
		if err != nil {
			return err
		}
		digits := f.String()
		out = digits[:5]
		for i := 5; i < len(digits); i += 5 {
			out += " " + digits[i:i+5]
		}
		return nil
	})
	return out, err
}

// waiting counts the messages in the outbox.
func (d *device) waiting() (n int, err error) {
	err = d.rows(func(tx sesame.Tx) error {
		n = 0
		for _, err := range tx.Scan("outbox/") {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

// newID draws a message ID or the tag of a conversation: a random UUID.
func newID() (id [16]byte) {
	rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}
