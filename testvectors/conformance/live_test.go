package conformance

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
)

var (
	seed  = flag.Int("seed", 1, "seed of the schedules")
	times = flag.Int("times", 1, "so many times the schedules of a short run")
)

// A peer is a process that speaks the protocol of ../peer. One that is missing
// or does not start is a failure of every test that needs it.
type peer struct {
	name, command string
	family        ratchet.Family
}

var (
	signal    = peer{"libsignal-0.72.1", "node signal-peer/peer.mjs", ratchet.Signal}
	signalNew = peer{"libsignal-0.103.0", "node signal-peer/peer.mjs --release 0.103.0", ratchet.Signal}
	mau       = peer{"mau-0.2.1", "mau-peer/mau-peer", ratchet.WhatsApp}
)

func ours(t *testing.T) peer { return peer{"sotto", quote(buildPeer(t)), ratchet.Signal} }

func oursForWhatsApp(t *testing.T) peer {
	return peer{"sotto-whatsapp", quote(buildPeer(t)) + " --family whatsapp", ratchet.WhatsApp}
}

func quote(path string) string { return "'" + path + "'" }

var peerDir string // removed by TestMain

// buildPeer builds the process of our own, which is never one of an older run.
func buildPeer(t *testing.T) string {
	path, err := builtPeer()
	require.NoError(t, err)
	return path
}

var builtPeer = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sotto-conformance-")
	if err != nil {
		return "", err
	}
	peerDir = dir
	path := filepath.Join(dir, "sotto-peer")
	build := exec.Command("go", "build", "-o", path, "./testvectors/peer")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

// drive runs a driver to its end and returns what it printed and its exit status.
func drive(t *testing.T, script string, a, b peer, args ...string) (string, int) {
	args = append([]string{"drive/" + script, "--a", a.command, "--b", b.command}, args...)
	out, err := exec.CommandContext(t.Context(), "python3", args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err)
		return string(out), 0
	} else {
		return string(out), exit.ExitCode()
	}
}

// A report is the last line of a driver in which all held.
type report struct {
	done    int // schedules or rounds
	stats   map[string]int
	skipped string // what one of the two lacks
}

var (
	okLine = regexp.MustCompile(`(?m)^ok: (\d+) (?:schedules|rounds), .*? s: (.*?)(?:; skipped: (.*))?\n\z`)
	stat   = regexp.MustCompile(`([^,]+?) (\d+)(?:, |$)`)
)

// run runs a driver in which all must hold, and counts its cases.
func run(t *testing.T, script string, a, b peer, n int, args ...string) (r report) {
	out, status := drive(t, script, a, b, append(args, "--seed", strconv.Itoa(*seed))...)
	require.Zero(t, status, out)
	m := okLine.FindStringSubmatch(out)
	require.NotNil(t, m, out)
	r.done, _ = strconv.Atoi(m[1])
	require.Equal(t, n, r.done, out)
	r.stats, r.skipped = map[string]int{}, m[3]
	for _, s := range stat.FindAllStringSubmatch(m[2], -1) {
		r.stats[s[1]], _ = strconv.Atoi(s[2])
	}
	require.GreaterOrEqual(t, r.stats["cases"], 10*n, out)
	count("live peers", r.stats["cases"])
	return r
}

// What the schedules of a mode must have had in them to be worth anything.
var mustHave = map[string][]string{
	"talk": {
		"initiator A", "initiator B", "with prekey", "without prekey", "dropped", "duplicates", "damaged", "out of order", "across turns",
		"repeated PreKey", "delivered", "error DuplicatedMessage",
	},
	"simultaneous": {"starts", "delivered", "dropped", "duplicates", "damaged", "converged after 1"},
	"reset":        {"starts", "delivered", "dropped", "duplicates", "damaged", "converged after 1"},
	"archived":     {"sessions", "late", "duplicates", "converged after 1"},
	"skipped":      {"skipped and read", "duplicates"},
	"group":        {"sent A7", "sent B7", "late joins", "removed and refused", "duplicates", "damaged", "error NoSenderKeyState"},
}

// Random conversations with loss, duplicates, reordering and damage, in which
// either peer begins. See drive/drive.py for what is checked of each message.
func TestConversations(t *testing.T) {
	sotto, whatsapp := ours(t), oursForWhatsApp(t)
	for _, c := range []struct {
		a, b      peer
		mode      string
		schedules int
	}{
		{signal, sotto, "skipped", 1},
		{signal, sotto, "archived", 4},
		{signal, sotto, "talk", 40},
		{signal, sotto, "simultaneous", 30},
		{signal, sotto, "reset", 15},
		{signal, sotto, "group", 40},
		{signal, whatsapp, "archived", 3},
		{signal, whatsapp, "talk", 30},
		{signal, whatsapp, "simultaneous", 15},
		{signal, whatsapp, "reset", 10},
		{signalNew, sotto, "group", 40},
		{mau, whatsapp, "talk", 60},
		{mau, whatsapp, "group", 60},
	} {
		t.Run(c.a.name+"/"+c.b.name+"/"+c.mode, func(t *testing.T) {
			t.Parallel()
			n := c.schedules * *times
			r := run(t, "drive.py", c.a, c.b, n, "--mode", c.mode, "--schedules", strconv.Itoa(n), "--seconds", "36000")
			require.Empty(t, r.skipped)
			for _, what := range mustHave[c.mode] {
				require.Positive(t, r.stats[what], "%s: %v", what, r.stats)
			}
		})
	}
}

