package simulate

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/txtest"
	"github.com/sotto-im/sotto/x3dh"
)

// none is no key.
var none x3dh.PublicKey

// A device is an address with an application, which may be installed anew.
type device struct {
	*world
	at      sesame.Address
	server  mailbox
	starts  map[*device]int // sessions started with a device, over all installations
	friends []*device
	*installation
	installations []*installation // all that there were, the newest last

	// What the transactions that run now are about.
	target   *device
	handling *parcel
}

// An installation is one database and the two processes that use it.
type installation struct {
	memory       *sesame.Memory
	stores       [2]txtest.Store   // for each process, over the memory
	processes    [2]*sesame.Device // nil: does not run
	identity     x3dh.PublicKey    // none before the first transaction committed
	registration uint32
	backup       map[string][]byte // all rows, for RestoreBackup
	observer     *sesame.Device    // of the oracle
	unread       map[*device]bool  // who wrote what could not be read, since the last start
	views        map[*group]*[2]int
	again        map[*group]bool // it has forgotten the group: messages may come again
	asked        map[*letter]int // requests that were sent

	// What the oracle knows of it.
	acknowledged []*letter
	excuses      map[*letter]Count
	confirmed    map[*device][]x3dh.PublicKey
	read         map[*device][]int            // chains
	made         map[x3dh.PublicKey]time.Time // signed prekeys, in transactions that may be rolled back
	signed       map[uint32]time.Time         // those at the server, by ID: when they were made

	// Of groups.
	sending  map[*group]*sendingChain
	used     map[*group]int  // the newest membership
	received []receivedChain // the newest first
	waiting  []*letter       // held
	since    map[*letter]time.Time
	given    map[senderkey.DistributionID]*senderkey.Receiver
	copied   []map[string][]byte // its rows, each time that it left a group
}

func (d *device) String() string { return fmt.Sprintf("%s.%d", d.at.User, d.at.Device) }

// install gives the device an empty database.
func (d *device) install() {
	d.installation = &installation{
		unread:  map[*device]bool{},
		excuses: map[*letter]Count{}, confirmed: map[*device][]x3dh.PublicKey{}, read: map[*device][]int{},
		made: map[x3dh.PublicKey]time.Time{}, signed: map[uint32]time.Time{},
		views: map[*group]*[2]int{}, again: map[*group]bool{}, asked: map[*letter]int{},
		sending: map[*group]*sendingChain{}, used: map[*group]int{}, since: map[*letter]time.Time{},
		given: map[senderkey.DistributionID]*senderkey.Receiver{},
	}
	d.installations = append(d.installations, d.installation)
	d.use(new(sesame.Memory))
}

// use makes m the database of the device.
func (d *device) use(m *sesame.Memory) {
	d.memory = m
	for p := range d.stores {
		d.stores[p] = txtest.Inject(breakStore(d.Break, m), d.plan(p))
	}
}

// observe looks into the database; nothing fails.
func (d *device) observe(fn func(tx sesame.Tx) error) {
	if err := d.memory.Do(fn); err != nil {
		d.violation(Failed, "%v: %v", d, err)
	}
}

// rows are the rows with a prefix, in order.
func (d *device) rows(prefix string) (keys []string, values [][]byte) {
	d.observe(func(tx sesame.Tx) error {
		for key, err := range tx.Scan(prefix) {
			if err != nil {
				return err
			}
			value, _, err := tx.Get(key)
			if err != nil {
				return err
			}
			keys, values = append(keys, key), append(values, value)
		}
		return nil
	})
	return keys, values
}

// has reports whether there is a row.
func (d *device) has(key string) (found bool) {
	d.observe(func(tx sesame.Tx) error {
		_, rev, err := tx.Get(key)
		found = rev != 0
		return err
	})
	return found
}

// restart ends both processes.
func (d *device) restart() {
	d.count(Restarts)
	d.trace("%v restarts", d)
	d.processes = [2]*sesame.Device{}
	if d.Break == RestoreBackup && d.faulty {
		d.restoreBackup()
	}
}

// reinstall ends the installation. The server may keep the messages for it.
func (d *device) reinstall() {
	d.count(Reinstalls)
	d.trace("%v is installed anew", d)
	d.judge(d)
	d.install()
	d.server.publication = nil
	if d.percent(50) {
		d.report.N[Vanished] += len(d.server.mail)
		d.server.mail = nil
	}
	d.publish(0)
}

