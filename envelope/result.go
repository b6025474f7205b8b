package envelope

import "github.com/sotto-im/sotto/internal/wire"

// A Code says what happened, in a [Result], a [Gap] or an [Error]. Its number is
// the one on the wire; the zero value is no code, and refused. SPEC.md §8.6.
type Code uint8

// Codes, and what a client does. Where nothing else is said a code stands in a
// Result only.
const (
	// Accepted: the message has Epoch and Sequence. Mark it sent.
	Accepted Code = 1 + iota
	// Duplicate: it was accepted before, and Epoch and Sequence are those of
	// the first answer. Mark it sent.
	Duplicate
	// DeviceMismatch: nothing was accepted. Repair the recipient table by
	// Missing, Extra and Stale, keep the message ID and the counter, submit
	// again.
	DeviceMismatch
	// Quota: nothing was accepted. Send the same bytes after RetryAfter. In an
	// Error: the server is going away, come back after RetryAfter.
	Quota
	// ClockBound: nothing was accepted, for the stamp is too far above
	// MaxStamp, the highest of the conversation. Lower the clock (lamport's
	// Clock.Lower), seal anew under the same message ID and counter, submit
	// again (SPEC.md §9.2).
	ClockBound
	// TooOld: it was accepted before, so long ago that the server has forgotten
	// the answer. Mark it sent; it stays where it is shown.
	TooOld
	// Refused: it will never be accepted. Mark it failed. In an Error: the
	// frame broke a rule; the server closes the connection.
	Refused
	// Trimmed, in a Gap: the mailbox was full, and its oldest messages were
	// dropped. Tell the user.
	Trimmed
	// Expired, in a Gap: the messages had waited too long. Tell the user.
	Expired
	// Replaced, in an Error: another connection of this device has taken over.
	// Do not reconnect by yourself.
	Replaced
)

// A Result answers one [Submit]. Fields that the code does not name are zero.
// SPEC.md §8.6.
type Result struct {
	ID         [16]byte   // message ID of the submission
	Code       Code       // Accepted to Refused
	Epoch      uint32     // Accepted, Duplicate: from 1
	Sequence   uint64     // Accepted, Duplicate: 1 to 2⁵³−1
	Missing    Recipients // DeviceMismatch: devices that the table lacks
	Extra      Recipients // DeviceMismatch: devices that do not exist (any more)
	Stale      Recipients // DeviceMismatch: devices with another registration ID, which is given
	RetryAfter uint32     // Quota: milliseconds, not 0
	MaxStamp   uint64     // ClockBound: 0 to 2⁵³−1
}

func (*Result) sealed() {}

func (m *Result) check() error {
	ok := validID(m.ID)
	v := Result{ID: m.ID, Code: m.Code} // what the code allows
	switch m.Code {
	case Accepted, Duplicate:
		v.Epoch, v.Sequence = m.Epoch, m.Sequence
		ok = ok && m.Epoch != 0 && m.Sequence != 0 && m.Sequence <= maxNumber
	case DeviceMismatch:
		v.Missing, v.Extra, v.Stale = m.Missing, m.Extra, m.Stale
		ok = ok && m.Missing.n+m.Extra.n+m.Stale.n != 0 && m.Missing.sealed+m.Extra.sealed+m.Stale.sealed == 0
	case Quota:
		v.RetryAfter = m.RetryAfter
		ok = ok && m.RetryAfter != 0
	case ClockBound:
		v.MaxStamp = m.MaxStamp
		ok = ok && m.MaxStamp <= maxNumber
	case TooOld, Refused:
	default:
		ok = false
	}
	if !ok || v.Epoch != m.Epoch || v.Sequence != m.Sequence || v.RetryAfter != m.RetryAfter || v.MaxStamp != m.MaxStamp ||
		v.Missing.n != m.Missing.n || v.Extra.n != m.Extra.n || v.Stale.n != m.Stale.n {
		return ErrInvalid
	}
	return nil
}

