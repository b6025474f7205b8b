package ratchet

import (
	"cmp"
	"slices"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/wire"
)

// AppendBinary appends the record of the session to b: libsignal's
// SessionStructure, byte for byte (SPEC.md §6.1). It is secret. A fresh session
// takes under 400 bytes, a stored key 40. Errors: [ErrUninitialized], and, if the
// session was read from its head, those of reading stored keys that [ParseHead]
// names.
func (s *Session) AppendBinary(b []byte) ([]byte, error) {
	st := s.load()
	if st == nil {
		return b, ErrUninitialized
	}
	st, err := st.whole()
	if err != nil {
		return b, err
	}
	return st.appendBinary(b), nil
}

func (s *state) appendBinary(b []byte) []byte { return s.append(b, false) }

// append appends the record, or the head, which has the number of stored keys
// in their place.
func (s *state) append(b []byte, head bool) []byte {
	if head {
		b = slices.Grow(b, 400+100*s.nReceiving)
	} else {
		b = slices.Grow(b, 400+100*s.nReceiving+44*s.stored())
	}
	b = wire.AppendUint(b, 1, uint64(s.version))
	b = wire.AppendBytes(b, 2, s.local[:])
	b = wire.AppendBytes(b, 3, s.remote[:])
	b = wire.AppendBytes(b, 4, s.root[:])
	b = wire.AppendUintNonZero(b, 5, uint64(s.previousCounter))

	c := &s.sending
	b = wire.AppendBytesHeader(b, 6, sizeKey+wire.SizeBytes(2, 32)+c.ck.size())
	b = appendKey(b, 1, c.public)
	b = wire.AppendBytes(b, 2, c.private[:])
	b = c.ck.append(b)

	for i := range s.receiving[:s.nReceiving] {
		c := &s.receiving[i]
		size := sizeKey + c.ck.size()
		stored, blocks := uint64(c.stored()), uint64(c.blocks)+uint64(c.skipped.blocks())
		if !head {
			size += c.skipped.size()
		} else if stored > 0 {
			size += wire.SizeUint(5, stored) + wire.SizeUint(6, blocks)
		}
		b = wire.AppendBytesHeader(b, 7, size)
		b = appendKey(b, 1, c.ratchetKey)
		b = c.ck.append(b)
		if head {
			b = wire.AppendUintNonZero(b, 5, stored)
			b = wire.AppendUintNonZero(b, 6, blocks)
		} else {
			b = c.skipped.append(b)
		}
	}

	if p := s.pending; p != nil {
		b = p.append(b, s.baseKey)
	}
	b = wire.AppendUintNonZero(b, 10, uint64(s.remoteRegID))
	b = wire.AppendUintNonZero(b, 11, uint64(s.localRegID))
	return appendKey(b, 13, s.baseKey)
}

// stored is the number of all stored keys.
func (s *state) stored() (n int) {
	for i := range s.receiving[:s.nReceiving] {
		n += s.receiving[i].skipped.len()
	}
	return n
}

const sizeKey = 2 + curve.PublicKeySize

func appendKey(b []byte, num int, k curve.PublicKey) []byte {
	return k.Append(wire.AppendBytesHeader(b, num, curve.PublicKeySize))
}

func (ck *chainKey) innerSize() int {
	n := wire.SizeBytes(2, len(ck.key))
	if ck.index != 0 {
		n += wire.SizeUint(1, uint64(ck.index))
	}
	return n
}

func (ck *chainKey) size() int { return wire.SizeBytes(3, ck.innerSize()) }

func (ck *chainKey) append(b []byte) []byte {
	b = wire.AppendBytesHeader(b, 3, ck.innerSize())
	b = wire.AppendUintNonZero(b, 1, uint64(ck.index))
	return wire.AppendBytes(b, 2, ck.key[:])
}

func (k *messageKey) innerSize(n uint32) int {
	size := wire.SizeBytes(5, len(k.seed))
	if e := k.expanded; e != nil {
		size = wire.SizeBytes(2, len(e.Cipher)) + wire.SizeBytes(3, len(e.MAC)) + wire.SizeBytes(4, len(e.IV))
	}
	if n != 0 {
		size += wire.SizeUint(1, uint64(n))
	}
	return size
}

