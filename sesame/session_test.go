package sesame

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
)

// A watchedTx calls before with the number of each call and the key of its row.
type watchedTx struct {
	Tx
	calls  int
	before func(call int, key string)
}

func (w *watchedTx) call(key string) {
	w.before(w.calls, key)
	w.calls++
}

func (w *watchedTx) Get(key string) ([]byte, uint64, error) { w.call(key); return w.Tx.Get(key) }

func (w *watchedTx) Put(key string, value []byte, rev uint64) error {
	w.call(key)
	return w.Tx.Put(key, value, rev)
}

func (w *watchedTx) Delete(key string, rev uint64) error { w.call(key); return w.Tx.Delete(key, rev) }

func (w *watchedTx) Scan(prefix string) iter.Seq2[string, error] {
	w.call(prefix)
	return w.Tx.Scan(prefix)
}

// touches reports whether a transaction reads or writes stored keys.
func (a *app) touches(f func(tx Tx) error) (touched bool) {
	a.t.Helper()
	a.do(func(tx Tx) error {
		touched = false
		return f(&watchedTx{Tx: tx, before: func(_ int, key string) {
			touched = touched || strings.HasPrefix(key, rowsSkipped)
		}})
	})
	return touched
}

func (a *app) decrypting(from *app, m Message, verdict error) func(tx Tx) error {
	return func(tx Tx) error {
		r, err := a.Decrypt(tx, from.at, m.Type, m.Bytes)
		if err == nil {
			require.ErrorIs(a.t, r.Err, verdict)
			require.Equal(a.t, verdict == nil, r.Err == nil)
		}
		return err
	}
}

// sendsN encrypts n messages, which say their numbers.
func (a *app) sendsN(to *app, n int) (messages []Message) {
	a.t.Helper()
	for i := range n {
		messages = append(messages, a.encrypt(to, fmt.Sprint(i)))
	}
	return messages
}

// R-10.2-4, R-10.2-5: stored keys stand in rows of their own, which are read and written only for
// messages that need them; the last key takes its row with it.
func TestStoredKeysApart(t *testing.T) {
	alice, bob, _ := pair(t)
	m := alice.sendsN(bob, 6)
	require.False(t, bob.touches(bob.decrypting(alice, m[0], nil)))
	require.Zero(t, bob.count(rowsSkipped))
	require.True(t, bob.touches(bob.decrypting(alice, m[3], nil)))
	require.Equal(t, 1, bob.count(rowsSkipped))

	require.False(t, bob.touches(func(tx Tx) error { _, err := bob.Encrypt(tx, nil, alice.at); return err }))
	require.False(t, bob.touches(bob.decrypting(alice, m[4], nil)), "the next of the chain")
	require.False(t, bob.touches(bob.decrypting(alice, Message{Type: ratchet.Ordinary, Bytes: forge(t, 1)}, ErrUndecryptable)))
	require.True(t, bob.touches(bob.decrypting(alice, m[4], ErrDuplicate)))

	require.True(t, bob.touches(bob.decrypting(alice, m[1], nil)))
	bob.refuses(alice, m[1], ErrDuplicate)
	require.True(t, bob.touches(bob.decrypting(alice, m[2], nil)))
	require.Zero(t, bob.count(rowsSkipped), "the last one is used")
	for _, late := range m[:5] {
		require.False(t, bob.touches(bob.decrypting(alice, late, ErrDuplicate)), "there is nothing to read")
	}
	bob.reads(alice, m[5], "5")
}

