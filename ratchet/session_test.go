package ratchet

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/x3dh"
)

func eachFamily(t *testing.T, f func(t *testing.T, family Family)) {
	t.Run("Signal", func(t *testing.T) { f(t, Signal) })
	t.Run("WhatsApp", func(t *testing.T) { f(t, WhatsApp) })
}

// R-2.2-1, R-2.2-3, R-4.5-1, R-4.5-3, R-5.4-4: initial messages until the first
// answer, each with the same fields and with a ratchet message of its own; then
// ordinary ones. Both families, with and without a one-time prekey.
func TestInitialMessagesUntilTheFirstAnswer(t *testing.T) {
	eachFamily(t, func(t *testing.T, family Family) {
		for _, opk := range []bool{true, false} {
			a, b := newDevice(t, family, true), newDevice(t, family, opk)
			alice := a.start(t, b)
			since, waiting := alice.Unacknowledged()
			require.True(t, waiting)
			require.Equal(t, testTime, since)

			messages := sendN(t, alice, 3)
			first, err := x3dh.ParseInitialMessage(messages[0])
			require.NoError(t, err)
			require.Equal(t, family.versionByte(), first.Version)
			require.Equal(t, family.versionByte(), first.Message[0])
			require.Equal(t, a.identity.Public(), first.IdentityKey)
			require.Equal(t, uint32(1234), first.RegistrationID)
			require.Equal(t, uint32(7), first.SignedPreKeyID)
			require.Equal(t, opk, first.OneTimePreKeyID != nil)

			// The first to arrive is the last one sent.
			bob, plaintext, err := b.accept(t, messages[2])
			require.NoError(t, err)
			require.Equal(t, number(2), string(plaintext))
			require.Equal(t, b.identity.Public(), bob.LocalIdentity())
			require.Equal(t, a.identity.Public(), bob.RemoteIdentity())
			require.Equal(t, uint32(1234), bob.RemoteRegistrationID())
			inner, err := ParseMessage(first.Message)
			require.NoError(t, err)
			require.Equal(t, inner.RatchetKey, alice.RatchetKey())
			require.NotEqual(t, inner.RatchetKey, bob.RatchetKey())
			for _, i := range []int{0, 1} {
				m, err := x3dh.ParseInitialMessage(messages[i])
				require.NoError(t, err)
				require.True(t, bob.Matches(m))
				plaintext, err := bob.DecryptInitial(nil, m)
				require.NoError(t, err)
				require.Equal(t, number(i), string(plaintext))
				m.Message = first.Message
				require.Equal(t, first, m, "the fields are repeated")
				_, err = bob.DecryptInitial(nil, m)
				require.ErrorIs(t, err, ErrDuplicate)
			}
			_, waiting = bob.Unacknowledged()
			require.False(t, waiting)

			answer, typ := send(t, bob, "answer")
			require.Equal(t, Ordinary, typ)
			require.Equal(t, family.versionByte(), answer[0])
			receive(t, alice, answer, "answer")
			_, waiting = alice.Unacknowledged()
			require.False(t, waiting)
			ordinary, typ := send(t, alice, "ordinary")
			require.Equal(t, Ordinary, typ)
			receive(t, bob, ordinary, "ordinary")
		}
	})
}

// R-2.2-2: each family reads both.
func TestFamiliesReadEachOther(t *testing.T) {
	a, b := newDevice(t, Signal, true), newDevice(t, WhatsApp, true)
	alice := a.start(t, b)
	m, _ := send(t, alice, "34")
	bob, plaintext, err := b.accept(t, m)
	require.NoError(t, err)
	require.Equal(t, "34", string(plaintext))
	m, _ = send(t, bob, "33")
	require.Equal(t, byte(0x33), m[0])
	receive(t, alice, m, "33")
	m, _ = send(t, alice, "34")
	require.Equal(t, byte(0x34), m[0])
	receive(t, bob, m, "34")
}

