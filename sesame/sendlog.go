package sesame

import (
	"cmp"
	"crypto/subtle"
	"slices"
	"time"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// sendLogAge is how long a message can be encrypted again. It is that of
// Signal's applications.
const sendLogAge = 14 * 24 * time.Hour

// within reports whether two times are less than d apart. A clock that was set
// back makes nothing last for ever.
func within(a, b time.Time, d time.Duration) bool { return a.Sub(b).Abs() < d }

// A sentRecord is a message that can be encrypted again: for those devices that
// it was encrypted for, and for nobody else.
type sentRecord struct {
	created   time.Time
	plaintext []byte
	to        []addressee // in strictly ascending order

	// The group and our chain there, if it was encrypted with one.
	group string
	chain senderkey.DistributionID
}

// An addressee is a device that a message was encrypted for, with the identity
// key that it had then.
type addressee struct {
	Address
	identity x3dh.PublicKey
	attempts uint32 // how often the message was encrypted again
}

func (a addressee) compare(b Address) int {
	return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Device, b.Device))
}

func parseSent(b []byte) (*sentRecord, error) {
	s := new(sentRecord)
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			s.created = time.UnixMilli(int64(d.Uint64()))
		case 2:
			s.plaintext = d.Bytes()
		case 3:
			a, err := parseAddressee(d.Repeated())
			if n := len(s.to); err != nil || n > 0 && s.to[n-1].compare(a.Address) >= 0 {
				d.Fail()
			}
			s.to = append(s.to, a)
		case 4:
			s.group = string(d.Bytes())
		case 5:
			d.Fixed(s.chain[:])
		default:
			d.Fail()
		}
	}
	if d.Has(4) != d.Has(5) || d.Has(4) != validGroup(s.group) {
		d.Fail()
	}
	return s, d.Close(1, 2)
}

func parseAddressee(b []byte) (a addressee, err error) {
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			a.User = string(d.Bytes())
		case 2:
			a.Device = d.Uint32()
		case 3:
			a.identity, err = x3dh.ParsePublicKey(d.Bytes())
		case 4:
			a.attempts = d.Uint32()
		default:
			d.Fail()
		}
	}
	if d.Close(1, 3) != nil || err != nil || !a.valid() {
		return a, wire.ErrMalformed
	}
	return a, nil
}

func (s *sentRecord) AppendBinary(b []byte) ([]byte, error) {
	b = wire.AppendUint(b, 1, uint64(s.created.UnixMilli()))
	b = wire.AppendBytes(b, 2, s.plaintext)
	for _, a := range s.to {
		m := wire.AppendBytes(nil, 1, []byte(a.User))
		m = wire.AppendUintNonZero(m, 2, uint64(a.Device))
		m = wire.AppendBytes(m, 3, a.identity.Bytes())
		m = wire.AppendUintNonZero(m, 4, uint64(a.attempts))
		b = wire.AppendBytes(b, 3, m)
	}
	if s.group != "" {
		b = wire.AppendBytes(b, 4, []byte(s.group))
		b = wire.AppendBytes(b, 5, s.chain[:])
	}
	return b, nil
}

// find returns the entry of a device, nil if the message was not for it.
func (s *sentRecord) find(a Address) *addressee {
	i, ok := slices.BinarySearchFunc(s.to, a, addressee.compare)
	if !ok {
		return nil
	}
	return &s.to[i]
}

// add notes that the message was encrypted for a device. One that it was
// encrypted for before keeps its count.
func (s *sentRecord) add(a Address, identity x3dh.PublicKey) {
	i, ok := slices.BinarySearchFunc(s.to, a, addressee.compare)
	if !ok {
		s.to = slices.Insert(s.to, i, addressee{Address: a})
	}
	s.to[i].identity = identity
}

// sent reads the record of a message; nil if there is none, or none that is
// young enough. The revision is that of the row in any case.
func (d *Device) sent(tx Tx, timestamp uint64) (*sentRecord, uint64, error) {
	s, rev, err := get(tx, rowSent(timestamp), parseSent)
	if err != nil || rev == 0 || !within(s.created, d.config.Now(), sendLogAge) {
		s = nil
	}
	return s, rev, err
}

