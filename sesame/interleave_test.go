package sesame

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/x3dh"
)

// A step is a transaction, which says what it saw.
type step func(a *app, tx Tx) (string, error)

// interleave runs each pair of steps on copies of a, the second between any two
// calls of the first. What both say and what is stored in the end has to be as
// if one had come after the other; of steps that draw keys only what holds of
// any database.
func (a *app) interleave(peer *app, steps map[string]step, random ...string) (runs int) {
	names := slices.Sorted(maps.Keys(steps))
	for _, first := range names {
		for _, second := range names {
			one, two := steps[first], steps[second]
			draws := slices.Contains(random, first) || slices.Contains(random, second)
			var serial [2]outcome
			for i := range serial {
				s := newSnapshot(a)
				if i == 0 {
					serial[i].one = s.result(one)
				}
				serial[i].two = s.result(two)
				if i == 1 {
					serial[i].one = s.result(one)
				}
				serial[i].rows = s.rows()
			}
			for at := 0; ; at++ {
				s := newSnapshot(a)
				var o outcome
				done := false
				o.one = s.result(func(s *app, tx Tx) (string, error) {
					return one(s, &watchedTx{Tx: tx, before: func(call int, _ string) {
						if call == at && !done {
							done = true
							o.two = s.result(two)
						}
					}})
				})
				if !done {
					break // the first has fewer calls
				}
				runs++
				o.rows = s.rows()
				s.consistent(peer.at)
				ok := false
				for _, s := range serial {
					ok = ok || draws || o.one == s.one && o.two == s.two && maps.Equal(o.rows, s.rows)
				}
				require.True(a.t, ok, "%s, and before call %d %s: %.99q, %.99q", first, at, second, o.one, o.two)
			}
		}
	}
	return runs
}

// consistent checks that the rows of sessions are those of the sessions that
// the peer's row names.
func (a *app) consistent(peer Address) {
	a.t.Helper()
	a.do(func(tx Tx) error {
		p, _, err := a.peer(tx, peer)
		require.NoError(a.t, err)
		require.Equal(a.t, len(p.sessions), a.count(rowsSession+peer.key()), "session rows")
		for _, base := range p.sessions {
			_, err := a.session(tx, peer, base)
			require.NoError(a.t, err)
		}
		for key, err := range tx.Scan(rowsSkipped) {
			require.NoError(a.t, err)
			require.True(a.t, slices.ContainsFunc(p.sessions, func(base x3dh.PublicKey) bool {
				return strings.HasPrefix(key, rowsSkippedOf(peer, base))
			}), "stored keys of no session")
		}
		return nil
	})
}

func decrypting(from Address, m Message) step {
	return func(a *app, tx Tx) (string, error) {
		r, err := a.Decrypt(tx, from, m.Type, m.Bytes)
		if err != nil {
			return "", err
		}
		request, err := a.RetryRequest(tx, r, 7)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s %v %v %v", r.Plaintext, r.Err, r.IdentityChanged, request != nil), nil
	}
}

func handling(from Address, key x3dh.PublicKey) step {
	q := &retryRequest{ratchetKey: key, timestamp: 1, device: 1}
	return func(a *app, tx Tx) (string, error) {
		m, err := a.HandleRetry(tx, from, 1, q.appendPlaintext(nil), always)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%x %v", m.Bytes, m.Err), nil
	}
}

func saying(err error) (string, error) { return "done", err }

