package sesame

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// R-10.3-3: a signed prekey that was made while the clock was ahead is replaced
// when it is right again; what was written to it still opens.
func TestSignedPreKeyOfTheFuture(t *testing.T) {
	c := &clock{start.Add(365 * 24 * time.Hour)}
	bob := newApp(t, "bob", 1, c)
	ahead := bob.published.SignedPreKey
	alice := newApp(t, "alice", 1, c)
	alice.start(bob)
	m := alice.encrypt(bob, "hello")
	c.now = c.now.Add(-SignedPreKeyAge)
	bob.publish()
	require.Equal(t, ahead, bob.published.SignedPreKey, "not over a week")
	c.now = start
	bob.publish()
	require.Equal(t, ahead.ID+1, bob.published.SignedPreKey.ID)
	bob.publish()
	require.Equal(t, ahead.ID+1, bob.published.SignedPreKey.ID, "once")
	bob.reads(alice, m, "hello")
}

// setUint sets the varint at a path of fields of a protobuf message.
func setUint(t testing.TB, b []byte, v uint64, path ...int) (out []byte) {
	t.Helper()
	if len(path) == 1 {
		out = wire.AppendUint(nil, path[0], v)
	}
	for len(b) > 0 {
		num, _, n := protowire.ConsumeField(b)
		require.Positive(t, n)
		switch {
		case int(num) != path[0]:
			out = append(out, b[:n]...)
		case len(path) > 1:
			_, _, header := protowire.ConsumeTag(b)
			inner, _ := protowire.ConsumeBytes(b[header:])
			out = wire.AppendBytes(out, path[0], setUint(t, inner, v, path[1:]...))
		}
		b = b[n:]
	}
	return out
}

// A session whose chain is at its end is not written in any more: a new one is
// needed.
func TestEncryptAtTheEndOfAChain(t *testing.T) {
	alice, bob, _ := pair(t)
	key := rowSession(bob.at, alice.baseKey(bob))
	alice.do(func(tx Tx) error {
		head, rev, err := tx.Get(key)
		require.NoError(t, err)
		return tx.Put(key, setUint(t, bytes.Clone(head), math.MaxUint32, 6, 3, 1), rev)
	})
	before := alice.rows()
	m := alice.encryptErr(bob, "one more")
	require.Equal(t, Message{To: bob.at, Err: ErrNoSession}, m)
	require.Equal(t, before, alice.rows())
	alice.start(bob)
	bob.reads(alice, alice.encrypt(bob, "again"), "again")
}

// H29, R-10.6-2: while another key waits nothing is encrypted, not in a session with the
// trusted one either.
func TestTrustedSessionWhileAKeyWaits(t *testing.T) {
	alice, bob, c := pair(t)
	record := alice.exports(bob.at)
	alice = fresh(alice)
	old := newSnapshot(alice)
	old.do(func(tx Tx) error { return old.ImportFinal(tx, bob.at, record) })
	require.NoError(t, old.encryptErr(bob, "").Err)

	old.do(func(tx Tx) error { return old.Reset(tx, bob.at) })
	again := newApp(t, "bob", 1, c)
	old.start(again)
	old.do(func(tx Tx) error {
		if err := old.Reset(tx, bob.at); err != nil {
			return err
		}
		return forgetRow(tx, rowSession(bob.at, baseOf(t, record)))
	})
	old.do(func(tx Tx) error { // the session is not there any more
		p, rev, err := old.peer(tx, bob.at)
		require.NoError(t, err)
		p.sessions = p.sessions[:1]
		return put(tx, rowPeer(bob.at), p, rev)
	})
	old.do(func(tx Tx) error { return old.ImportFinal(tx, bob.at, record) })
	old.do(func(tx Tx) error {
		p, err := old.Peer(tx, bob.at)
		require.True(t, p.Connected)
		require.Equal(t, bob.published.IdentityKey, p.Identity)
		require.Equal(t, again.published.IdentityKey, p.Changed)
		return err
	})
	require.ErrorIs(t, old.encryptErr(bob, "").Err, ErrIdentityChanged)
}

