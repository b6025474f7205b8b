package sesame

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// groupFamily is the family of group messages.
func (d *Device) groupFamily() senderkey.Family {
	if d.config.Family == ratchet.WhatsApp {
		return senderkey.WhatsApp
	}
	return senderkey.Signal
}

// A chainRecord ties the chains of a device that have one distribution ID to
// the identity key and the group that they came for. In the WhatsApp family
// there is one for each group.
type chainRecord struct {
	identity x3dh.PublicKey
	group    string

	starts []chainStart // of the chains, the newest first, at most senderkey.MaxChains
}

// A chainStart is the first message of a chain that could ever be read here: the
// iteration of the distribution that brought the chain.
type chainStart struct{ chain, iteration uint32 }

func parseChain(b []byte) (*chainRecord, error) {
	c := new(chainRecord)
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			c.identity, _ = x3dh.ParsePublicKey(d.Bytes())
		case 2:
			c.group = string(d.Bytes())
		case 3:
			s, err := parseChainStart(d.Repeated())
			if err != nil || len(c.starts) == senderkey.MaxChains || c.start(s.chain) >= 0 {
				d.Fail()
			}
			c.starts = append(c.starts, s)
		default:
			d.Fail()
		}
	}
	if d.Close(1, 2) != nil || c.identity == none || !validGroup(c.group) || len(c.starts) == 0 {
		return nil, wire.ErrMalformed
	}
	return c, nil
}

func parseChainStart(b []byte) (s chainStart, err error) {
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			s.chain = d.Uint32()
		case 2:
			s.iteration = d.Uint32()
		default:
			d.Fail()
		}
	}
	return s, d.Close(1, 2)
}

func (c *chainRecord) AppendBinary(b []byte) ([]byte, error) {
	b = wire.AppendBytes(b, 1, c.identity.Bytes())
	b = wire.AppendBytes(b, 2, []byte(c.group))
	for _, s := range c.starts {
		b = wire.AppendBytes(b, 3, wire.AppendUint(wire.AppendUint(nil, 1, uint64(s.chain)), 2, uint64(s.iteration)))
	}
	return b, nil
}

// start returns the position of the start of a chain, below 0 if there is none.
func (c *chainRecord) start(chain uint32) int {
	return slices.IndexFunc(c.starts, func(s chainStart) bool { return s.chain == chain })
}

// came notes a distribution, as the receiver takes it: a chain that is known
// comes to the front, and stays what it is.
func (c *chainRecord) came(d *senderkey.Distribution) {
	s := chainStart{d.ChainID(), d.Iteration()}
	if i := c.start(s.chain); i >= 0 {
		s = c.starts[i]
		c.starts = slices.Delete(c.starts, i, i+1)
	}
	c.starts = slices.Insert(c.starts, 0, s)
	c.starts = c.starts[:min(len(c.starts), senderkey.MaxChains)]
}

// before reports whether a message is from before its chain came.
func (c *chainRecord) before(m *senderkey.Message) bool {
	i := c.start(m.ChainID)
	return i >= 0 && m.Iteration < c.starts[i].iteration
}

// tie is what a chain is known by among those of its device: the distribution
// ID, or in the WhatsApp family, whose messages have none, the group.
func (d *Device) tie(id senderkey.DistributionID, group string) string {
	if d.config.Family == ratchet.WhatsApp {
		return "g" + groupKey(group)
	}
	return hex.EncodeToString(id[:])
}

// A receiverRecord is the chains of a device, with one identity key, in one
// group.
type receiverRecord struct {
	*senderkey.Receiver
	ties []string // of the newest distributions, the newest first
}

func parseReceiver(b []byte, f senderkey.Family) (*receiverRecord, error) {
	r := new(receiverRecord)
	var receiver []byte
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			receiver = d.Bytes()
		case 2:
			tie := string(d.Repeated())
			if len(r.ties) == senderkey.MaxChains || tie == "" || slices.Contains(r.ties, tie) {
				d.Fail()
			}
			r.ties = append(r.ties, tie)
		default:
			d.Fail()
		}
	}
	if err := d.Close(1); err != nil {
		return nil, err
	}
	var err error
	r.Receiver, err = senderkey.ParseReceiver(receiver, f)
	return r, err
}

