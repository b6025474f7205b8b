package inspect

import (
	"encoding/hex"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/testvectors"
)

// agree reads b as every kind: the library and the tables say the same.
func agree(t testing.TB, b []byte) {
	for i := range kinds {
		k := &kinds[i]
		r := k.inspect(b)
		if k.parse != nil {
			require.Equal(t, k.parse(b) == nil, r.walk.wrong == 0, "%s %s: %x: %v, %v", k.name, k.family, b, k.parse(b), r.Problems)
		}
		require.Equal(t, r.Valid, len(r.Problems) == 0)
		for _, p := range r.Problems {
			require.True(t, 0 <= p.Offset && p.Offset <= len(b), "%s: %v", k.name, p)
		}
	}
}

// Every kind agrees with the decoder of the library about every sample, and about
// mutations of it.
func TestAgreesWithTheLibrary(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	taken := map[string]int{}
	for _, s := range samples(t) {
		agree(t, s.b)
		r, err := Inspect(s.b, Options{Kind: s.kind, Family: s.family})
		require.NoError(t, err)
		require.True(t, r.Valid, "%s: %v", s.kind, r.Problems)
		taken[s.kind]++
		for range 4 {
			agree(t, mutate(rng, s.b))
		}
	}
	for i := range kinds {
		require.NotZero(t, taken[kinds[i].name], "no sample of %s", kinds[i].name)
	}
}

// mutate changes a few bytes, lengths or pieces.
func mutate(rng *rand.Rand, b []byte) []byte {
	out := append([]byte(nil), b...)
	for range 1 + rng.IntN(2) {
		if len(out) == 0 {
			return append(out, byte(rng.Uint32()))
		}
		i := rng.IntN(len(out))
		j := min(len(out), i+1+rng.IntN(12))
		switch rng.IntN(8) {
		case 0, 1:
			out[i] ^= 1 << rng.IntN(8)
		case 2:
			out[i] = []byte{0, 1, 0x7f, 0x80, 0xff, 0x33, 0x34}[rng.IntN(7)]
		case 3:
			out = append(out[:i:i], out[j:]...)
		case 4:
			out = append(out[:j:j], out[i:]...)
		case 5:
			out = out[:i]
		case 6:
			out = append(out[:i:i], append([]byte{byte(rng.Uint32())}, out[i:]...)...)
		case 7:
			out[i]++
		}
	}
	return out
}

// Every section and requirement that a report cites is in SPEC.md.
func TestCitations(t *testing.T) {
	spec, err := os.ReadFile("../../SPEC.md")
	require.NoError(t, err)
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	found := 0
	for _, f := range files {
		if strings.HasSuffix(f.Name(), "_test.go") || !strings.HasSuffix(f.Name(), ".go") {
			continue
		}
		b, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`R-[0-9]+(\.[0-9]+)*-[0-9]+`).FindAllString(string(b), -1) {
			require.Contains(t, string(spec), "**"+m+"**", f.Name())
			found++
		}
		for _, m := range regexp.MustCompile(`(?:§|section: ")([0-9]+\.[0-9]+)`).FindAllStringSubmatch(string(b), -1) {
			require.Regexp(t, `(?m)^### `+regexp.QuoteMeta(m[1])+` `, string(spec), f.Name())
			found++
		}
	}
	require.Greater(t, found, 100)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// A stored key of the next message is one too many, and one of the message before
// is not: at the limit both decoders say the same.
func TestStoredNumbers(t *testing.T) {
	tr := recorded(t, testvectors.LoadGroup)
	signing := wire.AppendBytes(nil, 3, wire.AppendBytes(nil, 1, tr.SKDM[len(tr.SKDM)-33:]))
	for n, valid := range map[uint64]bool{4: true, 5: false} {
		numbered := func(num int, n uint64) []byte {
			return wire.AppendBytes(nil, num, wire.AppendBytes(wire.AppendUint(nil, 1, n), 2, make([]byte, 32)))
		}
		record := wire.AppendBytes(nil, 1, slices.Concat(numbered(2, 5), signing, numbered(4, n)))
		agree(t, record)
		r, err := Inspect(record, Options{Kind: "sender-key-record"})
		require.NoError(t, err)
		require.Equal(t, valid, r.Valid)
	}
}

// Of an input that no decoder takes the kind is guessed from the fields that were
// read, and not from the one decoder that looks at the size first.
func TestGuessesOfWhatIsDamaged(t *testing.T) {
	for _, s := range samples(t) {
		if s.kind != "message" && s.kind != "prekey-message" {
			continue
		}
		for n := 50; n < len(s.b); n++ {
			r, err := Inspect(s.b[:n], Options{})
			require.NoError(t, err)
			require.True(t, r.Kind != "group-message" && r.Kind != "distribution", "%d bytes of %s, read as %s", n, s.kind, r.Kind)
		}
	}
	r, err := Inspect([]byte(strings.Repeat("9", 30)+strings.Repeat("1", 30)), Options{})
	require.NoError(t, err)
	require.Equal(t, "safety-number", r.Kind)
	require.Equal(t, 30, r.Problems[0].Offset)
}
