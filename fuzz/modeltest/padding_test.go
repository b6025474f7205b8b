package modeltest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sotto-im/sotto/envelope"
)

func drawHeader(t *rapid.T, ephemeral bool) envelope.Header {
	h := envelope.Header{Conversation: drawID(t), ID: drawID(t), Sender: envelope.Device{User: drawID(t), ID: drawDeviceID(t)}}
	if !ephemeral {
		h.Stamp = rapid.Uint64Range(1, 1<<53-1).Draw(t, "stamp")
	}
	return h
}

func drawID(t *rapid.T) (id [16]byte) {
	copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	id[rapid.IntRange(0, 15).Draw(t, "at")] = 0x5a // neither nil nor max
	return id
}

func drawDeviceID(t *rapid.T) uint32 { return rapid.Uint32Range(1, 1<<31-1).Draw(t, "device") }

// E11. R-8.11-1: the size of a packed plaintext is a function of the bucket of
// its length: neither the header nor the bytes of the body show.
func TestPaddingBuckets(t *testing.T) {
	length := func(t *rapid.T) int {
		return rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(0, 3000), rapid.IntRange(0, envelope.MaxBody)).Draw(t, "length")
	}
	rapid.Check(t, func(t *rapid.T) {
		size := func(n int) int {
			h := drawHeader(t, rapid.Bool().Draw(t, "ephemeral"))
			body := make([]byte, n)
			seed := rapid.Byte().Draw(t, "byte")
			for i := range body {
				body[i] = seed * byte(i)
			}
			if n > 0 && rapid.Bool().Draw(t, "ends like padding") {
				body[n-1] = 0x80
			}
			b, err := envelope.Pack(nil, &h, body)
			require.NoError(t, err)
			got, err := envelope.Unpack(&h, envelope.Sender(h.Sender), b)
			require.NoError(t, err)
			require.Equal(t, body, append([]byte{}, got...))
			return len(b)
		}
		n := length(t)
		want := size(n)
		require.Equal(t, want, size(n))
		require.Zero(t, want%16)
		if m := length(t); m >= n {
			require.GreaterOrEqual(t, size(m), want, "monotone")
		}
		// The bucket is the smallest that fits, and every length within it has
		// its size.
		room := want - (61 + n + 1)
		require.Less(t, room, max(80, want/20+16))
		require.Equal(t, want, size(n+rapid.IntRange(0, room).Draw(t, "more")))
		if n+room < envelope.MaxBody {
			require.Greater(t, size(n+room+1), want)
		}
	})
}
