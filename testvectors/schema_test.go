package testvectors

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// Every schema is read whole, with its references, before a value is held to
// it: a rule that the checker does not know would panic only when it is met.
func TestSchemas(t *testing.T) {
	c := embedded()
	require.NotEmpty(t, c.docs)
	refs := 0
	var walk func(file string, rule any)
	walk = func(file string, rule any) {
		keywords, ok := rule.(map[string]any)
		if !ok {
			require.IsType(t, true, rule, file)
			return
		}
		for keyword, arg := range keywords {
			switch keyword {
			case "properties", "$defs":
				for _, r := range arg.(map[string]any) {
					walk(file, r)
				}
			case "items", "additionalProperties", "not", "if", "then", "else":
				walk(file, arg)
			case "allOf", "anyOf", "oneOf":
				for _, r := range arg.([]any) {
					walk(file, r)
				}
			case "$ref":
				refs++
				require.NotPanics(t, func() { c.ref(file, arg.(string)) })
			case "pattern":
				require.NotPanics(t, func() { c.pattern(arg.(string)) })
			default: // panics if it is unknown
				_ = c.apply(file, map[string]any{keyword: arg}, "", "a string")
			}
		}
		if keywords["type"] == "object" {
			require.Contains(t, keywords, "additionalProperties", "%s: an object that anything may be added to", file)
		}
	}
	for file, doc := range c.docs {
		require.Equal(t, file, doc.(map[string]any)["$id"])
		walk(file, doc)
	}
	require.NotZero(t, refs)
}

// The rules of the checker, each with values that keep it and values that break it.
func TestChecker(t *testing.T) {
	for _, test := range []struct {
		rule string
		good []string
		bad  []string
	}{
		{`{"type": "object"}`, []string{`{}`}, []string{`[]`, `"x"`, `1`, `true`, `null`}},
		{`{"type": "array"}`, []string{`[]`}, []string{`{}`}},
		{`{"type": "string"}`, []string{`""`}, []string{`1`}},
		{`{"type": "boolean"}`, []string{`false`}, []string{`0`, `"false"`}},
		{`{"type": "integer"}`, []string{`0`, `18446744073709551615`}, []string{`"0"`}},
		{`{"const": "a"}`, []string{`"a"`}, []string{`"b"`, `null`}},
		{`{"const": 1}`, []string{`1`}, []string{`2`, `"1"`}},
		{`{"enum": ["a", 2]}`, []string{`"a"`, `2`}, []string{`"2"`, `"b"`}},
		{`{"pattern": "^a+$"}`, []string{`"aa"`, `1`}, []string{`"ab"`, `""`}},
		{`{"minLength": 1, "maxLength": 2}`, []string{`"ä"`, `"ää"`}, []string{`""`, `"äää"`}},
		{`{"minimum": 1, "maximum": 4294967295}`, []string{`1`, `4294967295`}, []string{`0`, `-1`, `4294967296`}},
		{`{"minItems": 1, "maxItems": 2}`, []string{`[1]`, `[1, 2]`}, []string{`[]`, `[1, 2, 3]`}},
		{`{"uniqueItems": true}`, []string{`[1, 2, "1"]`}, []string{`[1, 2, 1]`}},
		{`{"items": {"type": "string"}}`, []string{`["a"]`, `{}`}, []string{`["a", 1]`}},
		{`{"required": ["a"]}`, []string{`{"a": null, "b": 1}`}, []string{`{"b": 1}`}},
		{`{"properties": {"a": {"type": "string"}}}`, []string{`{"a": ""}`, `{"b": 1}`}, []string{`{"a": 1}`}},
		{`{"properties": {"a": false}}`, []string{`{}`}, []string{`{"a": 1}`}},
		{`{"properties": {"a": true}, "additionalProperties": false}`, []string{`{"a": 1}`}, []string{`{"A": 1}`, `{"a": 1, "b": 1}`}},
		{`{"additionalProperties": {"type": "string"}}`, []string{`{"a": ""}`}, []string{`{"a": 1}`}},
		{`{"allOf": [{"type": "string"}, {"const": "a"}]}`, []string{`"a"`}, []string{`"b"`}},
		{`{"anyOf": [{"type": "string"}, {"const": 1}]}`, []string{`"a"`, `1`}, []string{`2`}},
		{`{"oneOf": [{"type": "string"}, {"const": "a"}, {"const": 1}]}`, []string{`"b"`, `1`}, []string{`"a"`, `2`}},
		{`{"not": {"const": "a"}}`, []string{`"b"`}, []string{`"a"`}},
		{`{"if": {"const": 1}, "then": false}`, []string{`2`}, []string{`1`}},
		{`{"if": {"const": 1}, "else": {"type": "string"}}`, []string{`1`, `""`}, []string{`2`}},
		{`{"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}}`, []string{`1`}, []string{`2`}},
		{`{"$ref": "other.json#/$defs/b"}`, []string{`7`}, []string{`1`}},
	} {
		c, err := newChecker(fstest.MapFS{
			"s.json":     {Data: []byte(test.rule)},
			"other.json": {Data: []byte(`{"$defs": {"b": {"$ref": "#/$defs/c"}, "c": {"const": 7}}}`)},
		})
		require.NoError(t, err, test.rule)
		for _, s := range append(slices.Clone(test.good), test.bad...) {
			v, err := decodeJSON([]byte(s))
			require.NoError(t, err)
			require.Equal(t, slices.Contains(test.good, s), c.check("s.json", v) == nil, "%s of %s", test.rule, s)
		}
	}
	for _, rule := range []string{`{"format": "x"}`, `{"$ref": "#/$defs/none"}`, `{"$ref": "none.json#/a"}`, `"rule"`} {
		c, err := newChecker(fstest.MapFS{"s.json": {Data: []byte(rule)}})
		require.NoError(t, err)
		require.Panics(t, func() { _ = c.check("s.json", "value") }, rule)
	}
	_, err := newChecker(fstest.MapFS{"s.json": {Data: []byte(`{"a": 1, "a": 2}`)}})
	require.ErrorContains(t, err, "s.json")
}

