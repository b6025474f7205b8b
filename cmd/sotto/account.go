package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// maxLines bounds what the account prints of a long conversation, and then of
// the end of it. It counts all of it.
const maxLines = 200

// An account tells what happens, and judges it. What it believes is what was
// given to the devices to send, the numbers that the server gave, and what
// stands on the screens in the end; it does not ask the sessions or the clients
// whether all went well.
type account struct {
	w        io.Writer
	lines    int
	line     string
	messages []*message // in the order of writing
	whispers []*message
	byID     map[[16]byte]*message
	byKey    map[stream]map[uint32]*message
	seen     map[stream]uint32 // the highest message number that was read
	counts
}

// A message as its sender wrote it; a whisper is one that is not stored.
type message struct {
	name     string // #3; ~3 for a whisper
	from     *device
	text     string
	submits  int
	accepted int // answers that it is accepted, which only the first one may be
	position lamport.Position
	handed   int // copies of a whisper that reached the other device
	shown    int // of a whisper
}

// A stream is the messages under one ratchet key of one sender.
type stream struct {
	reader     *device
	ratchetKey x3dh.PublicKey
}

type counts struct {
	submits, resubmitted, asBefore int
	cuts, gaps                     int
	delivered, duplicates          int
	dropped, late, dhSteps         int
	refused, lost, repeated, wrong int // must be 0
	outOfOrder                     int // must be 0
}

func newAccount(w io.Writer) *account {
	return &account{w: w, byID: map[[16]byte]*message{}, byKey: map[stream]map[uint32]*message{}, seen: map[stream]uint32{}}
}

