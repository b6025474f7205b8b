package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// prepare makes sessions with all devices of a view that have none, and confirms
// identity keys that have changed. If the server tells who was installed anew, old
// sessions end. It is false if a transaction failed.
func (c *club) prepare(p *installation, v view, told bool) bool {
	for _, a := range v.members {
		q := c.at(a)
		if a == p.at || q == nil {
			continue
		}
		known := c.peer(p, a)
		stale := told && known.RegistrationID != q.published.RegistrationID
		if stale || !known.Connected {
			if !c.run(p, "start", func(tx sesame.Tx) error {
				if err := p.dev.Reset(tx, a); err != nil {
					return err
				}
				return p.dev.Start(tx, a, c.bundle(q))
			}) {
				return false
			}
		}
		if !c.confirm(p, a) {
			return false
		}
	}
	return true
}

// peer is what a device knows of another one.
func (c *club) peer(p *installation, a sesame.Address) (known sesame.Peer) {
	err := p.memory.Do(func(tx sesame.Tx) (err error) {
		known, err = p.dev.Peer(tx, a)
		return err
	})
	c.must(err == nil, "peer: %v", err)
	return known
}

// confirm is a user who has compared the safety number, if there is another one: that
// of a key which the device has shown before, or which its bundle shows.
func (c *club) confirm(p *installation, a sesame.Address) bool {
	q, known := c.at(a), c.peer(p, a)
	if q == nil || known.Changed == (x3dh.PublicKey{}) {
		return true
	}
	key := q.published.IdentityKey
	if known.Changed != key && known.Identity != key &&
		!c.run(p, "start", func(tx sesame.Tx) error { return p.dev.Start(tx, a, c.bundle(q)) }) {
		return false
	}
	c.reach("confirm")
	return c.run(p, "confirm", func(tx sesame.Tx) error { return p.dev.Confirm(tx, a, key) })
}

// who is the installation that has an identity key.
func (c *club) who(key x3dh.PublicKey) *installation {
	i := slices.IndexFunc(c.all, func(p *installation) bool { return p.published.IdentityKey == key })
	c.must(i >= 0, "nobody has the identity key of a session")
	return c.all[i]
}

// say has a device write a note for a group as it sees it.
func (c *club) say(p *installation, g int, v view, told bool) *note {
	if v.revision == 0 {
		return nil
	}
	n := &note{chat: g, from: p, timestamp: uint64(len(c.notes) + 1), to: map[*installation]bool{},
		owed: map[*installation]bool{}, excused: map[*installation]bool{}}
	n.text = fmt.Sprint("note ", n.timestamp)
	c.notes[n.timestamp] = n
	c.encrypt(p, n, v, told)
	return n
}

// encrypt puts a note into the outbox, for the devices of a view.
func (c *club) encrypt(p *installation, n *note, v view, told bool) {
	if !c.prepare(p, v, told) {
		return
	}
	g := sesame.Group{Name: c.chats[n.chat].name, Revision: v.revision}
	for _, a := range v.members {
		if a != p.at {
			g.Devices = append(g.Devices, a)
		}
	}
	text := form("text", g.Name, []byte(n.text))
	if c.sabotage.text != nil {
		text = c.sabotage.text(text)
	}
	var m *sesame.GroupMessage
	var distribution []byte
	var readers []*installation
	committed, err := c.do(p, func(tx sesame.Tx) (err error) {
		m, distribution, readers = nil, nil, nil
		made, err := p.dev.EncryptGroup(tx, n.timestamp, g, text, func(d []byte) []byte {
			distribution = bytes.Clone(d)
			if c.sabotage.distribution != nil {
				distribution = c.sabotage.distribution(p, distribution)
			}
			return form("chain", g.Name, distribution)
		})
		if err != nil {
			return err
		}
		for _, e := range made.Messages {
			known, err := p.dev.Peer(tx, e.To)
			if err != nil {
				return err
			}
			var reader *installation
			if e.Err == nil {
				reader = c.who(known.Identity)
			}
			readers = append(readers, reader)
		}
		m = made
		return nil
	})
	if errors.Is(err, senderkey.ErrOldRevision) {
		c.must(v.revision < p.used[n.chat], "revision %d is too old, after %d", v.revision, p.used[n.chat])
		c.reach("old view refused")
		return
	}
	c.must(err == nil, "encrypt: %v", err)
	if !committed || m == nil || !slices.ContainsFunc(m.Messages, func(e sesame.Message) bool { return e.Err == nil }) {
		return
	}
	c.must(v.revision >= p.used[n.chat], "revision %d after %d", v.revision, p.used[n.chat])
	c.must(len(m.Messages) == len(g.Devices), "%d entries for %d devices", len(m.Messages), len(g.Devices))
	c.must((m.Ciphertext == nil) == (len(g.Devices) <= c.config.PairwiseGroups), "pairwise in a group of %d", len(g.Devices))
	p.used[n.chat] = v.revision
	c.pack(p, n, m, distribution, readers)
}

