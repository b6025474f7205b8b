package demo

import (
	"fmt"

	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/lamport"
)

// What the account believes in the end.

// expected reports whether a message has to be on a screen: everything that was
// accepted for this installation, and everything that it wrote itself.
func (m *message) expected(reader *device) bool {
	if m.from == reader {
		return m.by == reader.installation
	}
	return m.accepted && m.to[reader].installation == reader.installation
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
		case m == nil || line.Sender != m.from.id || !m.expected(reader):
			a.finds("%s has %q on the screen, which is not for it", reader.name, line.Body)
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
		if !m.expected(reader) {
			continue
		}
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

// judgeWhispers: what reached another device was shown, once.
func (a *account) judgeWhispers() {
	for _, m := range a.whispers {
		for d, f := range m.to {
			switch {
			case f.handed == 0:
				a.dropped++
			case f.shown == 0 && !f.excused:
				a.lost++
				a.printf("LOST: %s reached %s, and was not shown", m.name, d.name)
			}
			if f.shown > 1 {
				a.repeated += f.shown - 1
				a.printf("REPEATED: %s was shown %d times", m.name, f.shown)
			}
		}
	}
}

// summary is the last line, for scripts.
func (a *account) summary(seed uint64) string {
	return fmt.Sprintf("summary: sent=%d gone=%d submits=%d resubmitted=%d as_before=%d repaired=%d cuts=%d kills=%d gaps=%d"+
		" delivered=%d duplicates=%d hints=%d dropped=%d late=%d dh_steps=%d marked=%d unreadable=%d"+
		" refused=%d lost=%d repeated=%d wrong=%d out_of_order=%d reused=%d seed=%d",
		len(a.messages)-a.gone, a.gone, a.submits, a.resubmitted, a.asBefore, a.repaired, a.cuts, a.kills, a.gaps,
		a.delivered, a.duplicates, len(a.whispers), a.dropped, a.late, a.dhSteps, a.marked, a.unreadable,
		a.refused, a.lost, a.repeated, a.wrong, a.outOfOrder, a.reused, seed)
}

// ok reports whether everything that must hold did.
func (a *account) ok() bool {
	return a.refused+a.lost+a.repeated+a.wrong+a.outOfOrder+a.reused == 0
}

// judgeTrust: a new installation was noticed by all, and confirmed.
func (a *account) judgeTrust(devices ...*device) {
	for _, d := range devices {
		if 0 < a.met[d] && a.met[d] < a.bob.installation && (!a.noticed[d] || a.trusted[d] != a.bob.installation) {
			a.finds("%s has not noticed that Bob has installed anew", d.name)
		}
	}
}
