package senderkey

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/replay"
)

// members returns the members with these numbers.
func members(numbers ...byte) (m []Member) {
	for _, n := range numbers {
		m = append(m, Member{0: n, 31: 1})
	}
	return m
}

func encrypt(t testing.TB, s *Sender, r Roster, now time.Time, plaintext string) *Sent {
	t.Helper()
	given := slices.Clone(r.Members)
	sent, err := s.Encrypt(r, now, []byte(plaintext))
	require.NoError(t, err)
	require.Equal(t, given, r.Members, "the roster is the caller's")
	require.Equal(t, len(sent.Missing) > 0, sent.Distribution != nil)
	reloadSender(t, s)
	return sent
}

func reloadSender(t testing.TB, s *Sender) *Sender {
	t.Helper()
	b := record(t, s)
	again, err := ParseSender(b, s.load().config)
	require.NoError(t, err)
	require.Equal(t, b, record(t, again))
	return again
}

// R-11.6-4, R-11.6-5: distributions go to whom is not known to have the chain,
// and the chain stays when somebody joins.
func TestDistributionUntilDelivered(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		s := NewSender(Config{Family: f})
		one := encrypt(t, s, Roster{Members: members(2, 1)}, testTime, "one")
		require.True(t, one.Rotated)
		require.Equal(t, members(1, 2), one.Missing)

		two := encrypt(t, s, Roster{Members: members(1, 2)}, testTime, "two")
		require.False(t, two.Rotated)
		require.Equal(t, members(1, 2), two.Missing, "not known to have arrived")
		require.Equal(t, uint32(1), two.Distribution.Iteration(), "of the message that it comes with")
		require.Equal(t, one.Chain, two.Chain)

		require.NoError(t, s.Delivered(one.Chain, members(2)...))
		three := encrypt(t, s, Roster{Members: members(3, 2, 1)}, testTime, "three")
		require.False(t, three.Rotated, "somebody joined")
		require.Equal(t, members(1, 3), three.Missing)
		require.NoError(t, s.Delivered(one.Chain, members(3, 1)...))
		s = reloadSender(t, s)
		four := encrypt(t, s, Roster{Members: members(1, 2, 3)}, testTime, "four")
		require.Empty(t, four.Missing)
		require.Nil(t, four.Distribution)

		require.NoError(t, s.Lacks(one.Chain, members(2)...))
		five := encrypt(t, s, Roster{Members: members(1, 2, 3)}, testTime, "five")
		require.False(t, five.Rotated)
		require.Equal(t, members(2), five.Missing)

		// What each of them reads.
		for _, reader := range []struct {
			distribution *Distribution
			from         int
		}{{one.Distribution, 0}, {two.Distribution, 1}, {three.Distribution, 2}, {five.Distribution, 4}} {
			r := NewReceiver(f)
			process(t, r, reader.distribution)
			for i, sent := range []*Sent{one, two, three, four, five} {
				if i < reader.from {
					refuse(t, r, sent.Message, ErrDuplicate) // before his time
					continue
				}
				receive(t, r, sent.Message, []string{"one", "two", "three", "four", "five"}[i])
			}
		}
	})
}

// R-11.6-5: an acceptance counts for the chain and the members that it names.
func TestDeliveredOfAnotherChain(t *testing.T) {
	s := NewSender(Config{})
	first := encrypt(t, s, Roster{Members: members(1, 2)}, testTime, "")
	second := encrypt(t, s, Roster{Members: members(1)}, testTime, "")
	require.True(t, second.Rotated)
	require.NotEqual(t, first.Chain, second.Chain)
	before := record(t, s)
	for _, f := range []func(DistributionID, ...Member) error{s.Delivered, s.Lacks} {
		require.NoError(t, f(first.Chain, members(1)...))
		require.Equal(t, before, record(t, s))
		require.NoError(t, f(DistributionID{}, members(1)...))
		require.Equal(t, before, record(t, s))
		require.NoError(t, f(second.Chain, members(2, 9)...), "not given it")
		require.Equal(t, before, record(t, s))
		require.NoError(t, f(second.Chain))
		require.Equal(t, before, record(t, s))
	}
	require.NoError(t, s.Delivered(second.Chain, append(members(9, 1), members(1, 2)...)...))
	require.Equal(t, ledger{has: members(1)}, s.load().ledger)
	before = record(t, s)
	require.NoError(t, s.Lacks(first.Chain, members(1)...))
	require.Equal(t, before, record(t, s))
	require.NoError(t, NewSender(Config{}).Delivered(DistributionID{}, members(1)...), "before the first message")
}

