package simulate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// A circular is a message to a group.
type circular struct {
	group     *group
	roster    int // the membership that the writer knew
	text      string
	from      *device
	writer    *installation
	timestamp uint64
	written   time.Time

	entries      []entry
	ciphertext   []byte                   // nil if it is pairwise
	distribution []byte                   // nil if nobody needs it
	made         senderkey.DistributionID // its chain, for Distributed
	link                                  // if it is not pairwise
	readers      []*installation          // who may read it
}

// An entry is a device that a circular is for.
type entry struct {
	to             *device
	letter, brings *letter // the message, and the distribution that may come with it
	reader         *installation
	typ            ratchet.Type
	bytes          []byte
	err            error
	quiet          bool // it gets nothing, and only sesame is told of it: RemoveQuietly
}

// A link is a message key of a chain.
type link struct {
	id               senderkey.DistributionID
	chain, iteration uint32
}

// opens reports whether a distribution of l opens the message m.
func (l link) opens(m link) bool {
	return l.id == m.id && l.chain == m.chain && l.iteration <= m.iteration
}

func (w *world) linkOf(m *parcel) (link, *senderkey.Message) {
	parsed, err := senderkey.ParseMessage(m.bytes, senderkey.Signal)
	if err != nil {
		w.violation(Failed, "%v writes #%d: %v", m.from, m.number, err)
		return link{}, nil
	}
	return link{parsed.ID, parsed.ChainID, parsed.Iteration}, parsed
}

func (w *world) linkOfDistribution(b []byte) link {
	d, err := senderkey.ParseDistribution(b, senderkey.Signal)
	if err != nil {
		w.violation(Failed, "distribution: %v", err)
	}
	return link{d.ID(), d.ChainID(), d.Iteration()}
}

// A sendingChain is what a device writes with in a group.
type sendingChain struct {
	link                     // of the last message
	started  time.Time       // with its first message
	mayRead  []*installation // all that it was ever given to
	accepted []*installation // of those, whose distribution the server has accepted
}

// The limits of a chain, and of the log of messages that can be sent again.
const (
	chainMessages = 100
	chainAge      = 7 * 24 * time.Hour
	logAge        = 14 * 24 * time.Hour
	answersMost   = 5
)

// installationOf is the installation of d that a session is with.
func (d *device) installationOf(registration uint32, identity x3dh.PublicKey) (found *installation) {
	for _, i := range d.installations {
		if i.registration == registration && (found == nil || i.identity == identity) {
			found = i
		}
	}
	return found
}

// named is the device with an address.
func (w *world) named(a sesame.Address) *device {
	return w.devices[slices.IndexFunc(w.devices, func(d *device) bool { return d.at == a })]
}

// sent looks at a circular that has been committed.
func (d *device) sent(c *circular) {
	d.count(GroupMessages)
	truth := c.roster
	if c.group.counted {
		truth = max(truth, d.used[c.group]) // whatever the application says now
	}
	d.used[c.group] = truth
	allowed := c.group.rosters[truth]
	var mayRead []*installation
	for _, e := range c.entries {
		if e.err != nil {
			continue
		}
		mayRead = append(mayRead, e.reader)
		if e.quiet {
			continue
		}
		c.readers = append(c.readers, e.reader)
		if e.letter != nil {
			e.letter.reader = e.reader
		}
		if !slices.Contains(allowed, e.to) {
			d.violation(Leaked, "%v writes to %v in %s, after it was removed", d, e.to, c.group.name)
		}
	}
	if c.ciphertext == nil {
		d.count(GroupPairwise)
		return
	}
	d.circulars = append(d.circulars, c)
	c.link, _ = d.linkOf(&parcel{letter: &letter{from: d}, bytes: c.ciphertext})
	d.follow(c, mayRead)
	for _, e := range c.entries {
		switch {
		case e.err != nil:
		case e.bytes != nil:
			d.count(Distributions)
			e.reader.give(c)
		case !slices.Contains(d.sending[c.group].accepted, e.reader):
			d.violation(Keyless, "%v writes to %v in %s, which has got no distribution", d, e.to, c.group.name)
		}
	}
}

