package conformance

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
)

// FuzzDifferential plays one schedule of sessions and group chains with the
// reference on both sides, with Sotto on both sides, and with one on each, and
// compares what comes of every step: whether it is taken or refused, and as what;
// plaintexts; all of a message and of the stored records that is not random. The
// reference is libsignal 0.72.1, and for what a schedule has of groups 0.103.0 too.
func FuzzDifferential(f *testing.F) {
	require.NotEmpty(f, seeds())
	for _, s := range seeds() {
		f.Add(s)
	}
	for _, p := range []peer{signal, signalNew, mau, inThisProcess, inThisProcessForWhatsApp} {
		clientOf(f, p) // now, since the time of an input is limited
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range matches(b) {
			play(t, quick(m.schedule), m.reference, m.subject, mostTime)
		}
	})
}

// A match is who plays a schedule.
type match struct {
	schedule           []step
	reference, subject peer
}

func matches(b []byte) []match {
	if familyOf(b) == ratchet.WhatsApp {
		return []match{{ofMau(steps(b)), mau, inThisProcessForWhatsApp}}
	}
	return []match{{steps(b), signal, inThisProcess}, {ofGroups(steps(b)), signalNew, inThisProcess}}
}

// The fuzzer takes an input that needs ten seconds for a deadlock. So what takes long is
// left to TestDifferential, and on a busy machine a schedule ends where its time does.
const mostTime = 2 * time.Second

// quick is a schedule without jumps of more than 500 messages that can be followed.
func quick(schedule []step) []step {
	return slices.DeleteFunc(schedule, func(s step) bool {
		n := jumps[s.how%len(jumps)]
		return (s.act == jump || s.act == groupJump) && n > 500 && n <= mostJump
	})
}

// Our peers where the fuzzer sees which code an input reaches.
var (
	inThisProcess            = peer{"sotto", "", ratchet.Signal}
	inThisProcessForWhatsApp = peer{"sotto-whatsapp", "", ratchet.WhatsApp}
)

// mostRequests bounds a schedule, by the requests of one cast.
const mostRequests = 600

const noLimit = time.Hour

var errTime = errors.New("the time of a schedule is over")

// A game is a schedule that is played by four casts.
type game struct {
	casts    [4]*cast // the reference alone, and three with the subject
	subject  *client
	happened map[string]int // by the names of actions, errors and documented differences
	log      strings.Builder
}

// play plays a schedule, for most of a time.
func play(t testing.TB, schedule []step, reference, subject peer, most time.Duration) (g *game) {
	t.Helper()
	theirs, ours := clientOf(t, reference), clientOf(t, subject)
	g = &game{subject: ours, happened: map[string]int{}}
	until := time.Now().Add(most)
	for i, p := range [][2]*client{{theirs, theirs}, {ours, ours}, {ours, theirs}, {theirs, ours}} {
		g.casts[i] = newCast(t, p[0], p[1])
		g.casts[i].until = until
	}
	defer func() {
		if r := recover(); r != nil && r != any(errTime) {
			panic(r)
		}
	}()
	for _, s := range schedule {
		fmt.Fprintf(&g.log, "%v\n", s)
		for _, c := range g.casts {
			c.outcomes = nil
			c.act(s)
		}
		if !g.agree(t, s) || g.casts[0].requests > mostRequests {
			break
		}
	}
	return g
}

// agree compares what came of a step. It reports whether the casts can go on: not
// after a documented difference in what is accepted.
func (g *game) agree(t testing.TB, s step) bool {
	t.Helper()
	reference := g.casts[0]
	for i, want := range reference.outcomes {
		fmt.Fprintf(&g.log, "    %d: %s%s\n", want.who, want.done, want.refused)
		g.happened[s.act.String()]++
		g.happened[want.refused]++
		for _, c := range g.casts[1:] {
			require.Greater(t, len(c.outcomes), i, "%s: nothing came of it\n%s", c.name, &g.log)
			got := c.outcomes[i]
			if want.String() == got.String() {
				continue
			}
			if s.damages() && len(want.parcel.raw) != len(got.parcel.raw) {
				return false // the damage is not the same: go.mau.fi/libsignal has four bytes more (see previous)
			}
			bothRefuse := want.refused != "" && got.refused != ""
			if bothRefuse && want.looks == got.looks && malformed(s, want, got) {
				continue
			}
			known := documented(g.subject.family, s, want, got)
			if known == nil || c.accounts[want.who].client != g.subject || bothRefuse && want.looks != got.looks {
				t.Fatalf("%s\n%s:\n%v\n%s:\n%v", &g.log, reference.name, want, c.name, got)
			}
			g.happened[known.name]++
			if !bothRefuse {
				return false
			}
		}
		if s.damages() && want.parcel.kind == distribution && want.refused == "" {
			return false // nothing in it is authenticated: with another chain key, a padding is right by chance
		}
	}
	for _, c := range g.casts[1:] {
		require.Len(t, c.outcomes, len(reference.outcomes), "%s: more came of it\n%s", c.name, &g.log)
	}
	return true
}

