package inspect

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"math"
	"slices"

	"github.com/sotto-im/sotto/internal/curve"
)

// Limits of a report: an input can make it long, not endless.
const (
	maxFields   = 2000 // fields that are shown
	maxProblems = 20   // problems that are told; all are counted
	maxElements = 8    // elements that are shown of a list that can be long
	maxUnknown  = 8    // unknown fields that are shown of one message
	maxBytes    = 32   // bytes that are shown of a value that can be long
)

// A found is what was found of a message.
type found struct {
	at, end int
	sound   bool // nothing is wrong in it, as far as it was read
	values  map[int][]*value
}

// A value is one field as it stands in the input.
type value struct {
	tag, at, end int // the tag; the bytes of the value, without its length
	n            uint64
	b            []byte
	in           *found
	row          *Field // what is shown of it
}

// get is the only value of a singular field, or nil.
func (m *found) get(num int) *value {
	if v := m.values[num]; len(v) > 0 {
		return v[0]
	}
	return nil
}

// uint is the value of a singular number, 0 if it is absent.
func (m *found) uint(num int) uint64 {
	if v := m.get(num); v != nil {
		return v.n
	}
	return 0
}

func (m *found) has(num int) bool { return m.get(num) != nil }

// A walker reads an input from its first byte to its last, and notes what each
// is. It is a second decoder, written apart from those of the library, for they
// say that something is wrong and not where. Which of them is right is not its
// decision: the library's is the answer, and a difference is a bug of one.
type walker struct {
	b        []byte
	rows     *[]*Field // where the next field goes
	path     []string
	shown    int
	known    int // fields of the schema that were found
	unknown  int
	problems []Problem
	wrong    int    // problems, those among them that are not told
	hidden   bool   // elements of a list that is too long to show
	root     *found // the outermost message
}

// problem notes that the byte at an offset is wrong: what was expected, and
// which requirement of SPEC.md says so.
func (w *walker) problem(at int, rule, format string, args ...any) {
	w.wrong++
	p := Problem{Offset: at, Rule: rule, Text: fmt.Sprintf(format, args...)}
	if len(w.path) > 0 {
		p.Field = w.where()
	}
	i, _ := slices.BinarySearchFunc(w.problems, p, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.Offset, b.Offset), -1) })
	if i < maxProblems {
		w.problems = slices.Insert(w.problems, i, p)
		w.problems = w.problems[:min(len(w.problems), maxProblems)]
	}
}

func (w *walker) where() (s string) {
	for i, p := range w.path {
		if i > 0 && p[0] != '[' {
			s += "."
		}
		s += p
	}
	return s
}

// row notes a field. Beyond the limits it is not shown.
func (w *walker) row(f *Field) *Field {
	if f.Tag == 0 && f.At != 0 {
		f.Tag = f.At
	}
	if w.hidden {
		return f
	}
	w.shown++
	if w.shown <= maxFields {
		*w.rows = append(*w.rows, f)
	}
	return f
}

// raw notes bytes that no tag stands before.
func (w *walker) raw(at, end int, name, value, note string) *Field {
	return w.row(&Field{Tag: at, At: at, Length: end - at, Name: name, Value: value, Note: note})
}

// under does f with the rows of f's fields going into row.
func (w *walker) under(row *Field, f func()) {
	rows := w.rows
	w.rows = &row.Fields
	f()
	w.rows = rows
}

// varint reads a varint at an offset: its value, and the offset behind it.
func (w *walker) varint(at, end int) (v uint64, next int, ok bool) {
	for i := 0; ; i++ {
		switch {
		case at+i == end:
			w.problem(at+i, "R-2.3-1", "the bytes end inside of a number")
			return 0, 0, false
		case i == 9 && w.b[at+i] > 1:
			w.problem(at+i, "R-2.3-1", "a number of over 64 bits")
			return 0, 0, false
		}
		c := w.b[at+i]
		v |= uint64(c&0x7f) << (7 * i)
		if c >= 0x80 {
			continue
		}
		if c == 0 && i > 0 {
			w.problem(at+i, "R-2.3-1", "the number %d is not in its shortest form", v)
			return 0, 0, false
		}
		return v, at + i + 1, true
	}
}

// Wire types.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

var wireNames = [8]string{"varint", "fixed64", "bytes", "group", "end of group", "fixed32", "unassigned type 6", "unassigned type 7"}

