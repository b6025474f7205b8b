package sesame

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
)

// A groupPhone is an installation of a device that is, or was, in the group.
type groupPhone struct {
	*app
	outbox  []groupItem // not accepted yet, in order
	mailbox []groupItem // accepted, in order

	given   [][]byte             // each distribution that was ever sealed for it
	owed    map[uint64]string    // what it is to read, by timestamp
	read    map[uint64]bool      // what it has read
	opened  map[string]bool      // ciphertexts that it has opened
	pending map[uint64]groupItem // requests for what is held
}

type groupAccept struct {
	chain senderkey.DistributionID
	to    Address
}

// A groupItem is something on its way.
type groupItem struct {
	from, to  *groupPhone
	timestamp uint64
	typ       ratchet.Type // senderKeyMessage for a group message
	bytes     []byte
	accept    *groupAccept // it brings a distribution
	resent    bool
}

type groupWorld struct {
	t                    *testing.T
	rng                  *rand.Rand
	c                    *clock
	inside, outside, all []*groupPhone
	devices              int
	revision, timestamp  uint64

	sends, rotations, holds, released, asked, raced, thieves, reinstalled int
	last                                                                  map[*groupPhone]senderkey.DistributionID
}

func (w *groupWorld) install(at Address) *groupPhone {
	p := &groupPhone{
		app: newApp(w.t, at.User, at.Device, w.c), owed: map[uint64]string{}, read: map[uint64]bool{},
		opened: map[string]bool{}, pending: map[uint64]groupItem{},
	}
	w.inside, w.all = append(w.inside, p), append(w.all, p)
	return p
}

func (w *groupWorld) join() {
	w.devices++
	w.revision++
	w.install(Address{fmt.Sprint("user", w.devices/2), uint32(1 + w.devices%2)})
}

func (w *groupWorld) leave(i int) *groupPhone {
	p := w.inside[i]
	w.inside = slices.Delete(w.inside, i, i+1)
	w.outside = append(w.outside, p)
	p.owed, p.pending = map[uint64]string{}, map[uint64]groupItem{} // nobody owes him anything now
	return p
}

// prepare does what the server's answers make a sender do: sessions with all
// installations that there are, and keys that are confirmed.
func (w *groupWorld) prepare(s *groupPhone) {
	for _, p := range w.inside {
		if p == s {
			continue
		}
		var known Peer
		s.do(func(tx Tx) (err error) { known, err = s.Peer(tx, p.at); return err })
		if !known.Connected || known.RegistrationID != p.published.RegistrationID {
			s.do(func(tx Tx) error { return s.Reset(tx, p.at) })
			s.start(p.app)
		}
		w.confirm(s, p.at, p)
	}
}

func (w *groupWorld) confirm(s *groupPhone, at Address, p *groupPhone) {
	s.do(func(tx Tx) error {
		known, err := s.Peer(tx, at)
		if err != nil || known.Changed == none {
			return err
		}
		return s.Confirm(tx, at, p.published.IdentityKey)
	})
}

var errDies = errors.New("the process dies")

