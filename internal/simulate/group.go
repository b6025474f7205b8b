package simulate

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
)

// groupMessage is the type of a ciphertext that is for all devices of a group.
const groupMessage ratchet.Type = 7

// A group is what its server knows of it.
type group struct {
	name    string
	counted bool        // the application gives each membership its revision, else 0
	rosters [][]*device // the memberships so far
}

// newest is the number of the membership, and members are who is in it.
func (g *group) newest() int        { return len(g.rosters) - 1 }
func (g *group) members() []*device { return g.rosters[g.newest()] }

func (g *group) revision(roster int) uint64 {
	if !g.counted {
		return 0
	}
	return uint64(1 + roster)
}

// formGroups makes one group or two, of some of the devices.
func (w *world) formGroups() {
	if w.percent(25) {
		w.pairwise = 2
	}
	for _, name := range []string{"family", "work"}[:1+w.rng.IntN(4)/3] {
		members := slices.Clone(w.devices)
		w.rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		members = members[:2+w.rng.IntN(len(members)-1)]
		w.groups = append(w.groups, &group{name, w.percent(75), [][]*device{members}})
	}
}

// operateGroup does one operation that has to do with a group.
func (w *world) operateGroup(p int) {
	g := w.groups[w.rng.IntN(len(w.groups))]
	d := g.members()[w.rng.IntN(len(g.members()))]
	switch n := w.rng.IntN(200); {
	case n < 90:
		d.writeGroup(p, g)
		d.submit(p)
	case n < 160:
		for range 3 {
			if m := w.anyMail(); m != nil {
				m.to.receive(p, m)
			}
		}
	case n < 180:
		w.changeMembers(g)
	case n < 188:
		d := w.some()
		if !slices.Contains(g.members(), d) || w.percent(10) { // else it goes on without its chains
			d.forgetGroup(p, g)
		}
	case n < 189:
		d.burst(p, g)
	default:
		for _, d := range w.devices {
			d.ask(p)
		}
	}
}

// changeMembers has a device join, or come back, or one or all of a user go.
func (w *world) changeMembers(g *group) {
	d := w.devices[w.rng.IntN(len(w.devices))]
	members := slices.Clone(g.members())
	if !slices.Contains(members, d) {
		w.count(Joined)
		w.trace("%v joins %s", d, g.name)
		g.rosters = append(g.rosters, append(members, d))
		return
	}
	all := w.percent(30)
	members = slices.DeleteFunc(members, func(o *device) bool { return o == d || all && o.at.User == d.at.User })
	if len(members) == 0 {
		return
	}
	for _, o := range g.members() {
		if !slices.Contains(members, o) {
			w.count(Removed)
			w.trace("%v is removed from %s", o, g.name)
			o.keepCopy()
		}
	}
	g.rosters = append(g.rosters, members)
}

// view is the membership that process p of the device knows of: it may lag
// behind.
func (d *device) view(p int, g *group) int {
	v := d.views[g]
	if v == nil {
		v = &[2]int{g.newest(), g.newest()}
		d.views[g] = v
	}
	if !d.faulty || d.percent(60) {
		v[p] = g.newest()
	}
	return v[p]
}

// writeGroup has the application encrypt a text for a group, as far as it knows
// it, and put the messages into its outbox. It is nil if there is no such
// message.
func (d *device) writeGroup(p int, g *group) *circular {
	roster := d.view(p, g)
	c, old := d.encryptGroup(p, g, roster)
	if old {
		d.count(Lagged)
		d.trace("%v is refused revision %d of %s", d, g.revision(roster), g.name)
		if g.revision(roster) >= g.revision(d.used[g]) {
			d.violation(Failed, "%v: encrypt for %s: revision %d is refused after %d", d, g.name, g.revision(roster), g.revision(d.used[g]))
		}
		roster = g.newest()
		d.views[g][p] = roster
		c, _ = d.encryptGroup(p, g, roster)
	}
	if c == nil {
		return nil
	}
	for _, e := range c.entries {
		switch {
		case e.quiet:
			continue
		case e.err == nil:
			d.trace("%v writes #%d to %v in %s", d, e.letter.number, e.to, g.name)
			continue
		case errors.Is(e.err, sesame.ErrNoSession):
			d.start(p, e.to)
		case errors.Is(e.err, sesame.ErrIdentityChanged):
			d.notice(p, e.to)
		default:
			d.violation(Failed, "%v: encrypt for %s: %v", d, g.name, e.err)
		}
		d.trace("%v cannot write to %v in %s: %v", d, e.to, g.name, e.err)
	}
	return c
}

// encryptGroup is the transaction of writeGroup, and whether it was refused
// because the membership is older than one that was used.
func (d *device) encryptGroup(p int, g *group, roster int) (c *circular, old bool) {
	members := g.rosters[roster]
	if !slices.Contains(members, d) || len(members) == 1 {
		return nil, false
	}
	made := &circular{group: g, roster: roster, text: fmt.Sprintf("message %d of %v to %s", len(d.letters), d, g.name),
		from: d, writer: d.installation, timestamp: uint64(d.id())}
	var to []entry
	for _, o := range members {
		if o == d {
			continue
		}
		d.prepare(p, o)
		e := entry{to: o, brings: d.newLetter(o, ""), letter: d.newLetter(o, made.text)}
		e.letter.timestamp, e.letter.circular = made.timestamp, made
		e.brings.brings = e.letter
		to = append(to, e)
	}
	d.target = to[0].to
	defer func() { d.target = nil }()
	attempt := d.id()
	err := d.do(p, "encrypt for "+g.name, func(tx sesame.Tx, dev *sesame.Device) error {
		old, made.entries, made.written = false, slices.Clone(to), d.now
		err := made.encrypt(tx, dev, made.timestamp)
		if errors.Is(err, senderkey.ErrOldRevision) {
			old = true
			return nil
		}
		if err != nil {
			return err
		}
		return d.putOut(tx, made, attempt)
	})
	if d.isOut(made, attempt) { // whatever the commit answered
		d.sent(made)
		if err == nil {
			return made, false
		}
	}
	if err == nil && !old { // nobody could be written to
		return made, false
	}
	return nil, err == nil && old
}

