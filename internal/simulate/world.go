package simulate

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/txtest"
)

// Config is what a run does.
type Config struct {
	Seed  uint64
	Ops   int       // operations before the faults stop
	Break Rule      // what is broken on purpose; None if nothing is
	Trace io.Writer // gets a line for everything that happens; nil for none
}

// DefaultOps is how many operations a run has, and MaxOps the most: with more,
// devices could have more than the 41 sessions that are kept.
const (
	DefaultOps = 40
	MaxOps     = 400
)

var start = time.Unix(1_700_000_000, 0)

// Run plays one run and reports on it.
func Run(c Config) *Report {
	rng := rand.New(rand.NewPCG(c.Seed, 10))
	w := newWorld(c, rng, 3+rng.IntN(8)/5+rng.IntN(8)/6)
	w.report.N[Runs] = 1
	if c.Seed%2 == 1 {
		w.formGroups()
	}
	if c.Seed%4 != 0 {
		w.begin(prepared[c.Seed/4%casts]())
	} else {
		w.acquaint()
	}
	w.faulty = true
	for range c.Ops {
		w.operate()
	}
	w.faulty = false
	w.settle()
	w.converge()
	for _, g := range w.groups {
		w.convergeGroup(g)
	}
	w.over = true
	for _, d := range w.devices {
		w.judge(d)
	}
	w.steal()
	return w.report
}

// maxDevices is how many devices a world has at most.
const maxDevices = 5

func newWorld(c Config, rng *rand.Rand, devices int) *world {
	w := &world{
		Config: c,
		rng:    rng,
		now:    start,
		report: new(Report),
		keys:   map[messageKey]string{},
		links:  map[link]string{},
		chains: map[chain]int{},
	}
	users := [maxDevices]string{"alice", "bob", "carol", "alice", "bob"}
	for i, user := range users[:devices] {
		d := &device{world: w, at: sesame.Address{User: user, Device: uint32(1 + i/3)}, starts: map[*device]int{}}
		w.devices = append(w.devices, d)
		d.install()
	}
	return w
}

// acquaint decides which devices talk: not each with each, so that those that
// do talk much.
func (w *world) acquaint() {
	for i, d := range w.devices[1:] {
		d.befriend(w.devices[w.rng.IntN(i+1)])
	}
	w.devices[2].befriend(w.devices[w.rng.IntN(2)])
}

// A world is the devices and the server between them.
type world struct {
	Config
	rng     *rand.Rand
	now     time.Time
	faulty  bool // databases and network may fail
	inside  bool // a transaction
	over    bool
	devices []*device
	letters []*letter
	unique  int
	report  *Report

	groups    []*group
	pairwise  int // sesame.Config.PairwiseGroups
	circulars []*circular

	fault func(txtest.Step) txtest.Fault // nil: by chance

	keys   map[messageKey]string // ciphertext
	links  map[link]string       // those of groups
	chains map[chain]int         // in the order in which they appeared
}

// A letter is a message as its writer and its reader know it.
type letter struct {
	number    int
	text      string
	from, to  *device
	timestamp uint64 // that it can be asked for by; 0 if it cannot

	// Of a group: what it is of, or the letter that it brings the chain for.
	circular *circular
	brings   *letter
	reader   *installation // that it was encrypted for

	asks    *letter // it asks for this one
	answers int     // how often it was sent again
}

// newLetter makes a letter.
func (d *device) newLetter(to *device, text string) *letter {
	l := &letter{number: len(d.letters), text: text, from: d, to: to}
	d.letters = append(d.letters, l)
	return l
}

func (w *world) count(c Count) { w.report.N[c]++ }

func (w *world) percent(p int) bool { return w.rng.IntN(100) < p }

// id is a number that was never used before.
func (w *world) id() int { w.unique++; return w.unique }

func (w *world) trace(format string, args ...any) {
	if w.Trace == nil {
		return
	}
	indent := ""
	if w.inside {
		indent = "    | "
	}
	fmt.Fprintf(w.Trace, indent+format+"\n", args...)
}

func (w *world) violation(kind Count, format string, args ...any) {
	w.count(kind)
	v := Violation{w.Seed, kind, fmt.Sprintf(format, args...)}
	w.trace("VIOLATION: %v", v)
	if len(w.report.Violations) < maxKept {
		w.report.Violations = append(w.report.Violations, v)
	}
}

// some is any device; the first two talk most.
func (w *world) some() *device {
	if w.percent(40) {
		return w.devices[w.rng.IntN(2)]
	}
	return w.devices[w.rng.IntN(len(w.devices))]
}

// number is the place of d among the devices.
func (w *world) number(d *device) int { return slices.Index(w.devices, d) }

// befriend makes d and o talk.
func (d *device) befriend(o *device) {
	if !slices.Contains(d.friends, o) {
		d.friends, o.friends = append(d.friends, o), append(o.friends, d)
	}
}

