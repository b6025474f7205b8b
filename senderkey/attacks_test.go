package senderkey

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
)

// Rows of the attack catalogue. Not here: G08 and G14 (who says who is a
// member) and the buffer of G12, which are not this package's.

// G01, R-11.6-3: a chain ends after so many messages and so much time, without
// a reason; and a thief of the state reads until then and not after.
func TestPeriodicRotation(t *testing.T) {
	roster := Roster{Members: members(1, 2)}
	for _, c := range []struct {
		config   Config
		messages int
		age      time.Duration
	}{{Config{}, 100, 7 * day}, {Config{MaxMessages: 3, MaxAge: time.Hour}, 3, time.Hour}} {
		s := NewSender(c.config)
		for round := range 3 {
			thief := NewReceiver(Signal)
			for i := range c.messages {
				sent := encrypt(t, s, roster, testTime, "message")
				require.Equal(t, i == 0, sent.Rotated, "round %d, message %d", round, i)
				if i == 0 {
					process(t, thief, sent.Distribution)
				}
				receive(t, thief, sent.Message, "message")
				require.NoError(t, s.Delivered(sent.Chain, roster.Members...))
			}
			b := record(t, s)
			next, err := ParseSender(b, c.config)
			require.NoError(t, err)
			sent := encrypt(t, next, roster, testTime, "the next one")
			require.True(t, sent.Rotated)
			require.Equal(t, roster.Members, sent.Missing)
			refuse(t, thief, sent.Message, ErrNoChain)
		}

		s = NewSender(c.config)
		require.True(t, encrypt(t, s, roster, testTime, "").Rotated)
		require.False(t, encrypt(t, s, roster, testTime.Add(c.age-time.Second), "").Rotated)
		require.True(t, encrypt(t, reloadSender(t, s), roster, testTime.Add(c.age), "").Rotated)
		require.True(t, encrypt(t, s, roster, testTime.Add(100*c.age), "").Rotated)
		require.False(t, encrypt(t, s, roster, testTime.Add(100*c.age), "").Rotated)
		// A clock that went back says nothing about the age.
		require.True(t, encrypt(t, s, roster, testTime, "").Rotated)
		require.False(t, encrypt(t, s, roster, testTime, "").Rotated)
		// Before 1970 there is one time only.
		require.True(t, encrypt(t, s, roster, time.Unix(-5, 0), "").Rotated)
		require.False(t, encrypt(t, s, roster, time.Time{}, "").Rotated)
	}
}

// G02, R-11.6-2, R-11.8-1: a removed member has every state that he ever had,
// and everything that he could derive of it; whether the sender knows that he has
// the chain, or that he may have it.
func TestRemovedMemberCannotDecrypt(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		t.Run("may have it", func(t *testing.T) { removedMemberCannotDecrypt(t, f, false) })
		t.Run("has it", func(t *testing.T) { removedMemberCannotDecrypt(t, f, true) })
	})
}

func removedMemberCannotDecrypt(t *testing.T, f Family, delivered bool) {
	s := NewSender(Config{Family: f})
	removed, stays := NewReceiver(f), NewReceiver(f)
	all, left := Roster{Revision: 1, Members: members(1, 2)}, Roster{Revision: 2, Members: members(1)}
	for i := range 5 {
		sent := encrypt(t, s, all, testTime, "for both")
		require.Equal(t, i == 0 || !delivered, sent.Distribution != nil)
		if sent.Distribution != nil {
			process(t, removed, sent.Distribution)
			process(t, stays, sent.Distribution)
		}
		if delivered {
			require.NoError(t, s.Delivered(sent.Chain, all.Members...))
		}
		receive(t, removed, sent.Message, "for both")
		receive(t, stays, sent.Message, "for both")
	}
	chainKey := removed.load().chains[0].ck
	sent := encrypt(t, s, left, testTime, "for one")
	process(t, stays, sent.Distribution)
	receive(t, stays, sent.Message, "for one")
	refuse(t, removed, sent.Message, ErrNoChain)
	next := s.load().chain
	for range 1000 {
		require.NotEqual(t, chainKey.key, next.ck.key)
		chainKey.chainKey = chainKey.advance(1)
	}
	// Not even when he claims that the new chain is the one he had.
	st := new(*removed.load())
	st.chains[0].distribution, st.chains[0].id = next.distribution, next.id
	refuse(t, newReceiver(st), sent.Message, ErrAuthentication)
	st = new(*removed.load())
	st.chains[0].distribution, st.chains[0].id, st.chains[0].signing = next.distribution, next.id, next.public
	st.chains[0].ck.iteration = 0
	plaintext, _, err := newReceiver(st).Decrypt(nil, sent.Message)
	require.True(t, err == ErrAuthentication || string(plaintext) != "for one")
}

