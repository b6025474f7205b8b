package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// maxLines bounds what the account prints of a long conversation, and then of
// the end of it. It counts all of it.
const maxLines = 200

// An account tells what happens, and judges it. What it believes is what was
// given to the devices to send, the frames on the way, the numbers that the
// server gave, and what stands on the screens in the end; it does not ask the
// sessions or the clients whether all went well.
type account struct {
	w        io.Writer
	lines    int
	line     string
	subject  string     // the message that the line is about
	messages []*message // in the order of writing
	whispers []*message
	byID     map[[16]byte]*message
	byKey    map[stream]map[uint32]*sealed
	seen     map[stream]uint32 // the highest message number that was read
	bob      *device
	met      map[*device]int  // the installation of Bob's that each of Alice's devices met first
	trusted  map[*device]int  // which installation of Bob's each of Alice's devices has confirmed
	noticed  map[*device]bool // that his key has changed
	counts
}

// A message as its sender wrote it; a whisper is one that is not stored.
type message struct {
	name     string // #3; ~3 for a whisper
	from     *device
	by       int // the installation that wrote it
	text     string
	submits  int
	accepted bool // which only the first answer may say
	position lamport.Position
	to       map[*device]*fate
}

// A fate is what becomes of a message at one device.
type fate struct {
	installation int  // to which it was sealed
	handed       int  // copies of a whisper that reached it
	excused      bool // it was killed when it had a whisper before it
	shown        int
}

// A stream is the messages under one ratchet key of one sender.
type stream struct {
	reader     *device
	ratchetKey x3dh.PublicKey
}

// A sealed is what was seen under one message key.
type sealed struct {
	m          *message
	ciphertext []byte
}

type counts struct {
	submits, resubmitted, asBefore int
	repaired                       int // answers that the devices are others
	cuts, kills, gaps              int
	delivered, duplicates          int
	dropped, late, dhSteps         int
	gone, unreadable               int // with the phone that was lost: not sent, not read
	marked                         int // read under a key that was not confirmed
	refused, lost, repeated, wrong int // must be 0
	outOfOrder, reused             int // must be 0
}

func newAccount() *account {
	return &account{w: io.Discard, byID: map[[16]byte]*message{}, byKey: map[stream]map[uint32]*sealed{},
		seen: map[stream]uint32{}, met: map[*device]int{}, trusted: map[*device]int{}, noticed: map[*device]bool{}}
}

// printf begins a line, to which note may add.
func (a *account) printf(format string, args ...any) {
	a.flush()
	a.line, a.subject = fmt.Sprintf(format, args...), ""
}

func (a *account) note(format string, args ...any) {
	sep := "; "
	if a.line[0] != ' ' && !strings.Contains(a.line, " | ") {
		sep = " | "
	}
	a.line += sep + fmt.Sprintf(format, args...)
}

// about notes what becomes of a message, behind the line about it if that is
// the last one.
func (a *account) about(m *message, format string, args ...any) {
	if strings.HasPrefix(strings.TrimLeft(a.line, " "), m.name+" ") {
		a.note(format, args...)
		return
	}
	a.printf("            %-6s "+format, append([]any{m.name}, args...)...)
}

func (a *account) flush() {
	if a.line == "" {
		return
	}
	if a.lines++; a.lines <= maxLines {
		fmt.Fprintln(a.w, a.line)
	}
	a.line = ""
}

// finds is a line about what must not be.
func (a *account) finds(format string, args ...any) {
	a.wrong++
	a.printf("WRONG: "+format, args...)
}

// does is a line about a device.
func (a *account) does(d *device, format string, args ...any) {
	a.printf("            %-6s "+format, append([]any{d.name}, args...)...)
}

// endPart ends a part of the account, and says what it left out.
func (a *account) endPart() {
	a.flush()
	if a.lines > maxLines {
		fmt.Fprintf(a.w, "… and %d more lines\n", a.lines-maxLines)
	}
	a.lines = 0
}

