package ratchet

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/replay"
	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/x3dh"
)

// What "sotto verify" calls is the session's own code, with the ratchet keys that
// it is given: the same records and plaintexts, and on an error the record of
// before.
func TestReplay(t *testing.T) {
	given := func(b byte) (k [32]byte) {
		for i := range k {
			k[i] = b
		}
		return curve.NewPrivateKey(k)
	}
	use := func(b byte) replay.Key { return func() [32]byte { return given(b) } }
	none := func() [32]byte { t.Error("a key was drawn"); return given(0) }
	// The same handshake again: who takes one clears it.
	handoff := func(h *secret.Handshake) *x3dh.Agreement {
		a := new(x3dh.Agreement)
		secret.Give(&a.Handoff, new(*h))
		return a
	}
	a, b := newDevice(t, WhatsApp, true), newDevice(t, WhatsApp, true)
	config := replay.SessionConfig{Family: uint8(WhatsApp), RegistrationID: 1234, Created: testTime.Unix()}

	agreement, err := x3dh.Initiate(a.identity, b.bundle(t))
	require.NoError(t, err)
	h := secret.Take(&agreement.Handoff)
	alice, err := initiate(handoff(h), a.config, func() curve.PrivateKey { return given(1) })
	require.NoError(t, err)
	got, err := replay.NewSession(h, config, use(1))
	require.NoError(t, err)
	require.Equal(t, record(t, alice), got)
	require.Equal(t, curve.PrivateKey(given(1)), alice.load().sending.private)
	require.Zero(t, *h, "taken")

	first, _ := send(t, alice, "first")
	m, err := x3dh.ParseInitialMessage(first)
	require.NoError(t, err)
	acceptance, err := x3dh.Respond(b.identity, m, b.signed, b.oneTime)
	require.NoError(t, err)
	h = secret.Take(&acceptance.Handoff)
	damaged := new(*h)
	damaged.Message = append([]byte{}, h.Message...)
	damaged.Message[len(damaged.Message)-1] ^= 1
	_, _, err = replay.AcceptSession(damaged, config, none)
	require.Equal(t, ErrAuthentication, err)
	again := new(x3dh.Acceptance)
	secret.Give(&again.Handoff, new(*h))
	bob, plaintext, err := accept(nil, again, b.config, func() curve.PrivateKey { return given(2) })
	require.NoError(t, err)
	require.Equal(t, "first", string(plaintext))
	got, plaintext, err = replay.AcceptSession(h, config, use(2))
	require.NoError(t, err)
	require.Equal(t, record(t, bob), got)
	require.Equal(t, "first", string(plaintext))
	require.Equal(t, curve.PrivateKey(given(2)), bob.load().sending.private)

	// A DH step, and then a message without one.
	for _, step := range []struct {
		text string
		key  replay.Key
	}{{"answer", use(3)}, {"and another", none}} {
		m, _ := send(t, bob, step.text)
		before := record(t, alice)
		m[len(m)-1] ^= 1
		got, plaintext, _, err = replay.DecryptSession(before, uint8(WhatsApp), m, none)
		require.Equal(t, ErrAuthentication, err)
		require.Nil(t, plaintext)
		require.Equal(t, before, got)
		m[len(m)-1] ^= 1
		got, plaintext, _, err = replay.DecryptSession(before, uint8(WhatsApp), m, step.key)
		require.NoError(t, err)
		require.Equal(t, step.text, string(plaintext))
		_, err = alice.decrypt(nil, m, func() curve.PrivateKey { return given(3) })
		require.NoError(t, err)
		require.Equal(t, record(t, alice), got)
		require.Equal(t, curve.PrivateKey(given(3)), alice.load().sending.private)
	}

	_, _, _, err = replay.DecryptSession([]byte{8}, uint8(WhatsApp), nil, none)
	require.ErrorIs(t, err, ErrCorrupt)
	_, err = replay.NewSession(nil, config, none)
	require.Equal(t, ErrUninitialized, err)
}
