package txtest

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/sotto-im/sotto/sesame"
)

// A toy is a store that can be broken in one way at a time. Nothing in it is
// fast; unbroken, it has to pass.
type toy struct {
	broken string

	mu    sync.Mutex
	rows  map[string]toyRow
	last  uint64
	saved map[string]toyRow // what a crash leaves
}

type toyRow struct {
	value []byte
	rev   uint64
}

type toyTx struct {
	s      *toy
	writes map[string]toyRow // rev 0: deleted
	base   map[string]uint64
	undo   map[string]toyRow
	order  []string
	buffer []byte
	err    error
	done   bool
}

func newToy(broken string) *toy { return &toy{broken: broken, rows: map[string]toyRow{}} }

func (s *toy) Do(fn func(sesame.Tx) error) (err error) {
	tx := &toyTx{s: s, writes: map[string]toyRow{}, base: map[string]uint64{}, undo: map[string]toyRow{}}
	if s.broken != "transactions do not end" {
		defer func() { tx.done = true }()
	}
	committed := false
	if s.broken == "uncommitted is seen" {
		defer func() {
			if !committed {
				tx.rollback()
			}
		}()
	}
	if s.broken == "panic commits" {
		defer func() {
			if r := recover(); r != nil {
				_ = tx.commit()
				panic(r)
			}
		}()
	}
	if s.broken == "panic is swallowed" {
		defer func() { _ = recover() }()
	}
	if s.broken == "Goexit commits" {
		returned := false
		defer func() {
			if r := recover(); r != nil {
				panic(r)
			}
			if !returned {
				_ = tx.commit()
			}
		}()
		err = fn(tx)
		returned = true
	} else {
		err = fn(tx)
	}
	switch {
	case err != nil && s.broken == "error commits":
		_ = tx.commit()
		return err
	case err != nil && s.broken == "error is swallowed":
		return nil
	case err != nil && s.broken == "error loses its identity":
		return errors.New(err.Error())
	case err != nil:
		return err
	case tx.err != nil && s.broken != "ignored errors commit":
		return tx.err
	case s.broken == "nothing is committed":
		return nil
	}
	committed = true
	return tx.commit()
}

func (t *toyTx) commit() error {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != "revisions compared at the call only" && s.broken != "partial commit" {
		for k, base := range t.base {
			if s.rows[k].rev != base && s.broken != "no revisions" {
				return sesame.ErrConflict
			}
		}
	}
	s.saved = maps.Clone(s.rows)
	for i, k := range t.order {
		if s.broken == "partial commit" && s.rows[k].rev != t.base[k] {
			return sesame.ErrConflict
		}
		if s.broken == "second row lost" && i == 1 {
			continue
		}
		s.set(k, t.writes[k])
	}
	if s.broken != "crash loses the last commit" {
		s.saved = maps.Clone(s.rows)
	}
	return nil
}

func (s *toy) set(k string, r toyRow) {
	if r.rev == 0 {
		delete(s.rows, k)
	} else {
		s.rows[k] = r
	}
}