// The seeds hold, and reach every action, every error and every documented difference.
func TestDifferential(t *testing.T) {
	happened := map[string]int{}
	all, played := seeds(), 0
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			played++
			for _, m := range matches(all[name]) {
				here := play(t, m.schedule, m.reference, m.subject, noLimit).happened
				for what, n := range here {
					happened[what] += n
					happened[m.reference.name+": "+what] += n
				}
				if d := differs[name]; d != "" && m.reference != signalNew {
					require.Positive(t, here[d], d)
				}
			}
		})
	}
	if played < len(all) {
		return // -run names one
	}
	for a := range actions {
		require.Positive(t, happened[a.String()], "%v", a)
	}
	for family, known := range differences {
		for _, d := range known {
			reference := map[ratchet.Family]peer{ratchet.Signal: signal, ratchet.WhatsApp: mau}[family]
			require.Positive(t, happened[reference.name+": "+d.name], d.name)
		}
	}
	for _, name := range []string{
		"DuplicatedMessage", "InvalidMessage", "InvalidPreKeyId", "InvalidProtobufEncoding", "LegacyCiphertextVersion",
		"NoSenderKeyState", "SessionNotFound", "SignatureValidationFailed", "UnrecognizedCiphertextVersion", "UntrustedIdentity",
		signalNew.name + ": DuplicatedMessage", signalNew.name + ": NoSenderKeyState", signalNew.name + ": SignatureValidationFailed",
	} {
		require.Positive(t, happened[name], "%s: %v", name, happened)
	}
}

// Nothing is left of a schedule in the peers when the next begins.
func TestDifferentialBeginsAnew(t *testing.T) {
	all := seeds()
	first := play(t, steps(all["group"]), signal, inThisProcess, noLimit).log.String()
	play(t, steps(all["receiving chains"]), signal, inThisProcess, noLimit)
	play(t, steps(all["reinstalled"]), signal, inThisProcess, noLimit)
	require.Equal(t, first, play(t, steps(all["group"]), signal, inThisProcess, noLimit).log.String())
}

// A complaint is a test that fails without failing the one that runs it.
type complaint struct {
	testing.TB
	said strings.Builder
}

func (c *complaint) Helper()                      {}
func (c *complaint) Errorf(f string, args ...any) { fmt.Fprintf(&c.said, f, args...) }
func (c *complaint) FailNow()                     { panic(c) }
func (c *complaint) Fatalf(f string, args ...any) { c.Errorf(f, args...); c.FailNow() }

// complaintOf is what a test says that fails, and nothing if it does not.
func complaintOf(t *testing.T, f func(t testing.TB)) (said string) {
	c := &complaint{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(c) {
			panic(r)
		}
		said = c.said.String()
	}()
	f(c)
	return
}

// The seeds notice: our own peer with a fault that drive/faulty.py plants.
func TestDifferentialNotices(t *testing.T) {
	sotto, whatsapp, all := ours(t), oursForWhatsApp(t), seeds()
	for fault, complaint := range map[string]string{
		"plaintext": `plaintext of`,
		"duplicate": `(?m)\d: read \d+$`,
		"name":      `(?m)refused: InvalidMessage$`,
		"accept":    `plaintext of`,
		"lose":      `the record changed|(?m)refused: InvalidMessage$`,
		"counter":   `counter`,
	} {
		t.Run(fault, func(t *testing.T) {
			for _, p := range []peer{sotto, whatsapp} {
				faulty := peer{"faulty " + fault + " " + p.name, "python3 drive/faulty.py " + fault + " " + p.command, p.family}
				said := ""
				for _, name := range []string{"in order, and not", "a message damaged", "a first message damaged", "receiving chains", "at once", "reset", "a first message again"} {
					if p == whatsapp {
						name = "whatsapp " + name
					}
					m := matches(all[name])[0]
					if said = complaintOf(t, func(t testing.TB) { play(t, m.schedule, m.reference, faulty, noLimit) }); said != "" {
						break
					}
				}
				require.Regexp(t, complaint, said, p.name)
			}
		})
	}
}

// A peer that is not there is a failure and nothing to skip.
func TestDifferentialMissingPeer(t *testing.T) {
	missing := peer{"missing", "./no-such-peer", ratchet.Signal}
	require.NotEmpty(t, complaintOf(t, func(t testing.TB) { play(t, nil, missing, inThisProcess, noLimit) }))
	require.NotEmpty(t, complaintOf(t, func(t testing.TB) { play(t, nil, signal, missing, noLimit) }))
}
