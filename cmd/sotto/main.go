// Command sotto shows what the library does, and checks it.
package main

import (
	"fmt"
	"io"
	"os"
)

const usage = `Sotto is the Signal protocol for Go. This command shows what it does.

usage: sotto <command> [flags]

commands:
  demo      three devices hold a conversation through a server, over a bad network
  simulate  devices whose databases and processes fail at every step, many times
  inspect   what bytes are, which of them is wrong, and why a message does not decrypt
  verify    runs all known answers, and says who gave them
  help      print this

"sotto <command> -h" describes a command. Exit codes: 0 all is well,
1 something that must hold did not, 2 the command was used wrongly.
`

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main without the process around it.
func run(args []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case "demo":
		return runDemo(args, stdout, stderr)
	case "simulate":
		return simulateRuns(args, stdout, stderr)
	case "inspect":
		return runInspect(args, os.Stdin, stdout, stderr)
	case "verify":
		return verifyVectors(args, stdout, stderr)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return exitOK
	case "":
		fmt.Fprint(stderr, usage)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "sotto: no command %q\n\n%s", command, usage)
		return exitUsage
	}
}
