package simulate

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/txtest"
)

func play(c Config, runs int) *Report {
	total := new(Report)
	for i := range runs {
		c := c
		c.Seed += uint64(i)
		total.Add(Run(c))
	}
	return total
}

// R-10.10-5 to R-10.10-11, R-11.6-1 to R-11.6-6, R-11.8-1 and R-5.4-3, R-5.5-6, R-10.1-6, R-10.3-1, R-10.3-4, R-10.4-1 to R-10.4-3, R-10.5-3, R-10.5-5, R-10.6-2, R-10.6-3: every fault at
// every step, two processes, a bad network, new installations: no message key
// is used for two plaintexts, nothing that was acknowledged is lost, nothing is
// delivered twice, and all devices converge.
func TestRuns(t *testing.T) {
	const runs = 24
	seed := rand.Uint64() // fresh ones each time; a failure names its own
	r := play(Config{Seed: seed, Ops: DefaultOps}, runs)
	t.Log(r.Summary())
	require.Empty(t, r.Violations)
	require.Zero(t, r.Bad())
	require.Equal(t, runs, r.N[Runs])
	require.Equal(t, runs*DefaultOps, r.N[Operations])
	require.LessOrEqual(t, r.Longest, limit)
	require.LessOrEqual(t, r.Slowest, roundLimit)

	// What is to be survived has happened.
	for _, c := range []Count{Faults, Crashes, Conflicts, Interleaved, Restarts, Reinstalls, Sessions, Dropped, Vanished, Duplicates,
		Pairs, Exchanges, GroupMessages, Distributions, Removed, RotatedFirst, Held, Requests, TriedEarly, Groups, Rounds} {
		require.Positive(t, r.N[c], c)
	}
	require.Greater(t, r.N[Faults], 5*runs)
	require.Greater(t, r.N[Written], 10*runs)
	require.Greater(t, r.N[Delivered], 10*runs)
}

// R-10.1-4, R-10.5-3: a fault at each step of a conversation that has one of
// everything: each fault at each commit, and at the steps before it, which all
// roll back, one, by chance. What failed is not tried again before the faults
// stop.
func TestFaultAtEveryStep(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	steps, commit := 0, false
	for at := 0; at <= steps; at++ {
		first := txtest.NotApplied + txtest.Fault(rand.IntN(4))
		for i := txtest.Fault(0); i == 0 || commit && i < 4; i++ {
			fault := txtest.NotApplied + (first+i)%4
			w := newWorld(Config{Seed: 1}, rand.New(rand.NewPCG(1, 1)), 2)
			n := 0
			w.fault = func(s txtest.Step) txtest.Fault {
				if n++; n-1 == at {
					commit = s.Op == txtest.Commit
					return fault
				}
				return txtest.None
			}
			alice, bob := w.devices[0], w.devices[1]
			alice.befriend(bob)
			w.faulty = true
			conversation(w, alice, bob)
			w.faulty = false
			steps = max(steps, n)
			w.settle()
			w.judge(alice)
			w.judge(bob)
			require.Empty(t, w.report.Violations, "fault %d at step %d", fault, at)
		}
	}
	t.Logf("%d steps", steps)
	require.Greater(t, steps, 100)
}

func conversation(w *world, alice, bob *device) {
	say := func(d, to *device) {
		d.write(0, to)
		d.submit(0)
		for _, m := range slices.Clone(to.server.mail) {
			to.receive(0, m)
		}
	}
	alice.publish(0)
	bob.publish(0)
	alice.start(0, bob)
	bob.start(0, alice) // at the same time
	alice.write(0, bob)
	bob.write(0, alice)
	say(alice, bob)
	say(bob, alice)
	bob.reinstall()
	say(alice, bob) // to nobody
	alice.notice(0, bob)
	say(alice, bob)
	say(bob, alice)
}

// A long run, in which more sessions and ratchet keys are of the past.
func TestLongRun(t *testing.T) {
	r := play(Config{Seed: rand.Uint64(), Ops: MaxOps / 2}, 1)
	require.Empty(t, r.Violations)
}

