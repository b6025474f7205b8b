package sesame

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

// A recordedSide is a device of libsignal 0.72.1: its keys, and the record of its
// sessions with the other one after every step.
type recordedSide struct {
	testvectors.RecordedDevice
	records [][]byte
}

type recording struct {
	*testvectors.RecordedConversation
	alice, bob recordedSide
}

func loadRecording(t testing.TB) *recording {
	t.Helper()
	c, err := testvectors.LoadConversation()
	require.NoError(t, err)
	r := &recording{c, recordedSide{RecordedDevice: c.Alice}, recordedSide{RecordedDevice: c.Bob}}
	for _, s := range r.Steps {
		if s.AliceSession != nil {
			r.alice.records = append(r.alice.records, s.AliceSession)
		}
		if s.BobSession != nil {
			r.bob.records = append(r.bob.records, s.BobSession)
		}
	}
	require.Len(t, r.alice.records, 21)
	require.Len(t, r.bob.records, 21)
	return r
}

func (s *recordedSide) identity(t testing.TB) *x3dh.IdentityKey {
	t.Helper()
	k, err := x3dh.ParseIdentityKey(wire.AppendBytes(wire.AppendBytes(nil, 1, s.IdentityPublic), 2, s.IdentityPrivate))
	require.NoError(t, err)
	return k
}

// moved is a device that moves over from libsignal, less its sessions.
func (s *recordedSide) moved(t testing.TB, user string, c *clock) *app {
	t.Helper()
	a := &app{t: t, at: Address{user, 1}, store: new(Memory)}
	var signed []*x3dh.SignedPreKey
	var oneTime []*x3dh.PreKey
	if s.SignedPreKeyRecord != nil {
		k, err := x3dh.ParseSignedPreKey(s.SignedPreKeyRecord)
		require.NoError(t, err)
		o, err := x3dh.ParsePreKey(s.OneTimePreKeyRecord)
		require.NoError(t, err)
		signed, oneTime = append(signed, k), append(oneTime, o)
	}
	a.do(func(tx Tx) (err error) {
		if a.Device, err = Open(tx, Config{Now: c.Now}); err != nil {
			return err
		}
		return a.Adopt(tx, s.identity(t), s.RegistrationID, oneTime, signed)
	})
	return a
}

func (a *app) identity() (key x3dh.PublicKey) {
	a.t.Helper()
	a.do(func(tx Tx) (err error) { key, _, err = a.Identity(tx); return err })
	return key
}

func (a *app) imports(peer Address, record []byte, final bool) {
	a.t.Helper()
	a.do(func(tx Tx) error {
		if final {
			return a.ImportFinal(tx, peer, record)
		}
		return a.Import(tx, peer, record)
	})
}

func (a *app) exports(peer Address) (record []byte) {
	a.t.Helper()
	a.do(func(tx Tx) (err error) { record, err = a.Export(tx, peer); return err })
	return record
}

// R-10.8-1: each record of the transcript goes in and comes out with the same
// bytes; imported to decrypt only, its session is one of the past.
func TestImportExportRecorded(t *testing.T) {
	r := loadRecording(t)
	c := &clock{start}
	peer := Address{"peer", 1}
	stored := 0
	for _, side := range []*recordedSide{&r.alice, &r.bob} {
		for i, record := range side.records {
			a := side.moved(t, "self", c)
			a.imports(peer, record, true)
			require.Equal(t, record, a.exports(peer), "record %d", i)
			stored += a.count(rowsSkipped)

			b := side.moved(t, "self", c)
			b.imports(peer, record, false)
			require.Equal(t, append([]byte{2<<3 | 2}, record[1:]...), b.exports(peer), "record %d", i)
		}
	}
	require.NotZero(t, stored, "some records have stored keys")
}

