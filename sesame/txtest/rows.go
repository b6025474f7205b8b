package txtest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/sesame"
)

// rows: absent, created, replaced, deleted.
func rows(t testingT, s Store) {
	k := key("row")
	require.NoError(t, do(s, func(tx sesame.Tx) error {
		v, rev, err := tx.Get(k)
		require.NoError(t, err)
		require.Zero(t, rev, "the revision of an absent row is 0")
		require.Nil(t, v, "the value of an absent row is nil")
		keys, err := scan(tx, key(""))
		require.NoError(t, err)
		require.Empty(t, keys, "the store must be empty")
		return tx.Delete(k, 0) // is not there: nothing to do
	}))
	require.Zero(t, read(t, s, k))

	first := mustPut(t, s, k, "one")
	require.NotZero(t, first, "the revision of a row that exists is not 0")
	require.Equal(t, row{"one", first}, read(t, s, k), "what was committed is read, with the revision that it had")
	second := mustPut(t, s, k, "two")
	require.Equal(t, row{"two", second}, read(t, s, k))
	other := mustPut(t, s, key("row2"), "other")
	mustRemove(t, s, k)
	require.Zero(t, read(t, s, k), "a deleted row is absent")
	require.Equal(t, row{"other", other}, read(t, s, key("row2")))
}

// conflicts: a write must name the revision that is there.
func conflicts(t testingT, s Store) {
	k, absent := key("there"), key("absent")
	old := mustPut(t, s, k, "old")
	rev := mustPut(t, s, k, "new")
	before := dump(t, s, key(""))
	for name, write := range map[string]func(tx sesame.Tx) error{
		"create what is there":      func(tx sesame.Tx) error { return tx.Put(k, nil, 0) },
		"replace an old revision":   func(tx sesame.Tx) error { return tx.Put(k, nil, old) },
		"replace a revision ahead":  func(tx sesame.Tx) error { return tx.Put(k, nil, rev+1) },
		"replace the last revision": func(tx sesame.Tx) error { return tx.Put(k, nil, ^uint64(0)) },
		"delete an old revision":    func(tx sesame.Tx) error { return tx.Delete(k, old) },
		"delete as absent":          func(tx sesame.Tx) error { return tx.Delete(k, 0) },
		"replace what is absent":    func(tx sesame.Tx) error { return tx.Put(absent, nil, rev) },
		"delete what is absent":     func(tx sesame.Tx) error { return tx.Delete(absent, rev) },
	} {
		require.ErrorIs(t, s.Do(write), sesame.ErrConflict, name)
		require.Equal(t, before, dump(t, s, key("")), "%s: changed something", name)
	}
	require.NoError(t, s.Do(func(tx sesame.Tx) error { return tx.Put(k, []byte("next"), rev) }),
		"a revision that another transaction has read may be named, if it is still there")
	require.Equal(t, "next", read(t, s, k).value)
}

// ownWrites: a transaction reads what it has written.
func ownWrites(t testingT, s Store) {
	k := key("own")
	base := mustPut(t, s, k, "committed")
	require.NoError(t, do(s, func(tx sesame.Tx) error {
		v, rev, err := tx.Get(k)
		require.NoError(t, err)
		require.Equal(t, "committed", string(v))
		require.NoError(t, tx.Put(k, []byte("mine"), rev))
		v, rev, err = tx.Get(k)
		require.NoError(t, err)
		require.Equal(t, "mine", string(v), "Get does not see the transaction's own Put")
		require.NotEqual(t, base, rev, "a write gives a new revision at once")
		require.NoError(t, tx.Put(k, []byte("mine again"), rev))
		_, rev, err = tx.Get(k)
		require.NoError(t, err)

		require.NoError(t, tx.Delete(k, rev))
		v, rev, err = tx.Get(k)
		require.NoError(t, err)
		require.Zero(t, rev, "Get does not see the transaction's own Delete")
		require.Nil(t, v)
		require.NoError(t, tx.Delete(k, 0))
		require.NoError(t, tx.Put(k, []byte("born again"), 0))

		require.NoError(t, tx.Put(key("short-lived"), nil, 0))
		return remove(tx, key("short-lived"))
	}))
	require.Equal(t, "born again", read(t, s, k).value)
	require.Zero(t, read(t, s, key("short-lived")))

	// Also against its own writes a transaction has to name the right revision.
	rev := read(t, s, k).rev
	require.ErrorIs(t, s.Do(func(tx sesame.Tx) error {
		require.NoError(t, tx.Put(k, []byte("a"), rev))
		return tx.Put(k, []byte("b"), rev)
	}), sesame.ErrConflict, "the revision that the transaction itself has replaced is gone")
	require.ErrorIs(t, s.Do(func(tx sesame.Tx) error {
		require.NoError(t, tx.Delete(k, rev))
		return tx.Put(k, []byte("b"), rev)
	}), sesame.ErrConflict, "a row that the transaction itself has deleted is created with revision 0")
	require.Equal(t, row{"born again", rev}, read(t, s, k))
}

