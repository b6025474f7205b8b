package peer

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
)

const groupID = "d1d1d1d1-7000-11eb-b32a-33b8a8a487a6"

// soundGroup has sound requests for the group commands, for which it gives main
// and bob chains that both can read.
func soundGroup(t testing.TB, p *peer) map[string]m {
	t.Helper()
	own := result(t, p, "senderKeyDistributionCreate", m{"distributionId": groupID})
	bobs := result(t, p, "senderKeyDistributionCreate", m{"distributionId": groupID, "store": "bob"})
	result(t, p, "senderKeyDistributionProcess", m{"sender": bobAddress, "message": bobs["message"]})
	message := result(t, p, "groupEncrypt", m{"distributionId": groupID, "plaintext": "00", "store": "bob"})
	record := result(t, p, "exportSenderKey", m{"distributionId": groupID})["record"]
	return map[string]m{
		"senderKeyDistributionCreate":  {"distributionId": groupID},
		"senderKeyDistributionProcess": {"sender": bobAddress, "message": own["message"]},
		"groupEncrypt":                 {"distributionId": groupID, "plaintext": "00"},
		"groupDecrypt":                 {"sender": bobAddress, "ciphertext": message["ciphertext"]},
		"exportSenderKey":              {"distributionId": groupID, "sender": bobAddress},
		"importSenderKey":              {"distributionId": groupID, "record": record},
		"parseSenderKeyMessage":        {"message": message["ciphertext"]},
	}
}

func dumpSenderKeys(p *peer) string {
	var out bytes.Buffer
	byStore := map[string]senderKeys{}
	for store, s := range p.parties {
		byStore[store] = s.senderKeys
	}
	fmt.Fprintf(&out, "%x", byStore) // fmt sorts the keys
	return out.String()
}

// refuses is fails for group commands: what can be exported did not change.
func (d *device) refuses(name string, sender m, cmd string, a m) {
	d.t.Helper()
	export := func() []m {
		return []m{
			d.ok("exportSenderKey", m{"distributionId": groupID}),
			d.ok("exportSenderKey", m{"distributionId": groupID, "sender": sender}),
		}
	}
	before := export()
	d.fails(name, cmd, a)
	require.Equal(d.t, before, export())
}