func (w *groupWorld) send(s *groupPhone, race bool) {
	t := w.t
	w.prepare(s)
	w.timestamp++
	timestamp, text := w.timestamp, fmt.Sprint("message ", w.timestamp)
	g := Group{Name: "group", Revision: w.revision}
	receivers := map[Address]*groupPhone{}
	for _, p := range w.inside {
		if p != s {
			receivers[p.at] = p
			g.Devices = append(g.Devices, p.at)
		}
	}
	w.rng.Shuffle(len(g.Devices), func(i, j int) { g.Devices[i], g.Devices[j] = g.Devices[j], g.Devices[i] })
	if len(g.Devices) == 0 {
		return
	}
	if w.rng.IntN(8) == 0 { // it dies before the commit: there was no message
		err := s.store.Do(func(tx Tx) error {
			if _, err := s.EncryptGroup(tx, timestamp, g, []byte("never sent"), wrapFor(g.Name)); err != nil {
				return err
			}
			return errDies
		})
		require.ErrorIs(t, err, errDies)
	}
	if g.Revision > 0 && w.last[s] != (senderkey.DistributionID{}) && w.rng.IntN(8) == 0 {
		old := g
		old.Revision--
		var last uint64
		err := s.try(func(tx Tx) error {
			r, _, err := s.group(tx, g.Name)
			last = r.revision
			if err == nil {
				_, err = s.EncryptGroup(tx, timestamp, old, []byte("never sent"), wrapFor(g.Name))
			}
			if err == nil {
				return errDies
			}
			return err
		})
		if last == g.Revision {
			require.ErrorIs(t, err, senderkey.ErrOldRevision)
		}
	}

	var m *GroupMessage
	var distribution []byte
	encrypt := func(tx Tx) (err error) {
		distribution = nil
		m, err = s.EncryptGroup(tx, timestamp, g, []byte(text), func(d []byte) []byte { distribution = d; return wrapFor(g.Name)(d) })
		return err
	}
	if race { // the other process
		other := func() { w.raced++; w.send(s, false) }
		s.race([]string{rowsSession, rowsGroup, rowsPeer}[w.rng.IntN(3)], other, encrypt)
	} else {
		s.do(encrypt)
	}
	w.sends++
	require.NotNil(t, m.Ciphertext)
	if m.Chain != w.last[s] {
		w.rotations++
	}
	w.last[s] = m.Chain

	// No state that somebody had who is gone opens it: not what he has stored, nor
	// anything that was ever sealed for him.
	for _, gone := range w.outside {
		err := gone.store.Do(func(tx Tx) error {
			r, err := gone.DecryptGroup(tx, s.at, timestamp, "", m.Ciphertext)
			require.NoError(t, err)
			require.Error(t, r.Err)
			return errDies
		})
		require.ErrorIs(t, err, errDies)
		for _, d := range gone.given {
			thief := senderkey.NewReceiver(senderkey.Signal)
			parsed, err := senderkey.ParseDistribution(d, senderkey.Signal)
			require.NoError(t, err)
			require.NoError(t, thief.Process(parsed))
			_, _, err = thief.Decrypt(nil, m.Ciphertext)
			require.Equal(t, senderkey.ErrNoChain, err)

			// Not either as what it would be if the chain had only another name.
			id, err := senderkey.ParseMessage(m.Ciphertext, senderkey.Signal)
			require.NoError(t, err)
			renamed := slices.Clone(d)
			copy(renamed[3:19], id.ID[:])
			parsed, err = senderkey.ParseDistribution(renamed, senderkey.Signal)
			require.NoError(t, err)
			require.NoError(t, thief.Process(parsed))
			_, _, err = thief.Decrypt(nil, m.Ciphertext)
			require.Error(t, err)
			w.thieves++
		}
	}
	for _, e := range m.Messages {
		require.NoError(t, e.Err)
		p := receivers[e.To]
		p.owed[timestamp] = text
		if e.Bytes != nil {
			p.given = append(p.given, distribution)
			s.outbox = append(s.outbox, groupItem{s, p, timestamp, e.Type, e.Bytes, &groupAccept{m.Chain, e.To}, false})
		} else {
			require.NotEmpty(t, p.given)
		}
		s.outbox = append(s.outbox, groupItem{s, p, timestamp, senderKeyMessage, m.Ciphertext, nil, false})
	}
}

// submit sends the outbox to the server, which accepts it or not, and whose
// answer arrives or not.
func (w *groupWorld) submit(s *groupPhone, all bool) {
	for len(s.outbox) > 0 {
		if !all && w.rng.IntN(6) == 0 {
			return
		}
		i := s.outbox[0]
		s.outbox = s.outbox[1:]
		i.to.mailbox = append(i.to.mailbox, i)
		if i.accept != nil && w.rng.IntN(3) > 0 {
			s.do(func(tx Tx) error { return s.Distributed(tx, "group", i.accept.chain, i.accept.to) })
		}
	}
}

// reads notes a message that was read, and drops it if it was read before.
func (w *groupWorld) reads(p *groupPhone, timestamp uint64, text []byte) {
	require.Equal(w.t, fmt.Sprint("message ", timestamp), string(text))
	p.read[timestamp] = true
	delete(p.owed, timestamp)
	delete(p.pending, timestamp)
}

// receive takes one thing off the mailbox, not always the first, and not always
// for the last time.
func (w *groupWorld) receive(p *groupPhone) {
	if len(p.mailbox) == 0 {
		return
	}
	n := 0
	if w.rng.IntN(3) == 0 {
		n = w.rng.IntN(len(p.mailbox))
	}
	i := p.mailbox[n]
	if w.rng.IntN(8) > 0 {
		p.mailbox = slices.Delete(p.mailbox, n, n+1)
	}
	if i.typ == ratchet.PlaintextContent {
		w.answer(p, i)
		return
	}
	var r *Result
	var results []*Result
	var request *Message
	p.do(func(tx Tx) (err error) {
		results, request = nil, nil
		if i.typ == senderKeyMessage {
			r, err = p.DecryptGroup(tx, i.from.at, i.timestamp, "group", i.bytes)
		} else if r, err = p.Decrypt(tx, i.from.at, i.typ, i.bytes); err == nil && r.Err == nil {
			if group, d, ok := unwrap(r.Plaintext); ok {
				results, err = p.ProcessDistribution(tx, r, group, d)
			}
		}
		if err != nil {
			return err
		}
		request, err = p.RetryRequest(tx, r, i.timestamp)
		return err
	})
	if r.Err == nil && r.IdentityChanged {
		w.confirm(p, i.from.at, i.from)
	}
	switch _, _, distribution := unwrap(r.Plaintext); {
	case r.Err == nil && i.typ == senderKeyMessage:
		w.opens(p, r, i.bytes)
	case r.Err == nil && !distribution:
		require.True(w.t, i.resent)
		w.reads(p, i.timestamp, r.Plaintext)
	case errors.Is(r.Err, ErrHeld):
		w.holds++
	}
	for _, r := range results {
		if r.Err == nil {
			w.released++
			w.opens(p, r, r.message)
		}
	}
	if request != nil && !p.read[i.timestamp] {
		q := groupItem{from: p, to: i.from, timestamp: i.timestamp, typ: request.Type, bytes: request.Bytes}
		if errors.Is(r.Err, ErrHeld) {
			p.pending[i.timestamp] = q // only if it does not come out
		} else {
			i.from.mailbox = append(i.from.mailbox, q)
		}
	}
}

