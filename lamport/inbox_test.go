package lamport

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func at(t testing.TB, epoch uint32, n uint64) *Inbox {
	in := new(Inbox)
	if epoch != 0 {
		require.NoError(t, in.Restart(epoch))
	}
	in.at.Number = n
	return in
}

func receive(t testing.TB, in *Inbox, epoch uint32, n uint64) Verdict {
	v, err := in.Receive(Position{epoch, n}, []byte{byte(n)})
	require.NoError(t, err)
	return v
}

// R-9.6-1, R-9.6-2: in order each is processed; again it is acknowledged again.
func TestInboxInOrder(t *testing.T) {
	in := at(t, 1, 0)
	for n := uint64(1); n < 50; n++ {
		before := record0(t, in)
		require.Equal(t, Process, receive(t, in, 1, n))
		require.Equal(t, Process, receive(t, in, 1, n), "until it is advanced")
		require.Equal(t, before, record0(t, in), "Receive processes nothing")
		require.NoError(t, in.Advance(Position{1, n}))
		require.Equal(t, Position{1, n}, in.At())
		for old := uint64(1); old <= n; old++ {
			require.Equal(t, Acknowledge, receive(t, in, 1, old))
		}
		require.False(t, in.Waiting())
	}
}

// L10. R-9.6-3, R-9.6-4: a hole is asked for, once; what came meanwhile follows.
func TestGapReported(t *testing.T) {
	in := at(t, 1, 5)
	require.Equal(t, Fetch, receive(t, in, 1, 8))
	require.True(t, in.Waiting())
	require.Equal(t, Hold, receive(t, in, 1, 10))
	require.Equal(t, Hold, receive(t, in, 1, 8))
	_, _, ok := in.Next()
	require.False(t, ok)
	var got []byte
	take := func(p Position, frame []byte) {
		require.NoError(t, in.Advance(p))
		got = append(got, frame...)
		for {
			p, frame, ok := in.Next()
			if !ok {
				return
			}
			require.NoError(t, in.Advance(p))
			got = append(got, frame...)
		}
	}
	for _, n := range []uint64{6, 7, 8, 9, 10, 11} { // the answer
		if receive(t, in, 1, n) == Process {
			take(Position{1, n}, []byte{byte(n)})
		}
	}
	require.Equal(t, []byte{6, 7, 8, 9, 10, 11}, got)
	require.False(t, in.Waiting())
	require.Equal(t, Fetch, receive(t, in, 1, 13), "the next hole is asked for again")
}

// L10. R-9.6-5: what is held is bounded in number, in bytes and to the next
// positions; wild ones do not crowd out the honest ones, and nothing is lost.
func TestOutOfOrderBufferBounded(t *testing.T) {
	require.Equal(t, []int{256, 4 << 20}, []int{MaxHeld, maxHeldBytes})
	in := at(t, 1, 0)
	r := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		_, err := in.Receive(Position{1, 2 + r.Uint64N(Max-2)}, make([]byte, 1000))
		require.NoError(t, err)
	}
	require.Empty(t, in.held)
	for n := uint64(2); n < 10_000; n++ {
		_, err := in.Receive(Position{1, n}, make([]byte, 1000))
		require.NoError(t, err)
	}
	require.Len(t, in.held, MaxHeld-1)
	require.Equal(t, (MaxHeld-1)*1000, in.bytes)

	in = at(t, 1, 0)
	for n := uint64(2); n < MaxHeld; n++ {
		_, err := in.Receive(Position{1, n}, make([]byte, 100<<10))
		require.NoError(t, err)
	}
	require.Len(t, in.held, maxHeldBytes/(100<<10))
	require.LessOrEqual(t, in.bytes, maxHeldBytes)

	// All of it comes out, and the account of bytes ends at nothing.
	for n := uint64(1); n < MaxHeld; n++ {
		v, err := in.Receive(Position{1, n}, nil)
		require.NoError(t, err)
		require.Equal(t, Process, v)
		require.NoError(t, in.Advance(Position{1, n}))
	}
	require.Empty(t, in.held)
	require.Zero(t, in.bytes)
	require.False(t, in.Waiting())
}

