package fuzz

import (
	"bytes"
	"errors"
	"flag"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// Actions of FuzzConversation: a byte of the input says what happens in its low
// four bits, to what in the high four.
const (
	send0     action = iota // a device writes: bit 0–2 how much, bit 3 in an old session
	send1                   //
	next                    // the oldest copy arrives
	reorder                 // copy number arg arrives
	drop                    // copy number arg is lost
	double                  // copy number arg is copied
	replay                  // a message of the past arrives once more
	corrupt                 // a copy with a bit flipped arrives, and the genuine one too if arg is odd
	restore                 // a device is killed and reads what it stored
	startOver               // bit 0 who, bit 1 with a one-time prekey, bits 2 and 3 families
	flood                   // a device writes a lot, of which the last arrives
	stray                   // a message arrives at another session of its receiver
	reverse                 // the network turns what is under way around
	burst                   // everything arrives
	crash                   // a device is killed before it has stored what it did
	truncate                // a copy arrives that is cut, longer, or of the other type
)

// play runs a schedule, then lets everything arrive, and everything twice, and
// both devices write and read once more.
func play(t testing.TB, schedule []byte) *world {
	w := newWorld(t)
	w.start(0, true, [2]ratchet.Family{})
	for i, b := range schedule {
		w.step = i
		w.act(b&15, b>>4)
	}
	w.step = len(schedule)
	w.act(burst, 0)
	for _, m := range slices.Clone(w.history) {
		w.arrive(m)
	}
	for from := range w.devices {
		last := w.sessions[len(w.sessions)-1]
		if from == 1 {
			from = last.initiator ^ 1
		} else {
			from = last.initiator
		}
		m := w.send(from, last, 8)
		w.must(m != nil, "no session after the first message")
		w.arrive(m)
		w.must(m.read, "the last message was not read")
	}
	return w
}

// act does one thing. What has nothing to work on does nothing.
func (w *world) act(a action, arg byte) {
	n := int(arg)
	device := n & 1
	switch a {
	case send0, send1:
		s := w.sessions[len(w.sessions)-1]
		if arg&8 != 0 {
			s = w.sessions[0]
		}
		if m := w.send(int(a-send0), s, 9*(n&7)); m != nil {
			w.underway = append(w.underway, m)
		}
	case next:
		if m := w.take(0); m != nil {
			w.arrive(m)
		}
	case reorder:
		if m := w.take(n); m != nil {
			w.arrive(m)
		}
	case drop:
		if w.take(n) != nil {
			w.reach("drop")
		}
	case double:
		if m := w.peek(n); m != nil {
			w.underway = append(w.underway, m)
			w.reach("copy")
		}
	case replay:
		if len(w.history) > 0 {
			w.arrive(w.history[(n*31+w.step)%len(w.history)])
		}
	case corrupt:
		if m := w.peek(n); m != nil {
			w.flip(m, w.whichBit(n, len(m.bytes)))
			if n&1 == 1 {
				w.arrive(m)
			}
		}
	case restore:
		for _, s := range w.sessions {
			if e := s.ends[device]; e != nil {
				w.reload(e)
				w.reach("reload")
			}
		}
	case startOver:
		w.start(device, arg&2 != 0, [2]ratchet.Family{ratchet.Family(arg >> 2 & 1), ratchet.Family(arg >> 3)})
		w.reach([...]string{"start without", "start with"}[arg>>1&1] + " a one-time prekey")
		w.reach([...]string{"Signal to Signal", "WhatsApp to Signal", "Signal to WhatsApp", "WhatsApp to WhatsApp"}[arg>>2])
	case flood:
		w.flood(device, 150*(1+n>>1))
	case stray:
		w.misdeliver(w.peek(n))
	case reverse:
		slices.Reverse(w.underway)
	case burst:
		for _, m := range w.underway {
			w.arrive(m)
		}
		w.underway = nil
	case crash:
		w.crash(w.peek(n), device)
	case truncate:
		if m := w.peek(n); m != nil {
			w.mangle(m, n)
		}
	}
}

// peek is copy n of what is under way, nil if nothing is; take takes it off.
func (w *world) peek(n int) *message { return peek(w.underway, n) }
func (w *world) take(n int) *message { return take(&w.underway, n) }

// arrive delivers a message as it was sent.
func (w *world) arrive(m *message) { w.deliver(m, m.bytes) }

// flip delivers a copy of a message with one bit flipped. Each has to fail,
// except those of which saysTheSame is true.
func (w *world) flip(m *message, bit int) {
	b := flipped(m.bytes, bit)
	first := w.ends(m) == nil
	switch {
	case saysTheSame(m.bytes, b, m.typ, first):
		w.reach("flip in an unauthenticated header")
		w.deliver(m, b)
		return
	case m.typ != ratchet.Initial:
		w.reach("flip in an ordinary message")
	case first:
		w.reach("flip in a first message")
	default:
		w.reach("flip in an initial message")
	}
	w.forge(m, b)
}

// ends is the receiver's end of the session of m, nil if it has none.
func (w *world) ends(m *message) *end { return m.session.ends[1-m.from] }

// mangle delivers a copy of a message that is cut, longer, or of the other type.
func (w *world) mangle(m *message, n int) {
	forged, b := *m, m.bytes
	if n%4 == 2 { // an initial message is no ordinary one, nor the other way round
		forged.typ ^= ratchet.Ordinary ^ ratchet.Initial
		w.reach("other type")
	} else {
		b = w.mangled(b, n%4)
	}
	w.forge(&forged, b)
}

// flood has a device write many messages, of which the last arrives, and
// leaves a few under way. Three floods fill the stored keys of one chain.
func (w *world) flood(from, n int) {
	s := w.sessions[len(w.sessions)-1]
	if s.ends[from] == nil || w.floods == 4 {
		return
	}
	w.floods++
	for i := range n {
		if i%400 == 0 {
			w.stored(s.ends[from])
			w.underway = append(w.underway, w.send(from, s, 1))
			continue
		}
		// A message that nobody will see, without all the checks.
		_, _, err := s.ends[from].session.Encrypt(nil, nil)
		w.must(err == nil, "encrypt: %v", err)
		s.ends[from].written++
	}
	w.stored(s.ends[from])
	w.arrive(w.send(from, s, 1))
	w.reach("flood")
}

// misdeliver gives a message to the other sessions of its receiver.
func (w *world) misdeliver(m *message) {
	if m == nil {
		return
	}
	b := m.bytes
	if m.typ == ratchet.Initial {
		im, err := x3dh.ParseInitialMessage(b)
		w.must(err == nil, "genuine message: %v", err)
		b = im.Message
	}
	for _, s := range w.sessions {
		e := s.ends[1-m.from]
		if e == nil || s == m.session {
			continue
		}
		out, err := e.session.Decrypt(nil, b)
		w.must(errors.Is(err, ratchet.ErrAuthentication) && out == nil, "a message of another session gave %v", err)
		w.unchanged(e, "a message of another session")
		w.reach("stray")
	}
}

// crash is a device killed between a call and its store: it does the same
// again, or something else, from the state before. Nothing has left it.
func (w *world) crash(m *message, device int) {
	if e := w.sessions[len(w.sessions)-1].ends[device]; e != nil {
		out, _, err := e.session.Encrypt(nil, []byte("never sent"))
		w.must(err == nil && out != nil, "encrypt: %v", err)
		w.reload(e)
		w.reach("crash before sending")
	}
	if m == nil || w.ends(m) == nil || m.read {
		return
	}
	e := w.ends(m)
	text, _, _, err := w.decrypt(1-m.from, m.session, m.typ, m.bytes)
	v := e.receiver.judge(m)
	w.must(errors.Is(err, v.err()) && (err != nil || bytes.Equal(text, m.text)), "a message that %s gave %v", v, err)
	w.reload(e)
	w.reach("crash before acknowledging")
	w.arrive(m)
}

// The schedules written by hand reach all that there is, as
// TestSeedsReachEverything asserts.
var schedules = map[string][]byte{
	"talk": {
		act(send0, 1), act(next, 0), act(send1, 2), act(next, 0), act(send0, 3), act(send0, 0), act(burst, 0),
		act(restore, 0), act(restore, 1), act(send1, 7), act(next, 0), act(send0, 1), act(next, 0),
	},
	"bad network": {
		act(send0, 1), act(send0, 2), act(send0, 3), act(double, 1), act(reorder, 2), act(burst, 0),
		act(send1, 1), act(send1, 2), act(send1, 3), act(drop, 0), act(reverse, 0), act(burst, 0),
		act(send0, 1), act(send0, 1), act(send0, 1), act(double, 0), act(reverse, 0), act(restore, 1), act(burst, 0),
		act(replay, 1), act(replay, 3), act(replay, 5),
	},
	"damage": slices.Concat(
		[]byte{act(send0, 2)}, every(corrupt, 0), every(truncate, 0), every(truncate, 1), // a first message
		[]byte{act(next, 0), act(send0, 3)}, every(corrupt, 0), every(truncate, 1), every(corrupt, 0), // a repeated one
		[]byte{act(next, 0), act(send1, 3)}, every(corrupt, 0), every(truncate, 0),
		[]byte{act(next, 0), act(send0, 3)}, every(corrupt, 0), every(truncate, 1), every(corrupt, 1),
	),
	"too late": slices.Concat(
		[]byte{act(send0, 1), act(next, 0), act(send0, 2), act(double, 0)},
		// Six times back and forth, past the two messages.
		bytes.Repeat([]byte{act(send1, 1), act(reverse, 0), act(next, 0), act(reverse, 0),
			act(send0, 1), act(reverse, 0), act(next, 0), act(reverse, 0)}, 6),
		[]byte{act(replay, 0), act(replay, 1), act(burst, 0)},
	),
	"floods": {
		act(send0, 1), act(next, 0), act(send1, 1), act(next, 0),
		act(flood, 14), act(flood, 14), act(restore, 1), act(flood, 0), act(burst, 0), act(flood, 3), act(burst, 0),
	},
	"families and prekeys": {
		act(startOver, 0), act(send0, 1), act(next, 0), act(send1, 1), act(next, 0),
		act(startOver, 5), act(send1, 1), act(send1, 2), act(send0, 8), act(stray, 0), act(stray, 2), act(reverse, 0), act(burst, 0),
		act(startOver, 10), act(send0, 1), act(next, 0), act(send1, 9), act(stray, 0), act(send1, 1), act(burst, 0),
		act(startOver, 15), act(send1, 1), act(burst, 0), act(send0, 1), act(send0, 9), act(burst, 0),
	},
	"crashes": {
		act(send0, 1), act(crash, 0), act(next, 0), act(send1, 1), act(crash, 0), act(crash, 1), act(next, 0),
		act(send0, 1), act(send0, 1), act(crash, 1), act(crash, 0), act(burst, 0),
	},
}

// every is an action with each even or odd argument.
func every(a action, odd byte) (s []byte) {
	for arg := odd; arg < 16; arg += 2 {
		s = append(s, act(a, arg))
	}
	return s
}

func FuzzConversation(f *testing.F) {
	for _, s := range schedules {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, schedule []byte) {
		play(t, schedule[:min(len(schedule), maxSchedule)])
	})
}

