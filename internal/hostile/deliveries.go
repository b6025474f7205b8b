package hostile

import (
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
)

// relabelled is how a message under another header is refused; its key is used
// then, and the genuine one, if it comes, is a duplicate, which the user is told
// of as well.
var relabelled = surfaces(Mismatch, Duplicate)

// undecipherable is how what no session opens is refused.
var undecipherable = surfaces(Undecryptable)

// inAnotherName is how an initial message in another device's name is refused, for
// that one opens, as its author's (R-10.5-4): by the identity key, which is not
// that device's, or the packed header. What it used up is gone for the genuine one
// (R-10.3-6), if that is the first of its session.
func (w *world) inAnotherName(m *envelope.Deliver, by Verdict) {
	if ratchet.Type(m.Type) == ratchet.Initial {
		w.also = surfaces(by, UnknownPreKey)
	}
}

// otherPreKeys is how an initial message that was altered is refused as well, if
// it names prekeys now that there are not.
func (w *world) otherPreKeys(m *envelope.Deliver) {
	if ratchet.Type(m.Type) == ratchet.Initial {
		w.also = surfaces(UnknownPreKey)
	}
}

// ofThePast is how what came before is refused, and what was forged then.
var ofThePast = surfaces(Repeated, Mismatch, RetryRefused, Held, NotMember, IdentityChanged, Contradiction, Missing, Disorder,
	Undecryptable, NoSession, UnknownPreKey, Duplicate)

