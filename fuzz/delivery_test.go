package fuzz

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
)

// Actions of FuzzDelivery, in the low four bits. The device is the argument in
// the high four modulo three, and the rest of it a choice.
const (
	write        action = iota // a device writes
	wake                       // a device connects
	sleep                      // its connection ends
	up                         // its oldest frame reaches the server
	down                       // the server's oldest frame reaches it
	upTwice                    // its oldest frame reaches the server twice
	downTwice                  // the server's oldest frame reaches it, and once more later
	upLater                    // its second frame reaches the server first
	downLater                  // a later frame of the server reaches it first
	cutUp                      // its connection breaks in the middle of a frame to the server
	cutDown                    // or of one to it: an answer or a delivery is lost
	loseAnswer                 // its oldest frame reaches the server, and its connection ends
	restartAct                 // the server starts again
	loseCommit                 // the server starts again without its last commit, in a new epoch
	forget                     // the server deletes receipts, but the last few
	flowOrReplay               // everything under way arrives; or an old submission comes again
)

// playDelivery runs a schedule, and judges.
func playDelivery(o *office, schedule []byte) {
	defer func() {
		for _, p := range o.phones {
			if p.conn != nil {
				p.conn.toClient.Close()
				p.conn.toServer.Close()
			}
		}
	}()
	for i, b := range schedule {
		o.step = i
		if o.sabotage != nil {
			o.sabotage(o, b&15)
		}
		o.act(b&15, int(b>>4))
	}
	o.step = len(schedule)
	o.judge()
}

// act does one thing. What has nothing to work on does nothing.
func (o *office) act(a action, arg int) {
	p, n := o.phones[arg%3], 1+arg/3
	c := p.conn
	switch a {
	case write:
		o.write(p)
	case wake:
		o.connect(p)
	case sleep:
		o.hangUp(p)
	case restartAct:
		o.restart(false)
	case loseCommit:
		o.restart(true)
	case forget:
		o.purge(arg / 3)
	case flowOrReplay:
		if arg%2 == 0 {
			o.flow()
		} else if c != nil && p.fetched && len(p.sent) > 0 {
			o.toServer(p, p.sent[(n*31+o.step)%len(p.sent)])
			o.reach("replay")
		}
	}
	if c == nil || a == sleep || a == restartAct || a == loseCommit {
		return
	}
	o.network(a, p, n)
}

// network is what happens to a frame under way.
func (o *office) network(a action, p *phone, n int) {
	c := p.conn
	take := func(frames *[][]byte, n int) []byte {
		frame := c.take(frames, n)
		if frame != nil {
			o.reach(names[a])
		}
		return frame
	}
	switch a {
	case up, upTwice, loseAnswer, upLater:
		i := 0
		if a == upLater && p.fetched { // the Fetch is always first
			i = n
		}
		frame := take(&c.up, i)
		if frame == nil {
			return
		}
		o.toServer(p, frame)
		if a == upTwice {
			o.toServer(p, frame)
		}
		if a == loseAnswer {
			o.hangUp(p)
		}
	case down, downTwice, downLater:
		i := 0
		if a == downLater {
			i = n
		}
		frame := take(&c.down, i)
		if frame == nil {
			return
		}
		o.toClient(p, frame)
		if a == downTwice {
			c.down = append(c.down, frame)
			c.looked++
		}
	case cutUp:
		if frame := take(&c.up, 0); frame != nil {
			_, _ = c.toServer.Write(delimited(frame)[:len(frame)*n/7])
			o.hangUp(p)
		}
	case cutDown:
		if frame := take(&c.down, 0); frame != nil {
			_, _ = c.toClient.Write(delimited(frame)[:len(frame)*n/7])
			o.hangUp(p)
		}
	}
}

var names = map[action]string{up: "up", upTwice: "up twice", upLater: "up later", down: "down", downTwice: "down twice",
	downLater: "down later", cutUp: "cut up", cutDown: "cut down", loseAnswer: "lose the answer"}

// all is an action at each of the devices.
func all(a action) []byte { return []byte{act(a, 0), act(a, 1), act(a, 2)} }

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

var deliveries = map[string][]byte{
	"talk": slices.Concat(all(wake), all(write), []byte{act(flowOrReplay, 0)}, all(write), []byte{act(flowOrReplay, 0)}),
	"sleep": slices.Concat(all(write), all(write), []byte{act(wake, 0), act(flowOrReplay, 0), act(sleep, 0), act(write, 0),
		act(wake, 1), act(flowOrReplay, 0)}),
	"bad connections": slices.Concat(all(write), all(write), all(wake), all(upTwice), all(upTwice), all(down), all(upLater),
		all(downTwice), all(downLater), all(downLater), all(cutUp), all(wake), all(up), all(cutDown), all(wake), all(up),
		all(loseAnswer), all(wake), all(up), all(loseAnswer), all(wake), all(up), all(downLater), all(downTwice), all(up)),
	"acknowledged before it is sent again": unhex("0111210313237074d648589a9fda4e4445512458fd695e5eb932bca4c851a4bae53c31616e3b1781e56554e798f51fc0b5caf32414e139c501517b1914d961f9"),
	"a Fetch behind what it fetches": unhex("011121031323d024314fcd7573130c41919e3374b468049407345e9174157f21a36af69eaf707dafc03041cfb84807d193b4e2f9b133a9f892b781f44ae3db1930ffd880" +
		"435fa144c58fb0838b8a9e2bd854440399d3337007f5a9b83e446db9d394a8c564e4b4"),
	"purge": slices.Concat(all(write), all(wake), all(up), all(loseAnswer), []byte{act(forget, 0)}, all(wake), []byte{act(flowOrReplay, 0)},
		[]byte{act(flowOrReplay, 1), act(flowOrReplay, 5), act(flowOrReplay, 3), act(flowOrReplay, 0)}),
	"restarts": slices.Concat(all(write), all(wake), all(up), all(up), []byte{act(restartAct, 0)}, all(wake), []byte{act(flowOrReplay, 0)},
		all(write), []byte{act(up, 0), act(loseCommit, 0)}, all(wake), []byte{act(flowOrReplay, 0)}, all(write),
		all(up), all(down), []byte{act(up, 0), act(loseCommit, 0)}, all(write), all(wake), []byte{act(flowOrReplay, 0)}),
}

