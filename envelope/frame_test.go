package envelope

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
)

func id(b byte) (v [16]byte) {
	for i := range v {
		v[i] = b
	}
	return v
}

var (
	alice = Device{User: id(0x33), ID: 1}
	bob   = Device{User: id(0x44), ID: 2}
	carol = Device{User: id(0x55), ID: maxDevice}

	header    = Header{Conversation: id(0x11), ID: id(0x22), Sender: alice, Stamp: 7}
	ephemeral = Header{Conversation: id(0x11), ID: id(0x22), Sender: alice}
	last      = Header{Conversation: id(0x11), ID: id(0x22), Sender: carol, Stamp: maxNumber}
)

func table(t testing.TB, list ...Recipient) Recipients {
	r, err := NewRecipients(list...)
	require.NoError(t, err)
	return r
}

// samples has every kind of frame, and every shape of each.
func samples(t testing.TB) map[string]Message {
	each := table(t, Recipient{bob, 12, 3, []byte("to bob")}, Recipient{carol, 0, 2, []byte("to carol")})
	all := table(t, Recipient{Device: bob, RegistrationID: 12}, Recipient{Device: carol})
	one := table(t, Recipient{Device: bob})
	return map[string]Message{
		"submit":          &Submit{Header: header, Counter: 9, Recipients: each},
		"submit urgent":   &Submit{Header: header, Counter: maxNumber, Urgent: true, Recipients: each},
		"submit shared":   &Submit{Header: header, Counter: 9, SharedType: 7, Shared: []byte("to all"), Recipients: all},
		"submit ephemer":  &Submit{Header: ephemeral, Ephemeral: true, Recipients: each},
		"accepted":        &Result{ID: id(0x22), Code: Accepted, Epoch: 1, Sequence: maxNumber},
		"duplicate":       &Result{ID: id(0x22), Code: Duplicate, Epoch: 1<<32 - 1, Sequence: 1},
		"mismatch":        &Result{ID: id(0x22), Code: DeviceMismatch, Missing: all, Extra: table(t, Recipient{Device: alice}), Stale: all},
		"missing, extra":  &Result{ID: id(0x22), Code: DeviceMismatch, Missing: one, Extra: one},
		"extra, stale":    &Result{ID: id(0x22), Code: DeviceMismatch, Extra: one, Stale: one},
		"extra only":      &Result{ID: id(0x22), Code: DeviceMismatch, Extra: all},
		"quota":           &Result{ID: id(0x22), Code: Quota, RetryAfter: 1500},
		"clock bound":     &Result{ID: id(0x22), Code: ClockBound, MaxStamp: maxNumber},
		"clock bound 0":   &Result{ID: id(0x22), Code: ClockBound},
		"too old":         &Result{ID: id(0x22), Code: TooOld},
		"refused":         &Result{ID: id(0x22), Code: Refused},
		"deliver":         &Deliver{Header: header, Type: 255, Ciphertext: []byte("ciphertext"), Untrusted: Untrusted{1, 2, 3, 4, 5}},
		"deliver no time": &Deliver{Header: header, Type: 2, Ciphertext: []byte{0}, Untrusted: Untrusted{1, 2, 3, 4, 0}},
		"deliver ephemer": &Deliver{Header: ephemeral, Ephemeral: true, Type: 2, Ciphertext: []byte{0}, Untrusted: Untrusted{Time: 5}},
		"deliver last":    &Deliver{Header: last, Type: 2, Ciphertext: []byte{0}, Untrusted: Untrusted{1, maxNumber, 1, maxNumber, maxNumber}},
		"ack":             &Ack{1, 2},
		"ack last":        &Ack{1, maxNumber},
		"fetch all":       &Fetch{},
		"fetch epoch":     &Fetch{MailboxEpoch: 3},
		"fetch":           &Fetch{3, maxNumber},
		"gap":             &Gap{1, 5, 9, Trimmed},
		"gap of one":      &Gap{1, 5, 5, Expired},
		"gap to the last": &Gap{1, 5, maxNumber, Expired},
		"error":           &Error{Code: Refused},
		"error replaced":  &Error{Code: Replaced},
		"error drain":     &Error{Code: Quota, RetryAfter: 1},
	}
}

