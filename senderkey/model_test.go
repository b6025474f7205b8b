package senderkey

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A phone is a device of the group, or one that was: what it has, and what is on
// its way to it.
type phone struct {
	member   Member
	receiver *Receiver

	outbox  []delivery // at the sender: not accepted yet, in order
	mailbox []delivery // accepted, in order
	backlog []posted   // group messages, which come in any order

	ever  []*Distribution // all that it ever got or may still get
	owed  map[string]bool // addressed to it and not read yet
	chain int             // the sender's chains since all was flushed
}

type delivery struct {
	distribution *Distribution
	chain        DistributionID
}

type posted struct {
	text    string
	message []byte
}

// A world is one sender and everybody who was ever in its group.
type world struct {
	t        *testing.T
	rng      *rand.Rand
	sender   *Sender
	now      time.Time
	revision uint64
	inside   []*phone
	outside  []*phone // gone, with all they had
	sent     []posted
	next     uint16

	rotations, kept, dropped, retries, newcomers int
}

func (w *world) join() *phone {
	w.next++
	p := &phone{receiver: NewReceiver(Signal), owed: map[string]bool{}}
	p.member[0], p.member[9], p.member[10] = byte(w.rng.Uint32()), byte(w.next), byte(w.next>>8)
	w.inside = append(w.inside, p)
	return p
}

func (w *world) leave(i int) {
	w.outside = append(w.outside, w.inside[i])
	w.inside = slices.Delete(w.inside, i, i+1)
}

func (w *world) roster() (r Roster) {
	r.Revision = w.revision
	for _, p := range w.inside {
		r.Members = append(r.Members, p.member)
	}
	w.rng.Shuffle(len(r.Members), func(i, j int) { r.Members[i], r.Members[j] = r.Members[j], r.Members[i] })
	return r
}

// send is one message of the sender, with whatever happens to it.
func (w *world) send() {
	t := w.t
	if len(w.inside) == 0 {
		_, err := w.sender.Encrypt(w.roster(), w.now, nil)
		require.Equal(t, ErrRoster, err)
		return
	}
	if w.revision > 0 && w.sender.load().revision == w.revision && w.rng.IntN(8) == 0 {
		stale := w.roster()
		stale.Revision--
		for _, p := range w.outside {
			stale.Members = append(stale.Members, p.member)
		}
		_, err := w.sender.Encrypt(stale, w.now, nil)
		require.Equal(t, ErrOldRevision, err)
	}
	if w.rng.IntN(8) == 0 { // it dies before the commit: there was no message
		dead := reloadSender(t, w.sender)
		_, err := dead.Encrypt(w.roster(), w.now, []byte("never sent"))
		require.NoError(t, err)
	}

	text := fmt.Sprintf("message %d", len(w.sent))
	sent, err := w.sender.Encrypt(w.roster(), w.now, []byte(text))
	require.NoError(t, err)
	w.sender = reloadSender(t, w.sender) // committed
	message := posted{text, sent.Message}

	// Nobody who is gone can read it, with anything that he ever had; and no
	// newcomer what was sent before.
	for _, p := range w.outside {
		for _, d := range p.ever {
			thief := NewReceiver(Signal)
			require.NoError(t, thief.Process(d))
			_, _, err := thief.Decrypt(nil, message.message)
			require.Equal(t, ErrNoChain, err, "%s", text)
		}
		_, _, err := p.receiver.Decrypt(nil, message.message)
		require.Equal(t, ErrNoChain, err, "%s", text)
	}
	if sent.Rotated {
		w.rotations++
		require.Len(t, sent.Missing, len(w.inside))
	} else {
		w.kept++
	}
	for _, p := range w.inside {
		if sent.Rotated {
			p.chain++
		}
		p.owed[text] = true
		p.backlog = append(p.backlog, message)
		if _, missing := slices.BinarySearchFunc(sent.Missing, p.member, compareMembers); missing {
			if len(p.ever) == 0 && len(w.sent) > 0 {
				w.newcomers++
				for _, earlier := range w.sent[max(0, len(w.sent)-20):] {
					r := NewReceiver(Signal)
					require.NoError(t, r.Process(sent.Distribution))
					_, _, err := r.Decrypt(nil, earlier.message)
					require.Error(t, err)
				}
			}
			p.ever = append(p.ever, sent.Distribution)
			p.outbox = append(p.outbox, delivery{sent.Distribution, sent.Chain})
			w.submit(p)
		} else {
			require.NotEmpty(t, p.ever, "has the chain")
		}
	}
	w.sent = append(w.sent, message)
}

