package sesame

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/x3dh"
)

// A directory is what a server knows: the devices of all users, of which it
// compares all but the sender with a message (SPEC.md R-8.6-4).
type directory map[Address]*app

func (d directory) mismatch(from Address, messages []Message) (m Mismatch, refused bool) {
	m = Mismatch{Missing: map[Address]uint32{}, Stale: map[Address]uint32{}}
	table := map[Address]uint32{}
	for _, v := range messages {
		if v.Err == nil {
			table[v.To] = v.RegistrationID
		}
	}
	for a, device := range d {
		switch id, ok := table[a]; {
		case a == from:
		case !ok:
			m.Missing[a] = device.published.RegistrationID
		case id != device.published.RegistrationID:
			m.Stale[a] = device.published.RegistrationID
		}
	}
	for a := range table {
		if d[a] == nil {
			m.Extra = append(m.Extra, a)
		}
	}
	return m, len(m.Missing)+len(m.Stale)+len(m.Extra) > 0
}

func (a *app) repair(text string, sealed []Message, m Mismatch) (messages []Message) {
	a.t.Helper()
	a.do(func(tx Tx) (err error) {
		messages, err = a.Repair(tx, []byte(text), sealed, m)
		return err
	})
	return messages
}

func (a *app) encryptAll(text string, to ...*app) (messages []Message) {
	a.t.Helper()
	var all []Address
	for _, p := range to {
		all = append(all, p.at)
	}
	a.do(func(tx Tx) (err error) {
		messages, err = a.Encrypt(tx, []byte(text), all...)
		return err
	})
	return messages
}

func (a *app) knows(peer Address) (known Peer) {
	a.t.Helper()
	a.do(func(tx Tx) (err error) { known, err = a.Peer(tx, peer); return err })
	return known
}

func errs(messages []Message) map[Address]error {
	all := map[Address]error{}
	for _, m := range messages {
		all[m.To] = m.Err
	}
	return all
}

