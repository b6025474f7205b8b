package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// A device is an app on a phone whose operating system may kill it at any time.
// It keeps nothing in memory: each connection is run by a new relay.Client on
// the same store, and each message reads its session and writes it in the
// transaction of the message. That is the rule of the library: persist before
// you send, persist before you acknowledge.
type device struct {
	name  string
	id    envelope.Device
	store *relay.Store

	// The two functions that encrypt, each within a transaction of the client:
	//
	//	Send      clock, counter, session (seal), outbox row, line on the screen; commit; send
	//	delivery  position, session (open), line on the screen; commit; acknowledge
	seal func(tx *relay.Tx, to envelope.Device, registrationID uint32, plaintext []byte) (uint8, []byte, error)
	open func(tx *relay.Tx, from envelope.Device, typ uint8, ciphertext []byte) ([]byte, error)

	// For the account only.
	sealed  *ratchet.Message // the last message that was encrypted, as the world sees it
	initial bool             // and whether it carries the handshake
	opened  chan opening     // what open was given, and what became of it
	heard   chan string      // ephemeral messages that were shown
	changed chan struct{}    // the screen has changed
}

type opening struct {
	typ        ratchet.Type
	ciphertext []byte
	verdict    error
}

// Rows of a device beside those of relay.Client, which leaves this prefix to us.
const (
	rowIdentity     = "session/identity"      // x3dh.IdentityKey
	rowSignedPreKey = "session/signed prekey" // x3dh.SignedPreKey
	rowOneTime      = "session/one-time %d"   // x3dh.PreKey, by ID
	rowPeer         = "session/peer %x/%d"    // the identity key of another device
	rowSession      = "session/with %x/%d"    // ratchet.Session with it
)

func peerRow(row string, d envelope.Device) string { return fmt.Sprintf(row, d.User, d.ID) }

// The library takes the time as a value; what is late here is not about time.
var created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// oneTimeID is the ID of the one-time prekey, signedID that of the signed one.
const oneTimeID, signedID = 1, 1

// newDevice draws the keys of a device and stores them.
func newDevice(name string) (*device, error) {
	d := &device{name: name, id: envelope.Device{ID: 1}, store: &relay.Store{},
		opened: make(chan opening, 1000), heard: make(chan string, 1), changed: make(chan struct{}, 1)}
	copy(d.id.User[:], name)
	d.seal, d.open = d.encrypt, d.decrypt
	identity := x3dh.GenerateIdentityKey()
	signed, err := x3dh.GenerateSignedPreKey(identity, signedID, created)
	if err != nil {
		return nil, err
	}
	oneTime, err := x3dh.GeneratePreKeys(oneTimeID, 1)
	if err != nil {
		return nil, err
	}
	return d, d.store.Update(func(tx *relay.Tx) error {
		return errors.Join(put(tx, rowIdentity, identity), put(tx, rowSignedPreKey, signed),
			put(tx, fmt.Sprintf(rowOneTime, oneTimeID), oneTime[0]))
	})
}

// put encodes v as a row.
func put(tx *relay.Tx, key string, v interface {
	AppendBinary([]byte) ([]byte, error)
}) error {
	b, err := v.AppendBinary(nil)
	if err == nil {
		tx.Put(key, b)
	}
	return err
}

// client is the device in the server's language, for one connection.
func (d *device) client() *relay.Client {
	return &relay.Client{
		Self: d.id, Store: d.store, Seal: d.sealAndTell, Open: d.openAndTell,
		Show: func(_ [16]byte, _ envelope.Device, body []byte) { d.heard <- string(body) },
		Changed: func() {
			select {
			case d.changed <- struct{}{}:
			default:
			}
		},
	}
}

// bundle is what the device publishes: the public halves of what is in its
// store already.
func (d *device) bundle() (b []byte, err error) {
	err = d.store.Update(func(tx *relay.Tx) error {
		identity, err := x3dh.ParseIdentityKey(tx.Get(rowIdentity))
		if err != nil {
			return err
		}
		signed, err := x3dh.ParseSignedPreKey(tx.Get(rowSignedPreKey))
		if err != nil {
			return err
		}
		oneTime, err := x3dh.ParsePreKey(tx.Get(fmt.Sprintf(rowOneTime, oneTimeID)))
		if err != nil {
			return err
		}
		bundle, err := x3dh.NewBundle(x3dh.BundleInfo{
			RegistrationID: d.registrationID(),
			DeviceID:       d.id.ID,
			IdentityKey:    identity.Public(),
			SignedPreKey:   signed.Public(),
			OneTimePreKey:  new(oneTime.Public()),
		})
		if err != nil {
			return err
		}
		b, err = bundle.AppendBinary(nil)
		return err
	})
	return b, err
}

// start makes a session with the device that published the bundle. Nothing is
// sent: the first messages carry the handshake.
func (d *device) start(to envelope.Device, bundle []byte) error {
	peer, err := x3dh.ParseBundle(bundle) // verifies it
	if err != nil {
		return err
	}
	return d.store.Update(func(tx *relay.Tx) error {
		identity, err := x3dh.ParseIdentityKey(tx.Get(rowIdentity))
		if err != nil {
			return err
		}
		agreement, err := x3dh.Initiate(identity, peer)
		if err != nil {
			return err
		}
		session, err := ratchet.New(agreement, d.config())
		if err != nil {
			return err
		}
		tx.Put(peerRow(rowPeer, to), peer.Info().IdentityKey.Bytes())
		return put(tx, peerRow(rowSession, to), session)
	})
}