func inBubble(t *testing.T, schedule []byte) (o *office) {
	synctest.Test(t, func(t *testing.T) {
		o = newOffice(t.Fatalf)
		playDelivery(o, schedule)
	})
	return o
}

func FuzzDelivery(f *testing.F) {
	for _, s := range deliveries {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, schedule []byte) {
		inBubble(t, schedule[:min(len(schedule), maxSchedule)])
	})
}

func TestDeliverySeedsReachEverything(t *testing.T) {
	reached, actions := map[string]int{}, map[byte]bool{}
	for _, s := range deliveries {
		for what, n := range inBubble(t, s).reached {
			reached[what] += n
		}
		for _, b := range s {
			actions[b&15] = true
		}
	}
	require.Len(t, actions, 16)
	want := append(slices.Collect(maps.Values(names)), "submit", "ack", "fetch", "accepted", "duplicate", "too old", "deliver",
		"purge", "replay", "lost an accepted message", "told by sender and message ID")
	slices.Sort(want)
	require.Equal(t, want, slices.Sorted(maps.Keys(reached)))
}

func randomDelivery(rng *rand.Rand) []byte {
	schedule := slices.Concat(all(wake), all(up))
	for range 20 + rng.IntN(80) {
		b := byte(rng.Uint32())
		if a := b & 15; (a == loseCommit || a == restartAct || a == sleep) && rng.IntN(3) > 0 {
			b = act([]action{write, wake, up, down}[rng.IntN(4)], b>>4)
		}
		schedule = append(schedule, b)
	}
	return schedule
}

// Schedules that nobody thought of, others on every run.
func TestRandomDeliveries(t *testing.T) {
	n, seed := 800, rand.Uint64()
	if testing.Short() {
		n = 60
	}
	for i := range uint64(n) {
		s := randomDelivery(rand.New(rand.NewPCG(seed+i, 1)))
		if !t.Run(fmt.Sprint("seed ", seed+i), func(t *testing.T) { inBubble(t, s) }) {
			t.Fatalf("%x", s)
		}
	}
}

// An oracle that cannot fail shows nothing. Each sabotage breaks one rule of the
// server or of a device, and is found.
func TestDeliveryOracle(t *testing.T) {
	change := func(s *relay.Store, f func(tx *relay.Tx)) {
		_ = s.Update(func(tx *relay.Tx) error { f(tx); return nil })
	}
	remove := func(prefix string) func(*relay.Tx) {
		return func(tx *relay.Tx) {
			for _, k := range tx.Keys(prefix) {
				tx.Delete(k)
			}
		}
	}
	for name, sabotage := range map[string]func(*office, action){
		"a server that forgets receipts and windows": func(o *office, _ action) {
			change(o.server.Store, remove("receipt/"))
			change(o.server.Store, remove("window/"))
		},
		"a server that forgets where its conversation stands": func(o *office, _ action) {
			change(o.server.Store, remove("conversation/"))
		},
		"a server that loses a mailbox": func(o *office, a action) {
			if a == restartAct {
				change(o.server.Store, remove("item/"))
				change(o.server.Store, remove("mailbox/"))
			}
		},
		"a mailbox that drops its oldest":   func(o *office, _ action) { o.server.MaxMailbox = 1 },
		"a server that keeps its old epoch": func(o *office, _ action) { o.keepEpoch = true },
		"a device that forgets its outbox": func(o *office, _ action) {
			change(o.phones[0].store, remove("outbox/"))
		},
		"a device that forgets its screen": func(o *office, a action) {
			if a == sleep {
				change(o.phones[0].store, func(tx *relay.Tx) {
					for _, k := range tx.Keys("screen/") {
						if relay.State(tx.Get(k)[0]) == relay.Sent {
							tx.Delete(k)
						}
					}
				})
			}
		},
		"a device that does not know what it had": func(o *office, _ action) {
			change(o.phones[2].store, remove("had/"))
		},
		"a device that acknowledges what it has not stored": func(o *office, a action) {
			if p := o.phones[1]; a == up && p.conn != nil && p.fetched && p.position.Number > 0 {
				b, _ := (&envelope.Ack{MailboxEpoch: p.position.Epoch, Position: p.position.Number}).AppendBinary(nil)
				p.conn.up = append(p.conn.up, b)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			found := violation("")
			for seed := range uint64(1000) {
				synctest.Test(t, func(t *testing.T) {
					found = violationIn(func(fail func(string, ...any)) {
						o := newOffice(fail)
						o.sabotage = sabotage
						playDelivery(o, randomDelivery(rand.New(rand.NewPCG(seed, 2))))
					})
				})
				if found != "" {
					break
				}
			}
			require.NotEmpty(t, found)
			t.Logf("%s: %s", name, found)
		})
	}
}
