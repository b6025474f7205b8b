package simulate

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
)

// An outcome is what became of a letter.
type outcome struct {
	*letter
	*sesame.Result
}

// A reading is what became of a parcel: of its own letter first, then of those
// that were held for it.
type reading struct {
	outcomes     []outcome
	pairwise     bool // a session opened it
	distribution []byte
	known        bool // what the chain of a group message is, when it was looked for
}

// receive has the application decrypt a message, put the plaintext or the
// verdict into its inbox, and acknowledge it when that is committed.
func (d *device) receive(p int, m *parcel) {
	d.count(Delivered)
	d.target, d.handling = m.from, m
	defer func() { d.target, d.handling = nil, nil }()
	if m.typ == ratchet.PlaintextContent {
		d.answer(p, m)
		return
	}
	if d.Break == AcknowledgeFirst {
		d.acknowledge(m)
	}
	n := d.id()
	var r *reading
	err := d.do(p, "decrypt", func(tx sesame.Tx, dev *sesame.Device) (err error) {
		if r, err = d.open(tx, dev, m); err != nil || d.Break == TwoTransactions {
			return err
		}
		return d.store(tx, dev, r, n)
	})
	if err == nil && d.Break == TwoTransactions {
		err = d.do(p, "store the text", func(tx sesame.Tx, dev *sesame.Device) error { return d.store(tx, dev, r, n) })
	}
	if r != nil && d.has(tookRow(n)) { // whatever the commit answered
		d.took(m, r)
	}
	if err != nil {
		return // not acknowledged: it is delivered again
	}
	if d.Break != AcknowledgeFirst {
		d.acknowledge(m)
	}
}

// open decrypts a message, and takes the distribution in it if there is one.
func (d *device) open(tx sesame.Tx, dev *sesame.Device, m *parcel) (*reading, error) {
	if m.typ == groupMessage {
		r, err := dev.DecryptGroup(tx, m.from.at, m.timestamp, m.circular.group.name, m.bytes)
		return &reading{outcomes: []outcome{{m.letter, r}}, known: d.hasChain(m.circular)}, err
	}
	r, err := dev.Decrypt(tx, m.from.at, m.typ, m.bytes)
	if err != nil {
		return nil, err
	}
	out := &reading{outcomes: []outcome{{m.letter, r}}, pairwise: r.Err == nil}
	if r.Err != nil || m.brings == nil {
		return out, nil
	}
	name, distribution := unwrap(r.Plaintext)
	results, err := dev.ProcessDistribution(tx, r, name, distribution)
	if err != nil {
		return nil, err
	}
	if len(results) == 1 && results[0].Timestamp == 0 { // it is refused
		out.outcomes[0].Result = results[0]
		return out, nil
	}
	out.distribution = distribution
	for _, r := range results {
		if d.Break != DropReleased {
			out.outcomes = append(out.outcomes, outcome{d.find(m.from, r.Timestamp), r})
		}
	}
	return out, nil
}

// find is the letter to d that has a timestamp.
func (d *device) find(from *device, timestamp uint64) *letter {
	for _, l := range d.letters {
		if l.from == from && l.to == d && l.timestamp == timestamp {
			return l
		}
	}
	panic("simulate: no such letter")
}

// store puts what came of a parcel into the inbox, and asks for what was not
// read.
func (d *device) store(tx sesame.Tx, dev *sesame.Device, r *reading, n int) error {
	for i, o := range r.outcomes {
		if o.Err != nil {
			if err := tx.Put(fmt.Sprintf("app/verdict/%05d/%05d/%d", o.number, n, i), []byte(o.Err.Error()), 0); err != nil {
				return err
			}
		} else if o.brings == nil {
			if err := d.storeText(tx, o, n); err != nil {
				return err
			}
		}
		if err := d.request(tx, dev, o); err != nil {
			return err
		}
	}
	return tx.Put(tookRow(n), nil, 0)
}

// tookRow says that a parcel was taken.
func tookRow(n int) string { return fmt.Sprintf("app/took/%05d", n) }

// storeText puts a text into the inbox. One that may come twice, because it was
// asked for or its group was forgotten, goes where it can stand only once.
func (d *device) storeText(tx sesame.Tx, o outcome, n int) error {
	key := fmt.Sprintf("%s%05d", inRows(o.letter), n)
	_, asked, err := tx.Get(askRow(o.letter))
	if err != nil {
		return err
	}
	if asked != 0 || o.circular != nil && d.again[o.circular.group] {
		for _, err := range tx.Scan(inRows(o.letter)) {
			return err // it is there
		}
		key = inRows(o.letter) + "once"
	}
	return tx.Put(key, o.Plaintext, 0)
}

// inRows is where the text of a letter is in the inbox.
func inRows(l *letter) string { return fmt.Sprintf("app/in/%05d/", l.number) }

// took notes what became of a parcel, when that is committed.
func (d *device) took(m *parcel, r *reading) {
	if r.pairwise {
		d.opened(m)
	}
	for i, o := range r.outcomes {
		switch {
		case o.Err == nil && o.brings != nil:
			d.trace("%v takes the distribution #%d of %v", d, o.number, o.from)
			d.distributed(o.letter, r.distribution, r.outcomes)
		case o.Err == nil:
			d.trace("%v reads #%d of %v", d, o.number, o.from)
			d.reads(o.letter)
			if i > 0 {
				d.count(Released)
			}
		case errors.Is(o.Err, sesame.ErrDuplicate):
			d.trace("%v recognises #%d of %v", d, o.number, o.from)
			d.count(Duplicates)
		case errors.Is(o.Err, sesame.ErrHeld):
			d.trace("%v holds #%d of %v", d, o.number, o.from)
			d.count(Held)
		default:
			d.trace("%v cannot read #%d of %v: %v", d, o.number, o.from, o.Err)
			if i == 0 && m.typ != groupMessage && !r.pairwise {
				d.unread[m.from] = true
			}
		}
	}
	first := r.outcomes[0]
	if m.typ == groupMessage {
		d.lookAt(m, first.Err, r.known)
	} else if first.Err != nil && m.brings == nil {
		d.excuse(m, first.Err)
	}
}

// acknowledge tells the server that m is done with. It may not hear it.
func (d *device) acknowledge(m *parcel) {
	d.acknowledged = append(d.acknowledged, m.letter)
	if d.faulty && d.percent(15) {
		d.trace("  the acknowledgement is lost")
		return
	}
	d.server.remove(m)
}

// readAll reads all that the server has for d.
func (d *device) readAll() {
	for len(d.server.mail) > 0 {
		m := d.anyMail()
		d.receive(0, m)
		d.server.remove(m) // also if it failed, which is a violation
	}
}
