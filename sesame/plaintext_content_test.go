package sesame

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

func loadRetries(t testing.TB) *testvectors.RecordedRetries {
	t.Helper()
	v, err := testvectors.LoadRetries()
	require.NoError(t, err)
	return v
}

const groupMessage = 7 // SenderKeyMessage

// R-10.7-1: the requests that a peer made for the same messages, byte for byte.
func TestRetryRequestVectors(t *testing.T) {
	v := loadRetries(t)
	c := &clock{start}
	for _, r := range v.Requests {
		q, err := parseRetryRequest(r.PlaintextContent)
		require.NoError(t, err, r.Comment)
		require.Equal(t, r.Timestamp, q.timestamp, r.Comment)
		require.Equal(t, r.DeviceID, q.device, r.Comment)
		require.Equal(t, []byte(r.PlaintextContent), q.appendPlaintext(nil), r.Comment)
		require.Equal(t, []byte(r.DecryptionErrorMessage), []byte(r.PlaintextContent[3:len(r.PlaintextContent)-1]), r.Comment)
		if r.OriginalType == groupMessage {
			require.Zero(t, q.ratchetKey)
			require.Empty(t, r.RatchetKey)
			continue
		}
		require.Equal(t, []byte(r.RatchetKey), q.ratchetKey.Bytes(), r.Comment)

		// A device that gets that message, of a session that it does not have.
		bob := newApp(t, "bob", 1, c)
		m, r2 := bob.ask(Address{"alice", r.DeviceID}, Message{Type: ratchet.Type(r.OriginalType), Bytes: r.Original}, r.Timestamp)
		require.Error(t, r2.Err, r.Comment)
		require.NotNil(t, m, r.Comment)
		require.Equal(t, []byte(r.PlaintextContent), m.Bytes, r.Comment)
		require.Equal(t, ratchet.PlaintextContent, m.Type)
	}
	for _, r := range v.RefusedOriginals {
		m, r2 := newApp(t, "bob", 1, c).ask(Address{"alice", 1}, Message{Type: ratchet.Type(r.OriginalType), Bytes: r.Original}, 1)
		require.Error(t, r2.Err, r.Comment)
		require.Nil(t, m, r.Comment)
	}
}

// R-10.7-1: a content has one encoding. Where a peer takes more, the list says so.
func TestPlaintextContentCanonical(t *testing.T) {
	stricter := map[string]bool{
		"field 8 twice":                          true,
		"another field of the content before it": true,
		"another field of the content behind it": true,
		"no device":                              true,
		"fields out of order":                    true,
		"timestamp twice":                        true,
		"an unknown field":                       true,
		"an overlong timestamp":                  true,
		"an overlong length":                     true,
		"a device over 32 bits":                  true,
	}
	v := loadRetries(t)
	seen := 0
	for _, r := range v.Contents {
		_, err := parseRetryRequest(r.PlaintextContent)
		require.Equal(t, r.Accepted && !stricter[r.Comment], err == nil, r.Comment)
		if stricter[r.Comment] {
			require.True(t, r.Accepted, r.Comment)
			seen++
		}
	}
	require.Equal(t, len(stricter), seen)

	// Any byte less, and any bit that changes the form.
	good := v.Requests[0].PlaintextContent
	for i := range good {
		_, err := parseRetryRequest(good[:i])
		require.Error(t, err, "%d bytes", i)
	}
	for bit := range 8 * len(good) {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		if q, err := parseRetryRequest(b); err == nil {
			require.Equal(t, b, q.appendPlaintext(nil), "bit %d", bit)
		}
	}
}

// R-10.7-1, R-1-2: any bytes are a request or an error, and a request has one form.
func FuzzDecryptionErrorMessage(f *testing.F) {
	v := loadRetries(f)
	for _, r := range v.Requests {
		f.Add([]byte(r.PlaintextContent), r.Timestamp, r.DeviceID)
	}
	for _, r := range v.Contents {
		f.Add([]byte(r.PlaintextContent), uint64(1), uint32(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, timestamp uint64, device uint32) {
		input := bytes.Clone(b)
		if q, err := parseRetryRequest(b); err == nil {
			require.Equal(t, b, q.appendPlaintext(nil))
		} else {
			require.Nil(t, q)
		}
		require.Equal(t, input, b)

		q := &retryRequest{timestamp: timestamp, device: device}
		seed := binary.BigEndian.AppendUint64(nil, timestamp)
		if key, err := x3dh.ParsePublicKey(append([]byte{5}, append(seed, make([]byte, 24)...)...)); err == nil {
			q.ratchetKey = key
		}
		again, err := parseRetryRequest(q.appendPlaintext(nil))
		require.NoError(t, err)
		require.Equal(t, q, again)
	})
}

// The rows of this file's neighbours: total, and what they accept they write
// again with the same meaning.
func FuzzRetryRows(f *testing.F) {
	key := x3dh.GenerateIdentityKey().Public()
	s := &sentRecord{created: start, plaintext: []byte("hello")}
	s.add(Address{"bob", 2}, key)
	s.add(Address{"bob", 1}, key)
	s.add(Address{"alice", 3}, key)
	s.to[1].attempts = 4
	r := &retryRecord{reset: start}
	require.True(f, r.ask(7, start))
	require.True(f, r.ask(9, start))
	for _, record := range []record{s, r, new(retryRecord)} {
		b, err := record.AppendBinary(nil)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseSent(b); err == nil {
			again, err := s.AppendBinary(nil)
			require.NoError(t, err)
			s2, err := parseSent(again)
			require.NoError(t, err)
			require.Equal(t, s, s2)
			for _, a := range s.to {
				require.Equal(t, a, *s.find(a.Address))
			}
		}
		if r, err := parseRetry(b); err == nil {
			again, err := r.AppendBinary(nil)
			require.NoError(t, err)
			r2, err := parseRetry(again)
			require.NoError(t, err)
			require.Equal(t, r, r2)
		}
	})
}