// R-6.3-4, R-10.2-4, R-10.2-6: a late message reads and writes the block of its key, and an evicted chain takes
// all of its blocks with it.
func TestBlocksOfStoredKeys(t *testing.T) {
	alice, bob, _ := pair(t)
	m := alice.sendsN(bob, 101)
	bob.reads(alice, m[99], "99")
	require.Equal(t, 4, bob.count(rowsSkipped), "0 … 98")
	before := bob.rows()
	bob.reads(alice, m[40], "40")
	after := bob.rows()
	maps.DeleteFunc(after, func(key, value string) bool { return before[key] == value })
	changed := slices.Sorted(maps.Keys(after))
	require.Len(t, changed, 2)
	require.Contains(t, changed[0], "/session/")
	require.Regexp(t, "/skipped/.*/00000001$", changed[1])
	require.Len(t, bob.seeds(), 98)

	read := map[string]int{}
	bob.do(func(tx Tx) error {
		r, err := bob.Decrypt(&watchedTx{Tx: tx, before: func(_ int, key string) {
			if strings.HasPrefix(key, rowsSkipped) {
				read[key[len(key)-9:]]++
			}
		}}, alice.at, m[70].Type, m[70].Bytes)
		require.NoError(t, r.Err)
		return err
	})
	require.Equal(t, map[string]int{"/00000002": 3}, read, "read, and for its revision, and written")
	for _, i := range []int{64, 98, 0, 95} {
		bob.reads(alice, m[i], fmt.Sprint(i))
		bob.refuses(alice, m[i], ErrDuplicate)
	}
	require.Equal(t, 4, bob.count(rowsSkipped))
	bob.reads(alice, m[96], "96")
	bob.reads(alice, m[97], "97")
	require.Equal(t, 3, bob.count(rowsSkipped), "the last block has no keys any more")
	bob.reads(alice, m[100], "100")

	for range ratchet.MaxReceivingChains {
		alice.reads(bob, bob.encrypt(alice, "turn"), "turn")
		require.Equal(t, 3, bob.count(rowsSkipped))
		bob.reads(alice, alice.encrypt(bob, "turn"), "turn")
	}
	require.Zero(t, bob.count(rowsSkipped), "the chain went")
}

// R-10.2-5: each use of a stored key deletes it, in the transaction that has the plaintext.
func TestStoredKeyGoesWithItsUse(t *testing.T) {
	alice, bob, _ := pair(t)
	m := alice.sendsN(bob, 4)
	bob.reads(alice, m[3], "3")
	seeds := bob.seeds()
	require.Len(t, seeds, 3)
	errRollBack := errors.New("roll back")
	require.ErrorIs(t, bob.store.Do(func(tx Tx) error {
		r, err := bob.Decrypt(tx, alice.at, m[1].Type, m[1].Bytes)
		require.NoError(t, err)
		require.NoError(t, r.Err)
		return errRollBack
	}), errRollBack)
	require.Equal(t, seeds, bob.seeds(), "rolled back, the key is there")
	bob.reads(alice, m[1], "1")
	require.Len(t, bob.seeds(), 2)
	require.Subset(t, seeds, bob.seeds())
	bob.refuses(alice, m[1], ErrDuplicate)
}

// seeds are the stored keys of all sessions, out of the bytes of their rows.
func (a *app) seeds() (seeds []string) {
	for key, row := range a.rows() {
		if !strings.HasPrefix(key, rowsSkipped) {
			continue
		}
		block := wire.Decode([]byte(row))
		for block.Next() {
			stored := wire.Decode(block.Repeated())
			for stored.Next() {
				if stored.Num() == 5 {
					seeds = append(seeds, string(stored.Bytes()))
				} else {
					stored.Skip()
				}
			}
			require.NoError(a.t, stored.Close(5))
		}
		require.NoError(a.t, block.Close())
	}
	slices.Sort(seeds)
	return seeds
}

