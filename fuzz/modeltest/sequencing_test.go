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

// A keyed message is what is in its key.
type keyed struct {
	pending bool
	p       lamport.Position
	stamp   lamport.Stamp
	sender  lamport.Device
	id      [16]byte
}

func drawKeyed(t *rapid.T) keyed {
	return keyed{rapid.Bool().Draw(t, "pending"), drawPosition(t), lamport.Stamp(rapid.Uint64Range(1, 5).Draw(t, "stamp")),
		drawDevice(t), messageID(rapid.Uint64Range(1, 4).Draw(t, "id"))}
}

func (m keyed) key() lamport.Key {
	if m.pending {
		return lamport.PendingKey(m.p, m.stamp, m.sender, m.id)
	}
	return lamport.ConfirmedKey(m.p, m.stamp, m.sender, m.id)
}

// L04, I-05; R-9.3-2: the order of keys is total, antisymmetric and transitive,
// and equal keys are equal messages. The domain is small, so that all fields tie.
func TestTotalOrderProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, n := drawKeyed(t), drawKeyed(t)
		switch rapid.IntRange(0, 5).Draw(t, "the same but for one thing") {
		case 0:
			n = keyed{n.pending, m.p, m.stamp, m.sender, m.id}
		case 1:
			n = keyed{m.pending, n.p, m.stamp, m.sender, m.id}
		case 2:
			n = keyed{m.pending, m.p, n.stamp, m.sender, m.id}
		case 3:
			n = keyed{m.pending, m.p, m.stamp, n.sender, m.id}
		case 4:
			n = keyed{m.pending, m.p, m.stamp, m.sender, n.id}
		}
		a, b, c := m.key(), n.key(), drawKeyed(t).key()
		require.Equal(t, -b.Compare(a), a.Compare(b))
		require.Equal(t, m == n, a.Compare(b) == 0)
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
