package txtest

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/sesame"
)

// A recorder is a testingT that keeps failures to itself.
type recorder struct {
	failed   bool
	messages []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failed = true
	r.messages = append(r.messages, fmt.Sprintf(format, args...))
}
func (r *recorder) FailNow()     { r.failed = true; runtime.Goexit() }
func (r *recorder) Helper()      {}
func (r *recorder) Name() string { return "recorder" }

// failures runs all checks and returns the names of those that fail.
func failures(open func() Store) (names []string) {
	for _, c := range checks {
		r := new(recorder)
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() {
				if p := recover(); p != nil {
					r.Errorf("panic: %v", p)
				}
			}()
			c.run(r, open())
		}()
		<-done
		if r.failed {
			names = append(names, c.name)
		}
	}
	return names
}

func TestRun(t *testing.T) {
	Run(t, func(*testing.T) Store { return newToy("") })
	Run(t, func(*testing.T) Store { return durable{newToy("")} })
	Run(t, func(*testing.T) Store { return &blocking{durable: durable{newToy("")}} })
}

// Each way of being broken is caught by the checks that look for it, and each
// check catches something.
func TestBrokenStores(t *testing.T) {
	require.Empty(t, failures(func() Store { return durable{newToy("")} }), "the harness itself")
	var mu sync.Mutex
	caught := map[string]bool{}
	t.Cleanup(func() { // after the parallel ones
		for _, c := range checks {
			require.True(t, caught[c.name], "%q catches nothing", c.name)
		}
	})
	for broken, by := range map[string]string{
		"no revisions":                        "conflicts, lost update, revisions never restart",
		"revisions compared at the call only": "lost update, two writers",
		"create replaces":                     "conflicts",
		"delete without revision":             "conflicts, revisions never restart",
		"conflict under another name":         "conflicts",
		"partial commit":                      "lost update",
		"second row lost":                     "all or nothing, faults",
		"writes at once":                      "all or nothing, error rolls back, panic rolls back, faults",
		"uncommitted is seen":                 "uncommitted is invisible",
		"error commits":                       "error rolls back, all or nothing, faults",
		"error is swallowed":                  "error rolls back, conflicts",
		"error loses its identity":            "error rolls back",
		"panic commits":                       "panic rolls back, faults, reopen",
		"panic is swallowed":                  "panic rolls back",
		"Goexit commits":                      "panic rolls back",
		"ignored errors commit":               "ignored errors",
		"transactions do not end":             "transaction ends",
		"nothing is committed":                "rows",
		"revisions restart":                   "revisions never restart",
		"revisions of equal values are equal": "revisions never restart",
		"own writes unseen":                   "own writes",
		"absent is an error":                  "rows",
		"absent is empty":                     "rows",
		"empty is absent":                     "values",
		"values end at zero bytes":            "values",
		"values are text":                     "values",
		"long values cut":                     "large values",
		"caller's buffer kept":                "values stay",
		"one buffer for all values":           "values stay",
		"overwrites in place":                 "values stay",
		"keys ignore case":                    "keys, scan order",
		"long keys cut":                       "keys",
		"keys are UTF-8":                      "keys",
		"scan in no order":                    "scan order",
		"scan ignores case":                   "scan order",
		"scan up to prefix FF":                "scan order",
		"scan up to the next text":            "scan order",
		"scan leaves the prefix out":          "scan order",
		"scan by LIKE":                        "scan order",
		"scan ends after 1000":                "scan order",
		"scan of committed rows":              "scan own writes",
		"scan goes on while written":          "scan is a snapshot",
		"crash loses the last commit":         "reopen, faults",
		"crash loses all":                     "reopen",
		"counter in memory":                   "revisions never restart",
		"revisions not stored":                "reopen",
		"cannot be opened":                    "reopen",
	} {
		t.Run(broken, func(t *testing.T) {
			t.Parallel()
			names := failures(func() Store { return durable{newToy(broken)} })
			for want := range strings.SplitSeq(by, ", ") {
				require.Contains(t, names, want, "store broken by %q", broken)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, n := range names {
				caught[n] = true
			}
		})
	}
	require.Len(t, failures(func() Store { return starving{} }), len(checks), "a store that never lets anybody through")
}

// What Inject does, seen from above.
func TestInject(t *testing.T) {
	for _, op := range []Op{Get, Put, Delete, Scan, Commit} {
		for fault, want := range map[Fault]struct{ applied, errs, crashes bool }{
			None:        {applied: true},
			NotApplied:  {errs: true},
			Applied:     {errs: true, applied: op == Commit},
			CrashBefore: {crashes: true},
			CrashAfter:  {crashes: true, applied: op == Commit},
		} {
			s := new(sesame.Memory)
			prepare(t, s)
			before := dump(t, s, "")
			hit := false
			faulty := Inject(s, func(st Step) Fault {
				if st.Op == op && !hit {
					hit = true
					return fault
				}
				return None
			})
			var err error
			crash := panicValue(func() { err = faulty.Do(change) })
			require.Equal(t, want.crashes, crash != nil)
			if want.crashes {
				require.Equal(t, op, crash.(Crash).Step.Op)
			}
			require.Equal(t, want.errs, errors.Is(err, ErrInjected))
			require.Equal(t, want.applied, applied(t, s, before, "inject"))
		}
	}

	// An injected error that the function ignores does not commit.
	s := new(sesame.Memory)
	err := Inject(s, func(st Step) Fault { return map[Op]Fault{Put: Applied}[st.Op] }).Do(func(tx sesame.Tx) error {
		_ = tx.Put(key("a"), nil, 0)
		return nil
	})
	require.ErrorIs(t, err, ErrInjected)
	require.Empty(t, dump(t, s, ""))

	// A store behind Inject is still a store.
	Run(t, func(*testing.T) Store { return Inject(new(sesame.Memory), func(Step) Fault { return None }) })
}
