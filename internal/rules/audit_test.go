package rules

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the tables of AUDIT.md")

// AUDIT.md has tables that are made from the code and the tests. They are up to
// date; after "go test ./internal/rules -run TestAudit -update" they are again.
func TestAudit(t *testing.T) {
	const path = "../../AUDIT.md"
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	text := string(b)
	tests := citingTests(t)
	for name, table := range map[string]string{
		"requirements": requirementTable(t, tests),
		"attacks":      attackTable(t, tests),
		"packages":     packageTable(t),
		"labels":       labelTable(t),
		"panics":       panicTable(t),
	} {
		begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->"
		before, rest, ok := strings.Cut(text, begin)
		require.True(t, ok, "AUDIT.md has no place for %s", name)
		_, after, ok := strings.Cut(rest, end)
		require.True(t, ok, "%s does not end", name)
		text = before + begin + table + end + after
	}
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return
	}
	require.True(t, text == string(b), "AUDIT.md is not up to date: go test ./internal/rules -run TestAudit -update")
}

// A citingTest is a test with what its comments say.
type citingTest struct {
	dir, file, name string
	comments        string // all of them, ranges expanded
	doc             string // without what is cited
}

var testName = regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)`)

// citingTests reads all tests of the repository, nested modules included.
func citingTests(t *testing.T) (tests []citingTest) {
	t.Helper()
	eachGoFile(t, func(path, text string) {
		if !strings.HasSuffix(path, "_test.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments)
		require.NoError(t, err)
		name := strings.TrimPrefix(filepath.ToSlash(path), "../../")
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !testName.MatchString(fn.Name.Name) {
				continue
			}
			c := citingTest{dir: filepath.ToSlash(filepath.Dir(name)), file: name, name: fn.Name.Name, doc: defence(fn.Doc.Text())}
			for _, g := range f.Comments {
				if g == fn.Doc || fn.Pos() <= g.Pos() && g.End() <= fn.End() {
					c.comments += g.Text()
				}
			}
			c.comments = expandRanges(strings.ReplaceAll(c.comments, "\n", " "))
			tests = append(tests, c)
		}
		// What stands outside of any test, such as above a table of cases, belongs to the file.
		rest := citingTest{dir: filepath.ToSlash(filepath.Dir(name)), file: name}
		for _, g := range f.Comments {
			inside := slices.ContainsFunc(f.Decls, func(d ast.Decl) bool {
				fn, ok := d.(*ast.FuncDecl)
				return ok && testName.MatchString(fn.Name.Name) && (g == fn.Doc || fn.Pos() <= g.Pos() && g.End() <= fn.End())
			})
			if !inside {
				rest.comments += g.Text() + " "
			}
		}
		rest.comments = expandRanges(strings.ReplaceAll(rest.comments, "\n", " "))
		tests = append(tests, rest)
	})
	slices.SortFunc(tests, func(a, b citingTest) int {
		return cmp.Or(strings.Compare(a.file, b.file), strings.Compare(a.name, b.name))
	})
	return tests
}

func (c citingTest) String() string {
	if c.name == "" {
		return "`" + c.file + "`"
	}
	return "`" + c.dir + "." + c.name + "`"
}

var citations = regexp.MustCompile(`^(?:(?:[A-Z][0-9]{2}|I-[0-9]{2}|C-[0-9]{2}|R-[0-9A-Z.]+-[0-9]+|§[0-9A-Z.]+)(?:, | and | to |; |: )?)+`)

// defence is the first sentence of a comment without what it cites.
func defence(doc string) string {
	s := strings.Join(strings.Fields(doc), " ")
	for citations.MatchString(s) {
		s = strings.TrimLeft(citations.ReplaceAllString(s, ""), ":;,. ")
	}
	if i := strings.Index(s, ". "); i >= 0 {
		s = s[:i]
	}
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimSuffix(s, "."), ":"), "|", "\\|")
}

func requirementTable(t *testing.T, tests []citingTest) string {
	text, _, _ := specification(t)
	var b strings.Builder
	fmt.Fprintln(&b, "| Requirement | Tests, with their files |")
	fmt.Fprintln(&b, "|---|---|")
	for _, m := range requirement.FindAllStringSubmatch(text, -1) {
		var in []string
		for _, c := range tests {
			if c.dir != "internal/rules" && slices.Contains(cited.FindAllString(c.comments, -1), m[1]) {
				in = append(in, "["+c.String()+"]("+c.file+")")
			}
		}
		require.NotEmpty(t, in, m[1])
		fmt.Fprintf(&b, "| %s | %s |\n", m[1], strings.Join(in, ", "))
	}
	return b.String()
}

// attackTable is attacks.tsv with the tests of each row. A row has tests, or says
// why there are none, or has both if there is a part that they do not cover.
func attackTable(t *testing.T, tests []citingTest) string {
	rows, err := os.ReadFile("attacks.tsv")
	require.NoError(t, err)
	var b strings.Builder
	fmt.Fprintln(&b, "| | Attack | Tests, and what holds |")
	fmt.Fprintln(&b, "|---|---|---|")
	known := map[string]bool{}
	for line := range strings.Lines(string(rows)) {
		cells := append(strings.Split(strings.TrimSuffix(line, "\n"), "\t"), "")
		id, attack, reason := cells[0], cells[1], cells[2]
		known[id] = true
		word := regexp.MustCompile(`\b` + id + `\b`)
		var in []string
		for _, c := range tests {
			if c.name != "" && word.MatchString(c.comments) {
				in = append(in, strings.TrimSuffix(c.String()+": "+c.doc, ": "))
			}
		}
		if reason != "" {
			in = append(in, reason)
		}
		require.NotEmpty(t, in, "%s has neither a test nor a reason", id)
		fmt.Fprintf(&b, "| %s | %s | %s |\n", id, attack, strings.Join(in, "<br>"))
	}
	row := regexp.MustCompile(`\b[HRGEL][0-9]{2}\b`)
	for _, c := range tests {
		for _, id := range row.FindAllString(c.comments, -1) {
			require.True(t, known[id], "%s cites %s, which is no row of attacks.tsv", c, id)
		}
	}
	return b.String()
}

// coreFiles parses the library's code, packages in order.
func coreFiles(t *testing.T, f func(p string, fset *token.FileSet, files []*ast.File)) {
	t.Helper()
	pkgs := list(t)
	names := make([]string, 0, len(pkgs))
	for name := range pkgs {
		if core(name) && name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fset := token.NewFileSet()
		var files []*ast.File
		for _, file := range pkgs[name].GoFiles {
			parsed, err := parser.ParseFile(fset, filepath.Join(pkgs[name].Dir, file), nil, parser.ParseComments)
			require.NoError(t, err)
			files = append(files, parsed)
		}
		f(name, fset, files)
	}
}

// packageTable counts lines that hold code.
func packageTable(t *testing.T) string {
	var b strings.Builder
	fmt.Fprintln(&b, "| Package | Files | Lines of code | of tests | Exported names |")
	fmt.Fprintln(&b, "|---|---|---|---|---|")
	var sum [2]int
	coreFiles(t, func(p string, fset *token.FileSet, files []*ast.File) {
		code, exported := 0, 0
		for _, f := range files {
			code += codeLines(t, fset.File(f.Pos()).Name())
			for _, d := range f.Decls {
				exported += len(exportedNames(d))
			}
		}
		tests := 0
		in, err := filepath.Glob("../../" + p + "/*_test.go")
		require.NoError(t, err)
		for _, f := range in {
			tests += codeLines(t, f)
		}
		sum[0] += code
		sum[1] += tests
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s | %d |\n", p, len(files), rounded(code), rounded(tests), exported)
	})
	fmt.Fprintf(&b, "| all | | %s | %s | |\n", rounded(sum[0]), rounded(sum[1]))
	return b.String()
}

// rounded keeps the table from changing with every line.
func rounded(n int) string {
	if n < 50 {
		return "under 50"
	}
	return fmt.Sprint((n + 25) / 50 * 50)
}

func codeLines(t *testing.T, path string) (n int) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			n++
		}
	}
	return n
}

// exportedNames are those of types, functions, variables and constants; not of methods.
func exportedNames(d ast.Decl) (names []string) {
	add := func(id *ast.Ident) {
		if id.IsExported() {
			names = append(names, id.Name)
		}
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			add(d.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				add(s.Name)
			case *ast.ValueSpec:
				for _, id := range s.Names {
					add(id)
				}
			}
		}
	}
	return names
}

// labelTable is every constant of internal/kdf/labels.go.
func labelTable(t *testing.T) string {
	f, err := parser.ParseFile(token.NewFileSet(), "../kdf/labels.go", nil, parser.ParseComments)
	require.NoError(t, err)
	var b strings.Builder
	fmt.Fprintln(&b, "| Name | Value | |")
	fmt.Fprintln(&b, "|---|---|---|")
	for _, d := range f.Decls {
		for _, s := range d.(*ast.GenDecl).Specs {
			v := s.(*ast.ValueSpec)
			fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", v.Names[0].Name, v.Values[0].(*ast.BasicLit).Value, strings.TrimSpace(v.Comment.Text()))
		}
	}
	return b.String()
}

// panicTable is every call of panic in the library's code.
func panicTable(t *testing.T) string {
	var b strings.Builder
	fmt.Fprintln(&b, "| Package | Function | Says | When |")
	fmt.Fprintln(&b, "|---|---|---|---|")
	coreFiles(t, func(p string, fset *token.FileSet, files []*ast.File) {
		for _, f := range files {
			for _, d := range f.Decls {
				name := "" // of the function or, of what is made at the start, the variable
				ast.Inspect(d, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.FuncDecl:
						name = n.Name.Name
					case *ast.ValueSpec:
						if _, ok := d.(*ast.GenDecl); ok {
							name = n.Names[0].Name
						}
					}
					call, ok := n.(*ast.CallExpr)
					if !ok {
						return true
					}
					if id, ok := call.Fun.(*ast.Ident); !ok || id.Name != "panic" {
						return true
					}
					says, why := "", ""
					if lit, ok := call.Args[0].(*ast.BasicLit); ok {
						says = lit.Value
					}
					for _, g := range f.Comments {
						if fset.Position(g.Pos()).Line == fset.Position(call.Pos()).Line {
							why = strings.TrimSpace(g.Text())
						}
					}
					require.NotEmpty(t, why, "%s: a panic without a reason on its line", fset.Position(call.Pos()))
					fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", p, name, says, why)
					return true
				})
			}
		}
	})
	return b.String()
}
