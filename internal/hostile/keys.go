package hostile

import (
	"bytes"
	"errors"
	"time"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// attacker is a device of the server's own, which is in no directory.
func (w *world) attacker() *device {
	return w.installUnseen(envelope.Device{User: user("mallory"), ID: 1})
}

// impersonate is a bundle of d's keys under the name of another device.
func (d *device) impersonate(as envelope.Device, registrationID uint32) []byte {
	p := d.published
	return encodeBundle(x3dh.BundleInfo{RegistrationID: registrationID, DeviceID: as.ID, IdentityKey: p.IdentityKey, SignedPreKey: p.SignedPreKey})
}

// spy has the attacker try to read everything that d writes.
func (w *world) spy(mallory, d *device) {
	w.spied = func(v envelope.Recipient) {
		if r := mallory.peek(address(d.id), v); r.Err == nil && w.class.Unseen == "" {
			w.violation("the server reads what %v writes", d)
		}
	}
}

// peek decrypts, and forgets that it has.
func (d *device) peek(from sesame.Address, v envelope.Recipient) (r *sesame.Result) {
	if err := d.rows.Do(func(tx sesame.Tx) (err error) {
		if r, err = d.sesame.Decrypt(tx, from, ratchet.Type(v.Type), v.Ciphertext); err != nil {
			return err
		}
		return errUndo
	}); !errors.Is(err, errUndo) {
		must(err)
	}
	return r
}

// retryRequest is the request of a device for a message that came altered.
func (d *device) retryRequest(m *envelope.Deliver) (b []byte) {
	altered := copyOf(m)
	altered.Ciphertext[len(altered.Ciphertext)-20] ^= 1 // before the MAC, and what a PreKey message has behind it
	if err := d.rows.Do(func(tx sesame.Tx) error {
		r, err := d.sesame.Decrypt(tx, address(m.Header.Sender), ratchet.Type(m.Type), altered.Ciphertext)
		if err != nil {
			return err
		}
		out, err := d.sesame.RetryRequest(tx, r, m.Header.Stamp)
		if err != nil {
			return err
		}
		b = out.Bytes
		return errUndo
	}); !errors.Is(err, errUndo) {
		must(err)
	}
	return b
}

// compares has two users compare what their screens show.
func (w *world) compares(a, b *device) {
	number := func(d, o *device) (s string) {
		must(d.rows.Do(func(tx sesame.Tx) error {
			f, err := d.sesame.SafetyNumber(tx, address(o.id), 0, []byte(d.String()), []byte(o.String()))
			if errors.Is(err, sesame.ErrNoSession) {
				return nil
			}
			s = f.String()
			return err
		}))
		return s
	}
	if number(a, b) != number(b, a) {
		a.note(SafetyNumber)
	}
}

// forged is a delivery that the server's own device has encrypted.
func (w *world) forged(mallory, to *device, as envelope.Device, c *chat, body string) *envelope.Deliver {
	m := &envelope.Deliver{Header: envelope.Header{Conversation: c.id, ID: w.draw(), Sender: as, Stamp: c.stamp + 1},
		Untrusted: envelope.Untrusted{Epoch: 1, Sequence: c.stamp + 100}}
	plaintext, err := envelope.Pack(nil, &m.Header, []byte(body))
	must(err)
	b, err := x3dh.ParseBundle(to.bundle(true))
	must(err)
	must(mallory.rows.Do(func(tx sesame.Tx) error {
		if err := mallory.sesame.Start(tx, address(to.id), b); err != nil {
			return err
		}
		out, err := mallory.sesame.Encrypt(tx, plaintext, address(to.id))
		if err != nil {
			return err
		}
		m.Type, m.Ciphertext = uint8(out[0].Type), out[0].Bytes
		return out[0].Err
	}))
	return m
}

// firstContact has a guest write to Bob, whom he has not met, with a bundle that
// f makes of the honest one, and the two compare. Bob gets nothing if it is not
// for his keys, or he would be told at once.
func firstContact(f func(w *world, bob *device, honest []byte) []byte) func(*world) {
	return func(w *world) {
		bob := w.members[2]
		g, c := w.guest(bob)
		w.forge = func(_, of *device, honest []byte) []byte { return f(w, of, honest) }
		if w.class.Unseen != "" {
			w.catch = bob
		}
		w.write(g, c)
		w.forge, bob.box.caught = nil, nil
		w.compares(g, bob)
	}
}

// patched replaces bytes of a bundle that are known to be in it.
func patched(bundle, old, now []byte) []byte {
	if !bytes.Contains(bundle, old) {
		panic("hostile: the bundle has no such bytes")
	}
	return bytes.Replace(bundle, old, now, 1)
}

const firstSight = "at first contact nothing but the safety number can tell; it differs"

var keyClasses = []Class{
	{"the server's key at first contact", "its own bundle under Bob's name", surfaces(SafetyNumber), firstSight, firstContact(
		func(w *world, bob *device, _ []byte) []byte {
			return w.attacker().impersonate(bob.id, bob.published.RegistrationID)
		})},
	{"bundle of another user", "Carol's under Bob's name", surfaces(SafetyNumber), firstSight, firstContact(
		func(w *world, bob *device, _ []byte) []byte {
			return w.members[3].impersonate(bob.id, bob.published.RegistrationID)
		})},
	{"the server's key for a known device", "as if it were installed anew", surfaces(IdentityChanged), "", func(w *world) {
		bob := w.members[2]
		g, c := w.guest(bob)
		w.write(g, c)
		mallory := w.attacker()
		w.spy(mallory, g)
		number := bob.published.RegistrationID ^ 1
		w.forge = func(_, _ *device, _ []byte) []byte { return mallory.impersonate(bob.id, number) }
		w.lie(g, c, func(_ *world, _ *device, m *envelope.Submit, n int) []envelope.Message {
			return mismatchOnce(n, &envelope.Result{ID: m.Header.ID, Stale: named(envelope.Recipient{Device: bob.id, RegistrationID: number})})
		})
	}},
	{"bad signature", "of the signed prekey", surfaces(BadSignature), "", startRefused(func(w *world, bob *device, honest []byte) []byte {
		s := bob.published.SignedPreKey.Signature
		other := s
		other[w.rng.IntN(63)] ^= 1 << w.rng.IntN(8)
		return patched(honest, s[:], other[:])
	})},
	{"signed prekey of another device", "with its signature", surfaces(BadSignature), "", startRefused(func(w *world, bob *device, honest []byte) []byte {
		a, b := bob.published.SignedPreKey, w.members[3].published.SignedPreKey
		return patched(patched(honest, a.Key.Bytes(), b.Key.Bytes()), a.Signature[:], b.Signature[:])
	})},
	{"the server's signed prekey", "under Bob's identity key", surfaces(BadSignature), "", startRefused(func(w *world, bob *device, honest []byte) []byte {
		a, b := bob.published.SignedPreKey, w.attacker().published.SignedPreKey
		return patched(patched(honest, a.Key.Bytes(), b.Key.Bytes()), a.Signature[:], b.Signature[:])
	})},
	{"another identity key", "over Bob's signed prekey", surfaces(BadSignature), "", startRefused(func(w *world, bob *device, honest []byte) []byte {
		return patched(honest, bob.published.IdentityKey.Bytes(), w.attacker().published.IdentityKey.Bytes())
	})},
	{"low-order key", "as signed prekey", surfaces(BadKey), "", startRefused(func(_ *world, bob *device, honest []byte) []byte {
		return patched(honest, bob.published.SignedPreKey.Key.Bytes(), append([]byte{5}, make([]byte, 32)...))
	})},
	{"cut bundle", "at any length", surfaces(Malformed), "", startRefused(func(w *world, _ *device, honest []byte) []byte {
		return honest[:w.rng.IntN(len(honest)-1)]
	})},
	{"old bundle", "its signed prekey was replaced long ago", surfaces(UnknownPreKey), "", func(w *world) {
		g, c := w.guest(w.members[2])
		old := g.bundle(false)
		for range 2 {
			g.time = g.time.Add(31 * 24 * time.Hour)
			g.publish(1)
		}
		w.forge = func(_, _ *device, _ []byte) []byte { return old }
		w.write(w.members[2], c)
	}},
	{"one-time prekey twice", "two guests get the same bundle", surfaces(UnknownPreKey), "", func(w *world) {
		bob := w.members[2]
		bob.publish(1)
		bundle := bob.bundle(true)
		w.forge = func(_, _ *device, _ []byte) []byte { return bundle }
		for range 2 {
			g, c := w.guest(bob)
			w.write(g, c)
		}
	}},
	{"no one-time prekeys", "as if they were used up", surfaces(Harmless), "", firstContact(func(_ *world, bob *device, _ []byte) []byte {
		return bob.bundle(false)
	})},
	{"initial message again", "with a one-time prekey", surfaces(Duplicate), "", initialAgain(true)},
	{"initial message again, no prekey", "without a one-time prekey", surfaces(Duplicate), "", initialAgain(false)},
	{"first message as another's", "with a one-time prekey", surfaces(Mismatch, UnknownPreKey), "", initialInAnotherName(true)},
	{"first message as another's, no prekey", "without a one-time prekey", surfaces(Mismatch, UnknownPreKey), "", initialInAnotherName(false)},
	{"first message, other registration ID", "which nothing authenticates; the answer is read", surfaces(Duplicate), "", func(w *world) {
		bob := w.members[2]
		g, c := w.guest(bob)
		list := w.caughtFor(bob, g, c, 1)
		m := copyOf(list[0])
		first, err := x3dh.ParseInitialMessage(m.Ciphertext)
		must(err)
		first.RegistrationID ^= 1 << w.rng.IntN(14)
		m.Ciphertext, err = first.AppendBinary(nil)
		must(err)
		w.send(bob, m)
		w.send(bob, list[0])
		if w.write(bob, c); len(bob.lines(c)) != 2 || len(g.lines(c)) != 2 {
			w.violation("%v and %v do not read each other", g, bob)
		}
	}},
	{"the server writes, as a stranger", "in a session of its own, to the chat", surfaces(NotMember, IdentityChanged), "", func(w *world) {
		m, v := w.attacker(), pick(w, w.members[:])
		w.send(v, w.forged(m, v, m.id, w.named("chat"), "forged"))
	}},
	{"the server writes, as a device more", "as a device that Bob does not have", surfaces(NotMember), "", func(w *world) {
		m, v := w.attacker(), w.members[3]
		w.send(v, w.forged(m, v, envelope.Device{User: user("bob"), ID: 9}, w.named("chat"), "forged"))
	}},
	{"the server writes, as a known device", "as Bob's own, with another identity key", surfaces(IdentityChanged), "", func(w *world) {
		bob := w.members[2]
		g, c := w.guest(bob)
		w.write(g, c)
		w.send(g, w.forged(w.attacker(), g, bob.id, c, "forged"))
	}},
	{"the server writes, as the user", "to the private conversation, as a device more", surfaces(NotMember), "", func(w *world) {
		m, v := w.attacker(), w.members[0]
		w.send(v, w.forged(m, v, envelope.Device{User: v.id.User, ID: 9}, w.named("private"), "forged"))
	}},
}

// startRefused gives a guest a bundle that is refused, so that he writes nothing.
func startRefused(f func(w *world, bob *device, honest []byte) []byte) func(*world) {
	return func(w *world) {
		bob := w.members[2]
		g, c := w.guest(bob)
		w.forge = func(_, of *device, honest []byte) []byte { return f(w, of, honest) }
		if w.write(g, c) != nil {
			w.violation("%v writes under a bundle that is none", g)
		}
	}
}

// initialAgain replays the first message of a guest.
func initialAgain(oneTime bool) func(*world) {
	return func(w *world) {
		bob := w.members[2]
		bob.publish(1)
		g, c := w.guest(bob)
		w.forge = func(_, of *device, _ []byte) []byte { return of.bundle(oneTime) }
		list := w.caughtFor(bob, g, c, 1)
		w.send(bob, list[0])
		w.send(bob, list[0])
	}
}

// initialInAnotherName delivers the first message of a guest as of a device that he
// does not have, and then as his. What he writes after that is read.
func initialInAnotherName(oneTime bool) func(*world) {
	return func(w *world) {
		bob := w.members[2]
		bob.publish(1)
		g, c := w.guest(bob)
		w.forge = func(_, of *device, _ []byte) []byte { return of.bundle(oneTime) }
		list := w.caughtFor(bob, g, c, 1)
		m := copyOf(list[0])
		m.Header.Sender.ID++
		w.send(bob, m)
		w.send(bob, list[0])
		w.ask()
		if w.write(g, c); len(bob.lines(c)) != 1 {
			w.violation("%v reads nothing of %v any more", bob, g)
		}
	}
}