// publish has the application upload prekeys, few, so that they run out.
func (d *device) publish(p int) {
	var pub *sesame.Publication
	n := d.rng.IntN(3)
	err := d.do(p, "publish", func(tx sesame.Tx, dev *sesame.Device) (err error) {
		pub, err = dev.Publish(tx, sesame.PreKeyBatch-n)
		if err != nil {
			return err
		}
		if key := pub.SignedPreKey.Key; d.made[key].IsZero() {
			d.made[key] = d.now
		}
		if d.Break == PublishBeforeCommit {
			d.upload(pub)
		}
		return nil
	})
	if err != nil {
		return
	}
	if d.faulty && d.percent(20) {
		d.trace("%v publishes %d prekeys, and the upload is lost", d, n)
		return
	}
	d.trace("%v publishes %d prekeys", d, n)
	d.upload(pub)
}

// maxStarts is how many sessions an application starts with one device: with
// those that the device starts, fewer than sesame keeps.
const maxStarts = 18

// fetch fetches a bundle, anew each time. It is nil if there is none.
func (d *device) fetch(to *device) *x3dh.Bundle {
	if d.starts[to] >= maxStarts+2 || d.starts[to] >= maxStarts && d.faulty {
		return nil
	}
	b := to.bundle()
	if b == nil {
		d.trace("%v finds no bundle of %v", d, to)
		return nil
	}
	d.starts[to]++
	return b
}

// start makes a session from a bundle.
func (d *device) start(p int, to *device) {
	b := d.fetch(to)
	if b == nil {
		return
	}
	if d.do(p, "start", func(tx sesame.Tx, dev *sesame.Device) error { return dev.Start(tx, to.at, b) }) == nil {
		d.count(Sessions)
		delete(d.unread, to)
		d.trace("%v starts a session with %v", d, to)
	}
}

// startAnew starts a session though there may be one, or puts that one aside.
func (d *device) startAnew(p int, to *device) {
	if d.percent(30) {
		d.trace("%v resets its session with %v", d, to)
		_ = d.do(p, "reset", func(tx sesame.Tx, dev *sesame.Device) error { return dev.Reset(tx, to.at) })
		return
	}
	d.start(p, to)
}

// notice has the application compare the identity key that it knows of a device
// with that at the server, and the user confirm another one.
func (d *device) notice(p int, to *device) {
	if to.server.publication == nil || d.Break == NeverConfirm {
		return
	}
	key := to.server.publication.IdentityKey
	var known sesame.Peer
	err := d.do(p, "look at the peer", func(tx sesame.Tx, dev *sesame.Device) (err error) {
		known, err = dev.Peer(tx, to.at)
		return err
	})
	if err != nil || known == (sesame.Peer{}) || known.Identity == key && known.Changed == none {
		return
	}
	if known.Identity != key && known.Changed != key {
		d.start(p, to)
	}
	confirmed := false
	_ = d.do(p, "confirm", func(tx sesame.Tx, dev *sesame.Device) (err error) {
		confirmed = false
		known, err = dev.Peer(tx, to.at)
		if err != nil || known.Identity != key && known.Changed != key {
			return err
		}
		if err = dev.Confirm(tx, to.at, key); errors.Is(err, sesame.ErrIdentityChanged) {
			return nil // it has shown another one between the two reads: next time
		}
		confirmed = true
		return err
	})
	if !confirmed {
		return
	}
	d.observe(func(tx sesame.Tx) (err error) { // the commit may have failed, or not
		known, err = d.observer.Peer(tx, to.at)
		return err
	})
	if known.Identity == key {
		d.count(Confirmed)
		d.trace("%v confirms the key of %v", d, to)
		d.confirmed[to] = append(d.confirmed[to], key)
		d.forgotKeys(to, key)
	}
}