// R-9.6-6: a gap marker is taken where the hole is, and is shown once.
func TestSkip(t *testing.T) {
	skip := func(in *Inbox, epoch uint32, from, to uint64) Verdict {
		v, err := in.Skip(epoch, from, to)
		require.NoError(t, err)
		return v
	}
	in := at(t, 2, 5)
	require.Equal(t, Process, skip(in, 2, 6, 9))
	require.Equal(t, Position{2, 9}, in.At())
	require.Equal(t, Acknowledge, skip(in, 2, 6, 9), "again")
	require.Equal(t, Acknowledge, skip(in, 1, 10, 12), "of an old epoch")
	require.Equal(t, Position{2, 9}, in.At())
	require.Equal(t, Process, skip(in, 2, 3, 11), "from what is processed")
	require.Equal(t, Position{2, 11}, in.At())
	require.Equal(t, Fetch, skip(in, 2, 14, 15), "behind a hole")
	require.Equal(t, Hold, skip(in, 2, 14, 15))
	require.Equal(t, Position{2, 11}, in.At())
	require.Equal(t, Resync, skip(in, 3, 1, 5))
	require.Equal(t, Position{2, 11}, in.At())
	require.Equal(t, Process, skip(in, 2, 12, 12), "one position")
	require.Equal(t, Position{2, 12}, in.At())
	require.Equal(t, Process, skip(in, 2, 13, Max))
	require.Equal(t, Position{2, Max}, in.At())
	for _, bad := range [][3]uint64{{0, 1, 2}, {2, 0, 2}, {2, 13, 12}, {2, 12, Max + 1}} {
		_, err := in.Skip(uint32(bad[0]), bad[1], bad[2])
		require.ErrorIs(t, err, ErrInvalid)
	}

	// A server that calls lost what it has delivered does not take it away.
	in = at(t, 2, 5)
	require.Equal(t, Fetch, receive(t, in, 2, 8))
	require.Equal(t, Process, skip(in, 2, 6, 100))
	require.Equal(t, Position{2, 7}, in.At())
	p, frame, ok := in.Next()
	require.True(t, ok)
	require.Equal(t, Position{2, 8}, p)
	require.Equal(t, []byte{8}, frame)
	require.NoError(t, in.Advance(p))
	require.Equal(t, Position{2, 100}, in.At(), "the rest of the gap goes with it")
	require.Equal(t, Process, receive(t, in, 2, 101))
	require.False(t, in.Waiting())

	// Nor what it delivers late, and the end of the gap stays where it is.
	in = at(t, 2, 5)
	require.Equal(t, Fetch, receive(t, in, 2, 8))
	require.Equal(t, Process, skip(in, 2, 6, 20))
	require.Equal(t, Hold, receive(t, in, 2, 12))
	require.Equal(t, Hold, receive(t, in, 2, 22))
	require.Equal(t, Process, skip(in, 2, 7, 10), "another marker, within the first")
	require.NoError(t, in.Advance(Position{2, 8}))
	require.Equal(t, Position{2, 11}, in.At())
	require.NoError(t, in.Advance(Position{2, 12}))
	require.Equal(t, Position{2, 20}, in.At())
	require.NoError(t, in.Advance(Position{2, 21}))
	require.Equal(t, Position{2, 21}, in.At(), "no gap is left")
	_, frame, ok = in.Next()
	require.True(t, ok)
	require.Equal(t, []byte{22}, frame)
}

// R-9.6-3: the hole that a gap marker shows ends where the gap begins.
func TestSkipBehindHole(t *testing.T) {
	in := at(t, 1, 5)
	v, err := in.Skip(1, 8, 20)
	require.NoError(t, err)
	require.Equal(t, Fetch, v)
	for n := uint64(6); n <= 8; n++ {
		require.True(t, in.Waiting())
		require.NoError(t, in.Advance(Position{1, n}))
	}
	require.False(t, in.Waiting())
	require.Equal(t, Fetch, receive(t, in, 1, 10), "the next hole")
}

