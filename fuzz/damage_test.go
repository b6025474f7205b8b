package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// A party is a device as a client has it: its rows, and what the server has of it.
type party struct {
	t         testing.TB
	at        sesame.Address
	family    ratchet.Family
	rows      sesame.Memory
	dev       *sesame.Device
	published *sesame.Publication
}

func newParty(t testing.TB, family ratchet.Family, user string) *party {
	p := &party{t: t, at: sesame.Address{User: user, Device: 1}, family: family}
	p.do(func(tx sesame.Tx) (err error) {
		now := func() time.Time { return time.Unix(1_700_000_000, 0) }
		if p.dev, err = sesame.Open(tx, sesame.Config{Now: now, Family: family}); err == nil {
			p.published, err = p.dev.Publish(tx, sesame.PreKeyBatch-2)
		}
		return err
	})
	return p
}

func (p *party) do(f func(tx sesame.Tx) error) {
	p.t.Helper()
	require.NoError(p.t, p.rows.Do(f))
}

func (p *party) start(o *party, oneTime bool) {
	info := x3dh.BundleInfo{RegistrationID: o.published.RegistrationID, DeviceID: 1, IdentityKey: o.published.IdentityKey, SignedPreKey: o.published.SignedPreKey}
	if oneTime {
		info.OneTimePreKey = &o.published.OneTimePreKeys[0]
	}
	b, err := x3dh.NewBundle(info)
	require.NoError(p.t, err)
	p.do(func(tx sesame.Tx) error { return p.dev.Start(tx, o.at, b) })
}

// writes is a message to o, logged if it has a timestamp.
func (p *party) writes(o *party, timestamp uint64, text string) (m sesame.Message) {
	p.do(func(tx sesame.Tx) error {
		encrypt := p.dev.Encrypt
		if timestamp != 0 {
			encrypt = func(tx sesame.Tx, b []byte, to ...sesame.Address) ([]sesame.Message, error) {
				return p.dev.EncryptLogged(tx, timestamp, b, to...)
			}
		}
		list, err := encrypt(tx, []byte(text), o.at)
		if err == nil {
			m = list[0]
		}
		return err
	})
	require.NoError(p.t, m.Err)
	return m
}

func (p *party) reads(o *party, m sesame.Message, text string) {
	p.t.Helper()
	p.do(func(tx sesame.Tx) error {
		r, err := p.dev.Decrypt(tx, o.at, m.Type, m.Bytes)
		require.NoError(p.t, err)
		require.NoError(p.t, r.Err)
		require.Equal(p.t, text, string(r.Plaintext))
		return nil
	})
}

// says has o read what p writes.
func (p *party) says(o *party, text string) { o.reads(p, p.writes(o, 0, text), text) }

// A kind is a message of some kind on its way, in the state that its receiver is in.
type kind struct {
	to      *party
	message []byte
	text    string

	// take is what a client does with it.
	take func(tx sesame.Tx, b []byte) (plaintext []byte, verdict, err error)

	// harmless says which bytes nothing authenticates, and why. A change in them
	// may be taken, and changes nothing of what is read.
	harmless []span

	// uses says which rows a refused copy may change all the same, and by which
	// section; it is rolled back, for the next copy to find what the first one did.
	uses []string

	// next is a message that comes after it.
	next func()
}

// A span is bytes of a message.
type span struct {
	from, to int
	what     string
}

// field is a protobuf field, with its tag, in b[from:].
func field(t testing.TB, b []byte, from, number int, what string) span {
	varint := func(at int) (v, end int) {
		for shift := 0; ; shift += 7 {
			v |= int(b[at]&0x7f) << shift
			if at++; b[at-1] < 0x80 {
				return v, at
			}
		}
	}
	for at := from; at < len(b); {
		tag, end := varint(at)
		v, end := varint(end)
		if tag&7 == 2 {
			end += v
		}
		if tag>>3 == number {
			return span{at, end, what}
		}
		at = end
	}
	t.Fatalf("no field %d", number)
	return span{}
}

func decrypting(from, to *party, typ ratchet.Type) func(tx sesame.Tx, b []byte) ([]byte, error, error) {
	return func(tx sesame.Tx, b []byte) ([]byte, error, error) {
		r, err := to.dev.Decrypt(tx, from.at, typ, b)
		if err != nil {
			return nil, nil, err
		}
		return r.Plaintext, r.Err, nil
	}
}

// pairwise is m, on its way from one to the other.
func pairwise(from, to *party, m sesame.Message, text string) *kind {
	return &kind{to: to, message: m.Bytes, text: text, take: decrypting(from, to, m.Type),
		next: func() { from.says(to, "after it") }}
}

