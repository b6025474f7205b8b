package envelope

import "github.com/sotto-im/sotto/internal/wire"

// A Deliver carries one ciphertext to one device. Header is what the server
// claims, until [Unpack] has compared it. SPEC.md §8.7.
type Deliver struct {
	Header     Header
	Ephemeral  bool
	Type       uint8  // the ciphertext's type, not 0
	Ciphertext []byte // 1 to MaxCiphertext bytes
	Untrusted  Untrusted
}

// Untrusted is what the server chose: its word about time and order, which no
// sender has authenticated and no comparison can confirm. Use it to page and to
// sort; show Time as the server's. Of an ephemeral message all but Time is 0.
// SPEC.md §8.7.
type Untrusted struct {
	MailboxEpoch uint32 // from 1
	Position     uint64 // in the mailbox of this device, 1 to 2⁵³−1, dense
	Epoch        uint32 // from 1
	Sequence     uint64 // in the conversation, 1 to 2⁵³−1
	Time         uint64 // milliseconds since 1970, at most 2⁵³−1; 0 if not given
}

func (*Deliver) sealed() {}

func (m *Deliver) check() error {
	u := &m.Untrusted
	if len(m.Ciphertext) > MaxCiphertext {
		return ErrTooLarge
	}
	if !m.Header.valid(m.Ephemeral) || m.Type == 0 || len(m.Ciphertext) == 0 || u.Time > maxNumber {
		return ErrInvalid
	}
	sequenced := u.MailboxEpoch != 0 && u.Position != 0 && u.Position <= maxNumber &&
		u.Epoch != 0 && u.Sequence != 0 && u.Sequence <= maxNumber
	if m.Ephemeral && *u != (Untrusted{Time: u.Time}) || !m.Ephemeral && !sequenced {
		return ErrInvalid
	}
	return nil
}

// AppendBinary implements [Message].
func (m *Deliver) AppendBinary(dst []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, err
	}
	u := &m.Untrusted
	n := wire.SizeBytes(1, m.Header.size()) + sizeBool(3, m.Ephemeral) + wire.SizeUint(5, uint64(m.Type)) +
		wire.SizeBytes(6, len(m.Ciphertext)) + sizeNonZero(8, uint64(u.MailboxEpoch)) + sizeNonZero(9, u.Position) +
		sizeNonZero(10, uint64(u.Epoch)) + sizeNonZero(11, u.Sequence) + sizeNonZero(12, u.Time)
	b, err := begin(dst, kindDeliver, n)
	if err != nil {
		return dst, err
	}
	b = m.Header.append(b, 1)
	b = appendBool(b, 3, m.Ephemeral)
	b = wire.AppendUint(b, 5, uint64(m.Type))
	b = wire.AppendBytes(b, 6, m.Ciphertext)
	b = wire.AppendUintNonZero(b, 8, uint64(u.MailboxEpoch))
	b = wire.AppendUintNonZero(b, 9, u.Position)
	b = wire.AppendUintNonZero(b, 10, uint64(u.Epoch))
	b = wire.AppendUintNonZero(b, 11, u.Sequence)
	return wire.AppendUintNonZero(b, 12, u.Time), nil
}

func (m *Deliver) parse(b []byte) error {
	var v Deliver
	var typ uint32
	u := &v.Untrusted
	d := wire.DecodeCanonical(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			if v.Header.parse(d.Message()) != nil {
				return ErrMalformed
			}
		case 3:
			v.Ephemeral = d.Bool()
		case 5:
			typ = d.Uint32()
		case 6:
			v.Ciphertext = d.Bytes()
		case 8:
			u.MailboxEpoch = d.Uint32()
		case 9:
			u.Position = d.Uint64()
		case 10:
			u.Epoch = d.Uint32()
		case 11:
			u.Sequence = d.Uint64()
		case 12:
			u.Time = d.Uint64()
		default:
			d.Skip()
		}
	}
	v.Type = uint8(typ)
	if d.Close(1) != nil || uint32(v.Type) != typ {
		return ErrMalformed
	}
	if err := v.check(); err != nil {
		return malformed(err)
	}
	*m = v
	return nil
}
