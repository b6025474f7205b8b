package sesame

import (
	"crypto/subtle"
	"slices"
	"time"

	"github.com/sotto-im/sotto/internal/wire"
)

// The limits of messages that wait for their distribution (SPEC.md §10.10), for
// each device.
const (
	maxHeld      = 64
	maxHeldBytes = 256 << 10
	heldAge      = sendLogAge // after it nobody sends them again either
)

// A heldRecord is the messages of a device that wait for a distribution. Nothing
// has authenticated them.
type heldRecord struct{ messages []held } // the oldest first

// A held message is one as DecryptGroup got it.
type held struct {
	since     time.Time
	timestamp uint64
	group     string // that the delivery names
	message   []byte
}

func parseHeld(b []byte) (*heldRecord, error) {
	r := new(heldRecord)
	d := wire.Decode(b)
	for d.Next() {
		if d.Num() != 1 {
			d.Fail()
			break
		}
		h, err := parseHeldMessage(d.Repeated())
		if err != nil || !r.add(h) {
			d.Fail()
		}
	}
	return r, d.Close()
}

func parseHeldMessage(b []byte) (h held, err error) {
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			h.since = time.UnixMilli(int64(d.Uint64()))
		case 2:
			h.timestamp = d.Uint64()
		case 3:
			h.group = string(d.Bytes())
		case 4:
			h.message = d.Bytes()
		default:
			d.Fail()
		}
	}
	return h, d.Close(1, 4)
}

func (r *heldRecord) AppendBinary(b []byte) ([]byte, error) {
	for _, h := range r.messages {
		m := wire.AppendUint(nil, 1, uint64(h.since.UnixMilli()))
		m = wire.AppendUintNonZero(m, 2, h.timestamp)
		if h.group != "" {
			m = wire.AppendBytes(m, 3, []byte(h.group))
		}
		b = wire.AppendBytes(b, 1, wire.AppendBytes(m, 4, h.message))
	}
	return b, nil
}

// expire drops what is too old.
func (r *heldRecord) expire(now time.Time) {
	r.messages = slices.DeleteFunc(r.messages, func(h held) bool { return !within(h.since, now, heldAge) })
}

// add holds a message, and reports whether it does: not one over the limits. A
// message that is there stays as it is; under another group it is another one,
// which a lie about the group does not take the place of.
func (r *heldRecord) add(h held) bool {
	size := len(h.message)
	for _, other := range r.messages {
		if h.timestamp == other.timestamp && h.group == other.group && subtle.ConstantTimeCompare(h.message, other.message) == 1 {
			return true
		}
		size += len(other.message)
	}
	if len(r.messages) == maxHeld || size > maxHeldBytes {
		return false
	}
	r.messages = append(r.messages, h)
	return true
}

// held reads the messages of a device that wait, less those that have expired.
func (d *Device) held(tx Tx, a Address) (*heldRecord, uint64, error) {
	r, rev, err := get(tx, rowHeld(a), parseHeld)
	if err != nil {
		return nil, 0, err
	}
	if rev == 0 {
		r = new(heldRecord)
	}
	r.expire(d.config.Now())
	return r, rev, nil
}

// pruneHeld deletes messages that have waited too long. It leaves the rows: to a
// transaction that holds a message, and found no row, one that a distribution
// made and that is deleted again would look like none, and both would commit.
func (d *Device) pruneHeld(tx Tx) error {
	return each(tx, rowsHeld, parseHeld, func(key string, r *heldRecord, rev uint64) error {
		n := len(r.messages)
		if r.expire(d.config.Now()); len(r.messages) == n {
			return nil
		}
		return put(tx, key, r, rev)
	})
}
