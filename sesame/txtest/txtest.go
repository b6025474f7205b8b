// Package txtest proves a [sesame.Tx].
//
// It is for who writes a store of their own. Most applications should use
// package sqlkv, which this package has proven on SQLite and PostgreSQL.
//
// # Usage
//
//	func TestStore(t *testing.T) {
//		txtest.Run(t, func(t *testing.T) txtest.Store { return openEmpty(t) })
//	}
//
// A store whose data outlive the process should also be a [Reopener], and have
// a test of its own that kills a process (SIGKILL) while it commits, and one
// with two processes: neither can be done from inside.
//
// [Inject] makes a store fail, at any step, in the ways in which databases
// fail: it is for tests of code above the store.
//
// What is checked is SPEC.md §10.1. Each check is known to fail on a store that
// is broken in the way that it looks for: this package's own tests have them.
package txtest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/sesame"
)

// A Store runs functions in transactions.
type Store interface {
	// Do runs fn in one transaction and commits. If fn returns an error or
	// panics it rolls back, and passes on the error (errors.Is finds it) or the
	// panic. If another transaction came first, whether the store notices that
	// at a write or at the commit, the error is [sesame.ErrConflict], or fn is
	// run again. Do is safe for concurrent use.
	Do(fn func(tx sesame.Tx) error) error
}

// A Reopener is a Store whose data outlive the process.
type Reopener interface {
	Store
	// Reopen returns a store over the same data, as the next process would open
	// it after this one died: nothing that the old one has in memory is handed
	// over, and nothing flushed. The old one is not used any more.
	Reopen() (Store, error)
}

// Run checks the stores that open returns. Each of them must be empty and its
// own.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// testingT is the part of testing.T that the checks use, so that the tests of
// this package can see them fail.
type testingT interface {
	require.TestingT
	Helper()
	Name() string
}

type check struct {
	name string
	run  func(t testingT, s Store)
}

var checks = []check{
	{"rows", rows},
	{"conflicts", conflicts},
	{"own writes", ownWrites},
	{"revisions never restart", revisions},
	{"values", values},
	{"large values", largeValues},
	{"values stay", valuesStay},
	{"keys", keys},
	{"scan order", scanOrder},
	{"scan own writes", scanOwnWrites},
	{"scan is a snapshot", scanSnapshot},
	{"all or nothing", allOrNothing},
	{"ignored errors", ignoredErrors},
	{"error rolls back", errorRollsBack},
	{"panic rolls back", panicRollsBack},
	{"transaction ends", transactionEnds},
	{"faults", faults},
	{"reopen", reopen},
	{"uncommitted is invisible", uncommitted},
	{"lost update", lostUpdate},
	{"two writers", twoWriters},
	{"concurrency", concurrency},
}

// key makes keys that look like the package's own.
func key(format string, args ...any) string { return "sotto/t/" + fmt.Sprintf(format, args...) }

// attempts bounds how often a transaction is run again after a conflict.
const attempts = 10000

// do runs fn until it does not conflict.
func do(s Store, fn func(tx sesame.Tx) error) (err error) {
	for range attempts {
		if err = s.Do(fn); !errors.Is(err, sesame.ErrConflict) {
			return err
		}
	}
	return err
}

// put writes value whatever is there, and returns the new revision.
func put(tx sesame.Tx, key string, value []byte) (uint64, error) {
	_, rev, err := tx.Get(key)
	if err != nil {
		return 0, err
	}
	if err := tx.Put(key, value, rev); err != nil {
		return 0, err
	}
	_, rev, err = tx.Get(key)
	return rev, err
}

// remove deletes whatever is there.
func remove(tx sesame.Tx, key string) error {
	_, rev, err := tx.Get(key)
	if err != nil {
		return err
	}
	return tx.Delete(key, rev)
}

func mustPut(t testingT, s Store, key string, value string) (rev uint64) {
	t.Helper()
	require.NoError(t, do(s, func(tx sesame.Tx) (err error) {
		rev, err = put(tx, key, []byte(value))
		return err
	}))
	return rev
}

func mustRemove(t testingT, s Store, key string) {
	t.Helper()
	require.NoError(t, do(s, func(tx sesame.Tx) error { return remove(tx, key) }))
}

// row is what a transaction of its own sees.
type row struct {
	value string
	rev   uint64
}

func read(t testingT, s Store, key string) (r row) {
	t.Helper()
	require.NoError(t, do(s, func(tx sesame.Tx) error {
		v, rev, err := tx.Get(key)
		r = row{string(v), rev}
		return err
	}))
	return r
}

// dump reads all rows with the prefix.
func dump(t testingT, s Store, prefix string) map[string]row {
	t.Helper()
	var all map[string]row
	require.NoError(t, do(s, func(tx sesame.Tx) error {
		all = map[string]row{}
		keys, err := scan(tx, prefix)
		if err != nil {
			return err
		}
		for _, k := range keys {
			v, rev, err := tx.Get(k)
			if err != nil {
				return err
			}
			all[k] = row{string(v), rev}
		}
		return nil
	}))
	return all
}

func scan(tx sesame.Tx, prefix string) (keys []string, err error) {
	for k, err := range tx.Scan(prefix) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}