func frame(t testing.TB, m Message) []byte {
	b, err := m.AppendBinary(nil)
	require.NoError(t, err)
	return b
}

// equal compares messages by value: tables by their lines, not by their bytes,
// which keep the tag of the field that they came from.
func equal(t testing.TB, want, got Message) {
	t.Helper()
	require.Equal(t, reflect.TypeOf(want), reflect.TypeOf(got))
	w, g := reflect.ValueOf(want).Elem(), reflect.ValueOf(got).Elem()
	for i := range w.NumField() {
		a, b := w.Field(i).Interface(), g.Field(i).Interface()
		if x, ok := a.(Recipients); ok {
			a, b = lines(x), lines(b.(Recipients))
		}
		require.Equal(t, a, b, w.Type().Field(i).Name)
	}
}

func lines(r Recipients) (l []Recipient) {
	for v := range r.All() {
		l = append(l, v)
	}
	return l
}

// R-8.2-1, R-8.2-2, R-8.2-3, R-8.4-1, R-8.6-1, R-8.7-1, R-8.8-1: the bytes of
// each frame, worked out by hand from the schema.
func TestFrameBytes(t *testing.T) {
	h := "0a3a" + "0a10" + strings.Repeat("11", 16) + "1210" + strings.Repeat("22", 16) + "1a10" + strings.Repeat("33", 16) + "2001" + "2807"
	e := "0a38" + h[4:len(h)-4]
	max := "ffffffffffffff0f"
	l := "0a45" + h[4:76] + "1a10" + strings.Repeat("55", 16) + "20ffffffff07" + "28" + max
	recipients := "3a20" + "0a10" + strings.Repeat("44", 16) + "1002" + "180c" + "2003" + "2a06" + hex.EncodeToString([]byte("to bob")) +
		"3a24" + "0a10" + strings.Repeat("55", 16) + "10ffffffff07" + "2002" + "2a08" + hex.EncodeToString([]byte("to carol"))
	addressees := func(tag string) string {
		return tag + "16" + "0a10" + strings.Repeat("44", 16) + "1002" + "180c" + tag + "18" + "0a10" + strings.Repeat("55", 16) + "10ffffffff07"
	}
	result := "1210" + strings.Repeat("22", 16)
	for name, want := range map[string]string{
		"submit":          "01" + "0a8601" + h + "1009" + recipients,
		"submit urgent":   "01" + "0a8f01" + h + "10ffffffffffffff0f" + "2001" + recipients,
		"submit shared":   "01" + "0a7a" + h + "1009" + "2807" + "3206" + hex.EncodeToString([]byte("to all")) + addressees("3a"),
		"submit ephemer":  "01" + "0a8401" + e + "1801" + recipients,
		"accepted":        "01" + "121f" + result + "1801" + "2001" + "28ffffffffffffff0f",
		"extra only":      "01" + "1246" + result + "1803" + addressees("3a"),
		"quota":           "01" + "1217" + result + "1804" + "48dc0b",
		"clock bound":     "01" + "121d" + result + "1805" + "50ffffffffffffff0f",
		"clock bound 0":   "01" + "1214" + result + "1805",
		"too old":         "01" + "1214" + result + "1806",
		"deliver":         "01" + "1a55" + h + "28ff01" + "320a" + hex.EncodeToString([]byte("ciphertext")) + "4001" + "4802" + "5003" + "5804" + "6005",
		"deliver ephemer": "01" + "1a43" + e + "1801" + "2802" + "320100" + "6005",
		"deliver last":    "01" + "1a6b" + l + "2802" + "320100" + "4001" + "48" + max + "5001" + "58" + max + "60" + max,
		"ack":             "01" + "2204" + "0801" + "1002",
		"fetch all":       "01" + "2a00",
		"fetch":           "01" + "2a0b" + "1803" + "20ffffffffffffff0f",
		"gap":             "01" + "3208" + "0801" + "2805" + "3009" + "3808",
		"error":           "01" + "3a02" + "4007",
		"error drain":     "01" + "3a04" + "4004" + "4801",
	} {
		require.Equal(t, want, hex.EncodeToString(frame(t, samples(t)[name])), name)
	}
}

