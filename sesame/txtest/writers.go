package txtest

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/sesame"
)

// patience is how long a transaction waits for another one that the store may
// have blocked until it ends.
const patience = 150 * time.Millisecond

func goexit() { runtime.Goexit() }

// alongside runs b while a transaction is between two halves. If the store does
// not let b finish meanwhile, the second half goes on without, and b ends
// after it.
func alongside(s Store, first, second func(tx sesame.Tx) error, b func(tx sesame.Tx) error) (errA, errB error) {
	var once sync.Once
	done := make(chan error, 1)
	errA = s.Do(func(tx sesame.Tx) error {
		if err := first(tx); err != nil {
			return err
		}
		once.Do(func() {
			finished := make(chan struct{})
			go func() {
				defer close(finished)
				done <- s.Do(b)
			}()
			timeout := time.NewTimer(patience)
			defer timeout.Stop()
			select {
			case <-finished:
			case <-timeout.C:
			}
		})
		return second(tx)
	})
	started := true
	once.Do(func() { started = false })
	if started {
		errB = <-done
	}
	return errA, errB
}

// uncommitted: what a transaction has written, no other one sees before it
// commits.
func uncommitted(t testingT, s Store) {
	base := mustPut(t, s, key("seen"), "committed")
	seen := map[string]bool{}
	errA, _ := alongside(s,
		func(tx sesame.Tx) error {
			if _, err := put(tx, key("seen"), []byte("uncommitted")); err != nil {
				return err
			}
			return tx.Put(key("new"), nil, 0)
		},
		func(tx sesame.Tx) error { return errClosure },
		func(tx sesame.Tx) error {
			v, _, err := tx.Get(key("seen"))
			if err != nil {
				return err
			}
			seen[string(v)] = true
			keys, err := scan(tx, key("new"))
			for _, k := range keys {
				seen[k] = true
			}
			return err
		})
	require.ErrorIs(t, errA, errClosure)
	delete(seen, "committed")
	require.Empty(t, seen, "another transaction saw what was never committed")
	require.Equal(t, row{"committed", base}, read(t, s, key("seen")))
}

// lostUpdate: two transactions have read one revision, and both replace it, in
// all the ways in which that can be.
func lostUpdate(t testingT, s Store) {
	type write func(tx sesame.Tx, k string, rev uint64, v string) error
	replace := func(tx sesame.Tx, k string, rev uint64, v string) error { return tx.Put(k, []byte(v), rev) }
	del := func(tx sesame.Tx, k string, rev uint64, v string) error { return tx.Delete(k, rev) }
	again := func(tx sesame.Tx, k string, rev uint64, v string) error {
		if err := tx.Delete(k, rev); err != nil {
			return err
		}
		return tx.Put(k, []byte(v), 0)
	}
	for i, c := range []struct {
		name   string
		exists bool
		a, b   write
	}{
		{"replace and replace", true, replace, replace},
		{"create and create", false, replace, replace},
		{"delete and replace", true, del, replace},
		{"replace and delete", true, replace, del},
		{"delete and delete", true, del, del},
		{"replace, and delete and create", true, replace, again},
		{"delete and create, and replace", true, again, replace},
	} {
		for _, late := range []bool{false, true} { // b comes before a writes, or after
			what := fmt.Sprintf("%s, late: %t", c.name, late)
			k, along := key("update %d %t", i, late), key("along %d %t", i, late)
			if c.exists {
				mustPut(t, s, k, "base")
			}
			var revA, revB uint64
			steps := []func(tx sesame.Tx) error{
				func(tx sesame.Tx) (err error) {
					_, revA, err = tx.Get(k)
					return err
				},
				func(tx sesame.Tx) error {
					if err := tx.Put(along, []byte("A"), 0); err != nil {
						return err
					}
					return c.a(tx, k, revA, "A")
				},
				func(tx sesame.Tx) error { return nil },
			}
			if late {
				steps[0], steps[1] = both(steps[0], steps[1]), steps[2]
			}
			errA, errB := alongside(s, steps[0], steps[1], func(tx sesame.Tx) (err error) {
				if _, revB, err = tx.Get(k); err != nil {
					return err
				}
				return c.b(tx, k, revB, "B")
			})
			for _, err := range []error{errA, errB} {
				require.True(t, err == nil || errors.Is(err, sesame.ErrConflict), "%s: %v", what, err)
			}
			require.True(t, errA == nil || errB == nil, "%s: each stopped the other", what)
			require.False(t, errA == nil && errB == nil && revA == revB, "%s: both replaced one revision: an update is lost", what)
			// What A wrote beside it shares its fate.
			require.Equal(t, errA == nil, read(t, s, along).rev != 0, "%s: a transaction that conflicted was applied in part", what)
		}
	}
}

