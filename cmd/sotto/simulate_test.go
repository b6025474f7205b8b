package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func runSimulate(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(append([]string{"simulate"}, args...), &out, &errs)
	return code, out.String(), progress.ReplaceAllString(errs.String(), "")
}

// progress is told every ten seconds, so on a busy machine.
var progress = regexp.MustCompile(`(?m)^\d+ of \d+ runs, .*\n`)

func TestSimulate(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	code, out, errs := runSimulate("--runs", "130", "--ops", "5", "--seed", "3", "--workers", "3")
	require.Equal(t, exitOK, code)
	require.Empty(t, errs)
	require.Regexp(t, `^summary:( [a-z_]+=\d+)+\n$`, out)
	require.Contains(t, out, " runs=130 operations=650 ")
	require.Contains(t, out, " violations=0 ops=5 seed=3\n")

	// The same, however many at a time.
	_, again, _ := runSimulate("--runs", "130", "--ops", "5", "--seed", "3", "--workers", "1")
	require.Equal(t, out, again)

	// A single run is told, a rule that is broken is found, and the run that the
	// line names is that run.
	code, out, errs = runSimulate("--break", "acknowledge-first", "--runs", "40")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "something that must hold did not")
	require.NotRegexp(t, ` lost=0 `, out)
	line := regexp.MustCompile(`(?m)^seed (\d+): LOST: .*$`).FindStringSubmatch(out)
	require.NotNil(t, line)
	code, out, _ = runSimulate("--break", "acknowledge-first", "--runs", "1", "--seed", line[1])
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "\nVIOLATION: "+line[0]+"\n")
	require.Contains(t, out, "\n"+line[0]+"\n")
	require.Contains(t, out, "\nthe faults stop\n")
}

func TestSimulateHostile(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	code, out, errs := runSimulate("--hostile", "--runs", "2", "--seed", "3", "--workers", "2")
	require.Equal(t, exitOK, code, out)
	require.Empty(t, errs)
	require.Regexp(t, `(?m)^replay +2 +0 +0 +2 +0 +$`, out)
	require.Regexp(t, `(?m)^bad signature +2 +2 +0 +0 +0 +ErrAuthentication 2$`, out)
	require.Regexp(t, `(?m)^summary: runs=2 .* silent=0 violations=0 seed=3$`, out)

	code, out, errs = runSimulate("--hostile", "--break", "ignore-gaps", "--runs", "1")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "changed what a user sees")
	require.Regexp(t, `(?m)^seed 1: a gap that is none: `, out)
	require.Contains(t, out, "VIOLATION: ")

	for _, args := range [][]string{{"--hostile", "--break", "acknowledge-first"}, {"--break", "ignore-gaps"}, {"--hostile", "--runs", "0"}} {
		code, _, errs := runSimulate(args...)
		require.Equal(t, exitUsage, code, args)
		require.Contains(t, errs, "--hostile")
	}
}

func TestSimulateUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--runs", "0"}, {"--runs", "10000001"}, {"--ops", "0"}, {"--ops", "401"}, {"--workers", "0"},
		{"--break", "nothing"}, {"--no-such-flag"}, {"argument"}, {"--seed", "-1"},
	} {
		code, out, errs := runSimulate(args...)
		require.Equal(t, exitUsage, code, args)
		require.Empty(t, out)
		require.Contains(t, errs, "usage: sotto simulate")
	}
	code, out, errs := runSimulate("-h")
	require.Equal(t, exitOK, code)
	require.Empty(t, errs)
	for _, what := range []string{"ignore-revisions", "acknowledge-first", "old_prekey", "-workers"} {
		require.True(t, strings.Contains(out, what), what)
	}
}
