package lamport

import (
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/sotto-im/sotto/"

func deps(t *testing.T) []string {
	out, err := exec.Command("go", "list", "-deps", module+"lamport").Output()
	require.NoError(t, err)
	list := strings.Fields(string(out))
	require.Contains(t, list, module+"internal/wire")
	return list
}

// A server that imports this package gets no function that takes a key.
func TestNoCryptographyInDeps(t *testing.T) {
	for _, p := range deps(t) {
		require.False(t, p == "crypto" || strings.HasPrefix(p, "crypto/") || strings.HasPrefix(p, "golang.org/x/crypto") ||
			strings.HasPrefix(p, "filippo.io"), p)
		if strings.HasPrefix(p, module) {
			require.Contains(t, []string{module + "lamport", module + "internal/wire"}, p)
		}
	}
}

// E10: of the protobuf runtime there is protowire and what that needs.
func TestNoProtojsonInCore(t *testing.T) {
	for _, p := range deps(t) {
		if strings.HasPrefix(p, "google.golang.org/protobuf/") {
			require.Contains(t, []string{"google.golang.org/protobuf/encoding/protowire", "google.golang.org/protobuf/internal/errors",
				"google.golang.org/protobuf/internal/detrand"}, p)
		}
	}
}

// E10: two modules stand behind this package, ours and protobuf.
func TestModuleAllowlist(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", module+"lamport").Output()
	require.NoError(t, err)
	for _, m := range strings.Fields(string(out)) {
		require.Contains(t, []string{"github.com/sotto-im/sotto", "google.golang.org/protobuf"}, m)
	}
}

// E12: compressing secrets together with what an attacker wrote tells about them.
func TestNoCompressionInCore(t *testing.T) {
	for _, p := range deps(t) {
		require.False(t, strings.HasPrefix(p, "compress/") || strings.Contains(p, "zlib") || strings.Contains(p, "zstd"), p)
	}
}

// The direct imports of the code, tests apart.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	count := 0
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		count++
		src, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range src.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			require.NoError(t, err)
			require.Contains(t, []string{"bytes", "cmp", "encoding/binary", "errors", "math/bits", module + "internal/wire"}, path, f)
		}
	}
	require.NotZero(t, count)
}
