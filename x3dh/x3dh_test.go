package x3dh

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/replay"
	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/internal/wire"
)

var testTime = time.UnixMilli(1_700_000_000_123)

// A side is a device with its keys.
type side struct {
	identity *IdentityKey
	signed   *SignedPreKey
	oneTime  *PreKey
}

func newSide(t testing.TB) side {
	t.Helper()
	s := side{identity: GenerateIdentityKey()}
	var err error
	s.signed, err = GenerateSignedPreKey(s.identity, 7, testTime)
	require.NoError(t, err)
	keys, err := GeneratePreKeys(31, 1)
	require.NoError(t, err)
	s.oneTime = keys[0]
	return s
}

func (s side) info(opk bool) BundleInfo {
	i := BundleInfo{
		RegistrationID: 1000, DeviceID: 3,
		IdentityKey: s.identity.Public(), SignedPreKey: s.signed.Public(),
	}
	if opk {
		i.OneTimePreKey = new(s.oneTime.Public())
	}
	return i
}

func (s side) bundle(t testing.TB, opk bool) *Bundle {
	t.Helper()
	b, err := NewBundle(s.info(opk))
	require.NoError(t, err)
	return b
}

// initial is the initial message that belongs to a handshake.
func initial(self *IdentityKey, h *secret.Handshake) *InitialMessage {
	return &InitialMessage{
		Version: 0x34, RegistrationID: 2000,
		SignedPreKeyID: h.SignedPreKeyID, OneTimePreKeyID: h.OneTimePreKeyID,
		BaseKey: PublicKey{h.BaseKey}, IdentityKey: self.Public(), Message: bytes.Repeat([]byte("ratchet message "), 10),
	}
}

func eachOPK(t *testing.T, f func(t *testing.T, opk bool)) {
	t.Run("opk", func(t *testing.T) { f(t, true) })
	t.Run("noopk", func(t *testing.T) { f(t, false) })
}

// What "sotto verify" calls is Initiate with the base key given.
func TestReplay(t *testing.T) {
	alice, bob := newSide(t), newSide(t)
	identity, err := alice.identity.AppendBinary(nil)
	require.NoError(t, err)
	bundle, err := bob.bundle(t, true).AppendBinary(nil)
	require.NoError(t, err)
	base := curve.GenerateKey()

	h, err := replay.Initiate(identity, bundle, base)
	require.NoError(t, err)
	require.Equal(t, [32]byte(base.Public()), h.BaseKey)
	r, err := Respond(bob.identity, initial(alice.identity, h), bob.signed, bob.oneTime)
	require.NoError(t, err)
	require.Equal(t, h.RootKey, secret.Take(&r.Handoff).RootKey)

	_, err = replay.Initiate(identity[1:], bundle, base)
	require.ErrorIs(t, err, ErrMalformed)
	_, err = replay.Initiate(identity, bundle[1:], base)
	require.ErrorIs(t, err, ErrMalformed)
}

// R-4.4-1, and the whole of §4.2 to §4.5: both sides derive the same.
func TestAgreement(t *testing.T) {
	eachOPK(t, func(t *testing.T, opk bool) {
		alice, bob := newSide(t), newSide(t)
		a, err := Initiate(alice.identity, bob.bundle(t, opk))
		require.NoError(t, err)
		h := secret.Take(&a.Handoff)
		require.Nil(t, secret.Take(&a.Handoff), "an agreement is used once")

		b, err := initial(alice.identity, h).AppendBinary([]byte("dst"))
		require.NoError(t, err)
		require.Equal(t, "dst", string(b[:3]))
		m, err := ParseInitialMessage(b[3:])
		require.NoError(t, err)
		require.Equal(t, initial(alice.identity, h), m)
		require.Equal(t, opk, m.OneTimePreKeyID != nil)

		oneTime := bob.oneTime
		if !opk {
			oneTime = nil
		}
		r, err := Respond(bob.identity, m, bob.signed, oneTime)
		require.NoError(t, err)
		g := secret.Take(&r.Handoff)
		require.Equal(t, m.Message, g.Message)
		require.Nil(t, secret.Take(&r.Handoff), "an acceptance is used once")

		require.Equal(t, h.RootKey, g.RootKey)
		require.Equal(t, h.ChainKey, g.ChainKey)
		require.NotEqual(t, h.RootKey, h.ChainKey)
		require.Equal(t, h.BaseKey, g.BaseKey)
		require.Equal(t, h.LocalIdentity, g.RemoteIdentity)
		require.Equal(t, h.RemoteIdentity, g.LocalIdentity)
		require.Equal(t, uint32(1000), h.RemoteRegistrationID)
		require.Equal(t, uint32(2000), g.RemoteRegistrationID)
		require.Equal(t, h.SignedPreKey, g.SignedPreKey)
		require.Zero(t, h.SignedPreKeyPrivate, "the initiator has only the public half")
		require.Equal(t, [32]byte(bob.signed.load().private), g.SignedPreKeyPrivate)
		require.Equal(t, h.OneTimePreKeyID, g.OneTimePreKeyID)

		again, err := Initiate(alice.identity, bob.bundle(t, opk))
		require.NoError(t, err)
		require.NotEqual(t, h.BaseKey, secret.Take(&again.Handoff).BaseKey, "a base key for each session")
	})
}

