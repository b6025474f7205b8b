package fuzz

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing/synctest"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/sesame"
)

// An office is a server, three devices of two users, the frames under way
// between them, and what has to be true of all. The server and the clients are
// those of package relay; nothing is encrypted, for this is about what the
// server does.
type office struct {
	stage
	server *relay.Server
	phones []*phone

	written   []*letter
	byID      map[[16]byte]*letter
	last      lamport.Position            // the last that was accepted
	before    map[string][]byte           // the server's rows before its last frame
	undo      *letter                     // what that frame made accepted
	lastWas   lamport.Position            // and what last was before it
	sabotage  func(o *office, act action) // called before each action
	keepEpoch bool                        // a sabotage
}

var chat = [16]byte{0xc0, 1}

// A phone is a device, which keeps nothing but its store, and its connection.
type phone struct {
	id       envelope.Device
	reg      uint32
	store    *relay.Store
	sent     [][]byte // submissions, for replays
	conn     *wires
	fetched  bool
	position lamport.Position // of the last delivery that the server wrote
	acked    uint64           // in the mailbox, in this epoch
}

// wires are two pipes, and the frames that came out of them.
type wires struct {
	client             *relay.Client
	toClient, toServer net.Conn
	mu                 sync.Mutex
	up, down           [][]byte // from the client, from the server
	looked             int      // frames of down that were looked at
}

// A letter is a message that a device has written.
type letter struct {
	name      string
	id        [16]byte
	from      *phone
	position  lamport.Position // zero: not accepted
	forgotten bool             // the server has lost that it accepted it
	placeless bool             // the sender was told TooOld
}

func newOffice(fail func(string, ...any)) *office {
	o := &office{stage: newStage(fail), server: &relay.Server{Store: &relay.Store{}}, byID: map[[16]byte]*letter{},
		last: lamport.Position{Epoch: 1}}
	for i, d := range []envelope.Device{{User: [16]byte{0xa}, ID: 1}, {User: [16]byte{0xa}, ID: 2}, {User: [16]byte{0xb}, ID: 1}} {
		p := &phone{id: d, reg: uint32(10 + i), store: &relay.Store{}}
		o.phones = append(o.phones, p)
		o.must(o.server.Register(p.id, p.reg) == nil, "register")
	}
	return o
}

func (p *phone) client() *relay.Client {
	return &relay.Client{Self: p.id, Do: p.store.Do,
		Seal: func(_ sesame.Tx, _ envelope.Device, _ uint32, plaintext []byte) (uint8, []byte, error) {
			return 2, plaintext, nil
		},
		Open: func(_ sesame.Tx, from envelope.Device, _ uint8, ciphertext []byte) ([]byte, envelope.Sender, error) {
			return ciphertext, envelope.Sender(from), nil
		},
	}
}

// write has a device write a message, connected or not.
func (o *office) write(p *phone) {
	l := &letter{name: fmt.Sprint("letter ", len(o.written)+1), from: p}
	binary.BigEndian.PutUint64(l.id[:], uint64(len(o.written)+1))
	var to []envelope.Recipient
	for _, q := range o.phones {
		if q != p {
			to = append(to, envelope.Recipient{Device: q.id, RegistrationID: q.reg})
		}
	}
	c := p.client()
	if p.conn != nil {
		c = p.conn.client
	}
	o.written = append(o.written, l)
	o.byID[l.id] = l
	o.must(c.Send(chat, l.id, to, []byte(l.name)) == nil, "send")
	o.wait()
}

// connect is an app that starts: a new client on the same store.
func (o *office) connect(p *phone) {
	if p.conn != nil {
		return
	}
	w := &wires{client: p.client()}
	p.conn, p.fetched = w, false
	var app, far net.Conn
	app, w.toClient = net.Pipe()
	w.toServer, far = net.Pipe()
	go func() { _ = o.server.Serve(far, p.id) }()
	go func() { _ = w.client.Run(app) }()
	go w.pump(w.toClient, &w.up)
	go w.pump(w.toServer, &w.down)
	o.wait()
}

func (w *wires) pump(conn net.Conn, to *[][]byte) {
	r := bufio.NewReader(conn)
	for {
		frame, err := envelope.ReadDelimited(r, nil)
		if err != nil {
			return
		}
		w.mu.Lock()
		*to = append(*to, frame)
		w.mu.Unlock()
	}
}

