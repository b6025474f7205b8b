package fuzz

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/txtest"
)

// Actions of FuzzGroup. The first byte of the input says among whom (clubFor); then one byte
// says what happens, counted around, and the next to whom, in its low three bits, and with
// which choice, in the high five.
const (
	say        action = iota // a device writes: bit 0 of the choice which group, bit 1 told who was installed anew
	sayOld                   // it writes for the group as it knew it before
	post                     // its oldest parcel reaches the server: bit 0 a strict one, bit 1 the answer is lost
	fetch                    // its oldest mail arrives
	fetchLater               // mail number n arrives
	lose                     // mail number n is lost
	repeat                   // mail number n is copied
	turn                     // its mail is turned around
	flip                     // a copy of mail number n with a bit flipped arrives
	mangle                   // a copy that is cut, longer, or twice in one
	relabel                  // a copy under the name of another sender or another group
	fault                    // its next transaction fails: bits 0 and 1 how, the rest at which step
	race                     // another process runs within its next transaction: bits 0 and 1 what it does
	snapshot                 // its database is copied
	rewind                   // and put back
	admit                    // an address is admitted to a group
	expel                    // or expelled from it
	reinstall                // it is installed anew
	learn                    // it is told who is in the groups
	leave                    // it forgets a group
	archive                  // it ends its session with another one
	ask                      // it asks for what is held
	pass                     // hours pass
	flow                     // all mail of it arrives, or, with an odd choice, everybody's
	actions
)

// to is an action on device who with choice n.
func to(a action, who, n byte) []byte { return []byte{a, n<<3 | who} }

// playGroup runs a schedule, and judges.
func playGroup(c *club, schedule []byte) {
	for i := 0; i+1 < len(schedule); i += 2 {
		c.step = i / 2
		a := schedule[i] % actions
		if c.sabotage.before != nil {
			c.sabotage.before(c, a)
		}
		c.act(a, int(schedule[i+1]&7), int(schedule[i+1]>>3))
	}
	c.step = len(schedule) / 2
	c.settle()
}

// clubFor makes the club of an input: bit 0 of its first byte is the family, and with bit 1
// its devices are strangers.
func clubFor(input []byte, fail func(string, ...any)) (*club, []byte) {
	input = append(input[:len(input):len(input)], 0)[:max(1, len(input))]
	return newClub(fail, ratchet.Family(input[0]&1), input[0]&2 != 0), input[1:]
}

// longest is how much time passes at most: nothing of it makes a message too old to be
// asked for, but chains grow old.
const longest = 9 * 24 * time.Hour

// act does one thing. What has nothing to work on does nothing.
func (c *club) act(a action, who, n int) {
	devices := c.present()
	p := devices[who%len(devices)]
	g := n & 1
	switch a {
	case say:
		c.say(p, g, p.view(g), n&2 != 0)
	case sayOld:
		if v := p.views[g]; len(v) > 1 {
			c.say(p, g, v[len(v)-2], false)
		}
	case post:
		c.post(p, n&1 != 0, n&2 == 0)
	case fetch, fetchLater:
		if m := peek(p.mail, n*int(a-fetch)); m != nil {
			c.receive(p, m, m.bytes)
		}
	case lose:
		if m := take(&p.mail, n); m != nil {
			c.lose(m)
		}
	case repeat:
		if m := peek(p.mail, n); m != nil {
			p.mail = append(p.mail, m)
		}
	case turn:
		slices.Reverse(p.mail)
	case flip, mangle, relabel:
		if m := peek(p.mail, n); m != nil {
			c.attack(a, p, m, n)
		}
	case fault:
		p.plan = &plan{at: 2 * (n >> 2), fault: txtest.NotApplied + txtest.Fault(n&3)}
	case race:
		p.plan = &plan{at: 3 * (n >> 2), race: func() { c.other(p, n) }}
	case snapshot:
		p.rows = c.stored(p)
	case rewind:
		c.rewind(p)
	case admit:
		c.admit(g, addresses[who%len(addresses)])
	case expel:
		c.expel(g, addresses[who%len(addresses)])
	case reinstall:
		c.reinstall(p)
	case learn:
		c.learn(p)
	case leave:
		c.forgetGroup(p, g)
	case archive:
		q := peek(devices, n)
		c.run(p, "reset", func(tx sesame.Tx) error { return p.dev.Reset(tx, q.at) })
	case ask:
		c.ask(p)
	case pass:
		c.now = c.now.Add(min(time.Duration(1+n*2)*time.Hour, longest-c.now.Sub(c.started)))
	case flow:
		if n&1 == 1 {
			c.everything()
		}
		c.mailOf(p)
	}
}

