package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/sotto-im/sotto"

type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

// list returns the packages of the module, less the path of the module.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	pkgs := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		pkgs[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")] = p
	}
	require.Contains(t, pkgs, "x3dh")
	require.Contains(t, pkgs, "ratchet")
	require.Contains(t, pkgs, "senderkey")
	require.Contains(t, pkgs, "envelope")
	require.Contains(t, pkgs, "lamport")
	return pkgs
}

// core reports whether a package is part of the library: no command, no test
// program, no helper of tests, not the reference server, the demo, the simulations, the
// runner of the vectors.
func core(name string) bool {
	return !strings.HasPrefix(name, "cmd/") && !strings.HasPrefix(name, "testvectors") &&
		!strings.HasPrefix(name, "fuzz") && !strings.HasSuffix(name, "test") &&
		name != "internal/rules" && name != "internal/relay" && name != "internal/demo" && name != "internal/simulate" &&
		name != "internal/hostile" && name != "internal/verify" && name != "internal/consttime"
}

// H08 and the import rules: no weak randomness, no I/O, no clock, no cgo, no
// reflection, no logging.
func TestNoMathRandImports(t *testing.T) {
	forbidden := []string{"math/rand", "math/rand/v2", "unsafe", "net", "os", "log", "log/slog", "reflect", "C", "syscall", "plugin"}
	checked := 0
	for name, p := range list(t) {
		if !core(name) {
			continue
		}
		checked++
		for _, i := range p.Imports {
			require.NotContains(t, forbidden, i, "%s imports it", name)
			require.False(t, strings.HasPrefix(i, "net/") || strings.HasPrefix(i, "os/"), "%s imports %s", name, i)
		}
	}
	require.GreaterOrEqual(t, checked, 6)
}

// E12: compression before encryption shows secrets in sizes.
func TestNoCompressionInCore(t *testing.T) { noDeps(t, "compress/") }

// E10: no protobuf text or JSON codecs, and no reflection over messages.
func TestNoProtojsonInCore(t *testing.T) {
	noDeps(t, "google.golang.org/protobuf/encoding/protojson", "google.golang.org/protobuf/encoding/prototext",
		"google.golang.org/protobuf/proto", "google.golang.org/protobuf/reflect")
}

func noDeps(t *testing.T, prefixes ...string) {
	t.Helper()
	for name, p := range list(t) {
		for _, d := range p.Deps {
			for _, prefix := range prefixes {
				require.False(t, core(name) && strings.HasPrefix(d, prefix), "%s depends on %s", name, d)
			}
		}
	}
}

// The house: who may know whom.
func TestLayers(t *testing.T) {
	pkgs := list(t)
	knows := func(name, other string) bool {
		return slices.Contains(pkgs[name].Deps, module+"/"+other)
	}
	for _, rule := range []struct{ name, mustNotKnow string }{
		{"x3dh", "ratchet"}, {"x3dh", "senderkey"}, {"x3dh", "sesame"},
		{"ratchet", "senderkey"}, {"ratchet", "sesame"},
		{"senderkey", "x3dh"}, {"senderkey", "ratchet"}, {"senderkey", "sesame"},
		{"envelope", "lamport"}, {"lamport", "envelope"},
	} {
		require.False(t, knows(rule.name, rule.mustNotKnow), "%s knows %s", rule.name, rule.mustNotKnow)
	}
	require.True(t, knows("ratchet", "x3dh"))
	for _, i := range pkgs["senderkey"].Imports {
		if strings.HasPrefix(i, module) {
			require.Contains(t, []string{"cbc", "curve", "kdf", "replay", "secret", "wire"}, strings.TrimPrefix(i, module+"/internal/"), "senderkey")
		}
	}
	for name, p := range pkgs {
		for _, i := range p.Imports {
			if strings.HasPrefix(i, "filippo.io/edwards25519") {
				require.Equal(t, "internal/curve", name, "the only importer of edwards25519")
			}
			if core(name) && strings.HasPrefix(i, "google.golang.org/protobuf") {
				require.Equal(t, "internal/wire", name, "the only reader of varints")
			}
		}
		if name != "envelope" && name != "lamport" {
			continue
		}
		for _, d := range p.Deps {
			for _, prefix := range []string{"crypto", "golang.org/x/crypto", "filippo.io"} {
				require.False(t, strings.HasPrefix(d, prefix), "%s depends on %s", name, d)
			}
			if strings.HasPrefix(d, module) {
				require.Equal(t, module+"/internal/wire", d, name)
			}
		}
	}
}

