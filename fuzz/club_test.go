package fuzz

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/txtest"
	"github.com/sotto-im/sotto/x3dh"
)

// A club is the devices of a few people, each with its database, a server that
// keeps bundles, mailboxes and who is in which group, and what has to be true.
type club struct {
	stage
	config  sesame.Config
	started time.Time
	now     time.Time
	chats   [2]*circle
	all     []*installation // that there ever were
	notes   map[uint64]*note
	sealed  []*sealed

	usedKeys  map[[32]byte]bool  // chain keys of senders that made a message key
	usedNames map[keyName]string // message keys by what names them, with what they encrypt
	sabotage  sabotage
}

// A circle is a group, as the server knows it.
type circle struct {
	name string
	view
}

// A view is what somebody knows of a group: nothing, if the revision is 0.
type view struct {
	revision uint64
	members  []sesame.Address
}

func (v view) has(a sesame.Address) bool { return slices.Contains(v.members, a) }

// An installation is a device from the day on which it was installed.
type installation struct {
	number int
	at     sesame.Address
	gone   bool // another one is at its address
	memory *sesame.Memory
	dev    *sesame.Device

	published *sesame.Publication
	oneTime   []x3dh.PublicPreKey // at the server

	views  [2][]view // of each group, those that it ever had
	used   [2]uint64 // the revision of the last message that it encrypted
	outbox []*parcel
	mail   []*mail
	asking map[*note]*mail // requests for what is held
	txs    int
	plan   *plan

	has    map[holder]bool   // whose distributions the server took, of its chains
	given  []gift            // the distributions that were ever sealed for it
	opened map[string]bool   // pairwise messages that it has decrypted
	groups map[*note]bool    // group messages that it has decrypted
	read   map[*note]bool    // what it has read, in one way or another
	rows   map[string]string // a snapshot

	restored bool                              // it has gone back to a snapshot once
	tainted  map[senderkey.DistributionID]bool // its chains from before that
}

// A holder has a chain, as far as its sender knows.
type holder struct {
	chain senderkey.DistributionID
	*installation
}

// A gift is a distribution, as it was sealed.
type gift struct {
	from         *installation
	distribution *senderkey.Distribution
}

// A note is a message that somebody writes, whatever it is encrypted with.
type note struct {
	chat      int
	from      *installation
	timestamp uint64
	text      string
	chain     senderkey.DistributionID // of its last group message
	to        map[*installation]bool   // those for whom it was ever encrypted
	owed      map[*installation]bool   // those of them for whom the server took it
	excused   map[*installation]bool   // the network lost it: they may never read it
}

// Sealed is a group message, whether it ever left its device or not.
type sealed struct {
	*note
	ciphertext []byte
	readers    map[*installation]bool
	chain      senderkey.DistributionID
}

// A parcel is what the sender has in its outbox: a message for all.
type parcel struct {
	*note
	mail    []*mail
	chain   senderkey.DistributionID
	brought []sesame.Address // that get a distribution with it
}

// Mail is on its way to one device.
type mail struct {
	*note
	from, to *installation
	typ      ratchet.Type
	bytes    []byte
	brings   bool // a distribution
}

// groupType is the type of a group message, outside of all bytes.
const groupType ratchet.Type = 7

// A keyName names a message key on the wire: of a chain, or of a ratchet key.
type keyName struct {
	from    int
	chain   string
	counter uint32
}

// A sabotage breaks a rule of an application, of its database, or of the library.
type sabotage struct {
	before       func(c *club, a action)
	tx           func(p *installation, tx sesame.Tx) sesame.Tx
	distribution func(p *installation, b []byte) []byte
	text         func(text []byte) []byte
	sendFirst    bool // what a transaction made leaves although it was rolled back
	ackFirst     bool // mail goes although its transaction was rolled back
	accepted     bool // distributions count as accepted before they leave
	neverAsk     bool // nobody asks for what does not decrypt
}

var addresses = []sesame.Address{{User: "alice", Device: 1}, {User: "alice", Device: 2}, {User: "bob", Device: 1},
	{User: "carol", Device: 1}, {User: "dave", Device: 1}}

