package sesame

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// A clock that stands still until it is moved.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// An app is a device with its database, and what a server keeps for it.
type app struct {
	t     testing.TB
	at    Address
	store *Memory
	*Device
	published *Publication
	oneTime   []x3dh.PublicPreKey // at the server
}

var start = time.Unix(1_700_000_000, 0)

func newApp(t testing.TB, user string, device uint32, c *clock) *app {
	t.Helper()
	a := &app{t: t, at: Address{user, device}, store: new(Memory)}
	a.do(func(tx Tx) (err error) {
		a.Device, err = Open(tx, Config{Now: c.Now})
		return err
	})
	a.publish()
	return a
}

// try runs f in a transaction, again after a conflict. One that every run finds is
// none with another transaction.
func (a *app) try(f func(tx Tx) error) (err error) {
	for range 1000 {
		if err = a.store.Do(f); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}

func (a *app) do(f func(tx Tx) error) {
	a.t.Helper()
	require.NoError(a.t, a.try(f))
}

func (a *app) publish() {
	a.t.Helper()
	a.do(func(tx Tx) (err error) {
		a.published, err = a.Publish(tx, len(a.oneTime))
		return err
	})
	a.oneTime = append(a.oneTime, a.published.OneTimePreKeys...)
}

// bundle is what the server gives: with a one-time prekey while it has one.
func (a *app) bundle() *x3dh.Bundle {
	a.t.Helper()
	info := x3dh.BundleInfo{
		RegistrationID: a.published.RegistrationID, DeviceID: a.at.Device,
		IdentityKey: a.published.IdentityKey, SignedPreKey: a.published.SignedPreKey,
	}
	if len(a.oneTime) > 0 {
		info.OneTimePreKey, a.oneTime = &a.oneTime[0], a.oneTime[1:]
	}
	b, err := x3dh.NewBundle(info)
	require.NoError(a.t, err)
	return b
}

func (a *app) start(to *app) {
	a.t.Helper()
	b := to.bundle()
	a.do(func(tx Tx) error { return a.Start(tx, to.at, b) })
}

// encryptErr encrypts for one device and returns the message or the verdict.
func (a *app) encryptErr(to *app, text string) (m Message) {
	a.t.Helper()
	a.do(func(tx Tx) error {
		messages, err := a.Encrypt(tx, []byte(text), to.at)
		if err == nil {
			require.Len(a.t, messages, 1)
			m = messages[0]
		}
		return err
	})
	return m
}

func (a *app) encrypt(to *app, text string) Message {
	a.t.Helper()
	m := a.encryptErr(to, text)
	require.NoError(a.t, m.Err)
	require.Equal(a.t, to.at, m.To)
	return m
}

func (a *app) decrypt(from *app, m Message) (r *Result) {
	a.t.Helper()
	a.do(func(tx Tx) (err error) {
		r, err = a.Decrypt(tx, from.at, m.Type, m.Bytes)
		return err
	})
	return r
}

func (a *app) reads(from *app, m Message, text string) {
	a.t.Helper()
	r := a.decrypt(from, m)
	require.NoError(a.t, r.Err)
	require.Equal(a.t, text, string(r.Plaintext))
	require.Equal(a.t, from.at, r.From)
	require.False(a.t, r.IdentityChanged)
}

// refuses checks the verdict, and that no row but none changed.
func (a *app) refuses(from *app, m Message, verdict error) {
	a.t.Helper()
	before := a.rows()
	r := a.decrypt(from, m)
	require.ErrorIs(a.t, r.Err, verdict)
	require.Nil(a.t, r.Plaintext)
	require.Zero(a.t, r.Identity)
	require.Equal(a.t, before, a.rows(), "a message that is refused changes no row")
}

// rows is the whole database.
func (a *app) rows() map[string]string {
	a.t.Helper()
	rows := map[string]string{}
	a.do(func(tx Tx) error {
		clear(rows)
		for key, err := range tx.Scan("") {
			if err != nil {
				return err
			}
			v, _, err := tx.Get(key)
			if err != nil {
				return err
			}
			rows[key] = string(v)
		}
		return nil
	})
	return rows
}

func (a *app) count(prefix string) (n int) {
	for key := range a.rows() {
		if len(key) >= len(prefix) && key[:len(prefix)] == prefix {
			n++
		}
	}
	return n
}

func (a *app) baseKey(peer *app) (base x3dh.PublicKey) {
	a.t.Helper()
	a.do(func(tx Tx) error {
		p, _, err := a.peer(tx, peer.at)
		base = p.current()
		return err
	})
	return base
}

// forge returns a message of a ratchet key that nobody has, n messages ahead.
func forge(t testing.TB, n uint64) []byte {
	t.Helper()
	b := wire.AppendBytes([]byte{0x34}, 1, x3dh.GenerateIdentityKey().Public().Bytes())
	b = wire.AppendUint(b, 2, n)
	b = wire.AppendUint(b, 3, 0)
	b = wire.AppendBytes(b, 4, make([]byte, 16))
	b = append(b, make([]byte, 8)...)
	_, err := ratchet.ParseMessage(b)
	require.NoError(t, err)
	return b
}