// R-8.2-4: what is written is read back, as the same kind and value, and writes
// the same bytes; into fresh room and into room that held another frame.
func TestFrameRoundTrip(t *testing.T) {
	var used Frame
	for name, m := range samples(t) {
		t.Run(name, func(t *testing.T) {
			b := frame(t, m)
			for _, f := range []*Frame{new(Frame), &used} {
				got, err := f.Parse(b)
				require.NoError(t, err)
				equal(t, m, got)
				require.Equal(t, b, frame(t, got))
			}
		})
	}
}

// R-8.2-5: a failed parse leaves the room, and what was returned from it, alone.
func TestParseFailureChangesNothing(t *testing.T) {
	for name, m := range samples(t) {
		b := frame(t, m)
		var f Frame
		got, err := f.Parse(b)
		require.NoError(t, err)
		before := f
		for cut := range b {
			_, err := f.Parse(b[:cut])
			require.Error(t, err, "%s cut to %d", name, cut)
			if cut < len(b)-1 { // the last byte may be one of a ciphertext
				_, err = f.Parse(append(bytes.Clone(b[:cut]), 0xff))
				require.Error(t, err, "%s cut to %d and 0xff", name, cut)
			}
			require.Equal(t, before, f)
		}
		equal(t, m, got)
	}
}

// R-8.2-4: every bit of every frame: with another one it is refused, or is the one
// encoding of something else.
func TestEveryBitOfAFrame(t *testing.T) {
	for name, m := range samples(t) {
		b := frame(t, m)
		other := 0
		for bit := range 8 * len(b) {
			flipped := bytes.Clone(b)
			flipped[bit/8] ^= 1 << (bit % 8)
			got, err := new(Frame).Parse(flipped)
			if err != nil {
				require.True(t, errors.Is(err, ErrMalformed) || errors.Is(err, ErrVersion), "%s: %v", name, err)
				continue
			}
			other++
			require.Equal(t, flipped, frame(t, got), name)
		}
		t.Logf("%s: %d of %d bits make it another frame", name, other, 8*len(b))
	}
}

// Errors of AppendBinary leave dst as it was, and dst keeps what stands in it.
func TestAppendKeepsDst(t *testing.T) {
	for name, m := range samples(t) {
		dst := append(make([]byte, 0, 4096), "before"...)
		b, err := m.AppendBinary(dst)
		require.NoError(t, err)
		require.Equal(t, "before", string(b[:6]))
		require.Equal(t, frame(t, m), b[6:], name)
	}
	dst := append(make([]byte, 0, 64), "before"...)
	spare := bytes.Clone(dst[:64])
	for _, m := range []Message{&Submit{}, &Result{}, &Deliver{}, &Ack{}, &Fetch{After: 1}, &Gap{}, &Error{}} {
		b, err := m.AppendBinary(dst)
		require.ErrorIs(t, err, ErrInvalid)
		require.Equal(t, "before", string(b))
		require.Equal(t, spare, dst[:64])
		b, err = AppendDelimited(dst, m)
		require.ErrorIs(t, err, ErrInvalid)
		require.Equal(t, "before", string(b))
	}
}

