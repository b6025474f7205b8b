package senderkey

import (
	"cmp"
	"slices"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
)

// AppendBinary appends the record of the chain to b: libsignal's
// SenderKeyRecordStructure, byte for byte (SPEC.md §11.7). It is secret. The
// distribution ID is not in it. The only error is [ErrUninitialized].
func (c *Chain) AppendBinary(b []byte) ([]byte, error) {
	st := c.load()
	if st == nil {
		return b, ErrUninitialized
	}
	return st.appendRecord(b), nil
}

func (c *chain) appendRecord(b []byte) []byte {
	s := stateRecord{id: c.id, ck: c.ck.chainKey, public: c.public, private: &c.signing}
	return s.append(slices.Grow(b, 130), 1)
}

// ParseChain reads what [Chain.AppendBinary] wrote, or the record that libsignal
// keeps of a device's own chain. Of several states in it the first is the one
// that sends; the others are not kept. The family and the distribution ID are
// not in the record.
//
// Only the last record of a chain may go on encrypting: a copy restored from a
// backup would use message keys again. record is not kept. Errors:
// [ErrCorrupt], also for the record of another device's chain, and [ErrVersion].
func ParseChain(record []byte, f Family, id DistributionID) (*Chain, error) {
	c, err := parseChain(record, f, id)
	if err != nil {
		return nil, err
	}
	return newChain(&c), nil
}

func parseChain(record []byte, f Family, id DistributionID) (chain, error) {
	states, err := parseRecord(record)
	if err != nil {
		return chain{}, err
	}
	if len(states) == 0 || states[0].private == nil {
		return chain{}, ErrCorrupt
	}
	s := &states[0]
	return chain{
		family: f, distribution: f.wireID(id), id: s.id, ck: sendingChainKey{s.ck},
		signing: *s.private, public: s.public,
	}, nil
}

// AppendRecord appends what libsignal keeps of the chains of this distribution
// ID: a SenderKeyRecordStructure, which is empty if there are none (SPEC.md
// §11.7). In the WhatsApp family the ID is ignored. It is secret, and is for moving
// to libsignal: it lacks the chains of other distributions, and the memory of
// those that had to go. The only error is [ErrUninitialized].
func (r *Receiver) AppendRecord(b []byte, id DistributionID) ([]byte, error) {
	st := r.load()
	if st == nil {
		return b, ErrUninitialized
	}
	id = st.family.wireID(id)
	for i := range st.chains[:st.n] {
		if c := &st.chains[i]; c.distribution == id {
			b = c.record().append(b, 1)
		}
	}
	return b, nil
}

// ImportRecord takes the chains of a SenderKeyRecordStructure that libsignal
// keeps for the device whose receiver this is, as if they had been distributed
// one after the other: what is known or was retired stays so. In the WhatsApp
// family the ID is ignored. record is not kept. Errors: [ErrCorrupt], also for
// the record of the device's own chain, [ErrVersion], [ErrConcurrentUse],
// [ErrUninitialized].
func (r *Receiver) ImportRecord(record []byte, id DistributionID) error {
	old := r.load()
	if old == nil {
		return ErrUninitialized
	}
	id = old.family.wireID(id)
	states, err := parseRecord(record)
	if err != nil {
		return err
	}
	next := new(receiver)
	*next = *old
	var garbage [][]skippedKey
	for _, s := range slices.Backward(states) {
		c, ok := s.peerChain(id)
		if !ok {
			return ErrCorrupt
		}
		if added, g, err := next.add(c); err == nil {
			next, garbage = added, append(garbage, g)
		}
	}
	return r.commit(old, next, garbage...)
}

// A stateRecord is a SenderKeyStateStructure: a chain as a record has it.
type stateRecord struct {
	id      uint32
	ck      chainKey
	public  curve.PublicKey
	private *curve.PrivateKey // of our own chain only
	skipped []skippedKey
}

func (c *peerChain) record() *stateRecord {
	return &stateRecord{id: c.id, ck: c.ck.chainKey, public: c.signing, skipped: c.skipped}
}

