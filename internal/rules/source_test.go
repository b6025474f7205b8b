package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// eachFile parses the files of the library that are not tests.
func eachFile(t *testing.T, f func(name string, fset *token.FileSet, file *ast.File)) {
	t.Helper()
	files := 0
	for name, p := range list(t) {
		if !core(name) {
			continue
		}
		for _, g := range p.GoFiles {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, g), nil, parser.ParseComments)
			require.NoError(t, err)
			f(name, fset, file)
			files++
		}
	}
	require.GreaterOrEqual(t, files, 20)
}

// calls reports the place of each call pkg.fn.
func calls(file *ast.File, pkg, fn string) (at []token.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == fn {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
				at = append(at, s.Pos())
			}
		}
		return true
	})
	return at
}

// R24: MACs and secrets are compared in constant time, so the packages that
// hold any do not use the functions that stop at the first difference. (Public
// keys are compared with ==, which these rules do not see.)
func TestNoBytesEqualOnSecrets(t *testing.T) {
	eachFile(t, func(name string, fset *token.FileSet, file *ast.File) {
		if name == "envelope" || name == "lamport" || name == "internal/wire" {
			return // know no secret
		}
		for _, c := range [][2]string{{"bytes", "Equal"}, {"bytes", "Compare"}, {"slices", "Equal"}, {"slices", "Compare"}, {"strings", "Compare"}, {"reflect", "DeepEqual"}} {
			for _, pos := range calls(file, c[0], c[1]) {
				t.Errorf("%s: %s.%s", fset.Position(pos), c[0], c[1])
			}
		}
	})
}

// R24, R-5.5-3, R-7.2-1: nor do they compare strings made of bytes; and the two
// places that compare what an attacker wants to guess do it in constant time.
func TestConstantTimeComparisons(t *testing.T) {
	found := map[string]bool{}
	eachFile(t, func(name string, fset *token.FileSet, file *ast.File) {
		if name == "envelope" || name == "lamport" || name == "internal/wire" {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				for _, operand := range []ast.Expr{n.X, n.Y} {
					call, ok := operand.(*ast.CallExpr)
					if !ok {
						continue
					}
					if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "string" {
						t.Errorf("%s: strings made of bytes are compared", fset.Position(n.Pos()))
					}
				}
			case *ast.FuncDecl:
				body := &ast.File{Name: file.Name, Decls: []ast.Decl{n}}
				if len(calls(body, "subtle", "ConstantTimeCompare")) > 0 {
					found[name+"."+n.Name.Name] = true
				}
			}
			return true
		})
	})
	for _, f := range []string{"ratchet.open", "x3dh.Matches", "internal/curve.X25519"} {
		require.True(t, found[f], "%s compares in constant time", f)
	}
}

// Time comes in as a value.
func TestNoClock(t *testing.T) {
	eachFile(t, func(name string, fset *token.FileSet, file *ast.File) { noClock(t, fset, file) })
}

func noClock(t *testing.T, fset *token.FileSet, file *ast.File) {
	t.Helper()
	for _, fn := range []string{"Now", "Since", "Until", "After", "Sleep", "NewTimer", "NewTicker", "Tick", "AfterFunc"} {
		for _, pos := range calls(file, "time", fn) {
			t.Errorf("%s: time.%s", fset.Position(pos), fn)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			t.Errorf("%s: a goroutine", fset.Position(g.Pos()))
		}
		return true
	})
}

// H09, R-3.6-1: signatures have no label, so a key signs one kind of thing only:
// identity keys encoded prekeys, in one place, and keys of chains group messages,
// in one other.
func TestWhatIsSigned(t *testing.T) {
	found := map[string]int{}
	eachFile(t, func(name string, fset *token.FileSet, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && (s.Sel.Name == "Sign" || s.Sel.Name == "SignWith") {
				found[name+"."+s.Sel.Name]++
			}
			return true
		})
	})
	require.Equal(t, map[string]int{"x3dh.Sign": 1, "senderkey.Sign": 1, "internal/curve.SignWith": 1}, found)
}

// Every domain-separation string stands in one file.
func TestLabelsInOnePlace(t *testing.T) {
	eachFile(t, func(name string, fset *token.FileSet, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.BasicLit)
			if ok && s.Kind == token.STRING && len(s.Value) > 8 && s.Value[:8] == `"Whisper` {
				require.Equal(t, "labels.go", filepath.Base(fset.Position(s.Pos()).Filename), s.Value)
			}
			return true
		})
	})
}

// Exported names of the library have comments, and packages keep to 40 of them.
// Package sesame has three more, for groups: in a package of their own they would
// need its sessions, its rows and its log exported.
func TestExportedNames(t *testing.T) {
	exported := map[string]int{}
	eachFile(t, func(name string, fset *token.FileSet, file *ast.File) {
		documented := func(ident *ast.Ident, docs ...*ast.CommentGroup) {
			if !ident.IsExported() {
				return
			}
			exported[name]++
			for _, d := range docs {
				if d.Text() != "" {
					return
				}
			}
			t.Errorf("%s: %s has no comment", fset.Position(ident.Pos()), ident.Name)
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					documented(d.Name, d.Doc)
					break
				}
				if ast.IsExported(receiver(d)) {
					documented(d.Name, d.Doc)
					if d.Name.IsExported() {
						exported[name]-- // methods belong to their type
					}
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						documented(s.Name, d.Doc, s.Doc)
					case *ast.ValueSpec:
						for _, n := range s.Names {
							documented(n, d.Doc, s.Doc, s.Comment)
						}
					}
				}
			}
		}
	})
	for name, n := range exported {
		limit := 40
		if name == "sesame" {
			limit = 43
		}
		require.LessOrEqual(t, n, limit, name)
	}
	require.NotZero(t, exported["ratchet"])
}

// receiver is the name of the type that a method belongs to.
func receiver(d *ast.FuncDecl) string {
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