// R-11.6-2: each way to be gone, once for a member who has the chain and once
// for one who may read it.
func TestRotationWhenSomebodyIsGone(t *testing.T) {
	for _, has := range []bool{true, false} {
		for name, next := range map[string][]Member{
			"left": members(1, 3), "last left": members(1, 2), "re-registered": members(1, 3, 77),
			"all replaced": members(70, 71, 72), "one stays": members(3),
		} {
			s := NewSender(Config{})
			first := encrypt(t, s, Roster{Members: members(1, 2, 3)}, testTime, "first")
			old := NewReceiver(Signal)
			process(t, old, first.Distribution)
			if has {
				require.NoError(t, s.Delivered(first.Chain, members(1, 2, 3)...))
			}
			s = reloadSender(t, s)
			sent := encrypt(t, s, Roster{Members: next}, testTime, "second")
			require.True(t, sent.Rotated, name)
			require.Equal(t, sortMembers(next), sent.Missing, "everybody needs the new chain")
			require.Zero(t, sent.Distribution.Iteration())
			refuse(t, old, sent.Message, ErrNoChain)
			require.Equal(t, ledger{waiting: sortMembers(next)}, s.load().ledger)
		}
	}
}

// R-11.6-1: who may read is in the record when Encrypt returns, whatever
// becomes of the message.
func TestMayReadIsWrittenBeforeTheMessageLeaves(t *testing.T) {
	s := NewSender(Config{})
	encrypt(t, s, Roster{Members: members(1, 2)}, testTime, "")
	b := record(t, s)
	for _, m := range members(1, 2) {
		require.True(t, bytes.Contains(b, m[:]))
	}
	// The process dies here. Member 2 may have got the distribution.
	s = reloadSender(t, s)
	require.True(t, encrypt(t, s, Roster{Members: members(1)}, testTime, "").Rotated)

	// Lacking the chain is no proof of not having it.
	sent := encrypt(t, s, Roster{Members: members(1, 3)}, testTime, "")
	require.NoError(t, s.Delivered(sent.Chain, members(1, 3)...))
	require.NoError(t, s.Lacks(sent.Chain, members(3)...))
	require.True(t, encrypt(t, s, Roster{Members: members(1)}, testTime, "").Rotated)
}

// R-11.6-6
func TestOldRevisionRefused(t *testing.T) {
	s := NewSender(Config{})
	encrypt(t, s, Roster{Revision: 7, Members: members(1, 2)}, testTime, "")
	before := record(t, s)
	for _, revision := range []uint64{0, 6} {
		sent, err := s.Encrypt(Roster{Revision: revision, Members: members(1, 2, 3)}, testTime, nil)
		require.Equal(t, ErrOldRevision, err)
		require.Nil(t, sent)
		require.Equal(t, before, record(t, s))
	}
	s = reloadSender(t, s)
	_, err := s.Encrypt(Roster{Revision: 6, Members: members(1, 2)}, testTime, nil)
	require.Equal(t, ErrOldRevision, err, "the record remembers")
	require.False(t, encrypt(t, s, Roster{Revision: 7, Members: members(1, 2)}, testTime, "").Rotated)
	require.False(t, encrypt(t, s, Roster{Revision: 1 << 63, Members: members(1, 2)}, testTime, "").Rotated)
}

func TestInvalidRoster(t *testing.T) {
	s := NewSender(Config{})
	encrypt(t, s, Roster{Members: members(1)}, testTime, "")
	before := record(t, s)
	for _, bad := range [][]Member{nil, {}, members(1, 2, 1), members(5, 5), {{}}, append(members(1), Member{})} {
		_, err := s.Encrypt(Roster{Revision: 1, Members: bad}, testTime, nil)
		require.Equal(t, ErrRoster, err)
		require.Equal(t, before, record(t, s))
	}
}

