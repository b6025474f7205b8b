package sesame

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// R23: the rows of groups: total, and what they accept they write again with the
// same meaning.
func FuzzGroupRows(f *testing.F) {
	sender := senderkey.NewSender(senderkey.Config{})
	_, err := sender.Encrypt(senderkey.Roster{Members: []senderkey.Member{{1}}}, start, nil)
	require.NoError(f, err)
	waiting := new(heldRecord)
	require.True(f, waiting.add(held{start, 7, "friends", []byte("message")}))
	require.True(f, waiting.add(held{start, 0, "", nil}))
	seeds := []record{
		&groupRecord{3, sender}, &groupRecord{0, senderkey.NewSender(senderkey.Config{})},
		&chainRecord{x3dh.GenerateIdentityKey().Public(), "friends", []chainStart{{5, 6}, {7, 0}}},
		&receiverRecord{senderkey.NewReceiver(senderkey.Signal), []string{"ab", "cd"}}, waiting, new(heldRecord),
		&sentRecord{created: start, plaintext: []byte("hello"), group: "friends", chain: senderkey.DistributionID{1}},
	}
	for _, r := range seeds {
		f.Add(encoded(f, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		input := bytes.Clone(b)
		again(t, b, func(b []byte) (*groupRecord, error) { return parseGroup(b, senderkey.Config{}) })
		again(t, b, func(b []byte) (*receiverRecord, error) { return parseReceiver(b, senderkey.Signal) })
		again(t, b, parseChain)
		again(t, b, parseSent)
		again(t, b, func(b []byte) (*heldRecord, error) {
			r, err := parseHeld(b)
			if err == nil {
				require.LessOrEqual(t, len(r.messages), maxHeld)
			}
			return r, err
		})
		require.Equal(t, input, b)
	})
}

func encoded(t testing.TB, r record) []byte {
	t.Helper()
	b, err := r.AppendBinary(nil)
	require.NoError(t, err)
	return b
}

// again writes what was read, and reads that: it is the same bytes then.
func again[T record](t *testing.T, b []byte, parse func([]byte) (T, error)) {
	t.Helper()
	r, err := parse(b)
	if err != nil {
		return
	}
	once := encoded(t, r)
	r, err = parse(once)
	require.NoError(t, err)
	require.Equal(t, once, encoded(t, r))
}

// R-10.10-8: whatever is delivered or found in a plaintext, there is a verdict.
func FuzzGroupMessages(f *testing.F) {
	all := []*app{}
	c := &clock{start}
	for _, name := range []string{"bob", "alice"} {
		all = append(all, newApp(f, name, 1, c))
	}
	bob, alice := all[0], all[1]
	alice.start(bob)
	m := alice.writes(groupOf("friends", bob), 0, "text")
	distribution := []byte(nil)
	bob.do(func(tx Tx) error {
		r, err := bob.Decrypt(tx, alice.at, m.to(bob).Type, m.to(bob).Bytes)
		if err == nil {
			_, distribution, _ = unwrap(r.Plaintext)
			_, err = bob.ProcessDistribution(tx, r, "friends", distribution)
		}
		return err
	})
	r := &Result{From: alice.at, Identity: alice.published.IdentityKey, typ: 2}
	f.Add(m.Ciphertext, distribution)
	f.Add(distribution, m.Ciphertext)
	f.Add([]byte(nil), []byte{0x33})
	f.Fuzz(func(t *testing.T, message, distribution []byte) {
		err := bob.store.Do(func(tx Tx) error {
			results, err := bob.ProcessDistribution(tx, r, "friends", distribution)
			require.NoError(t, err)
			for _, r := range results {
				require.Error(t, r.Err)
			}
			for _, group := range []string{"", "friends", "others"} {
				r, err := bob.DecryptGroup(tx, alice.at, 1, group, message)
				require.NoError(t, err)
				require.Equal(t, r.Err == nil, r.Identity != none)
				_, err = bob.RetryRequest(tx, r, 1)
				require.NoError(t, err)
			}
			return errDies
		})
		require.ErrorIs(t, err, errDies)
	})
}
