package main

import (
	"fmt"
	"io"
	"sync"

	"github.com/sotto-im/sotto/internal/hostile"
)

// defaultHostile is how many runs "sotto simulate --hostile" plays.
const defaultHostile = 8

func hostileUsage() string {
	usage := fmt.Sprintf(`
With --hostile the faults are the server's: four devices and their guests talk
through a server that plays %d attacks, each once a run (%d runs if --runs is
not given). It reorders, replays, withholds, relabels and splices, swaps bundles
and prekeys, contradicts itself, names devices that are none, and writes in
sessions of its own. Each attack has to be refused by an error, or reported to
the user, or to change nothing that he sees; a line for each says which. The
exit code is 1 if anything changed silently. --break has the devices make a
mistake:

`, len(hostile.Classes), defaultHostile)
	for _, v := range hostile.Defects {
		usage += fmt.Sprintf("  %-21s %s\n", v.Defect, v.Does)
	}
	return usage
}

// hostileRuns runs "sotto simulate --hostile".
func hostileRuns(c hostile.Config, runs, workers int, stdout, stderr io.Writer) int {
	if runs == 1 {
		c.Trace = stdout
	}
	total := playHostile(c, runs, workers)
	for _, v := range total.Violations {
		fmt.Fprintln(stdout, v)
	}
	fmt.Fprint(stdout, total.Table())
	fmt.Fprintf(stdout, "%s seed=%d\n", total.Summary(), c.Seed)
	if total.Bad > 0 {
		fmt.Fprintln(stderr, "sotto simulate: an attack changed what a user sees; --hostile --runs 1 --seed N shows a run")
		return exitFailed
	}
	return exitOK
}

// playHostile plays runs, some at a time, and adds their reports up in the order
// of their seeds.
func playHostile(c hostile.Config, runs, workers int) *hostile.Report {
	total := new(hostile.Report)
	done := map[int]*hostile.Report{}
	next, added := 0, 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			for next < runs {
				n := next
				next++
				mu.Unlock()
				c := c
				c.Seed += uint64(n)
				r := hostile.Run(c)
				mu.Lock()
				for done[n] = r; done[added] != nil; added++ {
					total.Add(done[added])
					delete(done, added)
				}
			}
		})
	}
	wg.Wait()
	return total
}
