package sesame

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sotto-im/sotto/internal/secret"
)

// Memory is a store without a database: for tests, simulations, and devices
// that end with their process. The zero value is an empty store. It is safe
// for concurrent use and must not be copied.
//
// Its transactions promise what [Tx] says and no more: they run side by side,
// see what others commit meanwhile, and conflict when they commit. So what
// would go wrong on PostgreSQL goes wrong in a test.
type Memory struct{ box secret.Box[memory] }

// memory is what a Memory holds.
type memory struct {
	lastRev atomic.Uint64 // never goes back: not by a delete, not by a rollback

	mu   sync.RWMutex
	rows map[string]memoryRow
	keys keyIndex
}

// memoryRow is a committed row. Its value is never modified, only replaced.
type memoryRow struct {
	value []byte
	rev   uint64
}

// memoryTx implements Tx. Its state is boxed, as all stored values are: a
// caller who prints the Tx prints nothing.
type memoryTx struct{ box secret.Box[memoryState] }

type memoryState struct {
	store  *memory
	writes map[string]memoryWrite
	err    error // of the first call that failed
}

// memoryWrite is what a transaction did to one row in the end.
type memoryWrite struct {
	memoryRow        // rev 0: deleted
	base      uint64 // the committed revision that it replaces, 0 if none
}

// Do runs fn in a transaction and commits it, unless fn returns an error,
// panics, or ignores an error of the transaction: then the store is as it was.
// It returns fn's error as it is, and [ErrConflict] if another transaction
// came first: call Do again.
func (m *Memory) Do(fn func(Tx) error) error {
	s := &memoryState{store: m.load(), writes: map[string]memoryWrite{}}
	tx := new(memoryTx)
	tx.box.Store(s)
	defer tx.box.Store(nil)
	if err := fn(tx); err != nil {
		return err
	}
	if s.err != nil {
		return s.err
	}
	return s.store.commit(s.writes)
}

func (m *Memory) load() *memory {
	for {
		if s := m.box.Load(); s != nil {
			return s
		}
		m.box.Replace(nil, &memory{rows: map[string]memoryRow{}})
	}
}

// commit applies all writes or none.
func (m *memory) commit(writes map[string]memoryWrite) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, w := range writes {
		if m.rows[key].rev != w.base {
			return ErrConflict
		}
	}
	for key, w := range writes {
		switch {
		case w.rev == 0 && w.base != 0:
			delete(m.rows, key)
			m.keys.remove(key)
		case w.rev != 0:
			if w.base == 0 {
				m.keys.insert(key)
			}
			m.rows[key] = w.memoryRow
		}
	}
	return nil
}

// open returns the state of a transaction that can still be used.
func (t *memoryTx) open() (*memoryState, error) {
	s := t.box.Load()
	if s == nil {
		return nil, ErrUninitialized
	}
	return s, s.err
}

// fail marks the transaction: it cannot commit any more.
func (s *memoryState) fail(err error) error {
	s.err = err
	return err
}

func (s *memoryState) get(key string) memoryRow {
	if w, ok := s.writes[key]; ok {
		return w.memoryRow
	}
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	return s.store.rows[key]
}

// write replaces the row that has revision rev by next.
func (s *memoryState) write(key string, rev uint64, next memoryRow) error {
	if s.get(key).rev != rev {
		return s.fail(ErrConflict)
	}
	base := rev
	if w, ok := s.writes[key]; ok {
		base = w.base
	}
	s.writes[key] = memoryWrite{next, base}
	return nil
}

// Get implements [Tx]. The value is the store's own: shared, and never
// modified.
func (t *memoryTx) Get(key string) ([]byte, uint64, error) {
	s, err := t.open()
	if err != nil {
		return nil, 0, err
	}
	if !validRowKey(key) {
		return nil, 0, s.fail(ErrRowKey)
	}
	row := s.get(key)
	return slices.Clip(row.value), row.rev, nil
}

// Put implements [Tx]. It copies the value.
func (t *memoryTx) Put(key string, value []byte, rev uint64) error {
	s, err := t.open()
	if err != nil {
		return err
	}
	if !validRowKey(key) {
		return s.fail(ErrRowKey)
	}
	return s.write(key, rev, memoryRow{append([]byte{}, value...), s.store.lastRev.Add(1)})
}

// Delete implements [Tx].
func (t *memoryTx) Delete(key string, rev uint64) error {
	s, err := t.open()
	if err != nil {
		return err
	}
	if !validRowKey(key) {
		return s.fail(ErrRowKey)
	}
	return s.write(key, rev, memoryRow{})
}

// Scan implements [Tx].
func (t *memoryTx) Scan(prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s, err := t.open()
		if err != nil {
			yield("", err)
			return
		}
		for _, key := range s.scan(prefix) {
			if !yield(key, nil) {
				return
			}
		}
	}
}

func (s *memoryState) scan(prefix string) []string {
	s.store.mu.RLock()
	keys := s.store.keys.withPrefix(prefix)
	s.store.mu.RUnlock()
	if len(s.writes) == 0 {
		return keys
	}
	own := false
	for key, w := range s.writes {
		if w.rev != 0 && strings.HasPrefix(key, prefix) {
			keys, own = append(keys, key), true
		}
	}
	if own {
		slices.Sort(keys)
		keys = slices.Compact(keys)
	}
	return slices.DeleteFunc(keys, func(key string) bool {
		w, ok := s.writes[key]
		return ok && w.rev == 0
	})
}

// A keyIndex holds keys in order, in chunks, so that neither a scan nor a
// write costs more because the store holds many other rows.
type keyIndex struct{ chunks [][]string } // none is empty

const maxChunk = 256

// find returns where key is, or belongs.
func (x *keyIndex) find(key string) (chunk, i int, found bool) {
	// The last chunk that begins at or before key.
	chunk, found = slices.BinarySearchFunc(x.chunks, key, func(c []string, key string) int {
		return cmp.Compare(c[0], key)
	})
	if found {
		return chunk, 0, true
	}
	chunk = max(chunk-1, 0)
	if len(x.chunks) == 0 {
		return 0, 0, false
	}
	i, found = slices.BinarySearch(x.chunks[chunk], key)
	return chunk, i, found
}

func (x *keyIndex) insert(key string) {
	if len(x.chunks) == 0 {
		x.chunks = [][]string{{key}}
		return
	}
	n, i, _ := x.find(key)
	c := slices.Insert(x.chunks[n], i, key)
	x.chunks[n] = c
	if len(c) > maxChunk {
		half := len(c) / 2
		x.chunks = slices.Insert(x.chunks, n+1, slices.Clone(c[half:]))
		clear(c[half:])
		x.chunks[n] = c[:half]
	}
}

func (x *keyIndex) remove(key string) {
	n, i, _ := x.find(key)
	if x.chunks[n] = slices.Delete(x.chunks[n], i, i+1); len(x.chunks[n]) == 0 {
		x.chunks = slices.Delete(x.chunks, n, n+1)
	}
}

func (x *keyIndex) withPrefix(prefix string) (keys []string) {
	n, i, _ := x.find(prefix)
	for ; n < len(x.chunks); n, i = n+1, 0 {
		for _, key := range x.chunks[n][i:] {
			if !strings.HasPrefix(key, prefix) {
				return keys
			}
			keys = append(keys, key)
		}
	}
	return keys
}