// encrypt is the Seal of a relay.Client: it uses up a key of the session, and
// the session without it is stored by the transaction that stores the message.
// Only after its commit is anything sent.
func (d *device) encrypt(tx *relay.Tx, to envelope.Device, _ uint32, plaintext []byte) (uint8, []byte, error) {
	session, err := ratchet.ParseSession(tx.Get(peerRow(rowSession, to)), ratchet.Signal)
	if err != nil {
		return 0, nil, err
	}
	message, typ, err := session.Encrypt(nil, plaintext)
	if err != nil {
		return 0, nil, err
	}
	return uint8(typ), message, put(tx, peerRow(rowSession, to), session)
}

// decrypt is the Open of a relay.Client: the session is stored by the
// transaction that stores the text. Only after its commit is the message
// acknowledged, and the server forgets it. An error has written nothing.
func (d *device) decrypt(tx *relay.Tx, from envelope.Device, typ uint8, ciphertext []byte) ([]byte, error) {
	row := peerRow(rowSession, from)
	record := tx.Get(row)
	switch ratchet.Type(typ) {
	case ratchet.Ordinary:
		session, err := ratchet.ParseSession(record, ratchet.Signal)
		if err != nil {
			return nil, err
		}
		plaintext, err := session.Decrypt(nil, ciphertext)
		if err != nil {
			return nil, err
		}
		return plaintext, put(tx, row, session)
	case ratchet.Initial:
		m, err := x3dh.ParseInitialMessage(ciphertext)
		if err != nil {
			return nil, err
		}
		if record == nil {
			return d.accept(tx, from, m)
		}
		// Two devices that start at the same time, and a peer that starts over,
		// need several sessions with one device, which is sesame's work.
		session, err := ratchet.ParseSession(record, ratchet.Signal)
		if err != nil {
			return nil, err
		}
		plaintext, err := session.DecryptInitial(nil, m)
		if err != nil {
			return nil, err
		}
		return plaintext, put(tx, row, session)
	}
	return nil, errors.New("no such type of message")
}

// accept makes the session of the device that was written to.
func (d *device) accept(tx *relay.Tx, from envelope.Device, m *x3dh.InitialMessage) ([]byte, error) {
	identity, err := x3dh.ParseIdentityKey(tx.Get(rowIdentity))
	if err != nil {
		return nil, err
	}
	signed, err := x3dh.ParseSignedPreKey(tx.Get(rowSignedPreKey))
	if err != nil {
		return nil, err
	}
	var oneTime *x3dh.PreKey
	if id := m.OneTimePreKeyID; id != nil {
		if oneTime, err = x3dh.ParsePreKey(tx.Get(fmt.Sprintf(rowOneTime, *id))); err != nil {
			return nil, err
		}
	}
	acceptance, err := x3dh.Respond(identity, m, signed, oneTime)
	if err != nil {
		return nil, err
	}
	session, plaintext, err := ratchet.Accept(nil, acceptance, d.config())
	if err != nil {
		return nil, err
	}
	if oneTime != nil {
		// Its key must open no second session. It goes with the commit that
		// stores this one, and not before: else garbage could burn it.
		tx.Delete(fmt.Sprintf(rowOneTime, *m.OneTimePreKeyID))
	}
	tx.Put(peerRow(rowPeer, from), m.IdentityKey.Bytes())
	return plaintext, put(tx, peerRow(rowSession, from), session)
}

func (d *device) sealAndTell(tx *relay.Tx, to envelope.Device, registrationID uint32, plaintext []byte) (uint8, []byte, error) {
	typ, ciphertext, err := d.seal(tx, to, registrationID, plaintext)
	if err == nil {
		d.initial = ratchet.Type(typ) == ratchet.Initial
		d.sealed, err = readHeader(ratchet.Type(typ), ciphertext)
	}
	return typ, ciphertext, err
}

func (d *device) openAndTell(tx *relay.Tx, from envelope.Device, typ uint8, ciphertext []byte) ([]byte, envelope.Sender, error) {
	plaintext, err := d.open(tx, from, typ, ciphertext)
	d.opened <- opening{ratchet.Type(typ), append([]byte{}, ciphertext...), err}
	return plaintext, envelope.Sender(from), err // it was opened with a session of theirs
}

// canWrite reports whether there is a session: a device that was never written
// to has none.
func (d *device) canWrite(to *device) (ok bool) {
	_ = d.store.Update(func(tx *relay.Tx) error { ok = tx.Get(peerRow(rowSession, to.id)) != nil; return nil })
	return ok
}

// safetyNumber is what the user compares with the peer's, in groups of five.
func (d *device) safetyNumber(peer *device) (out string, err error) {
	err = d.store.Update(func(tx *relay.Tx) error {
		identity, err := x3dh.ParseIdentityKey(tx.Get(rowIdentity))
		if err != nil {
			return err
		}
		remote, err := x3dh.ParsePublicKey(tx.Get(peerRow(rowPeer, peer.id)))
		if err != nil {
			return err
		}
		const names = 0 // our identifiers are names, which is no convention of Signal's
		f, err := x3dh.NewFingerprint(names, []byte(d.name), identity.Public(), []byte(peer.name), remote)
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

func (d *device) config() ratchet.Config {
	return ratchet.Config{RegistrationID: d.registrationID(), Created: created}
}

// registrationID tells installations of one device apart. Real ones are drawn.
func (d *device) registrationID() uint32 { return uint32(len(d.name)) }

// newID draws a message ID or the tag of a conversation: a random UUID.
func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}
