package demo

import (
	"errors"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/sesame"
)

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