// R-10.2-7, R-10.5-5, R-10.7-4, R-10.7-5, R-10.9-3: rows that are only read are not
// guarded, whatever the call.
func TestAllCallsSideBySide(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	connect := func() {
		alice.start(bob)
		bob.reads(alice, alice.encrypt(bob, "first"), "first")
	}
	connect()
	answer := bob.logged(alice, 1, "logged")
	past := bob.ratchetKey(alice)
	old := alice.sendsN(bob, 3)
	bob.reads(alice, old[2], "2")
	var record []byte
	imported := newSnapshot(bob)
	imported.do(func(tx Tx) (err error) {
		record, err = bob.Export(tx, alice.at)
		return err
	})
	connect()
	now := bob.ratchetKey(alice)
	require.NotEqual(t, past, now)
	next := alice.sendsN(bob, 4)
	bob.reads(alice, next[1], "1")
	bundle := alice.bundle()
	steps := map[string]step{
		"next":     decrypting(alice.at, next[2]),
		"late":     decrypting(alice.at, next[0]),
		"promote":  decrypting(alice.at, old[1]),
		"forged":   decrypting(alice.at, Message{Type: next[0].Type, Bytes: forge(t, 2)}),
		"handle":   handling(alice.at, none),
		"lost":     handling(alice.at, now),
		"old lost": handling(alice.at, past),
		"encrypt":  encrypting(alice.at, "text"),
		"log": func(a *app, tx Tx) (string, error) {
			m, err := a.EncryptLogged(tx, 1, []byte("logged"), alice.at)
			return fmt.Sprintf("%x", m), err
		},
		"delivered": func(a *app, tx Tx) (string, error) { return saying(a.Delivered(tx, 1, alice.at)) },
		"reset":     func(a *app, tx Tx) (string, error) { return saying(a.Reset(tx, alice.at)) },
		"forget":    func(a *app, tx Tx) (string, error) { return saying(a.Forget(tx, alice.at)) },
		"start":     func(a *app, tx Tx) (string, error) { return saying(a.Start(tx, alice.at, bundle)) },
		"import":    func(a *app, tx Tx) (string, error) { return saying(a.Import(tx, alice.at, record)) },
		"publish": func(a *app, tx Tx) (string, error) {
			_, err := a.Publish(tx, 99)
			return saying(err)
		},
		"peer": func(a *app, tx Tx) (string, error) {
			p, err := a.Peer(tx, alice.at)
			return fmt.Sprint(p), err
		},
		"export": func(a *app, tx Tx) (string, error) {
			b, err := a.Export(tx, alice.at)
			if err == ErrNoSession {
				return "none", nil
			}
			return fmt.Sprintf("%x", b), err
		},
		"repair": func(a *app, tx Tx) (string, error) {
			m, err := a.Repair(tx, []byte("logged"), []Message{answer}, Mismatch{Stale: map[Address]uint32{alice.at: 0}})
			return fmt.Sprintf("%x", m), err
		},
	}
	t.Logf("%d interrupted transactions", bob.interleave(alice, steps, "start", "publish"))
}

// R-10.6-3, R-10.7-4: the same while an identity key waits and is confirmed.
// Nothing that was for the old key is encrypted for the new one.
func TestConfirmSideBySide(t *testing.T) {
	alice, bob, c := pair(t)
	answer := bob.logged(alice, 1, "logged")
	old := alice.sendsN(bob, 2)
	bob.reads(alice, old[0], "0")
	again := newApp(t, "alice", 1, c)
	again.start(bob)
	require.True(t, bob.decrypt(again, again.encrypt(bob, "new")).IdentityChanged)
	next := again.sendsN(bob, 2)
	confirm := func(key x3dh.PublicKey) step {
		return func(a *app, tx Tx) (string, error) {
			err := a.Confirm(tx, alice.at, key)
			if err == ErrIdentityChanged || err == ErrNoSession {
				return err.Error(), nil
			}
			return saying(err)
		}
	}
	steps := map[string]step{
		"confirm new": confirm(again.published.IdentityKey),
		"confirm old": confirm(alice.published.IdentityKey),
		"new":         decrypting(alice.at, next[0]),
		"old":         decrypting(alice.at, old[1]),
		"handle":      handling(alice.at, none),
		"lost":        handling(alice.at, bob.ratchetKey(again)),
		"encrypt":     encrypting(alice.at, "text"),
		"reset":       func(a *app, tx Tx) (string, error) { return saying(a.Reset(tx, alice.at)) },
		"forget":      func(a *app, tx Tx) (string, error) { return saying(a.Forget(tx, alice.at)) },
		"repair": func(a *app, tx Tx) (string, error) {
			m, err := a.Repair(tx, []byte("logged"), []Message{answer}, Mismatch{Stale: map[Address]uint32{alice.at: 0}})
			return fmt.Sprintf("%x", m), err
		},
	}
	t.Logf("%d interrupted transactions", bob.interleave(alice, steps))
}