// R-9.6-5: a frame that is held and comes again takes no room twice; R-9.9-3: nor
// does what was held belong to a record that is read.
func TestHeldOnce(t *testing.T) {
	in := at(t, 1, 0)
	big := make([]byte, maxHeldBytes/4)
	for range 10 {
		_, err := in.Receive(Position{1, 2}, big)
		require.NoError(t, err)
	}
	require.Equal(t, len(big), in.bytes)
	_, err := in.Receive(Position{1, 2}, []byte("another"))
	require.NoError(t, err)
	require.Equal(t, big, in.held[2], "the first stays")
	for n := uint64(3); n < 7; n++ {
		_, err := in.Receive(Position{1, n}, big)
		require.NoError(t, err)
	}
	require.Len(t, in.held, 4, "4 MiB and no more")
	_, err = in.Skip(1, 1, 9)
	require.NoError(t, err)
	require.Equal(t, Position{1, 1}, in.At())
	require.NoError(t, in.UnmarshalBinary(record0(t, at(t, 1, 1))))
	_, _, ok := in.Next()
	require.False(t, ok, "nothing is held")
	require.Equal(t, Fetch, receive(t, in, 1, 3))
	require.NoError(t, in.UnmarshalBinary(record0(t, at(t, 1, 1))))
	require.Equal(t, at(t, 1, 1), in)
}

// R-9.6-3: one hole is asked for once, however much arrives behind it that is
// too far to be held, and until what showed it is reached.
func TestOneFetchForOneHole(t *testing.T) {
	in := at(t, 1, 0)
	fetches := 0
	for n := uint64(1); n <= 1200; n++ {
		for far := range uint64(3) {
			if receive(t, in, 1, 1000+3*n+far) == Fetch {
				fetches++
			}
		}
		require.True(t, in.Waiting())
		if n < 1002 {
			require.Equal(t, Process, receive(t, in, 1, n))
			require.NoError(t, in.Advance(Position{1, n}))
		}
	}
	require.Equal(t, 1, fetches)
	for n := uint64(1002); in.Waiting(); n++ {
		require.LessOrEqual(t, n, uint64(1003), "what showed the hole")
		require.NoError(t, in.Advance(Position{1, n}))
	}
	require.Equal(t, Position{1, 1003}, in.At())
}

// R-9.6-7: another epoch starts from the beginning; nothing of the old one is
// taken for it, and a server that goes back in epochs moves nothing.
func TestResync(t *testing.T) {
	in := at(t, 1, 100)
	require.Equal(t, Fetch, receive(t, in, 1, 103))
	require.Equal(t, Resync, receive(t, in, 2, 81))
	require.Equal(t, Position{1, 100}, in.At(), "not before Restart")
	require.ErrorIs(t, in.Restart(1), ErrOrder)
	require.ErrorIs(t, in.Restart(0), ErrOrder)
	require.NoError(t, in.Restart(2))
	require.Equal(t, Position{2, 0}, in.At())
	require.False(t, in.Waiting())
	require.Empty(t, in.held)
	require.Equal(t, Fetch, receive(t, in, 2, 81))
	require.Equal(t, Acknowledge, receive(t, in, 1, 104))
	require.Equal(t, Process, receive(t, in, 2, 1))

	fresh := new(Inbox)
	require.Equal(t, Resync, receive(t, fresh, 7, 1))
	require.NoError(t, fresh.Restart(7))
	require.Equal(t, Process, receive(t, fresh, 7, 1))
}

// R-9.6-8: only the next position can be processed, so that the acknowledgement
// never covers what is not stored.
func TestAdvanceInOrderOnly(t *testing.T) {
	in := at(t, 1, 5)
	for _, p := range []Position{{1, 5}, {1, 7}, {2, 6}, {0, 6}, {}, {1, 0}} {
		require.ErrorIs(t, in.Advance(p), ErrOrder, p)
		require.Equal(t, Position{1, 5}, in.At())
	}
	require.ErrorIs(t, new(Inbox).Advance(Position{0, 1}), ErrOrder)
	in = at(t, 1, Max-1)
	require.NoError(t, in.Advance(Position{1, Max}))
	require.ErrorIs(t, in.Advance(Position{1, Max + 1}), ErrOrder)
	for _, p := range []Position{{0, 1}, {1, 0}, {1, Max + 1}} {
		_, err := in.Receive(p, nil)
		require.ErrorIs(t, err, ErrInvalid)
	}
}