func (t *toyTx) get(k string) toyRow {
	if r, ok := t.writes[k]; ok && t.s.broken != "own writes unseen" {
		return r
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.s.rows[k]
}

var errDone = errors.New("transaction has ended")

func (t *toyTx) Get(k string) ([]byte, uint64, error) {
	if t.done {
		return nil, 0, errDone
	}
	k = t.key(k)
	r := t.get(k)
	switch {
	case t.s.broken == "absent is an error" && r.rev == 0:
		return nil, 0, errors.New("no such row")
	case t.s.broken == "absent is empty" && r.rev == 0:
		return []byte{}, 0, nil
	case t.s.broken == "empty is absent" && len(r.value) == 0:
		return nil, 0, nil
	case t.s.broken == "values end at zero bytes":
		return []byte(strings.TrimRight(string(r.value), "\x00")), r.rev, nil
	case t.s.broken == "one buffer for all values":
		t.buffer = append(t.buffer[:0], r.value...)
		return t.buffer, r.rev, nil
	}
	return r.value, r.rev, nil
}

func (t *toyTx) key(k string) string {
	switch {
	case t.s.broken == "keys ignore case":
		return strings.ToLower(k)
	case t.s.broken == "long keys cut":
		return k[:min(len(k), 255)]
	case t.s.broken == "keys are UTF-8":
		return strings.ToValidUTF8(k, "\uFFFD")
	}
	return k
}

func (t *toyTx) Put(k string, v []byte, rev uint64) error {
	if t.done {
		return errDone
	}
	t.s.mu.Lock()
	t.s.last++
	next := t.s.last
	t.s.mu.Unlock()
	k = t.key(k)
	switch old := t.get(k); {
	case t.s.broken == "revisions restart":
		next = old.rev + 1
	case t.s.broken == "revisions of equal values are equal" && old.rev != 0 && string(old.value) == string(v):
		next = old.rev
	}
	switch {
	case t.s.broken == "long values cut":
		v = v[:min(len(v), 1<<16)]
	case t.s.broken == "values are text":
		v = []byte(strings.ToValidUTF8(string(v), "\uFFFD"))
	}
	if t.s.broken != "caller's buffer kept" {
		v = slices.Clone(v)
	}
	if t.s.broken == "overwrites in place" {
		if old := t.writes[k]; len(old.value) > 0 && len(old.value) == len(v) {
			copy(old.value, v)
			v = old.value
		}
	}
	return t.write(k, rev, toyRow{v, next}, t.s.broken == "create replaces" && rev == 0)
}

func (t *toyTx) Delete(k string, rev uint64) error {
	if t.done {
		return errDone
	}
	k = t.key(k)
	if t.s.broken == "delete without revision" {
		rev = t.get(k).rev
	}
	return t.write(k, rev, toyRow{}, false)
}

func (t *toyTx) write(k string, rev uint64, next toyRow, force bool) error {
	old := t.get(k).rev
	if old != rev && !force && t.s.broken != "no revisions" {
		if t.s.broken == "conflict under another name" {
			t.err = errors.New("busy")
		} else {
			t.err = sesame.ErrConflict
		}
		return t.err
	}
	if _, ok := t.writes[k]; !ok {
		t.base[k] = old
		t.order = append(t.order, k)
	}
	t.writes[k] = next
	if t.s.broken == "writes at once" || t.s.broken == "uncommitted is seen" {
		t.s.mu.Lock()
		defer t.s.mu.Unlock()
		if _, ok := t.undo[k]; !ok {
			t.undo[k] = t.s.rows[k]
		}
		t.base[k] = next.rev
		t.s.set(k, next)
	}
	return nil
}

// rollback takes back what was written at once.
func (t *toyTx) rollback() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	for k, r := range t.undo {
		t.s.set(k, r)
	}
}

func (t *toyTx) Scan(prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if t.done {
			yield("", errDone)
			return
		}
		if t.s.broken == "scan goes on while written" {
			for last := "\x00"; ; {
				next := ""
				for _, k := range t.keys(prefix) {
					if k > last {
						next = k
						break
					}
				}
				if next == "" || !yield(next, nil) {
					return
				}
				last = next
			}
		}
		for _, k := range t.keys(prefix) {
			if !yield(k, nil) {
				return
			}
		}
	}
}

func (t *toyTx) keys(prefix string) (keys []string) {
	t.s.mu.Lock()
	all := maps.Clone(t.s.rows)
	t.s.mu.Unlock()
	if t.s.broken != "scan of committed rows" {
		for k, r := range t.writes {
			if all[k] = r; r.rev == 0 {
				delete(all, k)
			}
		}
	}
	for k := range all {
		match := strings.HasPrefix(k, prefix)
		switch t.s.broken {
		case "scan up to prefix FF":
			match = k >= prefix && k < prefix+"\xff"
		case "scan up to the next text": // prefix+1, which carries nothing
			match = prefix == "" || k >= prefix && k < prefix[:len(prefix)-1]+string([]byte{prefix[len(prefix)-1] + 1})
		case "scan leaves the prefix out":
			match = match && k != prefix
		case "scan by LIKE":
			match = like(k, prefix)
		}
		if match {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	switch t.s.broken {
	case "scan in no order":
		slices.Reverse(keys)
	case "scan ignores case":
		slices.SortStableFunc(keys, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	case "scan ends after 1000":
		keys = keys[:min(len(keys), 1000)]
	}
	return keys
}

// like matches as SQL does, with % and _.
func like(k, prefix string) bool {
	for i := range len(prefix) {
		switch {
		case prefix[i] == '%':
			return true
		case i >= len(k):
			return false
		case prefix[i] != '_' && prefix[i] != k[i]:
			return false
		}
	}
	return true
}

// durable is a toy that survives.
type durable struct{ *toy }

func (d durable) Reopen() (Store, error) {
	next := newToy(d.broken)
	next.rows, next.last = maps.Clone(d.saved), d.last
	switch d.broken {
	case "crash loses all":
		next.rows = map[string]toyRow{}
	case "counter in memory":
		next.last = 0
	case "revisions not stored":
		for k, r := range next.rows {
			next.last++
			next.rows[k] = toyRow{r.value, next.last + 1000}
		}
	case "cannot be opened":
		return nil, errors.New("corrupt")
	}
	if next.rows == nil {
		next.rows = map[string]toyRow{}
	}
	return durable{next}, nil
}

// blocking lets one transaction run at a time, as SQLite does.
type blocking struct {
	mu sync.Mutex
	durable
}

func (b *blocking) Do(fn func(sesame.Tx) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.durable.Do(fn)
}

// starving conflicts always.
type starving struct{ durable }

func (starving) Do(func(sesame.Tx) error) error { return sesame.ErrConflict }
