package wire

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// fields reads a message with a singular uint32 (1), bytes (2), int32 (3),
// fixed64 (4) and repeated bytes (5), and skips everything else.
type fields struct {
	u        uint32
	b        []byte
	i        int32
	f        uint64
	repeated [][]byte
}

func read(b []byte, required ...int) (f fields, err error) {
	d := Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			f.u = d.Uint32()
		case 2:
			f.b = d.Bytes()
		case 3:
			f.i = d.Int32()
		case 4:
			f.f = d.Fixed64()
		case 5:
			f.repeated = append(f.repeated, d.Repeated())
		default:
			d.Skip()
		}
	}
	return f, d.Close(required...)
}

func TestAcceptsEachFieldInAnyOrder(t *testing.T) {
	f, err := read([]byte{
		0x2a, 1, 'x', // 5
		0x21, 1, 2, 3, 4, 5, 6, 7, 8, // 4
		0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, // 3 = -1
		0x12, 2, 'h', 'i',
		0x2a, 0,
		0x08, 0xff, 0xff, 0xff, 0xff, 0x0f,
		0xf8, 0xff, 0xff, 0xff, 0x0f, 1, // unknown 2^29-1
		0x30, 7, 0x3a, 1, 0, 0x45, 1, 2, 3, 4, 0x49, 1, 2, 3, 4, 5, 6, 7, 8, // unknown 6, 7, 8, 9
	}, 1, 2, 3, 4)
	require.NoError(t, err)
	require.Equal(t, fields{u: 1<<32 - 1, b: []byte("hi"), i: -1, f: 0x0807060504030201,
		repeated: [][]byte{[]byte("x"), {}}}, f)

	for _, i := range []int32{math.MinInt32, math.MaxInt32} {
		f, err := read(AppendUint(nil, 3, uint64(int64(i))))
		require.NoError(t, err)
		require.Equal(t, i, f.i)
	}
}

// A known field has a number up to 63.
func TestHighestNumber(t *testing.T) {
	for _, num := range []int{63, 64} {
		d := Decode(AppendUint(nil, num, 5))
		require.True(t, d.Next())
		v := d.Uint32()
		require.Equal(t, num == 63, v == 5)
		require.Equal(t, num == 63, d.Close() == nil)
	}
}

// R-2.3-1, R-1-2
func TestRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"overlong tag":              {0x88, 0x00, 1},
		"overlong value":            {0x08, 0x81, 0x00},
		"overlong length":           {0x12, 0x80, 0x00},
		"overlong value, skipped":   {0x30, 0x81, 0x00},
		"overlong length, skipped":  {0x3a, 0x80, 0x00},
		"value over uint32":         {0x08, 0x85, 0x80, 0x80, 0x80, 0x10}, // 2^32 + 5
		"value over int32":          {0x18, 0x80, 0x80, 0x80, 0x80, 0x08}, // 2^31
		"value under int32":         {0x18, 0xff, 0xff, 0xff, 0xff, 0xf7, 0xff, 0xff, 0xff, 0xff, 0x01},
		"varint of eleven bytes":    {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"duplicate varint":          {0x08, 1, 0x08, 1},
		"duplicate bytes":           {0x12, 0, 0x12, 0},
		"duplicate fixed64":         {0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x21, 1, 2, 3, 4, 5, 6, 7, 8},
		"wrong type, varint":        {0x0a, 0},
		"wrong type, bytes":         {0x10, 0},
		"wrong type, repeated":      {0x28, 0},
		"wrong type, fixed64":       {0x20, 0},
		"start group":               {0x33, 0x34},
		"end group":                 {0x34},
		"wire type 6":               {0x36},
		"wire type 7":               {0x37},
		"field 0":                   {0x00, 0},
		"field number over 2^29":    {0x80, 0x80, 0x80, 0x80, 0x10, 0},
		"truncated tag":             {0x88},
		"no value":                  {0x08},
		"truncated varint":          {0x08, 0x80},
		"truncated bytes":           {0x12, 2, 'h'},
		"length over the input":     {0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"truncated fixed64":         {0x21, 1, 2, 3, 4, 5, 6, 7},
		"truncated fixed32, skip":   {0x45, 1, 2, 3},
		"sound field, then garbage": {0x08, 1, 0xff},
	} {
		_, err := read(b)
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	_, err := read([]byte{0x08, 1}, 1, 2)
	require.ErrorIs(t, err, ErrMalformed, "missing required field")
	_, err = read(nil)
	require.NoError(t, err, "the empty message is a message")
}

func TestFixedLength(t *testing.T) {
	for n := range 5 {
		b := AppendBytes(nil, 2, make([]byte, n))
		dst := [3]byte{9, 9, 9}
		d := Decode(b)
		require.True(t, d.Next())
		d.Fixed(dst[:])
		if n == 3 {
			require.NoError(t, d.Close(2))
			require.Equal(t, [3]byte{}, dst)
			continue
		}
		require.ErrorIs(t, d.Close(2), ErrMalformed)
		require.Equal(t, [3]byte{9, 9, 9}, dst, "length %d", n)
	}
}

// A field whose bytes had spare capacity would let an append of the caller
// write into the next field.
func TestBytesHaveNoSpareCapacity(t *testing.T) {
	f, err := read([]byte{0x12, 1, 'a', 0x2a, 1, 'b'})
	require.NoError(t, err)
	require.Equal(t, 1, cap(f.b))
	require.Equal(t, 1, cap(f.repeated[0]))
}

func TestReadingAllocatesNothing(t *testing.T) {
	b := AppendBytes(AppendUint(nil, 1, 5), 2, make([]byte, 1000))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := read(b, 1, 2); err != nil {
			t.Error(err)
		}
	}))
}

