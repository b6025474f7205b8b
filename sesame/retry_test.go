package sesame

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// logged encrypts under a timestamp.
func (a *app) logged(to *app, timestamp uint64, text string) Message {
	a.t.Helper()
	var messages []Message
	a.do(func(tx Tx) (err error) {
		messages, err = a.EncryptLogged(tx, timestamp, []byte(text), to.at)
		return err
	})
	require.Len(a.t, messages, 1)
	require.NoError(a.t, messages[0].Err)
	require.Equal(a.t, timestamp, messages[0].Timestamp)
	return messages[0]
}

// ask decrypts a message and asks for it, in one transaction.
func (a *app) ask(from Address, m Message, timestamp uint64) (request *Message, r *Result) {
	a.t.Helper()
	a.do(func(tx Tx) (err error) {
		if r, err = a.Decrypt(tx, from, m.Type, m.Bytes); err != nil {
			return err
		}
		request, err = a.RetryRequest(tx, r, timestamp)
		return err
	})
	return request, r
}

// asks has a ask for a message that it cannot read.
func (a *app) asks(from *app, m Message) Message {
	a.t.Helper()
	request, r := a.ask(from.at, m, m.Timestamp)
	require.Error(a.t, r.Err)
	require.NotNil(a.t, request)
	require.Equal(a.t, from.at, request.To)
	require.Equal(a.t, ratchet.PlaintextContent, request.Type)
	return *request
}

func always(uint64) (bool, error) { return true, nil }

func (a *app) handle(from *app, request Message) (m Message) {
	a.t.Helper()
	a.do(func(tx Tx) (err error) {
		m, err = a.HandleRetry(tx, from.at, a.at.Device, request.Bytes, always)
		return err
	})
	return m
}

// answers handles a request that is answered at once.
func (a *app) answers(from *app, request Message) Message {
	a.t.Helper()
	m := a.handle(from, request)
	require.NoError(a.t, m.Err)
	require.Equal(a.t, from.at, m.To)
	return m
}

// refusesRetry checks the verdict, and that no row changed.
func (a *app) refusesRetry(from *app, request Message, verdict error) {
	a.t.Helper()
	before := a.rows()
	m := a.handle(from, request)
	require.ErrorIs(a.t, m.Err, verdict)
	require.Nil(a.t, m.Bytes)
	require.Equal(a.t, before, a.rows())
}

// restart answers a request that ended the session: with a fresh bundle.
func (a *app) restart(from *app, request Message) (m Message) {
	a.t.Helper()
	require.ErrorIs(a.t, a.handle(from, request).Err, ErrNoSession)
	b := from.bundle()
	a.do(func(tx Tx) error {
		err := a.Start(tx, from.at, b)
		if err == nil {
			m, err = a.HandleRetry(tx, from.at, a.at.Device, request.Bytes, always)
		}
		return err
	})
	require.NoError(a.t, m.Err)
	require.Equal(a.t, ratchet.Initial, m.Type)
	return m
}

func (a *app) forget(peer *app) {
	a.t.Helper()
	a.do(func(tx Tx) error { return a.Forget(tx, peer.at) })
}

// forgedRequest names what its author likes.
func forgedRequest(key x3dh.PublicKey, timestamp uint64, device uint32) Message {
	q := &retryRequest{ratchetKey: key, timestamp: timestamp, device: device}
	return Message{Type: ratchet.PlaintextContent, Bytes: q.appendPlaintext(nil)}
}