func (s *stateRecord) peerChain(distribution DistributionID) (c peerChain, ok bool) {
	return peerChain{distribution, s.id, s.public, receivingChainKey{s.ck}, s.skipped}, s.private == nil
}

// append writes the state as field num.
func (s *stateRecord) append(b []byte, num int) []byte {
	signing := wire.SizeBytes(1, curve.PublicKeySize)
	if s.private != nil {
		signing += wire.SizeBytes(2, len(s.private))
	}
	size := wire.SizeBytes(2, numberedSize(s.ck.iteration)) + wire.SizeBytes(3, signing) + wire.SizeUint(5, version)
	if s.id != 0 {
		size += wire.SizeUint(1, uint64(s.id))
	}
	for i := range s.skipped {
		size += wire.SizeBytes(4, numberedSize(s.skipped[i].iteration))
	}
	b = slices.Grow(b, wire.SizeBytes(num, size))

	b = wire.AppendBytesHeader(b, num, size)
	b = wire.AppendUintNonZero(b, 1, uint64(s.id))
	b = appendNumbered(b, 2, s.ck.iteration, &s.ck.key)
	b = appendKey(wire.AppendBytesHeader(b, 3, signing), 1, s.public)
	if s.private != nil {
		b = wire.AppendBytes(b, 2, s.private[:])
	}
	for i := range s.skipped {
		b = appendNumbered(b, 4, s.skipped[i].iteration, &s.skipped[i].seed)
	}
	return wire.AppendUint(b, 5, version)
}

// A chain key and a skipped key have one form: {1 iteration, 2 32 bytes}.
func numberedSize(n uint32) int {
	size := wire.SizeBytes(2, 32)
	if n != 0 {
		size += wire.SizeUint(1, uint64(n))
	}
	return size
}

func appendNumbered(b []byte, num int, n uint32, key *[32]byte) []byte {
	b = wire.AppendBytesHeader(b, num, numberedSize(n))
	b = wire.AppendUintNonZero(b, 1, uint64(n))
	return wire.AppendBytes(b, 2, key[:])
}

func readNumbered(b []byte) (n uint32, key [32]byte, ok bool) {
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			n = d.Uint32()
		case 2:
			d.Fixed(key[:])
		default:
			d.Skip()
		}
	}
	return n, key, d.Close(2) == nil
}

// parseRecord reads a SenderKeyRecordStructure. No two states of it have one
// chain ID.
func parseRecord(record []byte) (states []stateRecord, err error) {
	d := wire.Decode(record)
	for d.Next() {
		if d.Num() != 1 {
			d.Skip()
			continue
		}
		b := d.Repeated()
		if len(states) == MaxChains {
			return nil, ErrCorrupt
		}
		s, err := parseState(b)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(states, func(other stateRecord) bool { return other.id == s.id }) {
			return nil, ErrCorrupt
		}
		states = append(states, s)
	}
	if d.Close() != nil {
		return nil, ErrCorrupt
	}
	return states, nil
}

func parseState(b []byte) (s stateRecord, err error) {
	v := uint32(version) // of records that are older than the field
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			s.id = d.Uint32()
		case 2:
			var ok bool
			if s.ck.iteration, s.ck.key, ok = readNumbered(d.Bytes()); !ok {
				d.Fail()
			}
		case 3:
			s.readSigningKey(&d)
		case 4:
			n, seed, ok := readNumbered(d.Repeated())
			if !ok || len(s.skipped) == MaxSkippedKeys {
				d.Fail()
				continue
			}
			s.skipped = append(s.skipped, skippedKey{n, seed})
		case 5:
			if n := d.Uint32(); n != 0 {
				v = n
			}
		default:
			d.Skip()
		}
	}
	if d.Close(2, 3) != nil || !s.sort() {
		return stateRecord{}, ErrCorrupt
	}
	if v != version {
		return stateRecord{}, ErrVersion
	}
	return s, nil
}

// sort puts the skipped keys in order. All numbers have to differ and be below
// that of the next message.
func (s *stateRecord) sort() bool {
	slices.SortFunc(s.skipped, func(a, b skippedKey) int { return cmp.Compare(a.iteration, b.iteration) })
	for i := range s.skipped {
		n := s.skipped[i].iteration
		if n >= s.ck.iteration || i > 0 && n == s.skipped[i-1].iteration {
			return false
		}
	}
	return true
}