// outside is what nothing authenticates of an initial message: SPEC.md §4.5.
func (k *kind) outside(t testing.TB, exists bool) *kind {
	k.harmless = []span{{0, 1, "low half of the version"}, field(t, k.message, 1, 5, "registration ID")}
	if exists {
		k.harmless = append(k.harmless, field(t, k.message, 1, 1, "prekey ID"), field(t, k.message, 1, 6, "signed prekey ID"))
	}
	return k
}

const friends = "friends"

// groupOf is a message for the group of both, with the pairwise one that brings its chain.
func groupOf(from, to *party) *sesame.GroupMessage {
	var m *sesame.GroupMessage
	from.do(func(tx sesame.Tx) (err error) {
		m, err = from.dev.EncryptGroup(tx, 0, sesame.Group{Name: friends, Devices: []sesame.Address{to.at}}, []byte(text), bytes.Clone)
		return err
	})
	return m
}

// distribution is the pairwise message that brings a chain, and what its receiver does.
func distribution(from, to *party) (k *kind, first *sesame.GroupMessage) {
	first = groupOf(from, to)
	k = pairwise(from, to, first.Messages[0], "")
	k.take = func(tx sesame.Tx, b []byte) ([]byte, error, error) {
		r, err := to.dev.Decrypt(tx, from.at, first.Messages[0].Type, b)
		if err != nil || r.Err != nil {
			return nil, r.Err, err
		}
		released, err := to.dev.ProcessDistribution(tx, r, friends, r.Plaintext)
		if err == nil && len(released) > 0 {
			err = released[0].Err
		}
		return nil, nil, err
	}
	k.next = func() {
		group(from, to, first).must(from.t)
		from.do(func(tx sesame.Tx) error { return from.dev.Distributed(tx, friends, first.Chain, to.at) })
	}
	return k, first
}

func group(from, to *party, m *sesame.GroupMessage) *kind {
	named := ""
	if from.family == ratchet.WhatsApp { // where nothing in a message says which group it is for
		named = friends
	}
	return &kind{to: to, message: m.Ciphertext, text: text, uses: []string{"sotto/held/"},
		take: func(tx sesame.Tx, b []byte) ([]byte, error, error) {
			r, err := to.dev.DecryptGroup(tx, from.at, 1, named, b)
			if err != nil {
				return nil, nil, err
			}
			return r.Plaintext, r.Err, nil
		},
		next: func() { group(from, to, groupOf(from, to)).must(from.t) }}
}

// must takes the message as it is.
func (k *kind) must(t testing.TB) {
	k.to.do(func(tx sesame.Tx) error {
		plaintext, verdict, err := k.take(tx, k.message)
		require.NoError(t, verdict)
		require.Equal(t, k.text, string(plaintext))
		return err
	})
}

// talking is two devices that have written to each other.
func talking(t testing.TB, family ratchet.Family) (alice, bob *party) {
	alice, bob = newParty(t, family, "alice"), newParty(t, family, "bob")
	alice.start(bob, true)
	alice.says(bob, "hello")
	bob.says(alice, "hello")
	alice.says(bob, "hello again")
	return alice, bob
}

const text = "the plaintext of the message"

