package sesame

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// The form of plaintexts in these tests.
const distributes = "distribution\x00"

func wrapFor(group string) func([]byte) []byte {
	return func(d []byte) []byte { return append([]byte(distributes+group+"\x00"), d...) }
}

func unwrap(plaintext []byte) (group string, distribution []byte, ok bool) {
	rest, ok := bytes.CutPrefix(plaintext, []byte(distributes))
	name, distribution, found := bytes.Cut(rest, []byte{0})
	return string(name), distribution, ok && found
}

func groupOf(name string, devices ...*app) (g Group) {
	g.Name = name
	for _, d := range devices {
		g.Devices = append(g.Devices, d.at)
	}
	return g
}

// writes encrypts for a group.
func (a *app) writes(g Group, timestamp uint64, text string) (m *GroupMessage) {
	a.t.Helper()
	a.do(func(tx Tx) (err error) {
		m, err = a.EncryptGroup(tx, timestamp, g, []byte(text), wrapFor(g.Name))
		return err
	})
	return m
}

func (m *GroupMessage) to(a *app) (found Message) {
	for _, m := range m.Messages {
		if m.To == a.at {
			return m
		}
	}
	return Message{Err: ErrAddress}
}

// missing are the devices that the distribution goes to.
func (m *GroupMessage) missing() (to []Address) {
	for _, m := range m.Messages {
		if m.Bytes != nil {
			to = append(to, m.To)
		}
	}
	return to
}

// takes decrypts a pairwise message, and processes what it distributes.
func (a *app) takes(from *app, m Message) (r *Result, released []*Result) {
	a.t.Helper()
	a.do(func(tx Tx) (err error) {
		released = nil
		if r, err = a.Decrypt(tx, from.at, m.Type, m.Bytes); err != nil || r.Err != nil {
			return err
		}
		if group, distribution, ok := unwrap(r.Plaintext); ok {
			released, err = a.ProcessDistribution(tx, r, group, distribution)
		}
		return err
	})
	return r, released
}

// distributed takes the distribution of a message, which releases nothing.
func (a *app) distributed(from *app, m *GroupMessage) {
	a.t.Helper()
	r, released := a.takes(from, m.to(a))
	require.NoError(a.t, r.Err)
	require.Empty(a.t, released)
}

func (a *app) opens(from *app, group string, m *GroupMessage) (r *Result) {
	a.t.Helper()
	a.do(func(tx Tx) (err error) {
		r, err = a.DecryptGroup(tx, from.at, 7, group, m.Ciphertext)
		return err
	})
	return r
}

func (a *app) readsGroup(from *app, group string, m *GroupMessage, text string) {
	a.t.Helper()
	r := a.opens(from, group, m)
	require.NoError(a.t, r.Err)
	require.Equal(a.t, text, string(r.Plaintext))
	require.Equal(a.t, from.at, r.From)
	require.Equal(a.t, from.published.IdentityKey, r.Identity)
	require.Equal(a.t, uint64(7), r.Timestamp)
	require.False(a.t, r.IdentityChanged)
	if group != "" {
		require.Equal(a.t, group, r.Group)
	}
}

// refusesGroup checks the verdict, and that no row has changed.
func (a *app) refusesGroup(from *app, group string, m *GroupMessage, verdict error) {
	a.t.Helper()
	before := a.rows()
	r := a.opens(from, group, m)
	require.ErrorIs(a.t, r.Err, verdict)
	require.Nil(a.t, r.Plaintext)
	require.Zero(a.t, r.Identity)
	require.Zero(a.t, r.Group)
	require.Equal(a.t, before, a.rows())
}

func (a *app) accepted(g Group, m *GroupMessage) {
	a.t.Helper()
	a.do(func(tx Tx) error { return a.Distributed(tx, g.Name, m.Chain, m.missing()...) })
}

// people are devices that all have sessions with the first one.
func people(t *testing.T, names ...string) (all []*app, c *clock) {
	t.Helper()
	c = &clock{start}
	for i, name := range names {
		all = append(all, newApp(t, name, 1, c))
		if i > 0 {
			all[0].start(all[i])
			all[i].reads(all[0], all[0].encrypt(all[i], "hello"), "hello")
			all[0].reads(all[i], all[i].encrypt(all[0], "hello"), "hello")
		}
	}
	return all, c
}

// R-10.10-1, R-10.10-7: one ciphertext, distributions for those who are not
// known to have the chain, and nothing for who has it.
func TestGroup(t *testing.T) {
	for _, family := range []ratchet.Family{ratchet.Signal, ratchet.WhatsApp} {
		all, _ := people(t, "alice", "bob", "carol")
		for _, a := range all {
			a.config.Family = family
		}
		alice, bob, carol := all[0], all[1], all[2]
		g := groupOf("friends", bob, carol, bob)
		first := alice.writes(g, 0, "first")
		require.Len(t, first.Messages, 2)
		require.Equal(t, []Address{bob.at, carol.at}, first.missing())
		require.NotContains(t, string(first.Ciphertext), "friends")
		for _, a := range all[1:] {
			require.NotZero(t, first.to(a).RegistrationID)
			require.Zero(t, first.to(a).Timestamp)
			a.distributed(alice, first)
			a.readsGroup(alice, "friends", first, "first")
			a.refusesGroup(alice, "friends", first, ErrDuplicate)
		}

		// Nobody is known to have it before the server said so, and of another
		// chain it said nothing.
		alice.do(func(tx Tx) error {
			return alice.Distributed(tx, g.Name, senderkey.DistributionID{1}, bob.at, carol.at)
		})
		second := alice.writes(g, 0, "second")
		require.Equal(t, []Address{bob.at, carol.at}, second.missing())
		alice.do(func(tx Tx) error { return alice.Distributed(tx, g.Name, second.Chain, bob.at) })
		third := alice.writes(g, 0, "third")
		require.Equal(t, []Address{carol.at}, third.missing())
		require.Equal(t, bob.at, third.Messages[0].To)
		require.NoError(t, third.Messages[0].Err)
		require.Equal(t, bob.published.RegistrationID, third.Messages[0].RegistrationID)
		alice.accepted(g, third)
		fourth := alice.writes(g, 0, "fourth")
		require.Empty(t, fourth.missing())

		for _, a := range all[1:] { // late, and out of order
			a.readsGroup(alice, "friends", fourth, "fourth")
			a.readsGroup(alice, "friends", second, "second")
			a.distributed(alice, second) // of a chain that is known
			a.readsGroup(alice, "friends", third, "third")
			a.refusesGroup(alice, "friends", fourth, ErrDuplicate)
		}
		if family == ratchet.Signal {
			fifth := alice.writes(g, 0, "fifth")
			bob.readsGroup(alice, "", fifth, "fifth")
		} else {
			bob.refusesGroup(alice, "", fourth, ErrAddress)
		}
	}
}