func (s skippedKeys) size() (size int) {
	for n, k := range s.descending {
		size += wire.SizeBytes(4, k.innerSize(n))
	}
	return size
}

func (s skippedKeys) append(b []byte) []byte {
	for n, k := range s.descending {
		b = wire.AppendBytesHeader(b, 4, k.innerSize(n))
		b = wire.AppendUintNonZero(b, 1, uint64(n))
		if e := k.expanded; e != nil {
			b = wire.AppendBytes(b, 2, e.Cipher[:])
			b = wire.AppendBytes(b, 3, e.MAC[:])
			b = wire.AppendBytes(b, 4, e.IV[:])
			continue
		}
		b = wire.AppendBytes(b, 5, k.seed[:])
	}
	return b
}

// descending calls yield for each key, the highest number first, which is the
// order of the record.
func (s skippedKeys) descending(yield func(uint32, *messageKey) bool) {
	for r := len(s) - 1; r >= 0; r-- {
		for i := len(s[r].keys) - 1; i >= 0; i-- {
			if !yield(s[r].first+uint32(i), &s[r].keys[i]) {
				return
			}
		}
	}
}

func (p *pendingPreKey) append(b []byte, baseKey curve.PublicKey) []byte {
	signedID := uint64(int64(int32(p.signedID))) // the field is an int32
	size := sizeKey
	if p.oneTimeID != nil {
		size += wire.SizeUint(1, uint64(*p.oneTimeID))
	}
	if signedID != 0 {
		size += wire.SizeUint(3, signedID)
	}
	if p.created != 0 {
		size += wire.SizeUint(4, p.created)
	}
	b = wire.AppendBytesHeader(b, 9, size)
	if p.oneTimeID != nil {
		b = wire.AppendUint(b, 1, uint64(*p.oneTimeID))
	}
	b = appendKey(b, 2, baseKey)
	b = wire.AppendUintNonZero(b, 3, signedID)
	return wire.AppendUintNonZero(b, 4, p.created)
}

// ParseSession reads what [Session.AppendBinary] wrote, or libsignal's
// SessionStructure of version 3. The family is not in the record.
//
// Only the last record of a session may go on encrypting: a copy restored from
// a backup would use message keys again (SPEC.md §6.1). record is not kept.
// Errors: [ErrCorrupt]; [ErrVersion] for a session of another version, or one
// with a post-quantum ratchet.
func ParseSession(record []byte, family Family) (*Session, error) {
	return parse(record, family, apart{})
}

// parse reads a record or a head.
func parse(record []byte, family Family, a apart) (*Session, error) {
	s := &state{family: family, apart: a}
	var pendingBase curve.PublicKey
	d := wire.Decode(record)
	for d.Next() {
		switch d.Num() {
		case 1:
			s.version = d.Uint32()
		case 2:
			s.local = encode(readKey(&d))
		case 3:
			s.remote = encode(readKey(&d))
		case 4:
			d.Fixed(s.root[:])
		case 5:
			s.previousCounter = d.Uint32()
		case 6:
			s.sending.read(&d)
		case 7:
			if s.nReceiving == MaxReceivingChains {
				d.Fail()
				continue
			}
			s.receiving[s.nReceiving].read(&d, a.head)
			s.nReceiving++
		case 9:
			s.pending = new(pendingPreKey)
			pendingBase = s.pending.read(&d)
		case 10:
			s.remoteRegID = d.Uint32()
		case 11:
			s.localRegID = d.Uint32()
		case 13:
			s.baseKey = readKey(&d)
		case 14, 15: // the KEM ciphertext and the post-quantum ratchet of version 4
			if len(d.Bytes()) > 0 {
				return nil, ErrVersion
			}
		default:
			d.Skip()
		}
	}
	if d.Close(1) != nil {
		return nil, ErrCorrupt
	}
	if s.version != sessionVersion {
		return nil, ErrVersion
	}
	if d.Close(2, 3, 4, 6, 13) != nil || s.pending != nil && pendingBase != s.baseKey {
		return nil, ErrCorrupt
	}
	for i := range s.nReceiving {
		for j := range i {
			if s.receiving[i].ratchetKey == s.receiving[j].ratchetKey {
				return nil, ErrCorrupt
			}
		}
	}
	return newSession(s), nil
}

