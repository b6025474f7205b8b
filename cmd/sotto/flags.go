package main

import (
	"flag"
	"fmt"
	"io"
)

// parseFlags parses the arguments of a command, and says what it is for when it
// is asked to, on stdout, or used wrongly, on stderr. valid says whether flags and
// the arguments behind them make sense. If done, the command ends with the code.
func parseFlags(flags *flag.FlagSet, args []string, usage string, stdout, stderr io.Writer, valid func() bool) (code int, done bool) {
	flags.SetOutput(stderr)
	help := false
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage, "\nflags:\n")
		flags.PrintDefaults()
	}
	flags.BoolFunc("h", "print this", func(string) error { help = true; return nil })
	flags.BoolFunc("help", "print this", func(string) error { help = true; return nil })
	if err := flags.Parse(args); err != nil {
		return exitUsage, true
	}
	if help {
		flags.SetOutput(stdout)
		flags.Usage()
		return exitOK, true
	}
	if !valid() {
		flags.Usage()
		return exitUsage, true
	}
	return exitOK, false
}
