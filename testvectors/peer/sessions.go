package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// maxArchived is how many sessions of the past are kept.
const maxArchived = 40

// A record is libsignal's RecordStructure: the session with another device that
// is in use, if any, and those of the past. There is more than one whenever
// both sides start at the same time or a side starts anew; messages of the
// others are still on their way then.
type record struct {
	family   ratchet.Family
	current  *ratchet.Session
	archived [][]byte // encoded, the newest first; parsed when they are tried, which is rare
}

func parseRecord(b []byte, family ratchet.Family) (*record, error) {
	r := &record{family: family}
	var current []byte
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			current = d.Bytes()
		case 2:
			r.archived = append(r.archived, d.Repeated())
		default:
			d.Skip()
		}
	}
	if err := d.Close(); err != nil {
		return nil, recordError(err)
	}
	if d.Has(1) {
		s, err := ratchet.ParseSession(current, family)
		if err != nil {
			return nil, recordError(err)
		}
		r.current = s
	}
	return r, nil
}

func (r *record) encode() ([]byte, error) {
	b := []byte{} // a record, though one that holds nothing
	if r.current != nil {
		s, err := r.current.AppendBinary(nil)
		if err != nil {
			return nil, err
		}
		b = wire.AppendBytes(b, 1, s)
	}
	for _, s := range r.archived {
		b = wire.AppendBytes(b, 2, s)
	}
	return b, nil
}

// archive makes the current session the newest one of the past.
func (r *record) archive() error {
	if r.current == nil {
		return nil
	}
	if err := r.current.Archive(); err != nil {
		return err
	}
	b, err := r.current.AppendBinary(nil)
	if err != nil {
		return err
	}
	r.archived = slices.Insert(r.archived, 0, b)
	r.archived = r.archived[:min(len(r.archived), maxArchived)]
	r.current = nil
	return nil
}

// start makes s the current session, and archives the one before it.
func (r *record) start(s *ratchet.Session) error {
	if err := r.archive(); err != nil {
		return err
	}
	r.current = s
	return nil
}

// promote makes s, which is the archived session number i, the current one.
func (r *record) promote(i int, s *ratchet.Session) error {
	r.archived = slices.Delete(r.archived, i, i+1)
	return r.start(s)
}

// decrypt tries the sessions in turn, the most likely first, and promotes the
// one that opens the message: the peer writes in it now. A duplicate ends the
// search, since its chain knows the message.
func (r *record) decrypt(message []byte) ([]byte, error) {
	var tried []error
	if r.current != nil {
		plaintext, err := r.current.Decrypt(nil, message)
		if err == nil || errors.Is(err, ratchet.ErrDuplicate) {
			return plaintext, messageError(err)
		}
		tried = append(tried, fmt.Errorf("current session: %w", err))
	}
	for i, b := range r.archived {
		s, err := ratchet.ParseSession(b, r.family)
		if err == nil {
			var plaintext []byte
			if plaintext, err = s.Decrypt(nil, message); err == nil {
				return plaintext, r.promote(i, s)
			}
		}
		if errors.Is(err, ratchet.ErrDuplicate) {
			return nil, messageError(err)
		}
		tried = append(tried, fmt.Errorf("archived session %d: %w", i+1, err))
	}
	return nil, fail(nameInvalidMessage, "no session opens it: %v", errors.Join(tried...))
}

// promoteMatching makes the session of an initial message the current one, and
// reports whether there is such a session. A session that cannot be read may be
// the one, so it ends the search: a second session from the same message would
// be worse.
func (r *record) promoteMatching(m *x3dh.InitialMessage) (bool, error) {
	if r.current != nil && r.current.Matches(m) {
		return true, nil
	}
	for i, b := range r.archived {
		s, err := ratchet.ParseSession(b, r.family)
		switch {
		case errors.Is(err, ratchet.ErrVersion): // cannot match
		case err != nil:
			return false, fail(nameInvalidMessage, "archived session %d: %v", i+1, err)
		case s.Matches(m):
			return true, r.promote(i, s)
		}
	}
	return false, nil
}
