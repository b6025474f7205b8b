package hostile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// A snapshot is what was told before an attack.
type snapshot map[*device]map[Verdict]int

func (w *world) snapshot() snapshot {
	s := snapshot{}
	for _, d := range w.devices {
		s[d] = told(d)
	}
	return s
}

func told(d *device) map[Verdict]int {
	m := map[Verdict]int{}
	for v, n := range d.verdicts {
		m[v] = n
	}
	return m
}

func (w *world) violation(format string, args ...any) {
	v := Violation{Seed: w.Seed, Class: "honest traffic", What: fmt.Sprintf(format, args...)}
	if w.class != nil {
		v.Class = w.class.Name
		w.report.Rows[v.Class].Silent++
	}
	w.report.Bad++
	w.trace("VIOLATION: %v", v)
	if len(w.report.Violations) < maxKept {
		w.report.Violations = append(w.report.Violations, v)
	}
}

// judge looks at all screens, and at what was told since before.
func (w *world) judge(c *Class, before snapshot) {
	w.report.Written = len(w.letters)
	as := map[Verdict]bool{}
	for _, d := range w.devices {
		for v, n := range d.verdicts {
			if n > before[d][v] {
				as[v] = true
			}
		}
	}
	bad := w.report.Bad
	chats := w.inOrder()
	for _, d := range w.devices {
		if d.touched {
			lines := map[*chat][]relay.Message{}
			for _, chat := range chats {
				lines[chat] = append([]relay.Message{}, d.lines(chat)...) // not nil
			}
			w.judgeScreen(d, chats, lines)
			w.judgeMissing(c, d, lines, before[d])
		}
		d.touched = false
	}
	for _, c := range chats {
		c.touched = false
	}
	if c == nil {
		for v := range as {
			w.violation("%s, and nobody attacks", v)
		}
		return
	}
	row := w.report.Rows[c.Name]
	row.Tried++
	refused := false
	for v := range as {
		row.As[v]++
		refused = refused || !slices.Contains(reported, v)
		if !slices.Contains(c.Must, v) && !slices.Contains(w.also, v) {
			w.violation("surfaces as %s", v)
		}
	}
	switch {
	case w.report.Bad > bad:
	case refused:
		row.Refused++
	case len(as) > 0:
		row.Reported++
	case slices.Contains(c.Must, Harmless):
		row.Harmless++
	default:
		w.violation("nobody notices")
	}
}

// judgeScreen compares a screen with what was written. Nothing is altered, shown
// twice, or under another name; what one author wrote to a conversation stands in
// his order, unless the user was told that the server contradicts itself.
func (w *world) judgeScreen(d *device, chats []*chat, lines map[*chat][]relay.Message) {
	for _, c := range chats {
		last := map[envelope.Device]int{}
		shown := map[string]bool{}
		for _, m := range lines[c] {
			l := w.letters[string(m.Body)]
			switch {
			case l == nil:
				w.violation("%v shows what nobody wrote", d)
				continue
			case l.from.id != m.Sender || l.chat != c || l.id != m.ID:
				w.violation("%v shows %v as of %v in %s", d, l, nameOf(m.Sender), c.name)
			case !c.has(d.id):
				w.violation("%v shows %v, which is not for it", d, l)
			case shown[l.body]:
				w.violation("%v shows %v twice", d, l)
			case l.number < last[m.Sender] && !d.disorder && m.State == relay.Sent:
				w.violation("%v shows %v out of order", d, l)
			}
			shown[l.body] = true
			if m.State == relay.Sent {
				last[m.Sender] = max(last[m.Sender], l.number)
			}
		}
	}
}

// judgeMissing looks for what was accepted for a device and does not stand there.
// Its user was told that something is, or the class says that he cannot be.
func (w *world) judgeMissing(c *Class, d *device, lines map[*chat][]relay.Message, before map[Verdict]int) {
	shown := map[string]bool{}
	for _, list := range lines {
		for _, m := range list {
			shown[string(m.Body)] = true
		}
	}
	for _, l := range w.order {
		if lines[l.chat] == nil || !slices.Contains(l.to, d) || shown[l.body] || l.missed[d] {
			continue
		}
		l.missed[d] = true
		surfaced := false
		for v, n := range d.verdicts {
			surfaced = surfaced || n > before[v]
		}
		if !surfaced && (c == nil || c.Unseen == "") {
			w.violation("%v misses %v, and is not told", d, l)
		}
	}
}

// inOrder lists the conversations of the members, and those of guests to which
// somebody wrote since the last judgement.
func (w *world) inOrder() (list []*chat) {
	for _, c := range w.chats {
		if c.touched || !strings.Contains(c.name, "guest") {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *chat) int { return strings.Compare(a.name, b.name) })
	return list
}

// look looks at a message that leaves a device: no message key is used for two
// plaintexts, its stamp is not far ahead, and it is for nobody else.
func (w *world) look(d *device, m *envelope.Submit) {
	c := w.chats[m.Header.Conversation]
	for v := range m.Recipients.All() {
		if w.find(v.Device) == nil || !c.has(v.Device) {
			w.violation("%v encrypts for %v, who is not in %s", d, nameOf(v.Device), c.name)
		}
		key, ok := messageKey(v)
		if !ok {
			w.violation("%v writes what is no message", d)
			continue
		}
		if before, ok := w.keys[key]; ok && before != string(v.Ciphertext) {
			w.violation("%v uses a message key twice", d)
		}
		if w.keys[key] == "" && v.Type != groupType {
			w.seals(pair{d.id, v.Device}, v.Ciphertext, false)
		}
		w.keys[key] = string(v.Ciphertext)
		if w.spied != nil {
			w.spied(v)
		}
	}
	if m.Header.Stamp > uint64(len(w.letters))+lamport.MaxLead {
		w.violation("%v has a clock that was pushed to %d", d, m.Header.Stamp)
	}
}

// messageKey names the message key of a ciphertext.
func messageKey(v envelope.Recipient) (string, bool) {
	b := v.Ciphertext
	switch {
	case v.Type == groupType:
		m, err := senderkey.ParseMessage(b, senderkey.Signal)
		if err != nil {
			return "", false
		}
		return fmt.Sprintf("%x/%d", m.ID, m.Iteration), true
	case ratchet.Type(v.Type) == ratchet.Initial:
		m, err := x3dh.ParseInitialMessage(b)
		if err != nil {
			return "", false
		}
		b = m.Message
	}
	m, err := ratchet.ParseMessage(b)
	if err != nil {
		return "", false
	}
	return fmt.Sprintf("%x/%d", m.RatchetKey.Bytes(), m.Counter), true
}
