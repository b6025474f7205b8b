package main

import (
	"fmt"
	"io"
	"strings"
)

// minRounds are what an operation is measured at least: an unlucky floor makes
// the ratio look better than it is.
const minRounds = 5

// guard fails if the ratio of an operation stays over its limit in all rounds.
func guard(w io.Writer, ops []operation, rounds int) error {
	b, err := build(packages(ops))
	if err != nil {
		return err
	}
	defer b.remove()
	s, left := samples{}, ops
	for round := 1; round <= rounds && len(left) > 0; round++ {
		if err := b.measure(s, left); err != nil {
			return err
		}
		if round >= minRounds {
			if left, err = s.over(left); err != nil {
				return err
			}
		}
	}
	for _, o := range ops {
		r, err := s.ratio(o)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%-10s %-28s %6.2f × floor, limit %.2f\n", o.base(), o.name, r, o.limit)
	}
	if len(left) == 0 {
		return nil
	}
	var names []string
	for _, o := range left {
		names = append(names, o.base()+" "+o.name)
	}
	return fmt.Errorf("slower than the limit allows: %s", strings.Join(names, ", "))
}

// over are the operations over their limits.
func (s samples) over(ops []operation) (over []operation, err error) {
	for _, o := range ops {
		r, err := s.ratio(o)
		if err != nil {
			return nil, err
		}
		if r > o.limit {
			over = append(over, o)
		}
	}
	return over, nil
}

func packages(ops []operation) (pkgs []string) {
	seen := map[string]bool{}
	for _, o := range ops {
		if !seen[o.pkg] {
			seen[o.pkg] = true
			pkgs = append(pkgs, o.pkg)
		}
	}
	return pkgs
}
