package senderkey

import (
	"slices"
	"sort"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
)

// A peerChain is a chain of another device, as a value: find and open leave it
// alone, and apply returns the next one.
type peerChain struct {
	distribution DistributionID
	id           uint32
	signing      curve.PublicKey
	ck           receivingChainKey
	skipped      []skippedKey // ascending; its memory belongs to this chain and is never written
}

// A skippedKey is the stored key of a message that has not arrived yet.
type skippedKey struct {
	iteration uint32
	seed      [32]byte
}

// A found key is the key of one message, and what the chain becomes if that
// message is genuine.
type found struct {
	seed [32]byte

	stored bool // at position i of the skipped keys
	i      int

	from chainKey // else: the keys to store are those of the messages from
	at   chainKey // here to before there, the place of the message
}

// find returns the key of message n.
func (c *peerChain) find(n uint32) (f found, err error) {
	if n < c.ck.iteration {
		i := sort.Search(len(c.skipped), func(i int) bool { return c.skipped[i].iteration >= n })
		if i == len(c.skipped) || c.skipped[i].iteration != n {
			return found{}, ErrDuplicate
		}
		return found{seed: c.skipped[i].seed, stored: true, i: i}, nil
	}
	jump := n - c.ck.iteration
	if jump > MaxForwardJump {
		return found{}, ErrTooFarAhead
	}
	if n == lastIteration {
		return found{}, ErrChainExhausted
	}
	// Of more skipped keys than a chain keeps, only the last are ever made.
	f.from = c.ck.advance(jump - min(jump, MaxSkippedKeys))
	f.at = f.from.advance(n - f.from.iteration)
	f.seed = f.at.seed()
	return f, nil
}

// open appends the plaintext of m, whose signature was checked, to dst.
func (f *found) open(dst []byte, m *message) ([]byte, error) {
	keys := kdf.ExpandGroupSeed(&f.seed)
	// Decrypted in place, so that dst may overlap the message.
	n := len(dst)
	out := append(slices.Grow(dst, len(m.ciphertext)+cbc.BlockSize), m.ciphertext...)
	iv := out[len(out) : len(out)+cbc.BlockSize]
	plaintext, ok := cbc.Decrypt(&keys.Cipher, &keys.IV, iv, out[n:])
	clear(iv)
	if !ok {
		clear(out[n:])
		return nil, ErrAuthentication
	}
	return out[:n+len(plaintext)], nil
}

// apply returns the chain past the message of f, and the keys in memory that
// nobody needs when that has been committed.
func (c *peerChain) apply(f *found) (next peerChain, garbage []skippedKey) {
	next = *c
	if f.stored {
		next.skipped = slices.Concat(c.skipped[:f.i], c.skipped[f.i+1:])
		return next, c.skipped
	}
	next.ck.chainKey = f.at.advance(1)
	n := int(f.at.iteration - f.from.iteration)
	if n == 0 {
		return next, nil
	}
	kept := c.skipped[min(len(c.skipped), max(0, len(c.skipped)+n-MaxSkippedKeys)):]
	next.skipped = append(make([]skippedKey, 0, len(kept)+n), kept...)
	for ck := f.from; ck.iteration != f.at.iteration; ck = ck.advance(1) {
		next.skipped = append(next.skipped, skippedKey{ck.iteration, ck.seed()})
	}
	return next, c.skipped
}
