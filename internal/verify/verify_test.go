package verify

import (
	"crypto/sha256"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/testvectors"
)

// Every vector of the repository.
func TestVectors(t *testing.T) {
	r, err := Run(testvectors.Vectors())
	require.NoError(t, err)
	require.Empty(t, r.Failures())
	require.Equal(t, r.Cases, r.Passed)
	require.GreaterOrEqual(t, r.Independent, 150)
	sets := map[string]bool{}
	for _, f := range r.Files {
		require.Len(t, f.SHA256, 64)
		require.Contains(t, f.Spec, "SPEC.md §")
		for _, s := range f.Sets {
			require.NotZero(t, s.Cases)
			sets[s.Type] = true
		}
	}
	for typ := range runners {
		require.True(t, sets[typ], "no vectors of type %s", typ)
	}
}

// Vectors can name any error of the library.
func TestErrorNames(t *testing.T) {
	for _, pkg := range []string{"x3dh", "ratchet", "senderkey", "sesame", "envelope", "lamport"} {
		files, err := filepath.Glob("../../" + pkg + "/*.go")
		require.NoError(t, err)
		found := 0
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			require.NoError(t, err)
			for _, d := range file.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, s := range g.Specs {
					for _, n := range s.(*ast.ValueSpec).Names {
						if strings.HasPrefix(n.Name, "Err") {
							require.Contains(t, named, pkg+"."+n.Name)
							found++
						}
					}
				}
			}
		}
		require.NotZero(t, found, pkg)
	}
}

// file returns a vector file with texts replaced, each of which must stand in it.
func file(t *testing.T, name string, oldNew ...string) fstest.MapFS {
	t.Helper()
	b, err := fs.ReadFile(testvectors.Vectors(), name)
	require.NoError(t, err)
	s := string(b)
	for i := 0; i < len(oldNew); i += 2 {
		require.Contains(t, s, oldNew[i])
		s = strings.Replace(s, oldNew[i], oldNew[i+1], 1)
	}
	return fstest.MapFS{name: {Data: []byte(s)}}
}

