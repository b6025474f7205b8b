package lamport

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func register(t testing.TB) *Register {
	r, err := NewRegister(alice.User)
	require.NoError(t, err)
	return r
}

func apply(t testing.TB, r *Register, w Write) bool {
	won, err := r.Apply(w)
	require.NoError(t, err)
	return won
}

// R-9.7-1, R-9.7-2: the last writer wins, a deletion like any write; before the
// first there is no value.
func TestRegisterLastWriterWins(t *testing.T) {
	r := register(t)
	_, ok := r.Value()
	require.False(t, ok)
	require.Zero(t, r.Stamp())
	for _, step := range []struct {
		w     Write
		won   bool
		value string
		ok    bool
	}{
		{Write{alice, 5, false, []byte("like")}, true, "like", true},
		{Write{alice, 5, false, []byte("like")}, false, "like", true},
		{Write{alice, 4, false, []byte("love")}, false, "like", true},
		{Write{alice, 6, true, nil}, true, "", false},
		{Write{alice, 5, false, []byte("like")}, false, "", false},
		{Write{alice, 7, false, []byte{}}, true, "", true},
	} {
		before := record0(t, r)
		require.Equal(t, step.won, apply(t, r, step.w))
		require.Equal(t, step.won, !bytes.Equal(before, record0(t, r)))
		v, ok := r.Value()
		require.Equal(t, step.ok, ok)
		require.Equal(t, step.value, string(v))
	}
}

// L08. R-9.7-3: ties are decided by the device, then for deletion, then by the
// bytes of the value, and so alike everywhere.
func TestLWWTieBreak(t *testing.T) {
	second := Device{alice.User, 2}
	order := []Write{
		{alice, 5, false, nil},
		{alice, 5, false, []byte("a")},
		{alice, 5, false, []byte("ab")},
		{alice, 5, false, []byte("b")},
		{alice, 5, true, nil},
		{second, 5, false, nil},
		{second, 5, true, nil},
		{alice, 6, false, nil},
	}
	for i, a := range order {
		for j, b := range order {
			r := register(t)
			require.True(t, apply(t, r, a))
			require.Equal(t, j > i, apply(t, r, b), "%d, %d", i, j)
			other := register(t)
			apply(t, other, b)
			apply(t, other, a)
			require.Equal(t, record0(t, r), record0(t, other), "%d, %d", i, j)
		}
	}
}

