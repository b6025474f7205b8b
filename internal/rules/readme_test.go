package rules

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The README's example is the tested one, to the letter; and the README stays
// short.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	readme := string(b)
	require.Less(t, strings.Count(readme, "\n"), 200)

	_, rest, ok := strings.Cut(readme, "```go\n")
	require.True(t, ok)
	code, _, ok := strings.Cut(rest, "\n```")
	require.True(t, ok)

	b, err = os.ReadFile("../../ratchet/example_test.go")
	require.NoError(t, err)
	_, example, ok := strings.Cut(string(b), "func Example() {\n")
	require.True(t, ok)
	example, _, ok = strings.Cut(example, "\n\n\t// Output:")
	require.True(t, ok)
	lines := strings.Split(example, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "\t")
	}
	require.Equal(t, strings.Join(lines, "\n"), code)

	for _, command := range []string{"go run ./cmd/sotto demo", "go run ./cmd/sotto simulate", "go run ./cmd/sotto verify", "go test ./..."} {
		require.Contains(t, readme, "\n"+command+"\n")
	}
}
