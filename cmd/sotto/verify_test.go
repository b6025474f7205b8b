package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/verify"
	"github.com/sotto-im/sotto/testvectors"
)

func runVerify(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(append([]string{"verify"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestVerify(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	code, out, errs := runVerify()
	require.Equal(t, exitOK, code)
	require.Empty(t, errs)
	require.Regexp(t, `(?m)^set +source +evidence +cases +passed +specification +SHA-256$`, out)
	require.Regexp(t, `(?m)^rfc4231_hmac_sha256 +RFC 4231 +independent +7 +7 +RFC 4231 §4; SPEC\.md §5\.2, §5\.4 +[0-9a-f]{64}$`, out)
	require.Regexp(t, `(?m)^libsignal_xeddsa +SPEC\.md §3\.5, where libsignal accepts +ours +9 +9 `, out)
	require.Regexp(t, `\ntotal: files=\d+ cases=\d+ passed=\d+ independent=\d+\n$`, out)

	code, out, errs = runVerify("--json")
	require.Equal(t, exitOK, code)
	require.Empty(t, errs)
	var r verify.Report
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.NotZero(t, r.Independent)
	require.Equal(t, r.Cases, r.Passed)
	require.Empty(t, r.Failures())
}

func TestVerifyDir(t *testing.T) {
	const name = "rfc4231_hmac_sha256.json"
	good, err := fs.ReadFile(testvectors.Vectors(), name)
	require.NoError(t, err)
	dir := t.TempDir()
	code, out, errs := runVerify("--dir", dir)
	require.Equal(t, exitFailed, code)
	require.Empty(t, out)
	require.Contains(t, errs, "no vector files")

	require.NoError(t, os.WriteFile(filepath.Join(dir, name), good, 0o600))
	code, out, errs = runVerify("--dir", dir)
	require.Equal(t, exitOK, code)
	require.Empty(t, errs)
	require.Contains(t, out, "total: files=1 cases=7 passed=7 independent=7\n")

	for old, want := range map[string]string{
		`"tag": "b0`:          name + ": tcId 1: tag: byte 0 of 32 is b0, want b1",
		`"numberOfTests": 7`:  name + ": declares 8 cases, 7 were run",
		`hmac_sha256_v1.json`: name + `: there is no schema "hmac_sha256_v2.json"`,
	} {
		bad := bytes.Replace(good, []byte(old), []byte(map[string]string{
			`"tag": "b0`: `"tag": "b1`, `"numberOfTests": 7`: `"numberOfTests": 8`, `hmac_sha256_v1.json`: `hmac_sha256_v2.json`,
		}[old]), 1)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), bad, 0o600))
		for _, format := range []string{"--json=false", "--json"} {
			code, out, errs = runVerify("--dir", dir, format)
			require.Equal(t, exitFailed, code)
			require.Contains(t, errs, want)
			require.NotEmpty(t, out)
		}
	}
	code, _, errs = runVerify("--dir", filepath.Join(dir, "nowhere"))
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, filepath.Join(dir, "nowhere")+": no such file or directory")
}

func TestVerifyUsage(t *testing.T) {
	for _, args := range [][]string{{"--no-such-flag"}, {"argument"}, {"--json=7"}, {"--dir", ""}} {
		code, out, errs := runVerify(args...)
		require.Equal(t, exitUsage, code, args)
		require.Empty(t, out)
		require.Contains(t, errs, "usage: sotto verify")
	}
	code, out, errs := runVerify("-h")
	require.Equal(t, exitOK, code)
	require.Empty(t, errs)
	require.Contains(t, out, "-dir directory")
}

// A table that was cut off is no pass.
func TestVerifyOutputThatCannotBeWritten(t *testing.T) {
	var stderr bytes.Buffer
	for _, asJSON := range []bool{false, true} {
		require.Equal(t, exitFailed, verifyFiles(fstest.MapFS{"a.json": {}}, asJSON, full{}, &stderr))
		require.Contains(t, stderr.String(), "disk full")
	}
}
