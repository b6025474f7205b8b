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

	GroupMessages // for groups, committed
	GroupPairwise // of those, without a chain
	Distributions // that came with them
	Joined        // devices, to a group
	Removed       // devices, from a group
	Forgotten     // groups, by a device
	Lagged        // memberships that were refused because they are older than one that was used
	RotatedFirst  // chains that began because there was none,
	RotatedGone   // because somebody who could read the last one is gone,
	RotatedLong   // because the last one had 100 messages,
	RotatedOld    // because it was 7 days old
	Held          // group messages that came before their distribution
	Released      // of those, given out with it
	Unbrought     // distributions that the server lost, or that did not arrive
	Requests      // for messages that were not read
	Answers       // to them
	SenderGone
	TooOld
	NotMember
	TooOften
	TriedGone  // group messages that were tried with what a device had that could read earlier ones of the group
	TriedEarly // or none yet
	Groups     // that converged
	Rounds     // that they took

	Reused  // message keys of two ciphertexts
	Leaked  // messages, and distributions, that open for others than those that they are for
	Keyless // group messages to a device that cannot have got the distribution
	Lost    // acknowledged messages that are not in the inbox and have no excuse
	Twice   // messages that are in an inbox twice
	Wrong   // messages that are not what was written
	Stuck   // pairs and groups that did not converge
	Failed  // calls with an error that no fault made

	counts
)

var names = [counts]string{
	"runs", "operations", "transactions", "steps", "faults", "crashes", "conflicts", "interleaved", "restarts", "reinstalls",
	"sessions", "written", "dropped", "vanished", "delivered", "duplicates", "confirmed",
	"old_receiver", "old_sender", "old_prekey", "old_chain", "pairs", "exchanges",
	"group_messages", "group_pairwise", "distributions", "joined", "removed", "forgotten", "lagged",
	"rotated_first", "rotated_gone", "rotated_long", "rotated_old", "held", "released", "unbrought", "requests", "answers",
	"sender_gone", "too_old", "not_member", "too_often", "tried_gone", "tried_early", "groups", "rounds",
	"reused", "leaked", "keyless", "lost", "twice", "wrong", "stuck", "failed",
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
	Slowest    int         // rounds that a group took
	Violations []Violation // the first ten
}

// Add adds the runs of another report.
func (r *Report) Add(o *Report) {
	for i, n := range o.N {
		r.N[i] += n
	}
	r.Longest, r.Slowest = max(r.Longest, o.Longest), max(r.Slowest, o.Slowest)
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
			fmt.Fprintf(&b, " longest=%d slowest=%d", r.Longest, r.Slowest)
		}
		fmt.Fprintf(&b, " %s=%d", names[i], n)
	}
	fmt.Fprintf(&b, " violations=%d", r.Bad())
	return b.String()
}