func (t typ) wire() int {
	switch {
	case t == typeFixed64:
		return wireFixed64
	case t >= typeBytes:
		return wireBytes
	}
	return wireVarint
}

// message reads a protobuf message. What cannot be read on ends it; all else is
// noted, and reading goes on.
func (w *walker) message(s *message, at, end int) *found {
	m := &found{at: at, end: end, values: map[int][]*value{}}
	wrong := w.wrong
	whole := w.fields(s, m)
	for i := range s.fields {
		if f := &s.fields[i]; whole && f.required && !m.has(f.num) {
			w.problem(end, "", "field %d, %s, is missing", f.num, f.name)
		}
	}
	if s.check != nil && w.wrong == wrong {
		s.check(w, m)
	}
	m.sound = w.wrong == wrong
	return m
}

func (w *walker) fields(s *message, m *found) (whole bool) {
	prev, unknown := 0, 0
	seen := map[int]bool{}
	for at := m.at; at < m.end; {
		tag, next, ok := w.varint(at, m.end)
		if !ok {
			return false
		}
		num, typ := int(tag>>3), int(tag&7)
		if tag > math.MaxUint32 || num == 0 {
			w.problem(at, "R-2.3-1", "there is no field number %d", tag>>3)
			return false
		}
		v := &value{tag: at, at: next}
		f := s.field(num)
		name := fmt.Sprintf("field %d", num)
		if f != nil {
			name = f.name
		}
		w.path = append(w.path, name)
		if (s.canonical || s.ascending) && num < prev {
			w.problem(at, s.rule("R-8.2-2"), "field %d stands behind field %d", num, prev)
		}
		prev = num
		if !w.value(v, typ, m.end) {
			w.path = w.path[:len(w.path)-1]
			return false
		}
		switch {
		case f == nil:
			w.unknown++
			unknown++
			if s.canonical || s.closed {
				w.problem(at, s.rule("R-8.2-4"), "%s has no field %d", s.name, num)
			}
			if unknown <= maxUnknown {
				v.row = w.row(&Field{Tag: v.tag, At: v.at, Length: v.end - v.at, Name: name,
					Value: wireNames[typ], Note: "unknown: ignored, and not shown"})
			}
		case typ != f.typ.wire():
			w.problem(at, "R-2.3-1", "%s, where %s is %s", wireNames[typ], f.name, wireNames[f.typ.wire()])
		default:
			if f.repeated == 0 && seen[num] {
				w.problem(at, "R-2.3-1", "stands twice")
			}
			seen[num] = true
			w.known++
			w.field(s, f, m, v)
		}
		w.path = w.path[:len(w.path)-1]
		at = v.end
	}
	if unknown > maxUnknown {
		w.row(&Field{Tag: m.end, At: m.end, Name: fmt.Sprintf("… %d more unknown fields", unknown-maxUnknown)})
	}
	for i := range s.fields {
		f := &s.fields[i]
		if n := len(m.values[f.num]); f.long() && n > maxElements {
			w.row(&Field{Tag: m.end, At: m.end, Name: fmt.Sprintf("… %d more %s", n-maxElements, f.name)})
		}
	}
	return true
}

// value finds the end of a value, by its wire type.
func (w *walker) value(v *value, typ, end int) (ok bool) {
	switch typ {
	case wireVarint:
		v.n, v.end, ok = w.varint(v.at, end)
		return ok
	case wireFixed32, wireFixed64:
		size := 4
		if typ == wireFixed64 {
			size = 8
		}
		if end-v.at < size {
			w.problem(end, "R-2.3-1", "the bytes end inside of a %s", wireNames[typ])
			return false
		}
		for i := range size {
			v.n |= uint64(w.b[v.at+i]) << (8 * i)
		}
		v.end = v.at + size
		return true
	case wireBytes:
		n, next, ok := w.varint(v.at, end)
		if !ok {
			return false
		}
		if n > uint64(end-next) {
			w.problem(v.at, "R-2.3-1", "claims %d bytes, and %d follow: truncated, or the length was altered", n, end-next)
			return false
		}
		v.at, v.end = next, next+int(n)
		v.b = w.b[v.at:v.end:v.end]
		return true
	}
	w.problem(v.tag, "R-2.3-1", "a %s, which is refused everywhere", wireNames[typ])
	return false
}

