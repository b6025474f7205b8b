package main

import (
	"time"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// maxUnacknowledged is the age at which a session that the peer never answered
// is not used any more: its prekeys may be gone.
const maxUnacknowledged = 30 * 24 * time.Hour

// load returns the record of the sessions with who, an empty one if there is
// none.
func (s *party) load(who address) (*record, error) {
	b, ok := s.sessions[who]
	if !ok {
		return &record{family: s.family}, nil
	}
	return parseRecord(b, s.family)
}

// commit stores what a message or a bundle changed, once everything else has
// gone well.
func (s *party) commit(who address, identity x3dh.PublicKey, r *record) error {
	b, err := r.encode()
	if err != nil {
		return err
	}
	s.sessions[who] = b
	s.saveIdentity(who, identity)
	return nil
}

// startSession makes a session from a bundle. Trust comes before the
// signature, so that the caller hears first of what a user has to decide.
func (s *party) startSession(with address, i x3dh.BundleInfo, now time.Time) error {
	if err := s.checkTrust(with, i.IdentityKey); err != nil {
		return err
	}
	b, err := x3dh.NewBundle(i)
	if err != nil {
		return fail(nameSignatureValidationFailed, "%v", err)
	}
	r, err := s.load(with)
	if err != nil {
		return err
	}
	agreement, err := x3dh.Initiate(s.identity, b)
	if err != nil {
		return fail(nameInvalidKeyAgreement, "%v", err)
	}
	session, err := ratchet.New(agreement, s.config(now))
	if err != nil {
		return fail(nameInvalidKeyAgreement, "%v", err)
	}
	if err := r.start(session); err != nil {
		return err
	}
	return s.commit(with, i.IdentityKey, r)
}

func (s *party) config(now time.Time) ratchet.Config {
	return ratchet.Config{Family: s.family, RegistrationID: s.registrationID, Created: now}
}

// encrypt encrypts in the current session.
func (s *party) encrypt(to address, plaintext []byte, now time.Time) ([]byte, ratchet.Type, error) {
	r, err := s.load(to)
	if err != nil {
		return nil, 0, err
	}
	if r.current == nil {
		return nil, 0, fail(nameSessionNotFound, "no current session")
	}
	if since, ok := r.current.Unacknowledged(); ok && since.Add(maxUnacknowledged).Before(now) {
		return nil, 0, fail(nameSessionNotFound, "the session was not answered in 30 days")
	}
	identity := r.current.RemoteIdentity()
	if err := s.checkTrust(to, identity); err != nil {
		return nil, 0, err
	}
	message, typ, err := r.current.Encrypt(nil, plaintext)
	if err != nil {
		return nil, 0, messageError(err)
	}
	return message, typ, s.commit(to, identity, r)
}

// decryptOrdinary decrypts a SignalMessage in whichever session it belongs to.
// That session says who wrote it, so trust comes after.
func (s *party) decryptOrdinary(from address, message []byte) ([]byte, error) {
	if _, err := parseSignalMessage(message); err != nil {
		return nil, err
	}
	if _, ok := s.sessions[from]; !ok {
		return nil, fail(nameSessionNotFound, "no session with %.40q, device %d", from.name, from.deviceID)
	}
	r, err := s.load(from)
	if err != nil {
		return nil, err
	}
	plaintext, err := r.decrypt(message)
	if err != nil {
		return nil, err
	}
	identity := r.current.RemoteIdentity()
	if err := s.checkTrust(from, identity); err != nil {
		return nil, err
	}
	return plaintext, s.commit(from, identity, r)
}

// decryptInitial decrypts a PreKeySignalMessage: in the session that it
// belongs to, or in a new one, which replaces the current session. Only a
// message that opens takes the one-time prekey away and makes its sender known.
func (s *party) decryptInitial(from address, b []byte) ([]byte, error) {
	m, err := parsePreKeySignalMessage(b)
	if err != nil {
		return nil, err
	}
	if err := s.checkTrust(from, m.IdentityKey); err != nil {
		return nil, err
	}
	r, err := s.load(from)
	if err != nil {
		return nil, err
	}
	known, err := r.promoteMatching(m)
	if err != nil {
		return nil, err
	}
	var plaintext []byte
	if known {
		plaintext, err = r.current.DecryptInitial(nil, m)
		err = messageError(err)
	} else {
		plaintext, err = s.accept(r, m)
	}
	if err != nil {
		return nil, err
	}
	if err := s.commit(from, m.IdentityKey, r); err != nil {
		return nil, err
	}
	if !known && m.OneTimePreKeyID != nil {
		delete(s.preKeys, *m.OneTimePreKeyID)
	}
	return plaintext, nil
}

// accept makes a session of an initial message and starts it in r.
func (s *party) accept(r *record, m *x3dh.InitialMessage) ([]byte, error) {
	signed, ok := s.signedPreKeys[m.SignedPreKeyID]
	if !ok {
		return nil, fail(nameInvalidSignedPreKeyID, "no signed prekey %d", m.SignedPreKeyID)
	}
	var oneTime *x3dh.PreKey
	if id := m.OneTimePreKeyID; id != nil {
		if oneTime, ok = s.preKeys[*id]; !ok {
			return nil, fail(nameInvalidPreKeyID, "no one-time prekey %d", *id)
		}
	}
	acceptance, err := x3dh.Respond(s.identity, m, signed, oneTime)
	if err != nil {
		return nil, messageError(err)
	}
	session, plaintext, err := ratchet.Accept(nil, acceptance, s.config(time.Time{}))
	if err != nil {
		return nil, messageError(err)
	}
	return plaintext, r.start(session)
}