// Seeds that reach half of the actions would let the other half rot.
func TestSeedsReachEverything(t *testing.T) {
	reached, actions := map[string]int{}, map[byte]bool{}
	for name, s := range schedules {
		require.LessOrEqual(t, len(s), maxSchedule, name)
		for what, n := range play(t, s).reached {
			reached[what] += n
		}
		for _, b := range s {
			actions[b&15] = true
		}
	}
	require.Len(t, actions, 16)
	want := []string{
		string(opens), string(opensNew), string(opensLate), string(duplicate), string(discarded), string(forgotten),
		"accept with a one-time prekey", "accept without a one-time prekey",
		"send initial", "send ordinary", "drop", "copy", "flood", "reload", "stray", "missing",
		"flip in a first message", "flip in an initial message", "flip in an ordinary message",
		"flip in an unauthenticated header", "cut", "longer", "other type", "twice in one",
		"start with a one-time prekey", "start without a one-time prekey",
		"Signal to Signal", "Signal to WhatsApp", "WhatsApp to Signal", "WhatsApp to WhatsApp",
		"crash before sending", "crash before acknowledging",
	}
	slices.Sort(want)
	require.Equal(t, want, slices.Sorted(maps.Keys(reached)))
}

var scheduleSeed = flag.Uint64("schedule", 0, "TestRandomSchedules: only the schedule of this seed")

// Thousands of schedules that nobody thought of, others on every run.
func TestRandomSchedules(t *testing.T) {
	n, seed := 2000, rand.Uint64()
	if testing.Short() {
		n = 200
	}
	if *scheduleSeed != 0 {
		n, seed = 1, *scheduleSeed
	}
	reached := map[string]int{}
	for i := range uint64(n) {
		rng := rand.New(rand.NewPCG(seed+i, 0))
		schedule := make([]byte, 20+rng.IntN(80))
		for j := range schedule {
			schedule[j] = byte(rng.Uint32())
			// Conversations rather than beginnings; and floods cost time.
			if a := schedule[j] & 15; a == startOver && rng.IntN(8) > 0 || a == flood && i%40 > 0 {
				schedule[j] = act(action(rng.IntN(4)), schedule[j]>>4)
			}
		}
		done := false
		func() {
			defer func() {
				if !done {
					t.Logf("go test ./fuzz -run TestRandomSchedules -args -schedule=%d", seed+i)
				}
			}()
			for what, n := range play(t, schedule).reached {
				reached[what] += n
			}
			done = true
		}()
	}
	t.Logf("%d schedules from seed %d: %v", n, seed, reached)
}
