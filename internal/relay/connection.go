package relay

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
)

func (c *Client) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kick == nil {
		c.kick = make(chan struct{}, 1)
	}
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Run runs one connection until it ends: it asks for everything after the last
// durable position, sends what is in the outbox, and handles what arrives. It
// closes conn. Errors of the Store end it, too: call Run again, on a new
// connection.
func (c *Client) Run(conn io.ReadWriteCloser) error {
	c.wake()
	writes := make(chan []byte, 16)
	done := make(chan struct{})   // the reader has ended
	broken := make(chan struct{}) // the writer has ended
	var all sync.WaitGroup
	all.Go(func() { // writer
		defer close(broken)
		defer conn.Close()
		for {
			select {
			case b := <-writes:
				if writeFrame(conn, b) != nil {
					return
				}
			case <-done:
				return
			}
		}
	})
	send := func(m envelope.Message) error {
		b, err := m.AppendBinary(nil)
		if err != nil {
			return err
		}
		select {
		case writes <- b:
			return nil
		case <-broken:
			return io.ErrClosedPipe
		}
	}
	var in lamport.Inbox
	err := c.update(func(tx *Tx) error { return tx.load("inbox", &in) })
	if err == nil {
		err = send(&envelope.Fetch{MailboxEpoch: in.At().Epoch, After: in.At().Number})
	}
	way := &underway{}
	var failed error
	all.Go(func() { // outbox
		for {
			select {
			case <-c.kick:
			case <-done:
				return
			}
			var frames [][]byte
			if frames, failed = c.next(way); failed != nil {
				conn.Close()
				return
			}
			for _, b := range frames {
				select {
				case writes <- b:
				case <-broken:
					return
				}
			}
		}
	})
	if err == nil {
		err = c.read(conn, &in, way, send)
	}
	close(done)
	conn.Close()
	all.Wait()
	if failed != nil {
		return failed
	}
	return err
}

// underway is the conversations of which nothing is sent now: a message of them
// is on its way (true), or waits for a quota or for the user (false).
type underway struct {
	mu   sync.Mutex
	sent map[[16]byte]bool
}

// answered notes that the message of a conversation was answered, and whether
// the next one may be sent.
func (w *underway) answered(conversation [16]byte, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.sent[conversation]; ok {
		w.sent[conversation] = false
	}
	if more {
		delete(w.sent, conversation)
	}
}

// firstLetters lists the first row of the outbox of each conversation.
func firstLetters(tx *Tx) (letters [][]byte) {
	found := map[[16]byte]bool{}
	for _, row := range tx.Keys("outbox/") {
		b := tx.Get(row)
		if len(b) < 17+len(lamport.Key{}) || found[[16]byte(b)] {
			continue
		}
		found[[16]byte(b)] = true
		letters = append(letters, slices.Clone(b))
	}
	return letters
}

// next lists the frames of those conversations of which none is on its way. No
// answer is noted between its look at the outbox and its look at what is on its
// way: a letter that was answered in between would be sent again.
func (c *Client) next(w *underway) (frames [][]byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var letters [][]byte
	if err := c.update(func(tx *Tx) error { letters = firstLetters(tx); return nil }); err != nil {
		return nil, err
	}
	if w.sent == nil {
		w.sent = map[[16]byte]bool{}
	}
	way := 0
	for _, sent := range w.sent {
		if sent {
			way++
		}
	}
	for _, b := range letters {
		if _, ok := w.sent[[16]byte(b)]; !ok && way < maxUnanswered {
			w.sent[[16]byte(b)] = true
			way++
			frames = append(frames, b[17+len(lamport.Key{}):])
		}
	}
	return frames, nil
}

func (c *Client) read(conn io.Reader, in *lamport.Inbox, way *underway, send func(envelope.Message) error) error {
	r := bufio.NewReader(conn)
	var f envelope.Frame
	var buf []byte
	var err error
	for {
		if buf, err = envelope.ReadDelimited(r, buf); err != nil {
			return err
		}
		if err := c.take(&f, buf, in, way, send); err != nil {
			return err
		}
	}
}

// take handles one frame of the server. An error ends the connection.
func (c *Client) take(f *envelope.Frame, frame []byte, in *lamport.Inbox, way *underway, send func(envelope.Message) error) error {
	m, err := f.Parse(frame)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *envelope.Result:
		return c.result(m, way)
	case *envelope.Deliver:
		return c.delivered(in, m, frame, send)
	case *envelope.Gap:
		return c.gap(in, m, send)
	case *envelope.Error:
		if m.Code == envelope.Replaced {
			return ErrReplaced
		}
		return fmt.Errorf("relay: the server ended the connection: code %d", m.Code)
	default:
		return errRefused
	}
}

// result handles the answer to a message.
func (c *Client) result(m *envelope.Result, way *underway) error {
	if m.Code == envelope.DeviceMismatch {
		if err := c.meet(m); err != nil {
			return err
		}
	}
	var conversation [16]byte
	var more bool
	err := c.update(func(tx *Tx) (err error) {
		conversation, more, err = c.answered(tx, m)
		return err
	})
	if errors.Is(err, ErrWaits) {
		more, err = false, nil // nothing has changed
	}
	if err != nil {
		return err
	}
	way.answered(conversation, more)
	c.wake()
	c.changed()
	return nil
}

func (c *Client) changed() {
	if c.Changed != nil {
		c.Changed()
	}
}

func writeFrame(w io.Writer, frame []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(frame)), uint32(len(frame)))
	_, err := w.Write(append(b, frame...))
	return err
}
