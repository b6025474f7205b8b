package envelope

import "github.com/sotto-im/sotto/internal/wire"

// A Submit asks the server to accept a message. Either every recipient carries
// its own ciphertext, or Shared is set and none does. SPEC.md §8.4.
type Submit struct {
	Header     Header // Sender is the submitting device itself
	Counter    uint64 // send counter of the device, 1 to 2⁵³−1; 0 exactly if Ephemeral (SPEC.md §9.4)
	Ephemeral  bool   // no sequence, no mailbox, no answer: gone if the recipient is not connected
	Urgent     bool   // worth a push notification; never together with Ephemeral
	SharedType uint8  // the type of Shared, as in Recipient.Type
	Shared     []byte // one ciphertext for all recipients, at most MaxCiphertext
	Recipients Recipients
}

func (*Submit) sealed() {}

func (m *Submit) check() error {
	if len(m.Shared) > MaxCiphertext {
		return ErrTooLarge
	}
	want := m.Recipients.n
	if len(m.Shared) != 0 {
		want = 0
	}
	if !m.Header.valid(m.Ephemeral) || m.Counter > maxNumber || m.Ephemeral != (m.Counter == 0) ||
		m.Ephemeral && m.Urgent || (m.SharedType == 0) != (len(m.Shared) == 0) ||
		m.Recipients.n == 0 || m.Recipients.sealed != want {
		return ErrInvalid
	}
	return nil
}

// AppendBinary implements [Message].
func (m *Submit) AppendBinary(dst []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, err
	}
	n := wire.SizeBytes(1, m.Header.size()) + sizeNonZero(2, m.Counter) + sizeBool(3, m.Ephemeral) +
		sizeBool(4, m.Urgent) + sizeNonZero(5, uint64(m.SharedType)) + sizeNonEmpty(6, m.Shared) +
		len(m.Recipients.enc)
	b, err := begin(dst, kindSubmit, n)
	if err != nil {
		return dst, err
	}
	b = m.Header.append(b, 1)
	b = wire.AppendUintNonZero(b, 2, m.Counter)
	b = appendBool(b, 3, m.Ephemeral)
	b = appendBool(b, 4, m.Urgent)
	b = wire.AppendUintNonZero(b, 5, uint64(m.SharedType))
	b = appendBytesNonEmpty(b, 6, m.Shared)
	return m.Recipients.append(b, 7), nil
}

func (m *Submit) parse(b []byte) error {
	var v Submit
	var typ uint32
	var table tableScan
	d := wire.DecodeCanonical(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			if v.Header.parse(d.Message()) != nil {
				return ErrMalformed
			}
		case 2:
			v.Counter = d.Uint64()
		case 3:
			v.Ephemeral = d.Bool()
		case 4:
			v.Urgent = d.Bool()
		case 5:
			typ = d.Uint32()
		case 6:
			v.Shared = d.Bytes()
		case 7:
			if err := table.next(b, &d); err != nil {
				return err
			}
		default:
			d.Skip()
		}
	}
	v.SharedType = uint8(typ)
	if d.Close(1) != nil || uint32(v.SharedType) != typ {
		return ErrMalformed
	}
	v.Recipients = table.table(b)
	if err := v.check(); err != nil {
		return malformed(err)
	}
	*m = v
	return nil
}
