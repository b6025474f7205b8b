package rules

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	heading     = regexp.MustCompile(`(?m)^#{2,3} ([0-9A-Z]+(?:\.[0-9]+)*)\.? `)
	requirement = regexp.MustCompile(`\*\*(R-[0-9A-Z.]+-[0-9]+)\*\*`)
	cited       = regexp.MustCompile(`R-[0-9A-Z]+(?:\.[0-9]+)*-[0-9]+`)
	section     = regexp.MustCompile(`(?:SPEC\.md )?§([0-9A-Z]+(?:\.[0-9]+)*)`)
	specLine    = regexp.MustCompile(`SPEC\.md (?:§|appendix )`)
)

func specification(t *testing.T) (text string, sections, requirements map[string]bool) {
	t.Helper()
	b, err := os.ReadFile("../../SPEC.md")
	require.NoError(t, err)
	text = string(b)
	sections, requirements = map[string]bool{}, map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		sections[m[1]] = true
	}
	for _, m := range requirement.FindAllStringSubmatch(text, -1) {
		require.False(t, requirements[m[1]], "%s stands twice", m[1])
		requirements[m[1]] = true
	}
	require.GreaterOrEqual(t, len(sections), 30)
	require.GreaterOrEqual(t, len(requirements), 50)
	return text, sections, requirements
}

// eachGoFile reads all Go files of the repository, nested modules included.
func eachGoFile(t *testing.T, f func(path, text string)) {
	t.Helper()
	require.NoError(t, filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f(path, string(b))
		}
		return nil
	}))
}

// Every requirement of SPEC.md is cited by a test, and no test cites one that
// is not there. A range such as "R-6.1-1 to R-6.1-3" cites all of it.
func TestEveryRequirementIsCited(t *testing.T) {
	_, _, requirements := specification(t)
	seen := map[string]bool{}
	eachGoFile(t, func(path, text string) {
		if !strings.HasSuffix(path, "_test.go") || strings.Contains(path, "internal/rules") {
			return
		}
		for _, c := range cited.FindAllString(expandRanges(text), -1) {
			require.True(t, requirements[c], "%s cites %s, which SPEC.md does not have", path, c)
			seen[c] = true
		}
	})
	for r := range requirements {
		if !seen[r] {
			t.Errorf("%s is not cited by any test", r)
		}
	}
}

var ranges = regexp.MustCompile(`(R-[0-9A-Z]+(?:\.[0-9]+)*-)([0-9]) to R-[0-9A-Z.]+-([0-9])`)

func expandRanges(text string) string {
	return ranges.ReplaceAllStringFunc(text, func(r string) (out string) {
		m := ranges.FindStringSubmatch(r)
		for n := m[2][0]; n <= m[3][0]; n++ {
			out += m[1] + string(n) + " "
		}
		return out
	})
}

// Every section that the code or SPEC.md itself cites is there.
func TestEverySectionResolves(t *testing.T) {
	text, sections, requirements := specification(t)
	check := func(path, line string) {
		for _, m := range section.FindAllStringSubmatch(line, -1) {
			require.True(t, sections[m[1]], "%s cites §%s: %s", path, m[1], line)
		}
	}
	citations := 0
	eachGoFile(t, func(path, text string) {
		if strings.Contains(path, "internal/rules") {
			return
		}
		for _, line := range strings.Split(text, "\n") {
			if specLine.MatchString(line) {
				citations++
				check(path, line)
			}
		}
	})
	require.GreaterOrEqual(t, citations, 50)
	for _, line := range strings.Split(text, "\n") {
		if !strings.Contains(line, "RFC") && !strings.HasPrefix(line, "code as") {
			check("SPEC.md", line)
		}
		for _, c := range cited.FindAllString(line, -1) {
			require.True(t, requirements[c], "SPEC.md cites %s", c)
		}
	}
}
