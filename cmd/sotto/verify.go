package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/sotto-im/sotto/internal/verify"
	"github.com/sotto-im/sotto/testvectors"
)

const verifyUsage = `usage: sotto verify [--json] [--dir DIR]

Runs every vector of testvectors/vectors, as it is compiled in, and prints what
was run: for each set where its answers come from, whether that is independent of
us, the cases that were run and those that passed, the sections of the
specifications that it is about, and the SHA-256 of its file. A case is one entry
with its own expected answer, or one step of a transcript.

The exit code is 1, and stderr names file, case and difference, if an answer is
not the expected one, if a file has another number of cases than it declares, if
nothing runs a type of tests, or if there are no files. --dir takes the files of
a directory instead, which have to keep to the schemas of testvectors/schemas.
`

// verifyVectors runs "sotto verify".
func verifyVectors(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sotto verify", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print the report as JSON")
	vectors := testvectors.Vectors()
	flags.Func("dir", "run the vector files of this `directory`", func(dir string) error {
		vectors = os.DirFS(dir)
		_, err := os.Stat(dir) // "" is an unset variable, and not a wish for ours
		return err
	})
	if code, done := parseFlags(flags, args, verifyUsage, stdout, stderr, func() bool { return flags.NArg() == 0 }); done {
		return code
	}
	return verifyFiles(vectors, *asJSON, stdout, stderr)
}

func verifyFiles(vectors fs.FS, asJSON bool, stdout, stderr io.Writer) int {
	r, err := verify.Run(vectors)
	if err != nil {
		fmt.Fprintln(stderr, "sotto verify:", err)
		return exitFailed
	}
	if asJSON {
		e := json.NewEncoder(stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else {
		err = printReport(r, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "sotto verify:", err)
		return exitFailed
	}
	failures := r.Failures()
	for _, f := range failures {
		fmt.Fprintln(stderr, "sotto verify:", f)
	}
	if len(failures) > 0 {
		return exitFailed
	}
	return exitOK
}

func printReport(r *verify.Report, w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "set\tsource\tevidence\tcases\tpassed\tspecification\tSHA-256")
	for _, f := range r.Files {
		for _, s := range f.Sets {
			evidence := "ours"
			if s.Independent {
				evidence = "independent"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n", strings.TrimSuffix(f.Name, ".json"), s.Source, evidence, s.Cases, s.Passed, f.Spec, f.SHA256)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "total: files=%d cases=%d passed=%d independent=%d\n", len(r.Files), r.Cases, r.Passed, r.Independent)
	return err
}
