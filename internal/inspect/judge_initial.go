package inspect

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// judgeInitial says whether a PreKey message decrypts: in the session that it
// belongs to, or in one that it begins.
func (rs *records) judgeInitial(b []byte) *Verdict {
	m, err := x3dh.ParseInitialMessage(b)
	if err != nil {
		return &Verdict{Reason: err.Error()}
	}
	for _, s := range rs.sessions {
		if s.key(13) == [33]byte(m.BaseKey.Bytes()) {
			one := &records{sessions: []*storedSession{s}, identity: rs.identity}
			return one.judge(m.Message, m)
		}
	}
	needs := fmt.Sprintf("signed prekey %d and no one-time prekey", m.SignedPreKeyID)
	if m.OneTimePreKeyID != nil {
		needs = fmt.Sprintf("signed prekey %d and one-time prekey %d", m.SignedPreKeyID, *m.OneTimePreKeyID)
	}
	v := &Verdict{Reason: fmt.Sprintf("it begins a new session (base key %x…) with %s", m.BaseKey.Bytes()[1:5], needs)}
	if len(rs.sessions) > 0 {
		v.Details = append(v.Details, fmt.Sprintf("none of the %d sessions given has its base key", len(rs.sessions)))
	}
	if len(rs.identity) == 0 || len(rs.signed) == 0 {
		v.Unknown = true
		v.Reason += ": whether it decrypts cannot be said without the records of the identity key and of these prekeys (--session)"
		return v
	}
	var signed *x3dh.SignedPreKey
	for _, k := range rs.signed {
		if k.Public().ID == m.SignedPreKeyID {
			signed = k
		}
	}
	var oneTime *x3dh.PreKey
	for _, k := range rs.oneTime {
		if m.OneTimePreKeyID != nil && k.Public().ID == *m.OneTimePreKeyID {
			oneTime = k
		}
	}
	missing := ""
	switch {
	case signed == nil:
		missing = fmt.Sprintf("signed prekey %d is not among those given: it was deleted, or the ID was changed", m.SignedPreKeyID)
	case m.OneTimePreKeyID != nil && oneTime == nil:
		missing = fmt.Sprintf("one-time prekey %d is not among those given: it was used before (then the message is a replay, or its session is lost), or the ID was changed", *m.OneTimePreKeyID)
	}
	for _, identity := range rs.identity {
		if missing != "" {
			break
		}
		n, err := accept(identity, m, signed, oneTime)
		if err == nil {
			v.Decrypts = true
			v.Reason += fmt.Sprintf("; MAC verified, %d bytes of plaintext, not shown", n)
			return v
		}
		v.Details = append(v.Details, fmt.Sprintf("with the identity key %x…: %s", identity.Public().Bytes()[1:5], err))
		if errors.Is(err, x3dh.ErrInvalidKey) {
			v.Reason += ": its base key has a torsion part (R-4.4-2)"
			return v
		}
	}
	// Any prekeys of those given, whatever the message names.
	tries := 0
	for _, identity := range rs.identity {
		for _, s := range rs.signed {
			for _, o := range append([]*x3dh.PreKey{nil}, rs.oneTime...) {
				if tries++; tries > 200 {
					break
				}
				changed := *m
				changed.SignedPreKeyID, changed.OneTimePreKeyID = s.Public().ID, nil
				name := fmt.Sprintf("signed prekey %d and no one-time prekey", s.Public().ID)
				if o != nil {
					changed.OneTimePreKeyID = new(o.Public().ID)
					name = fmt.Sprintf("signed prekey %d and one-time prekey %d", s.Public().ID, o.Public().ID)
				}
				if _, err := accept(identity, &changed, s, o); err == nil {
					v.Reason += "; it decrypts with " + name + ": a prekey ID was changed on the way"
					return v
				}
			}
		}
	}
	if missing != "" {
		v.Reason += ": " + missing
		return v
	}
	v.Reason += "; MAC differs with them. Usual reasons: the sender used another identity key of this device (it was installed anew); " +
		"its bundle had other prekeys under these IDs; base key, identity key or the message inside was altered"
	return v
}

// accept makes the session of a PreKey message, and returns the size of the
// plaintext.
func accept(identity *x3dh.IdentityKey, m *x3dh.InitialMessage, signed *x3dh.SignedPreKey, oneTime *x3dh.PreKey) (int, error) {
	a, err := x3dh.Respond(identity, m, signed, oneTime)
	if err != nil {
		return 0, err
	}
	_, plaintext, err := ratchet.Accept(nil, a, ratchet.Config{})
	clear(plaintext)
	return len(plaintext), err
}
