package envelope

import "github.com/sotto-im/sotto/internal/wire"

// An Ack tells the server that everything up to and including Position is
// durable on the device, as plaintext or as a verdict. The server may forget it.
// SPEC.md §8.8.
type Ack struct {
	MailboxEpoch uint32 // from 1
	Position     uint64 // 1 to 2⁵³−1
}

func (*Ack) sealed() {}

func (m *Ack) check() error {
	if m.MailboxEpoch == 0 || m.Position == 0 || m.Position > maxNumber {
		return ErrInvalid
	}
	return nil
}

// AppendBinary implements [Message].
func (m *Ack) AppendBinary(dst []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, err
	}
	b, err := begin(dst, kindAck, wire.SizeUint(1, uint64(m.MailboxEpoch))+wire.SizeUint(2, m.Position))
	if err != nil {
		return dst, err
	}
	b = wire.AppendUint(b, 1, uint64(m.MailboxEpoch))
	return wire.AppendUint(b, 2, m.Position), nil
}

func (m *Ack) parse(b []byte) error {
	var v Ack
	d := wire.DecodeCanonical(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			v.MailboxEpoch = d.Uint32()
		case 2:
			v.Position = d.Uint64()
		default:
			d.Skip()
		}
	}
	if d.Close() != nil || v.check() != nil {
		return ErrMalformed
	}
	*m = v
	return nil
}

// A Fetch asks for everything after a position, and then for what arrives. It is
// the first frame of a connection. MailboxEpoch and After are the position up to
// which everything is durable on the device; both are 0 on a new one. It also
// acknowledges that position, for the [Ack] may have been lost. If the mailbox is
// of a higher epoch the server delivers from its beginning. SPEC.md §8.8.
type Fetch struct {
	MailboxEpoch uint32
	After        uint64 // 0 to 2⁵³−1; 0 if MailboxEpoch is 0
}

func (*Fetch) sealed() {}

func (m *Fetch) check() error {
	if m.After > maxNumber || m.MailboxEpoch == 0 && m.After != 0 {
		return ErrInvalid
	}
	return nil
}

// AppendBinary implements [Message].
func (m *Fetch) AppendBinary(dst []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, err
	}
	b, err := begin(dst, kindFetch, sizeNonZero(3, uint64(m.MailboxEpoch))+sizeNonZero(4, m.After))
	if err != nil {
		return dst, err
	}
	b = wire.AppendUintNonZero(b, 3, uint64(m.MailboxEpoch))
	return wire.AppendUintNonZero(b, 4, m.After), nil
}

func (m *Fetch) parse(b []byte) error {
	var v Fetch
	d := wire.DecodeCanonical(b)
	for d.Next() {
		switch d.Num() {
		case 3:
			v.MailboxEpoch = d.Uint32()
		case 4:
			v.After = d.Uint64()
		default:
			d.Skip()
		}
	}
	if d.Close() != nil || v.check() != nil {
		return ErrMalformed
	}
	*m = v
	return nil
}

// A Gap stands where messages are missing: the positions From to To of the
// mailbox are lost at the server. A client shows it; a server that dropped
// messages without one would look like one that has them all. SPEC.md §8.8.
type Gap struct {
	MailboxEpoch uint32 // from 1
	From, To     uint64 // the first and the last position, 1 ≤ From ≤ To ≤ 2⁵³−1
	Reason       Code   // Trimmed or Expired
}

func (*Gap) sealed() {}

func (m *Gap) check() error {
	if m.MailboxEpoch == 0 || m.From == 0 || m.To < m.From || m.To > maxNumber ||
		m.Reason != Trimmed && m.Reason != Expired {
		return ErrInvalid
	}
	return nil
}

// AppendBinary implements [Message].
func (m *Gap) AppendBinary(dst []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, err
	}
	n := wire.SizeUint(1, uint64(m.MailboxEpoch)) + wire.SizeUint(5, m.From) + wire.SizeUint(6, m.To) +
		wire.SizeUint(7, uint64(m.Reason))
	b, err := begin(dst, kindGap, n)
	if err != nil {
		return dst, err
	}
	b = wire.AppendUint(b, 1, uint64(m.MailboxEpoch))
	b = wire.AppendUint(b, 5, m.From)
	b = wire.AppendUint(b, 6, m.To)
	return wire.AppendUint(b, 7, uint64(m.Reason)), nil
}

func (m *Gap) parse(b []byte) error {
	var v Gap
	var reason uint32
	d := wire.DecodeCanonical(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			v.MailboxEpoch = d.Uint32()
		case 5:
			v.From = d.Uint64()
		case 6:
			v.To = d.Uint64()
		case 7:
			reason = d.Uint32()
		default:
			d.Skip()
		}
	}
	v.Reason = Code(reason)
	if d.Close() != nil || uint32(v.Reason) != reason || v.check() != nil {
		return ErrMalformed
	}
	*m = v
	return nil
}
