package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
)

// maxRounds is how often a message is sealed anew before it has failed: with a
// server that names other devices every time, it would be for ever.
const maxRounds = 5

// A letter is a message of our own that waits for its answer.
type letter struct {
	row    string // in the outbox
	rounds byte   // how often it was sealed anew
	key    lamport.Key
	m      *envelope.Submit
}

func parseLetter(row string, b []byte) (*letter, error) {
	l := &letter{row: row}
	if len(b) < 16+1+len(l.key) {
		return nil, errCorrupt
	}
	l.rounds = b[16]
	copy(l.key[:], b[17:])
	var f envelope.Frame
	v, err := f.Parse(b[17+len(l.key):])
	m, ok := v.(*envelope.Submit)
	if err != nil || !ok {
		return nil, errCorrupt
	}
	l.m = m
	return l, nil
}

// put stores a letter with its frame. The conversation stands first, for those
// who look for the next letter of a conversation.
func (l *letter) put(tx *Tx, frame []byte) {
	b := append(l.m.Header.Conversation[:], l.rounds)
	tx.Put(l.row, append(append(b, l.key[:]...), frame...))
}

// answered is the transaction of a Result. A message that is settled leaves the
// outbox, and its line on the screen moves to its place; one that was not
// accepted is sealed anew. It returns the conversation in which there is now
// something to send, if there is.
func (c *Client) answered(tx *Tx, r *envelope.Result) (conversation [16]byte, more bool, err error) {
	l, err := c.letter(tx, r.ID)
	if l == nil || err != nil {
		return conversation, false, err // answered before
	}
	conversation = l.m.Header.Conversation
	switch r.Code {
	case envelope.Accepted, envelope.Duplicate:
		p := lamport.Position{Epoch: r.Epoch, Number: r.Sequence}
		confirmed, err := l.key.Confirm(p)
		if err != nil { // before what we had seen when we wrote it
			tx.stats.Contradictions++
			confirmed = lamport.ConfirmedKey(p, lamport.Stamp(l.m.Header.Stamp), lamport.Device(c.Self), r.ID)
		}
		c.sees(tx, conversation, p)
		return conversation, true, errors.Join(c.observe(tx, &l.m.Header), c.settle(tx, l, confirmed, Sent))
	case envelope.TooOld: // sent, and its place is not known
		return conversation, true, errors.Join(c.observe(tx, &l.m.Header), c.settle(tx, l, l.key, Sent))
	case envelope.Refused:
		return conversation, true, c.settle(tx, l, l.key, Failed)
	case envelope.DeviceMismatch:
		return conversation, true, c.repair(tx, l, r)
	case envelope.ClockBound:
		return conversation, true, c.lower(tx, l, r)
	}
	// Quota. A program with a clock waits for RetryAfter; this one sends the
	// message, and those behind it, with the next connection.
	return conversation, false, nil
}

// observe notes the stamp of a message that was accepted.
func (c *Client) observe(tx *Tx, h *envelope.Header) error {
	var clock lamport.Clock
	if err := tx.load(clockKey(h.Conversation), &clock); err != nil {
		return err
	}
	if err := clock.Observe(lamport.Stamp(h.Stamp)); err != nil {
		return err
	}
	return tx.save(clockKey(h.Conversation), &clock)
}

// body is what the line of a letter on the screen says.
func (l *letter) body(tx *Tx) ([]byte, error) {
	line := tx.Get(lineKey(l.key))
	if len(line) < 17 {
		return nil, errCorrupt
	}
	return line[17:], nil
}

// settle takes a letter from the outbox and moves its line to key.
func (c *Client) settle(tx *Tx, l *letter, key lamport.Key, state State) error {
	tx.Delete(l.row)
	return c.move(tx, l, key, state)
}

// move moves the line of a letter on the screen.
func (c *Client) move(tx *Tx, l *letter, key lamport.Key, state State) error {
	body, err := l.body(tx)
	if err != nil {
		return err
	}
	tx.Delete(lineKey(l.key))
	c.show(tx, key, state, l.m.Header.Conversation, body)
	l.key = key
	return nil
}

// named lists the devices that a message is to be sealed for.
func named(r *envelope.Result) (list []envelope.Recipient) {
	seen := map[envelope.Device]bool{}
	for _, table := range []*envelope.Recipients{&r.Missing, &r.Stale} {
		for v := range table.All() {
			if !seen[v.Device] {
				list = append(list, v)
			}
			seen[v.Device] = true
		}
	}
	return list
}

// meet makes sessions with the devices that the server names, if the message is
// ours and waits. It comes before the transaction of the answer.
func (c *Client) meet(r *envelope.Result) error {
	if c.Meet == nil {
		return nil
	}
	meet := false
	if err := c.update(func(tx *Tx) error {
		l, err := c.letter(tx, r.ID)
		meet = l != nil && !c.strange(l.m, r)
		return err
	}); err != nil || !meet {
		return err
	}
	return c.Meet(named(r))
}

