// Package testvectors holds the known answers that Sotto is checked against,
// for the tests of this repository and for other programs.
//
// The files in vectors/ have one shape, that of Wycheproof's: [Read] reads any
// of them, [Tests] gives its tests their type. Each names the JSON Schema in
// schemas/ that it keeps to, and Read holds it to that. "sotto verify" runs
// them all. The files in recorded/ are as they were recorded: [LoadConversation]
// and its neighbours read them. README.md says where each comes from and which
// are independent evidence.
package testvectors

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"sync"
)

//go:generate go run ./translate

//go:embed vectors/*.json vectors/*SUMS schemas/*.json recorded/*.json
var files embed.FS

// Vectors is the directory of the vector files, as it is compiled in, with
// their sums in SHA256SUMS and those of their tests in CASESUMS.
func Vectors() fs.FS { return sub("vectors") }

func sub(dir string) fs.FS {
	fsys, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // cannot happen: the directory is embedded
	}
	return fsys
}

// embedded is the checker of the schemas that are compiled in.
var embedded = sync.OnceValue(func() *checker {
	c, err := newChecker(sub("schemas"))
	if err != nil {
		panic("testvectors: " + err.Error()) // a test reads them all
	}
	return c
})

// A Result says what an implementation has to answer.
type Result string

// Results of a test. What is acceptable may be taken or refused.
const (
	Valid      Result = "valid"
	Invalid    Result = "invalid"
	Acceptable Result = "acceptable"
)

// A Case is what every test has. The types of tests embed it.
type Case struct {
	ID      int      `json:"tcId"`
	Comment string   `json:"comment"`
	Flags   []string `json:"flags"` // keys of File.Notes
	Result  Result   `json:"result"`
	Error   string   `json:"error,omitempty"` // of what is invalid: its name in Go, such as "ratchet.ErrDuplicate"
}

// A File is a vector file.
type File struct {
	Schema    string          `json:"schema"`    // the file in schemas/
	Algorithm string          `json:"algorithm"` // what is checked, for people
	Spec      string          `json:"spec"`      // sections of SPEC.md
	Declared  int             `json:"numberOfTests"`
	Header    []string        `json:"header"`
	Notes     map[string]Note `json:"notes"` // by flag
	Groups    []Group         `json:"testGroups"`
}

// A Note is what a flag means.
type Note struct {
	Kind        string   `json:"kind"`
	Description string   `json:"description"`
	Effect      string   `json:"effect,omitempty"`
	Links       []string `json:"links,omitempty"`
}

// A Group is tests of one type from one source.
type Group struct {
	Type   string `json:"type"`
	Source Source `json:"source"`
	Tests  []Test `json:"tests"`
}

// A Source says who gave the answers. Only those of independent code are
// evidence.
type Source struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Independent bool   `json:"independent"`
	Licence     string `json:"licence"`
}

// A Test is a test of any type: what all have, and the rest unread.
type Test struct {
	Case
	raw json.RawMessage
}

// UnmarshalJSON keeps the fields that belong to the type for Decode.
func (t *Test) UnmarshalJSON(b []byte) error {
	t.raw = bytes.Clone(b)
	return json.Unmarshal(b, &t.Case)
}

// MarshalJSON returns what UnmarshalJSON read.
func (t *Test) MarshalJSON() ([]byte, error) { return t.raw, nil }

// Sum is the line of the test in CASESUMS: eight digits of the SHA-256 of its text
// in the file, the file, its tcId.
func (t *Test) Sum(file string) string {
	sum := sha256.Sum256(t.raw)
	return fmt.Sprintf("%x  %s: tcId %d", sum[:4], file, t.ID)
}

// Decode reads the whole test into v, a pointer to a struct that embeds [Case].
// A field that v does not have is an error: a check that overlooks half of a
// vector looks just like one that passes.
func (t *Test) Decode(v any) error {
	if err := decode(t.raw, v); err != nil {
		return fmt.Errorf("tcId %d: %w", t.ID, err)
	}
	return nil
}

// Read reads a vector file of a directory: of [Vectors], or of any other with
// files of the same shape. Its schema is always one of ours. It holds the file
// to the schema, tcIds to their order, and flags to the notes. Errors name the
// file, and the test if there is one.
func Read(fsys fs.FS, name string) (*File, error) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("testvectors: %w", err)
	}
	f, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("testvectors: %s: %w", name, err)
	}
	return f, nil
}

// Parse reads a vector file as Read does. Errors name the test if there is one.
func Parse(b []byte) (*File, error) {
	value, err := decodeJSON(b)
	if err != nil {
		return nil, err
	}
	object, _ := value.(map[string]any)
	name, _ := object["schema"].(string)
	if err := embedded().check(name, value); err != nil {
		return nil, inTest(value, err)
	}
	f := new(File)
	if err := decode(b, f); err != nil {
		return nil, err
	}
	last := 0
	for _, g := range f.Groups {
		for _, t := range g.Tests {
			if t.ID <= last {
				return nil, fmt.Errorf("tcId %d after %d: they count up", t.ID, last)
			}
			last = t.ID
			for _, flag := range t.Flags {
				if _, ok := f.Notes[flag]; !ok {
					return nil, fmt.Errorf("tcId %d: flag %q has no note", t.ID, flag)
				}
			}
		}
	}
	return f, nil
}

// inTest names the test in which a value of a file breaks its schema.
func inTest(value any, err error) error {
	e, ok := err.(*schemaError)
	if !ok {
		return err
	}
	var group, test int
	if n, _ := fmt.Sscanf(e.at, "testGroups[%d].tests[%d]", &group, &test); n < 2 {
		return err
	}
	v := value.(map[string]any)["testGroups"].([]any)[group].(map[string]any)["tests"].([]any)[test]
	object, _ := v.(map[string]any)
	return fmt.Errorf("tcId %v: %w", object["tcId"], err)
}

// Tests reads the file name of [Vectors] and returns its tests, all groups in
// one. T is the type in this package that belongs to its schema.
func Tests[T any](name string) ([]T, error) {
	f, err := Read(Vectors(), name)
	if err != nil {
		return nil, err
	}
	var tests []T
	for _, g := range f.Groups {
		for _, t := range g.Tests {
			var v T
			if err := t.Decode(&v); err != nil {
				return nil, fmt.Errorf("testvectors: %s: %w", name, err)
			}
			tests = append(tests, v)
		}
	}
	return tests, nil
}

func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// Hex is a byte string, in the files lower-case hex.
type Hex []byte

// UnmarshalJSON reads a JSON string of hex digits.
func (h *Hex) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := hex.DecodeString(s)
	if err != nil {
		return err
	}
	*h = v
	return nil
}

// MarshalJSON writes a JSON string of hex digits.
func (h Hex) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(h)) }
