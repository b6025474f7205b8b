package simulate

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// askRow is where the request for a letter is, as long as the database: what
// was asked for may come twice.
func askRow(l *letter) string { return fmt.Sprintf("app/ask/%05d", l.number) }

// request stores the request for what was not read, if there is one to make.
func (d *device) request(tx sesame.Tx, dev *sesame.Device, o outcome) error {
	l := o.letter
	if l.brings != nil {
		l = l.brings
	}
	if l.timestamp == 0 || d.Break == NeverAsk {
		return nil
	}
	q, err := dev.RetryRequest(tx, o.Result, l.timestamp)
	if err != nil || q == nil {
		return err
	}
	_, rev, err := tx.Get(askRow(l))
	if err != nil {
		return err
	}
	return tx.Put(askRow(l), q.Bytes, rev)
}

// How often an application sends the request for one message: before the faults
// stop, and in all.
const (
	asksFaulty = 2
	asksMost   = 5
)

// ask sends the requests for what is not there yet, and reports whether there
// were any. While there are faults it does so for some: what is held may come
// out.
func (d *device) ask(p int) (asked bool) {
	keys, rows := d.rows("app/ask/")
	for i, key := range keys {
		var number int
		if _, err := fmt.Sscanf(strings.TrimPrefix(key, "app/ask/"), "%d", &number); err != nil {
			panic(err)
		}
		l := d.letters[number]
		most := asksMost
		if d.faulty {
			most = asksFaulty
		}
		if d.copies(l) > 0 || d.asked[l] >= most || d.faulty && d.percent(60) {
			continue
		}
		d.asked[l]++
		d.count(Requests)
		q := d.newLetter(l.from, "")
		q.asks = l
		d.trace("%v asks %v for #%d with #%d", d, l.from, number, q.number)
		d.post(&parcel{q, d.identity, none, ratchet.PlaintextContent, rows[i]})
		asked = true
	}
	return asked
}

// answer has the application send a message again to the device that asks for
// it. What it has to do first, start a session or have a key confirmed, it does
// if it has to.
func (d *device) answer(p int, m *parcel) {
	var err error
	for range 3 {
		var r sesame.Message
		var b *x3dh.Bundle
		if r, err = d.tryAnswer(p, m, nil); err == nil && errors.Is(r.Err, sesame.ErrNoSession) {
			if b = d.fetch(m.from); b != nil {
				r, err = d.tryAnswer(p, m, b)
			}
		}
		if err != nil {
			return // not acknowledged
		}
		switch {
		case r.Err == nil:
			d.count(Answers)
			d.trace("%v sends #%d again to %v", d, m.asks.number, m.from)
		case errors.Is(r.Err, sesame.ErrIdentityChanged):
			d.notice(p, m.from)
			continue
		case errors.Is(r.Err, sesame.ErrRetryRefused):
			d.trace("%v does not send #%d again to %v: %v", d, m.asks.number, m.from, r.Err)
			d.refused(m, r.Err)
		case errors.Is(r.Err, sesame.ErrNoSession):
			d.trace("%v has no session to send #%d again to %v", d, m.asks.number, m.from)
		default:
			d.violation(Failed, "%v: answer: %v", d, r.Err)
		}
		break
	}
	d.acknowledge(m)
}

// tryAnswer is a transaction of answer: it starts a session from the bundle, if
// there is one.
func (d *device) tryAnswer(p int, m *parcel, b *x3dh.Bundle) (r sesame.Message, err error) {
	attempt := d.id()
	l := m.asks
	allowed := func(uint64) (bool, error) { return d.allowed(l), nil }
	err = d.do(p, "answer", func(tx sesame.Tx, dev *sesame.Device) (err error) {
		if b != nil {
			if err := dev.Start(tx, m.from.at, b); err != nil {
				return err
			}
		}
		r, err = dev.HandleRetry(tx, m.from.at, d.at.Device, m.bytes, allowed)
		if err != nil || r.Err != nil {
			return err
		}
		known, err := dev.Peer(tx, m.from.at)
		if err != nil {
			return err
		}
		row := append([]byte{byte(r.Type)}, known.Identity.Bytes()...)
		return tx.Put(outRow(l, attempt), append(row, r.Bytes...), 0)
	})
	if r.Err == nil { // it may be in the database, whatever the commit answered
		l.answers++
	}
	if err == nil && b != nil {
		d.count(Sessions)
		delete(d.unread, m.from)
	}
	return r, err
}

// allowed reports whether the device that a letter was for may have it still.
func (d *device) allowed(l *letter) bool {
	if l.circular == nil {
		return true
	}
	for _, o := range l.circular.group.members() {
		if o == l.to {
			return true
		}
	}
	return false
}

// refused looks at the refusal to send a circular again: there is a reason.
func (d *device) refused(m *parcel, verdict error) {
	l := m.asks
	if l.circular == nil {
		return
	}
	if _, ok := l.to.unanswered(l); !ok {
		d.violation(Failed, "%v: answer for #%d: %v", d, l.number, verdict)
	}
}
