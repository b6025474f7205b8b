//go:build valgrind && amd64

package consttime

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

func TestProbes(t *testing.T) {
	if !underValgrind() {
		return // TestConstantTime runs it under valgrind
	}
	probeECDH(t)
	probePublicKey(t)
	probeSign(t)
	probePadding(t)
	probeKeyRecords(t)
	probeHandshake(t)
	probeSession(t)
	probeGroup(t)
	probeLeakCompare(t)
	probeLeakTable(t)
	probeLeakBranch(t)
	fmt.Println("all probes ran")
}

// fields makes the fields of a record secret that the paths lead to.
func fields(t *testing.T, record []byte, paths ...[]int) []byte {
	t.Helper()
	var all [][]byte
	for _, path := range paths {
		found := find(record, path)
		require.NotEmpty(t, found, "%v", path)
		all = append(all, found...)
	}
	for _, f := range all {
		secret(f)
	}
	return record
}

func find(record []byte, path []int) (found [][]byte) {
	for d := wire.Decode(record); d.Next(); {
		switch {
		case d.Num() != path[0]:
			d.Skip()
		case len(path) == 1:
			found = append(found, d.Repeated())
		default:
			found = append(found, find(d.Repeated(), path[1:])...)
		}
	}
	return found
}

func key(t *testing.T) *curve.PrivateKey {
	t.Helper()
	k := curve.GenerateKey()
	secret(k[:])
	return &k
}

//go:noinline
func probeECDH(t *testing.T) {
	other := curve.GenerateKey()
	p := other.Public()
	var dst [32]byte
	require.NoError(t, curve.X25519(&dst, key(t), &p))
}

//go:noinline
func probePublicKey(t *testing.T) {
	p := key(t).Public()
	public(p[:])
	require.True(t, p.Valid())
	for _, p := range curve.PublicKeys([]curve.PrivateKey{*key(t), *key(t)}) {
		public(p[:])
		require.True(t, p.Valid())
	}
}

//go:noinline
func probeSign(t *testing.T) {
	k := key(t)
	sig := k.Sign([]byte("message"))
	public(sig[:])
	p := k.Public()
	public(p[:])
	require.True(t, p.Verify([]byte("message"), sig[:]))
}

//go:noinline
func probePadding(t *testing.T) {
	for n := range 33 {
		var key [32]byte
		var iv [16]byte
		secret(key[:])
		secret(iv[:])
		buf := bytes.Repeat([]byte{1}, 64)
		secret(buf)
		cbc.Pad(buf, 64-n)
		cbc.Encrypt(&key, &iv, make([]byte, 16), buf)
		cbc.Decrypt(&key, &iv, make([]byte, 16), buf)
	}
}

//go:noinline
func probeKeyRecords(t *testing.T) {
	id := x3dh.GenerateIdentityKey()
	r, err := id.AppendBinary(nil)
	require.NoError(t, err)
	_, err = x3dh.ParseIdentityKey(fields(t, r, []int{2}))
	require.NoError(t, err)
	pre, err := x3dh.GeneratePreKeys(1, 1)
	require.NoError(t, err)
	r, err = pre[0].AppendBinary(nil)
	require.NoError(t, err)
	_, err = x3dh.ParsePreKey(fields(t, r, []int{3}))
	require.NoError(t, err)
	signed, err := x3dh.GenerateSignedPreKey(id, 1, time.Unix(1, 0))
	require.NoError(t, err)
	r, err = signed.AppendBinary(nil)
	require.NoError(t, err)
	_, err = x3dh.ParseSignedPreKey(fields(t, r, []int{3}))
	require.NoError(t, err)
}

// device has an identity key and prekeys that are secret.
func device(t *testing.T) (*x3dh.IdentityKey, *x3dh.SignedPreKey, *x3dh.PreKey) {
	id := x3dh.GenerateIdentityKey()
	pre, err := x3dh.GeneratePreKeys(1, 1)
	require.NoError(t, err)
	signed, err := x3dh.GenerateSignedPreKey(id, 1, time.Unix(1, 0))
	require.NoError(t, err)

	r, err := id.AppendBinary(nil)
	require.NoError(t, err)
	id, err = x3dh.ParseIdentityKey(fields(t, r, []int{2}))
	require.NoError(t, err)
	r, err = pre[0].AppendBinary(nil)
	require.NoError(t, err)
	pre[0], err = x3dh.ParsePreKey(fields(t, r, []int{3}))
	require.NoError(t, err)
	r, err = signed.AppendBinary(nil)
	require.NoError(t, err)
	signed, err = x3dh.ParseSignedPreKey(fields(t, r, []int{3}))
	require.NoError(t, err)
	return id, signed, pre[0]
}

//go:noinline
func probeHandshake(t *testing.T) {
	aliceID, _, _ := device(t)
	bobID, signed, pre := device(t)
	bundle, err := x3dh.NewBundle(x3dh.BundleInfo{IdentityKey: bobID.Public(), SignedPreKey: signed.Public(), OneTimePreKey: new(pre.Public())})
	require.NoError(t, err)
	a, err := x3dh.Initiate(aliceID, bundle)
	require.NoError(t, err)
	alice, err := ratchet.New(a, ratchet.Config{Created: time.Unix(1, 0)})
	require.NoError(t, err)
	m, _, err := alice.Encrypt(nil, []byte("message"))
	require.NoError(t, err)
	public(m)
	initial, err := x3dh.ParseInitialMessage(m)
	require.NoError(t, err)
	acc, err := x3dh.Respond(bobID, initial, signed, pre)
	require.NoError(t, err)
	_, _, err = ratchet.Accept(nil, acc, ratchet.Config{})
	require.NoError(t, err)
}