func (w *groupWorld) opens(p *groupPhone, r *Result, ciphertext []byte) {
	require.False(w.t, p.opened[string(ciphertext)], "opened twice: %d", r.Timestamp)
	p.opened[string(ciphertext)] = true
	require.Equal(w.t, "group", r.Group)
	w.reads(p, r.Timestamp, r.Plaintext)
}

// answer sends a message again to who asked for it.
func (w *groupWorld) answer(s *groupPhone, q groupItem) {
	w.asked++
	allowed := func(uint64) (bool, error) { return slices.Contains(w.inside, q.from), nil }
	var m Message
	handle := func(tx Tx) (err error) {
		m, err = s.HandleRetry(tx, q.from.at, s.at.Device, q.bytes, allowed)
		return err
	}
	s.do(handle)
	if errors.Is(m.Err, ErrNoSession) {
		s.start(q.from.app)
		s.do(handle)
	}
	if m.Err == nil {
		s.outbox = append(s.outbox, groupItem{s, q.from, m.Timestamp, m.Type, m.Bytes, nil, true})
	}
}

// settle brings everybody everything that is on its way.
func (w *groupWorld) settle() {
	for round := 0; ; round++ {
		require.Less(w.t, round, 50, "messages do not come to rest")
		busy := false
		for _, p := range w.all {
			w.submit(p, true)
			for range 4 * len(p.mailbox) {
				busy = true
				w.receive(p)
			}
		}
		for _, p := range w.all {
			busy = busy || len(p.mailbox)+len(p.outbox) > 0
		}
		if busy {
			continue
		}
		for _, p := range w.all {
			for _, timestamp := range slices.Sorted(maps.Keys(p.pending)) {
				q := p.pending[timestamp]
				q.to.mailbox = append(q.to.mailbox, q)
				busy = true
			}
			clear(p.pending)
		}
		if !busy {
			return
		}
	}
}

// R-10.10-5 to R-10.10-9, R-10.10-11: random histories of joins, departures,
// devices that are installed anew, sends that die, two processes of one device,
// messages that overtake their distributions, refusals and lost acceptances, and
// devices that lose their chains. After the removal of a device and the next send
// nothing that it ever had opens that send; everybody else reads all that was
// addressed to him; and no ciphertext opens twice.
func TestGroupModel(t *testing.T) {
	var total groupWorld
	seeds := uint64(20)
	for seed := range seeds {
		w := &groupWorld{t: t, rng: rand.New(rand.NewPCG(seed, 23)), c: &clock{start}, last: map[*groupPhone]senderkey.DistributionID{}}
		for range 3 {
			w.join()
		}
		for range 60 {
			p := w.inside[w.rng.IntN(len(w.inside))]
			switch n := w.rng.IntN(24); {
			case n < 8:
				w.send(p, n == 0)
			case n < 16:
				w.submit(p, false)
				for range 1 + w.rng.IntN(6) {
					w.receive(p)
				}
			case n == 16 && len(w.inside) < 6:
				w.join()
			case n == 17 && len(w.inside) > 2:
				w.revision++
				w.leave(w.rng.IntN(len(w.inside)))
			case n == 18:
				// A device that comes back with nothing, and no new revision.
				w.settle()
				old := w.leave(w.rng.IntN(len(w.inside)))
				w.install(old.at)
				w.reinstalled++
			case n == 19 && len(w.outside) > 0:
				// What was on its way when it left may still come.
				gone := w.outside[w.rng.IntN(len(w.outside))]
				for range 5 {
					w.receive(gone)
				}
			case n == 20:
				w.c.now = w.c.now.Add(time.Duration(w.rng.IntN(40)) * time.Hour)
			case n == 21:
				// It loses the chains of all others, and with them what it has read: a
				// distribution that was on its way opens that again.
				p.do(func(tx Tx) error { return forgetReceivers(tx, "", func(string, string) bool { return true }) })
				clear(p.opened)
			}
		}
		w.settle()
		for _, p := range w.inside {
			require.Empty(t, p.owed, "seed %d", seed)
		}
		total.sends += w.sends
		total.rotations += w.rotations
		total.holds += w.holds
		total.released += w.released
		total.asked += w.asked
		total.raced += w.raced
		total.thieves += w.thieves
		total.reinstalled += w.reinstalled
	}
	t.Logf("%d sends, %d chains, %d held, %d released, %d asked for, %d raced, %d thieves, %d reinstalled",
		total.sends, total.rotations, total.holds, total.released, total.asked, total.raced, total.thieves, total.reinstalled)
	// The histories had in them what they are about.
	for _, n := range []int{total.sends, total.rotations, total.holds, total.released, total.asked, total.raced, total.thieves, total.reinstalled} {
		require.GreaterOrEqual(t, n, int(seeds))
	}
}
