package relay

import (
	"errors"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
)

// An Exchange is one connection of a [Client] without a goroutine: whoever plays
// the network gives it the frames of the server, and gets those of the device. It
// does what [Client.Run] does.
type Exchange struct {
	client *Client
	in     lamport.Inbox
	way    underway
	frame  envelope.Frame
}

// Exchange begins a connection. The first frame is the device's Fetch; those of
// its outbox follow.
func (c *Client) Exchange() (x *Exchange, frames [][]byte, err error) {
	x = &Exchange{client: c}
	if err := c.update(func(tx *Tx) error { return tx.load("inbox", &x.in) }); err != nil {
		return nil, nil, err
	}
	fetch, err := (&envelope.Fetch{MailboxEpoch: x.in.At().Epoch, After: x.in.At().Number}).AppendBinary(nil)
	if err != nil {
		return nil, nil, err
	}
	submits, err := x.Outbox()
	return x, append([][]byte{fetch}, submits...), err
}

// Take handles a frame of the server, and returns what the device sends for it.
// An error ends the connection: begin another one.
func (x *Exchange) Take(frame []byte) (frames [][]byte, err error) {
	err = x.client.take(&x.frame, frame, &x.in, &x.way, func(m envelope.Message) error {
		b, err := m.AppendBinary(nil)
		frames = append(frames, b)
		return err
	})
	if err != nil {
		return frames, err
	}
	submits, err := x.Outbox()
	return append(frames, submits...), err
}

// Outbox returns those messages of the outbox that may be sent now, and were not.
// Call it after [Client.Send].
func (x *Exchange) Outbox() ([][]byte, error) { return x.client.next(&x.way) }

// Accept is the server's transaction for a message that a device has submitted,
// and its answer.
func (s *Server) Accept(from envelope.Device, m *envelope.Submit) (result *envelope.Result, err error) {
	err = s.Store.Update(func(tx *Tx) error {
		if tx.Get(deviceKey("device", from)) == nil {
			return errRefused
		}
		result, err = s.accept(tx, from, m)
		return err
	})
	return result, err
}

// Mailbox returns the frames that a device has not acknowledged, and forgets
// them.
func (s *Server) Mailbox(d envelope.Device) (frames [][]byte, err error) {
	err = s.Store.Update(func(tx *Tx) error {
		h := tx.head(d)
		var last uint64
		if frames, last, err = tx.after(d, h.acked, int(h.last-h.acked)+1); err != nil || last == 0 {
			return err
		}
		if !tx.acknowledge(d, &envelope.Ack{MailboxEpoch: tx.epoch(), Position: last}) {
			return errors.New("relay: mailbox beyond its end")
		}
		return nil
	})
	return frames, err
}
