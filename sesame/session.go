package sesame

import (
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// A session is a session in its rows (SPEC.md §10.2): the head, and the stored
// keys of each receiving chain that has any. They change together, and each
// change writes the head: its revision guards them all.
type session struct {
	*ratchet.Session
	at   Address
	base x3dh.PublicKey
	key  string // of the head's row
	rev  uint64
}

// newSession is a session that has no rows yet.
func newSession(s *ratchet.Session, a Address) *session {
	base := s.BaseKey()
	return &session{s, a, base, rowSession(a, base), 0}
}

// session reads the head of a session that the peer's record names.
func (d *Device) session(tx Tx, a Address, base x3dh.PublicKey) (*session, error) {
	key := rowSession(a, base)
	s, rev, err := get(tx, key, d.parseHead)
	if err != nil {
		return nil, err
	}
	if rev == 0 {
		return nil, d.vanished(tx, a, base)
	}
	return &session{s, a, base, key, rev}, nil
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

// supply fetches the stored keys of a chain. A key that another transaction has
// used since the head was read must not be missed for the wrong reason: what
// was not a duplicate would be called one. So the head has to be the same after
// the keys were read.
func (s *session) supply(tx Tx, ratchetKey x3dh.PublicKey) error {
	keys, _, err := tx.Get(rowSkipped(s.at, s.base, ratchetKey))
	if err != nil {
		return err
	}
	_, rev, err := tx.Get(s.key)
	if err != nil {
		return err
	}
	if rev != s.rev {
		return ErrConflict
	}
	if err := s.Supply(ratchetKey, keys); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// store writes the head, and the stored keys of the chains in which they
// changed. The session is not used afterwards.
func (s *session) store(tx Tx) error {
	head, err := s.AppendHead(nil)
	if err != nil {
		return err
	}
	if err := tx.Put(s.key, head, s.rev); err != nil {
		return err
	}
	for ratchetKey, keys := range s.Changed() {
		key := rowSkipped(s.at, s.base, ratchetKey)
		_, rev, err := tx.Get(key)
		if err == nil && keys != nil {
			err = tx.Put(key, keys, rev)
		} else if err == nil {
			err = tx.Delete(key, rev)
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
	for key, err := range tx.Scan(rowsSkippedOf(a, base)) {
		if err != nil {
			return err
		}
		if err := forgetRow(tx, key); err != nil {
			return err
		}
	}
	return nil
}
