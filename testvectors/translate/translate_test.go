package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What stands in vectors/ is what is made of recorded/, and the sums are those of
// all files there: else run "go generate ./testvectors".
func TestUpToDate(t *testing.T) {
	files, err := translations()
	require.NoError(t, err)
	require.Len(t, files, 6)
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../vectors", name))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), name)
	}
	sums, cases, err := sums("../vectors")
	require.NoError(t, err)
	for name, want := range map[string][]byte{"SHA256SUMS": sums, "CASESUMS": cases} {
		got, err := os.ReadFile(filepath.Join("../vectors", name))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), name)
	}
}

// run writes the same anew.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, run(dir))
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, names, 8)
	require.Error(t, run(filepath.Join(dir, "nowhere")))
}