// field checks and shows the value of a field that s has.
func (w *walker) field(s *message, f *field, m *found, v *value) {
	n := len(m.values[f.num])
	if f.repeated > 0 {
		w.path = append(w.path, fmt.Sprintf("[%d]", n))
		defer func() { w.path = w.path[:len(w.path)-1] }()
		if n == f.repeated {
			w.problem(v.tag, f.many, "over %d of them", f.repeated)
		}
		if n >= f.repeated {
			return
		}
	}
	m.values[f.num] = append(m.values[f.num], v)
	v.row = &Field{Tag: v.tag, At: v.at, Length: v.end - v.at, Name: f.name, Note: f.note}
	if f.repeated > 0 {
		v.row.Name += fmt.Sprintf("[%d]", n)
	}
	if f.long() && n >= maxElements && !w.hidden {
		w.hidden = true
		defer func() { w.hidden = false }()
	}
	w.row(v.row)
	wrong := w.wrong
	w.check(s, f, v)
	if w.wrong != wrong {
		return // never the bytes of what is not understood
	}
	if f.check != nil {
		f.check(w, m, v)
	}
	switch {
	case f.secret:
		v.row.Value = fmt.Sprintf("%d bytes, secret, not shown", len(v.b))
	case f.show != nil:
		v.row.Value = f.show(v)
	default:
		v.row.Value = f.text(v)
	}
}

// check looks at one value, and at what is inside.
func (w *walker) check(s *message, f *field, v *value) {
	if s.canonical && f.typ != typeMessage && f.repeated == 0 && v.n == 0 && len(v.b) == 0 {
		w.problem(v.at-min(1, v.at-v.tag-1), "R-8.2-3", "a default value, which has to be absent")
	}
	size := f.size
	switch f.typ {
	case typeUint32:
		if v.n > math.MaxUint32 {
			w.problem(v.at, "R-2.3-1", "%d is over 32 bits", v.n)
		}
	case typeInt32:
		if i := int64(v.n); i < math.MinInt32 || i > math.MaxInt32 {
			w.problem(v.at, "R-2.3-1", "%d is over 32 bits", i)
		}
	case typeBool:
		if v.n > 1 {
			w.problem(v.at, "R-8.2-4", "%d, where 0 and 1 are the booleans", v.n)
		}
	case typeKey:
		size = curve.PublicKeySize
	case typeMessage:
		if f.emptyIsNone && len(v.b) == 0 {
			v.row.Value = "none"
			return
		}
		v.row.Value = f.in.name + " (§" + f.in.section + ")"
		w.under(v.row, func() { v.in = w.message(f.in, v.at, v.end) })
	case typeBytes:
		if f.inside != nil {
			w.under(v.row, func() { f.inside(w, v.at, v.end) })
		}
	}
	if size > 0 && len(v.b) != size {
		w.problem(max(v.tag+1, v.at-1), "R-2.3-1", "%d bytes, where %d are expected", len(v.b), size)
		return
	}
	if f.typ == typeKey {
		w.key(v)
	}
}

// key says what is wrong with a public key of 33 bytes.
func (w *walker) key(v *value) {
	if _, err := curve.ParsePublicKey(v.b); err == nil {
		return
	}
	switch clear := curve.PublicKey(v.b[1:]); {
	case v.b[0] != 0x05:
		w.problem(v.at, "R-3.2-1", "a public key begins with 05, and this with %02x", v.b[0])
	case v.b[32]&0x80 != 0:
		w.problem(v.at+32, "R-3.2-1", "bit 255 of the public key is set")
	case clear[31] == 0x7f && clear[30] == 0xff && clear[0] >= 0xed:
		w.problem(v.at+1, "R-3.2-1", "the u coordinate of the public key is not below p")
	default:
		w.problem(v.at+1, "R-3.2-2", "a public key of low order: whoever agrees with it gets zeros")
	}
}

// text is how a value reads.
func (f *field) text(v *value) string {
	switch f.typ {
	case typeInt32:
		return fmt.Sprint(int64(v.n))
	case typeMessage:
		return v.row.Value
	case typeKey, typeFixed:
		return hex.EncodeToString(v.b)
	case typeBytes:
		if f.inside != nil {
			return fmt.Sprintf("%d bytes", len(v.b))
		}
		return someBytes(v.b)
	}
	return fmt.Sprint(v.n)
}

// someBytes is the beginning of b in hexadecimal, with its length.
func someBytes(b []byte) string {
	if len(b) <= maxBytes {
		return fmt.Sprintf("%x (%d bytes)", b, len(b))
	}
	return fmt.Sprintf("%x… (%d bytes)", b[:maxBytes], len(b))
}
