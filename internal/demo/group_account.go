package demo

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
)

// A groupAccount is the account of the second part. What it believes is what was
// given to the members to write, the frames that the server has accepted, and
// what stands in rows in the end. Who may read what follows from the rosters, and
// it does not ask the chains.
type groupAccount struct {
	*account
	group   *group
	notes   []*groupMessage
	rosters map[uint64]*roster
	knows   map[*member]uint64    // the revision that a member has read
	chains  map[*member]*oneChain // that a member writes with
	byKey   map[string]*groupMessage
	ticks   []tick // what was read since the last line
	groupCounts
}

type groupCounts struct {
	rotations, keys, heldBack int
	removed, forLost          int // chains that began because of somebody who is gone
	tried, leaked             int // given to those whom it is not for; leaked, which opened, must be 0
}

// A groupMessage is a message to the group, on its way and after.
type groupMessage struct {
	message
	from       *member
	header     envelope.Header
	revision   uint64           // of the roster that its writer has sealed it for
	keys       [][16]byte       // IDs of the frames that bring keys for it
	keysTo     [16]byte         // the last one
	sentTo     map[*member]bool // whom the server has accepted it for
	held       map[*member]bool
	reads      map[*member]int
	ciphertext []byte
}

// A oneChain is what can be seen of a chain from outside.
type oneChain struct {
	id senderkey.DistributionID
	to map[*member]bool // for whom a message of it was
}

// A happening is what a member has done with a delivery, and has stored.
type happening struct {
	member *member
	what   deed
	of     envelope.Header
	why    error
}

type deed int

const (
	didRead deed = iota
	didHold
	gotKeys
	hadIt
	didRefuse
)

// A tick is who has done the same with the same messages.
type tick struct {
	verb, why string
	who, what []string
}

// maxLine is how wide a line gets before another one begins.
const maxLine = 190

// on notes what becomes of a message, behind the line about it if there is room.
func (a *groupAccount) on(n *groupMessage, format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(a.line)+len(text) > maxLine {
		a.says("            %-6s %s", n.name, text)
	} else {
		a.about(&n.message, "%s", text)
	}
}

func newGroupAccount(g *group) *groupAccount {
	return &groupAccount{account: newAccount(), group: g, rosters: map[uint64]*roster{}, knows: map[*member]uint64{},
		chains: map[*member]*oneChain{}, byKey: map[string]*groupMessage{}}
}

// says is a line, behind what was read before.
func (a *groupAccount) says(format string, args ...any) {
	a.tellReads()
	a.printf(format, args...)
}

// begins is a user who begins to write.
func (a *groupAccount) begins(m *member, text string, r *roster) *groupMessage {
	n := &groupMessage{message: message{name: fmt.Sprintf("g%d", len(a.notes)+1), text: text}, from: m,
		sentTo: map[*member]bool{}, held: map[*member]bool{}, reads: map[*member]int{}}
	a.notes = append(a.notes, n)
	if r != nil {
		a.rosters[r.Revision], a.knows[m] = r, r.Revision
	}
	n.revision = a.knows[m]
	return n
}

// wrote is called when a message is in the outbox.
func (a *groupAccount) wrote(n *groupMessage, id [16]byte) {
	n.header.ID = id
	a.says("%-4s %-6s writes %-28q", n.name, n.from.name, n.text)
}

// find is the message of a header, or the one that a frame brings keys for.
func (a *groupAccount) find(m *member, id [16]byte) *groupMessage {
	for _, n := range a.notes {
		if n.header.ID == id || slices.Contains(n.keys, id) {
			return n
		}
	}
	for _, n := range a.notes { // keys go before the oldest message
		if n.from == m && !n.accepted {
			n.keys = append(n.keys, id)
			return n
		}
	}
	return nil
}

