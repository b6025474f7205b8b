package peer

import (
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

var families = map[string]ratchet.Family{"signal": ratchet.Signal, "whatsapp": ratchet.WhatsApp}

// with returns the letter with other bytes.
func (l *letter) with(ciphertext []byte) *letter {
	c := *l
	c.ciphertext = hex.EncodeToString(ciphertext)
	return &c
}

func (l *letter) bytes() []byte { return unhex(l.to.t, l.ciphertext) }

// record is the sessions of d with other.
func (d *device) record(other *device) *record {
	d.t.Helper()
	b := unhex(d.t, d.ok("exportSession", m{"address": other.address})["record"].(string))
	r, err := parseRecord(b)
	require.NoError(d.t, err)
	return r
}

// TestConversation: two devices in two processes, of either family each, with
// and without a one-time prekey; loss, repetition and reordering in both
// directions, and both ratchets turning.
func TestConversation(t *testing.T) {
	for a, af := range families {
		for b, bf := range families {
			for _, preKey := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s to %s, one-time prekey %v", a, b, preKey), func(t *testing.T) {
					alice, bob := newPair(t, af, bf)
					converse(t, alice, bob, m{"preKey": preKey})
					carol := newDevice(alice.client, "carol", nil) // a second party in the process
					converse(t, bob, carol, m{"preKey": preKey, "preKeyId": 0, "signedPreKeyId": 1<<32 - 1})
				})
			}
		}
	}
}

func converse(t *testing.T, alice, bob *device, bundle m) {
	t.Helper()
	none := m{"exists": false, "hasCurrentState": false, "size": 0.0}
	require.Equal(t, none, alice.ok("sessionInfo", m{"address": bob.address}))
	alice.start(bob, bundle)
	a0, a1, a2 := alice.send(bob, "zero"), alice.send(bob, ""), alice.send(bob, "two")
	require.Equal(t, []float64{3, 3, 3}, []float64{a0.typ, a1.typ, a2.typ})
	require.Equal(t, none, bob.ok("sessionInfo", m{"address": alice.address}))
	a1.arrives()
	a0.arrives()
	a1.refused("DuplicatedMessage")

	b0, b1 := bob.send(alice, "reply"), bob.send(alice, "reply again")
	require.Equal(t, 2.0, b0.typ)
	b1.arrives()
	a3 := alice.send(bob, "acknowledged")
	require.Equal(t, 2.0, a3.typ, "no PreKey messages after the first answer")
	a3.arrives()
	a2.arrives() // a PreKey message, late
	b0.arrives()
	for i := range 12 {
		x := alice.send(bob, fmt.Sprint("turn ", i))
		x.arrives()
		y := bob.send(alice, fmt.Sprint("back ", i))
		y.arrives()
		x.refused("DuplicatedMessage")
		y.refused("DuplicatedMessage")
	}
	a2.refused("InvalidMessage") // its chain was the first of many

	info := alice.ok("sessionInfo", m{"address": bob.address})
	size := len(unhex(t, alice.ok("exportSession", m{"address": bob.address})["record"]))
	require.Equal(t, m{"exists": true, "hasCurrentState": true, "size": float64(size)}, info)
	for _, d := range [][2]*device{{alice, bob}, {bob, alice}} {
		k := d[0].ok("getIdentity", m{"address": d[1].address})
		require.Equal(t, m{"identityKey": d[1].me["identityPublic"]}, k)
		require.Empty(t, d[0].record(d[1]).archived)
	}
}

// TestFamilies: a device writes the version byte of its family in both layers.
func TestFamilies(t *testing.T) {
	for name, f := range families {
		version := map[ratchet.Family]byte{ratchet.Signal: 0x34, ratchet.WhatsApp: 0x33}[f]
		alice, bob := newPair(t, f, f)
		alice.start(bob, nil)
		first := alice.send(bob, name)
		p, err := x3dh.ParseInitialMessage(first.bytes())
		require.NoError(t, err)
		require.Equal(t, []byte{version, version}, []byte{p.Version, p.Message[0]})
		first.arrives()
		require.Equal(t, version, bob.send(alice, "").bytes()[0])
	}
}

