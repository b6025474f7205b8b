package simulate

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sotto-im/sotto/ratchet"
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

	// What the transactions that run now are about.
	target   *device
	handling *parcel
}

// An installation is one database and the two processes that use it.
type installation struct {
	memory    *sesame.Memory
	stores    [2]txtest.Store   // for each process, over the memory
	processes [2]*sesame.Device // nil: does not run
	identity  x3dh.PublicKey    // none before the first transaction committed
	backup    map[string][]byte // all rows, for RestoreBackup
	observer  *sesame.Device    // of the oracle
	unread    map[*device]bool  // who wrote what could not be read, since the last start

	// What the oracle knows of it.
	acknowledged []*letter
	excuses      map[*letter]Count
	confirmed    map[*device][]x3dh.PublicKey
	read         map[*device][]int            // chains
	made         map[x3dh.PublicKey]time.Time // signed prekeys, in transactions that may be rolled back
	signed       map[uint32]time.Time         // those at the server, by ID: when they were made
}

func (d *device) String() string { return fmt.Sprintf("%s.%d", d.at.User, d.at.Device) }

// install gives the device an empty database.
func (d *device) install() {
	d.installation = &installation{
		unread:  map[*device]bool{},
		excuses: map[*letter]Count{}, confirmed: map[*device][]x3dh.PublicKey{}, read: map[*device][]int{},
		made: map[x3dh.PublicKey]time.Time{}, signed: map[uint32]time.Time{},
	}
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

// start makes a session from a bundle. A bundle is fetched anew each time.
func (d *device) start(p int, to *device) {
	if d.starts[to] >= maxStarts+1 || d.starts[to] >= maxStarts && d.faulty {
		return
	}
	b := to.bundle()
	if b == nil {
		d.trace("%v finds no bundle of %v", d, to)
		return
	}
	d.starts[to]++
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
	}
}

// write has the application encrypt one text for some devices, and put the
// messages into its outbox.
func (d *device) write(p int, to ...*device) (written []*letter) {
	text := fmt.Sprintf("message %d of %v", len(d.letters), d)
	var letters []*letter
	var addresses []sesame.Address
	for _, o := range to {
		if !d.faulty || d.percent(60) {
			d.notice(p, o)
			if d.unread[o] && d.Break != NeverRestart {
				d.start(p, o)
			}
		}
		l := &letter{number: len(d.letters), text: text, from: d, to: o}
		d.letters = append(d.letters, l)
		letters, addresses = append(letters, l), append(addresses, o.at)
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

// encrypt is the transaction of write: one plaintext and its outbox rows.
func (d *device) encrypt(p int, letters []*letter, to []sesame.Address, text string) (messages []sesame.Message, err error) {
	attempt := d.id()
	err = d.do(p, "encrypt", func(tx sesame.Tx, dev *sesame.Device) (err error) {
		if messages, err = dev.Encrypt(tx, []byte(text), to...); err != nil {
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
			if err := tx.Put(fmt.Sprintf("app/out/%05d/%05d", letters[i].number, attempt), row, 0); err != nil {
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
	for i, key := range keys {
		var number int
		if _, err := fmt.Sscanf(strings.TrimPrefix(key, "app/out/"), "%d", &number); err != nil {
			panic(err)
		}
		if d.post(d.parse(d.letters[number], rows[i])) {
			done = append(done, key)
		}
	}
	if len(done) == 0 {
		return
	}
	_ = d.do(p, "clear the outbox", func(tx sesame.Tx, _ *sesame.Device) error {
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

// receive has the application decrypt a message, put the plaintext or the
// verdict into its inbox, and acknowledge it when that is committed.
func (d *device) receive(p int, m *parcel) {
	d.count(Delivered)
	d.target, d.handling = m.from, m
	defer func() { d.target, d.handling = nil, nil }()
	if d.Break == AcknowledgeFirst {
		d.acknowledge(m)
	}
	n := d.id()
	var r *sesame.Result
	store := func(tx sesame.Tx) error {
		if r.Err != nil {
			return tx.Put(fmt.Sprintf("app/verdict/%05d/%05d", m.number, n), []byte(r.Err.Error()), 0)
		}
		return tx.Put(fmt.Sprintf("app/in/%05d/%05d", m.number, n), r.Plaintext, 0)
	}
	err := d.do(p, "decrypt", func(tx sesame.Tx, dev *sesame.Device) (err error) {
		r, err = dev.Decrypt(tx, m.from.at, m.typ, m.bytes)
		if err != nil || d.Break == TwoTransactions {
			return err
		}
		return store(tx)
	})
	if err == nil && d.Break == TwoTransactions {
		err = d.do(p, "store the text", func(tx sesame.Tx, _ *sesame.Device) error { return store(tx) })
	}
	if err != nil {
		return // not acknowledged: it is delivered again
	}
	switch {
	case r.Err == nil:
		d.trace("%v reads #%d of %v", d, m.number, m.from)
		d.opened(m)
	case errors.Is(r.Err, sesame.ErrDuplicate):
		d.trace("%v recognises #%d of %v", d, m.number, m.from)
		d.count(Duplicates)
		d.excuse(m, r.Err)
	default:
		d.trace("%v cannot read #%d of %v: %v", d, m.number, m.from, r.Err)
		d.unread[m.from] = true
		d.excuse(m, r.Err)
	}
	if d.Break != AcknowledgeFirst {
		d.acknowledge(m)
	}
}

// acknowledge tells the server that m is done with. It may not hear it.
func (d *device) acknowledge(m *parcel) {
	d.acknowledged = append(d.acknowledged, m.letter)
	if d.faulty && d.percent(15) {
		d.trace("  the acknowledgement is lost")
		return
	}
	d.server.remove(m)
}

// readAll reads all that the server has for d.
func (d *device) readAll() {
	for len(d.server.mail) > 0 {
		m := d.anyMail()
		d.receive(0, m)
		d.server.remove(m) // also if it failed, which is a violation
	}
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