// R-10.8-1, R-10.8-4: both sides of the transcript move over, at every step at which
// nothing is under way, and go on; what is under way arrives.
func TestMovedConversationGoesOn(t *testing.T) {
	r := loadRecording(t)
	c := &clock{start}
	last := len(r.alice.records) - 1
	alice, bob := r.alice.moved(t, "alice", c), r.bob.moved(t, "bob", c)
	alice.imports(bob.at, r.alice.records[last], true)
	bob.imports(alice.at, r.bob.records[last], true)
	for i := range 6 {
		alice.reads(bob, bob.encrypt(alice, fmt.Sprint(i)), fmt.Sprint(i))
		bob.reads(alice, alice.encrypt(bob, fmt.Sprint(-i)), fmt.Sprint(-i))
	}

	// Before the first message: Bob has no session yet, and the prekeys that
	// he brought along open it.
	alice, bob = r.alice.moved(t, "alice", c), r.bob.moved(t, "bob", c)
	alice.imports(bob.at, r.alice.records[0], true)
	k, err := x3dh.ParseSignedPreKey(r.bob.SignedPreKeyRecord)
	require.NoError(t, err)
	c.now = k.Created()
	require.Equal(t, 1, bob.count(rowsPreKey))
	first := alice.encrypt(bob, "first")
	require.Equal(t, ratchet.Initial, first.Type)
	bob.reads(alice, first, "first")
	require.Zero(t, bob.count(rowsPreKey))
	alice.reads(bob, bob.encrypt(alice, "answer"), "answer")

	// Every recorded message, in the session of the record before it.
	read := 0
	for i, s := range r.Steps {
		side, op, _ := strings.Cut(s.Op, ".")
		if op != "encrypt" {
			continue
		}
		a, from := r.bob.moved(t, "bob", c), Address{"alice", 1}
		previous := r.Steps[:i]
		field := func(j int) []byte { return previous[j].BobSession }
		if side == "bob" {
			a, from = r.alice.moved(t, "alice", c), Address{"bob", 1}
			field = func(j int) []byte { return previous[j].AliceSession }
		}
		for j := i - 1; j >= 0; j-- {
			if field(j) != nil {
				a.imports(from, field(j), read%2 == 0)
				break
			}
		}
		a.do(func(tx Tx) error {
			result, err := a.Decrypt(tx, from, ratchet.Type(s.Type), s.Message)
			require.NoError(t, result.Err, "step %d", i)
			require.Equal(t, s.Plaintext, string(result.Plaintext))
			return err
		})
		read++
	}
	require.Greater(t, read, 15)
}