// A long conversation over several chains, in and out of order, stored and
// read after each call.
func TestConversation(t *testing.T) {
	alice, bob := newPair(t, Signal)
	for round := range 20 {
		for _, s := range []*[2]**Session{{&alice, &bob}, {&bob, &alice}} {
			from, to := s[0], s[1]
			messages := sendN(t, *from, 1+round%5)
			*from = reload(t, *from)
			for i := len(messages) - 1; i >= 0; i-- {
				receive(t, *to, messages[i], number(i))
				*to = reload(t, *to)
				refuse(t, *to, messages[i], ErrDuplicate)
			}
		}
	}
}

// R-5.4-1 and sizes: plaintexts of any length, with the padding that they need.
func TestPlaintextLengths(t *testing.T) {
	alice, bob := newPair(t, Signal)
	for _, n := range []int{0, 1, 15, 16, 17, 31, 32, 1000, 70000} {
		plaintext := bytes.Repeat([]byte{byte(n), 0}, n)[:n]
		m, _, err := alice.Encrypt(nil, plaintext)
		require.NoError(t, err)
		require.Len(t, takeApart(t, m).ciphertext, n/16*16+16)
		got, err := bob.Decrypt([]byte("dst"), m)
		require.NoError(t, err)
		require.Equal(t, "dst", string(got[:3]))
		require.True(t, bytes.Equal(plaintext, got[3:]))
	}
}

// The argument may be the memory behind the result: no crash, and the right
// bytes.
func TestOverlap(t *testing.T) {
	for shift := range 120 {
		alice, bob := newPair(t, Signal)
		buf := make([]byte, 400)
		plaintext := buf[shift : shift+100]
		for i := range plaintext {
			plaintext[i] = byte(i)
		}
		want := bytes.Clone(plaintext)
		m, _, err := alice.Encrypt(buf[:10], plaintext)
		require.NoError(t, err)
		require.Equal(t, 10, cap(buf)-cap(m[10:]), "in place")

		room := make([]byte, 600)
		message := room[shift : shift+copy(room[shift:], m[10:])]
		got, err := bob.Decrypt(room[:10], message)
		require.NoError(t, err)
		require.Equal(t, want, got[10:])
	}
}

// Encrypt and Decrypt write behind dst and nowhere else; Decrypt leaves the
// message alone.
func TestAliasing(t *testing.T) {
	alice, bob := newPair(t, Signal)
	plaintext := []byte("plaintext with spare capacity, which stays")
	backing := bytes.Repeat([]byte{0xaa}, 500)
	m, _, err := alice.Encrypt(backing[:5:5], plaintext[:9])
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat([]byte{0xaa}, 500), backing)
	require.Equal(t, "plaintext with spare capacity, which stays", string(plaintext))

	message := append(bytes.Clone(m[5:]), "spare"...)
	want := bytes.Clone(message)
	got, err := bob.Decrypt(nil, message[:len(message)-5])
	require.NoError(t, err)
	require.Equal(t, want, message)
	for i := range message {
		message[i] = 0
	}
	require.Equal(t, "plaintext", string(got))
}

func TestZeroValues(t *testing.T) {
	m := &x3dh.InitialMessage{}
	for _, s := range []*Session{nil, new(Session)} {
		_, _, err := s.Encrypt(nil, nil)
		require.ErrorIs(t, err, ErrUninitialized)
		_, err = s.Decrypt(nil, nil)
		require.ErrorIs(t, err, ErrUninitialized)
		_, err = s.DecryptInitial(nil, m)
		require.ErrorIs(t, err, ErrUninitialized)
		_, err = s.AppendBinary(nil)
		require.ErrorIs(t, err, ErrUninitialized)
		require.ErrorIs(t, s.Archive(), ErrUninitialized)
		require.False(t, s.Matches(m))
		require.Zero(t, s.LocalIdentity())
		require.Zero(t, s.RemoteIdentity())
		require.Zero(t, s.RatchetKey())
		require.Zero(t, s.RemoteRegistrationID())
		_, ok := s.Unacknowledged()
		require.False(t, ok)
	}
	for _, a := range []*x3dh.Agreement{nil, new(x3dh.Agreement)} {
		_, err := New(a, Config{})
		require.ErrorIs(t, err, ErrUninitialized)
	}
	for _, a := range []*x3dh.Acceptance{nil, new(x3dh.Acceptance)} {
		_, _, err := Accept(nil, a, Config{})
		require.ErrorIs(t, err, ErrUninitialized)
	}
	alice, _ := newPair(t, Signal)
	_, err := alice.DecryptInitial(nil, nil)
	require.ErrorIs(t, err, ErrUninitialized)

	// An agreement makes one session.
	a, b := newDevice(t, Signal, true), newDevice(t, Signal, true)
	agreement, err := x3dh.Initiate(a.identity, b.bundle(t))
	require.NoError(t, err)
	s, err := New(agreement, Config{}) // a zero Config is usable: Signal, 1970
	require.NoError(t, err)
	since, _ := s.Unacknowledged()
	require.Equal(t, time.Unix(0, 0), since)
	_, err = New(agreement, a.config)
	require.ErrorIs(t, err, ErrUninitialized)
}