// hangUp ends a connection; what is under way is lost.
func (o *office) hangUp(p *phone) {
	if p.conn == nil {
		return
	}
	p.conn.toClient.Close()
	p.conn.toServer.Close()
	synctest.Wait()
	s := p.conn.client.Stats()
	o.must(s.Refused == 0 && s.Gaps == 0, "a device has refused %d messages and was told of %d gaps", s.Refused, s.Gaps)
	if s.Duplicate > 0 {
		o.reach("told by sender and message ID")
	}
	p.conn = nil
}

// wait lets everything happen that follows, and looks at what the server wrote:
// at the answers first, for they say which message has which number.
func (o *office) wait() {
	synctest.Wait()
	for _, answers := range []bool{true, false} {
		for _, p := range o.phones {
			if p.conn == nil {
				continue
			}
			for _, frame := range p.conn.down[p.conn.looked:] {
				o.look(p, frame, answers)
			}
		}
	}
	for _, p := range o.phones {
		if p.conn != nil {
			p.conn.looked = len(p.conn.down)
		}
	}
}

// take is the n-th frame under way, and takes it off; nil if there is none.
func (w *wires) take(frames *[][]byte, n int) []byte {
	if w == nil || len(*frames) == 0 {
		return nil
	}
	frame := take(frames, n)
	w.looked = len(w.down)
	return frame
}

func delimited(frame []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
}

// toServer passes a frame of a device on.
func (o *office) toServer(p *phone, frame []byte) {
	var f envelope.Frame
	v, err := f.Parse(frame)
	o.must(err == nil, "a device wrote %x: %v", frame, err)
	switch m := v.(type) {
	case *envelope.Submit:
		o.reach("submit")
		p.sent = append(p.sent, slices.Clone(frame))
	case *envelope.Ack:
		o.reach("ack")
		o.acknowledges(p, m.MailboxEpoch, m.Position)
	case *envelope.Fetch:
		o.reach("fetch")
		o.acknowledges(p, m.MailboxEpoch, m.After)
		p.fetched, p.position = true, lamport.Position{Epoch: o.last.Epoch, Number: p.acked}
	}
	o.before, o.undo = rows(o.server.Store), nil
	_, err = p.conn.toServer.Write(delimited(frame))
	o.must(err == nil, "the server has hung up on %T", v)
	o.wait()
}

// acknowledges notes what the server may forget.
func (o *office) acknowledges(p *phone, epoch uint32, n uint64) {
	if epoch == o.last.Epoch {
		p.acked = max(p.acked, n)
	}
}

// toClient passes a frame of the server on.
func (o *office) toClient(p *phone, frame []byte) {
	_, err := p.conn.toClient.Write(delimited(frame))
	o.must(err == nil, "a device has hung up")
	o.wait()
}

// look is the oracle on what the server writes: sequence numbers and positions
// are dense, nothing is accepted twice, an answer never changes.
func (o *office) look(p *phone, frame []byte, answers bool) {
	var f envelope.Frame
	v, err := f.Parse(frame)
	o.must(err == nil, "the server wrote %x: %v", frame, err)
	if _, ok := v.(*envelope.Result); ok != answers {
		return
	}
	switch m := v.(type) {
	case *envelope.Result:
		l := o.byID[m.ID]
		at := lamport.Position{Epoch: m.Epoch, Number: m.Sequence}
		switch m.Code {
		case envelope.Accepted:
			o.reach("accepted")
			o.must(l.position == lamport.Position{}, "%s is accepted twice, at %v and %v", l.name, l.position, at)
			o.must(at == lamport.Position{Epoch: o.last.Epoch, Number: o.last.Number + 1}, "%v follows %v", at, o.last)
			o.undo, o.lastWas = l, o.last
			l.position, o.last = at, at
		case envelope.Duplicate:
			o.reach("duplicate")
			o.must(at == l.position, "%s is at %v, and was at %v", l.name, at, l.position)
		case envelope.TooOld:
			o.reach("too old")
			o.must(l.position != lamport.Position{}, "%s is too old, and was never accepted", l.name)
			l.placeless = true
		default:
			o.fail("an honest message is answered with code %d", m.Code)
		}
	case *envelope.Deliver:
		o.reach("deliver")
		u := m.Untrusted
		next := lamport.Position{Epoch: p.position.Epoch, Number: p.position.Number + 1}
		o.must(p.fetched && next == lamport.Position{Epoch: u.MailboxEpoch, Number: u.Position},
			"position %d/%d follows %v", u.MailboxEpoch, u.Position, p.position)
		p.position = next
		l := o.byID[m.Header.ID]
		o.must(l != nil && l.from.id == m.Header.Sender && l.from != p, "a delivery of what nobody wrote")
		o.must(l.position == lamport.Position{Epoch: u.Epoch, Number: u.Sequence} || l.forgotten,
			"%s is delivered as %d/%d, and is %v", l.name, u.Epoch, u.Sequence, l.position)
	default:
		o.fail("the server wrote %T", v)
	}
}

