package modeltest

import (
	"flag"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sotto-im/sotto/lamport"
)

// The rules that a run may break, to see that the model notices. Each is what an
// application or a server does wrong that uses the library; where the rule is
// inside of it, the model has a copy without the rule.
type rules struct {
	ignoreWindow       bool // seals beyond the window: R-9.4-3
	ackBeforeCommit    bool // R-9.6-1
	ackOfAnyEpoch      bool // takes an old acknowledgement for one of the new epoch: R-8.8-2
	trimSilently       bool // R-8.8-6
	notTold            bool // shows what comes again
	toldByIDOnly       bool // tells messages by their ID, without the device
	receiptByIDOnly    bool // looks up receipts without the sender: R-9.5-6
	foreignReceipt     bool // and answers them: R-9.5-9
	windowByNumberOnly bool // has one window for a device number: R-9.1-2
	sequenceOutside    bool // stores the sequence although the transaction failed: R-9.5-1
	sameEpoch          bool // restores a store and goes on: R-9.5-8
	epochFromCopy      bool // counts its epochs in the store that is restored
	noAnchor           bool // shows what waits by its stamp alone: R-9.3-1
	anchorOfOwnOnly    bool // does not move the anchor when a message is received
	mixedOrder         bool // "by sequence if both have one, else by stamp": R-9.3-2
	orderByStamp       bool // ignores the sequence
	doesNotObserve     bool // R-9.2-2
	observesAnything   bool // observes without a bound: R-9.2-3
	clockNotStored     bool // gives a stamp twice: R-9.2-5
	forgetsLost        bool // restores stamps without allowing for those that are lost: R-9.5-8
	noBound            bool // accepts any stamp: R-9.5-7
	boundBySequence    bool // bounds stamps by the sequence: R-9.5-7
	holdsEverything    bool // R-9.6-5
}

// A hoarder is an Inbox that holds back whatever comes.
type hoarder struct {
	lamport.Inbox
	kept map[uint64][]byte
}

func (in *hoarder) Receive(p lamport.Position, frame []byte) (lamport.Verdict, error) {
	v, err := in.Inbox.Receive(p, frame)
	if v == lamport.Hold || v == lamport.Fetch {
		in.kept[p.Number] = slices.Clone(frame)
	}
	return v, err
}

func (in *hoarder) Next() (lamport.Position, []byte, bool) {
	p := lamport.Position{Epoch: in.At().Epoch, Number: in.At().Number + 1}
	if frame, ok := in.kept[p.Number]; ok {
		return p, frame, true
	}
	return in.Inbox.Next()
}

func (in *hoarder) Advance(p lamport.Position) error {
	delete(in.kept, p.Number)
	return in.Inbox.Advance(p)
}

func (in *hoarder) Restart(epoch uint32) error {
	clear(in.kept)
	return in.Inbox.Restart(epoch)
}

// Each rule is needed: without it rapid finds a run in which an invariant of
// SPEC.md §9.8 does not hold, the one that the rule guards.
func TestModelNoticesBrokenRules(t *testing.T) {
	for _, v := range []struct {
		name    string
		broken  rules
		notices string // invariants
	}{
		{"a sequence from outside of the transaction", rules{sequenceOutside: true}, "I-01"},
		{"a restored store that keeps its epoch", rules{sameEpoch: true}, "I-01"},
		{"epochs counted in the copy", rules{epochFromCopy: true}, "I-01"},
		{"sealing beyond the window", rules{ignoreWindow: true}, "I-02"},
		{"receipts under the message ID alone", rules{receiptByIDOnly: true}, "submit"},
		{"a receipt of somebody else answered", rules{foreignReceipt: true}, "I-02"},
		{"windows under the device number alone", rules{windowByNumberOnly: true}, "submit"},
		{"showing what comes again", rules{notTold: true}, "I-02|I-05"},
		{"acknowledging before the commit", rules{ackBeforeCommit: true}, "I-03"},
		{"acknowledging in a new epoch what was in the old", rules{ackOfAnyEpoch: true}, "I-03"},
		{"trimming a mailbox without a gap", rules{trimSilently: true}, "I-03"},
		{"telling by message ID alone", rules{toldByIDOnly: true}, "I-03"},
		{"a mixed comparator", rules{mixedOrder: true}, "I-05"},
		{"order by stamp", rules{orderByStamp: true}, "I-06"},
		{"no anchor", rules{noAnchor: true}, "I-06"},
		{"an anchor of own messages", rules{anchorOfOwnOnly: true}, "I-06"},
		{"not observing", rules{doesNotObserve: true}, "I-08"},
		{"observing without a bound", rules{observesAnything: true}, "I-08"},
		{"a stamp given twice", rules{clockNotStored: true}, "I-08"},
		{"lost stamps not allowed for", rules{forgetsLost: true}, "I-08"},
		{"any stamp accepted", rules{noBound: true}, "I-08"},
		{"stamps bound by the sequence", rules{boundBySequence: true}, "I-08"},
		{"holding everything back", rules{holdsEverything: true}, "I-17"},
	} {
		t.Run(v.name, func(t *testing.T) {
			found := violation(t, func(t *rapid.T) { run(t, rapid.SampledFrom([]int{300, 3000}).Draw(t, "steps"), v.broken) })
			require.Regexp(t, `(?m)failed after .*: (`+v.notices+`):`, found)
		})
	}
}

// An inbox without bounds is found by its bytes as well.
func TestHeldNoticesHoarder(t *testing.T) {
	found := violation(t, func(t *rapid.T) { flood(t, &hoarder{kept: map[uint64][]byte{}}) })
	require.Regexp(t, `failed after .*: I-17:`, found)
}

// violation lets rapid search, always the same, for a run in which the property
// does not hold, and returns what rapid reports.
func violation(t *testing.T, property func(*rapid.T)) string {
	for name, value := range map[string]string{"rapid.seed": "1", "rapid.checks": "200", "rapid.shrinktime": "100ms", "rapid.nofailfile": "true"} {
		f := flag.Lookup(name)
		was := f.Value.String()
		require.NoError(t, f.Value.Set(value))
		t.Cleanup(func() { _ = f.Value.Set(was) })
	}
	r := &reporter{name: t.Name()}
	done := make(chan struct{})
	go func() { // for FailNow
		defer close(done)
		rapid.Check(r, property)
	}()
	<-done
	require.True(t, r.failed, "rapid finds nothing")
	line := regexp.MustCompile(`(?m)^.*failed after.*$`).FindString(r.log)
	t.Log(line)
	return line
}

// A reporter is a test that is meant to fail.
type reporter struct {
	rapid.TB
	name, log string
	failed    bool
}

func (r *reporter) Helper()                      {}
func (r *reporter) Name() string                 { return r.name }
func (r *reporter) Logf(string, ...any)          {}
func (r *reporter) Log(...any)                   {}
func (r *reporter) Errorf(f string, args ...any) { r.log += fmt.Sprintf(f, args...); r.failed = true }
func (r *reporter) Error(args ...any)            { r.Errorf("%s", fmt.Sprintln(args...)) }
func (r *reporter) Fatalf(f string, args ...any) { r.Errorf(f, args...); r.FailNow() }
func (r *reporter) Fatal(args ...any)            { r.Error(args...); r.FailNow() }
func (r *reporter) FailNow()                     { r.failed = true; runtime.Goexit() }
func (r *reporter) Fail()                        { r.failed = true }
func (r *reporter) Failed() bool                 { return r.failed }
