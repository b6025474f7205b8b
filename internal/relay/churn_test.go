package relay

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
)

// Devices are registered anew all the time, so that messages are repaired, while
// connections break and stores fail. What a device has sent stands in its order on
// every screen, and all screens are the same.
func TestOrderUnderChurn(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 77))
			w := newWorld(t, everyone...)
			stores := []*Store{w.server.Store}
			for _, d := range everyone {
				stores = append(stores, w.stores[d])
			}
			for i, s := range stores {
				r := rand.New(rand.NewPCG(seed, uint64(200+i)))
				s.fault = func() (bool, bool) { n := r.IntN(40); return n == 0, n == 1 }
			}
			const total = 60
			sent := 0
			for round := 0; round < 400 && (sent < total || !w.settled()); round++ {
				for _, d := range everyone {
					for range min(r.IntN(3), total-sent) {
						// It may fail, and be stored or not.
						_ = w.clients[d].Send(chat, id('m', byte(sent)), w.to(d), []byte(strconv.Itoa(sent)))
						sent++
					}
				}
				if round < 100 && r.IntN(3) == 0 {
					i := r.IntN(len(everyone))
					_ = w.server.Register(everyone[i], uint32(100+i+1000*r.IntN(2)))
				}
				var stops []func()
				for _, d := range everyone {
					if r.IntN(4) > 0 { // else it sleeps
						a, b := net.Pipe()
						stops = append(stops, w.run(d, &cutConn{a, r.IntN(9000), r.IntN(9000)}, b))
					}
				}
				synctest.Wait()
				for _, stop := range stops {
					stop()
				}
			}
			for _, s := range stores {
				s.fault = nil
			}
			for range 3 {
				w.round(everyone...)
			}
			require.True(t, w.settled())
			var want []string
			for _, d := range everyone {
				last := map[envelope.Device]int{}
				var got []string
				for _, m := range w.clients[d].Messages(chat) {
					if m.State == Failed { // repaired too often: its sender sees it
						require.Equal(t, d, m.Sender)
						continue
					}
					require.Equal(t, Sent, m.State)
					n, err := strconv.Atoi(string(m.Body))
					require.NoError(t, err)
					require.GreaterOrEqual(t, n, last[m.Sender], "order of %d at %d, seed %d", m.Sender.ID, d.ID, seed)
					last[m.Sender] = n
					got = append(got, string(m.Body))
				}
				if want == nil {
					want = got
				}
				require.Equal(t, want, got, "seed %d", seed)
				require.Equal(t, Stats{}, w.clients[d].Stats(), "seed %d", seed)
			}
			require.Greater(t, len(want), total/2)
		})
	}
}

// Frames that are well formed and make no sense, from a server and from a device:
// neither end panics, hangs, or keeps rows that it cannot read.
func TestHostileFrames(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t, everyone...)
			for n := range byte(5) {
				w.send(phone, n, fmt.Sprint(n))
			}
			if r.IntN(4) == 0 {
				w.setClock(phone, lamport.Stamp(number(r)))
			}
			play := func(serve func(net.Conn) error, device bool) {
				a, b := net.Pipe()
				var all sync.WaitGroup
				all.Go(func() { _ = serve(a) })
				all.Go(func() { _, _ = io.Copy(io.Discard, b) })
				for range r.IntN(40) {
					f, err := nonsense(t, r, device).AppendBinary(nil)
					if err == nil && writeFrame(b, f) != nil {
						break
					}
				}
				synctest.Wait()
				a.Close()
				b.Close()
				all.Wait()
			}
			for epoch := range uint32(4) {
				play(func(c net.Conn) error { return w.clients[phone].Run(c) }, false)
				play(func(c net.Conn) error { return w.server.Serve(c, phone) }, true)
				if r.IntN(3) == 0 {
					require.NoError(t, w.server.RaiseEpoch(epoch+2))
				}
			}
			// What waits can be read, and nothing of our own has gone from the screen.
			require.NoError(t, w.stores[phone].Update(func(tx *Tx) error {
				for _, row := range tx.Keys("outbox/") {
					l, err := parseLetter(row, tx.Get(row))
					require.NoError(t, err)
					require.NotEmpty(t, tx.Get(lineKey(l.key)), "its line is on the screen")
				}
				var in lamport.Inbox
				return tx.load("inbox", &in)
			}))
			seen := map[[16]byte]bool{}
			for _, m := range w.clients[phone].Messages(chat) {
				if m.Sender == phone && m.ID[2] < 5 {
					seen[m.ID] = true
				}
			}
			require.Len(t, seen, 5, "no message of our own is gone, seed %d", seed)
		})
	}
}