// pack makes a parcel of an encrypted note, and looks at it.
func (c *club) pack(p *installation, n *note, m *sesame.GroupMessage, distribution []byte, readers []*installation) {
	b := &parcel{note: n, chain: m.Chain}
	s := &sealed{note: n, ciphertext: m.Ciphertext, readers: map[*installation]bool{}, chain: m.Chain}
	var dist *senderkey.Distribution
	if distribution != nil {
		var err error
		dist, err = senderkey.ParseDistribution(distribution, c.senderFamily())
		c.must(err == nil, "our own distribution: %v", err)
	}
	for i, e := range m.Messages {
		reader := readers[i]
		if reader == nil {
			c.must(e.Bytes == nil, "bytes for a device that gets none: %v", e.Err)
			continue
		}
		s.readers[reader], n.to[reader] = true, true
		if e.Bytes != nil {
			c.useRatchetKey(p, e.Type, e.Bytes, string(distribution)+n.text)
			brings := m.Ciphertext != nil
			b.mail = append(b.mail, &mail{n, p, reader, e.Type, e.Bytes, brings})
			if brings {
				reader.given = append(reader.given, gift{p, dist})
				b.brought = append(b.brought, e.To)
			}
		}
		if m.Ciphertext != nil {
			b.mail = append(b.mail, &mail{n, p, reader, groupType, m.Ciphertext, false})
			c.must(e.Bytes != nil || p.restored || p.has[holder{m.Chain, reader}], "no distribution, and none was accepted")
		}
	}
	if m.Ciphertext != nil {
		c.reach("group message")
		n.chain = m.Chain
		c.useChainKey(p, n, m, p.tainted[m.Chain])
		c.sealed = append(c.sealed, s)
		c.spy(s, true)
	} else {
		c.reach("pairwise group message")
	}
	p.outbox = append(p.outbox, b)
	if c.sabotage.accepted && len(b.brought) > 0 {
		c.run(p, "distributed", func(tx sesame.Tx) error {
			return p.dev.Distributed(tx, c.chats[n.chat].name, b.chain, b.brought...)
		})
	}
}

// useRatchetKey notes the key of a pairwise message: no key for two plaintexts.
func (c *club) useRatchetKey(p *installation, typ ratchet.Type, b []byte, text string) {
	if typ == ratchet.Initial {
		m, err := x3dh.ParseInitialMessage(b)
		c.must(err == nil, "our own initial message: %v", err)
		b = m.Message
	}
	m, err := ratchet.ParseMessage(b)
	c.must(err == nil, "our own message: %v", err)
	c.use(p, keyName{p.number, string(m.RatchetKey.Bytes()), m.Counter}, text, p.restored)
}

