package txtest

import (
	"errors"
	"fmt"
	"maps"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/sesame"
)

var errClosure = errors.New("txtest: the function's own error")

// change is a transaction with a write of each kind, and what it leaves behind.
func change(tx sesame.Tx) error {
	if _, err := scan(tx, key("")); err != nil {
		return err
	}
	if _, err := put(tx, key("replaced"), []byte("new")); err != nil {
		return err
	}
	if err := remove(tx, key("deleted")); err != nil {
		return err
	}
	_, err := put(tx, key("created"), []byte("new"))
	return err
}

func prepare(t testingT, s Store) (before map[string]row) {
	t.Helper()
	mustPut(t, s, key("replaced"), "old")
	mustPut(t, s, key("deleted"), "old")
	before = dump(t, s, "")
	require.Len(t, before, 2)
	return before
}

// applied reports whether all of change was done, and fails if a part was.
func applied(t testingT, s Store, before map[string]row, what string) bool {
	t.Helper()
	now := dump(t, s, "")
	if maps.Equal(before, now) {
		return false
	}
	require.Len(t, now, 2, "%s: applied in part", what)
	require.Equal(t, "new", now[key("replaced")].value, "%s: applied in part", what)
	require.Equal(t, "new", now[key("created")].value, "%s: applied in part", what)
	return true
}

// reopened is the store after the process has died, if it can be had.
func reopened(t testingT, s Store) Store {
	t.Helper()
	if r, ok := s.(Reopener); ok {
		next, err := r.Reopen()
		require.NoError(t, err)
		return next
	}
	return s
}

// allOrNothing: a conflict in the last row takes the first ones along.
func allOrNothing(t testingT, s Store) {
	before := prepare(t, s)
	for name, last := range map[string]func(tx sesame.Tx) error{
		"conflict of a Put":    func(tx sesame.Tx) error { return tx.Put(key("last"), nil, 7) },
		"conflict of a Delete": func(tx sesame.Tx) error { return tx.Delete(key("last"), 7) },
		"own conflict":         func(tx sesame.Tx) error { return tx.Put(key("created"), nil, 0) },
	} {
		err := s.Do(func(tx sesame.Tx) error {
			require.NoError(t, change(tx))
			return last(tx)
		})
		require.ErrorIs(t, err, sesame.ErrConflict, name)
		require.False(t, applied(t, s, before, name), name)
	}
	require.NoError(t, do(s, change))
	require.True(t, applied(t, s, before, "commit"), "a commit without error was not applied")
}

// ignoredErrors: who does not look at an error commits nothing by it.
func ignoredErrors(t testingT, s Store) {
	before := prepare(t, s)
	for name, write := range map[string]func(tx sesame.Tx) error{
		"Put":    func(tx sesame.Tx) error { return tx.Put(key("replaced"), nil, 0) },
		"Delete": func(tx sesame.Tx) error { return tx.Delete(key("replaced"), 0) },
	} {
		for _, first := range []bool{true, false} {
			err := s.Do(func(tx sesame.Tx) error {
				if !first {
					require.NoError(t, change(tx))
				}
				require.Error(t, write(tx), name)
				if first {
					_ = change(tx)
				}
				return nil
			})
			require.Error(t, err, "a transaction in which %s failed was committed", name)
			require.False(t, applied(t, s, before, name), "a transaction in which %s failed was committed", name)
		}
	}
}

func errorRollsBack(t testingT, s Store) {
	before := prepare(t, s)
	err := s.Do(func(tx sesame.Tx) error {
		require.NoError(t, change(tx))
		return fmt.Errorf("wrapped: %w", errClosure)
	})
	require.ErrorIs(t, err, errClosure, "the function's error is passed on")
	require.False(t, applied(t, s, before, "error"), "a function that returned an error was committed")
	require.False(t, applied(t, reopened(t, s), before, "error"), "a function that returned an error was committed")
}

