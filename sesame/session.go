package sesame

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// A session is a session in its rows (SPEC.md §10.2): the head, and blocks of
// stored keys. They change together, and each change writes the head: its
// revision guards them all.
type session struct {
	*ratchet.Session
	sessionRows
}

// sessionRows are the rows of a session, and where it reads its stored keys.
type sessionRows struct {
	tx   Tx
	at   Address
	base x3dh.PublicKey
	head string // key of the head's row
	rev  uint64
	read bool  // stored keys were read
	err  error // what went wrong with the transaction
}

func rowsOf(tx Tx, a Address, base x3dh.PublicKey) sessionRows {
	return sessionRows{tx: tx, at: a, base: base, head: rowSession(a, base)}
}

// newSession is a session that has no rows yet.
func newSession(tx Tx, s *ratchet.Session, a Address) *session {
	return &session{s, rowsOf(tx, a, s.BaseKey())}
}

// session reads the head of a session that the peer's record names.
func (d *Device) session(tx Tx, a Address, base x3dh.PublicKey) (*session, error) {
	s := &session{nil, rowsOf(tx, a, base)}
	parse := func(b []byte) (*ratchet.Session, error) {
		return ratchet.ParseHead(b, d.config.Family, &s.sessionRows)
	}
	var err error
	if s.Session, s.rev, err = get(tx, s.head, parse); err != nil {
		return nil, err
	}
	if s.rev == 0 {
		return nil, d.vanished(tx, a, base)
	}
	return s, nil
}

// vanished says why a session is not there that the peer's record named. That
// record was only read: another transaction may have deleted the session since.
func (d *Device) vanished(tx Tx, a Address, base x3dh.PublicKey) error {
	p, _, err := d.peer(tx, a)
	if err != nil {
		return err
	}
	if slices.Contains(p.sessions, base) {
		return ErrCorrupt
	}
	return ErrConflict
}

// Block reads a block of stored keys.
func (r *sessionRows) Block(ratchetKey x3dh.PublicKey, number uint32) ([]byte, error) {
	keys, _, err := r.tx.Get(rowSkipped(r.at, r.base, ratchetKey, number))
	return keys, r.note(err)
}

// Lowest returns the numbers of the lowest n blocks of stored keys of a chain.
func (r *sessionRows) Lowest(ratchetKey x3dh.PublicKey, n int) (numbers []uint32, err error) {
	prefix := rowsSkippedIn(r.at, r.base, ratchetKey)
	for key, err := range r.tx.Scan(prefix) {
		if err != nil {
			return nil, r.note(err)
		}
		number, err := strconv.ParseUint(key[len(prefix):], 16, 32)
		if err != nil {
			return nil, r.note(ErrCorrupt)
		}
		if numbers = append(numbers, uint32(number)); len(numbers) == n {
			break
		}
	}
	return numbers, r.note(nil)
}

// note notes that stored keys were read, and what went wrong.
func (r *sessionRows) note(err error) error {
	r.read, r.err = true, cmp.Or(r.err, err)
	return err
}

// failed returns what is wrong with the transaction, or with the rows, when a
// session has answered verdict. A key that another transaction has used since the
// head was read must not be missed for the wrong reason: what was not a duplicate
// would be called one. So the head has to be the same after stored keys were read.
func (s *session) failed(verdict error) error {
	if s.err == nil && s.read {
		s.err = unchangedRow(s.tx, s.head, s.rev)
	}
	if s.err == nil && errors.Is(verdict, ratchet.ErrCorrupt) {
		return fmt.Errorf("%w: %w", ErrCorrupt, verdict)
	}
	return s.err
}

// store writes the head, and the blocks of stored keys that changed. The session
// is not used afterwards.
func (s *session) store() error {
	head, err := s.AppendHead(nil)
	if err != nil {
		return err
	}
	if err := s.tx.Put(s.head, head, s.rev); err != nil {
		return err
	}
	for _, ratchetKey := range s.Dropped() {
		if err := forgetRows(s.tx, rowsSkippedIn(s.at, s.base, ratchetKey)); err != nil {
			return err
		}
	}
	for b := range s.Changed() {
		key := rowSkipped(s.at, s.base, b.RatchetKey, b.Number)
		_, rev, err := s.tx.Get(key)
		if err == nil && b.Keys != nil {
			err = s.tx.Put(key, b.Keys, rev)
		} else if err == nil {
			err = s.tx.Delete(key, rev)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forgetSession deletes all rows of a session.
func forgetSession(tx Tx, a Address, base x3dh.PublicKey) error {
	if err := forgetRow(tx, rowSession(a, base)); err != nil {
		return err
	}
	return forgetRows(tx, rowsSkippedOf(a, base))
}