func both(a, b func(tx sesame.Tx) error) func(tx sesame.Tx) error {
	return func(tx sesame.Tx) error {
		if err := a(tx); err != nil {
			return err
		}
		return b(tx)
	}
}

// twoWriters: each reads and writes two rows, over and over.
func twoWriters(t testingT, s Store) { contend(t, s, 2, 30) }

// concurrency: many of them; run it under the race detector.
func concurrency(t testingT, s Store) { contend(t, s, 6, 8) }

// contend has writers move units from one row to another, and add a row for
// each. In the first round all have read before one writes, and have written
// before one commits, if the store lets them.
func contend(t testingT, s Store, writers, rounds int) {
	number := func(tx sesame.Tx, k string) (n int, rev uint64, err error) {
		v, rev, err := tx.Get(k)
		if err != nil || rev == 0 {
			return 0, rev, err
		}
		n, err = strconv.Atoi(string(v))
		return n, rev, err
	}
	errs := make(chan error, writers)
	haveRead, haveWritten := newMeeting(writers), newMeeting(writers)
	for w := range writers {
		read, written := haveRead.guest(), haveWritten.guest()
		go func() {
			defer read()
			defer written()
			for i := range rounds {
				err := do(s, func(tx sesame.Tx) error {
					from, fromRev, err := number(tx, key("from"))
					if err != nil {
						return err
					}
					to, toRev, err := number(tx, key("to"))
					if err != nil {
						return err
					}
					read()
					runtime.Gosched()
					if err := tx.Put(key("from"), []byte(strconv.Itoa(from-1)), fromRev); err != nil {
						return err
					}
					if err := tx.Put(key("to"), []byte(strconv.Itoa(to+1)), toRev); err != nil {
						return err
					}
					if err := tx.Put(key("log/%d/%d", w, i), []byte(strconv.Itoa(to+1)), 0); err != nil {
						return err
					}
					written()
					return nil
				})
				if err != nil {
					errs <- fmt.Errorf("writer %d, round %d: %w", w, i, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			require.NoError(t, err)
		}
	}
	n := writers * rounds
	require.Equal(t, strconv.Itoa(n), read(t, s, key("to")).value, "updates were lost")
	require.Equal(t, strconv.Itoa(-n), read(t, s, key("from")).value, "updates were lost")
	logged := map[string]bool{}
	for _, r := range dump(t, s, key("log/")) {
		logged[r.value] = true
	}
	require.Len(t, logged, n, "two transactions made the same step")
}

// A meeting is where goroutines wait for each other, but not for ever: the
// store may hold some of them up.
type meeting struct {
	missing sync.WaitGroup
	all     chan struct{}
}

func newMeeting(guests int) *meeting {
	m := &meeting{all: make(chan struct{})}
	m.missing.Add(guests)
	go func() {
		m.missing.Wait()
		close(m.all)
	}()
	return m
}

// guest returns a function that waits for the other guests, the first time.
func (m *meeting) guest() func() {
	return sync.OnceFunc(func() {
		m.missing.Done()
		timeout := time.NewTimer(patience)
		defer timeout.Stop()
		select {
		case <-m.all:
		case <-timeout.C:
		}
	})
}