func baseOf(t testing.TB, record []byte) x3dh.PublicKey {
	t.Helper()
	d := wire.Decode(record)
	require.True(t, d.Next())
	s, err := ratchet.ParseSession(d.Bytes(), ratchet.Signal)
	require.NoError(t, err)
	return s.BaseKey()
}

// R-10.8-4: whatever the order of the prekeys that come along, new IDs are above
// the highest.
func TestAdoptDescending(t *testing.T) {
	c := &clock{start}
	identity := x3dh.GenerateIdentityKey()
	keys, err := x3dh.GeneratePreKeys(500, 2)
	require.NoError(t, err)
	var signed []*x3dh.SignedPreKey
	for _, id := range []uint32{71, 70} {
		k, err := x3dh.GenerateSignedPreKey(identity, id, c.now)
		require.NoError(t, err)
		signed = append(signed, k)
	}
	a := &app{t: t, at: Address{"alice", 1}, store: new(Memory)}
	a.do(func(tx Tx) (err error) {
		if a.Device, err = Open(tx, Config{Now: c.Now}); err != nil {
			return err
		}
		return a.Adopt(tx, identity, 77, []*x3dh.PreKey{keys[1], keys[0]}, signed)
	})
	// Not again after a conflict: with an ID that is taken it would never end.
	require.NoError(t, a.store.Do(func(tx Tx) (err error) { a.published, err = a.Publish(tx, 0); return err }))
	require.Equal(t, uint32(502), a.published.OneTimePreKeys[0].ID)
	require.Equal(t, signed[0].Public(), a.published.SignedPreKey)
	c.now = c.now.Add(SignedPreKeyAge + 1)
	a.publish()
	require.Equal(t, uint32(72), a.published.SignedPreKey.ID)
}

// R-10.5-1: the verdict is that of the session that knows the ratchet key, and of a
// message that is none the message's.
func TestVerdictOfTheSessionThatKnows(t *testing.T) {
	alice, bob, _ := pair(t)
	old := alice.sendsN(bob, 1)[0]
	bob.reads(alice, old, "0")
	alice.start(bob)
	bob.reads(alice, alice.encrypt(bob, "in another session"), "in another session")
	m, err := ratchet.ParseMessage(old.Bytes)
	require.NoError(t, err)
	b := wire.AppendBytes([]byte{0x34}, 1, m.RatchetKey.Bytes())
	b = wire.AppendUint(wire.AppendUint(b, 2, ratchet.MaxForwardJump+10), 3, 0)
	b = append(wire.AppendBytes(b, 4, make([]byte, 16)), make([]byte, 8)...)
	bob.refuses(alice, Message{Type: ratchet.Ordinary, Bytes: b}, ratchet.ErrTooFarAhead)
	b[0] = 0x44
	bob.refuses(alice, Message{Type: ratchet.Ordinary, Bytes: b}, ratchet.ErrVersion)
}

// R23: a row that names a session twice is none.
func TestPeerRowRefused(t *testing.T) {
	alice, bob, _ := pair(t)
	row := []byte(alice.rows()[rowPeer(bob.at)])
	_, err := parsePeer(row)
	require.NoError(t, err)
	base := alice.baseKey(bob).Bytes()
	_, err = parsePeer(wire.AppendBytes(bytes.Clone(row), 3, base))
	require.Error(t, err)
	_, err = parsePeer(wire.AppendBytes(bytes.Clone(row), 3, x3dh.GenerateIdentityKey().Public().Bytes()))
	require.NoError(t, err)
}