// wrote is called when a message is in the outbox of its device. What becomes of
// it on the way is noted behind.
func (a *account) wrote(m *message, id [16]byte) {
	m.by, m.to = m.from.installation, map[*device]*fate{}
	a.meets(m.from, a.bob.installation)
	a.byID[id] = m
	verb := "writes"
	if m.name[0] == '~' {
		a.whispers = append(a.whispers, m)
		verb = "hints "
	} else {
		a.messages = append(a.messages, m)
	}
	a.printf("%-4s %-6s %s %-26q", m.name, m.from.name, verb, m.text)
}

// sees looks at a message on its way to the server. Under one message key there
// is one ciphertext, ever.
func (a *account) sees(m *message, s *envelope.Submit, devices []*device) {
	var keys []string
	for v := range s.Recipients.All() {
		for _, d := range devices {
			if d.id != v.Device {
				continue
			}
			h, err := readHeader(ratchet.Type(v.Type), v.Ciphertext)
			if err != nil {
				a.finds("%s is no message for %s: %v", m.name, d.name, err)
				continue
			}
			st := stream{d, h.RatchetKey}
			if a.byKey[st] == nil {
				a.byKey[st] = map[uint32]*sealed{}
			}
			before := a.byKey[st][h.Counter]
			switch {
			case before == nil:
				a.byKey[st][h.Counter] = &sealed{m, bytes.Clone(v.Ciphertext)}
				kind := ""
				if ratchet.Type(v.Type) == ratchet.Initial {
					kind = " initial"
				}
				keys = append(keys, fmt.Sprintf("%s %x/%d%s", d.name, shortKey(h), h.Counter, kind))
			case !bytes.Equal(before.ciphertext, v.Ciphertext):
				a.reused++
				a.printf("KEY USED TWICE: %s and %s for %s are under %x/%d", before.m.name, m.name, d.name, shortKey(h), h.Counter)
			}
		}
	}
	switch {
	case len(keys) == 0: // as before
	case strings.HasPrefix(a.line, m.name+" ") && !strings.Contains(a.line, " | "):
		a.line += " to " + strings.Join(keys, ", ")
	default:
		a.about(m, "goes to %s", strings.Join(keys, ", "))
	}
}

// submitted is called when the server gets a frame whole, or half of it.
func (a *account) submitted(m *message) {
	a.submits++
	if m.submits++; m.submits > 1 {
		a.resubmitted++
	}
}

// answered is called when the server answers. The first answer that is not about
// devices accepts, and all later ones have to say the same.
func (a *account) answered(m *message, r *envelope.Result, devices []*device) {
	p := lamport.Position{Epoch: r.Epoch, Number: r.Sequence}
	switch {
	case r.Code == envelope.Accepted && !m.accepted:
		m.accepted, m.position = true, p
		for _, d := range devices {
			m.to[d] = &fate{installation: d.installation}
		}
		a.about(m, "is number %d", p.Number)
	case r.Code == envelope.Duplicate && p == m.position:
		a.asBefore++
		a.about(m, "is number %d, as before", p.Number)
	case r.Code == envelope.DeviceMismatch && !m.accepted:
		a.repaired++
		for _, d := range devices {
			for v := range r.Missing.All() {
				if v.Device == d.id {
					a.about(m, "is not accepted without one for %s", d.name)
				}
			}
			for v := range r.Stale.All() {
				if v.Device == d.id {
					a.about(m, "is not accepted, for %s has installed anew", d.name)
				}
			}
		}
	default:
		a.finds("the server answers %s with code %d, number %d", m.name, r.Code, p.Number)
	}
}

// travels notes what the network does with a frame for a device.
func (a *account) travels(m *message, d *device, f deliverFate) {
	if f.dropped && m.name[0] == '~' {
		a.about(m, "is dropped on the way to %s", d.name)
	}
	if !f.dropped && (len(f.delays) > 1 || f.delays[0] > 0) {
		a.about(m, "comes to %s %v", d.name, f)
	}
}