// TestOneTimePreKey: garbage does not burn it, the first message that opens
// takes it, and its session outlives it.
func TestOneTimePreKey(t *testing.T) {
	alice, bob := newPair(t, ratchet.Signal, ratchet.Signal)
	alice.start(bob, m{"preKeyId": 77, "signedPreKeyId": 5})
	first, second := alice.send(bob, "first"), alice.send(bob, "second")
	b := first.bytes()
	b[len(b)-20] ^= 1 // in the message inside
	first.with(b).refused("InvalidMessage")
	require.Nil(t, bob.ok("getIdentity", m{"address": alice.address})["identityKey"], "nor does it make its sender known")
	first.arrives()
	second.arrives()
	first.refused("DuplicatedMessage")
	bob.ok("deleteSession", m{"address": alice.address})
	first.refused("InvalidPreKeyId")

	// Without one, the message is refused by a receiver that forgot its session.
	bob.ok("deleteSession", m{"address": alice.address})
	alice.start(bob, m{"preKey": false, "signedPreKeyId": 6})
	third := alice.send(bob, "third")
	third.arrives()
	third.refused("DuplicatedMessage")
	bob.ok("deleteSession", m{"address": alice.address})
	third.refused("DuplicatedMessage")

	alice.ok("processBundle", m{"address": bob.address, "bundle": bob.ok("makeBundle", m{"signedPreKeyId": 7})})
	lost := alice.send(bob, "to a bundle that is gone")
	bob.ok("newIdentity", m{"name": bob.address["name"], "deviceId": bob.address["deviceId"], "identityPrivate": bob.me["identityPrivate"]})
	lost.refused("InvalidSignedPreKeyId")
	bob.ok("makeBundle", m{"signedPreKeyId": 7, "preKey": false})
	lost.refused("InvalidPreKeyId")
	bob.ok("makeBundle", m{"signedPreKeyId": 7})
	lost.refused("InvalidMessage") // other keys of the same IDs
}

// baseKey reads the name of a session out of its record.
func baseKey(t *testing.T, session []byte) string {
	t.Helper()
	name := ""
	d := wire.Decode(session)
	for d.Next() {
		if d.Num() == 13 {
			name = string(d.Bytes())
			continue
		}
		d.Skip()
	}
	require.NoError(t, d.Close(13))
	return name
}

// names are the base keys of all sessions of d with other, the current first.
func (d *device) names(other *device) (names []string) {
	d.t.Helper()
	r := d.record(other)
	if r.current != nil {
		names = append(names, baseKey(d.t, r.current))
	}
	for _, b := range r.archived {
		names = append(names, baseKey(d.t, b))
	}
	return names
}

// TestArchivedSessions: a message in a session of the past promotes it: it
// leaves the list, and what was current takes the first place there, without
// its pending prekey.
func TestArchivedSessions(t *testing.T) {
	alice, bob := newPair(t, ratchet.Signal, ratchet.Signal)
	alice.start(bob, nil)
	alice.send(bob, "").arrives()
	bob.send(alice, "").arrives()
	s1 := alice.names(bob)[0]
	late := bob.send(alice, "in the first session")

	alice.start(bob, nil) // twice anew
	s2 := alice.names(bob)[0]
	alice.start(bob, nil)
	s3 := alice.names(bob)[0]
	require.Equal(t, []string{s3, s2, s1}, alice.names(bob))
	require.Equal(t, 3.0, alice.send(bob, "").typ)

	late.arrives()
	require.Equal(t, []string{s1, s3, s2}, alice.names(bob))
	for _, b := range alice.record(bob).archived {
		s, err := ratchet.ParseSession(b, ratchet.Signal)
		require.NoError(t, err)
		_, pending := s.Unacknowledged()
		require.False(t, pending)
	}
	late.refused("DuplicatedMessage")
	reply := alice.send(bob, "reply in the first session")
	require.Equal(t, 2.0, reply.typ)
	reply.arrives()

	// A duplicate of an archived session is one, and promotes nothing.
	alice.start(bob, m{"preKeyId": 4, "signedPreKeyId": 4})
	s4 := alice.names(bob)[0]
	late.refused("DuplicatedMessage")
	require.Equal(t, []string{s4, s1, s3, s2}, alice.names(bob))

	// A PreKey message that comes after that of a newer session starts its own.
	fourth := alice.send(bob, "in the fourth session")
	alice.start(bob, m{"preKeyId": 5, "signedPreKeyId": 5})
	alice.send(bob, "in the fifth").arrives()
	fourth.arrives()
	require.Equal(t, s4, bob.names(alice)[0])
	alice.ok("archiveSession", m{"address": bob.address})
	s, err := ratchet.ParseSession(alice.record(bob).archived[0], ratchet.Signal)
	require.NoError(t, err)
	_, pending := s.Unacknowledged()
	require.False(t, pending)
	bob.ok("archiveSession", m{"address": alice.address})
	require.Equal(t, false, bob.ok("sessionInfo", m{"address": alice.address})["hasCurrentState"])
	bob.fails("SessionNotFound", "encrypt", m{"address": alice.address, "plaintext": ""})
	before := bob.ok("exportSession", m{"address": alice.address})
	bob.ok("archiveSession", m{"address": alice.address}) // nothing to archive
	require.Equal(t, before, bob.ok("exportSession", m{"address": alice.address}))
	fourth.refused("DuplicatedMessage")
}