// R-4.4-1
func TestRespondWantsThePreKeysOfTheMessage(t *testing.T) {
	alice, bob := newSide(t), newSide(t)
	base := curve.GenerateKey()
	others, err := GeneratePreKeys(32, 1)
	require.NoError(t, err)
	otherSigned, err := GenerateSignedPreKey(bob.identity, 8, testTime)
	require.NoError(t, err)
	message := func(signed uint32, oneTime *uint32) *InitialMessage {
		return &InitialMessage{
			Version: 0x33, SignedPreKeyID: signed, OneTimePreKeyID: oneTime,
			BaseKey: PublicKey{base.Public()}, IdentityKey: alice.identity.Public(),
		}
	}
	for _, c := range []struct {
		name    string
		m       *InitialMessage
		signed  *SignedPreKey
		oneTime *PreKey
		want    error
	}{
		{"with", message(7, new(uint32(31))), bob.signed, bob.oneTime, nil},
		{"without", message(7, nil), bob.signed, nil, nil},
		{"another signed prekey", message(7, nil), otherSigned, nil, ErrPreKey},
		{"no signed prekey", message(7, nil), nil, nil, ErrPreKey},
		{"zero signed prekey", message(0, nil), new(SignedPreKey), nil, ErrPreKey},
		{"one-time prekey missing", message(7, new(uint32(31))), bob.signed, nil, ErrPreKey},
		{"one-time prekey not asked for", message(7, nil), bob.signed, bob.oneTime, ErrPreKey},
		{"another one-time prekey", message(7, new(uint32(31))), bob.signed, others[0], ErrPreKey},
	} {
		_, err := Respond(bob.identity, c.m, c.signed, c.oneTime)
		require.ErrorIs(t, err, c.want, c.name)
	}
	m := message(7, nil)
	m.Version = 0x44
	_, err = Respond(bob.identity, m, bob.signed, nil)
	require.ErrorIs(t, err, ErrVersion)
}

// R-4.1-2: whose identity key it is can be seen before a bundle is used.
func TestBundleEncoding(t *testing.T) {
	eachOPK(t, func(t *testing.T, opk bool) {
		bundle := newSide(t).bundle(t, opk)
		b, err := bundle.AppendBinary([]byte("dst"))
		require.NoError(t, err)
		got, err := ParseBundle(b[3:])
		require.NoError(t, err)
		require.Equal(t, bundle, got)
		require.Equal(t, bundle.Info().IdentityKey, got.Info().IdentityKey)
		for n := range len(b) - 3 {
			_, err := ParseBundle(b[3 : 3+n])
			require.Error(t, err, "cut to %d", n)
		}
		for _, extra := range [][]byte{{0x48, 1}, {0x52, 0}, {0x5a, 0}, {0x62, 0}, {0xf8, 0x07, 1}} {
			_, err := ParseBundle(append(bytes.Clone(b[3:]), extra...))
			require.ErrorIs(t, err, ErrMalformed, "unknown and reserved fields")
		}
		if opk {
			info := bundle.Info()
			info.OneTimePreKey.ID++
			require.NotEqual(t, info, bundle.Info(), "Info is a copy")
			same, err := NewBundle(bundle.Info())
			require.NoError(t, err)
			argument := bundle.Info()
			other, err := NewBundle(argument)
			require.NoError(t, err)
			argument.OneTimePreKey.ID++
			require.Equal(t, same, other, "and so is what NewBundle keeps")
			for _, half := range []int{4, 5} {
				cut := without(t, b[3:], half)
				_, err := ParseBundle(cut)
				require.ErrorIs(t, err, ErrMalformed, "half a one-time prekey")
			}
		}
	})
}

