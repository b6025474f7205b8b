// Command floor measures what the library costs beyond what it cannot do
// without. A benchmark BenchmarkX has a floor BenchmarkFloorX: the primitives
// that any implementation needs for X, called bare. Or it measures its floor
// itself, and reports the metric "x/bare". The figure is the ratio of the two.
//
//	go run ./cmd/floor          the tables of operations in BENCHMARKS.md
//	go run ./cmd/floor -scale   how costs grow: the other tables there
//	go run ./cmd/floor -check   the regression guard: fails if a ratio is over its limit
//
// A shared machine only ever makes code slower. So all times are the shortest of
// many short runs, those of an operation and of its floor in turns and in one
// process, and the guard measures what is over its limit again before it says so.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main without the process around it.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("floor", flag.ContinueOnError)
	flags.SetOutput(stderr)
	check := flags.Bool("check", false, "fail if an operation is over its limit")
	scale := flags.Bool("scale", false, "measure how costs grow")
	rounds := flags.Int("rounds", 0, "how often everything is measured, at most (default 8; 15 with -check; 4 with -scale)")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 || *check && *scale || *rounds < 0 {
		return exitUsage
	}
	atMost := func(n int) int {
		if *rounds > 0 {
			return *rounds
		}
		return n
	}
	var err error
	switch {
	case *check:
		err = guard(stdout, operations, atMost(15))
	case *scale:
		err = growth(stdout, curves, atMost(4))
	default:
		err = table(stdout, operations, rates, atMost(8))
	}
	if err != nil {
		fmt.Fprintln(stderr, "floor:", err)
		return exitFailed
	}
	return exitOK
}