func (f deliverFate) String() string {
	delays := make([]string, len(f.delays))
	for i, d := range f.delays {
		delays[i] = "at once"
		if d > 0 {
			delays[i] = fmt.Sprintf("after %d", d)
		}
	}
	s := ""
	if len(delays) > 1 {
		s = "twice, "
	}
	return s + strings.Join(delays, " and ")
}

// opened is called when a device has tried to decrypt something, and has stored
// the outcome.
func (a *account) opened(d *device, o opening) {
	h, err := readHeader(o.typ, o.ciphertext)
	if err != nil {
		a.does(d, "gets what nobody wrote: %v", err)
		return
	}
	s := stream{d, h.RatchetKey}
	known := a.byKey[s][h.Counter]
	if known == nil {
		known = &sealed{m: &message{name: "what nobody wrote", to: map[*device]*fate{}}}
	}
	m := known.m
	f := m.to[d]
	before := f != nil && f.installation != d.installation // sealed for one that is gone
	switch {
	case o.verdict == nil && before:
		a.finds("%s reads %s, which was sealed for the phone before", d.name, m.name)
		return
	case o.verdict == nil:
	case errors.Is(o.verdict, sesame.ErrDuplicate):
		a.duplicates++
		a.does(d, "recognises %s, whose key is used", m.name)
		return
	case before:
		a.unreadable++
		a.does(d, "cannot read %s: it was sealed for the phone before", m.name)
		return
	default:
		a.refused++
		a.does(d, "REFUSES %s: %v", m.name, o.verdict)
		return
	}
	how := ""
	highest, ok := a.seen[s]
	switch {
	case !ok:
		a.dhSteps++
		a.seen[s] = h.Counter
		how = fmt.Sprintf("%s, key %x is new: DH step", skips(h.Counter), shortKey(h))
	case h.Counter < highest:
		a.late++
		how = fmt.Sprintf(", late: its key %x/%d had been kept", shortKey(h), h.Counter)
	default:
		a.seen[s] = h.Counter
		how = skips(h.Counter - highest - 1)
	}
	if o.marked {
		a.marked++
		a.noticed[d] = true
		how += ", MARKED"
	}
	if m.from == a.bob {
		a.meets(d, m.by)
	}
	if o.marked != a.untrusted(d, m) {
		a.finds("%s reads %s, and whether it marks it is %t", d.name, m.name, o.marked)
	}
	if a.subject == m.name+" read" {
		a.note("%s reads it%s", d.name, how)
		return
	}
	a.does(d, "reads %s%s", m.name, how)
	a.subject = m.name + " read"
}

// waits is called when a message waits until its writer has compared.
func (a *account) waits(m *message) {
	a.noticed[m.from] = true
	a.about(m, "waits, for his identity key is another one")
}

// meets is called when a device has to do with an installation of Bob's. It
// trusts the key of the first at sight.
func (a *account) meets(d *device, installation int) {
	if a.met[d] == 0 {
		a.met[d] = installation
	}
}

// untrusted reports whether a message is from an installation that its reader has
// not confirmed.
func (a *account) untrusted(d *device, m *message) bool {
	return m.from == a.bob && m.by > max(a.met[d], a.trusted[d])
}

func skips(n uint32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", keeps %d key%s of missing ones", n, plural(int(n)))
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// heard is called when a device shows a whisper.
func (a *account) heard(d *device, text string) {
	for _, m := range a.whispers {
		if m.text == text {
			m.to[d].shown++
			return
		}
	}
	a.finds("%q is shown, which nobody wrote", text)
}

// readHeader reads what anybody on the way can read of a message.
func readHeader(typ ratchet.Type, body []byte) (*ratchet.Message, error) {
	if typ == ratchet.Initial {
		m, err := x3dh.ParseInitialMessage(body)
		if err != nil {
			return nil, err
		}
		body = m.Message
	}
	return ratchet.ParseMessage(body)
}

// shortKey is the start of a ratchet key, enough to tell those of a demo apart.
func shortKey(m *ratchet.Message) []byte { return m.RatchetKey.Bytes()[1:4] }
