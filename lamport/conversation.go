package lamport

import "github.com/sotto-im/sotto/internal/wire"

// A Submission is what a server sequences: the fields of an envelope.Submit
// whose sender the connection has authenticated. Ephemeral messages are not
// sequenced. SPEC.md §9.5.
type Submission struct {
	Conversation [16]byte
	ID           [16]byte // message ID
	Sender       Device
	Counter      uint64 // send counter of the device, 1 to Max
	Stamp        Stamp  // 1 to Max
}

func (s *Submission) valid() bool {
	return validID(s.Conversation) && validID(s.ID) && s.Sender.valid() &&
		s.Counter != 0 && s.Counter <= Max && s.Stamp != 0 && s.Stamp <= Max
}

// A Receipt is the answer to a message that was accepted. It is stored under
// sender and message ID, both: under the message ID alone, anybody could occupy
// the ID of another device's message. SPEC.md §9.5.
type Receipt struct {
	Conversation [16]byte
	ID           [16]byte
	Sender       Device
	Position     Position // in the conversation
}

// A Conversation is the server's half of one conversation: the last sequence
// number and the highest stamp, 40 bytes whatever its length. The zero value is
// refused by every method. SPEC.md §9.5.
type Conversation struct {
	id       [16]byte
	last     Position
	maxStamp Stamp
}

// maxLost is by how much messages that were lost can have moved the clocks of
// devices: 65,536 messages with the highest stamps that are accepted.
const maxLost = MaxLead * MaxLead

// NewConversation makes a conversation without messages in the given epoch, from
// 1: the current epoch of the store (see Restart). In a later epoch it may be one
// that the store has lost, and its bound of stamps allows for that. It fails with
// [ErrInvalid].
func NewConversation(id [16]byte, epoch uint32) (*Conversation, error) {
	c := &Conversation{id: id, last: Position{Epoch: 1}}
	if err := c.Restart(epoch); err != nil {
		return nil, err
	}
	return c, nil
}

// ID is the conversation's opaque tag.
func (c *Conversation) ID() [16]byte { return c.id }

// Last is the position of the last message; its Number is 0 if there is none in
// this epoch.
func (c *Conversation) Last() Position { return c.last }

// MaxStamp is the highest stamp accepted, or one above all that may have been
// accepted and lost (see Restart); 0 if there is none. It is what a server
// answers after [ErrClockBound].
func (c *Conversation) MaxStamp() Stamp { return c.maxStamp }

// Restart moves to a higher epoch, in which sequence numbers start again from 1.
// Call it when a store that may have lost committed messages is opened: the
// numbers that it gave out for them must never be given to others. Keep one
// epoch for the store, counted outside of it, raise it by one at such a time, and
// call Restart whenever a conversation is loaded: the same epoch changes nothing.
// A lower one fails with [ErrInvalid].
//
// MaxStamp moves on by 2³² for each epoch, as far as 65,536 lost messages could
// have moved it, so that devices that have seen those are not refused.
func (c *Conversation) Restart(epoch uint32) error {
	if !validID(c.id) || epoch < c.last.Epoch {
		return ErrInvalid
	}
	if raised := uint64(epoch - c.last.Epoch); raised > 0 {
		lost := min(raised, Max/maxLost+1) * maxLost
		c.maxStamp = min(c.maxStamp+Stamp(lost), Max)
		c.last = Position{Epoch: epoch}
	}
	return nil
}