// R-10.10-5: who cannot be written to is no member, gets a reason, and does not
// keep the others from reading.
func TestGroupWithoutSome(t *testing.T) {
	all, c := people(t, "alice", "bob", "carol", "dave", "erin")
	alice, bob, carol, dave, erin := all[0], all[1], all[2], all[3], all[4]
	laptop := newApp(t, "alice", 2, c)
	g := groupOf("friends", bob, carol, dave, erin, laptop)
	g.Devices = append(g.Devices, Address{})
	alice.accepted(g, alice.writes(g, 0, "all"))

	alice.do(func(tx Tx) error { return alice.Reset(tx, bob.at) })
	carol2 := newApp(t, "carol", 1, c)
	alice.start(carol2) // another identity key, which waits
	alice.damage(rowPeer(dave.at))
	m := alice.writes(g, 0, "some")
	require.ErrorIs(t, m.to(bob).Err, ErrNoSession)
	require.ErrorIs(t, m.to(carol).Err, ErrIdentityChanged)
	require.ErrorIs(t, m.to(dave).Err, ErrCorrupt)
	require.ErrorIs(t, m.to(laptop).Err, ErrNoSession)
	require.ErrorIs(t, m.Messages[5].Err, ErrAddress)
	require.Equal(t, []Address{erin.at}, m.missing(), "a new chain: three are gone")
	erin.distributed(alice, m)
	erin.readsGroup(alice, "", m, "some")
	for _, a := range all[1:4] {
		require.Nil(t, m.to(a).Bytes)
		require.ErrorIs(t, a.opens(alice, "", m).Err, ErrHeld)
	}

	// Nobody at all: nothing happens.
	before := alice.rows()
	g.Devices, g.Revision = g.Devices[:2], 9
	m = alice.writes(g, 5, "nobody")
	require.Nil(t, m.Ciphertext)
	require.Len(t, m.Messages, 2)
	require.Equal(t, before, alice.rows())
	g.Devices = nil
	require.Nil(t, alice.writes(g, 0, "nobody").Ciphertext)
	require.Equal(t, before, alice.rows())
}

func (a *app) damage(key string) {
	a.t.Helper()
	a.do(func(tx Tx) error {
		_, rev, err := tx.Get(key)
		if err != nil {
			return err
		}
		return tx.Put(key, []byte{0xff}, rev)
	})
}

// G01, R-11.6-3: a device's chain ends after 100 messages, after 7 days, and when its
// clock went back, and who has the one before reads nothing of the next.
func TestGroupChainEnds(t *testing.T) {
	all, c := people(t, "alice", "bob")
	alice, bob := all[0], all[1]
	g := groupOf("friends", bob)
	writes := func(next bool, before *GroupMessage) *GroupMessage {
		t.Helper()
		m := alice.writes(g, 0, "text")
		if next {
			require.NotEqual(t, before.Chain, m.Chain)
			require.ErrorIs(t, bob.opens(alice, "friends", m).Err, ErrHeld)
			_, released := bob.takes(alice, m.to(bob))
			require.Len(t, released, 1)
			alice.accepted(g, m)
			return m
		}
		require.Equal(t, before.Chain, m.Chain)
		require.Nil(t, m.to(bob).Bytes)
		bob.readsGroup(alice, "friends", m, "text")
		return m
	}
	m := writes(true, new(GroupMessage))
	for range 99 {
		m = writes(false, m)
	}
	m = writes(true, m)
	c.now = c.now.Add(7*24*time.Hour - time.Second)
	m = writes(false, m)
	c.now = c.now.Add(time.Second)
	m = writes(true, m)
	c.now = c.now.Add(-time.Second)
	writes(true, m)
}

// G02, R-10.10-5: a member who left, a device that registered anew and one with
// another identity key read nothing that is sent afterwards.
func TestRemovedMemberCannotDecrypt(t *testing.T) {
	for name, gone := range map[string]func(alice, bob *app, c *clock, g *Group){
		"left": func(alice, bob *app, c *clock, g *Group) { g.Devices = g.Devices[1:] },
		"identity key": func(alice, bob *app, c *clock, g *Group) {
			again := newApp(alice.t, "bob", 1, c)
			again.published.RegistrationID = bob.published.RegistrationID // which nothing authenticates
			alice.start(again)
			alice.do(func(tx Tx) error { return alice.Confirm(tx, bob.at, again.published.IdentityKey) })
		},
		"registered anew": func(alice, bob *app, c *clock, g *Group) {
			bob.published.RegistrationID++
			alice.start(bob)
		},
		"removed and forgotten": func(alice, bob *app, c *clock, g *Group) {
			alice.do(func(tx Tx) error { return alice.Forget(tx, bob.at) })
		},
	} {
		for _, accepted := range []bool{true, false} { // the server says that they have the chain
			all, c := people(t, "alice", "bob", "carol")
			alice, bob, carol := all[0], all[1], all[2]
			g := groupOf("friends", bob, carol)
			before := alice.writes(g, 0, "before")
			if accepted {
				alice.accepted(g, before)
			}
			bob.distributed(alice, before)
			carol.distributed(alice, before)
			bob.readsGroup(alice, "friends", before, "before")
			gone(alice, bob, c, &g)
			after := alice.writes(g, 0, "after")
			require.NotEqual(t, before.Chain, after.Chain, name)
			require.Contains(t, after.missing(), carol.at, name)
			require.ErrorIs(t, bob.opens(alice, "friends", after).Err, ErrHeld, name)
			carol.distributed(alice, after)
			carol.readsGroup(alice, "friends", after, "after")
		}
	}
}

