package hostile

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func play(c Config, runs int) *Report {
	total := new(Report)
	for i := range runs {
		c := c
		c.Seed += uint64(i)
		total.Add(Run(c))
	}
	return total
}

// R-8.6-4, R-8.6-5, R-8.10-3, R-9.2-6, R-9.3-4, R-9.3-5, R-9.6-6, R-9.6-7, R-10.3-6, R-10.6-2: whatever
// the server does, it is refused, or reported, or changes nothing that a user
// sees.
func TestHostileServer(t *testing.T) {
	const runs = 4
	r := play(Config{Seed: 1}, runs) // .ci/nightly plays others
	t.Log("\n" + r.Table() + r.Summary())
	require.Empty(t, r.Violations)
	require.Zero(t, r.Bad)
	require.Equal(t, runs, r.Runs)
	require.Greater(t, len(Classes), 70)
	for _, c := range Classes {
		row := r.Rows[c.Name]
		require.Equal(t, runs, row.Tried, c.Name)
		require.Equal(t, runs, row.Refused+row.Reported+row.Harmless, c.Name)
		require.Zero(t, row.Silent, c.Name)
		if row.Harmless > 0 {
			require.Equal(t, runs, row.Harmless, "%s: sometimes nobody notices", c.Name)
		}
		require.NotEmpty(t, c.Does, c.Name)
	}
}

// An oracle that cannot fail shows nothing: each defect of a device is found.
func TestDefectsAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	const most = 12
	require.False(t, Defect("no-such-defect").Known())
	require.True(t, Sound.Known())
	for _, v := range Defects {
		t.Run(string(v.Defect), func(t *testing.T) {
			require.True(t, v.Defect.Known())
			total := new(Report)
			for n := uint64(1); total.Bad == 0; n++ {
				require.LessOrEqual(t, n, uint64(most), "not found")
				total.Add(Run(Config{Seed: n, Break: v.Defect}))
			}
			found := total.Violations[0]
			t.Log(found)

			// The run is found again by the seed that the violation names.
			var trace bytes.Buffer
			again := Run(Config{Seed: found.Seed, Break: v.Defect, Trace: &trace})
			require.Contains(t, again.Violations, found)
			require.Contains(t, trace.String(), "VIOLATION: "+found.String())
		})
	}
}

// A seed is a run, but for the keys.
func TestSeedIsRun(t *testing.T) {
	a, b := Run(Config{Seed: 5}), Run(Config{Seed: 5})
	require.Equal(t, a.Written, b.Written)
	require.Equal(t, a.Summary(), b.Summary())
}

// Runs share nothing.
func TestRunsSideBySide(t *testing.T) {
	want := play(Config{Seed: 1}, 2).Summary()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if got := play(Config{Seed: 1}, 2).Summary(); got != want {
				t.Errorf("%s\nis not\n%s", got, want)
			}
		})
	}
	wg.Wait()
}

// Names are names: no two classes share one, and a class that is not noticed says
// why.
func TestClasses(t *testing.T) {
	names := map[string]bool{}
	for _, c := range Classes {
		require.False(t, names[c.Name], c.Name)
		names[c.Name] = true
		require.NotEmpty(t, c.Must, c.Name)
		require.LessOrEqual(t, len(c.Name), 38, c.Name)
	}
	var r Report
	r.Add(newReport())
	require.Equal(t, len(Classes)+1, strings.Count(r.Table(), "\n"))
	require.True(t, strings.HasSuffix(r.Summary(), "silent=0 violations=0"), r.Summary())
}
