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
	"github.com/sotto-im/sotto/sesame"
)

// A Client is one device: its outbox, its inbox, and what stands on its screen,
// all in the rows of the application's database, so that it may be dropped at any
// time and made again on the same rows. Set the fields, then Run connections, one
// at a time; Send and Messages may be called at any time.
type Client struct {
	Self envelope.Device

	// Do runs a function in a transaction of the database, and runs it again
	// after sesame.ErrConflict. The client's transactions follow one another;
	// the application may have others beside them.
	Do func(func(sesame.Tx) error) error

	// Seal encrypts for one device and Open decrypts, as a sesame.Device does.
	// Both get the transaction of the message: the session is loaded from it
	// and written to it, so that message and session are stored together or
	// not at all. What is wrong with a device or a message is one of the errors
	// named here; any other error is the transaction's, and rolls it back.
	//
	// The server names devices that Send did not: Seal is where the
	// application's own rules of trust exclude one, with [ErrExcluded]: the
	// message has failed then. With [ErrWaits] it stays in the outbox, for the
	// next connection, and so do those behind it: the user is to be asked first.
	//
	// Open returns who encrypted, as the session has it: from is what the
	// server claims. With [ErrUnreadable] the verdict is committed, and the
	// position.
	Seal func(tx sesame.Tx, to envelope.Device, registrationID uint32, plaintext []byte) (typ uint8, ciphertext []byte, err error)
	Open func(tx sesame.Tx, from envelope.Device, typ uint8, ciphertext []byte) (plaintext []byte, sender envelope.Sender, err error)

	// Meet is told of the devices that the server names, before a message is
	// sealed for them: it fetches their bundles and makes sessions, in
	// transactions of its own. An error ends the connection. Nil does nothing.
	Meet func(devices []envelope.Recipient) error

	// Member tells who may write in a conversation. A conversation that the
	// user's own devices share has no other members: that keeps contacts out of
	// what devices tell each other.
	Member func(conversation [16]byte, from envelope.Device) bool

	// Show is told of each ephemeral message, which is not stored.
	Show func(conversation [16]byte, from envelope.Device, body []byte)

	// Changed is called when the screen has changed: a message arrived, or one
	// of our own was answered. It must not block.
	Changed func()

	one  sync.Mutex // transaction at a time
	mu   sync.Mutex
	kick chan struct{}
}

// maxUnanswered is how many messages a connection has on the way: one of each
// conversation, for a second one would overtake the first if that is not
// accepted.
const maxUnanswered = 64

// update runs f in a transaction. f may run again: it sets what it returns, and
// adds nothing to it.
func (c *Client) update(f func(*Tx) error) error {
	c.one.Lock()
	defer c.one.Unlock()
	return c.Do(func(rows sesame.Tx) error {
		tx := &Tx{rows: rows}
		return tx.run(func(tx *Tx) error {
			err := f(tx)
			if err == nil {
				tx.count()
			}
			return err
		})
	})
}

// Rows of the client:
//
//	clock/CONVERSATION      lamport.Clock
//	seen/CONVERSATION       the highest position seen, the anchor of what is written next
//	last/CONVERSATION       the position of the last message that came
//	counter                 send counter
//	inbox                   lamport.Inbox
//	outbox/COUNTER          the message until its answer: conversation, rounds, key, and the frame as it was sealed
//	screen/KEY              state, conversation, body
//	stats                   Stats
//	had/USER/DEVICE/ID      message IDs of others

// Send seals a message and stores it, with the clock, the counter and the line on
// the screen, in one transaction. It is sent by the connection that runs, or by
// the next; and again until it is answered, always the same bytes.
func (c *Client) Send(conversation, id [16]byte, to []envelope.Recipient, body []byte) error {
	err := c.update(func(tx *Tx) error {
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

// ErrReplaced: another connection of this device has taken over. Do not Run again
// before the user asks for it.
var ErrReplaced = errors.New("relay: another connection has taken over")

// What Client.Seal and Client.Open say of a device or a message.
var (
	// ErrExcluded: the device is not written to.
	ErrExcluded = errors.New("relay: device excluded")

	// ErrWaits: the device is not written to before the user has agreed.
	ErrWaits = errors.New("relay: the message waits")

	// ErrUnreadable: the message does not decrypt, or is not to be shown.
	ErrUnreadable = errors.New("relay: message refused")
)

// Whisper sends an ephemeral message, such as "typing", if a connection runs.
func (c *Client) Whisper(conn io.Writer, conversation, id [16]byte, to []envelope.Recipient, body []byte) error {
	m := &envelope.Submit{Ephemeral: true, Header: envelope.Header{Conversation: conversation, ID: id, Sender: c.Self}}
	var frame []byte
	if err := c.update(func(tx *Tx) (err error) {
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
			if v.Type, v.Ciphertext, err = c.Seal(tx.rows, v.Device, v.RegistrationID, plaintext); err != nil {
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

func seenKey(conversation [16]byte) string { return fmt.Sprintf("seen/%x", conversation) }

func (c *Client) seen(tx *Tx, conversation [16]byte) lamport.Position {
	return tx.position(seenKey(conversation))
}

func (c *Client) sees(tx *Tx, conversation [16]byte, p lamport.Position) {
	if p.Compare(c.seen(tx, conversation)) > 0 {
		tx.putPosition(seenKey(conversation), p)
	}
}

func (tx *Tx) position(key string) (p lamport.Position) {
	if b := tx.Get(key); len(b) == 12 {
		p = lamport.Position{Epoch: binary.BigEndian.Uint32(b), Number: binary.BigEndian.Uint64(b[4:])}
	}
	return p
}

func (tx *Tx) putPosition(key string, p lamport.Position) {
	tx.Put(key, binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, p.Epoch), p.Number))
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
