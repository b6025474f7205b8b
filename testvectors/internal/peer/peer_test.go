package peer

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
)

// m is a JSON object.
type m = map[string]any

// A client drives a peer through its loop, as another program would.
type client struct {
	t    *testing.T
	in   io.Writer
	out  *bufio.Reader
	last float64 // id
}

func newClient(t *testing.T, family ratchet.Family) *client {
	t.Helper()
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := Serve(inRead, outWrite, family, true)
		outWrite.CloseWithError(err)
		done <- err
	}()
	t.Cleanup(func() {
		inWrite.Close()
		require.NoError(t, <-done, "end of input ends the loop well")
	})
	return &client{t: t, in: inWrite, out: bufio.NewReader(outRead)}
}

// do sends one request and returns the result, or the error.
func (c *client) do(cmd string, a m) (m, *failure) {
	c.t.Helper()
	c.last++
	a = maps.Clone(a)
	if a == nil {
		a = m{}
	}
	a["id"], a["cmd"] = c.last, cmd
	b, err := json.Marshal(a)
	require.NoError(c.t, err)
	_, err = c.in.Write(append(b, '\n'))
	require.NoError(c.t, err)
	line, err := c.out.ReadBytes('\n')
	require.NoError(c.t, err)
	var r struct {
		ID     float64
		OK     bool
		Result m
		Error  *failure
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	require.NoError(c.t, d.Decode(&r), "%s", line)
	require.Equal(c.t, c.last, r.ID, "%s", line)
	require.Equal(c.t, r.OK, r.Error == nil, "%s", line)
	require.Equal(c.t, r.OK, r.Result != nil, "%s", line)
	return r.Result, r.Error
}

// A device is one party in one process.
type device struct {
	*client
	store   string
	address m
	me      m
}

func newDevice(c *client, store string, a m) *device {
	c.t.Helper()
	d := &device{client: c, store: store}
	d.me = d.ok("newIdentity", a)
	d.address = m{"name": d.me["name"], "deviceId": d.me["deviceId"]}
	return d
}

// newPair makes two devices in two processes.
func newPair(t *testing.T, a, b ratchet.Family) (alice, bob *device) {
	t.Helper()
	return newDevice(newClient(t, a), "alice", nil), newDevice(newClient(t, b), "bob", nil)
}

func (d *device) do(cmd string, a m) (m, *failure) {
	d.t.Helper()
	a = maps.Clone(a)
	if a == nil {
		a = m{}
	}
	a["store"] = d.store
	return d.client.do(cmd, a)
}

func (d *device) ok(cmd string, a m) m {
	d.t.Helper()
	r, err := d.do(cmd, a)
	require.Nil(d.t, err, "%s %v", cmd, a)
	return r
}

// fails is do for a command that fails, and checks that what can be exported
// did not change.
func (d *device) fails(name, cmd string, a m) {
	d.t.Helper()
	before := d.exports(a)
	_, err := d.do(cmd, a)
	require.NotNil(d.t, err, "%s %v", cmd, a)
	require.Equal(d.t, name, err.Name, err.Message)
	require.Equal(d.t, before, d.exports(a), "a command that fails changes nothing")
}

func (d *device) exports(a m) []m {
	d.t.Helper()
	who, ok := a["address"].(m)
	if !ok {
		return nil
	}
	return []m{
		d.ok("exportSession", m{"address": who}), d.ok("getIdentity", m{"address": who}),
		d.ok("sessionInfo", m{"address": who}),
	}
}

// start makes a session of d with other, without sending anything.
func (d *device) start(other *device, bundle m) {
	d.t.Helper()
	d.ok("processBundle", m{"address": other.address, "bundle": other.ok("makeBundle", bundle)})
}

// A letter is a message under way.
type letter struct {
	from, to   *device
	typ        float64
	ciphertext string
	plaintext  string
}

func (l *letter) args() m {
	return m{"address": l.from.address, "type": l.typ, "ciphertext": l.ciphertext}
}

func (d *device) send(other *device, plaintext string) *letter {
	d.t.Helper()
	r := d.ok("encrypt", m{"address": other.address, "plaintext": toHex(plaintext)})
	return &letter{d, other, r["type"].(float64), r["ciphertext"].(string), plaintext}
}

func (l *letter) arrives() {
	l.to.t.Helper()
	r := l.to.ok("decrypt", l.args())
	require.Equal(l.to.t, m{"plaintext": toHex(l.plaintext)}, r)
}

func (l *letter) refused(name string) {
	l.to.t.Helper()
	l.to.fails(name, "decrypt", l.args())
}

func toHex(s string) string { return hex.EncodeToString([]byte(s)) }

func unhex(t *testing.T, s any) []byte {
	t.Helper()
	b, err := hex.DecodeString(s.(string))
	require.NoError(t, err)
	return b
}

// dump is all that a peer stores.
func dump(t testing.TB, p *peer) string {
	t.Helper()
	var out bytes.Buffer
	for _, store := range slices.Sorted(maps.Keys(p.parties)) {
		s := p.parties[store]
		fmt.Fprintf(&out, "%q %v %d %x %v\n", store, s.address, s.registrationID, s.private, s.identity)
		eachRow(t, s, func(key string, value []byte) error {
			fmt.Fprintf(&out, "%s %x\n", key, value)
			return nil
		})
	}
	return out.String() + dumpSenderKeys(p)
}

func eachRow(t testing.TB, s *party, f func(key string, value []byte) error) {
	t.Helper()
	require.NoError(t, s.store.Do(func(tx sesame.Tx) error {
		for key, err := range tx.Scan("") {
			if err != nil {
				return err
			}
			value, _, err := tx.Get(key)
			if err == nil {
				err = f(key, value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// clone is a peer with stores of its own.
func clone(t testing.TB, p *peer) *peer {
	c := newPeer(p.family)
	for store, s := range p.parties {
		d := *s
		d.store = new(sesame.Memory)
		require.NoError(t, d.store.Do(func(tx sesame.Tx) error {
			eachRow(t, s, func(key string, value []byte) error { return tx.Put(key, value, 0) })
			return nil
		}))
		require.NoError(t, d.open())
		c.parties[store] = &d
	}
	return c
}