// A frame that is held is a copy: the buffer of the connection is used again.
func TestHeldFramesAreCopies(t *testing.T) {
	in := at(t, 1, 0)
	buf := []byte("two")
	_, err := in.Receive(Position{1, 2}, buf)
	require.NoError(t, err)
	copy(buf, "xxx")
	require.NoError(t, in.Advance(Position{1, 1}))
	_, frame, ok := in.Next()
	require.True(t, ok)
	require.Equal(t, "two", string(frame))
	frame[0] = 'y'
	_, frame, _ = in.Next()
	require.Equal(t, "two", string(frame))
}

// Deliveries in any order, twice, or dropped and asked for again, with a start
// of the program in between: each position is processed once and in order.
func TestInboxModel(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 9))
		const last = 400
		in := at(t, 1, 0)
		stored := record0(t, in)
		var flight, got []uint64
		fetch := func() {
			for n := in.At().Number + 1; n <= last; n++ {
				flight = append(flight, n)
			}
		}
		process := func(n uint64) {
			require.NoError(t, in.Advance(Position{1, n}))
			got = append(got, n)
			stored = record0(t, in)
		}
		fetch()
		for step := 0; len(got) < last; step++ {
			require.Less(t, step, 200_000, "it ends")
			if r.IntN(300) == 0 || len(flight) == 0 { // the program, or the connection, starts anew
				in = new(Inbox)
				require.NoError(t, in.UnmarshalBinary(stored))
				flight = flight[:0]
				fetch()
			}
			i := min(r.IntN(8), len(flight)-1)
			n := flight[i]
			if r.IntN(5) > 0 { // else it comes again
				flight = append(flight[:i], flight[i+1:]...)
			}
			if r.IntN(20) == 0 {
				continue // lost
			}
			v, err := in.Receive(Position{1, n}, []byte{byte(n)})
			require.NoError(t, err)
			switch v {
			case Process:
				process(n)
				for p, frame, ok := in.Next(); ok; p, frame, ok = in.Next() {
					require.Equal(t, byte(p.Number), frame[0])
					process(p.Number)
				}
			case Acknowledge:
				require.LessOrEqual(t, n, in.At().Number)
			case Fetch:
				flight = flight[:0]
				fetch()
			case Hold:
			default:
				t.Fatal(v)
			}
			require.LessOrEqual(t, len(in.held), MaxHeld)
		}
		for i, n := range got {
			require.Equal(t, uint64(i+1), n)
		}
	}
}

// L02, R-9.6-6, R-9.6-7, R-9.6-8: a server that once says that all positions of an epoch
// are lost, or names the last epoch, has ended it: nothing wraps, what it delivers
// afterwards has no effect, and a higher epoch, if there is one, begins anew.
func TestInboxEnds(t *testing.T) {
	in := at(t, 1, 7)
	v, err := in.Skip(1, 8, Max)
	require.NoError(t, err)
	require.Equal(t, Process, v)
	require.Equal(t, Position{1, Max}, in.At())
	b, err := in.AppendBinary(nil)
	require.NoError(t, err)
	require.NoError(t, in.UnmarshalBinary(b))
	for _, n := range []uint64{1, 8, Max} {
		require.Equal(t, Acknowledge, receive(t, in, 1, n))
		require.ErrorIs(t, in.Advance(Position{1, n}), ErrOrder)
	}
	_, err = in.Receive(Position{1, Max + 1}, nil)
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorIs(t, in.Advance(Position{1, Max + 1}), ErrOrder)
	_, _, ok := in.Next()
	require.False(t, ok)

	require.Equal(t, Resync, receive(t, in, 2, 1))
	require.NoError(t, in.Restart(2))
	require.Equal(t, Process, receive(t, in, 2, 1))

	require.NoError(t, in.Restart(1<<32-1))
	require.ErrorIs(t, in.Restart(0), ErrOrder)
	require.Equal(t, Acknowledge, receive(t, in, 3, 1))
	require.Equal(t, Process, receive(t, in, 1<<32-1, 1))
}