// kinds is every kind of message that a device takes.
var kinds = []struct {
	name string
	make func(t testing.TB, family ratchet.Family) *kind
}{
	{"first message", func(t testing.TB, family ratchet.Family) *kind {
		alice, bob := newParty(t, family, "alice"), newParty(t, family, "bob")
		alice.start(bob, true)
		return pairwise(alice, bob, alice.writes(bob, 0, text), text).outside(t, false)
	}},
	{"first message, no one-time prekey", func(t testing.TB, family ratchet.Family) *kind {
		alice, bob := newParty(t, family, "alice"), newParty(t, family, "bob")
		alice.start(bob, false)
		return pairwise(alice, bob, alice.writes(bob, 0, text), text).outside(t, false)
	}},
	{"second one before an answer", func(t testing.TB, family ratchet.Family) *kind {
		alice, bob := newParty(t, family, "alice"), newParty(t, family, "bob")
		alice.start(bob, true)
		alice.says(bob, "hello")
		return pairwise(alice, bob, alice.writes(bob, 0, text), text).outside(t, true)
	}},
	{"first answer", func(t testing.TB, family ratchet.Family) *kind {
		alice, bob := newParty(t, family, "alice"), newParty(t, family, "bob")
		alice.start(bob, true)
		alice.says(bob, "hello")
		return pairwise(bob, alice, bob.writes(alice, 0, text), text)
	}},
	{"next message of a chain", func(t testing.TB, family ratchet.Family) *kind {
		alice, bob := talking(t, family)
		return pairwise(alice, bob, alice.writes(bob, 0, text), text)
	}},
	{"late message, stored key", func(t testing.TB, family ratchet.Family) *kind {
		alice, bob := talking(t, family)
		late := alice.writes(bob, 0, text)
		alice.says(bob, "overtakes it")
		return pairwise(alice, bob, late, text)
	}},
	{"late message of an archived session", func(t testing.TB, family ratchet.Family) *kind {
		alice, bob := talking(t, family)
		late := alice.writes(bob, 0, text)
		alice.do(func(tx sesame.Tx) error { return alice.dev.Reset(tx, bob.at) })
		alice.start(bob, false)
		alice.says(bob, "in another session")
		bob.says(alice, "in that one")
		return pairwise(alice, bob, late, text)
	}},
	{"distribution of a group's chain", func(t testing.TB, family ratchet.Family) *kind {
		k, _ := distribution(talking(t, family))
		return k
	}},
	{"group message", func(t testing.TB, family ratchet.Family) *kind {
		alice, bob := talking(t, family)
		k, first := distribution(alice, bob)
		k.must(t)
		return group(alice, bob, first)
	}},
	{"late group message, stored key", func(t testing.TB, family ratchet.Family) *kind {
		alice, bob := talking(t, family)
		k, first := distribution(alice, bob)
		k.must(t)
		group(alice, bob, groupOf(alice, bob)).must(t)
		return group(alice, bob, first)
	}},
	{"retry request", func(t testing.TB, family ratchet.Family) *kind {
		alice, bob := talking(t, family)
		m := alice.writes(bob, 7, text)
		m.Bytes = flipped(m.Bytes, 8*len(m.Bytes)-1)
		var request *sesame.Message
		bob.do(func(tx sesame.Tx) error {
			r, err := bob.dev.Decrypt(tx, alice.at, m.Type, m.Bytes)
			if err == nil {
				request, err = bob.dev.RetryRequest(tx, r, m.Timestamp)
			}
			return err
		})
		require.NotNil(t, request, "the message was read")

		// Its answer is another message, in a session that has to be started anew.
		k := &kind{to: alice, message: request.Bytes, uses: []string{"sotto/peer/", "sotto/session/", "sotto/retry/", "sotto/sent/"}}
		k.take = func(tx sesame.Tx, b []byte) ([]byte, error, error) {
			answer, err := alice.dev.HandleRetry(tx, bob.at, 1, b, allow)
			if errors.Is(answer.Err, sesame.ErrNoSession) {
				answer.Err = nil
			}
			return nil, answer.Err, err
		}
		k.harmless = []span{{4, 39, "ratchet key"}}
		k.next = func() {
			alice.start(bob, false)
			var answer sesame.Message
			alice.do(func(tx sesame.Tx) (err error) {
				answer, err = alice.dev.HandleRetry(tx, bob.at, 1, request.Bytes, allow)
				return err
			})
			require.NoError(t, answer.Err)
			bob.reads(alice, answer, text)
		}
		return k
	}},
	{"delivery in a frame", func(t testing.TB, family ratchet.Family) *kind {
		alice, bob := talking(t, family)
		d := &envelope.Deliver{Header: envelope.Header{Conversation: [16]byte{1}, ID: [16]byte{2}, Sender: deviceOf(alice.at), Stamp: 300},
			Untrusted: envelope.Untrusted{MailboxEpoch: 1, Position: 300, Epoch: 1, Sequence: 300, Time: 1_700_000_000_000}}
		packed, err := envelope.Pack(nil, &d.Header, []byte(text))
		require.NoError(t, err)
		m := alice.writes(bob, 0, string(packed))
		d.Type, d.Ciphertext = uint8(m.Type), m.Bytes
		k := pairwise(alice, bob, m, text)
		k.message, err = d.AppendBinary(nil)
		require.NoError(t, err)
		k.take = func(tx sesame.Tx, b []byte) ([]byte, error, error) {
			m, err := new(envelope.Frame).Parse(b)
			if err != nil {
				return nil, err, nil
			}
			d, ok := m.(*envelope.Deliver)
			if !ok {
				return nil, envelope.ErrMalformed, nil // of no use to a device here
			}
			from := sesame.Address{User: strings.TrimRight(string(d.Header.Sender.User[:]), "\x00"), Device: d.Header.Sender.ID}
			r, err := bob.dev.Decrypt(tx, from, ratchet.Type(d.Type), d.Ciphertext)
			if err != nil || r.Err != nil {
				return nil, r.Err, err
			}
			body, err := envelope.Unpack(&d.Header, envelope.Sender(d.Header.Sender), r.Plaintext)
			return body, err, nil
		}
		// Another header than the one inside: R-8.10-3.
		k.uses = []string{"sotto/session/", "sotto/skipped/"}
		body := field(t, k.message, 1, 3, "")
		for n := 8; n <= 12; n++ {
			k.harmless = append(k.harmless, field(t, k.message, body.from+3, n, "the server's word"))
		}
		return k
	}},
}

func allow(uint64) (bool, error) { return true, nil }

