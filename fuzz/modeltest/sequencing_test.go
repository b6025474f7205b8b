package modeltest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sotto-im/sotto/lamport"
)

// R-9.5-8: a store that lost what it had committed raises its epoch, and no
// position is ever given to two messages.
func TestRestoreNeverReissuesAPosition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := map[lamport.Position][16]byte{}
		epoch := uint32(1)
		d := lamport.Device{User: user(1), ID: 1}
		c, err := lamport.NewConversation(conversationID(0), epoch)
		require.NoError(t, err)
		w, err := lamport.NewWindow(d)
		require.NoError(t, err)
		type snapshot struct{ c, w []byte }
		snapshots := []snapshot{{must(c.AppendBinary(nil)), must(w.AppendBinary(nil))}}
		for n := range uint64(rapid.IntRange(1, 60).Draw(t, "steps")) {
			switch rapid.IntRange(0, 5).Draw(t, "action") {
			case 0:
				snapshots = append(snapshots, snapshot{must(c.AppendBinary(nil)), must(w.AppendBinary(nil))})
			case 1:
				s := snapshots[rapid.IntRange(0, len(snapshots)-1).Draw(t, "snapshot")]
				require.NoError(t, c.UnmarshalBinary(s.c))
				require.NoError(t, w.UnmarshalBinary(s.w))
				epoch++
				require.NoError(t, c.Restart(epoch))
			default:
				r, err := c.Submit(w, lamport.Submission{Conversation: c.ID(), ID: messageID(n), Sender: d, Counter: n + 1, Stamp: 1}, nil)
				require.NoError(t, err)
				_, ok := given[r.Position]
				require.False(t, ok, "%v again", r.Position)
				given[r.Position] = r.ID
			}
		}
	})
}

func drawPosition(t *rapid.T) lamport.Position {
	return lamport.Position{Epoch: rapid.Uint32Range(1, 3).Draw(t, "epoch"), Number: rapid.Uint64Range(1, 5).Draw(t, "number")}
}

func drawDevice(t *rapid.T) lamport.Device {
	return lamport.Device{User: user(rapid.ByteRange(1, 3).Draw(t, "user")), ID: rapid.Uint32Range(1, 3).Draw(t, "device")}
}

func drawKey(t *rapid.T) lamport.Key {
	stamp := lamport.Stamp(rapid.Uint64Range(1, 5).Draw(t, "stamp"))
	d, id := drawDevice(t), messageID(rapid.Uint64Range(1, 4).Draw(t, "id"))
	if rapid.Bool().Draw(t, "pending") {
		return lamport.PendingKey(drawPosition(t), stamp, d, id)
	}
	return lamport.ConfirmedKey(drawPosition(t), stamp, d, id)
}

// L04, I-05; R-9.3-2: the order of keys is total, antisymmetric and transitive,
// and equal keys are equal messages. The domain is small, so that all fields tie.
func TestTotalOrderProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawKey(t), drawKey(t), drawKey(t)
		require.Equal(t, -b.Compare(a), a.Compare(b))
		require.Equal(t, a == b, a.Compare(b) == 0)
		if a.Compare(b) <= 0 && b.Compare(c) <= 0 {
			require.LessOrEqual(t, a.Compare(c), 0)
		}
	})
}

// I-05, I-06: an honest server sequences a message after what its sender had
// seen, so a pending message moves down at most, once, and Confirm finds every
// server that does otherwise.
func TestConfirmProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		anchor, p := drawPosition(t), drawPosition(t)
		d, id := drawDevice(t), messageID(1)
		k := lamport.PendingKey(anchor, 1, d, id)
		c, err := k.Confirm(p)
		if p.Compare(anchor) <= 0 {
			require.ErrorIs(t, err, lamport.ErrOrder)
			require.Equal(t, k, c)
			return
		}
		require.NoError(t, err)
		require.Equal(t, lamport.ConfirmedKey(p, 1, d, id), c)
		require.Positive(t, c.Compare(k))
		require.Positive(t, c.Compare(lamport.ConfirmedKey(anchor, lamport.Max, d, id)), "behind what it answers")
	})
}

// I-09: registers converge, with few stamps and values so that everything ties.
func TestRegisterProperties(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) lamport.Write {
		w := lamport.Write{Device: lamport.Device{User: user(1), ID: rapid.Uint32Range(1, 2).Draw(t, "device")},
			Stamp: lamport.Stamp(rapid.Uint64Range(1, 3).Draw(t, "stamp")), Deleted: rapid.Bool().Draw(t, "deleted")}
		if !w.Deleted {
			w.Value = rapid.SliceOfN(rapid.ByteRange(0, 1), 0, 2).Draw(t, "value")
		}
		return w
	})
	rapid.Check(t, func(t *rapid.T) {
		writes := rapid.SliceOfN(draw, 0, 6).Draw(t, "writes")
		apply := func(list []lamport.Write) *lamport.Register {
			r, err := lamport.NewRegister(user(1))
			require.NoError(t, err)
			for _, w := range list {
				_, err := r.Apply(w)
				require.NoError(t, err)
			}
			return r
		}
		want := must(apply(writes).AppendBinary(nil))
		shuffled := rapid.Permutation(writes).Draw(t, "order")
		require.Equal(t, want, must(apply(append(shuffled, shuffled...)).AppendBinary(nil)))
		cut := rapid.IntRange(0, len(shuffled)).Draw(t, "cut")
		a, b := apply(shuffled[:cut]), apply(shuffled[cut:])
		_, err := b.Merge(a)
		require.NoError(t, err)
		_, err = b.Merge(a)
		require.NoError(t, err)
		require.Equal(t, want, must(b.AppendBinary(nil)))
	})
}