// TestRepeatedInitialMessage: a PreKey message of an archived session is
// decrypted there, and no second session is made of it.
func TestRepeatedInitialMessage(t *testing.T) {
	alice, bob := newPair(t, ratchet.Signal, ratchet.Signal)
	alice.start(bob, m{"preKeyId": 1})
	x0, x1 := alice.send(bob, "x0"), alice.send(bob, "x1")
	x0.arrives()
	alice.start(bob, m{"preKeyId": 2, "signedPreKeyId": 2})
	y0 := alice.send(bob, "y0")
	y0.arrives()
	names := bob.names(alice)
	require.Len(t, names, 2)
	b := x1.bytes()
	b[len(b)-20] ^= 1
	x1.with(b).refused("InvalidMessage") // and promotes nothing
	x1.arrives()
	require.Equal(t, []string{names[1], names[0]}, bob.names(alice))
	y0.refused("DuplicatedMessage")
	require.Equal(t, []string{names[1], names[0]}, bob.names(alice))
}

// TestArchiveLimit: 40 sessions of the past are kept, the newest.
func TestArchiveLimit(t *testing.T) {
	alice, bob := newPair(t, ratchet.Signal, ratchet.Signal)
	var names []string
	for range sesame.MaxArchivedSessions + 3 {
		alice.start(bob, nil)
		names = append([]string{alice.names(bob)[0]}, names...)
	}
	require.Equal(t, names[:sesame.MaxArchivedSessions+1], alice.names(bob))
}

// TestSimultaneousInitiation: both start at the same time; every message
// arrives, and both hold the same session in the end.
func TestSimultaneousInitiation(t *testing.T) {
	for _, crossed := range []int{1, 2, 5} {
		alice, bob := newPair(t, ratchet.Signal, ratchet.WhatsApp)
		alice.start(bob, nil)
		bob.start(alice, nil)
		for i := range crossed {
			a, b := alice.send(bob, fmt.Sprint("a", i)), bob.send(alice, fmt.Sprint("b", i))
			a.arrives()
			b.arrives()
			a.refused("DuplicatedMessage")
			b.refused("DuplicatedMessage")
		}
		rounds := 0
		for ; alice.names(bob)[0] != bob.names(alice)[0] || rounds == 0; rounds++ {
			require.Less(t, rounds, 10)
			alice.send(bob, "and").arrives()
			bob.send(alice, "so on").arrives()
		}
		require.Equal(t, 2.0, alice.send(bob, "").typ)
		require.Equal(t, 2.0, bob.send(alice, "").typ)
	}
}

// TestIdentityChange: a key is trusted on first use, and another one in neither
// direction until it is saved.
func TestIdentityChange(t *testing.T) {
	alice, bob := newPair(t, ratchet.Signal, ratchet.Signal)
	mallory := newDevice(bob.client, "mallory", bob.address) // the same address, another key
	alice.start(bob, nil)
	alice.send(bob, "").arrives()
	old := bob.send(alice, "in the old session")

	evil := mallory.ok("makeBundle", nil)
	alice.fails("UntrustedIdentity", "processBundle", m{"address": bob.address, "bundle": evil})
	mallory.start(alice, m{"preKey": false})
	first := mallory.send(alice, "it is me")
	first.refused("UntrustedIdentity")

	save := func(d *device) string {
		return alice.ok("saveIdentity", m{"address": bob.address, "identityKey": d.me["identityPublic"]})["change"].(string)
	}
	require.Equal(t, "NewOrUnchanged", save(bob))
	require.Equal(t, "ReplacedExisting", save(mallory))
	require.Equal(t, "NewOrUnchanged", save(mallory))
	alice.fails("UntrustedIdentity", "encrypt", m{"address": bob.address, "plaintext": "00"})
	old.refused("UntrustedIdentity")
	first.arrives()
	alice.send(mallory, "welcome").arrives()
	old.refused("UntrustedIdentity")
	require.Equal(t, "ReplacedExisting", save(bob))
	old.arrives()

	require.Equal(t, m{"change": "NewOrUnchanged"}, alice.ok("saveIdentity",
		m{"address": m{"name": "", "deviceId": 3}, "identityKey": bob.me["identityPublic"]}), "a new one")
}