func TestArchiveForgetsThePendingPreKey(t *testing.T) {
	a, b := newDevice(t, Signal, true), newDevice(t, Signal, true)
	alice := a.start(t, b)
	m, _ := send(t, alice, "first")
	require.NoError(t, alice.Archive())
	_, waiting := alice.Unacknowledged()
	require.False(t, waiting)
	bob, _, err := b.accept(t, m)
	require.NoError(t, err)
	answer, _ := send(t, bob, "late answer")
	receive(t, reload(t, alice), answer, "late answer")
}

// R-4.4-3, R-3.6-4: a responder has a session only when the first message is genuine:
// of no damaged first message does anything come into being.
func TestAcceptNeedsAGenuineMessage(t *testing.T) {
	a, b := newDevice(t, Signal, true), newDevice(t, Signal, true)
	m, _ := send(t, a.start(t, b), "first")
	accepted := 0
	for i := range 8 * len(m) {
		bad := bytes.Clone(m)
		bad[i/8] ^= 1 << (i % 8)
		im, err := x3dh.ParseInitialMessage(bad)
		if err != nil {
			continue
		}
		acceptance, err := x3dh.Respond(b.identity, im, b.signed, b.oneTime)
		if err != nil {
			continue
		}
		s, plaintext, err := Accept([]byte("dst"), acceptance, b.config)
		if err == nil {
			// Bits outside of what X3DH and the MAC bind: the low nibble of the
			// outer version byte, and the claimed registration ID.
			require.Contains(t, string(plaintext), "first")
			require.True(t, i/8 == 0 || im.RegistrationID != a.config.RegistrationID, "bit %d", i)
			accepted++
			continue
		}
		require.Nil(t, s)
		require.Equal(t, "dst", string(plaintext))
	}
	require.Less(t, accepted, 4+32)
	_, _, err := b.accept(t, m)
	require.NoError(t, err, "and the genuine one still works")
}

// R-4.5-2, and what else a repeated initial message can claim.
func TestRepeatedInitialMessage(t *testing.T) {
	a, b := newDevice(t, Signal, true), newDevice(t, Signal, true)
	alice := a.start(t, b)
	m, _ := send(t, alice, "first")
	bob, _, err := b.accept(t, m)
	require.NoError(t, err)

	second, _ := send(t, alice, "second")
	im, err := x3dh.ParseInitialMessage(second)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(*x3dh.InitialMessage)
		want   error
	}{
		"another identity key": {func(m *x3dh.InitialMessage) { m.IdentityKey = x3dh.GenerateIdentityKey().Public() }, ErrIdentityMismatch},
		"no identity key":      {func(m *x3dh.InitialMessage) { m.IdentityKey = x3dh.PublicKey{} }, ErrIdentityMismatch},
		"another base key":     {func(m *x3dh.InitialMessage) { m.BaseKey = m.IdentityKey }, ErrOtherSession},
		"another version":      {func(m *x3dh.InitialMessage) { m.Version = 0x44 }, ErrOtherSession},
	} {
		changed := *im
		c.change(&changed)
		before := record(t, bob)
		_, err := bob.DecryptInitial(nil, &changed)
		require.ErrorIs(t, err, c.want, name)
		require.Equal(t, before, record(t, bob), name)
		require.Equal(t, a.identity.Public(), bob.RemoteIdentity())
	}
	plaintext, err := bob.DecryptInitial(nil, im)
	require.NoError(t, err)
	require.Equal(t, "second", string(plaintext))
}

