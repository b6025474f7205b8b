package senderkey

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/secret"
)

// A Chain is the bare sender key of this device: a chain key and a signing key,
// in libsignal's state and record. It does not know who may read it and never
// replaces itself; that is what a [Sender] is for. It must not be copied, and is
// not safe for concurrent use: of two calls at the same time one fails with
// [ErrConcurrentUse], if not worse. The zero value is refused by every method.
type Chain struct{ box secret.Box[chain] }

// A chain is all of a Chain, as a value.
type chain struct {
	family       Family
	distribution DistributionID // zero in the WhatsApp family
	id           uint32
	ck           sendingChainKey
	signing      curve.PrivateKey
	public       curve.PublicKey
}

// NewChain draws a chain. In the WhatsApp family the ID is ignored.
func NewChain(f Family, id DistributionID) *Chain {
	c := drawFresh().chain(f, id)
	return newChain(&c)
}

func newChain(c *chain) *Chain {
	out := new(Chain)
	out.box.Store(c)
	return out
}

// fresh is what is random in a new chain (SPEC.md §11.2).
type fresh struct {
	id      uint32
	key     [32]byte
	signing curve.PrivateKey
}

// drawFresh draws in libsignal's order.
func drawFresh() (f fresh) {
	var id [4]byte
	rand.Read(id[:]) // never fails: crypto/rand
	f.id = binary.LittleEndian.Uint32(id[:]) >> 1
	rand.Read(f.key[:])
	f.signing = curve.GenerateKey()
	return f
}

func (f fresh) chain(family Family, id DistributionID) chain {
	return chain{
		family:       family,
		distribution: family.wireID(id),
		id:           f.id,
		ck:           sendingChainKey{chainKey{key: f.key}},
		signing:      f.signing,
		public:       f.signing.Public(),
	}
}

func (c *Chain) load() *chain {
	if c == nil {
		return nil
	}
	return c.box.Load()
}

// Distribution returns what lets a device read the chain from the next message
// on, and none before. Errors: [ErrUninitialized].
func (c *Chain) Distribution() (*Distribution, error) {
	st := c.load()
	if st == nil {
		return nil, ErrUninitialized
	}
	return newDistribution(st.current()), nil
}

func (c *chain) current() *distribution {
	return &distribution{c.family, c.distribution, c.id, receivingChainKey(c.ck), c.public}
}

// Encrypt appends the next message to dst (SPEC.md §11.4). Store the chain
// before the message leaves the device: a message key that is used twice gives
// both messages away.
//
// plaintext may be empty, and may overlap dst. It is not padded: its length
// shows. On an error dst is returned as it was. Errors: [ErrChainExhausted],
// [ErrConcurrentUse], [ErrUninitialized].
func (c *Chain) Encrypt(dst, plaintext []byte) ([]byte, error) {
	old := c.load()
	if old == nil {
		return dst, ErrUninitialized
	}
	out, next, err := old.encrypt(dst, plaintext)
	if err != nil {
		return dst, err
	}
	if !c.box.Replace(old, &next) {
		return dst, ErrConcurrentUse
	}
	*old = chain{} // keys that are no longer in use
	return out, nil
}

// encrypt appends the next message to dst.
func (c *chain) encrypt(dst, plaintext []byte) (out []byte, next chain, err error) {
	if c.ck.iteration == lastIteration {
		return nil, chain{}, ErrChainExhausted
	}
	seed := c.ck.seed()
	keys := kdf.ExpandGroupSeed(&seed)
	out = c.appendMessage(dst, plaintext, &keys)
	next = *c
	next.ck.chainKey = c.ck.advance(1)
	return out, next, nil
}
