package sesame

import (
	"time"

	"github.com/sotto-im/sotto/x3dh"
)

// The life of prekeys (SPEC.md §10.3).
const (
	// PreKeyBatch is how many one-time prekeys a server should have.
	PreKeyBatch = 100

	// SignedPreKeyAge is the age at which a signed prekey is replaced.
	SignedPreKeyAge = 7 * 24 * time.Hour

	// SignedPreKeyKept is the age until which its private half is kept, for
	// messages that are under way.
	SignedPreKeyKept = 30 * 24 * time.Hour

	// maxPreKeys is how many one-time prekeys are kept.
	maxPreKeys = 20 * PreKeyBatch
)

// A Publication is what the server gets of a device: the public halves of keys
// whose private halves are in the transaction.
type Publication struct {
	RegistrationID uint32
	IdentityKey    x3dh.PublicKey
	SignedPreKey   x3dh.PublicSignedPreKey
	OneTimePreKeys []x3dh.PublicPreKey // new ones, to be added to those that the server has
}

// Publish makes what the server needs: the signed prekey, a new one if the
// newest is a week old, and as many new one-time prekeys as bring it from
// remaining, the number that it has left, to [PreKeyBatch]. Commit before you
// upload: else the private halves may be lost, and every message to them with
// them. Call it once a day and whenever the server says that it runs low.
//
// It deletes signed prekeys that are over 30 days old and not the newest, and what
// is over 14 days old in the log of [Device.EncryptLogged]; and when it makes new
// one-time prekeys, of more than 2,000 those with the lowest IDs, since the server
// alone says how many it has left. No ID is ever given out twice; when those of
// one-time prekeys are used up there are no more of them. Errors: those of the
// transaction, [ErrCorrupt], x3dh.ErrPreKeyID when all IDs of signed prekeys are
// used up.
func (d *Device) Publish(tx Tx, remaining int) (*Publication, error) {
	l, rev, err := d.local(tx)
	if err != nil {
		return nil, err
	}
	p := &Publication{RegistrationID: l.registrationID, IdentityKey: l.identity.Public()}
	if p.SignedPreKey, err = d.signedPreKey(tx, l); err != nil {
		return nil, err
	}
	if err := d.pruneRetries(tx); err != nil {
		return nil, err
	}
	if err := d.pruneHeld(tx); err != nil {
		return nil, err
	}
	n := min(max(PreKeyBatch-remaining, 0), PreKeyBatch, int(x3dh.MaxPreKeyID+1-l.nextPreKey))
	keys, err := x3dh.GeneratePreKeys(l.nextPreKey, n)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		public := k.Public()
		if err := put(tx, rowPreKey(public.ID), k, 0); err != nil {
			return nil, err
		}
		p.OneTimePreKeys = append(p.OneTimePreKeys, public)
	}
	l.nextPreKey += uint32(n)
	if n > 0 { // else the server may have all that came along with Adopt
		if err := forgetOldPreKeys(tx); err != nil {
			return nil, err
		}
	}
	return p, put(tx, rowLocal, l, rev)
}

// forgetOldPreKeys deletes the one-time prekeys with the lowest IDs, if there are
// more than are kept.
func forgetOldPreKeys(tx Tx) error {
	var keys []string
	for key, err := range tx.Scan(rowsPreKey) {
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	for _, key := range keys[:max(0, len(keys)-maxPreKeys)] {
		if err := forgetRow(tx, key); err != nil {
			return err
		}
	}
	return nil
}

// signedPreKey returns the newest signed prekey, or a new one if that is a week
// old, and deletes all others that are too old.
func (d *Device) signedPreKey(tx Tx, l *localRecord) (x3dh.PublicSignedPreKey, error) {
	now := d.config.Now()
	newest, _, err := get(tx, rowSigned(l.nextSigned-1), x3dh.ParseSignedPreKey)
	if err != nil {
		return x3dh.PublicSignedPreKey{}, err
	}
	// Also if the clock was ahead when it was made: see R-10.7-7.
	if newest == nil || now.Sub(newest.Created()).Abs() > SignedPreKeyAge {
		newest, err = x3dh.GenerateSignedPreKey(l.identity, l.nextSigned, now)
		if err == nil {
			err = put(tx, rowSigned(l.nextSigned), newest, 0)
		}
		if err != nil {
			return x3dh.PublicSignedPreKey{}, err
		}
		l.nextSigned++
	}
	for key, err := range tx.Scan(rowsSigned) {
		if err != nil {
			return x3dh.PublicSignedPreKey{}, err
		}
		k, rev, err := get(tx, key, x3dh.ParseSignedPreKey)
		if err != nil {
			return x3dh.PublicSignedPreKey{}, err
		}
		if expired(k, now) && k.Public().ID != newest.Public().ID {
			if err := forgetSignedPreKey(tx, k.Public().ID, rev); err != nil {
				return x3dh.PublicSignedPreKey{}, err
			}
		}
	}
	return newest.Public(), nil
}

// expired reports whether a signed prekey that is not the newest opens no
// messages any more.
func expired(k *x3dh.SignedPreKey, now time.Time) bool {
	return k.Created().Add(SignedPreKeyKept).Before(now)
}

// forgetSignedPreKey deletes a signed prekey, and with it the marks of initial
// messages that were made with it: without the key they cannot be replayed.
func forgetSignedPreKey(tx Tx, id uint32, rev uint64) error {
	if err := tx.Delete(rowSigned(id), rev); err != nil {
		return err
	}
	return forgetRows(tx, rowsAcceptedOf(id))
}
