package inspect

// A message is the schema of one protobuf message, in the words of SPEC.md.
type message struct {
	name, section string
	fields        []field
	canonical     bool // one encoding only: internal/wire.DecodeCanonical
	closed        bool // unknown fields are refused
	ascending     bool // so are fields in another order

	// check looks at the values, all of which are well formed, for what no
	// single one of them shows.
	check func(w *walker, m *found)
}

// A typ is the type of a field.
type typ uint8

const (
	typeUint32 typ = iota
	typeUint64
	typeInt32
	typeBool
	typeFixed64
	typeBytes
	typeFixed // bytes of one size
	typeKey   // a public key
	typeMessage
)

// A field is the schema of one field.
type field struct {
	num      int
	name     string
	typ      typ
	required bool
	secret   bool // never shown
	note     string

	size        int                                 // typeFixed
	in          *message                            // typeMessage
	emptyIsNone bool                                // typeMessage: no bytes are no message
	inside      func(w *walker, at, end int)        // typeBytes, if there is something inside that is no protobuf
	repeated    int                                 // how many at most, 0 for a singular field
	many        string                              // what R-number, if there are more
	show        func(v *value) string               // how the value reads, if not as its type
	check       func(w *walker, m *found, v *value) // of the value alone
}

func (s *message) field(num int) *field {
	for i := range s.fields {
		if s.fields[i].num == num {
			return &s.fields[i]
		}
	}
	return nil
}

// rule is the requirement for the form of a message: chapter 8 has its own.
func (s *message) rule(canonical string) string {
	if s.canonical {
		return canonical
	}
	return ""
}

// long reports whether a list is shown in part.
func (f *field) long() bool { return f.repeated > 64 }
