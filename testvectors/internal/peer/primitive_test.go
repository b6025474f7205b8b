package peer

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/testvectors"
)

func TestSignVerify(t *testing.T) {
	alice, bob := newPair(t, ratchet.Signal, ratchet.WhatsApp)
	private := curve.GenerateKey()
	for _, d := range []*device{alice, bob} {
		for _, key := range []m{nil, {"private": fmt.Sprintf("%x", private)}} {
			public := d.me["identityPublic"]
			if key != nil {
				public = fmt.Sprintf("%x", private.Public().Append(nil))
			}
			a := m{"message": toHex("message")}
			for k, v := range key {
				a[k] = v
			}
			signature := d.ok("sign", a)["signature"].(string)
			check := func(valid bool, public any, message, signature string) {
				t.Helper()
				r := alice.client.ok("verify", m{"public": public, "message": message, "signature": signature})
				require.Equal(t, m{"valid": valid}, r)
			}
			check(true, public, toHex("message"), signature)
			check(false, public, toHex("another"), signature)
			check(false, public, toHex("message"), signature+"00")
			check(false, public, toHex("message"), signature[2:])
			check(false, public, toHex("message"), "")
			check(false, fmt.Sprintf("05%064x", 9<<8), toHex("message"), signature)
		}
	}
}

// ok is do for a command without a store.
func (c *client) ok(cmd string, a m) m {
	c.t.Helper()
	r, err := c.do(cmd, a)
	require.Nil(c.t, err, "%s %v", cmd, a)
	return r
}

// TestAgree: the first vector of RFC 7748 §5.2, whose scalar is not clamped, and
// public keys that are none.
func TestAgree(t *testing.T) {
	c := newClient(t, ratchet.Signal)
	const (
		k      = "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"
		u      = "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"
		shared = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
	)
	require.Equal(t, m{"secret": shared}, c.ok("agree", m{"private": k, "public": "05" + u}))

	for _, public := range []string{
		"05" + strings.Repeat("00", 32),                          // low order
		"0501" + strings.Repeat("00", 31),                        // low order
		"05" + strings.Repeat("ff", 32),                          // not canonical
		"05f6" + strings.Repeat("ff", 30) + "7f",                 // p + 9
		"0509" + strings.Repeat("00", 30) + "80",                 // bit 255
		"04" + u, u, "05" + u + "00", "05" + u[2:], "05", "0505", // form
	} {
		for _, cmd := range []m{
			{"cmd": "agree", "private": k, "public": public},
			{"cmd": "verify", "message": "", "public": public, "signature": strings.Repeat("00", 64)},
		} {
			name := cmd["cmd"].(string)
			delete(cmd, "cmd")
			_, err := c.do(name, cmd)
			require.NotNil(t, err, public)
			require.Equal(t, "InvalidKey", err.Name, public)
		}
	}
}

// TestFingerprint compares with a hash that is written down here once more.
func TestFingerprint(t *testing.T) {
	c := newClient(t, ratchet.Signal)
	alice, bob := newDevice(c, "alice", nil), newDevice(c, "bob", nil)
	half := func(d *device, id string, iterations int) (digits string, hash []byte) {
		key := unhex(t, d.me["identityPublic"])
		h := sha512.Sum512([]byte("\x00\x00" + string(key) + id + string(key)))
		for range iterations - 1 {
			h = sha512.Sum512(append(h[:], key...))
		}
		for i := 0; i < 30; i += 5 {
			v := uint64(0)
			for _, b := range h[i : i+5] {
				v = v<<8 | uint64(b)
			}
			digits += fmt.Sprintf("%05d", v%100_000)
		}
		return digits, h[:32]
	}
	for _, iterations := range []int{0, 2, 3, 5200, 10_000} {
		a := m{
			"localId": toHex("alice"), "localKey": alice.me["identityPublic"],
			"remoteId": toHex("bob"), "remoteKey": bob.me["identityPublic"],
		}
		n, version := 5200, 2
		if iterations != 0 {
			n, version = iterations, 300
			a["iterations"], a["version"] = n, version
		}
		aDigits, aHash := half(alice, "alice", n)
		bDigits, bHash := half(bob, "bob", n)
		require.Equal(t, m{
			"display":   min(aDigits, bDigits) + max(aDigits, bDigits),
			"scannable": fmt.Sprintf("08%s12220a20%x1a220a20%x", map[int]string{2: "02", 300: "ac02"}[version], aHash, bHash),
		}, c.ok("fingerprint", a))
	}
}

