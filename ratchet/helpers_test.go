package ratchet

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/x3dh"
)

// A device is what the tests need of one: its keys, and the means to start and
// answer sessions.
type device struct {
	identity *x3dh.IdentityKey
	signed   *x3dh.SignedPreKey
	oneTime  *x3dh.PreKey // nil: out of one-time prekeys
	config   Config
}

var testTime = time.Unix(1_700_000_000, 0)

func newDevice(t testing.TB, family Family, opk bool) *device {
	t.Helper()
	d := &device{
		identity: x3dh.GenerateIdentityKey(),
		config:   Config{Family: family, RegistrationID: 1234, Created: testTime},
	}
	var err error
	d.signed, err = x3dh.GenerateSignedPreKey(d.identity, 7, testTime)
	require.NoError(t, err)
	if opk {
		keys, err := x3dh.GeneratePreKeys(31, 1)
		require.NoError(t, err)
		d.oneTime = keys[0]
	}
	return d
}

func (d *device) bundle(t testing.TB) *x3dh.Bundle {
	t.Helper()
	info := x3dh.BundleInfo{
		RegistrationID: d.config.RegistrationID, DeviceID: 1,
		IdentityKey: d.identity.Public(), SignedPreKey: d.signed.Public(),
	}
	if d.oneTime != nil {
		info.OneTimePreKey = new(d.oneTime.Public())
	}
	b, err := x3dh.NewBundle(info)
	require.NoError(t, err)
	return b
}

func (d *device) start(t testing.TB, peer *device) *Session {
	t.Helper()
	a, err := x3dh.Initiate(d.identity, peer.bundle(t))
	require.NoError(t, err)
	s, err := New(a, d.config)
	require.NoError(t, err)
	return s
}

func (d *device) accept(t testing.TB, message []byte) (*Session, []byte, error) {
	t.Helper()
	m, err := x3dh.ParseInitialMessage(message)
	require.NoError(t, err)
	a, err := x3dh.Respond(d.identity, m, d.signed, d.oneTime)
	require.NoError(t, err)
	return Accept(nil, a, d.config)
}

// newPair returns two sessions that have heard of each other: neither sends
// initial messages any more.
func newPair(t testing.TB, family Family) (alice, bob *Session) {
	t.Helper()
	a, b := newDevice(t, family, true), newDevice(t, family, true)
	alice = a.start(t, b)
	m, typ := send(t, alice, "hello")
	require.Equal(t, Initial, typ)
	bob, plaintext, err := b.accept(t, m)
	require.NoError(t, err)
	require.Equal(t, "hello", string(plaintext))
	m, _ = send(t, bob, "hello yourself")
	receive(t, alice, m, "hello yourself")
	return alice, bob
}

func send(t testing.TB, s *Session, plaintext string) ([]byte, Type) {
	t.Helper()
	m, typ, err := s.Encrypt(nil, []byte(plaintext))
	require.NoError(t, err)
	return m, typ
}

// sendN sends n messages whose plaintexts are their numbers.
func sendN(t testing.TB, s *Session, n int) [][]byte {
	t.Helper()
	messages := make([][]byte, n)
	for i := range messages {
		messages[i], _ = send(t, s, number(i))
	}
	return messages
}

func number(i int) string { return string(rune('A'+i%26)) + string(rune('a'+i/26%26)) }

func receive(t testing.TB, s *Session, message []byte, want string) {
	t.Helper()
	plaintext, err := s.Decrypt(nil, message)
	require.NoError(t, err)
	require.Equal(t, want, string(plaintext))
}

// refuse checks that s refuses a message with the error, and is what it was.
func refuse(t testing.TB, s *Session, message []byte, want error) {
	t.Helper()
	before := record(t, s)
	original := bytes.Clone(message)
	dst := append(make([]byte, 0, 1000), "dst"...)
	out, err := s.Decrypt(dst, message)
	require.ErrorIs(t, err, want)
	require.Equal(t, "dst", string(out))
	require.Equal(t, original, message, "the message is the caller's")
	require.Equal(t, before, record(t, s), "a failed call changes nothing")
}

func record(t testing.TB, s *Session) []byte {
	t.Helper()
	b, err := s.AppendBinary(nil)
	require.NoError(t, err)
	return b
}

// reload stores a session and reads it again.
func reload(t testing.TB, s *Session) *Session {
	t.Helper()
	b := record(t, s)
	r, err := ParseSession(b, s.load().family)
	require.NoError(t, err)
	require.Equal(t, b, record(t, r))
	return r
}

// fields is a SignalMessage taken apart, to be put together wrongly.
type fields struct {
	version    byte
	ratchetKey []byte
	counter    uint64
	previous   uint64
	ciphertext []byte
	mac        []byte
}

func takeApart(t testing.TB, b []byte) (f fields) {
	t.Helper()
	m, err := ParseMessage(b)
	require.NoError(t, err)
	return fields{
		version: m.Version, ratchetKey: m.RatchetKey.Bytes(),
		counter: uint64(m.Counter), previous: uint64(m.PreviousCounter),
		ciphertext: m.Ciphertext, mac: m.MAC,
	}
}

func (f fields) encode() []byte {
	b := wire.AppendBytes([]byte{f.version}, 1, f.ratchetKey)
	b = wire.AppendUint(b, 2, f.counter)
	b = wire.AppendUint(b, 3, f.previous)
	b = wire.AppendBytes(b, 4, f.ciphertext)
	return append(b, f.mac...)
}

// forge returns a message of the current chain of s that claims to be n ahead,
// with a MAC that is not right.
func forge(t testing.TB, s *Session, n uint64) []byte {
	t.Helper()
	m, _, err := newSession(new(*s.load())).Encrypt(nil, nil)
	require.NoError(t, err)
	f := takeApart(t, m)
	f.counter += n
	f.mac[0] ^= 1
	return f.encode()
}

// sealed returns a message of s with a true MAC over whatever body the caller
// makes of it: what a peer could send that does not follow the protocol.
func sealed(t testing.TB, s *Session, change func(*fields), extra ...byte) []byte {
	t.Helper()
	st := *s.load()
	seed := st.sending.ck.seed()
	keys := kdf.ExpandSeed(&seed, nil)
	m, _, err := newSession(new(*s.load())).Encrypt(nil, []byte("plaintext"))
	require.NoError(t, err)
	f := takeApart(t, m)
	change(&f)
	f.mac = nil
	body := append(f.encode(), extra...)
	mac := kdf.MessageMAC(&keys.MAC, &st.local, &st.remote, body)
	return append(body, mac[:macSize]...)
}

// x3dhMessage returns the ratchet message inside an initial message.
func x3dhMessage(t testing.TB, b []byte) ([]byte, error) {
	t.Helper()
	m, err := x3dh.ParseInitialMessage(b)
	if err != nil {
		return nil, err
	}
	return m.Message, nil
}
