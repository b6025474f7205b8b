package demo

import (
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/sotto-im/sotto/sesame"
)

// errKilled: the process of a device was killed.
var errKilled = errors.New("killed")

// A process is an app while it runs. Its operating system may kill it between any
// two steps of a transaction; then there is another process, on the same rows.
type process struct {
	store Do
	died  chan struct{} // closed when it is killed

	mu    sync.Mutex
	kill  int    // the step of the next transaction that writes at which it is killed; 0: none
	where string // it was killed
	told  []func()
}

func newProcess(store Do) *process { return &process{store: store, died: make(chan struct{})} }

// do is the Do of the process. Steps are counted from the first that writes, for
// a process that is killed before might as well not have begun; if the
// transaction has fewer, it ends just before its commit or just after.
func (p *process) do(f func(sesame.Tx) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead() {
		return errKilled
	}
	afterwards := false
	err := p.store(func(tx sesame.Tx) error {
		p.told = nil
		s := &steps{Tx: tx, process: p}
		err := f(s)
		switch {
		case p.dead():
			return errKilled
		case err != nil || s.done == 0 || p.kill == 0:
			return err
		case p.kill%2 == 1:
			return p.die("just before the commit: nothing of it has happened")
		}
		afterwards = true
		return nil
	})
	if err != nil {
		return err
	}
	for _, tell := range p.told {
		tell()
	}
	if afterwards {
		return p.die("just after the commit: all of it has happened")
	}
	return nil
}

// afterCommit calls f when the transaction that runs has committed.
func (p *process) afterCommit(f func()) { p.told = append(p.told, f) }

func (p *process) die(where string) error {
	p.where, p.kill = where, 0
	close(p.died)
	return errKilled
}

func (p *process) dead() bool {
	select {
	case <-p.died:
		return true
	default:
		return false
	}
}

// ended reports whether it has been killed, after the transaction that runs.
func (p *process) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead()
}

// killAt has the process killed in the next transaction that writes; 0 takes
// that back.
func (p *process) killAt(step int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kill = step
}

// steps is a transaction of a process.
type steps struct {
	sesame.Tx
	process *process
	done    int // since the first that writes
}

func (s *steps) step(writes bool) error {
	if s.process.dead() {
		return errKilled
	}
	if s.done == 0 && !writes {
		return nil
	}
	if s.done++; s.done == s.process.kill {
		return s.process.die(fmt.Sprintf("before step %d of the transaction: nothing of it has happened", s.done))
	}
	return nil
}

func (s *steps) Get(key string) ([]byte, uint64, error) {
	if err := s.step(false); err != nil {
		return nil, 0, err
	}
	return s.Tx.Get(key)
}

func (s *steps) Put(key string, value []byte, rev uint64) error {
	if err := s.step(true); err != nil {
		return err
	}
	return s.Tx.Put(key, value, rev)
}

func (s *steps) Delete(key string, rev uint64) error {
	if err := s.step(true); err != nil {
		return err
	}
	return s.Tx.Delete(key, rev)
}

func (s *steps) Scan(prefix string) iter.Seq2[string, error] {
	if err := s.step(false); err != nil {
		return func(yield func(string, error) bool) { yield("", err) }
	}
	return s.Tx.Scan(prefix)
}
