package sesame

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
)

// lacks reads a message, before which so many are newly missing.
func (a *app) lacks(from *app, m Message, missing uint32) {
	a.t.Helper()
	r := a.decrypt(from, m)
	require.NoError(a.t, r.Err)
	require.Equal(a.t, missing, r.Missing)
}

// L10, R-10.5-6: a server that leaves a message out, and numbers what follows anew, is found out by
// the next message: the first of a session, a further initial one, one of the same chain, of the
// next chain, of a past session.
func TestMissing(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.start(bob)
	first := alice.sendsN(bob, 6)
	bob.lacks(alice, first[2], 2)
	bob.lacks(alice, first[1], 0)
	require.Equal(t, ratchet.Initial, first[5].Type)
	bob.lacks(alice, first[5], 2)
	require.Zero(t, bob.decrypt(alice, first[5]).Missing, "a duplicate tells nothing")
	bob.lacks(alice, first[4], 0)

	answers := bob.sendsN(alice, 3)
	alice.lacks(bob, answers[1], 1)
	ordinary := alice.sendsN(bob, 4)
	require.Equal(t, ratchet.Ordinary, ordinary[0].Type)
	bob.lacks(alice, ordinary[0], 0) // of the initial ones, 0 and 3 were counted
	bob.lacks(alice, ordinary[2], 1)

	alice.lacks(bob, bob.encrypt(alice, "turn"), 1) // answers[2]
	bob.lacks(alice, alice.encrypt(bob, "turn"), 1) // ordinary[3]
	bob.lacks(alice, ordinary[3], 0)

	// What was to come in a session that has ended, only its own messages tell.
	old := alice.sendsN(bob, 3)
	alice.do(func(tx Tx) error { return alice.Reset(tx, bob.at) })
	alice.start(bob)
	bob.lacks(alice, alice.encrypt(bob, "new session"), 0)
	bob.lacks(alice, old[2], 2)
}

// R-9.3-5, R-10.5-6: what is not found out. A server leaves out the last message of a session, and brings
// the session to an end with a request that nobody made, for a message that it has held back.
func TestLastOfASessionIsNotMissed(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.start(bob)
	bob.lacks(alice, alice.encrypt(bob, "first"), 0)
	alice.lacks(bob, bob.encrypt(alice, "answer"), 0)
	late := alice.logged(bob, 7, "held back")
	alice.logged(bob, 8, "left out")
	again := alice.restart(bob, forgedRequest(alice.ratchetKey(bob), 7, 1))
	bob.lacks(alice, again, 0)
	bob.lacks(alice, late, 0)
	bob.lacks(alice, alice.encrypt(bob, "next"), 0)
}