func TestParseMessages(t *testing.T) {
	alice, bob := newPair(t, ratchet.WhatsApp, ratchet.Signal)
	for _, preKey := range []bool{true, false} {
		alice.start(bob, m{"preKey": preKey, "preKeyId": 4, "signedPreKeyId": 6})
		alice.send(bob, "")
		l := alice.send(bob, "seventeen letters")
		got := alice.ok("parsePreKeySignalMessage", m{"message": l.ciphertext})
		inner := got["message"].(string)
		require.Len(t, got["baseKey"], 66)
		want := m{
			"version": 3.0, "preKeyId": 4.0, "signedPreKeyId": 6.0, "identityKey": alice.me["identityPublic"],
			"registrationId": alice.me["registrationId"], "baseKey": got["baseKey"], "message": inner,
		}
		if !preKey {
			want["preKeyId"] = nil
		}
		require.Equal(t, want, got)

		got = alice.ok("parseSignalMessage", m{"message": inner})
		require.Equal(t, m{
			"version": 3.0, "counter": 1.0, "previousCounter": 0.0,
			"ratchetKey": got["ratchetKey"], "ciphertext": got["ciphertext"], "mac": got["mac"],
		}, got)
		require.Equal(t, fmt.Sprintf("330a21%s100118002220%s%s", got["ratchetKey"], got["ciphertext"], got["mac"]), inner)
	}
	alice.fails("LegacyCiphertextVersion", "parseSignalMessage", m{"message": "240000000000000000"})
	alice.fails("UnrecognizedCiphertextVersion", "parsePreKeySignalMessage", m{"message": "44"})
	key := "0a21" + alice.me["identityPublic"].(string)
	for _, fields := range []string{"", key + "1000", key + "2200", "10002200", key + "10002200" + "1000", key + "1080002200"} {
		alice.fails("InvalidProtobufEncoding", "parseSignalMessage", m{"message": "34" + fields + "0000000000000000"})
	}
	alice.ok("parseSignalMessage", m{"message": "34" + key + "10002200" + "0000000000000000"})
	alice.fails("InvalidProtobufEncoding", "parseSignalMessage", m{"message": ""})
	alice.fails("InvalidProtobufEncoding", "parsePreKeySignalMessage", m{"message": ""})
}

// TestNewIdentity: what is not given is drawn; what was there is gone.
func TestNewIdentity(t *testing.T) {
	c := newClient(t, ratchet.Signal)
	a, b := c.ok("newIdentity", nil), c.ok("newIdentity", m{"store": "b"})
	for _, n := range []string{"name", "identityPublic", "identityPrivate"} {
		require.NotEqual(t, a[n], b[n])
	}
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, a["name"])
	require.Equal(t, 1.0, a["deviceId"])
	for range 100 {
		id := c.ok("newIdentity", m{"store": "c"})["registrationId"].(float64)
		require.True(t, id >= 1 && id <= 16380, id)
	}
	// An unclamped key is clamped.
	given := c.ok("newIdentity", m{"identityPrivate": strings.Repeat("ff", 32), "registrationId": 0, "name": ""})
	require.Equal(t, "f8"+strings.Repeat("ff", 30)+"7f", given["identityPrivate"])
	require.Equal(t, "", given["name"])
	require.Equal(t, 0.0, given["registrationId"])

	who := m{"address": m{"name": "x", "deviceId": 1}}
	bundle := c.ok("makeBundle", m{"store": "b"})
	c.ok("processBundle", m{"address": who["address"], "bundle": bundle})
	c.ok("newIdentity", nil)
	require.Equal(t, m{"record": nil}, c.ok("exportSession", who))
	require.Equal(t, m{"identityKey": nil}, c.ok("getIdentity", who))
}

