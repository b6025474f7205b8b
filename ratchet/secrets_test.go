package ratchet

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/secret/secrettest"
)

// R22: a session shows none of its keys.
func TestSecretsRedacted(t *testing.T) {
	alice, bob := newPair(t, Signal)
	messages := sendN(t, alice, 2)
	receive(t, bob, messages[1], number(1))
	st := bob.load()
	chain := st.receiving[st.nReceiving-1]
	require.NotEmpty(t, chain.skipped)
	secrettest.NotPrinted(t, bob, st.root[:], st.sending.private[:], st.sending.ck.key[:],
		chain.ck.key[:], chain.skipped[0].keys[0].seed[:])
}
