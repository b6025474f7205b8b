package sesame_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/sotto-im/sotto/internal/secret/secrettest"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/txtest"
)

// sealed is a store under Seal.
type sealed struct {
	store txtest.Store
	key   *sesame.SealKey
}

func (s sealed) Do(fn func(sesame.Tx) error) error {
	return s.store.Do(func(tx sesame.Tx) error { return fn(sesame.Seal(tx, s.key)) })
}

// A sealed store keeps the contract of the one below.
func TestSealedStore(t *testing.T) {
	txtest.Run(t, func(*testing.T) txtest.Store { return sealed{new(sesame.Memory), sesame.GenerateSealKey()} })
}

func get(t *testing.T, s txtest.Store, key string) (value []byte, rev uint64, err error) {
	t.Helper()
	require.NoError(t, s.Do(func(tx sesame.Tx) error { value, rev, err = tx.Get(key); return nil }))
	return bytes.Clone(value), rev, err
}

// set replaces a row without looking.
func set(t *testing.T, s txtest.Store, key string, value []byte) {
	t.Helper()
	require.NoError(t, s.Do(func(tx sesame.Tx) error {
		_, rev, err := tx.Get(key)
		if err != nil {
			return err
		}
		return tx.Put(key, value, rev)
	}))
}

// R-10.1-11: what a sealed value is, byte for byte.
func TestSealFormat(t *testing.T) {
	raw := [32]byte{1, 2, 3}
	store := new(sesame.Memory)
	s := sealed{store, sesame.NewSealKey(raw)}
	nonces := map[string]bool{}
	for _, value := range [][]byte{nil, []byte("v"), []byte("v"), bytes.Repeat([]byte{7}, 5000)} {
		set(t, s, "sotto/row", value)
		stored, _, err := get(t, store, "sotto/row")
		require.NoError(t, err)
		require.Len(t, stored, 41+len(value))
		require.Equal(t, byte(1), stored[0])
		require.False(t, nonces[string(stored[1:25])], "a nonce was used twice")
		nonces[string(stored[1:25])] = true

		aead, err := chacha20poly1305.NewX(raw[:])
		require.NoError(t, err)
		opened, err := aead.Open(nil, stored[1:25], stored[25:], []byte("sotto/row"))
		require.NoError(t, err)
		require.Equal(t, string(value), string(opened))
	}
}

// R-10.1-12: an altered value, one of another row, a plain one, and any value
// under another key: ErrSealed, and nothing of it.
func TestSealRefuses(t *testing.T) {
	store := new(sesame.Memory)
	s := sealed{store, sesame.GenerateSealKey()}
	set(t, s, "sotto/a", []byte("secret of a"))
	set(t, s, "sotto/b", []byte("secret of b"))
	a, _, _ := get(t, store, "sotto/a")
	b, _, _ := get(t, store, "sotto/b")
	refused := func(s txtest.Store, what string) {
		t.Helper()
		value, rev, err := get(t, s, "sotto/a")
		require.ErrorIs(t, err, sesame.ErrSealed, what)
		require.Nil(t, value, what)
		require.Zero(t, rev, what)
		require.ErrorIs(t, s.Do(func(tx sesame.Tx) error { _, _, err := tx.Get("sotto/a"); return err }), sesame.ErrSealed)
	}

	refused(sealed{store, sesame.GenerateSealKey()}, "another key")
	set(t, store, "sotto/a", b)
	refused(s, "the value of another row")
	for n := range a {
		set(t, store, "sotto/a", a[:n])
		refused(s, fmt.Sprintf("the first %d bytes", n))
		for bit := range 8 {
			flipped := bytes.Clone(a)
			flipped[n] ^= 1 << bit
			set(t, store, "sotto/a", flipped)
			refused(s, fmt.Sprintf("bit %d of byte %d", bit, n))
		}
	}
	set(t, store, "sotto/a", append(bytes.Clone(a), 0))
	refused(s, "a byte more")
	set(t, store, "sotto/a", []byte("a value that was never sealed, and is long enough to be"))
	refused(s, "a plain value")

	// What it does not notice: an old value of the same row (R-10.1-13).
	set(t, store, "sotto/a", a)
	set(t, s, "sotto/a", []byte("newer"))
	set(t, store, "sotto/a", a)
	value, _, err := get(t, s, "sotto/a")
	require.NoError(t, err)
	require.Equal(t, "secret of a", string(value))
}

func TestSealKey(t *testing.T) {
	k := sesame.GenerateSealKey()
	raw, err := k.AppendBinary([]byte("head"))
	require.NoError(t, err)
	require.Len(t, raw, 4+32)
	store := new(sesame.Memory)
	set(t, sealed{store, k}, "sotto/a", []byte("v"))
	value, _, err := get(t, sealed{store, sesame.NewSealKey([32]byte(raw[4:]))}, "sotto/a")
	require.NoError(t, err)
	require.Equal(t, "v", string(value))
	other, err := sesame.GenerateSealKey().AppendBinary(nil)
	require.NoError(t, err)
	require.NotEqual(t, raw[4:], other)

	// No key at work that is not one.
	for _, k := range []*sesame.SealKey{nil, new(sesame.SealKey)} {
		_, err := k.AppendBinary(nil)
		require.ErrorIs(t, err, sesame.ErrUninitialized)
		require.NoError(t, store.Do(func(tx sesame.Tx) error {
			tx = sesame.Seal(tx, k)
			_, _, err := tx.Get("sotto/a")
			require.ErrorIs(t, err, sesame.ErrUninitialized)
			require.ErrorIs(t, tx.Put("sotto/b", nil, 0), sesame.ErrUninitialized)
			require.ErrorIs(t, tx.Delete("sotto/c", 0), sesame.ErrUninitialized)
			n := 0
			for _, err := range tx.Scan("") {
				require.ErrorIs(t, err, sesame.ErrUninitialized)
				n++
			}
			require.Equal(t, 1, n)
			return nil
		}))
	}
}

// R22: neither the key, nor a transaction that has it, nor a store shows what
// it holds.
func TestStoreSecretsRedacted(t *testing.T) {
	raw := [32]byte{}
	for i := range raw {
		raw[i] = byte(0x91 + 7*i)
	}
	k := sesame.NewSealKey(raw)
	secrettest.NotPrinted(t, k, raw[:])
	value := []byte("\xb1\xc2\xd3\xe4\xf5\x86\x97\xa8 a stored value")
	m := new(sesame.Memory)
	require.NoError(t, m.Do(func(tx sesame.Tx) error {
		require.NoError(t, tx.Put("sotto/a", value, 0))
		secrettest.NotPrinted(t, tx, value)
		secrettest.NotPrinted(t, sesame.Seal(tx, k), value, raw[:])
		return nil
	}))
	secrettest.NotPrinted(t, m, value)
}

func TestErrors(t *testing.T) {
	all := []error{sesame.ErrConflict, sesame.ErrSealed, sesame.ErrRowKey, sesame.ErrUninitialized}
	for i, a := range all {
		for j, b := range all {
			require.Equal(t, i == j, errors.Is(a, b))
		}
	}
}
