package sesame

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// A racingTx lets another transaction commit before the first read of a row
// whose key begins with prefix. Databases that do not keep a snapshot for each
// transaction do that (PostgreSQL's READ COMMITTED).
type racingTx struct {
	Tx
	prefix string
	other  func()
}

func (r *racingTx) Get(key string) ([]byte, uint64, error) {
	if strings.HasPrefix(key, r.prefix) && r.other != nil {
		other := r.other
		r.other = nil
		other()
	}
	return r.Tx.Get(key)
}

// race runs f, with other in the middle of it, and again if it conflicts; it
// returns how often f ran.
func (a *app) race(prefix string, other func(), f func(tx Tx) error) (runs int) {
	a.t.Helper()
	a.do(func(tx Tx) error {
		runs++
		r := &racingTx{tx, prefix, other}
		if runs > 1 {
			r.other = nil
		}
		err := f(r)
		require.Nil(a.t, r.other, "the other transaction did not run")
		return err
	})
	return runs
}

// R-10.5-5: a session that another transaction makes one of the past has
// forgotten its prekeys. What is encrypted meanwhile can be read, also if it is
// the first to arrive.
func TestEncryptDuringStart(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.start(bob)
	var m Message
	runs := alice.race(rowsSession, func() { alice.start(bob) }, func(tx Tx) error {
		messages, err := alice.Encrypt(tx, []byte("in the new session"), bob.at)
		if err == nil {
			m = messages[0]
		}
		return err
	})
	require.Equal(t, 2, runs)
	require.NoError(t, m.Err)
	require.Equal(t, ratchet.Initial, m.Type)
	bob.reads(alice, m, "in the new session")
	alice.reads(bob, bob.encrypt(alice, "answer"), "answer")
}

// R-10.5-5: two transactions decrypt the first two messages of a session. The
// one that finds the prekey used up, or the mark of a session without one,
// must not take its message for lost or repeated.
func TestDecryptDuringAccept(t *testing.T) {
	for _, row := range []string{rowsPreKey, rowsAccepted} {
		c := &clock{start}
		alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
		if row == rowsAccepted {
			bob.oneTime = nil
		}
		alice.start(bob)
		first, second := alice.encrypt(bob, "first"), alice.encrypt(bob, "second")
		var r *Result
		runs := bob.race(row, func() { bob.reads(alice, first, "first") }, func(tx Tx) (err error) {
			r, err = bob.Decrypt(tx, alice.at, second.Type, second.Bytes)
			return err
		})
		require.Equal(t, 2, runs)
		require.NoError(t, r.Err)
		require.Equal(t, "second", string(r.Plaintext))
	}
}

// R-10.5-5: a session that another transaction deletes meanwhile is a conflict,
// not a damaged database.
func TestSessionVanishes(t *testing.T) {
	alice, bob, _ := pair(t)
	m := bob.encrypt(alice, "to nobody")
	snapshot := newSnapshot(alice)
	forget := func(a *app) func() {
		return func() { a.do(func(tx Tx) error { return a.Forget(tx, bob.at) }) }
	}
	var sent []Message
	require.Equal(t, 2, alice.race(rowsSession, forget(alice), func(tx Tx) (err error) {
		sent, err = alice.Encrypt(tx, nil, bob.at)
		return err
	}))
	require.ErrorIs(t, sent[0].Err, ErrNoSession)
	var r *Result
	require.Equal(t, 2, snapshot.race(rowsSession, forget(snapshot), func(tx Tx) (err error) {
		r, err = snapshot.Decrypt(tx, bob.at, m.Type, m.Bytes)
		return err
	}))
	require.ErrorIs(t, r.Err, ErrNoSession)

	// A session whose name is there, and which is not, is one.
	for key := range bob.rows() {
		if strings.HasPrefix(key, rowsSession) {
			bob.do(func(tx Tx) error {
				_, rev, err := tx.Get(key)
				require.NoError(t, err)
				return tx.Delete(key, rev)
			})
		}
	}
	require.ErrorIs(t, bob.encryptErr(alice, "").Err, ErrCorrupt)
}

// R-10.2-6: a session that another transaction makes while its device is
// forgotten does not stay behind without the peer's row.
func TestForgetDuringStart(t *testing.T) {
	for _, known := range []bool{false, true} {
		c := &clock{start}
		alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
		if known {
			alice.start(bob)
		}
		runs := alice.race(rowRetry(bob.at), func() { alice.start(bob) }, func(tx Tx) error { return alice.Forget(tx, bob.at) })
		require.Equal(t, 2, runs)
		require.Zero(t, alice.count(rowsPeer)+alice.count(rowsSession))
	}
}

