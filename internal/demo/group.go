package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/sesame"
)

// A group is the second part of the demo: five people and six devices, the same
// server and the same bad network, and an account of who can read what.
type group struct {
	seed      uint64
	net       network
	account   *groupAccount
	server    *relay.Server
	directory *directory
	chat      [16]byte
	databases func(name string) (Do, error)

	alice, bob, carol, tablet, dave, erin, frank *member

	members []*member // in the order of their coming
	wires   map[*member]*wire
	last    map[*member]uint64 // positions that the server has given out in a mailbox
	now     int                // messages written
}

// The streams of the seed for this part.
const streamGroupNetwork, streamGroupKiller = 48, 10

// newGroup makes the devices of the five, who have met and agreed on a roster.
func newGroup(o Options) (*group, error) {
	g := &group{
		seed: o.Seed,
		net: &badNetwork{rng: rand.New(rand.NewPCG(o.Seed, streamGroupNetwork)),
			killer: rand.New(rand.NewPCG(o.Seed, streamGroupKiller))},
		server:    &relay.Server{Store: &relay.Store{}},
		directory: &directory{published: map[envelope.Device]*sesame.Publication{}},
		chat:      newID(),
		databases: o.Open,
		wires:     map[*member]*wire{},
		last:      map[*member]uint64{},
	}
	g.account = newGroupAccount(g)
	founders := &roster{Revision: 1, Users: []string{"Alice", "Bob", "Carol", "Dave", "Erin"}}
	g.account.rosters[1] = founders
	for _, v := range []struct {
		member      **member
		name, owner string
		number      uint32
	}{
		{&g.alice, "Alice", "Alice", 1}, {&g.bob, "Bob", "Bob", 1}, {&g.carol, "Carol", "Carol", 1}, {&g.tablet, "tablet", "Carol", 2},
		{&g.dave, "Dave", "Dave", 1}, {&g.erin, "Erin", "Erin", 1},
	} {
		m, err := g.install(v.name, v.owner, v.number)
		if err != nil {
			return nil, err
		}
		*v.member = m
		if err := m.update(func(_ sesame.Tx, rows *relay.Tx) error { store(rows, "roster", founders); return nil }); err != nil {
			return nil, err
		}
		g.account.knows[m] = founders.Revision
	}
	return g, nil
}

// install installs the app on a device, on a database without rows.
func (g *group) install(name, owner string, number uint32) (*member, error) {
	rows, err := g.databases("group-" + name)
	if err != nil {
		return nil, err
	}
	d := &device{name: name, id: envelope.Device{User: user(owner), ID: number}, directory: g.directory}
	registrationID, err := d.install(rows)
	if err != nil {
		return nil, err
	}
	m := newMember(d, g.chat)
	m.tell = g.account.happens
	g.members = append(g.members, m)
	return m, g.server.Register(d.id, registrationID)
}

// play is the story. What nobody does twice is written out.
func (g *group) play() error {
	defer func() {
		for _, w := range g.wires {
			w.close()
		}
	}()
	g.account.printf("Five people found a group: Alice, Bob, Carol with a phone and a tablet, Dave and Erin. They have met, and agree on revision 1 of the roster.")
	for _, m := range g.members {
		if err := g.connect(m); err != nil {
			return err
		}
	}
	return inTurn(
		g.writes(&g.alice, "Who brings the tent?"),
		g.writes(&g.bob, "I have one for three"),
		g.writes(&g.carol, "And I one for two"),
		g.writes(&g.alice, "Then five of us can sleep"),
		g.goesOffline(&g.dave),
		g.writes(&g.erin, "I bring the stove"),

		g.joins,
		g.changes(&g.alice, "Frank comes as well", &roster{2, []string{"Alice", "Bob", "Carol", "Dave", "Erin", "Frank"}}),
		g.isBack(&g.dave),
		g.arrive,
		g.isGiven(&g.frank, 1, "the server leaks"),
		g.isGiven(&g.frank, 2, "the server leaks"),
		g.writes(&g.bob, "Welcome, Frank"),
		g.writes(&g.frank, "Who is here?"),
		g.writes(&g.alice, "Six of us"),
		g.arrive,

		g.goesOffline(&g.bob), // who does not learn of what comes next
		g.says("Alice removes Erin: revision 3 of the roster. Bob does not know yet, and writes"),
		g.changes(&g.alice, "Erin stays at home", &roster{3, []string{"Alice", "Bob", "Carol", "Dave", "Frank"}}),
		g.writes(&g.bob, "Erin, bring matches"),
		g.isBack(&g.bob),
		g.arrive,
		g.isGiven(&g.erin, 10, "the server leaks"),
		g.writes(&g.bob, "Oh. Who has matches?"),
		g.writes(&g.carol, "I have"),
		g.arrive,
		g.isGiven(&g.erin, 12, "the server leaks"),

		g.loses,
		g.writes(&g.dave, "What if it rains?"),
		g.writes(&g.alice, "It does not"),
		g.writes(&g.carol, "I have lost my tablet"),
		g.arrive,
		g.isGiven(&g.tablet, 15, "the server does what its finder says"),
		g.writes(&g.frank, "See you on Friday"),
		g.writes(&g.carol, "On Friday"),
		g.arrive,
	)
}

