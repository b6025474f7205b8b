package inspect

import (
	"fmt"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/senderkey"
)

// Group messages and their records: SPEC.md §11.

// inFamily is a schema in the form of a family: the WhatsApp family has no
// distribution ID, and all other fields one number lower (§11.3).
func inFamily(f senderkey.Family, m message) *message {
	if f != senderkey.WhatsApp {
		return &m
	}
	fields := append([]field(nil), m.fields[1:]...)
	for i := range fields {
		fields[i].num--
	}
	m.fields = fields
	m.name += " without distribution ID"
	return &m
}

func senderKeyMessage(f senderkey.Family) *message {
	return inFamily(f, message{name: "SenderKeyMessage", section: "11.3", fields: []field{
		{num: 1, name: "distribution_uuid", typ: typeFixed, size: 16, required: true, show: showUUID},
		{num: 2, name: "chain_id", typ: typeUint32, required: true},
		{num: 3, name: "iteration", typ: typeUint32, required: true, note: "number of the message in its chain"},
		{num: 4, name: "ciphertext", typ: typeBytes, required: true, show: showBlocks},
	}})
}

func (w *walker) senderKeyMessage(f senderkey.Family) {
	end := len(w.b)
	if end < 1+curve.SignatureSize {
		w.problem(end, "", "%d bytes, where a group message has at least %d", end, 1+curve.SignatureSize)
		return
	}
	w.versionByte(0, "under the signature, as received")
	w.root = w.message(senderKeyMessage(f), 1, end-curve.SignatureSize)
	w.raw(end-curve.SignatureSize, end, "signature", fmt.Sprintf("%x", w.b[end-curve.SignatureSize:]),
		"XEdDSA by the signing key of the chain")
}

func senderKeyDistribution(f senderkey.Family) *message {
	return inFamily(f, message{name: "SenderKeyDistributionMessage", section: "11.3", fields: []field{
		{num: 1, name: "distribution_uuid", typ: typeFixed, size: 16, required: true, show: showUUID},
		{num: 2, name: "chain_id", typ: typeUint32, required: true},
		{num: 3, name: "iteration", typ: typeUint32, required: true, note: "number of the first message that it opens"},
		{num: 4, name: "chain_key", typ: typeFixed, size: 32, required: true, secret: true},
		{num: 5, name: "signing_key", typ: typeKey, required: true},
	}})
}

func (w *walker) senderKeyDistribution(f senderkey.Family) {
	if len(w.b) == 0 {
		w.problem(0, "", "nothing: a distribution begins with a version byte")
		return
	}
	w.versionByte(0, "not authenticated")
	w.root = w.message(senderKeyDistribution(f), 1, len(w.b))
}

func showUUID(v *value) string {
	b := v.b
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

var senderNumbered = message{name: "SenderChainKey", section: "11.7", fields: []field{
	{num: 1, name: "iteration", typ: typeUint32},
	{num: 2, name: "seed", typ: typeFixed, size: 32, required: true, secret: true},
}}

var senderSigningKey = message{name: "SenderSigningKey", section: "11.7", fields: []field{
	{num: 1, name: "public", typ: typeKey, required: true},
	{num: 2, name: "private", typ: typeBytes, secret: true, note: "of the device's own chain only", check: func(w *walker, _ *found, v *value) {
		if n := len(v.b); n != 0 && n != 32 {
			w.problem(v.at-1, "", "%d bytes, where 32 are expected", n)
		}
	}},
}}

var senderKeyState = message{name: "SenderKeyStateStructure", section: "11.7", fields: []field{
	{num: 1, name: "chain_id", typ: typeUint32},
	{num: 2, name: "sender_chain_key", typ: typeMessage, in: &senderNumbered, required: true},
	{num: 3, name: "sender_signing_key", typ: typeMessage, in: &senderSigningKey, required: true},
	{num: 4, name: "sender_message_keys", typ: typeMessage, in: &senderNumbered, repeated: senderkey.MaxSkippedKeys, many: "R-11.7-2", show: showNumber},
	{num: 5, name: "message_version", typ: typeUint32, check: func(w *walker, _ *found, v *value) {
		if v.n != 0 && v.n != 3 {
			w.problem(v.at, "", "version %d, where only 3 is read", v.n)
		}
	}},
}, check: func(w *walker, m *found) {
	checkNumbers(w, m.values[4], m.get(2).in.uint(1), "R-11.7-2")
}}

// private is the private half of the signing key of a state: that of the
// device's own chain.
func private(state *found) *value {
	if v := state.get(3).in.get(2); v != nil && len(v.b) > 0 {
		return v
	}
	return nil
}

func senderKeyRecord(check func(w *walker, m *found)) *message {
	return &message{name: "SenderKeyRecordStructure", section: "11.7", fields: []field{
		{num: 1, name: "sender_key_states", typ: typeMessage, in: &senderKeyState, repeated: senderkey.MaxChains, many: "R-11.5-4", note: "newest first"},
	}, check: func(w *walker, m *found) {
		seen := map[uint64]bool{}
		for _, s := range m.values[1] {
			if id := s.in.uint(1); seen[id] {
				w.problem(s.tag, "R-11.7-2", "two states have the chain ID %d", id)
			}
			seen[s.in.uint(1)] = true
		}
		check(w, m)
	}}
}

var (
	// Of libsignal: the record of the device's own chain, which only the first
	// state's private half makes it, or that of another device.
	anySenderKeyRecord = senderKeyRecord(func(w *walker, m *found) {
		states := m.values[1]
		if len(states) > 0 && private(states[0].in) != nil {
			return
		}
		for _, s := range states {
			if p := private(s.in); p != nil {
				w.problem(p.tag, "R-11.7-2", "a private half in the record of another device's chain")
			}
		}
	})
	ownSenderKeyRecord = senderKeyRecord(func(w *walker, m *found) {
		if states := m.values[1]; len(states) == 0 {
			w.problem(m.end, "", "no state: the record of an own chain has one")
		} else if private(states[0].in) == nil {
			w.problem(states[0].tag, "R-11.7-2", "no private half: not the device's own chain")
		}
	})
)

var sender = message{name: "sender", section: "11.7", canonical: true, fields: []field{
	{num: 1, name: "revision", typ: typeUint64},
	{num: 2, name: "distribution_id", typ: typeFixed, size: 16, required: true, show: showUUID},
	{num: 3, name: "start", typ: typeUint64, show: showSeconds},
	{num: 4, name: "chain", typ: typeMessage, in: ownSenderKeyRecord, required: true},
	{num: 5, name: "has", typ: typeBytes, check: checkMembers, show: showMembers, note: "members who have the chain"},
	{num: 6, name: "may_read", typ: typeBytes, check: checkMembers, show: showMembers, note: "other members who may read it"},
}, check: func(w *walker, m *found) {
	if !m.has(5) || !m.has(6) {
		return
	}
	has := map[[32]byte]bool{}
	for b := m.get(5).b; len(b) > 0; b = b[32:] {
		has[[32]byte(b)] = true
	}
	for at, b := m.get(6).at, m.get(6).b; len(b) > 0; at, b = at+32, b[32:] {
		if has[[32]byte(b)] {
			w.problem(at, "R-11.7-3", "a member in both lists")
		}
	}
}}

func checkMembers(w *walker, _ *found, v *value) {
	if n := len(v.b); n%32 != 0 {
		w.problem(v.end, "R-11.7-3", "%d bytes, where each member has 32", n)
		return
	}
	for i := 0; i < len(v.b); i += 32 {
		m := [32]byte(v.b[i:])
		if m == [32]byte{} {
			w.problem(v.at+i, "R-11.7-3", "a member of zeros")
		}
		if i > 0 && compare(v.b[i-32:i], m[:]) >= 0 {
			w.problem(v.at+i, "R-11.7-3", "members do not ascend")
		}
	}
}

func showMembers(v *value) string { return fmt.Sprintf("%d members", len(v.b)/32) }

// compare orders byte strings of one length.
func compare(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return int(a[i]) - int(b[i])
		}
	}
	return 0
}

