package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/inspect"
	"github.com/sotto-im/sotto/testvectors"
)

func runInspectWith(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = runInspect(args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// A retry request of a recorded peer.
const request = "c0422c0a2105761917bfacffd2941f579154b5f79ac7bb129bc6c0ad6259119b18795254c3721080d095ffbc31180180"

func TestInspect(t *testing.T) {
	raw, err := hex.DecodeString(request)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, b, 0o600))
		return name
	}
	var want string
	for _, test := range []struct{ stdin, arg, as string }{
		{"", request, "hex"}, {"", strings.ToUpper(request), "hex"},
		{"", base64.StdEncoding.EncodeToString(raw), "base64"}, {"", base64.RawURLEncoding.EncodeToString(raw), "base64"},
		{string(raw), "-", "bytes"}, {request + "\n", "", "hex"},
		{"", write("raw", raw), "bytes"}, {"", write("text", []byte("0x"+request+"\n")), "hex"},
	} {
		code, out, errs := runInspectWith(test.stdin, test.arg)
		require.Equal(t, exitOK, code, test.arg)
		require.Empty(t, errs)
		require.Contains(t, out, "PlaintextContent, 48 bytes (kind retry")
		require.Contains(t, out, "read as "+test.as+"\n")
		out = strings.ReplaceAll(out, "read as "+test.as, "read")
		require.True(t, want == "" || out == want, "all forms say the same")
		want = out
	}

	// JSON, of an input that is cut.
	code, out, _ := runInspectWith("", "--json", "--as", "retry", request[:60])
	require.Equal(t, exitFailed, code)
	var r inspect.Report
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.False(t, r.Valid)
	require.Equal(t, "retry", r.Kind)
	require.Equal(t, 30, r.Size)
	require.Equal(t, 2, r.Problems[0].Offset)
	require.Contains(t, r.Problems[0].Text, "claims 44 bytes, and 26 follow")

	code, out, _ = runInspectWith("", strings.Repeat("12345 ", 12))
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "safety number")

	// Usage, and what cannot be judged.
	for _, args := range [][]string{
		{"--as", "nothing", request}, {"--family", "other", request}, {request, request}, {"--no-such-flag"},
		{filepath.Join(dir, "missing")}, {dir}, {"--session", filepath.Join(dir, "raw"), request},
	} {
		code, out, errs := runInspectWith("", args...)
		require.Equal(t, exitUsage, code, args)
		require.Empty(t, out)
		require.NotEmpty(t, errs)
	}
	// Nothing is a record of nothing only if it is said to be.
	code, out, errs := runInspectWith("")
	require.Equal(t, exitUsage, code)
	require.Empty(t, out)
	require.Contains(t, errs, "the input is empty")
	code, out, _ = runInspectWith("", "--as", "record")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "RecordStructure, 0 bytes")

	code, out, errs = runInspectWith("", "-h")
	require.Equal(t, exitOK, code)
	require.Empty(t, errs)
	for _, k := range inspect.Kinds() {
		require.Contains(t, out, "  "+k[0]+" ")
	}
}

// With a record: the exit code is that of the verdict, and the file stays as it
// is.
func TestInspectSession(t *testing.T) {
	tr, err := testvectors.LoadConversation()
	require.NoError(t, err)
	message, record := "", ""
	for _, s := range tr.Steps {
		if s.Message != nil && message == "" {
			message = hex.EncodeToString(s.Message)
		}
		if s.BobSession != nil {
			record = hex.EncodeToString(s.BobSession)
		}
	}
	file := filepath.Join(t.TempDir(), "bob")
	require.NoError(t, os.WriteFile(file, []byte(record), 0o400))
	code, out, _ := runInspectWith("", "--session", file, message)
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "does not decrypt\n")
	now, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, record, string(now))
}
