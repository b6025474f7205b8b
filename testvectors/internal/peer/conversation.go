package peer

import (
	"errors"
	"time"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// checkTrust trusts an identity key on first use, and from then on no other
// one, in either direction, until saveIdentity. A device reads what another key
// writes, and marks it; the protocol refuses it.
func (s *party) checkTrust(tx sesame.Tx, who address, key x3dh.PublicKey) error {
	known, err := s.device.Peer(tx, who.sesame())
	if err != nil {
		return err
	}
	if known.Identity != (x3dh.PublicKey{}) && known.Identity != key {
		return untrusted(who)
	}
	return nil
}

func untrusted(who address) error {
	return fail(nameUntrustedIdentity, "%.40q, device %d, has another identity key than before", who.name, who.deviceID)
}

// startSession makes a session from a bundle. Trust comes before the
// signature, so that the caller hears first of what a user has to decide.
func (s *party) startSession(with address, i x3dh.BundleInfo, now time.Time) error {
	s.now = now
	return s.store.Do(func(tx sesame.Tx) error {
		if err := s.checkTrust(tx, with, i.IdentityKey); err != nil {
			return err
		}
		b, err := x3dh.NewBundle(i)
		if err != nil {
			return fail(nameSignatureValidationFailed, "%v", err)
		}
		if err := s.device.Start(tx, with.sesame(), b); err != nil {
			return fail(nameInvalidKeyAgreement, "%v", err)
		}
		return nil
	})
}

// encrypt encrypts in the current session.
func (s *party) encrypt(to address, plaintext []byte, now time.Time) (m sesame.Message, err error) {
	s.now = now
	err = s.store.Do(func(tx sesame.Tx) error {
		messages, err := s.device.Encrypt(tx, plaintext, to.sesame())
		if err != nil {
			return err
		}
		m = messages[0]
		switch {
		case errors.Is(m.Err, sesame.ErrNoSession):
			return fail(nameSessionNotFound, "no current session, or one that was not answered in 30 days")
		case errors.Is(m.Err, sesame.ErrIdentityChanged):
			return untrusted(to)
		}
		return m.Err
	})
	return m, err
}

// decrypt decrypts a message in whichever session it belongs to, and makes one
// of a PreKey message that belongs to none. It has no clock: the prekeys of a
// test do not grow old.
func (s *party) decrypt(from address, typ ratchet.Type, message []byte) (plaintext []byte, err error) {
	s.now = time.Time{}
	var verdict error
	err = s.store.Do(func(tx sesame.Tx) error {
		var initial *x3dh.InitialMessage
		var err error
		if typ == ratchet.Ordinary {
			_, err = parseSignalMessage(message)
		} else if initial, err = parsePreKeySignalMessage(message); err == nil {
			err = s.checkTrust(tx, from, initial.IdentityKey)
		}
		if err != nil {
			return err
		}
		r, err := s.device.Decrypt(tx, from.sesame(), typ, message)
		switch {
		case err != nil:
			return err
		case errors.Is(r.Err, sesame.ErrUnknownPreKey):
			return unknownPreKey(tx, initial)
		case r.Err != nil: // committed, as applications do: the device has to leave its rows alone
			verdict = verdictError(r.Err)
			return nil
		case r.IdentityChanged:
			return untrusted(from)
		}
		plaintext = r.Plaintext
		return nil
	})
	if err == nil {
		err = verdict
	}
	return plaintext, err
}

// unknownPreKey tells which prekey of a message is gone: a device has one
// verdict for both, the protocol two names.
func unknownPreKey(tx sesame.Tx, m *x3dh.InitialMessage) error {
	_, rev, err := tx.Get(rowSigned(m.SignedPreKeyID))
	switch {
	case err != nil:
		return err
	case rev == 0:
		return fail(nameInvalidSignedPreKeyID, "no signed prekey %d", m.SignedPreKeyID)
	case m.OneTimePreKeyID == nil:
		return fail(nameDuplicatedMessage, "an initial message without one-time prekey is accepted once")
	}
	return fail(nameInvalidPreKeyID, "no such one-time prekey")
}
