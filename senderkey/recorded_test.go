package senderkey

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/testvectors"
)

func loadTranscript(t testing.TB) (*testvectors.RecordedGroup, DistributionID) {
	t.Helper()
	tr, err := testvectors.LoadGroup()
	require.NoError(t, err)
	b, err := hex.DecodeString(strings.ReplaceAll(tr.DistributionID, "-", ""))
	require.NoError(t, err)
	return tr, DistributionID(b)
}

// signingKey is the private key of the only state in a sender's record.
func signingKey(t testing.TB, record []byte) curve.PrivateKey {
	t.Helper()
	states, err := parseRecord(record)
	require.NoError(t, err)
	require.Len(t, states, 1)
	return *states[0].private
}

// R-11.2-1 to R-11.2-3, R-11.3-1, R-11.4-1, R-11.5-1, R-11.7-1: the recorded
// group, in both roles. Everything that we make has the peer's bytes, except for
// signatures, which are random: those of the peer verify.
func TestRecordedTranscript(t *testing.T) {
	tr, id := loadTranscript(t)

	// The sender: the random values of the chain are in its first record.
	key := signingKey(t, tr.SenderRecordInitial)
	c := fresh{tr.SKDMChainID, [32]byte(tr.SKDMChainKey), key}.chain(Signal, id)
	sender := newChain(&c)
	require.Equal(t, []byte(tr.SenderRecordInitial), record(t, sender))
	require.Equal(t, []byte(tr.SKDM), record(t, distributionOf(t, sender)))
	require.True(t, tr.CreateAgain)
	require.Equal(t, []byte(tr.SKDM), record(t, distributionOf(t, sender)), "asking again gives the same")
	require.Equal(t, []byte(tr.SenderRecordInitial), record(t, sender))

	// The receiver.
	receiver := NewReceiver(Signal)
	d, err := ParseDistribution(tr.SKDM, Signal)
	require.NoError(t, err)
	require.Equal(t, []any{id, tr.SKDMChainID, tr.SKDMIteration}, []any{d.ID(), d.ChainID(), d.Iteration()})
	require.NoError(t, receiver.Process(d))
	exported := func(r *Receiver) []byte {
		b, err := r.AppendRecord(nil, id)
		require.NoError(t, err)
		return b
	}
	require.Equal(t, []byte(tr.ReceiverRecordInitial), exported(receiver))

	messages := map[uint32][]byte{}
	encrypted, decrypted, duplicates := 0, 0, 0
	for i, step := range tr.Steps {
		switch step.Op {
		case "encrypt":
			got := send(t, sender, step.Plaintext)
			n := len(got) - curve.SignatureSize
			require.Equal(t, []byte(step.Message[:n]), got[:n], "step %d", i)
			require.True(t, key.Public().Verify(step.Message[:n], step.Message[n:]))
			require.True(t, key.Public().Verify(got[:n], got[n:]))
			require.Equal(t, []byte(step.SenderRecord), record(t, sender), "step %d", i)
			messages[step.Iteration] = step.Message
			encrypted++

			// The same from the record.
			again, err := ParseChain(step.SenderRecord, Signal, id)
			require.NoError(t, err)
			require.Equal(t, sender.load(), again.load())

		case "decrypt":
			bad := append([]byte(nil), messages[step.Iteration]...)
			bad[len(bad)-1] ^= 1
			require.Equal(t, "invalid signature detected", tr.BadSignatureError)
			refuse(t, receiver, bad, ErrAuthentication)
			if step.Error != "" {
				duplicates++
				refuse(t, receiver, messages[step.Iteration], ErrDuplicate)
			} else {
				decrypted++
				receive(t, receiver, messages[step.Iteration], step.Plaintext)
			}
			require.Equal(t, []byte(step.ReceiverRecord), exported(receiver), "step %d", i)

			again := NewReceiver(Signal)
			require.NoError(t, again.ImportRecord(step.ReceiverRecord, id))
			require.Equal(t, receiver.load(), again.load(), "step %d", i)
			receiver = reload(t, receiver)

		default:
			t.Fatalf("step %d: unknown op %q", i, step.Op)
		}
	}
	require.Equal(t, []int{5, 5, 1}, []int{encrypted, decrypted, duplicates})

	// Who joins late gets the chain as it is now; who has it keeps what he has.
	require.Equal(t, []byte(tr.LateSKDM), record(t, distributionOf(t, sender)))
	late, err := ParseDistribution(tr.LateSKDM, Signal)
	require.NoError(t, err)
	require.Equal(t, tr.LateIteration, late.Iteration())
	require.NoError(t, receiver.Process(late))
	require.Equal(t, []byte(tr.ReceiverRecordAfter), exported(receiver))
}
