package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// A device is an app on a phone whose operating system may kill it at any time.
// It keeps nothing in memory: each method reads from the disk what it needs,
// and commits what has changed, all at once, before anything leaves it. That is
// the rule of the library: persist before you send, persist before you
// acknowledge.
type device struct {
	name string
	disk disk
}

// A disk is the database of a device. A commit happens whole or not at all.
type disk interface {
	get(key string) []byte // nil if there is none
	commit(rows ...row)
}

type row struct {
	key   string
	value []byte // nil deletes
}

// What is on the disk. A real app has one session row for each device that it
// talks to, and sends from an outbox of many rows.
const (
	rowIdentity     = "identity"      // x3dh.IdentityKey
	rowSignedPreKey = "signed prekey" // x3dh.SignedPreKey
	rowOneTime      = "one-time "     // x3dh.PreKey, by ID
	rowPeer         = "peer"          // the identity key of the other side
	rowSession      = "session"       // ratchet.Session
	rowOutbox       = "outbox"        // the last message, encrypted
	rowInbox        = "inbox "        // texts that the user has got, from 0
	rowInboxLen     = "inbox length"
)

// The library takes the time as a value; what is late here is not about time.
var created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// oneTimeID is the ID of the one-time prekey, signedID that of the signed one.
const oneTimeID, signedID = 1, 1

// newDevice draws the keys of a device and stores them.
func newDevice(name string, d disk) (*device, error) {
	identity := x3dh.GenerateIdentityKey()
	signed, err := x3dh.GenerateSignedPreKey(identity, signedID, created)
	if err != nil {
		return nil, err
	}
	oneTime, err := x3dh.GeneratePreKeys(oneTimeID, 1)
	if err != nil {
		return nil, err
	}
	var w writer
	w.put(rowIdentity, identity)
	w.put(rowSignedPreKey, signed)
	w.put(oneTimeRow(oneTimeID), oneTime[0])
	return &device{name, d}, w.commit(d)
}

func oneTimeRow(id uint32) string { return rowOneTime + strconv.FormatUint(uint64(id), 10) }

// bundle is what the device publishes: the public halves of what is on its
// disk already.
func (d *device) bundle() ([]byte, error) {
	identity, err := x3dh.ParseIdentityKey(d.disk.get(rowIdentity))
	if err != nil {
		return nil, err
	}
	signed, err := x3dh.ParseSignedPreKey(d.disk.get(rowSignedPreKey))
	if err != nil {
		return nil, err
	}
	oneTime, err := x3dh.ParsePreKey(d.disk.get(oneTimeRow(oneTimeID)))
	if err != nil {
		return nil, err
	}
	public := oneTime.Public()
	b, err := x3dh.NewBundle(x3dh.BundleInfo{
		RegistrationID: registrationID(d.name),
		DeviceID:       1,
		IdentityKey:    identity.Public(),
		SignedPreKey:   signed.Public(),
		OneTimePreKey:  &public,
	})
	if err != nil {
		return nil, err
	}
	return b.AppendBinary(nil)
}

// start makes a session with the device that published the bundle. Nothing is
// sent: the first messages carry the handshake.
func (d *device) start(bundle []byte) error {
	peer, err := x3dh.ParseBundle(bundle) // verifies it
	if err != nil {
		return err
	}
	identity, err := x3dh.ParseIdentityKey(d.disk.get(rowIdentity))
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
	var w writer
	w.put(rowSession, session)
	w.putBytes(rowPeer, peer.Info().IdentityKey.Bytes())
	return w.commit(d.disk)
}

// canWrite reports whether there is a session: a device that was never written
// to has none.
func (d *device) canWrite() bool { return d.disk.get(rowSession) != nil }

// write encrypts a text. When it returns, the message is in the outbox and the
// session that has used up its key is on the disk: only now may it be sent.
func (d *device) write(text string) (ratchet.Type, []byte, error) {
	session, err := d.session()
	if err != nil {
		return 0, nil, err
	}
	message, typ, err := session.Encrypt(nil, []byte(text))
	if err != nil {
		return 0, nil, err
	}
	var w writer
	w.put(rowSession, session)
	w.putBytes(rowOutbox, message)
	if err := w.commit(d.disk); err != nil {
		return 0, nil, err
	}
	return typ, message, nil
}

// receive decrypts a message. When it returns nil, the text is in the inbox
// and the session on the disk: only now may the server forget the message.
// ratchet.ErrDuplicate means that it was there before, and is acknowledged too.
func (d *device) receive(p packet) error {
	var (
		session *ratchet.Session
		text    []byte
		w       writer
		err     error
	)
	switch p.typ {
	case ratchet.Ordinary:
		if session, err = d.session(); err == nil {
			text, err = session.Decrypt(nil, p.body)
		}
	case ratchet.Initial:
		session, text, err = d.receiveInitial(p.body, &w)
	default:
		err = errors.New("no such type of message")
	}
	if err != nil {
		return err // nothing has changed, and nothing is stored
	}
	n, _ := strconv.Atoi(string(d.disk.get(rowInboxLen)))
	w.put(rowSession, session)
	w.putBytes(rowInbox+strconv.Itoa(n), text)
	w.putBytes(rowInboxLen, []byte(strconv.Itoa(n+1)))
	return w.commit(d.disk)
}

