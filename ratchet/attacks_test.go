package ratchet

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/x3dh"
)

// R01, R-1-1, R-5.5-1: whatever is wrong with a message, the record stays the
// same to the byte, for the current chain, an older one, a new one, and a
// stored key; and the genuine message decrypts afterwards.
func TestDecryptFailureLeavesStateByteIdentical(t *testing.T) {
	alice, bob := newPair(t, Signal)
	old := sendN(t, alice, 3)
	receive(t, bob, old[2], number(2)) // 0 and 1 are stored
	m, _ := send(t, bob, "turn")
	receive(t, alice, m, "turn")
	genuine := [][]byte{old[0]}
	m, _ = send(t, alice, "new chain")
	genuine = append(genuine, m)
	for _, m := range genuine {
		for i := range 8 * len(m) {
			bad := bytes.Clone(m)
			bad[i/8] ^= 1 << (i % 8)
			before := record(t, bob)
			_, err := bob.Decrypt(nil, bad)
			require.Error(t, err, "bit %d", i)
			require.Equal(t, before, record(t, bob), "bit %d", i)
		}
		for n := range m {
			before := record(t, bob)
			_, err := bob.Decrypt(nil, m[:n])
			require.Error(t, err, "cut to %d", n)
			require.Equal(t, before, record(t, bob), "cut to %d", n)
		}
	}
	receive(t, bob, genuine[0], number(0))
	receive(t, bob, genuine[1], "new chain")
}

// R02, R-5.6-3: 2,000 keys a chain and five chains, the lowest and the oldest
// go first, and the record stays small.
func TestSkippedKeysBoundedPerChainAndTotal(t *testing.T) {
	require.Equal(t, []int{2_000, 5}, []int{MaxSkippedKeys, MaxReceivingChains})
	alice, bob := newPair(t, Signal)
	var chains []curve.PublicKey
	for range MaxReceivingChains + 2 {
		chains = append(chains, alice.load().sending.public)
		messages := sendN(t, alice, MaxSkippedKeys+11)
		receive(t, bob, messages[10], number(10)) // 0 to 9 are stored
		last := len(messages) - 1
		receive(t, bob, messages[last], number(last)) // and 11 to 2009: 2,009 in all
		chain := bob.load().receiving[bob.load().nReceiving-1]
		require.Equal(t, MaxSkippedKeys, chain.skipped.len())
		for i := range 9 {
			refuse(t, bob, messages[i], ErrDuplicate) // R-5.6-4
		}
		receive(t, bob, messages[9], number(9))
		receive(t, bob, messages[last-1], number(last-1))
		m, _ := send(t, bob, "turn")
		receive(t, alice, m, "turn")
	}
	st := bob.load()
	require.Equal(t, MaxReceivingChains, st.nReceiving)
	for i, key := range chains[len(chains)-MaxReceivingChains:] {
		require.Equal(t, key, st.receiving[i].ratchetKey, "the oldest went")
	}
	require.LessOrEqual(t, st.stored(), MaxReceivingChains*MaxSkippedKeys)
	b := record(t, bob)
	require.Less(t, len(b), 700+45*st.stored(), "45 bytes a stored key at most")
	reload(t, bob)
}

// R-5.6-1, R-5.6-3: the longest jump, and one more. Of 25,000 skipped messages
// the last 2,000 can still arrive.
func TestForwardJump(t *testing.T) {
	require.Equal(t, 25_000, MaxForwardJump)
	alice, bob := newPair(t, Signal)
	messages := sendN(t, alice, MaxForwardJump+2)
	refuse(t, bob, messages[MaxForwardJump+1], ErrTooFarAhead)
	receive(t, bob, messages[MaxForwardJump], number(MaxForwardJump))
	refuse(t, bob, messages[MaxForwardJump-MaxSkippedKeys-1], ErrDuplicate)
	receive(t, bob, messages[MaxForwardJump-MaxSkippedKeys], number(MaxForwardJump-MaxSkippedKeys))
	receive(t, bob, messages[MaxForwardJump-1], number(MaxForwardJump-1))
	receive(t, bob, messages[MaxForwardJump+1], number(MaxForwardJump+1))
}

