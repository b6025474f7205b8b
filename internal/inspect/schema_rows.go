package inspect

import (
	"fmt"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// Rows of one device: SPEC.md §10.2. What they hold of other kinds is in the
// files of those.

var localRow = message{name: "local", section: "10.2", closed: true, fields: []field{
	{num: 1, name: "identity", typ: typeMessage, in: &identityKeyPair, required: true},
	{num: 2, name: "registration_id", typ: typeUint32, required: true},
	{num: 3, name: "next_pre_key_id", typ: typeUint32, required: true},
	{num: 4, name: "next_signed_pre_key_id", typ: typeUint32, required: true},
}}

var peerRow = message{name: "peer", section: "10.2", closed: true, fields: []field{
	{num: 1, name: "identity_key", typ: typeKey, note: "trusted"},
	{num: 2, name: "changed_identity_key", typ: typeKey, note: "waits for confirmation"},
	{num: 3, name: "sessions", typ: typeKey, repeated: 1 + maxArchivedSessions, note: "base key of a session"},
	{num: 4, name: "current", typ: typeUint32, note: "1: the first session is the current one"},
	{num: 5, name: "only_decrypt", typ: typeKey, repeated: 1 + maxArchivedSessions, note: "base key of a session"},
}, check: func(w *walker, m *found) {
	w.must(m.has(1) || m.has(2), m.end, "", "no identity key")
	sessions := map[curve.PublicKey]bool{}
	for _, v := range m.values[3] {
		k := curve.PublicKey(v.b[1:])
		w.must(!sessions[k], v.at, "", "a session that stands here already")
		sessions[k] = true
	}
	current := m.uint(4) == 1
	w.must(!current || len(sessions) > 0, m.place(4), "", "a current session, and no sessions")
	seen := map[curve.PublicKey]bool{}
	for _, v := range m.values[5] {
		k := curve.PublicKey(v.b[1:])
		w.must(sessions[k] && !seen[k], v.at, "", "a session that is not there, or stands here already")
		seen[k] = true
		w.must(!current || k != curve.PublicKey(m.get(3).b[1:]), v.at, "R-10.8-2", "the current session, which does not only decrypt")
	}
}}

var askedRow = message{name: "asked", section: "10.7", closed: true, fields: []field{
	{num: 1, name: "timestamp", typ: typeUint64, required: true, show: showMillis},
	{num: 2, name: "first", typ: typeUint64, required: true, show: showMillis},
	{num: 3, name: "requests", typ: typeUint32, required: true},
}}

var retryRow = message{name: "retry", section: "10.2", closed: true, fields: []field{
	{num: 1, name: "reset", typ: typeUint64, show: showMillis},
	{num: 2, name: "asked", typ: typeMessage, in: &askedRow, repeated: 256, many: "R-10.7-2"},
}}

var addressee = message{name: "addressee", section: "10.2", closed: true, fields: []field{
	{num: 1, name: "user", typ: typeBytes, required: true, check: func(w *walker, _ *found, v *value) {
		w.must(1 <= len(v.b) && len(v.b) <= 256, v.at, "", "%d bytes, where a user name has 1 to 256", len(v.b))
	}},
	{num: 2, name: "device", typ: typeUint32, check: func(w *walker, _ *found, v *value) {
		w.must(v.n <= x3dh.MaxDeviceID, v.at, "", "device %d, where %d is the highest", v.n, x3dh.MaxDeviceID)
	}},
	{num: 3, name: "identity_key", typ: typeKey, required: true},
	{num: 4, name: "answers", typ: typeUint32},
}}

// unbounded is the limit of a list without one, but for the size of the input.
const unbounded = 1 << 30

var sentRow = message{name: "sent", section: "10.2", closed: true, fields: []field{
	{num: 1, name: "time", typ: typeUint64, required: true, show: showMillis},
	{num: 2, name: "plaintext", typ: typeBytes, required: true, secret: true},
	{num: 3, name: "to", typ: typeMessage, in: &addressee, repeated: unbounded},
	{num: 4, name: "group", typ: typeBytes, check: checkGroup},
	{num: 5, name: "distribution_id", typ: typeFixed, size: 16, show: showUUID},
}, check: func(w *walker, m *found) {
	w.must(m.has(4) == m.has(5), m.end, "", "group and distribution_id stand together, or neither")
	for i, v := range m.values[3] {
		if i == 0 {
			continue
		}
		last := m.values[3][i-1].in
		a, b := string(last.get(1).b), string(v.in.get(1).b)
		w.must(a < b || !(b < a) && last.uint(2) < v.in.uint(2), v.tag, "", "devices do not ascend")
	}
}}

func checkGroup(w *walker, _ *found, v *value) {
	w.must(1 <= len(v.b) && len(v.b) <= 128, v.at, "", "%d bytes, where the name of a group has 1 to 128", len(v.b))
}

var groupRow = message{name: "group", section: "10.2", closed: true, fields: []field{
	{num: 1, name: "revision", typ: typeUint64},
	{num: 2, name: "sender", typ: typeBytes, required: true, inside: (*walker).sender},
}}

func receiverRow(f senderkey.Family) *message {
	return &message{name: "receiver", section: "10.2", closed: true, fields: []field{
		{num: 1, name: "receiver", typ: typeBytes, required: true, inside: func(w *walker, at, end int) { w.receiver(f, at, end) }},
		{num: 2, name: "ties", typ: typeBytes, repeated: senderkey.MaxChains},
	}, check: func(w *walker, m *found) {
		seen := map[string]bool{"": true}
		for _, v := range m.values[2] {
			w.must(!seen[string(v.b)], v.at, "", "an empty tie, or one that stands here already")
			seen[string(v.b)] = true
		}
	}}
}

var chainRow = message{name: "chain", section: "10.2", closed: true, fields: []field{
	{num: 1, name: "identity_key", typ: typeKey, required: true},
	{num: 2, name: "group", typ: typeBytes, required: true, check: checkGroup},
	{num: 3, name: "starts", typ: typeMessage, in: &chainStart, repeated: senderkey.MaxChains, note: "newest first"},
}, check: func(w *walker, m *found) {
	seen := map[uint64]bool{}
	w.must(len(m.values[3]) > 0, m.end, "", "no chain")
	for _, v := range m.values[3] {
		w.must(!seen[v.in.uint(1)], v.tag, "", "a chain that stands here already")
		seen[v.in.uint(1)] = true
	}
}}

var chainStart = message{name: "chain start", section: "10.2", closed: true, fields: []field{
	{num: 1, name: "chain_id", typ: typeUint32, required: true},
	{num: 2, name: "iteration", typ: typeUint32, required: true},
}}

var heldMessage = message{name: "held message", section: "10.2", closed: true, fields: []field{
	{num: 1, name: "time", typ: typeUint64, required: true, show: showMillis},
	{num: 2, name: "timestamp", typ: typeUint64, show: showMillis},
	{num: 3, name: "group", typ: typeBytes},
	{num: 4, name: "message", typ: typeBytes, required: true},
}}

var heldRow = message{name: "held", section: "10.2", closed: true, fields: []field{
	{num: 1, name: "messages", typ: typeMessage, in: &heldMessage, repeated: unbounded, note: "oldest first"},
}, check: func(w *walker, m *found) {
	seen, size := map[string]bool{}, 0
	for _, v := range m.values[1] {
		b := v.in.get(4).b
		var group []byte
		if g := v.in.get(3); g != nil {
			group = g.b
		}
		name := fmt.Sprintf("%d %q %s", v.in.uint(2), group, b)
		if seen[name] {
			continue
		}
		seen[name] = true
		size += len(b)
		w.must(len(seen) <= 64 && size <= 256<<10, v.tag, "R-10.10-8", "over 64 messages, or over 256 KiB")
	}
}}