// newClub makes a club of four devices in the first group. They have written to each
// other before, unless they are strangers: half of all that happens between strangers
// is that sessions begin, which takes its time.
func newClub(fail func(string, ...any), family ratchet.Family, strangers bool) *club {
	c := emptyClub(fail, family)
	if strangers {
		for _, a := range addresses[:4] {
			c.install(a)
		}
	} else {
		c.acquaint()
	}
	for _, p := range c.all {
		c.chats[0].members = append(c.chats[0].members, p.at)
	}
	c.chats[0].revision = 1
	for _, p := range c.all {
		c.learn(p)
	}
	return c
}

// Clubs in which everybody has written to everybody, by family; made once.
var acquainted [2]struct {
	once sync.Once
	*club
}

// acquaint makes installations with the sessions of others, as they are stored, and
// nothing else of theirs.
func (c *club) acquaint() {
	made := &acquainted[c.config.Family]
	made.once.Do(func() {
		made.club = newClub(func(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }, c.config.Family, true)
		made.exchange()
	})
	for _, old := range made.all {
		p := newInstallation(old.number, old.at)
		p.published, p.oneTime = old.published, slices.Clone(old.oneTime)
		err := p.memory.Do(func(tx sesame.Tx) (err error) {
			for key, v := range made.stored(old) {
				switch strings.Split(key, "/")[1] {
				case "group", "receiver", "chain", "held", "sent", "retry":
					continue
				}
				if err := tx.Put(key, []byte(v), 0); err != nil {
					return err
				}
			}
			p.dev, err = sesame.Open(tx, c.config)
			return err
		})
		c.must(err == nil, "acquaint: %v", err)
		c.all = append(c.all, p)
	}
}

func emptyClub(fail func(string, ...any), family ratchet.Family) *club {
	c := &club{stage: newStage(fail), started: time.Unix(1_700_000_000, 0), notes: map[uint64]*note{},
		usedKeys: map[[32]byte]bool{}, usedNames: map[keyName]string{}}
	c.now = c.started
	// In groups of three, messages are pairwise.
	c.config = sesame.Config{Now: func() time.Time { return c.now }, Family: family, PairwiseGroups: 2}
	c.chats = [2]*circle{{name: "first"}, {name: "second"}}
	return c
}

func (c *club) senderFamily() senderkey.Family {
	if c.config.Family == ratchet.WhatsApp {
		return senderkey.WhatsApp
	}
	return senderkey.Signal
}

// install makes an installation, which knows the groups that it is in, as the
// server has them.
func (c *club) install(a sesame.Address) *installation {
	p := c.installed(a)
	for slices.ContainsFunc(c.all, func(q *installation) bool {
		return q.at == a && q.published.RegistrationID == p.published.RegistrationID
	}) {
		p = c.installed(a) // of 16,380 IDs the same again, by which nobody could tell that it is another one
	}
	c.all = append(c.all, p)
	return p
}

func (c *club) installed(a sesame.Address) *installation {
	p := newInstallation(len(c.all), a)
	err := p.memory.Do(func(tx sesame.Tx) (err error) {
		if p.dev, err = sesame.Open(tx, c.config); err == nil {
			p.published, err = p.dev.Publish(tx, sesame.PreKeyBatch-2)
		}
		return err
	})
	c.must(err == nil, "install: %v", err)
	p.oneTime = p.published.OneTimePreKeys
	return p
}

func newInstallation(number int, a sesame.Address) *installation {
	return &installation{number: number, at: a, memory: new(sesame.Memory), asking: map[*note]*mail{}, has: map[holder]bool{},
		opened: map[string]bool{}, groups: map[*note]bool{}, read: map[*note]bool{}, tainted: map[senderkey.DistributionID]bool{}}
}

// at is the installation that is at an address now, nil if there is none.
func (c *club) at(a sesame.Address) *installation {
	for _, p := range c.all {
		if p.at == a && !p.gone {
			return p
		}
	}
	return nil
}

// present are the installations that are there.
func (c *club) present() (out []*installation) {
	for _, p := range c.all {
		if !p.gone {
			out = append(out, p)
		}
	}
	return out
}

