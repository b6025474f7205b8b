package hostile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
)

// seal is the Seal of the client.
func (d *device) seal(tx sesame.Tx, to envelope.Device, registrationID uint32, plaintext []byte) (uint8, []byte, error) {
	if !d.trusts(to) {
		d.note(Excluded)
		return 0, nil, relay.ErrExcluded
	}
	if d.sending != nil {
		if d.shared == nil {
			out, err := d.sesame.EncryptGroup(tx, 0, d.group(d.sending), plaintext, func(b []byte) []byte { return b })
			if err != nil {
				return 0, nil, err
			}
			d.shared = out.Ciphertext
		}
		return groupType, d.shared, nil
	}
	list, err := d.sesame.Repair(tx, plaintext, nil, sesame.Mismatch{Missing: map[sesame.Address]uint32{address(to): registrationID}})
	if err != nil {
		return 0, nil, err
	}
	m := list[0]
	if errors.Is(m.Err, sesame.ErrIdentityChanged) && d.w.Break == AnyIdentity {
		p, err := d.sesame.Peer(tx, address(to))
		if err == nil {
			err = d.sesame.Confirm(tx, address(to), p.Changed)
		}
		if err != nil {
			return 0, nil, err
		}
		return d.seal(tx, to, registrationID, plaintext)
	}
	switch {
	case errors.Is(m.Err, sesame.ErrIdentityChanged): // until the user has compared
		d.note(IdentityChanged)
		return 0, nil, relay.ErrWaits
	case m.Err != nil: // no session with that installation, whatever the server gives
		d.note(verdictOf(m.Err))
		return 0, nil, relay.ErrExcluded
	}
	return uint8(m.Type), m.Bytes, nil
}

// open is the Open of the client.
func (d *device) open(tx sesame.Tx, from envelope.Device, typ uint8, ciphertext []byte) ([]byte, envelope.Sender, error) {
	m := d.coming[string(ciphertext)]
	var r *sesame.Result
	var err error
	switch {
	case typ == groupType:
		r, err = d.sesame.DecryptGroup(tx, address(from), m.Header.Stamp, fmt.Sprintf("%x", m.Header.Conversation), ciphertext)
	case ratchet.Type(typ) == ratchet.PlaintextContent:
		var answer sesame.Message
		answer, err = d.sesame.HandleRetry(tx, address(from), d.id.ID, ciphertext, func(uint64) (bool, error) { return true, nil })
		r = &sesame.Result{Err: answer.Err}
	default:
		r, err = d.sesame.Decrypt(tx, address(from), ratchet.Type(typ), ciphertext)
		if err == nil && r.Err == nil {
			r.Missing = d.w.opened(pair{from, d.id}, ciphertext, r.Missing)
		}
	}
	if err != nil {
		return nil, envelope.Sender{}, err
	}
	if plaintext := d.misjudge(tx, r, m, typ); plaintext != nil {
		return plaintext, envelope.Sender(from), nil
	}
	verdict := r.Err
	if verdict == nil && r.IdentityChanged {
		verdict = sesame.ErrIdentityChanged
	}
	if verdict != nil {
		if errors.Is(verdict, sesame.ErrHeld) {
			d.held[heldKey(from, m.Header.Stamp)] = m
		}
		q, err := d.sesame.RetryRequest(tx, r, m.Header.Stamp)
		if err != nil {
			return nil, envelope.Sender{}, err
		}
		if q != nil {
			d.asks = append(d.asks, *q)
		}
		d.note(verdictOf(verdict))
		d.opened++
		return nil, envelope.Sender{}, fmt.Errorf("%w: %w", relay.ErrUnreadable, verdict)
	}
	if typ == groupType {
		if d.fresh[from] && r.Missing > 0 {
			r.Missing-- // what its author found out with who needs a distribution
		}
		d.fresh[from] = false
	}
	if r.Missing > 0 {
		d.note(Missing)
	}
	d.reading = true
	body, err := envelope.Unpack(&m.Header, envelope.Sender(from), r.Plaintext)
	if c := d.w.chats[m.Header.Conversation]; err != nil || c == nil || !c.has(from) {
		return r.Plaintext, envelope.Sender(from), nil // the client says no
	}
	d.orders(m, r)
	if len(body) > 0 && body[0] == distributionTag && typ != groupType {
		if err := d.takeDistribution(tx, r, m.Header.Conversation, body[1:]); err != nil {
			return nil, envelope.Sender{}, err
		}
	}
	return r.Plaintext, envelope.Sender(from), nil
}

