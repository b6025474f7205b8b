package relay

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
)

// delivered takes one delivery, and those that were held back behind it.
func (c *Client) delivered(in *lamport.Inbox, m *envelope.Deliver, frame []byte, send func(envelope.Message) error) error {
	if m.Ephemeral {
		var body []byte
		var refused error
		err := c.update(func(tx *Tx) error {
			body, refused = c.open(tx, m)
			if errors.Is(refused, ErrUnreadable) {
				if errors.Is(refused, envelope.ErrMismatch) {
					tx.stats.Refused++ // it may be a message, whose key is used now
				}
				return nil // with what was written for the verdict
			}
			return refused
		})
		if err != nil {
			return err
		}
		if refused == nil && c.Show != nil {
			c.Show(m.Header.Conversation, m.Header.Sender, body)
		}
		return nil
	}
	p := lamport.Position{Epoch: m.Untrusted.MailboxEpoch, Number: m.Untrusted.Position}
	verdict, err := in.Receive(p, frame)
	if verdict == lamport.Resync {
		if err := c.resync(in, p.Epoch, send); err != nil {
			return err
		}
		verdict, err = in.Receive(p, frame)
	}
	if err != nil {
		return err
	}
	if verdict == lamport.Process {
		if err := c.process(in, p, m); err != nil {
			return err
		}
		if err := c.processHeld(in); err != nil {
			return err
		}
		c.changed()
	}
	return follow(in, verdict, send)
}

// follow sends what a verdict asks for. It is called after the commit.
func follow(in *lamport.Inbox, v lamport.Verdict, send func(envelope.Message) error) error {
	at := in.At()
	switch v {
	case lamport.Process, lamport.Acknowledge:
		if at.Number == 0 {
			return nil
		}
		return send(&envelope.Ack{MailboxEpoch: at.Epoch, Position: at.Number})
	case lamport.Fetch:
		return send(&envelope.Fetch{MailboxEpoch: at.Epoch, After: at.Number})
	}
	return nil // Hold: what was asked for is on its way
}

func (c *Client) processHeld(in *lamport.Inbox) error {
	var f envelope.Frame
	for p, frame, ok := in.Next(); ok; p, frame, ok = in.Next() {
		m, err := f.Parse(frame)
		if err != nil {
			return err
		}
		if err := c.process(in, p, m.(*envelope.Deliver)); err != nil {
			return err
		}
	}
	return nil
}

// process is the transaction of a delivery: the plaintext, or the verdict that
// there is none, and the position, together. Only then is it acknowledged.
func (c *Client) process(in *lamport.Inbox, p lamport.Position, m *envelope.Deliver) error {
	// If the transaction fails the connection ends, and in with it.
	if err := in.Advance(p); err != nil {
		return err
	}
	return c.update(func(tx *Tx) error {
		if err := tx.save("inbox", in); err != nil {
			return err
		}
		tx.stats.Gaps = positions(in.At().Number - p.Number) // a gap went on behind it
		body, err := c.open(tx, m)
		if errors.Is(err, ErrUnreadable) {
			tx.stats.Refused++
			return nil // the verdict is stored with the position
		}
		if err != nil {
			return err
		}
		h, u := m.Header, m.Untrusted
		had := fmt.Sprintf("%s/%x", deviceKey("had", h.Sender), h.ID)
		if tx.Get(had) != nil {
			tx.stats.Duplicate++
			return nil
		}
		tx.Put(had, nil)
		at := lamport.Position{Epoch: u.Epoch, Number: u.Sequence}
		c.follows(tx, h.Conversation, at)
		c.sees(tx, h.Conversation, at)
		c.show(tx, lamport.ConfirmedKey(at, lamport.Stamp(h.Stamp), lamport.Device(h.Sender), h.ID), Sent, h.Conversation, body)
		return c.observe(tx, &h)
	})
}

// follows notes the position of a message in its conversation. A mailbox has those
// of a conversation in their order: R-9.3-5.
func (c *Client) follows(tx *Tx, conversation [16]byte, at lamport.Position) {
	row := fmt.Sprintf("last/%x", conversation)
	if last := tx.position(row); at.Compare(last) <= 0 {
		tx.stats.Contradictions++
		return
	}
	tx.putPosition(row, at)
}

// open decrypts, compares, and asks whether the sender may write here. An error
// is ErrUnreadable, or one of the transaction.
func (c *Client) open(tx *Tx, m *envelope.Deliver) ([]byte, error) {
	plaintext, sender, err := c.Open(tx.rows, m.Header.Sender, m.Type, m.Ciphertext)
	if err != nil {
		return nil, err
	}
	body, err := envelope.Unpack(&m.Header, sender, plaintext)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if c.Member != nil && !c.Member(m.Header.Conversation, m.Header.Sender) {
		return nil, ErrUnreadable
	}
	return body, nil
}

// gap is the transaction of a gap marker.
func (c *Client) gap(in *lamport.Inbox, m *envelope.Gap, send func(envelope.Message) error) error {
	before := in.At().Number
	verdict, err := in.Skip(m.MailboxEpoch, m.From, m.To)
	if verdict == lamport.Resync {
		if err := c.resync(in, m.MailboxEpoch, send); err != nil {
			return err
		}
		before = 0
		verdict, err = in.Skip(m.MailboxEpoch, m.From, m.To)
	}
	if err != nil {
		return err
	}
	if verdict == lamport.Process {
		if err := c.update(func(tx *Tx) error {
			tx.stats.Gaps = positions(in.At().Number - before)
			return tx.save("inbox", in)
		}); err != nil {
			return err
		}
		if err := c.processHeld(in); err != nil {
			return err
		}
		c.changed()
	}
	return follow(in, verdict, send)
}

// resync starts over in a mailbox that was numbered anew. What comes again is
// told by sender and message ID. A new device learns its first epoch: it has
// asked for everything already.
func (c *Client) resync(in *lamport.Inbox, epoch uint32, send func(envelope.Message) error) error {
	fresh := in.At().Epoch == 0
	if err := in.Restart(epoch); err != nil {
		return err
	}
	if err := c.update(func(tx *Tx) error {
		if !fresh {
			tx.stats.Restarts++
		}
		return tx.save("inbox", in)
	}); err != nil || fresh {
		return err
	}
	return send(&envelope.Fetch{MailboxEpoch: epoch})
}
