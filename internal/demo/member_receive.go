package demo

import (
	"errors"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
)

// receive takes a delivery. When it returns without an error the outcome is in
// the rows, and the answer says what the server may forget; nil: nothing yet.
func (m *member) receive(d *envelope.Deliver) (answer envelope.Message, err error) {
	var at position
	keys := false
	err = m.update(func(tx sesame.Tx, rows *relay.Tx) (err error) {
		at, keys = position{}, false
		if err := load(rows, "position", &at); err != nil {
			return err
		}
		switch {
		case !at.arrives(rows, d.Untrusted):
			m.tells(happening{what: hadIt, of: d.Header})
		case d.Type == sharedType:
			err = m.readMessage(tx, rows, d)
		default:
			keys = true
			err = m.readKeys(tx, rows, d)
		}
		return err
	})
	switch {
	case errors.Is(err, errEarly):
		m.early = true
		return nil, nil
	case err != nil:
		return nil, err
	case keys && m.early:
		m.early = false
		return at.fetch(), nil
	case at.At == 0:
		return nil, nil
	}
	return &envelope.Ack{MailboxEpoch: at.Epoch, Position: at.At}, nil
}

// errEarly: the message is of a member with whom there is no session yet, and
// package sesame holds nothing of strangers. Nothing is stored, so it stays in
// the mailbox, and is asked for when keys have come. (An app gives up after a
// while, or who never sends his keys would fill the mailbox.)
var errEarly = errors.New("a message before the first of its author's keys")

// readMessage opens a message of the group, or keeps what stood on its envelope
// until the keys come: sesame keeps the message.
func (m *member) readMessage(tx sesame.Tx, rows *relay.Tx, d *envelope.Deliver) error {
	r, err := m.openGroup(tx, address(d.Header.Sender), d.Header.Stamp, d.Ciphertext)
	if err != nil {
		return err
	}
	w := &waiting{d.Header, d.Untrusted.Sequence}
	if errors.Is(r.Err, sesame.ErrHeld) {
		store(rows, waitingRow(r), w)
	}
	if errors.Is(r.Err, senderkey.ErrNoChain) {
		if member, err := admits(rows, r.From.User); member || err != nil {
			return errors.Join(err, errEarly)
		}
	}
	return m.take(rows, w, r)
}

// readKeys opens a pairwise message, which brings the keys of its author's chain,
// and takes what was held for them.
func (m *member) readKeys(tx sesame.Tx, rows *relay.Tx, d *envelope.Deliver) error {
	r, err := m.sesame.Decrypt(tx, address(d.Header.Sender), ratchet.Type(d.Type), d.Ciphertext)
	if err != nil {
		return err
	}
	n, verdict := m.unpack(rows, &d.Header, r)
	if verdict != nil || n.Chain == nil {
		m.tells(happening{what: didRefuse, of: d.Header, why: verdict})
		return nil
	}
	results, err := m.takeKeys(tx, r, n.Chain)
	if err != nil {
		return err
	}
	m.tells(happening{what: gotKeys, of: d.Header})
	for _, r := range results {
		w := new(waiting)
		if err := load(rows, waitingRow(r), w); err != nil {
			return err
		}
		if w.Number == 0 { // the distribution itself was refused
			m.tells(happening{what: didRefuse, of: d.Header, why: r.Err})
			continue
		}
		rows.Delete(waitingRow(r))
		if err := m.take(rows, w, r); err != nil {
			return err
		}
	}
	return nil
}

// take puts a message on the screen, or notes the verdict that there is none.
func (m *member) take(rows *relay.Tx, w *waiting, r *sesame.Result) error {
	n, verdict := m.unpack(rows, &w.Header, r)
	if verdict != nil {
		what := didRefuse
		if errors.Is(verdict, sesame.ErrHeld) {
			what = didHold
		}
		m.tells(happening{what: what, of: w.Header, why: verdict})
		return nil
	}
	var known roster
	if err := load(rows, "roster", &known); err != nil {
		return err
	}
	if n.Roster != nil && n.Roster.Revision > known.Revision {
		store(rows, "roster", n.Roster)
	}
	show(rows, w.Number, address(w.Header.Sender).User, n.Text)
	m.tells(happening{what: didRead, of: w.Header})
	return m.tick(rows, func(c *lamport.Clock) error { return c.Observe(lamport.Stamp(w.Header.Stamp)) })
}

// errStranger: the author is no member.
var errStranger = errors.New("its author is no member")

// unpack is what a result says, if it is what its envelope says and of a member.
func (m *member) unpack(rows *relay.Tx, h *envelope.Header, r *sesame.Result) (n note, verdict error) {
	if r.Err != nil {
		return n, r.Err
	}
	body, err := envelope.Unpack(h, envelope.Sender(deviceOf(r.From)), r.Plaintext)
	if err != nil {
		return n, err
	}
	member, err := admits(rows, r.From.User)
	if err == nil && !member {
		err = errStranger
	}
	return n, errors.Join(err, n.parse(body))
}

// admits reports whether a user is a member. Who has no roster is being added,
// and does not know yet.
func admits(rows *relay.Tx, user string) (bool, error) {
	var known roster
	err := load(rows, "roster", &known)
	return known.Revision == 0 || known.has(user), err
}
