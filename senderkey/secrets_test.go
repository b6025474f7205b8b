package senderkey

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/secret/secrettest"
)

// R22: nothing that is exported shows a key.
func TestSecretsRedacted(t *testing.T) {
	c, r := newPair(t, Signal)
	st := *c.load()
	secrettest.NotPrinted(t, c, st.ck.key[:], st.signing[:])
	d := distributionOf(t, c)
	secrettest.NotPrinted(t, d, d.load().ck.key[:])

	messages := sendN(t, c, 3)
	receive(t, r, messages[2], number(2))
	chain := r.load().chains[0]
	require.Len(t, chain.skipped, 2)
	secrettest.NotPrinted(t, r, chain.ck.key[:], chain.skipped[0].seed[:])

	s := NewSender(Config{})
	sent := encrypt(t, s, Roster{Members: members(1)}, testTime, "message")
	st = s.load().chain
	secrettest.NotPrinted(t, s, st.ck.key[:], st.signing[:])
	secrettest.NotPrinted(t, sent, sent.Distribution.load().ck.key[:])
	secrettest.NotPrinted(t, *sent, sent.Distribution.load().ck.key[:])
}
