package inspect

import (
	"encoding/binary"
	"fmt"

	"github.com/sotto-im/sotto/envelope"
)

// Frames between client and server: SPEC.md §8. Nothing in them is
// authenticated; the channel is.

const (
	maxNumber = 1<<53 - 1
	maxDevice = 1<<31 - 1
)

// checkID refuses the two reserved names of 16 bytes.
func checkID(w *walker, _ *found, v *value) {
	if len(v.b) != 16 {
		return
	}
	if id := [16]byte(v.b); id == [16]byte{} || id == [16]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255} {
		w.problem(v.at, "R-8.1-1", "a reserved name, which names nothing")
	}
}

func checkDevice(w *walker, _ *found, v *value) {
	if v.n == 0 || v.n > maxDevice {
		w.problem(v.at, "R-8.1-2", "device %d, where they are 1 to 2³¹−1", v.n)
	}
}

func checkNumber(w *walker, _ *found, v *value) {
	if v.n > maxNumber {
		w.problem(v.at, "R-8.1-3", "%d is over 2⁵³−1", v.n)
	}
}

func checkType(w *walker, _ *found, v *value) {
	if v.n > 255 {
		w.problem(v.at, "R-8.2-4", "type %d, where they are 1 to 255", v.n)
	}
}

func checkCiphertext(w *walker, _ *found, v *value) {
	if len(v.b) > envelope.MaxCiphertext {
		w.problem(v.at, "R-8.3-1", "%d bytes, where a ciphertext has at most 96 KiB", len(v.b))
	}
}

// showType adds what a type is for libsignal; for a server it is opaque.
func showType(v *value) string {
	name := map[uint64]string{2: "SignalMessage", 3: "PreKeySignalMessage", 7: "SenderKeyMessage", 8: "PlaintextContent"}[v.n]
	if name == "" {
		return fmt.Sprint(v.n)
	}
	return fmt.Sprintf("%d (%s)", v.n, name)
}

// must checks a condition between fields, and says at the end of m if it does
// not hold.
func (w *walker) must(ok bool, at int, rule, format string, args ...any) {
	if !ok {
		w.problem(at, rule, format, args...)
	}
}

// place is the offset of a field, or the end of the message that lacks it.
func (m *found) place(num int) int {
	if v := m.get(num); v != nil {
		return v.at
	}
	return m.end
}

var header = message{name: "Header", section: "8.1", canonical: true, fields: []field{
	{num: 1, name: "conversation", typ: typeFixed, size: 16, required: true, check: checkID},
	{num: 2, name: "message_id", typ: typeFixed, size: 16, required: true, check: checkID},
	{num: 3, name: "user", typ: typeFixed, size: 16, required: true, check: checkID},
	{num: 4, name: "device", typ: typeUint32, required: true, check: checkDevice},
	{num: 5, name: "stamp", typ: typeUint64, check: checkNumber},
}}

func recipients(num int, name string) field {
	return field{num: num, name: name, typ: typeMessage, in: &recipient, repeated: envelope.MaxRecipients, many: "R-8.3-1"}
}

var recipient = message{name: "Recipient", section: "8.5", canonical: true, fields: []field{
	{num: 1, name: "user", typ: typeFixed, size: 16, required: true, check: checkID},
	{num: 2, name: "device", typ: typeUint32, required: true, check: checkDevice},
	{num: 3, name: "registration_id", typ: typeUint32},
	{num: 4, name: "type", typ: typeUint32, check: checkType, show: showType},
	{num: 5, name: "ciphertext", typ: typeBytes, check: checkCiphertext},
}, check: func(w *walker, m *found) {
	w.must(m.has(4) == m.has(5), m.at, "R-8.5-3", "a type and a ciphertext stand together, or neither")
}}

// table checks the order of a recipient table, and counts its ciphertexts.
func (w *walker) table(m *found, num int) (sealed int) {
	var last [20]byte
	for i, v := range m.values[num] {
		var key [20]byte
		copy(key[:], v.in.get(1).b)
		binary.BigEndian.PutUint32(key[16:], uint32(v.in.uint(2)))
		if i > 0 {
			switch c := compare(last[:], key[:]); {
			case c == 0:
				w.problem(v.at, "R-8.5-2", "a device that stands in the table already")
			case c > 0:
				w.problem(v.at, "R-8.5-1", "a device that belongs before the one above")
			}
		}
		last = key
		if v.in.has(4) {
			sealed++
		}
	}
	return sealed
}

