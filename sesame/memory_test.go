package sesame_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/txtest"
)

// R-10.1-1 to R-10.1-9.
func TestMemory(t *testing.T) {
	txtest.Run(t, func(*testing.T) txtest.Store { return new(sesame.Memory) })
}

// A key that no store can keep is refused, and takes the transaction along.
func TestMemoryRowKeys(t *testing.T) {
	for _, key := range []string{"", strings.Repeat("k", sesame.MaxRowKeySize+1)} {
		for name, call := range map[string]func(tx sesame.Tx) error{
			"Get":    func(tx sesame.Tx) error { _, _, err := tx.Get(key); return err },
			"Put":    func(tx sesame.Tx) error { return tx.Put(key, nil, 0) },
			"Delete": func(tx sesame.Tx) error { return tx.Delete(key, 0) },
		} {
			require.ErrorIs(t, new(sesame.Memory).Do(func(tx sesame.Tx) error {
				require.ErrorIs(t, call(tx), sesame.ErrRowKey)
				return nil
			}), sesame.ErrRowKey, name)
		}
	}
}

// Memory transactions run side by side, one inside of another if need be; the
// one that commits first wins.
func TestMemoryNested(t *testing.T) {
	m := new(sesame.Memory)
	err := m.Do(func(outer sesame.Tx) error {
		require.NoError(t, outer.Put("sotto/a", []byte("outer"), 0))
		require.NoError(t, m.Do(func(inner sesame.Tx) error {
			_, rev, err := inner.Get("sotto/a")
			require.NoError(t, err)
			require.Zero(t, rev)
			return inner.Put("sotto/a", []byte("inner"), 0)
		}))
		return nil
	})
	require.ErrorIs(t, err, sesame.ErrConflict)
	value, _, err := get(t, m, "sotto/a")
	require.NoError(t, err)
	require.Equal(t, "inner", string(value))
}

// Readers share a value, but not what they append to it.
func TestMemoryAppend(t *testing.T) {
	m := new(sesame.Memory)
	set(t, m, "sotto/a", make([]byte, 33)) // no size of the allocator
	require.NoError(t, m.Do(func(tx sesame.Tx) error {
		one, _, err := tx.Get("sotto/a")
		require.NoError(t, err)
		two, _, err := tx.Get("sotto/a")
		require.NoError(t, err)
		one, two = append(one, 1), append(two, 2)
		require.Equal(t, byte(1), one[33])
		require.Equal(t, byte(2), two[33])
		return nil
	}))
}

// Against a plain map, over many keys, so that the index splits, empties and
// fills.
func TestMemoryAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	m, model := new(sesame.Memory), map[string]string{}
	for round := range 60 {
		require.NoError(t, m.Do(func(tx sesame.Tx) error {
			for range 150 {
				key := fmt.Sprintf("sotto/%d/%d", rng.IntN(3), rng.IntN(1200))
				value, rev, err := tx.Get(key)
				require.NoError(t, err)
				want, ok := model[key]
				require.Equal(t, ok, rev != 0)
				require.Equal(t, want, string(value))
				if rng.IntN(100) < 30+40*(round/30) { // first it grows, then it shrinks
					require.NoError(t, tx.Delete(key, rev))
					delete(model, key)
					continue
				}
				require.NoError(t, tx.Put(key, []byte(fmt.Sprint(round)), rev))
				model[key] = fmt.Sprint(round)
			}
			return nil
		}))
		require.NoError(t, m.Do(func(tx sesame.Tx) error {
			for _, prefix := range []string{"", "sotto/1", "sotto/2/11"} {
				var want, got []string
				for key := range model {
					if strings.HasPrefix(key, prefix) {
						want = append(want, key)
					}
				}
				slices.Sort(want)
				for key, err := range tx.Scan(prefix) {
					require.NoError(t, err)
					got = append(got, key)
				}
				require.Equal(t, want, got)
			}
			return nil
		}))
	}
	require.NotEmpty(t, model)
}

func BenchmarkMemory(b *testing.B) {
	for _, rows := range []int{10, 100_000} {
		for name, key := range map[string]*sesame.SealKey{"plain": nil, "sealed": sesame.GenerateSealKey()} {
			b.Run(fmt.Sprintf("%s/rows=%d", name, rows), func(b *testing.B) {
				m := new(sesame.Memory)
				require.NoError(b, m.Do(func(tx sesame.Tx) error {
					for i := range rows {
						if err := tx.Put(fmt.Sprintf("sotto/%06d", i), make([]byte, 45), 0); err != nil {
							return err
						}
					}
					return nil
				}))
				value, n := make([]byte, 400), 0
				b.ReportAllocs()
				for b.Loop() { // a session, and a row that comes and goes
					n++
					if err := m.Do(func(tx sesame.Tx) error {
						if key != nil {
							tx = sesame.Seal(tx, key)
						}
						_, rev, err := tx.Get("sotto/session")
						if err != nil {
							return err
						}
						if err := tx.Put("sotto/session", value, rev); err != nil {
							return err
						}
						k := fmt.Sprintf("sotto/%06dx", n%rows)
						if err := tx.Put(k, value[:45], 0); err != nil {
							return err
						}
						_, rev, err = tx.Get(k)
						if err != nil {
							return err
						}
						return tx.Delete(k, rev)
					}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
