package envelope

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// R-8.10-1: the bytes of a packed plaintext.
func TestPackBytes(t *testing.T) {
	dst := bytes.Repeat([]byte("dst"), 30) // more than a bucket
	b, err := Pack(dst, &header, []byte("hello"))
	require.NoError(t, err)
	require.Equal(t, hex.EncodeToString(dst)+
		"01"+strings.Repeat("11", 16)+strings.Repeat("22", 16)+strings.Repeat("33", 16)+"00000001"+"0000000000000007"+
		hex.EncodeToString([]byte("hello"))+"80"+strings.Repeat("00", 80-61-5-1), hex.EncodeToString(b))
}

// R-8.10-2: bodies of every kind come back, those that look like padding too.
func TestPackRoundTrip(t *testing.T) {
	for _, body := range [][]byte{nil, {0}, {0x80}, {0x80, 0}, {0, 0, 0}, []byte("hello"), make([]byte, 80-packedHeader-1), make([]byte, 80-packedHeader),
		bytes.Repeat([]byte{0}, 1000), bytes.Repeat([]byte{0x80}, 2000), make([]byte, MaxBody)} {
		for _, h := range []Header{header, ephemeral} {
			b, err := Pack(nil, &h, body)
			require.NoError(t, err)
			before := bytes.Clone(b)
			got, err := Unpack(&h, Sender(alice), b)
			require.NoError(t, err)
			require.True(t, bytes.Equal(body, got))
			require.Equal(t, len(got), cap(got))
			require.Equal(t, before, b)
		}
	}
	_, err := Pack(nil, &header, make([]byte, MaxBody+1))
	require.ErrorIs(t, err, ErrTooLarge)
}

// E19, R-8.10-3: every field of the header, and the authenticated sender, is
// compared. This is what catches a server that moves a ciphertext.
func TestUnpackRefusesAnotherHeader(t *testing.T) {
	b, err := Pack(nil, &header, []byte("hello"))
	require.NoError(t, err)
	for name, change := range map[string]func(*Header){
		"conversation": func(h *Header) { h.Conversation[15]++ },
		"message ID":   func(h *Header) { h.ID[0]++ },
		"user":         func(h *Header) { h.Sender.User[7]++ },
		"device":       func(h *Header) { h.Sender.ID++ },
		"stamp":        func(h *Header) { h.Stamp++ },
		"ephemeral":    func(h *Header) { h.Stamp = 0 },
	} {
		h := header
		change(&h)
		body, err := Unpack(&h, Sender(alice), b)
		require.ErrorIs(t, err, ErrMismatch, name)
		require.Nil(t, body)
		body, err = Unpack(&h, Sender(h.Sender), b)
		require.ErrorIs(t, err, ErrMismatch, name)
		require.Nil(t, body)
	}
	// The frame and the packed bytes agree on alice; the session is bob's.
	for _, from := range []Sender{Sender(bob), {alice.User, 2}, {bob.User, alice.ID}, {}} {
		body, err := Unpack(&header, from, b)
		require.ErrorIs(t, err, ErrMismatch)
		require.Nil(t, body)
	}
}

// R-8.10-4: one packed form of each body.
func TestUnpackIsStrict(t *testing.T) {
	good, err := Pack(nil, &header, []byte("hello"))
	require.NoError(t, err)
	refuse := func(want error, b []byte, name string) {
		body, err := Unpack(&header, Sender(alice), b)
		require.ErrorIs(t, err, want, name)
		require.Nil(t, body, name)
	}
	refuse(ErrMalformed, nil, "empty")
	refuse(ErrVersion, append([]byte{0}, good[1:]...), "version 0")
	refuse(ErrVersion, append([]byte{2}, good[1:]...), "version 2")
	for cut := 1; cut < len(good); cut++ {
		refuse(ErrMalformed, good[:cut], "cut")
	}
	refuse(ErrMalformed, append(bytes.Clone(good), 0), "one byte of padding more")
	refuse(ErrMalformed, append(bytes.Clone(good), make([]byte, 80)...), "the next bucket")
	b := bytes.Clone(good)
	b[66] = 0x81
	refuse(ErrMalformed, b, "another mark")
	b[66] = 0
	refuse(ErrMalformed, b, "no mark")
	b = bytes.Clone(good)
	b[79] = 1
	refuse(ErrMalformed, b, "a byte in the padding")
	b = append(make([]byte, 0, 80), good[:packedHeader]...)
	refuse(ErrMalformed, append(b, make([]byte, 19)...), "no mark, and no body")
	b[60] = 0x80 // a mark inside the header
	refuse(ErrMalformed, append(b, make([]byte, 19)...), "the mark in the header")
	b = bytes.Clone(good)
	copy(b[53:61], []byte{0, 0x20, 0, 0, 0, 0, 0, 0}) // 2^53
	refuse(ErrMalformed, b, "stamp over the limit")
	b = bytes.Clone(good)
	copy(b[49:53], []byte{0x80, 0, 0, 0})
	refuse(ErrMalformed, b, "device over the limit")
}

// Pack writes nothing beyond its result and leaves the body alone.
func TestPackAliasing(t *testing.T) {
	dst := bytes.Repeat([]byte{0xee}, 200)
	body := append(make([]byte, 0, 64), "hello"...)
	got, err := Pack(dst[:3:200], &header, body)
	require.NoError(t, err)
	require.Len(t, got, 83)
	require.Equal(t, bytes.Repeat([]byte{0xee}, 117), dst[83:])
	require.Equal(t, "hello\x00\x00", string(body[:7]))
}

// R-8.11-1, R-8.11-2: the table of buckets, every size of a body.
func TestBuckets(t *testing.T) {
	var table []int
	for n := 1; n <= maxPacked; n++ {
		b := bucket(n)
		require.GreaterOrEqual(t, b, n)
		if len(table) == 0 || table[len(table)-1] != b {
			table = append(table, b)
		}
	}
	require.Equal(t, -1, bucket(maxPacked+1))
	require.Len(t, table, 103)
	require.Equal(t, []int{80, 160, 240}, table[:3])
	require.Equal(t, []int{1520, 1600, 1680, 1776, 1872, 1968, 2080}, table[18:25])
	require.Equal(t, 97_280, table[len(table)-1])
	for i, b := range table {
		require.Zero(t, b%16)
		if i > 0 && b < maxPacked {
			step := b - table[i-1]
			require.GreaterOrEqual(t, step, 80)
			require.LessOrEqual(t, step, max(80, table[i-1]/20+16))
		}
	}
}