// A seed is a run.
func TestSeedIsRun(t *testing.T) {
	for seed := range uint64(2) {
		var first, again bytes.Buffer
		a := Run(Config{Seed: seed, Ops: DefaultOps, Trace: &first})
		b := Run(Config{Seed: seed, Ops: DefaultOps, Trace: &again})
		require.Equal(t, a, b)
		require.Equal(t, first.String(), again.String())
		require.Contains(t, first.String(), "the faults stop")
		require.Equal(t, a, Run(Config{Seed: seed, Ops: DefaultOps}), "a trace changes nothing")
	}
}

// An oracle that cannot fail shows nothing: each rule that is broken is found,
// as what it is.
func TestBrokenRulesAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	const most = 500
	require.False(t, Rule("no-such-rule").Known())
	require.True(t, None.Known())
	for _, rule := range Rules {
		t.Run(string(rule.Rule), func(t *testing.T) {
			t.Parallel()
			require.True(t, rule.Rule.Known())
			total := new(Report)
			for n := uint64(1); total.N[rule.Found] == 0; n++ {
				require.LessOrEqual(t, n, uint64(most), "not found")
				total.Add(Run(Config{Seed: n, Ops: DefaultOps, Break: rule.Rule}))
			}
			require.NotZero(t, total.Bad())
			require.NotEmpty(t, total.Violations)
			t.Logf("%v after %d runs", rule.Found, total.N[Runs])

			// The run is found again by the seed that the violation names.
			v := total.Violations[0]
			var trace bytes.Buffer
			again := Run(Config{Seed: v.Seed, Ops: DefaultOps, Break: rule.Rule, Trace: &trace})
			require.Contains(t, again.Violations, v)
			require.Contains(t, trace.String(), "VIOLATION: "+v.String())
		})
	}
}

// Runs share what was prepared for them, and nothing else.
func TestRunsSideBySide(t *testing.T) {
	want := play(Config{Seed: 1, Ops: 10}, 3)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if got := play(Config{Seed: 1, Ops: 10}, 3); got.Summary() != want.Summary() {
				t.Errorf("%s\nis not\n%s", got.Summary(), want.Summary())
			}
		})
	}
	wg.Wait()
}

// The oracle tells a message that changed from one that is there.
func TestJudge(t *testing.T) {
	for _, test := range []struct {
		texts []string
		want  []Count
	}{
		{nil, []Count{Lost}},
		{[]string{"text"}, nil},
		{[]string{"other"}, []Count{Wrong}},
		{[]string{"text", "text"}, []Count{Twice}},
	} {
		w := newWorld(Config{}, rand.New(rand.NewPCG(1, 1)), 2)
		d := w.devices[0]
		l := &letter{number: 7, text: "text", from: w.devices[1], to: d}
		d.acknowledged = []*letter{l, l}
		d.observe(func(tx sesame.Tx) error {
			for i, text := range test.texts {
				if err := tx.Put(fmt.Sprintf("app/in/00007/%05d", i), []byte(text), 0); err != nil {
					return err
				}
			}
			return nil
		})
		w.judge(d)
		var got []Count
		for _, v := range w.report.Violations {
			got = append(got, v.Kind)
		}
		require.Equal(t, test.want, got)
	}
}

func TestSummary(t *testing.T) {
	r := play(Config{Seed: 1, Ops: 3}, 2)
	r.N[Lost], r.N[Stuck] = 2, 1
	require.Equal(t, 3, r.Bad())
	fields := strings.Fields(r.Summary())
	require.Equal(t, []string{"summary:", "runs=2", "operations=6"}, fields[:3])
	require.Equal(t, []string{"reused=0", "leaked=0", "keyless=0", "lost=2", "twice=0", "wrong=0", "stuck=1", "failed=0", "violations=3"}, fields[len(fields)-9:])
	require.Len(t, fields, int(counts)+4)
}