// sender reads the record of a sender. One that has sent nothing is its first
// byte.
func (w *walker) sender(at, end int) {
	if w.recordType(0x11, "sender", at, end) && end-at > 1 {
		w.root = w.message(&sender, at+1, end)
	}
}

func receiver(f senderkey.Family) *message {
	chain := &message{name: "chain", section: "11.7", canonical: true, fields: []field{
		{num: 1, name: "distribution_id", typ: typeFixed, size: 16, show: showUUID},
		{num: 2, name: "state", typ: typeMessage, in: &senderKeyState, required: true},
	}, check: func(w *walker, m *found) {
		if v := m.get(1); f == senderkey.WhatsApp && v != nil {
			w.problem(v.tag, "R-11.7-3", "a distribution ID, which the WhatsApp family does not have")
		} else if f != senderkey.WhatsApp && v == nil {
			w.problem(m.at, "R-11.7-3", "no distribution ID: a record of the WhatsApp family")
		}
		if p := private(m.get(2).in); p != nil {
			w.problem(p.tag, "R-11.7-2", "a private half in the record of another device's chain")
		}
	}}
	return &message{name: "receiver", section: "11.7", canonical: true, fields: []field{
		{num: 1, name: "chains", typ: typeMessage, in: chain, repeated: senderkey.MaxChains, many: "R-11.5-4", note: "newest first"},
		{num: 2, name: "retired", typ: typeBytes, note: "beginnings of the signing keys of chains that had to go",
			show: func(v *value) string { return fmt.Sprintf("%d keys", len(v.b)/8) },
			check: func(w *walker, _ *found, v *value) {
				if n := len(v.b); n%8 != 0 || n > 64*8 {
					w.problem(v.end, "R-11.7-3", "%d bytes, where each key has 8, and there are at most 64", n)
				}
			}},
	}, check: func(w *walker, m *found) {
		seen := map[string]bool{}
		for _, c := range m.values[1] {
			name := fmt.Sprint(c.in.get(2).in.uint(1))
			if id := c.in.get(1); id != nil {
				name += string(id.b)
			}
			if seen[name] {
				w.problem(c.tag, "R-11.7-3", "two chains of one distribution ID and chain ID")
			}
			seen[name] = true
		}
	}}
}

func (w *walker) receiver(f senderkey.Family, at, end int) {
	if w.recordType(0x21, "receiver", at, end) {
		w.root = w.message(receiver(f), at+1, end)
	}
}

// recordType reads the first byte of a record of ours.
func (w *walker) recordType(want byte, name string, at, end int) bool {
	if at == end {
		w.problem(at, "", "nothing: the record of a %s begins with %02x", name, want)
		return false
	}
	if w.b[at] != want {
		w.problem(at, "", "the record of a %s begins with %02x, and this with %02x", name, want, w.b[at])
		return false
	}
	w.raw(at, at+1, "type and version", fmt.Sprintf("%02x: %s, version 1", want, name), "")
	return true
}