// What Sotto writes for Signal's family is not for go.mau.fi/libsignal, which
// must refuse it and store nothing; Sotto reads both.
func TestConversationsOfTwoFamilies(t *testing.T) {
	t.Parallel()
	n := 10 * *times
	r := run(t, "drive.py", mau, ours(t), n, "--schedules", strconv.Itoa(n), "--seconds", "36000")
	require.Positive(t, r.stats["unreadable"])
	require.Positive(t, r.stats["delivered"])
}

// Keys, signatures, agreements, safety numbers, parsed fields and error names,
// and records that move from one process to the other and back.
func TestPrimitivesAndRecords(t *testing.T) {
	sotto, whatsapp := ours(t), oursForWhatsApp(t)
	for _, c := range []struct {
		a, b     peer
		rounds   int
		skipped  string
		mustHave []string
	}{
		{
			a: signal, b: sotto, rounds: 4,
			mustHave: []string{"signatures", "fingerprints", "error names", "sessions moved", "sender keys moved"},
		},
		{
			a: signal, b: whatsapp, rounds: 3,
			mustHave: []string{"signatures", "fingerprints", "error names", "sessions moved", "sender keys of the other family refused"},
		},
		{
			a: signalNew, b: sotto, rounds: 6,
			skipped:  "encrypt (A lacks it)",
			mustHave: []string{"signatures", "fingerprints", "sender keys moved"},
		},
		{
			a: mau, b: whatsapp, rounds: 6,
			skipped:  "fingerprint (A lacks it)",
			mustHave: []string{"signatures", "error names", "messages", "group messages", "sender keys moved"},
		},
	} {
		t.Run(c.a.name+"/"+c.b.name, func(t *testing.T) {
			t.Parallel()
			n := c.rounds * *times
			r := run(t, "cross.py", c.a, c.b, n, "--rounds", strconv.Itoa(n))
			require.Equal(t, c.skipped, r.skipped, "commands that a peer lacks")
			for _, what := range c.mustHave {
				require.Positive(t, r.stats[what], "%s: %v", what, r.stats)
			}
		})
	}
}

// The drivers notice: our own peer with a fault that drive/faulty.py plants.
func TestPlantedFaults(t *testing.T) {
	sotto := ours(t)
	for _, c := range []struct{ fault, script, mode, complaint string }{
		{"plaintext", "drive.py", "talk", `message \d+: \d+ bytes out, \d+ in`},
		{"duplicate", "drive.py", "talk", `duplicate: accepted`},
		{"name", "drive.py", "talk", `want DuplicatedMessage, got InvalidMessage`},
		{"accept", "drive.py", "talk", `damaged.*: accepted`},
		{"lose", "drive.py", "talk", `InvalidMessage: planted`},
		{"counter", "drive.py", "talk", `ciphertext|counter|bytes out`},
		{"noise", "drive.py", "talk", `A: not JSON on standard output`},
		{"status", "drive.py", "talk", `A: exit status 1 at end of input`},
		{"duplicate", "drive.py", "simultaneous", `duplicate: accepted`},
		{"plaintext", "drive.py", "group", `group message \d+: wrong plaintext`},
		{"duplicate", "drive.py", "group", `accepted, want DuplicatedMessage`},
		{"name", "drive.py", "group", `want DuplicatedMessage, got InvalidMessage`},
		{"accept", "drive.py", "group", `accepted, want an error`},
		{"lose", "drive.py", "group", `the stored record changed|InvalidMessage: planted`},
		{"counter", "drive.py", "group", `DuplicatedMessage`},
		{"signature", "cross.py", "", `B accepts a flipped signature|A accepts a flipped signature`},
		{"number", "cross.py", "", `fingerprint`},
		{"name", "cross.py", "", `duplicate: want DuplicatedMessage, got InvalidMessage`},
	} {
		t.Run(c.fault+"/"+c.script+"/"+c.mode, func(t *testing.T) {
			t.Parallel()
			faulty := peer{"faulty", "python3 drive/faulty.py " + c.fault + " " + sotto.command, sotto.family}
			args := []string{"--seed", strconv.Itoa(*seed)}
			if c.mode != "" {
				args = append(args, "--mode", c.mode, "--schedules", "100", "--out", t.TempDir())
			}
			out, status := drive(t, c.script, faulty, sotto, args...)
			require.Equal(t, 1, status, out)
			require.Regexp(t, `(?m)^MISMATCH .*(`+c.complaint+`)`, out)
		})
	}
}

// A peer that is not there is a mismatch and nothing to skip.
func TestMissingPeer(t *testing.T) {
	sotto := ours(t)
	for _, script := range []string{"drive.py", "cross.py"} {
		out, status := drive(t, script, peer{"missing", "./no-such-peer", ratchet.Signal}, sotto)
		require.Equal(t, 1, status, out)
		require.Contains(t, out, "MISMATCH")
	}
}