// R-10.2-6: whatever ends a session, or a chain, ends its stored keys.
func TestNoOrphans(t *testing.T) {
	skip := func(from, to *app) { // one message stays behind
		m := from.sendsN(to, 2)
		to.reads(from, m[1], "1")
	}
	turn := func(alice, bob *app) {
		skip(alice, bob)
		alice.reads(bob, bob.encrypt(alice, "turn"), "turn")
	}

	t.Run("chain", func(t *testing.T) {
		alice, bob, _ := pair(t)
		for range 3 * ratchet.MaxReceivingChains {
			turn(alice, bob)
			require.LessOrEqual(t, bob.count(rowsSkipped), ratchet.MaxReceivingChains)
		}
		require.Equal(t, ratchet.MaxReceivingChains, bob.count(rowsSkipped))
		require.Equal(t, 1, bob.count(rowsSession))
	})
	t.Run("Forget", func(t *testing.T) {
		alice, bob, c := pair(t)
		before := newApp(t, "bob", 1, c).count("")
		turn(alice, bob)
		alice.start(bob)
		turn(alice, bob)
		require.Equal(t, 2, bob.count(rowsSkipped))
		bob.do(func(tx Tx) error { return bob.Forget(tx, alice.at) })
		require.Zero(t, bob.count(rowsSkipped))
		require.Zero(t, bob.count(rowsSession))
		require.Equal(t, before-2, bob.count(""), "two prekeys are used up, and nothing is left")
	})
	t.Run("Confirm", func(t *testing.T) {
		alice, bob, c := pair(t)
		turn(alice, bob)
		turn(alice, bob)
		again := newApp(t, "alice", 1, c)
		again.start(bob)
		m := again.sendsN(bob, 2)
		require.NoError(t, bob.decrypt(again, m[1]).Err)
		require.Equal(t, 3, bob.count(rowsSkipped), "two chains of one session, one of the other")
		bob.do(func(tx Tx) error { return bob.Confirm(tx, alice.at, again.published.IdentityKey) })
		require.Equal(t, 1, bob.count(rowsSkipped))
		bob.reads(again, m[0], "0")
		require.Zero(t, bob.count(rowsSkipped))
	})
	t.Run("limit", func(t *testing.T) {
		alice, bob, _ := pair(t)
		turn(alice, bob)
		for i := range MaxArchivedSessions + 1 {
			require.Equal(t, 1, bob.count(rowsSkipped), "session %d", i)
			if len(bob.oneTime) == 0 {
				bob.publish()
			}
			alice.start(bob)
			bob.reads(alice, alice.encrypt(bob, "again"), "again")
		}
		require.Zero(t, bob.count(rowsSkipped))
		require.Equal(t, 1+MaxArchivedSessions, bob.count(rowsSession))
	})
}

// R-10.2-4: a session of the past keeps its stored keys, and a message that
// makes the session makes them at once.
func TestStoredKeysOfArchivedSession(t *testing.T) {
	alice, bob, _ := pair(t)
	m := alice.sendsN(bob, 3)
	bob.reads(alice, m[2], "2")
	alice.start(bob)
	first := alice.sendsN(bob, 3)
	bob.reads(alice, first[2], "2")
	require.Equal(t, 2, bob.count(rowsSkipped))
	bob.reads(alice, m[0], "0")
	bob.reads(alice, first[1], "1")
	bob.reads(alice, m[1], "1")
	require.Equal(t, 1, bob.count(rowsSkipped))
	bob.reads(alice, first[0], "0")
	require.Zero(t, bob.count(rowsSkipped))
}

// A row that was taken away, or is another one, is corrupt: no message is a
// duplicate for that.
func TestStoredKeysCorrupt(t *testing.T) {
	alice, bob, _ := pair(t)
	m := alice.sendsN(bob, 4)
	bob.reads(alice, m[3], "3")
	for name, change := range map[string]func(tx Tx, key string, rev uint64) error{
		"gone":  func(tx Tx, key string, rev uint64) error { return tx.Delete(key, rev) },
		"empty": func(tx Tx, key string, rev uint64) error { return tx.Put(key, nil, rev) },
		"other": func(tx Tx, key string, rev uint64) error { return tx.Put(key, []byte{1}, rev) },
		"no number": func(tx Tx, key string, rev uint64) error {
			return errors.Join(tx.Delete(key, rev), tx.Put(key+"x", []byte{1}, 0))
		},
	} {
		broken := newSnapshot(bob)
		broken.do(func(tx Tx) error {
			for key := range tx.Scan(rowsSkipped) {
				_, rev, err := tx.Get(key)
				require.NoError(t, err)
				return change(tx, key, rev)
			}
			return nil
		})
		err := broken.try(func(tx Tx) error { _, err := broken.Decrypt(tx, alice.at, m[0].Type, m[0].Bytes); return err })
		require.ErrorIs(t, err, ErrCorrupt, name)
		err = broken.try(func(tx Tx) error { _, err := broken.Export(tx, alice.at); return err })
		require.ErrorIs(t, err, ErrCorrupt, name)
		broken.do(func(tx Tx) error { return broken.Forget(tx, alice.at) })
		require.Zero(t, broken.count(rowsSkipped)+broken.count(rowsSession), name)
	}
}

