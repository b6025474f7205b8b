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
	return code, out, hideKeys(out)
}

func hideKeys(out string) string {
	return safetyNumber.ReplaceAllString(keyBytes.ReplaceAllString(out, "key ······"), "digits")
}

var (
	keyBytes     = regexp.MustCompile(`key [0-9a-f]{6}`)
	safetyNumber = regexp.MustCompile(`(\d{5} ){11}\d{5}`)
)

func TestDemo(t *testing.T) {
	code, out, schedule := runDemo()
	require.Equal(t, exitOK, code)
	for _, what := range []string{"initial ", "ordinary ", ", late: ", "DH step", "is dropped", "the answer is lost", "is sent again",
		", as before", "waits in the outbox", "holds it back", "recognises", "the connection breaks", "after 3"} {
		require.Contains(t, out, what)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Less(t, len(lines), 120, "it has to be readable")
	require.Equal(t, wantSummary, lines[len(lines)-1])

	// The safety number is the same on both screens.
	numbers := safetyNumber.FindAllString(out, -1)
	require.Len(t, numbers, 2)
	require.Equal(t, numbers[0], numbers[1])

	// A second run has other keys and the same schedule.
	_, again, scheduleAgain := runDemo("--seed", "1", "--messages=24")
	require.NotEqual(t, out, again)
	require.Equal(t, schedule, scheduleAgain)
}

const wantSummary = "summary: sent=24 submits=30 resubmitted=6 as_before=5 cuts=8 gaps=3 delivered=24 duplicates=7" +
	" hints=9 dropped=3 late=2 dh_steps=8 refused=0 lost=0 repeated=0 wrong=0 out_of_order=0 seed=1"

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
		require.Equal(t, exitOK, c.show(24+int(seed%20), &out, &out), "seed %d\n%s", seed, &out)
		return c, out.String()
	}
	for seed := range uint64(seeds) {
		c, out := play(seed)
		n := c.account.counts
		total.dropped += n.dropped
		total.duplicates += n.duplicates
		total.late += n.late
		total.dhSteps += n.dhSteps
		total.resubmitted += n.resubmitted
		total.asBefore += n.asBefore
		total.cuts += n.cuts
		total.gaps += n.gaps
		bobOffline += strings.Count(out, "Bob goes offline")
		require.Contains(t, out, "is back\n")
		if seed%10 == 0 {
			again, out2 := play(seed)
			require.Equal(t, c.account.summary(seed), again.account.summary(seed))
			require.Equal(t, hideKeys(out), hideKeys(out2))
		}
	}
	for _, n := range []int{total.dropped, total.duplicates, total.late, total.resubmitted, total.asBefore, total.cuts, total.gaps} {
		require.Greater(t, n, seeds, "%+v", total)
	}
	require.Greater(t, total.dhSteps, 10*seeds)
	require.Greater(t, bobOffline, seeds/4)
}

func TestAccountIsBounded(t *testing.T) {
	code, out, _ := runDemo("--messages", "600")
	require.Equal(t, exitOK, code)
	require.Less(t, strings.Count(out, "\n"), maxLines+10)
	require.Contains(t, out, "more lines\nSafety number")
	require.Contains(t, out, "\nsummary: sent=600 ")
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
		{[]string{"demo", "--messages", "10001"}, exitUsage, false, "usage: sotto demo"},
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