// Submit decides on a message. w is the window of s.Sender, and prior the
// receipt that is stored under s.Sender and s.ID, or nil if there is none.
//
//	nil            accepted: store c, w and the receipt, and the mailbox rows, in
//	               this transaction; commit; answer
//	ErrDuplicate   accepted before: the receipt is prior; answer it, store nothing
//	ErrConflict    the ID was used in another conversation
//	ErrTooOld      accepted before, and prior was not found or was deleted
//	ErrClockBound  the stamp is over MaxStamp()+MaxLead; answer MaxStamp()
//	ErrExhausted   no number is left in this epoch
//	ErrInvalid     s, c or w is invalid, or c, w or prior is not the row of s
//
// On every error nothing has changed. A caller who forgets to look for prior, or
// who has deleted it, gets ErrTooOld and never a second message. Check who may
// send to whom, and the devices of the recipients, before Submit, for what is
// refused there spends no counter; but after the look-up of prior and
// Window.Check, for what was accepted stays accepted when devices change.
// SPEC.md §9.5.
func (c *Conversation) Submit(w *Window, s Submission, prior *Receipt) (Receipt, error) {
	if !s.valid() || s.Conversation != c.id || w == nil || w.device != s.Sender {
		return Receipt{}, ErrInvalid
	}
	if prior != nil {
		if prior.Sender != s.Sender || prior.ID != s.ID || !prior.Position.valid() {
			return Receipt{}, ErrInvalid
		}
		if prior.Conversation != c.id {
			return Receipt{}, ErrConflict
		}
		return *prior, ErrDuplicate
	}
	if err := w.Check(s.Counter); err != nil {
		return Receipt{}, err
	}
	// Relative to stamps that were accepted. Relative to the sequence it would
	// drift: stamps of messages that fail for good run ahead of the sequence,
	// and one day honest clients would be refused.
	if s.Stamp > c.maxStamp+MaxLead {
		return Receipt{}, ErrClockBound
	}
	if c.last.Number >= Max {
		return Receipt{}, ErrExhausted
	}
	if err := w.Mark(s.Counter); err != nil {
		return Receipt{}, err
	}
	c.last.Number++
	c.maxStamp = max(c.maxStamp, s.Stamp)
	return Receipt{Conversation: c.id, ID: s.ID, Sender: s.Sender, Position: c.last}, nil
}

// AppendBinary appends the record, at most 43 bytes. It fails with [ErrInvalid]
// for the zero value. SPEC.md §9.9.
func (c *Conversation) AppendBinary(b []byte) ([]byte, error) {
	if !validID(c.id) {
		return b, ErrInvalid
	}
	b = wire.AppendBytes(append(b, recordConversation), 1, c.id[:])
	b = wire.AppendUint(b, 2, uint64(c.last.Epoch))
	b = wire.AppendUintNonZero(b, 3, c.last.Number)
	return wire.AppendUintNonZero(b, 4, uint64(c.maxStamp)), nil
}

// UnmarshalBinary reads a record. On [ErrMalformed] c is as it was.
func (c *Conversation) UnmarshalBinary(b []byte) error {
	var v Conversation
	var stamp uint64
	d := record(recordConversation, b)
	for d.Next() {
		switch d.Num() {
		case 1:
			d.Fixed(v.id[:])
		case 2:
			v.last.Epoch = d.Uint32()
		case 3:
			v.last.Number = d.Uint64()
		case 4:
			stamp = d.Uint64()
		default:
			d.Skip()
		}
	}
	if d.Close(1, 2) != nil || !validID(v.id) || v.last.Number > Max || stamp > Max {
		return ErrMalformed
	}
	v.maxStamp = Stamp(stamp)
	*c = v
	return nil
}

// AppendBinary appends the record, 64 bytes for numbers up to 2²⁸ and 76 at
// most. It fails with [ErrInvalid] for a receipt that Submit has not returned.
// SPEC.md §9.9.
func (r *Receipt) AppendBinary(b []byte) ([]byte, error) {
	if !r.valid() {
		return b, ErrInvalid
	}
	b = wire.AppendBytes(append(b, recordReceipt), 1, r.Conversation[:])
	b = wire.AppendBytes(b, 2, r.Sender.User[:])
	b = wire.AppendUint(b, 3, uint64(r.Sender.ID))
	b = wire.AppendBytes(b, 4, r.ID[:])
	b = wire.AppendUint(b, 5, uint64(r.Position.Epoch))
	return wire.AppendUint(b, 6, r.Position.Number), nil
}

func (r *Receipt) valid() bool {
	return validID(r.Conversation) && validID(r.ID) && r.Sender.valid() && r.Position.valid()
}

// UnmarshalBinary reads a record. On [ErrMalformed] r is as it was.
func (r *Receipt) UnmarshalBinary(b []byte) error {
	var v Receipt
	d := record(recordReceipt, b)
	for d.Next() {
		switch d.Num() {
		case 1:
			d.Fixed(v.Conversation[:])
		case 2:
			d.Fixed(v.Sender.User[:])
		case 3:
			v.Sender.ID = d.Uint32()
		case 4:
			d.Fixed(v.ID[:])
		case 5:
			v.Position.Epoch = d.Uint32()
		case 6:
			v.Position.Number = d.Uint64()
		default:
			d.Skip()
		}
	}
	if d.Close() != nil || !v.valid() {
		return ErrMalformed
	}
	*r = v
	return nil
}
