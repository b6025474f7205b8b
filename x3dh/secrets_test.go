package x3dh

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/secret/secrettest"
)

// R22: no exported type that holds a secret shows it.
func TestSecretsRedacted(t *testing.T) {
	alice, bob := newSide(t), newSide(t)
	secrettest.NotPrinted(t, alice.identity, alice.identity.load().private[:])
	secrettest.NotPrinted(t, alice.signed, alice.signed.load().private[:])
	secrettest.NotPrinted(t, alice.oneTime, alice.oneTime.load().private[:])

	a, err := Initiate(alice.identity, bob.bundle(t, true))
	require.NoError(t, err)
	h := a.box.Load()
	secrettest.NotPrinted(t, a, h.RootKey[:], h.ChainKey[:])

	r, err := Respond(bob.identity, initial(alice.identity, h), bob.signed, bob.oneTime)
	require.NoError(t, err)
	g := r.box.Load().handshake
	require.Equal(t, h.RootKey, g.RootKey)
	secrettest.NotPrinted(t, r, g.RootKey[:], g.ChainKey[:], g.SignedPreKeyPrivate[:])

	// Errors name no bytes either: they are constants.
	_, err = ParsePublicKey(curve.PublicKey{}.Append(nil))
	require.Equal(t, "invalid Curve25519 key", err.Error())
}