// revisions: one key never has a revision twice.
func revisions(t testingT, s Store) {
	k := key("rev")
	seen := map[uint64]string{}
	note := func(rev uint64, what string) {
		require.NotZero(t, rev, what)
		require.NotContains(t, seen, rev, "%s has the revision of an earlier row", what)
		seen[rev] = what
	}
	for i := range 5 {
		note(mustPut(t, s, k, "same value"), fmt.Sprint("creation ", i))
		note(mustPut(t, s, k, "same value"), fmt.Sprint("replacement ", i))
		mustRemove(t, s, k)
		require.NoError(t, do(s, func(tx sesame.Tx) error { // all in one transaction
			rev, err := put(tx, k, []byte("same value"))
			if err != nil {
				return err
			}
			if err := remove(tx, k); err != nil {
				return err
			}
			again, err := put(tx, k, []byte("same value"))
			require.NotEqual(t, rev, again, "revisions restart after a delete in one transaction")
			if err != nil {
				return err
			}
			return remove(tx, k)
		}))
		s = reopened(t, s)
	}
	// What it is for: who slept through delete and creation.
	slept := mustPut(t, s, k, "same value")
	mustRemove(t, s, k)
	mustPut(t, s, k, "same value")
	require.ErrorIs(t, s.Do(func(tx sesame.Tx) error { return tx.Put(k, nil, slept) }), sesame.ErrConflict)
	require.ErrorIs(t, s.Do(func(tx sesame.Tx) error { return tx.Delete(k, slept) }), sesame.ErrConflict)
}

// values: any bytes; empty is not absent.
func values(t testingT, s Store) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for name, v := range map[string][]byte{
		"nil": nil, "empty": {}, "a zero byte": {0}, "zero bytes at the end": {1, 0, 0}, "all bytes": all,
		"text": []byte(`'"\x00; -- %s $1 ?`), "not UTF-8": {0xc3, 0x28, 0xff}, "sized like 4 KiB": bytes.Repeat([]byte{0xab}, 4096),
	} {
		k := key("value %s", name)
		require.NoError(t, do(s, func(tx sesame.Tx) error { _, err := put(tx, k, v); return err }), name)
		r := read(t, s, k)
		require.Equal(t, string(v), r.value, name)
		require.NotZero(t, r.rev, "%s: a row with an empty value exists", name)
		require.ErrorIs(t, s.Do(func(tx sesame.Tx) error { return tx.Put(k, v, 0) }), sesame.ErrConflict, name)
		require.NoError(t, do(s, func(tx sesame.Tx) error {
			keys, err := scan(tx, k)
			require.Equal(t, []string{k}, keys, name)
			return err
		}))
	}
}

// largeValues: 1 MiB.
func largeValues(t testingT, s Store) {
	v := make([]byte, 1<<20)
	for i, x := 0, uint32(1); i < len(v); i++ {
		x = x*1664525 + 1013904223
		v[i] = byte(x >> 24)
	}
	for i := range 3 {
		mustPut(t, s, key("large"), string(v[i:]))
		require.True(t, read(t, s, key("large")).value == string(v[i:]), "a value of 1 MiB comes back altered")
	}
}

// valuesStay: values do not change under their readers, nor under the store.
func valuesStay(t testingT, s Store) {
	k := key("stays")
	buf := []byte("original")
	require.NoError(t, do(s, func(tx sesame.Tx) error {
		copy(buf, "original") // fn may run twice
		_, err := put(tx, k, buf)
		return err
	}))
	copy(buf, "OVERWRITTEN")
	require.Equal(t, "original", read(t, s, k).value, "the store kept the caller's buffer")

	require.NoError(t, do(s, func(tx sesame.Tx) error {
		v, rev, err := tx.Get(k)
		require.NoError(t, err)
		require.NoError(t, tx.Put(k, []byte("replaced"), rev))
		w, rev, err := tx.Get(k)
		require.NoError(t, err)
		require.NoError(t, tx.Put(k, []byte("REPLACED"), rev)) // as long as it was
		require.NoError(t, tx.Put(key("stays too"), []byte("elsewhere"), 0))
		_, _, err = tx.Get(key("stays too"))
		require.NoError(t, err)
		require.NoError(t, remove(tx, k))
		require.Equal(t, "original", string(v), "a value changed before the transaction ended")
		require.Equal(t, "replaced", string(w), "a value changed before the transaction ended")
		// What a caller appends goes elsewhere.
		_ = append(w, "!!!"...)
		return tx.Put(k, []byte("last"), 0)
	}))
	require.Equal(t, "last", read(t, s, k).value)
	require.Equal(t, "elsewhere", read(t, s, key("stays too")).value)
}