// A session is not for concurrent use, and a key is not used twice all the
// same: the state is swapped from the one that was read.
func TestConcurrentUseIsAnError(t *testing.T) {
	alice, _ := newPair(t, Signal)
	old := alice.load()
	snapshot := *old
	_, next, err := old.encrypt(nil, nil)
	require.NoError(t, err)
	send(t, alice, "meanwhile")
	require.ErrorIs(t, alice.commit(old, next), ErrConcurrentUse)
	require.Equal(t, snapshot.sending.ck.index+1, alice.load().sending.ck.index)
}

// The random generator that the session draws from gives a new key each time.
func TestRatchetStepDrawsNewKey(t *testing.T) { // R18
	alice, bob := newPair(t, Signal)
	seen := map[curve.PublicKey]bool{}
	for i := range 50 {
		from, to := alice, bob
		if i%2 == 1 {
			from, to = bob, alice
		}
		m, _ := send(t, from, "turn")
		receive(t, to, m, "turn")
		key := to.load().sending.public
		require.False(t, seen[key])
		seen[key] = true
	}

	// From one state, two DH steps draw two keys: nothing old decides it.
	m, _ := send(t, alice, "fork")
	twin := reload(t, bob)
	receive(t, bob, m, "fork")
	receive(t, twin, m, "fork")
	require.NotEqual(t, bob.load().sending.private, twin.load().sending.private)
}

// R-5.4-3, R-5.5-6, R-6.1-4: why a state is stored before anything leaves, and
// why no copy of it goes on. The library cannot see it; the caller's database
// can.
func TestTwoCopiesUseOneKeyTwice(t *testing.T) {
	alice, _ := newPair(t, Signal)
	restored := reload(t, alice)
	m1, _ := send(t, alice, "the one")
	m2, _ := send(t, restored, "the other")
	f1, f2 := takeApart(t, m1), takeApart(t, m2)
	require.Equal(t, f1.ratchetKey, f2.ratchetKey)
	require.Equal(t, f1.counter, f2.counter)

	// Stored in time, there is nothing to restore from.
	alice = reload(t, alice)
	m3, _ := send(t, alice, "the next")
	require.Equal(t, f1.counter+1, takeApart(t, m3).counter)
}

// Steps says what Decrypt would cost, and changes nothing.
func TestSteps(t *testing.T) {
	alice, bob := newPair(t, Signal)
	messages := sendN(t, alice, 8)
	check := func(m []byte, steps int, known bool, want error) {
		t.Helper()
		before := record(t, bob)
		n, k, err := bob.Steps(m)
		require.ErrorIs(t, err, want)
		require.Equal(t, steps, n)
		require.Equal(t, known, k)
		require.Equal(t, before, record(t, bob))
		if want == nil {
			require.Equal(t, steps, countSteps(func() { _, _ = reload(t, bob).Decrypt(nil, forgeMAC(m)) }))
		}
	}
	check(messages[5], 5, false, nil)
	check(messages[0], 0, false, nil)
	receive(t, bob, messages[2], number(2))
	check(messages[5], 2, true, nil)
	check(messages[3], 0, true, nil)
	check(messages[0], 0, true, nil) // stored
	check(messages[2], 0, true, nil) // used
	ahead := func(n uint64) []byte {
		f := takeApart(t, messages[3])
		f.counter += n
		return f.encode()
	}
	check(ahead(MaxForwardJump), MaxForwardJump, true, nil)
	check(ahead(MaxForwardJump+1), 0, true, ErrTooFarAhead)
	check(nil, 0, false, ErrMalformed)
	require.Equal(t, alice.BaseKey(), bob.BaseKey())
	require.NotZero(t, alice.BaseKey())
	require.Zero(t, new(Session).BaseKey())
	_, _, err := new(Session).Steps(messages[0])
	require.ErrorIs(t, err, ErrUninitialized)
}

// forgeMAC returns m with another MAC.
func forgeMAC(m []byte) []byte {
	bad := bytes.Clone(m)
	bad[len(bad)-1] ^= 1
	return bad
}
