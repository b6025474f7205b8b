// Mutate breaks the library on purpose, one fault at a time, and asks its tests:
//
//	go run -C tools ./mutate                  # all packages: hours
//	go run -C tools ./mutate x3dh internal/kdf
//
// A fault is one operator in place of another, anywhere in the package's code,
// constants and cases of switches too, whether a test reaches it or not. The
// package's own tests are asked, without vet. A fault that does not compile is
// none; one that keeps the tests busy ten times as long as they take, and half
// a minute at least, is found, and counted as timed out too.
//
// A fault that no test finds is a survivor; it is either explained in
// survivors.tsv, because nobody could tell it from the code, or a test is
// missing. The exit status is 1 if one is not explained, if an explanation has
// no survivor any more, or if fewer than 95 of 100 faults are found.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

var packages = []string{
	"internal/cbc", "internal/curve", "internal/kdf", "internal/wire",
	"x3dh", "ratchet", "senderkey", "sesame", "envelope", "lamport",
}

var instead = map[token.Token][]token.Token{
	token.ADD: {token.SUB},
	token.SUB: {token.ADD},
	token.MUL: {token.QUO},
	token.QUO: {token.MUL},
	token.REM: {token.MUL},
	token.EQL: {token.NEQ},
	token.NEQ: {token.EQL},
	token.LSS: {token.LEQ, token.GEQ},
	token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ},
	token.GEQ: {token.GTR, token.LSS},
	token.INC: {token.DEC},
	token.DEC: {token.INC},
}

// Columns: package/file, the line, the line with the fault, why it is no fault.
//
//go:embed survivors.tsv
var explained string

const goal = 0.95

// A fault is a file of the library with one operator exchanged.
type fault struct {
	file         string // under the library's root, with slashes
	line         int
	code, broken string // that line
	source       string // the whole file, broken
}

func (f fault) row() string { return strings.Join([]string{f.file, f.code, f.broken}, "\t") }

func main() {
	log.SetFlags(0)
	log.SetPrefix("mutate: ")
	check(os.Chdir(".."))
	chosen := packages
	if len(os.Args) > 1 {
		chosen = os.Args[1:]
	}
	reasons := map[string]bool{} // whether one was used
	for line := range strings.Lines(explained) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(cells) != 4 || cells[3] == "" {
			log.Fatalf("survivors.tsv: %q", line)
		}
		reasons[strings.Join(cells[:3], "\t")] = false
	}

	ok := true
	fmt.Printf("%-18s %6s %6s %9s %9s %9s %6s\n", "package", "faults", "found", "timed out", "explained", "survivors", "")
	for _, p := range chosen {
		start := time.Now()
		if out, err := test(p, "-count=1"); err != nil {
			log.Fatalf("%s, with no fault: %v\n%s", p, err, out)
		}
		limit := "-timeout=" + max(30*time.Second, 10*time.Since(start)).String()

		var found, late, excused, survivors int
		var mu sync.Mutex
		var workers sync.WaitGroup
		queue := faults(p)
		for range runtime.GOMAXPROCS(0) {
			workers.Go(func() {
				for f := range queue {
					out, err := try(p, f, limit)
					mu.Lock()
					switch _, known := reasons[f.row()]; {
					case err != nil && strings.Contains(out, "[build failed]"): // no fault
					case err != nil:
						found++
						if strings.Contains(out, "panic: test timed out") {
							late++
						}
					case known:
						excused++
						reasons[f.row()] = true
					default:
						survivors++
						fmt.Printf("\t%s:%d\t%s\t%s\n", f.file, f.line, f.code, f.broken)
					}
					mu.Unlock()
				}
			})
		}
		workers.Wait()
		all := found + excused + survivors
		share := float64(found) / float64(max(1, all))
		fmt.Printf("%-18s %6d %6d %9d %9d %9d %5.1f%%\n", p, all, found, late, excused, survivors, 100*share)
		ok = ok && all > 0 && share >= goal && survivors == 0
		for r, used := range reasons {
			if !used && strings.HasPrefix(r, p+"/") {
				fmt.Println("found now, or gone, so not to be explained:\t" + r)
				ok = false
			}
		}
	}
	if !ok {
		os.Exit(1)
	}
}

// faults sends every fault of a package.
func faults(p string) <-chan fault {
	c := make(chan fault)
	pkg, err := build.ImportDir(p, 0)
	check(err)
	go func() {
		defer close(c)
		for _, name := range pkg.GoFiles {
			path := p + "/" + name
			b, err := os.ReadFile(path)
			check(err)
			source, files := string(b), token.NewFileSet()
			file, err := parser.ParseFile(files, name, b, 0)
			check(err)
			ast.Inspect(file, func(n ast.Node) bool {
				var op token.Token
				var pos token.Pos
				switch n := n.(type) {
				case *ast.BinaryExpr:
					op, pos = n.Op, n.OpPos
				case *ast.UnaryExpr:
					op, pos = n.Op, n.OpPos
				case *ast.IncDecStmt:
					op, pos = n.Tok, n.TokPos
				}
				for _, other := range instead[op] {
					at := files.Position(pos)
					broken := source[:at.Offset] + other.String() + source[at.Offset+len(op.String()):]
					line := func(s string) string { return strings.TrimSpace(strings.Split(s, "\n")[at.Line-1]) }
					c <- fault{path, at.Line, line(source), line(broken), broken}
				}
				return true
			})
		}
	}()
	return c
}

// try tests a package with a fault, in a copy of the file that is put in its place.
func try(p string, f fault, limit string) (string, error) {
	dir, err := os.MkdirTemp("", "mutate")
	check(err)
	defer os.RemoveAll(dir)
	file, overlay := filepath.Join(dir, "fault.go"), filepath.Join(dir, "overlay.json")
	check(os.WriteFile(file, []byte(f.source), 0o600))
	b, err := json.Marshal(map[string]any{"Replace": map[string]string{f.file: file}})
	check(err)
	check(os.WriteFile(overlay, b, 0o600))
	return test(p, "-overlay="+overlay, limit)
}

func test(p string, flags ...string) (string, error) {
	args := append([]string{"test", "-vet=off", "-failfast"}, flags...)
	out, err := exec.Command("go", append(args, "./"+p)...).CombinedOutput()
	return string(out), err
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