// G02, G14, R-10.10-6: of two sends and a removal side by side, none is for the old
// group after one was for the new; pairwise groups are no exception.
func TestSendRacesRemoval(t *testing.T) {
	for _, pairwise := range []int{0, 5} {
		all, _ := people(t, "alice", "bob", "carol")
		alice, bob, carol := all[0], all[1], all[2]
		alice.config.PairwiseGroups = pairwise
		old, now := groupOf("friends", bob, carol), groupOf("friends", carol)
		old.Revision, now.Revision = 1, 2
		alice.writes(old, 0, "first")
		var after *GroupMessage
		err := alice.store.Do(func(tx Tx) error {
			r := &racingTx{tx, rowsSession, func() { after = alice.writes(now, 0, "after the removal") }}
			_, err := alice.EncryptGroup(r, 0, old, []byte("during"), wrapFor("friends"))
			return err
		})
		require.ErrorIs(t, err, ErrConflict)
		require.NotNil(t, after)
		before := alice.rows()
		err = alice.try(func(tx Tx) error {
			_, err := alice.EncryptGroup(tx, 0, old, []byte("late"), wrapFor("friends"))
			return err
		})
		require.ErrorIs(t, err, senderkey.ErrOldRevision)
		require.Equal(t, before, alice.rows())
	}
}

// Two processes write to one group: one of them runs again, and no message key
// is used twice.
func TestGroupTwoWriters(t *testing.T) {
	all, _ := people(t, "alice", "bob")
	alice, bob := all[0], all[1]
	g := groupOf("friends", bob)
	bob.distributed(alice, alice.writes(g, 0, ""))
	var one, two *GroupMessage
	runs := alice.race(rowsSession, func() { one = alice.writes(g, 0, "one") }, func(tx Tx) (err error) {
		two, err = alice.EncryptGroup(tx, 0, g, []byte("two"), wrapFor("friends"))
		return err
	})
	require.Equal(t, 2, runs)
	bob.readsGroup(alice, "", two, "two")
	bob.readsGroup(alice, "", one, "one")
}