var deliveryClasses = []Class{
	{"reorder", "three deliveries come as third, first, second", surfaces(Fetched), "", func(w *world) {
		v, list := w.caughtIn("chat", 3)
		var frames [][]byte
		for _, m := range list {
			frames = append(frames, w.number(v, m))
		}
		for _, i := range []int{2, 0, 1} {
			v.take(frames[i])
		}
	}},
	{"reorder, numbered anew", "two messages of one author change places in the mailbox", surfaces(Contradiction, Disorder, Missing), "", func(w *world) {
		v, list := w.caughtIn("chat", 2)
		w.send(v, list[1])
		w.send(v, list[0])
	}},
	{"reorder, sequenced anew", "and in the conversation as well", surfaces(Disorder, Missing), "", func(w *world) {
		v, list := w.caughtIn("chat", 2)
		a, b := copyOf(list[1]), copyOf(list[0])
		a.Untrusted, b.Untrusted = b.Untrusted, a.Untrusted
		w.send(v, a)
		w.send(v, b)
	}},
	{"order of two authors", "messages of two authors change places", surfaces(Harmless),
		"what two wrote at the same time is the server's to order (§9.10); each author's order stands", func(w *world) {
			bob, carol, alice := w.members[2], w.members[3], w.members[0]
			c := w.named("chat")
			w.catch = alice
			w.write(bob, c)
			w.catch = alice
			w.write(carol, c)
			list := alice.box.caught
			alice.box.caught = nil
			a, b := copyOf(list[1]), copyOf(list[0])
			a.Untrusted, b.Untrusted = b.Untrusted, a.Untrusted
			w.send(alice, a)
			w.send(alice, b)
		}},
	{"replay", "a delivery comes again", surfaces(Harmless), "", func(w *world) {
		v, list := w.caughtIn("chat", 1)
		w.send(v, list[0])
		w.resent(v, v.box.last)
	}},
	{"replay, numbered anew", "a delivery comes again at the next position", surfaces(Duplicate), "", func(w *world) {
		v, list := w.caughtIn("chat", 1)
		w.send(v, list[0])
		w.send(v, list[0])
	}},
	{"replay of long ago", "the first delivery of all comes again", ofThePast, "", func(w *world) {
		v := pick(w, w.members[:])
		if m := parseDeliver(v.box.sent[1]); m != nil {
			w.send(v, m)
		}
	}},
	{"withhold, and deliver late", "what is behind it comes first", surfaces(Fetched), "", func(w *world) {
		v, list := w.caughtIn("chat", 2)
		late := w.number(v, list[0])
		delete(v.box.sent, v.box.last)
		w.send(v, list[1])
		w.hidden(v, list[1])
		v.take(late)
	}},
	{"withhold for ever", "and a gap only when nothing is shown any more", surfaces(Fetched, GapShown, Missing), "", func(w *world) {
		v, list := w.caughtIn("chat", 2)
		w.number(v, list[0])
		p := v.box.last
		delete(v.box.sent, p)
		w.send(v, list[1])
		w.hidden(v, list[1])
		v.take(encode(&envelope.Gap{MailboxEpoch: v.box.epoch, From: p, To: p, Reason: envelope.Expired}))
	}},
	{"withhold the newest", "nothing comes behind it", surfaces(Harmless), "nothing can tell it from silence until its author writes again; nothing else changes, and it comes late", func(w *world) {
		v, list := w.caughtIn("chat", 1)
		w.send(v, list[0])
	}},
	{"drop, numbered anew", "the numbers behind it are moved", surfaces(Missing), "", func(w *world) {
		v, list := w.caughtIn("chat", 2)
		w.send(v, list[1])
	}},
	{"drop, and deliver late", "the numbers behind it are moved, and then it comes", surfaces(Contradiction, Disorder, Missing), "", func(w *world) {
		v, list := w.caughtIn("chat", 3)
		w.send(v, list[1])
		w.send(v, list[2])
		w.send(v, list[0])
	}},
	{"relabel the user", "as of another user in the conversation", undecipherable, "", altered("chat", func(w *world, v *device, m *envelope.Deliver) {
		w.inAnotherName(m, IdentityChanged)
		m.Header.Sender = w.another(v, m.Header.Sender)
	})},
	{"relabel the device", "as of another device of the user", undecipherable, "", func(w *world) {
		v := w.members[2]
		list := w.caughtFor(v, w.members[0], w.named("chat"), 1)
		m := copyOf(list[0])
		w.inAnotherName(m, IdentityChanged)
		m.Header.Sender = w.members[1].id
		w.send(v, m)
		w.send(v, list[0])
	}},
	{"relabel as the receiver's own", "as of the device that it is for", surfaces(NoSession, Undecryptable), "", altered("chat", func(w *world, v *device, m *envelope.Deliver) {
		w.inAnotherName(m, Mismatch) // there is no identity key of a device's own among its peers'
		m.Header.Sender = v.id
	})},
	{"relabel the conversation", "in another one of the same people", relabelled, "", func(w *world) {
		v := w.members[2]
		list := w.caughtFor(v, w.members[0], w.named("chat"), 1)
		m := copyOf(list[0])
		m.Header.Conversation = w.named("pair").id
		w.send(v, m)
		w.send(v, list[0])
	}},
	{"relabel to the private conversation", "in that of the user's own devices", relabelled, "", func(w *world) {
		v := w.members[0]
		list := w.caughtFor(v, w.members[2], w.named("chat"), 1)
		m := copyOf(list[0])
		m.Header.Conversation = w.named("private").id
		w.send(v, m)
		w.send(v, list[0])
	}},
	{"relabel the message ID", "under another ID", relabelled, "", altered("chat", func(w *world, _ *device, m *envelope.Deliver) { m.Header.ID = w.draw() })},
	{"alter the stamp", "one higher", relabelled, "", altered("chat", func(_ *world, _ *device, m *envelope.Deliver) { m.Header.Stamp++ })},
	{"inflate the stamp", "the highest that there is", relabelled, "", altered("chat", func(_ *world, _ *device, m *envelope.Deliver) { m.Header.Stamp = lamport.Max })},
	{"alter the time", "the server's time is another one", surfaces(Harmless), "", func(w *world) {
		v, list := w.caughtIn("chat", 1)
		list[0].Untrusted.Time = w.rng.Uint64N(lamport.Max)
		w.send(v, list[0])
	}},
	{"sequence back", "a message at the beginning of the conversation", surfaces(Contradiction), "", func(w *world) {
		v, list := w.caughtIn("chat", 1)
		list[0].Untrusted.Sequence = 1
		w.send(v, list[0])
	}},
	{"sequence ahead", "a message far ahead in the conversation, and then one that is not", surfaces(Contradiction), "", func(w *world) {
		g, list := w.guestCaught(2)
		list[0].Untrusted.Sequence = lamport.Max - 5
		w.send(g, list[0])
		w.send(g, list[1])
	}},
	{"epoch of the conversation ahead", "a message in a later epoch, and then one that is not", surfaces(Contradiction), "", func(w *world) {
		g, list := w.guestCaught(2)
		list[0].Untrusted.Epoch = 9
		w.send(g, list[0])
		w.send(g, list[1])
	}},
	{"position ahead", "a delivery at a position that is far", surfaces(Fetched), "", func(w *world) {
		v, list := w.caughtIn("chat", 1)
		m := copyOf(list[0])
		m.Untrusted.MailboxEpoch, m.Untrusted.Position = v.box.epoch, v.box.last+1000
		v.take(encode(m))
		w.hidden(v, m)
		v.connect()
		w.send(v, list[0])
	}},
	{"flag it ephemeral", "a message as a whisper", relabelled, "", func(w *world) {
		v, list := w.caughtIn("chat", 1)
		m := copyOf(list[0])
		m.Ephemeral, m.Header.Stamp, m.Untrusted = true, 0, envelope.Untrusted{}
		v.take(encode(m))
		w.send(v, list[0])
	}},
	{"flag it ephemeral, and drop it", "and the genuine one never comes", surfaces(Mismatch), "", func(w *world) {
		v, list := w.caughtIn("chat", 1)
		m := copyOf(list[0])
		m.Ephemeral, m.Header.Stamp, m.Untrusted = true, 0, envelope.Untrusted{}
		v.take(encode(m))
	}},
	{"alter the type", "of an ordinary message to another one", surfaces(Undecryptable, RetryRefused), "", altered("chat", func(w *world, _ *device, m *envelope.Deliver) {
		types := slices.DeleteFunc([]uint8{1, 2, 3, 4, 7, 8, 99}, func(typ uint8) bool { return typ == m.Type })
		m.Type = pick(w, types)
	})},
	// With another counter it may be one that was read, and what nothing authenticates
	// of an initial message (§4.5) makes the genuine one a duplicate.
	{"alter the ciphertext", "one bit", surfaces(Undecryptable, Duplicate), "", altered("chat", func(w *world, _ *device, m *envelope.Deliver) {
		w.otherPreKeys(m)
		m.Ciphertext[w.rng.IntN(len(m.Ciphertext))] ^= 1 << w.rng.IntN(8)
	})},
	{"cut the ciphertext", "at any length", undecipherable, "", altered("chat", func(w *world, _ *device, m *envelope.Deliver) {
		m.Ciphertext = m.Ciphertext[:1+w.rng.IntN(len(m.Ciphertext)-1)]
	})},
	{"splice two messages", "the ciphertext of the second under the header of the first", append(surfaces(Missing), relabelled...), "", func(w *world) {
		v, list := w.caughtIn("chat", 2)
		m := copyOf(list[0])
		m.Ciphertext, m.Type = list[1].Ciphertext, list[1].Type
		w.send(v, m)
		w.send(v, list[0])
		w.send(v, list[1])
	}},
	{"splice two conversations", "the ciphertext of one under the header of another", append(surfaces(Missing), relabelled...), "", func(w *world) {
		v, a := w.members[2], w.members[0]
		chat := w.caughtFor(v, a, w.named("chat"), 1)
		pair := w.caughtFor(v, a, w.named("pair"), 1)
		m := copyOf(pair[0])
		m.Ciphertext, m.Type = chat[0].Ciphertext, chat[0].Type
		w.send(v, m)
		w.send(v, chat[0])
		w.send(v, pair[0])
	}},
	{"splice two receivers", "the ciphertext for another device", append(surfaces(Missing), undecipherable...), "", func(w *world) {
		v, other := w.members[2], w.members[3]
		list := w.caughtFor(v, w.members[0], w.named("chat"), 1)
		m := copyOf(list[0])
		w.otherPreKeys(m)
		m.Ciphertext = parseDeliver(other.box.sent[other.box.last]).Ciphertext
		w.send(v, m)
		w.send(v, list[0])
	}},
	{"garbage", "a frame that is none", surfaces(Malformed, Version), "", func(w *world) {
		b := make([]byte, 1+w.rng.IntN(200))
		for i := range b {
			b[i] = byte(w.rng.Uint32())
		}
		b[0] = byte(1 + w.rng.IntN(2))
		pick(w, w.members[:]).take(b)
	}},
	{"a frame of devices", "a Fetch for a device", surfaces(Closed), "", func(w *world) { pick(w, w.members[:]).take(encode(&envelope.Fetch{})) }},
	{"hang up", "as if another connection had taken over", surfaces(Replaced), "", func(w *world) {
		pick(w, w.members[:]).take(encode(&envelope.Error{Code: envelope.Replaced}))
	}},
	{"a gap that is none", "where a message is", surfaces(GapShown), "", func(w *world) {
		v, list := w.caughtIn("chat", 1)
		frame := w.number(v, list[0])
		v.take(encode(&envelope.Gap{MailboxEpoch: v.box.epoch, From: v.box.last, To: v.box.last, Reason: envelope.Trimmed}))
		v.take(frame)
		w.hidden(v, list[0])
	}},
	{"a gap ahead", "where nothing is yet", surfaces(Fetched), "", func(w *world) {
		v, list := w.caughtIn("chat", 1)
		v.take(encode(&envelope.Gap{MailboxEpoch: v.box.epoch, From: v.box.last + 5, To: v.box.last + 9, Reason: envelope.Trimmed}))
		v.connect()
		w.send(v, list[0])
	}},
	{"a gap without end", "over all positions that there are", surfaces(GapShown), "", func(w *world) {
		g, list := w.guestCaught(1)
		g.take(encode(&envelope.Gap{MailboxEpoch: 1, From: 1, To: lamport.Max, Reason: envelope.Trimmed}))
		w.send(g, list[0])
		w.hidden(g, list[0])
	}},
	{"number the mailbox anew", "and deliver all again", append(surfaces(Restarted, Fetched), ofThePast...), "", func(w *world) {
		v := pick(w, w.members[:])
		old := v.box.sent
		n := v.box.last
		v.anew()
		for p := n - min(n, 3); p <= n; p++ {
			if m := parseDeliver(old[p]); m != nil {
				w.send(v, m)
			}
		}
	}},
	{"number the mailbox anew, and lose", "what was not fetched", surfaces(Restarted, Fetched, Missing), "", func(w *world) {
		v, _ := w.caughtIn("chat", 1)
		v.anew()
		list := w.caughtFor(v, w.other(v), w.named("chat"), 1)
		w.send(v, list[0])
	}},
	{"roll the epoch back", "deliveries in an epoch that is over", surfaces(Restarted, Fetched), "", func(w *world) {
		v, list := w.caughtIn("chat", 1)
		m := copyOf(list[0])
		m.Untrusted.MailboxEpoch, m.Untrusted.Position = v.box.epoch, v.box.last+1
		v.anew()
		w.send(v, list[0])
		shown := len(v.lines(w.named("chat")))
		v.take(encode(m))
		if len(v.lines(w.named("chat"))) != shown {
			w.violation("%v takes an epoch that is over", v)
		}
	}},
	{"forge a retry request", "nobody asked for the message", surfaces(RetryRefused), "", func(w *world) {
		v, list := w.caughtIn("chat", 1)
		author := w.find(list[0].Header.Sender)
		m := copyOf(list[0])
		m.Header.Sender, m.Header.ID = v.id, w.draw()
		m.Type, m.Ciphertext = 8, v.retryRequest(list[0])
		w.send(v, list[0])
		w.send(author, m)
	}},
}

