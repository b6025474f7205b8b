package relay

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
)

// errCrash is what a store returns that was made to fail.
var errCrash = errors.New("relay: store failed")

// A Store is a database in memory: rows, and one transaction at a time. The zero
// value is empty and ready. It is safe for concurrent use.
type Store struct {
	mu    sync.Mutex
	rows  map[string][]byte
	order []string // the keys of rows, ascending

	// fault makes a commit fail, before or after the rows are written. Tests
	// set it.
	fault func() (before, after bool)
}

// A Tx is a transaction. It is valid until the function that it was given to
// returns.
type Tx struct {
	store  *Store
	writes map[string][]byte // nil deletes
}

// Update runs f and commits what it wrote if it returns nil; otherwise nothing
// is written.
func (s *Store) Update(f func(*Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := &Tx{s, map[string][]byte{}}
	if err := f(tx); err != nil {
		return err
	}
	var before, after bool
	if s.fault != nil {
		before, after = s.fault()
	}
	if before {
		return errCrash
	}
	if s.rows == nil {
		s.rows = map[string][]byte{}
	}
	for k, v := range tx.writes {
		i, found := slices.BinarySearch(s.order, k)
		switch {
		case v == nil && found:
			s.order = slices.Delete(s.order, i, i+1)
		case v != nil && !found:
			s.order = slices.Insert(s.order, i, k)
		}
		if v == nil {
			delete(s.rows, k)
		} else {
			s.rows[k] = v
		}
	}
	if after { // applied, and the caller does not know
		return errCrash
	}
	return nil
}

// Get returns a row, or nil. Do not change it.
func (tx *Tx) Get(key string) []byte {
	if v, ok := tx.writes[key]; ok {
		return v
	}
	return tx.store.rows[key]
}

// Put writes a row; value is copied.
func (tx *Tx) Put(key string, value []byte) {
	tx.writes[key] = append([]byte{}, value...)
}

// Delete removes a row.
func (tx *Tx) Delete(key string) { tx.writes[key] = nil }

// Keys lists the keys with a prefix in ascending order.
func (tx *Tx) Keys(prefix string) []string {
	var keys []string
	first, _ := slices.BinarySearch(tx.store.order, prefix)
	for _, k := range tx.store.order[first:] {
		if !strings.HasPrefix(k, prefix) {
			break
		}
		if _, ok := tx.writes[k]; !ok {
			keys = append(keys, k)
		}
	}
	for k, v := range tx.writes {
		if v != nil && strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
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
		return nil
	}
	return v.UnmarshalBinary(b)
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
	return nil
}
