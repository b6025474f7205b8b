package conformance

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
)

// A kind is what a parcel is: the type of a message, or a distribution.
type kind int

const (
	ordinary     kind = 2
	initial      kind = 3
	groupMessage kind = 7
	distribution kind = 8
)

func (k kind) String() string {
	return map[kind]string{ordinary: "ordinary", initial: "initial", groupMessage: "group message", distribution: "distribution"}[k]
}

// A parcel is what an account has written to another.
type parcel struct {
	serial, from, to int
	kind             kind
	raw              []byte
	plaintext        string // hex
}

// An account is one device, played by a peer.
type account struct {
	client   *client
	store    string
	address  object
	identity string // its public key
	group    string // the distribution ID under which it writes
}

// A cast plays a schedule: three accounts and the network between them. The second and
// the third write to the first, and it to both; of groups they read each other.
type cast struct {
	t        testing.TB
	name     string
	accounts [3]*account
	names    names
	underway []*parcel
	sent     []*parcel
	groups   []string             // all distribution IDs
	records  [3]map[string]string // of each account, as last exported
	taken    [3]map[string]bool   // the sessions and chains that began at each account
	bundles  int                  // so many were made
	jumped   uint64
	requests int
	until    time.Time // then it ends with errTime
	outcomes []outcome // of the step
}

// An outcome is what came of a request of an account, without all that is random.
type outcome struct {
	who      int
	parcel   *parcel // which arrived, or nil
	raw      []byte  // what arrived in its place
	again    bool    // its session or chain was taken before
	promoted bool    // and its session, of the past, is the current one now
	done     string
	refused  string // the name of the error instead
	looks    string // of the records afterwards
}

func (o outcome) String() string {
	s := fmt.Sprintf("\t%d: %s%s\n", o.who, o.done, o.refused)
	for line := range strings.Lines(o.looks) {
		s += "\t\t" + line
	}
	return s
}

func (c *cast) say(o outcome) {
	if o.refused != "" {
		o.done = "refused: "
	}
	c.outcomes = append(c.outcomes, o)
}

const stranger = "44444444-4444-4444-8444-444444444444" // an address of nobody

func newCast(t testing.TB, a, b *client) *cast {
	c := &cast{t: t, name: a.name + " with " + b.name, names: names{}}
	for i, p := range []*client{a, b, b} {
		name := strings.ReplaceAll("xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx", "x", fmt.Sprint(i+1))
		c.accounts[i] = &account{
			client: p, store: fmt.Sprintf("%s %d", c.name, i),
			address: object{"name": name, "deviceId": i + 1},
		}
		c.records[i], c.taken[i] = map[string]string{}, map[string]bool{}
		c.install(i)
		c.newGroup(i)
	}
	return c
}

// ask asks the peer of an account, and returns the name of its error, if any.
func (c *cast) ask(who int, cmd string, args object) (result, string) {
	c.t.Helper()
	if c.requests++; !c.until.IsZero() && time.Now().After(c.until) {
		panic(errTime)
	}
	a := c.accounts[who]
	args["store"] = a.store
	return a.client.do(c.t, cmd, args)
}

// must is ask for what no peer may refuse.
func (c *cast) must(who int, cmd string, args object) result {
	c.t.Helper()
	r, refused := c.ask(who, cmd, args)
	require.Empty(c.t, refused, "%s: %s", c.name, cmd)
	return r
}

// install makes an account what it is on a new device: nothing is left of before.
func (c *cast) install(who int) {
	a := c.accounts[who]
	a.identity = c.must(who, "newIdentity", object{
		"name": a.address["name"], "deviceId": a.address["deviceId"], "registrationId": 1000 + who,
	}).IdentityPublic
	clear(c.records[who])
	clear(c.taken[who])
}

func (c *cast) newGroup(who int) {
	id := fmt.Sprintf("%08x-0000-4000-8000-%012x", len(c.groups), who)
	c.groups = append(c.groups, id)
	c.accounts[who].group = id
}

// start starts a session from a bundle of another account.
func (c *cast) start(who, with int, preKey bool) { c.process(who, with, c.bundle(with, preKey)) }

func (c *cast) bundle(who int, preKey bool) result {
	c.bundles++
	return c.must(who, "makeBundle", object{"preKey": preKey, "preKeyId": c.bundles, "signedPreKeyId": 100 + c.bundles})
}

func (c *cast) process(who, with int, bundle result) {
	other := c.accounts[with].address
	_, refused := c.ask(who, "processBundle", object{"address": other, "bundle": bundle.all})
	c.say(outcome{who: who, done: "started", refused: refused, looks: c.session(who, other)})
}

// plaintext is that of a parcel.
func plaintext(serial, size int) string {
	return strings.Repeat(fmt.Sprintf("%02x", byte(serial)), size)
}

// send puts a message of an account under way.
func (c *cast) send(who, to, size int) {
	other, text := c.accounts[to].address, plaintext(len(c.sent), size)
	r, refused := c.ask(who, "encrypt", object{"address": other, "plaintext": text})
	done := ""
	if refused == "" {
		done = c.post(&parcel{from: who, to: to, kind: kind(r.Type), raw: c.bytes(r.Ciphertext), plaintext: text})
	}
	c.say(outcome{who: who, done: done, refused: refused, looks: c.session(who, other)})
}

func (c *cast) groupSend(who, to, size int) {
	self, text := c.accounts[who], plaintext(len(c.sent), size)
	r, refused := c.ask(who, "groupEncrypt", object{"distributionId": self.group, "plaintext": text})
	done := ""
	if refused == "" {
		done = c.post(&parcel{from: who, to: to, kind: groupMessage, raw: c.bytes(r.Ciphertext), plaintext: text})
	}
	c.say(outcome{who: who, done: done, refused: refused, looks: c.chains(who, self.address)})
}

