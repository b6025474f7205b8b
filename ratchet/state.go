package ratchet

import (
	"crypto/subtle"
	"math"
	"slices"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
)

// Limits of a session (SPEC.md §5.6). They are libsignal's.
const (
	MaxForwardJump     = 25_000 // messages that may be missing before one that decrypts
	MaxSkippedKeys     = 2_000  // stored message keys of one receiving chain
	MaxReceivingChains = 5      // ratchet keys of the peer whose late messages decrypt
)

// A state is all of a session, as a value: encrypt and decrypt leave it alone
// and return the next one. A state shares memory with those that came before
// it (the stored keys), and only the last one is in use.
type state struct {
	version         uint32
	family          Family
	local, remote   encodedKey // identity keys
	root            rootKey
	previousCounter uint32
	sending         sendingChain
	receiving       [MaxReceivingChains]receivingChain // oldest first
	nReceiving      int
	pending         *pendingPreKey // until the first answer, at the initiator
	baseKey         curve.PublicKey
	localRegID      uint32
	remoteRegID     uint32
	apart           apart
	missing         uint32 // what the last message showed; not in the record
}

// An encodedKey is a public key in the 33-byte encoding, in which the MAC and the
// record take it.
type encodedKey = [curve.PublicKeySize]byte

func encode(k curve.PublicKey) (b encodedKey) {
	k.Append(b[:0])
	return b
}

// A pendingPreKey is what the initiator repeats in each PreKey message.
type pendingPreKey struct {
	oneTimeID *uint32
	signedID  uint32
	created   uint64 // seconds since 1970
}

// encrypt appends the next message to dst.
func (s *state) encrypt(dst, plaintext []byte) ([]byte, *state, error) {
	if s.sending.ck.index == lastIndex {
		return nil, nil, ErrChainExhausted
	}
	seed := s.sending.ck.seed()
	keys := kdf.ExpandSeed(&seed, nil)
	out := s.appendMessage(dst, plaintext, &keys)

	next := new(state)
	*next = *s
	next.sending.ck.chainKey = s.sending.ck.advance(1)
	return out, next, nil
}

// decrypt appends the plaintext of m to dst (SPEC.md §5.5). What a message
// costs before its MAC was checked is one agreement and one HMAC for each
// message that is missing before it; nothing is stored and no key drawn. fresh
// draws the next ratchet key, if there is a DH step.
//
// The discarded keys are those that the next state no longer has.
func (s *state) decrypt(dst []byte, m *message, fresh func() curve.PrivateKey) (plaintext []byte, next *state, d discarded, err error) {
	i, known := s.findChain(&m.ratchetKey)
	var root rootKey
	var chain receivingChain
	if known {
		chain = s.receiving[i]
	} else {
		chain.ratchetKey = m.ratchetKey
		if root, chain.ck.chainKey, err = s.root.step(&s.sending.private, &m.ratchetKey); err != nil {
			return nil, nil, d, err
		}
	}

	apart := s.apart
	apart.here = slices.Clip(apart.here)
	if m.counter < chain.ck.index {
		if err = apart.fetchKey(&chain, m.counter); err != nil {
			return nil, nil, d, err
		}
	}
	found, err := chain.find(m.counter)
	if err != nil {
		return nil, nil, d, err
	}
	keys := found.key.expand()
	if plaintext, err = s.open(dst, m, &keys); err != nil {
		return nil, nil, d, err
	}

	// The message is genuine.
	if err = apart.makeRoom(&chain, &found); err != nil {
		clear(plaintext[len(dst):])
		return nil, nil, d, err
	}
	d = chain.apply(&found)
	next = new(state)
	*next = *s
	next.apart = apart
	next.pending = nil
	next.missing = s.newlyMissing(m, i, known)
	if known {
		next.receiving[i] = chain
		return plaintext, next, d, nil
	}
	d.chain = next.push(chain)
	if err = next.turn(root, &chain.ratchetKey, fresh()); err != nil {
		return nil, nil, discarded{}, err
	}
	return plaintext, next, d, nil
}

