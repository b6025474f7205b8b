package sesame

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
)

// hands sends the distribution of a bare chain, as libsignal's clients make them:
// of several chains under one ID, and of one chain as often as they like.
func (a *app) hands(to *app, group string, c *senderkey.Chain) (released []*Result) {
	a.t.Helper()
	r, released := to.takes(a, a.encrypt(to, string(wrapFor(group)(binaryOf(a.t, c)))))
	require.NoError(a.t, r.Err)
	return released
}

func binaryOf(t testing.TB, c *senderkey.Chain) []byte {
	t.Helper()
	d, err := c.Distribution()
	require.NoError(t, err)
	b, err := d.AppendBinary(nil)
	require.NoError(t, err)
	return b
}

func bare(t testing.TB, c *senderkey.Chain, text string) *GroupMessage {
	t.Helper()
	m, err := c.Encrypt(nil, []byte(text))
	require.NoError(t, err)
	return &GroupMessage{Ciphertext: m}
}

// R-10.10-10: each chain under a distribution ID has a beginning of its own, which
// another chain, or another distribution of it, does not move.
func TestGroupEarlierOfSeveralChains(t *testing.T) {
	for _, family := range []ratchet.Family{ratchet.Signal, ratchet.WhatsApp} {
		all, _ := people(t, "bob", "alice")
		bob, alice := all[0], all[1]
		bob.config.Family, alice.config.Family = family, family
		one := senderkey.NewChain(bob.groupFamily(), senderkey.DistributionID{7})
		two := senderkey.NewChain(bob.groupFamily(), senderkey.DistributionID{7})
		missed := bare(t, one, "0")
		require.Empty(t, alice.hands(bob, "friends", one))
		read, late := bare(t, one, "1"), bare(t, one, "2")
		bob.readsGroup(alice, "friends", read, "1")
		require.Empty(t, alice.hands(bob, "friends", two))
		bob.refusesGroup(alice, "friends", missed, errEarlier)
		bob.refusesGroup(alice, "friends", read, ErrDuplicate)
		require.Empty(t, alice.hands(bob, "friends", one)) // a chain that is known, at 3
		bob.refusesGroup(alice, "friends", missed, errEarlier)
		bob.refusesGroup(alice, "friends", read, ErrDuplicate)
		bob.readsGroup(alice, "friends", late, "2")
		bob.readsGroup(alice, "friends", bare(t, two, "other"), "other")

		// Beginnings go with the chains.
		for range senderkey.MaxChains {
			require.Empty(t, alice.hands(bob, "friends", senderkey.NewChain(bob.groupFamily(), senderkey.DistributionID{7})))
		}
		require.Equal(t, ErrHeld, bob.opens(alice, "friends", late).Err)
		for key, value := range bob.rows() {
			if key == rowChain(alice.at, bob.tie(senderkey.DistributionID{7}, "friends")) {
				c, err := parseChain([]byte(value))
				require.NoError(t, err)
				require.Len(t, c.starts, senderkey.MaxChains)
				d, err := two.Distribution()
				require.NoError(t, err)
				require.Negative(t, c.start(d.ChainID()))
			}
		}
	}
}

// R-10.10-10, R-10.2-7: a chain that comes between the two rows that a verdict rests
// on does not make its own earlier messages duplicates.
func TestChainComesDuringDecrypt(t *testing.T) {
	all, _ := people(t, "bob", "alice")
	bob, alice := all[0], all[1]
	one := senderkey.NewChain(senderkey.Signal, senderkey.DistributionID{7})
	two := senderkey.NewChain(senderkey.Signal, senderkey.DistributionID{7})
	require.Empty(t, alice.hands(bob, "friends", one))
	missed := bare(t, two, "0")
	var r *Result
	runs := bob.race(rowsReceiver, func() { require.Empty(t, alice.hands(bob, "friends", two)) }, func(tx Tx) (err error) {
		r, err = bob.DecryptGroup(tx, alice.at, 7, "", missed.Ciphertext)
		return err
	})
	require.Equal(t, 2, runs)
	require.Equal(t, errEarlier, r.Err)
}

