package lamport

import (
	"bytes"
	"encoding"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
)

type machine interface {
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// machines has an empty value of each type with a record, and values with state.
func machines(t testing.TB) map[string]struct {
	empty  func() machine
	values []machine
} {
	c1, c2 := conversation(t), conversation(t)
	w1, w2, w3 := window(t, alice), window(t, alice), window(t, bob)
	receipt, err := c2.Submit(w2, Submission{id(1), num(1), alice, 3, 7}, nil)
	require.NoError(t, err)
	for n := uint64(1); n < 10; n++ {
		require.NoError(t, w3.Mark(n))
	}
	require.NoError(t, w3.Mark(9000))
	require.NoError(t, w3.Mark(8000))
	r1, r2, r3, r4 := register(t), register(t), register(t), register(t)
	apply(t, r2, Write{alice, 5, false, []byte("like")})
	apply(t, r3, Write{alice, 5, true, nil})
	apply(t, r4, Write{alice, 5, false, nil})
	clock, err := NewClock(300)
	require.NoError(t, err)
	observed := clock
	require.NoError(t, observed.Observe(5))
	last := Position{1<<32 - 1, Max}
	type entry = struct {
		empty  func() machine
		values []machine
	}
	return map[string]entry{
		"clock":        {func() machine { return new(Clock) }, []machine{new(Clock), &clock, &observed, &Clock{Max, Max}}},
		"window":       {func() machine { return new(Window) }, []machine{w1, w2, w3}},
		"conversation": {func() machine { return new(Conversation) }, []machine{c1, c2, &Conversation{id(1), last, Max}}},
		"receipt":      {func() machine { return new(Receipt) }, []machine{&receipt, &Receipt{id(1), num(1), alice, last}}},
		"register":     {func() machine { return new(Register) }, []machine{r1, r2, r3, r4}},
		"inbox":        {func() machine { return new(Inbox) }, []machine{new(Inbox), at(t, 3, 0), at(t, 3, 300), at(t, 1<<32-1, Max)}},
	}
}

// R-9.9-1: the bytes of the records.
func TestRecordBytes(t *testing.T) {
	m := machines(t)
	const max, most = "ffffffffffffff0f", "ffffffff0f" // 2⁵³−1, 2³²−1
	ones, as := strings.Repeat("01", 16), strings.Repeat("a1", 16)
	for want, v := range map[string]machine{
		"11":                        m["clock"].values[0],
		"11" + "08ac02":             m["clock"].values[1],
		"11" + "08ac02" + "1005":    m["clock"].values[2],
		"21" + "0a10" + as + "1001": m["window"].values[0],
		"21" + "0a10" + as + "1001" + "2201" + "04":                  m["window"].values[1], // 3 of 1 to 3
		"31" + "0a10" + ones + "1001":                                m["conversation"].values[0],
		"31" + "0a10" + ones + "1001" + "1801" + "2007":              m["conversation"].values[1],
		"11" + "08" + max + "10" + max:                               m["clock"].values[3],
		"31" + "0a10" + ones + "10" + most + "18" + max + "20" + max: m["conversation"].values[2],
		"61" + "08" + most + "10" + max:                              m["inbox"].values[3],
		"41" + "0a10" + ones + "1210" + as + "1801" + "2210" + "aa" + strings.Repeat("00", 14) + "01" + "28" + most + "30" + max: m["receipt"].values[1],
		"51" + "0a10" + as: m["register"].values[0],
		"51" + "0a10" + as + "1001" + "1805" + "2a04" + hex.EncodeToString([]byte("like")): m["register"].values[1],
		"51" + "0a10" + as + "1001" + "1805" + "2001":                                      m["register"].values[2],
		"51" + "0a10" + as + "1001" + "1805":                                               m["register"].values[3],
		"61" + "0803":                                                                      m["inbox"].values[1],
		"61" + "0803" + "10ac02":                                                           m["inbox"].values[2],
		"41" + "0a10" + ones + "1210" + as + "1801" + "2210" + "aa" + strings.Repeat("00", 14) + "01" + "2801" + "3001": m["receipt"].values[0],
	} {
		require.Equal(t, want, hex.EncodeToString(record0(t, v)))
	}
	w := new(Window)
	require.NoError(t, w.UnmarshalBinary(record0(t, m["window"].values[2])))
	for n, want := range map[uint64]error{9000: ErrTooOld, 8000: ErrTooOld, 8001: nil, 4905: nil, 4904: ErrTooOld, 9001: nil} {
		require.ErrorIs(t, w.Check(n), want, n)
	}
}

// A clock that has observed more than it shows.
func TestClockRecordInconsistent(t *testing.T) {
	c := Clock{now: 3}
	require.ErrorIs(t, c.UnmarshalBinary([]byte{0x11, 0x08, 1, 0x10, 2}), ErrMalformed)
	require.Equal(t, Clock{now: 3}, c)
}

// R-9.9-3: records of values that no method makes.
func TestRecordsOutOfRange(t *testing.T) {
	as := append([]byte{0x0a, 16}, alice.User[:]...)
	bytesOf := func(kind byte, rest ...byte) []byte { return append(append([]byte{kind}, as...), rest...) }
	w, r := window(t, bob), register(t)
	apply(t, r, Write{alice, 5, false, []byte("like")})
	window, reg := record0(t, w), record0(t, r)
	most := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f} // Max
	require.NoError(t, w.UnmarshalBinary(bytesOf(recordWindow, append([]byte{0x10, 1, 0x18}, most...)...)))
	require.NoError(t, w.UnmarshalBinary(window))
	over := []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10}
	require.ErrorIs(t, w.UnmarshalBinary(bytesOf(recordWindow, append([]byte{0x10, 1, 0x18}, over...)...)), ErrMalformed)
	require.Equal(t, window, record0(t, w))
	for _, bad := range [][]byte{{0x20, 1}, {0x10, 1}, {0x10, 1, 0x20, 1}, {0x18, 5}, {0x18, 5, 0x20, 1}, {0x2a, 1, 'x'}, {0x10, 1, 0x2a, 1, 'x'}} {
		require.ErrorIs(t, r.UnmarshalBinary(bytesOf(recordRegister, bad...)), ErrMalformed, "% x", bad) // half a write
		require.Equal(t, reg, record0(t, r))
	}
}