// TestSwappedIdentity: nothing authenticates the identity key of a repeated
// PreKey message. One that is not the session's is refused even if it is
// trusted, and not stored.
func TestSwappedIdentity(t *testing.T) {
	alice, bob := newPair(t, ratchet.Signal, ratchet.Signal)
	alice.start(bob, nil)
	first, second := alice.send(bob, "first"), alice.send(bob, "second")
	first.arrives()
	private := curve.GenerateKey()
	other, err := x3dh.ParsePublicKey(private.Public().Append(nil))
	require.NoError(t, err)
	p, err := x3dh.ParseInitialMessage(second.bytes())
	require.NoError(t, err)
	p.IdentityKey = other
	b, err := p.AppendBinary(nil)
	require.NoError(t, err)

	second.with(b).refused("UntrustedIdentity")
	bob.ok("saveIdentity", m{"address": alice.address, "identityKey": fmt.Sprintf("%x", other.Bytes())})
	second.with(b).refused("InvalidMessage")
	second.refused("UntrustedIdentity")
	bob.ok("saveIdentity", m{"address": alice.address, "identityKey": alice.me["identityPublic"]})
	second.arrives()
}

// TestUnacknowledged: a session that nobody answered in 30 days is not used;
// one that was answered does not age.
func TestUnacknowledged(t *testing.T) {
	const created, days30 = 1_700_000_000_000, 30 * 24 * 3600 * 1000
	alice, bob := newPair(t, ratchet.Signal, ratchet.Signal)
	bundle := bob.ok("makeBundle", nil)
	// The record has seconds.
	alice.ok("processBundle", m{"address": bob.address, "bundle": bundle, "now": created + 999})
	at := func(ms int) m { return m{"address": bob.address, "plaintext": "00", "now": ms} }
	alice.ok("encrypt", at(0))
	alice.ok("encrypt", at(created+days30))
	alice.fails("SessionNotFound", "encrypt", at(created+days30+1))
	alice.fails("SessionNotFound", "encrypt", m{"address": bob.address, "plaintext": "00"}) // now it is later
	alice.ok("processBundle", m{"address": bob.address, "bundle": bundle})
	alice.send(bob, "").arrives() // by the real clock
	bob.send(alice, "").arrives()
	alice.ok("encrypt", at(maxMillis))
}

// TestRefusedMessages: whatever is done to a message, the answer is an error,
// and what bob can export is what it was; the message itself still arrives.
func TestRefusedMessages(t *testing.T) {
	alice, bob := newPair(t, ratchet.Signal, ratchet.Signal)
	alice.start(bob, nil)
	first := alice.send(bob, "first")
	before := bob.exports(first.args())
	ids := len(first.bytes()) - 5 // registration and signed prekey IDs stand at the end
	for i, b := 0, first.bytes(); i < ids; i++ {
		c := append([]byte(nil), b...)
		c[i] ^= 0x10
		_, err := bob.do("decrypt", first.with(c).args())
		require.NotNil(t, err, "byte %d", i)
		require.NotEqual(t, "BadRequest", err.Name)
		_, err = bob.do("decrypt", first.with(b[:i]).args())
		require.NotNil(t, err, "%d bytes", i)
	}
	require.Equal(t, before, bob.exports(first.args()))
	first.arrives()

	second := bob.send(alice, "second")
	before = alice.exports(second.args())
	for i, b := 0, second.bytes(); i < len(b); i++ {
		for bit := range 8 {
			c := append([]byte(nil), b...)
			c[i] ^= 1 << bit
			_, err := alice.do("decrypt", second.with(c).args())
			require.NotNil(t, err, "byte %d, bit %d", i, bit)
			require.NotEqual(t, "BadRequest", err.Name)
		}
		_, err := alice.do("decrypt", second.with(b[:i]).args())
		require.NotNil(t, err, "%d bytes", i)
	}
	require.Equal(t, before, alice.exports(second.args()))
	second.arrives()
}

