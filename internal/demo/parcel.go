package demo

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
)

// What the app of a member keeps in rows, and what it encrypts. Rows:
//
//	roster              roster
//	clock, counter      lamport.Clock, send counter
//	outbox/COUNTER      parcel
//	position, ahead/P   position, and what has arrived beyond it
//	waiting/ADDRESS/S   waiting
//	screen/NUMBER       the author and the text

// A roster is who is in the group. It travels in messages of the group, and a
// newer revision replaces an older one. Here every member may change it; who may
// is up to an application, and the library does not know.
type roster struct {
	Revision uint64
	Users    []string
}

func (r *roster) has(user string) bool { return slices.Contains(r.Users, user) }

// A note is what is encrypted, packed with its header: a text for the group, a
// change of the roster with it, or the distribution of a chain.
type note struct {
	Text   string  `json:",omitempty"`
	Roster *roster `json:",omitempty"`
	Chain  []byte  `json:",omitempty"`
}

func (n note) pack(h *envelope.Header) ([]byte, error) {
	b, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	return envelope.Pack(nil, h, b)
}

func (n *note) parse(body []byte) error { return json.Unmarshal(body, n) }

// A parcel is a message in the outbox: a frame with the keys of its chain for
// those who need them, until the server has accepted that, and then a frame with
// one ciphertext for all.
type parcel struct {
	Header  envelope.Header
	Counter uint64
	Rounds  int // how often it was sealed anew
	Note    note
	Chain   senderkey.DistributionID
	KeysID  [16]byte
	Keys    []byte
	Message []byte
}

func (p *parcel) row() string { return fmt.Sprintf("outbox/%016x", p.Counter) }

// frame is what is to be sent now.
func (p *parcel) frame() []byte {
	if p.Keys != nil {
		return p.Keys
	}
	return p.Message
}

// asks reports whether an answer is one to that frame.
func (p *parcel) asks(id [16]byte) bool {
	return p.Keys != nil && id == p.KeysID || p.Keys == nil && id == p.Header.ID
}

// recipients are those of that frame.
func (p *parcel) recipients() (to []sesame.Address) {
	if s, err := parse[*envelope.Submit](p.frame()); err == nil {
		for v := range s.Recipients.All() {
			to = append(to, address(v.Device))
		}
	}
	return to
}

// oldest is the first parcel of the outbox; nil if there is none.
func oldest(rows *relay.Tx) (*parcel, error) {
	for _, row := range rows.Keys("outbox/") {
		p := new(parcel)
		return p, load(rows, row, p)
	}
	return nil, nil
}

// A waiting is what stood on the envelope of a message that is held for its keys.
type waiting struct {
	Header envelope.Header
	Number uint64 // in the conversation
}

func waitingRow(r *sesame.Result) string {
	return fmt.Sprintf("waiting/%s/%d/%016x", r.From.User, r.From.Device, r.Timestamp)
}

// A position is how much of the mailbox is durable, without a gap.
type position struct {
	Epoch uint32
	At    uint64
}

// arrives notes that something has arrived, and reports whether that is new.
func (p *position) arrives(rows *relay.Tx, u envelope.Untrusted) bool {
	ahead := func(n uint64) string { return fmt.Sprintf("ahead/%016x", n) }
	if u.Position <= p.At || rows.Get(ahead(u.Position)) != nil {
		return false
	}
	rows.Put(ahead(u.Position), nil)
	p.Epoch = u.MailboxEpoch
	for rows.Get(ahead(p.At+1)) != nil {
		p.At++
		rows.Delete(ahead(p.At))
	}
	store(rows, "position", p)
	return true
}

// fetch asks for everything behind it.
func (p *position) fetch() *envelope.Fetch {
	if p.At == 0 {
		return &envelope.Fetch{}
	}
	return &envelope.Fetch{MailboxEpoch: p.Epoch, After: p.At}
}

// A shown is a line of the screen.
type shown struct{ Author, Text string }

// show puts a line on the screen. Rows are in the order of their keys.
func show(rows *relay.Tx, number uint64, author, text string) {
	store(rows, fmt.Sprintf("screen/%016x", number), &shown{author, text})
}

// next64 counts in a row.
func next64(rows *relay.Tx, row string) uint64 {
	n := uint64(1)
	if b := rows.Get(row); len(b) == 8 {
		n += binary.BigEndian.Uint64(b)
	}
	rows.Put(row, binary.BigEndian.AppendUint64(nil, n))
	return n
}

// load reads a row into v, which stays as it is if there is none.
func load(rows *relay.Tx, row string, v any) error {
	b := rows.Get(row)
	if b == nil {
		return nil
	}
	return json.Unmarshal(b, v)
}

// store writes a row.
func store(rows *relay.Tx, row string, v any) {
	b, _ := json.Marshal(v) // of structs of strings, bytes and numbers
	rows.Put(row, b)
}
