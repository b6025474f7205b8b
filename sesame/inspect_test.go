package sesame

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/inspect"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// The decoders of this package are not exported, so what "sotto inspect" says of
// rows, of retry requests and of libsignal's records is compared here: it takes
// what they take, and refuses what they refuse.
func TestInspectAgrees(t *testing.T) {
	v := loadRetries(t)
	key := x3dh.GenerateIdentityKey()
	other := x3dh.GenerateIdentityKey().Public()
	local := encodeRow(t, &localRecord{identity: key, registrationID: 5, nextPreKey: 300, nextSigned: 2})
	peer := encodeRow(t, &peerRecord{identity: key.Public(), changed: other, sessions: []x3dh.PublicKey{other, key.Public()}, active: true, readOnly: []x3dh.PublicKey{key.Public()}})
	retry := encodeRow(t, &retryRecord{reset: start, asked: []asked{{timestamp: 3, first: start, count: 2}}})
	sent := encodeRow(t, &sentRecord{created: start, plaintext: []byte("plaintext"), group: "group", to: []addressee{
		{Address: Address{User: "a", Device: 1}, identity: other, attempts: 1}, {Address: Address{User: "b"}, identity: other}}})
	held := encodeRow(t, &heldRecord{messages: []held{{since: start, timestamp: 4, group: "g", message: []byte("message")}, {since: start, message: []byte("m")}, {since: start, group: "g", message: []byte("m")}}})
	chain := encodeRow(t, &chainRecord{identity: other, group: "group", starts: []chainStart{{3, 200}, {4, 0}}})
	receiver := encodeRow(t, &receiverRecord{Receiver: senderkey.NewReceiver(senderkey.Signal), ties: []string{"tie", "other"}})
	group := encodeRow(t, &groupRecord{revision: 3, sender: senderkey.NewSender(senderkey.Config{})})

	// Sessions of one identity key, which the device of a record has to have.
	recorded := loadRecording(t)
	self := recorded.bob.identity(t).Public()
	record := recorded.bob.records[20]
	d := wire.Decode(record)
	require.True(t, d.Next())
	session := d.Bytes()
	past := wire.AppendBytes(wire.AppendBytes(nil, 1, nil), 2, session)
	device := &Device{config: Config{Family: ratchet.Signal}}

	rng := rand.New(rand.NewPCG(3, 4))
	for _, test := range []struct {
		kind  string
		parse func([]byte) error
		valid [][]byte
	}{
		{"row-local", errorOf(parseLocal), [][]byte{local}},
		{"row-peer", errorOf(parsePeer), [][]byte{peer, peer[:35]}},
		{"row-retry", errorOf(parseRetry), [][]byte{retry}},
		{"row-sent", errorOf(parseSent), [][]byte{sent}},
		{"row-held", errorOf(parseHeld), [][]byte{held}},
		{"row-chain", errorOf(parseChain), [][]byte{chain}},
		{"row-receiver", func(b []byte) error { _, err := parseReceiver(b, senderkey.Signal); return err }, [][]byte{receiver}},
		{"row-group", func(b []byte) error { _, err := parseGroup(b, senderkey.Config{}); return err }, [][]byte{group}},
		{"retry", errorOf(parseRetryRequest), [][]byte{v.Requests[0].PlaintextContent, v.Requests[9].PlaintextContent}},
		{"decryption-error", func(b []byte) error {
			_, err := parseRetryRequest(append(wire.AppendBytes([]byte{plaintextBegin}, 8, b), plaintextEnd))
			return err
		}, [][]byte{v.Requests[0].DecryptionErrorMessage}},
		{"record", func(b []byte) error { _, _, err := device.parseRecord(b, self); return err }, [][]byte{record, past}},
	} {
		refused := 0
		compare := func(b []byte) {
			r, err := inspect.Inspect(b, inspect.Options{Kind: test.kind, Family: "signal"})
			require.NoError(t, err)
			// Which identity key is this device's is not for it to know.
			if err := test.parse(b); err != ratchet.ErrIdentityMismatch {
				require.Equal(t, err == nil, r.Valid, "%s: %x: %v, %v", test.kind, b, err, r.Problems)
			}
			if !r.Valid {
				refused++
			}
		}
		for _, b := range test.valid {
			require.NoError(t, test.parse(b), test.kind)
			compare(b)
			for i := range 800 {
				m := append([]byte(nil), b...)
				at := rng.IntN(len(m))
				switch to := min(len(m), at+1+rng.IntN(8)); i % 5 {
				case 0, 1:
					m[at] ^= 1 << rng.IntN(8)
				case 2:
					m = append(m[:at:at], m[to:]...)
				case 3:
					m = append(m[:to:to], m[at:]...)
				case 4:
					m = append(m, b...)[:len(b)+rng.IntN(len(b)+1)]
				}
				compare(m)
			}
		}
		require.Greater(t, refused, 100, test.kind)
	}
	for _, c := range v.Contents {
		r, err := inspect.Inspect(c.PlaintextContent, inspect.Options{Kind: "retry"})
		require.NoError(t, err)
		_, err = parseRetryRequest(c.PlaintextContent)
		require.Equal(t, err == nil, r.Valid, c.Comment)
	}
}

func errorOf[T any](parse func([]byte) (T, error)) func([]byte) error {
	return func(b []byte) error {
		_, err := parse(b)
		return err
	}
}

func encodeRow(t *testing.T, r record) []byte {
	t.Helper()
	b, err := r.AppendBinary(nil)
	require.NoError(t, err)
	return b
}