// R-10.2-4, R-10.2-7, R-10.1-3: rows that are only read are not guarded. Two transactions
// on one session, the second between any two steps of the first: what both
// report, and what is stored in the end, is as if one had come after the other.
// No key encrypts two plaintexts, no message is read twice, and none is taken
// for a duplicate that nobody has read.
func TestTwoTransactionsSideBySide(t *testing.T) {
	alice, bob, c := pair(t)
	m := alice.sendsN(bob, 8)
	bob.reads(alice, m[4], "4") // 0 to 3 are stored, 5 is next
	// Messages that evict the chain.
	evict := newSnapshot(bob)
	turns := []Message{}
	reads := []Message{}
	other := newSnapshot(alice)
	for range ratchet.MaxReceivingChains {
		answer := evict.encrypt(alice, "turn")
		other.reads(evict, answer, "turn")
		m := other.encrypt(bob, "turn")
		evict.reads(other, m, "turn")
		turns, reads = append(turns, answer), append(reads, m)
	}
	require.Len(t, turns, len(reads))

	decrypt := func(m Message) func(a *app, tx Tx) (string, error) {
		return func(a *app, tx Tx) (string, error) {
			r, err := a.Decrypt(tx, alice.at, m.Type, m.Bytes)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%s %v", r.Plaintext, r.Err), nil
		}
	}
	again := newApp(t, "alice", 1, c)
	again.start(bob)
	steps := map[string]func(a *app, tx Tx) (string, error){
		"late":       decrypt(m[1]),
		"other late": decrypt(m[2]),
		"next":       decrypt(m[5]),
		"jump":       decrypt(m[7]),
		"used":       decrypt(m[4]),
		"initial":    decrypt(again.encrypt(bob, "initial")),
		"encrypt 1":  encrypting(alice.at, "one plaintext"),
		"encrypt 2":  encrypting(alice.at, "another"),
		"forget": func(a *app, tx Tx) (string, error) {
			return "forgotten", a.Forget(tx, alice.at)
		},
		"evict": func(a *app, tx Tx) (string, error) { // the state in which the chain is gone
			return "evicted", a.become(tx, evict)
		},
	}
	interrupted := 0
	for first, one := range steps {
		for second, two := range steps {
			var serial []outcome
			for _, swapped := range []bool{false, true} {
				var o outcome
				a := newSnapshot(bob)
				if swapped {
					o.two = a.result(two)
				}
				o.one = a.result(one)
				if !swapped {
					o.two = a.result(two)
				}
				o.rows = a.rows()
				serial = append(serial, o)
			}
			for at := 0; ; at++ {
				a := newSnapshot(bob)
				var o outcome
				done := false
				o.one = a.result(func(a *app, tx Tx) (string, error) {
					return one(a, &watchedTx{Tx: tx, before: func(call int, _ string) {
						if call == at && !done {
							done = true
							o.two = a.result(two)
						}
					}})
				})
				if !done {
					break // the first has fewer steps
				}
				interrupted++
				o.rows = a.rows()
				ok := false
				for _, s := range serial {
					ok = ok || o.one == s.one && o.two == s.two && (random(first, second) || maps.Equal(o.rows, s.rows))
				}
				require.True(t, ok, "%s, and at step %d %s: %q, %q", first, at, second, o.one, o.two)
			}
		}
	}
	t.Logf("%d interrupted transactions", interrupted)
	require.Greater(t, interrupted, 300)
}

// random: a session that an initial message makes draws a ratchet key.
func random(steps ...string) bool { return steps[0] == "initial" || steps[1] == "initial" }

type outcome struct {
	one, two string
	rows     map[string]string
}

// result runs a step in a transaction, again after a conflict.
func (a *app) result(step func(a *app, tx Tx) (string, error)) (result string) {
	a.t.Helper()
	a.do(func(tx Tx) (err error) {
		result, err = step(a, tx)
		return err
	})
	return result
}

func encrypting(to Address, text string) func(a *app, tx Tx) (string, error) {
	return func(a *app, tx Tx) (string, error) {
		m, err := a.Encrypt(tx, []byte(text), to)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%x %v", m[0].Bytes, m[0].Err), nil
	}
}

// become gives the rows of sessions the state that they have in another
// database, as the steps that led there did.
func (a *app) become(tx Tx, b *app) error {
	for _, prefix := range []string{rowsSession, rowsSkipped} {
		want := b.rows()
		for key, err := range tx.Scan(prefix) {
			if err != nil {
				return err
			}
			if _, ok := want[key]; !ok {
				if err := forgetRow(tx, key); err != nil {
					return err
				}
			}
		}
		for key, value := range want {
			if strings.HasPrefix(key, prefix) {
				_, rev, err := tx.Get(key)
				if err != nil {
					return err
				}
				if err := tx.Put(key, []byte(value), rev); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