// receiveInitial decrypts an initial message, which makes a session unless it
// belongs to the one that there is. What has to be stored with the session
// goes to w.
func (d *device) receiveInitial(body []byte, w *writer) (*ratchet.Session, []byte, error) {
	m, err := x3dh.ParseInitialMessage(body)
	if err != nil {
		return nil, nil, err
	}
	if d.canWrite() {
		// Two devices that start at the same time, and a peer that starts over,
		// need several sessions with one device, which is sesame's work.
		session, err := d.session()
		if err != nil {
			return nil, nil, err
		}
		text, err := session.DecryptInitial(nil, m)
		return session, text, err
	}

	identity, err := x3dh.ParseIdentityKey(d.disk.get(rowIdentity))
	if err != nil {
		return nil, nil, err
	}
	signed, err := x3dh.ParseSignedPreKey(d.disk.get(rowSignedPreKey))
	if err != nil {
		return nil, nil, err
	}
	var oneTime *x3dh.PreKey
	if id := m.OneTimePreKeyID; id != nil {
		if oneTime, err = x3dh.ParsePreKey(d.disk.get(oneTimeRow(*id))); err != nil {
			return nil, nil, err
		}
		// Its key must open no second session. It goes with the commit that
		// stores this one, and not before: else garbage could burn it.
		w.delete(oneTimeRow(*id))
	}
	acceptance, err := x3dh.Respond(identity, m, signed, oneTime)
	if err != nil {
		return nil, nil, err
	}
	session, text, err := ratchet.Accept(nil, acceptance, d.config())
	if err != nil {
		return nil, nil, err
	}
	w.putBytes(rowPeer, m.IdentityKey.Bytes())
	return session, text, nil
}

// session reads the session back. Each call gets its own, which is dead after
// the next commit.
func (d *device) session() (*ratchet.Session, error) {
	record := d.disk.get(rowSession)
	if record == nil {
		return nil, errors.New("no session yet")
	}
	return ratchet.ParseSession(record, ratchet.Signal)
}

// safetyNumber is what the user compares with the peer's, in groups of five.
func (d *device) safetyNumber(peer string) (string, error) {
	identity, err := x3dh.ParseIdentityKey(d.disk.get(rowIdentity))
	if err != nil {
		return "", err
	}
	remote, err := x3dh.ParsePublicKey(d.disk.get(rowPeer))
	if err != nil {
		return "", err
	}
	const names = 0 // our identifiers are names, which is no convention of Signal's
	f, err := x3dh.NewFingerprint(names, []byte(d.name), identity.Public(), []byte(peer), remote)
	if err != nil {
		return "", err
	}
	digits := f.String()
	out := digits[:5]
	for i := 5; i < len(digits); i += 5 {
		out += " " + digits[i:i+5]
	}
	return out, nil
}

// inbox is all that the user has read.
func (d *device) inbox() (texts []string) {
	n, _ := strconv.Atoi(string(d.disk.get(rowInboxLen)))
	for i := range n {
		texts = append(texts, string(d.disk.get(rowInbox+strconv.Itoa(i))))
	}
	return texts
}

func (d *device) config() ratchet.Config {
	return ratchet.Config{RegistrationID: registrationID(d.name), Created: created}
}

// registrationID tells installations of one device apart. Real ones are drawn.
func registrationID(name string) uint32 { return uint32(len(name)) }

// A writer collects the rows of one commit.
type writer struct {
	rows []row
	err  error
}

// put encodes v as a row.
func (w *writer) put(key string, v interface {
	AppendBinary([]byte) ([]byte, error)
}) {
	b, err := v.AppendBinary(nil)
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("%s: %w", key, err)
	}
	w.putBytes(key, b)
}

func (w *writer) putBytes(key string, b []byte) { w.rows = append(w.rows, row{key, b}) }

func (w *writer) delete(key string) { w.putBytes(key, nil) }

func (w *writer) commit(d disk) error {
	if w.err == nil {
		d.commit(w.rows...)
	}
	return w.err
}

// memory is a disk for a demo.
type memory map[string][]byte

func (m memory) get(key string) []byte { return m[key] }

func (m memory) commit(rows ...row) {
	for _, r := range rows {
		if r.value == nil {
			delete(m, r.key)
			continue
		}
		m[r.key] = r.value
	}
}