func sha256Of(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// What is wrong with a directory or a file.
func TestRunRefuses(t *testing.T) {
	_, err := Run(fstest.MapFS{})
	require.Error(t, err)
	_, err = Run(fstest.MapFS{"README.md": {}})
	require.Error(t, err)
	_, err = Run(os.DirFS("/nowhere"))
	require.Error(t, err)
	_, err = Run(fstest.MapFS{"a.json": {}, Sums: {Data: []byte("no sum\n")}})
	require.ErrorContains(t, err, "no sum")

	const hmac = "rfc4231_hmac_sha256.json"
	for _, test := range []struct {
		fsys fstest.MapFS
		want string
	}{
		{fstest.MapFS{"a.json": {Data: []byte(`{}`)}}, `a.json: there is no schema ""`},
		{fstest.MapFS{"a.json": {Data: []byte(`]`)}}, "a.json: invalid"},
		{file(t, hmac, `"numberOfTests": 7`, `"numberOfTests": 8`), hmac + ": declares 8 cases, 7 were run"},
		{file(t, hmac, `"numberOfTests": 7`, `"numberOfTests": 6`), hmac + ": declares 6 cases, 7 were run"},
		{file(t, hmac, `"type": "HMAC-SHA256"`, `"type": "HMAC-SHA512"`), `is not HMAC-SHA256`},
		{file(t, hmac, `"tag": "b0344c61`, `"tag": "b0344c60`), hmac + ": tcId 1: tag: byte 3 of 32 is 61, want 60"},
		{file(t, hmac, `"tag": "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"`, `"tag": ""`), hmac + ": tcId 1: tag"},
		{file(t, hmac, `"result": "valid"`, `"result": "valid", "more": 1`), hmac + ": tcId 1: "},
		{file(t, "libsignal_session.json", `"error": "ratchet.ErrDuplicate"`, `"error": "ratchet.ErrTooFarAhead"`),
			"libsignal_session.json: tcId 1: step 14: bob, decrypt: refused with"},
		{file(t, "libsignal_session.json", `"error": "ratchet.ErrDuplicate"`, `"error": "ratchet.ErrNothing"`), "there is no error ratchet.ErrNothing"},
		{file(t, "x25519_public_keys.json", `"result": "invalid"`, `"result": "valid"`, `"error": "x3dh.ErrInvalidKey",`, ""), "tcId 1: refused"},
	} {
		r, err := Run(test.fsys)
		require.NoError(t, err, test.want)
		require.NotEmpty(t, r.Failures(), test.want)
		require.Contains(t, r.Failures()[0].String(), test.want)
	}

	// Sums are checked where there are any: each file, and none too many.
	dir := file(t, hmac)
	r, err := Run(dir)
	require.NoError(t, err)
	require.Empty(t, r.Failures())
	sum := r.Files[0].SHA256
	for _, test := range []struct{ sums, want string }{
		{sum + "  " + hmac + "\n", ""},
		{"", "is not the file that SHA256SUMS lists"},
		{strings.Repeat("0", 64) + "  " + hmac + "\n", "is not the file that SHA256SUMS lists"},
		{sum + "  " + hmac + "\n" + sum + "  b.json\n", "b.json: stands in SHA256SUMS and is not there"},
	} {
		dir[Sums] = &fstest.MapFile{Data: []byte(test.sums)}
		r, err := Run(dir)
		require.NoError(t, err)
		if test.want == "" {
			require.Empty(t, r.Failures())
			continue
		}
		require.Len(t, r.Failures(), 1)
		require.Contains(t, r.Failures()[0].String(), test.want)
	}

	// A digit of what stays refused for the same reason names the case too.
	const keys = "x25519_public_keys.json"
	good := file(t, keys)
	f, err := testvectors.Read(good, keys)
	require.NoError(t, err)
	lines := ""
	for _, g := range f.Groups {
		for _, x := range g.Tests {
			lines += x.Sum(keys) + "\n"
		}
	}
	text := string(good[keys].Data)
	i := strings.LastIndex(text, `"tcId": 27,`)
	require.Positive(t, i)
	bad := fstest.MapFS{keys: {Data: []byte(text[:i] + strings.Replace(text[i:], `ff`, `fe`, 1))},
		Sums: {Data: []byte(sha256Of(good[keys].Data) + "  " + keys + "\n")}, CaseSums: {Data: []byte(lines)}}
	r, err = Run(bad)
	require.NoError(t, err)
	require.Equal(t, r.Cases, r.Passed)
	require.Len(t, r.Failures(), 2)
	require.Equal(t, keys+": tcId 27: is not the case that CASESUMS lists", r.Failures()[1].String())

	// A type of a schema without a runner, and a runner that dies.
	old := runners["HMAC-SHA256"]
	defer func() { runners["HMAC-SHA256"] = old }()
	delete(dir, Sums)
	delete(runners, "HMAC-SHA256")
	r, err = Run(dir)
	require.NoError(t, err)
	require.Len(t, r.Failures(), 7)
	require.Contains(t, r.Failures()[0].String(), `nothing runs tests of type "HMAC-SHA256"`)
	require.Zero(t, r.Passed)
	runners["HMAC-SHA256"] = func(*testvectors.Test, *progress) error { panic("bug") }
	r, err = Run(dir)
	require.NoError(t, err)
	require.Len(t, r.Failures(), 7)
	require.Contains(t, r.Failures()[6].String(), "tcId 7: panic: bug")
	require.Zero(t, r.Independent)
}

// answer and verdict, on which every test of an error stands.
func TestAnswer(t *testing.T) {
	c := func(result testvectors.Result, err string) *testvectors.Case {
		return &testvectors.Case{Result: result, Error: err}
	}
	malformed := named["x3dh.ErrMalformed"]
	require.NoError(t, answer(c(testvectors.Valid, ""), nil))
	require.Error(t, answer(c(testvectors.Valid, ""), malformed))
	require.NoError(t, answer(c(testvectors.Invalid, "x3dh.ErrMalformed"), malformed))
	require.Error(t, answer(c(testvectors.Invalid, "x3dh.ErrMalformed"), nil))
	require.Error(t, answer(c(testvectors.Invalid, "x3dh.ErrVersion"), malformed))
	require.Error(t, answer(c(testvectors.Invalid, "x3dh.ErrNone"), malformed))
	require.NoError(t, answer(c(testvectors.Acceptable, ""), nil))
	require.NoError(t, answer(c(testvectors.Acceptable, ""), malformed))
	require.NoError(t, answer(c(testvectors.Acceptable, "x3dh.ErrMalformed"), nil))
	require.Error(t, answer(c(testvectors.Acceptable, "x3dh.ErrVersion"), malformed))
}
