// Defences removes one defence of the library after the other, and runs the test
// of the attack that it stops, which has to fail:
//
//	go run -C tools ./defences
//
// The exit status is 1 if a test passes without its defence, if the code that is
// to be removed is not there once, or if AUDIT.md has another table.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Columns: attack, defence, file, its code, what stands there instead, test.
//
//go:embed defences.tsv
var defences string

func main() {
	log.SetFlags(0)
	log.SetPrefix("defences: ")
	root, err := filepath.Abs("..")
	check(err)
	dir, err := os.MkdirTemp("", "defences")
	check(err)
	defer os.RemoveAll(dir)
	table := "| | Defence | File | Removed | Fails |\n|---|---|---|---|---|\n"
	silent := 0
	for line := range strings.Lines(defences) {
		c := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(c) != 6 {
			log.Fatalf("defences.tsv: %q", line)
		}
		attack, defence, file, code, instead, test := c[0], c[1], c[2], c[3], c[4], c[5]
		table += fmt.Sprintf("| %s | %s | `%s` | `%s` | `%s` |\n", attack, defence, file, strings.ReplaceAll(code, "|", `\|`), test)
		source, err := os.ReadFile(filepath.Join(root, file))
		check(err)
		if n := bytes.Count(source, []byte(code)); n != 1 {
			log.Fatalf("%s has %d times: %s", file, n, code)
		}
		broken := filepath.Join(dir, "broken.go")
		check(os.WriteFile(broken, bytes.Replace(source, []byte(code), []byte(instead), 1), 0o600))
		overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, file): broken}})
		check(err)
		check(os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))

		dot := strings.LastIndexByte(test, '.')
		name := test[dot+1:]
		cmd := exec.Command("go", "test", "-overlay", filepath.Join(dir, "overlay.json"), "-run", "^"+name+"$", "./"+test[:dot])
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("--- FAIL: "+name)) {
			silent++
			fmt.Printf("%s, removed: %s finds nothing:\n%s", defence, test, out)
			continue
		}
		fmt.Printf("%s, removed: %s fails\n", defence, test)
	}
	audit, err := os.ReadFile(filepath.Join(root, "AUDIT.md"))
	check(err)
	if !bytes.Contains(audit, []byte(table)) {
		log.Fatalf("AUDIT.md does not have this table:\n%s", table)
	}
	if silent > 0 {
		log.Fatalf("%d tests find nothing", silent)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