// rows is a copy of a store.
func rows(s *relay.Store) map[string][]byte {
	all := map[string][]byte{}
	_ = s.Update(func(tx *relay.Tx) error {
		for _, k := range tx.Keys("") {
			all[k] = slices.Clone(tx.Get(k))
		}
		return nil
	})
	return all
}

// restart is a server that starts again on its store. If it has lost its last
// commit it raises the epoch.
func (o *office) restart(lost bool) {
	for _, p := range o.phones {
		o.hangUp(p)
	}
	o.server = &relay.Server{Store: o.server.Store}
	if !lost {
		o.before, o.undo = nil, nil
		return
	}
	if o.before == nil {
		return
	}
	_ = o.server.Store.Update(func(tx *relay.Tx) error {
		for _, k := range tx.Keys("") {
			tx.Delete(k)
		}
		for k, v := range o.before {
			tx.Put(k, v)
		}
		return nil
	})
	if l := o.undo; l != nil { // the sender may know of it, and others may have it
		l.position, l.forgotten = lamport.Position{}, true
		o.last = o.lastWas
		o.reach("lost an accepted message")
	}
	if o.keepEpoch {
		return
	}
	o.last = lamport.Position{Epoch: o.last.Epoch + 1}
	o.must(o.server.RaiseEpoch(o.last.Epoch) == nil, "raise the epoch")
	for _, p := range o.phones {
		p.acked = 0
	}
	o.before, o.undo = nil, nil
}

// purge deletes all receipts but the last few.
func (o *office) purge(keep int) {
	_ = o.server.Store.Update(func(tx *relay.Tx) error {
		keys := tx.Keys("receipt/")
		for _, k := range keys[:max(0, len(keys)-keep)] {
			tx.Delete(k)
			o.reach("purge")
		}
		return nil
	})
	o.before, o.undo = nil, nil
}

// flow passes everything on until nothing follows.
func (o *office) flow() {
	for busy := true; busy; {
		busy = false
		for _, p := range o.phones {
			if p.conn == nil {
				continue
			}
			if frame := p.conn.take(&p.conn.up, 0); frame != nil {
				o.toServer(p, frame)
				busy = true
			}
			if frame := p.conn.take(&p.conn.down, 0); frame != nil {
				o.toClient(p, frame)
				busy = true
			}
		}
	}
}

// judge connects all, passes everything on, and compares the screens: nothing
// is lost, nothing stands there twice, and the order is one.
func (o *office) judge() {
	for range 2 { // the second time nothing is under way from before
		for _, p := range o.phones {
			o.hangUp(p)
			o.connect(p)
		}
		o.flow()
	}
	for k := range rows(o.server.Store) {
		o.must(!strings.HasPrefix(k, "item/"), "a mailbox does not empty: %s", k)
	}
	var order [][]string
	for i, p := range o.phones {
		count := map[string]int{}
		var placed []string
		for _, m := range p.conn.client.Messages(chat) {
			l := o.byID[m.ID]
			o.must(l != nil && string(m.Body) == l.name && m.Sender == l.from.id, "device %d shows %q", i, m.Body)
			o.must(m.State == relay.Sent, "%s at device %d is never answered", l.name, i)
			count[l.name]++
			if !l.forgotten && !l.placeless {
				placed = append(placed, l.name)
			}
		}
		for _, l := range o.written {
			if l.forgotten && l.from != p {
				o.must(count[l.name] <= 1, "device %d shows %s %d times", i, l.name, count[l.name])
				continue
			}
			o.must(count[l.name] == 1, "device %d shows %s %d times", i, l.name, count[l.name])
		}
		order = append(order, placed)
	}
	for i := range order {
		o.must(slices.Equal(order[0], order[i]), "devices 0 and %d show\n%q\n%q", i, order[0], order[i])
	}
	for _, p := range o.phones {
		o.hangUp(p)
	}
}
