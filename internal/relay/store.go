package relay

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"github.com/sotto-im/sotto/sesame"
)

// errCrash is what a store returns that was made to fail.
var errCrash = errors.New("relay: store failed")

// A Store is a database in memory: rows, and one transaction at a time. The zero
// value is empty and ready. It is safe for concurrent use.
type Store struct {
	mu   sync.Mutex
	rows sesame.Memory

	// fault makes a commit fail, before or after the rows are written. Tests
	// set it.
	fault func() (before, after bool)
}

// Do runs f in a transaction and commits it if f returns nil; otherwise nothing
// is written.
func (s *Store) Do(f func(sesame.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var before, after bool
	err := s.rows.Do(func(tx sesame.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		if s.fault != nil {
			before, after = s.fault()
		}
		if before {
			return errCrash
		}
		return nil
	})
	if err == nil && after { // applied, and the caller does not know
		return errCrash
	}
	return err
}

// Update is Do with a [Tx].
func (s *Store) Update(f func(*Tx) error) error {
	return s.Do(func(rows sesame.Tx) error { return Update(rows, f) })
}

// Update runs f with a [Tx] in a transaction of an application that has rows of
// its own. It returns the error with which that transaction has to end.
func Update(rows sesame.Tx, f func(*Tx) error) error { return (&Tx{rows: rows}).run(f) }

// A Tx is a transaction for code with many rows: it reads the revision of a row
// before it writes it, and keeps the first error, after which rows read as
// absent, and which is what the transaction ends with. It is valid until the
// function that it was given to returns, and so are the values that Get returns.
type Tx struct {
	rows sesame.Tx
	err  error

	stats Stats // of a client, to be counted after the commit
}

// run returns the error that the transaction ends with.
func (tx *Tx) run(f func(*Tx) error) error {
	err := f(tx)
	if tx.err != nil {
		return tx.err
	}
	return err
}

// Get returns a row, or nil. Do not change it.
func (tx *Tx) Get(key string) []byte {
	value, _ := tx.get(key)
	return value
}

func (tx *Tx) get(key string) (value []byte, rev uint64) {
	if tx.err != nil {
		return nil, 0
	}
	value, rev, tx.err = tx.rows.Get(key)
	if tx.err != nil || rev == 0 {
		return nil, 0
	}
	if value == nil {
		value = []byte{} // empty, not absent
	}
	return value, rev
}

// Put writes a row. Do not change value before the transaction has ended.
func (tx *Tx) Put(key string, value []byte) {
	if _, rev := tx.get(key); tx.err == nil {
		tx.err = tx.rows.Put(key, value, rev)
	}
}

// Delete removes a row.
func (tx *Tx) Delete(key string) {
	if _, rev := tx.get(key); tx.err == nil {
		tx.err = tx.rows.Delete(key, rev)
	}
}

// Keys lists the keys with a prefix in ascending order.
func (tx *Tx) Keys(prefix string) (keys []string) {
	if tx.err != nil {
		return nil
	}
	for key, err := range tx.rows.Scan(prefix) {
		if err != nil {
			tx.err = err
			return nil
		}
		keys = append(keys, key)
	}
	return keys
}

type record interface {
	AppendBinary([]byte) ([]byte, error)
	UnmarshalBinary([]byte) error
}

// load reads a record into v, which keeps its value if there is no row.
func (tx *Tx) load(key string, v record) error {
	b := tx.Get(key)
	if b == nil {
		return tx.err
	}
	return v.UnmarshalBinary(slices.Clone(b))
}

// save writes a record.
func (tx *Tx) save(key string, v record) error {
	b, err := v.AppendBinary(nil)
	if err != nil {
		return err
	}
	if !bytes.Equal(b, tx.Get(key)) {
		tx.Put(key, b)
	}
	return tx.err
}