// EncryptLogged is [Device.Encrypt], and keeps the plaintext for
// [Device.HandleRetry]: for 14 days, or until [Device.Delivered] names all
// devices that it was encrypted for. It is in the database as it is; wrap the Tx
// in [Seal] if that matters. Messages that are to vanish are better lost.
//
// timestamp is the name of the message for both sides: its receivers have to
// know it without decrypting. It is not 0, and never that of two messages of this
// device. libsignal's clients take the time in milliseconds; with package
// envelope, take the first eight bytes of the message ID, big endian. To encrypt
// the same plaintext for further devices, call it again with the same timestamp.
//
// Errors: those of Encrypt, and [ErrTimestamp].
func (d *Device) EncryptLogged(tx Tx, timestamp uint64, plaintext []byte, to ...Address) ([]Message, error) {
	if d == nil || d.config.Now == nil {
		return nil, ErrUninitialized
	}
	if timestamp == 0 {
		return nil, ErrTimestamp
	}
	s, rev, err := d.logEntry(tx, timestamp, plaintext)
	if err != nil {
		return nil, err
	}
	messages, err := d.Encrypt(tx, plaintext, to...)
	if err != nil {
		return nil, err
	}
	return messages, s.log(tx, timestamp, rev, messages)
}

// logEntry reads the record of a message that is about to be encrypted; a new
// one if nobody had it, or it is too old.
func (d *Device) logEntry(tx Tx, timestamp uint64, plaintext []byte) (*sentRecord, uint64, error) {
	s, rev, err := d.sent(tx, timestamp)
	if err != nil {
		return nil, 0, err
	}
	if s == nil {
		s = &sentRecord{created: d.config.Now(), plaintext: plaintext}
	}
	if subtle.ConstantTimeCompare(s.plaintext, plaintext) != 1 {
		return nil, 0, ErrTimestamp
	}
	return s, rev, nil
}

// log adds those devices that messages were encrypted for in this call, and
// stores the record if there are any. The messages get the timestamp.
func (s *sentRecord) log(tx Tx, timestamp, rev uint64, messages []Message) error {
	logged := false
	for i := range messages {
		m := &messages[i]
		m.Timestamp = timestamp
		if m.Err == nil && m.identity != none {
			s.add(m.To, m.identity)
			logged = true
		}
	}
	if !logged {
		return nil
	}
	return put(tx, rowSent(timestamp), s, rev)
}

// logRepaired logs what Repair made of messages that are in the log. Messages
// that it kept are there already.
func (d *Device) logRepaired(tx Tx, plaintext []byte, sealed, repaired []Message) error {
	i := slices.IndexFunc(sealed, func(m Message) bool { return m.Timestamp != 0 })
	if i < 0 {
		return nil
	}
	timestamp := sealed[i].Timestamp
	s, rev, err := d.logEntry(tx, timestamp, plaintext)
	if err != nil {
		return err
	}
	return s.log(tx, timestamp, rev, repaired)
}

// Delivered notes that devices have a message of [Device.EncryptLogged], or are
// not to have it any more: it is not encrypted for them again. When all have it
// the plaintext is deleted. Devices and messages that are not in the log are
// passed over.
func (d *Device) Delivered(tx Tx, timestamp uint64, to ...Address) error {
	if d == nil || d.config.Now == nil {
		return ErrUninitialized
	}
	s, rev, err := get(tx, rowSent(timestamp), parseSent)
	if err != nil || rev == 0 {
		return err
	}
	return s.drop(tx, rowSent(timestamp), rev, to...)
}

// drop takes devices out of the record in the row key, and deletes it if none
// is left.
func (s *sentRecord) drop(tx Tx, key string, rev uint64, to ...Address) error {
	n := len(s.to)
	s.to = slices.DeleteFunc(s.to, func(a addressee) bool { return slices.Contains(to, a.Address) })
	switch len(s.to) {
	case n:
		return nil
	case 0:
		return tx.Delete(key, rev)
	}
	return put(tx, key, s, rev)
}