func TestDecodeJSON(t *testing.T) {
	for _, bad := range []string{
		``, `{`, `{"a"}`, `{"a": 1`, `[1`, `[1,]`, `{} {}`, `{} x`, `{"a": 1, "a": 1}`, `[{"a": {"b": 1, "b": 2}}]`,
		`1.0`, `1e3`, `1e1000000000`, `100000000000000000000000`,
	} {
		_, err := decodeJSON([]byte(bad))
		require.Error(t, err, bad)
	}
}

// Every file of the repository, and every file there is.
func TestFilesKeepToTheirSchemas(t *testing.T) {
	names, err := fs.Glob(Vectors(), "*.json")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	used := map[string]bool{"common_v1.json": true}
	for _, name := range names {
		f, err := Read(Vectors(), name)
		require.NoError(t, err)
		used[f.Schema] = true
		for flag := range f.Notes {
			require.True(t, slices.ContainsFunc(f.Groups, func(g Group) bool {
				return slices.ContainsFunc(g.Tests, func(t Test) bool { return slices.Contains(t.Flags, flag) })
			}), "%s: nothing has the flag %s", name, flag)
		}
	}
	for name := range embedded().docs {
		require.True(t, used[name], "no file is of schema %s", name)
	}
}

const small = `{"schema": "public_key_v1.json", "algorithm": "Curve25519 public keys", "spec": "SPEC.md §3.2", "numberOfTests": 2,
	"header": [], "notes": {"Note": {"kind": "k", "description": "d"}},
	"testGroups": [{"type": "PublicKey", "source": {"name": "n", "version": "", "independent": false, "licence": "l"}, "tests": [
	{"tcId": 3, "comment": "", "flags": ["Note"], "result": "invalid", "error": "x3dh.ErrInvalidKey", "encoded": "05"},
	{"tcId": 4, "comment": "", "flags": [], "result": "valid", "encoded": "0509"}]}]}`

func read(s string) (*File, error) {
	return Read(fstest.MapFS{"small.json": {Data: []byte(s)}}, "small.json")
}

func TestRead(t *testing.T) {
	f, err := read(small)
	require.NoError(t, err)
	require.Equal(t, 2, f.Declared)
	require.Equal(t, "d", f.Notes["Note"].Description)
	first := f.Groups[0].Tests[0]
	require.Equal(t, Case{3, "", []string{"Note"}, Invalid, "x3dh.ErrInvalidKey"}, first.Case)
	var v PublicKey
	require.NoError(t, first.Decode(&v))
	require.Equal(t, PublicKey{first.Case, Hex{5}}, v)
	require.ErrorContains(t, first.Decode(new(HMAC)), "tcId 3")

	for _, edit := range []struct{ old, new, want string }{
		{`"public_key_v1.json"`, `"none_v1.json"`, `no schema "none_v1.json"`},
		{`"schema": "public_key_v1.json", `, ``, `no schema ""`},
		{`"header": [],`, `"header": [], "more": 1,`, `"more"`},
		{`"encoded": "05"`, `"encoded": "05", "more": 1`, "tcId 3"},
		{`"encoded": "0509"`, `"encoded": "0509", "Encoded": "05"`, "tcId 4"},
		{`"encoded": "0509"`, `"encoded": "050A"`, "tcId 4"},
		{`"encoded": "0509"`, `"encoded": "050"`, "tcId 4"},
		{`, "encoded": "05"`, ``, `tcId 3: testGroups[0].tests[0] has no "encoded"`},
		{`"error": "x3dh.ErrInvalidKey", `, ``, "tcId 3"},
		{`"result": "valid"`, `"result": "valid", "error": "x3dh.ErrInvalidKey"`, "tcId 4"},
		{`"result": "valid"`, `"result": "good"`, "tcId 4"},
		{`"tcId": 4`, `"tcId": 3`, "tcId 3 after 3"},
		{`"flags": ["Note"]`, `"flags": ["Other"]`, `tcId 3: flag "Other"`},
		{`"numberOfTests": 2`, `"numberOfTests": 0`, "numberOfTests"},
		{`"numberOfTests": 2`, `"numberOfTests": 2, "numberOfTests": 2`, "twice"},
		{`]}]}`, `]}]} {}`, "more than one value"},
	} {
		require.Equal(t, 1, strings.Count(small, edit.old), edit.old)
		_, err := read(strings.Replace(small, edit.old, edit.new, 1))
		require.ErrorContains(t, err, edit.want)
		require.ErrorContains(t, err, "small.json", "the error names the file")
	}
	_, err = Read(Vectors(), "none.json")
	require.ErrorContains(t, err, "none.json")
}

func TestTests(t *testing.T) {
	tests, err := Tests[PublicKey]("x25519_public_keys.json")
	require.NoError(t, err)
	require.Len(t, tests, 27)
	require.Equal(t, byte(5), tests[0].Encoded[0])
	_, err = Tests[HMAC]("x25519_public_keys.json")
	require.ErrorContains(t, err, "x25519_public_keys.json: tcId 1")
}