// R-10.7-4, H29: a key that is confirmed while a request is answered gets nothing
// that was for the one before.
func TestHandleRetryDuringConfirm(t *testing.T) {
	alice, bob, c := pair(t)
	m := alice.logged(bob, 1, "for the old key")
	again := newApp(t, "bob", 1, c)
	again.start(alice)
	require.True(t, alice.decrypt(again, again.encrypt(alice, "new")).IdentityChanged)
	request := again.asks(alice, m)
	confirm := func() {
		alice.do(func(tx Tx) error { return alice.Confirm(tx, bob.at, again.published.IdentityKey) })
	}
	var answer Message
	runs := alice.race(rowsSent, confirm, func(tx Tx) (err error) {
		answer, err = alice.HandleRetry(tx, bob.at, 1, request.Bytes, always)
		return err
	})
	require.Equal(t, 2, runs)
	require.ErrorIs(t, answer.Err, errOtherIdentity)
	require.Nil(t, answer.Bytes)
}

// R-10.7-5: a request ends the session that it names, and not the one that
// another transaction has put in its place.
func TestHandleRetryDuringStart(t *testing.T) {
	alice, bob, _ := pair(t)
	m := alice.logged(bob, 1, "lost")
	bob.dropSessions(alice)
	request := bob.asks(alice, m)
	var answer Message
	runs := alice.race(rowsRetry, func() { alice.start(bob) }, func(tx Tx) (err error) {
		answer, err = alice.HandleRetry(tx, bob.at, 1, request.Bytes, always)
		return err
	})
	require.Equal(t, 2, runs)
	require.NoError(t, answer.Err)
	bob.reads(alice, answer, "lost")
}

// R-10.9-3: a session that another transaction puts in the place of a stale one
// stays the current one; and in a stale one that it puts there nothing is encrypted.
func TestRepairDuringStart(t *testing.T) {
	alice, bob, _ := pair(t)
	sealed := []Message{alice.encrypt(bob, "text")}
	old := sealed[0].RegistrationID
	late := bob.encrypt(alice, "late")
	startAgain := func() {
		b, err := x3dh.NewBundle(x3dh.BundleInfo{
			RegistrationID: old + 1, DeviceID: 1, IdentityKey: bob.published.IdentityKey, SignedPreKey: bob.published.SignedPreKey,
		})
		require.NoError(t, err)
		alice.do(func(tx Tx) error { return alice.Start(tx, bob.at, b) })
	}
	var repaired []Message
	repair := func(id uint32) func(tx Tx) error {
		return func(tx Tx) (err error) {
			repaired, err = alice.Repair(tx, []byte("text"), sealed, Mismatch{Stale: map[Address]uint32{bob.at: id}})
			return err
		}
	}
	require.Equal(t, 2, alice.race(rowsSession, startAgain, repair(old+1)))
	require.NoError(t, repaired[0].Err)
	require.Equal(t, old+1, repaired[0].RegistrationID)

	// The second reading of the peer's row is Encrypt's.
	sealed = repaired
	runs, calls := 0, 0
	alice.do(func(tx Tx) error {
		runs++
		return repair(old)(&watchedTx{Tx: tx, before: func(_ int, key string) {
			if key != rowPeer(bob.at) {
				return
			}
			if calls++; calls == 1 {
				alice.reads(bob, late, "late") // the old session is the current one
			} else if calls == 2 {
				startAgain()
			}
		}})
	})
	require.Equal(t, 2, runs)
	require.ErrorIs(t, repaired[0].Err, ErrNoSession)
}

// R-10.8-1, R-10.2-7: what is exported as the current session is one.
func TestExportDuringStart(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.start(bob)
	var record []byte
	runs := alice.race(rowsSession, func() { alice.start(bob) }, func(tx Tx) (err error) {
		record, err = alice.Export(tx, bob.at)
		return err
	})
	require.Equal(t, 2, runs)
	sessions, current, err := alice.parseRecord(record, alice.published.IdentityKey)
	require.NoError(t, err)
	require.True(t, current)
	require.Equal(t, alice.baseKey(bob), sessions[0].BaseKey())
}

// R-10.2-7: the stored keys that are exported are those that the head counts.
func TestExportDuringLateMessage(t *testing.T) {
	alice, bob, _ := pair(t)
	m := alice.sendsN(bob, 3)
	bob.reads(alice, m[2], "2")
	var record []byte
	late := func() { bob.reads(alice, m[0], "0") }
	require.Equal(t, 2, bob.race(rowsSkipped, late, func(tx Tx) (err error) {
		record, err = bob.Export(tx, alice.at)
		return err
	}))
	for _, seed := range bob.seeds() {
		require.Contains(t, string(record), seed)
	}
	require.Len(t, bob.seeds(), 1)
}