// G02, G14, R-11.6-6: a send that was prepared before the removal cannot come after
// it, from the same state or from another.
func TestSendRacesRemoval(t *testing.T) {
	before, after := Roster{Revision: 1, Members: members(1, 2)}, Roster{Revision: 2, Members: members(1)}

	s := NewSender(Config{})
	encrypt(t, s, before, testTime, "")
	require.True(t, encrypt(t, s, after, testTime, "").Rotated)
	_, err := s.Encrypt(before, testTime, []byte("late"))
	require.Equal(t, ErrOldRevision, err)

	// Two at the same time: whichever loses has made nothing.
	for _, first := range []Roster{before, after} {
		second := after
		if first.Revision == 2 {
			second = before
		}
		s := NewSender(Config{})
		encrypt(t, s, before, testTime, "")
		old := s.load()
		kept := new(*old)
		encrypt(t, s, first, testTime, "wins")
		*old = *kept // as it was when the other one read it
		sent, err := s.encrypt(old, second, testTime, nil, drawNamed)
		require.Equal(t, ErrConcurrentUse, err)
		require.Nil(t, sent)
	}
}

// G03, R-11.2-3, R-11.6-4: a distribution has the chain key of the next message
// and no way back; the sender has none either.
func TestSKDMCarriesCurrentIterationOnly(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		c, _ := newPair(t, f)
		start := c.load().ck
		seed := start.seed()
		early := sendN(t, c, 5)
		d := record(t, distributionOf(t, c))
		fifth := start.advance(5)
		require.Contains(t, string(d), string(fifth.key[:]))
		for ck, i := start.chainKey, 0; i < 5; ck, i = ck.advance(1), i+1 {
			seed = ck.seed()
			for _, secret := range [][]byte{ck.key[:], seed[:]} {
				require.NotContains(t, string(d), string(secret))
				require.NotContains(t, string(record(t, c)), string(secret))
			}
		}
		late := NewReceiver(f)
		process(t, late, distributionOf(t, c))
		for _, m := range early {
			refuse(t, late, m, ErrDuplicate)
		}
		receive(t, late, send(t, c, "from now on"), "from now on")

		// The same of a sender, whose chain others have.
		s, late := NewSender(Config{Family: f}), NewReceiver(f)
		sent := encrypt(t, s, Roster{Members: members(1)}, testTime, "before")
		require.NoError(t, s.Delivered(sent.Chain, members(1)...))
		joined := encrypt(t, s, Roster{Members: members(1, 2)}, testTime, "after")
		require.Equal(t, members(2), joined.Missing)
		process(t, late, joined.Distribution)
		refuse(t, late, sent.Message, ErrDuplicate)
		receive(t, late, joined.Message, "after")
	})
}

// G04, R-11.2-1: no part of a chain comes from the one before.
func TestRotationReplacesSigningKey(t *testing.T) {
	s := NewSender(Config{})
	encrypt(t, s, Roster{Members: members(1)}, testTime, "")
	stolen := s.load().chain
	sent := encrypt(t, s, Roster{Members: members(2)}, testTime, "")
	next := s.load().chain
	require.NotEqual(t, stolen.signing, next.signing)
	require.NotEqual(t, stolen.public, next.public)
	require.NotEqual(t, stolen.id, next.id)
	require.NotEqual(t, stolen.distribution, next.distribution)
	for ck := stolen.ck.chainKey; ck.iteration < 1000; ck = ck.advance(1) {
		require.NotEqual(t, ck.key, next.ck.key)
	}

	// The old signing key forges nothing under the new chain.
	r := NewReceiver(Signal)
	process(t, r, sent.Distribution)
	f := takeApart(t, sent.Message, Signal)
	signature := stolen.signing.Sign(f.body())
	f.signature = signature[:]
	refuse(t, r, f.encode(), ErrAuthentication)
	receive(t, r, sent.Message, "")
}