// R-10.7-4, R-10.7-5: Bob's phone lost its sessions. It asks for what it cannot
// read; the first request ends Alice's session, and all that Bob asked for comes in
// the new one. The conversation goes on in it.
func TestRetry(t *testing.T) {
	alice, bob, _ := pair(t)
	bob.forget(alice)
	var sent []Message
	for i := range 4 {
		sent = append(sent, alice.logged(bob, uint64(100+i), fmt.Sprint("message ", i)))
	}
	old := alice.baseKey(bob)
	for i, m := range sent {
		request := bob.asks(alice, m)
		if i == 0 {
			m = alice.restart(bob, request)
		} else {
			m = alice.answers(bob, request)
		}
		require.Equal(t, uint64(100+i), m.Timestamp)
		bob.reads(alice, m, fmt.Sprint("message ", i))
	}
	require.NotEqual(t, old, alice.baseKey(bob))
	require.Equal(t, 2, alice.count(rowsSession), "one reset for four requests")
	alice.reads(bob, bob.encrypt(alice, "thank you"), "thank you")
	bob.reads(alice, alice.encrypt(bob, "at last"), "at last")

	for i := range sent {
		require.Equal(t, 4-i, alice.count(rowsSent))
		alice.do(func(tx Tx) error { return alice.Delivered(tx, uint64(100+i), bob.at) })
	}
	require.Zero(t, alice.count(rowsSent), "the plaintexts are deleted on delivery")
}

