package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDemo(t *testing.T) {
	for _, args := range [][]string{{"demo"}, {"demo", "--seed", "7", "--messages=9"}} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, exitOK, run(args, &stdout, &stderr))
		require.Empty(t, stderr.String())
		want := " seed=1\n"
		if len(args) > 1 {
			want = " seed=7\n"
		}
		require.Contains(t, stdout.String(), "\nsummary: sent=")
		require.Contains(t, stdout.String(), want)
		require.Contains(t, stdout.String(), "\ngroup: sent=18 ")
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