// AppendBinary implements [Message].
func (m *Result) AppendBinary(dst []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, err
	}
	n := wire.SizeBytes(2, 16) + wire.SizeUint(3, uint64(m.Code)) + sizeNonZero(4, uint64(m.Epoch)) +
		sizeNonZero(5, m.Sequence) + len(m.Missing.enc) + len(m.Extra.enc) + len(m.Stale.enc) +
		sizeNonZero(9, uint64(m.RetryAfter)) + sizeNonZero(10, m.MaxStamp)
	b, err := begin(dst, kindResult, n)
	if err != nil {
		return dst, err
	}
	b = wire.AppendBytes(b, 2, m.ID[:])
	b = wire.AppendUint(b, 3, uint64(m.Code))
	b = wire.AppendUintNonZero(b, 4, uint64(m.Epoch))
	b = wire.AppendUintNonZero(b, 5, m.Sequence)
	b = m.Missing.append(b, 6)
	b = m.Extra.append(b, 7)
	b = m.Stale.append(b, 8)
	b = wire.AppendUintNonZero(b, 9, uint64(m.RetryAfter))
	return wire.AppendUintNonZero(b, 10, m.MaxStamp), nil
}

func (m *Result) parse(b []byte) error {
	var v Result
	var code uint32
	var missing, extra, stale tableScan
	d := wire.DecodeCanonical(b)
	for d.Next() {
		var err error
		switch d.Num() {
		case 2:
			d.Fixed(v.ID[:])
		case 3:
			code = d.Uint32()
		case 4:
			v.Epoch = d.Uint32()
		case 5:
			v.Sequence = d.Uint64()
		case 6:
			err = missing.next(b, &d)
		case 7:
			err = extra.next(b, &d)
		case 8:
			err = stale.next(b, &d)
		case 9:
			v.RetryAfter = d.Uint32()
		case 10:
			v.MaxStamp = d.Uint64()
		default:
			d.Skip()
		}
		if err != nil {
			return err
		}
	}
	v.Code = Code(code)
	if d.Close(2, 3) != nil || uint32(v.Code) != code {
		return ErrMalformed
	}
	v.Missing, v.Extra, v.Stale = missing.table(b), extra.table(b), stale.table(b)
	if err := v.check(); err != nil {
		return malformed(err)
	}
	*m = v
	return nil
}

// An Error is what a server says before it closes a connection. SPEC.md §8.8.
type Error struct {
	Code       Code   // Refused, Quota or Replaced
	RetryAfter uint32 // Quota: milliseconds, not 0; else 0
}

func (*Error) sealed() {}

func (m *Error) check() error {
	switch m.Code {
	case Refused, Replaced, Quota:
		if (m.Code == Quota) == (m.RetryAfter != 0) {
			return nil
		}
	}
	return ErrInvalid
}

// AppendBinary implements [Message].
func (m *Error) AppendBinary(dst []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, err
	}
	b, err := begin(dst, kindError, wire.SizeUint(8, uint64(m.Code))+sizeNonZero(9, uint64(m.RetryAfter)))
	if err != nil {
		return dst, err
	}
	b = wire.AppendUint(b, 8, uint64(m.Code))
	return wire.AppendUintNonZero(b, 9, uint64(m.RetryAfter)), nil
}

func (m *Error) parse(b []byte) error {
	var v Error
	var code uint32
	d := wire.DecodeCanonical(b)
	for d.Next() {
		switch d.Num() {
		case 8:
			code = d.Uint32()
		case 9:
			v.RetryAfter = d.Uint32()
		default:
			d.Skip()
		}
	}
	v.Code = Code(code)
	if d.Close(8) != nil || uint32(v.Code) != code {
		return ErrMalformed
	}
	if err := v.check(); err != nil {
		return malformed(err)
	}
	*m = v
	return nil
}