func (r *receiverRecord) AppendBinary(b []byte) ([]byte, error) {
	receiver, err := r.Receiver.AppendBinary(nil)
	if err != nil {
		return b, err
	}
	b = wire.AppendBytes(b, 1, receiver)
	for _, tie := range r.ties {
		b = wire.AppendBytes(b, 2, []byte(tie))
	}
	return b, nil
}

// parseTies reads the ties of a receiverRecord.
func parseTies(b []byte) (ties []string, err error) {
	d := wire.Decode(b)
	for d.Next() {
		if d.Num() == 2 {
			ties = append(ties, string(d.Repeated()))
			continue
		}
		d.Bytes()
	}
	return ties, d.Close()
}

// distributed puts a tie in front, and returns those whose chains had to go.
func (r *receiverRecord) distributed(tie string) (gone []string) {
	ties := slices.DeleteFunc(r.ties, func(other string) bool { return other == tie })
	r.ties = slices.Insert(ties, 0, tie)
	n := min(len(r.ties), senderkey.MaxChains)
	r.ties, gone = r.ties[:n:n], r.ties[n:]
	return gone
}

// receiver reads the chains of a device in a group; a new record and revision 0
// if there are none.
func (d *Device) receiver(tx Tx, a Address, group string, identity x3dh.PublicKey) (*receiverRecord, uint64, error) {
	f := d.groupFamily()
	r, rev, err := get(tx, rowReceiver(a, group, identity), func(b []byte) (*receiverRecord, error) { return parseReceiver(b, f) })
	if err == nil && rev == 0 {
		r = &receiverRecord{Receiver: senderkey.NewReceiver(f)}
	}
	return r, rev, err
}

// forgetReceivers deletes the chains of devices, those whose rows have prefix
// after the kind, in groups and of identity keys (in hexadecimal) that gone says.
// Rows that do not make sense go with those of their receiver only.
func forgetReceivers(tx Tx, prefix string, gone func(group, identity string) bool) error {
	for key, err := range tx.Scan(rowsReceiver + prefix) {
		if err != nil {
			return err
		}
		parts := strings.Split(strings.TrimPrefix(key, rowsReceiver), "/")
		if len(parts) != 3 {
			return ErrCorrupt
		}
		name, err := hex.DecodeString(parts[1])
		if err != nil {
			return ErrCorrupt
		}
		if !gone(string(name), parts[2]) {
			continue
		}
		// With its ties, and with what it was when they were read: another
		// transaction may bring it a chain.
		r, rev, err := get(tx, key, parseTies)
		if errors.Is(err, ErrCorrupt) {
			_, rev, err = tx.Get(key)
			r = nil
		}
		if err != nil {
			return err
		}
		for _, tie := range r {
			chainKey := rowsChain + parts[0] + "/" + tie
			c, rev, err := get(tx, chainKey, parseChain)
			if err == nil && c != nil && groupKey(c.group) == parts[1] && identityKey(c.identity) == parts[2] {
				err = tx.Delete(chainKey, rev) // else another identity key has taken it over
			}
			if err != nil && !errors.Is(err, ErrCorrupt) {
				return err
			}
		}
		if err := tx.Delete(key, rev); err != nil {
			return err
		}
	}
	if prefix == "" {
		return nil
	}
	return each(tx, rowsChain+prefix, parseChain, func(key string, c *chainRecord, rev uint64) error {
		if !gone(c.group, identityKey(c.identity)) {
			return nil
		}
		return tx.Delete(key, rev)
	})
}

// identityKey is an identity key as part of a row key.
func identityKey(k x3dh.PublicKey) string { return hex.EncodeToString(k.Bytes()[1:]) }
