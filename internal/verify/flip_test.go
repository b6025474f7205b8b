package verify

import (
	"bytes"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

var hexString = regexp.MustCompile(`"([0-9a-f]{2,})"[^:]`)

// One hex digit that is another one makes a run fail and name the case, in every hex
// string of every file with independent answers: all digits of a short string, and of a longer one the first, the
// last and two that vary. What may pass is listed in excused.
func TestEveryHexStringCounts(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	names, err := fs.Glob(testvectors.Vectors(), "*.json")
	require.NoError(t, err)
	total, passed := 0, map[string]int{}
	for _, name := range names {
		b, err := fs.ReadFile(testvectors.Vectors(), name)
		require.NoError(t, err)
		before := allTests(t, b)
		if !evidence(t, b) {
			continue // see below
		}
		found := 0
		for n, at := range hexString.FindAllSubmatchIndex(b, -1) {
			for _, i := range digits(at[2], at[3], n) {
				flipped := bytes.Clone(b)
				flipped[i] = flip(b[i], i%4)
				after, err := testvectors.Parse(flipped)
				if err != nil {
					require.ErrorContains(t, err, "tcId ", "%s: digit at %d", name, i)
					found++
					continue
				}
				was, is, typ := changed(before, after)
				if is == nil {
					require.NotContains(t, string(b[at[2]-20:at[2]]), "tcId")
					require.Regexp(t, `"(version|name)": "$`, string(b[at[2]-20:at[2]]), "%s: digit at %d is in no test", name, i)
					continue
				}
				found++
				if _, _, err := run(typ, is); err != nil {
					continue
				}
				why := excused(t, typ, was, is)
				require.NotEmpty(t, why, "%s: tcId %d passes with another digit at %d", name, is.ID, i)
				passed[why]++
			}
		}
		require.NotZero(t, found, name)
		total += found
	}
	t.Logf("%d digits; passed: %v", total, passed)
	require.Greater(t, total, 1000)
	sum := 0
	for _, n := range passed {
		sum += n
	}
	require.Less(t, sum, total/4)
}

// evidence reports whether a file has answers of others.
func evidence(t *testing.T, b []byte) bool {
	t.Helper()
	f, err := testvectors.Parse(b)
	require.NoError(t, err)
	return slices.ContainsFunc(f.Groups, func(g testvectors.Group) bool { return g.Source.Independent })
}

// The same for a sample of our own sets: every ninth hex string of a test. Much of them
// are inputs that are refused, and fields that a reader has to ignore, so that
// more may pass; what passes is bounded for each file.
func TestHexStringsOfOurOwnSetsCount(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	names, err := fs.Glob(testvectors.Vectors(), "*.json")
	require.NoError(t, err)
	n := 0
	for _, name := range names {
		b, err := fs.ReadFile(testvectors.Vectors(), name)
		require.NoError(t, err)
		if evidence(t, b) || name == "state_record.json" { // of which most others are good records too
			continue
		}
		flipped, passed := 0, 0
		for _, test := range allTests(t, b) {
			if test.Result == testvectors.Invalid {
				continue // it is refused for the same reason, or another
			}
			raw, err := test.MarshalJSON()
			require.NoError(t, err)
			for _, at := range hexString.FindAllSubmatchIndex(raw, -1) {
				if n++; n%9 != 0 {
					continue
				}
				i := at[2] + n*7%(at[3]-at[2])
				bad := bytes.Clone(raw)
				bad[i] = flip(raw[i], n%4)
				is := new(testvectors.Test)
				require.NoError(t, is.UnmarshalJSON(bad))
				flipped++
				if _, _, err := run(test.typ, is); err == nil {
					passed++
				}
			}
		}
		t.Logf("%s: %d of %d pass", name, passed, flipped)
		require.NotZero(t, flipped, name)
		require.LessOrEqual(t, 3*passed, flipped, name)
	}
}

// digits are the places of the digits to flip in the n-th string, which is at from to
// before to.
func digits(from, to, n int) (at []int) {
	if to-from <= 8 {
		for i := from; i < to; i++ {
			at = append(at, i)
		}
		return at
	}
	return []int{from, from + 1 + n*7%(to-from-2), from + 1 + n*13%(to-from-2), to - 1}
}

// flip flips a bit of a hex digit.
func flip(digit byte, bit int) byte {
	const all = "0123456789abcdef"
	return all[strings.IndexByte(all, digit)^1<<bit]
}

type typed struct {
	*testvectors.Test
	typ string
}

func allTests(t *testing.T, b []byte) (all []typed) {
	t.Helper()
	f, err := testvectors.Parse(b)
	require.NoError(t, err)
	for _, g := range f.Groups {
		for i := range g.Tests {
			all = append(all, typed{&g.Tests[i], g.Type})
		}
	}
	return all
}

// changed returns the test that is not what it was.
func changed(before []typed, after *testvectors.File) (was, is *testvectors.Test, typ string) {
	n := 0
	for _, g := range after.Groups {
		for i := range g.Tests {
			a, _ := before[n].MarshalJSON()
			b, _ := g.Tests[i].MarshalJSON()
			if !bytes.Equal(a, b) {
				return before[n].Test, &g.Tests[i], g.Type
			}
			n++
		}
	}
	return nil, nil, ""
}

// excused says why a test may pass with another digit; empty: it may not.
func excused(t *testing.T, typ string, was, is *testvectors.Test) string {
	t.Helper()
	switch {
	case is.Result == testvectors.Invalid:
		return "what is refused is refused for the same reason"
	case typ == "X25519":
		var a, b testvectors.X25519
		require.NoError(t, was.Decode(&a))
		require.NoError(t, is.Decode(&b))
		a.Public[31] &= 0x7f
		b.Public[31] &= 0x7f
		if bytes.Equal(a.Public, b.Public) && curve.NewPrivateKey([32]byte(a.Private)) == curve.NewPrivateKey([32]byte(b.Private)) {
			return "bits that X25519 masks"
		}
	case typ == "RetryRequest":
		var a, b testvectors.RetryRequest
		require.NoError(t, was.Decode(&a))
		require.NoError(t, is.Decode(&b))
		if !bytes.Equal(a.Original, b.Original) && bytes.Equal(ratchetKeyOf(a.OriginalType, a.Original), ratchetKeyOf(b.OriginalType, b.Original)) {
			return "of a message that is asked for nothing but its ratchet key counts"
		}
	}
	return ""
}

// ratchetKeyOf is the ratchet key that a message names.
func ratchetKeyOf(typ uint8, message []byte) []byte {
	if m, err := x3dh.ParseInitialMessage(message); err == nil && ratchet.Type(typ) == ratchet.Initial {
		message = m.Message
	}
	if m, err := ratchet.ParseMessage(message); err == nil {
		return m.RatchetKey.Bytes()
	}
	return nil
}