func parseDeliver(frame []byte) *envelope.Deliver {
	m, err := new(envelope.Frame).Parse(frame)
	if err != nil {
		return nil
	}
	d, _ := m.(*envelope.Deliver)
	return d
}

// hidden checks that a delivery is not shown.
func (w *world) hidden(v *device, m *envelope.Deliver) {
	for _, l := range v.lines(w.chats[m.Header.Conversation]) {
		if l.ID == m.Header.ID {
			w.violation("%v shows what is not its turn", v)
		}
	}
}

// other is another member of the chat.
func (w *world) other(v *device) *device {
	for {
		if d := pick(w, w.members[:]); d != v {
			return d
		}
	}
}

// another is a member of another user than the sender of what v gets, and not v.
func (w *world) another(v *device, sender envelope.Device) envelope.Device {
	for {
		if d := w.other(v); d.id.User != sender.User {
			return d.id
		}
	}
}

// guestCaught has Bob write n messages to a guest, whom nobody writes to later.
func (w *world) guestCaught(n int) (g *device, list []*envelope.Deliver) {
	g, c := w.guest(w.members[2])
	return g, w.caughtFor(g, w.members[2], c, n)
}

// anew begins the next epoch of a mailbox.
func (d *device) anew() {
	d.box.epoch++
	d.box.last, d.box.sent = 0, map[uint64][]byte{}
	d.w.trace("  the mailbox of %v is numbered anew", fmt.Sprint(d))
}
