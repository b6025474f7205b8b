package sesame

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

func pair(t testing.TB) (alice, bob *app, c *clock) {
	t.Helper()
	c = &clock{start}
	alice, bob = newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.start(bob)
	bob.reads(alice, alice.encrypt(bob, "hello"), "hello")
	alice.reads(bob, bob.encrypt(alice, "hello yourself"), "hello yourself")
	return alice, bob, c
}

// R-10.2-1, R-10.2-2
func TestOpenCreatesOnce(t *testing.T) {
	store := new(Memory)
	var keys []x3dh.PublicKey
	var ids []uint32
	for range 3 {
		require.NoError(t, store.Do(func(tx Tx) error {
			d, err := Open(tx, Config{Now: time.Now})
			require.NoError(t, err)
			key, id, err := d.Identity(tx)
			keys, ids = append(keys, key), append(ids, id)
			return err
		}))
	}
	require.Equal(t, keys[0], keys[1])
	require.Equal(t, keys[0], keys[2])
	require.Equal(t, ids[0], ids[2])
	require.NotZero(t, ids[0])
	require.LessOrEqual(t, ids[0], uint32(maxRegistrationID))

	// Opened in a transaction that was rolled back, there is no device.
	store = new(Memory)
	var d *Device
	require.Error(t, store.Do(func(tx Tx) (err error) {
		d, err = Open(tx, Config{Now: time.Now})
		require.NoError(t, err)
		return errors.New("roll back")
	}))
	require.ErrorIs(t, store.Do(func(tx Tx) error { _, err := d.Publish(tx, 0); return err }), ErrUninitialized)

	for _, c := range []Config{{}, {Now: time.Now, Family: 2}, {Now: time.Now, Trust: 2}, {Now: time.Now, PairwiseGroups: -1}} {
		require.ErrorIs(t, store.Do(func(tx Tx) error { _, err := Open(tx, c); return err }), ErrConfig)
	}
	last := Config{Now: time.Now, Family: ratchet.WhatsApp, Trust: ConfirmFirst, PairwiseGroups: 1}
	require.NoError(t, store.Do(func(tx Tx) error { _, err := Open(tx, last); return err }))
}

// R-10.2-1
func TestRegistrationIDRange(t *testing.T) {
	seen := map[uint32]bool{}
	for range 1000 {
		id := newRegistrationID()
		require.NotZero(t, id)
		require.LessOrEqual(t, id, uint32(maxRegistrationID))
		seen[id] = true
	}
	require.Greater(t, len(seen), 900)
}

// R-10.2-3 is in refuses, which every verdict goes through.
func TestConversation(t *testing.T) {
	alice, bob, _ := pair(t)
	for i := range 20 {
		from, to := alice, bob
		if i%3 == 0 {
			from, to = bob, alice
		}
		var sent []Message
		for j := range 1 + i%4 {
			sent = append(sent, from.encrypt(to, fmt.Sprint(i, j)))
		}
		for j := len(sent) - 1; j >= 0; j-- {
			to.reads(from, sent[j], fmt.Sprint(i, j))
			to.refuses(from, sent[j], ErrDuplicate)
		}
	}
	require.Equal(t, 1, alice.count(rowsSession))
}

// H25, R-10.3-4: what does not decrypt uses no prekey up, stores no identity key and makes
// no session.
func TestOPKNotBurnedByGarbage(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.start(bob)
	m := alice.encrypt(bob, "first")
	require.Equal(t, ratchet.Initial, m.Type)
	before := bob.rows()
	errRollBack := errors.New("roll back")
	for i := range 8 * len(m.Bytes) {
		bad := append([]byte(nil), m.Bytes...)
		bad[i/8] ^= 1 << (i % 8)
		err := bob.store.Do(func(tx Tx) error {
			r, err := bob.Decrypt(tx, alice.at, m.Type, bad)
			if err == nil && r.Err == nil {
				return errRollBack // a bit that nothing covers: SPEC.md §4.5
			}
			return err
		})
		require.True(t, err == nil || err == errRollBack, "bit %d: %v", i, err)
	}
	require.Equal(t, before, bob.rows())
	require.Equal(t, PreKeyBatch, bob.count(rowsPreKey))
	bob.reads(alice, m, "first")
	require.Equal(t, PreKeyBatch-1, bob.count(rowsPreKey))
}

