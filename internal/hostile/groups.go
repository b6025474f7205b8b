package hostile

import (
	"bytes"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/sesame"
)

// newGroup is a group of Bob's and a guest's, and the first distribution of the
// guest, which is caught on its way.
func (w *world) newGroup() (g, bob *device, c *chat, distribution *envelope.Deliver) {
	bob = w.members[2]
	g, pair := w.guest(bob)
	w.write(g, pair)
	c = w.begin("group of "+address(g.id).User, true, address(g.id).User, "bob")
	w.catch = bob
	g.distribute(c)
	w.catch = nil
	list := bob.box.caught
	bob.box.caught = nil
	return g, bob, c, list[0]
}

var groupClasses = []Class{
	{"group: relabel the user", "as of another member", surfaces(Held), "", altered("group", func(w *world, v *device, m *envelope.Deliver) {
		m.Header.Sender = w.another(v, m.Header.Sender)
	})},
	{"group: relabel the conversation", "in the chat of the same people", undecipherable, "", altered("group", func(w *world, _ *device, m *envelope.Deliver) {
		m.Header.Conversation = w.named("chat").id
	})},
	{"group: relabel the message ID", "under another ID", relabelled, "", altered("group", func(w *world, _ *device, m *envelope.Deliver) { m.Header.ID = w.draw() })},
	{"group: alter the stamp", "one higher", relabelled, "", altered("group", func(_ *world, _ *device, m *envelope.Deliver) { m.Header.Stamp++ })},
	{"group: alter the ciphertext", "one bit", surfaces(Held, Undecryptable), "", altered("group", func(w *world, _ *device, m *envelope.Deliver) {
		m.Ciphertext[w.rng.IntN(len(m.Ciphertext))] ^= 1 << w.rng.IntN(8)
	})},
	{"group: splice two messages", "the ciphertext of the second under the header of the first", append(surfaces(Missing), relabelled...), "", func(w *world) {
		v, list := w.caughtIn("group", 2)
		m := copyOf(list[0])
		m.Ciphertext = list[1].Ciphertext
		w.send(v, m)
		w.send(v, list[0])
		w.send(v, list[1])
	}},
	{"group: replay, numbered anew", "a delivery comes again at the next position", surfaces(Duplicate), "", func(w *world) {
		v, list := w.caughtIn("group", 1)
		w.send(v, list[0])
		w.send(v, list[0])
	}},
	{"group: drop, numbered anew", "the numbers behind it are moved", surfaces(Missing), "", func(w *world) {
		v, list := w.caughtIn("group", 2)
		w.send(v, list[1])
	}},
	{"group: withhold the distribution", "it comes behind the message", surfaces(Held), "", func(w *world) {
		g, bob, c, distribution := w.newGroup()
		m := w.caughtFor(bob, g, c, 1)[0]
		w.send(bob, m)
		w.hidden(bob, m)
		w.send(bob, distribution)
		if len(bob.late) == 0 || bob.late[len(bob.late)-1].ID != m.Header.ID {
			w.violation("%v does not show what was held", bob)
		}
	}},
	{"group: distribution of another", "as of Alice's phone", surfaces(Held, UnknownPreKey), "", func(w *world) {
		g, bob, c, distribution := w.newGroup()
		m := copyOf(distribution)
		m.Header.Sender = w.members[0].id
		w.send(bob, m)
		w.send(bob, w.caughtFor(bob, g, c, 1)[0])
	}},
	{"group: distribution for another group", "in the conversation of two", append(surfaces(Held), relabelled...), "", func(w *world) {
		g, bob, c, distribution := w.newGroup()
		m := copyOf(distribution)
		m.Header.Conversation = w.named(address(g.id).User).id
		w.send(bob, m)
		w.send(bob, distribution)
		w.send(bob, w.caughtFor(bob, g, c, 1)[0])
	}},
	{"group: distribution of the server's", "and a message under it", surfaces(NotMember, IdentityChanged, Held), "", func(w *world) {
		v, mallory := w.members[2], w.attacker()
		c := w.named("group")
		_ = w.forged(mallory, v, mallory.id, c, "") // a session
		mallory.known[v.id] = true
		var distribution, message []byte
		must(mallory.rows.Do(func(tx sesame.Tx) error {
			out, err := mallory.sesame.EncryptGroup(tx, 0, mallory.group(c), []byte("forged"), func(b []byte) []byte {
				distribution = bytes.Clone(b)
				return b
			})
			message = out.Ciphertext
			return err
		}))
		w.send(v, w.forged(mallory, v, mallory.id, c, string(distributionTag)+string(distribution)))
		m := w.forged(mallory, v, mallory.id, c, "forged")
		m.Type, m.Ciphertext = groupType, message
		w.send(v, m)
	}},
	{"group: add a member", "whom the server names; what failed for it is missing", append(surfaces(Missing), failed...), "", func(w *world) {
		c := w.named("group")
		d := pick(w, w.inside(c))
		w.lie(d, c, func(_ *world, _ *device, m *envelope.Submit, n int) []envelope.Message {
			return mismatchOnce(n, &envelope.Result{ID: m.Header.ID, Missing: named(envelope.Recipient{
				Device: envelope.Device{User: user("mallory"), ID: 1}, RegistrationID: 666})})
		})
		w.write(d, c)
	}},
}
