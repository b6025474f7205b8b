// Command translate makes those files of testvectors/vectors that say in the
// common shape what testvectors/recorded says as it was recorded, and the sums of
// all files and tests there. "go generate ./testvectors" runs it.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/sotto-im/sotto/testvectors"
)

func main() {
	if err := run("vectors"); err != nil {
		fmt.Fprintln(os.Stderr, "translate:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	files, err := translations()
	if err != nil {
		return err
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	sums, cases, err := sums(dir)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), sums, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "CASESUMS"), cases, 0o644)
}

// sums is what sha256sum prints of the vector files of a directory, and a line for
// each of their tests.
func sums(dir string) (sums, cases []byte, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(names)
	for _, path := range names {
		name := filepath.Base(path)
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		f, err := testvectors.Parse(b)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		sums = fmt.Appendf(sums, "%x  %s\n", sha256.Sum256(b), name)
		for _, g := range f.Groups {
			for _, t := range g.Tests {
				cases = fmt.Appendln(cases, t.Sum(name))
			}
		}
	}
	return sums, cases, nil
}

// translations returns the files that are made here, by name.
func translations() (map[string][]byte, error) {
	out := map[string][]byte{}
	for name, f := range map[string]func() (*file, error){
		"libsignal_session.json":           session,
		"libsignal_sender_key.json":        senderKey,
		"libsignal_xeddsa.json":            xeddsa,
		"libsignal_fingerprint.json":       fingerprint,
		"libsignal_retry_request.json":     retryRequest,
		"libsignal_plaintext_content.json": plaintextContent,
	} {
		v, err := f()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if out[name], err = v.encode(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return out, nil
}

// A file is a testvectors.File in the making.
type file struct {
	Schema    string                      `json:"schema"`
	Algorithm string                      `json:"algorithm"`
	Spec      string                      `json:"spec"`
	Declared  int                         `json:"numberOfTests"`
	Header    []string                    `json:"header"`
	Notes     map[string]testvectors.Note `json:"notes"`
	Groups    []group                     `json:"testGroups"`
}

type group struct {
	Type   string             `json:"type"`
	Source testvectors.Source `json:"source"`
	Tests  []any              `json:"tests"`
}

func (f *file) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(f)
	return b.Bytes(), err
}

// next gives the next test of the file its number.
func (f *file) next(comment string, result testvectors.Result) testvectors.Case {
	f.Declared++
	return testvectors.Case{ID: f.Declared, Comment: comment, Flags: []string{}, Result: result}
}

const licence = "our own recording: protocol data, no upstream text or code"

// recorded is the source of what a release of libsignal answered.
func recorded(version string) testvectors.Source {
	return testvectors.Source{Name: "@signalapp/libsignal-client", Version: version, Independent: true, Licence: licence}
}

// stricter is the source of the tests in which we refuse what that release
// accepts: the input is its own, the answer is ours, and no evidence.
func stricter(spec, version string) testvectors.Source {
	return testvectors.Source{Name: spec + ", where libsignal accepts", Version: version, Licence: licence}
}
