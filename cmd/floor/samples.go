package main

import (
	"fmt"
	"strconv"
	"strings"
)

// A sample is the best that was seen of a benchmark.
type sample struct {
	ns            float64
	bare          float64 // the floor in ns, if the benchmark measures it itself
	allocs, bytes float64
}

// samples are the best of all benchmarks, by "package Name".
type samples map[string]sample

// add reads the output of go test.
func (s samples) add(pkg, output string) error {
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") || len(fields)%2 != 0 {
			continue
		}
		values := map[string]float64{}
		for i := 2; i < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return fmt.Errorf("benchmark of %s: %w", pkg, err)
			}
			values[fields[i+1]] = v
		}
		got := sample{ns: values["ns/op"], allocs: values["allocs/op"], bytes: values["B/op"]}
		if ratio := values["x/bare"]; ratio > 0 {
			got.bare = got.ns / ratio
		}
		name := pkg + " " + strings.TrimPrefix(fields[0], "Benchmark")
		if best, ok := s[name]; ok {
			got = sample{min(got.ns, best.ns), min(got.bare, best.bare), min(got.allocs, best.allocs), min(got.bytes, best.bytes)}
		}
		s[name] = got
	}
	return nil
}

// floor is that of an operation, in ns; 0 if it has none.
func (s samples) floor(o operation) float64 {
	if own := s[o.base()+" "+o.name]; own.bare > 0 {
		return own.bare
	}
	return s[o.base()+" Floor"+o.name].ns
}

// ratio is what an operation costs as a multiple of its floor.
func (s samples) ratio(o operation) (float64, error) {
	ns, floor := s[o.base()+" "+o.name].ns, s.floor(o)
	if ns == 0 || floor == 0 {
		return 0, fmt.Errorf("%s %s, or its floor, was not measured", o.pkg, o.name)
	}
	return ns / floor, nil
}