func (s *stateRecord) readSigningKey(d *wire.Decoder) {
	inner := wire.Decode(d.Bytes())
	for inner.Next() {
		switch inner.Num() {
		case 1:
			s.public = readKey(&inner)
		case 2:
			b := inner.Bytes()
			switch len(b) {
			case 0: // explicit in records of libsignal-protocol-java
			case 32:
				s.private = new(curve.NewPrivateKey([32]byte(b)))
			default:
				inner.Fail()
			}
		default:
			inner.Skip()
		}
	}
	if inner.Close(1) != nil {
		d.Fail()
	}
}

// Our own records are a byte for type and version, and a message with one
// encoding (SPEC.md §11.7).
const (
	recordSender   = 0x11
	recordReceiver = 0x21
)

// AppendBinary appends the record of the receiver to b (SPEC.md §11.7). It is
// secret. A chain takes about 110 bytes, a stored key 40. The only error is
// [ErrUninitialized].
func (r *Receiver) AppendBinary(b []byte) ([]byte, error) {
	st := r.load()
	if st == nil {
		return b, ErrUninitialized
	}
	return st.appendBinary(b), nil
}

func (r *receiver) appendBinary(b []byte) []byte {
	b = append(b, recordReceiver)
	for i := range r.chains[:r.n] {
		c := &r.chains[i]
		state := c.record().append(nil, 2)
		size := len(state)
		if r.family != WhatsApp {
			size += wire.SizeBytes(1, len(c.distribution))
		}
		b = wire.AppendBytesHeader(b, 1, size)
		if r.family != WhatsApp {
			b = wire.AppendBytes(b, 1, c.distribution[:])
		}
		b = append(b, state...)
	}
	if len(r.retired) > 0 {
		b = wire.AppendBytesHeader(b, 2, len(r.retired)*len(retiredKey{}))
		for i := range r.retired {
			b = append(b, r.retired[i][:]...)
		}
	}
	return b
}

// ParseReceiver reads what [Receiver.AppendBinary] wrote. The family is not in
// the record, but a record of the other one does not fit. record is not kept.
// Errors: [ErrCorrupt], [ErrVersion].
func ParseReceiver(record []byte, f Family) (*Receiver, error) {
	if len(record) == 0 || record[0] != recordReceiver {
		return nil, ErrCorrupt
	}
	r := &receiver{family: f}
	d := wire.DecodeCanonical(record[1:])
	for d.Next() {
		switch d.Num() {
		case 1:
			b := d.Repeated()
			if r.n == MaxChains {
				return nil, ErrCorrupt
			}
			c, err := parsePeerChain(b, f)
			if err != nil {
				return nil, err
			}
			if _, found := r.find(c.distribution, c.id); found {
				return nil, ErrCorrupt
			}
			r.chains[r.n] = c
			r.n++
		case 2:
			b := d.Bytes()
			if len(b)%len(retiredKey{}) != 0 || len(b) > maxRetired*len(retiredKey{}) {
				return nil, ErrCorrupt
			}
			for k := range slices.Chunk(b, len(retiredKey{})) {
				r.retired = append(r.retired, retiredKey(k))
			}
		default:
			d.Skip()
		}
	}
	if d.Close() != nil {
		return nil, ErrCorrupt
	}
	return newReceiver(r), nil
}

func parsePeerChain(b []byte, f Family) (peerChain, error) {
	var distribution DistributionID
	var state []byte
	d := wire.DecodeCanonical(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			d.Fixed(distribution[:])
		case 2:
			state = d.Bytes()
		default:
			d.Skip()
		}
	}
	if d.Close(2) != nil || d.Has(1) == (f == WhatsApp) {
		return peerChain{}, ErrCorrupt
	}
	s, err := parseState(state)
	if err != nil {
		return peerChain{}, err
	}
	c, ok := s.peerChain(distribution)
	if !ok {
		return peerChain{}, ErrCorrupt
	}
	return c, nil
}
