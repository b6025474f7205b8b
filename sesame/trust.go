package sesame

import (
	"iter"
	"strings"

	"github.com/sotto-im/sotto/x3dh"
)

// A Trust is a policy for identity keys that were never seen before.
type Trust uint8

// The policies. Neither trusts a key that replaces a trusted one: that waits
// for [Device.Confirm].
const (
	TrustOnFirstUse Trust = iota // the first key of a device is trusted
	ConfirmFirst                 // no key is trusted before Confirm
)

// A Peer is what is known of another device.
type Peer struct {
	Identity  x3dh.PublicKey // the trusted key; zero if none is
	Changed   x3dh.PublicKey // a key that waits for confirmation; zero if none does
	Connected bool           // there is a session to write in

	// RegistrationID is what the device said in that session, 0 without one. It
	// changes when the device is installed anew; nothing authenticates it.
	RegistrationID uint32
}

// Peer returns what is known of a device, the zero Peer if nothing is.
func (d *Device) Peer(tx Tx, a Address) (Peer, error) {
	p, rev, err := d.peer(tx, a)
	if err != nil || rev == 0 {
		return Peer{}, err
	}
	known := Peer{Identity: p.identity, Changed: p.changed, Connected: p.active}
	if p.active {
		s, err := d.session(tx, a, p.current())
		if err != nil {
			return Peer{}, err
		}
		known.RegistrationID = s.RemoteRegistrationID()
	}
	return known, nil
}

// Devices yields the addresses of the devices of a user that anything is known
// of, in ascending order of their numbers as text.
func (d *Device) Devices(tx Tx, user string) iter.Seq2[Address, error] {
	return func(yield func(Address, error) bool) {
		for key, err := range tx.Scan(rowsPeer + userPrefix(user)) {
			var a Address
			if err == nil {
				a, err = parseAddress(strings.TrimPrefix(key, rowsPeer))
			}
			if !yield(a, err) {
				return
			}
		}
	}
}

// Confirm trusts an identity key of a device: the one that waits in
// [Peer].Changed, after the user has compared the safety number or waved it
// through. Sessions with another key of that device are deleted, and its chains in
// groups: whoever holds the old key is not this device any more. Decrypt what is in
// the mailbox first: what was written with the old key cannot be read afterwards.
// [ErrIdentityChanged] if the device has shown another key meanwhile: ask again.
func (d *Device) Confirm(tx Tx, a Address, key x3dh.PublicKey) error {
	p, rev, err := d.peer(tx, a)
	if err != nil {
		return err
	}
	if rev == 0 {
		return ErrNoSession
	}
	if key != p.changed && key != p.identity || key == none {
		return ErrIdentityChanged
	}
	p.identity, p.changed = key, none
	var kept []x3dh.PublicKey
	current := p.current()
	for _, base := range p.sessions {
		s, err := d.session(tx, a, base)
		if err != nil {
			return err
		}
		if s.RemoteIdentity() == key {
			kept = append(kept, base)
			continue
		}
		if base == current {
			p.active = false
		}
		if err := forgetSession(tx, a, base); err != nil {
			return err
		}
	}
	p.sessions = kept
	others := func(_, identity string) bool { return identity != identityKey(key) }
	if err := forgetReceivers(tx, a.key()+"/", others); err != nil {
		return err
	}
	return put(tx, rowPeer(a), p, rev)
}

// SafetyNumber returns the safety number with a device: of our identity key and
// the one that it showed last, confirmed or not. See x3dh.NewFingerprint for
// version and identifiers. [ErrNoSession] if nothing is known of the device.
func (d *Device) SafetyNumber(tx Tx, a Address, version uint32, ourID, theirID []byte) (x3dh.Fingerprint, error) {
	l, _, err := d.local(tx)
	if err != nil {
		return x3dh.Fingerprint{}, err
	}
	p, rev, err := d.peer(tx, a)
	if err != nil {
		return x3dh.Fingerprint{}, err
	}
	if rev == 0 {
		return x3dh.Fingerprint{}, ErrNoSession
	}
	return x3dh.NewFingerprint(version, ourID, l.identity.Public(), theirID, p.newest())
}