// R-8.1-1, R-8.1-2, R-8.1-3, R-8.3-2, R-8.4-2, R-8.4-3, R-8.4-4, R-8.6-2,
// R-8.6-3, R-8.7-2, R-8.7-3, R-8.8-2, R-8.8-3, R-8.8-4, R-8.8-5: a value that
// breaks a rule is not written; written by somebody else it is not read.
func TestInvalidValues(t *testing.T) {
	all := table(t, Recipient{Device: bob})
	each := table(t, Recipient{bob, 0, 2, []byte("x")})
	both := table(t, Recipient{bob, 0, 2, []byte("x")}, Recipient{Device: carol})
	submit := func(f func(*Submit)) Message {
		m := &Submit{Header: header, Counter: 1, Recipients: each}
		f(m)
		return m
	}
	deliver := func(f func(*Deliver)) Message {
		m := &Deliver{Header: header, Type: 2, Ciphertext: []byte("x"), Untrusted: Untrusted{1, 1, 1, 1, 1}}
		f(m)
		return m
	}
	for name, m := range map[string]Message{
		"nil conversation":              submit(func(m *Submit) { m.Header.Conversation = [16]byte{} }),
		"max conversation":              submit(func(m *Submit) { m.Header.Conversation = id(255) }),
		"nil message ID":                submit(func(m *Submit) { m.Header.ID = [16]byte{} }),
		"max message ID":                submit(func(m *Submit) { m.Header.ID = id(255) }),
		"nil user":                      submit(func(m *Submit) { m.Header.Sender.User = [16]byte{} }),
		"max user":                      submit(func(m *Submit) { m.Header.Sender.User = id(255) }),
		"device 0":                      submit(func(m *Submit) { m.Header.Sender.ID = 0 }),
		"device 2^31":                   submit(func(m *Submit) { m.Header.Sender.ID = 1 << 31 }),
		"no stamp":                      submit(func(m *Submit) { m.Header.Stamp = 0 }),
		"stamp 2^53":                    submit(func(m *Submit) { m.Header.Stamp = 1 << 53 }),
		"no counter":                    submit(func(m *Submit) { m.Counter = 0 }),
		"counter 2^53":                  submit(func(m *Submit) { m.Counter = 1 << 53 }),
		"ephemeral with counter":        submit(func(m *Submit) { m.Header, m.Ephemeral = ephemeral, true }),
		"ephemeral with stamp":          submit(func(m *Submit) { m.Counter, m.Ephemeral = 0, true }),
		"ephemeral and urgent":          submit(func(m *Submit) { m.Header, m.Counter, m.Ephemeral, m.Urgent = ephemeral, 0, true, true }),
		"no recipients":                 submit(func(m *Submit) { m.Recipients = Recipients{} }),
		"shared, no recipients":         submit(func(m *Submit) { m.Recipients, m.Shared, m.SharedType = Recipients{}, []byte("x"), 7 }),
		"shared and one for each":       submit(func(m *Submit) { m.Shared, m.SharedType = []byte("x"), 7 }),
		"shared and one for some":       submit(func(m *Submit) { m.Recipients, m.Shared, m.SharedType = both, []byte("x"), 7 }),
		"ciphertexts for some":          submit(func(m *Submit) { m.Recipients = both }),
		"no ciphertext at all":          submit(func(m *Submit) { m.Recipients = all }),
		"shared without type":           submit(func(m *Submit) { m.Recipients, m.Shared = all, []byte("x") }),
		"shared type without shared":    submit(func(m *Submit) { m.SharedType = 7 }),
		"result, nil ID":                &Result{Code: TooOld},
		"result, no code":               &Result{ID: id(1)},
		"result, code of a gap":         &Result{ID: id(1), Code: Trimmed},
		"result, code of an error":      &Result{ID: id(1), Code: Replaced},
		"result, code 11":               &Result{ID: id(1), Code: 11},
		"accepted, no epoch":            &Result{ID: id(1), Code: Accepted, Sequence: 1},
		"accepted, no sequence":         &Result{ID: id(1), Code: Accepted, Epoch: 1},
		"accepted, sequence 2^53":       &Result{ID: id(1), Code: Accepted, Epoch: 1, Sequence: 1 << 53},
		"accepted with retry":           &Result{ID: id(1), Code: Accepted, Epoch: 1, Sequence: 1, RetryAfter: 1},
		"accepted with devices":         &Result{ID: id(1), Code: Accepted, Epoch: 1, Sequence: 1, Missing: all},
		"mismatch without devices":      &Result{ID: id(1), Code: DeviceMismatch},
		"mismatch with ciphertext":      &Result{ID: id(1), Code: DeviceMismatch, Extra: each},
		"missing, extra with one":       &Result{ID: id(1), Code: DeviceMismatch, Missing: each, Extra: each},
		"extra, stale with one":         &Result{ID: id(1), Code: DeviceMismatch, Extra: each, Stale: each},
		"mismatch with a position":      &Result{ID: id(1), Code: DeviceMismatch, Extra: all, Epoch: 1, Sequence: 1},
		"quota without retry":           &Result{ID: id(1), Code: Quota},
		"quota with stale":              &Result{ID: id(1), Code: Quota, RetryAfter: 1, Stale: all},
		"clock bound 2^53":              &Result{ID: id(1), Code: ClockBound, MaxStamp: 1 << 53},
		"too old with stamp":            &Result{ID: id(1), Code: TooOld, MaxStamp: 1},
		"deliver, nil user":             deliver(func(m *Deliver) { m.Header.Sender.User = [16]byte{} }),
		"deliver, no type":              deliver(func(m *Deliver) { m.Type = 0 }),
		"deliver, no ciphertext":        deliver(func(m *Deliver) { m.Ciphertext = nil }),
		"deliver, no mailbox epoch":     deliver(func(m *Deliver) { m.Untrusted.MailboxEpoch = 0 }),
		"deliver, no position":          deliver(func(m *Deliver) { m.Untrusted.Position = 0 }),
		"deliver, position 2^53":        deliver(func(m *Deliver) { m.Untrusted.Position = 1 << 53 }),
		"deliver, no epoch":             deliver(func(m *Deliver) { m.Untrusted.Epoch = 0 }),
		"deliver, no sequence":          deliver(func(m *Deliver) { m.Untrusted.Sequence = 0 }),
		"deliver, sequence 2^53":        deliver(func(m *Deliver) { m.Untrusted.Sequence = 1 << 53 }),
		"deliver, time 2^53":            deliver(func(m *Deliver) { m.Untrusted.Time = 1 << 53 }),
		"deliver, ephemeral, sequenced": deliver(func(m *Deliver) { m.Header, m.Ephemeral = ephemeral, true }),
		"deliver, ephemeral, stamped":   deliver(func(m *Deliver) { m.Untrusted, m.Ephemeral = Untrusted{}, true }),
		"ack, no epoch":                 &Ack{0, 1},
		"ack, no position":              &Ack{1, 0},
		"ack, position 2^53":            &Ack{1, 1 << 53},
		"fetch after, no epoch":         &Fetch{0, 1},
		"fetch after 2^53":              &Fetch{1, 1 << 53},
		"gap, no epoch":                 &Gap{0, 1, 1, Trimmed},
		"gap from 0":                    &Gap{1, 0, 1, Trimmed},
		"gap backwards":                 &Gap{1, 2, 1, Trimmed},
		"gap to 2^53":                   &Gap{1, 2, 1 << 53, Trimmed},
		"gap, no reason":                &Gap{1, 2, 3, 0},
		"gap, code of a result":         &Gap{1, 2, 3, Accepted},
		"error, no code":                &Error{},
		"error, code of a result":       &Error{Code: Accepted},
		"error, refused with retry":     &Error{Code: Refused, RetryAfter: 1},
		"error, drain without retry":    &Error{Code: Quota},
	} {
		_, err := m.AppendBinary(nil)
		require.ErrorIs(t, err, ErrInvalid, name)
		_, err = new(Frame).Parse(unchecked(m))
		require.ErrorIs(t, err, ErrMalformed, name)
	}
}