// R-10.7-5: the first session ever: Bob lost the prekeys that Alice's messages name, and has never heard
// of her. A fresh bundle heals it.
func TestRetryFirstSession(t *testing.T) {
	c := &clock{start}
	alice, bob := newApp(t, "alice", 1, c), newApp(t, "bob", 1, c)
	alice.start(bob)
	lost, first := alice.logged(bob, 1, "lost on the way"), alice.logged(bob, 2, "first")
	bob.do(func(tx Tx) error {
		for key := range bob.rows() {
			if len(key) > len(rowsPreKey) && key[:len(rowsPreKey)] == rowsPreKey {
				_, rev, err := tx.Get(key)
				if err == nil {
					err = tx.Delete(key, rev)
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	bob.oneTime = nil
	bob.publish()
	request, r := bob.ask(alice.at, first, 2)
	require.ErrorIs(t, r.Err, ErrUnknownPreKey)
	bob.reads(alice, alice.restart(bob, *request), "first")
	alice.reads(bob, bob.encrypt(alice, "hello"), "hello")
	bob.reads(alice, alice.answers(bob, bob.asks(alice, lost)), "lost on the way")
	bob.reads(alice, alice.encrypt(bob, "and so on"), "and so on")
}

// E18, R-10.7-3 to R-10.7-6: a request gets the same plaintext for the device
// and the identity key that it was for, a few times, and nothing else.
func TestRetryRequestAuthenticatedAndLimited(t *testing.T) {
	t.Run("not an addressee", func(t *testing.T) {
		alice, bob, c := pair(t)
		carol := newApp(t, "carol", 1, c)
		alice.start(carol)
		alice.encrypt(carol, "hello")
		alice.logged(bob, 7, "for bob")
		alice.logged(carol, 8, "for carol")
		laptop := newApp(t, "bob", 2, c)
		alice.start(laptop)
		request := forgedRequest(none, 7, 1)
		alice.refusesRetry(carol, request, errNotAddressed)
		alice.refusesRetry(laptop, request, errNotAddressed)
		alice.refusesRetry(newApp(t, "mallory", 1, c), request, errNotAddressed)
		alice.refusesRetry(bob, forgedRequest(none, 9, 1), errNotAddressed)
		alice.refusesRetry(bob, forgedRequest(none, 8, 1), errNotAddressed)
		alice.refusesRetry(bob, forgedRequest(none, 7, 2), errOtherDevice)
		alice.refusesRetry(&app{at: Address{Device: 1}}, request, ErrAddress)
		bob.reads(alice, alice.answers(bob, request), "for bob")

		// Who was not sent a message, because there was no session, is none.
		stranger := newApp(t, "dave", 1, c)
		alice.do(func(tx Tx) error {
			_, err := alice.EncryptLogged(tx, 7, []byte("for bob"), stranger.at)
			return err
		})
		alice.start(stranger)
		alice.refusesRetry(stranger, request, errNotAddressed)
	})
	t.Run("five times", func(t *testing.T) {
		alice, bob, c := pair(t)
		laptop := newApp(t, "bob", 2, c)
		alice.start(laptop)
		alice.do(func(tx Tx) error {
			_, err := alice.EncryptLogged(tx, 7, []byte("hello"), bob.at, laptop.at)
			return err
		})
		alice.logged(bob, 8, "another")
		request := forgedRequest(none, 7, 1)
		for range 5 {
			bob.reads(alice, alice.answers(bob, request), "hello")
		}
		alice.refusesRetry(bob, request, errTooOften)
		alice.refusesRetry(bob, request, ErrRetryRefused)
		bob.reads(alice, alice.answers(bob, forgedRequest(none, 8, 1)), "another")
		laptop.reads(alice, alice.answers(laptop, request), "hello")

		// Nor by encrypting it for that device again.
		alice.logged(bob, 7, "hello")
		alice.refusesRetry(bob, request, errTooOften)
	})
	t.Run("fourteen days", func(t *testing.T) {
		alice, bob, c := pair(t)
		alice.logged(bob, 7, "hello")
		request := forgedRequest(none, 7, 1)
		c.now = start.Add(14*24*time.Hour - time.Second)
		alice.answers(bob, request)
		c.now = start.Add(14 * 24 * time.Hour)
		alice.refusesRetry(bob, request, errNotAddressed)
		c.now = start.Add(-sendLogAge) // R-10.7-7: a clock that was set back
		alice.refusesRetry(bob, request, errNotAddressed)
		c.now = start.Add(-time.Second)
		alice.answers(bob, request)
	})
	t.Run("delivered", func(t *testing.T) {
		alice, bob, _ := pair(t)
		alice.logged(bob, 7, "hello")
		alice.do(func(tx Tx) error { return alice.Delivered(tx, 7, bob.at) })
		alice.refusesRetry(bob, forgedRequest(none, 7, 1), errNotAddressed)
	})
	t.Run("not allowed", func(t *testing.T) {
		alice, bob, _ := pair(t)
		alice.logged(bob, 7, "hello")
		request := forgedRequest(none, 7, 1)
		before := alice.rows()
		var m Message
		var asked []uint64
		alice.do(func(tx Tx) (err error) {
			m, err = alice.HandleRetry(tx, bob.at, 1, request.Bytes, func(timestamp uint64) (bool, error) {
				asked = append(asked, timestamp)
				return false, nil
			})
			return err
		})
		require.ErrorIs(t, m.Err, errNotAllowed)
		require.Equal(t, []uint64{7}, asked)
		require.Equal(t, uint64(7), m.Timestamp)
		down := errors.New("the database is down")
		require.ErrorIs(t, alice.try(func(tx Tx) error {
			_, err := alice.HandleRetry(tx, bob.at, 1, request.Bytes, func(uint64) (bool, error) { return true, down })
			return err
		}), down)
		require.Equal(t, before, alice.rows())
	})
	t.Run("forgotten", func(t *testing.T) {
		alice, bob, c := pair(t)
		carol := newApp(t, "carol", 1, c)
		alice.start(carol)
		alice.do(func(tx Tx) error {
			_, err := alice.EncryptLogged(tx, 7, []byte("hello"), bob.at, carol.at)
			return err
		})
		alice.logged(bob, 8, "for bob only")
		garbage := Message{Type: ratchet.Ordinary, Bytes: forge(t, 1), Timestamp: 7}
		request := bob.asks(alice, garbage)
		alice.asks(bob, garbage)
		alice.asks(newApp(t, "bob", 2, c), garbage)
		require.Equal(t, 2, alice.count(rowsRetry))
		alice.do(func(tx Tx) error { return alice.Forget(tx, Address{"bob", 2}) }) // of whom nothing else is known
		require.Equal(t, 1, alice.count(rowsRetry))
		alice.forget(bob)
		require.Zero(t, alice.count(rowsRetry))
		alice.refusesRetry(bob, request, errNotAddressed)
		alice.refusesRetry(bob, forgedRequest(none, 8, 1), errNotAddressed)
		require.Equal(t, 1, alice.count(rowsSent), "carol's is still there")
		alice.start(bob) // added again, with the same key
		alice.refusesRetry(bob, request, errNotAddressed)
		carol.reads(alice, alice.answers(carol, request), "hello")
	})
	t.Run("another identity key", func(t *testing.T) {
		alice, bob, c := pair(t)
		alice.logged(bob, 7, "for the old key")
		again := newApp(t, "bob", 1, c) // installed anew
		request := forgedRequest(none, 7, 1)
		alice.start(again)
		alice.refusesRetry(again, request, ErrIdentityChanged)
		alice.refusesRetry(again, forgedRequest(alice.ratchetKey(again), 7, 1), ErrIdentityChanged)
		alice.do(func(tx Tx) error { return alice.Confirm(tx, bob.at, again.published.IdentityKey) })
		alice.refusesRetry(again, request, errOtherIdentity)
		again.reads(alice, alice.encrypt(again, "hello"), "hello")

		// What is encrypted for the new key on purpose may be asked for.
		alice.logged(again, 7, "for the old key")
		again.reads(alice, alice.answers(again, request), "for the old key")

		// Forgotten in between, and trusted at sight: no way around.
		third := newApp(t, "bob", 1, c)
		alice.forget(again)
		alice.start(third)
		alice.refusesRetry(third, request, errNotAddressed)
	})
	t.Run("one reset an hour", func(t *testing.T) {
		alice, bob, c := pair(t)
		for i := range uint64(8) {
			alice.logged(bob, 1+i, "hello")
		}
		current := func(i uint64) Message { return forgedRequest(alice.ratchetKey(bob), 1+i, 1) }
		old := alice.ratchetKey(bob)
		alice.restart(bob, current(0))
		base := alice.baseKey(bob)

		// Within the hour only the message is encrypted, in the session that is.
		for i := range uint64(3) {
			require.Equal(t, i+2, alice.answers(bob, current(i+1)).Timestamp)
		}
		c.now = start.Add(time.Hour - time.Second)
		alice.answers(bob, current(4))
		c.now = start.Add(time.Second - time.Hour)
		alice.answers(bob, current(4))
		require.Equal(t, base, alice.baseKey(bob))
		require.Equal(t, 2, alice.count(rowsSession))

		// Later: not for a key of the past, nor one that nobody has, nor none.
		c.now = start.Add(time.Hour)
		for _, key := range []x3dh.PublicKey{old, x3dh.GenerateIdentityKey().Public(), none} {
			alice.answers(bob, forgedRequest(key, 5, 1))
		}
		require.Equal(t, base, alice.baseKey(bob))
		alice.restart(bob, current(6))
		require.NotEqual(t, base, alice.baseKey(bob))
		require.Equal(t, 1, alice.count(rowsRetry))
	})
	t.Run("a reset heals where nothing is sent", func(t *testing.T) {
		alice, bob, _ := pair(t)
		bob.forget(alice)
		m := alice.encrypt(bob, "not in the log")
		request := bob.asks(alice, m)
		require.ErrorIs(t, alice.handle(bob, forgedRequest(alice.ratchetKey(bob), 0, 2)).Err, errOtherDevice)
		alice.encrypt(bob, "the session is still there")
		require.ErrorIs(t, alice.handle(bob, request).Err, errNotAddressed)
		require.ErrorIs(t, alice.encryptErr(bob, "next").Err, ErrNoSession)
		alice.start(bob)
		bob.reads(alice, alice.encrypt(bob, "next"), "next")
		alice.reads(bob, bob.encrypt(alice, "yes"), "yes")
	})
}

// ratchetKey is that of the next message for a device.
func (a *app) ratchetKey(peer *app) (key x3dh.PublicKey) {
	a.t.Helper()
	a.do(func(tx Tx) error {
		s, err := a.session(tx, peer.at, a.baseKey(peer))
		if err == nil {
			key = s.RatchetKey()
		}
		return err
	})
	return key
}

// E18, R-10.7-2: a message is asked for five times, and 256 messages of a device are counted, for 14 days.
func TestRetryRequestsCounted(t *testing.T) {
	alice, bob, c := pair(t)
	carol := newApp(t, "carol", 1, c)
	garbage := func(timestamp uint64) Message {
		return Message{Type: ratchet.Ordinary, Bytes: forge(t, 1), Timestamp: timestamp}
	}
	none := func(from *app, m Message) {
		t.Helper()
		before := bob.rows()
		request, _ := bob.ask(from.at, m, m.Timestamp)
		require.Nil(t, request)
		require.Equal(t, before, bob.rows())
	}
	for range 5 {
		bob.asks(alice, garbage(1))
	}
	none(alice, garbage(1))
	bob.asks(carol, garbage(1))
	require.Equal(t, 2, bob.count(rowsRetry))

	for i := range uint64(255) {
		bob.asks(alice, garbage(2+i))
	}
	none(alice, garbage(1000))
	bob.asks(alice, garbage(2))
	require.Equal(t, 2, bob.count(rowsRetry), "one row for each device")
	size := len(bob.rows()[rowRetry(alice.at)])
	t.Logf("a full row has %d bytes", size)
	require.Less(t, size, 8000)

	c.now = start.Add(sendLogAge - time.Second)
	none(alice, garbage(1))
	none(alice, garbage(1000))
	c.now = start.Add(sendLogAge)
	bob.asks(alice, garbage(1))
	bob.asks(alice, garbage(1000))
	require.Less(t, len(bob.rows()[rowRetry(alice.at)]), 50)

	// Nothing is asked for that was read, was a duplicate, or is no message.
	good := alice.encrypt(bob, "good")
	none2 := func(from Address, m Message) {
		t.Helper()
		count := bob.rows()[rowRetry(alice.at)]
		request, _ := bob.ask(from, m, 5)
		require.Nil(t, request)
		require.Equal(t, count, bob.rows()[rowRetry(alice.at)])
	}
	none2(alice.at, good)
	none2(alice.at, good)
	none2(alice.at, Message{Type: ratchet.Ordinary, Bytes: good.Bytes[:12]})
	none2(alice.at, Message{Type: ratchet.Initial, Bytes: good.Bytes})
	none2(alice.at, Message{Type: 7, Bytes: good.Bytes})
	none2(Address{}, good)
	none2(alice.at, forgedRequest(x3dh.GenerateIdentityKey().Public(), 1, 1))
	r := &Result{From: alice.at, Err: ErrIdentityChanged, typ: ratchet.Ordinary, message: forge(t, 1)}
	bob.do(func(tx Tx) error {
		request, err := bob.RetryRequest(tx, r, 6)
		require.Nil(t, request)
		return err
	})
}

// R-10.7-1: a request is no message and a message is no request, whatever type
// it is given.
func TestRetryRequestIsNoMessage(t *testing.T) {
	alice, bob, _ := pair(t)
	m := alice.logged(bob, 7, "hello")
	request := forgedRequest(alice.ratchetKey(bob), 7, 1)
	for _, typ := range []ratchet.Type{0, ratchet.Ordinary, ratchet.Initial, ratchet.PlaintextContent} {
		alice.refuses(bob, Message{Type: typ, Bytes: request.Bytes}, ErrUndecryptable)
	}
	alice.refusesRetry(bob, m, ErrRetryRefused)
	bob.refuses(alice, Message{Type: ratchet.PlaintextContent, Bytes: m.Bytes}, ErrUndecryptable)
	first := newApp(t, "carol", 1, &clock{start})
	first.start(alice)
	alice.refusesRetry(bob, first.encrypt(alice, "hello"), ErrRetryRefused)
	alice.refusesRetry(bob, Message{}, ErrRetryRefused)
	require.Equal(t, ratchet.Type(8), ratchet.PlaintextContent, "libsignal's number")
}

// R-10.7-3: the log has those devices that the message was encrypted for, and
// one plaintext for one timestamp.
func TestEncryptLogged(t *testing.T) {
	alice, bob, c := pair(t)
	carol, dave := newApp(t, "carol", 1, c), newApp(t, "dave", 1, c)
	alice.start(carol)
	encrypt := func(timestamp uint64, text string, to ...Address) (messages []Message, err error) {
		return messages, alice.try(func(tx Tx) error {
			messages, err = alice.EncryptLogged(tx, timestamp, []byte(text), to...)
			return err
		})
	}
	messages, err := encrypt(7, "", dave.at)
	require.NoError(t, err)
	require.ErrorIs(t, messages[0].Err, ErrNoSession)
	require.Zero(t, alice.count(rowsSent), "nobody may ask for it")

	messages, err = encrypt(7, "", dave.at, carol.at, bob.at)
	require.NoError(t, err)
	require.Len(t, messages, 3)
	bob.reads(alice, messages[2], "")
	alice.start(dave)
	before := alice.rows()
	_, err = encrypt(7, "another", dave.at)
	require.ErrorIs(t, err, ErrTimestamp)
	_, err = encrypt(0, "", dave.at)
	require.ErrorIs(t, err, ErrTimestamp)
	require.Equal(t, before, alice.rows())
	messages, err = encrypt(7, "", dave.at)
	require.NoError(t, err)
	dave.reads(alice, messages[0], "")
	require.Equal(t, 1, alice.count(rowsSent))
	for _, to := range []*app{bob, carol, dave} {
		to.reads(alice, alice.answers(to, forgedRequest(none, 7, 1)), "")
	}

	// Delivered to one after the other. Who is not in the log is passed over.
	delivered := func(timestamp uint64, to ...Address) {
		alice.do(func(tx Tx) error { return alice.Delivered(tx, timestamp, to...) })
	}
	revision := func() (rev uint64) {
		alice.do(func(tx Tx) (err error) { _, rev, err = tx.Get(rowSent(7)); return err })
		return rev
	}
	rev := revision()
	before = alice.rows()
	delivered(7, Address{"erin", 1}, Address{"bob", 2}, Address{})
	delivered(8, bob.at)
	delivered(7)
	require.Equal(t, before, alice.rows())
	require.Equal(t, rev, revision(), "not written")
	delivered(7, carol.at)
	alice.refusesRetry(carol, forgedRequest(none, 7, 1), errNotAddressed)
	dave.reads(alice, alice.answers(dave, forgedRequest(none, 7, 1)), "")
	delivered(7, bob.at, dave.at, bob.at)
	require.Zero(t, alice.count(rowsSent))

	// A repair logs what it encrypts.
	messages, err = encrypt(10, "to all", bob.at)
	require.NoError(t, err)
	laptop := newApp(t, "bob", 2, c)
	alice.start(laptop)
	repair := func(text string) error {
		return alice.try(func(tx Tx) (err error) {
			// The message comes from the application's outbox.
			sealed := []Message{{To: bob.at, Type: messages[0].Type, Bytes: messages[0].Bytes, RegistrationID: messages[0].RegistrationID, Timestamp: 10}}
			messages, err = alice.Repair(tx, []byte(text), sealed, Mismatch{Missing: map[Address]uint32{laptop.at: 0, {"bob", 3}: 0}})
			return err
		})
	}
	before = alice.rows()
	kept := messages
	require.ErrorIs(t, repair("something else"), ErrTimestamp)
	require.Equal(t, before, alice.rows())
	messages = kept
	require.NoError(t, repair("to all"))
	require.Len(t, messages, 3)
	require.Equal(t, kept[0].Bytes, messages[0].Bytes)
	for _, m := range messages {
		require.Equal(t, uint64(10), m.Timestamp)
	}
	laptop.reads(alice, alice.answers(laptop, forgedRequest(none, 10, 1)), "to all")
	bob.reads(alice, alice.answers(bob, forgedRequest(none, 10, 1)), "to all")
	delivered(10, bob.at, laptop.at)
	require.Zero(t, alice.count(rowsSent), "no entry for who got nothing")

	// After 14 days the timestamp is free, and old addressees are gone.
	_, err = encrypt(9, "old", bob.at, carol.at)
	require.NoError(t, err)
	c.now = start.Add(sendLogAge)
	_, err = encrypt(9, "new", bob.at)
	require.NoError(t, err)
	bob.reads(alice, alice.answers(bob, forgedRequest(none, 9, 1)), "new")
	alice.refusesRetry(carol, forgedRequest(none, 9, 1), errNotAddressed)
}

// R-10.7-7: Publish, which is called every day, deletes what cannot be asked for
// any more, and what limited it.
func TestRetryRowsPruned(t *testing.T) {
	alice, bob, c := pair(t)
	alice.logged(bob, 1, "old")
	alice.restart(bob, forgedRequest(alice.ratchetKey(bob), 1, 1))
	alice.asks(newApp(t, "mallory", 1, c), Message{Type: ratchet.Ordinary, Bytes: forge(t, 1)})
	c.now = start.Add(time.Hour - time.Second)
	alice.publish()
	require.Equal(t, [2]int{1, 2}, [2]int{alice.count(rowsSent), alice.count(rowsRetry)}, "all of it limits something")
	c.now = start.Add(time.Hour)
	alice.logged(bob, 2, "newer")
	require.Equal(t, [2]int{2, 2}, [2]int{alice.count(rowsSent), alice.count(rowsRetry)})
	alice.publish()
	require.Equal(t, [2]int{2, 1}, [2]int{alice.count(rowsSent), alice.count(rowsRetry)})
	c.now = start.Add(sendLogAge)
	alice.publish()
	require.Equal(t, [2]int{1, 0}, [2]int{alice.count(rowsSent), alice.count(rowsRetry)})
	c.now = c.now.Add(time.Hour)
	alice.do(func(tx Tx) error { _, err := alice.Publish(staleTx{tx}, PreKeyBatch); return err })
	require.Zero(t, alice.count(rowsSent))
}

// A staleTx yields keys of rows that another transaction has deleted since, as a
// weakly isolated database does.
type staleTx struct{ Tx }

func (s staleTx) Scan(prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if (prefix == rowsSent || prefix == rowsRetry) && !yield(prefix+"0", nil) {
			return
		}
		s.Tx.Scan(prefix)(yield)
	}
}

// R23: rows of retries that this package would not write.
func TestRetryRowsRefused(t *testing.T) {
	key := x3dh.GenerateIdentityKey().Public()
	sent := func(to ...addressee) []byte {
		b, err := (&sentRecord{created: start, to: to}).AppendBinary(nil)
		require.NoError(t, err)
		return b
	}
	alice, bob := addressee{Address{"alice", 1}, key, 1}, addressee{Address{"bob", 1}, key, 0}
	_, err := parseSent(sent(alice, bob))
	require.NoError(t, err)
	for name, b := range map[string][]byte{
		"empty":            {},
		"an unknown field": append(sent(), 0x20, 1),
		"out of order":     sent(bob, alice),
		"twice":            sent(bob, bob),
		"no user":          sent(addressee{Address{"", 1}, key, 0}),
		"device 128":       sent(addressee{Address{"bob", 128}, key, 0}),
		"no identity key":  wire.AppendBytes(sent(), 3, wire.AppendBytes(nil, 1, []byte("bob"))),
		"an invalid key":   wire.AppendBytes(sent(), 3, wire.AppendBytes(wire.AppendBytes(nil, 1, []byte("bob")), 3, make([]byte, 33))),
		"a field of its":   wire.AppendBytes(sent(), 3, append(wire.AppendBytes(wire.AppendBytes(nil, 1, []byte("bob")), 3, key.Bytes()), 0x28, 1)),
	} {
		_, err := parseSent(b)
		require.Error(t, err, name)
	}

	r := &retryRecord{reset: start, asked: make([]asked, maxAsked)}
	full, err := r.AppendBinary(nil)
	require.NoError(t, err)
	full = slices.Clip(full)
	_, err = parseRetry(full)
	require.NoError(t, err)
	for name, b := range map[string][]byte{
		"257 messages":     wire.AppendBytes(full, 2, []byte{0x08, 1, 0x10, 1, 0x18, 1}),
		"an unknown field": append(full, 0x18, 1),
		"no count":         wire.AppendBytes(nil, 2, []byte{0x08, 1, 0x10, 1}),
		"a field of its":   wire.AppendBytes(nil, 2, []byte{0x08, 1, 0x10, 1, 0x18, 1, 0x20, 1}),
	} {
		_, err := parseRetry(b)
		require.Error(t, err, name)
	}
}

// R-10.7-4: many requests at once, in transactions side by side: five answers.
func TestRetryLimitRace(t *testing.T) {
	alice, bob, _ := pair(t)
	alice.logged(bob, 7, "hello")
	request := forgedRequest(none, 7, 1)
	var wg sync.WaitGroup
	answers := make(chan Message, 40)
	for range cap(answers) {
		wg.Go(func() { answers <- alice.handle(bob, request) })
	}
	wg.Wait()
	close(answers)
	var sent [][]byte
	for m := range answers {
		if m.Err == nil {
			sent = append(sent, m.Bytes)
			continue
		}
		require.ErrorIs(t, m.Err, errTooOften)
	}
	require.Len(t, sent, 5)
	for i, b := range sent {
		require.False(t, slices.ContainsFunc(sent[:i], func(a []byte) bool { return string(a) == string(b) }))
	}
}

// Calls on nothing, and rows that make no sense.
func TestRetryMisuse(t *testing.T) {
	alice, bob, _ := pair(t)
	alice.logged(bob, 7, "hello")
	request := forgedRequest(alice.ratchetKey(bob), 7, 1)
	for _, d := range []*Device{nil, new(Device)} {
		for _, f := range []func(Tx) error{
			func(tx Tx) error { _, err := d.HandleRetry(tx, bob.at, 1, request.Bytes, always); return err },
			func(tx Tx) error { _, err := d.RetryRequest(tx, new(Result), 1); return err },
			func(tx Tx) error { _, err := d.EncryptLogged(tx, 1, nil); return err },
			func(tx Tx) error { return d.Delivered(tx, 1) },
		} {
			require.ErrorIs(t, alice.try(f), ErrUninitialized)
		}
	}
	before := alice.rows()
	require.ErrorIs(t, alice.try(func(tx Tx) error {
		_, err := alice.HandleRetry(tx, bob.at, 1, request.Bytes, nil)
		return err
	}), ErrUninitialized)
	require.ErrorIs(t, alice.try(func(tx Tx) error { _, err := alice.RetryRequest(tx, nil, 1); return err }), ErrUninitialized)
	require.Equal(t, before, alice.rows())

	for _, row := range []string{rowSent(7), rowRetry(bob.at)} {
		alice.do(func(tx Tx) error {
			_, rev, err := tx.Get(row)
			if err != nil {
				return err
			}
			return tx.Put(row, []byte{0xff}, rev)
		})
		before := alice.rows()
		require.ErrorIs(t, alice.try(func(tx Tx) error {
			_, err := alice.HandleRetry(tx, bob.at, 1, request.Bytes, always)
			return err
		}), ErrCorrupt)
		require.Equal(t, before, alice.rows())
		alice.publish() // and everything else goes on
		alice.do(func(tx Tx) error { return alice.Forget(tx, Address{"mallory", 1}) })
		alice.do(func(tx Tx) error {
			_, rev, err := tx.Get(row)
			if err != nil {
				return err
			}
			return tx.Delete(row, rev)
		})
		alice.logged(bob, 7, "hello")
	}
}
