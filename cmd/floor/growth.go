package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A curve is a benchmark BenchmarkScale… with sub-benchmarks n=…, and what it
// promises: the exponent of n that its time grows with.
type curve struct {
	pkg, name string
	what      string
	exponent  float64
}

func (c curve) base() string { return operation{pkg: c.pkg}.base() }

// tolerance is by how much a measured exponent may be over the promised one.
const tolerance = 0.15

// A point is the time at a size.
type point struct{ n, ns float64 }

// growth prints how the time of each curve grows, in Markdown, and fails if one
// grows faster than it promises.
func growth(w io.Writer, curves []curve, rounds int) error {
	var ops []operation
	for _, c := range curves {
		ops = append(ops, operation{pkg: c.pkg, name: c.name})
	}
	b, err := build(packages(ops))
	if err != nil {
		return err
	}
	defer b.remove()
	// The collector runs in the long runs only, and would bend the curve.
	b.env = []string{"GOGC=off", "GOMEMLIMIT=2GiB"}
	s := samples{}
	for range rounds {
		if err := b.measure(s, ops); err != nil {
			return err
		}
	}
	var broken []string
	fmt.Fprintln(w, "| what grows | n: time | exponent | promised |")
	fmt.Fprintln(w, "|---|---|---:|---:|")
	for _, c := range curves {
		points, err := s.points(c)
		if err != nil {
			return err
		}
		var cells []string
		for _, p := range points {
			cells = append(cells, fmt.Sprintf("%.0f: %s", p.n, ns(p.ns)))
		}
		e := exponent(points)
		fmt.Fprintf(w, "| %s | %s | %.2f | ≤ %.0f |\n", c.what, strings.Join(cells, " · "), e, c.exponent)
		if e > c.exponent+tolerance {
			broken = append(broken, fmt.Sprintf("%s %s", c.base(), c.name))
		}
	}
	if broken != nil {
		return fmt.Errorf("grows faster than promised: %s", strings.Join(broken, ", "))
	}
	return nil
}

// points are those of a curve, in ascending order.
func (s samples) points(c curve) (points []point, err error) {
	prefix := c.base() + " " + c.name + "/n="
	for name, v := range s {
		n, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		x, err := strconv.ParseFloat(n, 64)
		if err != nil {
			return nil, err
		}
		points = append(points, point{x, v.ns})
	}
	if len(points) < 3 {
		return nil, fmt.Errorf("%s %s has %d points", c.base(), c.name, len(points))
	}
	slices.SortFunc(points, func(a, b point) int { return int(a.n - b.n) })
	return points, nil
}

// exponent is the larger one of two slopes: through the logarithms of all points,
// and of the upper half of them, where a constant share counts less.
func exponent(points []point) float64 {
	return max(slope(points), slope(points[len(points)/2:]))
}

// slope is that of the line of least squares through the logarithms. A point at
// n = 0 has none.
func slope(points []point) float64 {
	var n, sx, sy, sxx, sxy float64
	for _, p := range points {
		if p.n == 0 {
			continue
		}
		x, y := math.Log(p.n), math.Log(p.ns)
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
