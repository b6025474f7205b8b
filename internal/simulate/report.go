package simulate

import (
	"fmt"
	"strings"
)

// A Count is something that a [Report] counts.
type Count int

// What is counted: first what happened, then, from Reused on, what must not.
const (
	Runs         Count = iota
	Operations         // before the faults stop
	Transactions       // begun, runs after a conflict included
	Steps              // of transactions, at which a fault may be
	Faults             // steps that failed, crashes included
	Crashes            // processes that died at a step
	Conflicts          // transactions that ran again because another one came first
	Interleaved        // operations inside a transaction of the other process
	Restarts
	Reinstalls
	Sessions   // started from a bundle
	Written    // messages that are in an outbox
	Dropped    // submissions that did not arrive
	Vanished   // messages that the server lost
	Delivered  // messages given to a device, again after a fault or a lost acknowledgement
	Duplicates // of those, read before
	Confirmed  // identity keys
	OldReceiver
	OldSender
	OldPreKey
	OldChain
	Pairs     // of devices that converged
	Exchanges // messages that they took

	Reused // message keys of two ciphertexts
	Lost   // acknowledged messages that are not in the inbox and have no excuse
	Twice  // messages that are in an inbox twice
	Wrong  // messages that are not what was written
	Stuck  // pairs that did not converge
	Failed // calls with an error that no fault made

	counts
)

var names = [counts]string{
	"runs", "operations", "transactions", "steps", "faults", "crashes", "conflicts", "interleaved", "restarts", "reinstalls",
	"sessions", "written", "dropped", "vanished", "delivered", "duplicates", "confirmed",
	"old_receiver", "old_sender", "old_prekey", "old_chain", "pairs", "exchanges",
	"reused", "lost", "twice", "wrong", "stuck", "failed",
}

// String is the name of the count in the summary.
func (c Count) String() string { return names[c] }

// A Violation is something that must not have happened.
type Violation struct {
	Seed uint64 // of the run
	Kind Count
	What string
}

func (v Violation) String() string {
	return fmt.Sprintf("seed %d: %s: %s", v.Seed, strings.ToUpper(v.Kind.String()), v.What)
}

// maxKept is how many violations a Report keeps.
const maxKept = 10

// A Report is what came of runs. The zero value is one of none.
type Report struct {
	N          [counts]int
	Longest    int         // messages that a pair took to converge
	Violations []Violation // the first ten
}

// Add adds the runs of another report.
func (r *Report) Add(o *Report) {
	for i, n := range o.N {
		r.N[i] += n
	}
	r.Longest = max(r.Longest, o.Longest)
	r.Violations = append(r.Violations, o.Violations...)
	r.Violations = r.Violations[:min(len(r.Violations), maxKept)]
}

// Bad is how often something happened that must not.
func (r *Report) Bad() (n int) {
	for i := Reused; i < counts; i++ {
		n += r.N[i]
	}
	return n
}

// Summary is one line of name=value, for scripts.
func (r *Report) Summary() string {
	var b strings.Builder
	b.WriteString("summary:")
	for i, n := range r.N {
		if Count(i) == Reused {
			fmt.Fprintf(&b, " longest=%d", r.Longest)
		}
		fmt.Fprintf(&b, " %s=%d", names[i], n)
	}
	fmt.Fprintf(&b, " violations=%d", r.Bad())
	return b.String()
}
