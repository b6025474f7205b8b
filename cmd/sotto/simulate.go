package main

import (
	"flag"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/sotto-im/sotto/internal/hostile"
	"github.com/sotto-im/sotto/internal/simulate"
)

const simulateUsage = `usage: sotto simulate [--seed N] [--runs N] [--ops N] [--break RULE]
       sotto simulate --hostile [--seed N] [--runs N] [--break DEFECT]

Three to five devices write to each other, each with a database that two
processes use at once. Any step of a transaction may fail, done or not, or be
the last one of its process; at any step the other process may commit. Messages
are dropped, repeated, late, in any order, and lost; prekeys run out; weeks
pass; devices start at once, start anew, restart, and are installed anew. Then
the faults stop, everything is delivered, and the run is judged. Every second
run has groups, whose members change while messages are under way.


  reused  message keys that encrypt two plaintexts
  leaked  group messages that open for who was removed, or joins later
  keyless group messages to devices that cannot have the distribution
  lost    messages that were acknowledged, and are not in the inbox
  twice   messages that are in an inbox twice
  wrong   messages that are not what was written
  stuck   pairs of devices that after ten messages do not read each other in one
          session
  failed  calls with an error that no fault made

An acknowledged message may be missing for one of four reasons, which are
counted: it was for (old_receiver) or from (old_sender) an installation that is
gone, to a prekey of over 30 days (old_prekey), or under the sixth newest
ratchet key (old_chain). A group message may be missing if it cannot be sent
again: its writer was installed anew (sender_gone), it is over 14 days old
(too_old), its reader was removed (not_member), or it was sent five times
(too_often).

The last line is for scripts. The exit code is 1 if anything was found. Run
number n has seed + n - 1; one seed is one run, but for the keys. A single run
is told step by step.

A simulation that cannot fail shows nothing. --break has the application, or
its database, break a rule:

`

// simulateRuns runs "sotto simulate".
func simulateRuns(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sotto simulate", flag.ContinueOnError)
	seed := flags.Uint64("seed", 1, "of the first run")
	runs := flags.Int("runs", 1000, "how many runs, 1 to 10000000")
	ops := flags.Int("ops", simulate.DefaultOps, fmt.Sprintf("operations of a run before the faults stop, 1 to %d", simulate.MaxOps))
	broken := flags.String("break", "", "break a rule")
	workers := flags.Int("workers", runtime.GOMAXPROCS(0), "runs at a time, 1 to 256")
	enemy := flags.Bool("hostile", false, "a server that attacks the devices")
	usage := simulateUsage
	for _, r := range simulate.Rules {
		usage += fmt.Sprintf("  %-21s %s\n", r.Rule, r.Does)
	}
	usage += hostileUsage()
	valid := func() bool {
		return flags.NArg() == 0 && *runs >= 1 && *runs <= 10_000_000 && *ops >= 1 && *ops <= simulate.MaxOps &&
			*workers >= 1 && *workers <= 256 &&
			(*enemy && hostile.Defect(*broken).Known() || !*enemy && simulate.Rule(*broken).Known())
	}
	if code, done := parseFlags(flags, args, usage, stdout, stderr, valid); done {
		return code
	}
	if *enemy {
		n := defaultHostile
		flags.Visit(func(f *flag.Flag) {
			if f.Name == "runs" {
				n = *runs
			}
		})
		return hostileRuns(hostile.Config{Seed: *seed, Break: hostile.Defect(*broken)}, n, *workers, stdout, stderr)
	}
	c := simulate.Config{Seed: *seed, Ops: *ops, Break: simulate.Rule(*broken)}
	if *runs == 1 {
		c.Trace = stdout
	}
	total := playRuns(c, *runs, *workers, stderr)
	for _, v := range total.Violations {
		fmt.Fprintln(stdout, v)
	}
	fmt.Fprintf(stdout, "%s ops=%d seed=%d\n", total.Summary(), *ops, *seed)
	if total.Bad() > 0 {
		fmt.Fprintln(stderr, "sotto simulate: something that must hold did not; --runs 1 --seed N shows a run")
		return exitFailed
	}
	return exitOK
}

// playRuns plays runs, some at a time, and says every ten seconds how far it
// is. A block of runs is one piece of work: their reports are added up in the
// order of their seeds.
func playRuns(c simulate.Config, runs, workers int, progress io.Writer) *simulate.Report {
	const block = 64
	start := time.Now()
	blocks := make([]*simulate.Report, (runs+block-1)/block)
	next, done, bad := 0, 0, 0
	last := start
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				n := next
				next++
				mu.Unlock()
				if n >= len(blocks) {
					return
				}
				r := new(simulate.Report)
				for i := n * block; i < min((n+1)*block, runs); i++ {
					c := c
					c.Seed += uint64(i)
					r.Add(simulate.Run(c))
				}
				mu.Lock()
				blocks[n] = r
				done += r.N[simulate.Runs]
				bad += r.Bad()
				if now := time.Now(); now.Sub(last) >= 10*time.Second {
					last = now
					fmt.Fprintf(progress, "%d of %d runs, %.0f a second, %d violations\n",
						done, runs, float64(done)/now.Sub(start).Seconds(), bad)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	total := new(simulate.Report)
	for _, r := range blocks {
		total.Add(r)
	}
	return total
}