// orders looks at the stamps of an installation. They ascend in what it writes to
// a conversation, and the server delivers in that order: R-9.3-5.
func (d *device) orders(m *envelope.Deliver, r *sesame.Result) {
	key := fmt.Sprintf("%x %v %x", m.Header.Conversation, m.Header.Sender, r.Identity.Bytes())
	if m.Header.Stamp <= d.stamps[key] {
		d.disorder = !d.deaf(Disorder)
		d.note(Disorder)
	}
	d.stamps[key] = max(d.stamps[key], m.Header.Stamp)
}

// The type of a group message, and what begins a body that brings a distribution.
const (
	groupType       = 7
	distributionTag = 'D'
)

// group is a group as this user knows it.
func (d *device) group(c *chat) sesame.Group {
	g := sesame.Group{Name: fmt.Sprintf("%x", c.id)}
	for o := range d.known {
		if d.known[o] && c.has(o) {
			g.Devices = append(g.Devices, address(o))
		}
	}
	slices.SortFunc(g.Devices, func(a, b sesame.Address) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	return g
}

var errUndo = errors.New("hostile: nothing to distribute")

// distribute brings those the distribution of the device's chain who need it, in
// a message of its own. What finds it out, for the group and for each of them, is not sent.
func (d *device) distribute(c *chat) {
	if _, err := d.recipients(c); err != nil {
		d.note(verdictOf(err))
		return
	}
	var distribution []byte
	var out *sesame.GroupMessage
	err := d.rows.Do(func(tx sesame.Tx) (err error) {
		out, err = d.sesame.EncryptGroup(tx, 0, d.group(c), []byte("who needs it?"), func(b []byte) []byte {
			distribution = slices.Clone(b)
			return b
		})
		if err == nil && distribution == nil {
			return errUndo
		}
		return err
	})
	if err != nil {
		if !errors.Is(err, errUndo) {
			must(err)
		}
		return
	}
	for _, m := range out.Messages {
		if m.Bytes != nil {
			d.w.seals(pair{d.id, envelope.Device{User: user(m.To.User), ID: m.To.Device}}, m.Bytes, true)
		}
	}
	if l := d.w.say(d, c, string(distributionTag)+string(distribution)); l != nil && len(l.to) > 0 {
		must(d.rows.Do(func(tx sesame.Tx) error {
			return d.sesame.Distributed(tx, d.group(c).Name, out.Chain, d.group(c).Devices...)
		}))
	}
}

func heldKey(from envelope.Device, stamp uint64) string { return fmt.Sprint(from, stamp) }

// takeDistribution takes a distribution, and shows what was held for it.
func (d *device) takeDistribution(tx sesame.Tx, r *sesame.Result, conversation [16]byte, b []byte) error {
	d.fresh[envelope.Device{User: user(r.From.User), ID: r.From.Device}] = true
	results, err := d.sesame.ProcessDistribution(tx, r, fmt.Sprintf("%x", conversation), b)
	if err != nil {
		return err
	}
	for _, v := range results {
		if v.Err != nil {
			d.note(verdictOf(v.Err))
			continue
		}
		from := envelope.Device{User: user(v.From.User), ID: v.From.Device}
		m := d.held[heldKey(from, v.Timestamp)]
		if m == nil {
			d.note(Mismatch)
			continue
		}
		body, err := envelope.Unpack(&m.Header, envelope.Sender(from), v.Plaintext)
		if err != nil || !d.member(m.Header.Conversation, from) {
			d.note(Mismatch)
			continue
		}
		at := lamport.Position{Epoch: m.Untrusted.Epoch, Number: m.Untrusted.Sequence}
		d.late = append(d.late, relay.Message{Key: lamport.ConfirmedKey(at, lamport.Stamp(m.Header.Stamp), lamport.Device(from), m.Header.ID),
			Conversation: m.Header.Conversation, ID: m.Header.ID, Sender: from, State: relay.Sent, Body: slices.Clone(body)})
	}
	return nil
}