// unchecked writes m in the canonical encoding whatever its values are, and by
// code of its own.
func unchecked(m Message) []byte {
	head := func(h *Header) (b []byte) {
		b = wire.AppendBytes(b, 1, h.Conversation[:])
		b = wire.AppendBytes(b, 2, h.ID[:])
		b = wire.AppendBytes(b, 3, h.Sender.User[:])
		b = wire.AppendUintNonZero(b, 4, uint64(h.Sender.ID))
		return wire.AppendUintNonZero(b, 5, h.Stamp)
	}
	list := func(b []byte, num int, r Recipients) []byte {
		for _, v := range lines(r) {
			e := wire.AppendBytes(nil, 1, v.Device.User[:])
			e = wire.AppendUintNonZero(e, 2, uint64(v.Device.ID))
			e = wire.AppendUintNonZero(e, 3, uint64(v.RegistrationID))
			e = wire.AppendUintNonZero(e, 4, uint64(v.Type))
			b = wire.AppendBytes(b, num, appendBytesNonEmpty(e, 5, v.Ciphertext))
		}
		return b
	}
	n := wire.AppendUintNonZero
	bit := map[bool]uint64{true: 1}
	var b []byte
	var kind int
	switch m := m.(type) {
	case *Submit:
		kind = 1
		b = wire.AppendBytes(b, 1, head(&m.Header))
		b = n(n(n(n(b, 2, m.Counter), 3, bit[m.Ephemeral]), 4, bit[m.Urgent]), 5, uint64(m.SharedType))
		b = list(appendBytesNonEmpty(b, 6, m.Shared), 7, m.Recipients)
	case *Result:
		kind = 2
		b = wire.AppendBytes(b, 2, m.ID[:])
		b = n(n(n(b, 3, uint64(m.Code)), 4, uint64(m.Epoch)), 5, m.Sequence)
		b = list(list(list(b, 6, m.Missing), 7, m.Extra), 8, m.Stale)
		b = n(n(b, 9, uint64(m.RetryAfter)), 10, m.MaxStamp)
	case *Deliver:
		kind = 3
		u := m.Untrusted
		b = wire.AppendBytes(b, 1, head(&m.Header))
		b = appendBytesNonEmpty(n(n(b, 3, bit[m.Ephemeral]), 5, uint64(m.Type)), 6, m.Ciphertext)
		b = n(n(n(n(n(b, 8, uint64(u.MailboxEpoch)), 9, u.Position), 10, uint64(u.Epoch)), 11, u.Sequence), 12, u.Time)
	case *Ack:
		kind, b = 4, n(n(b, 1, uint64(m.MailboxEpoch)), 2, m.Position)
	case *Fetch:
		kind, b = 5, n(n(b, 3, uint64(m.MailboxEpoch)), 4, m.After)
	case *Gap:
		kind, b = 6, n(n(n(n(b, 1, uint64(m.MailboxEpoch)), 5, m.From), 6, m.To), 7, uint64(m.Reason))
	case *Error:
		kind, b = 7, n(n(b, 8, uint64(m.Code)), 9, uint64(m.RetryAfter))
	}
	return wire.AppendBytes([]byte{1}, kind, b)
}

