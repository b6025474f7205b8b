package demo

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// play runs a conversation that nobody sabotages.
func play(t *testing.T, seed uint64, messages int) (c *conversation, out string) {
	t.Helper()
	c, err := newConversation(Options{Seed: seed, Open: Memory})
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, c.show(messages, &b), "seed %d\n%s", seed, &b)
	return c, b.String()
}

// hideKeys leaves what does not come from the keys.
func hideKeys(out string) string {
	return safetyNumber.ReplaceAllString(keyBytes.ReplaceAllString(out, "······"), "digits")
}

var (
	keyBytes     = regexp.MustCompile(`\b[0-9a-f]{6}\b`)
	safetyNumber = regexp.MustCompile(`(\d{5} ){11}\d{5}`)
)

func TestDemo(t *testing.T) {
	_, out := play(t, 1, 24)
	for _, what := range []string{" initial", ", late: ", "DH step", "is dropped", "the answer is lost", "is sent again",
		", as before", "waits in the outbox", "holds it back", "recognises", "the connection breaks", "after 3",
		"not accepted without one for laptop", "is gone with it", "Bob has installed anew; waits", "cannot read", "MARKED",
		"is killed when", "of the transaction", "after the commit", "before the commit"} {
		require.Contains(t, out, what)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Less(t, len(lines), 120, "it has to be readable")
	require.Equal(t, wantSummary, lines[len(lines)-1])
	require.Len(t, safetyNumber.FindAllString(out, -1), 2)

	// A second run has other keys and the same schedule.
	_, again := play(t, 1, 24)
	require.NotEqual(t, out, again)
	require.Equal(t, hideKeys(out), hideKeys(again))
}

const wantSummary = "summary: sent=23 gone=1 submits=33 resubmitted=10 as_before=4 repaired=3 cuts=6 kills=4 gaps=6 delivered=36 duplicates=16 hints=4 dropped=3 late=2 dh_steps=17 marked=10 unreadable=1 refused=0 lost=0 repeated=0 wrong=0 out_of_order=0 reused=0 seed=1"

// Every seed tells a conversation in which nothing is lost, and together they
// show all that a network and an operating system can do.
func TestSeeds(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	const seeds = 60
	var total counts
	bobOffline, back, committed := 0, 0, 0
	for seed := range uint64(seeds) {
		messages := 15 + int(seed%12)
		c, out := play(t, seed, messages)
		n := c.account.counts
		total.dropped += n.dropped
		total.duplicates += n.duplicates
		total.late += n.late
		total.dhSteps += n.dhSteps
		total.resubmitted += n.resubmitted
		total.asBefore += n.asBefore
		total.repaired += n.repaired
		total.cuts += n.cuts
		total.kills += n.kills
		total.gaps += n.gaps
		total.gone += n.gone
		total.unreadable += n.unreadable
		total.marked += n.marked
		bobOffline += strings.Count(out, "Bob goes offline")
		committed += strings.Count(out, "just after the commit")
		back += strings.Count(out, "is back\n")
		require.Equal(t, 2, strings.Count(out, "confirms his new key"), "both devices notice")
		if seed%10 == 0 {
			again, out2 := play(t, seed, messages)
			require.Equal(t, c.account.summary(seed), again.account.summary(seed))
			require.Equal(t, hideKeys(out), hideKeys(out2))
		}
	}
	for _, n := range []int{total.dropped, total.duplicates, total.late, total.resubmitted, total.asBefore, total.repaired,
		total.cuts, total.kills, total.gaps, total.unreadable, total.marked} {
		require.Greater(t, n, seeds/2, "%+v", total)
	}
	require.Greater(t, total.dhSteps, 10*seeds)
	require.Greater(t, total.gone, seeds/4)
	require.Greater(t, bobOffline, seeds/8)
	require.Greater(t, back, seeds/2)
	require.Greater(t, committed, seeds/8)
}

func TestAccountIsBounded(t *testing.T) {
	_, out := play(t, 1, 600)
	require.Less(t, strings.Count(out, "\n"), maxLines+10)
	require.Contains(t, out, "more lines\nsummary: ")
}

func TestFewMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	for n := range 12 {
		for seed := range uint64(6) {
			_, out := play(t, seed, n+1)
			require.Equal(t, n+1 >= shortest, strings.Contains(out, "installs anew"))
		}
	}
}

// A database that cannot be opened, or that fails, ends the demo with its error.
func TestDatabaseErrors(t *testing.T) {
	errDisk := errors.New("disk failed")
	require.ErrorIs(t, Run(Options{Open: func(string) (Do, error) { return nil, errDisk }}, new(bytes.Buffer)), errDisk)
	require.ErrorIs(t, Run(Options{Seed: 1, Messages: 24, Open: func(name string) (Do, error) {
		if name == "bob2" {
			return nil, errDisk
		}
		return Memory(name)
	}}, new(bytes.Buffer)), errDisk)
}