func panicRollsBack(t testingT, s Store) {
	before := prepare(t, s)
	value := panicValue(func() {
		_ = s.Do(func(tx sesame.Tx) error {
			require.NoError(t, change(tx))
			panic(errClosure)
		})
	})
	require.Equal(t, errClosure, value, "the panic is passed on")
	require.False(t, applied(t, s, before, "panic"), "a function that panicked was committed")

	done := make(chan struct{}) // runtime.Goexit, as t.FailNow calls it
	go func() {
		defer close(done)
		_ = s.Do(func(tx sesame.Tx) error {
			_ = change(tx)
			goexit()
			return nil
		})
	}()
	<-done
	require.False(t, applied(t, s, before, "Goexit"), "a function that did not return was committed")
	s = reopened(t, s)
	require.False(t, applied(t, s, before, "panic"))
	require.NoError(t, do(s, change), "the store is usable after a panic")
	require.True(t, applied(t, s, before, "commit"))
}

// panicValue runs fn and returns what it panicked with.
func panicValue(fn func()) (value any) {
	defer func() { value = recover() }()
	fn()
	return nil
}

// transactionEnds: a Tx that was kept does nothing.
func transactionEnds(t testingT, s Store) {
	before := prepare(t, s)
	for name, end := range map[string]error{"commit": nil, "rollback": errClosure} {
		var kept sesame.Tx
		require.ErrorIs(t, do(s, func(tx sesame.Tx) error { kept = tx; return end }), end)
		_, _, err := kept.Get(key("replaced"))
		require.Error(t, err, "Get after %s", name)
		require.Error(t, kept.Put(key("late"), nil, 0), "Put after %s", name)
		require.Error(t, kept.Delete(key("replaced"), before[key("replaced")].rev), "Delete after %s", name)
		_, err = scan(kept, "")
		require.Error(t, err, "Scan after %s", name)
	}
	require.Equal(t, before, dump(t, s, ""))
}

// faults: an error that was applied, one that was not, a crash before, a crash
// after, at every step of a transaction: all of it is there or nothing, and
// nothing unless the step was the commit.
func faults(t testingT, s Store) {
	var steps []Step
	for _, k := range []string{"replaced", "deleted", "created"} {
		mustRemove(t, s, key("%s", k))
	}
	prepare(t, s)
	require.ErrorIs(t, do(Inject(s, func(st Step) Fault {
		steps = append(steps, st)
		if st.Op == Commit {
			return NotApplied
		}
		return None
	}), change), ErrInjected)
	require.GreaterOrEqual(t, len(steps), 8)

	for at, step := range steps {
		for _, fault := range []Fault{NotApplied, Applied, CrashBefore, CrashAfter} {
			what := fmt.Sprintf("fault %d at step %d, op %d %q", fault, at, step.Op, step.Key)
			for _, k := range []string{"replaced", "deleted", "created"} {
				mustRemove(t, s, key("%s", k))
			}
			before := prepare(t, s)
			n := -1
			faulty := Inject(s, func(Step) Fault {
				if n++; n == at {
					return fault
				}
				return None
			})
			crash := panicValue(func() { require.ErrorIs(t, faulty.Do(change), ErrInjected, what) })
			if fault == CrashBefore || fault == CrashAfter {
				require.Equal(t, Crash{step}, crash, what)
				s = reopened(t, s)
			} else {
				require.Nil(t, crash, what)
			}
			want := step.Op == Commit && (fault == Applied || fault == CrashAfter)
			require.Equal(t, want, applied(t, s, before, what), what)
		}
	}
}

// reopen: what was committed is there after the process died, with its
// revisions, and nothing else.
func reopen(t testingT, s Store) {
	if _, ok := s.(Reopener); !ok {
		return
	}
	prepare(t, s)
	for i := range 3 {
		before := dump(t, s, "")
		rev := mustPut(t, s, key("row %d", i), fmt.Sprint(i)) // the last commit before the crash
		before[key("row %d", i)] = row{fmt.Sprint(i), rev}
		require.NotNil(t, panicValue(func() {
			_ = s.Do(func(tx sesame.Tx) error {
				require.NoError(t, change(tx))
				panic(errClosure)
			})
		}))
		s = reopened(t, s)
		require.Equal(t, before, dump(t, s, ""))
		for k, r := range before {
			require.NoError(t, s.Do(func(tx sesame.Tx) error { return tx.Put(k, []byte(r.value), r.rev) }),
				"revisions are kept")
		}
	}
}