// useChainKey does so for a group message, by what names its key and by what the
// stored chain says.
func (c *club) useChainKey(p *installation, n *note, m *sesame.GroupMessage, tainted bool) {
	g, err := senderkey.ParseMessage(m.Ciphertext, c.senderFamily())
	c.must(err == nil, "our own group message: %v", err)
	chain := string(binary.BigEndian.AppendUint32(m.Chain[:], g.ChainID))
	c.use(p, keyName{p.number, chain, g.Iteration}, n.text, tainted)
	s := c.sender(c.stored(p)[groupRow(c.chats[n.chat].name)])
	if c.sabotage.sendFirst {
		return // the names show it
	}
	c.must(s.id == m.Chain && s.chain == g.ChainID && s.iteration == g.Iteration+1 && s.revision == p.used[n.chat],
		"message %d, and the stored chain is at %d", g.Iteration, s.iteration)
	c.must(tainted || !c.usedKeys[s.ck], "a chain key twice")
	c.usedKeys[s.ck] = true
}

func (c *club) use(p *installation, key keyName, text string, tainted bool) {
	before, used := c.usedNames[key]
	if used && tainted {
		c.reach("a key twice, after a snapshot")
	}
	c.must(!used || tainted, "a key for two plaintexts: message %d, %q and %q", key.counter, before, text)
	c.usedNames[key] = text
}

var errSpy = errors.New("a spy leaves no traces")

// spy has everybody try a group message who is not to read it: with what he has
// stored, with every distribution that he ever got, and with what was in a snapshot.
func (c *club) spy(s *sealed, stored bool) {
	if s.from.tainted[s.chain] {
		return // its sender has forgotten who may read, and how far the chain was (R-11.7-4)
	}
	for _, q := range c.all {
		if q == s.from || s.readers[q] {
			continue
		}
		if stored {
			err := q.memory.Do(func(tx sesame.Tx) error {
				r, err := q.dev.DecryptGroup(tx, s.from.at, s.timestamp, c.chats[s.chat].name, s.ciphertext)
				c.must(err == nil, "decrypt: %v", err)
				c.must(r.Err != nil && r.Plaintext == nil, "installation %d reads note %d with its rows", q.number, s.timestamp)
				return errSpy
			})
			c.must(errors.Is(err, errSpy), "spy: %v", err)
			c.reach("spy with rows")
		}
		for _, g := range q.given {
			thief := senderkey.NewReceiver(c.senderFamily())
			c.must(thief.Process(g.distribution) == nil, "a distribution is refused")
			_, _, err := thief.Decrypt(nil, s.ciphertext)
			c.must(err != nil, "installation %d reads note %d with a distribution of %d", q.number, s.timestamp, g.from.number)
			if g.from == s.from {
				c.reach("spy with a distribution")
			}
		}
	}
}

// post gives the server the first parcel of an outbox. A strict one refuses it if it
// is not for the right devices, and nobody has it then. The answer may be lost.
func (c *club) post(p *installation, strict, answered bool) {
	if len(p.outbox) == 0 {
		return
	}
	b := p.outbox[0]
	p.outbox = p.outbox[1:]
	chat := c.chats[b.chat]
	if strict && !chat.has(p.at) {
		c.reach("refused: no member")
		return
	}
	if strict && !c.rightDevices(p, b, chat) {
		c.reach("refused: wrong devices")
		c.learn(p)
		c.encrypt(p, b.note, p.view(b.chat), true)
		return
	}
	var brought []sesame.Address
	var holders []holder
	for _, m := range b.mail {
		if !m.brings {
			b.owed[m.to] = !m.to.gone
		} else if !m.to.gone {
			brought = append(brought, m.to.at)
			holders = append(holders, holder{b.chain, m.to})
		}
		c.deliver(m, m.to)
	}
	if answered && len(brought) > 0 {
		if c.run(p, "distributed", func(tx sesame.Tx) error { return p.dev.Distributed(tx, chat.name, b.chain, brought...) }) {
			for _, h := range holders {
				p.has[h] = true
			}
		}
	} else if len(brought) > 0 {
		c.reach("acceptance lost")
	}
}

func (c *club) rightDevices(p *installation, b *parcel, chat *circle) bool {
	to := map[sesame.Address]bool{}
	for _, m := range b.mail {
		if m.to.gone || !chat.has(m.to.at) {
			return false
		}
		to[m.to.at] = true
	}
	return len(to) == len(chat.members)-1
}

