package sesame

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// senderKeyMessage is libsignal's type of a group message. No session takes it.
const senderKeyMessage ratchet.Type = 7

// Why a group message, or a distribution, is refused.
var (
	errOtherGroup   = fmt.Errorf("%w: the chain is that of another group", ErrUndecryptable)
	errEarlier      = fmt.Errorf("%w: the message is from before its distribution", ErrUndecryptable)
	errNotPairwise  = fmt.Errorf("%w: a distribution that no session brought", ErrUndecryptable)
	errOtherAuthor  = fmt.Errorf("%w: the chain is that of another identity key", ErrUndecryptable)
	errNotHeld      = fmt.Errorf("%w: %w", ErrUndecryptable, senderkey.ErrNoChain)
	errNoSuchSender = fmt.Errorf("%w: a stranger's message, and %w", ErrUndecryptable, senderkey.ErrNoChain)
)

// DecryptGroup decrypts the Ciphertext of a [GroupMessage]. Its chain has come
// before, with [Device.ProcessDistribution]; if not, the message is held until
// it does, and Err is [ErrHeld]: at most 64 messages and 256 KiB of a device, for
// 14 days, and none of devices that nothing is known of. timestamp is that which
// came with the message, 0 if none did, and is in the Result.
//
// group is the one that the delivery names, which proves nothing. It may be empty:
// [Result].Group is the one that the chain belongs to, and if the delivery names
// another the message is refused. In the WhatsApp family it must be there, and
// only the plaintext can confirm it.
//
// Who wrote the message is certain, and that he was given the group's name as its
// own; whether he is a member of it, the application knows. A distribution in
// the plaintext of a group message does not count.
//
// An error is the transaction's, or [ErrCorrupt], and means: roll back, and do
// not acknowledge. What is wrong with the message is in [Result].Err.
func (d *Device) DecryptGroup(tx Tx, from Address, timestamp uint64, group string, message []byte) (*Result, error) {
	if d == nil || d.config.Now == nil {
		return nil, ErrUninitialized
	}
	r := &Result{From: from, Timestamp: timestamp}
	needsGroup := d.config.Family == ratchet.WhatsApp
	if !from.valid() || !validGroup(group) && (group != "" || needsGroup) {
		r.Err = ErrAddress
		return r, nil
	}
	m, err := senderkey.ParseMessage(message, d.groupFamily())
	if err != nil {
		r.Err = undecryptable(err)
		return r, nil
	}
	r.typ, r.message = senderKeyMessage, message
	key := rowChain(from, d.tie(m.ID, group))
	c, rev, err := get(tx, key, parseChain)
	if err != nil {
		return nil, err
	}
	if rev == 0 {
		return r, d.hold(tx, r, group, key, rev)
	}
	if group != "" && group != c.group {
		r.Err = errOtherGroup
		return r, nil
	}
	receiver, receiverRev, err := d.receiver(tx, from, c.group, c.identity)
	if err != nil {
		return nil, err
	}
	if receiverRev == 0 {
		if err = unchangedRow(tx, key, rev); err == nil {
			err = ErrCorrupt
		}
		return nil, err
	}
	p, _, err := d.peer(tx, from)
	if err != nil {
		return nil, err
	}
	if held := r.open(receiver, c, p, m); held {
		return r, d.hold(tx, r, group, key, rev)
	}
	if r.Err != nil {
		return r, unchangedRow(tx, key, rev) // it says where the chain starts
	}
	return r, put(tx, rowReceiver(from, c.group, c.identity), receiver, receiverRev)
}

// open decrypts the message of r with the chains of its device, and reports
// whether it has to wait for its chain. If Err is nil then the receiver has
// changed.
func (r *Result) open(receiver *receiverRecord, c *chainRecord, p *peerRecord, m *senderkey.Message) (wait bool) {
	plaintext, missing, err := receiver.Decrypt(nil, r.message)
	switch {
	case err == nil:
		r.Err = nil
		r.Plaintext, r.Missing = plaintext, missing
		r.Identity, r.IdentityChanged = c.identity, c.identity != p.identity
		r.Group = c.group
	case err == senderkey.ErrNoChain:
		return true
	case err == senderkey.ErrDuplicate && c.before(m):
		r.Err = errEarlier
	case err == senderkey.ErrDuplicate:
		r.Err = ErrDuplicate
	default:
		r.Err = undecryptable(err)
	}
	return false
}

// hold keeps the message of r until its chain comes. Who brings a chain writes
// the row of what waits, and the row of the chain, chainKey: what was brought
// before the first is read shows in the second, which had revision chainRev when
// the chain was not there; what is brought later is a conflict.
func (d *Device) hold(tx Tx, r *Result, group, chainKey string, chainRev uint64) error {
	p, _, err := d.peer(tx, r.From)
	if err != nil {
		return err
	}
	waiting, rev, err := d.held(tx, r.From)
	if err != nil {
		return err
	}
	if err := unchangedRow(tx, chainKey, chainRev); err != nil {
		return err
	}
	if p.newest() == none {
		r.Err = errNoSuchSender
		return nil
	}
	if !waiting.add(held{d.config.Now(), r.Timestamp, group, r.message}) {
		r.Err = errNotHeld
		return nil
	}
	r.Err = ErrHeld
	return put(tx, rowHeld(r.From), waiting, rev)
}

