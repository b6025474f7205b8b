package ratchet

import (
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
)

// A rootKey is RK: the key that every DH step renews (SPEC.md §5.2).
type rootKey [32]byte

// step is one half of a DH step: it agrees on a secret and derives the next
// root key and the first key of a chain.
func (rk *rootKey) step(private *curve.PrivateKey, public *curve.PublicKey) (next rootKey, ck chainKey, err error) {
	var dh [32]byte
	if err := curve.X25519(&dh, private, public); err != nil {
		return rootKey{}, chainKey{}, ErrAuthentication
	}
	root, chain := kdf.RootKey((*[32]byte)(rk), &dh)
	return root, chainKey{key: chain}, nil
}
