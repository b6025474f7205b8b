package peer

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// args are the arguments of a request, or the fields of an object in it. They
// are read as package wire reads fields: each method takes one, the first
// error sticks, and close tells, also of arguments that nobody took. A null is
// an argument that is absent.
//
// encoding/json alone would take "Plaintext" for "plaintext", and the last of
// two values; a test program that overlooks what it was asked tests nothing.
type args struct {
	prefix string // of the names, for messages
	fields map[string]json.RawMessage
	family ratchet.Family // decides whether there is a device 0
	err    error
}

// parseArgs reads a JSON object. After an error the arguments that could be
// read are there all the same, for the sake of the id.
func parseArgs(b []byte, family ratchet.Family) *args {
	a := &args{fields: map[string]json.RawMessage{}, family: family}
	if !utf8.Valid(b) || !json.Valid(b) {
		a.failf("not JSON")
		return a
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, _ := d.Token(); t != json.Delim('{') {
		a.failf("not a JSON object")
		return a
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		var v json.RawMessage
		if err != nil || !ok || d.Decode(&v) != nil {
			a.failf("not JSON")
			return a
		}
		if _, twice := a.fields[name]; twice {
			a.failf("%.40q is given twice", name)
		}
		a.fields[name] = v
	}
	return a
}

// close returns the first error, or complains of an argument that is left.
func (a *args) close() error {
	for name := range a.fields {
		a.failf("unknown argument %.40q", a.prefix+name)
	}
	return a.err
}

// fail records an error, if it is the first.
func (a *args) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

func (a *args) failf(format string, v ...any) { a.fail(badRequest(format, v...)) }

// take returns the value of an argument; false if it is absent.
func (a *args) take(name string) (json.RawMessage, bool) {
	v, ok := a.fields[name]
	delete(a.fields, name)
	return v, ok && string(v) != "null"
}

// read decodes an optional argument into v, and reports whether it was there.
func (a *args) read(name, kind string, v any) bool {
	raw, ok := a.take(name)
	if ok && json.Unmarshal(raw, v) != nil {
		a.failf("%s is not %s", a.prefix+name, kind)
	}
	return ok
}

// need is read for an argument that has to be there.
func (a *args) need(name, kind string, v any) {
	if !a.read(name, kind, v) {
		a.failf("%s is missing: want %s", a.prefix+name, kind)
	}
}

// id takes the id of the request: a number or a string, whose bytes are echoed.
func (a *args) id() json.RawMessage {
	v, ok := a.take("id")
	if !ok {
		return nil
	}
	if c := v[0]; c != '"' && c != '-' && (c < '0' || c > '9') {
		a.failf("id is neither a number nor a string")
		return nil
	}
	return v
}

func (a *args) string(name string) (s string) {
	a.need(name, "a string", &s)
	return s
}

func (a *args) stringOr(name, or string) string {
	a.read(name, "a string", &or)
	return or
}

func (a *args) boolOr(name string, or bool) bool {
	a.read(name, "a boolean", &or)
	return or
}

const kindUint = "an integer without sign, fraction and exponent"

func (a *args) uint32(name string) (v uint32) {
	a.need(name, kindUint+", of 32 bits", &v)
	return v
}

func (a *args) uint32Or(name string, or uint32) uint32 {
	a.read(name, kindUint+", of 32 bits", &or)
	return or
}

func (a *args) optionalUint32(name string) *uint32 {
	var v uint32
	if !a.read(name, kindUint+", of 32 bits", &v) {
		return nil
	}
	return &v
}

// maxMillis is the highest time: the highest integer that a JavaScript peer can
// name.
const maxMillis = 1<<53 - 1

// timeOr takes a time in milliseconds since 1970, and has the real clock's for
// an absent one.
func (a *args) timeOr(name string) time.Time {
	var ms uint64
	if !a.read(name, kindUint, &ms) {
		return time.Now()
	}
	if ms > maxMillis {
		a.failf("%s is over 2^53", a.prefix+name)
	}
	return time.UnixMilli(int64(min(ms, maxMillis)))
}

// bytes takes a string of hex.
func (a *args) bytes(name string) []byte {
	return a.unhex(name, a.string(name))
}

// optionalBytes is nil if the argument is absent, and not if it is empty.
func (a *args) optionalBytes(name string) []byte {
	var s string
	if !a.read(name, "a string", &s) {
		return nil
	}
	return a.unhex(name, s)
}

func (a *args) unhex(name, s string) []byte {
	b, err := hex.DecodeString(s)
	switch {
	case errors.Is(err, hex.ErrLength):
		a.failf("%s is not hex: an odd number of digits", a.prefix+name)
	case err != nil:
		a.failf("%s is not hex", a.prefix+name)
	}
	return b
}

// publicKey takes a public key of 33 bytes.
func (a *args) publicKey(name string) x3dh.PublicKey {
	return a.parsePublicKey(name, a.bytes(name))
}

// optionalPublicKey is nil if the argument is absent.
func (a *args) optionalPublicKey(name string) *x3dh.PublicKey {
	b := a.optionalBytes(name)
	if b == nil {
		return nil
	}
	return new(a.parsePublicKey(name, b))
}

func (a *args) parsePublicKey(name string, b []byte) x3dh.PublicKey {
	k, err := x3dh.ParsePublicKey(b)
	if err != nil {
		a.fail(fail(nameInvalidKey, "%s: %v", a.prefix+name, err))
	}
	return k
}

// privateKey takes a private key of 32 bytes, and clamps it.
func (a *args) privateKey(name string) curve.PrivateKey {
	return a.parsePrivateKey(name, a.bytes(name))
}

// privateKeyOr draws a key if the argument is absent.
func (a *args) privateKeyOr(name string, or func() curve.PrivateKey) curve.PrivateKey {
	b := a.optionalBytes(name)
	if b == nil {
		return or()
	}
	return a.parsePrivateKey(name, b)
}

func (a *args) parsePrivateKey(name string, b []byte) curve.PrivateKey {
	if len(b) != 32 {
		a.fail(fail(nameInvalidKey, "%s has %d bytes: want 32", a.prefix+name, len(b)))
		return curve.PrivateKey{}
	}
	return curve.NewPrivateKey([32]byte(b))
}

// object takes an object. Its close is the caller's: a.fail(o.close()).
func (a *args) object(name string) *args {
	raw, ok := a.take(name)
	if !ok {
		a.failf("%s is missing: want an object", a.prefix+name)
		return &args{err: a.err}
	}
	o := parseArgs(raw, a.family)
	o.prefix = a.prefix + name + "."
	if o.err != nil {
		a.failf("%s is not an object with names that differ", a.prefix+name)
	}
	return o
}

// address takes the address of another device.
func (a *args) address(name string) address {
	o := a.object(name)
	who := address{o.string("name"), o.device("deviceId", nil)}
	if len(who.name) > maxName {
		o.failf("%sname is over %d bytes", o.prefix, maxName)
	}
	a.fail(o.close())
	return who
}

// device takes a device ID; or is for an absent one, nil if there has to be one.
func (a *args) device(name string, or *uint32) uint32 {
	id := a.optionalUint32(name)
	if id == nil {
		id = or
	}
	lowest := uint32(1)
	if a.family == ratchet.WhatsApp {
		lowest = 0
	}
	if id == nil || *id < lowest || *id > x3dh.MaxDeviceID {
		a.failf("%s is missing, or not in %d to %d", a.prefix+name, lowest, x3dh.MaxDeviceID)
		return 0
	}
	return *id
}
