// Peer is Sotto as a process: any number of parties, each with its stores in
// memory, driven by one JSON object a line on standard input and answering
// with one a line on standard output, strictly in order. Programs in any
// language hold conversations with it, to check that both understand the
// protocol alike.
//
//	go run ./testvectors/peer [--family signal|whatsapp] [--quiet-start]
//
// README.md beside this file lists the commands. It is a test program: it
// hands out private keys, and takes them as arguments. Its code is in package
// testvectors/internal/peer.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/testvectors/internal/peer"
)

func main() {
	family := flag.String("family", "signal", "which version-3 family all parties write: `signal or whatsapp`")
	quiet := flag.Bool("quiet-start", false, "do not announce readiness")
	flag.Parse()
	families := map[string]ratchet.Family{"signal": ratchet.Signal, "whatsapp": ratchet.WhatsApp}
	f, ok := families[*family]
	if !ok || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := peer.Serve(os.Stdin, os.Stdout, f, *quiet); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}