// sees looks at a frame on its way to the server: keys for some, or one
// ciphertext for all.
func (a *groupAccount) sees(m *member, s *envelope.Submit) *groupMessage {
	n := a.find(m, s.Header.ID)
	to := a.recipients(s)
	switch {
	case s.Shared == nil && n.keysTo == s.Header.ID:
		a.on(n, "keys again")
	case s.Shared == nil:
		n.keysTo = s.Header.ID
		a.on(n, "keys to %s", names(to))
	case bytes.Equal(n.ciphertext, s.Shared):
		a.on(n, "is sent again")
	default:
		n.header, n.ciphertext = s.Header, bytes.Clone(s.Shared)
		a.on(n, "%s: one ciphertext for %d", a.chain(n, to), len(to))
		if n.revision < uint64(len(a.rosters)) {
			a.on(n, "of revision %d, which is what %s knows", n.revision, n.from.name)
		}
	}
	return n
}

// chain says which chain a message is in, and why that is new.
func (a *groupAccount) chain(n *groupMessage, to []*member) string {
	m, err := senderkey.ParseMessage(n.ciphertext, senderkey.Signal)
	if err != nil {
		a.finds("%s is no message: %v", n.name, err)
		return "no chain"
	}
	key := fmt.Sprintf("%x/%d", m.ID[:3], m.Iteration)
	if other := a.byKey[key]; other != nil {
		a.reused++
		a.printf("KEY USED TWICE: %s and %s are under %s", other.name, n.name, key)
	}
	a.byKey[key] = n
	c, why := a.chains[n.from], ""
	if c == nil || c.id != m.ID {
		a.rotations++
		why = " is NEW, " + a.why(c, n, to)
		c = &oneChain{m.ID, map[*member]bool{}}
		a.chains[n.from] = c
	}
	for _, o := range to {
		c.to[o] = true
	}
	return "chain " + key + why
}

// why is the reason for another chain than c.
func (a *groupAccount) why(c *oneChain, n *groupMessage, to []*member) string {
	if c == nil {
		return "its first"
	}
	var gone []string
	for _, o := range a.group.members {
		switch {
		case !c.to[o] || slices.Contains(to, o):
		case a.rosters[n.revision].has(o.owner()):
			a.forLost++
			gone = append(gone, o.name+" is no device any more")
		default:
			a.removed++
			gone = append(gone, o.name+" is no member any more")
		}
	}
	if gone == nil {
		return "for no reason that shows"
	}
	return "for " + strings.Join(gone, " and ")
}

// answers is an answer of the server. What it accepts has to be for exactly those
// whom its writer knew as members, with the devices that they have.
func (a *groupAccount) answers(n *groupMessage, s *envelope.Submit, r *envelope.Result) {
	shared := s.Shared != nil
	switch {
	case r.Code == envelope.DeviceMismatch && !n.accepted:
		for _, o := range a.group.members {
			for v := range r.Missing.All() {
				if v.Device == o.id {
					a.on(n, "is not accepted without one for %s", o.name)
				}
			}
			for v := range r.Extra.All() {
				if v.Device == o.id {
					a.on(n, "is not accepted, for %s is no device any more", o.name)
				}
			}
		}
		a.repaired++
		n.revision = a.knows[n.from] // it is sealed anew
	case !shared && r.Code == envelope.Accepted:
		a.keys += s.Recipients.Len()
	case !shared && r.Code == envelope.Duplicate:
	case r.Code == envelope.Accepted && !n.accepted:
		n.accepted, n.position.Number = true, r.Sequence
		for _, o := range a.recipients(s) {
			n.sentTo[o] = true
		}
		for _, o := range a.group.members {
			if want := a.mayRead(n, o); n.sentTo[o] != want {
				a.finds("that %s is for %s is %t, and should be %t", n.name, o.name, n.sentTo[o], want)
			}
		}
		a.on(n, "is number %d", r.Sequence)
	case r.Code == envelope.Duplicate && r.Sequence == n.position.Number:
		a.on(n, "is number %d, as before", r.Sequence)
	default:
		a.finds("the server answers %s with code %d, number %d", n.name, r.Code, r.Sequence)
	}
}

// mayRead reports whether a message that is accepted now has to be for a device.
func (a *groupAccount) mayRead(n *groupMessage, o *member) bool {
	return o != n.from && a.rosters[n.revision].has(o.owner()) && slices.Contains(a.group.directory.devices(o.id.User), o.id)
}

