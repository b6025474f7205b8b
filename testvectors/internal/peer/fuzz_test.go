package peer

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
)

// FuzzLines feeds any bytes to a peer that has parties and sessions. Every line
// gets one answer, which is JSON of one of two shapes; a command that fails
// leaves the stores alone. The seeds are sound requests, one for each command
// and all of them in a row.
func FuzzLines(f *testing.F) {
	world, sound := newWorld(f, ratchet.Signal)
	var all []byte
	seeds := 0
	for _, cmd := range slices.Sorted(maps.Keys(sound)) {
		a := maps.Clone(sound[cmd])
		a["id"], a["cmd"] = 1, cmd
		b, err := json.Marshal(a)
		require.NoError(f, err)
		require.True(f, clone(f, world).answer(b).OK, "%s", b)
		f.Add(b)
		f.Add(append(b[:len(b)/2], '\n'))
		all = append(append(all, b...), '\n')
		seeds++
	}
	require.Equal(f, len(commands()), seeds)
	f.Add(all)
	for _, s := range []string{"\n\n", "{}", `{"id":"x","cmd":"groupEncrypt"}`, "\xff", `[]`, `"\ud800"`} {
		f.Add([]byte(s))
	}

	f.Fuzz(func(t *testing.T, in []byte) {
		p := clone(t, world)
		before := dump(t, p)
		for line := range bytes.Lines(in) {
			a := p.answer(bytes.TrimSuffix(line, []byte("\n")))
			after := dump(t, p)
			if !a.OK {
				require.Equal(t, before, after, "%q", line)
				require.NotContains(t, a.Error.Message, "unexpected", "%q", line)
			}
			before = after
		}

		var out bytes.Buffer
		require.NoError(t, Serve(bytes.NewReader(in), &out, ratchet.WhatsApp, true))
		want := bytes.Count(in, []byte("\n"))
		if len(in) > 0 && in[len(in)-1] != '\n' {
			want++
		}
		require.Equal(t, want, bytes.Count(out.Bytes(), []byte("\n")))
		for line := range bytes.Lines(out.Bytes()) {
			var a struct {
				ID     json.RawMessage
				OK     *bool
				Result m
				Error  *failure
			}
			d := json.NewDecoder(bytes.NewReader(line))
			d.DisallowUnknownFields()
			require.NoError(t, d.Decode(&a), "%q", line)
			require.NotNil(t, a.OK)
			require.NotNil(t, a.ID)
			require.Equal(t, *a.OK, a.Result != nil && a.Error == nil)
			require.Equal(t, !*a.OK, a.Error != nil && a.Error.Name != "" && a.Error.Message != "")
		}
	})
}
