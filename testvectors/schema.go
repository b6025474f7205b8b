package testvectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// A checker checks values against JSON Schemas (draft 2020-12), limited to the
// keywords that the files in schemas/ use. At any other keyword it panics: a
// rule that is not understood must not look like one that holds. The schemas
// are ours alone, and a test goes through them.
type checker struct {
	docs     map[string]any // by file name
	patterns sync.Map       // *regexp.Regexp by what it was made from
}

// newChecker reads all schemas of a directory.
func newChecker(fsys fs.FS) (*checker, error) {
	c := &checker{docs: map[string]any{}}
	names, err := fs.Glob(fsys, "*.json")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		if c.docs[name], err = decodeJSON(b); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return c, nil
}

// decodeJSON reads one JSON value of objects, lists, strings, booleans, nulls and
// integers, which come as *big.Int. It refuses a name that stands twice in an
// object, of which some readers take the first and some the last.
func decodeJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := decodeValue(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	return v, nil
}

func decodeValue(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			name := key.(string) // the decoder allows nothing else
			if _, twice := object[name]; twice {
				return nil, fmt.Errorf("%q stands twice in an object", name)
			}
			if object[name], err = decodeValue(d); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	if n, ok := token.(json.Number); ok {
		v, ok := new(big.Int).SetString(string(n), 10)
		if !ok || len(n) > 20 {
			return nil, fmt.Errorf("%s is no integer of 64 bits", n)
		}
		return v, nil
	}
	return token, nil
}

// A schemaError says what is wrong with a value, and where in it, in the form
// testGroups[0].tests[3].message.
type schemaError struct{ at, what string }

func (e *schemaError) Error() string {
	if e.at == "" {
		return "the file " + e.what
	}
	return e.at + " " + e.what
}

// check checks a value against the schema file name.
func (c *checker) check(name string, value any) error {
	root, ok := c.docs[name]
	if !ok {
		return fmt.Errorf("there is no schema %q", name)
	}
	return c.apply(name, root, "", value)
}