// awkward are keys in order, where stores go wrong: at bytes that are not text,
// at ends of prefixes, at collations that ignore case or punctuation.
var awkward = []string{
	"sotto/s", "sotto/s\x00", "sotto/s\x00\x00", "sotto/s ", "sotto/s%", "sotto/s*", "sotto/s-1", "sotto/s/", "sotto/s/A", "sotto/s/B",
	"sotto/s/_", "sotto/s/a", "sotto/s/a/1", "sotto/s/a/10", "sotto/s/a/2", "sotto/s/a0", "sotto/s/aa", "sotto/s/b", "sotto/s/\u00e9", "sotto/s/\xff",
	"sotto/s/\xff\x00", "sotto/s/\xff\xff", "sotto/s/\xff\xff\xff", "sotto/s0", "sotto/s\xfe", "sotto/s\xff", "sotto/t", "sotto\xff", "sotto\xff\xff",
}

// keys: any bytes, told apart, up to the greatest length.
func keys(t testingT, s Store) {
	long := strings.Repeat("k", sesame.MaxRowKeySize-len(key("")))
	all := append([]string{key("%s", long), key("%s", long[1:]), key("%s", long[:len(long)-1]+"l"), "\x00", "k", "\xff"}, awkward...)
	for i, k := range all {
		mustPut(t, s, k, fmt.Sprint("value ", i))
	}
	for i, k := range all {
		require.Equal(t, fmt.Sprint("value ", i), read(t, s, k).value, "key %q", k)
	}
	for i, k := range all {
		mustRemove(t, s, k)
		require.Len(t, dump(t, s, ""), len(all)-i-1, "deleting %q deleted more or less", k)
	}
}

func scanOrder(t testingT, s Store) {
	require.True(t, slices.IsSorted(awkward))
	for i := range awkward { // neither inserted in order
		mustPut(t, s, awkward[(i*11)%len(awkward)], "v")
	}
	prefixes := append([]string{"", "s", "sotto", "sotto/", "sotto/s/a/", "sotto/x", "zzz", "\x00", "\xff", "\xff\xff"}, awkward...)
	require.NoError(t, do(s, func(tx sesame.Tx) error {
		for _, p := range prefixes {
			var want []string
			for _, k := range awkward {
				if strings.HasPrefix(k, p) {
					want = append(want, k)
				}
			}
			got, err := scan(tx, p)
			require.NoError(t, err)
			require.Equal(t, want, got, "prefix %q", p)
		}
		return nil
	}))

	// Many rows, so that a store that reads in pages turns them.
	var want []string
	require.NoError(t, do(s, func(tx sesame.Tx) error {
		want = nil
		for i := range 1200 {
			k := fmt.Sprintf("sotto/many/%04d", i*7%1200)
			if err := tx.Put(k, []byte(k), 0); err != nil {
				return err
			}
			want = append(want, k)
		}
		return nil
	}))
	slices.Sort(want)
	require.NoError(t, do(s, func(tx sesame.Tx) error {
		got, err := scan(tx, "sotto/many/")
		require.Equal(t, want, got)
		return err
	}))
	require.Len(t, dump(t, s, "sotto/many/00"), 100)
}

func scanOwnWrites(t testingT, s Store) {
	for _, k := range []string{"a", "c", "e", "g"} {
		mustPut(t, s, key("%s", k), "v")
	}
	want := []string{key("b"), key("c"), key("d"), key("g")}
	require.NoError(t, do(s, func(tx sesame.Tx) error {
		for _, k := range []string{"d", "b", "x", "c"} {
			_, err := put(tx, key("%s", k), []byte("mine"))
			require.NoError(t, err)
		}
		for _, k := range []string{"a", "e", "x"} {
			require.NoError(t, remove(tx, key("%s", k)))
		}
		got, err := scan(tx, key(""))
		require.NoError(t, err)
		require.Equal(t, want, got, "Scan does not see the transaction's own writes")
		return nil
	}))
	require.NoError(t, do(s, func(tx sesame.Tx) error {
		got, err := scan(tx, key(""))
		require.Equal(t, want, got)
		return err
	}))
}

// scanSnapshot: the transaction is used, and writes, during the iteration.
func scanSnapshot(t testingT, s Store) {
	want := make([]string, 40)
	for i := range want {
		want[i] = key("%02d", i)
		mustPut(t, s, want[i], "v")
	}
	require.NoError(t, do(s, func(tx sesame.Tx) error {
		var got []string
		for k, err := range tx.Scan(key("")) {
			require.NoError(t, err)
			got = append(got, k)
			require.LessOrEqual(t, len(got), len(want), "Scan yields keys that were written during it")
			_, rev, err := tx.Get(k)
			require.NoError(t, err)
			switch len(got) % 3 {
			case 0: // keys ahead and behind
				require.NoError(t, tx.Put(k+"new", nil, 0))
			case 1:
				require.NoError(t, tx.Put(k, []byte("w"), rev))
			case 2:
				require.NoError(t, tx.Delete(k, rev))
			}
			inner := 0
			for _, err := range tx.Scan(key("1")) { // one in another, and left early
				require.NoError(t, err)
				if inner++; inner == 3 {
					break
				}
			}
			require.Equal(t, 3, inner)
		}
		require.Equal(t, want, got)
		return nil
	}))
	require.Len(t, dump(t, s, key("")), 40)
}
