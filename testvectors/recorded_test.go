package testvectors

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// Every recorded file, with all of its cases.
func TestRecorded(t *testing.T) {
	conversation, err := LoadConversation()
	require.NoError(t, err)
	require.Len(t, conversation.Steps, 42)
	group, err := LoadGroup()
	require.NoError(t, err)
	require.Len(t, group.Steps, 11)
	signatures, err := LoadSignatures()
	require.NoError(t, err)
	require.Len(t, signatures.Vectors, 20)
	fingerprints, err := LoadFingerprints()
	require.NoError(t, err)
	require.Len(t, fingerprints.Vectors, 17)
	retries, err := LoadRetries()
	require.NoError(t, err)
	require.Len(t, retries.Requests, 10)
	require.Len(t, retries.RefusedOriginals, 5)
	require.Len(t, retries.Contents, 27)

	names, err := files.ReadDir("recorded")
	require.NoError(t, err)
	require.Len(t, names, 5, "a file without a type")
}

// A field that the type does not have, and a file that holds nothing.
func TestLoadRefuses(t *testing.T) {
	load := func(s string) error {
		_, err := load(fstest.MapFS{"f.json": {Data: []byte(s)}}, "f.json", func(r *struct{ A, B []struct{ C Hex } }) []int {
			return []int{len(r.A), len(r.B)}
		})
		return err
	}
	require.NoError(t, load(`{"a": [{"c": "05"}], "b": [{}]}`))
	for s, want := range map[string]string{
		``:                                "EOF",
		`{}`:                              "no cases",
		`{"a": [{"c": "05"}]}`:            "no cases",
		`{"a": [], "b": [{}]}`:            "no cases",
		`{"a": [{}], "b": [{}], "d": 1}`:  `"d"`,
		`{"a": [{"d": "05"}], "b": [{}]}`: `"d"`,
		`{"a": [{"c": "5"}], "b": [{}]}`:  "hex",
	} {
		require.ErrorContains(t, load(s), want)
		require.ErrorContains(t, load(s), "f.json", "the error names the file")
	}
}