var submit = message{name: "Submit", section: "8.4", canonical: true, fields: []field{
	{num: 1, name: "header", typ: typeMessage, in: &header, required: true, note: "the server compares the sender with the connection (R-8.4-6)"},
	{num: 2, name: "counter", typ: typeUint64, check: checkNumber},
	{num: 3, name: "ephemeral", typ: typeBool},
	{num: 4, name: "urgent", typ: typeBool},
	{num: 5, name: "shared_type", typ: typeUint32, check: checkType, show: showType},
	{num: 6, name: "shared", typ: typeBytes, check: checkCiphertext},
	recipients(7, "recipients"),
}, check: func(w *walker, m *found) {
	ephemeral := m.has(3)
	sealed, n := w.table(m, 7), len(m.values[7])
	w.must(m.get(1).in.has(5) != ephemeral, m.get(1).at, "R-8.4-3", "a stamp stands in a message unless it is ephemeral")
	w.must(m.has(2) != ephemeral, m.place(2), "R-8.4-3", "a counter stands in a message unless it is ephemeral")
	w.must(!ephemeral || !m.has(4), m.place(4), "R-8.4-4", "urgent and ephemeral")
	w.must(m.has(5) == m.has(6), m.place(5), "R-8.3-2", "a type and a ciphertext stand together, or neither")
	w.must(n > 0, m.end, "R-8.4-2", "a table without entries")
	if n > 0 && m.has(6) {
		w.must(sealed == 0, m.place(7), "R-8.4-2", "a shared ciphertext, and %d recipients with their own", sealed)
	} else if n > 0 {
		w.must(sealed == n, m.place(7), "R-8.4-2", "no shared ciphertext, and %d of %d recipients without one", n-sealed, n)
	}
}}

var codes = [...]string{"", "ACCEPTED", "DUPLICATE", "DEVICE_MISMATCH", "QUOTA", "CLOCK_BOUND", "TOO_OLD", "REFUSED", "TRIMMED", "EXPIRED", "REPLACED"}

func showCode(v *value) string {
	if v.n < uint64(len(codes)) {
		return fmt.Sprintf("%d %s", v.n, codes[v.n])
	}
	return fmt.Sprint(v.n)
}

// checkCode allows the codes of one body.
func checkCode(rule string, allowed ...uint64) func(w *walker, _ *found, v *value) {
	return func(w *walker, _ *found, v *value) {
		for _, c := range allowed {
			if v.n == c {
				return
			}
		}
		w.problem(v.at, rule, "code %s does not stand here", showCode(v))
	}
}

var result = message{name: "Result", section: "8.6", canonical: true, fields: []field{
	{num: 2, name: "message_id", typ: typeFixed, size: 16, required: true, check: checkID},
	{num: 3, name: "code", typ: typeUint32, required: true, show: showCode, check: checkCode("R-8.6-3", 1, 2, 3, 4, 5, 6, 7)},
	{num: 4, name: "epoch", typ: typeUint32},
	{num: 5, name: "sequence", typ: typeUint64, check: checkNumber},
	recipients(6, "missing"), recipients(7, "extra"), recipients(8, "stale"),
	{num: 9, name: "retry_after", typ: typeUint32, note: "milliseconds"},
	{num: 10, name: "max_stamp", typ: typeUint64, check: checkNumber},
}, check: func(w *walker, m *found) {
	const rule = "R-8.6-2"
	code := m.uint(3)
	sealed := w.table(m, 6) + w.table(m, 7) + w.table(m, 8)
	fields := map[uint64][]int{1: {4, 5}, 2: {4, 5}, 3: {6, 7, 8}, 4: {9}, 5: {10}}[code]
	for _, num := range []int{4, 5, 6, 7, 8, 9, 10} {
		allowed := false
		for _, f := range fields {
			allowed = allowed || f == num
		}
		if v := m.get(num); v != nil && !allowed {
			w.problem(v.tag, rule, "%s has no field %d", codes[code], num)
		}
	}
	switch code {
	case 1, 2:
		w.must(m.has(4) && m.has(5), m.end, rule, "%s has an epoch and a sequence", codes[code])
	case 3:
		w.must(m.has(6) || m.has(7) || m.has(8), m.end, rule, "a mismatch that names no device")
		w.must(sealed == 0, m.at, rule, "a mismatch with ciphertexts")
	case 4:
		w.must(m.has(9), m.end, rule, "QUOTA has a retry_after")
	}
}}

var deliver = message{name: "Deliver", section: "8.7", canonical: true, fields: []field{
	{num: 1, name: "header", typ: typeMessage, in: &header, required: true, note: "claimed by the server until it is compared (R-8.10-3)"},
	{num: 3, name: "ephemeral", typ: typeBool},
	{num: 5, name: "type", typ: typeUint32, check: checkType, show: showType},
	{num: 6, name: "ciphertext", typ: typeBytes, check: checkCiphertext},
	{num: 8, name: "mailbox_epoch", typ: typeUint32, note: "the server's word"},
	{num: 9, name: "position", typ: typeUint64, note: "the server's word", check: checkNumber},
	{num: 10, name: "epoch", typ: typeUint32, note: "the server's word"},
	{num: 11, name: "sequence", typ: typeUint64, note: "the server's word", check: checkNumber},
	{num: 12, name: "server_time", typ: typeUint64, note: "the server's word", check: checkNumber, show: showMillis},
}, check: func(w *walker, m *found) {
	ephemeral := m.has(3)
	w.must(m.get(1).in.has(5) != ephemeral, m.get(1).at, "R-8.4-3", "a stamp stands in a message unless it is ephemeral")
	w.must(m.has(5) && m.has(6), m.end, "R-8.3-2", "a ciphertext and its type are missing")
	for _, num := range []int{8, 9, 10, 11} {
		w.must(m.has(num) != ephemeral, m.place(num), "R-8.7-2", "fields 8 to 11 stand in a message unless it is ephemeral")
	}
}}

