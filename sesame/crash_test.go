package sesame_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/txtest"
	"github.com/sotto-im/sotto/x3dh"
)

// A phone is a device with an application around it, on a database in which any
// step of any transaction may fail, done or not, or be the last one.
type phone struct {
	at      sesame.Address
	memory  *sesame.Memory
	faulty  txtest.Store
	dev     *sesame.Device
	oneTime []x3dh.PublicPreKey // at the server
	pub     *sesame.Publication
}

// A parcel is a message at the server, which keeps it until it is acknowledged.
type parcel struct {
	id       string
	from, to *phone
	typ      ratchet.Type
	bytes    []byte
}

type world struct {
	t      *testing.T
	rng    *rand.Rand
	rate   int // faults in 1,000 steps
	phones []*phone
	queue  []parcel
	texts  map[string]string // by message ID, of those that were committed
	keys   map[string]string // ciphertext by message key
	faults int
}

func (w *world) plan(txtest.Step) txtest.Fault {
	if w.rng.IntN(1000) >= w.rate {
		return txtest.None
	}
	w.faults++
	return []txtest.Fault{txtest.NotApplied, txtest.Applied, txtest.CrashBefore, txtest.CrashAfter}[w.rng.IntN(4)]
}

var now = time.Unix(1_700_000_000, 0)

func newWorld(t *testing.T, seed uint64, rate int) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), rate: 1, // for the many rows of the prekeys
		texts: map[string]string{}, keys: map[string]string{},
	}
	for i, user := range []string{"alice", "bob", "carol"} {
		p := &phone{at: sesame.Address{User: user, Device: uint32(i)}, memory: new(sesame.Memory)}
		p.faulty = txtest.Inject(p.memory, w.plan)
		for p.pub == nil { // a phone is set up, sooner or later
			w.try(p, func(tx sesame.Tx) (err error) {
				p.dev, err = sesame.Open(tx, sesame.Config{Now: func() time.Time { return now }})
				return err
			})
			var pub *sesame.Publication
			if p.dev != nil && w.try(p, func(tx sesame.Tx) (err error) { pub, err = p.dev.Publish(tx, 0); return err }) {
				p.pub, p.oneTime = pub, pub.OneTimePreKeys
			}
		}
		w.phones = append(w.phones, p)
	}
	w.rate = rate
	return w
}

// try runs a transaction on the faulty database, and reports whether it is
// known to have committed.
func (w *world) try(p *phone, f func(sesame.Tx) error) (committed bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(txtest.Crash); !ok {
				panic(r)
			}
			committed = false
		}
	}()
	err := p.faulty.Do(f)
	if err != nil && !errors.Is(err, txtest.ErrInjected) && !errors.Is(err, sesame.ErrUninitialized) {
		require.NoError(w.t, err)
	}
	return err == nil
}

// read looks into a database that does not fail.
func (p *phone) read(w *world, key string) (value []byte, there bool) {
	require.NoError(w.t, p.memory.Do(func(tx sesame.Tx) error {
		v, rev, err := tx.Get(key)
		value, there = slices.Clone(v), rev != 0
		return err
	}))
	return value, there
}

// write has p write to q. The message and its outbox row are one transaction;
// whether an ambiguous one committed, the outbox says.
func (w *world) write(p, q *phone, n int) {
	id := fmt.Sprintf("%s-%d", p.at.User, n)
	text := fmt.Sprintf("message %s to %s", id, q.at.User)
	var m sesame.Message
	w.try(p, func(tx sesame.Tx) error {
		out, err := p.dev.Encrypt(tx, []byte(text), q.at)
		if err != nil {
			return err
		}
		if m = out[0]; m.Err != nil {
			return nil
		}
		return tx.Put("app/out/"+id, append([]byte{byte(m.Type)}, m.Bytes...), 0)
	})
	row, there := p.read(w, "app/out/"+id)
	if there { // the outbox is what is sent, once or more often
		w.texts[id] = text
		w.noteKey(row[1:], ratchet.Type(row[0]))
		for range 1 + w.rng.IntN(2) {
			w.queue = append(w.queue, parcel{id, p, q, ratchet.Type(row[0]), row[1:]})
		}
	}
	if errors.Is(m.Err, sesame.ErrNoSession) {
		w.start(p, q)
	}
}