// G05, R-11.5-3: chain IDs have 31 bits and can collide. In this format a chain
// with the ID of another one takes its place (that is libsignal's rule, and its
// messages have no other name); but only if it is of the same device, under the
// same distribution ID, and the one that it replaced never comes back.
func TestChainIDCollisionDoesNotReplace(t *testing.T) {
	chainOf := func(key byte, id DistributionID) *Chain {
		c := fresh{7, [32]byte{key}, privateOf(key)}.chain(Signal, id)
		return newChain(&c)
	}
	other := DistributionID{1}
	a, b, elsewhere := chainOf(1, testID), chainOf(2, testID), chainOf(3, other)
	r, device2 := NewReceiver(Signal), NewReceiver(Signal)
	first := distributionOf(t, a)
	process(t, r, first)
	process(t, r, distributionOf(t, elsewhere))
	process(t, device2, distributionOf(t, b))
	messages := sendN(t, a, 2)
	receive(t, r, messages[0], number(0)) // neither replaced it
	receive(t, r, send(t, elsewhere, "elsewhere"), "elsewhere")

	process(t, r, distributionOf(t, b))
	require.Equal(t, 2, r.load().n)
	refuse(t, r, messages[1], ErrAuthentication)
	receive(t, r, send(t, b, "b"), "b")
	receive(t, r, send(t, elsewhere, "elsewhere"), "elsewhere")

	before := record(t, r)
	require.Equal(t, ErrDuplicate, r.Process(first))
	require.Equal(t, before, record(t, r))
	receive(t, r, send(t, b, "still b"), "still b")
}

// G06, R-11.5-5: the signature covers the distribution ID and no group. So a
// message cannot move to another distribution, and a group has to be looked up by
// it. What cannot be had in this format is that a distribution that its own
// device uses for two groups keeps them apart.
func TestCrossGroupAndCrossEpochReplay(t *testing.T) {
	// Groups: two senders of one device, and their receivers.
	one, two := NewSender(Config{}), NewSender(Config{})
	sentOne := encrypt(t, one, Roster{Members: members(1)}, testTime, "in group one")
	sentTwo := encrypt(t, two, Roster{Members: members(1)}, testTime, "in group two")
	receiverOne, receiverTwo := NewReceiver(Signal), NewReceiver(Signal)
	process(t, receiverOne, sentOne.Distribution)
	process(t, receiverTwo, sentTwo.Distribution)
	refuse(t, receiverTwo, sentOne.Message, ErrNoChain)
	f := takeApart(t, sentOne.Message, Signal)
	f.id, f.chainID = sentTwo.Chain[:], uint64(sentTwo.Distribution.ChainID())
	refuse(t, receiverTwo, f.encode(), ErrAuthentication)

	// A device that has one chain under two distribution IDs, one for each group:
	// what it wrote under the one is not what it wrote under the other.
	st := *one.load()
	st.chain.distribution = DistributionID{7}
	process(t, receiverTwo, newDistribution(st.chain.current()))
	process(t, receiverOne, sentOne.Distribution)
	again := encrypt(t, one, Roster{Members: members(1)}, testTime, "in group one again")
	f = takeApart(t, again.Message, Signal)
	f.id = st.chain.distribution[:]
	refuse(t, receiverTwo, f.encode(), ErrAuthentication)
	receive(t, receiverOne, again.Message, "in group one again")

	// Epochs: a message of the chain before, under the name of the next one.
	next := encrypt(t, one, Roster{Members: members(2)}, testTime, "next epoch")
	process(t, receiverOne, next.Distribution)
	f = takeApart(t, sentOne.Message, Signal)
	f.id, f.chainID = next.Chain[:], uint64(next.Distribution.ChainID())
	refuse(t, receiverOne, f.encode(), ErrAuthentication)
	receive(t, receiverOne, sentOne.Message, "in group one")
	receive(t, receiverOne, next.Message, "next epoch")
}

// G07: who has all keys of a chain but the private one writes nothing in it.
func TestMemberCannotForgePeer(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		alice, bob := newPair(t, f)
		mallory := NewReceiver(f)
		process(t, mallory, distributionOf(t, alice))
		known := mallory.load().chains[0]
		forged := chain{family: f, distribution: known.distribution, id: known.id,
			ck: sendingChainKey(known.ck), signing: curve.GenerateKey()}
		m, _, err := forged.encrypt(nil, []byte("from alice"))
		require.NoError(t, err)
		refuse(t, bob, m, ErrAuthentication)

		genuine := send(t, alice, "from alice")
		for i := range 8 * len(genuine) {
			bad := bytes.Clone(genuine)
			bad[i/8] ^= 1 << (i % 8)
			before := record(t, bob)
			_, _, err := bob.Decrypt(nil, bad)
			require.Error(t, err, "bit %d", i)
			require.Equal(t, before, record(t, bob), "bit %d", i)
		}
		for n := range genuine {
			_, _, err := bob.Decrypt(nil, genuine[:n])
			require.Error(t, err)
		}
		receive(t, bob, genuine, "from alice")
	})
}

