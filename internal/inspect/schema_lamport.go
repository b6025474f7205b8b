package inspect

import (
	"fmt"
	"math/bits"

	"github.com/sotto-im/sotto/lamport"
)

// Records of the order of messages: SPEC.md §9.9.

var clock = message{name: "clock", section: "9.9", canonical: true, fields: []field{
	{num: 1, name: "L", typ: typeUint64, check: checkNumber},
	{num: 2, name: "f", typ: typeUint64, note: "the highest stamp that was observed"},
}, check: func(w *walker, m *found) {
	w.must(m.uint(2) <= m.uint(1), m.place(2), "R-9.9-2", "f is above L")
}}

var window = message{name: "window", section: "9.9", canonical: true, fields: []field{
	{num: 1, name: "user", typ: typeFixed, size: 16, required: true, check: checkID},
	{num: 2, name: "device", typ: typeUint32, required: true, check: checkDevice},
	{num: 3, name: "floor", typ: typeUint64, note: "all counters up to it were accepted", check: checkNumber},
	{num: 4, name: "bits", typ: typeBytes, note: "bit i is counter floor + 1 + i", show: func(v *value) string {
		n := 0
		for _, c := range v.b {
			n += bits.OnesCount8(c)
		}
		return fmt.Sprintf("%d bytes: %d more counters were accepted", len(v.b), n)
	}},
}, check: func(w *walker, m *found) {
	v := m.get(4)
	if v == nil {
		return
	}
	n := len(v.b)
	w.must(n <= lamport.WindowSize/8, v.at, "R-9.9-2", "%d bytes, where a window has at most %d", n, lamport.WindowSize/8)
	w.must(v.b[0]&1 == 0, v.at, "R-9.9-2", "the first bit belongs to the floor")
	last := v.b[n-1]
	w.must(last != 0, v.end-1, "R-9.9-2", "the last byte is 0")
	high := m.uint(3) + uint64(8*n-bits.LeadingZeros8(last))
	w.must(high <= maxNumber, v.at, "R-8.1-3", "counters over 2⁵³−1")
}}

var conversation = message{name: "conversation", section: "9.9", canonical: true, fields: []field{
	{num: 1, name: "conversation", typ: typeFixed, size: 16, required: true, check: checkID},
	{num: 2, name: "epoch", typ: typeUint32, required: true},
	{num: 3, name: "last", typ: typeUint64, check: checkNumber},
	{num: 4, name: "max_stamp", typ: typeUint64, check: checkNumber},
}}

// A conversation in epoch 0 has no encoding: its field would be a default.

var receipt = message{name: "receipt", section: "9.9", canonical: true, fields: []field{
	{num: 1, name: "conversation", typ: typeFixed, size: 16, required: true, check: checkID},
	{num: 2, name: "user", typ: typeFixed, size: 16, required: true, check: checkID},
	{num: 3, name: "device", typ: typeUint32, required: true, check: checkDevice},
	{num: 4, name: "message_id", typ: typeFixed, size: 16, required: true, check: checkID},
	{num: 5, name: "epoch", typ: typeUint32, required: true},
	{num: 6, name: "number", typ: typeUint64, required: true, check: checkNumber},
}}

var register = message{name: "register", section: "9.9", canonical: true, fields: []field{
	{num: 1, name: "author", typ: typeFixed, size: 16, required: true, check: checkID},
	{num: 2, name: "device", typ: typeUint32, check: checkDevice},
	{num: 3, name: "stamp", typ: typeUint64, check: checkNumber},
	{num: 4, name: "deleted", typ: typeBool},
	{num: 5, name: "value", typ: typeBytes, secret: true, note: "the application's"},
}, check: func(w *walker, m *found) {
	if !m.has(2) && !m.has(3) && !m.has(4) && !m.has(5) {
		return // never written
	}
	w.must(m.has(2) && m.has(3), m.end, "R-9.7-1", "a write has a device and a stamp")
	if v := m.get(5); v != nil {
		w.must(!m.has(4), v.tag, "R-9.7-7", "a deletion with a value")
		w.must(len(v.b) <= lamport.MaxValue, v.at, "R-9.7-7", "%d bytes, where a value has at most %d", len(v.b), lamport.MaxValue)
	}
}}

var inbox = message{name: "inbox", section: "9.9", canonical: true, fields: []field{
	{num: 1, name: "epoch", typ: typeUint32},
	{num: 2, name: "number", typ: typeUint64, check: checkNumber},
}, check: func(w *walker, m *found) {
	w.must(m.has(1) || !m.has(2), m.place(2), "R-9.9-2", "a number without an epoch")
}}

// lamport reads one of these records.
func (w *walker) lamport(typ byte, s *message) {
	if w.recordType(typ, s.name, 0, len(w.b)) {
		w.message(s, 1, len(w.b))
	}
}
