package modeltest

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sotto-im/sotto/lamport"
)

// I-17; R-9.6-5: whatever the positions and sizes of what comes early, at most 256
// frames and 4 MiB are held back, and the next position is always taken.
func TestHeldIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { flood(t, new(lamport.Inbox)) })
}

// flood delivers frames wildly, and then everything in order: a frame that comes
// out without being delivered again was held.
func flood(t *rapid.T, in inbox) {
	if err := in.Restart(1); err != nil {
		t.Fatal(err)
	}
	large := make([]byte, 96<<10)
	step := uint64(rapid.IntRange(1, 50).Draw(t, "step"))
	size := rapid.SampledFrom([]int{0, 100, 20 << 10, len(large)}).Draw(t, "size")
	last := uint64(1)
	for range rapid.IntRange(1, 400).Draw(t, "frames") {
		switch rapid.IntRange(0, 9).Draw(t, "where") {
		case 0: // nowhere near
			receive(t, in, rapid.Uint64Range(last, lamport.Max).Draw(t, "position"), large)
		case 1: // again
			receive(t, in, last, large)
		default:
			last += step
			receive(t, in, last, large[:size])
		}
	}
	frames, bytes := 0, 0
	for n := uint64(1); n <= last; n++ {
		if p, frame, ok := in.Next(); ok {
			if p.Number != n {
				t.Fatalf("I-03: %v, and %d is next", p, n)
			}
			if n > lamport.MaxHeld {
				t.Fatalf("I-17: %d was held, and 1 was next", n)
			}
			frames, bytes = frames+1, bytes+len(frame)
		} else if v := receive(t, in, n, nil); v != lamport.Process {
			t.Fatalf("I-17: verdict %d for the next, %d", v, n)
		}
		if err := in.Advance(lamport.Position{Epoch: 1, Number: n}); err != nil {
			t.Fatal(err)
		}
	}
	if frames > lamport.MaxHeld || bytes > 4<<20 {
		t.Fatalf("I-17: %d frames and %d bytes were held", frames, bytes)
	}
}

func receive(t *rapid.T, in inbox, n uint64, frame []byte) lamport.Verdict {
	v, err := in.Receive(lamport.Position{Epoch: 1, Number: n}, frame)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
