package relay

import (
	"encoding/binary"
	"slices"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
)

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

func (c *Client) show(tx *Tx, key lamport.Key, state State, conversation [16]byte, body []byte) {
	tx.Put(lineKey(key), append(append([]byte{byte(state)}, conversation[:]...), body...))
}

// Messages returns the lines of a conversation in display order; none if the
// database fails.
func (c *Client) Messages(conversation [16]byte) (list []Message) {
	_ = c.update(func(tx *Tx) error {
		list = nil
		for _, k := range tx.Keys("screen/") {
			v := tx.Get(k)
			if len(v) < 17 {
				continue // moved meanwhile, by another Client on these rows
			}
			m := Message{State: State(v[0]), Conversation: [16]byte(v[1:17]), Body: slices.Clone(v[17:])}
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
