package lamport

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func window(t testing.TB, d Device) *Window {
	w, err := NewWindow(d)
	require.NoError(t, err)
	return w
}

func record0(t testing.TB, r interface {
	AppendBinary([]byte) ([]byte, error)
}) []byte {
	b, err := r.AppendBinary(nil)
	require.NoError(t, err)
	return b
}

// R-9.4-1, R-9.4-2, R-9.4-3: against a set that forgets nothing: new is what is
// above the window, or in it and unmarked; all else is too old. Counters jump by
// less, just as much, and more than the window. The record says the same.
func TestWindowModel(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := window(t, alice)
		marked := map[uint64]bool{}
		var high uint64
		for range 3000 {
			var n uint64
			switch r.IntN(12) {
			case 0:
				n = high + 1 + r.Uint64N(2*WindowSize)
			case 1:
				n = high + WindowSize - 1 + r.Uint64N(3)
			case 2, 3, 4:
				n = high + 1 + r.Uint64N(100)
			case 5, 6, 7:
				n = 1 + r.Uint64N(high+1)
			case 8:
				n = max(high, WindowSize+2) - WindowSize - 1 + r.Uint64N(3) // the edge
			default:
				n = high - min(high-min(high, 1), r.Uint64N(WindowSize)) // within
				n = max(n, 1)
			}
			want := n > high || n+WindowSize > high && !marked[n]
			before := record0(t, w)
			err := w.Check(n)
			require.Equal(t, before, record0(t, w), "Check changes nothing")
			if want {
				require.NoError(t, err, "counter %d, high %d", n, high)
				require.NoError(t, w.Mark(n))
				marked[n] = true
				high = max(high, n)
				require.ErrorIs(t, w.Check(n), ErrTooOld)
			} else {
				require.ErrorIs(t, err, ErrTooOld, "counter %d, high %d", n, high)
				require.ErrorIs(t, w.Mark(n), ErrTooOld)
				require.Equal(t, before, record0(t, w), "a failed Mark changes nothing")
			}
			if r.IntN(3) == 0 {
				b := record0(t, w)
				v := &Window{ring: [64]uint64{1, 2, 3}, high: 99}
				require.NoError(t, v.UnmarshalBinary(b))
				require.Equal(t, b, record0(t, v))
				w = v
			}
		}
	}
}

// The record of a window that was read and went on is that of one which never
// was a record: the highest counter comes back exactly.
func TestWindowRecordIsExact(t *testing.T) {
	for high := uint64(2); high < 140; high++ {
		w := window(t, alice)
		require.NoError(t, w.Mark(high))
		v := new(Window)
		require.NoError(t, v.UnmarshalBinary(record0(t, w)))
		for n := uint64(1); n < high; n++ {
			require.NoError(t, w.Mark(n))
			require.NoError(t, v.Mark(n))
		}
		require.Equal(t, record0(t, w), record0(t, v))
		require.Equal(t, w.high, v.high)
	}
}

// R-9.9-2: one form: the first bit is of an unmarked counter, the last byte holds
// the highest.
func TestWindowRecordIsCanonical(t *testing.T) {
	head := record0(t, window(t, alice))
	for name, bits := range map[string][]byte{
		"first bit set":    {0x22, 1, 0x05},
		"last byte zero":   {0x22, 2, 0x04, 0},
		"nothing set":      {0x22, 1, 0},
		"over the window":  append([]byte{0x22, 0x81, 0x04}, append(make([]byte, 512), 1)...),
		"beyond the range": {0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x22, 1, 0x02},
	} {
		require.ErrorIs(t, new(Window).UnmarshalBinary(append(head[:len(head):len(head)], bits...)), ErrMalformed, name)
	}
	require.NoError(t, new(Window).UnmarshalBinary(append(head[:len(head):len(head)], 0x22, 1, 0x04)))
}

func TestWindowBounds(t *testing.T) {
	w := window(t, alice)
	for _, n := range []uint64{0, Max + 1, 1<<64 - 1} {
		require.ErrorIs(t, w.Check(n), ErrInvalid)
		require.ErrorIs(t, w.Mark(n), ErrInvalid)
	}
	require.NoError(t, w.Mark(Max))
	require.ErrorIs(t, w.Check(Max), ErrTooOld)
	require.ErrorIs(t, w.Check(Max-WindowSize), ErrTooOld)
	require.NoError(t, w.Check(Max-WindowSize+1))
	v := new(Window)
	require.NoError(t, v.UnmarshalBinary(record0(t, w)))
	require.NoError(t, v.Check(Max-WindowSize+1))
	require.ErrorIs(t, v.Check(Max), ErrTooOld)
}

// R-9.4-4: half a KiB a device, and 25 bytes while all is in order.
func TestWindowSize(t *testing.T) {
	w := window(t, Device{alice.User, 1<<31 - 1})
	for n := uint64(1); n <= 5000; n++ {
		require.NoError(t, w.Mark(n))
		require.LessOrEqual(t, len(record0(t, w)), 30)
	}
	longest := 0
	r := rand.New(rand.NewPCG(3, 4))
	for n := uint64(5001); n <= 30_000; n++ {
		if r.IntN(2) == 0 {
			require.NoError(t, w.Mark(n))
		}
		longest = max(longest, len(record0(t, w)))
	}
	require.NoError(t, w.Mark(30_000+WindowSize))
	require.NoError(t, w.Mark(Max))
	longest = max(longest, len(record0(t, w)))
	require.LessOrEqual(t, longest, 549)
	require.Greater(t, longest, 500, "the sparse window was reached")
}

// L06: flooding pushes old counters out of the window, and they stay refused.
func TestDedupeEvictionSafe(t *testing.T) {
	conv, err := NewConversation(id(1), 1)
	require.NoError(t, err)
	w := window(t, mallory)
	for n := uint64(1); n <= 3*WindowSize; n++ {
		_, err := conv.Submit(w, Submission{id(1), num(n), mallory, n, 1}, nil)
		require.NoError(t, err)
	}
	last := conv.Last()
	for n := uint64(1); n <= 3*WindowSize; n++ {
		// No receipt is left, and the message ID is another one.
		_, err := conv.Submit(w, Submission{id(1), num(n + 1e9), mallory, n, 1}, nil)
		require.ErrorIs(t, err, ErrTooOld)
	}
	require.Equal(t, last, conv.Last())
}
