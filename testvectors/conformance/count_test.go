package conformance

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
)

// cases is how many cases were run, by where their answers come from.
var cases = struct {
	sync.Mutex
	n map[string]int
}{n: map[string]int{}}

func count(source string, n int) {
	cases.Lock()
	defer cases.Unlock()
	cases.n[source] += n
}

// The whole must have at least so many cases of each source.
var leastCases = map[string]int{"Wycheproof": 1136, "live peers": 10_000}

func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	os.RemoveAll(peerDir)
	total := 0
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" &&
		flag.Lookup("test.list").Value.String() == ""
	for _, source := range slices.Sorted(maps.Keys(leastCases)) {
		n, least := cases.n[source], leastCases[source]
		total += n
		fmt.Printf("%s: %d cases\n", source, n)
		if whole && status == 0 && n < least {
			fmt.Printf("FAIL: %s: %d cases, want at least %d\n", source, n, least)
			status = 1
		}
	}
	fmt.Printf("independent cases: %d\n", total)
	os.Exit(status)
}