// TestErrorNames: each name of the protocol, for the reason that it names.
func TestErrorNames(t *testing.T) {
	alice, bob := newPair(t, ratchet.Signal, ratchet.Signal)
	to := m{"address": bob.address}
	alice.fails("SessionNotFound", "encrypt", m{"address": bob.address, "plaintext": ""})
	alice.fails("SessionNotFound", "archiveSession", to)
	alice.ok("deleteSession", to)
	require.Equal(t, m{"record": nil}, alice.ok("exportSession", to))
	require.Equal(t, m{"identityKey": nil}, alice.ok("getIdentity", to))

	bundle := bob.ok("makeBundle", nil)
	changed := func(name string, v any) m {
		b := m{}
		for k, v := range bundle {
			b[k] = v
		}
		b[name] = v
		return m{"address": bob.address, "bundle": b}
	}
	flip := func(s any, i int) string {
		b := unhex(t, s)
		b[i] ^= 1
		return fmt.Sprintf("%x", b)
	}
	signature := bundle["signedPreKeySignature"]
	for _, i := range []int{0, 31, 32, 63} {
		alice.fails("SignatureValidationFailed", "processBundle", changed("signedPreKeySignature", flip(signature, i)))
	}
	alice.fails("SignatureValidationFailed", "processBundle", changed("signedPreKeySignature", signature.(string)+"00"))
	alice.fails("SignatureValidationFailed", "processBundle", changed("signedPreKeySignature", ""))
	alice.fails("SignatureValidationFailed", "processBundle", changed("identityKey", alice.me["identityPublic"]))
	lowOrder := fmt.Sprintf("05%064x", 0)
	for _, n := range []string{"identityKey", "preKeyPublic", "signedPreKeyPublic"} {
		alice.fails("InvalidKey", "processBundle", changed(n, lowOrder))
	}
	alice.ok("processBundle", m{"address": bob.address, "bundle": bundle})

	first := alice.send(bob, "first")
	inner := func(b []byte) []byte {
		p, err := x3dh.ParseInitialMessage(b)
		require.NoError(t, err)
		return p.Message
	}
	ordinary := *first
	ordinary.typ = 2
	ordinary.with(inner(first.bytes())).refused("SessionNotFound")
	first.arrives()
	second := bob.send(alice, "second")

	for _, l := range []*letter{second, alice.send(bob, "third")} {
		at := func(i int, v byte) *letter {
			b := l.bytes()
			b[i] = v
			return l.with(b)
		}
		for v := range byte(16) {
			switch {
			case v < 3:
				at(0, v<<4|4).refused("LegacyCiphertextVersion")
			case v > 3:
				at(0, v<<4|4).refused("UnrecognizedCiphertextVersion")
			}
		}
		at(1, 0x0b).refused("InvalidProtobufEncoding") // a group
		l.with(nil).refused("InvalidProtobufEncoding")
		l.with([]byte{0x34}).refused("InvalidProtobufEncoding")
		if l.typ == 2 {
			at(3, 0x06).refused("InvalidKey")
			at(len(l.bytes())-1, l.bytes()[len(l.bytes())-1]^1).refused("InvalidMessage")
			b := l.bytes()
			require.Equal(t, []byte{0x10, 0x00}, b[36:38], "the counter")
			far := append(append(append([]byte(nil), b[:37]...), 0xa9, 0xc3, 0x01), b[38:]...) // 25,001
			l.with(far).refused("InvalidMessage")
			continue
		}
		p, err := x3dh.ParseInitialMessage(l.bytes())
		require.NoError(t, err)
		damaged := func(change func(p *x3dh.InitialMessage)) *letter {
			q := *p
			q.Message = append([]byte(nil), p.Message...)
			change(&q)
			b, err := q.AppendBinary(nil)
			require.NoError(t, err)
			return l.with(b)
		}
		damaged(func(p *x3dh.InitialMessage) { p.Message[0] = 0x24 }).refused("LegacyCiphertextVersion")
		damaged(func(p *x3dh.InitialMessage) { p.Message[0] = 0x44 }).refused("UnrecognizedCiphertextVersion")
		damaged(func(p *x3dh.InitialMessage) { p.Message[3] = 6 }).refused("InvalidKey")
		damaged(func(p *x3dh.InitialMessage) { p.Message = nil }).refused("InvalidProtobufEncoding")
		stranger := func(p *x3dh.InitialMessage) { // of no session that bob has
			private := curve.GenerateKey()
			p.BaseKey, _ = x3dh.ParsePublicKey(private.Public().Append(nil))
		}
		damaged(func(p *x3dh.InitialMessage) { stranger(p); p.SignedPreKeyID = 9 }).refused("InvalidSignedPreKeyId")
		damaged(func(p *x3dh.InitialMessage) { stranger(p); p.OneTimePreKeyID = new(uint32(9)) }).refused("InvalidPreKeyId")
		damaged(func(p *x3dh.InitialMessage) { stranger(p); p.OneTimePreKeyID = nil }).refused("InvalidMessage")
		twist := append([]byte{5, 2}, make([]byte, 31)...) // u = 2 is not on the curve
		damaged(func(p *x3dh.InitialMessage) {
			p.BaseKey, err = x3dh.ParsePublicKey(twist)
			require.NoError(t, err)
			p.OneTimePreKeyID = nil
		}).refused("InvalidMessage")
		b := l.bytes()
		require.Equal(t, []byte{0x12, 33, 5}, b[3:6], "the base key")
		at(5, 6).refused("InvalidKey")
	}
}