func inTurn(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) says(text string) func() error {
	return func() error { g.account.says("---- %s", text); return nil }
}

func (g *group) writes(m **member, text string) func() error { return g.changes(m, text, nil) }

// changes has a member write a message, which changes the roster if there is one.
func (g *group) changes(m **member, text string, r *roster) func() error {
	return func() error {
		if err := g.write(*m, text, r); err != nil {
			return err
		}
		return g.deliver()
	}
}

// joins is a newcomer, who knows nothing until a member tells him.
func (g *group) joins() (err error) {
	g.account.says("---- Alice adds Frank: revision 2 of the roster. Nothing has to be replaced for a newcomer")
	if g.frank, err = g.install("Frank", "Frank", 1); err != nil {
		return err
	}
	return g.connect(g.frank)
}

// loses is a device that is taken out of its account. Its rows stay what they
// are, with whoever finds it.
func (g *group) loses() error {
	g.account.says("---- Carol loses her tablet, and takes it off her account")
	g.hangUp(g.tablet)
	g.directory.withdraw(g.tablet.id)
	return g.server.Unregister(g.tablet.id)
}

func (g *group) goesOffline(m **member) func() error {
	return func() error {
		g.account.says("---- %s goes offline", (*m).name)
		g.hangUp(*m)
		return nil
	}
}

func (g *group) isBack(m **member) func() error {
	return func() error {
		g.account.says("---- %s is back", (*m).name)
		if err := g.connect(*m); err != nil {
			return err
		}
		return g.deliver()
	}
}

// isGiven gives a device the ciphertext of a message that is not for it. It does
// with it what it does with any, in its rows; what it gets later may open it.
func (g *group) isGiven(m **member, number int, how string) func() error {
	return func() error {
		n := g.account.notes[number-1]
		d := *m
		var r *sesame.Result
		if err := d.update(func(tx sesame.Tx, _ *relay.Tx) (err error) {
			r, err = d.openGroup(tx, address(n.from.id), n.header.Stamp, n.ciphertext)
			return err
		}); err != nil {
			return err
		}
		g.account.leaks(d, n, r, how)
		return nil
	}
}

// write has a member write. If it is killed, its rows say whether it has.
func (g *group) write(m *member, text string, r *roster) error {
	g.now++
	id := newID()
	n := g.account.begins(m, text, r)
	for {
		m.process.killAt(g.net.kill())
		err := m.write(id, text, r)
		if !errors.Is(err, errKilled) {
			m.process.killAt(0)
			if err != nil {
				return fmt.Errorf("%s cannot write: %w", m.name, err)
			}
			g.account.wrote(n, id)
			break
		}
		where := m.process.where
		m.process = newProcess(m.rows)
		p, err := m.lastParcel()
		if err != nil {
			return err
		}
		g.account.kills++
		if p != nil && p.Header.ID == id {
			g.account.wrote(n, id)
			g.account.note("is killed %s", where)
			break
		}
		g.account.says("            %-6s is killed when it writes %s, %s", m.name, n.name, where)
	}
	if g.wires[m] == nil {
		g.account.note("waits in the outbox")
		return nil
	}
	return g.flush(m)
}

// lastParcel is what the rows have of the last message written, if it waits.
func (m *member) lastParcel() (p *parcel, err error) {
	err = m.update(func(_ sesame.Tx, rows *relay.Tx) error {
		p = nil
		for _, row := range rows.Keys("outbox/") {
			p = new(parcel)
			if err := load(rows, row, p); err != nil {
				return err
			}
		}
		return nil
	})
	return p, err
}

// arrive lets everything arrive that is under way.
func (g *group) arrive() error {
	for underWay := true; underWay; {
		g.now += maxDelay
		if err := g.deliver(); err != nil {
			return err
		}
		underWay = false
		for _, w := range g.wires {
			underWay = underWay || len(w.under) > 0
		}
	}
	return nil
}

// show plays, judges, and writes the account.
func (g *group) show(w io.Writer) error {
	out := bufio.NewWriter(w)
	g.account.w = out
	err := g.play()
	if err == nil {
		err = g.account.judgeGroup()
	}
	g.account.endPart()
	if err == nil {
		fmt.Fprintln(out, g.account.groupSummary(g.seed))
		if !g.account.fine() {
			err = errJudged
		}
	}
	return errors.Join(err, out.Flush())
}
