package x3dh

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/secret"
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
	h := secret.Take(&a.Handoff)
	secret.Give(&a.Handoff, h)
	secrettest.NotPrinted(t, a, h.RootKey[:], h.ChainKey[:])

	r, err := Respond(bob.identity, initial(alice.identity, h), bob.signed, bob.oneTime)
	require.NoError(t, err)
	g := secret.Take(&r.Handoff)
	secret.Give(&r.Handoff, g)
	require.Equal(t, h.RootKey, g.RootKey)
	secrettest.NotPrinted(t, r, g.RootKey[:], g.ChainKey[:], g.SignedPreKeyPrivate[:])

	// And nobody outside of the module can take them out: no method gives them.
	require.Zero(t, reflect.TypeFor[*Agreement]().NumMethod())
	require.Zero(t, reflect.TypeFor[*Acceptance]().NumMethod())
	require.Zero(t, reflect.TypeFor[*secret.Handoff]().NumMethod())

	// Errors name no bytes either: they are constants.
	_, err = ParsePublicKey(curve.PublicKey{}.Append(nil))
	require.Equal(t, "invalid Curve25519 key", err.Error())
}
