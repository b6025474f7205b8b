package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const slowPackage = "cmd/floor/testdata/slow"

var (
	fast    = operation{pkg: slowPackage, name: "Fast", limit: 1.4}
	slow    = operation{pkg: slowPackage, name: "Slow", limit: 1.4}
	noFloor = operation{pkg: slowPackage, name: "NoFloor", limit: 1.4}
)

// The guard fails for an operation that costs twice its floor, names it, and no
// other; and it does not take silence for speed.
func TestGuard(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, guard(&out, []operation{fast}, 30))
	require.Contains(t, out.String(), "Fast")

	err := guard(&out, []operation{fast, slow}, 10)
	require.ErrorContains(t, err, "slow Slow")
	require.NotContains(t, err.Error(), "Fast")

	require.ErrorContains(t, guard(&out, []operation{noFloor}, 5), "NoFloor")
	require.ErrorContains(t, guard(&out, []operation{{pkg: slowPackage, name: "Gone", limit: 1}}, 5), "Gone")
	require.Error(t, guard(&out, []operation{{pkg: "cmd/floor/testdata/gone", name: "Fast"}}, 4))
}

// Every row of the tables is there, or an error is.
func TestTable(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, table(&out, []operation{fast}, []operation{noFloor}, 1))
	require.Contains(t, out.String(), "| slow `Fast` | ")
	require.Contains(t, out.String(), "| slow `NoFloor` | ")
	require.Error(t, table(&out, []operation{noFloor}, nil, 1))
	require.Error(t, table(&out, nil, []operation{{pkg: slowPackage, name: "Gone"}}, 1))
}

func TestGrowth(t *testing.T) {
	linear := curve{slowPackage, "ScaleLinear", "linear", 1}
	square := curve{slowPackage, "ScaleSquare", "square", 1}
	var out bytes.Buffer
	err := growth(&out, []curve{linear, square}, 4)
	require.ErrorContains(t, err, "ScaleSquare")
	require.NotContains(t, err.Error(), "ScaleLinear")
	require.Contains(t, out.String(), "| square | 10: ")
}

func TestSamples(t *testing.T) {
	s := samples{}
	require.NoError(t, s.add("ratchet", `goos: linux
BenchmarkEncrypt/64B 	    1620	      4000 ns/op	  16.06 MB/s	    2064 B/op	       5 allocs/op
BenchmarkEncrypt/64B 	    1620	      3000 ns/op	  16.06 MB/s	    2070 B/op	       4 allocs/op
BenchmarkFloorEncrypt/64B 	 1	      2000 ns/op
PASS
`))
	require.NoError(t, s.add("sesame", "BenchmarkE 10 400 ns/op 100.0 bare-ns 4.0 x/bare\nBenchmarkE 10 300 ns/op 120.0 bare-ns 2.5 x/bare\n"))
	require.Equal(t, sample{ns: 3000, allocs: 4, bytes: 2064}, s["ratchet Encrypt/64B"])

	r, err := s.ratio(operation{pkg: "ratchet", name: "Encrypt/64B"})
	require.NoError(t, err)
	require.Equal(t, 1.5, r)
	r, err = s.ratio(operation{pkg: "sesame", name: "E"})
	require.NoError(t, err)
	require.Equal(t, 3.0, r) // the shortest time, the shortest floor

	require.Error(t, s.add("x", "BenchmarkX 1 two ns/op\n"))
}

func TestExponent(t *testing.T) {
	at := func(f func(n float64) float64) (p []point) {
		for _, n := range []float64{0, 10, 100, 1000} {
			p = append(p, point{n, f(n)})
		}
		return p
	}
	require.InDelta(t, 0, exponent(at(func(float64) float64 { return 7 })), 1e-9)
	require.InDelta(t, 1, exponent(at(func(n float64) float64 { return 3 * n })), 1e-9)
	require.InDelta(t, 2, exponent(at(func(n float64) float64 { return n * n })), 1e-9)
	// Under a constant share the end of the curve tells.
	require.InDelta(t, 2, exponent(at(func(n float64) float64 { return 1000 + n*n })), 0.1)
}

// No benchmark that has a floor escapes the guard, and no limit is below its goal.
func TestAllFloorsAreGuarded(t *testing.T) {
	guarded := map[string]bool{}
	for _, o := range operations {
		top, _, _ := strings.Cut(o.name, "/")
		guarded[o.pkg+" "+top] = true
		require.GreaterOrEqual(t, o.limit, o.goal, o.name)
	}
	for _, pkg := range packages(operations) {
		files, err := filepath.Glob("../../" + pkg + "/*_test.go")
		require.NoError(t, err)
		for _, file := range files {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, m := range floors.FindAllStringSubmatch(string(b), -1) {
				require.True(t, guarded[pkg+" "+m[1]], "%s %s", pkg, m[1])
				delete(guarded, pkg+" "+m[1])
			}
		}
	}
	for left := range guarded { // those measure their floors themselves
		require.Contains(t, left, "sesame Device")
	}
}

var floors = regexp.MustCompile(`(?m)^func BenchmarkFloor(\w+)\(`)

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-check", "-scale"}, {"x"}, {"-rounds", "-1"}, {"-no"}} {
		var out, err bytes.Buffer
		require.Equal(t, exitUsage, run(args, &out, &err), args)
	}
}
