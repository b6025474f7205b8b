package modeltest

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// I-01 to I-08, I-17; R-9.8-1. Short runs that shrink.
func TestModelShrinking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { run(t, rapid.IntRange(1, 300).Draw(t, "steps"), rules{}) })
}

// run is one run of the model, with every choice drawn by rapid.
func run(t *rapid.T, steps int, broken rules) {
	m := newModel(func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) },
		func(format string, args ...any) { t.Fatalf(format, args...) }, broken)
	for range steps {
		m.step()
	}
	m.settle()
}

// The same in long runs, so that windows slide, receipts are forgotten, and
// devices sleep until more waits for them than an inbox holds back.
func TestModelLong(t *testing.T) {
	runs, steps := 60, 3000
	if testing.Short() {
		runs = 10
	}
	total := map[string]int{}
	for seed := range runs {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		m := newModel(func(_ string, n int) int { return r.IntN(n) },
			func(format string, args ...any) { t.Fatalf("run %d: "+format, append([]any{seed}, args...)...) }, rules{})
		for range steps {
			m.step()
		}
		m.settle()
		s := m.stats
		for name, n := range map[string]int{"accepted": s.accepted, "duplicate": s.duplicate, "too old": s.tooOld, "processed": s.processed,
			"gaps shown": s.gaps, "crashes": s.crashes, "restores": s.restores, "accepted again": s.again, "too far to hold": s.far, "late": s.late} {
			total[name] += n
		}
	}
	t.Log(total)
	for name, n := range total {
		require.NotZero(t, n, "the runs reach everything, but not: %s", name)
	}
}

// FuzzModel draws the choices from bytes.
func FuzzModel(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 10 {
		b := make([]byte, 1000)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newModel(func(_ string, n int) int {
			if len(b) == 0 {
				return n - 1
			}
			v := int(b[0]) % n
			b = b[1:]
			return v
		}, t.Fatalf, rules{})
		for len(b) > 0 {
			m.step()
		}
		m.settle()
	})
}