// deliver puts mail into a mailbox. asker is who does not read what it is about if
// nobody is there any more.
func (c *club) deliver(m *mail, asker *installation) {
	if m.to.gone {
		m.excused[asker] = true
		c.reach("mail to who is gone")
		return
	}
	m.to.mail = append(m.to.mail, m)
}

// lose is mail that the network loses. A distribution is made up for.
func (c *club) lose(m *mail) {
	switch {
	case m.typ == ratchet.PlaintextContent:
		m.excused[m.from] = true
		c.reach("lost a request")
	case m.brings:
		c.reach("lost a distribution")
	default:
		m.excused[m.to] = true
		c.reach("lost a message")
	}
}

// A watch is a transaction that notes whether a row is changed.
type watch struct {
	sesame.Tx
	changed bool
}

func (w *watch) Put(key string, value []byte, rev uint64) error {
	old, was, err := w.Tx.Get(key)
	w.changed = w.changed || err == nil && (was == 0 || !bytes.Equal(old, value))
	return w.Tx.Put(key, value, rev)
}

func (w *watch) Delete(key string, rev uint64) error {
	w.changed = w.changed || rev != 0
	return w.Tx.Delete(key, rev)
}

// receive gives mail to its device, as it was sent or in other bytes, and takes it off
// the mailbox when that is committed.
func (c *club) receive(p *installation, m *mail, b []byte) {
	genuine := bytes.Equal(b, m.bytes)
	if m.typ == ratchet.PlaintextContent {
		c.answer(p, m, b)
		return
	}
	named := c.chats[m.chat].name
	if m.timestamp%2 == 0 && c.config.Family == ratchet.Signal {
		named = "" // a delivery need not say
	}
	var r *sesame.Result
	var released []*sesame.Result
	var request *sesame.Message
	committed := c.run(p, "decrypt", func(tx sesame.Tx) (err error) {
		r, released, request = nil, nil, nil
		w := &watch{Tx: tx}
		var got *sesame.Result
		if m.typ == groupType {
			got, err = p.dev.DecryptGroup(w, m.from.at, m.timestamp, named, b)
		} else {
			got, err = p.dev.Decrypt(w, m.from.at, m.typ, b)
		}
		if err != nil {
			return err
		}
		c.must(got.Err == nil || errors.Is(got.Err, sesame.ErrHeld) || !w.changed, "a message that is refused changes rows: %v", got.Err)
		if kind, group, d := parseForm(got.Plaintext); kind == "chain" && m.typ != groupType {
			released, err = p.dev.ProcessDistribution(tx, got, group, d)
		}
		if err == nil && genuine {
			request, err = p.dev.RetryRequest(tx, got, m.timestamp)
		}
		r = got
		return err
	})
	if (committed || c.sabotage.ackFirst) && genuine {
		if i := slices.Index(p.mail, m); i >= 0 {
			p.mail = slices.Delete(p.mail, i, i+1)
		}
	}
	if !committed || r == nil {
		return
	}
	c.must(genuine || r.Err != nil || saysTheSame(m.bytes, b, m.typ, false), "a forgery was read")
	c.judge(p, m, r, genuine)
	for _, r := range released {
		c.released(p, m.from, r)
	}
	if r.Err == nil && r.IdentityChanged {
		c.confirm(p, m.from.at)
	}
	if request != nil && !p.read[m.note] && !c.sabotage.neverAsk {
		q := &mail{m.note, p, m.from, request.Type, request.Bytes, false}
		if errors.Is(r.Err, sesame.ErrHeld) {
			p.asking[m.note] = q // only if it does not come out
		} else {
			c.reach("request")
			c.deliver(q, p)
		}
	}
}

// judge looks at what became of mail, or of a forgery, which may have the number of
// another message.
func (c *club) judge(p *installation, m *mail, r *sesame.Result, genuine bool) {
	key := string(m.bytes)
	switch {
	case r.Err == nil && m.typ == groupType:
		c.opens(p, m.note, r)
	case r.Err == nil:
		c.must(!p.opened[key], "a pairwise message opens twice")
		p.opened[key] = true
		kind, _, _ := parseForm(r.Plaintext)
		c.must((kind == "chain") == m.brings, "a message that brings %q", kind)
		if !m.brings {
			c.reads(p, m.note, r.Plaintext)
		}
	case errors.Is(r.Err, sesame.ErrDuplicate):
		had := p.opened[key] || m.typ == groupType && p.groups[m.note]
		c.must(had || !genuine || p.restored || m.from.restored || m.from.gone, "note %d is a duplicate, and was never read", m.timestamp)
		c.reach("duplicate")
	case errors.Is(r.Err, sesame.ErrHeld):
		c.reach("held")
	default:
		c.reach("undecryptable")
	}
}

