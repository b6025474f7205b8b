package sesame

import (
	"slices"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// Import takes over the sessions with a device from a record of libsignal's, a
// RecordStructure (SPEC.md §10.8). They only decrypt: they are sessions of the
// past, and stay that, since the application that the record comes from may
// still write in them, and two that do use message keys twice. To write, Start.
// What it reads in them from now on counts as missing here.
//
// Sessions that are there already stay as they are, and at most as many are
// taken as there is room for. Identity keys are trusted by the policy, as if a
// bundle had shown them. A record without sessions changes nothing.
//
// Errors: those of the transaction, [ErrCorrupt], [ErrAddress],
// [ErrUninitialized]; and about the record: ratchet.ErrCorrupt,
// ratchet.ErrVersion if one of its sessions is not of version 3, and
// ratchet.ErrIdentityMismatch if one is not of this device's identity key,
// which [Device.Adopt] brings along. Then nothing has changed.
func (d *Device) Import(tx Tx, a Address, record []byte) error {
	return d.importRecord(tx, a, record, false)
}

// ImportFinal is [Device.Import], and declares that the record is the last one:
// the application that it comes from never writes in these sessions again, and
// neither does anybody who has a copy. The device writes in them; the current
// session of the record becomes the current one, unless there is one already.
// Nobody can check this: if it is not so, message keys are used twice.
func (d *Device) ImportFinal(tx Tx, a Address, record []byte) error {
	return d.importRecord(tx, a, record, true)
}

func (d *Device) importRecord(tx Tx, a Address, record []byte, final bool) error {
	l, _, err := d.local(tx)
	if err != nil {
		return err
	}
	p, rev, err := d.peer(tx, a)
	if err != nil {
		return err
	}
	sessions, current, err := d.parseRecord(record, l.identity.Public())
	if err != nil {
		return err
	}
	// What is here is newer, or the record's own: it was imported before.
	sessions = slices.DeleteFunc(sessions, func(s *ratchet.Session) bool {
		if !slices.Contains(p.sessions, s.BaseKey()) {
			return false
		}
		current = current && s != sessions[0]
		return true
	})
	if len(sessions) == 0 {
		return nil
	}

	current = current && final && !p.active
	var bases []x3dh.PublicKey
	for _, s := range sessions {
		stored := newSession(tx, s, a)
		if err := stored.store(); err != nil {
			return err
		}
		bases = append(bases, stored.base)
	}
	// An old identity key, of late messages, is not what the device shows.
	if current || p.newest() == none {
		p.seen(sessions[0].RemoteIdentity(), d.config.Trust)
	}
	if !final {
		p.readOnly = append(p.readOnly, bases...)
	}
	if current {
		p.sessions, p.active = append(bases, p.sessions...), true
	} else {
		p.sessions = append(p.sessions, bases...)
	}
	return d.putTruncated(tx, a, p, rev)
}

// parseRecord reads a RecordStructure: the sessions, the newest first, and
// whether that is a current one. self is our identity key.
func (d *Device) parseRecord(record []byte, self x3dh.PublicKey) (sessions []*ratchet.Session, current bool, err error) {
	var records, previous [][]byte
	w := wire.Decode(record)
	for w.Next() {
		switch w.Num() {
		case 1:
			// Empty is none: so write the Java library and its heirs.
			if b := w.Bytes(); len(b) > 0 {
				records, current = [][]byte{b}, true
			}
		case 2:
			if previous = append(previous, w.Repeated()); len(previous) > MaxArchivedSessions {
				w.Fail()
			}
		default:
			w.Skip()
		}
	}
	if w.Close() != nil {
		return nil, false, ratchet.ErrCorrupt
	}
	records = append(records, previous...)
	for _, b := range records {
		s, err := ratchet.ParseSession(b, d.config.Family)
		if err != nil {
			return nil, false, err
		}
		base := s.BaseKey()
		if slices.ContainsFunc(sessions, func(other *ratchet.Session) bool { return other.BaseKey() == base }) {
			return nil, false, ratchet.ErrCorrupt
		}
		if s.LocalIdentity() != self {
			return nil, false, ratchet.ErrIdentityMismatch
		}
		sessions = append(sessions, s)
	}
	return sessions, current, nil
}

// Export returns the sessions with a device as a record of libsignal's, a
// RecordStructure (SPEC.md §10.8). It is secret. It is a copy, and one of the
// two may write: if another application does, this device has to be deleted.
// Sessions that only decrypt are sessions of the past in the record, which has
// no mark for them. [ErrNoSession] if there are no sessions.
func (d *Device) Export(tx Tx, a Address) ([]byte, error) {
	p, rev, err := d.peer(tx, a)
	if err != nil {
		return nil, err
	}
	if len(p.sessions) == 0 {
		return nil, ErrNoSession
	}
	var record []byte
	for _, base := range p.sessions {
		s, err := d.session(tx, a, base)
		if err != nil {
			return nil, err
		}
		b, err := s.AppendBinary(nil)
		if failed := s.failed(err); failed != nil {
			return nil, failed
		}
		if err != nil {
			return nil, err
		}
		field := 2
		if base == p.current() {
			field = 1
		}
		record = wire.AppendBytes(record, field, b)
	}
	if err := unchanged(tx, a, rev); err != nil { // a current session that was archived since is none
		return nil, err
	}
	return record, nil
}

// Adopt makes a device that [Open] has just created the one that it was in
// another application, which it moves over from: with its identity key, its
// registration ID, and the private halves of the prekeys that are at the server
// or in messages under way. Call it in the transaction of the first Open, then
// [Device.ImportFinal] for each device that there are sessions with. New prekeys
// get IDs above those that are given: give the one with the highest ID too.
//
// What initial messages without one-time prekey that application has accepted
// is not known here: one whose session was not imported is accepted again.
//
// Errors: those of the transaction; [ErrConfig] if the device was used before,
// for a registration ID of 0, two prekeys of one ID, or a signed prekey that
// the identity key has not signed; x3dh.ErrPreKeyID for IDs that leave no higher
// ones: leave those keys out; [ErrUninitialized].
func (d *Device) Adopt(tx Tx, identity *x3dh.IdentityKey, registrationID uint32, preKeys []*x3dh.PreKey, signed []*x3dh.SignedPreKey) error {
	l, rev, err := d.local(tx)
	if err != nil {
		return err
	}
	if identity.Public() == none {
		return ErrUninitialized
	}
	if l.nextPreKey != 1 || l.nextSigned != 1 || registrationID == 0 {
		return ErrConfig
	}
	for _, err := range tx.Scan(rowsPeer) {
		if err == nil {
			err = ErrConfig
		}
		return err
	}
	l.identity, l.registrationID = identity, registrationID
	for _, k := range preKeys {
		id := k.Public().ID
		if err := adoptRow(tx, rowPreKey(id), k, id, &l.nextPreKey); err != nil {
			return err
		}
	}
	for _, k := range signed {
		public := k.Public()
		if _, err := x3dh.NewBundle(x3dh.BundleInfo{IdentityKey: identity.Public(), SignedPreKey: public}); err != nil {
			return ErrConfig
		}
		if err := adoptRow(tx, rowSigned(public.ID), k, public.ID, &l.nextSigned); err != nil {
			return err
		}
	}
	return put(tx, rowLocal, l, rev)
}

func adoptRow(tx Tx, key string, k record, id uint32, next *uint32) error {
	if id >= x3dh.MaxPreKeyID {
		return x3dh.ErrPreKeyID
	}
	_, rev, err := tx.Get(key)
	if err == nil && rev != 0 {
		err = ErrConfig
	}
	if err != nil {
		return err
	}
	*next = max(*next, id+1)
	return put(tx, key, k, 0)
}
