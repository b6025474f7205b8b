package sesame

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// A Result is what became of a message. It is a value, whatever it says: store
// it in the transaction, commit, and acknowledge the message.
type Result struct {
	// From is the address that the server gave. Identity is who wrote the
	// message, as cryptography has it; zero if Err is set.
	From     Address
	Identity x3dh.PublicKey

	Plaintext []byte

	// How many messages before it are newly found to be missing in its chain, or
	// in its session: on the way, lost, unreadable, withheld, or made and never sent
	// (R-10.5-6). It is the peer's word; 0 if Err is set.
	Missing uint32

	// Of [Device.DecryptGroup]: the group whose chain the message was written
	// with, and the timestamp that came with it, also if it was not read. Zero for
	// pairwise messages.
	Group     string
	Timestamp uint64

	// IdentityChanged says that Identity is not the trusted key of the device.
	// The message can be read; show that it is marked. Nothing is encrypted for
	// the device until [Device.Confirm].
	IdentityChanged bool

	// Err says why there is no plaintext: [ErrDuplicate], [ErrUndecryptable],
	// [ErrNoSession], [ErrUnknownPreKey], [ErrHeld], [ErrAddress].
	Err error

	typ     ratchet.Type // for RetryRequest
	message []byte
}

// Decrypt decrypts a message of the type that came with it. It tries the
// sessions with the device that can have made it, with at most the work of one
// message at the limit for all of them; a session of the past that opens the
// message becomes the current one. An initial message of a session that is not
// known makes it, and uses its one-time prekey up, if and only if it decrypts.
//
// An error is the transaction's, or [ErrCorrupt], and means: roll back, and do
// not acknowledge. What is wrong with the message is in [Result].Err.
func (d *Device) Decrypt(tx Tx, from Address, typ ratchet.Type, message []byte) (*Result, error) {
	r := &Result{From: from, typ: typ, message: message}
	if !from.valid() {
		r.Err = ErrAddress
		return r, nil
	}
	p, rev, err := d.peer(tx, from)
	if err != nil {
		return nil, err
	}
	c := &call{d, tx, from, p, rev, r}
	switch typ {
	case ratchet.Ordinary:
		err = c.ordinary(message)
	case ratchet.Initial:
		err = c.initial(message)
	default:
		r.typ = 0 // RetryRequest must not take it for a group message
		r.Err = undecryptable(errors.New("no such type of message"))
	}
	if err == nil && r.Err != nil {
		// The session that the message belongs to may have been made meanwhile,
		// and its prekey used up.
		err = unchanged(tx, from, c.rev)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// undecryptable is ErrUndecryptable with its reason.
func undecryptable(err error) error { return fmt.Errorf("%w: %w", ErrUndecryptable, err) }

// A call is one call of Decrypt. Its methods return what goes wrong with the
// transaction, and note what is wrong with the message in r.
type call struct {
	*Device
	tx   Tx
	from Address
	peer *peerRecord
	rev  uint64 // of peer
	r    *Result
}

func (c *call) ordinary(message []byte) error {
	if len(c.peer.sessions) == 0 {
		c.r.Err = ErrNoSession
		return nil
	}
	budget := ratchet.MaxForwardJump
	for _, base := range c.peer.sessions {
		s, err := c.session(c.tx, c.from, base)
		if err != nil {
			return err
		}
		steps, known, verdict := s.Steps(message)
		if errors.Is(verdict, ratchet.ErrMalformed) || errors.Is(verdict, ratchet.ErrVersion) {
			c.r.Err = undecryptable(verdict)
			return nil
		}
		if verdict == nil && !known && steps > budget {
			continue // a forged message does not make us walk 41 chains to the limit
		}
		if verdict == nil {
			budget -= steps
			verdict, err = c.open(s, func() ([]byte, error) { return s.Decrypt(nil, message) })
			if err != nil || verdict == nil {
				return err
			}
		}
		if known || errors.Is(verdict, ratchet.ErrDuplicate) {
			c.refused(verdict)
			return nil
		}
	}
	c.refused(ratchet.ErrAuthentication)
	return nil
}

// refused notes why no session opened the message.
func (c *call) refused(err error) {
	c.r.Err = undecryptable(err)
	if errors.Is(err, ratchet.ErrDuplicate) {
		c.r.Err = ErrDuplicate
	}
}

// open decrypts a message in a session, and stores that. The verdict is what is
// wrong with the message.
func (c *call) open(s *session, decrypt func() ([]byte, error)) (verdict, err error) {
	plaintext, verdict := decrypt()
	if err := s.failed(verdict); err != nil {
		return nil, err
	}
	if verdict != nil {
		return verdict, nil
	}
	c.r.Plaintext = plaintext
	return nil, c.opened(s)
}

// opened stores a session that has opened the message, and makes it the
// current one: the device writes in it now.
func (c *call) opened(s *session) error {
	if err := s.store(); err != nil {
		return err
	}
	identity := s.RemoteIdentity()
	c.r.Missing = s.Missing()
	c.r.Identity, c.r.IdentityChanged = identity, identity != c.peer.identity
	// A late message under an old identity key does not bring that back.
	// A session that only decrypts stays one of the past.
	if s.base == c.peer.current() || identity != c.peer.newest() || slices.Contains(c.peer.readOnly, s.base) {
		return nil
	}
	return c.makeCurrent(c.tx, c.from, c.peer, c.rev, s.base)
}

func (c *call) initial(message []byte) error {
	m, err := x3dh.ParseInitialMessage(message)
	if err != nil {
		c.r.Err = undecryptable(err)
		return nil
	}
	for _, base := range c.peer.sessions {
		if base != m.BaseKey {
			continue
		}
		s, err := c.session(c.tx, c.from, base)
		if err != nil {
			return err
		}
		verdict, err := c.open(s, func() ([]byte, error) { return s.DecryptInitial(nil, m) })
		if verdict != nil {
			c.refused(verdict)
		}
		return err
	}
	return c.accept(m)
}

// accept makes the session of an initial message.
func (c *call) accept(m *x3dh.InitialMessage) error {
	marker := rowAccepted(m.SignedPreKeyID, m.BaseKey)
	if m.OneTimePreKeyID == nil {
		_, rev, err := c.tx.Get(marker)
		if err != nil {
			return err
		}
		// Its session was dropped since, or is that of the address that an earlier
		// delivery named. Whether this message was read, nothing says.
		if rev != 0 {
			c.r.Err = ErrUnknownPreKey
			return nil
		}
	}
	signed, _, err := get(c.tx, rowSigned(m.SignedPreKeyID), x3dh.ParseSignedPreKey)
	if err != nil {
		return err
	}
	l, _, err := c.local(c.tx)
	if err != nil {
		return err
	}
	// The newest one was not replaced in time by a device that was off, and is
	// what the server gave out meanwhile.
	newest := m.SignedPreKeyID == l.nextSigned-1
	if signed == nil || !newest && expired(signed, c.config.Now()) {
		c.r.Err = ErrUnknownPreKey
		return nil
	}
	var oneTime *x3dh.PreKey
	var oneTimeRev uint64
	if id := m.OneTimePreKeyID; id != nil {
		if oneTime, oneTimeRev, err = get(c.tx, rowPreKey(*id), x3dh.ParsePreKey); err != nil {
			return err
		}
		if oneTime == nil {
			c.r.Err = ErrUnknownPreKey
			return nil
		}
	}
	acceptance, err := x3dh.Respond(l.identity, m, signed, oneTime)
	if err != nil {
		c.r.Err = undecryptable(err)
		return nil
	}
	s, plaintext, err := ratchet.Accept(nil, acceptance, c.sessionConfig(l))
	if err != nil {
		c.refused(err)
		return nil
	}

	// The message is genuine: what it used up goes with the transaction that
	// stores its session.
	if oneTime != nil {
		err = c.tx.Delete(rowPreKey(*m.OneTimePreKeyID), oneTimeRev)
	} else {
		err = c.tx.Put(marker, nil, 0)
	}
	if err != nil {
		return err
	}
	c.r.Plaintext, c.r.Missing = plaintext, s.Missing()
	c.peer.seen(m.IdentityKey, c.config.Trust)
	if err := newSession(c.tx, s, c.from).store(); err != nil {
		return err
	}
	c.r.Identity, c.r.IdentityChanged = m.IdentityKey, m.IdentityKey != c.peer.identity
	return c.makeCurrent(c.tx, c.from, c.peer, c.rev, m.BaseKey)
}
