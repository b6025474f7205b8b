//go:build valgrind && amd64

package consttime

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const self = "github.com/sotto-im/sotto/internal/consttime"

// A verdict is a line at which a branch or a length may come from a secret,
// because it tells what everybody may know.
type verdict struct{ file, line, why string }

var verdicts = []verdict{
	{"internal/curve/x25519.go", "subtle.ConstantTimeCompare(dst[:], zero[:]) == 1", "whether an agreement is zero, which it never is with a parsed key"},
	{"internal/cbc/cbc.go", "if ok != 1 {", "whether a padding is right: asked when the MAC or the signature was"},
	{"internal/cbc/cbc.go", "return buf[:len(buf)-n], true", "the length of a genuine plaintext"},
	{"ratchet/state.go", "subtle.ConstantTimeCompare(mac[:macSize], m.mac) != 1", "whether a MAC is right"},
	{"ratchet/state.go", "return out[:n+len(plaintext)], nil", "the length of a genuine plaintext"},
	{"senderkey/peer_chain.go", "return out[:n+len(plaintext)], nil", "the length of a genuine plaintext"},
	{"x3dh/identity.go", "id.private.Public() != id.public", "public keys"},
	{"x3dh/prekey.go", "k.private.Public() == k.public", "public keys"},
	{"x3dh/prekey.go", "!r.matches()", "whether they are the same"},
	{"filippo.io/edwards25519", "if b[31] > 127 {", "whether a scalar is reduced, which it always is"},
	{"filippo.io/edwards25519", "if p.x == (field.Element{}) && p.y == (field.Element{}) {", "whether a point was set, which it always is"},
}

// A frame is a line of a report's stack.
type frame struct {
	function, file string
	line           int
}

// report is what memcheck says of one place: the innermost frame first.
type report []frame

// probes runs all probes under valgrind and returns its reports by probe.
func probes(t *testing.T) map[string][]report {
	t.Helper()
	dir := t.TempDir()
	binary, log := filepath.Join(dir, "probes"), filepath.Join(dir, "log")
	// "go test" leaves out the names of lines when it does not keep the binary.
	out, err := exec.Command("go", "test", "-tags", "valgrind", "-c", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := exec.Command("valgrind", "--error-limit=no", "--num-callers=60", "--fullpath-after=", "--log-file="+log,
		binary, "-test.run", "^TestProbes$", "-test.v")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "all probes ran")
	b, err := os.ReadFile(log)
	require.NoError(t, err)
	return parse(b)
}

var frameLine = regexp.MustCompile(`^==\d+==\s+(?:at|by) 0x[0-9A-F]+: (.+) \((.*?)(?::(\d+))?\)$`)

// parse reads the log. A report without a probe in its stack is the runtime's own.
func parse(log []byte) map[string][]report {
	found := map[string][]report{}
	var current report
	for line := range strings.Lines(string(log) + "\n") {
		if m := frameLine.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			n, _ := strconv.Atoi(m[3])
			current = append(current, frame{m[1], m[2], n})
			continue
		}
		for i, f := range current {
			if name, ok := strings.CutPrefix(f.function, self+".probe"); ok {
				found[name] = append(found[name], current[:i+1])
				break
			}
		}
		current = nil
	}
	return found
}

// place is the line that a report is about: the innermost one outside of the
// comparison of memory, which is asked by ==.
func (r report) place() frame {
	for _, f := range r {
		if !strings.Contains(f.file, "/internal/bytealg/") {
			return f
		}
	}
	return frame{}
}

// source is a line of a file.
func (f frame) source(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(f.file)
	if err != nil {
		return ""
	}
	lines := strings.Split(string(b), "\n")
	if f.line < 1 || f.line > len(lines) {
		return ""
	}
	return strings.TrimSpace(lines[f.line-1])
}

// R24, R-5.5-3, and beyond it: no branch and no address depends on a secret.
func TestConstantTime(t *testing.T) {
	found := probes(t)
	t.Run("planted", func(t *testing.T) { planted(t, found) })
	used := map[verdict]bool{}
	for name, reports := range found {
		if strings.HasPrefix(name, "Leak") {
			continue
		}
		for _, r := range reports {
			p := r.place()
			source := p.source(t)
			i := slices.IndexFunc(verdicts, func(v verdict) bool {
				return strings.Contains(p.file, v.file) && strings.Contains(source, v.line)
			})
			if i < 0 {
				t.Errorf("%s: depends on a secret:\n%s", name, r)
				continue
			}
			used[verdicts[i]] = true
		}
	}
	for _, v := range verdicts {
		require.True(t, used[v], "nothing was reported there: %v", v)
	}
}

// planted checks that the check can fail.
func planted(t *testing.T, found map[string][]report) {
	for name, line := range map[string]string{
		"LeakCompare": "if bytes.Equal(a[:], b[:]) {",
		"LeakTable":   "sink = table[a[0]]",
		"LeakBranch":  "if a[0] > 1 {",
	} {
		reports := found[name]
		require.True(t, slices.ContainsFunc(reports, func(r report) bool {
			return strings.Contains(r[len(r)-1].source(t), line)
		}), "%s: %v", name, reports)
	}
}

func (r report) String() string {
	var b strings.Builder
	for _, f := range r {
		fmt.Fprintf(&b, "\t%s %s:%d\n", f.function, f.file, f.line)
	}
	return b.String()
}
