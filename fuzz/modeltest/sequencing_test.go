package modeltest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sotto-im/sotto/lamport"
)

// I-01, I-02, I-03, I-04, I-06, I-07, I-08, I-17; R-9.8-1. Short runs that
// shrink.
func TestModelShrinking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) },
			func(format string, args ...any) { t.Fatalf(format, args...) })
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			m.step()
		}
		m.settle()
	})
}

// The same in long runs, so that windows slide and receipts are forgotten.
func TestModelLong(t *testing.T) {
	runs, steps := 100, 3000
	if testing.Short() {
		runs = 10
	}
	var total [6]int
	for seed := range runs {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		m := newModel(func(_ string, n int) int { return r.IntN(n) },
			func(format string, args ...any) { t.Fatalf("run %d: "+format, append([]any{seed}, args...)...) })
		for range steps {
			m.step()
		}
		m.settle()
		for i, n := range []int{m.stats.accepted, m.stats.duplicate, m.stats.tooOld, m.stats.processed, m.stats.gaps, m.stats.crashes} {
			total[i] += n
		}
	}
	t.Logf("accepted %d, duplicates %d, too old %d, processed %d, gaps shown %d, crashes %d", total[0], total[1], total[2], total[3], total[4], total[5])
	for _, n := range total {
		require.NotZero(t, n, "the run reaches everything")
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
		}, t.Fatalf)
		for len(b) > 0 {
			m.step()
		}
		m.settle()
	})
}

// Each rule that a caller has to keep is needed: without it the model fails.
func TestModelNoticesBrokenRules(t *testing.T) {
	for name, break_ := range map[string]func(*model){
		"sealing beyond the window":           func(m *model) { m.ignoreWindowRule = true },
		"acknowledging before the commit":     func(m *model) { m.ackBeforeCommit = true },
		"receipts under the message ID alone": func(m *model) { m.receiptByIDOnly = true },
		"trimming a mailbox without a gap":    func(m *model) { m.trimSilently = true },
	} {
		t.Run(name, func(t *testing.T) {
			noticed := ""
			for seed := range uint64(60) {
				r := rand.New(rand.NewPCG(seed, 3))
				func() {
					defer func() {
						if v := recover(); v != nil {
							noticed = fmt.Sprint(v)
						}
					}()
					m := newModel(func(_ string, n int) int { return r.IntN(n) },
						func(format string, args ...any) { panic(fmt.Sprintf(format, args...)) })
					break_(m)
					for range 3000 {
						m.step()
					}
					m.settle()
				}()
				if noticed != "" {
					break
				}
			}
			require.NotEmpty(t, noticed)
			t.Log(noticed)
		})
	}
}

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
