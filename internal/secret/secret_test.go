package secret_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/internal/secret/secrettest"
)

type inner struct{ Key [32]byte }

type boxed struct{ box secret.Box[inner] }

func key() (k [32]byte) {
	for i := range k {
		k[i] = byte(0x91 + 7*i)
	}
	return k
}

func TestBoxDoesNotPrint(t *testing.T) {
	b := new(boxed)
	k := key()
	b.box.Store(&inner{k})
	secrettest.NotPrinted(t, b, k[:])

	// The check can fail: what a Box replaces shows.
	require.True(t, secrettest.Printed(inner{k}, k[:]))
	require.True(t, secrettest.Printed(&inner{k}, k[:]))
	require.True(t, secrettest.Printed(struct{ p []byte }{k[:]}, k[:]))
}

func TestBox(t *testing.T) {
	var b secret.Box[inner]
	require.Nil(t, b.Load())
	require.Nil(t, b.Take())
	one, two := &inner{}, &inner{key()}
	b.Store(one)
	require.False(t, b.Replace(two, two))
	require.Same(t, one, b.Load())
	require.True(t, b.Replace(one, two))
	require.Same(t, two, b.Take())
	require.Nil(t, b.Take())
}

func TestHandshakeClear(t *testing.T) {
	h := &secret.Handshake{Version: 3, RootKey: key(), ChainKey: key(), SignedPreKeyPrivate: key()}
	h.Clear()
	require.Zero(t, *h)
}

// What was given is taken once, and does not print on the way.
func TestHandoff(t *testing.T) {
	var o secret.Handoff
	require.Nil(t, secret.Take(&o))
	h := &secret.Handshake{RootKey: key()}
	secret.Give(&o, h)
	secrettest.NotPrinted(t, &o, h.RootKey[:])
	require.Same(t, h, secret.Take(&o))
	require.Nil(t, secret.Take(&o))
}