// countSteps counts the HMACs that walk chains during f.
func countSteps(f func()) (n int) {
	defer func(original func([32]byte) [32]byte) { nextChainKey = original }(nextChainKey)
	nextChainKey = func(ck [32]byte) [32]byte { n++; return kdf.ChainKey(ck) }
	f()
	return n
}

// R03, R-5.6-2: a forged message costs one HMAC a step and no memory; it is not
// made cheaper to stop at 1,000 as the catalogue proposes, since peers send
// more (SPEC.md appendix A.3). A message over the limit costs nothing.
func TestForgedHeaderCostBounded(t *testing.T) {
	alice, bob := newPair(t, Signal)
	for _, jump := range []uint64{0, 1, 1999, 2000, 2001, MaxForwardJump} {
		forged := forge(t, alice, jump)
		require.Equal(t, int(jump), countSteps(func() { refuse(t, bob, forged, ErrAuthentication) }))
		require.Zero(t, testing.AllocsPerRun(5, func() { _, _ = bob.Decrypt(nil, forged) }))
	}
	over := forge(t, alice, MaxForwardJump+1)
	require.Zero(t, countSteps(func() { refuse(t, bob, over, ErrTooFarAhead) }))

	// A genuine jump derives the keys to keep once more, and no others.
	messages := sendN(t, alice, 3001)
	require.Equal(t, 3000+1+MaxSkippedKeys, countSteps(func() { receive(t, bob, messages[3000], number(3000)) }))
	require.Zero(t, countSteps(func() { receive(t, bob, messages[2999], number(2999)) }), "a stored key costs none")
}

// R04, R-5.4-2: a chain ends; it does not begin again at 0.
func TestHeaderCounterOverflow(t *testing.T) {
	alice, bob := newPair(t, Signal)
	m, _ := send(t, alice, "sync")
	receive(t, bob, m, "sync")
	for _, s := range []struct {
		s  *Session
		ck *chainKey
	}{
		{alice, &alice.load().sending.ck.chainKey},
		{bob, &bob.load().receiving[bob.load().nReceiving-1].ck.chainKey},
	} {
		s.ck.index = lastIndex - 2
	}
	for range 2 {
		m, _ := send(t, alice, "near the end")
		receive(t, bob, m, "near the end")
		bob = reload(t, bob)
	}
	before := record(t, alice)
	out, _, err := alice.Encrypt([]byte("dst"), nil)
	require.ErrorIs(t, err, ErrChainExhausted)
	require.Equal(t, "dst", string(out))
	require.Equal(t, before, record(t, alice))

	// What a peer would send that goes on all the same.
	f := takeApart(t, m)
	f.counter = math.MaxUint32
	refuse(t, bob, f.encode(), ErrChainExhausted)

	// The next DH step begins a new chain.
	m, _ = send(t, bob, "turn")
	receive(t, alice, m, "turn")
	m, _ = send(t, alice, "after")
	receive(t, bob, m, "after")
}

// R05, R-5.3-2: previous_counter is one less than the length of the chain that
// ended, 0 for an empty one, and readers do not care.
func TestPreviousCounterSemantics(t *testing.T) {
	alice, bob := newPair(t, Signal)
	for n, want := range []uint64{0, 0, 1, 2, 3} {
		for _, m := range sendN(t, alice, n) { // the chain that ends
			_, err := bob.Decrypt(nil, m)
			require.NoError(t, err)
		}
		m, _ := send(t, bob, "turn")
		receive(t, alice, m, "turn")
		m, _ = send(t, alice, "new chain")
		require.Equal(t, want, takeApart(t, m).previous, "after %d messages", n)
		receive(t, bob, m, "new chain")
		m, _ = send(t, bob, "turn")
		receive(t, alice, m, "turn") // a chain of one ended in between
	}
}

// R05: any previous_counter under a true MAC, the WhatsApp family's 2^32 − 1
// among them, changes nothing but the bytes: no key is derived for it.
func TestForgedPNStoresNothing(t *testing.T) {
	for _, pn := range []uint64{0, 1, 5, 25_001, math.MaxUint32} {
		alice, bob := newPair(t, Signal)
		m := sealed(t, alice, func(f *fields) { f.previous = pn })
		require.Equal(t, 1, countSteps(func() { receive(t, bob, m, "plaintext") }))
		require.Zero(t, bob.load().stored())
	}
}