// other is what the second process of a device does in the middle of a transaction.
func (c *club) other(p *installation, n int) {
	switch n & 3 {
	case 0:
		if m := peek(p.mail, 0); m != nil {
			c.receive(p, m, m.bytes)
		}
	case 1:
		c.say(p, 0, p.view(0), false)
	case 2:
		c.learn(p)
		c.say(p, 0, p.view(0), true)
	case 3:
		c.mailOf(p)
	}
}

func (c *club) mailOf(p *installation) {
	for _, m := range slices.Clone(p.mail) {
		c.receive(p, m, m.bytes)
	}
}

// attack gives a device a copy of mail that is not what was sent. It has to fail, and
// nothing has changed but what is held, which nothing has authenticated.
func (c *club) attack(a action, p *installation, m *mail, n int) {
	later := p.plan
	p.plan = nil
	defer func() { p.plan = later }()
	before := c.stored(p)
	switch a {
	case flip:
		c.reach("flip")
		c.receive(p, m, flipped(m.bytes, c.whichBit(n, len(m.bytes))))
	case mangle:
		c.receive(p, m, c.mangled(m.bytes, n%3))
	case relabel:
		c.relabel(p, m, n)
	}
	if p.opened[string(m.bytes)] || m.typ == ratchet.PlaintextContent {
		return // it said the same
	}
	now := c.stored(p)
	for _, rows := range []map[string]string{before, now} {
		maps.DeleteFunc(rows, func(key, _ string) bool { return strings.HasPrefix(key, "sotto/held/") })
	}
	c.must(maps.Equal(before, now), "a forgery changes rows")
}

// relabel delivers mail as if it were of another sender, or of another group.
func (c *club) relabel(p *installation, m *mail, n int) {
	from, named := m.from.at, c.chats[m.chat].name
	if n&1 == 0 {
		named = c.chats[1-m.chat].name
	} else if q := peek(c.present(), n>>1); q != p {
		from = q.at
	}
	if from == m.from.at && (m.typ != groupType || n&1 == 1) || m.typ != groupType && m.typ != ratchet.Ordinary {
		return // nothing ties an initial message to an address
	}
	c.run(p, "relabel", func(tx sesame.Tx) error {
		var r *sesame.Result
		var err error
		if m.typ == groupType {
			r, err = p.dev.DecryptGroup(tx, from, m.timestamp, named, m.bytes)
		} else {
			r, err = p.dev.Decrypt(tx, from, m.typ, m.bytes)
		}
		c.must(err != nil || r.Err != nil, "a message under another name is read")
		return err
	})
	c.reach("relabelled")
}

// reinstall is a device that begins from nothing, with the same name.
func (c *club) reinstall(p *installation) {
	p.gone = true
	for _, m := range p.mail {
		if m.typ == ratchet.PlaintextContent {
			m.excused[m.from] = true
		}
	}
	p.mail = nil
	c.learn(c.install(p.at))
	c.reach("reinstalled")
}

// forgetGroup also forgets which chains there were, and so what was read with them.
func (c *club) forgetGroup(p *installation, g int) {
	if !c.run(p, "forget", func(tx sesame.Tx) error { return p.dev.ForgetGroup(tx, c.chats[g].name) }) {
		return
	}
	p.used[g] = 0
	maps.DeleteFunc(p.groups, func(n *note, _ bool) bool { return n.chat == g })
	c.reach("forgot a group")
}

// everything brings everybody everything that is on its way, and asks for what is held.
func (c *club) everything() {
	for round := 0; ; round++ {
		c.must(round < 50, "messages do not come to rest")
		busy := false
		for _, p := range c.present() {
			busy = busy || len(p.mail) > 0
			c.mailOf(p)
		}
		if busy {
			continue
		}
		for _, p := range c.present() {
			busy = busy || len(p.asking) > 0
			c.ask(p)
		}
		if !busy {
			return
		}
	}
}

// exchange has everybody write once in each of its groups, with nothing in the way. It
// reports whether everybody has read everybody.
func (c *club) exchange() (good bool) {
	c.now = c.now.Add(2 * time.Hour)
	var notes []*note
	for g, chat := range c.chats {
		for _, a := range chat.members {
			p := c.at(a)
			c.learn(p)
			if n := c.say(p, g, p.view(g), true); n != nil {
				notes = append(notes, n)
			}
			for range 2 * len(p.outbox) { // each is refused once at most
				c.post(p, true, true)
			}
			c.must(len(p.outbox) == 0, "the outbox does not empty")
			c.everything()
		}
	}
	good = true
	for _, n := range notes {
		for _, a := range c.chats[n.chat].members {
			if p := c.at(a); p != n.from && !p.read[n] {
				good = false
			}
		}
	}
	return good
}