// admit and expel change who is in a group, at the server.
func (c *club) admit(g int, a sesame.Address) {
	chat := c.chats[g]
	p := c.at(a)
	if p == nil {
		p = c.install(a)
	}
	if !chat.has(a) {
		chat.members = append(slices.Clone(chat.members), a)
		chat.revision++
	}
	c.learn(p)
}

func (c *club) expel(g int, a sesame.Address) {
	chat := c.chats[g]
	if !chat.has(a) || len(chat.members) <= 2 {
		return
	}
	chat.members = slices.DeleteFunc(slices.Clone(chat.members), func(m sesame.Address) bool { return m == a })
	chat.revision++
	c.reach("expelled")
}

// learn gives a device the groups as the server has them.
func (c *club) learn(p *installation) {
	for g, chat := range c.chats {
		if n := len(p.views[g]); n == 0 || p.views[g][n-1].revision != chat.revision {
			p.views[g] = append(p.views[g], chat.view)
		}
	}
}

// view is the newest view of a group that a device has.
func (p *installation) view(g int) view {
	if n := len(p.views[g]); n > 0 {
		return p.views[g][n-1]
	}
	return view{}
}

// bundle is what the server gives of a device.
func (c *club) bundle(p *installation) *x3dh.Bundle {
	info := x3dh.BundleInfo{RegistrationID: p.published.RegistrationID, DeviceID: p.at.Device,
		IdentityKey: p.published.IdentityKey, SignedPreKey: p.published.SignedPreKey}
	if len(p.oneTime) > 0 {
		info.OneTimePreKey, p.oneTime = &p.oneTime[0], p.oneTime[1:]
	}
	b, err := x3dh.NewBundle(info)
	c.must(err == nil, "bundle: %v", err)
	return b
}

// A plan is what happens in the next transaction of a device, at a step of it, or
// at its commit, which is step 0.
type plan struct {
	at    int
	fault txtest.Fault
	race  func() // the other process
}

var errGivenUp = errors.New("the transaction failed, as planned")

// do runs fn in a transaction of a device, again after a conflict, and says whether
// it was committed: after a crash, or an error, it looks. Other errors are the
// caller's.
func (c *club) do(p *installation, fn func(tx sesame.Tx) error) (committed bool, err error) {
	p.txs++
	mark := fmt.Sprint("app/", p.txs)
	plan, marked := p.plan, p.plan != nil
	p.plan = nil
	var store txtest.Store = p.memory
	if plan != nil {
		steps := 0
		store = txtest.Inject(p.memory, func(s txtest.Step) txtest.Fault {
			steps++
			if plan == nil || plan.at == 0 && s.Op != txtest.Commit || plan.at > 0 && steps != plan.at {
				return txtest.None
			}
			now := *plan
			plan = nil
			if now.race != nil {
				c.reach("race")
				now.race()
				return txtest.None
			}
			c.reach([...]string{txtest.NotApplied: "error, not applied", txtest.Applied: "error, applied",
				txtest.CrashBefore: "crash before", txtest.CrashAfter: "crash after"}[now.fault])
			return now.fault
		})
	}
	for n := 0; ; n++ {
		err = c.once(store, func(tx sesame.Tx) error {
			if marked {
				if err := tx.Put(mark, nil, 0); err != nil {
					return err
				}
			}
			if c.sabotage.tx != nil {
				tx = c.sabotage.tx(p, tx)
			}
			return fn(tx)
		})
		if !errors.Is(err, sesame.ErrConflict) {
			break
		}
		c.reach("conflict")
		c.must(n < 5, "a transaction conflicts with itself")
	}
	if err == nil || err != errGivenUp && !errors.Is(err, txtest.ErrInjected) {
		return err == nil, err
	}
	look := p.memory.Do(func(tx sesame.Tx) error {
		_, rev, err := tx.Get(mark)
		committed = rev != 0
		return err
	})
	c.must(look == nil, "look: %v", look)
	if committed {
		c.reach("committed without an answer")
	}
	return committed || c.sabotage.sendFirst, nil
}

func (c *club) once(store txtest.Store, fn func(tx sesame.Tx) error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case txtest.Crash:
			err = errGivenUp
		default:
			panic(r)
		}
	}()
	return store.Do(fn)
}