// TestMakeBundle: the shape of a bundle, and keys that are given.
func TestMakeBundle(t *testing.T) {
	c := newClient(t, ratchet.Signal)
	me := c.ok("newIdentity", m{"registrationId": 22, "deviceId": 9})
	private := curve.NewPrivateKey([32]byte{0: 1, 31: 0xff})
	got := c.ok("makeBundle", m{
		"preKeyId": 0, "preKeyPrivate": "01" + strings.Repeat("00", 30) + "ff",
		"signedPreKeyId": 3, "signedPreKeyPrivate": fmt.Sprintf("%x", private),
	})
	public := fmt.Sprintf("%x", private.Public().Append(nil))
	want := m{
		"registrationId": 22.0, "deviceId": 9.0, "identityKey": me["identityPublic"],
		"preKeyId": 0.0, "preKeyPublic": public, "signedPreKeyId": 3.0, "signedPreKeyPublic": public,
		"signedPreKeySignature": got["signedPreKeySignature"],
		"kyberPreKeyId":         nil, "kyberPreKeyPublic": nil, "kyberPreKeySignature": nil,
	}
	require.Equal(t, want, got)
	require.Equal(t, true, c.ok("verify", m{
		"public": me["identityPublic"], "message": public, "signature": got["signedPreKeySignature"],
	})["valid"])
	got = c.ok("makeBundle", m{"preKey": false})
	require.Contains(t, got, "preKeyPublic")
	require.Nil(t, got["preKeyPublic"])
	require.Nil(t, got["preKeyId"])
	require.Equal(t, 1.0, got["signedPreKeyId"])
}

// TestRecordedTranscript replays a conversation that was recorded from another
// implementation, loading the recorded session before each step, since fresh
// keys are drawn inside: every message that is encrypted has its bytes, and so
// has every session, up to the keys that were drawn.
func TestRecordedTranscript(t *testing.T) {
	tr, err := testvectors.LoadConversation()
	require.NoError(t, err)
	c := newClient(t, ratchet.Signal)
	alice := newDevice(c, "alice", m{"identityPrivate": tr.Alice.IdentityPrivate, "registrationId": tr.Alice.RegistrationID})
	bob := newDevice(c, "bob", m{"identityPrivate": tr.Bob.IdentityPrivate, "registrationId": tr.Bob.RegistrationID})
	bundle := bob.ok("makeBundle", m{
		"preKeyId": tr.Bob.OneTimePreKeyID, "preKeyPrivate": tr.Bob.OneTimePreKeyPrivate,
		"signedPreKeyId": tr.Bob.SignedPreKeyID, "signedPreKeyPrivate": tr.Bob.SignedPreKeyPrivate,
	})
	require.Equal(t, hex.EncodeToString(tr.Bob.OneTimePreKeyPublic), bundle["preKeyPublic"])
	require.Equal(t, hex.EncodeToString(tr.Bob.SignedPreKeyPublic), bundle["signedPreKeyPublic"])

	sent := map[string]*letter{}
	records := map[*device]string{}
	same, turned := 0, 0
	for i, step := range tr.Steps {
		d, other, session := alice, bob, step.AliceSession
		if strings.HasPrefix(step.Op, "bob.") {
			d, other, session = bob, alice, step.BobSession
		}
		recorded, message := hex.EncodeToString(session), hex.EncodeToString(step.Message)
		who := m{"address": other.address}
		if r, ok := records[d]; ok {
			d.ok("importSession", m{"address": other.address, "record": r})
		}
		records[d] = recorded
		export := func() any { return d.ok("exportSession", who)["record"] }
		switch op := step.Op[strings.Index(step.Op, ".")+1:]; op {
		case "process_prekey_bundle":
			d.ok("processBundle", m{"address": other.address, "bundle": bundle, "now": tr.NowMS})
			require.Len(t, export(), len(recorded))
		case "encrypt":
			// The session does not age: the clock says what it said.
			r := d.ok("encrypt", m{"address": other.address, "plaintext": toHex(step.Plaintext), "now": tr.NowMS})
			require.Equal(t, m{"type": float64(step.Type), "ciphertext": message}, r, "step %d", i)
			require.Equal(t, recorded, export(), "step %d", i)
			sent[step.ID] = &letter{d, other, float64(step.Type), message, step.Plaintext}
		case "decrypt":
			l := sent[strings.TrimSuffix(step.ID, "-duplicate")]
			if step.Error != "" {
				l.refused("DuplicatedMessage")
				require.Equal(t, recorded, export(), "step %d", i)
				break
			}
			l.arrives()
			if export() == recorded {
				same++
			} else {
				turned++
				require.Len(t, export(), len(recorded), "step %d", i)
			}
		default:
			t.Fatalf("step %d: %s", i, op)
		}
	}
	require.Equal(t, []int{4, 16}, []int{same, turned}, "decryptions: without and with a DH step")
}