// changed names the rows that differ.
func changed(before, after map[string]string) (keys []string) {
	for key, value := range after {
		if old, ok := before[key]; !ok || old != value {
			keys = append(keys, key)
		}
	}
	for key := range before {
		if _, ok := after[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// R-10.9-2: the registration ID is the bundle's on one side and the initial
// message's on the other.
func TestRegistrationIDs(t *testing.T) {
	alice, bob, _ := pair(t)
	require.Equal(t, bob.published.RegistrationID, alice.encrypt(bob, "x").RegistrationID)
	require.Equal(t, alice.published.RegistrationID, bob.encrypt(alice, "x").RegistrationID)
	require.Equal(t, bob.published.RegistrationID, alice.knows(bob.at).RegistrationID)
	alice.do(func(tx Tx) error { return alice.Reset(tx, bob.at) })
	require.Equal(t, Peer{Identity: bob.published.IdentityKey}, alice.knows(bob.at))
}

// R-10.9-3, R-10.9-4: of a message for five devices one is gone, one was
// installed anew, and two are new. What still fits stays, to the byte, and
// takes no message key.
func TestRepairMakesTheDeltaOnly(t *testing.T) {
	c := &clock{start}
	phone, laptop, tablet := newApp(t, "alice", 1, c), newApp(t, "alice", 2, c), newApp(t, "alice", 3, c)
	bob1, bob2, bob3 := newApp(t, "bob", 1, c), newApp(t, "bob", 2, c), newApp(t, "bob", 3, c)
	carol := newApp(t, "carol", 1, c)
	for _, a := range []*app{laptop, tablet, bob1, bob2, carol} {
		phone.start(a)
	}
	sealed := phone.encryptAll("hello", laptop, bob1, bob2, carol)
	spare := append(slices.Clone(sealed), make([]Message, 5)...)
	sealed = spare[:4]
	given := slices.Clone(spare)

	again := newApp(t, "bob", 1, c)
	server := directory{phone.at: phone, laptop.at: laptop, tablet.at: tablet, again.at: again, bob3.at: bob3, carol.at: carol}
	refusal, refused := server.mismatch(phone.at, sealed)
	require.True(t, refused)
	require.Equal(t, Mismatch{
		Missing: map[Address]uint32{tablet.at: tablet.published.RegistrationID, bob3.at: bob3.published.RegistrationID},
		Stale:   map[Address]uint32{bob1.at: again.published.RegistrationID},
		Extra:   []Address{bob2.at},
	}, refusal)

	before := phone.rows()
	reset := []string{rowSession(bob1.at, phone.baseKey(bob1)), rowSession(bob2.at, phone.baseKey(bob2))}
	first := phone.repair("hello", sealed, refusal)
	require.Equal(t, given, spare, "the argument is not modified, nor what is behind it")
	require.Equal(t, map[Address]error{
		laptop.at: nil, bob1.at: ErrNoSession, carol.at: nil, tablet.at: nil, bob3.at: ErrNoSession,
	}, errs(first))
	require.Equal(t, []Address{laptop.at, bob1.at, carol.at, tablet.at, bob3.at},
		[]Address{first[0].To, first[1].To, first[2].To, first[3].To, first[4].To})
	require.Equal(t, sealed[0], first[0])
	require.Equal(t, sealed[3], first[2])
	require.Nil(t, first[1].Bytes)
	require.Equal(t, append([]string{rowPeer(bob1.at), rowPeer(bob2.at), rowSession(tablet.at, phone.baseKey(tablet))}, reset...),
		changed(before, phone.rows()))
	require.False(t, phone.knows(bob1.at).Connected)
	require.False(t, phone.knows(bob2.at).Connected)

	phone.start(again)
	phone.start(bob3)
	second := phone.repair("hello", first, refusal)
	require.Equal(t, map[Address]error{
		laptop.at: nil, bob1.at: ErrIdentityChanged, carol.at: nil, tablet.at: nil, bob3.at: nil,
	}, errs(second))
	for _, i := range []int{0, 2, 3} {
		require.Equal(t, first[i], second[i])
	}
	phone.do(func(tx Tx) error { return phone.Confirm(tx, again.at, again.published.IdentityKey) })
	third := phone.repair("hello", second, refusal)
	before = phone.rows()
	require.Equal(t, third, phone.repair("hello", third, refusal), "nothing is left to do")
	require.Equal(t, third, phone.repair("hello", third, Mismatch{}))
	require.Equal(t, before, phone.rows())

	_, refused = server.mismatch(phone.at, third)
	require.False(t, refused)
	for _, m := range third {
		server[m.To].reads(phone, m, "hello")
	}
	// What was sealed for the devices that are gone is good there still.
	bob1.reads(phone, sealed[1], "hello")
	bob2.reads(phone, sealed[2], "hello")
}

// R-10.9-3: a session that has become another one since the message was sealed
// is used if it is the one that the server means.
func TestRepairUsesTheSessionThatFits(t *testing.T) {
	alice, bob, c := pair(t)
	sealed := alice.encryptAll("hello", bob)
	again := newApp(t, "bob", 1, c)
	again.start(alice)
	require.True(t, alice.decrypt(again, again.encrypt(alice, "it is me")).IdentityChanged)
	alice.do(func(tx Tx) error { return alice.Confirm(tx, bob.at, again.published.IdentityKey) })

	refusal, _ := directory{alice.at: alice, bob.at: again}.mismatch(alice.at, sealed)
	messages := alice.repair("hello", sealed, refusal)
	require.NotEqual(t, sealed[0].Bytes, messages[0].Bytes)
	again.reads(alice, messages[0], "hello")

	// A missing device whose session is with the installation before it.
	third := newApp(t, "bob", 1, c)
	missing := Mismatch{Missing: map[Address]uint32{bob.at: third.published.RegistrationID}}
	require.Equal(t, map[Address]error{bob.at: ErrNoSession}, errs(alice.repair("hello", nil, missing)))
	require.False(t, alice.knows(bob.at).Connected)
}

// R-10.9-3: servers that do not tell registration IDs.
func TestRepairWithoutRegistrationIDs(t *testing.T) {
	alice, bob, c := pair(t)
	carol := newApp(t, "carol", 1, c)
	alice.start(carol)
	sealed := alice.encryptAll("hello", bob)
	refusal := Mismatch{Stale: map[Address]uint32{bob.at: 0}, Missing: map[Address]uint32{carol.at: 0}}
	first := alice.repair("hello", sealed, refusal)
	require.Equal(t, map[Address]error{bob.at: ErrNoSession, carol.at: nil}, errs(first))
	carol.reads(alice, first[1], "hello")

	again := newApp(t, "bob", 1, c)
	again.published.RegistrationID = 0 // told by nobody
	alice.start(again)
	alice.do(func(tx Tx) error { return alice.Confirm(tx, bob.at, again.published.IdentityKey) })
	second := alice.repair("hello", first, refusal)
	again.reads(alice, second[0], "hello")
	require.Equal(t, first[1], second[1])
}

// R-10.9-5, E16, H29: a server cannot launder an identity key: not by taking the
// device out and bringing it in again, not by naming it stale.
func TestRepairKeepsTheRulesOfTrust(t *testing.T) {
	alice, bob, c := pair(t)
	mallory := newApp(t, "bob", 1, c) // under Bob's address
	refusals := map[string][]Mismatch{
		"extra, then missing": {{Extra: []Address{bob.at}}, {Missing: map[Address]uint32{bob.at: mallory.published.RegistrationID}}},
		"both at once":        {{Extra: []Address{bob.at}, Missing: map[Address]uint32{bob.at: 0}}, {Missing: map[Address]uint32{bob.at: 0}}},
		"stale":               {{Stale: map[Address]uint32{bob.at: mallory.published.RegistrationID}}},
	}
	for name, rounds := range refusals {
		t.Run(name, func(t *testing.T) {
			alice := newSnapshot(alice)
			messages := alice.encryptAll("secret", bob)
			for _, m := range rounds {
				messages = alice.repair("secret", messages, m)
			}
			require.Equal(t, map[Address]error{bob.at: ErrNoSession}, errs(messages))
			alice.start(mallory)
			for range 5 {
				messages = alice.repair("secret", messages, rounds[len(rounds)-1])
				require.Equal(t, []Message{{To: bob.at, Err: ErrIdentityChanged}}, messages)
			}
			known := alice.knows(bob.at)
			require.Equal(t, bob.published.IdentityKey, known.Identity)
			require.Equal(t, mallory.published.IdentityKey, known.Changed)
		})
	}

	// By the stricter policy a device that was never seen is excluded too.
	alice.config.Trust = ConfirmFirst
	ghost := newApp(t, "bob", 2, c)
	sealed := alice.encryptAll("secret", bob)
	refusal, _ := directory{alice.at: alice, bob.at: bob, ghost.at: ghost}.mismatch(alice.at, sealed)
	require.Equal(t, map[Address]error{bob.at: nil, ghost.at: ErrNoSession}, errs(alice.repair("secret", sealed, refusal)))
	alice.start(ghost)
	messages := alice.repair("secret", sealed, refusal)
	require.Equal(t, sealed[0], messages[0])
	require.Equal(t, Message{To: ghost.at, Err: ErrIdentityChanged}, messages[1])
}

// What a server names is no reason to fail, whatever it is.
func TestRepairOfAnything(t *testing.T) {
	alice, bob, _ := pair(t)
	sealed := alice.encryptAll("hello", bob)
	none, high, unknown := Address{}, Address{"bob", x3dh.MaxDeviceID + 1}, Address{"nobody", 1}
	long := Address{string(bytes.Repeat([]byte("x"), MaxUserSize+1)), 1}
	before := alice.rows()
	messages := alice.repair("hello", append(slices.Clone(sealed), sealed...), Mismatch{
		Missing: map[Address]uint32{none: 1, high: 1, unknown: 0, bob.at: 0},
		Stale:   map[Address]uint32{none: 0, long: 1, unknown: 7, bob.at: bob.published.RegistrationID},
		Extra:   []Address{none, {"nobody", 2}, {"nobody", 2}, high},
	})
	require.Equal(t, []Message{
		sealed[0], {To: unknown, Err: ErrNoSession}, {To: long, Err: ErrAddress},
	}, messages)
	require.Equal(t, before, alice.rows())
	require.Empty(t, alice.repair("hello", nil, Mismatch{}))

	require.ErrorIs(t, alice.store.Do(func(tx Tx) error {
		_, err := new(Device).Repair(tx, nil, sealed, Mismatch{Extra: []Address{bob.at}})
		return err
	}), ErrUninitialized)
}

// R-10.9-1: a device whose rows do not make sense gets nothing, and all others
// get theirs; Forget mends it.
func TestCorruptDeviceDoesNotSinkTheOthers(t *testing.T) {
	alice, bob, c := pair(t)
	carol := newApp(t, "carol", 1, c)
	alice.start(carol)
	session := rowSession(bob.at, alice.baseKey(bob))
	for name, rows := range map[string]map[string]*string{
		"peer":       {rowPeer(bob.at): new("\xff")},
		"session":    {session: new("\xff")},
		"no session": {session: nil},
		"all":        {rowPeer(bob.at): new(""), session: new("")},
	} {
		t.Run(name, func(t *testing.T) {
			alice := newSnapshot(alice)
			sealed := alice.encryptAll("before", bob, carol)
			alice.do(func(tx Tx) error {
				for key, value := range rows {
					_, rev, err := tx.Get(key)
					if err == nil && value == nil {
						err = tx.Delete(key, rev)
					} else if err == nil {
						err = tx.Put(key, []byte(*value), rev)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
			before := alice.rows()
			messages := alice.encryptAll("hello", bob, carol)
			require.ErrorIs(t, messages[0].Err, ErrCorrupt)
			require.Nil(t, messages[0].Bytes)
			require.NoError(t, messages[1].Err)
			require.Equal(t, []string{rowSession(carol.at, alice.baseKey(carol))}, changed(before, alice.rows()))

			stale := Mismatch{Stale: map[Address]uint32{bob.at: 1}}
			messages = alice.repair("before", sealed, stale)
			require.ErrorIs(t, messages[0].Err, ErrCorrupt)
			require.Equal(t, sealed[1], messages[1])
			require.Equal(t, sealed[1:], alice.repair("before", sealed, Mismatch{Extra: []Address{bob.at}}))

			alice.do(func(tx Tx) error { return alice.Forget(tx, bob.at) })
			require.Zero(t, alice.knows(bob.at))
			require.NotContains(t, alice.rows(), session)
			require.Equal(t, 1, alice.count(rowsSession), "Carol's")
			alice.start(bob)
			bob.reads(alice, alice.encrypt(bob, "mended"), "mended")
		})
	}
}

// An error of the store is an error, whichever call it is.
func TestRepairReturnsErrorsOfTheStore(t *testing.T) {
	alice, bob, c := pair(t)
	carol, dave := newApp(t, "carol", 1, c), newApp(t, "dave", 1, c)
	alice.start(carol)
	alice.start(dave)
	sealed := alice.encryptAll("hello", bob, carol)
	refusal := Mismatch{Missing: map[Address]uint32{dave.at: 0}, Stale: map[Address]uint32{bob.at: 1}, Extra: []Address{carol.at}}
	before := alice.rows()
	for n := 1; ; n++ {
		tried := 0
		err := alice.store.Do(func(tx Tx) error {
			f := &failingTx{Tx: tx, at: n}
			_, err := alice.Repair(f, []byte("hello"), sealed, refusal)
			tried = f.calls
			return err
		})
		if tried < n {
			require.NoError(t, err)
			require.Greater(t, n, 10)
			break
		}
		require.ErrorIs(t, err, errStore, "call %d", n)
		require.Equal(t, before, alice.rows())
	}
}

var errStore = errors.New("disk on fire")

// A failingTx fails at one of its calls.
type failingTx struct {
	Tx
	calls, at int
}

func (f *failingTx) fail() error {
	if f.calls++; f.calls == f.at {
		return errStore
	}
	return nil
}

func (f *failingTx) Get(key string) ([]byte, uint64, error) {
	if err := f.fail(); err != nil {
		return nil, 0, err
	}
	return f.Tx.Get(key)
}

func (f *failingTx) Put(key string, value []byte, rev uint64) error {
	if err := f.fail(); err != nil {
		return err
	}
	return f.Tx.Put(key, value, rev)
}

func (f *failingTx) Scan(prefix string) iter.Seq2[string, error] { panic("nothing is listed") }

// R-10.9-6: whatever happens to the devices of all users between two rounds, a
// message reaches those that there are within five rounds of the last change,
// and no ciphertext is made twice for a device that stayed what it was.
func TestRepairConverges(t *testing.T) {
	c := &clock{start}
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			alice := newApp(t, "alice", 1, c)
			server := directory{alice.at: alice}
			install := func() {
				a := newApp(t, []string{"alice", "bob", "carol"}[r.IntN(3)], 2+r.Uint32N(3), c)
				server[a.at] = a
			}
			change := func() {
				others := slices.DeleteFunc(slices.Collect(maps.Values(server)), func(a *app) bool { return a == alice })
				if len(others) > 0 && r.IntN(2) == 0 {
					delete(server, others[r.IntN(len(others))].at)
				}
				install()
			}
			for range 4 {
				install()
			}
			for _, a := range server {
				if a != alice && r.IntN(3) > 0 {
					alice.start(a)
				}
			}
			var messages []Message
			for round, changes := 1, 2; ; round++ {
				m, refused := server.mismatch(alice.at, messages)
				if !refused {
					break
				}
				require.LessOrEqual(t, round, 2+5)
				last := messages
				for range 10 {
					messages = alice.repair("to all", messages, m)
					var fetched bool
					for _, v := range messages {
						if v.Err == nil {
							continue
						}
						to := server[v.To]
						if fetched = true; errors.Is(v.Err, ErrIdentityChanged) {
							alice.do(func(tx Tx) error { return alice.Confirm(tx, v.To, to.published.IdentityKey) })
						} else {
							alice.start(to)
						}
					}
					if !fetched {
						break
					}
				}
				for _, v := range last {
					if _, stale := m.Stale[v.To]; !stale && !slices.Contains(m.Extra, v.To) {
						require.Contains(t, messages, v, "kept to the byte")
					}
				}
				if changes > 0 {
					changes--
					change()
				}
			}
			require.Len(t, messages, len(server)-1)
			for _, v := range messages {
				server[v.To].reads(alice, v, "to all")
			}
		})
	}
}

// R-10.4-1: Reset leaves a session of the past, which has forgotten its prekeys.
func TestResetForgetsThePendingPreKey(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.start(bob)
	base := alice.baseKey(bob)
	alice.do(func(tx Tx) error { return alice.Reset(tx, bob.at) })
	alice.do(func(tx Tx) error {
		s, err := alice.session(tx, bob.at, base)
		require.NoError(t, err)
		_, pending := s.Unacknowledged()
		require.False(t, pending)
		return err
	})
}

// New devices come by user and then by number, however a map lists them.
func TestRepairIsInOrder(t *testing.T) {
	alice := newApp(t, "alice", 1, &clock{start})
	m := Mismatch{Missing: map[Address]uint32{}}
	var want []Message
	for _, user := range []string{"bob", "carol"} {
		for device := range uint32(12) {
			want = append(want, Message{To: Address{user, device}, Err: ErrNoSession})
			m.Missing[Address{user, device}] = device
		}
	}
	require.Equal(t, want, alice.repair("hello", nil, m))
}
