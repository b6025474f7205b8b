package main

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// runDemo runs the command and returns the exit code, the output, and the
// output without what comes from the keys.
func runDemo(args ...string) (code int, out, schedule string) {
	var stdout, stderr bytes.Buffer
	code = run(append([]string{"demo"}, args...), &stdout, &stderr)
	out = stdout.String() + stderr.String()
	schedule = keyBytes.ReplaceAllString(out, "key ······")
	return code, out, safetyNumber.ReplaceAllString(schedule, "digits")
}

var (
	keyBytes     = regexp.MustCompile(`key [0-9a-f]{6}`)
	safetyNumber = regexp.MustCompile(`(\d{5} ){11}\d{5}`)
)

func TestDemo(t *testing.T) {
	code, out, schedule := runDemo()
	require.Equal(t, exitOK, code)
	require.Regexp(t, `initial .*ordinary (?s:.*)late: (?s:.*)`, strings.ReplaceAll(out, "\n", " "))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Less(t, len(lines), 80, "it has to be readable")
	require.Equal(t, "summary: sent=24 dropped=4 delivered=20 duplicates=4 late=5 dh_steps=8 refused=0 lost=0 repeated=0 wrong=0 seed=1",
		lines[len(lines)-1])

	// The safety number is the same on both screens.
	numbers := safetyNumber.FindAllString(out, -1)
	require.Len(t, numbers, 2)
	require.Equal(t, numbers[0], numbers[1])

	// A second run has other keys and the same schedule.
	_, again, scheduleAgain := runDemo("--seed", "1", "--messages=24")
	require.NotEqual(t, out, again)
	require.Equal(t, schedule, scheduleAgain)
}

// Every seed tells a conversation in which nothing is lost, and together they
// show all that a network can do.
func TestSeeds(t *testing.T) {
	const seeds = 200
	var total counts
	bobOffline := 0
	play := func(seed uint64) (*conversation, string) {
		c, err := newConversation(seed)
		require.NoError(t, err)
		var out bytes.Buffer
		require.Equal(t, exitOK, c.show(24+int(seed%50), &out, &out), "seed %d\n%s", seed, &out)
		return c, out.String()
	}
	for seed := range uint64(seeds) {
		c, out := play(seed)
		n := c.account.counts
		total.dropped += n.dropped
		total.duplicates += n.duplicates
		total.late += n.late
		total.dhSteps += n.dhSteps
		bobOffline += strings.Count(out, "Bob goes offline")
		require.Contains(t, out, "is back\n")
		if seed%10 == 0 {
			again, _ := play(seed)
			require.Equal(t, c.account.summary(seed), again.account.summary(seed))
		}
	}
	require.Greater(t, total.dropped, seeds)
	require.Greater(t, total.duplicates, seeds)
	require.Greater(t, total.late, seeds)
	require.Greater(t, total.dhSteps, 10*seeds)
	require.Greater(t, bobOffline, seeds/4)
}

func TestAccountIsBounded(t *testing.T) {
	code, out, _ := runDemo("--messages", "2000")
	require.Equal(t, exitOK, code)
	require.Less(t, strings.Count(out, "\n"), maxLines+10)
	require.Contains(t, out, "more lines\nSafety number")
	require.Contains(t, out, "\nsummary: sent=2000 ")
}

func TestFewMessages(t *testing.T) {
	for _, n := range []string{"1", "2", "3", "9", "14", "15"} {
		for _, seed := range []string{"1", "2", "3", "4"} {
			code, out, _ := runDemo("--messages", n, "--seed", seed)
			require.Equal(t, exitOK, code, out)
			require.Contains(t, out, "summary: sent="+n+" ")
		}
	}
}

// A demo that cannot fail shows nothing. Each sabotage breaks one thing that
// the library or the network has to do, and each kind of damage is told apart.
func TestSabotage(t *testing.T) {
	for _, test := range []struct {
		name     string
		sabotage func(*conversation)
		found    func(counts) int
		word     string
	}{
		{"a network that alters messages",
			func(c *conversation) { c.net = &tampering{network: c.net} },
			func(n counts) int { return min(n.lost, n.refused) }, "LOST:"},
		{"a reader that stores its session and no text",
			func(c *conversation) { c.bob.disk = sabotaged{c.bob.disk, loseInbox} },
			func(n counts) int { return n.lost }, "LOST:"},
		{"a text that changes",
			func(c *conversation) { c.bob.disk = sabotaged{c.bob.disk, alterInbox} },
			func(n counts) int { return min(n.wrong, n.lost) }, "WRONG:"},
		{"a reader that does not store its session before it acknowledges",
			func(c *conversation) { c.bob.disk = sabotaged{c.bob.disk, forgetReading} },
			func(n counts) int { return n.repeated }, "REPEATED:"},
		{"a writer that does not store its session before it sends",
			func(c *conversation) { c.alice.disk = sabotaged{c.alice.disk, forgetWriting} },
			func(n counts) int { return n.lost }, "LOST:"},
		{"a message that is lost and looks like a duplicate",
			func(c *conversation) { c.net = &swallowing{network: c.net} },
			func(n counts) int { return n.lost }, "LOST:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := 0
			for seed := range uint64(6) {
				c, err := newConversation(seed)
				require.NoError(t, err)
				test.sabotage(c)
				var out, errs bytes.Buffer
				code := c.show(60, &out, &errs)
				n := test.found(c.account.counts)
				found += n
				if n > 0 {
					require.Equal(t, exitFailed, code)
					require.Contains(t, out.String(), test.word)
					require.Equal(t, "sotto demo: something that must hold did not\n", errs.String())
				}
			}
			require.Positive(t, found)
		})
	}
}