// write has the application encrypt one text for some devices, and put the
// messages into its outbox.
func (d *device) write(p int, to ...*device) (written []*letter) {
	text := fmt.Sprintf("message %d of %v", len(d.letters), d)
	var letters []*letter
	var addresses []sesame.Address
	for _, o := range to {
		d.prepare(p, o)
		letters, addresses = append(letters, d.newLetter(o, text)), append(addresses, o.at)
	}
	if len(d.groups) > 0 && d.percent(50) { // it can be asked for
		timestamp := uint64(d.id())
		for _, l := range letters {
			l.timestamp = timestamp
		}
	}
	d.target = to[0]
	defer func() { d.target = nil }()
	messages, err := d.encrypt(p, letters, addresses, text)
	if errors.Is(err, txtest.ErrInjected) && d.Break == AssumeRolledBack {
		messages, err = d.encrypt(p, letters, addresses, text)
	}
	if err != nil {
		return nil
	}
	for i, m := range messages {
		l := letters[i]
		switch {
		case m.Err == nil:
			d.count(Written)
			d.trace("%v writes #%d to %v", d, l.number, l.to)
			written = append(written, l)
			continue
		case errors.Is(m.Err, sesame.ErrNoSession):
			d.start(p, l.to)
		case errors.Is(m.Err, sesame.ErrIdentityChanged):
			d.notice(p, l.to)
		default:
			d.violation(Failed, "%v: encrypt: %v", d, m.Err)
		}
		d.trace("%v cannot write #%d to %v: %v", d, l.number, l.to, m.Err)
	}
	return written
}

// prepare does, or does not, what makes another device readable and writable
// for: it looks at its identity key, and starts anew if it has written what
// could not be read.
func (d *device) prepare(p int, o *device) {
	if d.faulty && !d.percent(60) {
		return
	}
	d.notice(p, o)
	if d.unread[o] && d.Break != NeverRestart {
		d.start(p, o)
	}
}

// encrypt is the transaction of write: one plaintext and its outbox rows.
func (d *device) encrypt(p int, letters []*letter, to []sesame.Address, text string) (messages []sesame.Message, err error) {
	attempt := d.id()
	err = d.do(p, "encrypt", func(tx sesame.Tx, dev *sesame.Device) (err error) {
		if t := letters[0].timestamp; t == 0 {
			messages, err = dev.Encrypt(tx, []byte(text), to...)
		} else {
			messages, err = dev.EncryptLogged(tx, t, []byte(text), to...)
		}
		if err != nil {
			return err
		}
		for i, m := range messages {
			if m.Err != nil {
				continue
			}
			known, err := dev.Peer(tx, to[i])
			if err != nil {
				return err
			}
			row := append([]byte{byte(m.Type)}, known.Identity.Bytes()...)
			row = append(row, m.Bytes...)
			if err := tx.Put(outRow(letters[i], attempt), row, 0); err != nil {
				return err
			}
			if d.Break == SendBeforeCommit {
				d.post(d.parse(letters[i], row))
			}
		}
		return nil
	})
	return messages, err
}

// parse reads an outbox row.
func (d *device) parse(l *letter, row []byte) *parcel {
	receiver, err := x3dh.ParsePublicKey(row[1:34])
	if err != nil {
		d.violation(Failed, "%v: outbox: %v", d, err)
	}
	return &parcel{l, d.identity, receiver, ratchet.Type(row[0]), row[34:]}
}

// submit sends what is in the outbox, and deletes what the server has answered.
func (d *device) submit(p int) {
	keys, rows := d.rows("app/out/")
	var done []string
	var brought []*letter
	for i, key := range keys {
		var number int
		if _, err := fmt.Sscanf(strings.TrimPrefix(key, "app/out/"), "%d", &number); err != nil {
			panic(err)
		}
		l := d.letters[number]
		answered := d.post(d.parse(l, rows[i]))
		if answered || l.brings != nil && d.Break == DistributedEarly {
			done = append(done, key)
		}
		if answered && l.brings != nil && d.Break != NeverDistributed {
			brought = append(brought, l)
		}
	}
	if len(done) == 0 {
		return
	}
	_ = d.do(p, "clear the outbox", func(tx sesame.Tx, dev *sesame.Device) error {
		for _, l := range brought {
			c := l.brings.circular
			if err := dev.Distributed(tx, c.group.name, c.made, l.to.at); err != nil {
				return err
			}
		}
		for _, key := range done {
			_, rev, err := tx.Get(key)
			if err == nil {
				err = tx.Delete(key, rev)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// exchange writes to a device that reads it, and reports whether the message
// was an ordinary one, under a new ratchet key, and is in the inbox.
func (d *device) exchange(to *device) bool {
	written := d.write(0, to)
	if len(written) == 0 { // the application has started a session meanwhile
		written = d.write(0, to)
	}
	chains := len(d.chains)
	d.submit(0)
	fresh, ordinary := len(d.chains) > chains, false
	for _, m := range to.server.mail {
		ordinary = m.typ == ratchet.Ordinary
	}
	to.readAll()
	return len(written) > 0 && ordinary && fresh && to.copies(written[0]) > 0
}
