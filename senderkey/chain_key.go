package senderkey

import (
	"math"

	"github.com/sotto-im/sotto/internal/kdf"
)

// A chainKey is CK with the iteration, the number of the message whose key it
// makes (SPEC.md §11.2).
type chainKey struct {
	key       [32]byte
	iteration uint32
}

// nextChainKey is a variable so that a test can count what a message costs.
var nextChainKey = kdf.ChainKey

// advance returns the chain key n messages on, for one HMAC each. The caller
// makes sure that the iteration does not pass lastIteration.
func (ck chainKey) advance(n uint32) chainKey {
	for range n {
		ck.key = nextChainKey(ck.key)
	}
	ck.iteration += n
	return ck
}

func (ck chainKey) seed() [32]byte { return kdf.MessageSeed(ck.key) }

// lastIteration is where a chain ends: a message with this number would need a
// next iteration that does not exist. Iterations never wrap, since a wrapped
// one is a message key used twice.
const lastIteration = math.MaxUint32

// Keys of our own chain and of those of others are types of their own: giving
// one where the other belongs does not compile.
type (
	sendingChainKey   struct{ chainKey }
	receivingChainKey struct{ chainKey }
)
