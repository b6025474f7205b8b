package inspect

// A Report is what an input is, field by field.
type Report struct {
	Kind     string    `json:"kind"`               // as for Options.Kind; "" if it could be nothing
	Family   string    `json:"family,omitempty"`   // of group messages and records: signal, whatsapp
	Name     string    `json:"name"`               // as in SPEC.md
	Section  string    `json:"section"`            // of SPEC.md
	Size     int       `json:"size"`               // bytes of the input
	Valid    bool      `json:"valid"`              // the library takes it
	About    string    `json:"about,omitempty"`    // what is authenticated
	Why      string    `json:"why"`                // why it was taken for this kind
	Others   []Other   `json:"others,omitempty"`   // what else it could be
	Problems []Problem `json:"problems,omitempty"` // what is wrong, by offset
	More     int       `json:"more,omitempty"`     // problems that are not in Problems
	Error    string    `json:"error,omitempty"`    // the error of the library's decoder
	Fields   []*Field  `json:"fields"`             // in the order of the input
	Hidden   int       `json:"hidden,omitempty"`   // fields that are not in Fields
	Verdict  *Verdict  `json:"verdict,omitempty"`  // with records: whether it would decrypt

	walk  *walker
	entry *kind
	input []byte
}

// An Other is a kind that an input could be as well.
type Other struct {
	Kind   string `json:"kind"`
	Family string `json:"family,omitempty"`
	Valid  bool   `json:"valid"`
	Why    string `json:"why,omitempty"` // if it is not valid: what is wrong
}

// A Field is one field of an input, or bytes that are none of a protobuf.
type Field struct {
	Tag    int      `json:"tag"`    // offset of the tag that stands before the value, or of the value
	At     int      `json:"offset"` // offset of the value, behind its length
	Length int      `json:"length"` // of the value, in bytes
	Name   string   `json:"name"`
	Value  string   `json:"value"` // "" if it is malformed
	Note   string   `json:"note,omitempty"`
	Fields []*Field `json:"fields,omitempty"` // inside
}

// A Problem is a byte that no input of its kind has.
type Problem struct {
	Offset int    `json:"offset"` // of the byte; the size of the input if it ends too early
	Field  string `json:"field,omitempty"`
	Text   string `json:"text"`
	Rule   string `json:"rule,omitempty"` // the requirement of SPEC.md
}

// A Verdict says whether a message would decrypt, and why. Unknown: the records
// that were given are too few to say.
type Verdict struct {
	Decrypts bool     `json:"decrypts"`
	Unknown  bool     `json:"unknown,omitempty"`
	Reason   string   `json:"reason"`
	Details  []string `json:"details,omitempty"` // of each session or chain that was tried
}
