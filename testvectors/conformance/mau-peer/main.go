// Command mau-peer is a test peer: go.mau.fi/libsignal (GPL-3.0) as a process that speaks the Sotto peer protocol
// (../../peer/README.md), WhatsApp family. It is its own module and is never linked into Sotto. Written
// from the library's exported signatures and observed behaviour only.
//
// Stores keep serialised records. A command that fails, or panics inside the library, leaves every store as it was;
// --no-rollback keeps what the library had stored before it failed (as its users get it).
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"syscall"

	"go.mau.fi/libsignal/logger"
	"go.mau.fi/libsignal/serialize"
)

const libVersion = "v0.2.1"

var pb = serialize.NewProtoBufSerializer()

type silent struct{}

func (silent) Debug(string, string)   {}
func (silent) Info(string, string)    {}
func (silent) Warning(string, string) {}
func (silent) Error(string, string)   {}
func (silent) Configure(string)       {}

var rollback = true

func answer(line []byte) (out result) {
	var id any
	var store string
	var before *party
	defer func() {
		if v := recover(); v != nil {
			if rollback && before != nil {
				parties[store] = before
			}
			name, msg := errorName(v)
			out = result{"id": id, "ok": false, "error": result{"name": name, "message": msg}}
		}
	}()
	var r any
	if err := json.Unmarshal(line, &r); err != nil {
		bad("not JSON: %v", err)
	}
	m, ok := r.(map[string]any)
	if !ok {
		bad("not a JSON object")
	}
	a := args(m)
	id = a["id"]
	c, _ := a["cmd"].(string)
	f := cmds[c]
	if f == nil {
		bad("unknown command %q", c)
	}
	store = a.str("store", "main")
	if p := parties[store]; p != nil {
		before = p.snapshot()
	}
	return result{"id": id, "ok": true, "result": f(a)}
}

func main() {
	// The protocol owns standard output; whatever the library prints goes to /dev/null.
	fd, err := syscall.Dup(1)
	must(err)
	out := bufio.NewWriter(os.NewFile(uintptr(fd), "protocol"))
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	must(err)
	must(syscall.Dup3(int(null.Fd()), 1, 0))
	var l logger.Loggable = silent{}
	logger.Setup(&l)

	quiet := false
	for _, f := range os.Args[1:] {
		switch f {
		case "--quiet-start":
			quiet = true
		case "--no-rollback":
			rollback = false
		}
	}
	put := func(r result) {
		b, err := json.Marshal(r)
		must(err)
		out.Write(append(b, '\n'))
		if out.Flush() != nil {
			os.Exit(0)
		}
	}
	if !quiet {
		put(result{"id": 0, "ok": true, "result": result{"ready": true, "version": "go.mau.fi/libsignal " + libVersion}})
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<16)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			put(answer(line))
		}
		if err != nil {
			return
		}
	}
}