// The writer of TestInvalidValues writes what AppendBinary writes.
func TestUncheckedWriter(t *testing.T) {
	for name, m := range samples(t) {
		require.Equal(t, frame(t, m), unchecked(m), name)
	}
}

// R-8.3-1, R-8.3-3: the limits, on either side of each.
func TestFrameLimits(t *testing.T) {
	require.Equal(t, []int{1 << 20, 96 << 10, 5_000}, []int{MaxFrame, MaxCiphertext, MaxRecipients})
	big := make([]byte, MaxCiphertext)
	big[0] = 1
	over := make([]byte, MaxCiphertext+1)
	m := &Deliver{Header: header, Type: 2, Ciphertext: big, Untrusted: Untrusted{1, 1, 1, 1, 1}}
	_, err := new(Frame).Parse(frame(t, m))
	require.NoError(t, err)
	m.Ciphertext = over
	_, err = m.AppendBinary(nil)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = new(Frame).Parse(unchecked(m))
	require.ErrorIs(t, err, ErrTooLarge)

	list := make([]Recipient, MaxRecipients)
	for i := range list {
		list[i] = Recipient{Device: Device{bob.User, uint32(i + 1)}}
	}
	s := &Submit{Header: header, Counter: 1, SharedType: 7, Shared: big, Recipients: table(t, list...)}
	b := frame(t, s)
	got, err := new(Frame).Parse(b)
	require.NoError(t, err)
	require.Equal(t, MaxRecipients, got.(*Submit).Recipients.Len())
	_, err = NewRecipients(append(list, Recipient{Device: carol})...)
	require.ErrorIs(t, err, ErrTooLarge)
	body := append(bytes.Clone(b[1+1+3:]), (&Recipient{Device: carol}).append(nil)...) // version, tag, length
	_, err = new(Frame).Parse(wire.AppendBytes([]byte{1}, kindSubmit, body))
	require.ErrorIs(t, err, ErrTooLarge)
	s.Shared = over
	_, err = s.AppendBinary(nil)
	require.ErrorIs(t, err, ErrTooLarge)

	// Every part within its limit and the frame over it.
	list = list[:11]
	for i := range list {
		list[i].Type, list[i].Ciphertext = 2, big
	}
	_, err = NewRecipients(list...)
	require.ErrorIs(t, err, ErrTooLarge)
	r := table(t, list[:10]...)
	b = frame(t, &Submit{Header: header, Counter: 1, Recipients: r}) // 10 full ciphertexts fit, and part of one
	list[10].Ciphertext = make([]byte, MaxFrame-len(b)-30)
	b = frame(t, &Submit{Header: header, Counter: 1, Recipients: table(t, list...)})
	require.Len(t, b, MaxFrame)
	_, err = new(Frame).Parse(b)
	require.NoError(t, err)
	list[10].Ciphertext = make([]byte, MaxFrame-len(r.enc)-30)
	r = table(t, list...)
	require.Len(t, r.enc, MaxFrame)
	_, err = (&Submit{Header: header, Counter: 1, Recipients: r}).AppendBinary(nil)
	require.ErrorIs(t, err, ErrTooLarge)

	_, err = new(Frame).Parse(make([]byte, MaxFrame+1))
	require.ErrorIs(t, err, ErrTooLarge)
	list[0].Ciphertext = over
	_, err = NewRecipients(list...)
	require.ErrorIs(t, err, ErrTooLarge)
}

