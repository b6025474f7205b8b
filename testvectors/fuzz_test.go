package testvectors

import (
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
)

// A file of somebody else is a vector file or an error; of what is one, every test is
// there to be decoded, and numbered as Parse promises.
func FuzzParse(f *testing.F) {
	names, err := fs.Glob(Vectors(), "*.json")
	require.NoError(f, err)
	require.NotEmpty(f, names)
	seeds := 0
	for _, name := range names {
		b, err := fs.ReadFile(Vectors(), name)
		require.NoError(f, err)
		file, err := Parse(b)
		require.NoError(f, err)
		for i := range file.Groups { // the first test of each group will do
			file.Groups[i].Tests = file.Groups[i].Tests[:1]
		}
		small, err := json.Marshal(file)
		require.NoError(f, err)
		if _, err := Parse(small); err == nil {
			f.Add(small)
			f.Add(append([]byte(`{"testGroups[7].tests[0]":1,`), small[1:]...)) // a field named like a place
			seeds++
		}
	}
	require.Equal(f, len(names), seeds)
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Parse(b)
		if err != nil {
			require.Nil(t, file)
			return
		}
		last := 0
		for _, g := range file.Groups {
			for _, test := range g.Tests {
				require.Greater(t, test.ID, last)
				last = test.ID
				require.NoError(t, test.Decode(new(map[string]any)))
			}
		}
	})
}
