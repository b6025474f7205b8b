package hostile

import (
	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
)

// answered has somebody write to a conversation, and gives the answers of f.
func answered(name string, f func(w *world, d *device, m *envelope.Submit, n int) []envelope.Message) func(*world) {
	return func(w *world) {
		c := w.named(name)
		w.lie(pick(w, w.inside(c)), c, f)
	}
}

// answeredGuest has a guest write, who is never heard of again.
func answeredGuest(f func(w *world, d *device, m *envelope.Submit, n int) []envelope.Message) func(*world) {
	return func(w *world) {
		g, c := w.guest(w.members[2])
		w.lie(g, c, f)
	}
}

// lie has a device write, and answers its nth submission with f; nil is honest.
func (w *world) lie(d *device, c *chat, f func(w *world, d *device, m *envelope.Submit, n int) []envelope.Message) {
	if c.group {
		d.distribute(c)
	}
	n := 0
	w.answer = func(by *device, m *envelope.Submit) []envelope.Message {
		if by != d {
			return nil
		}
		n++
		return f(w, d, m, n)
	}
	w.write(d, c)
	w.answer = nil
}

func one(m envelope.Message) []envelope.Message { return []envelope.Message{m} }

// named names devices in a mismatch.
func named(list ...envelope.Recipient) envelope.Recipients {
	r, err := envelope.NewRecipients(list...)
	must(err)
	return r
}

var failed = surfaces(Contradiction, Failed)