// Zero values: the room is ready, the messages are refused, the table is empty.
func TestZeroValues(t *testing.T) {
	for _, m := range []Message{&Submit{}, &Result{}, &Deliver{}, &Ack{}, &Gap{}, &Error{}} {
		_, err := m.AppendBinary(nil)
		require.ErrorIs(t, err, ErrInvalid)
	}
	_, err := (&Fetch{}).AppendBinary(nil)
	require.NoError(t, err, "a new device fetches from the beginning")
	var r Recipients
	require.Zero(t, r.Len())
	require.Empty(t, lines(r))
	_, err = Pack(nil, &Header{}, nil)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = new(Frame).Parse(nil)
	require.ErrorIs(t, err, ErrMalformed)
}

func TestParseAllocatesNothing(t *testing.T) {
	var f Frame
	buf := make([]byte, 0, 4096)
	for name, m := range samples(t) {
		b := frame(t, m)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			got, err := f.Parse(b)
			if err != nil {
				t.Error(err)
			}
			if s, ok := got.(*Submit); ok {
				for v := range s.Recipients.All() {
					if v.Device.ID == 0 {
						t.Error("no device")
					}
				}
			}
			if _, err := m.AppendBinary(buf[:0]); err != nil {
				t.Error(err)
			}
		}), name)
	}
}
