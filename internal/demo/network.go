package demo

import (
	"bufio"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
)

// A network decides what happens to the frames between devices and server, and to
// the devices. It reads the frames, as anybody on the way would without TLS; that it alters none is
// not its merit: an altered ciphertext would be refused.
type network interface {
	submit(frame []byte) submitFate   // a message on its way to the server
	deliver(frame []byte) deliverFate // a message on its way to a device
	loseAck() bool                    // cut the connection instead of passing the acknowledgement on
	kill() int                        // the step at which the device is killed in what it does next; 0: it is not
}

// A submitFate is what happens to a submission and to its answer.
type submitFate int

const (
	passes   submitFate = iota
	cut                 // the connection breaks in the middle of the frame
	lost                // the server gets it, and the connection breaks in the middle of the answer
	repeated            // the server gets it twice
)

// A deliverFate is what happens to a frame of the server. Time is counted in
// messages written.
type deliverFate struct {
	dropped bool  // an ephemeral message: it is gone. Else the connection breaks in the middle of it
	delays  []int // of each copy
}

// A badNetwork drops, cuts, duplicates, delays, reorders and kills.
type badNetwork struct{ rng, killer *rand.Rand }

// maxDelay is how long a frame can take. Devices keep the keys of late messages
// for the last ratchet.MaxReceivingChains ratchet keys of the peer. Five new ones
// take ten messages under way in turn, so that nothing that a badNetwork
// delivers is too old to be read.
const maxDelay = 8

// longest is about how many steps the longest transaction has.
const longest = 24

func (n *badNetwork) kill() int {
	if n.killer.IntN(100) < 3 {
		return 1 + n.killer.IntN(longest)
	}
	return 0
}

func (n *badNetwork) submit([]byte) submitFate {
	switch p := n.rng.IntN(100); {
	case p < 8:
		return cut
	case p < 17:
		return lost
	case p < 24:
		return repeated
	}
	return passes
}

func (n *badNetwork) deliver([]byte) (f deliverFate) {
	if n.rng.IntN(100) < 7 {
		f.dropped = true
		return f
	}
	copies := 1
	if n.rng.IntN(100) < 8 {
		copies = 2
	}
	for range copies {
		delay := 0
		if n.rng.IntN(100) < 22 {
			delay = 1 + n.rng.IntN(maxDelay)
		}
		f.delays = append(f.delays, delay)
	}
	return f
}

func (n *badNetwork) loseAck() bool { return n.rng.IntN(100) < 4 }

// A line is one connection of a device, made of two pipes with the network
// between them:
//
//	relay.Client — app ═ toClient — network — toServer ═ … — relay.Server
//
// The loops of the client and of the server run as they would over TCP. The
// network takes one frame at a time and waits for what follows from it, so that
// one seed gives one account.
type line struct {
	device     *device
	client     *relay.Client
	app        net.Conn // the device's end
	toClient   net.Conn
	toServer   net.Conn
	fromClient chan []byte
	fromServer chan []byte
	under      arrivals
	closed     chan struct{}
	all        sync.WaitGroup
}

// An arrival is a frame under way to a device.
type arrival struct {
	due    int
	breaks bool // the connection breaks in the middle of it
	frame  []byte
}

// arrivals are ascending in due.
type arrivals []arrival

func newLine(d *device, server *relay.Server) *line {
	l := &line{device: d, client: d.client(), fromClient: make(chan []byte), fromServer: make(chan []byte), closed: make(chan struct{})}
	var far net.Conn
	l.app, l.toClient = net.Pipe()
	l.toServer, far = net.Pipe()
	l.all.Go(func() { _ = server.Serve(far, d.id) })
	l.all.Go(func() { _ = l.client.Run(l.app) })
	l.all.Go(func() { pump(l.toClient, l.fromClient, l.closed) })
	l.all.Go(func() { pump(l.toServer, l.fromServer, l.closed) })
	return l
}

// pump takes frames off a connection until it ends.
func pump(conn net.Conn, to chan []byte, closed chan struct{}) {
	defer close(to)
	r := bufio.NewReader(conn)
	for {
		frame, err := envelope.ReadDelimited(r, nil)
		if err != nil {
			return
		}
		select {
		case to <- frame:
		case <-closed:
			return
		}
	}
}

// close breaks the connection at all ends, and waits until nothing runs.
func (l *line) close() {
	close(l.closed)
	l.app.Close()
	l.toClient.Close()
	l.toServer.Close()
	l.all.Wait()
}

var errSilent = errors.New("a device or the server does not answer, or has hung up")

// patience ends a demo that hangs; nothing here waits for time to pass.
const patience = 20 * time.Second

// next waits for a frame, or for something else that has to follow, from a device
// unless it is killed.
func next[T any](from chan T) (v T, err error) { return await(from, nil) }

func await[T any](from chan T, died chan struct{}) (v T, err error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v, ok := <-from:
		if ok {
			return v, nil
		}
	case <-died:
		select { // what it said before
		case v, ok := <-from:
			if ok {
				return v, nil
			}
		default:
		}
		return v, errKilled
	case <-timer.C:
	}
	return v, errSilent
}

// pass writes a frame.
func pass(to net.Conn, frame []byte) error {
	_, err := to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	return err
}

// half writes the first half of a frame.
func half(to net.Conn, frame []byte) {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
	_, _ = to.Write(b[:len(b)/2])
}

// put takes a frame for a device, with what is to happen to it.
func (a *arrivals) put(now int, frame []byte, f deliverFate) {
	if f.dropped {
		f.delays = []int{0}
	}
	for _, delay := range f.delays {
		*a = append(*a, arrival{now + delay, f.dropped, frame})
	}
	slices.SortStableFunc(*a, func(a, b arrival) int { return a.due - b.due })
}

// take is the next frame that is due.
func (a *arrivals) take(now int) (next arrival, ok bool) {
	if len(*a) == 0 || (*a)[0].due > now {
		return next, false
	}
	next, *a = (*a)[0], (*a)[1:]
	return next, true
}
