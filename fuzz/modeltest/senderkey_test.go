package modeltest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/testvectors"
)

// Groups: the recorded messages and records, and fresh ones of all kinds.
func TestSchemaOfGroups(t *testing.T) {
	schema := signalSchema(t)
	tr, err := testvectors.LoadGroup()
	require.NoError(t, err)
	messages, records := 0, 0
	for _, step := range tr.Steps {
		if b := step.Message; len(b) > 0 {
			messages++
			roundTrip(t, schema("SenderKeyMessage"), b[1:len(b)-64])
		}
		for _, b := range [][]byte{step.SenderRecord, step.ReceiverRecord} {
			if len(b) > 0 {
				records++
				roundTrip(t, schema("SenderKeyRecordStructure"), b)
			}
		}
	}
	require.Equal(t, []int{5, 11}, []int{messages, records})
	roundTrip(t, schema("SenderKeyDistributionMessage"), tr.SKDM[1:])

	check := func(name string, skip int, v interface {
		AppendBinary([]byte) ([]byte, error)
	}) {
		b, err := v.AppendBinary(nil)
		require.NoError(t, err)
		roundTrip(t, schema(name), b[skip:])
	}
	for i, f := range []senderkey.Family{senderkey.Signal, senderkey.WhatsApp} {
		s := senderkey.NewSender(senderkey.Config{Family: f, MaxMessages: 3})
		r := senderkey.NewReceiver(f)
		for n := range uint64(10) {
			members := []senderkey.Member{{1}, {2}, {3, byte(n)}}
			sent, err := s.Encrypt(senderkey.Roster{Revision: n / 2, Members: members[:2+n%2]}, time.Unix(int64(n), 0), []byte("text"))
			require.NoError(t, err)
			check("Sender", 1, s)
			require.NoError(t, s.Delivered(sent.Chain, members[n%3]))
			check("Sender", 1, s)
			if sent.Rotated {
				require.NoError(t, r.Process(sent.Distribution))
			}
			if n%3 != 1 {
				_, _, err = r.Decrypt(nil, sent.Message)
				require.NoError(t, err)
			}
			check("Receiver", 1, r)
			if i == 0 {
				check("SenderKeyDistributionMessage", 1, sent.Distribution)
				roundTrip(t, schema("SenderKeyMessage"), sent.Message[1:len(sent.Message)-64])
			}
		}
	}
	c := senderkey.NewChain(senderkey.Signal, senderkey.DistributionID{1})
	check("SenderKeyRecordStructure", 0, c)
	_, err = c.Encrypt(nil, nil)
	require.NoError(t, err)
	check("SenderKeyRecordStructure", 0, c)
}