// The door to the cores: three packages put their functions there, only the
// runner of the vectors calls them, and only the command links that. No package
// of the library reads what another program could put there.
func TestReplayIsOnlyForVectors(t *testing.T) {
	pkgs := list(t)
	require.Contains(t, pkgs, "internal/verify")
	types := []string{"Key", "SessionConfig", "SenderConfig", "Roster", "NewGroupChain", "Sent"}
	givers := []string{"x3dh", "ratchet", "senderkey"}
	for name, p := range pkgs {
		if slices.Contains(p.Imports, module+"/internal/replay") {
			require.Contains(t, append(givers, "internal/verify"), name)
		}
		require.True(t, name == "cmd/sotto" || !slices.Contains(p.Imports, module+"/internal/verify"), "%s imports the runner", name)
	}
	for _, name := range givers {
		for _, g := range pkgs[name].GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(pkgs[name].Dir, g), nil, 0)
			require.NoError(t, err)
			assigned, used := 0, 0
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					for _, left := range n.Lhs {
						if ofReplay(left) {
							assigned++
						}
					}
				case *ast.SelectorExpr:
					if ofReplay(n) && !slices.Contains(types, n.Sel.Name) {
						used++
					}
				}
				return true
			})
			require.Equal(t, assigned, used, "%s/%s does more than to give", name, g)
			require.Equal(t, g == "replay.go", used > 0, "%s/%s", name, g)
		}
	}
}

func ofReplay(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "replay"
}

// The simulation knows what an application knows, and only the command knows
// it. A seed is a run because it has no clock, no goroutine and no chance of its
// own.
func TestSimulationIsAnApplication(t *testing.T) {
	const name = "internal/simulate"
	pkgs := list(t)
	require.Contains(t, pkgs, name)
	for _, i := range pkgs[name].Imports {
		if ours, ok := strings.CutPrefix(i, module+"/"); ok {
			require.Contains(t, []string{"x3dh", "ratchet", "senderkey", "sesame", "sesame/txtest"}, ours)
		}
		require.NotContains(t, []string{"math/rand", "crypto/rand", "net", "os", "log", "unsafe", "reflect"}, i)
	}
	for other, p := range pkgs {
		require.True(t, other == "cmd/sotto" || !slices.Contains(p.Imports, module+"/"+name), "%s imports the simulation", other)
	}
	for _, g := range pkgs[name].GoFiles {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.Join(pkgs[name].Dir, g), nil, 0)
		require.NoError(t, err)
		noClock(t, fset, file)
	}
}

// E10: the modules that users of the library download, and why there are no
// others: CONTRIBUTING.md. edwards25519 before 1.1.1 has CVE-2026-26958.
func TestModuleAllowlist(t *testing.T) {
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	require.NoError(t, err)
	var mod struct {
		Require []struct {
			Path, Version string
			Indirect      bool
		}
	}
	require.NoError(t, json.Unmarshal(out, &mod))
	allowed := map[string]string{ // with the lowest version
		"filippo.io/edwards25519":     "v1.2.0",
		"golang.org/x/crypto":         "v0.40.0",
		"google.golang.org/protobuf":  "v1.36.0",
		"github.com/stretchr/testify": "v1.10.0",
	}
	require.NotEmpty(t, mod.Require)
	for _, r := range mod.Require {
		if r.Indirect {
			continue
		}
		require.Contains(t, allowed, r.Path)
		require.True(t, atLeast(r.Version, allowed[r.Path]), "%s %s", r.Path, r.Version)
	}

	// Of the indirect ones, none is linked into the library.
	for name, p := range list(t) {
		for _, d := range p.Deps {
			if core(name) && strings.Contains(strings.Split(d, "/")[0], ".") && !strings.HasPrefix(d, module) {
				require.True(t, strings.HasPrefix(d, "filippo.io/edwards25519") || strings.HasPrefix(d, "google.golang.org/protobuf") ||
					strings.HasPrefix(d, "golang.org/x/crypto") || strings.HasPrefix(d, "golang.org/x/sys"), "%s links %s", name, d)
			}
		}
	}
}

// atLeast compares two versions vX.Y.Z.
func atLeast(version, least string) bool {
	v, l := strings.Split(version[1:], "."), strings.Split(least[1:], ".")
	for i := range l {
		if len(v[i]) != len(l[i]) {
			return len(v[i]) > len(l[i])
		}
		if v[i] != l[i] {
			return v[i] > l[i]
		}
	}
	return true
}
