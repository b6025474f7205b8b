package peer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
)

// lines is what the loop answers to in.
func lines(t *testing.T, in string, quiet bool) []string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, Serve(strings.NewReader(in), &out, ratchet.Signal, quiet))
	s := strings.TrimSuffix(out.String(), "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

func TestStart(t *testing.T) {
	got := lines(t, "", false)
	require.Len(t, got, 1)
	require.JSONEq(t, `{"id":0,"ok":true,"result":{"ready":true,"version":"`+version()+`"}}`, got[0])
	require.Empty(t, lines(t, "", true))
}

// TestLines: whatever a line is, it is answered once, in order, with its id if
// that can be read.
func TestLines(t *testing.T) {
	for line, id := range map[string]string{
		"":                                      "null",
		" \t\r":                                 "null",
		"{":                                     "null",
		"null":                                  "null",
		"[]":                                    "null",
		"7":                                     "null",
		`"\ud800"`:                              "null",
		"\xff\xfe":                              "null",
		`{}`:                                    "null",
		`{"id":1}`:                              "1",
		`{"id":1,"cmd":null}`:                   "1",
		`{"id":1,"cmd":2}`:                      "1",
		`{"id":1,"cmd":"version"`:               "null",
		`{"id":1,"cmd":"version"} 2`:            "null",
		`{"id":2,"cmd":"nope"}`:                 "2",
		`{"id":2,"CMD":"version"}`:              "2",
		`{"id":-1.5e3,"cmd":"Version"}`:         "-1.5e3",
		`{"id":"<x>","cmd":"version","more":1}`: `"<x>"`,
		`{"id":true,"cmd":"version"}`:           "null",
		`{"id":[1],"cmd":"version"}`:            "null",
		`{"id":3,"id":4,"cmd":"version"}`:       "4",
		`{"id":5,"cmd":"version","cmd":"sign"}`: "5",
		`{"id":5,"cmd":"version","` + strings.Repeat("x", 999) + `":1,"` + strings.Repeat("x", 999) + `":1}`: "5",
		`{"cmd":"nope"}`:                                          "null",
		`{"id":6,"cmd":"version","store":7}`:                      "6",
		`{"id":6,"cmd":"encrypt","store":"nobody"}`:               "6",
		`{"id":7,"cmd":"groupEncrypt"}`:                           "7",
		`{"id":8,"cmd":"` + strings.Repeat("x", 100_000) + `"}`:   "8",
		`{"id":9,"cmd":"version","\ufffd` + "\xff" + `":1}`:       "null",
		strings.Repeat("[", 100_000) + strings.Repeat("]", 1e5):   "null",
		`{"id":9,"cmd":` + strings.Repeat(`{"a":`, 10_001) + "1}": "null",
	} {
		got := lines(t, line+"\n"+`{"id":"next","cmd":"version"}`, true)
		require.Len(t, got, 2, "%.80q", line)
		var a struct {
			ID    json.RawMessage
			OK    bool
			Error failure
		}
		require.NoError(t, json.Unmarshal([]byte(got[0]), &a))
		require.Equal(t, id, string(a.ID), "%.80q", line)
		require.False(t, a.OK, "%.80q", line)
		require.Equal(t, "BadRequest", a.Error.Name, "%.80q", line)
		require.NotEmpty(t, a.Error.Message)
		require.Less(t, len(got[0]), 300, "an answer does not repeat what it was sent")
		require.Contains(t, got[1], `{"id":"next","ok":true,`)
	}
}

// TestLongLines: lines of 16 MiB are looked at, longer ones are not, and the
// next one is sound again. The last line may lack its newline.
func TestLongLines(t *testing.T) {
	const request = `{"id":1,"cmd":"version"}`
	fits := request + strings.Repeat(" ", maxLine-len(request))
	over := fits + " "
	got := lines(t, strings.Join([]string{fits, over, over + over, request, over}, "\n"), true)
	require.Len(t, got, 5)
	for i, ok := range []bool{true, false, false, true, false} {
		require.Equal(t, ok, strings.HasPrefix(got[i], `{"id":1,"ok":true`), "line %d", i)
		require.Equal(t, !ok, strings.Contains(got[i], `{"id":null,"ok":false,"error":{"name":"BadRequest"`), "line %d", i)
	}
	require.Len(t, lines(t, fits, true), 1)
	require.Len(t, lines(t, over, true), 1)
}

// TestFlush: every answer is there before the next line comes, also when lines
// come in pieces, and a plaintext of megabytes is no trouble.
func TestFlush(t *testing.T) {
	alice, bob := newPair(t, ratchet.Signal, ratchet.Signal) // pipes without a buffer
	alice.start(bob, nil)
	alice.send(bob, strings.Repeat("long", 1<<19)).arrives()

	var out bytes.Buffer
	in := iotest.OneByteReader(strings.NewReader("{\"id\":1,\"cmd\":\"version\"}\n\n"))
	require.NoError(t, Serve(in, &out, ratchet.Signal, true))
	require.Equal(t, 2, strings.Count(out.String(), "\n"))
}

// TestBrokenPipes: only the pipes end the loop, and with an error.
func TestBrokenPipes(t *testing.T) {
	broken := errors.New("broken")
	in := io.MultiReader(strings.NewReader("\n{"), iotest.ErrReader(broken))
	require.ErrorIs(t, Serve(in, io.Discard, ratchet.Signal, true), broken)

	r, w := io.Pipe()
	r.CloseWithError(broken)
	require.ErrorIs(t, Serve(strings.NewReader("\n"), w, ratchet.Signal, true), broken)
	require.ErrorIs(t, Serve(strings.NewReader("\n"), w, ratchet.Signal, false), broken)
}