// printf begins a line, to which note may add.
func (a *account) printf(format string, args ...any) {
	a.flush()
	a.line = fmt.Sprintf(format, args...)
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
	a.printf("            %-5s "+format, append([]any{m.name}, args...)...)
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

// does is a line about a device.
func (a *account) does(d *device, format string, args ...any) {
	a.printf("            %-5s "+format, append([]any{d.name}, args...)...)
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
func (a *account) wrote(m *message, id [16]byte, to *device) {
	a.byID[id] = m
	h := m.from.sealed
	s := stream{to, h.RatchetKey}
	if a.byKey[s] == nil {
		a.byKey[s] = map[uint32]*message{}
	}
	if a.byKey[s][h.Counter] == nil {
		a.byKey[s][h.Counter] = m
	}
	kind := "ordinary"
	if m.from.initial {
		kind = "initial"
	}
	verb := "writes"
	if m.name[0] == '~' {
		a.whispers = append(a.whispers, m)
		verb = "hints "
	} else {
		a.messages = append(a.messages, m)
	}
	a.printf("%-4s %-5s %s %-26q %-8s key %x/%-2d", m.name, m.from.name, verb, m.text, kind, shortKey(h), h.Counter)
}

// submitted is called when the server gets a frame whole, or half of it.
func (a *account) submitted(m *message) {
	a.submits++
	if m.submits++; m.submits > 1 {
		a.resubmitted++
	}
}

// answered is called when the server answers. The first answer accepts, and all
// later ones have to say the same.
func (a *account) answered(m *message, r *envelope.Result) {
	p := lamport.Position{Epoch: r.Epoch, Number: r.Sequence}
	switch {
	case r.Code == envelope.Accepted && m.accepted == 0:
		m.accepted, m.position = 1, p
		a.about(m, "is number %d", p.Number)
	case r.Code == envelope.Duplicate && p == m.position:
		a.asBefore++
		a.about(m, "is number %d, as before", p.Number)
	default:
		a.wrong++
		a.printf("WRONG: the server answers %s with code %d, number %d", m.name, r.Code, p.Number)
	}
}

// travels notes what the network does with a frame for a device.
func (a *account) travels(m *message, f deliverFate) {
	if f.dropped && m.name[0] == '~' {
		a.about(m, "is dropped")
	}
	if !f.dropped && (len(f.delays) > 1 || f.delays[0] > 0) {
		a.about(m, "%v", f)
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
	s := "comes "
	if len(delays) > 1 {
		s += "twice, "
	}
	return s + strings.Join(delays, " and ")
}

// opened is called when a device has tried to decrypt something.
func (a *account) opened(d *device, o opening) {
	h, err := readHeader(o.typ, o.ciphertext)
	if err != nil {
		a.does(d, "gets what nobody wrote: %v", err)
		return
	}
	s := stream{d, h.RatchetKey}
	name := "what nobody wrote"
	m := a.byKey[s][h.Counter]
	if m != nil {
		name = m.name
	}
	switch {
	case o.verdict == nil:
	case errors.Is(o.verdict, ratchet.ErrDuplicate):
		a.duplicates++
		a.does(d, "recognises %s, whose key is used", name)
		return
	default:
		if m == nil || name[0] == '~' { // the client counts the others
			a.refused++
		}
		a.does(d, "refuses %s: %v", name, o.verdict)
		return
	}
	highest, known := a.seen[s]
	switch {
	case !known:
		a.dhSteps++
		a.seen[s] = h.Counter
		a.does(d, "reads %s%s: key %x is new, DH step", name, skips(h.Counter), shortKey(h))
	case h.Counter < highest:
		a.late++
		a.does(d, "reads %s, late: its key %x/%d had been kept", name, shortKey(h), h.Counter)
	default:
		a.seen[s] = h.Counter
		a.does(d, "reads %s%s", name, skips(h.Counter-highest-1))
	}
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
func (a *account) heard(text string) {
	for _, m := range a.whispers {
		if m.text == text {
			m.shown++
			return
		}
	}
	a.wrong++
	a.printf("WRONG: %q is shown, which nobody wrote", text)
}

// judge compares what was written, and the numbers that the server gave, with
// what stands on a screen.
func (a *account) judge(reader *device, screen []relay.Message) {
	written := map[string]*message{}
	for _, m := range a.messages {
		written[m.text] = m
	}
	shown := map[*message]int{}
	var last lamport.Position
	for _, line := range screen {
		m := written[string(line.Body)]
		switch {
		case m == nil || line.Sender != m.from.id:
			a.wrong++
			a.printf("WRONG: %s has %q on the screen, which nobody wrote", reader.name, line.Body)
			continue
		case line.State != relay.Sent:
			continue // lost
		case m.position.Compare(last) < 0:
			a.outOfOrder++
			a.printf("OUT OF ORDER: %s has %s, number %d, behind number %d", reader.name, m.name, m.position.Number, last.Number)
		}
		last = m.position
		shown[m]++
	}
	for _, m := range a.messages {
		switch n := shown[m]; {
		case n == 0:
			a.lost++
			a.printf("LOST: %s does not have %s on the screen", reader.name, m.name)
		case n > 1:
			a.repeated += n - 1
			a.printf("REPEATED: %s has %s on the screen %d times", reader.name, m.name, n)
		}
		if shown[m] > 0 && m.from != reader {
			a.delivered++
		}
	}
}

// judgeWhispers: what reached the other device was shown, once.
func (a *account) judgeWhispers() {
	for _, m := range a.whispers {
		switch {
		case m.handed == 0:
			a.dropped++
		case m.shown == 0:
			a.lost++
			a.printf("LOST: %s reached the other device, and was not shown", m.name)
		}
		if m.shown > 1 {
			a.repeated += m.shown - 1
			a.printf("REPEATED: %s was shown %d times", m.name, m.shown)
		}
	}
}

// summary is the last line, for scripts.
func (a *account) summary(seed uint64) string {
	return fmt.Sprintf("summary: sent=%d submits=%d resubmitted=%d as_before=%d cuts=%d gaps=%d delivered=%d duplicates=%d"+
		" hints=%d dropped=%d late=%d dh_steps=%d refused=%d lost=%d repeated=%d wrong=%d out_of_order=%d seed=%d",
		len(a.messages), a.submits, a.resubmitted, a.asBefore, a.cuts, a.gaps, a.delivered, a.duplicates,
		len(a.whispers), a.dropped, a.late, a.dhSteps, a.refused, a.lost, a.repeated, a.wrong, a.outOfOrder, seed)
}

// ok reports whether everything that must hold did.
func (a *account) ok() bool {
	return a.lost+a.repeated+a.wrong+a.refused+a.outOfOrder == 0 && a.delivered == len(a.messages)
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
