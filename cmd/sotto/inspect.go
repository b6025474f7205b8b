package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sotto-im/sotto/internal/inspect"
)

const inspectAbout = `usage: sotto inspect [--as KIND] [--family FAMILY] [--session FILE]... [--json] [INPUT]

Says what bytes are: each field with its offset, what is authenticated, what is
wrong and at which byte. INPUT is a file, or hexadecimal or base64; without it,
or with "-", standard input is read. No keys are needed, and those that are in
a record are not shown.

The kind is guessed, or named:

`

const inspectExamples = `
With a message, --session says whether it would decrypt, and why not. Its FILE
is a session record, ours or libsignal's, a record of sender keys, or one of an
identity key or prekey; it may be given several times. No file is changed.

examples:
  sotto inspect message.bin                   any message, record, frame
  sotto inspect 3408e9f4011221...             in hexadecimal, or in base64
  sotto inspect --as bundle bundle.bin        what is wrong with it as a bundle
  sotto inspect --as frame frame.bin          a frame; --as stream for many
  sotto inspect '22486 45253 ...'             the 60 digits of a safety number
  sotto inspect --session bob.rec message.bin           why "bad MAC"?
  sotto inspect --session id.rec --session spk.rec --session opk.rec first.bin
  sotto inspect --as group-message --family whatsapp --session keys.rec group.bin
  sotto inspect --as window --json window.row

Exit codes: 0 well formed, and it would decrypt; 1 malformed, or it would not
decrypt, or the records given are too few to say; 2 the command was used wrongly.
`

func inspectUsage() string {
	var b strings.Builder
	b.WriteString(inspectAbout)
	for _, k := range inspect.Kinds() {
		fmt.Fprintf(&b, "  %-18s %s, SPEC.md §%s\n", k[0], k[1], k[2])
	}
	b.WriteString(inspectExamples)
	return b.String()
}

// runInspect runs "sotto inspect".
func runInspect(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sotto inspect", flag.ContinueOnError)
	var o inspect.Options
	var files []string
	flags.StringVar(&o.Kind, "as", "", "what it is; guessed if absent")
	flags.StringVar(&o.Family, "family", "", "signal or whatsapp; both if absent")
	flags.Func("session", "a record of the receiver", func(s string) error { files = append(files, s); return nil })
	asJSON := flags.Bool("json", false, "write JSON")
	valid := func() bool { return flags.NArg() <= 1 }
	if code, done := parseFlags(flags, args, inspectUsage(), stdout, stderr, valid); done {
		return code
	}
	wrong := func(err error) int {
		fmt.Fprintln(stderr, "sotto inspect:", err)
		return exitUsage
	}
	b, as, err := readInput(flags.Arg(0), stdin)
	if err != nil {
		return wrong(err)
	}
	if len(b) == 0 && o.Kind == "" {
		// Some records are, when nothing is in them; what fetched it failed more likely.
		return wrong(errors.New("the input is empty; name the kind with --as if it should be"))
	}
	r, err := inspect.Inspect(b, o)
	if err != nil {
		return wrong(err)
	}
	r.Why += "; read as " + as
	if len(files) > 0 {
		var records [][]byte
		for _, f := range files {
			record, _, err := readInput(f, stdin)
			if err != nil {
				return wrong(err)
			}
			records = append(records, record)
		}
		if err := r.Judge(o, records...); err != nil {
			return wrong(err)
		}
	}
	if *asJSON {
		e := json.NewEncoder(stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else {
		err = r.Text(stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "sotto inspect:", err)
		return exitFailed
	}
	if !r.Valid || r.Verdict != nil && !r.Verdict.Decrypts {
		return exitFailed
	}
	return exitOK
}

// readInput reads an argument: a file, "-" for standard input, or the input
// itself in hexadecimal, base64 or digits.
func readInput(arg string, stdin io.Reader) (b []byte, as string, err error) {
	var from io.Reader = strings.NewReader(arg)
	text := false
	if arg == "" || arg == "-" {
		from = stdin
	} else if f, err := os.Open(arg); err == nil {
		defer f.Close()
		from = f
	} else {
		text = true
	}
	if b, err = io.ReadAll(io.LimitReader(from, inspect.MaxInput+1)); err != nil {
		return nil, "", err
	}
	if len(b) > inspect.MaxInput {
		return nil, "", errors.New("an input of over 16 MiB")
	}
	b, as = inspect.Decode(b)
	// A short word, or a path, that could be base64 is a file that is missing.
	if text && (as == "bytes" || as == "base64" && (len(arg) < 16 || arg[0] == '/')) {
		return nil, "", errors.New("no such file, and neither hexadecimal nor base64: " + arg)
	}
	return b, as, nil
}