func (w *world) start(p, q *phone) {
	info := x3dh.BundleInfo{
		RegistrationID: q.pub.RegistrationID, DeviceID: q.at.Device,
		IdentityKey: q.pub.IdentityKey, SignedPreKey: q.pub.SignedPreKey,
	}
	if len(q.oneTime) > 0 && w.rng.IntN(4) > 0 {
		info.OneTimePreKey, q.oneTime = &q.oneTime[0], q.oneTime[1:]
	}
	b, err := x3dh.NewBundle(info)
	require.NoError(w.t, err)
	w.try(p, func(tx sesame.Tx) error { return p.dev.Start(tx, q.at, b) })
}

// noteKey checks that no message key encrypts two plaintexts.
func (w *world) noteKey(b []byte, typ ratchet.Type) {
	if typ == ratchet.Initial {
		m, err := x3dh.ParseInitialMessage(b)
		require.NoError(w.t, err)
		b = m.Message
	}
	m, err := ratchet.ParseMessage(b)
	require.NoError(w.t, err)
	key := fmt.Sprintf("%x/%d", m.RatchetKey.Bytes(), m.Counter)
	if other, ok := w.keys[key]; ok {
		require.Equal(w.t, other, string(b), "a message key was used twice")
	}
	w.keys[key] = string(b)
}

// deliver gives one message to its receiver, who acknowledges it when its
// transaction has committed. Acknowledgements get lost.
func (w *world) deliver() {
	i := w.rng.IntN(len(w.queue))
	p := w.queue[i]
	var r *sesame.Result
	committed := w.try(p.to, func(tx sesame.Tx) (err error) {
		r, err = p.to.dev.Decrypt(tx, p.from.at, p.typ, p.bytes)
		if err != nil || r.Err != nil {
			return err
		}
		return tx.Put("app/in/"+p.id, r.Plaintext, 0) // a second one would be a conflict
	})
	if !committed {
		return // not acknowledged, delivered again
	}
	if r.Err != nil {
		require.ErrorIs(w.t, r.Err, sesame.ErrDuplicate, "message %s", p.id)
	}
	text, there := p.to.read(w, "app/in/"+p.id)
	require.True(w.t, there, "message %s is acknowledged and not in the inbox", p.id)
	require.Equal(w.t, w.texts[p.id], string(text))
	if w.rng.IntN(5) > 0 {
		w.queue = slices.Delete(w.queue, i, i+1)
	}
}

// R-10.5-3, R-5.4-3, R-5.5-6: every fault at every step: no message key is used for two plaintexts, nothing
// that was acknowledged is lost, nothing is delivered twice, and when the faults
// stop every message arrives.
func TestCrashes(t *testing.T) {
	runs, faults, messages := 100, 0, 0
	if testing.Short() {
		runs = 20
	}
	seed := rand.Uint64()
	for run := range runs {
		w := newWorld(t, seed+uint64(run), 30)
		for n := range 60 {
			if len(w.queue) > 0 && w.rng.IntN(2) == 0 {
				w.deliver()
				continue
			}
			from := w.rng.IntN(3)
			w.write(w.phones[from], w.phones[(from+1+w.rng.IntN(2))%3], n)
		}
		faults += w.faults
		w.rate = 0
		for range 10_000 {
			if len(w.queue) > 0 {
				w.deliver()
			}
		}
		require.Empty(t, w.queue, "run %d of seed %d", run, seed)
		for id := range w.texts {
			found := 0
			for _, p := range w.phones {
				if _, there := p.read(w, "app/in/"+id); there {
					found++
				}
			}
			require.Equal(t, 1, found, "run %d of seed %d: message %s", run, seed, id)
		}
		messages += len(w.texts)
	}
	t.Logf("%d runs, %d messages, %d faults", runs, messages, faults)
	require.Greater(t, faults, runs)
	require.Greater(t, messages, 5*runs)
}
