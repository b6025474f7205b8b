package envelope

import (
	"encoding/binary"
	"io"
	"slices"
)

// AppendDelimited appends the frame of m behind its length in four bytes, big
// endian: the form for TCP and files. A WebSocket message or a database row has
// a length of its own and holds the bare frame. Errors are those of
// AppendBinary; dst is then as it was. SPEC.md §8.9.
func AppendDelimited(dst []byte, m Message) ([]byte, error) {
	n := len(dst)
	b, err := m.AppendBinary(append(dst, 0, 0, 0, 0))
	if err != nil {
		return dst, err
	}
	binary.BigEndian.PutUint32(b[n:], uint32(len(b)-n-4))
	return b, nil
}

// ReadDelimited reads one frame that AppendDelimited wrote from r into the
// memory of buf, which it grows as bytes arrive and never by a claimed length,
// and returns the bytes for [Frame.Parse]. Give it the last result as buf; what
// was parsed from that is then overwritten.
//
// At the end of the stream between two frames it returns [io.EOF], within a
// frame [io.ErrUnexpectedEOF], for a length of 0 [ErrMalformed] and for one over
// [MaxFrame] [ErrTooLarge], and otherwise the error of r. The stream is then of
// no more use. buf keeps its memory in every case. r is read in many small
// pieces: buffer it if that costs. SPEC.md §8.9.
func ReadDelimited(r io.Reader, buf []byte) ([]byte, error) {
	buf = append(buf[:0], 0, 0, 0, 0)
	if _, err := io.ReadFull(r, buf); err != nil {
		return buf[:0], err
	}
	n := int64(binary.BigEndian.Uint32(buf))
	switch {
	case n == 0:
		return buf[:0], ErrMalformed
	case n > MaxFrame:
		return buf[:0], ErrTooLarge
	}
	buf = buf[:0]
	for int64(len(buf)) < n {
		// Twice what has arrived, and 4 KiB to begin with: a peer that claims
		// 1 MiB and sends nothing gets 4 KiB of ours.
		k := int(min(n-int64(len(buf)), max(4096, int64(len(buf)))))
		at := len(buf)
		buf = slices.Grow(buf, k)[:at+k]
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return buf[:0], err
		}
	}
	return buf, nil
}
