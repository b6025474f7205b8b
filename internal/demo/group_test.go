package demo

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// playGroup plays the group that nobody sabotages.
func playGroup(t *testing.T, seed uint64) (g *group, out string) {
	t.Helper()
	g, err := newGroup(Options{Seed: seed, Open: Memory})
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, g.show(&b), "seed %d\n%s", seed, &b)
	return g, b.String()
}

func TestGroup(t *testing.T) {
	g, out := playGroup(t, 1)
	for _, what := range []string{"is NEW, its first", "is NEW, for Erin is no member any more", "is NEW, for tablet is no device any more",
		"keys to Frank; chain ", "not accepted, for tablet is no device any more", "without one for tablet", "until its keys come", "whose keys have come",
		"Frank  is given g1, for the server leaks, and cannot read it: the message is from before its distribution",
		"Erin   is given g10, for the server leaks, and cannot read it: it was never given chain ",
		"tablet is given g15, for the server does what its finder says, and cannot read it: it was never given chain ",
		"of revision 2, which is what Bob knows", "is killed when", "the answer is lost", "the connection breaks in it"} {
		require.Contains(t, out, what)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Less(t, len(lines), 90, "it has to be readable")
	for _, line := range lines {
		if !strings.HasPrefix(line, "group: ") {
			require.LessOrEqual(t, utf8.RuneCountInString(line), 200, line)
		}
	}
	require.Equal(t, wantGroup, lines[len(lines)-1])
	require.Contains(t, out, wantTable)

	// A second run has other keys and the same schedule.
	_, again := playGroup(t, 1)
	require.NotEqual(t, out, again)
	require.Equal(t, hideKeys(out), hideKeys(again))
	require.Len(t, g.members, 7)
}

const wantGroup = "group: sent=18 chains=12 for_removed=4 for_lost=3 keys=59 held=7 repaired=4 cuts=30 kills=8 delivered=108 duplicates=23 tried=23 opened=0 refused=0 lost=0 repeated=0 wrong=0 out_of_order=0 reused=0 seed=1"

const wantTable = `Who can read what:  g1  g2  g3  g4  g5  g6  g7  g8  g9 g10 g11 g12 g13 g14 g15 g16 g17 g18
  Alice              w   r   r   w   r   w   r   r   w   w   r   r   r   r   w   r   r   r
  Bob                r   w   r   r   r   r   w   r   r   r   w   w   r   r   r   r   r   r
  Carol              r   r   w   r   r   r   r   r   r   r   r   r   w   r   r   w   r   w
  tablet             r   r   r   r   r   r   r   r   r   r   r   r   r   x   x   x   x   x
  Dave               r   r   r   r   r   r   r   r   r   r   r   r   r   w   r   r   r   r
  Erin               r   r   r   r   w   r   r   r   r   x   r   x   x   x   x   x   x   x
  Frank              n   n   n   n   n   r   r   w   r   r   r   r   r   r   r   r   w   r
`

// Whatever the network does, the same people read the same messages, and nobody
// else does.
func TestGroupSeeds(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	const seeds = 40
	var n groupCounts
	var all counts
	for seed := range uint64(seeds) {
		g, out := playGroup(t, seed)
		require.Contains(t, out, wantTable, "seed %d", seed)
		require.GreaterOrEqual(t, g.account.removed, 3, "Alice, Bob and Carol had written to Erin")
		require.GreaterOrEqual(t, g.account.tried, 18)
		n.heldBack += g.account.heldBack
		n.forLost += g.account.forLost
		all.kills += g.account.kills
		all.cuts += g.account.cuts
		all.repaired += g.account.repaired
		all.duplicates += g.account.duplicates
	}
	for _, n := range []int{n.heldBack, n.forLost, all.kills, all.cuts, all.repaired, all.duplicates} {
		require.Greater(t, n, seeds)
	}
}

// A database that cannot be opened, or that fails, ends the group with its error.
func TestGroupDatabaseErrors(t *testing.T) {
	errDisk := errors.New("disk failed")
	for _, broken := range []string{"group-Alice", "group-Frank"} {
		require.ErrorIs(t, Run(Options{Seed: 1, Messages: 4, Open: func(name string) (Do, error) {
			if name == broken {
				return nil, errDisk
			}
			return Memory(name)
		}}, new(bytes.Buffer)), errDisk)
	}
}