// settle ends all faults, and judges: within ten exchanges everybody reads everybody;
// everything is read then that was owed; and nobody reads anything else.
func (c *club) settle() {
	for _, p := range c.all {
		p.plan = nil
		c.learn(p)
		if p.restored {
			c.reach("restored")
		}
	}
	n := 1
	for ; !c.exchange(); n++ {
		c.must(n < 10, "no convergence within ten exchanges")
	}
	c.reach(fmt.Sprint("converged after ", n))
	for _, n := range inOrder(c.unread()) {
		for p, owed := range n.owed {
			switch {
			case !owed || p.read[n] || p.gone || !c.chats[n.chat].has(p.at) || n.excused[p]:
			case n.from.gone:
				c.reach("unread from who is gone")
			case n.from.restored || p.restored:
				c.reach("unread after a snapshot")
			default:
				c.fail("installation %d has never read note %d of %d", p.number, n.timestamp, n.from.number)
			}
		}
	}
	for _, s := range c.sealed {
		c.spy(s, true)
	}
}

// unread are all notes, as a set.
func (c *club) unread() map[*note]bool {
	set := map[*note]bool{}
	for _, n := range c.notes {
		set[n] = true
	}
	return set
}

var groupSeed = flag.Uint64("group", 0, "TestRandomGroups: only the schedule of this seed")

func randomGroup(rng *rand.Rand) []byte {
	schedule := []byte{byte(rng.Uint32())}
	for range 10 + rng.IntN(80) {
		a := action(rng.IntN(int(actions)))
		switch { // conversations rather than beginnings
		case rng.IntN(5) > 1:
			a = []action{say, post, flow, fetch, fetchLater, learn}[rng.IntN(6)]
		case (a == rewind || a == reinstall) && rng.IntN(4) > 0:
			a = post
		}
		schedule = append(schedule, a, byte(rng.Uint32()))
	}
	return schedule
}

// Schedules that nobody thought of, others on every run.
func TestRandomGroups(t *testing.T) {
	n, seed := 500, rand.Uint64()
	if testing.Short() {
		n = 50
	}
	if *groupSeed != 0 {
		n, seed = 1, *groupSeed
	}
	reached := map[string]int{}
	for i := range uint64(n) {
		v := violationIn(func(fail func(string, ...any)) {
			c, schedule := clubFor(randomGroup(rand.New(rand.NewPCG(seed+i, 3))), fail)
			playGroup(c, schedule)
			for what, n := range c.reached {
				reached[what] += n
			}
		})
		require.Empty(t, v, "go test ./fuzz -run TestRandomGroups -args -group=%d", seed+i)
	}
	t.Logf("%d schedules from seed %d: %v", n, seed, reached)
}

// everyone is an action of the first four devices.
func everyone(a action, n byte) (s []byte) {
	for who := range byte(4) {
		s = append(s, to(a, who, n)...)
	}
	return s
}

// talks is everybody writing in the first group, and everything arriving.
var talks = slices.Concat(everyone(say, 2), everyone(post, 1), to(flow, 0, 1))

var groupSchedules = map[string][]byte{
	"talk":        slices.Concat([]byte{2}, talks, talks, to(say, 0, 0), to(post, 0, 0), to(fetch, 1, 0), to(fetch, 1, 0), talks),
	"WhatsApp":    slices.Concat([]byte{3}, talks, to(expel, 3, 0), everyone(learn, 0), talks, to(admit, 3, 0), everyone(learn, 0), talks),
	"two groups":  slices.Concat([]byte{0}, everyone(learn, 0), to(admit, 0, 1), to(admit, 1, 1), to(admit, 2, 1), to(admit, 3, 1), everyone(learn, 0), talks, everyone(say, 1), everyone(post, 0), to(flow, 0, 1)),
	"pairwise":    slices.Concat([]byte{0}, talks, to(expel, 3, 0), everyone(learn, 0), talks, to(admit, 4, 0), everyone(learn, 0), talks),
	"old views":   slices.Concat([]byte{0}, talks, to(expel, 3, 0), to(admit, 4, 0), talks, everyone(learn, 0), talks, everyone(sayOld, 0), to(expel, 2, 0), to(say, 0, 0), to(post, 0, 1), to(flow, 0, 1), to(say, 2, 0), to(post, 2, 1)),
	"overtaken":   slices.Concat([]byte{0}, to(say, 0, 0), to(post, 0, 2), everyone(turn, 0), everyone(repeat, 0), to(flow, 0, 1), to(say, 0, 0), to(post, 0, 0), to(flow, 0, 1), to(ask, 1, 0)),
	"lost":        slices.Concat([]byte{0}, to(say, 0, 0), to(post, 0, 0), everyone(lose, 0), to(flow, 0, 1), to(say, 1, 0), to(post, 1, 0), everyone(fetchLater, 1), everyone(ask, 0), to(lose, 1, 0), talks, to(say, 2, 0), to(post, 2, 0), everyone(lose, 1)),
	"damage":      slices.Concat([]byte{2}, to(say, 0, 0), to(post, 0, 0), damaged(1), to(say, 0, 0), to(post, 0, 0), to(flow, 1, 0), to(say, 0, 0), to(post, 0, 0), damaged(1), to(flow, 0, 1), to(say, 1, 0), to(post, 1, 0), damaged(0)),
	"faults":      slices.Concat([]byte{0}, talks, faults(0), faults(1), talks),
	"processes":   slices.Concat([]byte{0}, talks, races(0), races(1)),
	"anew":        slices.Concat([]byte{2}, talks, to(say, 2, 0), to(reinstall, 2, 0), to(post, 0, 0), to(say, 0, 0), to(post, 0, 0), to(say, 1, 2), to(post, 1, 1), to(flow, 0, 1), talks),
	"forgotten":   slices.Concat([]byte{0}, talks, to(leave, 0, 0), to(archive, 1, 2), to(say, 1, 0), to(post, 1, 0), talks, to(pass, 0, 31), to(pass, 0, 31), to(pass, 0, 31), talks),
	"snapshot":    slices.Concat([]byte{1}, talks, to(snapshot, 0, 0), to(say, 0, 0), to(post, 0, 0), to(flow, 0, 1), to(rewind, 0, 0), to(say, 0, 0), to(post, 0, 0), to(flow, 0, 1), talks),
	"held and no": slices.Concat([]byte{0}, to(say, 0, 0), to(post, 0, 0), to(turn, 1, 0), to(flip, 1, 8), to(relabel, 1, 0), to(flow, 1, 0)),
}