// R-3.6-3 asks to store records before anything is published: they hold all
// that a bundle is made of.
func TestRecords(t *testing.T) {
	s := newSide(t)
	check := func(b []byte, err error, parse func([]byte) ([]byte, error)) {
		t.Helper()
		require.NoError(t, err)
		again, err := parse(b)
		require.NoError(t, err)
		require.Equal(t, b, again)
		again, err = parse(append(bytes.Clone(b), 0xf8, 0x07, 1)) // unknown field 127
		require.NoError(t, err)
		require.Equal(t, b, again)
		for n := range b {
			if _, err := parse(b[:n]); err == nil {
				// Only a trailing optional field can be missing.
				require.Equal(t, len(b)-9, n)
			}
		}
	}
	b, err := s.identity.AppendBinary(nil)
	require.Len(t, b, 69)
	check(b, err, func(b []byte) ([]byte, error) {
		k, err := ParseIdentityKey(b)
		if err != nil {
			return nil, err
		}
		require.Equal(t, s.identity.Public(), k.Public())
		return k.AppendBinary(nil)
	})
	b, err = s.oneTime.AppendBinary(nil)
	check(b, err, func(b []byte) ([]byte, error) {
		k, err := ParsePreKey(b)
		if err != nil {
			return nil, err
		}
		require.Equal(t, s.oneTime.Public(), k.Public())
		return k.AppendBinary(nil)
	})
	b, err = s.signed.AppendBinary(nil)
	check(b, err, func(b []byte) ([]byte, error) {
		k, err := ParseSignedPreKey(b)
		if err != nil {
			return nil, err
		}
		require.Equal(t, s.signed.Public(), k.Public())
		if k.Created().Equal(testTime) {
			return k.AppendBinary(nil)
		}
		require.Equal(t, time.UnixMilli(0), k.Created(), "the timestamp may be absent")
		return nil, nil
	})

	// R-6.2-1
	for _, parse := range []func([]byte) error{
		func(b []byte) error { _, err := ParsePreKey(b); return err },
		func(b []byte) error { _, err := ParseSignedPreKey(b); return err },
	} {
		b, err := s.signed.AppendBinary(nil)
		require.NoError(t, err)
		require.NoError(t, parse(b))
		private := s.signed.load().private
		require.ErrorIs(t, parse(bytes.Replace(b, private[:], s.oneTime.load().private[:], 1)), ErrMalformed)
	}
	mixed := wire.AppendBytes(wire.AppendBytes(nil, 1, s.identity.Public().Bytes()), 2, s.oneTime.load().private[:])
	_, err = ParseIdentityKey(mixed)
	require.ErrorIs(t, err, ErrMalformed)

	// R-3.1-2: an unclamped private half is clamped at import.
	id := s.identity.load()
	unclamped := id.private
	unclamped[0] |= 7
	unclamped[31] |= 0x80
	k, err := ParseIdentityKey(wire.AppendBytes(wire.AppendBytes(nil, 1, id.public.Append(nil)), 2, unclamped[:]))
	require.NoError(t, err)
	require.Equal(t, id.private, k.load().private)
}

