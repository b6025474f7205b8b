// Package peer is Sotto as a test peer: any number of parties, each with its
// stores in memory, driven by one JSON object a line on one side and answering
// with one a line on the other, strictly in order. The README of the command
// testvectors/peer, which is all this on standard input and output, lists the
// commands of the protocol.
//
// Where the code of each idea is: one line in and one out, here; arguments in
// args.go; the names of errors in errors.go; a party, which is a device of
// package sesame, in store.go; what the protocol asks for and a device does not
// offer in rows.go; sending and receiving in conversation.go; the commands in
// commands*.go.
package peer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/sotto-im/sotto/ratchet"
)

// maxLine is the length of the longest line that is looked at, in bytes and
// without its newline.
const maxLine = 16 << 20

var errLongLine = errors.New("line too long")

// An answer is one line out.
type answer struct {
	ID     json.RawMessage `json:"id"` // as the request has it; null if that cannot be read
	OK     bool            `json:"ok"`
	Result any             `json:"result,omitempty"`
	Error  *failure        `json:"error,omitempty"`
}

// Serve answers every line of in until its end. All parties write the messages
// of family. The first line out announces readiness, unless quiet.
func Serve(in io.Reader, out io.Writer, family ratchet.Family, quiet bool) error {
	r, w := bufio.NewReaderSize(in, 64<<10), bufio.NewWriter(out)
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	put := func(a answer) error {
		if err := lines.Encode(a); err != nil {
			return err
		}
		return w.Flush() // the other side waits for it
	}

	p := newPeer(family)
	if !quiet {
		ready := struct {
			Ready   bool   `json:"ready"`
			Version string `json:"version"`
		}{true, version()}
		if err := put(answer{ID: json.RawMessage("0"), OK: true, Result: ready}); err != nil {
			return err
		}
	}
	for {
		line, err := readLine(r)
		var a answer
		switch {
		case err == nil:
			a = p.answer(line)
		case errors.Is(err, errLongLine):
			a = refuse(nil, badRequest("a line over %d bytes", maxLine))
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
		if err := put(a); err != nil {
			return err
		}
	}
}

// readLine returns the next line without its newline. A line that is too long
// is read to its end, of which nothing is kept, and is errLongLine; the next
// one is sound again.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		end := err == nil || errors.Is(err, io.EOF)
		if !end && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		part = bytes.TrimSuffix(part, []byte("\n"))
		if long = long || len(line)+len(part) > maxLine; long {
			line = nil
		} else {
			line = append(line, part...)
		}
		switch {
		case !end:
		case long:
			return nil, errLongLine
		case err != nil && len(line) == 0:
			return nil, io.EOF
		default: // the last line may lack its newline
			return line, nil
		}
	}
}
