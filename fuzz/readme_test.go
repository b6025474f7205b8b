package fuzz

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// README.md lists every target of the repository in the row of its package, and no other.
func TestREADMEListsTargets(t *testing.T) {
	b, err := os.ReadFile("README.md")
	require.NoError(t, err)
	name := regexp.MustCompile(`Fuzz[A-Za-z0-9_]+`)
	listed, targets := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.Contains(cells[1], "Fuzz") {
			continue
		}
		for _, target := range name.FindAllString(cells[1], -1) {
			listed[strings.TrimSpace(cells[2])+" "+target] = true
		}
	}
	declared := regexp.MustCompile(`(?m)^func (Fuzz[A-Za-z0-9_]+)`)
	root := os.DirFS("..")
	require.NoError(t, fs.WalkDir(root, ".", func(file string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		b, err := fs.ReadFile(root, file)
		for _, m := range declared.FindAllStringSubmatch(string(b), -1) {
			targets[path.Dir(file)+" "+m[1]] = true
		}
		return err
	}))
	require.Greater(t, len(targets), 30)
	require.Equal(t, targets, listed)
}
