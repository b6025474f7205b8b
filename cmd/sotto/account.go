package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// maxLines bounds what the account prints of a long conversation, and then of
// the end of it. It counts all of it.
const maxLines = 200

// An account tells what happens, and judges it. What it believes is what was
// given to the devices to send and what their users got to read in the end; it
// does not ask the sessions whether all went well.
type account struct {
	w     io.Writer
	lines int
	sent  []message
	seen  map[stream]uint32 // the highest message number that was read
	counts
}

// A message as its sender wrote it.
type message struct {
	from, to, text string
	delivered      int // copies
}

// A stream is the messages under one ratchet key of one sender.
type stream struct {
	reader     string
	ratchetKey x3dh.PublicKey
}

type counts struct {
	dropped, delivered        int // messages
	duplicates, late, dhSteps int
	lost, repeated, wrong     int // must be 0
	refused                   int // copies; must be 0, since the network alters nothing
}

func newAccount(w io.Writer) *account {
	return &account{w: w, seen: map[stream]uint32{}}
}

func (a *account) printf(format string, args ...any) {
	if a.lines++; a.lines <= maxLines {
		fmt.Fprintf(a.w, format+"\n", args...)
	}
}

// endPart ends a part of the account, and says what it left out.
func (a *account) endPart() {
	if a.lines > maxLines {
		fmt.Fprintf(a.w, "… and %d more lines\n", a.lines-maxLines)
	}
	a.lines = 0
}

// wrote is called when a message leaves, with what the network does with it.
func (a *account) wrote(p packet, text string, f fate) error {
	h, err := readHeader(p.typ, p.body)
	if err != nil {
		return err
	}
	a.sent = append(a.sent, message{from: p.from, to: p.to, text: text})
	kind := "ordinary"
	if p.typ == ratchet.Initial {
		kind = "initial"
	}
	what := "drops it"
	if f.dropped {
		a.dropped++
	} else {
		what = f.String()
	}
	a.printf("#%-3d %-5s writes %-26q %-8s key %x/%-2d | %s", p.number, p.from, text, kind, shortKey(h), h.Counter, what)
	return nil
}

func (f fate) String() string {
	delays := make([]string, len(f.delays))
	for i, d := range f.delays {
		delays[i] = "at once"
		if d > 0 {
			delays[i] = fmt.Sprintf("after %d", d)
		}
	}
	s := "delivers "
	if len(delays) > 1 {
		s += "twice, "
	}
	return s + strings.Join(delays, " and ")
}

// got is called when a device was given a packet, with what it said of it.
func (a *account) got(p packet, verdict error) {
	m := &a.sent[p.number-1]
	if m.delivered++; m.delivered == 1 {
		a.delivered++
	}
	line := func(format string, args ...any) {
		a.printf("            %-5s "+format, append([]any{p.to}, args...)...)
	}
	switch {
	case verdict == nil:
	case errors.Is(verdict, ratchet.ErrDuplicate):
		a.duplicates++
		line("recognises #%d, which it has", p.number)
		return
	default:
		a.refused++
		line("refuses #%d: %v", p.number, verdict)
		return
	}
	h, err := readHeader(p.typ, p.body)
	if err != nil {
		line("reads #%d, of which nobody can say how: %v", p.number, err)
		return
	}
	s := stream{p.to, h.RatchetKey}
	highest, known := a.seen[s]
	switch {
	case !known:
		a.dhSteps++
		a.seen[s] = h.Counter
		line("reads #%d%s: key %x is new, DH step", p.number, skips(h.Counter), shortKey(h))
	case h.Counter < highest:
		a.late++
		line("reads #%d, late: its key %x/%d had been kept", p.number, shortKey(h), h.Counter)
	default:
		a.seen[s] = h.Counter
		line("reads #%d%s", p.number, skips(h.Counter-highest-1))
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

// judge compares what was delivered to a device with what its user has read.
func (a *account) judge(reader string, inbox []string) {
	read := map[string]int{}
	for _, text := range inbox {
		read[text]++
	}
	for i, m := range a.sent {
		if m.to != reader || m.delivered == 0 {
			continue
		}
		switch n := read[m.text]; {
		case n == 0:
			a.lost++
			a.printf("LOST: #%d was delivered, and %s has not read it", i+1, reader)
		case n > 1:
			a.repeated += n - 1
			a.printf("REPEATED: %s has read #%d %d times", reader, i+1, n)
		}
		delete(read, m.text)
	}
	for text, n := range read {
		a.wrong += n
		a.printf("WRONG: %s has read %q, which nobody delivered", reader, text)
	}
}

// summary is the last line, for scripts.
func (a *account) summary(seed uint64) string {
	return fmt.Sprintf("summary: sent=%d dropped=%d delivered=%d duplicates=%d late=%d dh_steps=%d refused=%d lost=%d repeated=%d wrong=%d seed=%d",
		len(a.sent), a.dropped, a.delivered, a.duplicates, a.late, a.dhSteps, a.refused, a.lost, a.repeated, a.wrong, seed)
}

// ok reports whether everything that must hold did.
func (a *account) ok() bool {
	return a.lost+a.repeated+a.wrong+a.refused == 0 && a.dropped+a.delivered == len(a.sent)
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