// encrypt encrypts a circular for its entries.
func (c *circular) encrypt(tx sesame.Tx, dev *sesame.Device, timestamp uint64) error {
	g := sesame.Group{Name: c.group.name, Revision: c.group.revision(c.roster)}
	for _, e := range c.entries {
		g.Devices = append(g.Devices, e.to.at)
	}
	c.breakRoster(&g)
	c.distribution = nil
	out, err := dev.EncryptGroup(tx, timestamp, g, []byte(c.text), func(distribution []byte) []byte {
		c.distribution = distribution
		return wrap(c.group.name, distribution)
	})
	if err != nil {
		return err
	}
	c.ciphertext, c.made = out.Ciphertext, out.Chain
	for i, m := range out.Messages {
		if i == len(c.entries) { // of breakRoster
			c.entries = append(c.entries, entry{to: c.from.named(m.To), quiet: true})
		}
		e := &c.entries[i]
		e.typ, e.bytes, e.err = m.Type, m.Bytes, m.Err
		if m.Err != nil {
			continue
		}
		known, err := dev.Peer(tx, m.To)
		if err != nil {
			return err
		}
		if e.reader = e.to.installationOf(m.RegistrationID, known.Identity); e.reader == nil {
			c.from.violation(Failed, "%v encrypts for no installation of %v", c.from, e.to)
			e.reader = e.to.installation
		}
	}
	return c.breakLedger(tx, dev)
}

// wrap is the plaintext that brings a distribution, and unwrap reads it.
func wrap(group string, distribution []byte) []byte {
	return append([]byte("\x00"+group+"\x00"), distribution...)
}

func unwrap(plaintext []byte) (group string, distribution []byte) {
	name, distribution, _ := bytes.Cut(plaintext[1:], []byte{0})
	return string(name), distribution
}

// outRow is the key of what a letter has in the outbox.
func outRow(l *letter, attempt int) string {
	return fmt.Sprintf("app/out/%05d/%05d", l.number, attempt)
}

// putOut puts the messages of a circular into the outbox: the distributions
// first.
func (d *device) putOut(tx sesame.Tx, c *circular, attempt int) error {
	for _, e := range c.entries {
		if e.err != nil || e.quiet {
			continue
		}
		put := func(l *letter, typ ratchet.Type, b []byte) error {
			row := slices.Concat([]byte{byte(typ)}, e.reader.identity.Bytes(), b)
			if d.Break == SendGroupBeforeCommit {
				d.post(d.parse(l, row))
			}
			return tx.Put(outRow(l, attempt), row, 0)
		}
		typ, b := e.typ, e.bytes
		if c.ciphertext != nil {
			if b != nil {
				if err := put(e.brings, typ, b); err != nil {
					return err
				}
			}
			typ, b = groupMessage, c.ciphertext
		}
		if err := put(e.letter, typ, b); err != nil {
			return err
		}
	}
	return nil
}

// isOut reports whether a circular is in the outbox, or somebody was to be
// written to.
func (d *device) isOut(c *circular, attempt int) bool {
	for _, e := range c.entries {
		if e.err == nil && !e.quiet {
			return d.has(outRow(e.letter, attempt))
		}
	}
	return false
}

// burst has the device write so much that its chain is replaced, and the server
// lose all of it. Nothing fails.
func (d *device) burst(p int, g *group) {
	roster := g.newest()
	if len(g.rosters[roster]) <= 1+d.pairwise || !slices.Contains(g.members(), d) {
		return
	}
	faulty := d.faulty
	d.faulty = false
	defer func() { d.faulty = faulty }()
	d.trace("%v writes very much in %s, which is lost", d, g.name)
	var written []*circular
	_ = d.do(p, "encrypt much", func(tx sesame.Tx, dev *sesame.Device) error {
		written = nil
		for range 90 + d.rng.IntN(20) {
			c := &circular{group: g, roster: roster, text: "text", from: d, writer: d.installation, written: d.now}
			for _, o := range g.rosters[roster] {
				if o != d {
					c.entries = append(c.entries, entry{to: o})
				}
			}
			if err := c.encrypt(tx, dev, 0); err != nil {
				return err
			}
			written = append(written, c)
		}
		return nil
	})
	for _, c := range written {
		if slices.ContainsFunc(c.entries, func(e entry) bool { return e.err == nil }) {
			d.sent(c)
			d.count(Vanished)
		}
	}
}

// forgetGroup has the application forget a group that it has left.
func (d *device) forgetGroup(p int, g *group) {
	d.trace("%v forgets %s", d, g.name)
	row := fmt.Sprintf("app/forgot/%s/%05d", g.name, d.id())
	_ = d.do(p, "forget the group", func(tx sesame.Tx, dev *sesame.Device) error {
		if err := dev.ForgetGroup(tx, g.name); err != nil {
			return err
		}
		return tx.Put(row, nil, 0)
	})
	if d.has(row) {
		d.count(Forgotten)
		d.forgot(g)
	}
}