// ProcessDistribution takes a distribution that the application has found, with
// the name of its group, in the plaintext of r: a Result of [Device.Decrypt] in
// the same transaction, of a pairwise message. The chain is that of the device,
// and of the identity key, that wrote it, and of no other; and its distribution ID
// is the group's from now on. Libsignal's clients do not name the group beside
// it: give them a name for the ID, and look for the group in each message.
//
// The results are the messages that were held for it, as DecryptGroup would give
// them now, and have the Timestamp that came with them. A distribution that is refused
// is one Result with Err and nothing else: if r is not of a pairwise message or has
// no plaintext, if the bytes are none, or if the chain is that of another group or
// was dropped before. Store what there is, commit, and acknowledge the message.
//
// Whether the group is one of ours, with the author in it, the application knows:
// give no others. An error is the transaction's, or [ErrCorrupt], and means: roll
// back, and do not acknowledge.
func (d *Device) ProcessDistribution(tx Tx, r *Result, group string, distribution []byte) ([]*Result, error) {
	if d == nil || d.config.Now == nil || r == nil {
		return nil, ErrUninitialized
	}
	refused := func(err error) ([]*Result, error) { return []*Result{{From: r.From, Err: err}}, nil }
	if r.Err != nil || r.Identity == none || r.typ != ratchet.Ordinary && r.typ != ratchet.Initial {
		return refused(errNotPairwise)
	}
	if !validGroup(group) {
		return refused(ErrAddress)
	}
	dist, err := senderkey.ParseDistribution(distribution, d.groupFamily())
	if err != nil {
		return refused(undecryptable(err))
	}
	tie := d.tie(dist.ID(), group)
	c, rev, err := get(tx, rowChain(r.From, tie), parseChain)
	if err != nil {
		return nil, err
	}
	switch {
	case rev == 0:
		c = new(chainRecord)
	case c.identity != r.Identity && r.IdentityChanged:
		return refused(errOtherAuthor)
	case c.identity != r.Identity: // that one is the trusted key now
		c = new(chainRecord)
	case c.group != group:
		return refused(errOtherGroup)
	}
	receiver, receiverRev, err := d.receiver(tx, r.From, group, r.Identity)
	if err != nil {
		return nil, err
	}
	if err := receiver.Process(dist); err != nil {
		return refused(undecryptable(err))
	}
	if receiverRev == 0 && r.IdentityChanged {
		if err := d.forgetOlderKeys(tx, r); err != nil {
			return nil, err
		}
	}
	c.came(dist)
	c.identity, c.group = r.Identity, group
	if err := put(tx, rowChain(r.From, tie), c, rev); err != nil {
		return nil, err
	}
	for _, gone := range receiver.distributed(tie) {
		if err := d.forgetTie(tx, r, group, gone); err != nil {
			return nil, err
		}
	}
	released, err := d.release(tx, r.From, tie, receiver, c)
	if err != nil {
		return nil, err
	}
	return released, put(tx, rowReceiver(r.From, group, r.Identity), receiver, receiverRev)
}

// forgetOlderKeys deletes the chains that r's device distributed under identity
// keys that were neither trusted nor are what it shows: there is no end of them.
func (d *Device) forgetOlderKeys(tx Tx, r *Result) error {
	p, _, err := d.peer(tx, r.From)
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, k := range []x3dh.PublicKey{p.identity, p.newest(), r.Identity} {
		if k != none {
			kept[identityKey(k)] = true
		}
	}
	return forgetReceivers(tx, r.From.key()+"/", func(_, identity string) bool { return !kept[identity] })
}

// forgetTie deletes a tie whose chain had to go, if it is that receiver's still.
func (d *Device) forgetTie(tx Tx, r *Result, group, tie string) error {
	c, rev, err := get(tx, rowChain(r.From, tie), parseChain)
	if err != nil || rev == 0 || c.group != group || c.identity != r.Identity {
		return err
	}
	return tx.Delete(rowChain(r.From, tie), rev)
}

// release decrypts what was held for a chain. The row is written in any case:
// see hold.
func (d *Device) release(tx Tx, from Address, tie string, receiver *receiverRecord, c *chainRecord) (released []*Result, err error) {
	p, _, err := d.peer(tx, from)
	if err != nil {
		return nil, err
	}
	waiting, rev, err := d.held(tx, from)
	if errors.Is(err, ErrCorrupt) { // what nothing has authenticated keeps no chain away
		_, rev, err = tx.Get(rowHeld(from))
		waiting = new(heldRecord)
	}
	if err != nil {
		return nil, err
	}
	var kept heldRecord
	for _, h := range waiting.messages {
		r := &Result{From: from, Timestamp: h.timestamp, typ: senderKeyMessage, message: h.message}
		m, err := senderkey.ParseMessage(h.message, d.groupFamily())
		switch {
		case err != nil:
			continue // it was one when it was held
		case d.tie(m.ID, h.group) != tie:
			kept.messages = append(kept.messages, h)
			continue
		case h.group != "" && h.group != c.group:
			r.Err = errOtherGroup
		case r.open(receiver, c, p, m):
			kept.messages = append(kept.messages, h)
			continue
		}
		released = append(released, r)
	}
	return released, put(tx, rowHeld(from), &kept, rev)
}
