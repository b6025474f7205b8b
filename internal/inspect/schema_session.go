package inspect

import (
	"fmt"
	"time"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// Messages, bundles and records of one session: SPEC.md §4 to §7, §10.7.

const macSize = 8

var signalMessage = message{name: "SignalMessage", section: "5.3", fields: []field{
	{num: 1, name: "ratchet_key", typ: typeKey, required: true},
	{num: 2, name: "counter", typ: typeUint32, required: true, note: "number of the message in its chain"},
	{num: 3, name: "previous_counter", typ: typeUint32, note: "not used by readers (R-5.3-2)"},
	{num: 4, name: "ciphertext", typ: typeBytes, required: true, show: showBlocks},
}}

// showBlocks is how a ciphertext of AES-CBC reads: PKCS #7 leaves 1 to 16 bytes
// of it for the padding.
func showBlocks(v *value) string {
	n := len(v.b)
	if n == 0 || n%16 != 0 {
		v.row.Note = "not whole blocks of 16 bytes: it decrypts under no key"
	} else {
		v.row.Note = fmt.Sprintf("AES-256-CBC: %d to %d bytes of plaintext, the rest padding", n-16, n-1)
	}
	return someBytes(v.b)
}

// versionByte reads the first byte of a message.
func (w *walker) versionByte(at int, note string) {
	c := w.b[at]
	if c>>4 != 3 {
		w.problem(at, "R-2.2-2", "version %d, where only 3 is read", c>>4)
	}
	value := fmt.Sprintf("%02x: version %d, low nibble %d", c, c>>4, c&15)
	switch c {
	case 0x34:
		value += ", as Signal writes it"
	case 0x33:
		value += ", as the WhatsApp family writes it"
	}
	w.raw(at, at+1, "version", value, note)
}

func (w *walker) signalMessage(at, end int) {
	if end-at < 1+macSize {
		w.problem(end, "R-5.3-1", "%d bytes, where a message has at least %d", end-at, 1+macSize)
		return
	}
	w.versionByte(at, "under the MAC, as received")
	w.message(&signalMessage, at+1, end-macSize)
	w.raw(end-macSize, end, "mac", fmt.Sprintf("%x", w.b[end-macSize:end]),
		"HMAC-SHA-256, the first 8 bytes (§5.4)")
}

var preKeySignalMessage = message{name: "PreKeySignalMessage", section: "4.5", fields: []field{
	{num: 1, name: "pre_key_id", typ: typeUint32, note: "one-time prekey; not authenticated in a session that exists"},
	{num: 2, name: "base_key", typ: typeKey, required: true, note: "names the session", check: func(w *walker, _ *found, v *value) {
		if k, err := curve.ParsePublicKey(v.b); err == nil && !k.TorsionFree() {
			v.row.Note = "has a torsion part: no session is made of it (R-4.4-2)"
		}
	}},
	{num: 3, name: "identity_key", typ: typeKey, required: true, note: "the sender's, as it claims; compared with that of a session that exists (R-4.5-2)"},
	{num: 4, name: "message", typ: typeBytes, required: true, inside: func(w *walker, at, end int) { w.signalMessage(at, end) }},
	{num: 5, name: "registration_id", typ: typeUint32, note: "not authenticated"},
	{num: 6, name: "signed_pre_key_id", typ: typeUint32, required: true, note: "not authenticated in a session that exists"},
}}

func (w *walker) preKeySignalMessage() {
	if len(w.b) == 0 {
		w.problem(0, "", "nothing: a PreKey message begins with a version byte")
		return
	}
	w.versionByte(0, "the low nibble is not authenticated")
	w.root = w.message(&preKeySignalMessage, 1, len(w.b))
}

var decryptionErrorMessage = message{name: "DecryptionErrorMessage", section: "10.7", closed: true, ascending: true, fields: []field{
	{num: 1, name: "ratchet_key", typ: typeKey, note: "of the message that did not decrypt; none for a group message"},
	{num: 2, name: "timestamp", typ: typeUint64, required: true, note: "of that message", show: showMillis},
	{num: 3, name: "device", typ: typeUint32, required: true, note: "that wrote it"},
}}

var plaintextContent = message{name: "Content", section: "10.7", closed: true, fields: []field{
	{num: 8, name: "decryption_error_message", typ: typeMessage, in: &decryptionErrorMessage, required: true},
}}

func (w *walker) plaintextContent() {
	n := len(w.b)
	if n < 2 {
		w.problem(n, "R-10.7-1", "%d bytes, where a PlaintextContent has at least its first and last byte", n)
		return
	}
	if w.b[0] != 0xc0 {
		w.problem(0, "R-10.7-1", "begins with c0, and this with %02x", w.b[0])
	}
	w.raw(0, 1, "begin", fmt.Sprintf("%02x", w.b[0]), "in place of a version byte")
	w.message(&plaintextContent, 1, n-1)
	if w.b[n-1] != 0x80 {
		w.problem(n-1, "R-10.7-1", "ends with 80, and this with %02x", w.b[n-1])
	}
	w.raw(n-1, n, "end", fmt.Sprintf("%02x", w.b[n-1]), "padding")
}

func showMillis(v *value) string {
	s := fmt.Sprint(v.n)
	if v.n > 0 && v.n < 1<<42 {
		s += " (" + time.UnixMilli(int64(v.n)).UTC().Format("2006-01-02 15:04:05.000") + " UTC, if milliseconds)"
	}
	return s
}

func showSeconds(v *value) string {
	s := fmt.Sprint(v.n)
	if v.n > 0 && v.n < 1<<33 {
		s += " (" + time.Unix(int64(v.n), 0).UTC().Format("2006-01-02 15:04:05") + " UTC)"
	}
	return s
}

var bundle = message{name: "Bundle", section: "4.1", closed: true, fields: []field{
	{num: 1, name: "registration_id", typ: typeUint32, required: true, note: "not signed"},
	{num: 2, name: "device_id", typ: typeUint32, required: true, note: "not signed", check: func(w *walker, _ *found, v *value) {
		if v.n > x3dh.MaxDeviceID {
			w.problem(v.at, "", "device %d, where %d is the highest", v.n, x3dh.MaxDeviceID)
		}
	}},
	{num: 3, name: "identity_key", typ: typeKey, required: true, note: "signs the signed prekey; compare it with the one that is trusted (R-4.1-2)"},
	{num: 4, name: "pre_key_id", typ: typeUint32, note: "not signed"},
	{num: 5, name: "pre_key", typ: typeKey, note: "one-time prekey, not signed"},
	{num: 6, name: "signed_pre_key_id", typ: typeUint32, required: true, note: "not signed"},
	{num: 7, name: "signed_pre_key", typ: typeKey, required: true, note: "under the signature"},
	{num: 8, name: "signed_pre_key_signature", typ: typeFixed, size: curve.SignatureSize, required: true},
}, check: func(w *walker, m *found) {
	if id, key := m.get(4), m.get(5); id != nil && key == nil {
		w.problem(id.tag, "", "pre_key_id stands without pre_key")
	} else if id == nil && key != nil {
		w.problem(key.tag, "", "pre_key stands without pre_key_id")
	}
	signature := m.get(8)
	identity, _ := curve.ParsePublicKey(m.get(3).b)
	if !identity.Verify(m.get(7).b, signature.b) {
		w.problem(signature.at, "R-4.1-1", "the signature does not verify under the identity key: a key was replaced, most likely by the server")
	} else {
		signature.row.Note = "verifies under the identity key"
	}
}}

// A key that is stored: index and 32 bytes, or 80 in the older form.
var messageKey = message{name: "MessageKey", section: "6.1", fields: []field{
	{num: 1, name: "index", typ: typeUint32},
	{num: 2, name: "cipher_key", typ: typeFixed, size: 32, secret: true},
	{num: 3, name: "mac_key", typ: typeFixed, size: 32, secret: true},
	{num: 4, name: "iv", typ: typeFixed, size: 16, secret: true},
	{num: 5, name: "seed", typ: typeFixed, size: 32, secret: true},
}, check: func(w *walker, m *found) {
	expanded := m.has(2) || m.has(3) || m.has(4)
	switch {
	case !expanded && !m.has(5):
		w.problem(m.end, "R-6.1-1", "field 5, seed, is missing, and so is the older form")
	case expanded && m.has(5):
		w.problem(m.get(5).tag, "R-6.1-1", "seed stands beside the older form")
	case expanded && !(m.has(2) && m.has(3) && m.has(4)):
		w.problem(m.end, "R-6.1-1", "the older form is cipher_key, mac_key and iv, and not all are here")
	}
}}

var chainKey = message{name: "ChainKey", section: "6.1", fields: []field{
	{num: 1, name: "index", typ: typeUint32, note: "number of the next message"},
	{num: 2, name: "key", typ: typeFixed, size: 32, required: true, secret: true},
}}

var senderChain = message{name: "Chain", section: "6.1", fields: []field{
	{num: 1, name: "sender_ratchet_key", typ: typeKey, required: true, note: "ours"},
	{num: 2, name: "sender_ratchet_key_private", typ: typeFixed, size: 32, required: true, secret: true},
	{num: 3, name: "chain_key", typ: typeMessage, in: &chainKey, required: true},
}}

func receiverChain(last field) *message {
	return &message{name: "Chain", section: "6.1", fields: []field{
		{num: 1, name: "sender_ratchet_key", typ: typeKey, required: true, note: "the peer's"},
		{num: 3, name: "chain_key", typ: typeMessage, in: &chainKey, required: true},
		last,
	}, check: func(w *walker, m *found) {
		index := m.get(3).in.uint(1)
		if n := m.get(5); n != nil && n.n > index {
			w.problem(n.at, "R-6.3-3", "%d stored keys, of a chain that had %d messages", n.n, index)
		}
		if keys, blocks := m.uint(5), m.uint(6); blocks > keys || keys > 32*blocks {
			w.problem(m.end, "R-6.3-3", "%d stored keys in %d blocks of 1 to 32", keys, blocks)
		}
		checkNumbers(w, m.values[4], index, "R-6.1-2")
	}}
}

// checkNumbers looks at the numbers of stored keys: below the next message's, and
// all different.
func checkNumbers(w *walker, keys []*value, next uint64, rule string) {
	seen := map[uint64]bool{}
	for _, k := range keys {
		n := k.in.uint(1)
		if n >= next {
			w.problem(k.tag, rule, "a stored key of message %d, where %d is the next one", n, next)
		}
		if seen[n] {
			w.problem(k.tag, rule, "two stored keys of message %d", n)
		}
		seen[n] = true
	}
}

var (
	storedKeys = field{num: 4, name: "message_keys", typ: typeMessage, in: &messageKey,
		repeated: ratchet.MaxSkippedKeys, many: "R-6.1-2", show: showNumber}
	storedApart   = field{num: 5, name: "stored_keys", typ: typeUint32, note: "number of them; they stand apart (§6.3)", check: checkApart("stored keys")}
	keyBlocks     = field{num: 6, name: "key_blocks", typ: typeUint32, note: "number of the blocks that those are in", check: checkApart("blocks of stored keys")}
	noMessageKeys = field{num: 4, name: "message_keys", typ: typeBytes, repeated: 1, secret: true,
		check: func(w *walker, _ *found, v *value) {
			w.problem(v.tag, "", "stored keys in the head of a session, where they stand apart (§6.3)")
		}}

	sessionStructure = session(receiverChain(storedKeys))
	sessionHead      = session(headChain())
)

func checkApart(what string) func(*walker, *found, *value) {
	return func(w *walker, _ *found, v *value) {
		if v.n == 0 || v.n > ratchet.MaxSkippedKeys {
			w.problem(v.at, "R-6.3-3", "%d %s, where there are 1 to %d", v.n, what, ratchet.MaxSkippedKeys)
		}
	}
}

// headChain has no message_keys, and any is one too many.
func headChain() *message {
	m := receiverChain(storedApart)
	m.fields = append(m.fields, keyBlocks, noMessageKeys)
	return m
}

func showNumber(v *value) string { return fmt.Sprintf("of message %d", v.in.uint(1)) }

var pendingPreKey = message{name: "PendingPreKey", section: "6.1", fields: []field{
	{num: 1, name: "pre_key_id", typ: typeUint32},
	{num: 2, name: "base_key", typ: typeKey, required: true},
	{num: 3, name: "signed_pre_key_id", typ: typeInt32},
	{num: 4, name: "timestamp", typ: typeUint64, show: showSeconds},
}}

func session(receiver *message) *message {
	version4 := func(w *walker, _ *found, v *value) {
		if len(v.b) > 0 {
			w.problem(v.tag, "", "a field of version 4, which is refused until it is built")
		}
	}
	return &message{name: "SessionStructure", section: "6.1", fields: []field{
		{num: 1, name: "session_version", typ: typeUint32, required: true, check: func(w *walker, _ *found, v *value) {
			if v.n != 3 {
				w.problem(v.at, "", "version %d, where only 3 is read", v.n)
			}
		}},
		{num: 2, name: "local_identity_public", typ: typeKey, required: true},
		{num: 3, name: "remote_identity_public", typ: typeKey, required: true},
		{num: 4, name: "root_key", typ: typeFixed, size: 32, required: true, secret: true},
		{num: 5, name: "previous_counter", typ: typeUint32},
		{num: 6, name: "sender_chain", typ: typeMessage, in: &senderChain, required: true},
		{num: 7, name: "receiver_chains", typ: typeMessage, in: receiver, repeated: ratchet.MaxReceivingChains, many: "R-6.1-2", note: "oldest first"},
		{num: 9, name: "pending_pre_key", typ: typeMessage, in: &pendingPreKey, note: "the peer has not answered yet"},
		{num: 10, name: "remote_registration_id", typ: typeUint32},
		{num: 11, name: "local_registration_id", typ: typeUint32},
		{num: 13, name: "alice_base_key", typ: typeKey, required: true, note: "names the session"},
		{num: 14, name: "version 4", typ: typeBytes, secret: true, check: version4},
		{num: 15, name: "version 4", typ: typeBytes, secret: true, check: version4},
	}, check: func(w *walker, m *found) {
		seen := map[curve.PublicKey]bool{}
		for _, c := range m.values[7] {
			k := curve.PublicKey(c.in.get(1).b[1:])
			if seen[k] {
				w.problem(c.in.get(1).at, "R-6.1-2", "two receiving chains have this ratchet key")
			}
			seen[k] = true
		}
		if p := m.get(9); p != nil && [33]byte(p.in.get(2).b) != [33]byte(m.get(13).b) {
			w.problem(p.in.get(2).at, "R-6.1-2", "the base key of the pending prekey is not alice_base_key")
		}
	}}
}

const maxArchivedSessions = 40 // sesame.MaxArchivedSessions, which is above this package

var recordStructure = message{name: "RecordStructure", section: "10.8", fields: []field{
	{num: 1, name: "current_session", typ: typeMessage, in: sessionStructure, emptyIsNone: true},
	{num: 2, name: "previous_sessions", typ: typeMessage, in: sessionStructure, repeated: maxArchivedSessions, many: "R-10.8-5", note: "newest first"},
}, check: func(w *walker, m *found) {
	seen := map[curve.PublicKey]bool{}
	for _, s := range sessionsOf(m) {
		base := s.get(13)
		k := curve.PublicKey(base.b[1:])
		if seen[k] {
			w.problem(base.at, "R-10.8-5", "two sessions have this base key")
		}
		seen[k] = true
	}
}}

// sessionsOf are the sessions of a RecordStructure, the current one first.
func sessionsOf(m *found) (sessions []*found) {
	if v := m.get(1); v != nil && v.in != nil {
		sessions = append(sessions, v.in)
	}
	for _, v := range m.values[2] {
		sessions = append(sessions, v.in)
	}
	return sessions
}

// halves checks that a private key belongs to the public one.
func halves(public, private int) func(w *walker, m *found) {
	return func(w *walker, m *found) {
		k := curve.NewPrivateKey([32]byte(m.get(private).b))
		if v := m.get(public); [33]byte(v.b) != [33]byte(k.Public().Append(nil)) {
			w.problem(v.at, "R-6.2-1", "the public key is not that of the private key")
		}
	}
}

var identityKeyPair = message{name: "IdentityKeyPairStructure", section: "6.2", fields: []field{
	{num: 1, name: "public_key", typ: typeKey, required: true},
	{num: 2, name: "private_key", typ: typeFixed, size: 32, required: true, secret: true},
}, check: halves(1, 2)}

var preKeyRecord = message{name: "PreKeyRecordStructure", section: "6.2", fields: []field{
	{num: 1, name: "id", typ: typeUint32},
	{num: 2, name: "public_key", typ: typeKey, required: true},
	{num: 3, name: "private_key", typ: typeFixed, size: 32, required: true, secret: true},
}, check: halves(2, 3)}

var signedPreKeyRecord = message{name: "SignedPreKeyRecordStructure", section: "6.2", fields: []field{
	{num: 1, name: "id", typ: typeUint32},
	{num: 2, name: "public_key", typ: typeKey, required: true},
	{num: 3, name: "private_key", typ: typeFixed, size: 32, required: true, secret: true},
	{num: 4, name: "signature", typ: typeFixed, size: curve.SignatureSize, required: true, note: "by the identity key, which is not here: not verified"},
	{num: 5, name: "timestamp", typ: typeFixed64, show: showMillis},
}, check: halves(2, 3)}

var fingerprintHalf = message{name: "fingerprint", section: "7.2", fields: []field{
	{num: 1, name: "hash", typ: typeFixed, size: 32, required: true},
}}

var fingerprint = message{name: "scannable safety number", section: "7.2", fields: []field{
	{num: 1, name: "version", typ: typeUint32, note: "the application's convention for identifiers"},
	{num: 2, name: "local", typ: typeMessage, in: &fingerprintHalf, required: true, note: "of who shows it"},
	{num: 3, name: "remote", typ: typeMessage, in: &fingerprintHalf, required: true, note: "of the other side"},
}, check: func(w *walker, m *found) {
	if local, remote := m.get(2).in.get(1), m.get(3).in.get(1); m.uint(1) == 0 && [32]byte(local.b) == [32]byte{} && [32]byte(remote.b) == [32]byte{} {
		w.problem(m.at, "", "all zeros")
	}
}}

// digits reads a safety number as people do: 60 digits, in any grouping, which
// was taken out before.
func (w *walker) digits() {
	for i, c := range w.b {
		if c < '0' || c > '9' {
			w.problem(i, "R-7.1-1", "not a digit")
			return
		}
	}
	if n := len(w.b); n != 60 {
		w.problem(min(n, 60), "R-7.1-1", "%d digits, where a safety number has 60", n)
		return
	}
	first, second := string(w.b[:30]), string(w.b[30:])
	w.raw(0, 30, "first side", groups(first), "the smaller of the two: it does not say whose")
	w.raw(30, 60, "second side", groups(second), "")
	w.known += 2
	if first > second {
		w.problem(30, "R-7.1-1", "the smaller side stands first in every safety number")
	}
}

func groups(s string) (out string) {
	for i := 0; i < len(s); i += 5 {
		out += " " + s[i:i+5]
	}
	return out[1:]
}
