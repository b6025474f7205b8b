package sesame

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// The limits of retries (SPEC.md §10.7).
const (
	maxAttempts   = 5         // requests, and answers, for one message
	maxAsked      = 256       // messages of one device that are counted
	resetInterval = time.Hour // between two sessions that requests of one device end
)

// A retryRecord is what limits retries with one device.
type retryRecord struct {
	reset time.Time // when a request last ended a session; the zero time if none did
	asked []asked   // for what we asked; the oldest first
}

// An asked is a message that did not decrypt.
type asked struct {
	timestamp uint64
	first     time.Time // when it was asked for first
	count     uint32
}

func parseRetry(b []byte) (*retryRecord, error) {
	r := new(retryRecord)
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			r.reset = time.UnixMilli(int64(d.Uint64()))
		case 2:
			a, err := parseAsked(d.Repeated())
			if err != nil || len(r.asked) == maxAsked {
				d.Fail()
			}
			r.asked = append(r.asked, a)
		default:
			d.Fail()
		}
	}
	return r, d.Close()
}

func parseAsked(b []byte) (a asked, err error) {
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			a.timestamp = d.Uint64()
		case 2:
			a.first = time.UnixMilli(int64(d.Uint64()))
		case 3:
			a.count = d.Uint32()
		default:
			d.Fail()
		}
	}
	return a, d.Close(1, 2, 3)
}

func (r *retryRecord) AppendBinary(b []byte) ([]byte, error) {
	if !r.reset.IsZero() {
		b = wire.AppendUint(b, 1, uint64(r.reset.UnixMilli()))
	}
	for _, a := range r.asked {
		m := wire.AppendUint(nil, 1, a.timestamp)
		m = wire.AppendUint(m, 2, uint64(a.first.UnixMilli()))
		m = wire.AppendUint(m, 3, uint64(a.count))
		b = wire.AppendBytes(b, 2, m)
	}
	return b, nil
}

// expire drops what limits nothing any more, and reports whether all of it did.
func (r *retryRecord) expire(now time.Time) (empty bool) {
	r.asked = slices.DeleteFunc(r.asked, func(a asked) bool { return !within(a.first, now, sendLogAge) })
	if !within(r.reset, now, resetInterval) {
		r.reset = time.Time{}
	}
	return len(r.asked) == 0 && r.reset.IsZero()
}

// ask counts a request for a message, and reports whether it may be made.
func (r *retryRecord) ask(timestamp uint64, now time.Time) bool {
	i := slices.IndexFunc(r.asked, func(a asked) bool { return a.timestamp == timestamp })
	if i < 0 {
		if len(r.asked) == maxAsked {
			return false
		}
		i = len(r.asked)
		r.asked = append(r.asked, asked{timestamp: timestamp, first: now})
	}
	if r.asked[i].count >= maxAttempts {
		return false
	}
	r.asked[i].count++
	return true
}

// retry reads what limits retries with a device, less what has expired.
func (d *Device) retry(tx Tx, a Address) (*retryRecord, uint64, error) {
	r, rev, err := get(tx, rowRetry(a), parseRetry)
	if err != nil {
		return nil, 0, err
	}
	if rev == 0 {
		r = new(retryRecord)
	}
	r.expire(d.config.Now())
	return r, rev, nil
}

// RetryRequest makes the request to send a message again that did not decrypt,
// which r says, to be sent to its sender. Call it in the transaction of
// [Device.Decrypt] or [Device.DecryptGroup], after it, for every message: it is nil if there is nothing to
// ask for. That is so if the message was read, is a duplicate or no message at
// all; if it was asked for five times; and if 256 other messages of the device
// were asked for in 14 days. timestamp is that which came with the message, see
// [Device.EncryptLogged]. The bytes that Decrypt got must still be what they were.
//
// The request is not encrypted. It says that this device is there and did not
// read that message; whether it is sent, and to strangers too, the application
// decides.
//
// An error is the transaction's, or [ErrCorrupt], and means: roll back.
func (d *Device) RetryRequest(tx Tx, r *Result, timestamp uint64) (*Message, error) {
	if d == nil || d.config.Now == nil || r == nil {
		return nil, ErrUninitialized
	}
	if !errors.Is(r.Err, ErrUndecryptable) && !errors.Is(r.Err, ErrUnknownPreKey) && !errors.Is(r.Err, ErrNoSession) &&
		!errors.Is(r.Err, ErrHeld) {
		return nil, nil
	}
	key, ok := ratchetKey(r.typ, r.message)
	if !ok {
		return nil, nil
	}
	limits, rev, err := d.retry(tx, r.From)
	if err != nil || !limits.ask(timestamp, d.config.Now()) {
		return nil, err
	}
	q := &retryRequest{ratchetKey: key, timestamp: timestamp, device: r.From.Device}
	m := &Message{To: r.From, Type: ratchet.PlaintextContent, Bytes: q.appendPlaintext(nil)}
	return m, put(tx, rowRetry(r.From), limits, rev)
}