// newlyMissing returns how many messages m, which is genuine, shows to be missing
// (SPEC.md §5.5): those before it in its chain, which is number i if it is known,
// and if it begins one, those at the end of the chain before.
func (s *state) newlyMissing(m *message, i int, known bool) uint32 {
	newest := s.nReceiving - 1
	switch {
	case known && i == newest:
		return m.counter - min(m.counter, s.receiving[i].ck.index)
	case known:
		return 0 // what an older chain lacks was counted when the next one began
	}
	missing := uint64(m.counter)
	if newest >= 0 {
		// A chain without messages is that of a signed prekey, which is never written in.
		if have := uint64(s.receiving[newest].ck.index); have > 0 {
			missing += max(have, uint64(m.previousCounter)+1) - have
		}
	}
	return uint32(min(missing, math.MaxUint32))
}

// discarded are stored keys to be erased: one that a message used up, with the
// memory that it leaves behind; those over the limit of their chain; those of a
// chain that had to go.
type discarded struct {
	used         garbage
	limit, chain skippedKeys
}

func (d *discarded) erase() {
	d.used.erase()
	d.limit.erase()
	d.chain.erase()
}

func (s *state) findChain(ratchetKey *curve.PublicKey) (int, bool) {
	for i := s.nReceiving - 1; i >= 0; i-- {
		if s.receiving[i].ratchetKey == *ratchetKey {
			return i, true
		}
	}
	return 0, false
}

// A found key is the key of one message, and what the chain becomes if that
// message is genuine.
type found struct {
	key messageKey

	stored bool // at position run, i of the skipped keys
	run, i int

	from chainKey // else: the keys to store are those of the messages from
	at   chainKey // here to before there, the place of the message
}

// find returns the key of message n. It leaves the chain alone.
func (c *receivingChain) find(n uint32) (f found, err error) {
	jump := n - c.ck.index
	if n < c.ck.index {
		if f.run, f.i, f.stored = c.skipped.find(n); !f.stored {
			return found{}, ErrDuplicate
		}
		f.key = c.skipped[f.run].keys[f.i]
		return f, nil
	}
	if jump > MaxForwardJump {
		return found{}, ErrTooFarAhead
	}
	if n == lastIndex {
		return found{}, ErrChainExhausted
	}
	// Of more skipped keys than a chain keeps, only the last are ever made; and
	// they are made in apply, so that a forged message costs one HMAC a step.
	f.from = c.ck.advance(jump - min(jump, MaxSkippedKeys))
	f.at = f.from.advance(n - f.from.index)
	f.key.seed = f.at.seed()
	return f, nil
}

// apply moves the chain past the message of f.
func (c *receivingChain) apply(f *found) (d discarded) {
	if f.stored {
		c.skipped, d.used = c.skipped.without(f.run, f.i)
		return d
	}
	n := f.at.index - f.from.index
	c.skipped, d.limit = c.skipped.with(f.from, n, c.stored())
	c.ck.chainKey = f.at.advance(1)
	return d
}

// open checks the MAC of m and appends its plaintext to dst.
func (s *state) open(dst []byte, m *message, keys *kdf.MessageKeys) ([]byte, error) {
	mac := kdf.MessageMAC(&keys.MAC, &s.remote, &s.local, m.body)
	if subtle.ConstantTimeCompare(mac[:macSize], m.mac) != 1 {
		return nil, ErrAuthentication
	}
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

// push adds a receiving chain. It returns the stored keys of the oldest one if
// that has to go.
func (s *state) push(chain receivingChain) (dropped skippedKeys) {
	if s.nReceiving == MaxReceivingChains {
		dropped = s.receiving[0].skipped
		s.apart.drop(&s.receiving[0])
		copy(s.receiving[:], s.receiving[1:])
		s.nReceiving--
	}
	s.receiving[s.nReceiving] = chain
	s.nReceiving++
	return dropped
}

// turn is the sending half of a DH step: private is our new ratchet key, and
// starts a new sending chain.
func (s *state) turn(root rootKey, ratchetKey *curve.PublicKey, private curve.PrivateKey) (err error) {
	// libsignal's PN is the number of the last message of the old chain, not
	// its length as in the specification, and 0 for an empty chain.
	s.previousCounter = 0
	if n := s.sending.ck.index; n > 0 {
		s.previousCounter = n - 1
	}
	s.sending.private = private
	s.sending.public = private.Public()
	s.root, s.sending.ck.chainKey, err = root.step(&s.sending.private, ratchetKey)
	return err
}