// R-10.6-1: what waits for the first confirmation waits on when the policy has
// changed; no other key is trusted in its place.
func TestFirstKeyWaitsUnderAnotherPolicy(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.config.Trust = ConfirmFirst
	alice.start(bob)
	alice.config.Trust = TrustOnFirstUse
	for _, next := range []*app{bob, newApp(t, "bob", 1, c)} {
		alice.start(next)
		alice.do(func(tx Tx) error {
			p, err := alice.Peer(tx, bob.at)
			require.Zero(t, p.Identity)
			require.Equal(t, next.published.IdentityKey, p.Changed)
			return err
		})
	}
	require.ErrorIs(t, alice.encryptErr(bob, "").Err, ErrIdentityChanged)
}

// R23, E09: an address in the key of a row has one form, and no device number over 127.
func TestAddressForm(t *testing.T) {
	for key, good := range map[string]bool{
		"6a.1": true, "6a.127": true, "6a.0": true, "6A.1": false, "6a.01": false, "6a.+1": false, "6a": false,
		"6a.128": false, ".1": false, "6.1": false, "6a.": false, "6a.4294967297": false,
		strings.Repeat("6a", 256) + ".1": true, strings.Repeat("6a", 257) + ".1": false,
	} {
		_, err := parseAddress(key)
		require.Equal(t, good, err == nil, key)
	}
}

// The index of Memory: a chunk that gets too long becomes two.
func TestMemoryChunks(t *testing.T) {
	var x keyIndex
	for i := range maxChunk {
		x.insert(fmt.Sprintf("%04d", i))
	}
	require.Len(t, x.chunks, 1)
	x.insert("0000x")
	require.Len(t, x.chunks, 2)
	require.Len(t, x.chunks[0], maxChunk/2)
	require.Len(t, x.chunks[1], maxChunk/2+1)
}

// 256 KiB wait, and not a byte more.
func TestHeldBytes(t *testing.T) {
	r := new(heldRecord)
	require.True(t, r.add(held{message: make([]byte, 256<<10-1)}))
	require.True(t, r.add(held{message: make([]byte, 1)}))
	require.False(t, r.add(held{message: make([]byte, 1), timestamp: 1}))
}

// R23: rows of groups have no other fields, and no more than they may.
func TestGroupRowsRefused(t *testing.T) {
	key := x3dh.GenerateIdentityKey().Public()
	waiting := new(heldRecord)
	require.True(t, waiting.add(held{start, 7, "friends", []byte("message")}))
	sender := senderkey.NewSender(senderkey.Config{})
	receiver := senderkey.NewReceiver(senderkey.Signal)
	five := []string{"a", "b", "c", "d", "e"}
	starts := []chainStart{{1, 0}, {2, 0}, {3, 0}, {4, 0}, {5, 0}}
	parse := map[string]func(b []byte) error{
		"group":    func(b []byte) error { _, err := parseGroup(b, senderkey.Config{}); return err },
		"receiver": func(b []byte) error { _, err := parseReceiver(b, senderkey.Signal); return err },
		"chain":    func(b []byte) error { _, err := parseChain(b); return err },
		"held":     func(b []byte) error { _, err := parseHeld(b); return err },
	}
	for _, c := range []struct {
		name string
		r    record
		good bool
	}{
		{"group", &groupRecord{3, sender}, true},
		{"receiver", &receiverRecord{receiver, five}, true},
		{"receiver", &receiverRecord{receiver, append(five[:5:5], "f")}, false},
		{"receiver", &receiverRecord{receiver, []string{"a", "b", "a"}}, false},
		{"receiver", &receiverRecord{receiver, []string{""}}, false},
		{"chain", &chainRecord{key, "friends", starts}, true},
		{"chain", &chainRecord{key, "friends", append(starts[:5:5], chainStart{6, 0})}, false},
		{"chain", &chainRecord{key, "friends", []chainStart{{1, 0}, {1, 2}}}, false},
		{"held", waiting, true},
	} {
		b := encoded(t, c.r)
		require.Equal(t, c.good, parse[c.name](b) == nil, "%s", c.name)
		for _, more := range [][]byte{{0x38, 1}, {0x38, 0x50}, {0x3a, 0}} { // field 7
			require.Error(t, parse[c.name](append(bytes.Clone(b), more...)), "%s %x", c.name, more)
		}
	}
	inner := wire.AppendUint(wire.AppendUint(wire.AppendUint(nil, 1, 1), 2, 1), 7, 1)
	good := encoded(t, &chainRecord{key, "friends", starts[:1]})
	require.Error(t, parse["chain"](append(good, wire.AppendBytes(nil, 3, inner)...)))
	message := wire.AppendUint(wire.AppendBytes(wire.AppendUint(nil, 1, 1), 4, nil), 7, 1)
	require.Error(t, parse["held"](wire.AppendBytes(nil, 1, message)))
	require.True(t, validGroup(string(make([]byte, maxGroupName))))
}

