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
	o := demo.Options{Open: demo.Memory}
	flags.Uint64Var(&o.Seed, "seed", 1, "what the network does, who writes when, and who is killed")
	flags.IntVar(&o.Messages, "messages", 24, "how many messages are written in the conversation, 1 to 10000")
	usage := "usage: sotto demo [--seed N] [--messages N]\n\n" + demo.Story
	valid := func() bool { return flags.NArg() == 0 && o.Messages >= 1 && o.Messages <= demo.MaxMessages }
	if code, done := parseFlags(flags, args, usage, stdout, stderr, valid); done {
		return code
	}
	if err := demo.Run(o, stdout); err != nil {
		fmt.Fprintln(stderr, "sotto demo:", err)
		return exitFailed
	}
	return exitOK
}
