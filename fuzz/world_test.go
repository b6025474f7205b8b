package fuzz

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// A world is two devices, what is under way between them, and all that was
// ever sent.
type world struct {
	stage
	devices  [2]*device
	sessions []*session // oldest first, at most maxSessions
	underway []*message // copies
	history  []*message
	floods   int

	usedKeys  map[[32]byte]bool // chain keys that made a message key
	usedNames map[messageName]bool
}

const maxSessions = 3

type device struct {
	identity *x3dh.IdentityKey
	signed   *x3dh.SignedPreKey
	oneTime  map[uint32]*x3dh.PreKey
	nextID   uint32
}

// A session is one session of both devices; start over makes another.
type session struct {
	initiator int
	oneTime   bool
	families  [2]ratchet.Family
	ends      [2]*end // nil at the responder before a first message opened
}

// An end is the session at one device, and what has to be true of it.
type end struct {
	session  *ratchet.Session
	record   []byte // as stored after the last call that succeeded
	family   ratchet.Family
	receiver receiver
	answered bool // or the responder: sends ordinary messages
	written  int
	told     int // of what the other end has written, to here it was read, or is known to be missing
}

// A message as it was sent.
type message struct {
	session *session
	from    int
	typ     ratchet.Type
	bytes   []byte
	text    []byte
	key     ratchetKey
	counter uint32
	number  int // in its session, of its author's
	read    bool
}

// A messageName names a message key on the wire.
type messageName struct {
	session *session
	key     ratchetKey
	counter uint32
}

func newWorld(t testing.TB) *world {
	w := &world{
		stage:     newStage(t.Fatalf),
		usedKeys:  map[[32]byte]bool{},
		usedNames: map[messageName]bool{},
	}
	for i := range w.devices {
		d := &device{identity: x3dh.GenerateIdentityKey(), oneTime: map[uint32]*x3dh.PreKey{}, nextID: 1}
		var err error
		d.signed, err = x3dh.GenerateSignedPreKey(d.identity, 1, time.UnixMilli(1))
		w.must(err == nil, "signed prekey: %v", err)
		w.devices[i] = d
	}
	return w
}

// start makes a new session at the initiator.
func (w *world) start(initiator int, oneTime bool, families [2]ratchet.Family) {
	peer := w.devices[1-initiator]
	info := x3dh.BundleInfo{
		RegistrationID: uint32(100 - initiator),
		DeviceID:       1,
		IdentityKey:    peer.identity.Public(),
		SignedPreKey:   peer.signed.Public(),
	}
	if oneTime {
		keys, err := x3dh.GeneratePreKeys(peer.nextID, 1)
		w.must(err == nil, "one-time prekey: %v", err)
		peer.oneTime[peer.nextID] = keys[0]
		peer.nextID++
		info.OneTimePreKey = new(keys[0].Public())
	}
	bundle, err := x3dh.NewBundle(info)
	w.must(err == nil, "bundle: %v", err)
	agreement, err := x3dh.Initiate(w.devices[initiator].identity, bundle)
	w.must(err == nil, "initiate: %v", err)
	rs, err := ratchet.New(agreement, w.config(initiator, families))
	w.must(err == nil, "new session: %v", err)

	s := &session{initiator: initiator, oneTime: oneTime, families: families}
	e := newEnd(rs, families[initiator])
	e.receiver.push(ratchetKey(info.SignedPreKey.Key.Bytes())) // of which no message comes
	s.ends[initiator] = e
	w.stored(e)
	w.sessions = append(w.sessions, s)
	if len(w.sessions) > maxSessions {
		gone := w.sessions[0]
		w.sessions = w.sessions[1:]
		of := func(m *message) bool { return m.session == gone }
		w.underway = slices.DeleteFunc(w.underway, of)
		w.history = slices.DeleteFunc(w.history, of)
	}
}

func newEnd(rs *ratchet.Session, family ratchet.Family) *end {
	return &end{session: rs, family: family, receiver: receiver{old: map[ratchetKey]bool{}}}
}

func (w *world) config(i int, families [2]ratchet.Family) ratchet.Config {
	return ratchet.Config{Family: families[i], RegistrationID: uint32(99 + i), Created: time.Unix(1, 0)}
}

// stored writes the record of an end after a call that succeeded, and compares
// it with the model.
func (w *world) stored(e *end) record {
	b, err := e.session.AppendBinary(nil)
	w.must(err == nil, "record: %v", err)
	r, ok := readRecord(b)
	w.must(ok, "a record that cannot be read: %x", b)
	w.must(e.receiver.matches(r.receiving), "the record holds other receiving chains than it should")
	e.record = b
	return r
}