var answerClasses = []Class{
	{"clock bound that is none", "a stamp within the bound is refused", failed, "", answered("chat", func(_ *world, _ *device, m *envelope.Submit, n int) []envelope.Message {
		return one(&envelope.Result{ID: m.Header.ID, Code: envelope.ClockBound, MaxStamp: m.Header.Stamp})
	})},
	{"clock bound that inflates", "the bound is nearly the highest stamp", append(surfaces(Missing), failed...), "", func(w *world) {
		// A guest writes again after it, with the clock that it has then.
		g, c := w.guest(w.members[2])
		w.write(g, c)
		w.lie(g, c, func(_ *world, _ *device, m *envelope.Submit, n int) []envelope.Message {
			if n > 1 {
				return nil
			}
			return one(&envelope.Result{ID: m.Header.ID, Code: envelope.ClockBound, MaxStamp: lamport.Max - 9})
		})
		w.write(g, c)
	}},
	{"clock bound of nothing, repeated", "bound 0, again and again", failed, "", answered("chat", func(_ *world, _ *device, m *envelope.Submit, n int) []envelope.Message {
		r := &envelope.Result{ID: m.Header.ID, Code: envelope.ClockBound}
		return []envelope.Message{r, r, r}
	})},
	{"false acceptance", "what is not stored, and then the number for another one", surfaces(Contradiction, Missing), "", func(w *world) {
		g, c := w.guest(w.members[2])
		w.lie(g, c, func(_ *world, _ *device, m *envelope.Submit, _ int) []envelope.Message {
			return one(&envelope.Result{ID: m.Header.ID, Code: envelope.Accepted, Epoch: 1, Sequence: 1})
		})
		w.write(g, c)
	}},
	{"false acceptance, and silence", "what is not stored", surfaces(Harmless), "it is withheld, which nothing can tell from silence until its author writes again", answeredGuest(
		func(_ *world, _ *device, m *envelope.Submit, _ int) []envelope.Message {
			return one(&envelope.Result{ID: m.Header.ID, Code: envelope.Accepted, Epoch: 1, Sequence: 1})
		})},
	{"falsely too old", "what was never accepted", surfaces(Harmless), "it is withheld, which nothing can tell from silence until its author writes again", answeredGuest(
		func(_ *world, _ *device, m *envelope.Submit, _ int) []envelope.Message {
			return one(&envelope.Result{ID: m.Header.ID, Code: envelope.TooOld})
		})},
	{"accepted before what was seen", "a position that others have", surfaces(Contradiction), "", answered("chat", func(_ *world, _ *device, m *envelope.Submit, _ int) []envelope.Message {
		return one(&envelope.Result{ID: m.Header.ID, Code: envelope.Accepted, Epoch: 1, Sequence: 1})
	})},
	{"accepted, and then refused", "two answers that contradict", surfaces(Harmless), "", answered("chat", func(w *world, d *device, m *envelope.Submit, _ int) []envelope.Message {
		return []envelope.Message{w.accept(d, m), &envelope.Result{ID: m.Header.ID, Code: envelope.Refused}}
	})},
	{"accepted twice, elsewhere", "another position for the same message", surfaces(Harmless), "", answered("chat", func(w *world, d *device, m *envelope.Submit, _ int) []envelope.Message {
		r := w.accept(d, m)
		return []envelope.Message{r, &envelope.Result{ID: m.Header.ID, Code: envelope.Duplicate, Epoch: r.Epoch, Sequence: r.Sequence + 7}}
	})},
	{"refused, though accepted", "and delivered", surfaces(Failed), "", answered("chat", func(w *world, d *device, m *envelope.Submit, _ int) []envelope.Message {
		w.accept(d, m)
		return one(&envelope.Result{ID: m.Header.ID, Code: envelope.Refused})
	})},
	{"accepted, and wanted again", "encrypted anew for a device that has it", surfaces(Repeated, Disorder), "", func(w *world) {
		v := w.members[1]
		var first *envelope.Result
		w.lie(w.members[0], w.named("chat"), func(_ *world, d *device, m *envelope.Submit, n int) []envelope.Message {
			r := envelope.Recipient{Device: v.id, RegistrationID: v.published.RegistrationID}
			switch n {
			case 1:
				first = w.accept(d, m)
				r.RegistrationID = 0
				return one(&envelope.Result{ID: m.Header.ID, Code: envelope.DeviceMismatch, Extra: named(r)})
			case 2:
				return one(&envelope.Result{ID: m.Header.ID, Code: envelope.DeviceMismatch, Missing: named(r)})
			}
			for r := range m.Recipients.All() {
				if r.Device == v.id {
					w.send(v, &envelope.Deliver{Header: m.Header, Type: r.Type, Ciphertext: r.Ciphertext,
						Untrusted: envelope.Untrusted{Epoch: first.Epoch, Sequence: first.Sequence}})
				}
			}
			return one(first)
		})
	}},
	{"answer to nothing", "a message ID that nobody has", surfaces(Harmless), "", func(w *world) {
		pick(w, w.members[:]).take(encode(&envelope.Result{ID: w.draw(), Code: envelope.Accepted, Epoch: 1, Sequence: 1}))
	}},
	{"quota for ever", "nothing is accepted", surfaces(Harmless), "the message is shown as one that waits", answeredGuest(
		func(_ *world, _ *device, m *envelope.Submit, _ int) []envelope.Message {
			return one(&envelope.Result{ID: m.Header.ID, Code: envelope.Quota, RetryAfter: 1})
		})},
	{"add a device to a user", "the server's own, under Bob's name", failed, "", func(w *world) {
		c := w.named("pair")
		w.lie(w.members[0], c, func(_ *world, _ *device, m *envelope.Submit, n int) []envelope.Message {
			w.forge = func(_, _ *device, _ []byte) []byte {
				return w.attacker().impersonate(envelope.Device{User: user("bob"), ID: 9}, 666)
			}
			return mismatchOnce(n, &envelope.Result{ID: m.Header.ID, Missing: named(envelope.Recipient{
				Device: envelope.Device{User: user("bob"), ID: 9}, RegistrationID: 666})})
		})
	}},
	{"add a user", "who is not in the conversation", failed, "", answered("chat", func(_ *world, _ *device, m *envelope.Submit, n int) []envelope.Message {
		return mismatchOnce(n, &envelope.Result{ID: m.Header.ID, Missing: named(envelope.Recipient{
			Device: envelope.Device{User: user("mallory"), ID: 1}, RegistrationID: 666})})
	})},
	{"add the writer", "as a receiver", failed, "", answered("chat", func(_ *world, d *device, m *envelope.Submit, n int) []envelope.Message {
		return mismatchOnce(n, &envelope.Result{ID: m.Header.ID, Stale: named(envelope.Recipient{Device: d.id, RegistrationID: 666})})
	})},
	{"remove all devices", "of the other user", surfaces(Failed), "", func(w *world) {
		w.lie(w.members[0], w.named("pair"), func(_ *world, _ *device, m *envelope.Submit, n int) []envelope.Message {
			return mismatchOnce(n, &envelope.Result{ID: m.Header.ID, Extra: named(envelope.Recipient{Device: w.members[2].id})})
		})
	}},
	{"remove one of several users", "all of Bob's devices", surfaces(Unreached), "", func(w *world) {
		w.lie(w.members[0], w.named("chat"), func(_ *world, _ *device, m *envelope.Submit, n int) []envelope.Message {
			return mismatchOnce(n, &envelope.Result{ID: m.Header.ID, Extra: named(envelope.Recipient{Device: w.members[2].id})})
		})
	}},
	{"want other devices every time", "the same that were there", surfaces(Failed), "", answered("pair", func(w *world, d *device, m *envelope.Submit, n int) []envelope.Message {
		if n == 7 { // five rounds after the first
			w.violation("%v does not give up", d)
		}
		var r envelope.Recipient
		for v := range m.Recipients.All() {
			r = envelope.Recipient{Device: v.Device, RegistrationID: v.RegistrationID}
		}
		return one(&envelope.Result{ID: m.Header.ID, Code: envelope.DeviceMismatch, Stale: named(r)})
	})},
	{"another registration ID", "that the device never had", surfaces(NoSession, Failed), "", func(w *world) {
		bob := w.members[2]
		w.lie(w.members[0], w.named("pair"), func(_ *world, _ *device, m *envelope.Submit, n int) []envelope.Message {
			return mismatchOnce(n, &envelope.Result{ID: m.Header.ID, Stale: named(envelope.Recipient{
				Device: bob.id, RegistrationID: bob.published.RegistrationID ^ 1})})
		})
	}},
}

// mismatchOnce is a mismatch for the first submission, and honesty then.
func mismatchOnce(n int, r *envelope.Result) []envelope.Message {
	if n > 1 {
		return nil
	}
	r.Code = envelope.DeviceMismatch
	return one(r)
}
