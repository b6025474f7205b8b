package relay

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
)

// Bounds of a connection.
const (
	maxInFlight = 256             // deliveries without an acknowledgement
	maxQueue    = 128             // answers that the device does not read
	maxWhispers = 16              // ephemeral messages that it does not read; more are dropped
	lastWords   = 5 * time.Second // for the device to read why a connection ends
)

// A Server accepts, orders, and keeps messages. Set Store; then Register devices
// and Serve their connections. It is safe for concurrent use.
type Server struct {
	Store      *Store
	Now        func() uint64 // milliseconds since 1970; nil leaves the time out
	MaxMailbox uint64        // messages that a mailbox keeps; 0 means 10,000

	mu   sync.Mutex
	live map[envelope.Device]*connection
}

// accept is the server's transaction: receipt, conversation, window and mailbox
// rows are written together or not at all. The result is sent after the commit.
// An error is one of the store, and nothing is answered: the client asks again.
func (s *Server) accept(tx *Tx, from envelope.Device, m *envelope.Submit) (*envelope.Result, error) {
	result := &envelope.Result{ID: m.Header.ID, Code: envelope.Refused}
	if m.Header.Sender != from {
		return result, nil
	}
	sub := lamport.Submission{Conversation: m.Header.Conversation, ID: m.Header.ID, Sender: lamport.Device(from),
		Counter: m.Counter, Stamp: lamport.Stamp(m.Header.Stamp)}

	// Receipt and counter are looked at first: what was accepted stays accepted
	// when devices change.
	w, err := lamport.NewWindow(sub.Sender)
	if err != nil {
		return nil, err
	}
	if err := tx.load(deviceKey("window", from), w); err != nil {
		return nil, err
	}
	var prior *lamport.Receipt
	receiptKey := fmt.Sprintf("%s/%x", deviceKey("receipt", from), sub.ID)
	if b := tx.Get(receiptKey); b != nil {
		prior = new(lamport.Receipt)
		if err := prior.UnmarshalBinary(b); err != nil {
			return nil, err
		}
	} else if w.Check(sub.Counter) == nil {
		if ok, err := s.checkDevices(tx, from, m, result); err != nil || !ok {
			return result, err
		}
	}

	conversationKey := fmt.Sprintf("conversation/%x", sub.Conversation)
	c, err := lamport.NewConversation(sub.Conversation, tx.epoch())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(tx.load(conversationKey, c), c.Restart(tx.epoch())); err != nil {
		return nil, err
	}
	receipt, err := c.Submit(w, sub, prior)
	switch err {
	case nil:
		result.Code = envelope.Accepted
	case lamport.ErrDuplicate:
		result.Code = envelope.Duplicate
	case lamport.ErrTooOld:
		result.Code = envelope.TooOld
	case lamport.ErrClockBound:
		result.Code, result.MaxStamp = envelope.ClockBound, uint64(c.MaxStamp())
	case lamport.ErrConflict:
		// Refused, for good.
	default:
		return nil, err
	}
	result.Epoch, result.Sequence = receipt.Position.Epoch, receipt.Position.Number
	if err != nil {
		return result, nil // nothing to store
	}

	if err := errors.Join(tx.save(conversationKey, c), tx.save(deviceKey("window", from), w), tx.save(receiptKey, &receipt)); err != nil {
		return nil, err
	}
	limit := s.MaxMailbox
	if limit == 0 {
		limit = 10_000
	}
	for to := range m.Recipients.All() {
		d := s.deliver(m, to)
		d.Untrusted.Epoch, d.Untrusted.Sequence = result.Epoch, result.Sequence
		if err := tx.enqueue(to.Device, d, limit); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// deliver is the frame for one recipient, without a position.
func (s *Server) deliver(m *envelope.Submit, to envelope.Recipient) *envelope.Deliver {
	d := &envelope.Deliver{Header: m.Header, Ephemeral: m.Ephemeral, Type: to.Type, Ciphertext: to.Ciphertext}
	if len(m.Shared) != 0 {
		d.Type, d.Ciphertext = m.SharedType, m.Shared
	}
	if s.Now != nil {
		d.Untrusted.Time = s.Now()
	}
	return d
}

// A connection is one device that is connected.
type connection struct {
	conn         io.ReadWriteCloser
	installation []byte        // what the directory had when it began
	wake         chan struct{} // of capacity 1: there is something to write

	mu      sync.Mutex
	queue   [][]byte // answers
	whisper [][]byte // ephemeral messages
	fetched bool     // deliveries are wanted, those after sent
	sent    uint64
	acked   uint64
	closing bool // nothing but the queue is written, and then it ends
}

// push queues a frame and reports whether the device still reads.
func (c *connection) push(m envelope.Message) bool {
	b, err := m.AppendBinary(nil)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	queue, limit := &c.queue, maxQueue
	if d, ok := m.(*envelope.Deliver); ok && d.Ephemeral {
		queue, limit = &c.whisper, maxWhispers
	}
	if len(*queue) >= limit {
		return false
	}
	*queue = append(*queue, b)
	c.signal()
	return true
}

func (c *connection) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// close says why and ends the connection, also one that is not read.
func (c *connection) close(m envelope.Message) {
	c.push(m)
	time.AfterFunc(lastWords, func() { c.conn.Close() })
	c.mu.Lock()
	c.closing = true
	c.signal()
	c.mu.Unlock()
}

// Serve runs the connection of a device that the caller has authenticated, until
// it ends. A second connection of a device takes over from the first. It closes
// conn.
func (s *Server) Serve(conn io.ReadWriteCloser, d envelope.Device) error {
	c := &connection{conn: conn, wake: make(chan struct{}, 1)}
	if err := s.Store.Update(func(tx *Tx) error {
		c.installation = slices.Clone(tx.Get(deviceKey("device", d)))
		return nil
	}); err != nil {
		conn.Close()
		return err
	}
	s.mu.Lock()
	if s.live == nil {
		s.live = map[envelope.Device]*connection{}
	}
	if old := s.live[d]; old != nil {
		old.close(&envelope.Error{Code: envelope.Replaced})
	}
	s.live[d] = c
	s.mu.Unlock()

	done := make(chan struct{})
	written := make(chan struct{})
	go func() {
		s.write(c, d, done)
		conn.Close()
		close(written)
	}()
	err := s.read(c, d)
	if errors.Is(err, errRefused) {
		c.close(&envelope.Error{Code: envelope.Refused})
		<-written
	}
	s.mu.Lock()
	if s.live[d] == c {
		delete(s.live, d)
	}
	s.mu.Unlock()
	close(done)
	conn.Close()
	<-written
	return err
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.live {
		c.conn.Close()
	}
}

// errRefused: the device sent what no honest device sends.
var errRefused = errors.New("relay: frame refused")

func (s *Server) read(c *connection, d envelope.Device) error {
	r := bufio.NewReader(c.conn)
	var f envelope.Frame
	var buf []byte
	var err error
	for {
		if buf, err = envelope.ReadDelimited(r, buf); errors.Is(err, envelope.ErrMalformed) || errors.Is(err, envelope.ErrTooLarge) {
			return errRefused
		}
		if err != nil {
			return err
		}
		m, err := f.Parse(buf)
		if err != nil {
			return errRefused
		}
		c.mu.Lock()
		closing := c.closing
		c.mu.Unlock()
		if closing {
			return io.EOF
		}
		switch m := m.(type) {
		case *envelope.Submit:
			if err := s.submit(c, d, m); err != nil {
				return err
			}
		case *envelope.Ack:
			var epoch uint32
			ok := false
			if err := s.update(c, d, func(tx *Tx) error {
				epoch, ok = tx.epoch(), tx.acknowledge(d, m)
				return nil
			}); err != nil {
				return err
			}
			if !ok {
				return errRefused
			}
			if m.MailboxEpoch == epoch {
				// What is acknowledged before it was sent came by an earlier
				// Fetch. To send it would be to tell of a gap.
				c.mu.Lock()
				c.acked = max(c.acked, m.Position)
				c.sent = max(c.sent, c.acked)
				c.signal()
				c.mu.Unlock()
			}
		case *envelope.Fetch:
			// What is asked for is what follows the last that is durable: a
			// Fetch acknowledges, or an acknowledgement that was lost with
			// its connection would never be repeated.
			var epoch uint32
			ok := false
			if err := s.update(c, d, func(tx *Tx) error {
				epoch = tx.epoch()
				ok = tx.acknowledge(d, &envelope.Ack{MailboxEpoch: m.MailboxEpoch, Position: m.After})
				return nil
			}); err != nil {
				return err
			}
			if !ok { // a position of the future: this store is older than its device
				return errRefused
			}
			c.mu.Lock()
			c.fetched, c.sent = true, m.After
			if m.MailboxEpoch != epoch {
				c.sent = 0
			}
			c.sent = max(c.sent, c.acked) // acknowledged on this connection
			c.acked = c.sent
			c.signal()
			c.mu.Unlock()
		default:
			return errRefused
		}
	}
}

func (s *Server) submit(c *connection, d envelope.Device, m *envelope.Submit) error {
	if m.Ephemeral {
		s.pass(d, m)
		return nil
	}
	var result *envelope.Result
	err := s.update(c, d, func(tx *Tx) (err error) {
		result, err = s.accept(tx, d, m)
		return err
	})
	if err != nil {
		return err // of the store: the outcome is unknown, so nothing is said
	}
	if !c.push(result) {
		return errRefused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range m.Recipients.All() {
		if to := s.live[v.Device]; to != nil {
			to.signal()
		}
	}
	return nil
}

// pass hands an ephemeral message to the recipients that are connected. Nothing
// is stored and nothing is answered.
func (s *Server) pass(from envelope.Device, m *envelope.Submit) {
	if m.Header.Sender != from {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range m.Recipients.All() {
		if to := s.live[v.Device]; to != nil {
			to.push(s.deliver(m, v))
		}
	}
}

// write sends the queue, and then what is in the mailbox.
func (s *Server) write(c *connection, d envelope.Device, done chan struct{}) {
	var out []byte
	for {
		select {
		case <-done:
			return
		case <-c.wake:
		}
		for {
			c.mu.Lock()
			frames, whispers, closing := c.queue, c.whisper, c.closing
			c.queue, c.whisper = nil, nil
			room := 0
			if c.fetched && c.sent-min(c.acked, c.sent) < maxInFlight {
				room = 16
			}
			sent := c.sent
			c.mu.Unlock()

			if room > 0 && !closing {
				var items [][]byte
				var last uint64
				if err := s.Store.Update(func(tx *Tx) (err error) {
					items, last, err = tx.after(d, sent, room)
					return err
				}); err != nil {
					return
				}
				c.mu.Lock()
				if c.sent == sent { // no Fetch in between, and no Ack of more
					c.sent = last
					frames = append(frames, items...)
				} else {
					c.signal()
				}
				c.mu.Unlock()
			}
			frames = append(frames, whispers...) // behind what somebody waits for
			if len(frames) == 0 {
				if closing {
					return
				}
				break
			}
			out = out[:0]
			for _, b := range frames {
				out = binary.BigEndian.AppendUint32(out, uint32(len(b)))
				out = append(out, b...)
			}
			if _, err := c.conn.Write(out); err != nil {
				return
			}
		}
	}
}