func sessionKeys(t *testing.T, s *ratchet.Session) *ratchet.Session {
	r, err := s.AppendBinary(nil)
	require.NoError(t, err)
	paths := [][]int{{4}, {6, 2}, {6, 3, 2}}
	for _, p := range [][]int{{7, 3, 2}, {7, 4, 5}} {
		if len(find(r, p)) > 0 {
			paths = append(paths, p)
		}
	}
	s, err = ratchet.ParseSession(fields(t, r, paths...), ratchet.Signal)
	require.NoError(t, err)
	return s
}

//go:noinline
func probeSession(t *testing.T) {
	alice, bob := sessions(t)
	alice, bob = sessionKeys(t, alice), sessionKeys(t, bob)
	var sent [][]byte
	for range 4 {
		m, _, err := alice.Encrypt(nil, []byte("message"))
		require.NoError(t, err)
		public(m)
		sent = append(sent, m)
	}
	for _, i := range []int{3, 0, 2, 1} {
		_, err := bob.Decrypt(nil, sent[i])
		require.NoError(t, err)
		bob = sessionKeys(t, bob)
	}
	forged := bytes.Clone(sent[0])
	forged[len(forged)-1] ^= 1
	_, err := bob.Decrypt(nil, forged)
	require.Error(t, err)
	m, _, err := bob.Encrypt(nil, []byte("message"))
	require.NoError(t, err)
	public(m)
	_, err = alice.Decrypt(nil, m)
	require.NoError(t, err)
}

// sessions have talked both ways.
func sessions(t *testing.T) (alice, bob *ratchet.Session) {
	aliceID, bobID := x3dh.GenerateIdentityKey(), x3dh.GenerateIdentityKey()
	signed, err := x3dh.GenerateSignedPreKey(bobID, 1, time.Unix(1, 0))
	require.NoError(t, err)
	bundle, err := x3dh.NewBundle(x3dh.BundleInfo{IdentityKey: bobID.Public(), SignedPreKey: signed.Public()})
	require.NoError(t, err)
	a, err := x3dh.Initiate(aliceID, bundle)
	require.NoError(t, err)
	alice, err = ratchet.New(a, ratchet.Config{Created: time.Unix(1, 0)})
	require.NoError(t, err)
	m, _, err := alice.Encrypt(nil, []byte("message"))
	require.NoError(t, err)
	initial, err := x3dh.ParseInitialMessage(m)
	require.NoError(t, err)
	acc, err := x3dh.Respond(bobID, initial, signed, nil)
	require.NoError(t, err)
	bob, _, err = ratchet.Accept(nil, acc, ratchet.Config{})
	require.NoError(t, err)
	m, _, err = bob.Encrypt(nil, []byte("message"))
	require.NoError(t, err)
	_, err = alice.Decrypt(nil, m)
	require.NoError(t, err)
	return alice, bob
}

//go:noinline
func probeGroup(t *testing.T) {
	id := senderkey.DistributionID{1}
	c := senderkey.NewChain(senderkey.Signal, id)
	d, err := c.Distribution()
	require.NoError(t, err)
	rec, err := c.AppendBinary(nil)
	require.NoError(t, err)
	c, err = senderkey.ParseChain(fields(t, rec, []int{1, 2, 2}, []int{1, 3, 2}), senderkey.Signal, id)
	require.NoError(t, err)
	r := senderkey.NewReceiver(senderkey.Signal)
	require.NoError(t, r.Process(d))
	rec, err = r.AppendBinary(nil)
	require.NoError(t, err)
	fields(t, rec[1:], []int{1, 2, 2, 2})
	r, err = senderkey.ParseReceiver(rec, senderkey.Signal)
	require.NoError(t, err)
	var sent [][]byte
	for range 3 {
		m, err := c.Encrypt(nil, []byte("message"))
		require.NoError(t, err)
		public(m)
		sent = append(sent, m)
	}
	for _, i := range []int{2, 0, 1} {
		_, _, err = r.Decrypt(nil, sent[i])
		require.NoError(t, err)
		rec, err = r.AppendBinary(nil)
		require.NoError(t, err)
		if stored := []int{1, 2, 4, 2}; len(find(rec[1:], stored)) > 0 {
			fields(t, rec[1:], stored)
		}
		fields(t, rec[1:], []int{1, 2, 2, 2})
		r, err = senderkey.ParseReceiver(rec, senderkey.Signal)
		require.NoError(t, err)
	}
}

var sink int

//go:noinline
func probeLeakCompare(t *testing.T) {
	var a, b [32]byte
	secret(a[:])
	if bytes.Equal(a[:], b[:]) {
		sink++
	}
}

//go:noinline
func probeLeakTable(t *testing.T) {
	var a [1]byte
	var table [256]int
	secret(a[:])
	sink = table[a[0]]
}

//go:noinline
func probeLeakBranch(t *testing.T) {
	var a [1]byte
	secret(a[:])
	if a[0] > 1 {
		sink++
	}
}
