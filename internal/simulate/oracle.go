package simulate

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// A messageKey names a message key: a ratchet key and the number under it.
type messageKey struct {
	chain
	counter uint32
}

// A chain is a ratchet key of a device.
type chain = x3dh.PublicKey

// look looks at a message that leaves a device.
func (w *world) look(m *parcel) {
	switch m.typ {
	case ratchet.PlaintextContent:
		return
	case groupMessage:
		w.lookAtGroup(m)
		return
	}
	message := m.message(w)
	if message == nil {
		return
	}
	if _, ok := w.chains[message.RatchetKey]; !ok {
		w.chains[message.RatchetKey] = len(w.chains)
	}
	key := messageKey{message.RatchetKey, message.Counter}
	before, ok := w.keys[key]
	if ok && before != string(message.Ciphertext) {
		w.violation(Reused, "%v uses message key %d/%d twice, for #%d as well",
			m.from, w.chains[key.chain], key.counter, m.number)
	}
	w.keys[key] = string(message.Ciphertext)
}

// lookAtGroup is look for a group message.
func (w *world) lookAtGroup(m *parcel) {
	key, message := w.linkOf(m)
	if message == nil {
		return
	}
	before, ok := w.links[key]
	if ok && before != string(message.Ciphertext) {
		w.violation(Reused, "%v uses key %d of a chain twice, for #%d as well", m.from, key.iteration, m.number)
	}
	w.links[key] = string(message.Ciphertext)
}

// message is the ratchet message in m.
func (m *parcel) message(w *world) *ratchet.Message {
	b := m.bytes
	if m.typ == ratchet.Initial {
		initial, err := x3dh.ParseInitialMessage(b)
		if err != nil {
			w.violation(Failed, "%v writes #%d: %v", m.from, m.number, err)
			return nil
		}
		b = initial.Message
	}
	message, err := ratchet.ParseMessage(b)
	if err != nil {
		w.violation(Failed, "%v writes #%d: %v", m.from, m.number, err)
		return nil
	}
	return message
}

// opened notes the chain of a message that d has read.
func (d *device) opened(m *parcel) {
	if message := m.message(d.world); message != nil {
		if c := d.chains[message.RatchetKey]; !slices.Contains(d.read[m.from], c) {
			d.read[m.from] = append(d.read[m.from], c)
		}
	}
}

// excuse notes why d may be unable to read m, if it may.
func (d *device) excuse(m *parcel, verdict error) {
	if d.copies(m.letter) > 0 {
		return
	}
	c, ok := d.findExcuse(m, verdict)
	if _, known := d.excuses[m.letter]; ok && !known {
		d.excuses[m.letter] = c
		d.count(c)
	}
}

func (d *device) findExcuse(m *parcel, verdict error) (Count, bool) {
	if m.receiver != d.identity {
		return OldReceiver, true
	}
	for _, key := range d.confirmed[m.from] {
		if key != m.sender {
			return OldSender, true
		}
	}
	if errors.Is(verdict, sesame.ErrUnknownPreKey) {
		initial, err := x3dh.ParseInitialMessage(m.bytes)
		if err == nil && d.now.Sub(d.signed[initial.SignedPreKeyID]) > sesame.SignedPreKeyKept {
			return OldPreKey, true
		}
	}
	if message := m.message(d.world); message != nil && errors.Is(verdict, sesame.ErrUndecryptable) {
		newer := 0
		for _, c := range d.read[m.from] {
			if c > d.chains[message.RatchetKey] {
				newer++
			}
		}
		if newer >= ratchet.MaxReceivingChains {
			return OldChain, true
		}
	}
	return 0, false
}

// copies is how often a message is in the inbox.
func (d *device) copies(l *letter) int {
	keys, _ := d.rows(fmt.Sprintf("app/in/%05d/", l.number))
	return len(keys)
}

// judge looks at what an installation has acknowledged, at the end of it.
func (w *world) judge(d *device) {
	judged := map[*letter]bool{}
	for _, l := range d.acknowledged {
		if judged[l] || l.brings != nil || l.asks != nil {
			continue
		}
		judged[l] = true
		_, texts := d.rows(fmt.Sprintf("app/in/%05d/", l.number))
		for _, t := range texts {
			if string(t) != l.text {
				w.violation(Wrong, "#%d is not what %v wrote", l.number, l.from)
			}
		}
		if len(texts) > 1 {
			w.violation(Twice, "#%d of %v is %d times in the inbox of %v", l.number, l.from, len(texts), d)
		}
		if len(texts) > 0 {
			continue
		}
		_, excused := d.excuses[l]
		if l.circular != nil && !excused {
			if !w.over && d.has(askRow(l)) {
				continue // it was asked for, and the answer would have come
			}
			var reason Count
			if reason, excused = d.unanswered(l); excused {
				w.count(reason)
			}
		}
		if !excused {
			w.violation(Lost, "#%d of %v is acknowledged, and not in the inbox of %v", l.number, l.from, d)
		}
	}
}
