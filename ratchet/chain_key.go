package ratchet

import (
	"math"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
)

// A chainKey is CK with the number of the message whose key it makes (SPEC.md
// §5.2).
type chainKey struct {
	key   [32]byte
	index uint32
}

// nextChainKey is a variable so that a test can count what a forged message
// costs.
var nextChainKey = kdf.ChainKey

// advance returns the chain key n messages on, for one HMAC each. The caller
// makes sure that the index does not pass lastIndex.
func (ck chainKey) advance(n uint32) chainKey {
	for range n {
		ck.key = nextChainKey(ck.key)
	}
	ck.index += n
	return ck
}

func (ck chainKey) seed() [32]byte { return kdf.MessageSeed(ck.key) }

// lastIndex is the index at which a chain ends: a message with this number
// would need a next index that does not exist. Indices never wrap, since a
// wrapped index is a message key used twice.
const lastIndex = math.MaxUint32

// A sendingChain is our ratchet key pair and CKs.
type sendingChain struct {
	private curve.PrivateKey
	public  curve.PublicKey
	ck      sendingChainKey
}

// A receivingChain is a ratchet key of the peer, CKr, and the keys of messages
// that were skipped.
type receivingChain struct {
	ratchetKey curve.PublicKey
	ck         receivingChainKey
	skipped    skippedKeys
	missing    uint16 // stored keys that stand apart and are not here,
	blocks     uint16 // and the blocks that they are in
}

// The keys of the two kinds of chain are types of their own: giving one where
// the other belongs does not compile.
type (
	sendingChainKey   struct{ chainKey }
	receivingChainKey struct{ chainKey }
)
