package demo

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/sesame"
)

// judgeGroup looks into the rows of all devices, those of the removed and of the
// lost ones too: what is for a device stands on its screen, once and in its
// place, and what is not does not open with anything in its rows.
func (a *groupAccount) judgeGroup() error {
	a.tellReads()
	table := map[*member]string{}
	for _, m := range a.group.members {
		screen, err := m.screen()
		if err != nil {
			return err
		}
		for _, n := range a.notes {
			at := 0
			for number, line := range screen {
				if line.Text != n.text || line.Author != n.from.owner() {
					continue
				}
				if at++; number != n.position.Number {
					a.outOfOrder++
					a.printf("OUT OF ORDER: %s has %s as number %d, and it is number %d", m.name, n.name, number, n.position.Number)
				}
				delete(screen, number)
			}
			letter, err := a.cell(m, n, at)
			if err != nil {
				return err
			}
			table[m] += fmt.Sprintf("%4s", letter)
		}
		for _, line := range screen {
			a.finds("%s has %q of %s on the screen, which nobody wrote", m.name, line.Text, line.Author)
		}
	}
	a.endPart()
	a.printf("%-18s", "Who can read what:")
	for _, n := range a.notes {
		a.line += fmt.Sprintf("%4s", n.name)
	}
	for _, m := range a.group.members {
		a.printf("  %-16s%s", m.name, table[m])
	}
	a.printf("  w: wrote it. r: was a member, and read it once. n: was no member yet. x: was removed, or lost. All n and x were tried: none opens")
	if a.leaked > 0 {
		a.line = strings.TrimSuffix(a.line, "none opens") + fmt.Sprintf("%d OPEN", a.leaked)
	}
	return nil
}

// cell judges one message at one device, which shows it so many times.
func (a *groupAccount) cell(m *member, n *groupMessage, shown int) (letter string, err error) {
	switch {
	case n.from == m || n.sentTo[m]:
		letter = "r"
		if n.from == m {
			letter = "w"
		}
		switch {
		case shown == 0:
			a.lost++
			a.printf("LOST: %s does not have %s on the screen", m.name, n.name)
			return "?", nil
		case shown > 1 || n.reads[m] > 1:
			a.repeated++
			a.printf("REPEATED: %s has read %s more than once", m.name, n.name)
		}
		a.delivered++
		return letter, nil
	case shown > 0:
		a.finds("%s has %s on the screen, which is not for it", m.name, n.name)
	}
	letter = "x"
	if n.revision < a.cameWith(m) {
		letter = "n"
	}
	opens, err := m.opens(n)
	if a.tried++; opens {
		a.leaked++
		a.printf("OPENED: the rows of %s open %s, which is not for it", m.name, n.name)
		letter = "!"
	}
	return letter, err
}

// cameWith is the first revision that a device's user is in.
func (a *groupAccount) cameWith(m *member) (first uint64) {
	for revision, r := range a.rosters {
		if r.has(m.owner()) && (first == 0 || revision < first) {
			first = revision
		}
	}
	return first
}

// opens tries a message with the rows of a device. Nothing is stored.
func (m *member) opens(n *groupMessage) (ok bool, err error) {
	errBack := errors.New("roll back")
	err = m.rows(func(tx sesame.Tx) error {
		r, err := m.sesame.DecryptGroup(tx, address(n.from.id), 0, "", n.ciphertext)
		if err != nil {
			return err
		}
		ok = r.Err == nil
		return errBack
	})
	if errors.Is(err, errBack) {
		err = nil
	}
	return ok, err
}

// screen is what a device shows, by the number in the conversation.
func (m *member) screen() (lines map[uint64]shown, err error) {
	err = m.rows(func(tx sesame.Tx) error {
		lines = map[uint64]shown{}
		return relay.Update(tx, func(rows *relay.Tx) error {
			for _, row := range rows.Keys("screen/") {
				var number uint64
				var line shown
				if _, err := fmt.Sscanf(row, "screen/%x", &number); err != nil {
					return err
				}
				if err := load(rows, row, &line); err != nil {
					return err
				}
				lines[number] = line
			}
			return nil
		})
	})
	return lines, err
}

// groupSummary is the last line of this part, for scripts.
func (a *groupAccount) groupSummary(seed uint64) string {
	return fmt.Sprintf("group: sent=%d chains=%d for_removed=%d for_lost=%d keys=%d held=%d repaired=%d cuts=%d kills=%d delivered=%d duplicates=%d tried=%d"+
		" opened=%d refused=%d lost=%d repeated=%d wrong=%d out_of_order=%d reused=%d seed=%d",
		len(a.notes), a.rotations, a.removed, a.forLost, a.keys, a.heldBack, a.repaired, a.cuts, a.kills, a.delivered, a.duplicates, a.tried,
		a.leaked, a.refused, a.lost, a.repeated, a.wrong, a.outOfOrder, a.reused, seed)
}

// fine reports whether everything that must hold did.
func (a *groupAccount) fine() bool { return a.ok() && a.leaked == 0 }