var ack = message{name: "Ack", section: "8.8", canonical: true, fields: []field{
	{num: 1, name: "mailbox_epoch", typ: typeUint32, required: true},
	{num: 2, name: "position", typ: typeUint64, required: true, check: checkNumber},
}}

var fetch = message{name: "Fetch", section: "8.8", canonical: true, fields: []field{
	{num: 3, name: "mailbox_epoch", typ: typeUint32},
	{num: 4, name: "after", typ: typeUint64, check: checkNumber},
}, check: func(w *walker, m *found) {
	w.must(m.has(3) || !m.has(4), m.place(4), "R-8.8-3", "a position without an epoch")
}}

var gap = message{name: "Gap", section: "8.8", canonical: true, fields: []field{
	{num: 1, name: "mailbox_epoch", typ: typeUint32, required: true},
	{num: 5, name: "from", typ: typeUint64, required: true},
	{num: 6, name: "to", typ: typeUint64, required: true, check: checkNumber},
	{num: 7, name: "reason", typ: typeUint32, required: true, show: showCode, check: checkCode("R-8.8-4", 8, 9)},
}, check: func(w *walker, m *found) {
	w.must(m.uint(5) <= m.uint(6), m.place(6), "R-8.8-4", "ends before it begins")
}}

var serverError = message{name: "Error", section: "8.8", canonical: true, fields: []field{
	{num: 8, name: "code", typ: typeUint32, required: true, show: showCode, check: checkCode("R-8.8-5", 4, 7, 10)},
	{num: 9, name: "retry_after", typ: typeUint32, note: "milliseconds"},
}, check: func(w *walker, m *found) {
	w.must((m.uint(8) == 4) == m.has(9), m.place(9), "R-8.8-5", "retry_after stands with QUOTA, and with no other code")
}}

var frameBody = message{name: "Frame", section: "8.2", canonical: true, fields: []field{
	{num: 1, name: "submit", typ: typeMessage, in: &submit},
	{num: 2, name: "result", typ: typeMessage, in: &result},
	{num: 3, name: "deliver", typ: typeMessage, in: &deliver},
	{num: 4, name: "ack", typ: typeMessage, in: &ack},
	{num: 5, name: "fetch", typ: typeMessage, in: &fetch},
	{num: 6, name: "gap", typ: typeMessage, in: &gap},
	{num: 7, name: "error", typ: typeMessage, in: &serverError},
}, check: func(w *walker, m *found) {
	w.must(len(m.values) > 0, m.end, "R-8.2-7", "a frame without a body")
	first := true
	for num := 1; num <= 7; num++ {
		if v := m.get(num); v != nil {
			w.must(first, v.tag, "R-8.2-7", "a second body")
			first = false
		}
	}
}}

// frame reads one frame.
func (w *walker) frame(at, end int) {
	switch {
	case end-at > envelope.MaxFrame:
		w.problem(at, "R-8.3-1", "%d bytes, where a frame has at most 1 MiB", end-at)
		return
	case at == end:
		w.problem(at, "R-8.2-1", "nothing: a frame begins with 01")
		return
	case w.b[at] != 1:
		w.problem(at, "R-8.2-1", "a frame begins with 01, and this with %02x", w.b[at])
		return
	}
	w.raw(at, at+1, "version", "01", "")
	w.message(&frameBody, at+1, end)
}

// stream reads frames behind their lengths (§8.9).
func (w *walker) stream() {
	w.must(len(w.b) > 0, 0, "R-8.9-2", "nothing: a stream without frames")
	for at, n := 0, 0; at < len(w.b); n++ {
		w.path = []string{fmt.Sprintf("frame[%d]", n)}
		if len(w.b)-at < 4 {
			w.problem(len(w.b), "R-8.9-3", "the stream ends inside of a length")
			break
		}
		length := binary.BigEndian.Uint32(w.b[at:])
		row := w.raw(at, at+4, fmt.Sprintf("frame[%d]", n), fmt.Sprintf("%d bytes", length), "the length, big endian")
		if length == 0 || length > envelope.MaxFrame {
			w.problem(at, "R-8.9-3", "a length of %d, where a frame has 1 byte to 1 MiB", length)
			break
		}
		size := int(length)
		if at += 4; size > len(w.b)-at {
			w.problem(len(w.b), "R-8.9-3", "the stream ends inside of a frame: %d of %d bytes", len(w.b)-at, size)
			break
		}
		w.under(row, func() { w.frame(at, at+size) })
		at += size
	}
	w.path = nil
}
