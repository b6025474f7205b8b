package main

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// binaries are the compiled tests of packages.
type binaries struct {
	dir string
	env []string // of their processes, besides ours
}

// build compiles the tests of packages, which are named by their directories.
func build(pkgs []string) (b binaries, err error) {
	if b.dir, err = os.MkdirTemp("", "floor"); err != nil {
		return b, err
	}
	for _, pkg := range pkgs {
		cmd := exec.Command("go", "test", "-c", "-o", b.file(pkg), module+"/"+pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.remove()
			return b, fmt.Errorf("%s does not compile: %w\n%s", pkg, err, out)
		}
	}
	return b, nil
}

const module = "github.com/sotto-im/sotto"

func (b binaries) file(pkg string) string {
	return filepath.Join(b.dir, strings.ReplaceAll(pkg, "/", "_")+".test")
}

func (b binaries) remove() { os.RemoveAll(b.dir) }

// A run is shorter than the time for which a busy system lets a process go on, so
// that some of many are undisturbed: among 20 of 300 µs the shortest is right to
// 1 %, and among 20 of 5 ms it may be three times too long.
const (
	runTime  = "300us"
	runCount = "5"
)

// run runs the benchmarks of a package whose names match, without their
// sub-benchmarks' names, once each and on one processor, and adds what they say.
func (b binaries) run(s samples, pkg, match string) error {
	cmd := exec.Command(b.file(pkg), "-test.run=^$", "-test.bench="+match,
		"-test.benchtime="+runTime, "-test.count="+runCount, "-test.cpu=1", "-test.benchmem")
	cmd.Stderr, cmd.Env = os.Stderr, append(os.Environ(), b.env...)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("benchmarks of %s: %w\n%s", pkg, err, out)
	}
	return s.add(path.Base(pkg), string(out))
}

// measure runs the benchmarks of operations and their floors once.
func (b binaries) measure(s samples, ops []operation) error {
	var pkgs []string
	names := map[string][]string{}
	for _, o := range ops {
		top, _, _ := strings.Cut(o.name, "/")
		if !slices.Contains(pkgs, o.pkg) {
			pkgs = append(pkgs, o.pkg)
		}
		if top = regexp.QuoteMeta(top); !slices.Contains(names[o.pkg], top) {
			names[o.pkg] = append(names[o.pkg], top)
		}
	}
	for _, pkg := range pkgs {
		if err := b.run(s, pkg, "^Benchmark(Floor)?("+strings.Join(names[pkg], "|")+")$"); err != nil {
			return err
		}
	}
	return nil
}
