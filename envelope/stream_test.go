package envelope

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// R-8.9-1, R-8.9-2: every frame behind its length, read back from a reader that
// gives what it likes, and io.EOF at a boundary only.
func TestStream(t *testing.T) {
	var stream []byte
	var want [][]byte
	all := samples(t)
	all["longer than the first piece"] = &Deliver{Header: header, Type: 2, Ciphertext: make([]byte, 5000), Untrusted: Untrusted{1, 1, 1, 1, 1}}
	for _, m := range all {
		n := len(stream)
		var err error
		stream, err = AppendDelimited(stream, m)
		require.NoError(t, err)
		want = append(want, frame(t, m))
		require.Equal(t, binary.BigEndian.AppendUint32(nil, uint32(len(stream)-n-4)), stream[n:n+4])
	}
	for name, r := range map[string]io.Reader{
		"whole": bytes.NewReader(stream), "bytes": iotest.OneByteReader(bytes.NewReader(stream)),
		"halves": iotest.HalfReader(bytes.NewReader(stream)), "EOF with data": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		var buf []byte
		var f Frame
		var err error
		for i := range want {
			buf, err = ReadDelimited(r, buf)
			require.NoError(t, err, name)
			require.Equal(t, want[i], buf, name)
			_, err = f.Parse(buf)
			require.NoError(t, err)
		}
		buf, err = ReadDelimited(r, buf)
		require.ErrorIs(t, err, io.EOF, name)
		require.Empty(t, buf)
		require.NotZero(t, cap(buf), "the memory comes back")
	}
}

// R-8.9-3: truncation anywhere is told from the end; a frame has a length.
func TestStreamErrors(t *testing.T) {
	b, err := AppendDelimited(nil, samples(t)["submit"])
	require.NoError(t, err)
	for cut := 1; cut < len(b); cut++ {
		_, err := ReadDelimited(bytes.NewReader(b[:cut]), nil)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut to %d", cut)
	}
	_, err = ReadDelimited(bytes.NewReader(make([]byte, 8)), nil)
	require.ErrorIs(t, err, ErrMalformed)
	_, err = ReadDelimited(bytes.NewReader([]byte{0, 0x10, 0, 1, 1}), nil)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = ReadDelimited(bytes.NewReader([]byte{0xff, 0xff, 0xff, 0xff, 1}), nil)
	require.ErrorIs(t, err, ErrTooLarge)
	broken := errors.New("broken")
	_, err = ReadDelimited(io.MultiReader(bytes.NewReader(b[:9]), iotest.ErrReader(broken)), nil)
	require.ErrorIs(t, err, broken)
}

// R-8.9-4: memory follows the bytes that arrived and not the length claimed.
func TestStreamAllocatesWhatArrives(t *testing.T) {
	claim := binary.BigEndian.AppendUint32(nil, MaxFrame)
	for _, arrived := range []int{0, 100, 4096, 100_000} {
		in := append(bytes.Clone(claim), make([]byte, arrived)...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		buf, err := ReadDelimited(bytes.NewReader(in), nil)
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.LessOrEqual(t, cap(buf), 8192+4*arrived)
		require.LessOrEqual(t, after.TotalAlloc-before.TotalAlloc, uint64(16384+8*arrived))
	}
}

// counted counts what is read from it.
type counted struct {
	io.Reader
	n int
}

func (r *counted) Read(b []byte) (int, error) { r.n++; return r.Reader.Read(b) }

// R-8.9-4: a frame that arrives at once is read in few pieces, each twice the one
// before.
func TestStreamGrows(t *testing.T) {
	r := &counted{Reader: bytes.NewReader(append([]byte{0, 0x10, 0, 0}, make([]byte, MaxFrame)...))}
	buf, err := ReadDelimited(r, nil)
	require.NoError(t, err)
	require.Len(t, buf, MaxFrame)
	require.LessOrEqual(t, r.n, 12)
}

// A buffer that has grown is used again.
func TestStreamReusesMemory(t *testing.T) {
	b, err := AppendDelimited(nil, samples(t)["deliver"])
	require.NoError(t, err)
	r := bytes.NewReader(b)
	buf := make([]byte, 0, 8192)
	var f Frame
	require.Zero(t, testing.AllocsPerRun(100, func() {
		r.Reset(b)
		got, err := ReadDelimited(r, buf)
		if err != nil {
			t.Error(err)
		}
		if _, err := f.Parse(got); err != nil {
			t.Error(err)
		}
	}))
}