func TestZeroValues(t *testing.T) {
	s := newSide(t)
	m := &InitialMessage{Version: 0x34, BaseKey: s.oneTime.Public().Key, IdentityKey: s.identity.Public()}
	for name, f := range map[string]func() error{
		"IdentityKey.AppendBinary":      func() error { _, err := new(IdentityKey).AppendBinary(nil); return err },
		"nil IdentityKey":               func() error { _, err := (*IdentityKey)(nil).AppendBinary(nil); return err },
		"PreKey.AppendBinary":           func() error { _, err := new(PreKey).AppendBinary(nil); return err },
		"nil PreKey":                    func() error { _, err := (*PreKey)(nil).AppendBinary(nil); return err },
		"SignedPreKey.AppendBinary":     func() error { _, err := new(SignedPreKey).AppendBinary(nil); return err },
		"nil SignedPreKey":              func() error { _, err := (*SignedPreKey)(nil).AppendBinary(nil); return err },
		"GenerateSignedPreKey":          func() error { _, err := GenerateSignedPreKey(new(IdentityKey), 1, testTime); return err },
		"Bundle.AppendBinary":           func() error { _, err := new(Bundle).AppendBinary(nil); return err },
		"nil Bundle":                    func() error { _, err := (*Bundle)(nil).AppendBinary(nil); return err },
		"Initiate, identity":            func() error { _, err := Initiate(new(IdentityKey), s.bundle(t, true)); return err },
		"Initiate, nil":                 func() error { _, err := Initiate(nil, nil); return err },
		"Initiate, bundle":              func() error { _, err := Initiate(s.identity, nil); return err },
		"Respond, identity":             func() error { _, err := Respond(nil, m, s.signed, nil); return err },
		"Respond, message":              func() error { _, err := Respond(s.identity, nil, s.signed, nil); return err },
		"Respond, zero message":         func() error { _, err := Respond(s.identity, &InitialMessage{}, s.signed, nil); return err },
		"InitialMessage.AppendBinary":   func() error { _, err := new(InitialMessage).AppendBinary(nil); return err },
		"nil InitialMessage":            func() error { _, err := (*InitialMessage)(nil).AppendBinary(nil); return err },
		"InitialMessage of version 4":   func() error { c := *m; c.Version = 0x44; _, err := c.AppendBinary(nil); return err },
		"NewFingerprint":                func() error { _, err := NewFingerprint(2, nil, PublicKey{}, nil, s.identity.Public()); return err },
		"Fingerprint.AppendBinary":      func() error { _, err := Fingerprint{}.AppendBinary(nil); return err },
		"Fingerprint.Matches, zero":     func() error { _, err := Fingerprint{}.Matches(Fingerprint{}); return err },
		"Fingerprint.Matches, argument": func() error { _, err := Fingerprint{version: 1}.Matches(Fingerprint{}); return err },
	} {
		require.ErrorIs(t, f(), ErrUninitialized, name)
	}
	require.Zero(t, new(IdentityKey).Public())
	require.Zero(t, (*PreKey)(nil).Public())
	require.Zero(t, new(SignedPreKey).Public())
	require.Zero(t, new(SignedPreKey).Created())
	require.Zero(t, (*Bundle)(nil).Info())
	require.Nil(t, secret.Take(&new(Agreement).Handoff))
	require.Nil(t, secret.Take(&new(Acceptance).Handoff))
}

// Appending writes behind the caller's slice and nowhere else, and what is
// returned shares no memory with the input unless it says so.
func TestAliasing(t *testing.T) {
	s := newSide(t)
	m := &InitialMessage{Version: 0x34, BaseKey: s.oneTime.Public().Key, IdentityKey: s.identity.Public(), Message: []byte("m")}
	for name, f := range map[string]func([]byte) ([]byte, error){
		"identity":    s.identity.AppendBinary,
		"prekey":      s.oneTime.AppendBinary,
		"signed":      s.signed.AppendBinary,
		"bundle":      s.bundle(t, true).AppendBinary,
		"message":     m.AppendBinary,
		"fingerprint": Fingerprint{version: 1}.AppendBinary,
	} {
		want, err := f(nil)
		require.NoError(t, err, name)
		backing := bytes.Repeat([]byte{0xaa}, 1000)
		got, err := f(backing[:3])
		require.NoError(t, err, name)
		require.Equal(t, append([]byte{0xaa, 0xaa, 0xaa}, want...), got, name)
		require.Equal(t, bytes.Repeat([]byte{0xaa}, 1000-len(got)), backing[len(got):], name)
	}
	key := s.identity.Public()
	key.Bytes()[5] ^= 1
	require.Equal(t, s.identity.Public(), key)
}