// R-9.9-3: a receipt that Submit does not return is neither written nor read.
func TestReceiptOutOfRange(t *testing.T) {
	good := Receipt{id(1), num(1), alice, Position{1, 1}}
	for name, change := range map[string]func(*Receipt){
		"conversation": func(r *Receipt) { r.Conversation = id(0xff) },
		"message ID":   func(r *Receipt) { r.ID = id(0xff) },
		"user":         func(r *Receipt) { r.Sender.User = id(0xff) },
		"device":       func(r *Receipt) { r.Sender.ID = 1 << 31 },
		"epoch":        func(r *Receipt) { r.Position.Epoch = 0 },
		"number":       func(r *Receipt) { r.Position.Number = Max + 1 },
	} {
		r := good
		change(&r)
		_, err := r.AppendBinary(nil)
		require.ErrorIs(t, err, ErrInvalid, name)
		b := wire.AppendBytes([]byte{recordReceipt}, 1, r.Conversation[:])
		b = wire.AppendUint(wire.AppendBytes(b, 2, r.Sender.User[:]), 3, uint64(r.Sender.ID))
		b = wire.AppendUintNonZero(wire.AppendBytes(b, 4, r.ID[:]), 5, uint64(r.Position.Epoch))
		b = wire.AppendUint(b, 6, r.Position.Number)
		got := good
		require.ErrorIs(t, got.UnmarshalBinary(b), ErrMalformed, name)
		require.Equal(t, good, got, name)
	}
}

// R-9.9-2, R-9.9-3: a record is read back, has one form, and is refused when it
// is damaged or another type's; the receiver is then as it was.
func TestRecords(t *testing.T) {
	all := machines(t)
	for name, m := range all {
		for i, v := range m.values {
			b := record0(t, v)
			dirty := m.values[len(m.values)-1]
			fresh := m.empty()
			require.NoError(t, fresh.UnmarshalBinary(b), "%s %d", name, i)
			require.Equal(t, b, record0(t, fresh))
			got, err := fresh.AppendBinary([]byte("dst"))
			require.NoError(t, err)
			require.Equal(t, "dst"+string(b), string(got))

			before := record0(t, dirty)
			for _, bad := range [][]byte{nil, {0}, {b[0] + 1}, append([]byte{b[0] + 1}, b[1:]...), append([]byte{b[0] + 0x10}, b[1:]...), append(bytes.Clone(b), 0), append(bytes.Clone(b), 0x78, 1),
				append(bytes.Clone(b), 0x7a, 1, 0), append(bytes.Clone(b), 0x33, 0x34)} {
				require.ErrorIs(t, dirty.UnmarshalBinary(bad), ErrMalformed, "%s % x", name, bad)
				require.Equal(t, before, record0(t, dirty))
			}
			for cut := range b {
				u := m.empty()
				if u.UnmarshalBinary(b[:cut]) == nil { // a shorter record, then
					require.Equal(t, b[:cut], record0(t, u), "%s %d cut to %d", name, i, cut)
				}
			}
		}
	}
	// A conversation's record is read by no other type, and so on.
	for from, m := range all {
		b := record0(t, m.values[len(m.values)-1])
		for to, n := range all {
			if from == to {
				continue
			}
			require.ErrorIs(t, n.empty().UnmarshalBinary(b), ErrMalformed, "%s as %s", from, to)
		}
	}
}

