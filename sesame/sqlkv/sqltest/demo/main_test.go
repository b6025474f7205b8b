package main

import (
	"bytes"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/demo"
)

// The conversation is the same on SQLite as in memory, but for the keys, and the
// files are there afterwards, with what each installation knew; so is the group.
func TestDemoOnFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "files")
	var stdout, stderr, memory bytes.Buffer
	require.Zero(t, run([]string{"--db", dir, "--seed", "3"}, &stdout, &stderr), stderr.String())
	require.NoError(t, demo.Run(demo.Options{Seed: 3, Messages: 24, Open: demo.Memory}, &memory))
	require.Equal(t, 2, strings.Count(stdout.String(), " seed=3\n"), "two parts")
	lastLine := func(b *bytes.Buffer) string {
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		return lines[len(lines)-1]
	}
	require.Equal(t, lastLine(&memory), lastLine(&stdout))
	require.Equal(t, strings.Count(memory.String(), "\n"), strings.Count(stdout.String(), "\n"))
	for _, name := range []string{"phone", "laptop", "bob", "bob2", "group-Alice", "group-tablet", "group-Frank"} {
		db, err := sql.Open("sqlite", filepath.Join(dir, name+".db"))
		require.NoError(t, err)
		var sessions, lines int
		require.NoError(t, db.QueryRow(`SELECT count(*) FROM sotto_rows WHERE substr(k, 1, 14) = CAST('sotto/session/' AS BLOB)`).Scan(&sessions))
		require.NoError(t, db.QueryRow(`SELECT count(*) FROM sotto_rows WHERE substr(k, 1, 7) = CAST('screen/' AS BLOB)`).Scan(&lines))
		require.NoError(t, db.Close())
		require.GreaterOrEqual(t, sessions, 2, name)
		require.Positive(t, lines, name)
	}
	require.Equal(t, 1, run([]string{"--db", dir}, &stdout, &stderr), "not over files of before")
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"--db", "x", "y"}, {"--db", "x", "--messages", "0"}, {"--nothing"}} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, 2, run(args, &stdout, &stderr))
		require.Contains(t, stderr.String(), "-db")
	}
}
