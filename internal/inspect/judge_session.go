package inspect

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// A storedSession is a session as its record has it.
type storedSession struct {
	name   string
	record []byte
	head   bool
	raw    *found
}

func (s *storedSession) parse() (*ratchet.Session, error) {
	if s.head {
		return ratchet.ParseHead(s.record, ratchet.Signal, nil)
	}
	return ratchet.ParseSession(s.record, ratchet.Signal)
}

func (s *storedSession) key(num int) [33]byte { return [33]byte(s.raw.get(num).b) }

// judge says whether an ordinary message, or the one inside of a PreKey message,
// decrypts in one of the sessions.
func (rs *records) judge(b []byte, initial *x3dh.InitialMessage) *Verdict {
	v := &Verdict{Reason: "no session was given"}
	for i, s := range rs.sessions {
		session, err := s.parse()
		if err != nil {
			continue // it was parsed before
		}
		var plaintext []byte
		if initial != nil {
			plaintext, err = session.DecryptInitial(nil, initial)
		} else {
			plaintext, err = session.Decrypt(nil, b)
		}
		reason := s.name + ": " + rs.explain(s, b, initial, err)
		if err == nil {
			clear(plaintext)
			return &Verdict{Decrypts: true, Reason: reason + fmt.Sprintf("; %d bytes of plaintext, not shown", len(plaintext)), Details: v.Details}
		}
		if i == 0 {
			v.Reason = reason
		} else {
			v.Details = append(v.Details, reason)
		}
		// A session that knows the ratchet key is the only one that can (R-10.5-1).
		if _, _, known := s.chain(b); known && !errors.Is(err, ratchet.ErrAuthentication) {
			v.Details = append(v.Details[:0:0], v.Details...)
			v.Reason = reason
			return v
		}
	}
	return v
}

// A chainState is a receiving chain as a record has it.
type chainState struct {
	index  uint32
	key    [32]byte
	stored map[uint64]*found
}

// chain is the chain for a message: one of the record, or, not known, the one
// that a DH step would make.
func (s *storedSession) chain(b []byte) (m *ratchet.Message, c chainState, known bool) {
	m, err := ratchet.ParseMessage(b)
	if err != nil {
		return nil, c, false
	}
	key := [33]byte(m.RatchetKey.Bytes())
	for _, v := range s.raw.values[7] {
		if [33]byte(v.in.get(1).b) != key {
			continue
		}
		ck := v.in.get(3).in
		c = chainState{index: uint32(ck.uint(1)), key: [32]byte(ck.get(2).b), stored: map[uint64]*found{}}
		for _, k := range v.in.values[4] {
			c.stored[k.in.uint(1)] = k.in
		}
		return m, c, true
	}
	private := curve.NewPrivateKey([32]byte(s.raw.get(6).in.get(2).b))
	public := curve.PublicKey(key[1:])
	root := [32]byte(s.raw.get(4).b)
	var dh [32]byte
	if curve.X25519(&dh, &private, &public) == nil {
		_, c.key = kdf.RootKey(&root, &dh)
	}
	return m, c, false
}

// keys are the keys of message n of the chain, if it has them.
func (c *chainState) keys(n uint32) (k kdf.MessageKeys, ok bool) {
	if n < c.index {
		m := c.stored[uint64(n)]
		if m == nil {
			return k, false
		}
		if v := m.get(5); v != nil {
			seed := [32]byte(v.b)
			return kdf.ExpandSeed(&seed, nil), true
		}
		copy(k.Cipher[:], m.get(2).b)
		copy(k.MAC[:], m.get(3).b)
		copy(k.IV[:], m.get(4).b)
		return k, true
	}
	if n-c.index > ratchet.MaxForwardJump {
		return k, false
	}
	ck := c.key
	for range n - c.index {
		ck = kdf.ChainKey(ck)
	}
	seed := kdf.MessageSeed(ck)
	return kdf.ExpandSeed(&seed, nil), true
}