// released looks at what was held for a chain.
func (c *club) released(p, from *installation, r *sesame.Result) {
	n := c.notes[r.Timestamp]
	if r.Err != nil {
		c.reach("released and refused")
		return
	}
	c.must(n != nil && n.from == from, "a message of somebody else was released")
	c.reach("released")
	c.opens(p, n, r)
}

// opens is a group message that was read.
func (c *club) opens(p *installation, n *note, r *sesame.Result) {
	c.must(!p.groups[n], "note %d opens twice", n.timestamp)
	c.must(r.Group == c.chats[n.chat].name, "note %d is of group %q", n.timestamp, r.Group)
	c.must(r.Identity == n.from.published.IdentityKey, "note %d is of somebody else", n.timestamp)
	p.groups[n] = true
	c.reads(p, n, r.Plaintext)
}

// reads is a plaintext: delivered means equal, and only to whom it was written.
func (c *club) reads(p *installation, n *note, plaintext []byte) {
	c.must(bytes.Equal(plaintext, form("text", c.chats[n.chat].name, []byte(n.text))), "read %q, sent %q", plaintext, n.text)
	c.must(n.to[p], "installation %d reads note %d, which was not for it", p.number, n.timestamp)
	p.read[n] = true
	delete(p.asking, n)
}

// ask sends the requests for what is held.
func (c *club) ask(p *installation) {
	for _, n := range inOrder(p.asking) {
		c.reach("request for what is held")
		c.deliver(p.asking[n], p)
	}
	clear(p.asking)
}

// answer is a device that is asked for a message. A request is in the clear, so that
// of an altered one only the effects on the library are of interest.
func (c *club) answer(p *installation, m *mail, b []byte) {
	genuine := bytes.Equal(b, m.bytes)
	allowed := p.view(m.chat).has(m.from.at)
	var out sesame.Message
	var reader *installation
	handle := func(tx sesame.Tx) (err error) {
		out, err = p.dev.HandleRetry(tx, m.from.at, p.at.Device, b, func(uint64) (bool, error) { return allowed, nil })
		if err == nil && out.Err == nil {
			var known sesame.Peer
			known, err = p.dev.Peer(tx, m.from.at)
			reader = c.who(known.Identity)
		}
		return err
	}
	if !c.run(p, "answer", handle) {
		return
	}
	if q := c.at(m.from.at); errors.Is(out.Err, sesame.ErrNoSession) {
		c.reach("answer in a new session")
		if !c.run(p, "answer", func(tx sesame.Tx) error {
			if err := p.dev.Start(tx, q.at, c.bundle(q)); err != nil {
				return err
			}
			return handle(tx)
		}) {
			return
		}
	}
	if errors.Is(out.Err, sesame.ErrIdentityChanged) && !c.confirm(p, m.from.at) {
		return
	}
	if i := slices.Index(p.mail, m); i >= 0 && genuine {
		p.mail = slices.Delete(p.mail, i, i+1)
	}
	if out.Err != nil {
		c.reach("answer refused")
		if !allowed || p.restored {
			m.excused[m.from] = true
		}
		return
	}
	n := c.notes[out.Timestamp]
	c.must(n != nil && n.from == p && n.to[reader], "what is sent again was not for installation %d", reader.number)
	c.useRatchetKey(p, out.Type, out.Bytes, "again: "+n.text)
	c.reach("answer")
	delete(p.has, holder{n.chain, reader}) // who asks may lack the chain: the next message brings it
	c.deliver(&mail{n, p, reader, out.Type, out.Bytes, false}, reader)
}