func (c *cast) distribute(who, to int) {
	r := c.distribution(who)
	done := c.post(&parcel{from: who, to: to, kind: distribution, raw: c.bytes(r.Message)})
	c.say(outcome{who: who, done: done, looks: c.chains(who, c.accounts[who].address)})
}

// post puts a parcel under way and says how it looks.
func (c *cast) post(p *parcel) string {
	p.serial = len(c.sent)
	c.underway = append(c.underway, p)
	c.sent = append(c.sent, p)
	return fmt.Sprintf("sent %d: %s", p.serial, c.names.looks(p, c.accounts[p.from].client.peer))
}

func (c *cast) bytes(text string) []byte {
	b, err := hex.DecodeString(text)
	require.NoError(c.t, err)
	return b
}

// receive gives an account bytes, as of a kind and from an address. What it reads has
// to be what was written, and if it refuses, its records stay what they were.
func (c *cast) receive(p *parcel, to int, from object, k kind, raw []byte) {
	before := c.exported(to, from, k)
	session := c.currentBase(to, from)
	cmd, args := "decrypt", object{"address": from, "type": k, "ciphertext": hex.EncodeToString(raw)}
	switch k {
	case groupMessage:
		cmd, args = "groupDecrypt", object{"sender": from, "ciphertext": hex.EncodeToString(raw)}
	case distribution:
		cmd, args = "senderKeyDistributionProcess", object{"sender": from, "message": hex.EncodeToString(raw)}
	}
	r, refused := c.ask(to, cmd, args)
	o := outcome{who: to, parcel: p, raw: raw, done: fmt.Sprintf("read %d", p.serial), refused: refused}
	begins := beginning(k, raw, c.accounts[to].client.family)
	o.again = c.taken[to][begins]
	switch {
	case refused != "":
	case k == distribution:
		o.done = fmt.Sprintf("took %d, chain %s iteration %d", p.serial, c.names.chain(r.ChainID), r.Iteration)
		c.taken[to][begins] = true
	default:
		require.Equal(c.t, p.plaintext, r.Plaintext, "%s: plaintext of %d", c.name, p.serial)
		if k == initial {
			c.taken[to][begins] = true
		}
	}
	if k < groupMessage {
		o.looks = c.session(to, from)
		o.promoted = session != "" && session != c.currentBase(to, from) && (k == ordinary || o.again)
	} else {
		o.looks = c.chains(to, from)
	}
	if refused != "" {
		require.Equal(c.t, before, c.exported(to, from, k), "%s: %d was refused, and the record changed", c.name, p.serial)
	}
	c.say(o)
}

// beginning names the session or the chain that a message can begin.
func beginning(k kind, raw []byte, family ratchet.Family) string {
	if len(raw) == 0 {
		return ""
	}
	m := fields(raw[1:])
	switch k {
	case initial:
		return string(sub(m, 2))
	case distribution:
		if family == ratchet.WhatsApp { // which has no distribution ID
			return fmt.Sprint(number(m, 1))
		}
		return fmt.Sprint(number(m, 2))
	}
	return ""
}

// deliver gives a parcel to whom it is for.
func (c *cast) deliver(p *parcel) { c.arrive(p, p.to, p.raw) }

// arrive gives an account bytes in the place of a parcel.
func (c *cast) arrive(p *parcel, to int, raw []byte) {
	c.receive(p, to, c.accounts[p.from].address, p.kind, raw)
}

// rowOf names a record: sessions have no ID.
func rowOf(id string, with object) string { return id + " " + with["name"].(string) }

func (c *cast) stored(who int, with object) string { return c.records[who][rowOf("session", with)] }

// currentBase is the base key of the current session of an account with an address.
func (c *cast) currentBase(who int, with object) string {
	return string(sub(fields(sub(fields(c.bytes(c.stored(who, with))), 1)), 13))
}

// groupsOf is the distribution IDs under which an account has chains of a sender. In the
// WhatsApp family all chains of another device are in one record.
func (c *cast) groupsOf(who int, sender object) []string {
	if a := c.accounts[who]; a.client.family == ratchet.WhatsApp && sender["name"] != a.address["name"] {
		return c.groups[:1]
	}
	return c.groups
}

// exported is what an account has stored that a message of a kind could change.
func (c *cast) exported(who int, from object, k kind) string {
	if k < groupMessage {
		return c.stored(who, from)
	}
	var s strings.Builder
	for _, id := range c.groupsOf(who, from) {
		s.WriteString(c.records[who][rowOf(id, from)] + "\n")
	}
	return s.String()
}

// session exports the sessions of an account with an address, and says what they are.
func (c *cast) session(who int, with object) string {
	return c.names.session(c.export(who, rowOf("session", with), "exportSession", object{"address": with}), c.accounts[who].client.peer)
}

// chains exports the chains of a sender that an account has, and says what they are.
func (c *cast) chains(who int, sender object) string {
	var s strings.Builder
	for _, id := range c.groupsOf(who, sender) {
		record := c.export(who, rowOf(id, sender), "exportSenderKey", object{"distributionId": id, "sender": sender})
		if record != "" {
			s.WriteString(id + ":\n" + c.names.senderKey(record))
		}
	}
	return s.String()
}

func (c *cast) export(who int, row, cmd string, args object) string {
	record := ""
	if r := c.must(who, cmd, args); r.Record != nil {
		record = *r.Record
	}
	c.records[who][row] = record
	return record
}