// follow looks at the chain of a circular: it is another one than that of the
// one before if it has to be, and only then.
func (d *device) follow(c *circular, mayRead []*installation) {
	last := d.sending[c.group]
	reason := RotatedFirst
	switch {
	case last == nil:
	case slices.ContainsFunc(last.mayRead, func(i *installation) bool { return !slices.Contains(mayRead, i) }):
		reason = RotatedGone
	case last.iteration+1 >= chainMessages:
		reason = RotatedLong
	case c.written.Sub(last.started) >= chainAge:
		reason = RotatedOld
	default:
		if last.id != c.id {
			d.violation(Failed, "%v replaces its chain in %s for no reason", d, c.group.name)
		}
		last.link = c.link
		for _, i := range mayRead {
			if !slices.Contains(last.mayRead, i) {
				last.mayRead = append(last.mayRead, i)
			}
		}
		return
	}
	if last != nil && last.id == c.id {
		d.violation(Failed, "%v does not replace its chain in %s: %v", d, c.group.name, reason)
	}
	d.count(reason)
	d.sending[c.group] = &sendingChain{link: c.link, started: c.written, mayRead: mayRead}
}

// give gives an installation the distribution of a circular: it may keep it for
// ever. Of a chain the first one opens most.
func (i *installation) give(c *circular) {
	if _, ok := i.given[c.id]; ok {
		return
	}
	r := senderkey.NewReceiver(senderkey.Signal)
	d, err := senderkey.ParseDistribution(c.distribution, senderkey.Signal)
	if err == nil {
		err = r.Process(d)
	}
	if err != nil {
		c.from.violation(Failed, "%v: distribution: %v", c.from, err)
	}
	i.given[c.id] = r
}

// accept notes that a server took a distribution, and that its writer knows.
func (m *parcel) accept() {
	c := m.brings.circular
	chain := c.writer.sending[c.group]
	if chain != nil && chain.id == c.id && !slices.Contains(chain.accepted, m.brings.reader) {
		chain.accepted = append(chain.accepted, m.brings.reader)
	}
}

// A receivedChain is a chain of another device that an installation has.
type receivedChain struct {
	link
	writer *installation
	group  *group
}

// hasChain reports whether the installation can read a circular.
func (i *installation) hasChain(c *circular) bool {
	return slices.ContainsFunc(i.received, func(r receivedChain) bool { return r.opens(c.link) })
}

// distributed looks at a distribution that d has taken, and at what came out
// with it.
func (d *device) distributed(l *letter, distribution []byte, out []outcome) {
	c := l.brings.circular
	if !slices.Contains(c.readers, d.installation) {
		d.violation(Leaked, "%v gets a distribution of %v, which is not for it", d, l.from)
	}
	got := receivedChain{d.linkOfDistribution(distribution), c.writer, c.group}
	same := func(r receivedChain) bool { return r.id == got.id && r.chain == got.chain }
	if i := slices.IndexFunc(d.received, same); i >= 0 {
		got = d.received[i]
		d.received = slices.Delete(d.received, i, i+1)
	}
	n := 0
	d.received = slices.DeleteFunc(slices.Insert(d.received, 0, got), func(r receivedChain) bool {
		if r.writer == c.writer && r.group == c.group {
			n++
		}
		return n > senderkey.MaxChains && r.writer == c.writer && r.group == c.group
	})
	for _, held := range slices.Clone(d.waiting) {
		if !got.opens(held.circular.link) {
			continue
		}
		d.waiting = slices.DeleteFunc(d.waiting, func(l *letter) bool { return l == held })
		given := slices.ContainsFunc(out, func(o outcome) bool { return o.letter == held })
		if !given && d.copies(held) == 0 && d.now.Sub(d.since[held]) < logAge {
			d.violation(Lost, "#%d of %v was held by %v, and its distribution does not bring it", held.number, held.from, d)
		}
	}
	// What a later chain of the same distribution ID brought out, unread, is held no
	// more: it is asked for.
	for _, o := range out {
		d.waiting = slices.DeleteFunc(d.waiting, func(l *letter) bool { return l == o.letter })
	}
}

// lookAt looks at what became of a group message. Whether its chain was known is
// what counts when it was looked for, but for one that is held: that one and its
// distribution cannot miss each other.
func (d *device) lookAt(m *parcel, verdict error, known bool) {
	if errors.Is(verdict, sesame.ErrHeld) {
		known = d.hasChain(m.circular) // also if it came meanwhile
		if !slices.Contains(d.waiting, m.letter) {
			d.waiting = append(d.waiting, m.letter)
			d.since[m.letter] = d.now
		}
	}
	if verdict != nil && d.copies(m.letter) == 0 && (known || errors.Is(verdict, sesame.ErrDuplicate)) {
		d.violation(Lost, "#%d of %v: %v has its chain: %v, and does not read it: %v", m.number, m.from, d, known, verdict)
	}
}