// happens is called when a member has stored what became of a delivery.
func (a *groupAccount) happens(h happening) {
	m := h.member
	n := a.find(nil, h.of.ID)
	switch {
	case h.what == hadIt:
		a.duplicates++
	case n == nil:
		a.finds("%s gets what nobody wrote", m.name)
	case h.what == gotKeys:
	case h.what == didHold:
		a.heldBack++
		n.held[m] = true
		a.tick(m, "hold", n, " until its keys come")
	case h.what == didRefuse:
		a.refused++
		a.says("            %-6s REFUSES %s: %v", m.name, n.name, h.why)
	case h.what == didRead:
		n.reads[m]++
		if r := a.rosterOf(n); r != nil && r.Revision > a.knows[m] {
			a.knows[m] = r.Revision
		}
		why := ""
		if n.held[m] {
			why = ", whose keys have come"
		}
		a.tick(m, "read", n, why)
	}
}

// rosterOf is the roster that a message brings.
func (a *groupAccount) rosterOf(n *groupMessage) *roster {
	for _, r := range a.rosters {
		if r.Revision > 1 && n == a.bringer(r.Revision) {
			return r
		}
	}
	return nil
}

// bringer is the first message that was sealed for a revision.
func (a *groupAccount) bringer(revision uint64) *groupMessage {
	for _, n := range a.notes {
		if n.revision == revision {
			return n
		}
	}
	return nil
}

// tick notes what a member does, to be told with all who do the same.
func (a *groupAccount) tick(m *member, verb string, n *groupMessage, why string) {
	for i := range a.ticks {
		t := &a.ticks[i]
		if t.verb == verb && t.why == why && slices.Equal(t.what, []string{n.name}) {
			t.who = append(t.who, m.name)
			return
		}
	}
	a.ticks = append(a.ticks, tick{verb, why, []string{m.name}, []string{n.name}})
}

// tellReads is the line about what was read.
func (a *groupAccount) tellReads() {
	var parts []string
	for i := 0; i < len(a.ticks); i++ {
		t := a.ticks[i]
		for i+1 < len(a.ticks) && t.verb == a.ticks[i+1].verb && t.why == a.ticks[i+1].why && slices.Equal(t.who, a.ticks[i+1].who) {
			i++
			t.what = append(t.what, a.ticks[i].what...)
		}
		if len(t.who) == 1 {
			t.verb += "s"
		}
		parts = append(parts, fmt.Sprintf("%s %s %s%s", strings.Join(t.who, ", "), t.verb, strings.Join(t.what, ", "), t.why))
	}
	if a.ticks = nil; parts != nil {
		a.printf("            %s", strings.Join(parts, "; "))
	}
}

// called is what a delivery brings.
func (a *groupAccount) called(d *envelope.Deliver) string {
	n := a.find(nil, d.Header.ID)
	switch {
	case n == nil:
		return "what nobody wrote"
	case d.Header.ID == n.header.ID:
		return n.name
	}
	return "the keys of " + n.name
}

// leaks is a message that a device was given, and is not for it.
func (a *groupAccount) leaks(m *member, n *groupMessage, r *sesame.Result, how string) {
	a.tried++
	if r.Err == nil {
		a.leaked++
		a.says("OPENED: %s is given %s, which is not for it, and reads it", m.name, n.name)
		return
	}
	why := strings.TrimPrefix(r.Err.Error(), sesame.ErrUndecryptable.Error()+": ")
	if c, err := senderkey.ParseMessage(n.ciphertext, senderkey.Signal); err == nil && (errors.Is(r.Err, sesame.ErrHeld) || errors.Is(r.Err, senderkey.ErrNoChain)) {
		why = fmt.Sprintf("it was never given chain %x", c.ID[:3])
	}
	a.says("            %-6s is given %s, for %s, and cannot read it: %s", m.name, n.name, how, why)
}

// recipients are the members of a table.
func (a *groupAccount) recipients(s *envelope.Submit) (list []*member) {
	for _, o := range a.group.members {
		for v := range s.Recipients.All() {
			if v.Device == o.id {
				list = append(list, o)
			}
		}
	}
	return list
}

func names(list []*member) string {
	var out []string
	for _, m := range list {
		out = append(out, m.name)
	}
	return strings.Join(out, ", ")
}

// owner is the user of a device.
func (m *member) owner() string { return address(m.id).User }