// R-11.6-7
func TestDistributionIDOfEachChain(t *testing.T) {
	seen := map[DistributionID]bool{}
	var all, any DistributionID
	for i := range all {
		all[i] = 0xff
	}
	for range 100 {
		s := NewSender(Config{})
		for _, m := range [][]Member{members(1), members(2)} {
			sent := encrypt(t, s, Roster{Members: m}, testTime, "")
			require.Equal(t, sent.Chain, sent.Distribution.ID())
			parsed, err := ParseMessage(sent.Message, Signal)
			require.NoError(t, err)
			require.Equal(t, sent.Chain, parsed.ID)
			require.False(t, seen[sent.Chain])
			seen[sent.Chain] = true
			for i := range all {
				all[i] &= sent.Chain[i]
				any[i] |= sent.Chain[i]
			}
		}
	}
	// The version and the variant of the UUID are fixed, the rest is random.
	fixed, open := DistributionID{6: 0x40, 8: 0x80}, DistributionID{6: 0x4f, 8: 0xbf}
	for i := range open {
		if i != 6 && i != 8 {
			open[i] = 0xff
		}
	}
	require.Equal(t, fixed, all)
	require.Equal(t, open, any)

	s := NewSender(Config{Family: WhatsApp})
	sent := encrypt(t, s, Roster{Members: members(1)}, testTime, "")
	require.NotZero(t, sent.Chain)
	require.Zero(t, sent.Distribution.ID())
}

// R-11.6-3: the configuration, and its bounds.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		config   Config
		messages uint32
		seconds  uint64
	}{
		{Config{}, 100, 7 * 86_400},
		{Config{MaxMessages: 1, MaxAge: time.Nanosecond}, 1, 1},
		{Config{MaxMessages: 2_000, MaxAge: 90 * day}, 2_000, 90 * 86_400},
		{Config{MaxMessages: 2_001, MaxAge: 90*day + 1}, 2_000, 90 * 86_400},
		{Config{MaxMessages: 1<<32 - 1, MaxAge: -1}, 2_000, 7 * 86_400},
	} {
		messages, seconds := c.config.limits()
		require.Equal(t, c.messages, messages)
		require.Equal(t, c.seconds, seconds)
	}
}

func TestRosterSets(t *testing.T) {
	a, b := members(1, 3, 5, 7), members(3, 4, 7, 9)
	require.Equal(t, members(1, 5), without(a, b))
	require.Equal(t, members(3, 7), common(a, b))
	require.True(t, subset(members(3, 7), a))
	require.True(t, subset(nil, a))
	require.False(t, subset(a, members(3, 7)))
	require.False(t, subset(members(9), nil))
	require.Equal(t, members(1, 3, 4, 5), merge(members(1, 5), members(3, 4)))
	for i := range 32 { // every byte counts
		x, y := Member{}, Member{}
		y[i] = 1
		require.Negative(t, compareMembers(x, y))
		require.Positive(t, compareMembers(y, x))
		require.Zero(t, compareMembers(y, y))
	}
}

// What "sotto verify" calls is Sender.Encrypt with what a new chain draws given.
func TestReplay(t *testing.T) {
	draws := 0
	drawn := replay.NewGroupChain{ChainID: 7, ChainKey: [32]byte{1}, Signing: privateOf(9), Distribution: testID}
	draw := func() replay.NewGroupChain { draws++; return drawn }
	config := replay.SenderConfig{MaxSeconds: 60}
	group := replay.Roster{Revision: 1, Members: [][32]byte{members(1)[0]}}

	next, sent, err := replay.EncryptGroup(record(t, NewSender(Config{})), config, group, 1000, []byte("one"), draw)
	require.NoError(t, err)
	require.True(t, sent.Rotated)
	require.Equal(t, group.Members, sent.Missing)
	c, err := ParseChain(replay.NewChain(uint8(Signal), testID, drawn.ChainID, drawn.ChainKey, drawn.Signing), Signal, testID)
	require.NoError(t, err)
	require.Equal(t, record(t, distributionOf(t, c)), sent.Distribution)
	m := send(t, c, "one")
	require.Equal(t, m[:len(m)-64], sent.Message[:len(m)-64], "but for the signature, which is random")

	s, err := ParseSender(next, Config{})
	require.NoError(t, err)
	require.NoError(t, s.Delivered(testID, members(1)...))
	next, sent, err = replay.EncryptGroup(record(t, s), config, group, 1059, []byte("two"), draw)
	require.NoError(t, err)
	require.False(t, sent.Rotated)
	require.Nil(t, sent.Distribution)
	require.Equal(t, 1, draws)
	_, sent, err = replay.EncryptGroup(next, config, group, 1060, []byte("three"), draw)
	require.NoError(t, err)
	require.True(t, sent.Rotated, "a minute old")
	require.Equal(t, 2, draws)

	_, _, err = replay.EncryptGroup(next[1:], config, group, 1060, nil, draw)
	require.ErrorIs(t, err, ErrCorrupt)
	group.Revision = 0
	again, _, err := replay.EncryptGroup(next, config, group, 1060, nil, draw)
	require.ErrorIs(t, err, ErrOldRevision)
	require.Equal(t, next, again)
}