// ratchetKey returns the ratchet key that a message names: a group message none.
func ratchetKey(typ ratchet.Type, message []byte) (x3dh.PublicKey, bool) {
	switch typ {
	case ratchet.Ordinary:
	case senderKeyMessage:
		return none, true
	case ratchet.Initial:
		m, err := x3dh.ParseInitialMessage(message)
		if err != nil {
			return none, false
		}
		message = m.Message
	default: // no answer to a request, or two devices would never stop
		return none, false
	}
	m, err := ratchet.ParseMessage(message)
	if err != nil {
		return none, false
	}
	return m.RatchetKey, true
}

// HandleRetry answers a retry request, a message of type
// ratchet.PlaintextContent: it encrypts a message of [Device.EncryptLogged] again
// for the device that asks, under its present session. It does so at most five
// times a message and device. Store the Message in the same transaction and send
// it under its Timestamp; a receiver who has that message already drops it.
//
// Nothing authenticates a request but the channel that it came through: whoever
// can forge one gets what he could have before, the same plaintext for the same
// identity key. self is the device number of this device. allowed says whether
// the device may still have that message: it is a member of the conversation,
// and the message was not deleted. It may read in the transaction; its error is
// HandleRetry's.
//
// A request that names the ratchet key of the current session says that the
// device has lost it: the session becomes one of the past, at most once an hour
// and whatever becomes of the message. Without a session [Message].Err is
// [ErrNoSession]: commit, fetch the device's bundle, then call [Device.Start] and
// HandleRetry in one transaction, and acknowledge the request when that has
// committed. [ErrIdentityChanged]: the device waits for [Device.Confirm]. No
// message is ever encrypted again for another identity key than its first.
// [ErrRetryRefused]: anything else; commit that too.
//
// A message of [Device.EncryptGroup] is encrypted again for that device alone, and
// the next one brings it the distribution.
//
// An error is the transaction's, or [ErrCorrupt], and means: roll back.
func (d *Device) HandleRetry(tx Tx, from Address, self uint32, content []byte, allowed func(timestamp uint64) (bool, error)) (Message, error) {
	m := Message{To: from}
	if d == nil || d.config.Now == nil || allowed == nil {
		return m, ErrUninitialized
	}
	if !from.valid() {
		m.Err = ErrAddress
		return m, nil
	}
	q, err := parseRetryRequest(content)
	if err != nil {
		m.Err = fmt.Errorf("%w: %w", ErrRetryRefused, err)
		return m, nil
	}
	m.Timestamp = q.timestamp
	if q.device != self {
		m.Err = errOtherDevice
		return m, nil
	}
	p, rev, err := d.peer(tx, from)
	if err != nil {
		return m, err
	}
	ended, err := d.resetIfLost(tx, from, p, rev, q.ratchetKey)
	if err == nil && ended {
		p, rev, err = d.peer(tx, from)
	}
	if err != nil {
		return m, err
	}
	m, err = d.encryptAsked(tx, from, p.identity, q, allowed)
	if err == nil {
		// With the confirmation of another key meanwhile, it would be for that one.
		err = unchanged(tx, from, rev)
	}
	return m, err
}

