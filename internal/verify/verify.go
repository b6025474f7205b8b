// Package verify runs vector files: it is "sotto verify", and the same in go test.
//
// There is a runner for each type of tests, in a file named after it. A runner
// does what the test says with the library and compares every answer: bytes,
// errors, and the record after each step. The keys that the library otherwise
// draws come from the vectors through internal/replay, the door that is open to
// this package alone.
package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/sotto-im/sotto/testvectors"
)

// Sums is the name of the file beside the vectors that has their sums, as
// sha256sum writes and checks them.
const Sums = "SHA256SUMS"

// CaseSums is the name of the file beside it that has the sum of each test, so that
// a changed one can be named: lines of [testvectors.Test.Sum].
const CaseSums = "CASESUMS"

// A Report is what became of a directory of vector files.
type Report struct {
	Files       []*File `json:"files"`
	Cases       int     `json:"cases"`       // that were run
	Passed      int     `json:"passed"`      // of them
	Independent int     `json:"independent"` // of those that passed: answered by somebody else's code
}

// A File is what became of one of them.
type File struct {
	Name     string    `json:"file"`
	SHA256   string    `json:"sha256"`
	Spec     string    `json:"spec"`
	Declared int       `json:"declared"` // cases
	Sets     []*Set    `json:"sets"`
	Failures []Failure `json:"failures"`

	tests []*testvectors.Test
}

// A Set is the tests of one type from one source in a file.
type Set struct {
	Type        string `json:"type"`
	Source      string `json:"source"`
	Version     string `json:"version,omitempty"` // of the source
	Independent bool   `json:"independent"`
	Cases       int    `json:"cases"` // that were run
	Passed      int    `json:"passed"`
}

// A Failure says what is wrong, and with which case. TcID is 0 if it is with the
// file; Step counts from 1, and is 0 if the test has no steps.
type Failure struct {
	File string `json:"file"`
	TcID int    `json:"tcId,omitempty"`
	Step int    `json:"step,omitempty"`
	What string `json:"what"`
}

func (f Failure) String() string {
	s := f.File
	if f.TcID > 0 {
		s += fmt.Sprintf(": tcId %d", f.TcID)
	}
	if f.Step > 0 {
		s += fmt.Sprintf(": step %d", f.Step)
	}
	return s + ": " + f.What
}

// Failures returns those of all files.
func (r *Report) Failures() (all []Failure) {
	for _, f := range r.Files {
		all = append(all, f.Failures...)
	}
	return all
}

// Run runs all vector files of a directory. The error says that there are none,
// or no directory; everything else is in the report.
func Run(fsys fs.FS) (*Report, error) {
	if _, err := fs.Stat(fsys, "."); err != nil {
		return nil, err // of which Glob says nothing
	}
	names, err := fs.Glob(fsys, "*.json")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("no vector files there")
	}
	sums, err := readSums(fsys)
	if err != nil {
		return nil, err
	}
	cases, err := fs.ReadFile(fsys, CaseSums)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	r := new(Report)
	for _, name := range names {
		f := runFile(fsys, name)
		if want, ok := sums[name]; sums != nil && (!ok || want != f.SHA256) {
			f.fail(Failure{What: "is not the file that " + Sums + " lists"})
			if cases != nil {
				f.failChanged(string(cases))
			}
		}
		delete(sums, name)
		r.Files = append(r.Files, f)
		for _, s := range f.Sets {
			r.Cases += s.Cases
			r.Passed += s.Passed
			if s.Independent {
				r.Independent += s.Passed
			}
		}
	}
	for name := range sums {
		f := &File{Name: name, Sets: []*Set{}}
		f.fail(Failure{What: "stands in " + Sums + " and is not there"})
		r.Files = append(r.Files, f)
	}
	return r, nil
}

// readSums returns the sums by file name, nil if the directory has none.
func readSums(fsys fs.FS) (map[string]string, error) {
	b, err := fs.ReadFile(fsys, Sums)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(b)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || len(sum) != 2*sha256.Size {
			return nil, fmt.Errorf("%s: not a line of sha256sum: %q", Sums, line)
		}
		sums[name] = sum
	}
	return sums, nil
}

func (f *File) fail(x Failure) {
	x.File = f.Name
	f.Failures = append(f.Failures, x)
}

