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

// A Client is one device: its outbox, its inbox, and what stands on its screen,
// all in a Store, so that it may be dropped at any time and made again on the
// same Store. Set the fields, then Run connections, one at a time; Send and
// Messages may be called at any time.
type Client struct {
	Self  envelope.Device
	Store *Store

	// Seal encrypts for one device and Open decrypts, as ratchet or sesame do.
	// Both get the transaction of the message: the session is loaded from it
	// and written to it, so that message and session are stored together or
	// not at all. They own the rows with the prefix "session/".
	//
	// The server names devices that Send did not: Seal is where the
	// application's own rules of trust exclude one, with [ErrExcluded]; the
	// message has failed then. Any other error is one of the store.
	//
	// Open returns who encrypted, as the session has it: from is what the
	// server claims. After an error of Open nothing may have been written, for
	// the rest is committed: the verdict, and the position.
	Seal func(tx *Tx, to envelope.Device, registrationID uint32, plaintext []byte) (typ uint8, ciphertext []byte, err error)
	Open func(tx *Tx, from envelope.Device, typ uint8, ciphertext []byte) (plaintext []byte, sender envelope.Sender, err error)

	// Member tells who may write in a conversation. A conversation that the
	// user's own devices share has no other members: that keeps contacts out of
	// what devices tell each other.
	Member func(conversation [16]byte, from envelope.Device) bool

	// Show is told of each ephemeral message, which is not stored.
	Show func(conversation [16]byte, from envelope.Device, body []byte)

	// Changed is called when the screen has changed: a message arrived, or one
	// of our own was answered. It must not block.
	Changed func()

	mu    sync.Mutex
	kick  chan struct{}
	stats Stats
}

// maxUnanswered is how many messages a connection has on the way: one of each
// conversation, for a second one would overtake the first if that is not
// accepted.
const maxUnanswered = 64

// Stats counts what a user does not see.
type Stats struct {
	Refused        int // deliveries that did not decrypt, or belonged to another header
	Duplicate      int // messages that came again, by sender and message ID
	Gaps           int // positions that the server has lost
	Restarts       int // mailboxes that were numbered anew, whose server may have lost messages
	Contradictions int // answers that contradict what the server said before
}

// Stats returns the counters of this Client, which are not stored.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// A Message is one line of the screen. SPEC.md §9.3.
type Message struct {
	Key          lamport.Key
	Conversation [16]byte
	ID           [16]byte
	Sender       envelope.Device
	State        State
	Body         []byte
}

// A State is how far a message of our own has come.
type State byte

// States. A message of another device is Sent.
const (
	Pending State = 1 + iota
	Sent
	Failed
)

// Rows of the client:
//
//	clock/CONVERSATION      lamport.Clock
//	seen/CONVERSATION       the highest position seen, the anchor of what is written next
//	counter                 send counter
//	inbox                   lamport.Inbox
//	outbox/COUNTER          the message until its answer: conversation, rounds, key, and the frame as it was sealed
//	screen/KEY              state, conversation, body
//	had/USER/DEVICE/ID      message IDs of others

// Send seals a message and stores it, with the clock, the counter and the line on
// the screen, in one transaction. It is sent by the connection that runs, or by
// the next; and again until it is answered, always the same bytes.
func (c *Client) Send(conversation, id [16]byte, to []envelope.Recipient, body []byte) error {
	err := c.Store.Update(func(tx *Tx) error {
		counter, oldest := c.counters(tx)
		if counter+1-oldest >= lamport.WindowSize {
			return ErrOutboxFull
		}
		var clock lamport.Clock
		if err := tx.load(clockKey(conversation), &clock); err != nil {
			return err
		}
		stamp, err := clock.Tick()
		if err != nil {
			return err
		}
		l := &letter{row: outboxKey(counter + 1), key: lamport.PendingKey(c.seen(tx, conversation), stamp, lamport.Device(c.Self), id),
			m: &envelope.Submit{Counter: counter + 1, Urgent: true,
				Header: envelope.Header{Conversation: conversation, ID: id, Sender: c.Self, Stamp: uint64(stamp)}}}
		frame, err := c.seal(tx, l.m, to, body)
		if err != nil {
			return err
		}
		l.put(tx, frame)
		tx.Put("counter", binary.BigEndian.AppendUint64(nil, counter+1))
		c.show(tx, l.key, Pending, conversation, body)
		return tx.save(clockKey(conversation), &clock)
	})
	if err == nil {
		c.wake()
	}
	return err
}

// ErrOutboxFull: messages wait for answers since too many counters, so that
// another one could make the server take an old one for accepted. Connect first.
var ErrOutboxFull = errors.New("relay: outbox full")

// ErrExcluded is what Client.Seal returns for a device that is not written to.
var ErrExcluded = errors.New("relay: device excluded")

// Whisper sends an ephemeral message, such as "typing", if a connection runs.
func (c *Client) Whisper(conn io.Writer, conversation, id [16]byte, to []envelope.Recipient, body []byte) error {
	m := &envelope.Submit{Ephemeral: true, Header: envelope.Header{Conversation: conversation, ID: id, Sender: c.Self}}
	var frame []byte
	if err := c.Store.Update(func(tx *Tx) (err error) {
		frame, err = c.seal(tx, m, to, body)
		return err
	}); err != nil {
		return err
	}
	return writeFrame(conn, frame)
}