// H25: of two transactions that decrypt two first messages to one prekey, one
// commits and the other finds it gone.
func TestOPKConsumedExactlyOnceRace(t *testing.T) {
	c := &clock{start}
	bob := newApp(t, "bob", 1, c)
	b := bob.bundle()
	const racers = 8
	var apps []*app
	var messages []Message
	for i := range racers {
		a := newApp(t, "alice", uint32(i), c)
		a.do(func(tx Tx) error { return a.Start(tx, bob.at, b) })
		apps, messages = append(apps, a), append(messages, a.encrypt(bob, "first"))
	}
	results := make([]*Result, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			err := bob.try(func(tx Tx) (err error) {
				results[i], err = bob.Decrypt(tx, apps[i].at, messages[i].Type, messages[i].Bytes)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	opened := 0
	for _, r := range results {
		if r.Err == nil {
			opened++
			continue
		}
		require.ErrorIs(t, r.Err, ErrUnknownPreKey)
	}
	require.Equal(t, 1, opened)
	require.Equal(t, 1, bob.count(rowsSession))
}

// H22, R-10.3-1, R-10.3-2: without one-time prekeys the bundle has none, sessions start all the
// same, and Publish brings the server's number up to the batch again.
func TestExhaustedPrekeysAreReported(t *testing.T) {
	c := &clock{start}
	bob := newApp(t, "bob", 1, c)
	require.Len(t, bob.oneTime, PreKeyBatch)
	bob.oneTime = nil
	require.Nil(t, bob.bundle().Info().OneTimePreKey)
	alice := newApp(t, "alice", 1, c)
	alice.start(bob)
	bob.reads(alice, alice.encrypt(bob, "without"), "without")

	bob.publish()
	require.Len(t, bob.published.OneTimePreKeys, PreKeyBatch)
	require.Equal(t, uint32(PreKeyBatch+1), bob.published.OneTimePreKeys[0].ID, "IDs go on")
	bob.oneTime = bob.oneTime[:40]
	bob.publish()
	require.Len(t, bob.published.OneTimePreKeys, PreKeyBatch-40)
	bob.publish()
	require.Empty(t, bob.published.OneTimePreKeys)
	for _, remaining := range []int{1000, -1000} {
		bob.do(func(tx Tx) error {
			p, err := bob.Publish(tx, remaining)
			require.Len(t, p.OneTimePreKeys, max(0, min(PreKeyBatch, -remaining)))
			return err
		})
	}
}

// H26, R-10.3-2: no ID is given out twice, neither of one-time prekeys that are
// all used up nor of signed ones that are all deleted, and not after a restart. IDs
// of a publication that was rolled back, which nobody has seen, are.
func TestPrekeyIDNeverReused(t *testing.T) {
	c := &clock{start}
	bob := newApp(t, "bob", 1, c)
	preKeys, signed := map[uint32]bool{}, map[uint32]bool{}
	for range 5 {
		for _, k := range bob.published.OneTimePreKeys {
			require.False(t, preKeys[k.ID])
			preKeys[k.ID] = true
		}
		require.False(t, signed[bob.published.SignedPreKey.ID])
		signed[bob.published.SignedPreKey.ID] = true

		bob.do(func(tx Tx) error {
			if err := forgetRows(tx, rowsPreKey); err != nil {
				return err
			}
			return forgetRows(tx, rowsSigned)
		})
		require.Error(t, bob.store.Do(func(tx Tx) error {
			_, err := bob.Publish(tx, 0)
			require.NoError(t, err)
			return errors.New("roll back")
		}))
		bob.do(func(tx Tx) (err error) { // restart
			bob.Device, err = Open(tx, Config{Now: c.Now})
			return err
		})
		bob.oneTime = nil
		bob.publish()
	}
	require.Len(t, preKeys, 5*PreKeyBatch)
	for id := range uint32(5 * PreKeyBatch) {
		require.True(t, preKeys[1+id])
	}
	require.Equal(t, map[uint32]bool{1: true, 2: true, 3: true, 4: true, 5: true}, signed)
}

// H22, R-10.3-7: a server that says again and again that it has no prekeys left does
// not fill the database: 2,000 are kept, the newest. A first message to one that had
// to go is asked for again.
func TestPreKeysBounded(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	oldest, first := bob.bundle(), bob.published.OneTimePreKeys[0].ID
	alice.do(func(tx Tx) error { return alice.Start(tx, bob.at, oldest) })
	lost := alice.logged(bob, 1, "to the oldest prekey")
	for n := PreKeyBatch; n < 2000; n += PreKeyBatch {
		bob.oneTime = nil
		bob.publish()
	}
	require.Equal(t, 2000, bob.count(rowsPreKey))
	require.Contains(t, bob.rows(), rowPreKey(first))
	for range 3 {
		bob.oneTime = nil
		bob.publish()
		require.Len(t, bob.oneTime, PreKeyBatch)
		require.Equal(t, 2000, bob.count(rowsPreKey))
	}
	require.NotContains(t, bob.rows(), rowPreKey(first+3*PreKeyBatch-1))
	require.Contains(t, bob.rows(), rowPreKey(first+3*PreKeyBatch))
	bob.refuses(alice, lost, ErrUnknownPreKey)
	bob.reads(alice, alice.restart(bob, bob.asks(alice, lost)), "to the oldest prekey")
	require.Equal(t, 1999, bob.count(rowsPreKey))
}

// R-10.3-7: what came along with Adopt stays, however much it is, while the server has it: the
// lowest IDs go only when there are new ones.
func TestAdoptedPreKeysStay(t *testing.T) {
	c := &clock{start}
	preKeys, err := x3dh.GeneratePreKeys(1, 2001)
	require.NoError(t, err)
	bob := &app{t: t, at: Address{"bob", 1}, store: new(Memory)}
	bob.do(func(tx Tx) (err error) {
		if bob.Device, err = Open(tx, Config{Now: c.Now}); err != nil {
			return err
		}
		return bob.Adopt(tx, x3dh.GenerateIdentityKey(), 77, preKeys, nil)
	})
	for _, k := range preKeys {
		bob.oneTime = append(bob.oneTime, k.Public())
	}
	bob.publish()
	require.Empty(t, bob.published.OneTimePreKeys)
	require.Equal(t, 2001, bob.count(rowsPreKey))
	alice := newApp(t, "alice", 1, c)
	alice.start(bob) // with the lowest
	bob.reads(alice, alice.encrypt(bob, "hello"), "hello")

	bob.oneTime = bob.oneTime[len(bob.oneTime)-99:]
	bob.publish()
	require.Equal(t, uint32(2002), bob.published.OneTimePreKeys[0].ID)
	require.Equal(t, 2000, bob.count(rowsPreKey))
	require.NotContains(t, bob.rows(), rowPreKey(2))
	require.Contains(t, bob.rows(), rowPreKey(3))
}

// H22, R-10.3-2: when the IDs of one-time prekeys are used up, which whoever fetches
// bundles can bring about, there are no more of them; signed prekeys are replaced all
// the same, and sessions begin without.
func TestPreKeyIDsUsedUp(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	bob.do(func(tx Tx) error {
		l, rev, err := bob.local(tx)
		require.NoError(t, err)
		l.nextPreKey = x3dh.MaxPreKeyID - 9
		return put(tx, rowLocal, l, rev)
	})
	signed := bob.published.SignedPreKey.ID
	for i, want := range []int{10, 0, 0} {
		c.now = c.now.Add(SignedPreKeyAge + time.Second)
		bob.oneTime = nil
		bob.publish()
		require.Len(t, bob.published.OneTimePreKeys, want)
		require.Equal(t, signed+1+uint32(i), bob.published.SignedPreKey.ID)
	}
	alice.start(bob)
	bob.reads(alice, alice.encrypt(bob, "without"), "without")
}

// dropSessions makes the database forget the sessions with a device, as it
// does with the oldest of more than 41.
func (a *app) dropSessions(peer *app) {
	a.do(func(tx Tx) error { return a.Forget(tx, peer.at) })
	require.Zero(a.t, a.count(rowsSession))
}

// H23, H24, R-10.3-5, R-10.3-6: an initial message without a one-time prekey is accepted once, also
// when its session is gone, and for as long as its signed prekey lives. It is no duplicate
// then: a later message of that session, which was never read, begins with the same.
func TestInitialMessageReplayNoOPK(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	bob.oneTime = nil
	alice.start(bob)
	m, unread := alice.encrypt(bob, "once"), alice.encrypt(bob, "never read")
	bob.reads(alice, m, "once")
	bob.refuses(alice, m, ErrDuplicate)
	bob.dropSessions(alice)
	bob.refuses(alice, m, ErrUnknownPreKey)
	bob.refuses(alice, unread, ErrUnknownPreKey)

	c.now = c.now.Add(SignedPreKeyAge + time.Hour)
	bob.publish()
	bob.refuses(alice, m, ErrUnknownPreKey)
	require.Equal(t, 1, bob.count(rowsAccepted))
	c.now = c.now.Add(SignedPreKeyKept)
	bob.publish()
	require.Zero(t, bob.count(rowsAccepted), "the mark goes with the key")
	bob.refuses(alice, m, ErrUnknownPreKey)
}

// H23: with one, the prekey is gone.
func TestLastResortReplayRejectedAfterRestart(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.start(bob)
	m := alice.encrypt(bob, "once")
	bob.reads(alice, m, "once")
	bob.dropSessions(alice)
	bob.do(func(tx Tx) (err error) { // restart
		bob.Device, err = Open(tx, Config{Now: c.Now})
		return err
	})
	bob.refuses(alice, m, ErrUnknownPreKey)
}

// E19, R-10.3-5, R-10.3-6, R-10.5-4: a server that delivers an initial message in the name of another
// device has it opened there, as what its author wrote, and not again in the
// author's. Nothing of the author's is a duplicate for that: all is asked for, and
// comes in a new session.
func TestInitialMessageInAnotherName(t *testing.T) {
	for name, oneTime := range map[string]int{"with a one-time prekey": 2, "without": 0} {
		t.Run(name, func(t *testing.T) {
			c := &clock{start}
			alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
			laptop := newApp(t, "alice", 2, c)
			bob.oneTime = bob.oneTime[:oneTime]
			alice.start(bob)
			first, second := alice.logged(bob, 1, "first"), alice.logged(bob, 2, "second")

			r := bob.decrypt(laptop, first)
			require.NoError(t, r.Err)
			require.Equal(t, laptop.at, r.From)
			require.Equal(t, alice.published.IdentityKey, r.Identity, "whoever the server says it is")

			bob.refuses(alice, first, ErrUnknownPreKey)
			bob.refuses(alice, second, ErrUnknownPreKey)
			bob.reads(alice, alice.restart(bob, bob.asks(alice, first)), "first")
			bob.reads(alice, alice.answers(bob, bob.asks(alice, second)), "second")
			alice.reads(bob, bob.encrypt(alice, "answer"), "answer")
			bob.reads(alice, alice.encrypt(bob, "and so on"), "and so on")
		})
	}
}

// H28, R-10.3-3: a signed prekey is replaced after a week, and opens messages for 30 days,
// not longer, whether it was deleted or not. The newest does until there is a newer one.
func TestSignedPrekeyExpiryEnforced(t *testing.T) {
	c := &clock{start}
	bob := newApp(t, "bob", 1, c)
	first := bob.published.SignedPreKey
	var late []*app
	for i := range 2 {
		a := newApp(t, "alice", uint32(i), c)
		a.start(bob)
		late = append(late, a)
	}
	messages := []Message{late[0].encrypt(bob, "late"), late[1].encrypt(bob, "too late")}
	c.now = start.Add(168 * time.Hour)
	bob.publish()
	require.Equal(t, first, bob.published.SignedPreKey)
	c.now = c.now.Add(time.Second)
	bob.publish()
	require.Equal(t, first.ID+1, bob.published.SignedPreKey.ID)
	require.Equal(t, 2, bob.count(rowsSigned))

	c.now = start.Add(30 * 24 * time.Hour)
	bob.reads(late[0], messages[0], "late")
	c.now = c.now.Add(time.Second)
	bob.refuses(late[1], messages[1], ErrUnknownPreKey)
	bob.publish()
	bob.publish()
	require.Equal(t, 2, bob.count(rowsSigned), "the oldest is deleted, one is new")

	// A device that slept for a year still has a signed prekey, and opens what was
	// written to it meanwhile.
	carol := newApp(t, "carol", 1, c)
	carol.start(bob)
	slept := carol.encrypt(bob, "to the sleeper")
	c.now = c.now.Add(365 * 24 * time.Hour)
	bob.reads(carol, slept, "to the sleeper")
	bob.publish()
	require.Equal(t, 1, bob.count(rowsSigned))
}

// R-10.2-6: Forget deletes the rows of one device, and not those of another whose
// number begins with the same digit.
func TestForgetOneDevice(t *testing.T) {
	c := &clock{start}
	alice, one, twelve := newApp(t, "alice", 3, c), newApp(t, "bob", 1, c), newApp(t, "bob", 12, c)
	for _, bob := range []*app{one, twelve} {
		alice.start(bob)
		bob.reads(alice, alice.encrypt(bob, "first"), "first")
		alice.reads(bob, bob.encrypt(alice, "answer"), "answer")
		bob.encrypt(alice, "skipped")
		alice.reads(bob, bob.encrypt(alice, "makes a stored key"), "makes a stored key")
	}
	before := alice.rows()
	alice.do(func(tx Tx) error { return alice.Forget(tx, one.at) })
	gone := changed(before, alice.rows())
	require.Len(t, gone, 3, "peer, session, stored keys")
	for _, key := range gone {
		require.NotContains(t, key, twelve.at.key())
	}
	twelve.reads(alice, alice.encrypt(twelve, "still here"), "still here")
}

// H29, R-10.6-2, R-10.6-3: another identity key can be read, is marked, and nothing is encrypted for
// it before it is confirmed. The old sessions end with the confirmation.
func TestIdentityChangeBlocksSendAndReceive(t *testing.T) {
	alice, bob, c := pair(t)
	old := alice.encrypt(bob, "still under way")
	lateFromOld := bob.encrypt(alice, "from the old device")

	again := newApp(t, "bob", 1, c) // the phone was installed anew
	again.start(alice)
	m := again.encrypt(alice, "it is me")
	r := alice.decrypt(again, m)
	require.NoError(t, r.Err)
	require.Equal(t, "it is me", string(r.Plaintext))
	require.True(t, r.IdentityChanged)
	require.Equal(t, again.published.IdentityKey, r.Identity)

	before := alice.rows()
	require.ErrorIs(t, alice.encryptErr(bob, "blocked").Err, ErrIdentityChanged)
	require.Equal(t, before, alice.rows())

	// A late message of the old device is read, and does not bring it back.
	r = alice.decrypt(bob, lateFromOld)
	require.NoError(t, r.Err)
	require.False(t, r.IdentityChanged, "this is the trusted key")
	require.ErrorIs(t, alice.encryptErr(bob, "blocked").Err, ErrIdentityChanged)

	// What the two are to compare is the new key.
	number := func(a *app, peer Address, ours, theirs string) (f x3dh.Fingerprint) {
		a.do(func(tx Tx) (err error) {
			f, err = a.SafetyNumber(tx, peer, 2, []byte(ours), []byte(theirs))
			return err
		})
		return f
	}
	require.Equal(t, number(again, alice.at, "b", "a").String(), number(alice, bob.at, "a", "b").String())

	var known Peer
	alice.do(func(tx Tx) (err error) { known, err = alice.Peer(tx, bob.at); return err })
	require.Equal(t, Peer{Identity: bob.published.IdentityKey, Changed: again.published.IdentityKey, Connected: true,
		RegistrationID: again.published.RegistrationID}, known)
	require.ErrorIs(t, alice.try(func(tx Tx) error {
		return alice.Confirm(tx, bob.at, x3dh.GenerateIdentityKey().Public())
	}), ErrIdentityChanged)
	alice.do(func(tx Tx) error { return alice.Confirm(tx, bob.at, again.published.IdentityKey) })
	require.Equal(t, 1, alice.count(rowsSession), "sessions with the old key are gone")
	again.reads(alice, alice.encrypt(again, "hello again"), "hello again")
	alice.refuses(bob, bob.encrypt(alice, "the old device again"), ErrUndecryptable)
	bob.reads(alice, old, "still under way")
}

// E15, R-10.6-1, R-10.6-2: a bundle with another identity key, and a stricter policy:
// nothing is encrypted for a device that nobody has confirmed.
func TestStartWaitsForConfirmation(t *testing.T) {
	alice, bob, c := pair(t)
	again := newApp(t, "bob", 1, c)
	alice.start(again)
	require.ErrorIs(t, alice.encryptErr(bob, "blocked").Err, ErrIdentityChanged)
	alice.do(func(tx Tx) error { return alice.Confirm(tx, bob.at, again.published.IdentityKey) })
	again.reads(alice, alice.encrypt(again, "confirmed"), "confirmed")

	strict := newApp(t, "carol", 1, c)
	strict.config.Trust = ConfirmFirst
	strict.start(bob)
	require.ErrorIs(t, strict.encryptErr(bob, "blocked").Err, ErrIdentityChanged)
	strict.do(func(tx Tx) error { return strict.Confirm(tx, bob.at, bob.published.IdentityKey) })
	m := strict.encrypt(bob, "confirmed")
	r := bob.decrypt(strict, m)
	require.NoError(t, r.Err)

	// While a key waits, nothing is encrypted in a session with the trusted one
	// either; and a session with any but the trusted key is not written in,
	// whatever the rows say.
	alice.start(bob)
	require.ErrorIs(t, alice.encryptErr(bob, "blocked").Err, ErrIdentityChanged)
	alice.start(again)
	other := newSnapshot(alice)
	other.do(func(tx Tx) error {
		p, rev, err := other.peer(tx, bob.at)
		require.NoError(t, err)
		p.identity, p.changed = x3dh.GenerateIdentityKey().Public(), none
		return put(tx, rowPeer(bob.at), p, rev)
	})
	require.ErrorIs(t, other.encryptErr(bob, "blocked").Err, ErrIdentityChanged)

	// Confirming the key that was trusted before puts the waiting one aside.
	alice.do(func(tx Tx) error { return alice.Confirm(tx, bob.at, again.published.IdentityKey) })
}

// R16, R-10.4-3: both start at the same time; whatever arrives in whatever order, both
// end up in one session.
func TestSimultaneousInitiateConverges(t *testing.T) {
	for order := range 4 {
		c := &clock{start}
		alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
		alice.start(bob)
		bob.start(alice)
		fromAlice, fromBob := alice.encrypt(bob, "from alice"), bob.encrypt(alice, "from bob")
		if order&1 == 0 {
			bob.reads(alice, fromAlice, "from alice")
			alice.reads(bob, fromBob, "from bob")
		} else {
			alice.reads(bob, fromBob, "from bob")
			bob.reads(alice, fromAlice, "from alice")
		}
		from, to := alice, bob
		if order&2 == 0 {
			from, to = bob, alice
		}
		for exchange := range 10 {
			to.reads(from, from.encrypt(to, "next"), "next")
			from, to = to, from
			if alice.baseKey(bob) == bob.baseKey(alice) {
				require.LessOrEqual(t, exchange, 1)
				break
			}
		}
		require.Equal(t, alice.baseKey(bob), bob.baseKey(alice))
		require.Equal(t, 2, alice.count(rowsSession))
	}
}

// R-10.4-1: a late message of a session of the past opens, in a session that is archived
// and promoted without leaving copies (facts of a peer: the newer session
// breaks, or stale copies pile up).
func TestLateMessageOfAnArchivedSession(t *testing.T) {
	alice, bob, _ := pair(t)
	late := []Message{alice.encrypt(bob, "late 0"), alice.encrypt(bob, "late 1")}
	for range 5 {
		alice.do(func(tx Tx) error { return alice.Reset(tx, bob.at) })
		require.ErrorIs(t, alice.encryptErr(bob, "").Err, ErrNoSession)
		alice.start(bob)
		bob.reads(alice, alice.encrypt(bob, "new session"), "new session")
		alice.reads(bob, bob.encrypt(alice, "answer"), "answer")
	}
	sessions := bob.count(rowsSession)
	require.Equal(t, 6, sessions)
	bob.reads(alice, late[1], "late 1")
	bob.refuses(alice, late[1], ErrDuplicate)
	alice.reads(bob, bob.encrypt(alice, "in the promoted session"), "in the promoted session")
	bob.reads(alice, alice.encrypt(bob, "and back"), "and back")
	bob.reads(alice, late[0], "late 0")
	require.Equal(t, sessions, bob.count(rowsSession), "promotion leaves no copies")
}

// R-10.4-1: late messages of an old session leave the newer one whole, in both
// directions, and every promotion leaves two sessions (facts of a peer: all
// replies in the newer session are lost after one late message, and 60
// promotions leave 40 copies).
func TestLateMessageKeepsNewerSession(t *testing.T) {
	alice, bob, _ := pair(t)
	const n = 20
	var old, newer, replies []Message
	for range n {
		old = append(old, alice.encrypt(bob, "old"))
	}
	alice.start(bob)
	bob.reads(alice, alice.encrypt(bob, "newer"), "newer")
	alice.reads(bob, bob.encrypt(alice, "answer"), "answer")
	for range n {
		newer = append(newer, alice.encrypt(bob, "newer"))
		replies = append(replies, bob.encrypt(alice, "reply"))
	}
	base := bob.baseKey(alice)
	for i := range n {
		bob.refuses(alice, Message{Type: ratchet.Ordinary, Bytes: forge(t, uint64(i))}, ErrUndecryptable)
		bob.reads(alice, old[i], "old")
		require.NotEqual(t, base, bob.baseKey(alice))
		bob.reads(alice, newer[i], "newer")
		require.Equal(t, base, bob.baseKey(alice))
		require.Equal(t, 2, bob.count(rowsSession))
		alice.reads(bob, replies[i], "reply")
	}
	alice.reads(bob, bob.encrypt(alice, "and on"), "and on")
	bob.reads(alice, alice.encrypt(bob, "and on"), "and on")
}

// Two devices that have both started with a signed prekey that has died since
// cannot read each other. It is enough that one of them starts anew.
func TestBothPreKeysGone(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	c.now = c.now.Add(SignedPreKeyKept)
	alice.start(bob)
	bob.start(alice)
	c.now = c.now.Add(time.Hour)
	alice.publish()
	bob.publish()
	bob.refuses(alice, alice.encrypt(bob, "lost"), ErrUnknownPreKey)
	alice.refuses(bob, bob.encrypt(alice, "lost"), ErrUnknownPreKey)
	bob.start(alice)
	alice.reads(bob, bob.encrypt(alice, "anew"), "anew")
	bob.reads(alice, alice.encrypt(bob, "answer"), "answer")
}

// The first message is lost: those after it start the session just as well.
func TestFirstMessageLost(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.start(bob)
	lost, second, third := alice.encrypt(bob, "lost"), alice.encrypt(bob, "second"), alice.encrypt(bob, "third")
	bob.reads(alice, third, "third")
	bob.reads(alice, second, "second")
	bob.reads(alice, lost, "lost")
	require.Equal(t, PreKeyBatch-1, bob.count(rowsPreKey))
}

// R-10.4-1, R-10.5-2: 41 sessions and no more; the oldest goes, its row with it. R-10.8-1:
// what is there can be exported and imported, also after a reset.
func TestArchivedSessionsBounded(t *testing.T) {
	alice, bob, c := pair(t)
	for range MaxArchivedSessions + 3 {
		if len(bob.oneTime) == 0 {
			bob.publish()
		}
		alice.start(bob)
		bob.reads(alice, alice.encrypt(bob, "again"), "again")
		c.now = c.now.Add(time.Minute)
	}
	require.Equal(t, 1+MaxArchivedSessions, alice.count(rowsSession))
	require.Equal(t, 1+MaxArchivedSessions, bob.count(rowsSession))
	alice.do(func(tx Tx) error {
		p, _, err := alice.peer(tx, bob.at)
		for i, base := range p.sessions {
			s, err := alice.session(tx, bob.at, base)
			require.NoError(t, err)
			_, pending := s.Unacknowledged()
			require.Equal(t, i == 0, pending, "a session of the past forgets its prekeys")
		}
		return err
	})

	// A message of a known ratchet key that does not open reads one session,
	// one of an unknown key all of them; an ordinary one that opens writes its
	// session and nothing else.
	m := alice.encrypt(bob, "current")
	bob.reads(alice, m, "current")
	bob.reads(alice, alice.encrypt(bob, "again"), "again")
	alice.reads(bob, bob.encrypt(alice, "answer"), "answer")
	m = alice.encrypt(bob, "turn")
	bob.reads(alice, m, "turn")
	m = alice.encrypt(bob, "last")
	bad := append([]byte(nil), m.Bytes...)
	bad[len(bad)-1] ^= 1
	gets, puts := bob.work(alice, Message{Type: ratchet.Ordinary, Bytes: bad})
	require.Equal(t, []int{3, 0}, []int{gets, puts}, "the peer, the session, and the peer again")
	gets, puts = bob.work(alice, Message{Type: ratchet.Ordinary, Bytes: forge(t, 1)})
	require.Equal(t, []int{3 + MaxArchivedSessions, 0}, []int{gets, puts})
	gets, puts = bob.work(alice, m)
	require.Equal(t, []int{2, 1}, []int{gets, puts})

	// Of the past are 40, also if none is current: no record has place for more.
	bob.do(func(tx Tx) error { return bob.Reset(tx, alice.at) })
	require.Equal(t, MaxArchivedSessions, bob.count(rowsSession))
	record := bob.exports(alice.at)
	moved := fresh(bob)
	moved.imports(alice.at, record, false)
	require.Equal(t, record, moved.exports(alice.at))

	full := fresh(alice)
	full.imports(bob.at, alice.exports(bob.at), false)
	require.Equal(t, MaxArchivedSessions, full.count(rowsSession))
}

// work counts the rows that the decryption of a message reads and writes.
func (a *app) work(from *app, m Message) (gets, puts int) {
	a.do(func(tx Tx) error {
		c := &countingTx{Tx: tx}
		_, err := a.Decrypt(c, from.at, m.Type, m.Bytes)
		gets, puts = c.gets, c.puts
		return err
	})
	return gets, puts
}

type countingTx struct {
	Tx
	gets, puts int
}

func (c *countingTx) Get(key string) ([]byte, uint64, error) { c.gets++; return c.Tx.Get(key) }

func (c *countingTx) Put(key string, value []byte, rev uint64) error {
	c.puts++
	return c.Tx.Put(key, value, rev)
}

// R19, R-10.5-1, R-10.5-2: the chain steps of one message are bounded over all
// sessions that it is tried in. A message of a session of the past that begins
// a chain of that session far from its start pays for the current session too.
func TestStepsBoundedOverAllSessions(t *testing.T) {
	alice, bob, _ := pair(t)
	var late []Message // of a chain that Bob has not seen
	alice.do(func(tx Tx) error {
		late = nil
		for range 12_502 {
			m, err := alice.Encrypt(tx, nil, bob.at)
			if err != nil {
				return err
			}
			late = append(late, m...)
		}
		return nil
	})
	alice.do(func(tx Tx) error { return alice.Reset(tx, bob.at) })
	alice.start(bob)
	bob.reads(alice, alice.encrypt(bob, "new session"), "new session")
	parsed, err := ratchet.ParseMessage(late[len(late)-1].Bytes)
	require.NoError(t, err)
	require.Equal(t, uint32(12_501), parsed.Counter)
	// 12,501 steps in the current session leave fewer for the one of the past.
	bob.refuses(alice, late[len(late)-1], ErrUndecryptable)
	bob.reads(alice, late[len(late)-2], "")
	// Now the chain is known, and no other session is asked.
	bob.reads(alice, late[len(late)-1], "")
	bob.reads(alice, late[len(late)-1000], "")
}

// R-10.4-2: a session that nobody answered is not written in after 30 days.
func TestUnacknowledgedSessionExpires(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.start(bob)
	c.now = start.Add(30 * 24 * time.Hour)
	alice.encrypt(bob, "just in time")
	c.now = c.now.Add(time.Second)
	require.ErrorIs(t, alice.encryptErr(bob, "too late").Err, ErrNoSession)
	alice.start(bob)
	alice.encrypt(bob, "in a new one")
}

// E19, R14, R-10.5-4: a ciphertext of one conversation, given to another; and an
// initial message under the address of a device that is known, which is not
// called its work.
func TestCrossSessionSplice(t *testing.T) {
	alice, bob, c := pair(t)
	carol := newApp(t, "carol", 1, c)
	carol.start(bob)
	bob.reads(carol, carol.encrypt(bob, "hi"), "hi")
	carol.reads(bob, bob.encrypt(carol, "hi"), "hi")
	m := alice.encrypt(bob, "from alice")
	bob.refuses(carol, m, ErrUndecryptable)
	carol.refuses(bob, m, ErrUndecryptable)
	// Of so many, some would have a right padding under Carol's keys.
	for range 2000 {
		require.ErrorIs(t, bob.decrypt(carol, alice.encrypt(bob, "from alice")).Err, ErrUndecryptable)
	}
	initial := newApp(t, "dave", 1, c)
	initial.start(bob)
	first := initial.encrypt(bob, "from dave")
	bob.reads(alice, m, "from alice")

	// An initial message under another address is from whoever wrote it: the
	// identity key says so, and it is not Carol's.
	r := bob.decrypt(carol, first)
	require.NoError(t, r.Err)
	require.True(t, r.IdentityChanged)
	require.Equal(t, initial.published.IdentityKey, r.Identity)
}

// R15: a stolen session of the past does inject, and is answered, until its owner
// writes again, which brings the healed session back; it ends when 41 newer ones
// have come since its last message. (With the confirmation of another identity key it ends at once:
// TestIdentityChangeBlocksSendAndReceive.)
func TestArchivedSessionCannotInjectAfterHeal(t *testing.T) {
	alice, bob, _ := pair(t)
	thief := newSnapshot(alice)
	alice.start(bob)
	bob.reads(alice, alice.encrypt(bob, "healed"), "healed")
	healed := bob.baseKey(alice)
	bob.reads(alice, thief.encrypt(bob, "injected"), "injected")
	require.NotEqual(t, healed, bob.baseKey(alice))
	answer := bob.encrypt(alice, "answer")
	thief.reads(bob, answer, "answer")
	alice.reads(bob, answer, "answer")

	alice.do(func(tx Tx) error { return alice.Reset(tx, bob.at) })
	alice.start(bob)
	bob.reads(alice, alice.encrypt(bob, "again"), "again")
	thief.refuses(bob, bob.encrypt(alice, "not for him"), ErrUndecryptable)
	for range 40 {
		alice.start(bob)
		bob.reads(alice, alice.encrypt(bob, "healed"), "healed")
	}
	bob.refuses(alice, thief.encrypt(bob, "too late"), ErrUndecryptable)
}

// newSnapshot copies a device with its database.
func newSnapshot(a *app) *app {
	s := *a
	s.store = new(Memory)
	rows := a.rows()
	s.do(func(tx Tx) error {
		for key, value := range rows {
			if err := tx.Put(key, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	})
	return &s
}

// H18, R-5.7-1: a server gives a device its own bundle in another's name. What comes
// back to it does not decrypt in the session that made it; under a third name it
// does, as a first message, and is what it says it is: written by our own identity
// key, which is the one that the safety number shows.
func TestOwnBundleInAnotherName(t *testing.T) {
	c := &clock{start}
	alice := newApp(t, "alice", 1, c)
	bob, carol := &app{at: Address{"bob", 1}}, &app{at: Address{"carol", 1}}
	b := alice.bundle()
	alice.do(func(tx Tx) error { return alice.Start(tx, bob.at, b) })
	m := alice.encrypt(bob, "for bob")
	alice.refuses(bob, m, ErrUndecryptable)
	r := alice.decrypt(carol, m)
	require.NoError(t, r.Err)
	require.Equal(t, "for bob", string(r.Plaintext))
	require.Equal(t, alice.published.IdentityKey, r.Identity)
	alice.do(func(tx Tx) error {
		p, err := alice.Peer(tx, carol.at)
		require.Equal(t, alice.published.IdentityKey, p.Identity)
		return err
	})
	alice.refuses(&app{at: Address{"dave", 1}}, m, ErrUnknownPreKey) // once
}

// H29, R-10.4-1, R-10.6-2: sessions with other identity keys, which a server brings in a
// device's name, crowd out those with the true one. Nothing is encrypted for them,
// and when the user has said no, all that was under way comes again.
func TestSessionsCrowdedOut(t *testing.T) {
	alice, bob, c := pair(t)
	late := alice.logged(bob, 1, "under way")
	for i := range uint32(41) {
		mallory := newApp(t, "mallory", i, c)
		mallory.start(bob)
		r := bob.decrypt(alice, mallory.encrypt(bob, "not from alice"))
		require.NoError(t, r.Err)
		require.True(t, r.IdentityChanged)
		require.ErrorIs(t, bob.encryptErr(alice, "").Err, ErrIdentityChanged)
	}
	require.Equal(t, 41, bob.count(rowsSession))
	bob.refuses(alice, late, ErrUndecryptable)
	bob.do(func(tx Tx) error { return bob.Confirm(tx, alice.at, alice.published.IdentityKey) })
	require.Zero(t, bob.count(rowsSession))
	bob.reads(alice, alice.restart(bob, bob.asks(alice, late)), "under way")
	alice.reads(bob, bob.encrypt(alice, "answer"), "answer")
	bob.reads(alice, alice.encrypt(bob, "and so on"), "and so on")
}

// E09: names are told apart by their bytes, whatever they look like and whatever
// they would be as part of a path: each is a peer of its own, in rows of its own.
func TestNamesThatLookAlike(t *testing.T) {
	c := &clock{start}
	bob := newApp(t, "bob", 1, c)
	names := []string{"\u00e9", "e\u0301", "e", "E", "e\x00", "e/", "e.1", "e.", "65", "\xff", "\xfe", strings.Repeat("e", 256)}
	var all []*app
	for _, name := range names {
		a := newApp(t, name, 1, c)
		a.start(bob)
		bob.reads(a, a.encrypt(bob, name), name)
		a.reads(bob, bob.encrypt(a, name), name)
		all = append(all, a)
	}
	require.Equal(t, len(names), bob.count(rowsPeer))
	bob.do(func(tx Tx) error { return bob.Forget(tx, Address{"e", 1}) })
	require.Equal(t, len(names)-1, bob.count(rowsPeer))
	for _, a := range all {
		var found []Address
		bob.do(func(tx Tx) error {
			found = nil
			for at, err := range bob.Devices(tx, a.at.User) {
				if err != nil {
					return err
				}
				found = append(found, at)
			}
			return nil
		})
		if a.at.User == "e" {
			require.Empty(t, found)
			continue
		}
		require.Equal(t, []Address{a.at}, found)
		bob.reads(a, a.encrypt(bob, "still here"), "still here")
	}

	// The longest keys of rows that there can be.
	at, group, key := Address{strings.Repeat("\xff", MaxUserSize), x3dh.MaxDeviceID}, strings.Repeat("\xff", maxGroupName), bob.published.IdentityKey
	for _, row := range []string{rowPeer(at), rowSession(at, key), rowSkipped(at, key, key, 1<<32-1), rowRetry(at), rowHeld(at),
		rowReceiver(at, group, key), rowChain(at, "g"+groupKey(group)), rowGroup(group)} {
		require.LessOrEqual(t, len(row), MaxRowKeySize)
	}
}

// R09: any number of goroutines, no key twice.
func TestConcurrentEncryptUniqueKeys(t *testing.T) {
	alice, bob, _ := pair(t)
	n := 100_000
	if testing.Short() {
		n = 2000
	}
	const workers = 4
	seen := make([]map[string]bool, workers)
	var wg sync.WaitGroup
	for w := range workers {
		seen[w] = map[string]bool{}
		wg.Go(func() {
			for range n / workers {
				var m Message
				err := alice.try(func(tx Tx) error {
					messages, err := alice.Encrypt(tx, []byte("x"), bob.at)
					if err == nil {
						m = messages[0]
					}
					return err
				})
				parsed, perr := ratchet.ParseMessage(m.Bytes)
				if err != nil || perr != nil || m.Err != nil {
					t.Error(err, perr, m.Err)
					return
				}
				seen[w][fmt.Sprintf("%x %d", parsed.RatchetKey.Bytes(), parsed.Counter)] = true
			}
		})
	}
	wg.Wait()
	all := map[string]bool{}
	for _, s := range seen {
		for k := range s {
			all[k] = true
		}
	}
	require.Len(t, all, n/workers*workers)
}

// R08: a snapshot of the database is another writer, and nobody here can see
// it: SECURITY.md says so. Within one database the older state cannot be
// written back.
func TestRestoredSnapshotCannotEncrypt(t *testing.T) {
	alice, bob, _ := pair(t)
	var key string
	for k := range alice.rows() {
		if len(k) > len(rowsSession) && k[:len(rowsSession)] == rowsSession {
			key = k
		}
	}
	var old []byte
	var rev uint64
	alice.do(func(tx Tx) (err error) { old, rev, err = tx.Get(key); return err })
	alice.encrypt(bob, "meanwhile")
	require.ErrorIs(t, alice.store.Do(func(tx Tx) error { return tx.Put(key, old, rev) }), ErrConflict)
}

// Several devices: each its own message, own devices too, and one bad address
// or missing session does not sink the rest.
func TestSeveralDevices(t *testing.T) {
	c := &clock{start}
	phone, laptop := newApp(t, "alice", 1, c), newApp(t, "alice", 2, c)
	bobs := []*app{newApp(t, "bob", 1, c), newApp(t, "bob", 2, c), newApp(t, "bob", 3, c)}
	phone.start(laptop)
	phone.start(bobs[0])
	phone.start(bobs[2])
	to := []Address{bobs[0].at, bobs[1].at, bobs[2].at, laptop.at, {}, bobs[0].at}
	var messages []Message
	phone.do(func(tx Tx) (err error) {
		messages, err = phone.Encrypt(tx, []byte("to all"), to...)
		return err
	})
	require.Len(t, messages, 5)
	for i, want := range []error{nil, ErrNoSession, nil, nil, ErrAddress} {
		require.Equal(t, to[i], messages[i].To)
		require.ErrorIs(t, messages[i].Err, want)
	}
	bobs[0].reads(phone, messages[0], "to all")
	bobs[2].reads(phone, messages[2], "to all")
	laptop.reads(phone, messages[3], "to all")
	bobs[2].refuses(phone, messages[0], ErrUnknownPreKey)

	var known []Address
	phone.do(func(tx Tx) error {
		known = nil
		for a, err := range phone.Devices(tx, "bob") {
			if err != nil {
				return err
			}
			known = append(known, a)
		}
		return nil
	})
	require.Equal(t, []Address{bobs[0].at, bobs[2].at}, known)
	phone.do(func(tx Tx) error { return phone.Forget(tx, bobs[0].at) })
	require.ErrorIs(t, phone.encryptErr(bobs[0], "").Err, ErrNoSession)
	require.NoError(t, phone.encryptErr(bobs[2], "").Err)
}

func TestSafetyNumber(t *testing.T) {
	alice, bob, _ := pair(t)
	var a, b x3dh.Fingerprint
	alice.do(func(tx Tx) (err error) {
		a, err = alice.SafetyNumber(tx, bob.at, 2, []byte("a"), []byte("b"))
		return err
	})
	bob.do(func(tx Tx) (err error) {
		b, err = bob.SafetyNumber(tx, alice.at, 2, []byte("b"), []byte("a"))
		return err
	})
	require.Equal(t, a.String(), b.String())
	require.ErrorIs(t, alice.try(func(tx Tx) error {
		_, err := alice.SafetyNumber(tx, Address{"nobody", 1}, 2, nil, nil)
		return err
	}), ErrNoSession)
}
