// Package rules holds no code, only tests of the rules that the module lives
// by: what may import what, what no package may call, and that SPEC.md, the
// code and the tests cite each other truly.
package rules
