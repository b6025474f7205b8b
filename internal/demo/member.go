package demo

import (
	"encoding/hex"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/lamport"
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

// header is that of the next message, with a stamp of its own.
func (m *member) header(rows *relay.Tx, id [16]byte) (h envelope.Header, err error) {
	var stamp lamport.Stamp
	err = m.tick(rows, func(c *lamport.Clock) (err error) { stamp, err = c.Tick(); return err })
	return envelope.Header{Conversation: m.chat, ID: id, Sender: m.id, Stamp: uint64(stamp)}, err
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