func TestGroup(t *testing.T) {
	for _, family := range []ratchet.Family{ratchet.Signal, ratchet.WhatsApp} {
		alice, bob := newPair(t, family, family)
		alice.refuses("NoSenderKeyState", bob.address, "groupEncrypt", m{"distributionId": groupID, "plaintext": "00"})
		require.Equal(t, m{"record": nil}, alice.ok("exportSenderKey", m{"distributionId": groupID}))
		first := alice.ok("senderKeyDistributionCreate", m{"distributionId": groupID})
		require.Equal(t, first, alice.ok("senderKeyDistributionCreate", m{"distributionId": groupID}), "the chain stays")
		require.Equal(t, []any{groupID, 0.0}, []any{first["distributionId"], first["iteration"]})
		var messages []string
		for i := range 4 {
			r := alice.ok("groupEncrypt", m{"distributionId": groupID, "plaintext": fmt.Sprintf("%02x", i)})
			require.Equal(t, 7.0, r["type"])
			messages = append(messages, r["ciphertext"].(string))
		}
		decrypt := func(i int) m { return m{"sender": alice.address, "ciphertext": messages[i]} }
		bob.refuses("NoSenderKeyState", alice.address, "groupDecrypt", decrypt(0))
		processed := bob.ok("senderKeyDistributionProcess", m{"sender": alice.address, "message": first["message"]})
		require.Equal(t, []any{first["chainId"], 0.0}, []any{processed["chainId"], processed["iteration"]})
		for _, i := range []int{0, 3, 1} {
			require.Equal(t, m{"plaintext": fmt.Sprintf("%02x", i)}, bob.ok("groupDecrypt", decrypt(i)))
			bob.refuses("DuplicatedMessage", alice.address, "groupDecrypt", decrypt(i))
			bob.ok("senderKeyDistributionProcess", m{"sender": alice.address, "message": first["message"]})
		}
		bad := unhex(t, messages[2])
		bad[len(bad)-1] ^= 1
		bob.refuses("SignatureValidationFailed", alice.address, "groupDecrypt", m{"sender": alice.address, "ciphertext": toHex(string(bad))})
		bob.refuses("NoSenderKeyState", alice.address, "groupDecrypt", m{"sender": m{"name": "eve", "deviceId": 1}, "ciphertext": messages[2]})
		for text, name := range map[string]string{"": "InvalidProtobufEncoding", "33": "InvalidProtobufEncoding", "23": "LegacyCiphertextVersion", "43": "UnrecognizedCiphertextVersion"} {
			bob.refuses(name, alice.address, "groupDecrypt", m{"sender": alice.address, "ciphertext": text})
			bob.refuses(name, alice.address, "senderKeyDistributionProcess", m{"sender": alice.address, "message": text})
			bob.fails(name, "parseSenderKeyMessage", m{"message": text})
		}

		// Records move: bob's to carol, alice's to her next phone.
		carol := newDevice(newClient(t, family), "carol", nil)
		record := bob.ok("exportSenderKey", m{"distributionId": groupID, "sender": alice.address})["record"]
		carol.refuses("InvalidProtobufEncoding", alice.address, "importSenderKey", m{"distributionId": groupID, "record": record})
		carol.ok("importSenderKey", m{"distributionId": groupID, "sender": alice.address, "record": record})
		require.Equal(t, record, carol.ok("exportSenderKey", m{"distributionId": groupID, "sender": alice.address})["record"])
		require.Equal(t, m{"plaintext": "02"}, carol.ok("groupDecrypt", decrypt(2)))
		carol.refuses("DuplicatedMessage", alice.address, "groupDecrypt", decrypt(1))

		own := alice.ok("exportSenderKey", m{"distributionId": groupID})["record"]
		require.Equal(t, own, alice.ok("exportSenderKey", m{"distributionId": groupID, "sender": alice.address})["record"])
		carol.refuses("InvalidProtobufEncoding", alice.address, "importSenderKey", m{"distributionId": groupID, "sender": alice.address, "record": own})
		next := newDevice(newClient(t, family), "next", nil)
		next.ok("importSenderKey", m{"distributionId": groupID, "record": own})
		late := next.ok("senderKeyDistributionCreate", m{"distributionId": groupID})
		require.Equal(t, []any{first["chainId"], 4.0}, []any{late["chainId"], late["iteration"]})
		sent := next.ok("groupEncrypt", m{"distributionId": groupID, "plaintext": "04"})["ciphertext"]
		require.Equal(t, m{"plaintext": "04"}, bob.ok("groupDecrypt", m{"sender": alice.address, "ciphertext": sent}))

		parsed := bob.ok("parseSenderKeyMessage", m{"message": sent})
		require.Equal(t, []any{3.0, first["chainId"], 4.0}, []any{parsed["version"], parsed["chainId"], parsed["iteration"]})
		if family == ratchet.Signal {
			require.Equal(t, groupID, parsed["distributionId"])
		} else {
			require.Nil(t, parsed["distributionId"])
		}
	}
}

func TestUUID(t *testing.T) {
	p := newPeer(ratchet.Signal)
	result(t, p, "newIdentity", nil)
	upper := "D1D1D1D1-7000-11EB-B32A-33B8A8A487A6"
	require.Equal(t, groupID, result(t, p, "senderKeyDistributionCreate", m{"distributionId": upper})["distributionId"])
	for _, bad := range []string{"", groupID[1:], groupID + "0", "d1d1d1d1700011ebb32a33b8a8a487a6", "d1d1d1d17-000-11eb-b32a-33b8a8a487a6", "{" + groupID + "}", "g" + groupID[1:]} {
		r := request(t, p, "senderKeyDistributionCreate", m{"distributionId": bad})
		require.False(t, r.OK, bad)
		require.Equal(t, "BadRequest", r.Error.Name)
	}
}

// A command makes other stores; a peer that shares what is in them, as the
// tests' clones do, is left alone.
func TestSenderKeysAreValues(t *testing.T) {
	p, sound := newWorld(t, ratchet.Signal)
	before := dump(t, p)
	c := clone(t, p)
	for _, cmd := range []string{"groupEncrypt", "groupDecrypt", "senderKeyDistributionProcess"} {
		result(t, c, cmd, sound[cmd])
	}
	require.NotEqual(t, before, dump(t, c))
	require.Equal(t, before, dump(t, p))
}
