package ratchet

import (
	"bytes"
	"crypto/rand"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

// R04, E05: 2^32 + 5 is not 5.
func TestCounter2to32Rejected(t *testing.T) {
	alice, bob := newPair(t, Signal)
	for _, over := range []uint64{1 << 32, 1<<32 + 5, math.MaxUint64} {
		refuse(t, bob, sealed(t, alice, func(f *fields) { f.counter = over }), ErrMalformed)
		refuse(t, bob, sealed(t, alice, func(f *fields) { f.previous = over }), ErrMalformed)
	}
}

// R11, R-5.3-1, R-5.5-3: 8 bytes of MAC, no more and no fewer, and each counts.
func TestMACLengthExact(t *testing.T) {
	alice, bob := newPair(t, Signal)
	m, _ := send(t, alice, "message")
	body, mac := m[:len(m)-macSize], m[len(m)-macSize:]
	seed := kdf.MessageSeed(bob.derive(t, m))
	keys := kdf.ExpandSeed(&seed, nil)
	st := bob.load()
	full := kdf.MessageMAC(&keys.MAC, &st.remote, &st.local, body)
	require.Equal(t, mac, full[:8])
	for n := range 65 {
		tag := append(bytes.Clone(full[:]), make([]byte, 32)...)[:n]
		bad := append(bytes.Clone(body), tag...)
		if n == macSize {
			continue
		}
		before := record(t, bob)
		_, err := bob.Decrypt(nil, bad)
		require.Error(t, err, "tag of %d bytes", n)
		require.Equal(t, before, record(t, bob))
	}
	for i := range 8 * macSize {
		bad := bytes.Clone(m)
		bad[len(body)+i/8] ^= 1 << (i % 8)
		refuse(t, bob, bad, ErrAuthentication)
	}
	receive(t, bob, m, "message")
}

// derive returns the chain key at a message of a new chain.
func (s *Session) derive(t *testing.T, b []byte) [32]byte {
	m, err := parseMessage(b, 3)
	require.NoError(t, err)
	st := s.load()
	_, ck, err := st.root.step(&st.sending.private, &m.ratchetKey)
	require.NoError(t, err)
	return ck.advance(m.counter).key
}

// R12, R-5.5-7
func TestEveryBitOfMessageIsAuthenticated(t *testing.T) {
	eachFamily(t, func(t *testing.T, family Family) {
		alice, bob := newPair(t, family)
		first, _ := send(t, alice, "so that the chain is known")
		receive(t, bob, first, "so that the chain is known")
		m, _ := send(t, alice, "message")
		for i := range 8 * len(m) {
			bad := bytes.Clone(m)
			bad[i/8] ^= 1 << (i % 8)
			_, err := bob.Decrypt(nil, bad)
			require.Error(t, err, "bit %d", i)
		}
		for extra := range 256 {
			_, err := bob.Decrypt(nil, append(bytes.Clone(m), byte(extra)))
			require.Error(t, err)
		}
		receive(t, bob, m, "message")
	})
}

// E06, R-2.3-2, R-2.3-3: the MAC is over the bytes received. Another order and
// unknown fields are fine if the sender wrote them so, and not if somebody else
// did; nothing is ever re-encoded.
func TestMACOverReceivedBytes(t *testing.T) {
	alice, bob := newPair(t, Signal)
	unknown := append(wire.AppendBytes(nil, 5, []byte("post-quantum ratchet")), wire.AppendUint(nil, 99, 1)...)
	m := sealed(t, alice, func(*fields) {}, unknown...)
	refuse(t, bob, bytes.Replace(m, unknown, nil, 1), ErrAuthentication)
	receive(t, bob, m, "plaintext")

	alice, bob = newPair(t, Signal)
	original, _, err := newSession(new(*alice.load())).Encrypt(nil, []byte("plaintext"))
	require.NoError(t, err)
	f := takeApart(t, original)
	reordered := wire.AppendBytes([]byte{0x34}, 4, f.ciphertext)
	reordered = wire.AppendUint(reordered, 3, f.previous)
	reordered = wire.AppendUint(reordered, 2, f.counter)
	reordered = wire.AppendBytes(reordered, 1, f.ratchetKey)
	refuse(t, bob, append(bytes.Clone(reordered), f.mac...), ErrAuthentication)
	st := alice.load()
	seed := st.sending.ck.seed()
	keys := kdf.ExpandSeed(&seed, nil)
	mac := kdf.MessageMAC(&keys.MAC, &st.local, &st.remote, reordered)
	receive(t, bob, append(reordered, mac[:macSize]...), "plaintext")
}

// E02, E03, E04, E05, R-2.3-1: what only an attacker writes, under a true MAC.
func TestStrictProtobuf(t *testing.T) {
	alice, bob := newPair(t, Signal)
	for name, extra := range map[string][]byte{
		"ratchet key twice":     wire.AppendBytes(nil, 1, make([]byte, 33)),
		"counter twice":         {0x10, 0},
		"previous twice":        {0x18, 0},
		"ciphertext twice":      {0x22, 0},
		"unknown group":         {0x4b, 0x4c},
		"nested unknown groups": bytes.Repeat([]byte{0x4b}, 10000),
		"overlong unknown":      {0x48, 0x81, 0x00},
		"field 0":               {0x00, 0x00},
		"truncated":             {0x48},
		"length over the input": {0x4a, 0xff, 0xff, 0xff, 0xff, 0x0f},
	} {
		m := sealed(t, alice, func(*fields) {}, extra...)
		refuse(t, bob, m, ErrMalformed)
		_ = name
	}
	f := takeApart(t, sealed(t, alice, func(*fields) {}))
	for mask := range 1 << 4 { // fields left out
		b := []byte{f.version}
		for num, field := range [][]byte{
			wire.AppendBytes(nil, 1, f.ratchetKey), wire.AppendUint(nil, 2, f.counter),
			wire.AppendUint(nil, 3, f.previous), wire.AppendBytes(nil, 4, f.ciphertext),
		} {
			if mask>>num&1 == 0 {
				b = append(b, field...)
			}
		}
		want := ErrMalformed
		if mask == 0 || mask == 1<<2 { // previous_counter has a default
			want = ErrAuthentication
		}
		refuse(t, bob, append(b, make([]byte, macSize)...), want)
	}
}

// E05, R-2.3-1: one number, one encoding; here under a true MAC.
func TestNonMinimalVarintRejected(t *testing.T) {
	alice, bob := newPair(t, Signal)
	f := takeApart(t, sealed(t, alice, func(*fields) {}))
	st := alice.load()
	seed := st.sending.ck.seed()
	keys := kdf.ExpandSeed(&seed, nil)
	good := f.encode()
	good = good[:len(good)-macSize]
	accepted := 0
	for i := range good { // each byte, with a zero byte behind it as the longer form of a varint
		body := slices.Concat(good[:i], []byte{good[i] | 0x80, 0}, good[i+1:])
		mac := kdf.MessageMAC(&keys.MAC, &st.local, &st.remote, body)
		before := record(t, bob)
		if _, err := bob.Decrypt(nil, append(body, mac[:macSize]...)); err == nil {
			accepted++
		}
		require.Equal(t, before, record(t, bob), "byte %d", i)
	}
	require.Zero(t, accepted)
	mac := kdf.MessageMAC(&keys.MAC, &st.local, &st.remote, good)
	receive(t, bob, append(good, mac[:macSize]...), "plaintext")
}

// H01, H02: the ratchet key of a message.
func TestDHRejectsAllLowOrderPoints(t *testing.T) {
	bad, err := testvectors.Tests[testvectors.PublicKey]("x25519_public_keys.json")
	require.NoError(t, err)
	require.Len(t, bad, 27)
	alice, bob := newPair(t, Signal)
	for _, c := range bad {
		m := sealed(t, alice, func(f *fields) { f.ratchetKey = c.Encoded })
		refuse(t, bob, m, ErrMalformed)
		refuse(t, bob, m, x3dh.ErrInvalidKey)
	}
	for _, key := range [][]byte{nil, {5}, make([]byte, 33), make([]byte, 32), make([]byte, 34)} {
		refuse(t, bob, sealed(t, alice, func(f *fields) { f.ratchetKey = key }), ErrMalformed)
	}
}

// R13, H17, R-5.7-2: what the MAC is over is three strings of which the first
// two have one length each, by their type, so that no two inputs run together to
// the same bytes; and each byte of each of them counts. Devices and addresses
// are not in it (SPEC.md §5.7).
func TestADEncodingInjective(t *testing.T) {
	key := [32]byte{1}
	var b [33 + 33 + 20]byte
	rand.Read(b[:])
	mac := func() [32]byte {
		return kdf.MessageMAC(&key, (*[33]byte)(b[:33]), (*[33]byte)(b[33:66]), b[66:])
	}
	seen := map[[32]byte]bool{mac(): true}
	for i := range b {
		b[i] ^= 1
		require.False(t, seen[mac()], "byte %d does not count", i)
		seen[mac()] = true
		b[i] ^= 1
	}
	slices.Reverse(b[:66]) // the same bytes in other places
	require.False(t, seen[mac()])
}

// H17
func TestADBindsBothIdentitiesDevicesAndRoles(t *testing.T) {
	alice, bob := newPair(t, Signal)
	m, _ := send(t, alice, "message")
	for name, change := range map[string]func(*state){
		"another sender":   func(s *state) { s.remote[5] ^= 1 },
		"another receiver": func(s *state) { s.local[5] ^= 1 },
		"roles exchanged":  func(s *state) { s.local, s.remote = s.remote, s.local },
	} {
		st := *bob.load()
		change(&st)
		_, err := newSession(&st).Decrypt(nil, m)
		require.ErrorIs(t, err, ErrAuthentication, name)
	}
	receive(t, bob, m, "message")
}

// H17: a server that says that Carol's message is from Alice gives it to the
// session with Alice, which refuses it; the session that decrypts it knows
// Carol's identity key.
func TestWrongSenderAddressRejected(t *testing.T) {
	a, b, c := newDevice(t, Signal, true), newDevice(t, Signal, true), newDevice(t, Signal, true)
	m, _ := send(t, a.start(t, b), "from Alice")
	withAlice, _, err := b.accept(t, m)
	require.NoError(t, err)
	carol := c.start(t, b)
	m, _ = send(t, carol, "from Carol")
	withCarol, _, err := b.accept(t, m)
	require.NoError(t, err)
	m, _ = send(t, withCarol, "to Carol")
	receive(t, carol, m, "to Carol")
	m, _ = send(t, carol, "from Carol")
	refuse(t, withAlice, m, ErrAuthentication)
	receive(t, withCarol, m, "from Carol")
	require.Equal(t, c.identity.Public(), withCarol.RemoteIdentity())
	require.Equal(t, a.identity.Public(), withAlice.RemoteIdentity())
}

// H18, R-5.7-1: a message sent back to its author, also if both have one
// identity key, as the devices of one Signal account have.
func TestReflectedMessageRejected(t *testing.T) {
	for _, oneIdentity := range []bool{false, true} {
		a, b := newDevice(t, Signal, true), newDevice(t, Signal, true)
		if oneIdentity {
			b.identity = a.identity
			var err error
			b.signed, err = x3dh.GenerateSignedPreKey(b.identity, 7, testTime)
			require.NoError(t, err)
		}
		alice := a.start(t, b)
		first, _ := send(t, alice, "first")
		im, err := x3dh.ParseInitialMessage(first)
		require.NoError(t, err)
		_, err = alice.DecryptInitial(nil, im)
		if oneIdentity {
			require.ErrorIs(t, err, ErrAuthentication)
		} else {
			require.ErrorIs(t, err, ErrIdentityMismatch)
		}
		bob, _, err := b.accept(t, first)
		require.NoError(t, err)
		for _, s := range []*Session{alice, bob, alice, bob} {
			peer := alice
			if s == alice {
				peer = bob
			}
			m, typ := send(t, s, "there")
			if typ == Initial {
				im, err := x3dh.ParseInitialMessage(m)
				require.NoError(t, err)
				m = im.Message
			}
			refuse(t, s, m, ErrAuthentication)
			receive(t, peer, m, "there")
		}
	}
}

// H18: a session with oneself has no limits of its own.
func TestSelfSessionNeedsSameUser(t *testing.T) {
	a := newDevice(t, Signal, true)
	alice := a.start(t, a)
	m, _ := send(t, alice, "note")
	self, plaintext, err := a.accept(t, m)
	require.NoError(t, err)
	require.Equal(t, "note", string(plaintext))
	m, _ = send(t, self, "answer")
	receive(t, alice, m, "answer")
	refuse(t, self, forge(t, alice, MaxForwardJump+1), ErrTooFarAhead)
}

// E07, R-2.2-2
func TestVersionMatrix(t *testing.T) {
	alice, bob := newPair(t, Signal)
	m, _ := send(t, alice, "message")
	for v := range 256 {
		bad := bytes.Clone(m)
		bad[0] = byte(v)
		switch {
		case v == 0x34:
		case v>>4 == 3:
			refuse(t, bob, bad, ErrAuthentication) // read, and the MAC covers the nibble
		default:
			refuse(t, bob, bad, ErrVersion)
		}
	}
	for n := range 10 {
		refuse(t, bob, m[:n], ErrMalformed)
	}
	refuse(t, bob, append([]byte{0x44}, make([]byte, macSize-1)...), ErrMalformed)
	refuse(t, bob, append([]byte{0x44}, make([]byte, macSize)...), ErrVersion)
	receive(t, bob, m, "message")
}

// E08: each kind of bytes, given to each reader.
func TestTypeConfusionMatrix(t *testing.T) {
	a, b := newDevice(t, Signal, true), newDevice(t, Signal, true)
	starting := a.start(t, b)
	initial, _ := send(t, starting, "initial")
	alice, bob := newPair(t, Signal)
	ordinary, _ := send(t, alice, "ordinary")
	bundle, err := b.bundle(t).AppendBinary(nil)
	require.NoError(t, err)
	kinds := map[string][]byte{
		"ordinary": ordinary, "initial": initial, "bundle": bundle,
		"session": record(t, bob), "nothing": nil,
	}
	readers := map[string]func([]byte) error{
		"ordinary": func(b []byte) error { _, err := reload(t, bob).Decrypt(nil, b); return err },
		"initial": func(m []byte) error {
			im, err := x3dh.ParseInitialMessage(m)
			if err != nil {
				return err
			}
			acceptance, err := x3dh.Respond(b.identity, im, b.signed, b.oneTime)
			if err != nil {
				return err
			}
			_, _, err = Accept(nil, acceptance, b.config)
			return err
		},
		"bundle":  func(b []byte) error { _, err := x3dh.ParseBundle(b); return err },
		"session": func(b []byte) error { _, err := ParseSession(b, Signal); return err },
	}
	for kind, b := range kinds {
		for reader, read := range readers {
			require.Equal(t, kind == reader, read(b) == nil, "%s read as %s", kind, reader)
		}
	}
}

// R29: numbers in records are varints and fixed64, in one byte order on every
// platform; .ci/run runs this on 32 bits too. The bytes are written out here.
func TestStateVectorsLittleAndBigEndian(t *testing.T) {
	st := state{version: 3, previousCounter: 0x01020304, localRegID: 0x3fff}
	st.sending.ck.index = 0xfffffffe
	st.pending = &pendingPreKey{oneTimeID: new(uint32(0x80)), signedID: 1 << 31, created: 1 << 40}
	b := st.appendBinary(nil)
	for name, want := range map[string][]byte{
		"previous_counter":      {0x28, 0x84, 0x86, 0x88, 0x08},
		"index":                 {0x08, 0xfe, 0xff, 0xff, 0xff, 0x0f},
		"pre_key_id":            {0x08, 0x80, 0x01},
		"signed_pre_key_id":     {0x18, 0x80, 0x80, 0x80, 0x80, 0xf8, 0xff, 0xff, 0xff, 0xff, 0x01},
		"timestamp":             {0x20, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20},
		"local_registration_id": {0x58, 0xff, 0x7f},
	} {
		require.Equal(t, 1, bytes.Count(b, want), name)
	}
}