// G09, R-11.3-4, R-11.5-5: a receiver belongs to one device. Whose, the caller
// says, who knows through which session a distribution came. A third party that
// hands on Alice's can at most have her messages shown as its own, to whom it
// gave them; it changes nothing for Alice's receiver, and writes nothing.
func TestSKDMOnlyFromOwnerOverPairwise(t *testing.T) {
	alice, fromAlice := newPair(t, Signal)
	fromMallory := NewReceiver(Signal)
	m := send(t, alice, "mine")
	refuse(t, fromMallory, m, ErrNoChain)

	// A distribution of Mallory's own that takes all names of Alice's chain.
	st := *alice.load()
	st.signing = curve.GenerateKey()
	st.public = st.signing.Public()
	mallory := newChain(&st)
	process(t, fromMallory, distributionOf(t, mallory))
	refuse(t, fromMallory, m, ErrAuthentication)
	forged := send(t, mallory, "also mine")
	refuse(t, fromAlice, forged, ErrAuthentication)
	receive(t, fromMallory, forged, "also mine")
	receive(t, fromAlice, m, "mine")
}

// G09: a group message is no distribution, nor the other way round: none is
// found where it was not asked for.
func TestUnsolicitedForwardRejected(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		c, r := newPair(t, f)
		d := record(t, distributionOf(t, NewChain(f, DistributionID{5})))
		m := send(t, c, string(d))
		_, err := ParseDistribution(m, f)
		require.Equal(t, ErrMalformed, err)
		refuse(t, r, d, ErrMalformed)
		receive(t, r, m, string(d))
		require.Equal(t, 1, r.load().n, "what a group message says is plaintext")
	})
}

// G10, R-11.4-6: the longest jump, and one more; of more than 2,000 skipped
// messages the last 2,000 can still arrive.
func TestSenderKeyJumpLimit(t *testing.T) {
	require.Equal(t, []int{25_000, 2_000}, []int{MaxForwardJump, MaxSkippedKeys})
	c, r := newPair(t, Signal)
	at := func(n uint32) []byte {
		st := *c.load()
		st.ck.chainKey = st.ck.advance(n)
		return send(t, newChain(&st), "message")
	}
	refuse(t, r, at(MaxForwardJump+1), ErrTooFarAhead)
	require.Equal(t, uint32(MaxForwardJump), receive(t, r, at(MaxForwardJump), "message"))
	require.Len(t, r.load().chains[0].skipped, MaxSkippedKeys)
	refuse(t, r, at(MaxForwardJump-MaxSkippedKeys-1), ErrDuplicate) // R-11.4-7
	receive(t, r, at(MaxForwardJump-MaxSkippedKeys), "message")
	receive(t, r, at(MaxForwardJump-1), "message")
	require.Len(t, r.load().chains[0].skipped, MaxSkippedKeys-2)

	require.Equal(t, uint32(5), receive(t, r, at(MaxForwardJump+6), "message"))
	require.Len(t, r.load().chains[0].skipped, MaxSkippedKeys, "three of the lowest went")
	refuse(t, r, at(MaxForwardJump-MaxSkippedKeys+3), ErrDuplicate)
	receive(t, r, at(MaxForwardJump-MaxSkippedKeys+4), "message")
	receive(t, r, at(MaxForwardJump+1), "message")
	reload(t, r)
	require.Less(t, len(record(t, r)), 200+45*len(r.load().chains[0].skipped))
}

// G10, R-11.4-2: the number of a message never wraps.
func TestIterationMaxUint32(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		c, _ := newPair(t, f)
		c.load().ck.iteration = math.MaxUint32
		r := NewReceiver(f)
		process(t, r, distributionOf(t, c))
		require.Equal(t, uint32(math.MaxUint32), r.load().chains[0].ck.iteration)
		st := *c.load()
		seed := st.ck.seed()
		keys := kdf.ExpandGroupSeed(&seed)
		refuse(t, r, st.appendMessage(nil, []byte("last"), &keys), ErrChainExhausted)

		r = NewReceiver(f)
		c.load().ck.iteration = math.MaxUint32 - 3
		process(t, r, distributionOf(t, c))
		st.ck.chainKey = c.load().ck.advance(3)
		seed = st.ck.seed()
		keys = kdf.ExpandGroupSeed(&seed)
		refuse(t, r, st.appendMessage(nil, []byte("last"), &keys), ErrChainExhausted)
		for range 3 {
			receive(t, r, send(t, c, "still"), "still")
		}
		_, err := c.Encrypt(nil, nil)
		require.Equal(t, ErrChainExhausted, err)
		reload(t, r)
	})
}