func fuzzRecord(f *testing.F, name string) {
	m := machines(f)[name]
	if len(m.values) == 0 {
		f.Fatal("no seeds")
	}
	for _, v := range m.values {
		f.Add(record0(f, v))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.Clone(b)
		v := m.empty()
		err := v.UnmarshalBinary(b)
		if !bytes.Equal(in, b) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			clean, cerr := m.empty().AppendBinary(nil)
			got, gerr := v.AppendBinary(nil)
			if !bytes.Equal(clean, got) || !errors.Is(gerr, cerr) {
				t.Fatal("something was changed")
			}
			return
		}
		out, err := v.AppendBinary(nil)
		if err != nil || !bytes.Equal(out, b) {
			t.Fatalf("% x, %v", out, err)
		}
	})
}

func FuzzClock(f *testing.F)        { fuzzRecord(f, "clock") }
func FuzzWindow(f *testing.F)       { fuzzRecord(f, "window") }
func FuzzConversation(f *testing.F) { fuzzRecord(f, "conversation") }
func FuzzReceipt(f *testing.F)      { fuzzRecord(f, "receipt") }
func FuzzRegister(f *testing.F)     { fuzzRecord(f, "register") }
func FuzzInbox(f *testing.F)        { fuzzRecord(f, "inbox") }

// R-9.1-3: zero values are ready where documented, and otherwise refused by
// every method.
func TestZeroValues(t *testing.T) {
	var w Window
	require.ErrorIs(t, w.Check(1), ErrInvalid)
	require.ErrorIs(t, w.Mark(1), ErrInvalid)
	var c Conversation
	require.ErrorIs(t, c.Restart(1), ErrInvalid)
	_, err := c.Submit(window(t, alice), Submission{id(1), num(1), alice, 1, 1}, nil)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = c.Submit(window(t, alice), Submission{}, nil)
	require.ErrorIs(t, err, ErrInvalid)
	var r Register
	_, err = r.Apply(Write{alice, 1, false, nil})
	require.ErrorIs(t, err, ErrInvalid)
	_, err = r.Merge(register(t))
	require.ErrorIs(t, err, ErrInvalid)
	_, err = register(t).Merge(&r)
	require.ErrorIs(t, err, ErrInvalid)
	_, ok := r.Value()
	require.False(t, ok)
	for _, m := range []encoding.BinaryAppender{&w, &c, &r, &Receipt{}} {
		b, err := m.AppendBinary([]byte("dst"))
		require.ErrorIs(t, err, ErrInvalid)
		require.Equal(t, "dst", string(b))
	}
	for _, d := range []Device{{}, {alice.User, 0}, {[16]byte{}, 1}, {alice.User, 1 << 31}, {id(0xff), 1}} {
		_, err := NewWindow(d)
		require.ErrorIs(t, err, ErrInvalid)
	}
	_, err = NewConversation([16]byte{}, 1)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = NewConversation(id(1), 0)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = NewRegister([16]byte{})
	require.ErrorIs(t, err, ErrInvalid)
}

// L07: IDs are 16 bytes, and the reserved two are none, in every place.
func TestUUIDStrict16Bytes(t *testing.T) {
	for _, bad := range [][16]byte{{}, id(0xff)} {
		require.False(t, validID(bad))
		_, err := NewConversation(bad, 1)
		require.ErrorIs(t, err, ErrInvalid)
		_, err = NewWindow(Device{bad, 1})
		require.ErrorIs(t, err, ErrInvalid)
		_, err = NewRegister(bad)
		require.ErrorIs(t, err, ErrInvalid)
		for _, s := range []Submission{{bad, num(1), alice, 1, 1}, {id(1), bad, alice, 1, 1}, {id(1), num(1), Device{bad, 1}, 1, 1}} {
			// Rows that have the same name, so that the name is all that is wrong.
			c, w := &Conversation{id: s.Conversation, last: Position{1, 0}}, &Window{device: s.Sender}
			_, err := c.Submit(w, s, nil)
			require.ErrorIs(t, err, ErrInvalid)
		}
	}
	require.True(t, validID(num(1)))
	for n := range 40 { // of a record
		b := append([]byte{recordRegister, 0x0a, byte(n)}, bytes.Repeat([]byte{7}, n)...)
		require.Equal(t, n == 16, new(Register).UnmarshalBinary(b) == nil)
	}
}

func TestErrorsHoldNoData(t *testing.T) {
	for _, err := range []error{ErrInvalid, ErrMalformed, ErrDuplicate, ErrTooOld, ErrConflict, ErrClockBound, ErrExhausted, ErrAuthor, ErrOrder} {
		require.Regexp(t, `^lamport: [a-z ,]+$`, err.Error())
	}
}
