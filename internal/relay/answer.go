package relay

import (
	"errors"
	"slices"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
)

// answered is the transaction of a Result: the outbox row goes, and the line on
// the screen moves to its place. It returns a frame to send if the message was
// not accepted and had to be sealed anew.
func (c *Client) answered(tx *Tx, r *envelope.Result) ([]byte, error) {
	outbox, m, key, err := c.waiting(tx, r.ID)
	if m == nil || err != nil {
		return nil, err // answered before
	}
	line := "screen/" + string(key[:])
	body := tx.Get(line)[17:]
	finish := func(key lamport.Key, state State) {
		tx.Delete(outbox)
		tx.Delete(line)
		c.show(tx, key, state, m.Header.Conversation, body)
	}
	switch r.Code {
	case envelope.Accepted, envelope.Duplicate:
		p := lamport.Position{Epoch: r.Epoch, Number: r.Sequence}
		confirmed, err := key.Confirm(p)
		if err != nil { // before what we had seen when we wrote it
			c.count(func(s *Stats) { s.Reordered++ })
			confirmed = lamport.ConfirmedKey(p, lamport.Stamp(m.Header.Stamp), lamport.Device(c.Self), r.ID)
		}
		c.sees(tx, m.Header.Conversation, p)
		finish(confirmed, Sent)
	case envelope.TooOld: // sent, and its place is not known
		finish(key, Sent)
	case envelope.Refused:
		finish(key, Failed)
	case envelope.DeviceMismatch:
		if nobodyLeft(m, r) {
			finish(key, Failed)
			return nil, nil
		}
		return c.again(tx, outbox, m, key, body, r)
	case envelope.ClockBound:
		// Somebody has inflated our clock, or the server lost stamps. The
		// message was not accepted: it gets another stamp.
		clockKey := clockKey(m.Header.Conversation)
		var clock lamport.Clock
		if err := tx.load(clockKey, &clock); err != nil {
			return nil, err
		}
		if lamport.Stamp(r.MaxStamp) < clock.Now() {
			if clock, err = lamport.NewClock(lamport.Stamp(r.MaxStamp)); err != nil {
				return nil, err
			}
		}
		stamp, err := clock.Tick()
		if err != nil {
			return nil, err
		}
		if err := tx.save(clockKey, &clock); err != nil {
			return nil, err
		}
		m.Header.Stamp = uint64(stamp)
		tx.Delete(line)
		key = lamport.PendingKey(c.seen(tx, m.Header.Conversation), stamp, lamport.Device(c.Self), m.Header.ID)
		c.show(tx, key, Pending, m.Header.Conversation, body)
		return c.again(tx, outbox, m, key, body, r)
	case envelope.Quota:
		// A program with a clock waits for RetryAfter; this one sends with the
		// next connection.
	}
	return nil, nil
}

// nobodyLeft reports whether a repaired device table would be empty: the
// recipients have left, and a frame to nobody does not exist. Such a message
// would be sealed in vain at every connection, and nothing behind it be sent.
func nobodyLeft(m *envelope.Submit, r *envelope.Result) bool {
	gone := map[envelope.Device]bool{}
	for v := range r.Extra.All() {
		gone[v.Device] = true
	}
	for _, table := range []*envelope.Recipients{&m.Recipients, &r.Missing, &r.Stale} {
		for v := range table.All() {
			if table != &m.Recipients || !gone[v.Device] {
				return false
			}
		}
	}
	return true
}

// again seals a message that was not accepted: for the devices that the server
// named and, after a new stamp, for all. Message ID and counter stay.
func (c *Client) again(tx *Tx, outbox string, m *envelope.Submit, key lamport.Key, body []byte, r *envelope.Result) ([]byte, error) {
	named := map[envelope.Device]envelope.Recipient{}
	for _, list := range []*envelope.Recipients{&r.Missing, &r.Stale} {
		for v := range list.All() {
			named[v.Device] = v
		}
	}
	gone := map[envelope.Device]bool{}
	for v := range r.Extra.All() {
		gone[v.Device] = true
	}
	keep := map[envelope.Device]envelope.Recipient{}
	var to []envelope.Recipient
	for v := range m.Recipients.All() {
		if _, ok := named[v.Device]; ok || gone[v.Device] {
			continue
		}
		if r.Code == envelope.DeviceMismatch {
			v.Ciphertext = slices.Clone(v.Ciphertext)
			keep[v.Device] = v
		}
		to = append(to, envelope.Recipient{Device: v.Device, RegistrationID: v.RegistrationID})
	}
	for _, v := range named {
		to = append(to, v)
	}
	next := &envelope.Submit{Header: m.Header, Counter: m.Counter, Urgent: m.Urgent}
	frame, err := c.seal(tx, next, to, body, keep)
	if err != nil {
		return nil, err
	}
	tx.Put(outbox, append(key[:], frame...))
	return frame, nil
}

// waiting finds the message of the outbox with an ID.
func (c *Client) waiting(tx *Tx, id [16]byte) (row string, m *envelope.Submit, key lamport.Key, err error) {
	for _, k := range tx.Keys("outbox/") {
		b := tx.Get(k)
		var f envelope.Frame
		v, err := f.Parse(b[len(key):])
		if err != nil {
			return "", nil, key, err
		}
		if m := v.(*envelope.Submit); m.Header.ID == id {
			copy(key[:], b)
			return k, m, key, nil
		}
	}
	return "", nil, key, nil
}

func (c *Client) count(f func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.stats)
}

// verdict of a delivery that is not shown.
var errVerdict = errors.New("relay: not shown")
