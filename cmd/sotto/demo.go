package main

import (
	"flag"
	"fmt"
	"io"

	"github.com/sotto-im/sotto/internal/demo"
)

// runDemo runs "sotto demo".
func runDemo(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sotto demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	o := demo.Options{Open: demo.Memory}
	flags.Uint64Var(&o.Seed, "seed", 1, "what the network does, who writes when, and who is killed")
	flags.IntVar(&o.Messages, "messages", 24, "how many messages are written in the conversation, 1 to 10000")
	help := false
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), "usage: sotto demo [--seed N] [--messages N]\n\n", demo.Story, "\nflags:\n")
		flags.PrintDefaults()
	}
	flags.BoolFunc("h", "print this", func(string) error { help = true; return nil })
	flags.BoolFunc("help", "print this", func(string) error { help = true; return nil })
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	if help {
		flags.SetOutput(stdout)
		flags.Usage()
		return exitOK
	}
	if flags.NArg() > 0 || o.Messages < 1 || o.Messages > demo.MaxMessages {
		flags.Usage()
		return exitUsage
	}
	if err := demo.Run(o, stdout); err != nil {
		fmt.Fprintln(stderr, "sotto demo:", err)
		return exitFailed
	}
	return exitOK
}