// friend is any device that d talks with.
func (d *device) friend() *device { return d.friends[d.rng.IntN(len(d.friends))] }

// operate does one operation.
func (w *world) operate() {
	w.count(Operations)
	d, p := w.some(), w.rng.IntN(2)
	if w.Break == RestoreBackup && w.percent(20) {
		d.makeBackup()
	}
	if d.server.publication == nil {
		d.publish(p)
	}
	if len(w.groups) > 0 && w.percent(50) {
		w.operateGroup(p)
		return
	}
	switch n := w.rng.IntN(100); {
	case n < 38:
		to := []*device{d.friend()}
		if o := d.friend(); o != to[0] && w.percent(30) {
			to = append(to, o)
		}
		d.write(p, to...)
		d.submit(p)
	case n < 76:
		if m := w.anyMail(); m != nil {
			m.to.receive(p, m)
		}
	case n < 79:
		d.startAnew(p, d.friend())
	case n < 81:
		d.publish(p)
	case n < 84:
		d.restart()
	case n < 86:
		d.reinstall()
	case n < 89:
		w.passTime()
	case n < 97:
		for _, d := range w.devices {
			d.submit(p)
		}
	default:
		if m := w.anyMail(); m != nil {
			w.trace("the server loses #%d", m.number)
			w.count(Vanished)
			w.countUnbrought(m)
			m.to.server.remove(m)
		}
	}
}

// passTime lets some days pass, at times so many that prekeys die and sessions
// that nobody answered are given up.
func (w *world) passTime() {
	days := 1 + w.rng.IntN(8)
	if w.percent(15) {
		days = 31
	}
	w.now = w.now.Add(time.Duration(days) * 24 * time.Hour)
	w.trace("%d days pass", days)
	for _, d := range w.devices {
		if w.percent(50) {
			d.publish(w.rng.IntN(2))
		}
	}
}

// settle has all messages that are under way delivered.
func (w *world) settle() {
	w.trace("the faults stop")
	for _, d := range w.devices {
		if b := &d.server; b.publication == nil || w.now.Sub(d.signed[b.publication.SignedPreKey.ID]) > sesame.SignedPreKeyAge {
			d.publish(0)
		}
	}
	w.deliver()
}

// deliver has everything delivered, and what was not read asked for and sent
// again. It reports whether nothing had to be.
func (w *world) deliver() (quiet bool) {
	quiet = true
	for range 8 {
		for _, d := range w.devices {
			d.submit(0)
		}
		for _, d := range w.devices {
			d.readAll()
		}
		asked := false
		for _, d := range w.devices {
			asked = d.ask(0) || asked
		}
		if !asked {
			break
		}
		quiet = false
	}
	return quiet
}

// limit is how many messages two devices may take to converge.
const limit = 10

// converge has every two devices that talk write to each other in turn.
func (w *world) converge() {
	for i, a := range w.devices {
		for _, b := range w.devices[:i] {
			if slices.Contains(a.friends, b) {
				w.convergePair(a, b)
			}
		}
	}
}

// roundLimit is how many messages each member of a group may take. Three without
// sessions to a member, and one more when a chain comes to its end among them.
const roundLimit = 4

// convergeGroup has all members of a group write, round by round, until all is
// read that was written in one, without a distribution and without a request.
func (w *world) convergeGroup(g *group) {
	members := g.members()
	if len(members) < 2 {
		return
	}
	w.trace("all write in %s", g.name)
	for n := 1; n <= roundLimit; n++ {
		var written []*circular
		for _, d := range members {
			written = append(written, d.writeGroup(0, g))
		}
		good := w.deliver()
		for _, c := range written {
			good = good && c.plain()
		}
		if good {
			w.count(Groups)
			w.report.N[Rounds] += n
			w.report.Slowest = max(w.report.Slowest, n)
			return
		}
	}
	w.violation(Stuck, "%s does not converge", g.name)
}

// plain reports whether a circular was read by all, and brought no distribution.
func (c *circular) plain() bool {
	if c == nil {
		return false
	}
	for _, e := range c.entries {
		if e.quiet {
			continue
		}
		if e.err != nil || c.ciphertext != nil && e.bytes != nil || e.to.copies(e.letter) == 0 {
			return false
		}
	}
	return true
}

func (w *world) convergePair(a, b *device) {
	if w.percent(50) {
		a, b = b, a
	}
	w.trace("%v and %v write in turn", a, b)
	good := 0 // messages in a row that were as they should
	for n := 1; n <= limit; n++ {
		if a.exchange(b) {
			good++
		} else {
			good = 0
		}
		if good == 2 {
			w.count(Pairs)
			w.report.N[Exchanges] += n
			w.report.Longest = max(w.report.Longest, n)
			return
		}
		a, b = b, a
	}
	w.violation(Stuck, "%v and %v do not converge", a, b)
}