// R-9.7-4: merging is commutative, associative and idempotent, and agrees with
// applying all writes in any order. The writes collide often, on purpose.
func TestRegisterConverges(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	write := func() Write {
		w := Write{Device{alice.User, 1 + r.Uint32N(2)}, Stamp(1 + r.Uint64N(3)), r.IntN(3) == 0, nil}
		if !w.Deleted {
			w.Value = []byte{byte('a' + r.IntN(3))}
		}
		return w
	}
	for range 2000 {
		var all []Write
		var replicas [3]*Register
		want := register(t)
		for i := range replicas {
			replicas[i] = register(t)
			for range r.IntN(4) {
				w := write()
				all = append(all, w)
				apply(t, replicas[i], w)
			}
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, w := range all {
			apply(t, want, w)
		}
		merge := func(order ...int) []byte {
			m := register(t)
			for _, i := range order {
				_, err := m.Merge(replicas[i])
				require.NoError(t, err)
			}
			return record0(t, m)
		}
		ab := register(t)
		for _, i := range []int{1, 2} {
			_, err := ab.Merge(replicas[i])
			require.NoError(t, err)
		}
		nested := register(t)
		_, err := nested.Merge(replicas[0])
		require.NoError(t, err)
		_, err = nested.Merge(ab)
		require.NoError(t, err)
		for _, got := range [][]byte{merge(0, 1, 2), merge(2, 1, 0), merge(1, 0, 2, 2, 0, 1), record0(t, nested)} {
			require.Equal(t, record0(t, want), got)
		}
	}
}

// L08: a stamp from the future is refused by the server, whose bound all share,
// and moves a clock by that bound only; above the range it is no stamp. Within
// the range the register takes it, or replicas would differ, and pins nothing
// but what is the author's own.
func TestLWWFutureTimestampRejected(t *testing.T) {
	_, err := conversation(t).Submit(window(t, mallory), Submission{id(1), num(1), mallory, 1, MaxLead + 1}, nil)
	require.ErrorIs(t, err, ErrClockBound)
	c := new(Clock)
	require.NoError(t, c.Observe(Max))
	require.Equal(t, Stamp(MaxLead), c.Now())

	r := register(t)
	_, err = r.Apply(Write{alice, Max + 1, false, nil})
	require.ErrorIs(t, err, ErrInvalid)
	_, err = r.Apply(Write{mallory, Max, false, []byte("pinned")})
	require.ErrorIs(t, err, ErrAuthor)
	require.True(t, apply(t, r, Write{alice, 1, false, []byte("mine")}))
}

// L11. R-9.7-5: nobody edits, deletes or reacts in the name of another user, and
// the user's other devices may.
func TestEditAuthorMustMatchTarget(t *testing.T) {
	r := register(t)
	require.True(t, apply(t, r, Write{alice, 5, false, []byte("original")}))
	before := record0(t, r)
	for _, d := range []Device{mallory, bob, {mallory.User, alice.ID}} {
		for _, w := range []Write{{d, 6, false, []byte("forged")}, {d, 6, true, nil}} {
			won, err := r.Apply(w)
			require.ErrorIs(t, err, ErrAuthor)
			require.False(t, won)
			require.Equal(t, before, record0(t, r))
		}
	}
	other, err := NewRegister(bob.User)
	require.NoError(t, err)
	require.True(t, apply(t, other, Write{bob, 9, true, nil}))
	_, err = r.Merge(other)
	require.ErrorIs(t, err, ErrConflict)
	require.Equal(t, before, record0(t, r))
	require.True(t, apply(t, r, Write{Device{alice.User, 9}, 6, false, []byte("edited")}))
}

// L09. R-9.7-6: a device that tells two things under one stamp is seen.
func TestEquivocationDetected(t *testing.T) {
	r := register(t)
	w := Write{alice, 5, false, []byte("yes")}
	require.False(t, r.Contradicts(w))
	require.True(t, apply(t, r, w))
	require.False(t, r.Contradicts(w), "the same again")
	for _, other := range []Write{{alice, 5, false, []byte("no")}, {alice, 5, true, nil}} {
		require.True(t, r.Contradicts(other))
	}
	for _, other := range []Write{{alice, 6, false, []byte("no")}, {Device{alice.User, 2}, 5, false, []byte("no")}, {}} {
		require.False(t, r.Contradicts(other))
	}
}

// The register keeps a copy, and what it gives out is not what was put in.
func TestRegisterCopies(t *testing.T) {
	r := register(t)
	v := []byte("like")
	apply(t, r, Write{alice, 5, false, v})
	v[0] = 'x'
	got, ok := r.Value()
	require.True(t, ok)
	require.Equal(t, "like", string(got))
	b := record0(t, r)
	var u Register
	require.NoError(t, u.UnmarshalBinary(b))
	clear(b)
	got, _ = u.Value()
	require.Equal(t, "like", string(got))
}

// R-9.7-7: values have a limit.
func TestRegisterRefusesInvalid(t *testing.T) {
	r := register(t)
	before := record0(t, r)
	for name, w := range map[string]Write{
		"zero": {}, "no stamp": {Device: alice}, "no device": {Stamp: 1}, "device 2^31": {Device: Device{alice.User, 1 << 31}, Stamp: 1},
		"too long": {alice, 1, false, make([]byte, 4097)}, "deleted with a value": {alice, 1, true, []byte("x")},
	} {
		_, err := r.Apply(w)
		require.ErrorIs(t, err, ErrInvalid, name)
		require.Equal(t, before, record0(t, r))
	}
	require.True(t, apply(t, r, Write{alice, 1, false, []byte(strings.Repeat("x", 4096))}))
	require.LessOrEqual(t, len(record0(t, r)), MaxValue+44)
}

func TestMergeNil(t *testing.T) {
	r, err := NewRegister([16]byte{1})
	require.NoError(t, err)
	_, err = r.Merge(nil)
	require.ErrorIs(t, err, ErrInvalid)
}