// canonical reads a message with a uint64 (1), a bool (2), bytes (3), a fixed64
// (4), a sub-message (5) and repeated bytes (6).
func canonical(b []byte) error {
	d := DecodeCanonical(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			d.Uint64()
		case 2:
			d.Bool()
		case 3:
			d.Bytes()
		case 4:
			d.Fixed64()
		case 5:
			d.Message()
		case 6:
			d.Repeated()
		default:
			d.Skip()
		}
	}
	return d.Close()
}

func TestCanonical(t *testing.T) {
	for name, b := range map[string][]byte{
		"all":               {0x08, 5, 0x10, 1, 0x1a, 1, 'x', 0x21, 1, 0, 0, 0, 0, 0, 0, 0, 0x2a, 0, 0x32, 0, 0x32, 1, 'y'},
		"none":              {},
		"empty sub-message": {0x2a, 0},
		"empty repeated":    {0x32, 0, 0x32, 0},
	} {
		require.NoError(t, canonical(b), name)
	}
	for name, b := range map[string][]byte{
		"descending":           {0x10, 1, 0x08, 5},
		"repeated apart":       {0x32, 1, 'y', 0x08, 5, 0x32, 1, 'y'},
		"default uint":         {0x08, 0},
		"default bool":         {0x10, 0},
		"bool of two":          {0x10, 2},
		"empty bytes":          {0x1a, 0},
		"default fixed64":      {0x21, 0, 0, 0, 0, 0, 0, 0, 0},
		"unknown":              {0x38, 1},
		"unknown bytes":        {0x3a, 1, 'x'},
		"duplicate":            {0x08, 5, 0x08, 5},
		"duplicate message":    {0x2a, 0, 0x2a, 0},
		"overlong varint":      {0x08, 0x85, 0},
		"group":                {0x0b, 0x0c},
		"length over the rest": {0x1a, 2, 'x'},
	} {
		require.ErrorIs(t, canonical(b), ErrMalformed, name)
	}
}

func TestBool(t *testing.T) {
	for v, want := range map[byte]error{0: nil, 1: nil, 2: ErrMalformed} {
		d := Decode([]byte{0x10, v})
		require.True(t, d.Next())
		require.Equal(t, v == 1, d.Bool())
		require.ErrorIs(t, d.Close(), want)
	}
}

func TestSizes(t *testing.T) {
	for _, v := range []uint64{0, 1, 127, 128, 1<<32 - 1, 1<<64 - 1} {
		require.Len(t, AppendUint(nil, 17, v), SizeUint(17, v))
		want := AppendUint(nil, 17, v)
		if v == 0 {
			want = nil
		}
		require.Equal(t, want, AppendUintNonZero(nil, 17, v))
	}
	for _, n := range []int{0, 1, 127, 128, 70000} {
		b := AppendBytes(nil, 3, make([]byte, n))
		require.Len(t, b, SizeBytes(3, n))
		require.Equal(t, b, append(AppendBytesHeader(nil, 3, n), make([]byte, n)...))
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0x08, 1, 0x12, 2, 'h', 'i', 0x18, 1, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x2a, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := read(b, 1, 2, 3, 4)
		if err != nil {
			return
		}
		// What was read has one encoding in ascending order.
		c := AppendFixed64(AppendUint(AppendBytes(AppendUint(nil, 1, uint64(v.u)), 2, v.b), 3, uint64(int64(v.i))), 4, v.f)
		for _, r := range v.repeated {
			c = AppendBytes(c, 5, r)
		}
		w, err := read(c, 1, 2, 3, 4)
		require.NoError(t, err)
		require.Equal(t, v, w)
		require.LessOrEqual(t, len(c), len(b))
	})
}
