package demo

import (
	"encoding/hex"
	"errors"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
)

// A member is the app of a device in a group. Whatever happens is one
// transaction, and what leaves the device leaves it after the commit:
//
//	write     roster, chain and sessions (sealGroup), clock, counters, parcel; then send
//	answered  who has the chain, parcel, line on the screen; then send what is next
//	receive   position, chain (openGroup) or session (takeKeys), roster, lines on the screen; then acknowledge
//
// It reads what arrives at once, in any order, and puts it in order on the
// screen: sesame holds what comes before the keys of its chain.
type member struct {
	*device
	chat [16]byte // the tag of the group, which says nothing to the server

	// The three calls of package sesame that a group adds.
	sealGroup func(tx sesame.Tx, g sesame.Group, plaintext []byte, wrap func(distribution []byte) []byte) (*sesame.GroupMessage, error)
	openGroup func(tx sesame.Tx, from sesame.Address, stamp uint64, message []byte) (*sesame.Result, error)
	takeKeys  func(tx sesame.Tx, r *sesame.Result, distribution []byte) ([]*sesame.Result, error)

	early bool            // something was left in the mailbox, see errEarly
	tell  func(happening) // for the account only
}

func newMember(d *device, chat [16]byte) *member {
	m := &member{device: d, chat: chat}
	m.sealGroup = func(tx sesame.Tx, g sesame.Group, plaintext []byte, wrap func([]byte) []byte) (*sesame.GroupMessage, error) {
		return d.sesame.EncryptGroup(tx, 0, g, plaintext, wrap)
	}
	m.openGroup = func(tx sesame.Tx, from sesame.Address, stamp uint64, message []byte) (*sesame.Result, error) {
		return d.sesame.DecryptGroup(tx, from, stamp, m.group(), message)
	}
	m.takeKeys = func(tx sesame.Tx, r *sesame.Result, distribution []byte) ([]*sesame.Result, error) {
		return d.sesame.ProcessDistribution(tx, r, m.group(), distribution)
	}
	return m
}

// group is what sesame calls the group. Everything that is encrypted is packed
// with the tag of the conversation, so that each plaintext says it as well.
func (m *member) group() string { return hex.EncodeToString(m.chat[:]) }

// update runs f in a transaction: tx is for package sesame, rows for our own.
func (m *member) update(f func(tx sesame.Tx, rows *relay.Tx) error) error {
	return m.process.do(func(tx sesame.Tx) error {
		return relay.Update(tx, func(rows *relay.Tx) error { return f(tx, rows) })
	})
}

// write puts a message into the outbox. With a roster it changes the membership,
// and tells those who are members then.
func (m *member) write(id [16]byte, text string, change *roster) error {
	if err := m.meetStrangers(change); err != nil {
		return err
	}
	return m.update(func(tx sesame.Tx, rows *relay.Tx) error {
		if change != nil {
			store(rows, "roster", change)
		}
		p := &parcel{Counter: next64(rows, "counter"), Note: note{Text: text, Roster: change}}
		h, err := m.header(rows, id)
		if err != nil {
			return err
		}
		p.Header = h
		return m.seal(tx, rows, p)
	})
}