// run is do for what has no errors but those of faults.
func (c *club) run(p *installation, what string, fn func(tx sesame.Tx) error) (committed bool) {
	committed, err := c.do(p, fn)
	c.must(err == nil, "%s: %v", what, err)
	return committed
}

// stored is the whole database of a device, but for the application's rows.
func (c *club) stored(p *installation) map[string]string {
	rows := map[string]string{}
	err := p.memory.Do(func(tx sesame.Tx) error {
		for key, err := range tx.Scan("sotto/") {
			if err != nil {
				return err
			}
			v, _, err := tx.Get(key)
			if err != nil {
				return err
			}
			rows[key] = string(v)
		}
		return nil
	})
	c.must(err == nil, "stored: %v", err)
	return rows
}

// rewind puts back a snapshot of a device, as a backup does, or a thief of the
// database who can write to it (SPEC.md §10.1). What nobody can promise any more is in
// the rules below: see restored and tainted.
func (c *club) rewind(p *installation) {
	if p.rows == nil {
		return
	}
	now := c.stored(p)
	err := p.memory.Do(func(tx sesame.Tx) error {
		for key := range now {
			_, rev, err := tx.Get(key)
			if err == nil {
				err = tx.Delete(key, rev)
			}
			if err != nil {
				return err
			}
		}
		for key, v := range p.rows {
			_, rev, err := tx.Get(key)
			if err == nil {
				err = tx.Put(key, []byte(v), rev)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	c.must(err == nil, "restore: %v", err)
	for g := range c.chats {
		row := groupRow(c.chats[g].name)
		old := c.sender(p.rows[row])
		p.tainted[c.sender(now[row]).id], p.tainted[old.id] = true, true
		p.used[g] = old.revision
	}
	p.restored = true
	clear(p.opened)
	clear(p.groups)
	c.reach("rewind")
}

// A senderRow is what a device writes with in a group, as it is stored, read without
// the code under test.
type senderRow struct {
	started   bool
	revision  uint64
	id        senderkey.DistributionID
	chain     uint32
	iteration uint32
	ck        [32]byte
}

func groupRow(name string) string { return "sotto/group/" + hex.EncodeToString([]byte(name)) }

func (c *club) sender(row string) (s senderRow) {
	if row == "" {
		return s
	}
	var record, structure, state, ck []byte
	fields(row, map[int]any{1: &s.revision, 2: &record})
	c.must(len(record) > 0 && record[0] == 0x11, "a sender's record begins %x", record[:min(len(record), 1)])
	if len(record) == 1 {
		return s
	}
	s.started = true
	var id []byte
	fields(string(record[1:]), map[int]any{2: &id, 4: &structure})
	fields(string(structure), map[int]any{1: &state})
	fields(string(state), map[int]any{1: &s.chain, 2: &ck})
	var seed []byte
	fields(string(ck), map[int]any{1: &s.iteration, 2: &seed})
	c.must(len(id) == 16 && len(seed) == 32, "a sender's record has an ID of %d and a key of %d bytes", len(id), len(seed))
	s.id, s.ck = senderkey.DistributionID(id), [32]byte(seed)
	return s
}

// fields reads fields of a protobuf message, each once.
func fields(b string, into map[int]any) {
	d := wire.Decode([]byte(b))
	for d.Next() {
		switch v := into[d.Num()].(type) {
		case *uint64:
			*v = d.Uint64()
		case *uint32:
			*v = d.Uint32()
		case *[]byte:
			*v = d.Repeated()
		default:
			d.Skip()
		}
	}
}

// The application's form of plaintexts: what it is, the group, and the rest.
func form(kind, group string, rest []byte) []byte {
	return append([]byte(kind+"\x00"+group+"\x00"), rest...)
}

func parseForm(b []byte) (kind, group string, rest []byte) {
	parts := strings.SplitN(string(b), "\x00", 3)
	if len(parts) != 3 {
		return "", "", nil
	}
	return parts[0], parts[1], []byte(parts[2])
}

// inOrder are notes in the order in which they were written.
func inOrder[V any](m map[*note]V) []*note {
	return slices.SortedFunc(maps.Keys(m), func(a, b *note) int { return cmp.Compare(a.timestamp, b.timestamp) })
}