// failChanged names the tests that are not those of the list. One that failed is
// named already.
func (f *File) failChanged(list string) {
	lines := map[string]bool{}
	for line := range strings.Lines(list) {
		lines[strings.TrimSuffix(line, "\n")] = true
	}
	for _, t := range f.tests {
		failed := slices.ContainsFunc(f.Failures, func(x Failure) bool { return x.TcID == t.ID })
		if !failed && !lines[t.Sum(f.Name)] {
			f.fail(Failure{TcID: t.ID, What: "is not the case that " + CaseSums + " lists"})
		}
	}
}

func runFile(fsys fs.FS, name string) *File {
	f := &File{Name: name, Sets: []*Set{}, Failures: []Failure{}}
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		f.fail(Failure{What: err.Error()})
		return f
	}
	sum := sha256.Sum256(b)
	f.SHA256 = hex.EncodeToString(sum[:])
	v, err := testvectors.Parse(b)
	if err != nil {
		f.fail(Failure{What: err.Error()})
		return f
	}
	f.Spec, f.Declared = v.Spec, v.Declared
	run := 0
	for _, g := range v.Groups {
		s := &Set{Type: g.Type, Source: g.Source.Name, Version: g.Source.Version, Independent: g.Source.Independent}
		f.Sets = append(f.Sets, s)
		for _, t := range g.Tests {
			f.tests = append(f.tests, &t)
			f.runTest(s, g.Type, &t)
		}
		run += s.Cases
	}
	if run != f.Declared {
		f.fail(Failure{What: fmt.Sprintf("declares %d cases, %d were run", f.Declared, run)})
	}
	return f
}

// runTest runs a test, which is one case or, with steps, one for each.
func (f *File) runTest(s *Set, typ string, t *testvectors.Test) {
	cases, step, err := run(typ, t)
	s.Cases += cases
	if err == nil {
		s.Passed += cases
		return
	}
	s.Passed += cases - 1
	f.fail(Failure{TcID: t.ID, Step: step, What: err.Error()})
}

// run runs a test. It returns how many cases were run, and of which step the error is;
// it ends with the first one. A panic is an error like any other: a verifier that dies says less.
func run(typ string, t *testvectors.Test) (cases, step int, err error) {
	r, ok := runners[typ]
	if !ok {
		return 1, 0, fmt.Errorf("nothing runs tests of type %q", typ)
	}
	p := new(progress)
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
		cases, step = max(p.step, 1), p.step
	}()
	return 0, 0, r(t, p)
}

// A progress says which step a runner is in.
type progress struct{ step int }

// next begins a step.
func (p *progress) next() { p.step++ }

// A runner runs a test and returns what differs.
type runner func(t *testvectors.Test, p *progress) error

// single is a runner of tests without steps.
func single[T any](f func(c *T) error) runner {
	return func(t *testvectors.Test, _ *progress) error {
		var c T
		if err := t.Decode(&c); err != nil {
			return err
		}
		return f(&c)
	}
}

// steps is a runner of tests with steps.
func steps[T any](f func(c *T, p *progress) error) runner {
	return func(t *testvectors.Test, p *progress) error {
		var c T
		if err := t.Decode(&c); err != nil {
			return err
		}
		return f(&c, p)
	}
}

// same compares bytes.
func same(what string, want, got []byte) error {
	if bytes.Equal(want, got) {
		return nil
	}
	n := 0
	for n < min(len(want), len(got)) && want[n] == got[n] {
		n++
	}
	if len(want) != len(got) {
		return fmt.Errorf("%s: %d bytes, want %d; the first that differs is number %d", what, len(got), len(want), n)
	}
	return fmt.Errorf("%s: byte %d of %d is %02x, want %02x", what, n, len(want), got[n], want[n])
}

// equal compares values.
func equal[T comparable](what string, want, got T) error {
	if want != got {
		return fmt.Errorf("%s: %v, want %v", what, got, want)
	}
	return nil
}

// answer holds what the library answered, nil if it accepted, to what a test
// asks for.
func answer(c *testvectors.Case, got error) error {
	if c.Result == testvectors.Valid {
		return verdict("", got)
	}
	if c.Result == testvectors.Acceptable && (got == nil || c.Error == "") {
		return nil
	}
	return verdict(c.Error, got)
}

// verdict holds an error to the name that is asked for, empty for none.
func verdict(want string, got error) error {
	if want == "" {
		if got != nil {
			return fmt.Errorf("refused: %w", got)
		}
		return nil
	}
	err, ok := named[want]
	switch {
	case !ok:
		return fmt.Errorf("there is no error %s", want)
	case got == nil:
		return fmt.Errorf("accepted, want %s", want)
	case !errors.Is(got, err):
		return fmt.Errorf("refused with %q, want %s", got, want)
	}
	return nil
}