// encryptAsked encrypts a message of the log again, if it may.
func (d *Device) encryptAsked(tx Tx, from Address, identity x3dh.PublicKey, q *retryRequest, allowed func(timestamp uint64) (bool, error)) (Message, error) {
	m := Message{To: from, Timestamp: q.timestamp}
	s, rev, err := d.sent(tx, q.timestamp)
	if err != nil {
		return m, err
	}
	var to *addressee
	if s != nil {
		to = s.find(from)
	}
	if to == nil {
		m.Err = errNotAddressed
		return m, nil
	}
	ok, err := allowed(q.timestamp)
	if err != nil {
		return m, err
	}
	switch {
	case !ok:
		m.Err = errNotAllowed
	case to.attempts >= maxAttempts:
		m.Err = errTooOften
	case identity != to.identity:
		m.Err = errOtherIdentity
	}
	if m.Err != nil {
		return m, nil
	}
	m, err = d.encrypt(tx, s.plaintext, from)
	m.Timestamp = q.timestamp
	if err != nil || m.Err != nil {
		return m, err
	}
	to.attempts++
	if s.group != "" {
		// The device may have lost the chain, or never got it.
		if err := d.noteChain(tx, s.group, s.chain, []Address{from}, (*senderkey.Sender).Lacks); err != nil {
			return m, err
		}
	}
	return m, put(tx, rowSent(q.timestamp), s, rev)
}

// Why a request is refused.
var (
	errOtherDevice   = fmt.Errorf("%w: it is for another device", ErrRetryRefused)
	errNotAddressed  = fmt.Errorf("%w: no such message for the device", ErrRetryRefused)
	errNotAllowed    = fmt.Errorf("%w: the device may not have the message", ErrRetryRefused)
	errTooOften      = fmt.Errorf("%w: the message was asked for too often", ErrRetryRefused)
	errOtherIdentity = fmt.Errorf("%w: the message was for another identity key", ErrRetryRefused)
)

// resetIfLost ends the current session with a device if key is our ratchet key
// in it, but not twice in an hour, and not while an identity key waits. It
// reports whether it did; then p is stored.
func (d *Device) resetIfLost(tx Tx, a Address, p *peerRecord, peerRev uint64, key x3dh.PublicKey) (ended bool, err error) {
	if p.current() == none || p.changed != none {
		return false, nil
	}
	s, err := d.session(tx, a, p.current())
	if err != nil || key != s.RatchetKey() {
		return false, err
	}
	limits, rev, err := d.retry(tx, a)
	if err != nil || !limits.reset.IsZero() {
		return false, err
	}
	limits.reset = d.config.Now()
	if err := put(tx, rowRetry(a), limits, rev); err != nil {
		return false, err
	}
	return true, d.end(tx, a, p, peerRev)
}

// pruneRetries deletes what is too old to be asked for, and the counts of it.
func (d *Device) pruneRetries(tx Tx) error {
	now := d.config.Now()
	err := each(tx, rowsSent, parseSent, func(key string, s *sentRecord, rev uint64) error {
		if within(s.created, now, sendLogAge) {
			return nil
		}
		return tx.Delete(key, rev)
	})
	if err != nil {
		return err
	}
	return each(tx, rowsRetry, parseRetry, func(key string, r *retryRecord, rev uint64) error {
		if !r.expire(now) {
			return nil
		}
		return tx.Delete(key, rev)
	})
}

// forgetRetries deletes what limits retries with a device, and takes it out of
// the log.
func (d *Device) forgetRetries(tx Tx, a Address) error {
	if err := forgetRow(tx, rowRetry(a)); err != nil {
		return err
	}
	return each(tx, rowsSent, parseSent, func(key string, s *sentRecord, rev uint64) error {
		return s.drop(tx, key, rev, a)
	})
}

// each reads all rows with a prefix. Those that do not make sense are passed
// over: they let nobody have anything.
func each[T any](tx Tx, prefix string, parse func([]byte) (T, error), f func(key string, v T, rev uint64) error) error {
	for key, err := range tx.Scan(prefix) {
		if err != nil {
			return err
		}
		v, rev, err := get(tx, key, parse)
		if errors.Is(err, ErrCorrupt) || err == nil && rev == 0 { // deleted since by another transaction
			continue
		}
		if err != nil {
			return err
		}
		if err := f(key, v, rev); err != nil {
			return err
		}
	}
	return nil
}