// R06, R-5.6-4, R-5.5-4: messages of the last five chains decrypt late; one of
// a sixth looks like a new ratchet key and does not authenticate.
func TestEvictedRatchetKeyRejected(t *testing.T) {
	alice, bob := newPair(t, Signal)
	var late [][]byte
	for range MaxReceivingChains + 1 {
		m := sendN(t, alice, 2)
		late = append(late, m[0])
		receive(t, bob, m[1], number(1))
		m[0], _ = send(t, bob, "turn")
		receive(t, alice, m[0], "turn")
	}
	refuse(t, bob, late[0], ErrAuthentication)
	for _, m := range late[1:] {
		receive(t, bob, m, number(0))
		refuse(t, bob, m, ErrDuplicate)
	}
}

// R07, R-5.5-5
func TestReplayIsTypedErrorAndNoOp(t *testing.T) {
	alice, bob := newPair(t, Signal)
	messages := sendN(t, alice, 5)
	for _, i := range []int{1, 0, 4, 2, 3} {
		receive(t, bob, messages[i], number(i))
		for range 3 {
			refuse(t, bob, messages[i], ErrDuplicate)
			bob = reload(t, bob)
		}
	}
	m, _ := send(t, bob, "turn")
	receive(t, alice, m, "turn")
	m, _ = send(t, alice, "turn")
	receive(t, bob, m, "turn")
	for _, m := range messages {
		refuse(t, bob, m, ErrDuplicate) // of an older chain too
	}
}

// R10, R-5.5-2: the MAC decides before the padding is looked at. Bad padding
// under a true MAC, which only the peer can make, is the same error.
func TestMACBeforePadding(t *testing.T) {
	alice, bob := newPair(t, Signal)
	seed := alice.load().sending.ck.seed()
	keys := kdf.ExpandSeed(&seed, nil)
	st := bob.load()

	decrypts := func(last ...byte) bool {
		buf := bytes.Repeat([]byte{0xaa}, 16)
		copy(buf[16-len(last):], last)
		cbc.Encrypt(&keys.Cipher, &keys.IV, make([]byte, 16), buf)
		m := sealed(t, alice, func(f *fields) { f.ciphertext = buf })
		parsed, err := parseMessage(m, 3)
		require.NoError(t, err)
		_, _, _, err = st.decrypt(nil, &parsed, curve.GenerateKey)
		if err != nil {
			require.ErrorIs(t, err, ErrAuthentication)
		}
		// The same with a wrong MAC: the padding makes no difference.
		m[len(m)-1] ^= 1
		refuse(t, bob, m, ErrAuthentication)
		return err == nil
	}
	for last := range 256 {
		require.Equal(t, last == 1, decrypts(byte(last)), "last byte %d", last)
	}
	require.True(t, decrypts(2, 2))
	require.True(t, decrypts(3, 3, 3))
	require.True(t, decrypts(bytes.Repeat([]byte{16}, 16)...))
	require.False(t, decrypts(3, 2, 3))
	require.False(t, decrypts(2, 3, 3))
	require.False(t, decrypts(append([]byte{15}, bytes.Repeat([]byte{16}, 15)...)...))

	// A wrong MAC costs no decryption, whose time would tell: AES allocates, and
	// nothing does here.
	m := sealed(t, alice, func(*fields) {})
	m[len(m)-1] ^= 1
	require.Zero(t, testing.AllocsPerRun(5, func() { _, _ = bob.Decrypt(nil, m) }))
	buf := make([]byte, 16)
	require.NotZero(t, testing.AllocsPerRun(5, func() { cbc.Decrypt(&keys.Cipher, &keys.IV, make([]byte, 16), buf) }))
}