// countSteps counts the HMACs that walk chains during f.
func countSteps(f func()) (n int) {
	defer func(original func([32]byte) [32]byte) { nextChainKey = original }(nextChainKey)
	nextChainKey = func(ck [32]byte) [32]byte { n++; return kdf.ChainKey(ck) }
	f()
	return n
}

// G11, R-11.4-4: without a true signature nothing is derived and nothing is
// decrypted; what is wrong besides makes no difference.
func TestSignatureBeforeCBC(t *testing.T) {
	c, r := newPair(t, Signal)
	genuine := sendN(t, c, 3)
	receive(t, r, genuine[1], number(1)) // 0 is stored
	for name, change := range map[string]func(*fields){
		"signature only": func(*fields) {},
		"far ahead":      func(f *fields) { f.iteration = 20_000 },
		"too far":        func(f *fields) { f.iteration = 30_000 },
		"the end":        func(f *fields) { f.iteration = math.MaxUint32 },
		"used":           func(f *fields) { f.iteration = 1 },
		"stored":         func(f *fields) { f.iteration = 0 },
		"no blocks":      func(f *fields) { f.ciphertext = f.ciphertext[:5] },
		"empty":          func(f *fields) { f.ciphertext = nil },
	} {
		f := takeApart(t, genuine[2], Signal)
		change(&f)
		f.signature[5] ^= 1
		steps := countSteps(func() { refuse(t, r, f.encode(), ErrAuthentication) })
		require.Zero(t, steps, name)
	}
	// With a true one the jump costs a step a message, and the keys to keep once
	// more: what the device itself can make us do.
	m := signed(t, c, func(f *fields) { f.iteration = 2 + 2_500; f.ciphertext = f.ciphertext[:5] })
	require.Equal(t, 2_500, countSteps(func() { refuse(t, r, m, ErrAuthentication) }))
	receive(t, r, genuine[2], number(2))
}

// G12, R-11.5-6: messages of chains that nobody has distributed leave nothing
// behind, however many. (What is held back for a distribution, and its bound, is
// the caller's.)
func TestPendingBufferBounded(t *testing.T) {
	require.Equal(t, []int{5, 64}, []int{MaxChains, maxRetired})
	c, r := newPair(t, Signal)
	receive(t, r, send(t, c, "first"), "first")
	before := record(t, r)
	for i := range 100 {
		unknown := NewChain(Signal, DistributionID{byte(i), 1})
		refuse(t, r, send(t, unknown, "who?"), ErrNoChain)
	}
	require.Equal(t, before, record(t, r))

	// Nor does a device make us keep more than its five newest chains.
	for range 3 * MaxChains {
		next := NewChain(Signal, DistributionID{1})
		process(t, r, distributionOf(t, next))
		receive(t, r, send(t, next, "x"), "x")
	}
	require.Equal(t, MaxChains, r.load().n)
	for range 2 * maxRetired {
		process(t, r, distributionOf(t, NewChain(Signal, DistributionID{2})))
	}
	require.Len(t, r.load().retired, maxRetired)
	require.Less(t, len(record(t, reload(t, r))), 1200)
}

// G13, R-11.4-9: a gap in a chain is reported with the message behind it.
func TestGroupGapReported(t *testing.T) {
	c, r := newPair(t, Signal)
	messages := sendN(t, c, 10)
	require.Zero(t, receive(t, r, messages[0], number(0)))
	require.Equal(t, uint32(2), receive(t, r, messages[3], number(3)))
	require.Equal(t, uint32(5), receive(t, r, messages[9], number(9)))
	require.Zero(t, receive(t, r, messages[5], number(5)), "it was reported before")
	require.Zero(t, receive(t, r, send(t, c, "next"), "next"))
}

// G13, R-11.4-7: one message is read once: by repetition, after a distribution
// that was repeated, after one that is later or earlier, after a restart.
func TestReplayedSKMRejected(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		c, r := newPair(t, f)
		first := distributionOf(t, c)
		messages := sendN(t, c, 4)
		later := distributionOf(t, c)
		receive(t, r, messages[0], number(0))
		receive(t, r, messages[2], number(2))
		for _, d := range []*Distribution{first, later, nil} {
			if d != nil {
				process(t, r, d)
			} else {
				r = reload(t, r)
			}
			refuse(t, r, messages[0], ErrDuplicate)
			refuse(t, r, messages[2], ErrDuplicate)
		}
		receive(t, r, messages[1], number(1))
		refuse(t, r, messages[1], ErrDuplicate) // its key was a stored one
		receive(t, r, messages[3], number(3))
		refuse(t, reload(t, r), messages[1], ErrDuplicate)
	})
}
