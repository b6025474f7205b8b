package relay

import (
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