// What was held and is damaged keeps no chain away; R-10.10-9: what is held for
// other chains stays held.
func TestHeldRowDamagedOrKept(t *testing.T) {
	all, c := people(t, "bob", "alice")
	bob, alice := all[0], all[1]
	friends := alice.writes(groupOf("friends", bob), 0, "to friends")
	others := alice.writes(groupOf("others", bob), 0, "to others")
	unknown := bare(t, senderkey.NewChain(senderkey.Signal, idOf(t, friends)), "of another chain")
	for _, m := range []*GroupMessage{unknown, others, friends} {
		require.Equal(t, ErrHeld, bob.opens(alice, "", m).Err)
	}
	_, released := bob.takes(alice, friends.to(bob))
	require.Len(t, released, 1)
	var waiting *heldRecord
	bob.do(func(tx Tx) (err error) { waiting, _, err = bob.held(tx, alice.at); return err })
	require.Len(t, waiting.messages, 2)
	require.Equal(t, []byte(unknown.Ciphertext), waiting.messages[0].message)
	require.Equal(t, []byte(others.Ciphertext), waiting.messages[1].message)

	bob.damage(rowHeld(alice.at))
	_, released = bob.takes(alice, others.to(bob))
	require.Empty(t, released)
	bob.readsGroup(alice, "others", others, "to others")

	// Some are too old.
	one := alice.writes(groupOf("one", bob), 0, "")
	require.Equal(t, ErrHeld, bob.opens(alice, "", one).Err)
	c.now = c.now.Add(time.Hour)
	two := alice.writes(groupOf("two", bob), 0, "")
	require.Equal(t, ErrHeld, bob.opens(alice, "", two).Err)
	c.now = start.Add(heldAge)
	bob.publish()
	r, err := parseHeld([]byte(bob.rows()[rowHeld(alice.at)]))
	require.NoError(t, err)
	require.Len(t, r.messages, 1)
	require.Equal(t, []byte(two.Ciphertext), r.messages[0].message)
}

func idOf(t testing.TB, m *GroupMessage) senderkey.DistributionID {
	t.Helper()
	p, err := senderkey.ParseMessage(m.Ciphertext, senderkey.Signal)
	require.NoError(t, err)
	return p.ID
}

// G07, R-11.4-4: a message that the device did not sign is refused, and is no
// plaintext.
func TestGroupMessageForged(t *testing.T) {
	all, _ := people(t, "bob", "alice")
	bob, alice := all[0], all[1]
	m := alice.writes(groupOf("friends", bob), 0, "genuine")
	bob.distributed(alice, m)
	forged := &GroupMessage{Ciphertext: bytes.Clone(m.Ciphertext)}
	forged.Ciphertext[len(forged.Ciphertext)-9] ^= 1
	bob.refusesGroup(alice, "friends", forged, ErrUndecryptable)
	bob.refusesGroup(alice, "friends", forged, senderkey.ErrAuthentication)
	bob.readsGroup(alice, "friends", m, "genuine")
}