// G03: who joins reads nothing that was sent before.
func TestSKDMCarriesCurrentIterationOnly(t *testing.T) {
	all, _ := people(t, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	g := groupOf("friends", bob)
	before := alice.writes(g, 0, "before")
	alice.accepted(g, before)
	g = groupOf("friends", bob, carol)
	after := alice.writes(g, 0, "after")
	require.Equal(t, []Address{carol.at}, after.missing(), "nobody is gone")
	require.Equal(t, before.Chain, after.Chain)
	carol.distributed(alice, after)
	carol.readsGroup(alice, "", after, "after")
	carol.refusesGroup(alice, "", before, errEarlier) // R-10.10-10
}

// R-10.10-10: distributions that come in another order do not make a message
// that was never read a duplicate, which would be dropped.
func TestGroupEarlierThanDistribution(t *testing.T) {
	all, _ := people(t, "alice", "bob")
	alice, bob := all[0], all[1]
	g := groupOf("friends", bob)
	one, two := alice.writes(g, 1, "one"), alice.writes(g, 2, "two")
	bob.distributed(alice, two)
	bob.distributed(alice, one)
	bob.refusesGroup(alice, "", one, errEarlier)
	bob.readsGroup(alice, "", two, "two")
	bob.refusesGroup(alice, "", two, ErrDuplicate)
	request := bob.asksGroup(alice, "", one, 1)
	bob.reads(alice, alice.answers(bob, *request), "one")

	// The same for one that was held.
	carol := newApp(t, "carol", 1, &clock{start})
	alice.start(carol)
	carol.reads(alice, alice.encrypt(carol, "hello"), "hello")
	g = groupOf("others", carol)
	one, two = alice.writes(g, 3, "one"), alice.writes(g, 4, "two")
	require.ErrorIs(t, carol.opens(alice, "", one).Err, ErrHeld)
	r, released := carol.takes(alice, two.to(carol))
	require.NoError(t, r.Err)
	require.Len(t, released, 1)
	require.ErrorIs(t, released[0].Err, errEarlier)
	require.NotErrorIs(t, released[0].Err, ErrDuplicate)
}

func (a *app) asksGroup(from *app, group string, m *GroupMessage, timestamp uint64) (request *Message) {
	a.t.Helper()
	a.do(func(tx Tx) error {
		r, err := a.DecryptGroup(tx, from.at, timestamp, group, m.Ciphertext)
		if err == nil {
			require.Error(a.t, r.Err)
			request, err = a.RetryRequest(tx, r, timestamp)
		}
		return err
	})
	require.NotNil(a.t, request)
	return request
}

// G09, R-10.10-2: a distribution counts for the device whose session brought it,
// and only if a session did.
func TestSKDMOnlyFromOwnerOverPairwise(t *testing.T) {
	all, _ := people(t, "bob", "alice", "mallory") // Bob has a session with each
	bob, alice, mallory := all[0], all[1], all[2]
	g := groupOf("friends", bob)
	m := alice.writes(g, 0, "from alice")
	var distribution []byte
	bob.do(func(tx Tx) error {
		r, err := bob.Decrypt(tx, alice.at, m.to(bob).Type, m.to(bob).Bytes)
		require.NoError(t, err)
		_, distribution, _ = unwrap(r.Plaintext)
		require.NotEmpty(t, distribution)
		return nil
	})
	try := func(r *Result) {
		t.Helper()
		before := bob.rows()
		bob.do(func(tx Tx) error {
			results, err := bob.ProcessDistribution(tx, r, "friends", distribution)
			require.Len(t, results, 1)
			require.ErrorIs(t, results[0].Err, ErrUndecryptable)
			require.Nil(t, results[0].Plaintext)
			request, err2 := bob.RetryRequest(tx, results[0], 7)
			require.NoError(t, err2)
			require.Nil(t, request)
			return err
		})
		require.Equal(t, before, bob.rows())
	}
	try(&Result{From: alice.at})
	try(&Result{From: alice.at, Identity: alice.published.IdentityKey, Plaintext: m.to(bob).Bytes})
	broken := alice.encrypt(bob, "broken")
	broken.Bytes[len(broken.Bytes)-20] ^= 1
	try(bob.decrypt(alice, broken))

	// Inside of a group message.
	inside := mallory.writes(g, 0, string(wrapFor("friends")(distribution)))
	bob.distributed(mallory, inside)
	r := bob.opens(mallory, "", inside)
	require.NoError(t, r.Err)
	try(r)
	require.ErrorIs(t, bob.opens(alice, "", m).Err, ErrHeld)

	// Handed on by somebody else, it is his, and opens nothing in the name of
	// its owner.
	_, released := bob.takes(mallory, mallory.encrypt(bob, string(wrapFor("friends")(distribution))))
	require.Empty(t, released)
	require.ErrorIs(t, bob.opens(alice, "", m).Err, ErrHeld)
	require.ErrorIs(t, bob.try(func(tx Tx) error { _, err := bob.ProcessDistribution(tx, nil, "friends", distribution); return err }), ErrUninitialized)
}

// G09: a distribution that is none, or not asked for, changes nothing.
func TestUnsolicitedForwardRejected(t *testing.T) {
	all, _ := people(t, "bob", "alice")
	bob, alice := all[0], all[1]
	m := alice.writes(groupOf("friends", bob), 0, "text")
	for _, text := range []string{
		distributes + "friends\x00", distributes + "friends\x00\x33", distributes + "friends\x00\x23abc",
		distributes + "\x00", distributes + strings.Repeat("x", 129) + "\x00",
	} {
		e := alice.encrypt(bob, text)
		r, refused := bob.takes(alice, e)
		require.NoError(t, r.Err)
		require.Len(t, refused, 1)
		require.Error(t, refused[0].Err, "%q", text)
		require.Zero(t, bob.count(rowsChain)+bob.count(rowsReceiver)+bob.count(rowsHeld))
	}
	bob.distributed(alice, m)
	bob.readsGroup(alice, "friends", m, "text")
}

// G06, R-10.10-3: a message is of the group that its chain came for, whatever the
// delivery says, and a chain is not that of a second group.
func TestCrossGroupAndCrossEpochReplay(t *testing.T) {
	all, _ := people(t, "bob", "alice")
	bob, alice := all[0], all[1]
	friends, work := groupOf("friends", bob), groupOf("work", bob)
	f, w := alice.writes(friends, 0, "to friends"), alice.writes(work, 0, "to work")
	bob.distributed(alice, f)
	bob.distributed(alice, w)
	bob.refusesGroup(alice, "work", f, errOtherGroup)
	bob.refusesGroup(alice, "friends", w, errOtherGroup)
	bob.readsGroup(alice, "friends", f, "to friends")
	bob.readsGroup(alice, "work", w, "to work")

	f2 := alice.writes(friends, 0, "again")
	var refused []*Result
	var r *Result
	bob.do(func(tx Tx) (err error) {
		m := f2.to(bob)
		if r, err = bob.Decrypt(tx, alice.at, m.Type, m.Bytes); err != nil {
			return err
		}
		_, distribution, _ := unwrap(r.Plaintext)
		refused, err = bob.ProcessDistribution(tx, r, "work", distribution)
		return err
	})
	require.Len(t, refused, 1)
	require.Equal(t, errOtherGroup, refused[0].Err)
	bob.readsGroup(alice, "friends", f2, "again")

	// Held under the name of another group, it does not come out in it.
	others := groupOf("others", bob)
	o := alice.writes(others, 0, "to others")
	require.ErrorIs(t, bob.opens(alice, "work", o).Err, ErrHeld)
	_, released := bob.takes(alice, o.to(bob))
	require.Len(t, released, 1)
	require.Equal(t, errOtherGroup, released[0].Err)
	bob.readsGroup(alice, "others", o, "to others")
}

// R-10.10-8, R-10.10-9: messages that come before their distribution come out
// with it, once, and with what came with them.
func TestGroupMessageBeforeDistribution(t *testing.T) {
	for _, family := range []ratchet.Family{ratchet.Signal, ratchet.WhatsApp} {
		all, c := people(t, "bob", "alice", "carol")
		bob, alice, carol := all[0], all[1], all[2]
		for _, a := range all {
			a.config.Family = family
		}
		g := groupOf("friends", bob)
		var messages []*GroupMessage
		for i := range 3 {
			messages = append(messages, alice.writes(g, 0, fmt.Sprint("message ", i)))
		}
		other := carol.writes(g, 0, "carol's")
		second := alice.writes(groupOf("others", bob), 0, "to others")
		hold := func(from *app, m *GroupMessage, timestamp uint64, group string) {
			t.Helper()
			for range 2 { // delivered again: held once
				bob.do(func(tx Tx) error {
					r, err := bob.DecryptGroup(tx, from.at, timestamp, group, m.Ciphertext)
					require.Equal(t, ErrHeld, r.Err)
					require.Nil(t, r.Plaintext)
					return err
				})
			}
		}
		hold(alice, messages[2], 102, "friends")
		hold(alice, second, 200, "others")
		hold(alice, messages[0], 100, "friends")
		hold(carol, other, 100, "friends")
		require.Equal(t, 2, bob.count(rowsHeld))
		c.now = start.Add(heldAge - time.Second)
		r, released := bob.takes(alice, messages[0].to(bob))
		require.NoError(t, r.Err)
		require.Len(t, released, 2)
		for i, want := range []int{2, 0} {
			require.NoError(t, released[i].Err)
			require.Equal(t, fmt.Sprint("message ", want), string(released[i].Plaintext))
			require.Equal(t, uint64(100+want), released[i].Timestamp)
			require.Equal(t, "friends", released[i].Group)
			require.Equal(t, alice.at, released[i].From)
			require.Equal(t, alice.published.IdentityKey, released[i].Identity)
		}
		require.Equal(t, uint32(2), released[0].Missing) // G13
		bob.readsGroup(alice, "friends", messages[1], "message 1")
		for _, m := range messages {
			bob.refusesGroup(alice, "friends", m, ErrDuplicate)
		}
		_, released = bob.takes(alice, second.to(bob))
		require.Len(t, released, 1)
		require.Equal(t, "to others", string(released[0].Plaintext))

		// Not after 14 days.
		c.now = start.Add(heldAge)
		_, released = bob.takes(carol, other.to(bob))
		require.Empty(t, released)
	}
}

// G12, R-10.10-8: what waits is bounded in number, bytes and age, for each
// device; strangers have nothing held.
func TestPendingBufferBounded(t *testing.T) {
	require.Equal(t, []int{64, 256 << 10}, []int{maxHeld, maxHeldBytes})
	all, c := people(t, "bob", "alice", "carol")
	bob, alice, carol := all[0], all[1], all[2]
	g := groupOf("friends", bob)
	var messages []*GroupMessage
	for i := range maxHeld + 1 {
		messages = append(messages, alice.writes(g, 0, fmt.Sprint(i)))
	}
	for _, m := range messages[:maxHeld] {
		require.Equal(t, ErrHeld, bob.opens(alice, "", m).Err)
	}
	bob.refusesGroup(alice, "", messages[maxHeld], errNotHeld)
	bob.refusesGroup(alice, "", messages[maxHeld], senderkey.ErrNoChain)
	require.Equal(t, ErrHeld, bob.opens(alice, "", messages[0]).Err, "it is there")
	require.NotNil(t, bob.asksGroup(alice, "", messages[maxHeld], 1))

	big := strings.Repeat("x", maxHeldBytes/3)
	others := groupOf("others", bob)
	one, two, three := carol.writes(others, 0, big), carol.writes(others, 0, big), carol.writes(others, 0, big)
	require.Equal(t, ErrHeld, bob.opens(carol, "", one).Err)
	require.Equal(t, ErrHeld, bob.opens(carol, "", two).Err)
	bob.refusesGroup(carol, "", three, errNotHeld)
	for key, value := range bob.rows() {
		if strings.HasPrefix(key, rowsHeld) {
			require.Less(t, len(value), maxHeldBytes+64*maxHeld)
		}
	}

	stranger := newApp(t, "dave", 1, c)
	stranger.start(bob)
	m := stranger.writes(g, 0, "hello")
	bob.refusesGroup(stranger, "", m, errNoSuchSender)
	require.NotNil(t, bob.asksGroup(stranger, "", m, 1))

	_, released := bob.takes(alice, messages[0].to(bob))
	require.Len(t, released, maxHeld)
	for i, r := range released {
		require.Equal(t, fmt.Sprint(i), string(r.Plaintext))
	}
	bob.readsGroup(alice, "", messages[maxHeld], fmt.Sprint(maxHeld))

	// What is too old is deleted by Publish.
	held := func() (n int) {
		bob.do(func(tx Tx) error {
			n = 0
			return each(tx, rowsHeld, parseHeld, func(_ string, r *heldRecord, _ uint64) error { n += len(r.messages); return nil })
		})
		return n
	}
	waiting := held()
	c.now = start.Add(heldAge - time.Hour)
	require.Equal(t, ErrHeld, bob.opens(alice, "", alice.writes(groupOf("more", bob), 0, "more")).Err)
	require.Equal(t, waiting+1, held())
	c.now = start.Add(heldAge)
	require.Equal(t, ErrHeld, bob.opens(carol, "", three).Err, "the places of what is too old are free, deleted or not")
	bob.publish()
	require.Equal(t, 2, held())
	c.now = start.Add(2 * heldAge)
	bob.publish()
	require.Zero(t, held())
}

// G13: what is missing in a chain is reported.
func TestGroupGapReported(t *testing.T) {
	all, _ := people(t, "bob", "alice")
	bob, alice := all[0], all[1]
	g := groupOf("friends", bob)
	first := alice.writes(g, 0, "first")
	alice.accepted(g, first)
	bob.distributed(alice, first)
	second := alice.writes(g, 0, "second")
	alice.writes(g, 0, "withheld")
	third := alice.writes(g, 0, "third")
	require.Zero(t, bob.opens(alice, "", first).Missing)
	require.Equal(t, uint32(2), bob.opens(alice, "", third).Missing)
	require.Zero(t, bob.opens(alice, "", second).Missing)
}

// R-10.10-9: a message is held while its distribution is processed, or the other
// way round: it is not held for ever.
func TestHoldDuringDistribution(t *testing.T) {
	all, _ := people(t, "bob", "alice")
	bob, alice := all[0], all[1]
	g := groupOf("friends", bob)
	var r *Result
	m := alice.writes(g, 0, "one")
	// What only reads the chain, before it is there, writes the row of those that wait.
	runs := bob.race(rowsHeld, func() { bob.distributed(alice, m) }, func(tx Tx) (err error) {
		r, err = bob.DecryptGroup(tx, alice.at, 7, "", m.Ciphertext)
		return err
	})
	require.Equal(t, 2, runs)
	require.NoError(t, r.Err)
	require.Equal(t, "one", string(r.Plaintext))

	g.Devices = append(g.Devices, Address{"nobody", 1})
	m = alice.writes(groupOf("others", bob), 0, "two")
	var released []*Result
	runs = bob.race(rowsReceiver, func() { require.Equal(t, ErrHeld, bob.opens(alice, "", m).Err) }, func(tx Tx) error {
		r, err := bob.Decrypt(tx, alice.at, m.to(bob).Type, m.to(bob).Bytes)
		if err != nil {
			return err
		}
		_, distribution, _ := unwrap(r.Plaintext)
		released, err = bob.ProcessDistribution(tx, r, "others", distribution)
		return err
	})
	require.Len(t, released, 1)
	require.Equal(t, "two", string(released[0].Plaintext))
	require.LessOrEqual(t, runs, 2)

	// After the row was read.
	m = alice.writes(groupOf("third", bob), 0, "three")
	inTime := false
	runs = bob.race(rowsHeld, func() {}, func(tx Tx) error {
		r, err := bob.Decrypt(tx, alice.at, m.to(bob).Type, m.to(bob).Bytes)
		if err != nil {
			return err
		}
		_, distribution, _ := unwrap(r.Plaintext)
		released, err = bob.ProcessDistribution(tx, r, "third", distribution)
		if !inTime {
			inTime = true
			require.Equal(t, ErrHeld, bob.opens(alice, "", m).Err)
		}
		return err
	})
	require.Equal(t, 2, runs)
	require.Len(t, released, 1)
	require.Equal(t, "three", string(released[0].Plaintext))
}

// G05, R-10.10-3, R-10.10-4: another identity key of a device writes in chains of its
// own, which are marked, and takes over none of the trusted key's; with the
// confirmation the others go, and with the device all.
func TestGroupIdentityChanges(t *testing.T) {
	all, c := people(t, "bob", "alice")
	bob, alice := all[0], all[1]
	g := groupOf("friends", bob)
	old := alice.writes(g, 0, "old")
	bob.distributed(alice, old)
	bob.readsGroup(alice, "", old, "old")
	late := alice.writes(g, 0, "late")

	again := newApp(t, "alice", 1, c)
	again.start(bob)
	m := again.writes(g, 0, "new")
	r, released := bob.takes(again, m.to(bob))
	require.True(t, r.IdentityChanged)
	require.Empty(t, released)
	r = bob.opens(again, "friends", m)
	require.NoError(t, r.Err)
	require.True(t, r.IdentityChanged)
	require.Equal(t, again.published.IdentityKey, r.Identity)
	require.Equal(t, 2, bob.count(rowsReceiver))
	bob.readsGroup(alice, "", late, "late") // both are there

	// The key that waits cannot take over what is the trusted one's.
	bob.do(func(tx Tx) error {
		stolen, err := alice.distributionIn(late)
		require.NoError(t, err)
		hijack := again.encrypt(bob, string(wrapFor("friends")(stolen)))
		r, err := bob.Decrypt(tx, alice.at, hijack.Type, hijack.Bytes)
		require.NoError(t, err)
		require.True(t, r.IdentityChanged)
		refused, err := bob.ProcessDistribution(tx, r, "friends", stolen)
		require.Len(t, refused, 1)
		require.Equal(t, errOtherAuthor, refused[0].Err)
		return err
	})

	// The trusted key takes back what was taken first, and what becomes of the
	// other one's chains is not its own.
	taken := alice.writes(groupOf("more", bob), 0, "taken")
	stolen, err := again.distributionIn(taken)
	require.NoError(t, err)
	_, released = bob.takes(again, again.encrypt(bob, string(wrapFor("more")(stolen))))
	require.Empty(t, released)
	bob.distributed(alice, taken)
	for range senderkey.MaxChains {
		again.do(func(tx Tx) error { return forgetRow(tx, rowGroup("more")) })
		bob.distributed(again, again.writes(groupOf("more", bob), 0, ""))
	}
	bob.readsGroup(alice, "more", taken, "taken")

	bob.do(func(tx Tx) error { return bob.Confirm(tx, alice.at, again.published.IdentityKey) })
	require.Equal(t, 2, bob.count(rowsReceiver))
	require.Equal(t, 1+senderkey.MaxChains, bob.count(rowsChain))
	bob.readsGroup(again, "friends", again.writes(g, 0, "more"), "more")
	require.Equal(t, ErrHeld, bob.opens(alice, "friends", alice.writes(g, 0, "old key")).Err)
	bob.do(func(tx Tx) error { return bob.Forget(tx, alice.at) })
	require.Zero(t, bob.count(rowsReceiver)+bob.count(rowsChain)+bob.count(rowsHeld))
}

// distributionIn is the current distribution of the chain that a made m with,
// from a copy.
func (a *app) distributionIn(m *GroupMessage) (d []byte, err error) {
	err = a.try(func(tx Tx) error {
		r, _, err := a.group(tx, "friends")
		if err != nil {
			return err
		}
		sent, err := r.sender.Encrypt(senderkey.Roster{Members: []senderkey.Member{{9}}}, start, nil)
		if err != nil {
			return err
		}
		// A chain of its own, under the ID of m's.
		p, err := senderkey.ParseMessage(m.Ciphertext, senderkey.Signal)
		if err != nil {
			return err
		}
		d, err = sent.Distribution.AppendBinary(nil)
		copy(d[3:19], p.ID[:])
		return err
	})
	return d, err
}

// A tie goes with its chain, at most five are kept, and one that was taken over
// stays.
func TestGroupChainsBounded(t *testing.T) {
	all, _ := people(t, "bob", "alice", "carol")
	bob, alice := all[0], all[1]
	alice.start(all[2])
	var messages []*GroupMessage
	for i := range senderkey.MaxChains + 3 {
		g := groupOf("friends", bob)
		if i%2 == 0 {
			g.Devices = append(g.Devices, all[2].at)
		}
		alice.do(func(tx Tx) error { return forgetRow(tx, rowGroup("friends")) }) // a new chain
		messages = append(messages, alice.writes(g, 0, fmt.Sprint(i)))
		bob.distributed(alice, messages[i])
		require.Equal(t, min(i+1, senderkey.MaxChains), bob.count(rowsChain))
		require.Equal(t, 1, bob.count(rowsReceiver))
	}
	for i, m := range messages {
		if i < 3 {
			require.Equal(t, ErrHeld, bob.opens(alice, "", m).Err)
		} else {
			bob.readsGroup(alice, "friends", m, fmt.Sprint(i))
		}
	}
}

// R-10.10-11: a group message that was not read is asked for, comes in a
// pairwise message, and the next one brings the distribution.
func TestGroupRetry(t *testing.T) {
	all, _ := people(t, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	g := groupOf("friends", bob, carol)
	first := alice.writes(g, 50, "first")
	require.Equal(t, uint64(50), first.to(bob).Timestamp)
	carol.distributed(alice, first)
	alice.accepted(g, first)
	second := alice.writes(g, 51, "second")
	require.Empty(t, second.missing())
	require.Equal(t, uint64(51), second.to(bob).Timestamp)

	// Bob has lost the distribution.
	request := bob.asksGroup(alice, "friends", second, 51)
	require.Equal(t, forgedRequest(none, 51, 1).Bytes, request.Bytes)
	bob.reads(alice, alice.answers(bob, *request), "second")
	for range maxAttempts - 1 {
		alice.answers(bob, *request)
	}
	alice.refusesRetry(bob, *request, errTooOften)
	third := alice.writes(g, 52, "third")
	require.Equal(t, []Address{bob.at}, third.missing(), "it is sent again, to who asked")
	require.Equal(t, first.Chain, third.Chain)
	r, released := bob.takes(alice, third.to(bob))
	require.NoError(t, r.Err)
	require.Len(t, released, 1)
	require.ErrorIs(t, released[0].Err, errEarlier)
	bob.readsGroup(alice, "", third, "third")
	alice.accepted(g, third)
	require.Empty(t, alice.writes(g, 53, "fourth").missing())

	// A pairwise message that brings one, and does not decrypt, is the same.
	fifth := alice.writes(groupOf("others", bob), 54, "fifth")
	broken := fifth.to(bob)
	broken.Bytes = bytes.Clone(broken.Bytes)
	broken.Bytes[len(broken.Bytes)-20] ^= 1
	again, r := bob.ask(alice.at, broken, 54)
	require.ErrorIs(t, r.Err, ErrUndecryptable)
	bob.reads(alice, alice.restart(bob, *again), "fifth")

	// Carol has left: no message for her. And under the same timestamp no other
	// plaintext.
	alice.do(func(tx Tx) error {
		m, err := alice.HandleRetry(tx, carol.at, 1, forgedRequest(none, 51, 1).Bytes, func(uint64) (bool, error) { return false, nil })
		require.ErrorIs(t, m.Err, errNotAllowed)
		return err
	})
	require.Empty(t, alice.writes(g, 55, "sixth").missing())
	require.ErrorIs(t, alice.try(func(tx Tx) error {
		_, err := alice.EncryptGroup(tx, 55, g, []byte("seventh"), wrapFor("friends"))
		return err
	}), ErrTimestamp)
	alice.refusesRetry(newApp(t, "dave", 1, &clock{start}), forgedRequest(none, 55, 1), errNotAddressed)
}

// Small groups get pairwise messages, in the same result, and logged.
func TestPairwiseGroup(t *testing.T) {
	all, c := people(t, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	require.ErrorIs(t, alice.try(func(tx Tx) error { _, err := Open(tx, Config{Now: c.Now, PairwiseGroups: -1}); return err }), ErrConfig)
	alice.config.PairwiseGroups = 2
	g := groupOf("friends", bob, carol, bob)
	g.Revision = 3
	m := alice.writes(g, 9, "hello")
	require.Nil(t, m.Ciphertext)
	require.Zero(t, m.Chain)
	require.Len(t, m.Messages, 2)
	bob.reads(alice, m.to(bob), "hello")
	carol.reads(alice, m.to(carol), "hello")
	carol.reads(alice, alice.answers(carol, forgedRequest(none, 9, 1)), "hello")
	alice.accepted(g, m)

	// It grows.
	dave := newApp(t, "dave", 1, c)
	alice.start(dave)
	g = groupOf("friends", bob, carol, dave)
	g.Revision = 4
	m = alice.writes(g, 10, "hello, all")
	require.NotNil(t, m.Ciphertext)
	require.Len(t, m.missing(), 3)
	bob.distributed(alice, m)
	bob.readsGroup(alice, "", m, "hello, all")

	// And shrinks, and grows without Bob: he has the chain.
	alice.accepted(g, m)
	g = groupOf("friends", carol, dave)
	g.Revision = 5
	require.Nil(t, alice.writes(g, 11, "less").Ciphertext)
	erin := newApp(t, "erin", 1, c)
	alice.start(erin)
	g = groupOf("friends", carol, dave, erin)
	g.Revision = 6
	m = alice.writes(g, 12, "not for bob")
	require.Len(t, m.missing(), 3)
	require.Equal(t, ErrHeld, bob.opens(alice, "", m).Err)
}

// A message that was refused by the server because of its devices is encrypted
// anew, under the same timestamp.
func TestGroupRepair(t *testing.T) {
	all, c := people(t, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	g := groupOf("friends", bob, carol)
	alice.accepted(g, alice.writes(g, 1, "first"))
	refused := alice.writes(g, 2, "hello")
	dave := newApp(t, "dave", 1, c)
	carol.published.RegistrationID++
	alice.do(func(tx Tx) error { return alice.Reset(tx, carol.at) })
	alice.start(carol)
	alice.start(dave)
	m := alice.writes(groupOf("friends", bob, carol, dave), 2, "hello")
	require.NotEqual(t, refused.Chain, m.Chain)
	require.Len(t, m.missing(), 3)
	for _, a := range []*app{bob, carol, dave} {
		a.distributed(alice, m)
		a.readsGroup(alice, "friends", m, "hello")
	}
	dave.reads(alice, alice.answers(dave, forgedRequest(none, 2, 1)), "hello")
}

// ForgetGroup deletes what belongs to a group and nothing else.
func TestForgetGroup(t *testing.T) {
	all, _ := people(t, "bob", "alice", "carol")
	bob, alice, carol := all[0], all[1], all[2]
	friends, work := groupOf("friends", bob), groupOf("work", bob)
	for _, a := range []*app{alice, carol} {
		bob.distributed(a, a.writes(friends, 0, ""))
		bob.distributed(a, a.writes(work, 0, ""))
	}
	bob.writes(groupOf("friends", alice), 0, "")
	bob.writes(groupOf("work", alice), 0, "")
	bob.do(func(tx Tx) error { return bob.ForgetGroup(tx, "friends") })
	require.Equal(t, 2, bob.count(rowsReceiver))
	require.Equal(t, 2, bob.count(rowsChain))
	require.Equal(t, 1, bob.count(rowsGroup))
	bob.readsGroup(alice, "work", alice.writes(work, 0, "still there"), "still there")
	require.Equal(t, ErrHeld, bob.opens(alice, "", alice.writes(friends, 0, "gone")).Err)
}

// Calls that nothing can come of.
func TestGroupMisuse(t *testing.T) {
	all, _ := people(t, "alice", "bob")
	alice, bob := all[0], all[1]
	before := alice.rows()
	var nobody *Device
	for name, c := range map[string]struct {
		want error
		call func(tx Tx) error
	}{
		"no wrap": {ErrUninitialized, func(tx Tx) error { _, err := alice.EncryptGroup(tx, 0, groupOf("g", bob), nil, nil); return err }},
		"no name": {ErrAddress, func(tx Tx) error { _, err := alice.EncryptGroup(tx, 0, groupOf("", bob), nil, wrapFor("")); return err }},
		"long name": {ErrAddress, func(tx Tx) error {
			_, err := alice.EncryptGroup(tx, 0, groupOf(strings.Repeat("x", 129), bob), nil, wrapFor(""))
			return err
		}},
		"nil":                {ErrUninitialized, func(tx Tx) error { _, err := nobody.EncryptGroup(tx, 0, Group{}, nil, wrapFor("")); return err }},
		"nil decrypt":        {ErrUninitialized, func(tx Tx) error { _, err := nobody.DecryptGroup(tx, bob.at, 0, "", nil); return err }},
		"nil process":        {ErrUninitialized, func(tx Tx) error { _, err := nobody.ProcessDistribution(tx, &Result{}, "g", nil); return err }},
		"nil distributed":    {ErrUninitialized, func(tx Tx) error { return nobody.Distributed(tx, "g", senderkey.DistributionID{}) }},
		"nil forget":         {ErrUninitialized, func(tx Tx) error { return nobody.ForgetGroup(tx, "g") }},
		"forget no name":     {ErrAddress, func(tx Tx) error { return alice.ForgetGroup(tx, "") }},
		"unknown group":      {nil, func(tx Tx) error { return alice.Distributed(tx, "g", senderkey.DistributionID{}, bob.at) }},
		"distribute no name": {ErrAddress, func(tx Tx) error { return alice.Distributed(tx, "", senderkey.DistributionID{}) }},
	} {
		require.Equal(t, c.want, alice.try(c.call), name)
		require.Equal(t, before, alice.rows(), name)
	}
	bob.refusesGroup(alice, "", &GroupMessage{}, senderkey.ErrMalformed)
	bob.refusesGroup(alice, "", &GroupMessage{Ciphertext: bytes.Repeat([]byte{0x23}, 90)}, senderkey.ErrVersion)
	bob.refusesGroup(alice, strings.Repeat("x", 129), &GroupMessage{}, ErrAddress)
	bob.refusesGroup(&app{}, "", &GroupMessage{}, ErrAddress)
	bob.do(func(tx Tx) error {
		r, err := bob.DecryptGroup(tx, alice.at, 1, "", nil)
		require.NoError(t, err)
		request, err := bob.RetryRequest(tx, r, 1)
		require.Nil(t, request)
		return err
	})
}

// R-10.10-6: what a chain was used with counts for pairwise messages as well.
func TestPairwiseGroupOldRevision(t *testing.T) {
	all, _ := people(t, "alice", "bob")
	g := groupOf("friends", all[1])
	g.Revision = 2
	all[0].writes(g, 0, "")
	g.Revision, all[0].config.PairwiseGroups = 1, 5
	require.ErrorIs(t, all[0].try(func(tx Tx) error {
		_, err := all[0].EncryptGroup(tx, 0, g, nil, wrapFor("friends"))
		return err
	}), senderkey.ErrOldRevision)
}

// Rows that lack a part, or have one that there is not.
func TestGroupChainRow(t *testing.T) {
	key := x3dh.GenerateIdentityKey().Public()
	good := encoded(t, &chainRecord{key, "friends", []chainStart{{}}})
	c, err := parseChain(good)
	require.NoError(t, err)
	require.Equal(t, &chainRecord{key, "friends", []chainStart{{}}}, c)
	low := bytes.Replace(good, key.Bytes()[1:], make([]byte, 32), 1)
	for _, b := range [][]byte{nil, low, good[:len(good)-6], encoded(t, &chainRecord{key, "", nil}), encoded(t, &chainRecord{key, "friends", nil}),
		encoded(t, &chainRecord{key, "", []chainStart{{}}}), encoded(t, &chainRecord{key, strings.Repeat("x", 129), []chainStart{{}}})} {
		_, err = parseChain(b)
		require.Error(t, err)
	}
}

// A row that names a group and no chain, or a chain and no group, is none.
func TestGroupLogRow(t *testing.T) {
	s := &sentRecord{created: start, plaintext: []byte("hello"), group: "friends", chain: senderkey.DistributionID{1}}
	row := encoded(t, s)
	again, err := parseSent(row)
	require.NoError(t, err)
	require.Equal(t, s, again)
	bare := encoded(t, &sentRecord{created: start, plaintext: []byte("hello")})
	fields := row[len(bare):]
	for _, b := range [][]byte{fields[:9], fields[9:]} {
		_, err = parseSent(append(bytes.Clone(bare), b...))
		require.Error(t, err)
	}
}

// R-10.10-5: what names a member, to the byte.
func TestMemberName(t *testing.T) {
	k, err := x3dh.ParsePublicKey(append([]byte{5}, append([]byte{9}, make([]byte, 31)...)...))
	require.NoError(t, err)
	o := &outbound{Message: Message{To: Address{"bob", 2}, RegistrationID: 0x01020304, identity: k}}
	base := o.memberName()
	require.Equal(t, "127a37935bee88da2a9b9448b2bc3bfdc7eb021b0884708f5a6be8f5f559ef30", fmt.Sprintf("%x", base))
	for _, change := range []func(o *outbound){
		func(o *outbound) { o.To.User = "bob\x00" }, func(o *outbound) { o.To.Device++ },
		func(o *outbound) { o.RegistrationID++ }, func(o *outbound) { o.identity = x3dh.GenerateIdentityKey().Public() },
	} {
		other := *o
		change(&other)
		require.NotEqual(t, base, other.memberName())
	}
}