// G12, R-10.10-4: whoever can show identity keys in a device's name does not fill
// the database with their chains; those of the trusted key stay.
func TestGroupChainsOfManyKeys(t *testing.T) {
	for _, trust := range []Trust{TrustOnFirstUse, ConfirmFirst} {
		all, c := people(t, "bob", "alice")
		bob, alice := all[0], all[1]
		if trust == ConfirmFirst {
			bob.do(func(tx Tx) error { return bob.Forget(tx, alice.at) })
			bob.config.Trust = trust
			alice.start(bob)
		}
		g := groupOf("friends", bob)
		first := alice.writes(g, 0, "first")
		bob.takes(alice, first.to(bob))
		var again *app
		for range 6 {
			again = newApp(t, "alice", 1, c)
			again.start(bob)
			for _, name := range []string{"friends", "work"} {
				m := again.writes(groupOf(name, bob), 0, name)
				bob.distributed(again, m)
				r := bob.opens(again, name, m)
				require.NoError(t, r.Err)
				require.True(t, r.IdentityChanged)
			}
			require.LessOrEqual(t, bob.count(rowsReceiver), 2+2*1)
			require.LessOrEqual(t, bob.count(rowsChain), 2+2*1)
		}
		if trust == TrustOnFirstUse {
			bob.readsGroup(alice, "friends", first, "first")
			// A late message of a key in between: that key's chains are there, and
			// those of the newest.
			between := newApp(t, "alice", 1, c)
			between.start(bob)
			require.True(t, bob.decrypt(between, between.encrypt(bob, "shown")).IdentityChanged)
			again2 := newApp(t, "alice", 1, c)
			again2.start(bob)
			bob.distributed(again2, again2.writes(g, 0, ""))
			m := between.writes(g, 0, "between")
			bob.distributed(between, m)
			require.Equal(t, "between", string(bob.opens(between, "friends", m).Plaintext))
			require.Equal(t, 3, bob.count(rowsReceiver))
			bob.distributed(between, between.writes(groupOf("work", bob), 0, ""))
			m = between.writes(g, 0, "still there")
			require.Equal(t, "still there", string(bob.opens(between, "friends", m).Plaintext))
			newest := again2.writes(g, 0, "newest")
			require.Equal(t, "newest", string(bob.opens(again2, "friends", newest).Plaintext))
		}
	}
}

// R-10.10-8: who delivers a message under the wrong group first, and then under the
// right one, does not take it away.
func TestHeldUnderAnotherGroup(t *testing.T) {
	for _, first := range []string{"work", ""} {
		all, _ := people(t, "bob", "alice")
		bob, alice := all[0], all[1]
		m := alice.writes(groupOf("friends", bob), 0, "text")
		for _, group := range []string{first, "friends", "friends"} {
			require.Equal(t, ErrHeld, bob.opens(alice, group, m).Err)
		}
		_, released := bob.takes(alice, m.to(bob))
		require.Len(t, released, 2)
		texts := 0
		for _, r := range released {
			if r.Err == nil {
				texts++
				require.Equal(t, "text", string(r.Plaintext))
			}
		}
		require.Equal(t, 1, texts)
		bob.refusesGroup(alice, "friends", m, ErrDuplicate)
	}
}

// A member can distribute the chain of another as its own. It then has the other's
// messages in its own name, which it could have written there itself, and takes
// nothing away from the other, not even if it comes first (SPEC.md §11.8).
func TestMemberPassesOff(t *testing.T) {
	all, _ := people(t, "bob", "alice", "mallory")
	bob, alice, mallory := all[0], all[1], all[2]
	c := senderkey.NewChain(senderkey.Signal, senderkey.DistributionID{7})
	m, n := bare(t, c, "mine"), bare(t, c, "also mine")
	c2, err := senderkey.ParseChain(recordOf(t, c), senderkey.Signal, senderkey.DistributionID{7})
	require.NoError(t, err)
	require.Empty(t, mallory.hands(bob, "friends", c2))
	require.Empty(t, alice.hands(bob, "friends", c))
	later := bare(t, c, "later")
	bob.readsGroup(alice, "friends", later, "later")
	bob.readsGroup(mallory, "friends", later, "later")
	for _, early := range []*GroupMessage{m, n} {
		bob.refusesGroup(alice, "friends", early, errEarlier)
	}
	bob.refusesGroup(mallory, "friends", later, ErrDuplicate)
}

func recordOf(t testing.TB, c *senderkey.Chain) []byte {
	t.Helper()
	b, err := c.AppendBinary(nil)
	require.NoError(t, err)
	return b
}