// strange reports whether the server names a device that the message is not for:
// ourselves, a device of a user who is neither in its table nor ourselves, or of
// one who is no member. Else a server could add anybody to a conversation.
func (c *Client) strange(m *envelope.Submit, r *envelope.Result) bool {
	users := map[[16]byte]bool{c.Self.User: true}
	for v := range m.Recipients.All() {
		users[v.Device.User] = true
	}
	for _, v := range named(r) {
		if v.Device == c.Self || !users[v.Device.User] ||
			c.Member != nil && !c.Member(m.Header.Conversation, v.Device) {
			return true
		}
	}
	return false
}

// repair seals a message anew for the devices that the server names. What fits
// stays as it is, and so do message ID and counter.
func (c *Client) repair(tx *Tx, l *letter, r *envelope.Result) error {
	if c.strange(l.m, r) {
		tx.stats.Contradictions++
		return c.settle(tx, l, l.key, Failed)
	}
	gone := map[envelope.Device]bool{}
	for v := range r.Extra.All() {
		gone[v.Device] = true
	}
	want := map[envelope.Device]uint32{}
	for _, v := range named(r) {
		want[v.Device] = v.RegistrationID
		delete(gone, v.Device)
	}
	var to []envelope.Recipient
	unreached := map[[16]byte]bool{} // other users, of whom there are no devices any more
	for v := range l.m.Recipients.All() {
		if v.Device.User != c.Self.User {
			unreached[v.Device.User] = true
		}
		if id, ok := want[v.Device]; !gone[v.Device] && (!ok || id == v.RegistrationID) {
			v.Ciphertext = slices.Clone(v.Ciphertext)
			to = append(to, v)
			delete(want, v.Device)
		}
	}
	for _, v := range named(r) {
		if _, ok := want[v.Device]; ok {
			to = append(to, v)
		}
	}
	others := len(unreached)
	for _, v := range to {
		delete(unreached, v.Device.User)
	}
	if others > 0 && len(unreached) == others { // nobody is left but ourselves
		return c.settle(tx, l, l.key, Failed)
	}
	l.rounds++
	return c.again(tx, l, to, len(unreached))
}

// again seals a letter for those recipients that have no ciphertext, and puts it
// back into the outbox; so many users it does not reach any more. It has failed if
// nobody is left, if a device is excluded by our own rules, or after too many rounds.
func (c *Client) again(tx *Tx, l *letter, to []envelope.Recipient, unreached int) error {
	if len(to) == 0 || l.rounds > maxRounds {
		return c.settle(tx, l, l.key, Failed)
	}
	body, err := l.body(tx)
	if err != nil {
		return err
	}
	l.m = &envelope.Submit{Header: l.m.Header, Counter: l.m.Counter, Urgent: l.m.Urgent}
	frame, err := c.seal(tx, l.m, to, body)
	if errors.Is(err, ErrExcluded) || errors.Is(err, envelope.ErrTooLarge) {
		return c.settle(tx, l, l.key, Failed)
	}
	if err != nil {
		return err
	}
	l.put(tx, frame)
	tx.stats.Unreached += unreached
	return nil
}

// lower is the answer ClockBound: our clock was too high. The message was not
// accepted, and those behind it were not sent yet: they all get lower stamps, in
// their order.
func (c *Client) lower(tx *Tx, refused *letter, r *envelope.Result) error {
	h := &refused.m.Header
	var clock lamport.Clock
	if err := tx.load(clockKey(h.Conversation), &clock); err != nil {
		return err
	}
	err := clock.Lower(lamport.Stamp(h.Stamp), lamport.Stamp(r.MaxStamp))
	if errors.Is(err, lamport.ErrOrder) {
		tx.stats.Contradictions++
		return c.settle(tx, refused, refused.key, Failed)
	}
	if err != nil {
		return err
	}
	for _, row := range tx.Keys("outbox/") {
		l, err := parseLetter(row, tx.Get(row))
		if err != nil {
			return err
		}
		if l.m.Header.Conversation != h.Conversation {
			continue
		}
		stamp, err := clock.Tick()
		if err != nil {
			return err
		}
		l.m.Header.Stamp = uint64(stamp)
		anchor := lamport.Position{Epoch: binary.BigEndian.Uint32(l.key[:]), Number: binary.BigEndian.Uint64(l.key[4:])}
		if l.row == refused.row {
			l.rounds++
		}
		if err := c.move(tx, l, lamport.PendingKey(anchor, stamp, lamport.Device(c.Self), l.m.Header.ID), Pending); err != nil {
			return err
		}
		var to []envelope.Recipient
		for v := range l.m.Recipients.All() {
			to = append(to, envelope.Recipient{Device: v.Device, RegistrationID: v.RegistrationID})
		}
		if err := c.again(tx, l, to, 0); err != nil {
			return err
		}
	}
	return tx.save(clockKey(h.Conversation), &clock)
}

// letter finds the message of the outbox with an ID; nil if there is none.
func (c *Client) letter(tx *Tx, id [16]byte) (*letter, error) {
	for _, row := range tx.Keys("outbox/") {
		l, err := parseLetter(row, tx.Get(row))
		if err != nil || l.m.Header.ID == id {
			return l, err
		}
	}
	return nil, nil
}

func clockKey(conversation [16]byte) string { return fmt.Sprintf("clock/%x", conversation) }
func lineKey(key lamport.Key) string        { return "screen/" + string(key[:]) }

// errCorrupt: rows of the store do not belong together.
var errCorrupt = errors.New("relay: corrupt store")