// fresh is the same device without its sessions.
func fresh(a *app) *app {
	f := newSnapshot(a)
	f.do(func(tx Tx) error {
		for _, prefix := range []string{rowsPeer, rowsSession, rowsSkipped} {
			for key, err := range tx.Scan(prefix) {
				if err != nil {
					return err
				}
				if err := forgetRow(tx, key); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return f
}

// R-10.8-2: an imported session decrypts, and is never written in: not at once,
// not after it has decrypted, not when a newer one was made. The mark is in the
// database.
func TestImportedSessionOnlyDecrypts(t *testing.T) {
	alice, bob, _ := pair(t)
	m := bob.sendsN(alice, 4)
	alice.reads(bob, m[2], "2")
	record := alice.exports(bob.at)
	moved := fresh(alice)
	moved.imports(bob.at, record, false)
	refused := func() {
		t.Helper()
		require.ErrorIs(t, moved.encryptErr(bob, "no").Err, ErrNoSession)
		var p Peer
		moved.do(func(tx Tx) (err error) { p, err = moved.Peer(tx, bob.at); return err })
		require.Equal(t, Peer{Identity: bob.published.IdentityKey}, p)
	}
	refused()
	moved.reads(bob, m[3], "3")
	refused()
	moved.reads(bob, m[0], "0")
	moved.refuses(bob, m[0], ErrDuplicate)
	moved.refuses(bob, m[2], ErrDuplicate)
	refused()
	// A DH step of Bob's, who hears of the other application.
	bob.reads(alice, alice.encrypt(bob, "from the other application"), "from the other application")
	moved.reads(bob, bob.encrypt(alice, "turn"), "turn")
	refused()
	require.Equal(t, byte(2<<3|2), moved.exports(bob.at)[0], "no current session in the record either")

	moved.start(bob)
	bob.reads(moved, moved.encrypt(bob, "in a session of its own"), "in a session of its own")
	own := moved.baseKey(bob)
	require.NotEqual(t, none, own)
	moved.reads(bob, m[1], "1")
	require.Equal(t, own, moved.baseKey(bob), "it is not promoted")
	moved.reads(bob, bob.encrypt(moved, "answer"), "answer")

	// The mark goes with the session.
	moved.do(func(tx Tx) error { return moved.Forget(tx, bob.at) })
	moved.imports(bob.at, record, true)
	require.NoError(t, moved.encryptErr(bob, "final").Err)
}

// A session of the initiator that nobody answered: its initial messages are
// not repeated by the importer.
func TestImportOfPendingSession(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.start(bob)
	first := alice.encrypt(bob, "first")
	moved, final := fresh(alice), fresh(alice)
	record := alice.exports(bob.at)
	moved.imports(bob.at, record, false)
	require.ErrorIs(t, moved.encryptErr(bob, "no").Err, ErrNoSession)
	final.imports(bob.at, record, true)
	require.Equal(t, record, final.exports(bob.at))
	second := final.encrypt(bob, "second")
	require.Equal(t, ratchet.Initial, second.Type)
	bob.reads(alice, second, "second")
	bob.reads(alice, first, "first")
	m := bob.encrypt(alice, "answer")
	moved.reads(bob, m, "answer")
	final.reads(bob, m, "answer")

	// Bob's side, and a repeated initial message.
	movedBob := fresh(bob)
	movedBob.imports(alice.at, bob.exports(alice.at), false)
	movedBob.refuses(alice, first, ErrDuplicate)
	movedBob.reads(alice, final.encrypt(bob, "third"), "third")
	require.ErrorIs(t, movedBob.encryptErr(alice, "no").Err, ErrNoSession)
}

// R-10.8-3: a session that is there already stays as it is, whatever the record
// says of it, and whatever is declared.
func TestImportLeavesWhatIsThere(t *testing.T) {
	alice, bob, _ := pair(t)
	old := alice.exports(bob.at)
	late := bob.encrypt(alice, "late")
	used := alice.encrypt(bob, "after the export")
	before := alice.rows()
	alice.imports(bob.at, old, true)
	alice.imports(bob.at, old, false)
	require.Equal(t, before, alice.rows())
	next := alice.encrypt(bob, "next")
	bob.reads(alice, next, "next")
	bob.reads(alice, used, "after the export")

	moved := fresh(alice)
	moved.imports(bob.at, old, false)
	before = moved.rows()
	moved.imports(bob.at, old, true)
	require.Equal(t, before, moved.rows(), "what only decrypts is not made to write by a record")

	// The current session of the record is there, and only decrypts: none of the
	// past becomes the current one in its place.
	behind := fresh(alice)
	behind.imports(bob.at, old, false)
	other := fresh(alice)
	other.start(bob)
	second := other.exports(bob.at)
	second[0] = 2<<3 | 2
	behind.imports(bob.at, append(slices.Clone(old), second...), true)
	require.Equal(t, 2, behind.count(rowsSession))
	require.Equal(t, none, behind.baseKey(bob))

	// A record with one session more: that is taken, behind the own current one.
	// What was current there is one of the past, and may be promoted.
	alice.start(bob)
	bob.reads(alice, alice.encrypt(bob, "a new session"), "a new session")
	two := alice.exports(bob.at)
	moved.start(bob)
	own := moved.baseKey(bob)
	moved.imports(bob.at, two, true)
	require.Equal(t, own, moved.baseKey(bob))
	require.Equal(t, 3, moved.count(rowsSession))
	moved.reads(bob, late, "late")
	require.Equal(t, own, moved.baseKey(bob), "what only decrypts is not promoted, after a final record either")
	moved.reads(bob, bob.encrypt(alice, "answer"), "answer")
	require.Equal(t, alice.baseKey(bob), moved.baseKey(bob))
	bob.reads(moved, moved.encrypt(bob, "promoted"), "promoted")
}

// R-10.8-3: 41 sessions and no more; those that are cut leave no rows.
func TestImportLimit(t *testing.T) {
	alice, bob, _ := pair(t)
	another := fresh(alice)
	for _, a := range []*app{alice, another} {
		for range MaxArchivedSessions {
			if len(bob.oneTime) == 0 {
				bob.publish()
			}
			a.start(bob)
			m := a.sendsN(bob, 2)
			bob.reads(a, m[1], "1")
			m = bob.sendsN(a, 2)
			a.reads(bob, m[1], "1")
		}
	}
	record := alice.exports(bob.at)
	require.Equal(t, 1+MaxArchivedSessions, alice.count(rowsSession))
	require.Equal(t, MaxArchivedSessions, another.count(rowsSession))
	require.Equal(t, MaxArchivedSessions, another.count(rowsSkipped))

	check := func(a *app, current x3dh.PublicKey) {
		t.Helper()
		require.Equal(t, 1+MaxArchivedSessions, a.count(rowsSession))
		require.LessOrEqual(t, a.count(rowsSkipped), 1+MaxArchivedSessions)
		require.Equal(t, current, a.baseKey(bob))
		a.do(func(tx Tx) error {
			p, _, err := a.peer(tx, bob.at)
			require.NoError(t, err)
			for _, base := range p.sessions {
				_, err := a.session(tx, bob.at, base)
				require.NoError(t, err)
			}
			return nil
		})
		a.do(func(tx Tx) error { return a.Forget(tx, bob.at) })
		require.Zero(t, a.count(rowsSkipped)+a.count(rowsSession), "nothing is left")
	}
	one := newSnapshot(another)
	own := one.baseKey(bob)
	one.imports(bob.at, record, false)
	check(one, own) // there was room for one
	two := newSnapshot(another)
	two.do(func(tx Tx) error { return two.Reset(tx, bob.at) })
	two.imports(bob.at, record, true)
	check(two, alice.baseKey(bob)) // the imported ones are newer than all of the past
	three := newSnapshot(alice)
	before := three.rows()
	three.imports(bob.at, another.exports(bob.at), false)
	require.Equal(t, before, three.rows(), "there was no room")
}

// R-10.8-3, R-10.6-1, R-10.6-2: the identity key of an imported session is trusted as any other.
func TestImportTrust(t *testing.T) {
	alice, bob, c := pair(t)
	record := alice.exports(bob.at)
	strict := fresh(alice)
	strict.Device = &Device{Config{Now: c.Now, Trust: ConfirmFirst}}
	strict.imports(bob.at, record, true)
	require.ErrorIs(t, strict.encryptErr(bob, "no").Err, ErrIdentityChanged)
	strict.do(func(tx Tx) error { return strict.Confirm(tx, bob.at, bob.published.IdentityKey) })
	strict.encrypt(bob, "confirmed")

	// Another key than the trusted one waits, if its session is to be written in.
	again := newApp(t, "bob", 1, c)
	known := fresh(alice)
	known.start(again)
	known.do(func(tx Tx) error { return known.Reset(tx, bob.at) })
	final := newSnapshot(known)
	final.imports(bob.at, record, true)
	require.ErrorIs(t, final.encryptErr(bob, "no").Err, ErrIdentityChanged)
	var peer Peer
	final.do(func(tx Tx) (err error) { peer, err = final.Peer(tx, bob.at); return err })
	require.Equal(t, bob.published.IdentityKey, peer.Changed)

	// That of a session which only decrypts changes nothing. What it decrypts
	// is marked.
	late := bob.encrypt(alice, "late")
	known.start(again)
	known.imports(bob.at, record, false)
	known.encrypt(again, "still trusted")
	r := known.decrypt(bob, late)
	require.NoError(t, r.Err)
	require.True(t, r.IdentityChanged)
	require.Equal(t, bob.published.IdentityKey, r.Identity)
	known.encrypt(again, "still trusted")
}

// R-10.8-5: what is no record of this device's is refused with its reason, and
// changes nothing.
func TestImportRefuses(t *testing.T) {
	alice, bob, c := pair(t)
	first := alice.exports(bob.at)
	alice.start(bob)
	bob.reads(alice, alice.encrypt(bob, "second"), "second")
	alice.reads(bob, bob.encrypt(alice, "answer"), "answer")
	record := alice.exports(bob.at)
	require.Equal(t, byte(1<<3|2), first[0])
	d := wire.Decode(first)
	require.True(t, d.Next())
	session := d.Bytes()
	previous := func(n int) (b []byte) {
		for i := range n {
			other := slices.Clone(session)
			other[len(other)-10] ^= byte(i) // of the base key
			b = wire.AppendBytes(b, 2, other)
		}
		return b
	}
	stranger := newApp(t, "alice", 1, c)
	stranger.start(bob)
	version4 := append(wire.AppendUint(nil, 1, 4), session[2:]...)
	moved := fresh(alice)
	for _, final := range []bool{false, true} {
		for name, bad := range map[string]struct {
			record []byte
			err    error
		}{
			"garbage":                    {[]byte("garbage"), ratchet.ErrCorrupt},
			"cut":                        {record[:len(record)-1], ratchet.ErrCorrupt},
			"two current ones":           {append(slices.Clone(first), first...), ratchet.ErrCorrupt},
			"the same twice":             {append(slices.Clone(first), previous(1)...), ratchet.ErrCorrupt},
			"41 of the past":             {previous(41), ratchet.ErrCorrupt},
			"an empty one":               {wire.AppendBytes(nil, 2, nil), ratchet.ErrCorrupt},
			"wrong type":                 {wire.AppendUint(nil, 1, 1), ratchet.ErrCorrupt},
			"a bad one behind good ones": {wire.AppendBytes(slices.Clone(record), 2, []byte{8}), ratchet.ErrCorrupt},
			"version 4":                  {wire.AppendBytes(nil, 1, version4), ratchet.ErrVersion},
			"version 4, of the past":     {wire.AppendBytes(slices.Clone(record), 2, version4), ratchet.ErrVersion},
			"of another device":          {stranger.exports(bob.at), ratchet.ErrIdentityMismatch},
			"of the other side":          {bob.exports(alice.at), ratchet.ErrIdentityMismatch},
		} {
			before := moved.rows()
			err := moved.store.Do(func(tx Tx) error {
				err := moved.importRecord(tx, bob.at, bad.record, final)
				require.ErrorIs(t, err, bad.err, name)
				return nil // the caller ignores it
			})
			require.NoError(t, err)
			require.Equal(t, before, moved.rows(), name)
		}
		// Records without sessions: of a device that was never written to, and
		// Java's after archiving.
		before := moved.rows()
		for _, empty := range [][]byte{nil, {1<<3 | 2, 0}, wire.AppendUint(nil, 9, 1)} {
			moved.imports(bob.at, empty, final)
			require.Equal(t, before, moved.rows())
		}
		require.ErrorIs(t, moved.try(func(tx Tx) error { return moved.importRecord(tx, Address{}, record, final) }), ErrAddress)
	}
	require.ErrorIs(t, moved.try(func(tx Tx) error { _, err := moved.Export(tx, bob.at); return err }), ErrNoSession)
	full := fresh(alice)
	full.imports(bob.at, append(slices.Clone(record), previous(41)[len(previous(2)):]...), true)
	require.Equal(t, 1+MaxArchivedSessions, full.count(rowsSession))
	java := append([]byte{1<<3 | 2, 0}, previous(1)...)
	moved.imports(bob.at, java, true)
	require.Equal(t, previous(1), moved.exports(bob.at))
	require.ErrorIs(t, moved.encryptErr(bob, "no").Err, ErrNoSession)
}

// R-10.8-2: a mark is of a session that there is, once, and not of the current
// one.
func TestReadOnlyMarks(t *testing.T) {
	key := x3dh.GenerateIdentityKey().Public().Bytes()
	row := func(active bool, marks ...[]byte) []byte {
		b := wire.AppendBytes(wire.AppendBytes(nil, 1, key), 3, key)
		if active {
			b = wire.AppendUint(b, 4, 1)
		}
		for _, m := range marks {
			b = wire.AppendBytes(b, 5, m)
		}
		return b
	}
	p, err := parsePeer(row(false, key))
	require.NoError(t, err)
	require.Len(t, p.readOnly, 1)
	b, err := p.AppendBinary(nil)
	require.NoError(t, err)
	require.Equal(t, row(false, key), b)
	for name, bad := range map[string][]byte{
		"current":       row(true, key),
		"twice":         row(false, key, key),
		"of no session": row(false, x3dh.GenerateIdentityKey().Public().Bytes()),
		"no key":        row(false, nil),
	} {
		_, err := parsePeer(bad)
		require.Error(t, err, name)
	}
}

// R-10.8-4: the device is the one that it was: identity, registration ID,
// prekeys, and new ones with IDs of their own.
func TestAdopt(t *testing.T) {
	c := &clock{start}
	identity := x3dh.GenerateIdentityKey()
	preKeys, err := x3dh.GeneratePreKeys(500, 2)
	require.NoError(t, err)
	signed, err := x3dh.GenerateSignedPreKey(identity, 70, c.now)
	require.NoError(t, err)
	open := func() *app {
		a := &app{t: t, at: Address{"alice", 1}, store: new(Memory)}
		a.do(func(tx Tx) (err error) { a.Device, err = Open(tx, Config{Now: c.Now}); return err })
		return a
	}
	a := open()
	a.do(func(tx Tx) error {
		return a.Adopt(tx, identity, 77, preKeys, []*x3dh.SignedPreKey{signed})
	})
	a.do(func(tx Tx) error {
		key, id, err := a.Identity(tx)
		require.Equal(t, identity.Public(), key)
		require.Equal(t, uint32(77), id)
		return err
	})
	a.do(func(tx Tx) (err error) { a.Device, err = Open(tx, Config{Now: c.Now}); return err }) // restart
	a.oneTime = []x3dh.PublicPreKey{preKeys[0].Public(), preKeys[1].Public()}
	a.publish()
	require.Equal(t, signed.Public(), a.published.SignedPreKey, "it is not a week old")
	require.Equal(t, uint32(502), a.published.OneTimePreKeys[0].ID)
	bob := newApp(t, "bob", 1, c)
	bob.start(a) // with one that came along
	a.reads(bob, bob.encrypt(a, "hello"), "hello")
	require.Len(t, a.oneTime, PreKeyBatch-1)

	// A signed prekey that is old is replaced, with the next ID.
	c.now = c.now.Add(SignedPreKeyAge + 1)
	a.publish()
	require.Equal(t, uint32(71), a.published.SignedPreKey.ID)

	foreign, err := x3dh.GenerateSignedPreKey(x3dh.GenerateIdentityKey(), 71, c.now)
	require.NoError(t, err)
	top, err := x3dh.GeneratePreKeys(x3dh.MaxPreKeyID, 1)
	require.NoError(t, err)
	topSigned, err := x3dh.GenerateSignedPreKey(identity, x3dh.MaxPreKeyID, c.now)
	require.NoError(t, err)
	for name, bad := range map[string]struct {
		identity *x3dh.IdentityKey
		id       uint32
		preKeys  []*x3dh.PreKey
		signed   []*x3dh.SignedPreKey
		err      error
	}{
		"no identity":          {nil, 1, nil, nil, ErrUninitialized},
		"zero identity":        {new(x3dh.IdentityKey), 1, nil, nil, ErrUninitialized},
		"no registration ID":   {identity, 0, nil, nil, ErrConfig},
		"one ID twice":         {identity, 1, append(preKeys, preKeys[0]), nil, ErrConfig},
		"one signed ID twice":  {identity, 1, nil, []*x3dh.SignedPreKey{signed, signed}, ErrConfig},
		"signed by another":    {identity, 1, nil, []*x3dh.SignedPreKey{signed, foreign}, ErrConfig},
		"no higher ID":         {identity, 1, top, nil, x3dh.ErrPreKeyID},
		"no higher signed ID":  {identity, 1, nil, []*x3dh.SignedPreKey{topSigned}, x3dh.ErrPreKeyID},
		"a zero prekey":        {identity, 1, []*x3dh.PreKey{nil}, nil, x3dh.ErrUninitialized},
		"a zero signed prekey": {identity, 1, nil, []*x3dh.SignedPreKey{nil}, ErrConfig},
	} {
		b := open()
		before := b.rows()
		require.ErrorIs(t, b.try(func(tx Tx) error { return b.Adopt(tx, bad.identity, bad.id, bad.preKeys, bad.signed) }), bad.err, name)
		require.Equal(t, before, b.rows(), name)
	}

	// A device that was used keeps what it is.
	used := []*app{newApp(t, "carol", 1, c), open(), a}
	used[1].start(bob)
	for _, u := range used {
		require.ErrorIs(t, u.try(func(tx Tx) error { return u.Adopt(tx, identity, 1, nil, nil) }), ErrConfig)
	}
}

// R-10.8-5
func FuzzImport(f *testing.F) {
	r := loadRecording(f)
	c := &clock{start}
	fresh := r.alice.moved(f, "alice", c)
	rows := fresh.rows()
	peer := Address{"peer", 1}
	several := 0
	for i, record := range r.alice.records {
		// Two sessions: the records are all of one, so the second gets another
		// base key.
		other := bytes.Clone(record)
		other[0] = 2<<3 | 2
		other[bytes.LastIndex(other, []byte{13<<3 | 2, 33})+10] ^= byte(i + 1)
		two := append(bytes.Clone(record), other...)
		if sessions, current, err := fresh.parseRecord(two, fresh.identity()); err == nil && current && len(sessions) == 2 {
			several++
		}
		f.Add(record, true)
		f.Add(two, i%2 == 0)
		f.Add(other, true)
	}
	require.Greater(f, several, 5)
	f.Fuzz(func(t *testing.T, record []byte, final bool) {
		a := *fresh
		a.t, a.store = t, new(Memory)
		a.do(func(tx Tx) error {
			for key, value := range rows {
				if err := tx.Put(key, []byte(value), 0); err != nil {
					return err
				}
			}
			return nil
		})
		var refused error
		a.do(func(tx Tx) error { refused = a.importRecord(tx, peer, record, final); return nil })
		if refused != nil {
			require.True(t, errors.Is(refused, ratchet.ErrCorrupt) || errors.Is(refused, ratchet.ErrVersion) ||
				errors.Is(refused, ratchet.ErrIdentityMismatch), "%v", refused)
			require.Equal(t, rows, a.rows())
			return
		}
		if a.count(rowsSession) == 0 {
			require.Equal(t, rows, a.rows())
			return
		}
		exported := a.exports(peer)
		require.LessOrEqual(t, len(exported), len(record))
		before := a.rows()
		a.imports(peer, record, final)
		require.Equal(t, before, a.rows(), "a second time it changes nothing")

		// What was written is read.
		a.do(func(tx Tx) error { return a.Forget(tx, peer) })
		require.Equal(t, rows, a.rows(), "nothing is left of it")
		a.imports(peer, exported, true)
		require.Equal(t, exported, a.exports(peer))

		a.do(func(tx Tx) error {
			p, err := a.Peer(tx, peer)
			require.NoError(t, err)
			m, err := a.Encrypt(tx, []byte("x"), peer)
			require.NoError(t, err)
			if !final {
				require.False(t, p.Connected)
				require.Equal(t, ErrNoSession, m[0].Err)
			}
			return nil
		})
		for _, s := range r.Steps {
			if s.Message != nil {
				a.do(func(tx Tx) error { _, err := a.Decrypt(tx, peer, ratchet.Type(s.Type), s.Message); return err })
			}
		}
	})
}
