package main

import (
	"fmt"
	"io"
	"slices"
)

// table prints all operations with their floors, and those without, in Markdown.
func table(w io.Writer, ops, rates []operation, rounds int) error {
	all := slices.Concat(ops, rates)
	b, err := build(packages(all))
	if err != nil {
		return err
	}
	defer b.remove()
	s := samples{}
	for range rounds {
		if err := b.measure(s, all); err != nil {
			return err
		}
	}
	fmt.Fprintln(w, "| operation | time | floor | ratio | goal | allocations | bytes |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|---:|")
	for _, o := range ops {
		r, err := s.ratio(o)
		if err != nil {
			return err
		}
		own, floor := s[o.base()+" "+o.name], s[o.base()+" Floor"+o.name]
		allocs, bytes := fmt.Sprint(own.allocs), fmt.Sprintf("%.0f", own.bytes)
		if own.bare == 0 {
			allocs += fmt.Sprintf(" (floor %v)", floor.allocs)
			bytes += fmt.Sprintf(" (%.0f)", floor.bytes)
		}
		goal := "–"
		if o.goal > 0 {
			goal = fmt.Sprintf("%.2f", o.goal)
		}
		fmt.Fprintf(w, "| %s `%s` | %s | %s | %.2f | %s | %s | %s |\n", o.base(), o.name, ns(own.ns), ns(s.floor(o)), r, goal, allocs, bytes)
	}
	fmt.Fprint(w, "\n| operation | time | goal | allocations | bytes |\n|---|---:|---:|---:|---:|\n")
	for _, o := range rates {
		own := s[o.base()+" "+o.name]
		if own.ns == 0 {
			return fmt.Errorf("%s %s was not measured", o.pkg, o.name)
		}
		goal := "–"
		if o.goal > 0 {
			goal = ns(o.goal)
		}
		fmt.Fprintf(w, "| %s `%s` | %s | %s | %v | %.0f |\n", o.base(), o.name, ns(own.ns), goal, own.allocs, own.bytes)
	}
	return nil
}

// ns is a time for readers.
func ns(t float64) string {
	switch {
	case t < 1e3:
		return fmt.Sprintf("%.0f ns", t)
	case t < 1e5:
		return fmt.Sprintf("%.2f µs", t/1e3)
	case t < 1e6:
		return fmt.Sprintf("%.0f µs", t/1e3)
	}
	return fmt.Sprintf("%.2f ms", t/1e6)
}
