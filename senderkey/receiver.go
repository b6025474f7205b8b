package senderkey

import (
	"slices"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/secret"
)

// A Receiver is the chains of one other device in one group (SPEC.md §11.5):
// the newest [MaxChains] that the device distributed. It must not be copied, and
// is not safe for concurrent use: of two calls at the same time one fails with
// [ErrConcurrentUse], if not worse. The zero value is refused by every method.
type Receiver struct{ box secret.Box[receiver] }

// A receiver is all of a Receiver, as a value. It shares the memory of skipped
// keys with those that came before it, and only the last one is in use.
type receiver struct {
	family  Family
	chains  [MaxChains]peerChain // newest first
	n       int
	retired []retiredKey // newest first; never written
}

// A retiredKey is the beginning of the signing key of a chain that had to go.
// Keys are random: 8 bytes tell those of an honest device apart, and another
// one can only hurt its own chains.
type retiredKey [8]byte

// maxRetired is how many retired chains of a device are remembered: with a
// chain a week, for a year.
const maxRetired = 64

func retire(k curve.PublicKey) retiredKey { return retiredKey(k[:8]) }

// NewReceiver makes the receiver of a device that has distributed nothing.
func NewReceiver(f Family) *Receiver { return newReceiver(&receiver{family: f}) }

func newReceiver(r *receiver) *Receiver {
	out := new(Receiver)
	out.box.Store(r)
	return out
}

func (r *Receiver) load() *receiver {
	if r == nil {
		return nil
	}
	return r.box.Load()
}

// commit makes next the state. It is the only place where a receiver changes.
func (r *Receiver) commit(old, next *receiver, garbage ...[]skippedKey) error {
	if !r.box.Replace(old, next) {
		return ErrConcurrentUse
	}
	*old = receiver{}
	for _, keys := range garbage { // which are no longer in use
		clear(keys)
	}
	return nil
}

// Process takes a distribution (SPEC.md §11.5). The caller makes sure that it
// came through the pairwise session with the device whose receiver this is, and
// that its ID is not used for another group: nothing in it proves either.
//
// A chain that is there already stays what it is, whatever the distribution
// says: it is not rewound. One that was there and had to go does not come back:
// [ErrDuplicate]. Over [MaxChains] the oldest goes, and a chain with the ID of
// another one of the same distribution ID takes its place. Store the receiver
// before the distribution is acknowledged. Errors besides: [ErrVersion] for a
// distribution of the other family, [ErrConcurrentUse], [ErrUninitialized].
func (r *Receiver) Process(d *Distribution) error {
	old, dist := r.load(), d.load()
	if old == nil || dist == nil {
		return ErrUninitialized
	}
	if (dist.family == WhatsApp) != (old.family == WhatsApp) {
		return ErrVersion
	}
	next, garbage, err := old.add(peerChain{
		distribution: dist.id, id: dist.chainID, signing: dist.signing, ck: dist.ck,
	})
	if err != nil {
		return err
	}
	return r.commit(old, next, garbage)
}

// find returns the position of a chain.
func (r *receiver) find(distribution DistributionID, id uint32) (int, bool) {
	for i := range r.chains[:r.n] {
		if c := &r.chains[i]; c.distribution == distribution && c.id == id {
			return i, true
		}
	}
	return 0, false
}

// add puts a chain in front, and returns the stored keys of a chain that has to
// go for it. One that is known moves to the front as it is.
func (r *receiver) add(c peerChain) (next *receiver, garbage []skippedKey, err error) {
	next = new(receiver)
	*next = *r
	gone, found := r.find(c.distribution, c.id)
	if found && r.chains[gone].signing == c.signing {
		c = r.chains[gone]
		copy(next.chains[1:], r.chains[:gone])
		next.chains[0] = c
		return next, nil, nil
	}
	if slices.Contains(r.retired, retire(c.signing)) {
		return nil, nil, ErrDuplicate
	}
	switch {
	case found:
	case r.n == MaxChains:
		gone, found = MaxChains-1, true
	default:
		gone = r.n
		next.n++
	}
	if found {
		old := &r.chains[gone]
		garbage = old.skipped
		kept := r.retired[:min(len(r.retired), maxRetired-1)]
		next.retired = append([]retiredKey{retire(old.signing)}, kept...)
	}
	copy(next.chains[1:gone+1], r.chains[:gone])
	next.chains[0] = c
	return next, garbage, nil
}

// Decrypt appends the plaintext of a group message to dst (SPEC.md §11.4), and
// reports how many messages before it in its chain are newly found to be
// missing: on the way, lost or withheld. Store the receiver together with the
// plaintext, and only then acknowledge the message to the server.
//
// The message is not changed and not kept, unless dst overlaps it, which is
// allowed. On an error dst is returned as it was, and the receiver is what it
// was, to the encoded byte. Nothing is computed with the chain before the
// signature was checked. Errors: [ErrAuthentication], [ErrNoChain],
// [ErrDuplicate], [ErrTooFarAhead], [ErrChainExhausted], [ErrMalformed],
// [ErrVersion], [ErrConcurrentUse], [ErrUninitialized].
func (r *Receiver) Decrypt(dst, message []byte) (plaintext []byte, skipped uint32, err error) {
	old := r.load()
	if old == nil {
		return dst, 0, ErrUninitialized
	}
	m, err := parseMessage(message, old.family)
	if err != nil {
		return dst, 0, err
	}
	i, ok := old.find(m.id, m.chainID)
	if !ok {
		return dst, 0, ErrNoChain
	}
	c := &old.chains[i]
	if !c.signing.Verify(m.body, m.signature) {
		return dst, 0, ErrAuthentication
	}
	key, err := c.find(m.iteration)
	if err != nil {
		return dst, 0, err
	}
	if plaintext, err = key.open(dst, &m); err != nil {
		return dst, 0, err
	}
	if !key.stored {
		skipped = m.iteration - c.ck.iteration
	}

	// The message is genuine.
	next := new(receiver)
	*next = *old
	var garbage []skippedKey
	next.chains[i], garbage = c.apply(&key)
	if err := r.commit(old, next, garbage); err != nil {
		clear(plaintext[len(dst):])
		return dst, 0, err
	}
	return plaintext, skipped, nil
}
