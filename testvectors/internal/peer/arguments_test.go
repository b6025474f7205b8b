package peer

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
)

// request is answer for a request that is built here.
func request(t testing.TB, p *peer, cmd string, a m) answer {
	t.Helper()
	a = maps.Clone(a)
	if a == nil {
		a = m{}
	}
	a["cmd"] = cmd
	b, err := json.Marshal(a)
	require.NoError(t, err)
	return p.answer(b)
}

// result is request for one that succeeds.
func result(t testing.TB, p *peer, cmd string, a m) m {
	t.Helper()
	r := request(t, p, cmd, a)
	require.True(t, r.OK, "%s %v: %v", cmd, a, r.Error)
	b, err := json.Marshal(r.Result)
	require.NoError(t, err)
	var v m
	require.NoError(t, json.Unmarshal(b, &v))
	return v
}

var bobAddress = m{"name": "bob", "deviceId": 2}

// newWorld is a peer with two parties, of which main has a session with bob and
// one of the past. sound has a sound request for each command.
func newWorld(t testing.TB, family ratchet.Family) (p *peer, sound map[string]m) {
	t.Helper()
	p = newPeer(family)
	me := result(t, p, "newIdentity", m{"name": "alice", "deviceId": 1})
	result(t, p, "newIdentity", m{"name": "bob", "deviceId": 2, "store": "bob"})
	var bundle m
	for range 2 {
		bundle = result(t, p, "makeBundle", m{"store": "bob"})
		result(t, p, "processBundle", m{"address": bobAddress, "bundle": bundle})
	}
	first := result(t, p, "encrypt", m{"address": bobAddress, "plaintext": "00"})
	alice := m{"name": "alice", "deviceId": 1}
	result(t, p, "decrypt", m{"store": "bob", "address": alice, "type": 3, "ciphertext": first["ciphertext"]})
	second := result(t, p, "encrypt", m{"store": "bob", "address": alice, "plaintext": "00"})
	record := result(t, p, "exportSession", m{"address": bobAddress})["record"]
	private, public := me["identityPrivate"], me["identityPublic"]
	signature := result(t, p, "sign", m{"message": "00"})["signature"]

	to := m{"address": bobAddress}
	sound = map[string]m{
		"version":                  {},
		"newIdentity":              {"name": "carol", "deviceId": 1, "registrationId": 5, "identityPrivate": private, "store": "carol"},
		"makeBundle":               {"preKey": true, "preKeyId": 1, "signedPreKeyId": 1, "preKeyPrivate": private, "signedPreKeyPrivate": private, "timestamp": 1},
		"processBundle":            {"address": bobAddress, "bundle": bundle, "now": 1},
		"encrypt":                  {"address": bobAddress, "plaintext": "00", "now": 1},
		"decrypt":                  {"address": bobAddress, "type": second["type"], "ciphertext": second["ciphertext"]},
		"exportSession":            to,
		"importSession":            {"address": bobAddress, "record": record},
		"deleteSession":            to,
		"archiveSession":           to,
		"sessionInfo":              to,
		"getIdentity":              to,
		"saveIdentity":             {"address": bobAddress, "identityKey": public},
		"sign":                     {"message": "00", "private": private},
		"verify":                   {"public": public, "message": "00", "signature": signature},
		"agree":                    {"private": private, "public": bundle["identityKey"]},
		"fingerprint":              {"iterations": 2, "version": 2, "localId": "00", "localKey": public, "remoteId": "01", "remoteKey": bundle["identityKey"]},
		"parseSignalMessage":       {"message": second["ciphertext"]},
		"parsePreKeySignalMessage": {"message": first["ciphertext"]},
	}
	maps.Copy(sound, soundGroup(t, p))
	return p, sound
}

// TestEveryCommand: the list is complete, and each sound request succeeds.
func TestEveryCommand(t *testing.T) {
	p, sound := newWorld(t, ratchet.Signal)
	listed := result(t, newPeer(ratchet.Signal), "version", nil)["commands"]
	var names []any
	for _, c := range commands() {
		names = append(names, c.name)
		require.Contains(t, sound, c.name)
		result(t, clone(t, p), c.name, sound[c.name])
	}
	require.Len(t, sound, len(names))
	require.Equal(t, names, listed)
}

// optional are the arguments that may be absent.
var optional = map[string][]string{
	"newIdentity":   {"name", "deviceId", "registrationId", "identityPrivate"},
	"makeBundle":    {"preKey", "preKeyId", "signedPreKeyId", "preKeyPrivate", "signedPreKeyPrivate", "timestamp"},
	"processBundle": {"now"},
	"encrypt":       {"now"},
	"sign":          {"private"},
	"fingerprint":   {"iterations", "version"},

	"exportSenderKey": {"sender"},
	"bundle":          {"kyberPreKeyId", "kyberPreKeyPublic", "kyberPreKeySignature"},
}