// submit sends the outbox of a phone to the server, which accepts it or not, and
// whose answer arrives or not.
func (w *world) submit(p *phone) {
	for len(p.outbox) > 0 {
		if w.rng.IntN(3) == 0 {
			w.retries++
			return
		}
		d := p.outbox[0]
		p.outbox = p.outbox[1:]
		p.mailbox = append(p.mailbox, d)
		if w.rng.IntN(3) > 0 {
			require.NoError(w.t, w.sender.Delivered(d.chain, p.member))
		}
	}
}

// receive takes n things off the server, messages in any order.
func (w *world) receive(p *phone, n int) {
	for range n {
		if len(p.mailbox) > 0 && w.rng.IntN(2) == 0 {
			require.NoError(w.t, p.receiver.Process(travel(w.t, p.mailbox[0].distribution)))
			if w.rng.IntN(4) > 0 { // or it comes again later
				p.mailbox = p.mailbox[1:]
			}
			p.receiver = reload(w.t, p.receiver)
		}
		if len(p.backlog) == 0 {
			continue
		}
		i := w.rng.IntN(len(p.backlog))
		m := p.backlog[i]
		plaintext, _, err := p.receiver.Decrypt(nil, m.message)
		switch {
		case err == ErrNoChain: // held back
			continue
		case err == nil:
			require.Equal(w.t, m.text, string(plaintext))
			require.True(w.t, p.owed[m.text], "read twice: %s", m.text)
			delete(p.owed, m.text)
		default:
			require.Equal(w.t, ErrDuplicate, err)
			require.False(w.t, p.owed[m.text], "%s was addressed to it and not read", m.text)
		}
		if w.rng.IntN(4) > 0 { // or the message comes again later
			p.backlog = slices.Delete(p.backlog, i, i+1)
		} else {
			w.dropped++
		}
	}
}

// flush brings a phone everything that is on its way.
func (w *world) flush(p *phone) {
	for len(p.outbox) > 0 {
		w.submit(p)
	}
	for len(p.mailbox) > 0 || len(p.owed) > 0 {
		before := len(p.mailbox) + len(p.backlog)
		w.receive(p, 20)
		if before == 0 && len(p.owed) > 0 {
			require.Empty(w.t, p.owed, "never arrived")
		}
	}
	p.chain = 0
}

// R-11.6-1, R-11.6-2, R-11.6-4, R-11.6-5, R-11.8-1: random histories of joins,
// departures, devices that register anew, sends that die, distributions that are
// refused at first, and acceptances that are lost. After the removal of a device
// and the next send no state that it ever had opens that send; and everybody
// else reads all that was addressed to him, once.
func TestModel(t *testing.T) {
	total := world{}
	for seed := range uint64(30) {
		w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 11)), sender: NewSender(Config{MaxMessages: 12, MaxAge: 3 * day}), now: testTime}
		for range 2 + w.rng.IntN(4) {
			w.join()
		}
		for range 80 {
			switch n := w.rng.IntN(20); {
			case n < 8:
				w.send()
			case n < 14 && len(w.inside) > 0:
				p := w.inside[w.rng.IntN(len(w.inside))]
				w.submit(p)
				w.receive(p, 1+w.rng.IntN(6))
			case n == 14:
				w.revision++
				w.join()
			case n == 15 && len(w.inside) > 0:
				w.revision++
				w.leave(w.rng.IntN(len(w.inside)))
			case n == 16 && len(w.inside) > 0:
				// Another registration or identity key: no new revision, and a
				// device that comes back with nothing.
				w.leave(w.rng.IntN(len(w.inside)))
				w.join()
			case n == 17 && len(w.outside) > 0:
				// What was in the outbox when it left may still go out.
				p := w.outside[w.rng.IntN(len(w.outside))]
				w.submit(p)
				w.receive(p, 5)
			case n == 18:
				w.now = w.now.Add(time.Duration(w.rng.IntN(60)) * time.Hour)
			case n == 19:
				w.sender = reloadSender(t, w.sender)
			}
			for _, p := range w.inside {
				if p.chain >= MaxChains-1 { // the receivers keep no more chains
					w.flush(p)
				}
			}
		}
		for _, p := range w.inside {
			w.flush(p)
			require.Empty(t, p.owed, "seed %d", seed)
		}
		total.rotations += w.rotations
		total.kept += w.kept
		total.dropped += w.dropped
		total.retries += w.retries
		total.newcomers += w.newcomers
	}
	// The histories had in them what they are about.
	for _, n := range []int{total.rotations, total.kept, total.dropped, total.retries, total.newcomers} {
		require.Greater(t, n, 100)
	}
}