// damaged is every kind of damage to mail of a device.
func damaged(who byte) (s []byte) {
	for n := range byte(8) {
		s = slices.Concat(s, to(flip, who, n), to(mangle, who, n), to(relabel, who, n))
	}
	return s
}

// faults is every fault, in sending and in receiving; races is every other process.
func faults(who byte) (s []byte) {
	for n := range byte(4) {
		s = slices.Concat(s, to(fault, who, n), to(say, who, 0), to(post, who, 0), to(fault, 1-who, n), to(fetch, 1-who, 0), to(fetch, 1-who, 0))
	}
	return append(s, to(flow, 0, 1)...)
}

func races(who byte) (s []byte) {
	for n := range byte(8) {
		s = slices.Concat(s, to(race, who, n), to(say, who, 0), to(post, who, 0), to(race, 1-who, n), to(fetch, 1-who, 0))
	}
	return append(s, to(flow, 0, 1)...)
}

func FuzzGroup(f *testing.F) {
	for _, s := range groupSchedules {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		playGroup(clubFor(input[:min(len(input), maxSchedule)], t.Fatalf))
	})
}

// corpus are the checked-in inputs of a target: those that reach what the seeds do not.
func corpus(t *testing.T, target string) map[string][]byte {
	inputs := map[string][]byte{}
	files, err := filepath.Glob("testdata/fuzz/" + target + "/*")
	require.NoError(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		quoted, ok := strings.CutPrefix(string(b), "go test fuzz v1\n[]byte(")
		require.True(t, ok, file)
		input, err := strconv.Unquote(strings.TrimSuffix(quoted, ")\n"))
		require.NoError(t, err, file)
		inputs[file] = []byte(input)
	}
	return inputs
}

func TestGroupSeedsReachEverything(t *testing.T) {
	reached, did := map[string]int{}, map[byte]bool{}
	inputs := corpus(t, "FuzzGroup")
	require.NotEmpty(t, inputs)
	maps.Copy(inputs, groupSchedules)
	for name, input := range inputs {
		require.LessOrEqual(t, len(input), maxSchedule, name)
		c, schedule := clubFor(input, func(format string, args ...any) { t.Fatalf(name+": "+format, args...) })
		playGroup(c, schedule)
		for what, n := range c.reached {
			reached[what] += n
		}
		for i := 0; i+1 < len(schedule); i += 2 {
			did[schedule[i]%actions] = true
		}
	}
	require.Len(t, did, int(actions))
	delete(reached, "converged after 2") // not always
	want := []string{
		"group message", "pairwise group message", "acceptance lost", "refused: no member", "refused: wrong devices", "old view refused",
		"held", "released", "released and refused", "request", "request for what is held", "answer", "answer refused", "answer in a new session",
		"duplicate", "undecryptable", "lost a distribution", "lost a message", "lost a request", "mail to who is gone",
		"flip", "cut", "longer", "twice in one", "relabelled", "race", "conflict", "committed without an answer",
		"crash before", "crash after", "error, applied", "error, not applied", "expelled", "reinstalled", "confirm", "forgot a group",
		"rewind", "restored", "a key twice, after a snapshot", "unread after a snapshot",
		"spy with rows", "spy with a distribution", "converged after 1",
	}
	slices.Sort(want)
	require.Equal(t, want, slices.Sorted(maps.Keys(reached)))
}
