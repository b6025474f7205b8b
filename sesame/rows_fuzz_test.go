package sesame

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/sotto-im/sotto/x3dh"
)

// R23: the rows of the device itself and of its peers, and addresses in the keys of rows:
// total, and what they accept they write again with the same meaning.
func FuzzDeviceRows(f *testing.F) {
	key := func() x3dh.PublicKey { return x3dh.GenerateIdentityKey().Public() }
	a, b := key(), key()
	for _, r := range []record{
		&localRecord{x3dh.GenerateIdentityKey(), 16380, 101, 2},
		&peerRecord{identity: key(), sessions: []x3dh.PublicKey{a, b}, active: true, readOnly: []x3dh.PublicKey{b}},
		&peerRecord{identity: key(), changed: key(), sessions: []x3dh.PublicKey{a}},
		&peerRecord{changed: key()},
	} {
		row := encoded(f, r)
		_, local := parseLocal(row)
		_, peer := parsePeer(row)
		require.True(f, local == nil || peer == nil, "%x", row)
		f.Add(row)
	}
	for _, a := range []Address{{"alice", 1}, {"\x00/.", x3dh.MaxDeviceID}} {
		f.Add([]byte(a.key()))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		input := bytes.Clone(b)
		again(t, b, parseLocal)
		again(t, b, func(b []byte) (*peerRecord, error) {
			p, err := parsePeer(b)
			if err == nil {
				require.LessOrEqual(t, len(p.sessions), 1+MaxArchivedSessions)
				require.True(t, p.newest() != none)
			}
			return p, err
		})
		if a, err := parseAddress(string(b)); err == nil {
			require.Equal(t, string(b), a.key())
			require.True(t, a.valid())
		} else {
			require.Equal(t, ErrCorrupt, err)
			require.Zero(t, a)
		}
		require.Equal(t, input, b)
	})
}

// R-10.1-12: a value opens only if it is what was sealed, for that row, and is
// refused like a failure of the database else.
func FuzzSealed(f *testing.F) {
	const row = "sotto/local"
	raw, nonce, value := [32]byte{7}, bytes.Repeat([]byte{9}, chacha20poly1305.NonceSizeX), []byte("the value of a row")
	key := NewSealKey(raw)
	aead, err := chacha20poly1305.NewX(raw[:])
	require.NoError(f, err)
	sealed := aead.Seal(append([]byte{1}, nonce...), nonce, value, []byte(row)) // the same in every process
	f.Add(sealed)
	f.Add(sealed[:len(sealed)-1])
	f.Add(sealed[:sealOverhead])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, at := range []string{row, "sotto/peer/00.1"} {
			err := new(Memory).Do(func(tx Tx) error {
				if err := tx.Put(at, b, 0); err != nil {
					return err
				}
				got, rev, err := Seal(tx, key).Get(at)
				if at == row && bytes.Equal(b, sealed) {
					require.NoError(t, err)
					require.Equal(t, value, got)
					return nil
				}
				require.Equal(t, ErrSealed, err)
				require.Nil(t, got)
				require.Zero(t, rev)
				return errDies
			})
			require.True(t, err == nil || errors.Is(err, errDies))
		}
	})
}