func deviceOf(a sesame.Address) (d envelope.Device) {
	copy(d.User[:], a.User)
	d.ID = a.Device
	return d
}

// verdicts are what a device may say of a damaged message.
var verdicts = []error{sesame.ErrUndecryptable, sesame.ErrDuplicate, sesame.ErrUnknownPreKey, sesame.ErrNoSession, sesame.ErrHeld, sesame.ErrAddress,
	sesame.ErrRetryRefused, envelope.ErrMalformed, envelope.ErrVersion, envelope.ErrTooLarge, envelope.ErrMismatch}

// A watched transaction notes what is written.
type watched struct {
	sesame.Tx
	wrote []string
}

func (w *watched) Put(key string, value []byte, rev uint64) error {
	w.wrote = append(w.wrote, key)
	return w.Tx.Put(key, value, rev)
}

func (w *watched) Delete(key string, rev uint64) error {
	w.wrote = append(w.wrote, key)
	return w.Tx.Delete(key, rev)
}

var errUndone = errors.New("undone")

// damage is what became of the damaged copies of a message.
type damage struct {
	truncated, flipped, refused, harmless int

	used int            // refused, and k.uses has changed
	hit  map[string]int // harmless, by what is other
}

// damaged gives k a copy of its message. at is the byte that is other, len(b) if b was cut there.
func (k *kind) damaged(t testing.TB, b []byte, at int, count *damage) {
	err := k.to.rows.Do(func(tx sesame.Tx) error {
		w := &watched{Tx: tx}
		plaintext, verdict, err := k.take(w, b)
		if err != nil {
			return err
		}
		if verdict == nil {
			count.harmless++
			named := ""
			for _, s := range k.harmless {
				if at < len(b) && s.from <= at && at < s.to {
					named = s.what
				}
			}
			if count.hit[named]++; named == "" || string(plaintext) != k.text {
				t.Fatalf("byte %d of %d: taken, and reads %q", at, len(k.message), plaintext)
			}
			return errUndone
		}
		count.refused++
		known := false
		for _, v := range verdicts {
			known = known || errors.Is(verdict, v)
		}
		if !known || plaintext != nil {
			t.Fatalf("byte %d of %d: refused as %v, with %q", at, len(k.message), verdict, plaintext)
		}
		for _, key := range w.wrote {
			allowed := false
			for _, prefix := range k.uses {
				allowed = allowed || strings.HasPrefix(key, prefix)
			}
			if !allowed {
				t.Fatalf("byte %d of %d: refused as %v, and writes %s", at, len(k.message), verdict, key)
			}
		}
		if len(w.wrote) > 0 {
			count.used++
			return errUndone
		}
		return nil
	})
	if err != nil && !errors.Is(err, errUndone) {
		t.Fatalf("byte %d of %d: %v", at, len(k.message), err)
	}
}

// all is the rows of a device.
func (p *party) all() map[string]string {
	all := map[string]string{}
	p.do(func(tx sesame.Tx) error {
		for key, err := range tx.Scan("") {
			if err != nil {
				return err
			}
			v, rev, err := tx.Get(key)
			if err != nil {
				return err
			}
			all[key] = fmt.Sprint(rev, v)
		}
		return nil
	})
	return all
}

// R-1-1, R-1-2, R-10.2-3, R-10.5-3: every truncation and every bit of a message of every kind, as a
// client takes it from its store: an error with a name, or no change in what is
// read; no row changes; and then the genuine one is read, and the next.
func TestDamage(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	step := 1
	if testing.Short() {
		step = 11
	}
	for _, family := range []ratchet.Family{ratchet.Signal, ratchet.WhatsApp} {
		for _, v := range kinds {
			name := v.name
			if family == ratchet.WhatsApp {
				name += ", WhatsApp"
			}
			t.Run(name, func(t *testing.T) {
				require.True(t, strings.Contains(string(readme), "\n| "+v.name+" | "), "README.md has no row for it")
				k := v.make(t, family)
				before := k.to.all()
				count := damage{hit: map[string]int{}}
				for n := 0; n < len(k.message); n += step {
					k.damaged(t, bytes.Clone(k.message[:n]), n, &count)
					count.truncated++
				}
				for bit := 0; bit < 8*len(k.message); bit += step {
					k.damaged(t, flipped(k.message, bit), bit/8, &count)
					count.flipped++
				}
				require.Equal(t, before, k.to.all())
				for _, s := range k.harmless {
					require.True(t, testing.Short() || count.hit[s.what] > 0, "%s is authenticated", s.what)
				}
				k.must(t)
				k.next()
				t.Logf("| %s | %d | %d | %d | %d | %d | %v |", name, len(k.message), count.truncated+count.flipped, count.refused, count.used, count.harmless, count.hit)
			})
		}
	}
}
