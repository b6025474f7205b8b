package sesame

import (
	"slices"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/x3dh"
)

// MaxArchivedSessions is how many sessions of the past are kept for late
// messages of one device. It is libsignal's.
const MaxArchivedSessions = 40

// A peerRecord is what is known of another device, less its sessions, which
// have rows of their own: an ordinary message reads this row and writes none
// but its session's.
type peerRecord struct {
	// identity is the key that is trusted, the zero key if none is yet.
	identity x3dh.PublicKey

	// changed is another identity key, which the device has shown since. Until
	// the caller confirms it, nothing is encrypted for the device.
	changed x3dh.PublicKey

	// sessions are the base keys of the sessions: the current one first, then
	// those of the past, the newest first. active is false if the first one is
	// of the past as well.
	sessions []x3dh.PublicKey
	active   bool

	// readOnly are those of the sessions that only decrypt, because another
	// application may write in them. None of them is ever the current one.
	readOnly []x3dh.PublicKey
}

func parsePeer(b []byte) (*peerRecord, error) {
	p := new(peerRecord)
	key := func(b []byte) x3dh.PublicKey {
		k, _ := x3dh.ParsePublicKey(b) // the zero key is refused below
		return k
	}
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			p.identity = key(d.Bytes())
		case 2:
			p.changed = key(d.Bytes())
		case 3:
			k := key(d.Repeated())
			if slices.Contains(p.sessions, k) {
				d.Fail()
			}
			p.sessions = append(p.sessions, k)
		case 4:
			p.active = d.Uint32() == 1
		case 5:
			k := key(d.Repeated())
			if slices.Contains(p.readOnly, k) {
				d.Fail()
			}
			p.readOnly = append(p.readOnly, k)
		default:
			d.Fail()
		}
		if max(len(p.sessions), len(p.readOnly)) > 1+MaxArchivedSessions {
			d.Fail()
		}
	}
	if err := d.Close(); err != nil {
		return nil, err
	}
	if d.Has(1) != (p.identity != none) || d.Has(2) != (p.changed != none) || p.newest() == none ||
		slices.Contains(p.sessions, none) || p.active && len(p.sessions) == 0 {
		return nil, wire.ErrMalformed
	}
	for _, k := range p.readOnly {
		if !slices.Contains(p.sessions, k) || k == p.current() {
			return nil, wire.ErrMalformed
		}
	}
	return p, nil
}

func (p *peerRecord) AppendBinary(b []byte) ([]byte, error) {
	if p.identity != none {
		b = wire.AppendBytes(b, 1, p.identity.Bytes())
	}
	if p.changed != none {
		b = wire.AppendBytes(b, 2, p.changed.Bytes())
	}
	for _, s := range p.sessions {
		b = wire.AppendBytes(b, 3, s.Bytes())
	}
	if p.active {
		b = wire.AppendUint(b, 4, 1)
	}
	for _, s := range p.readOnly {
		if slices.Contains(p.sessions, s) { // else it is gone
			b = wire.AppendBytes(b, 5, s.Bytes())
		}
	}
	return b, nil
}

// none is no key.
var none x3dh.PublicKey

// current is the base key of the current session, none if there is none.
func (p *peerRecord) current() x3dh.PublicKey {
	if !p.active {
		return none
	}
	return p.sessions[0]
}

// newest is the identity key that the device showed last.
func (p *peerRecord) newest() x3dh.PublicKey {
	if p.changed != none {
		return p.changed
	}
	return p.identity
}

// seen notes that the device has shown an identity key, which then waits for
// confirmation unless it is the trusted one, or the first and trusted at sight.
func (p *peerRecord) seen(key x3dh.PublicKey, t Trust) {
	switch {
	case key == p.identity:
	case p.newest() == none && t == TrustOnFirstUse:
		p.identity = key
	default:
		p.changed = key
	}
}

// install makes base the current session, whether it is new or of the past.
func (p *peerRecord) install(base x3dh.PublicKey) {
	p.sessions = slices.DeleteFunc(p.sessions, func(k x3dh.PublicKey) bool { return k == base })
	p.sessions = slices.Insert(p.sessions, 0, base)
	p.active = true
}

// truncate takes the oldest sessions over the limit away and returns them: a
// record of libsignal's has no place for more of the past.
func (p *peerRecord) truncate() (dropped []x3dh.PublicKey) {
	n := MaxArchivedSessions
	if p.active {
		n++
	}
	n = min(len(p.sessions), n)
	p.sessions, dropped = p.sessions[:n:n], p.sessions[n:]
	return dropped
}