// meetStrangers makes sessions with the devices of users of whom none is known.
// Of the others the server says which are missing.
func (m *member) meetStrangers(change *roster) error {
	r := change
	if r == nil {
		r = new(roster)
		if err := m.update(func(_ sesame.Tx, rows *relay.Tx) error { return load(rows, "roster", r) }); err != nil {
			return err
		}
	}
	for _, name := range r.Users {
		if known, err := m.known(user(name)); err != nil || len(known) > 0 {
			if err != nil {
				return err
			}
			continue
		}
		for _, other := range m.directory.devices(user(name)) {
			if other == m.id {
				continue
			}
			if err := m.meet(other, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// header is that of the next message, with a stamp of its own.
func (m *member) header(rows *relay.Tx, id [16]byte) (h envelope.Header, err error) {
	var stamp lamport.Stamp
	err = m.tick(rows, func(c *lamport.Clock) (err error) { stamp, err = c.Tick(); return err })
	return envelope.Header{Conversation: m.chat, ID: id, Sender: m.id, Stamp: uint64(stamp)}, err
}

// seal encrypts a parcel for those who are members now, and puts it, with its
// two frames, into the outbox. Who is gone since the last message, with any of
// his devices, makes sesame start a new chain here.
func (m *member) seal(tx sesame.Tx, rows *relay.Tx, p *parcel) error {
	var r roster
	if err := load(rows, "roster", &r); err != nil {
		return err
	}
	g := sesame.Group{Name: m.group(), Revision: r.Revision}
	for _, name := range r.Users {
		for a, err := range m.sesame.Devices(tx, name) {
			if err != nil {
				return err
			}
			if a != address(m.id) {
				g.Devices = append(g.Devices, a)
			}
		}
	}
	plaintext, err := p.Note.pack(&p.Header)
	if err != nil {
		return err
	}
	keysHeader, err := m.header(rows, newID())
	if err != nil {
		return err
	}
	var keys []byte
	var keysErr error
	out, err := m.sealGroup(tx, g, plaintext, func(distribution []byte) []byte {
		keys, keysErr = note{Chain: distribution}.pack(&keysHeader)
		return keys
	})
	if err = errors.Join(err, keysErr); err != nil {
		return err
	}
	p.Chain, p.KeysID, p.Keys = out.Chain, keysHeader.ID, nil
	if keys != nil {
		submit := &envelope.Submit{Header: keysHeader, Counter: next64(rows, "counter")}
		if submit.Recipients, err = m.keysTable(tx, out.Messages, keys); err != nil {
			return err
		}
		if p.Keys, err = submit.AppendBinary(nil); err != nil {
			return err
		}
	}
	submit := &envelope.Submit{Header: p.Header, Counter: p.Counter, Urgent: true, SharedType: sharedType, Shared: out.Ciphertext}
	var table []envelope.Recipient
	for _, v := range out.Messages {
		if v.Err == nil {
			table = append(table, envelope.Recipient{Device: deviceOf(v.To), RegistrationID: v.RegistrationID})
		}
	}
	if submit.Recipients, err = envelope.NewRecipients(table...); err != nil {
		return err
	}
	if p.Message, err = submit.AppendBinary(nil); err != nil {
		return err
	}
	store(rows, p.row(), p)
	return nil
}

// keysTable is who gets the distribution: who needs it, and then all devices of
// those users and of ours, for the server takes no message that leaves one out.
func (m *member) keysTable(tx sesame.Tx, messages []sesame.Message, keys []byte) (envelope.Recipients, error) {
	users := map[string]bool{address(m.id).User: true}
	for _, v := range messages {
		users[v.To.User] = users[v.To.User] || v.Bytes != nil
	}
	var table []envelope.Recipient
	for _, v := range messages {
		if v.Err != nil || !users[v.To.User] {
			continue
		}
		if v.Bytes == nil { // it has them: the same for it once more
			again, err := m.sesame.Encrypt(tx, keys, v.To)
			if err != nil {
				return envelope.Recipients{}, err
			}
			v = again[0]
		}
		table = append(table, envelope.Recipient{Device: deviceOf(v.To), RegistrationID: v.RegistrationID, Type: uint8(v.Type), Ciphertext: v.Bytes})
	}
	return envelope.NewRecipients(table...)
}

// next is the frame that is to be sent, nil if the outbox is empty: of the oldest
// parcel its keys, and then its message.
func (m *member) next() (frame []byte, err error) {
	err = m.update(func(_ sesame.Tx, rows *relay.Tx) error {
		p, err := oldest(rows)
		if frame = nil; p != nil {
			frame = p.frame()
		}
		return err
	})
	return frame, err
}

// answered is the server's answer to that frame. If it has other devices than
// we knew, nobody has got anything: the parcel is sealed anew, keys and all.
func (m *member) answered(r *envelope.Result) error {
	switch r.Code {
	case envelope.Accepted, envelope.Duplicate:
		return m.update(func(tx sesame.Tx, rows *relay.Tx) error {
			p, err := oldest(rows)
			if p == nil || err != nil || !p.asks(r.ID) {
				return err // answered before
			}
			if p.Keys != nil {
				to := p.recipients()
				p.Keys = nil
				store(rows, p.row(), p)
				return m.sesame.Distributed(tx, m.group(), p.Chain, to...)
			}
			rows.Delete(p.row())
			show(rows, r.Sequence, m.name, p.Note.Text)
			return nil
		})
	case envelope.DeviceMismatch:
		return m.repair(r)
	}
	return errRefused
}

// maxRounds is how often a server may name other devices for one message.
const maxRounds = 5

func (m *member) repair(r *envelope.Result) error {
	if err := m.update(func(tx sesame.Tx, _ *relay.Tx) error {
		for _, table := range []*envelope.Recipients{&r.Extra, &r.Stale} {
			for v := range table.All() {
				if err := m.sesame.Reset(tx, address(v.Device)); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, table := range []*envelope.Recipients{&r.Missing, &r.Stale} {
		for v := range table.All() {
			if err := m.meet(v.Device, v.RegistrationID); err != nil {
				return err
			}
		}
	}
	return m.update(func(tx sesame.Tx, rows *relay.Tx) error {
		p, err := oldest(rows)
		if p == nil || err != nil || !p.asks(r.ID) {
			return err
		}
		if p.Rounds++; p.Rounds > maxRounds {
			return errRefused
		}
		return m.seal(tx, rows, p) // for users of our roster only, whomever the server names
	})
}

// errRefused: an app would say that the message has failed.
var errRefused = errors.New("the server does not take a message of the group")

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

// tick changes the clock of the conversation.
func (m *member) tick(rows *relay.Tx, change func(*lamport.Clock) error) error {
	var c lamport.Clock
	if b := rows.Get("clock"); b != nil {
		if err := c.UnmarshalBinary(b); err != nil {
			return err
		}
	}
	if err := change(&c); err != nil {
		return err
	}
	b, err := c.AppendBinary(nil)
	rows.Put("clock", b)
	return err
}

// sharedType is the type of the one ciphertext for all: libsignal's number.
const sharedType = 7

// deviceOf is the server's name of an address.
func deviceOf(a sesame.Address) envelope.Device {
	return envelope.Device{User: user(a.User), ID: a.Device}
}

// tells has the account told when the transaction has committed.
func (m *member) tells(h happening) {
	if h.member = m; m.tell != nil {
		m.process.afterCommit(func() { m.tell(h) })
	}
}