// TestImportSession: a session moves between processes, in the middle of it; a
// record that is none is refused.
func TestImportSession(t *testing.T) {
	alice, bob := newPair(t, ratchet.Signal, ratchet.Signal)
	alice.start(bob, nil)
	alice.send(bob, "").arrives()
	late := alice.send(bob, "late")
	alice.send(bob, "").arrives()
	exported := bob.ok("exportSession", m{"address": alice.address})["record"].(string)

	moved := newDevice(newClient(t, ratchet.Signal), "moved", m{
		"name": bob.address["name"], "deviceId": bob.address["deviceId"], "identityPrivate": bob.me["identityPrivate"],
	})
	for _, bad := range []string{
		"00", "0a02ffff", exported[2:], exported[:len(exported)-2], exported + "0a", exported + "0a00",
		"0a047a0201027a", exported + "0a" + exported[2:],
	} {
		moved.fails("InvalidProtobufEncoding", "importSession", m{"address": alice.address, "record": bad})
	}
	moved.ok("importSession", m{"address": alice.address, "record": exported})
	require.Equal(t, m{"record": exported}, moved.ok("exportSession", m{"address": alice.address}))
	late.to = moved
	late.arrives()
	reply := moved.send(alice, "from elsewhere")
	reply.arrives()

	// With the session of the past, which a late message makes current again.
	late = alice.send(moved, "later still")
	alice.ok("archiveSession", m{"address": bob.address})
	alice.start(moved, nil)
	alice.send(moved, "anew").arrives()
	names := moved.names(alice)
	require.Len(t, names, 2)
	r := moved.record(alice)
	moved.ok("importSession", m{"address": alice.address, "record": hex.EncodeToString(r.encode())})
	late.arrives()
	require.Equal(t, []string{names[1], names[0]}, moved.names(alice))

	// Every session is read: one that cannot be, is there twice, of another
	// version or one too many is refused.
	for _, bad := range [][]byte{{0xff}, {}, {0x08, 4}, r.current} {
		broken := &record{r.current, append([][]byte{bad}, r.archived...)}
		moved.fails("InvalidProtobufEncoding", "importSession", m{"address": alice.address, "record": hex.EncodeToString(broken.encode())})
	}

	// A record of another identity key than the one that is trusted makes that key
	// wait nowhere: nothing is written to it, and the record can be replaced.
	other := x3dh.GenerateIdentityKey().Public()
	moved.ok("saveIdentity", m{"address": alice.address, "identityKey": hex.EncodeToString(other.Bytes())})
	for range 2 {
		moved.ok("importSession", m{"address": alice.address, "record": hex.EncodeToString(r.encode())})
		require.Equal(t, hex.EncodeToString(other.Bytes()), moved.ok("getIdentity", m{"address": alice.address})["identityKey"])
		moved.fails("UntrustedIdentity", "encrypt", m{"address": alice.address, "plaintext": ""})
	}
	moved.ok("saveIdentity", m{"address": alice.address, "identityKey": alice.me["identityPublic"]})

	// A record of no sessions leaves none, and is none; so does one whose current
	// session is empty.
	moved.ok("importSession", m{"address": alice.address, "record": "0a00"})
	moved.ok("importSession", m{"address": alice.address, "record": ""})
	require.Equal(t, m{"record": nil}, moved.ok("exportSession", m{"address": alice.address}))
	require.Equal(t, alice.me["identityPublic"], moved.ok("getIdentity", m{"address": alice.address})["identityKey"])
	moved.fails("SessionNotFound", "archiveSession", m{"address": alice.address})
	reply = alice.send(moved, "x")
	reply.typ, reply.ciphertext = 2, late.ciphertext
	reply.refused("SessionNotFound")
}
