package relay

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
)

// Rows of the server:
//
//	epoch                          the epoch of the store
//	device/USER/DEVICE             registration ID
//	conversation/ID                lamport.Conversation
//	window/USER/DEVICE             lamport.Window
//	receipt/USER/DEVICE/MESSAGE    lamport.Receipt
//	mailbox/USER/DEVICE            head of a mailbox
//	item/USER/DEVICE/POSITION      envelope.Deliver, ready to send

func deviceKey(prefix string, d envelope.Device) string {
	return fmt.Sprintf("%s/%x/%08x", prefix, d.User, d.ID)
}

func itemKey(d envelope.Device, position uint64) string {
	return fmt.Sprintf("%s/%016x", deviceKey("item", d), position)
}

// A head is the state of a mailbox: positions are given out densely up to last,
// those up to acked may be forgotten, and those up to trimmed were dropped
// before they were acknowledged.
type head struct{ last, acked, trimmed uint64 }

func (tx *Tx) head(d envelope.Device) (h head) {
	if b := tx.Get(deviceKey("mailbox", d)); len(b) == 24 {
		h = head{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
	}
	return h
}

func (tx *Tx) putHead(d envelope.Device, h head) {
	b := binary.BigEndian.AppendUint64(nil, h.last)
	b = binary.BigEndian.AppendUint64(b, h.acked)
	tx.Put(deviceKey("mailbox", d), binary.BigEndian.AppendUint64(b, h.trimmed))
}

func (tx *Tx) epoch() uint32 {
	if b := tx.Get("epoch"); len(b) == 4 {
		return binary.BigEndian.Uint32(b)
	}
	return 1
}

// enqueue puts a delivery at the end of a mailbox. If that is over its limit the
// oldest are dropped, and the head remembers up to where: the gap is told.
func (tx *Tx) enqueue(d envelope.Device, m *envelope.Deliver, limit uint64) error {
	h := tx.head(d)
	h.last++
	m.Untrusted.MailboxEpoch, m.Untrusted.Position = tx.epoch(), h.last
	b, err := m.AppendBinary(nil)
	if err != nil {
		return err
	}
	tx.Put(itemKey(d, h.last), b)
	for oldest := max(h.acked, h.trimmed) + 1; h.last-oldest >= limit; oldest++ {
		tx.Delete(itemKey(d, oldest))
		h.trimmed = oldest
	}
	tx.putHead(d, h)
	return nil
}

// acknowledge forgets what a device has stored. An acknowledgement of an older
// epoch, or a repeated one, does nothing; one of what was never delivered is
// refused.
func (tx *Tx) acknowledge(d envelope.Device, a *envelope.Ack) bool {
	h := tx.head(d)
	switch {
	case a.MailboxEpoch < tx.epoch():
		return true
	case a.MailboxEpoch > tx.epoch() || a.Position > h.last:
		return false
	}
	for ; h.acked < a.Position; h.acked++ {
		tx.Delete(itemKey(d, h.acked+1))
	}
	tx.putHead(d, h)
	return true
}

// after returns up to n frames that follow a position, and the position of the
// last of them. What the server no longer has is a gap: the mailbox was full, or
// the device acknowledged it and has lost it since.
func (tx *Tx) after(d envelope.Device, position uint64, n int) (frames [][]byte, last uint64, err error) {
	h := tx.head(d)
	if gone := max(h.trimmed, h.acked); gone > position {
		b, err := (&envelope.Gap{MailboxEpoch: tx.epoch(), From: position + 1, To: gone, Reason: envelope.Trimmed}).AppendBinary(nil)
		if err != nil {
			return nil, 0, err
		}
		frames, position = append(frames, b), gone
	}
	for position < h.last && len(frames) < n {
		position++
		frames = append(frames, slices.Clone(tx.Get(itemKey(d, position))))
	}
	return frames, position, nil
}

// RaiseEpoch says that the store may have lost what it had committed, for it was
// restored from a copy. Conversations restart when they are next used; mailboxes
// are numbered anew here, and all connections are closed, for they count as
// before. A gap that was not told yet is the first position of its mailbox.
//
// The epoch must be one that no copy of the store was ever opened with, and come
// from elsewhere: a copy that is restored twice would give it out twice.
func (s *Server) RaiseEpoch(epoch uint32) error {
	defer s.closeAll()
	return s.Store.Update(func(tx *Tx) error {
		if epoch <= tx.epoch() {
			return lamport.ErrInvalid
		}
		tx.Put("epoch", binary.BigEndian.AppendUint32(nil, epoch))
		for _, key := range tx.Keys("device/") {
			d := parseDevice(key)
			items := tx.Keys(deviceKey("item", d) + "/")
			var f envelope.Frame
			var gap uint64
			if h := tx.head(d); h.trimmed > h.acked {
				gap = 1
			}
			n := gap
			for _, item := range items {
				m, err := f.Parse(tx.Get(item))
				if err != nil {
					return err
				}
				n++
				v := *m.(*envelope.Deliver)
				v.Untrusted.MailboxEpoch, v.Untrusted.Position = tx.epoch(), n
				b, err := v.AppendBinary(nil)
				if err != nil {
					return err
				}
				if item != itemKey(d, n) {
					tx.Delete(item)
				}
				tx.Put(itemKey(d, n), b)
			}
			tx.putHead(d, head{last: n, trimmed: gap})
		}
		return nil
	})
}

func parseDevice(key string) (d envelope.Device) {
	var user []byte
	if _, err := fmt.Sscanf(key, "device/%x/%x", &user, &d.ID); err == nil {
		copy(d.User[:], user)
	}
	return d
}
