package lamport

import (
	"bytes"
	"cmp"
	"encoding/binary"
)

// A Position is a place in something that is numbered without holes from 1: a
// conversation (its sequence) or a mailbox. The numbering starts again in every
// epoch, which a server raises when it may have lost what it had committed. The
// zero value is before every position. SPEC.md §9.3.
type Position struct {
	Epoch  uint32 // from 1
	Number uint64 // 1 to Max
}

// Compare orders positions by epoch and then by number. It returns -1, 0 or 1.
func (p Position) Compare(o Position) int {
	return cmp.Or(cmp.Compare(p.Epoch, o.Epoch), cmp.Compare(p.Number, o.Number))
}

func (p Position) valid() bool { return p.Epoch != 0 && p.Number != 0 && p.Number <= Max }

// A Key is where a message stands on the screen. Keys are compared as bytes, in
// Go, in SQL or in an index, and the order is total: the same set of messages
// has the same order on every device, whatever the order of arrival. The zero
// value is before every key. SPEC.md §9.3.
//
// There is no order "by sequence if both have one, else by stamp": it is
// cyclic, so sorting by it depends on arrival. A message without a sequence
// stands behind the last one that its device had seen, its anchor.
type Key [57]byte

// Parts of a key: epoch 4 ‖ number 8 ‖ tier 1 ‖ stamp 8 ‖ user 16 ‖ device 4 ‖
// message ID 16, all big endian.
const (
	keyTier   = 12
	confirmed = 0
	pending   = 1
)

// ConfirmedKey is the key of a message that the server has put at position p.
func ConfirmedKey(p Position, stamp Stamp, sender Device, id [16]byte) Key {
	return newKey(p, confirmed, stamp, sender, id)
}

// PendingKey is the key of a message that waits for its answer. The anchor is
// the highest confirmed position that the device had seen in the conversation
// when the message was written; the zero Position if there was none.
func PendingKey(anchor Position, stamp Stamp, sender Device, id [16]byte) Key {
	return newKey(anchor, pending, stamp, sender, id)
}

func newKey(p Position, tier byte, stamp Stamp, sender Device, id [16]byte) (k Key) {
	binary.BigEndian.PutUint32(k[0:], p.Epoch)
	binary.BigEndian.PutUint64(k[4:], p.Number)
	k[keyTier] = tier
	binary.BigEndian.PutUint64(k[13:], uint64(stamp))
	copy(k[21:], sender.User[:])
	binary.BigEndian.PutUint32(k[37:], sender.ID)
	copy(k[41:], id[:])
	return k
}

// Confirm is the key that a pending key becomes when the answer is position p.
// The message moves once, and never up: an honest server sequences a message
// after everything that its sender had seen. For any other p, and for a key that
// is not pending, Confirm fails with [ErrOrder] and returns k. A receiver to whom
// the sender tells the anchor can check the server with the same call.
func (k Key) Confirm(p Position) (Key, error) {
	anchor := Position{binary.BigEndian.Uint32(k[0:]), binary.BigEndian.Uint64(k[4:])}
	if k[keyTier] != pending || !p.valid() || p.Compare(anchor) <= 0 {
		return k, ErrOrder
	}
	c := k
	binary.BigEndian.PutUint32(c[0:], p.Epoch)
	binary.BigEndian.PutUint64(c[4:], p.Number)
	c[keyTier] = confirmed
	return c, nil
}

// Compare compares keys as bytes. It returns -1, 0 or 1.
func (k Key) Compare(o Key) int { return bytes.Compare(k[:], o[:]) }
