package conformance

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// Keys and chain IDs are random in every cast. What has to be equal is their names:
// a number in the order in which they show.
type names map[string]int

func (n names) of(random []byte) string {
	s := string(random)
	if _, ok := n[s]; !ok {
		n[s] = len(n)
	}
	return fmt.Sprint("K", n[s])
}

func (n names) chain(id uint32) string { return n.of(binary.BigEndian.AppendUint32(nil, id)) }

// previous is a previous counter. go.mau.fi/libsignal has one less than 0 where no chain
// has ended yet, which is 5 bytes (SPEC.md R-5.3-2).
func previous(counter uint32, by peer) (n, excess int) {
	if by == mau && counter == 1<<32-1 {
		return 0, 4
	}
	return int(counter), 0
}

// looks is everything of a parcel that is not random.
func (n names) looks(p *parcel, by peer) string {
	b := p.raw
	signed := len(b) - map[kind]int{ordinary: 8, groupMessage: 64}[p.kind]
	s := fmt.Sprintf("%v, version %02x, fields %d", p.kind, b[0], order(b[1:signed]))
	switch p.kind {
	case groupMessage:
		m, err := senderkey.ParseMessage(b, groupFamily(by.family))
		if err != nil {
			return s + err.Error()
		}
		return s + fmt.Sprintf(", %d bytes, %x chain %s iteration %d, %d of ciphertext", len(b), m.ID, n.chain(m.ChainID), m.Iteration, len(m.Ciphertext))
	case distribution:
		d, err := senderkey.ParseDistribution(b, groupFamily(by.family))
		if err != nil {
			return s + err.Error()
		}
		return s + fmt.Sprintf(", %d bytes, %x chain %s iteration %d", len(b), d.ID(), n.chain(d.ChainID()), d.Iteration())
	case initial:
		m, err := x3dh.ParseInitialMessage(b)
		if err != nil {
			return s + err.Error()
		}
		preKey := "none"
		if m.OneTimePreKeyID != nil {
			preKey = fmt.Sprint(*m.OneTimePreKeyID)
		}
		s += fmt.Sprintf(", from %d, prekeys %d and %s, base key %s, identity %s",
			m.RegistrationID, m.SignedPreKeyID, preKey, n.of(m.BaseKey.Bytes()), n.of(m.IdentityKey.Bytes()))
		b = m.Message
	}
	m, err := ratchet.ParseMessage(b)
	if err != nil {
		return s + err.Error()
	}
	pn, excess := previous(m.PreviousCounter, by)
	return s + fmt.Sprintf(", inner version %02x, fields %d, ratchet key %s, counter %d, previous %d, %d of ciphertext, %d bytes",
		m.Version, order(b[1:len(b)-8]), n.of(m.RatchetKey.Bytes()), m.Counter, pn, len(m.Ciphertext), len(p.raw)-excess)
}

func groupFamily(f ratchet.Family) senderkey.Family {
	if f == ratchet.WhatsApp {
		return senderkey.WhatsApp
	}
	return senderkey.Signal
}

// order is the numbers of the fields of a protobuf message as they stand.
func order(b []byte) (numbers []int) {
	for d := wire.Decode(b); d.Next(); d.Skip() {
		numbers = append(numbers, d.Num())
	}
	return numbers
}

// fields are the fields of a protobuf message by number, in order. Those of a
// repeated field follow each other. A malformed message has a field -1.
func fields(b []byte) map[int][]field {
	m := map[int][]field{}
	for d := wire.Decode(b); ; {
		if !d.Next() {
			if d.Close() != nil {
				m[-1] = append(m[-1], field{})
			}
			return m
		}
		before := d
		v := d.Repeated()
		f := field{bytes: v}
		if v == nil { // a number, which Repeated refuses
			d = before
			f.number = d.Uint64()
		}
		m[before.Num()] = append(m[before.Num()], f)
	}
}

type field struct {
	number uint64
	bytes  []byte
}

func number(m map[int][]field, n int) uint64 {
	if len(m[n]) == 0 {
		return 0
	}
	return m[n][0].number
}

func sub(m map[int][]field, n int) []byte {
	if len(m[n]) == 0 {
		return nil
	}
	return m[n][0].bytes
}

// session is what of a RecordStructure is not random (SPEC.md §10.8).
func (n names) session(record string, of peer) string {
	b, _ := hex.DecodeString(record)
	r := fields(b)
	var s strings.Builder
	for i, f := range append(r[1], r[2]...) {
		if len(f.bytes) == 0 {
			continue
		}
		m := fields(f.bytes)
		if i < len(r[1]) {
			s.WriteString("current: ")
		} else {
			s.WriteString("past: ")
		}
		pn, _ := previous(uint32(number(m, 5)), of)
		fmt.Fprintf(&s, "version %d, previous %d, base %s, from %d to %d, sending %s", number(m, 1), pn, n.of(sub(m, 13)),
			number(m, 11), number(m, 10), n.ratchetChain(sub(m, 6)))
		for _, c := range m[7] {
			s.WriteString(", receiving " + n.ratchetChain(c.bytes))
		}
		if len(m[9]) > 0 && (i < len(r[1]) || of != mau) { // which does not forget it by archiving
			p := fields(sub(m, 9))
			fmt.Fprintf(&s, ", pending %d of %d and %d", number(p, 3), len(p[1]), number(p, 1))
		}
		s.WriteString("\n")
	}
	return s.String()
}

func (n names) ratchetChain(b []byte) string {
	c := fields(b)
	return fmt.Sprintf("%s@%d%s", n.of(sub(c, 1)), number(fields(sub(c, 3)), 1), kept(c[4]))
}

// kept is how many keys are stored, and of which messages.
func kept(keys []field) string {
	if len(keys) == 0 {
		return ""
	}
	least, most, sum := uint64(1<<63), uint64(0), uint64(0)
	for _, k := range keys {
		i := number(fields(k.bytes), 1)
		least, most, sum = min(least, i), max(most, i), sum+i
	}
	return fmt.Sprintf("(%d keys, %d to %d, sum %d)", len(keys), least, most, sum)
}

// senderKey is what of a SenderKeyRecordStructure is not random (SPEC.md §11.7).
func (n names) senderKey(record string) string {
	b, _ := hex.DecodeString(record)
	var s strings.Builder
	for _, f := range fields(b)[1] {
		m := fields(f.bytes)
		fmt.Fprintf(&s, "chain %s@%d%s, private %t, version %d\n", n.chain(uint32(number(m, 1))), number(fields(sub(m, 2)), 1),
			kept(m[4]), len(fields(sub(m, 3))[2]) > 0, number(m, 5))
	}
	return s.String()
}
