package txtest

import (
	"errors"
	"iter"

	"github.com/sotto-im/sotto/sesame"
)

// ErrInjected is the error of a step that [Inject] made fail.
var ErrInjected = errors.New("txtest: injected fault")

// A Crash is the value of the panic with which [Inject] ends a process. Recover
// it, drop all objects, and open the store again.
type Crash struct{ Step Step }

// A Step is one thing that a transaction asks of its database.
type Step struct {
	Op  Op
	Key string // the prefix of a Scan; empty for Commit
}

// An Op is what a [Step] does.
type Op int

// The steps of a transaction.
const (
	Get Op = iota + 1
	Put
	Delete
	Scan
	Commit
)

// A Fault is a way in which a step goes wrong.
type Fault int

const (
	// None: the step succeeds.
	None Fault = iota
	// NotApplied: the step answers ErrInjected and has done nothing. A commit
	// was rolled back.
	NotApplied
	// Applied: the step answers ErrInjected, but was done: the answer got
	// lost. After a commit the transaction is in the database.
	Applied
	// CrashBefore: the process dies before the step.
	CrashBefore
	// CrashAfter: the process dies after it. After a commit the transaction is
	// in the database; after any other step nothing of it is.
	CrashAfter
)

// Inject returns a store that asks plan before each step of each transaction
// what becomes of it. Transactions that run side by side call plan side by
// side.
func Inject(s Store, plan func(Step) Fault) Store { return &faultyStore{s, plan} }

type faultyStore struct {
	store Store
	plan  func(Step) Fault
}

func (f *faultyStore) Do(fn func(sesame.Tx) error) error {
	step := Step{Op: Commit}
	fault := None
	err := f.store.Do(func(tx sesame.Tx) error {
		faulty := &faultyTx{tx: tx, plan: f.plan}
		if err := fn(faulty); err != nil {
			return err
		}
		if faulty.err != nil {
			return faulty.err // ignored by fn: must not commit
		}
		switch fault = f.plan(step); fault {
		case NotApplied:
			return ErrInjected
		case CrashBefore:
			panic(Crash{step})
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case fault == Applied:
		return ErrInjected
	case fault == CrashAfter:
		panic(Crash{step})
	}
	return nil
}

type faultyTx struct {
	tx   sesame.Tx
	plan func(Step) Fault
	err  error
}

// step does one step, or what the plan makes of it.
func (f *faultyTx) step(op Op, key string, do func() error) error {
	s := Step{op, key}
	fault := f.plan(s)
	switch fault {
	case NotApplied:
		f.err = ErrInjected
		return f.err
	case CrashBefore:
		panic(Crash{s})
	}
	err := do()
	switch fault {
	case Applied:
		f.err = ErrInjected
		return f.err
	case CrashAfter:
		panic(Crash{s})
	}
	return err
}

func (f *faultyTx) Get(key string) (value []byte, rev uint64, err error) {
	err = f.step(Get, key, func() (err error) {
		value, rev, err = f.tx.Get(key)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return value, rev, nil
}

func (f *faultyTx) Put(key string, value []byte, rev uint64) error {
	return f.step(Put, key, func() error { return f.tx.Put(key, value, rev) })
}

func (f *faultyTx) Delete(key string, rev uint64) error {
	return f.step(Delete, key, func() error { return f.tx.Delete(key, rev) })
}

func (f *faultyTx) Scan(prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var keys []string
		err := f.step(Scan, prefix, func() (err error) {
			keys, err = scan(f.tx, prefix)
			return err
		})
		if err != nil {
			yield("", err)
			return
		}
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
	}
}