// tampering flips a bit of each seventh message.
type tampering struct {
	network
	n int
}

func (t *tampering) send(p packet) fate {
	if t.n++; t.n%7 == 0 {
		p.body = bytes.Clone(p.body)
		p.body[len(p.body)-1] ^= 1
	}
	return t.network.send(p)
}

// swallowing delivers each seventh packet with the content of the one before,
// which the reader rightly takes for a duplicate.
type swallowing struct {
	network
	n    int
	last packet
}

func (s *swallowing) send(p packet) fate {
	if s.n++; s.n%7 == 0 && s.last.to == p.to {
		p.typ, p.body = s.last.typ, s.last.body
	}
	s.last = p
	return s.network.send(p)
}

// sabotaged is a disk that writes what change makes of a commit.
type sabotaged struct {
	disk
	change func(d disk, rows []row) []row
}

func (s sabotaged) commit(rows ...row) { s.disk.commit(s.change(s.disk, rows)...) }

func has(rows []row, prefix string) bool {
	for _, r := range rows {
		if strings.HasPrefix(r.key, prefix) {
			return true
		}
	}
	return false
}

func without(rows []row, prefix string) (kept []row) {
	for _, r := range rows {
		if !strings.HasPrefix(r.key, prefix) {
			kept = append(kept, r)
		}
	}
	return kept
}

func loseInbox(_ disk, rows []row) []row { return without(rows, rowInbox) }

func alterInbox(_ disk, rows []row) (changed []row) {
	for _, r := range rows {
		if strings.HasPrefix(r.key, rowInbox) && r.key != rowInboxLen {
			r.value = append([]byte("not "), r.value...)
		}
		changed = append(changed, r)
	}
	return changed
}

func forgetReading(d disk, rows []row) []row {
	if has(rows, rowInbox) && d.get(rowSession) != nil {
		return without(rows, rowSession)
	}
	return rows
}

func forgetWriting(_ disk, rows []row) []row {
	if has(rows, rowOutbox) {
		return without(rows, rowSession)
	}
	return rows
}

// A sabotage of the books: a network that says dropped and delivers.
type lying struct{ network }

func (l lying) send(p packet) fate {
	f := l.network.send(p)
	f.dropped = true
	return f
}

func TestTheBooksBalance(t *testing.T) {
	c, err := newConversation(1)
	require.NoError(t, err)
	c.net = lying{c.net}
	var out bytes.Buffer
	require.Equal(t, exitFailed, c.show(24, &out, &out))
}

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args   []string
		code   int
		stdout bool // else stderr
		want   string
	}{
		{nil, exitUsage, false, "usage: sotto <command>"},
		{[]string{"help"}, exitOK, true, "usage: sotto <command>"},
		{[]string{"--help"}, exitOK, true, "usage: sotto <command>"},
		{[]string{"dmeo"}, exitUsage, false, `sotto: no command "dmeo"`},
		{[]string{"demo", "-h"}, exitOK, true, "usage: sotto demo"},
		{[]string{"demo", "--help"}, exitOK, true, "-messages"},
		{[]string{"demo", "--sed", "1"}, exitUsage, false, "usage: sotto demo"},
		{[]string{"demo", "--seed", "x"}, exitUsage, false, "usage: sotto demo"},
		{[]string{"demo", "--messages", "0"}, exitUsage, false, "usage: sotto demo"},
		{[]string{"demo", "--messages", "100001"}, exitUsage, false, "usage: sotto demo"},
		{[]string{"demo", "now"}, exitUsage, false, "usage: sotto demo"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, test.code, run(test.args, &stdout, &stderr), "%q", test.args)
		if !test.stdout {
			stdout, stderr = stderr, stdout
		}
		require.Contains(t, stdout.String(), test.want)
		require.Empty(t, stderr.String())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// A script that reads a cut account must not take it for a good one.
func TestOutputThatCannotBeWritten(t *testing.T) {
	var stderr bytes.Buffer
	require.Equal(t, exitFailed, run([]string{"demo"}, full{}, &stderr))
	require.Contains(t, stderr.String(), "disk full")
}