// R10: one error value for whatever is wrong with the cryptography.
func TestUniformDecryptError(t *testing.T) {
	alice, bob := newPair(t, Signal)
	m, _ := send(t, alice, "message")
	wrongMAC, wrongCiphertext, otherKey := bytes.Clone(m), bytes.Clone(m), bytes.Clone(m)
	wrongMAC[len(m)-1] ^= 1
	wrongCiphertext[len(m)-9] ^= 1
	key := curve.GenerateKey()
	copy(otherKey[3:], key.Public().Append(nil))
	for _, bad := range [][]byte{
		wrongMAC, wrongCiphertext, otherKey,
		sealed(t, alice, func(f *fields) { f.ciphertext = nil }),
		sealed(t, alice, func(f *fields) { f.ciphertext = f.ciphertext[1:] }),
	} {
		_, err := bob.Decrypt(nil, bad)
		require.True(t, err == ErrAuthentication, "%v", err)
		refuse(t, bob, bad, ErrAuthentication)
	}
	receive(t, bob, m, "message")
}

// R17, R-5.5-1: the first reply carries a ratchet key that did not exist before
// the message that it answers.
func TestFirstReplyGeneratesFreshRatchetKey(t *testing.T) {
	a, b := newDevice(t, Signal, true), newDevice(t, Signal, true)
	alice := a.start(t, b)
	m, _ := send(t, alice, "first")
	bob, _, err := b.accept(t, m)
	require.NoError(t, err)
	reply, _ := send(t, bob, "reply")
	key := takeApart(t, reply).ratchetKey
	require.NotEqual(t, b.signed.Public().Key.Bytes(), key)
	require.NotContains(t, string(m), string(key))
	twin, _, err := b.accept(t, m)
	require.NoError(t, err)
	reply, _ = send(t, twin, "reply")
	require.NotEqual(t, key, takeApart(t, reply).ratchetKey)
}

// R17: a thief has the whole state of both sides and then only watches. He
// reads what the stolen chains give, and after one message each way nothing.
func TestHealsAfterOneRoundTrip(t *testing.T) {
	alice, bob := newPair(t, Signal)
	thiefA, thiefB := reload(t, alice), reload(t, bob)

	m, _ := send(t, alice, "still readable")
	receive(t, thiefB, m, "still readable")
	receive(t, bob, m, "still readable")

	m, _ = send(t, bob, "with a key that he does not have, to one that he has")
	receive(t, thiefA, m, "with a key that he does not have, to one that he has")
	receive(t, alice, m, "with a key that he does not have, to one that he has")

	m, _ = send(t, alice, "healed")
	refuse(t, thiefB, m, ErrAuthentication)
	refuse(t, thiefA, m, ErrAuthentication)
	receive(t, bob, m, "healed")
}

// R20: a ciphertext opens in one session, under one key, also if its padding is
// right under another. (A tag of 8 bytes does not commit in the cryptographic
// sense: SPEC.md §5.4.)
func TestCiphertextOpensUnderOneKeyOnly(t *testing.T) {
	alice, bob := newPair(t, Signal)
	messages := sendN(t, alice, 20)
	for i, m := range messages {
		for j := range messages {
			f, g := takeApart(t, m), takeApart(t, messages[j])
			if i == j {
				continue
			}
			f.counter = g.counter
			refuse(t, bob, f.encode(), ErrAuthentication)
		}
	}
	for range 5 {
		_, other := newPair(t, Signal)
		refuse(t, other, messages[0], ErrAuthentication)
	}

	// One of the two keys opens it, as the MAC has it; CBC would with both.
	seed := alice.load().sending.ck.seed()
	one, two := kdf.ExpandSeed(&seed, nil), kdf.ExpandSeed(&[32]byte{1}, nil)
	both := make([]byte, 16)
	padded := func(k *kdf.MessageKeys) bool {
		_, ok := cbc.Decrypt(&k.Cipher, &k.IV, make([]byte, 16), bytes.Clone(both))
		return ok
	}
	for n := uint32(0); !padded(&one) || !padded(&two); n++ {
		binary.BigEndian.PutUint32(both, n)
	}
	m, err := parseMessage(sealed(t, alice, func(f *fields) { f.ciphertext = both }), 3)
	require.NoError(t, err)
	_, err = bob.load().open(nil, &m, &one)
	require.NoError(t, err)
	_, err = bob.load().open(nil, &m, &two)
	require.Equal(t, ErrAuthentication, err)
	for i, m := range messages {
		receive(t, bob, m, number(i))
	}
}