// unchanged checks an end after a call that failed.
func (w *world) unchanged(e *end, after string) {
	if e == nil {
		return
	}
	b, err := e.session.AppendBinary(nil)
	w.must(err == nil && bytes.Equal(b, e.record), "%s changed the session", after)
}

// reload is the app being killed: the session is what was stored, and encodes
// to the same bytes.
func (w *world) reload(e *end) {
	s, err := ratchet.ParseSession(e.record, e.family)
	w.must(err == nil, "stored record refused: %v", err)
	b, err := s.AppendBinary(nil)
	w.must(err == nil && bytes.Equal(b, e.record), "a record changes when it is read and written")
	e.session = s
}

// send has a device encrypt a message. It is nil if the device has no session.
func (w *world) send(from int, s *session, size int) *message {
	e := s.ends[from]
	if e == nil {
		return nil
	}
	before, ok := readRecord(e.record)
	w.must(ok, "record")
	text := make([]byte, size)
	for i := range text {
		text[i] = byte(len(w.history) + i)
	}
	prefix := append(make([]byte, 0, size), "pre"...)
	out, typ, err := e.session.Encrypt(prefix, text)
	w.must(err == nil, "encrypt: %v", err)
	w.must(bytes.HasPrefix(out, []byte("pre")), "encrypt lost what dst held")
	m := &message{session: s, from: from, typ: typ, text: text, bytes: slices.Clip(out[3:]), number: e.written}
	e.written++

	want := ratchet.Ordinary
	if from == s.initiator && !e.answered {
		want = ratchet.Initial
	}
	w.must(typ == want, "type %d, not %d", typ, want)
	inner := m.bytes
	if typ == ratchet.Initial {
		w.reach("send initial")
		im, err := x3dh.ParseInitialMessage(m.bytes)
		w.must(err == nil, "our own initial message: %v", err)
		w.must(im.Version == versionByte(e.family) && (im.OneTimePreKeyID != nil) == s.oneTime, "initial message header")
		inner = im.Message
	} else {
		w.reach("send ordinary")
	}
	w.must(inner[0] == versionByte(e.family), "version byte %x of the other family", inner[0])
	d := wire.Decode(inner[1 : len(inner)-8])
	for d.Next() {
		switch d.Num() {
		case 1:
			d.Fixed(m.key[:])
		case 2:
			m.counter = d.Uint32()
		default:
			d.Skip()
		}
	}
	w.must(d.Close(1, 2) == nil, "our own message: %x", inner)
	w.must(m.key == before.sending.key && m.counter == before.sending.next, "message %d is not the next", m.counter)

	// No key for two plaintexts: neither by its name nor by what it is made of.
	name := messageName{s, m.key, m.counter}
	w.must(!w.usedNames[name], "message %d twice under one ratchet key", m.counter)
	w.must(!w.usedKeys[before.sending.ck], "a message key for two plaintexts")
	w.usedNames[name], w.usedKeys[before.sending.ck] = true, true

	after := w.stored(e) // persist before you send
	w.must(after.sending.next == m.counter+1 && after.sending.ck != before.sending.ck, "the sending chain did not move")
	w.must(after.pending == (typ == ratchet.Initial), "pending prekey")
	w.history = append(w.history, m)
	return m
}

func versionByte(f ratchet.Family) byte {
	if f == ratchet.WhatsApp {
		return 0x33
	}
	return 0x34
}

var errNoPreKey = errors.New("the device has no such prekey")

