package hostile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// A Verdict is what a user is told of: a typed error, by its name, or what an
// application reports.
type Verdict string

// Verdicts that are reported; all others are errors, and refuse something.
const (
	Fetched         Verdict = "fetch"         // a hole in the mailbox was asked for
	GapShown        Verdict = "gap"           // relay.Stats.Gaps
	Restarted       Verdict = "restart"       // relay.Stats.Restarts
	Contradiction   Verdict = "contradiction" // relay.Stats.Contradictions
	Repeated        Verdict = "repeated ID"   // relay.Stats.Duplicate
	Disorder        Verdict = "order"         // R-9.3-5: an author's stamps do not ascend
	Missing         Verdict = "missing"       // sesame.Result.Missing
	Unreached       Verdict = "unreached"     // relay.Stats.Unreached
	Failed          Verdict = "failed"        // a message of the user's own
	SafetyNumber    Verdict = "safety number" // two users have compared, and differ
	Harmless        Verdict = "harmless"      // nothing that a user sees has changed
	Held            Verdict = "ErrHeld"       // sesame
	IdentityChanged Verdict = "ErrIdentityChanged"
)

// Verdicts that refuse.
const (
	Duplicate     Verdict = "ErrDuplicate"
	Undecryptable Verdict = "ErrUndecryptable"
	UnknownPreKey Verdict = "ErrUnknownPreKey"
	NoSession     Verdict = "ErrNoSession"
	RetryRefused  Verdict = "ErrRetryRefused"
	Mismatch      Verdict = "ErrMismatch" // envelope.Unpack
	Malformed     Verdict = "ErrMalformed"
	Version       Verdict = "ErrVersion"
	Order         Verdict = "ErrOrder"
	Invalid       Verdict = "ErrInvalid"
	BadSignature  Verdict = "ErrAuthentication" // x3dh.ParseBundle
	BadKey        Verdict = "ErrInvalidKey"
	Excluded      Verdict = "ErrExcluded" // relay: the application's own rules
	NotMember     Verdict = "not a member"
	Closed        Verdict = "connection ended"
	Replaced      Verdict = "ErrReplaced"
)

var reported = []Verdict{Fetched, GapShown, Restarted, Contradiction, Repeated, Disorder, Missing, Unreached, Failed, SafetyNumber, Held, IdentityChanged}

// verdictOf is the name of an error.
func verdictOf(err error) Verdict {
	for _, v := range []struct {
		err     error
		verdict Verdict
	}{
		{sesame.ErrDuplicate, Duplicate}, {sesame.ErrUnknownPreKey, UnknownPreKey}, {sesame.ErrHeld, Held},
		{sesame.ErrUndecryptable, Undecryptable}, {sesame.ErrIdentityChanged, IdentityChanged},
		{sesame.ErrRetryRefused, RetryRefused}, {sesame.ErrNoSession, NoSession},
		{x3dh.ErrInvalidKey, BadKey}, {x3dh.ErrAuthentication, BadSignature}, {x3dh.ErrMalformed, Malformed},
		{envelope.ErrMalformed, Malformed}, {envelope.ErrVersion, Version}, {envelope.ErrMismatch, Mismatch},
		{lamport.ErrOrder, Order}, {lamport.ErrInvalid, Invalid},
		{relay.ErrExcluded, Excluded}, {relay.ErrReplaced, Replaced}, {relay.ErrWaits, IdentityChanged},
	} {
		if errors.Is(err, v.err) {
			return v.verdict
		}
	}
	return Closed
}

// A Row is what came of one class.
type Row struct {
	Tried, Refused, Reported, Harmless, Silent int
	As                                         map[Verdict]int // attempts that surfaced so
}

// A Violation is something that must not have happened.
type Violation struct {
	Seed  uint64
	Class string // "" between the attacks
	What  string
}

func (v Violation) String() string {
	return fmt.Sprintf("seed %d: %s: %s", v.Seed, v.Class, v.What)
}

// maxKept is how many violations a Report keeps.
const maxKept = 10

// A Report is what came of runs.
type Report struct {
	Runs       int
	Written    int // messages
	Rows       map[string]*Row
	Bad        int // violations
	Violations []Violation
}

func newReport() *Report {
	r := &Report{Rows: map[string]*Row{}}
	for _, c := range Classes {
		r.Rows[c.Name] = &Row{As: map[Verdict]int{}}
	}
	return r
}

// Add adds the runs of another report.
func (r *Report) Add(o *Report) {
	if r.Rows == nil {
		r.Rows = newReport().Rows
	}
	r.Runs += o.Runs
	r.Written += o.Written
	r.Bad += o.Bad
	for name, row := range o.Rows {
		to := r.Rows[name]
		to.Tried += row.Tried
		to.Refused += row.Refused
		to.Reported += row.Reported
		to.Harmless += row.Harmless
		to.Silent += row.Silent
		for v, n := range row.As {
			to.As[v] += n
		}
	}
	r.Violations = append(r.Violations, o.Violations...)
	r.Violations = r.Violations[:min(len(r.Violations), maxKept)]
}

// Table is a line for each class.
func (r *Report) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-38s %6s %8s %9s %9s %7s  %s\n", "attack", "tried", "refused", "reported", "harmless", "silent", "by")
	for _, c := range Classes {
		row := r.Rows[c.Name]
		var by []string
		for v, n := range row.As {
			by = append(by, fmt.Sprintf("%s %d", v, n))
		}
		slices.Sort(by)
		fmt.Fprintf(&b, "%-38s %6d %8d %9d %9d %7d  %s\n", c.Name, row.Tried, row.Refused, row.Reported, row.Harmless, row.Silent, strings.Join(by, ", "))
	}
	return b.String()
}

// Summary is one line of name=value, for scripts.
func (r *Report) Summary() string {
	var sum Row
	for _, row := range r.Rows {
		sum.Tried += row.Tried
		sum.Refused += row.Refused
		sum.Reported += row.Reported
		sum.Harmless += row.Harmless
		sum.Silent += row.Silent
	}
	return fmt.Sprintf("summary: runs=%d written=%d classes=%d tried=%d refused=%d reported=%d harmless=%d silent=%d violations=%d",
		r.Runs, r.Written, len(Classes), sum.Tried, sum.Refused, sum.Reported, sum.Harmless, sum.Silent, r.Bad)
}