func readKey(d *wire.Decoder) curve.PublicKey {
	k, err := curve.ParsePublicKey(d.Bytes())
	if err != nil {
		d.Fail()
	}
	return k
}

func (ck *chainKey) read(d *wire.Decoder) {
	inner := wire.Decode(d.Bytes())
	for inner.Next() {
		switch inner.Num() {
		case 1:
			ck.index = inner.Uint32()
		case 2:
			inner.Fixed(ck.key[:])
		default:
			inner.Skip()
		}
	}
	if inner.Close(2) != nil {
		d.Fail()
	}
}

func (c *sendingChain) read(d *wire.Decoder) {
	inner := wire.Decode(d.Bytes())
	for inner.Next() {
		switch inner.Num() {
		case 1:
			c.public = readKey(&inner)
		case 2:
			var b [32]byte
			inner.Fixed(b[:])
			c.private = curve.NewPrivateKey(b)
		case 3:
			c.ck.read(&inner)
		default:
			inner.Skip()
		}
	}
	if inner.Close(1, 2, 3) != nil {
		d.Fail()
	}
}

func (c *receivingChain) read(d *wire.Decoder, head bool) {
	var keys []numberedKey
	inner := wire.Decode(d.Repeated())
	for inner.Next() {
		switch inner.Num() {
		case 1:
			c.ratchetKey = readKey(&inner)
		case 3:
			c.ck.read(&inner)
		case 4:
			if head || len(keys) == MaxSkippedKeys {
				inner.Fail()
				continue
			}
			keys = append(keys, readMessageKey(&inner))
		case 5, 6:
			switch {
			case !head:
				inner.Skip()
			case inner.Num() == 5:
				c.missing = readMissing(&inner)
			default:
				c.blocks = readMissing(&inner)
			}
		default:
			inner.Skip()
		}
	}
	if inner.Close(1, 3) != nil {
		d.Fail()
		return
	}
	var ok bool
	if c.skipped, ok = newSkippedKeys(keys, c.ck.index); !ok || !c.fits() {
		d.Fail()
	}
}

// A numberedKey is a stored key as a record has it.
type numberedKey struct {
	n uint32
	messageKey
}

func readMessageKey(d *wire.Decoder) (k numberedKey) {
	inner := wire.Decode(d.Repeated())
	for inner.Next() {
		n := inner.Num()
		if k.expanded == nil && 2 <= n && n <= 4 {
			k.expanded = new(kdf.MessageKeys)
		}
		switch n {
		case 1:
			k.n = inner.Uint32()
		case 2:
			inner.Fixed(k.expanded.Cipher[:])
		case 3:
			inner.Fixed(k.expanded.MAC[:])
		case 4:
			inner.Fixed(k.expanded.IV[:])
		case 5:
			inner.Fixed(k.seed[:])
		default:
			inner.Skip()
		}
	}
	if k.expanded == nil && inner.Close(5) != nil ||
		k.expanded != nil && (inner.Close(2, 3, 4) != nil || inner.Has(5)) {
		d.Fail()
	}
	return k
}

// newSkippedKeys puts stored keys, in any order, into runs. All numbers have to
// differ and be below next, the number of the next message of the chain.
func newSkippedKeys(stored []numberedKey, next uint32) (s skippedKeys, ok bool) {
	slices.SortFunc(stored, func(a, b numberedKey) int { return cmp.Compare(a.n, b.n) })
	for i, k := range stored {
		switch {
		case k.n >= next || i > 0 && k.n == stored[i-1].n:
			return nil, false
		case i == 0 || k.n != stored[i-1].n+1:
			s = append(s, run{first: k.n})
		}
		r := &s[len(s)-1]
		r.keys = append(r.keys, k.messageKey)
		r.room = cap(r.keys)
	}
	return s, true
}

func (p *pendingPreKey) read(d *wire.Decoder) (baseKey curve.PublicKey) {
	inner := wire.Decode(d.Bytes())
	for inner.Next() {
		switch inner.Num() {
		case 1:
			p.oneTimeID = new(inner.Uint32())
		case 2:
			baseKey = readKey(&inner)
		case 3:
			p.signedID = uint32(inner.Int32())
		case 4:
			p.created = inner.Uint64()
		default:
			inner.Skip()
		}
	}
	if inner.Close(2) != nil {
		d.Fail()
	}
	return baseKey
}