// R21: what Go lets us erase is erased: the state that a call replaced, the
// stored key that a message used, keys that were evicted.
func TestSecretErasedAfterUse(t *testing.T) {
	alice, bob := newPair(t, Signal)
	messages := sendN(t, alice, 10)
	receive(t, bob, messages[9], number(9))

	old := bob.load()
	chain := &old.receiving[old.nReceiving-1]
	stored := chain.skipped[0].keys
	require.Len(t, stored, 9)
	require.NotZero(t, stored[7])
	receive(t, bob, messages[7], number(7))
	require.Zero(t, stored[7], "the stored key")
	require.Zero(t, *old, "the state before")
	require.NotZero(t, stored[6])
	receive(t, bob, messages[6], number(6))

	old = alice.load()
	send(t, alice, "message")
	require.Zero(t, *old)

	for range MaxReceivingChains { // evicts the chain with its stored keys
		m, _ := send(t, bob, "turn")
		receive(t, alice, m, "turn")
		m, _ = send(t, alice, "turn")
		receive(t, bob, m, "turn")
	}
	require.Equal(t, make([]messageKey, 9), stored, "keys of an evicted chain")

	messages = sendN(t, alice, 2+MaxSkippedKeys+1)
	receive(t, bob, messages[2], number(2))
	st := bob.load()
	stored = st.receiving[st.nReceiving-1].skipped[0].keys
	require.Len(t, stored, 2)
	receive(t, bob, messages[len(messages)-1], number(len(messages)-1))
	require.Equal(t, []messageKey{{}, stored[1]}[:1], stored[:1], "keys over the limit")
}

// R21: Decrypt works in the memory behind dst. Neither the IV nor, of a message
// with bad padding, the plaintext stays there.
func TestNothingStaysBehindDst(t *testing.T) {
	alice, bob := newPair(t, Signal)
	seed := alice.load().sending.ck.seed()
	keys := kdf.ExpandSeed(&seed, nil)
	secret := bytes.Repeat([]byte("plaintext"), 16)[:128] // no padding
	cbc.Encrypt(&keys.Cipher, &keys.IV, make([]byte, 16), secret)
	m := sealed(t, alice, func(f *fields) { f.ciphertext = bytes.Clone(secret) })
	backing := make([]byte, 500)
	_, err := bob.Decrypt(backing[:0], m)
	require.ErrorIs(t, err, ErrAuthentication)
	require.NotContains(t, string(backing), "plaintext")
	require.NotContains(t, string(backing), string(keys.IV[:]))

	m, _ = send(t, alice, "message")
	_, err = bob.Decrypt(backing[:0], m)
	require.NoError(t, err)
	require.Contains(t, string(backing), "message")
	require.NotContains(t, string(backing), string(keys.IV[:]))
}

// H01, R-3.3-1: the agreement is checked again where it is used. No key that
// parses can give zero; a state that holds one all the same does not go on.
func TestZeroAgreementIsRefusedAtUse(t *testing.T) {
	k := curve.GenerateKey()
	var root rootKey
	_, _, err := root.step(&k, &curve.PublicKey{})
	require.ErrorIs(t, err, ErrAuthentication)

	h := &secret.Handshake{SignedPreKey: curve.PublicKey{}}
	require.ErrorIs(t, new(state).initiate(h, k), ErrAuthentication)
}

// R21: the result of a key agreement is erased by whoever took it.
func TestHandshakeErased(t *testing.T) {
	a, b := newDevice(t, Signal, true), newDevice(t, Signal, true)
	agreement, err := x3dh.Initiate(a.identity, b.bundle(t))
	require.NoError(t, err)
	h := secret.Take(&agreement.Handoff)
	secret.Give(&agreement.Handoff, h)
	alice, err := New(agreement, a.config)
	require.NoError(t, err)
	require.Zero(t, *h)

	m, _ := send(t, alice, "first")
	m[len(m)-12] ^= 1
	im, err := x3dh.ParseInitialMessage(m)
	require.NoError(t, err)
	acceptance, err := x3dh.Respond(b.identity, im, b.signed, b.oneTime)
	require.NoError(t, err)
	h = secret.Take(&acceptance.Handoff)
	secret.Give(&acceptance.Handoff, h)
	_, _, err = Accept(nil, acceptance, b.config)
	require.Error(t, err)
	require.Zero(t, *h)
}