// explain says why the library answered err.
func (rs *records) explain(s *storedSession, b []byte, initial *x3dh.InitialMessage, err error) string {
	switch {
	case errors.Is(err, ratchet.ErrOtherSession):
		return fmt.Sprintf("another session: the message begins, or is of, one with the base key %x…", initial.BaseKey.Bytes()[1:5])
	case errors.Is(err, ratchet.ErrIdentityMismatch):
		return fmt.Sprintf("the message is of this session, and names the identity key %x… where the session has %x…: it was changed on the way, or the peer was installed anew with an old session (R-4.5-2)",
			initial.IdentityKey.Bytes()[1:5], s.raw.get(3).b[1:5])
	}
	m, c, known := s.chain(b)
	if m == nil {
		return err.Error()
	}
	at := fmt.Sprintf("its ratchet key %x… has a chain here, whose next message is %d", m.RatchetKey.Bytes()[1:5], c.index)
	if !known {
		at = fmt.Sprintf("no chain for its ratchet key %x…: it needs a DH step", m.RatchetKey.Bytes()[1:5])
	}
	switch {
	case err == nil && m.Counter < c.index:
		return fmt.Sprintf("%s; message %d came late, and its key is stored; MAC verified", at, m.Counter)
	case err == nil:
		return fmt.Sprintf("%s; message %d skips %d keys; MAC verified", at, m.Counter, m.Counter-c.index)
	case errors.Is(err, ratchet.ErrDuplicate):
		return fmt.Sprintf("%s, and message %d was read already (duplicate), or its key was evicted (R-5.6-4)", at, m.Counter)
	case errors.Is(err, ratchet.ErrTooFarAhead):
		return fmt.Sprintf("%s; message %d is too far ahead: it would skip %d keys, and the limit is 25,000 (R-5.6-1)", at, m.Counter, m.Counter-c.index)
	case errors.Is(err, ratchet.ErrKeysApart):
		return fmt.Sprintf("%s; message %d needs stored keys, which stand apart from this head (§6.3)", at, m.Counter)
	case errors.Is(err, ratchet.ErrAuthentication):
		return at + "; " + rs.macDiffers(s, b, m, &c, known)
	}
	return at + "; " + err.Error()
}

// macDiffers looks for what makes a MAC differ.
func (rs *records) macDiffers(s *storedSession, b []byte, m *ratchet.Message, c *chainState, known bool) string {
	ours, theirs := s.key(2), s.key(3)
	if [33]byte(s.raw.get(6).in.get(1).b) == [33]byte(m.RatchetKey.Bytes()) {
		return "the ratchet key is this device's own: the message was written in this session, and is not for it. This is the sender's record, or the message was sent back"
	}
	k, ok := c.keys(m.Counter)
	if !ok {
		return "the MAC differs"
	}
	verifies := func(sender, receiver [33]byte, b []byte) bool {
		return len(b) > macSize && distance(k, sender, receiver, b) == 0
	}
	if verifies(theirs, ours, b) {
		return "the MAC verifies, and the padding of the plaintext does not: the sender's fault"
	}
	if verifies(ours, theirs, b) {
		return "MAC differs; it verifies with the identity keys swapped: the record has ours for the peer's, or the message was written by this device"
	}
	for name, id := range rs.identities() {
		switch {
		case verifies(id, ours, b):
			return fmt.Sprintf("MAC differs; it verifies with %s %x… as the sender's, where the session has %x…: the peer's identity key is another one", name, id[1:5], theirs[1:5])
		case verifies(theirs, id, b):
			return fmt.Sprintf("MAC differs; it verifies with %s %x… as the receiver's, where the session has %x…: this device's identity key is another one", name, id[1:5], ours[1:5])
		}
	}
	if found := altered(b, func(b []byte) bool { return verifies(theirs, ours, b) }); found != "" {
		return "MAC differs; " + found
	}
	if d := distance(k, theirs, ours, b); d <= 8 {
		return fmt.Sprintf("MAC differs in %d of 64 bits: the MAC itself was altered", d)
	}
	what := fmt.Sprintf("MAC differs: it was checked with the identity keys %x… (sender) and %x… (receiver). ", theirs[1:5], ours[1:5])
	if known {
		return what + "The chain is the right one, so the message was altered on the way, in more than one place, or an identity key is another one"
	}
	return what + "Usual reasons: the message is of another session (one that was replaced or archived, another device's); this record is older or newer than the message (a restored backup); " +
		"its chain is gone (5 are kept); its ratchet key was altered"
}

// distance is in how many bits the MAC differs from that of b.
func distance(k kdf.MessageKeys, sender, receiver [33]byte, b []byte) (n int) {
	n = len(b) - macSize
	mac := kdf.MessageMAC(&k.MAC, &sender, &receiver, b[:n])
	d := 0
	for i, c := range b[n:] {
		d += bits.OnesCount8(c ^ mac[i])
	}
	return d
}

// identities are the identity keys that were given, or that sessions have.
func (rs *records) identities() map[string][33]byte {
	keys := map[string][33]byte{}
	for i, k := range rs.identity {
		keys[fmt.Sprintf("identity key %d of those given,", i+1)] = [33]byte(k.Public().Bytes())
	}
	for _, s := range rs.sessions {
		keys["the peer's identity key of "+s.name] = s.key(3)
		keys["our identity key of "+s.name] = s.key(2)
	}
	return keys
}