// TestBrokenArguments breaks each argument of each command in every way that
// has a name. The answer is BadRequest, for keys InvalidKey, and the stores are
// what they were.
func TestBrokenArguments(t *testing.T) {
	p, sound := newWorld(t, ratchet.Signal)
	before := dump(t, p)
	tries := 0
	refused := func(cmd string, a m, what string, names ...string) {
		t.Helper()
		tries++
		r := request(t, p, cmd, a)
		require.False(t, r.OK, "%s: %s", cmd, what)
		if len(names) == 0 {
			names = []string{"BadRequest"}
		}
		require.Contains(t, names, r.Error.Name, "%s: %s: %s", cmd, what, r.Error.Message)
		require.Equal(t, before, dump(t, p), "%s: %s", cmd, what)
	}
	// set is a with one argument changed, of the object in it if there is one.
	set := func(a m, in, name string, v any) m {
		a = maps.Clone(a)
		if in == "" {
			a[name] = v
			return a
		}
		o := maps.Clone(a[in].(m))
		o[name] = v
		a[in] = o
		return a
	}
	unset := func(a m, in, name string) m {
		a = set(a, in, name, nil)
		if in == "" {
			delete(a, name)
		} else {
			delete(a[in].(m), name)
		}
		return a
	}
	var check func(cmd string, a m, in string)
	check = func(cmd string, a m, in string) {
		here, optional := a, optional[cmd]
		if in != "" {
			here, optional = a[in].(m), nil
		}
		if in == "bundle" {
			optional = []string{"kyberPreKeyId", "kyberPreKeyPublic", "kyberPreKeySignature"}
		}
		refused(cmd, set(a, in, "unknown", 1), "unknown argument in "+in)
		for name, v := range here {
			if name == "store" {
				continue
			}
			if o, ok := v.(m); ok {
				check(cmd, set(a, in, name, o), name)
			}
			what := in + "." + name
			if !slices.Contains(optional, name) {
				refused(cmd, unset(a, in, name), what+" is missing")
				refused(cmd, set(a, in, name, nil), what+" is null")
			}
			wrong := []any{[]int{1}, -1, 1.5, 1 << 60, "zz", "0", m{"a": 1}, true, "é"}
			for _, w := range wrong {
				s, isString := w.(string)
				if name == "preKey" && w == true || name == "name" && isString && s != "" {
					continue
				}
				refused(cmd, set(a, in, name, w), what+" is wrong")
			}
			key := strings.Contains(strings.ToLower(name), "private") || name == "public" ||
				strings.HasSuffix(name, "Key") && name != "preKey" || strings.HasSuffix(name, "KeyPublic") && v != nil
			if key {
				refused(cmd, set(a, in, name, ""), what+" is empty", "InvalidKey")
				refused(cmd, set(a, in, name, v.(string)+"00"), what+" is too long", "InvalidKey")
				refused(cmd, set(a, in, name, v.(string)[2:]), what+" is too short", "InvalidKey")
			}
		}
	}
	for cmd, a := range sound {
		check(cmd, a, "")
	}
	for _, id := range []any{0, 128} {
		refused("newIdentity", m{"deviceId": id}, "device ID")
		refused("sessionInfo", m{"address": m{"name": "bob", "deviceId": id}}, "device ID")
		refused("processBundle", set(sound["processBundle"], "bundle", "deviceId", id), "device ID of a bundle")
	}
	for _, n := range []any{0, 1, 1_000_001} {
		refused("fingerprint", set(sound["fingerprint"], "", "iterations", n), "iterations")
	}
	refused("encrypt", set(sound["encrypt"], "", "now", 1<<53), "time")
	refused("decrypt", set(sound["decrypt"], "", "type", 7), "type")
	for _, n := range []string{"preKeyId", "preKeyPublic"} {
		refused("processBundle", unset(sound["processBundle"], "bundle", n), "half a prekey")
	}
	for _, n := range []string{"kyberPreKeyId", "kyberPreKeyPublic", "kyberPreKeySignature"} {
		refused("processBundle", set(sound["processBundle"], "bundle", n, 1), "version 4")
	}
	refused("sign", m{"message": "00", "store": "nobody"}, "no identity to sign with")
	require.Greater(t, tries, 500)

	// What is optional may be absent, or null.
	for cmd, names := range optional {
		if cmd == "bundle" {
			continue
		}
		for _, name := range names {
			a := sound[cmd]
			if cmd == "processBundle" || cmd == "encrypt" {
				a = set(a, "", "now", nil)
			}
			result(t, clone(t, p), cmd, unset(a, "", name))
			result(t, clone(t, p), cmd, set(a, "", name, nil))
		}
	}
}

// TestDuplicateArguments: the last of two values is not a request.
func TestDuplicateArguments(t *testing.T) {
	p, _ := newWorld(t, ratchet.Signal)
	for _, line := range []string{
		`{"id":1,"cmd":"sign","message":"00","message":"01"}`,
		`{"id":1,"cmd":"sessionInfo","address":{"name":"bob","name":"eve","deviceId":2}}`,
		`{"id":1,"cmd":"sessionInfo","address":{"name":"bob","DeviceId":2,"deviceId":2}}`,
	} {
		a := p.answer([]byte(line))
		require.False(t, a.OK, line)
		require.Equal(t, "BadRequest", a.Error.Name)
		require.Equal(t, "1", string(a.ID))
	}
}

// TestDeviceZero: the WhatsApp family counts devices from 0.
func TestDeviceZero(t *testing.T) {
	p := newPeer(ratchet.WhatsApp)
	r := result(t, p, "newIdentity", m{"name": "123", "deviceId": 0})
	require.Equal(t, 0.0, r["deviceId"])
	result(t, p, "sessionInfo", m{"address": m{"name": "456", "deviceId": 0}})
	require.False(t, request(t, p, "newIdentity", m{"deviceId": 128}).OK)
}
