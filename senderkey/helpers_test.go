package senderkey

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/wire"
)

var testTime = time.Unix(1_700_000_000, 0)

var testID = DistributionID{0xd1, 0xd1, 3: 7, 15: 9}

var families = map[string]Family{"Signal": Signal, "WhatsApp": WhatsApp}

// newPair returns a chain and a receiver that has it from the first message on.
func newPair(t testing.TB, f Family) (*Chain, *Receiver) {
	t.Helper()
	c, r := NewChain(f, testID), NewReceiver(f)
	process(t, r, distributionOf(t, c))
	return c, r
}

func distributionOf(t testing.TB, c *Chain) *Distribution {
	t.Helper()
	d, err := c.Distribution()
	require.NoError(t, err)
	return d
}

// travel is a distribution as it comes out of a pairwise session.
func travel(t testing.TB, d *Distribution) *Distribution {
	t.Helper()
	require.NotNil(t, d)
	b, err := d.AppendBinary(nil)
	require.NoError(t, err)
	again, err := ParseDistribution(b, d.load().family)
	require.NoError(t, err)
	require.Equal(t, d.load(), again.load())
	return again
}

func process(t testing.TB, r *Receiver, d *Distribution) {
	t.Helper()
	require.NoError(t, r.Process(travel(t, d)))
}

func send(t testing.TB, c *Chain, plaintext string) []byte {
	t.Helper()
	m, err := c.Encrypt(nil, []byte(plaintext))
	require.NoError(t, err)
	return m
}

// sendN sends n messages whose plaintexts are their numbers.
func sendN(t testing.TB, c *Chain, n int) [][]byte {
	t.Helper()
	messages := make([][]byte, n)
	for i := range messages {
		messages[i] = send(t, c, number(i))
	}
	return messages
}

func number(i int) string { return string(rune('A'+i%26)) + string(rune('a'+i/26%26)) }

// receive decrypts, and returns the number of messages newly missing.
func receive(t testing.TB, r *Receiver, message []byte, want string) uint32 {
	t.Helper()
	plaintext, skipped, err := r.Decrypt(nil, message)
	require.NoError(t, err)
	require.Equal(t, want, string(plaintext))
	return skipped
}

// refuse checks that r refuses a message with the error, and is what it was.
func refuse(t testing.TB, r *Receiver, message []byte, want error) {
	t.Helper()
	before := record(t, r)
	original := bytes.Clone(message)
	dst := append(make([]byte, 0, 1000), "dst"...)
	out, skipped, err := r.Decrypt(dst, message)
	require.ErrorIs(t, err, want)
	require.Equal(t, "dst", string(out))
	require.Zero(t, skipped)
	require.Equal(t, original, message, "the message is the caller's")
	require.Equal(t, before, record(t, r), "a failed call changes nothing")
}

type recorder interface {
	AppendBinary([]byte) ([]byte, error)
}

func record(t testing.TB, v recorder) []byte {
	t.Helper()
	b, err := v.AppendBinary([]byte("prefix"))
	require.NoError(t, err)
	require.Equal(t, "prefix", string(b[:6]))
	return b[6:]
}

// reload stores a receiver and reads it again.
func reload(t testing.TB, r *Receiver) *Receiver {
	t.Helper()
	b := record(t, r)
	again, err := ParseReceiver(b, r.load().family)
	require.NoError(t, err)
	require.Equal(t, b, record(t, again))
	return again
}

// fields is a SenderKeyMessage taken apart, to be put together wrongly.
type fields struct {
	family             Family
	version            byte
	id                 []byte
	chainID, iteration uint64
	ciphertext         []byte
	signature          []byte
}

func takeApart(t testing.TB, b []byte, f Family) fields {
	t.Helper()
	m, err := ParseMessage(b, f)
	require.NoError(t, err)
	return fields{f, m.Version, m.ID[:], uint64(m.ChainID), uint64(m.Iteration), bytes.Clone(m.Ciphertext), bytes.Clone(m.Signature)}
}

func (f *fields) body() []byte {
	b := []byte{f.version}
	if f.family == Signal {
		b = wire.AppendBytes(b, 1, f.id)
	}
	b = wire.AppendUint(b, f.family.wireNumber(2), f.chainID)
	b = wire.AppendUint(b, f.family.wireNumber(3), f.iteration)
	return wire.AppendBytes(b, f.family.wireNumber(4), f.ciphertext)
}

func (f *fields) encode() []byte { return append(f.body(), f.signature...) }

// signed returns a message of the next iteration of c, with a true signature
// over whatever the caller makes of it: what a sender could write that does not
// follow the protocol. c stays as it is.
func signed(t testing.TB, c *Chain, change func(*fields), extra ...byte) []byte {
	t.Helper()
	st := c.load()
	m, _, err := st.encrypt(nil, []byte("plaintext"))
	require.NoError(t, err)
	f := takeApart(t, m, st.family)
	change(&f)
	body := append(f.body(), extra...)
	signature := st.signing.Sign(body)
	return append(body, signature[:]...)
}

// sealed is the ciphertext of one plaintext at the next iteration of c, without
// padding if that is raw.
func sealed(c *Chain, raw []byte) []byte {
	seed := c.load().ck.seed()
	keys := kdf.ExpandGroupSeed(&seed)
	buf := bytes.Clone(raw)
	cbc.Encrypt(&keys.Cipher, &keys.IV, make([]byte, cbc.BlockSize), buf)
	return buf
}

func privateOf(b byte) curve.PrivateKey { return curve.NewPrivateKey([32]byte{1: b, 2: 1}) }