// reads looks at a letter that d has read just now.
func (d *device) reads(l *letter) {
	if c := l.circular; c != nil && !slices.Contains(c.readers, d.installation) {
		d.violation(Leaked, "%v reads #%d of %v, which is not for it", d, l.number, l.from)
	}
	if d.copies(l) == 0 {
		d.violation(Lost, "#%d of %v was read by %v, and is not in its inbox", l.number, l.from, d)
	}
}

// forgot notes that the group is forgotten.
func (d *device) forgot(g *group) {
	delete(d.sending, g)
	delete(d.used, g)
	d.received = slices.DeleteFunc(d.received, func(r receivedChain) bool { return r.group == g })
	d.again[g] = true
}

// forgotKeys notes that all that came from other installations of o than the
// present one is forgotten.
func (d *device) forgotKeys(o *device, identity x3dh.PublicKey) {
	d.received = slices.DeleteFunc(d.received, func(r receivedChain) bool {
		return slices.Contains(o.installations, r.writer) && r.writer.identity != identity
	})
}

// unanswered is why a circular that d did not read cannot be sent to it again,
// if there is a reason.
func (d *device) unanswered(l *letter) (Count, bool) {
	switch {
	case l.reader != d.installation:
		return OldReceiver, true
	case l.circular.writer != l.from.installation:
		return SenderGone, true
	case d.now.Sub(l.circular.written) >= logAge:
		return TooOld, true
	case !slices.Contains(l.circular.group.members(), d):
		return NotMember, true
	case l.answers >= answersMost:
		return TooOften, true
	}
	return 0, false
}

// keepCopy keeps a copy of all rows of a device, which leaves a group.
func (d *device) keepCopy() {
	rows := map[string][]byte{}
	keys, values := d.rows("sotto/")
	for i, key := range keys {
		rows[key] = values[i]
	}
	d.copied = append(d.copied, rows)
}

var errTried = errors.New("simulate: nothing of this is to be kept")

// steal tries to read each circular with all that each installation ever had
// that it was not for: with each distribution that was ever made for it, and
// with its database, as it is in the end, and as it was when it left a group.
func (w *world) steal() {
	for _, d := range w.devices {
		for _, i := range d.installations {
			if i.observer == nil {
				continue
			}
			stores := []*sesame.Memory{i.memory}
			for _, rows := range i.copied {
				m := new(sesame.Memory)
				if err := m.Do(func(tx sesame.Tx) error { return putRows(tx, rows) }); err != nil {
					w.violation(Failed, "%v: copy: %v", d, err)
				}
				stores = append(stores, m)
			}
			for _, c := range w.circulars {
				if c.writer != i && !slices.Contains(c.readers, i) {
					w.tryReading(d, i, stores, c)
				}
			}
		}
	}
}

func putRows(tx sesame.Tx, rows map[string][]byte) error {
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		if err := tx.Put(key, rows[key], 0); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) tryReading(d *device, i *installation, stores []*sesame.Memory, c *circular) {
	kind := TriedEarly
	for _, before := range w.circulars {
		if before == c {
			break
		}
		if before.group == c.group && slices.Contains(before.readers, i) {
			kind = TriedGone
		}
	}
	opened := ""
	if r := i.given[c.id]; r != nil {
		w.count(kind)
		if _, _, err := r.Decrypt(nil, c.ciphertext); err == nil {
			opened = "a distribution of it"
		}
	}
	for n, m := range stores {
		w.count(kind)
		var r *sesame.Result
		err := m.Do(func(tx sesame.Tx) (err error) {
			if r, err = i.observer.DecryptGroup(tx, c.from.at, c.timestamp, "", c.ciphertext); err != nil {
				return err
			}
			return errTried
		})
		if err != errTried {
			w.violation(Failed, "%v: decrypt what is not for it: %v", d, err)
		} else if r.Err == nil {
			opened = fmt.Sprintf("database %d of it", n)
		}
	}
	if opened != "" {
		w.violation(Leaked, "%v of %v opens %q, which was not for it", opened, d, c.text)
	}
}