// ref returns what a reference in the schema file name points to, and its file.
func (c *checker) ref(name, ref string) (string, any) {
	file, pointer, _ := strings.Cut(ref, "#")
	if file != "" {
		name = file
	}
	v := c.docs[name]
	for _, key := range strings.Split(pointer, "/")[1:] {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	if v == nil {
		panic("testvectors: the schemas have no " + name + " " + ref)
	}
	return name, v
}

// apply checks a value, which stands at the place at, against the rule of the file name.
func (c *checker) apply(name string, rule any, at string, value any) error {
	fail := func(format string, args ...any) error {
		return &schemaError{strings.TrimPrefix(at, "."), fmt.Sprintf(format, args...)}
	}
	if allowed, ok := rule.(bool); ok {
		if !allowed {
			return fail("must not be there")
		}
		return nil
	}
	keywords, ok := rule.(map[string]any)
	if !ok {
		panic("testvectors: " + name + ": a rule that is no object")
	}
	each := func(rules any) (passed int, err error) {
		for _, r := range rules.([]any) {
			if e := c.apply(name, r, at, value); e != nil {
				err = e
			} else {
				passed++
			}
		}
		return passed, err
	}
	for keyword, arg := range keywords {
		switch keyword {
		case "$schema", "$id", "$defs", "$comment", "title", "description", "examples":
		case "$ref":
			file, target := c.ref(name, arg.(string))
			if err := c.apply(file, target, at, value); err != nil {
				return err
			}
		case "type":
			if !isType(arg.(string), value) {
				return fail("is not of type %s", arg)
			}
		case "const":
			if !equal(arg, value) {
				return fail("is not %v", arg)
			}
		case "enum":
			if !slices.ContainsFunc(arg.([]any), func(v any) bool { return equal(v, value) }) {
				return fail("is none of %v", arg)
			}
		case "pattern":
			if v, ok := value.(string); ok && !c.pattern(arg.(string)).MatchString(v) {
				return fail("does not match %s", arg)
			}
		case "minLength", "maxLength":
			if v, ok := value.(string); ok && !within(keyword, big.NewInt(int64(utf8.RuneCountInString(v))), arg) {
				return fail("has %d characters, %s %v", utf8.RuneCountInString(v), keyword, arg)
			}
		case "minimum", "maximum":
			if v, ok := value.(*big.Int); ok && !within(keyword, v, arg) {
				return fail("is %s, %s %v", v, keyword, arg)
			}
		case "minItems", "maxItems":
			if v, ok := value.([]any); ok && !within(keyword, big.NewInt(int64(len(v))), arg) {
				return fail("has %d elements, %s %v", len(v), keyword, arg)
			}
		case "uniqueItems":
			if v, ok := value.([]any); ok && arg == true {
				for i := range v {
					if slices.ContainsFunc(v[:i], func(w any) bool { return equal(w, v[i]) }) {
						return fail("has element %d twice", i)
					}
				}
			}
		case "items":
			if v, ok := value.([]any); ok {
				for i := range v {
					if err := c.apply(name, arg, fmt.Sprintf("%s[%d]", at, i), v[i]); err != nil {
						return err
					}
				}
			}
		case "required":
			if v, ok := value.(map[string]any); ok {
				for _, key := range arg.([]any) {
					if _, ok := v[key.(string)]; !ok {
						return fail("has no %q", key)
					}
				}
			}
		case "properties":
			if v, ok := value.(map[string]any); ok {
				for key, r := range arg.(map[string]any) {
					if field, ok := v[key]; ok {
						if err := c.apply(name, r, at+"."+key, field); err != nil {
							return err
						}
					}
				}
			}
		case "additionalProperties":
			v, _ := value.(map[string]any)
			known, _ := keywords["properties"].(map[string]any)
			for key, field := range v {
				if _, ok := known[key]; ok {
					continue
				}
				if arg == false {
					return fail("has a field %q, which is unknown", key)
				}
				if err := c.apply(name, arg, at+"."+key, field); err != nil {
					return err
				}
			}
		case "allOf":
			if _, err := each(arg); err != nil {
				return err
			}
		case "anyOf", "oneOf":
			passed, err := each(arg)
			if passed == 0 {
				return fail("is none of the forms that it may have; of the last: %v", err)
			}
			if passed > 1 && keyword == "oneOf" {
				return fail("has %d forms at once", passed)
			}
		case "not":
			if c.apply(name, arg, at, value) == nil {
				return fail("has a form that is ruled out")
			}
		case "if":
			branch := "then"
			if c.apply(name, arg, at, value) != nil {
				branch = "else"
			}
			if r, ok := keywords[branch]; ok {
				if err := c.apply(name, r, at, value); err != nil {
					return err
				}
			}
		case "then", "else": // see if
		default:
			panic("testvectors: " + name + ": the checker does not know the keyword " + keyword)
		}
	}
	return nil
}

func isType(typ string, value any) bool {
	switch value.(type) {
	case map[string]any:
		return typ == "object"
	case []any:
		return typ == "array"
	case string:
		return typ == "string"
	case bool:
		return typ == "boolean"
	case *big.Int:
		return typ == "integer"
	default:
		return typ == "null"
	}
}

// within holds a number to a limit, from below or above by the name of the keyword.
func within(keyword string, n *big.Int, limit any) bool {
	c := n.Cmp(limit.(*big.Int))
	return strings.HasPrefix(keyword, "min") && c >= 0 || strings.HasPrefix(keyword, "max") && c <= 0
}

// equal compares values that decodeJSON read.
func equal(a, b any) bool { return fmt.Sprintf("%T%v", a, a) == fmt.Sprintf("%T%v", b, b) }

func (c *checker) pattern(s string) *regexp.Regexp {
	re, ok := c.patterns.Load(s)
	if !ok {
		re, _ = c.patterns.LoadOrStore(s, regexp.MustCompile(s))
	}
	return re.(*regexp.Regexp)
}