// decrypt gives bytes to a device as an app would. want is the session that a
// genuine message is of. It returns a new end if a session was accepted; used
// is the one-time prekey that has to go.
func (w *world) decrypt(to int, want *session, typ ratchet.Type, b []byte) (text []byte, accepted *end, used *uint32, err error) {
	given := bytes.Clone(b)
	dst := append(make([]byte, 0, 64), "pre"...) // with room for a forgery
	defer func() {
		w.must(bytes.Equal(b, given), "a message was changed")
		if err != nil {
			w.must(accepted == nil, "a session from a message that failed")
			w.unchanged(want.ends[to], err.Error())
		}
	}()
	take := func(out []byte, err error) ([]byte, error) {
		if err != nil {
			w.must(len(out) == 3 && cap(out) == cap(dst) && &out[0] == &dst[0] && string(out) == "pre", "dst came back as %q", out)
			return nil, err
		}
		w.must(bytes.HasPrefix(out, []byte("pre")), "decrypt lost what dst held")
		return out[3:], nil
	}
	if typ == ratchet.Ordinary {
		text, err = take(want.ends[to].session.Decrypt(dst, b))
		return text, nil, nil, err
	}

	m, err := x3dh.ParseInitialMessage(b)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, s := range w.sessions {
		e := s.ends[to]
		if e == nil || !e.session.Matches(m) {
			continue
		}
		w.must(s == want, "an initial message matches another session")
		text, err = take(e.session.DecryptInitial(dst, m))
		return text, nil, nil, err
	}
	dev := w.devices[to]
	if m.SignedPreKeyID != 1 {
		return nil, nil, nil, errNoPreKey
	}
	var oneTime *x3dh.PreKey
	if m.OneTimePreKeyID != nil {
		if oneTime = dev.oneTime[*m.OneTimePreKeyID]; oneTime == nil {
			return nil, nil, nil, errNoPreKey
		}
	}
	a, err := x3dh.Respond(dev.identity, m, dev.signed, oneTime)
	if err != nil {
		return nil, nil, nil, err
	}
	rs, out, err := ratchet.Accept(dst, a, w.config(to, want.families))
	if err != nil {
		w.must(rs == nil && string(dst) == "pre", "accept failed and left something")
		return nil, nil, nil, err
	}
	text, _ = take(out, nil)
	return text, newEnd(rs, want.families[to]), m.OneTimePreKeyID, nil
}

// deliver gives a genuine message to its receiver, perhaps in other bytes that
// say the same.
func (w *world) deliver(m *message, b []byte) {
	to := 1 - m.from
	e := m.session.ends[to]
	if e == nil {
		w.accept(m, b)
		return
	}
	v := e.receiver.judge(m)
	w.reach(string(v))
	text, accepted, _, err := w.decrypt(to, m.session, m.typ, b)
	w.must(accepted == nil, "a second session from one handshake")
	w.must(errors.Is(err, v.err()), "a message that %s gave %v", v, err)
	if err == nil {
		w.must(!m.read, "a message was read twice")
		w.must(bytes.Equal(text, m.text), "read %x, sent %x", text, m.text)
		m.read = true
		w.counts(e, m)
		e.receiver.read(m)
		e.answered = true
		w.must(!w.stored(e).pending, "still pending after an answer") // persist before you acknowledge
	}
}

// counts checks how many messages are said to be missing before one that was read: each that was
// written before it and was not read, once.
func (w *world) counts(e *end, m *message) {
	missing := max(0, m.number-e.told)
	w.must(int(e.session.Missing()) == missing, "%d messages are said to be missing, not %d", e.session.Missing(), missing)
	e.told = max(e.told, m.number+1)
	if missing > 0 {
		w.reach("missing")
	}
}

// accept delivers the first message that the responder gets.
func (w *world) accept(m *message, b []byte) {
	to := 1 - m.from
	w.must(m.typ == ratchet.Initial, "an ordinary message before the handshake")
	text, e, used, err := w.decrypt(to, m.session, m.typ, b)
	w.must(err == nil, "a first message gave %v", err)
	w.must(e != nil && bytes.Equal(text, m.text), "read %x, sent %x", text, m.text)
	w.must((used != nil) == m.session.oneTime, "one-time prekey")
	if used != nil {
		delete(w.devices[to].oneTime, *used)
		w.reach("accept with a one-time prekey")
	} else {
		w.reach("accept without a one-time prekey")
	}
	m.read = true
	w.counts(e, m)
	e.receiver.read(m)
	e.answered = true
	m.session.ends[to] = e
	w.stored(e)
}

// forge gives a device bytes that nobody sent. They have to fail, in a way that
// tells the caller what to do, and to change nothing.
func (w *world) forge(m *message, b []byte) {
	to := 1 - m.from
	if m.session.ends[to] == nil && m.typ == ratchet.Ordinary {
		return
	}
	prekeys := len(w.devices[to].oneTime)
	_, _, _, err := w.decrypt(to, m.session, m.typ, b)
	w.must(err != nil, "a forgery was read: %x", b)
	w.must(slices.ContainsFunc(refusals, func(r error) bool { return errors.Is(err, r) }), "a forgery gave %v", err)
	w.must(len(w.devices[to].oneTime) == prekeys, "a forgery burnt a prekey")
}

var refusals = []error{
	ratchet.ErrAuthentication, ratchet.ErrDuplicate, ratchet.ErrTooFarAhead, ratchet.ErrChainExhausted,
	ratchet.ErrMalformed, ratchet.ErrVersion, ratchet.ErrIdentityMismatch,
	x3dh.ErrMalformed, x3dh.ErrVersion, x3dh.ErrInvalidKey, errNoPreKey,
}
