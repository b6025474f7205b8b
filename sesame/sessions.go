package sesame

import (
	"errors"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// peer reads what is known of a device; a new record and revision 0 if nothing
// is.
func (d *Device) peer(tx Tx, a Address) (*peerRecord, uint64, error) {
	if d == nil || d.config.Now == nil {
		return nil, 0, ErrUninitialized
	}
	if !a.valid() {
		return nil, 0, ErrAddress
	}
	p, rev, err := get(tx, rowPeer(a), parsePeer)
	if err == nil && rev == 0 {
		p = new(peerRecord)
	}
	return p, rev, err
}

// unchanged is unchangedRow for a peer's row.
func unchanged(tx Tx, a Address, rev uint64) error { return unchangedRow(tx, rowPeer(a), rev) }

// unchangedRow is ErrConflict if a row was changed since it was read with
// revision rev: what was only read is not guarded.
func unchangedRow(tx Tx, key string, rev uint64) error {
	_, now, err := tx.Get(key)
	if err == nil && now != rev {
		err = ErrConflict
	}
	return err
}

// makeCurrent makes the session base the current one: the one before it is
// archived, and those over the limit are deleted. p is stored.
func (d *Device) makeCurrent(tx Tx, a Address, p *peerRecord, rev uint64, base x3dh.PublicKey) error {
	if old := p.current(); old != none && old != base {
		if err := d.archive(tx, a, old); err != nil {
			return err
		}
	}
	p.install(base)
	return d.putTruncated(tx, a, p, rev)
}

// putTruncated stores p and deletes the sessions over the limit.
func (d *Device) putTruncated(tx Tx, a Address, p *peerRecord, rev uint64) error {
	for _, base := range p.truncate() {
		if err := forgetSession(tx, a, base); err != nil {
			return err
		}
	}
	return put(tx, rowPeer(a), p, rev)
}

// archive makes a session forget its pending prekey: it is of the past now.
func (d *Device) archive(tx Tx, a Address, base x3dh.PublicKey) error {
	s, err := d.session(tx, a, base)
	if err != nil {
		return err
	}
	if _, pending := s.Unacknowledged(); !pending {
		return nil
	}
	if err := s.Archive(); err != nil {
		return err
	}
	return s.store()
}

// Start makes a session with a device from its bundle, and makes it the
// current one. Nothing is sent: the first messages carry the handshake. If the
// bundle shows another identity key than the trusted one, the session is made
// all the same, and [Device.Encrypt] waits for [Device.Confirm].
//
// Errors: those of the transaction, [ErrCorrupt], [ErrAddress],
// [ErrUninitialized].
func (d *Device) Start(tx Tx, a Address, b *x3dh.Bundle) error {
	l, _, err := d.local(tx)
	if err != nil {
		return err
	}
	p, rev, err := d.peer(tx, a)
	if err != nil {
		return err
	}
	agreement, err := x3dh.Initiate(l.identity, b)
	if err != nil {
		return err
	}
	r, err := ratchet.New(agreement, d.sessionConfig(l))
	if err != nil {
		return err
	}
	s := newSession(tx, r, a)
	if err := s.store(); err != nil {
		return err
	}
	p.seen(b.Info().IdentityKey, d.config.Trust)
	return d.makeCurrent(tx, a, p, rev, s.base)
}

// Reset makes the current session with a device one of the past: the next
// message needs [Device.Start]. Late messages still decrypt. Call it when the
// server says that the device was installed anew.
func (d *Device) Reset(tx Tx, a Address) error {
	p, rev, err := d.peer(tx, a)
	if err != nil || !p.active {
		return err
	}
	return d.end(tx, a, p, rev)
}

// end makes the current session one of the past, and the oldest goes if those are
// over the limit now. p is stored.
func (d *Device) end(tx Tx, a Address, p *peerRecord, rev uint64) error {
	if err := d.archive(tx, a, p.current()); err != nil {
		return err
	}
	p.active = false
	return d.putTruncated(tx, a, p, rev)
}

// Forget deletes all sessions with a device and all that is known of it, its
// identity key and its chains in groups too, whether the rows make sense or not, and takes it out of the
// log of [Device.EncryptLogged]. Call it when the device was removed from its
// account. A server's word is not enough: the next key under that address would
// be trusted as if it were the first.
func (d *Device) Forget(tx Tx, a Address) error {
	if _, _, err := d.peer(tx, a); err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	_, rev, err := tx.Get(rowPeer(a)) // a session that is made from now on is a conflict
	if err != nil {
		return err
	}
	for _, prefix := range []string{rowsSession, rowsSkipped, rowsReceiver, rowsChain} { // whatever the peer's row says
		if err := forgetRows(tx, prefix+a.key()+"/"); err != nil {
			return err
		}
	}
	if err := d.forgetRetries(tx, a); err != nil {
		return err
	}
	if err := forgetRow(tx, rowHeld(a)); err != nil {
		return err
	}
	return tx.Delete(rowPeer(a), rev)
}

// forgetRows deletes the rows that begin with prefix.
func forgetRows(tx Tx, prefix string) error {
	for key, err := range tx.Scan(prefix) {
		if err == nil {
			err = forgetRow(tx, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func forgetRow(tx Tx, key string) error {
	_, rev, err := tx.Get(key)
	if err != nil {
		return err
	}
	return tx.Delete(key, rev)
}
