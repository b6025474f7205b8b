package sesame

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// A reader is an installation of a device, as a sender knows it.
type reader struct {
	Address
	registration uint32
}

// A record of what one device wrote in a group, and gave to whom.
type written struct {
	messages []struct {
		bytes []byte
		to    map[reader]bool
	}
	given map[reader][][]byte
}

// add notes what a transaction that has committed made.
func (w *written) add(m *GroupMessage, distribution []byte) {
	if m == nil || m.Ciphertext == nil {
		return
	}
	to := map[reader]bool{}
	for _, e := range m.Messages {
		if e.Err != nil {
			continue
		}
		r := reader{e.To, e.RegistrationID}
		to[r] = true
		if e.Bytes != nil {
			w.given[r] = append(w.given[r], distribution)
		}
	}
	w.messages = append(w.messages, struct {
		bytes []byte
		to    map[reader]bool
	}{m.Ciphertext, to})
}

// check: no key twice; each message opens with what was given to those that it is
// for, and with nothing that was given to anybody else.
func (w *written) check(t *testing.T, name string) {
	seen := map[any]bool{}
	for _, m := range w.messages {
		p, err := senderkey.ParseMessage(m.bytes, senderkey.Signal)
		require.NoError(t, err)
		key := [2]any{p.ID, p.Iteration}
		require.False(t, seen[key], "%s: one key, two messages", name)
		seen[key] = true
		for r, distributions := range w.given {
			opens := slices.ContainsFunc(distributions, func(d []byte) bool {
				thief := senderkey.NewReceiver(senderkey.Signal)
				parsed, err := senderkey.ParseDistribution(d, senderkey.Signal)
				require.NoError(t, err)
				require.NoError(t, thief.Process(parsed))
				_, _, err = thief.Decrypt(nil, m.bytes)
				return err == nil
			})
			require.Equal(t, m.to[r], opens, "%s: %v", name, r)
		}
		for r := range m.to {
			require.NotEmpty(t, w.given[r], "%s: %v has nothing", name, r)
		}
	}
}

// R-10.10-5, R-10.10-6, R-11.8-1: what writes in a group beside all that changes who
// is in it: each message can be read by those that it is for, and by nobody else.
func TestGroupWritersSideBySide(t *testing.T) {
	all, _ := people(t, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	g, less := groupOf("friends", bob, carol), groupOf("friends", carol)
	g.Revision, less.Revision = 1, 2
	begin := &written{given: map[reader][][]byte{}}
	var w *written
	write := func(g Group, timestamp uint64) func(a *app, tx Tx) (func(), error) {
		return func(a *app, tx Tx) (func(), error) {
			var distribution []byte
			m, err := a.EncryptGroup(tx, timestamp, g, []byte("text"), func(d []byte) []byte {
				distribution = slices.Clone(d)
				return d
			})
			if err == senderkey.ErrOldRevision {
				return func() {}, nil
			}
			return func() { w.add(m, distribution) }, err
		}
	}
	w = begin
	var first *GroupMessage
	alice.do(func(tx Tx) (err error) {
		first, err = alice.EncryptGroup(tx, 1, g, []byte("logged"), func(d []byte) []byte {
			w.given[reader{bob.at, bob.published.RegistrationID}] = [][]byte{slices.Clone(d)}
			w.given[reader{carol.at, carol.published.RegistrationID}] = [][]byte{slices.Clone(d)}
			return d
		})
		return err
	})
	alice.do(func(tx Tx) error { return alice.Distributed(tx, g.Name, first.Chain, carol.at) })
	same := bob.bundle()
	info := same.Info()
	info.RegistrationID++
	anew, err := x3dh.NewBundle(info)
	require.NoError(t, err)
	quiet := func(f func(a *app, tx Tx) error) func(a *app, tx Tx) (func(), error) {
		return func(a *app, tx Tx) (func(), error) { return func() {}, f(a, tx) }
	}
	q := &retryRequest{timestamp: 1, device: 1}
	steps := map[string]func(a *app, tx Tx) (func(), error){
		"write":       write(g, 0),
		"write again": write(g, 0),
		"logged":      write(g, 5),
		"without bob": write(less, 0),
		"distributed": quiet(func(a *app, tx Tx) error { return a.Distributed(tx, "friends", first.Chain, bob.at, carol.at) }),
		"asked": quiet(func(a *app, tx Tx) error {
			_, err := a.HandleRetry(tx, bob.at, 1, q.appendPlaintext(nil), always)
			return err
		}),
		"reset":        quiet(func(a *app, tx Tx) error { return a.Reset(tx, bob.at) }),
		"start":        quiet(func(a *app, tx Tx) error { return a.Start(tx, bob.at, same) }),
		"start anew":   quiet(func(a *app, tx Tx) error { return a.Start(tx, bob.at, anew) }),
		"forget":       quiet(func(a *app, tx Tx) error { return a.Forget(tx, bob.at) }),
		"forget group": quiet(func(a *app, tx Tx) error { return a.ForgetGroup(tx, "friends") }),
	}
	g.Revision = 2
	last := write(g, 9)
	names := slices.Sorted(maps.Keys(steps))
	runs := 0
	for _, one := range names {
		for _, two := range names {
			for at, done := 0, true; done; at++ {
				s := newSnapshot(alice)
				w = &written{given: map[reader][][]byte{}}
				for r, d := range begin.given {
					w.given[r] = slices.Clone(d)
				}
				do := func(step func(a *app, tx Tx) (func(), error), tx func(Tx) Tx) {
					var committed func()
					s.do(func(t Tx) (err error) { committed, err = step(s, tx(t)); return err })
					committed()
				}
				plain := func(tx Tx) Tx { return tx }
				done = false
				do(steps[one], func(tx Tx) Tx {
					return &watchedTx{Tx: tx, before: func(call int, _ string) {
						if call == at && !done {
							done = true
							do(steps[two], plain)
						}
					}}
				})
				if done {
					runs++
					do(last, plain)
					w.check(t, one+", and before a call "+two)
				}
			}
		}
	}
	require.Greater(t, runs, 500)
	t.Logf("%d interrupted transactions", runs)
}