func number(r *rand.Rand) uint64 {
	switch r.IntN(8) {
	case 0:
		return lamport.Max - uint64(r.IntN(3))
	case 1:
		return r.Uint64N(lamport.Max) + 1
	}
	return r.Uint64N(8) + 1
}

// nonsense is a frame of a server or a device, and sometimes of the other, about a
// few devices, messages and numbers.
func nonsense(t *testing.T, r *rand.Rand, ofDevice bool) envelope.Message {
	small := func(n int) uint32 { return uint32(r.IntN(n)) + 1 }
	device := func() envelope.Device {
		return []envelope.Device{phone, laptop, bob, mallory, {User: bob.User, ID: small(4)}}[r.IntN(5)]
	}
	devices := func(sealed bool) envelope.Recipients {
		found := map[envelope.Device]bool{}
		var list []envelope.Recipient
		for range r.IntN(4) {
			v := envelope.Recipient{Device: device(), RegistrationID: uint32(99 + r.IntN(5))}
			if sealed {
				v.Type, v.Ciphertext = 2, seal(phone, v.Device, make([]byte, 9))
			}
			if !found[v.Device] {
				list = append(list, v)
			}
			found[v.Device] = true
		}
		return table(t, list...)
	}
	header := func() envelope.Header {
		return envelope.Header{Conversation: [][16]byte{chat, private}[r.IntN(2)], ID: id('m', byte(r.IntN(6))), Sender: device(), Stamp: number(r)}
	}
	result := &envelope.Result{ID: id('m', byte(r.IntN(6)))}
	kind := r.IntN(6)
	if ofDevice == (r.IntN(20) > 0) {
		kind = 6 + r.IntN(2)
	}
	switch kind {
	case 0:
		result.Code, result.Epoch, result.Sequence = envelope.Accepted, small(3), number(r)
	case 1:
		result.Code, result.Missing, result.Extra, result.Stale = envelope.DeviceMismatch, devices(false), devices(false), devices(false)
	case 2:
		result.Code = []envelope.Code{envelope.TooOld, envelope.Refused}[r.IntN(2)]
	case 3:
		result.Code, result.MaxStamp = envelope.ClockBound, number(r)
	case 4:
		from := number(r)
		return &envelope.Gap{MailboxEpoch: small(3), From: from, To: min(lamport.Max, from+number(r)), Reason: envelope.Trimmed}
	case 6:
		return &envelope.Submit{Header: header(), Counter: number(r), Recipients: devices(true)}
	case 7:
		return []envelope.Message{&envelope.Ack{MailboxEpoch: 1, Position: number(r)},
			&envelope.Fetch{MailboxEpoch: small(2), After: number(r)}, &envelope.Fetch{}}[r.IntN(3)]
	default:
		h := header()
		ciphertext := seal(h.Sender, phone, []byte{0, 0, 0, 0, 0, 0, 0, byte(r.IntN(256))})
		if p, err := envelope.Pack(nil, &h, []byte("x")); err == nil && r.IntN(2) == 0 {
			ciphertext = append(ciphertext, p...)
		}
		return &envelope.Deliver{Header: h, Type: 2, Ciphertext: ciphertext,
			Untrusted: envelope.Untrusted{MailboxEpoch: small(3), Position: number(r), Epoch: small(3), Sequence: number(r)}}
	}
	return result
}