// seal packs the body, encrypts it for each device that has no ciphertext yet,
// and completes m.
func (c *Client) seal(tx *Tx, m *envelope.Submit, to []envelope.Recipient, body []byte) ([]byte, error) {
	plaintext, err := envelope.Pack(nil, &m.Header, body)
	if err != nil {
		return nil, err
	}
	list := slices.Clone(to)
	for i := range list {
		if v := &list[i]; len(v.Ciphertext) == 0 {
			if v.Type, v.Ciphertext, err = c.Seal(tx, v.Device, v.RegistrationID, plaintext); err != nil {
				return nil, err
			}
		}
	}
	if m.Recipients, err = envelope.NewRecipients(list...); err != nil {
		return nil, err
	}
	return m.AppendBinary(nil)
}

func outboxKey(counter uint64) string { return fmt.Sprintf("outbox/%016x", counter) }

// counters returns the last counter given and the oldest one without an answer.
func (c *Client) counters(tx *Tx) (last, oldest uint64) {
	if b := tx.Get("counter"); len(b) == 8 {
		last = binary.BigEndian.Uint64(b)
	}
	oldest = last + 1
	if keys := tx.Keys("outbox/"); len(keys) > 0 {
		_, _ = fmt.Sscanf(keys[0], "outbox/%x", &oldest)
	}
	return last, oldest
}

func (c *Client) seen(tx *Tx, conversation [16]byte) (p lamport.Position) {
	if b := tx.Get(fmt.Sprintf("seen/%x", conversation)); len(b) == 12 {
		p = lamport.Position{Epoch: binary.BigEndian.Uint32(b), Number: binary.BigEndian.Uint64(b[4:])}
	}
	return p
}

func (c *Client) sees(tx *Tx, conversation [16]byte, p lamport.Position) {
	if p.Compare(c.seen(tx, conversation)) > 0 {
		tx.Put(fmt.Sprintf("seen/%x", conversation), binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, p.Epoch), p.Number))
	}
}

func (c *Client) show(tx *Tx, key lamport.Key, state State, conversation [16]byte, body []byte) {
	tx.Put(lineKey(key), append(append([]byte{byte(state)}, conversation[:]...), body...))
}

// Messages returns the lines of a conversation in display order.
func (c *Client) Messages(conversation [16]byte) (list []Message) {
	_ = c.Store.Update(func(tx *Tx) error {
		for _, k := range tx.Keys("screen/") {
			v := tx.Get(k)
			m := Message{State: State(v[0]), Conversation: [16]byte(v[1:17]), Body: v[17:]}
			copy(m.Key[:], k[len("screen/"):])
			copy(m.Sender.User[:], m.Key[21:])
			m.Sender.ID = binary.BigEndian.Uint32(m.Key[37:])
			copy(m.ID[:], m.Key[41:])
			if m.Conversation == conversation {
				list = append(list, m)
			}
		}
		return nil
	})
	return list
}

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
	err := c.Store.Update(func(tx *Tx) error { return tx.load("inbox", &in) })
	if err == nil {
		err = send(&envelope.Fetch{MailboxEpoch: in.At().Epoch, After: in.At().Number})
	}
	way := &underway{}
	all.Go(func() { // outbox
		for {
			select {
			case <-c.kick:
			case <-done:
				return
			}
			var frames [][]byte
			_ = c.Store.Update(func(tx *Tx) error {
				frames = c.outbox(tx, way)
				return nil
			})
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
	return err
}

// underway is the conversations of which a message is on its way.
type underway struct {
	mu   sync.Mutex
	sent map[[16]byte]bool
}

func (w *underway) arrived(conversation [16]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.sent, conversation)
}

// outbox lists the first frame of each conversation of which none is on its way.
func (c *Client) outbox(tx *Tx, w *underway) (frames [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent == nil {
		w.sent = map[[16]byte]bool{}
	}
	for _, row := range tx.Keys("outbox/") {
		b := tx.Get(row)
		if len(b) < 17+len(lamport.Key{}) {
			continue
		}
		if conversation := [16]byte(b); !w.sent[conversation] && len(w.sent) < maxUnanswered {
			w.sent[conversation] = true
			frames = append(frames, b[17+len(lamport.Key{}):])
		}
	}
	return frames
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
		m, err := f.Parse(buf)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *envelope.Result:
			var conversation [16]byte
			var more bool
			if err := c.Store.Update(func(tx *Tx) (err error) {
				conversation, more, err = c.answered(tx, m)
				return err
			}); err != nil {
				return err
			}
			if more {
				way.arrived(conversation)
				c.wake()
			}
			c.changed()
		case *envelope.Deliver:
			if err := c.delivered(in, m, buf, send); err != nil {
				return err
			}
		case *envelope.Gap:
			if err := c.gap(in, m, send); err != nil {
				return err
			}
		case *envelope.Error:
			return fmt.Errorf("relay: the server ended the connection: code %d", m.Code)
		default:
			return errRefused
		}
	}
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
