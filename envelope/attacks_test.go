package envelope

import (
	"bytes"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sotto-im/sotto/internal/wire"
)

// The tests below are named after published attacks on messengers and their
// parsers; SPEC.md §8.12 lists them.

// submission is a frame of kind submit with the given bytes as its body.
func submission(body []byte) []byte { return wire.AppendBytes([]byte{1}, kindSubmit, body) }

// A hostileFrame is one that blows up, or blows the stack of, an ordinary decoder,
// and what stops it here.
type hostileFrame struct {
	frame []byte
	want  error
}

func hostile() map[string]hostileFrame {
	head := wire.AppendUint(header.append(nil, 1), 2, 1)
	groups := bytes.Repeat([]byte{0x63}, 10_000)                   // start group 12, 10,000 deep
	groups = append(groups, bytes.Repeat([]byte{0x64}, 10_000)...) // end group 12
	nested := []byte{}                                             // messages in messages, 2,000 deep
	for len(nested) < 8000 {
		nested = wire.AppendBytes(nil, 1, nested)
	}
	least := (&Recipient{Device: Device{bob.User, 1}}).append(nil)
	many := bytes.Clone(head)
	for n := range uint32(MaxRecipients + 1) {
		many = (&Recipient{Device: Device{bob.User, 1 + n}}).append(many)
	}
	return map[string]hostileFrame{
		"4 MB of empty sub-messages":     {submission(append(bytes.Clone(head), bytes.Repeat([]byte{0x3a, 0}, 2_000_000)...)), ErrTooLarge},
		"1 MB of empty sub-messages":     {submission(append(bytes.Clone(head), bytes.Repeat([]byte{0x3a, 0}, 500_000)...)), ErrMalformed},
		"1 MB of the smallest recipient": {submission(append(bytes.Clone(head), bytes.Repeat(least, 43_000)...)), ErrMalformed},
		"a recipient too many":           {submission(many), ErrTooLarge},
		"1 MB of empty headers":          {submission(bytes.Repeat([]byte{0x0a, 0}, 500_000)), ErrMalformed},
		"1 MB of unknown varints":        {submission(append(bytes.Clone(head), bytes.Repeat([]byte{0x60, 1}, 500_000)...)), ErrMalformed},
		"10,000 nested groups":           {submission(groups), ErrMalformed},
		"10,000 nested groups, bare":     {append([]byte{1}, groups...), ErrMalformed},
		"nested messages":                {submission(nested), ErrMalformed},
		"length of 2^63":                 {append([]byte{1, 0x0a}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f), ErrMalformed},
	}
}

// E01. R-8.2-6: whatever the frame is, parsing allocates nothing, and it ends
// early. The memory is counted over all of the run, not per call.
func TestEnvelopeAllocBudget(t *testing.T) {
	var f Frame
	for name, h := range hostile() {
		b := h.frame
		var before, after runtime.MemStats
		start := time.Now()
		runtime.ReadMemStats(&before)
		_, err := f.Parse(b)
		runtime.ReadMemStats(&after)
		took := time.Since(start)
		require.Equal(t, h.want, err, name)
		require.LessOrEqual(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<10), name) // the runtime's own

		t.Logf("%-32s %9d bytes: %v, %d bytes allocated, %v", name, len(b), err, after.TotalAlloc-before.TotalAlloc, took)
		require.Zero(t, testing.AllocsPerRun(10, func() { _, _ = f.Parse(b) }), name)
	}
}

// E02: groups nest without bound outside of the reach of a recursion limit.
func TestNestedUnknownGroupsRejected(t *testing.T) {
	for _, depth := range []int{1, 15, 9000, 10_000} {
		b := append(bytes.Repeat([]byte{0x63}, depth), bytes.Repeat([]byte{0x64}, depth)...)
		for name, frame := range map[string][]byte{
			"in the frame": append([]byte{1}, b...), "in a body": submission(b),
			"in a header":    submission(wire.AppendBytes(nil, 1, b)),
			"in a recipient": submission(wire.AppendBytes(header.append(nil, 1), 7, b)),
		} {
			_, err := new(Frame).Parse(frame)
			require.ErrorIs(t, err, ErrMalformed, "%s, %d", name, depth)
		}
	}
}

// each calls f with every message of the sample frames, the nested ones too, as
// the offset at which it stands in the frame, and with its bytes, and a function
// that puts other bytes in its place.
func each(t *testing.T, f func(name string, message []byte, with func([]byte) []byte)) {
	for name, m := range samples(t) {
		b := frame(t, m)
		f(name, b[1:], func(v []byte) []byte { return append([]byte{1}, v...) })
		kind, _, n := protowire.ConsumeTag(b[1:])
		body, _ := protowire.ConsumeBytes(b[1+n:])
		inBody := func(v []byte) []byte { return wire.AppendBytes([]byte{1}, int(kind), v) }
		f(name+", body", body, inBody)
		for at := 0; at < len(body); {
			num, typ, n := protowire.ConsumeTag(body[at:])
			k := protowire.ConsumeFieldValue(num, typ, body[at+n:])
			nested := typ == protowire.BytesType && (num == 1 || kind == kindSubmit && num == 7 || kind == kindResult && num >= 6)
			if nested {
				inner, _ := protowire.ConsumeBytes(body[at+n:])
				start, end := at, at+n+k
				f(name+", nested", inner, func(v []byte) []byte {
					c := wire.AppendBytes(bytes.Clone(body[:start]), int(num), v)
					return inBody(append(c, body[end:]...))
				})
			}
			at += n + k
		}
	}
}

// E03: no field twice, in any message of a frame. (Tables repeat, but never a
// device.)
func TestDuplicateFieldRejected(t *testing.T) {
	count := 0
	each(t, func(name string, b []byte, with func([]byte) []byte) {
		for at := 0; at < len(b); {
			num, typ, n := protowire.ConsumeTag(b[at:])
			k := n + protowire.ConsumeFieldValue(num, typ, b[at+n:])
			twice := append(append(bytes.Clone(b[:at+k]), b[at:at+k]...), b[at+k:]...)
			_, err := new(Frame).Parse(with(twice))
			require.ErrorIs(t, err, ErrMalformed, "%s: field %d", name, num)
			at += k
			count++
		}
	})
	require.Greater(t, count, 100)
}

// E04: nothing unknown passes, anywhere in a frame, in any wire type.
func TestUnknownFieldsRejectedOrDropped(t *testing.T) {
	each(t, func(name string, b []byte, with func([]byte) []byte) {
		_, err := new(Frame).Parse(with(b))
		require.NoError(t, err)
		for _, extra := range [][]byte{{0xf0, 0x01, 1}, {0xf2, 0x01, 1, 'x'}, {0xf5, 0x01, 1, 2, 3, 4}, {0xf1, 0x01, 1, 2, 3, 4, 5, 6, 7, 8}, {0}} {
			_, err := new(Frame).Parse(with(append(bytes.Clone(b), extra...)))
			require.ErrorIs(t, err, ErrMalformed, "%s and % x", name, extra)
		}
	})
}

// E05: each varint of a frame (tags, lengths, values) has one encoding.
func TestNonMinimalVarintRejected(t *testing.T) {
	overlong := func(v uint64) []byte {
		b := protowire.AppendVarint(nil, v)
		b[len(b)-1] |= 0x80
		return append(b, 0)
	}
	each(t, func(name string, b []byte, with func([]byte) []byte) {
		for at := 0; at < len(b); {
			num, typ, n := protowire.ConsumeTag(b[at:])
			k := protowire.ConsumeFieldValue(num, typ, b[at+n:])
			v, m := protowire.ConsumeVarint(b[at+n:]) // the value, or the length
			for where, c := range map[string][]byte{
				"tag":   append(append(bytes.Clone(b[:at]), overlong(protowire.EncodeTag(num, typ))...), b[at+n:]...),
				"value": append(append(bytes.Clone(b[:at+n]), overlong(v)...), b[at+n+m:]...),
			} {
				_, err := new(Frame).Parse(with(c))
				require.ErrorIs(t, err, ErrMalformed, "%s: %s of field %d", name, where, num)
			}
			at += n + k
		}
	})
}

// E05: no number is cut to the size of its field.
func TestVarintOutOfRangeRejected(t *testing.T) {
	each(t, func(name string, b []byte, with func([]byte) []byte) {
		for at := 0; at < len(b); {
			num, typ, n := protowire.ConsumeTag(b[at:])
			k := protowire.ConsumeFieldValue(num, typ, b[at+n:])
			if typ == protowire.VarintType {
				v, m := protowire.ConsumeVarint(b[at+n:])
				for _, high := range []uint64{v + 1<<8, v + 1<<32, v + 1<<53, v + 1<<63, v | 1<<31 | 1<<63} {
					c := append(protowire.AppendVarint(bytes.Clone(b[:at+n]), high), b[at+n+m:]...)
					got, err := new(Frame).Parse(with(c))
					if high <= v+1<<32 && err == nil { // a field of 31 bits or more
						again, err := got.AppendBinary(nil)
						require.NoError(t, err)
						require.Equal(t, with(c), again, "%s: field %d = %d", name, num, high)
						continue
					}
					require.ErrorIs(t, err, ErrMalformed, "%s: field %d = %d", name, num, high)
				}
			}
			at += n + k
		}
	})
}

// E06: what is authenticated is the ciphertext as it was received. It is handed
// on byte for byte, whatever it looks like, and never encoded anew.
func TestMACOverReceivedBytes(t *testing.T) {
	for _, ciphertext := range [][]byte{{0x08, 0x81, 0x00}, {0x33, 0x08, 1, 0x08, 1}, bytes.Repeat([]byte{0}, 100)} {
		in := frame(t, &Submit{Header: header, Counter: 1, Recipients: table(t, Recipient{bob, 0, 2, ciphertext})})
		m, err := new(Frame).Parse(in)
		require.NoError(t, err)
		for v := range m.(*Submit).Recipients.All() {
			require.Equal(t, ciphertext, v.Ciphertext)
			out := frame(t, &Deliver{Header: header, Type: v.Type, Ciphertext: v.Ciphertext, Untrusted: Untrusted{1, 1, 1, 1, 1}})
			d, err := new(Frame).Parse(out)
			require.NoError(t, err)
			require.Equal(t, ciphertext, d.(*Deliver).Ciphertext)
		}
	}
}

// E07: one version byte, in the frame and in the packed plaintext; there is
// nothing to negotiate and so nothing to downgrade. R-8.2-1, R-8.10-1.
func TestVersionMatrix(t *testing.T) {
	packed, err := Pack(nil, &header, []byte("x"))
	require.NoError(t, err)
	for v := range 256 {
		want := ErrVersion
		if v == 1 {
			want = nil
		}
		for name, m := range samples(t) {
			b := frame(t, m)
			b[0] = byte(v)
			_, err := new(Frame).Parse(b)
			require.ErrorIs(t, err, want, "%s, version %d", name, v)
		}
		packed[0] = byte(v)
		_, err = Unpack(&header, Sender(alice), packed)
		require.ErrorIs(t, err, want, "packed, version %d", v)
	}
}

// E08. R-8.2-7: no body of one kind is a body of another kind.
func TestTypeConfusionMatrix(t *testing.T) {
	for name, m := range samples(t) {
		b := frame(t, m)
		was := b[1] >> 3
		for kind := byte(0); kind < 16; kind++ {
			b[1] = kind<<3 | 2
			got, err := new(Frame).Parse(b)
			if kind == was {
				require.NoError(t, err)
				equal(t, m, got)
				continue
			}
			if name == "fetch all" {
				require.Error(t, err, "an empty body is a fetch and nothing else")
			}
			require.ErrorIs(t, err, ErrMalformed, "%s as kind %d", name, kind)
		}
		b[1] = was<<3 | 2
		_, err := new(Frame).Parse(append(b, b[1:]...))
		require.ErrorIs(t, err, ErrMalformed, "two bodies")
	}
}

// E09: device numbers are positive as 32-bit integers, signed or not.
func TestDeviceIDRange(t *testing.T) {
	for n, want := range map[uint32]error{0: ErrInvalid, 1: nil, 127: nil, 128: nil, 1<<31 - 1: nil, 1 << 31: ErrInvalid, 1<<32 - 1: ErrInvalid} {
		d := Device{bob.User, n}
		_, err := NewRecipients(Recipient{Device: d})
		require.ErrorIs(t, err, want, n)
		h := header
		h.Sender = d
		_, err = Pack(nil, &h, nil)
		require.ErrorIs(t, err, want, n)
	}
}

// E19: what the server chose is in Untrusted, and nowhere else: every other
// field of a delivery is compared with the plaintext or is the ciphertext.
func TestServerFieldsAreUntrusted(t *testing.T) {
	var fields []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Deliver]()) {
		fields = append(fields, f.Name)
	}
	require.Equal(t, []string{"Header", "Ephemeral", "Type", "Ciphertext", "Untrusted"}, fields)
	require.Equal(t, 4, reflect.TypeFor[Header]().NumField(), "a new field of Header has to be packed, and compared")

	// Ephemeral is bound to the stamp, which Unpack compares.
	m := Deliver{Header: header, Ephemeral: true, Type: 2, Ciphertext: []byte("x")}
	_, err := m.AppendBinary(nil)
	require.ErrorIs(t, err, ErrInvalid)
}

// L07. R-8.1-1: 16 bytes, no text form, and the two reserved values name
// nothing. Any version of a UUID is taken, for IDs are opaque.
func TestUUIDStrict16Bytes(t *testing.T) {
	for n := range 40 {
		h := wire.AppendBytes(nil, 1, header.Conversation[:])
		h = wire.AppendBytes(h, 2, bytes.Repeat([]byte{0x22}, n))
		h = wire.AppendUint(wire.AppendUint(wire.AppendBytes(h, 3, alice.User[:]), 4, 1), 5, 7)
		b := wire.AppendUint(wire.AppendBytes(nil, 1, h), 2, 1)
		_, err := new(Frame).Parse(submission((&Recipient{bob, 0, 2, []byte("x")}).append(b)))
		if n == 16 {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, ErrMalformed, "%d bytes", n)
	}
	for _, bad := range [][16]byte{{}, id(0xff)} {
		for name, at := range map[string]func(*Header) *[16]byte{
			"conversation": func(h *Header) *[16]byte { return &h.Conversation },
			"message ID":   func(h *Header) *[16]byte { return &h.ID },
			"user":         func(h *Header) *[16]byte { return &h.Sender.User },
		} {
			h := header
			b := frame(t, &Submit{Header: h, Counter: 1, Recipients: table(t, Recipient{bob, 0, 2, []byte("x")})})
			b = bytes.Replace(b, at(&h)[:], bad[:], 1)
			_, err := new(Frame).Parse(b)
			require.ErrorIs(t, err, ErrMalformed, name)
			*at(&h) = bad
			_, err = Pack(nil, &h, nil)
			require.ErrorIs(t, err, ErrInvalid, name)
		}
		_, err := NewRecipients(Recipient{Device: Device{bad, 1}})
		require.ErrorIs(t, err, ErrInvalid)
		require.False(t, validID(bad))
	}
	for v := range byte(16) {
		u := id(0x77)
		u[6] = v << 4
		require.True(t, validID(u))
	}
}

// L13: an event of one conversation, shown in another.
func TestConversationIDInAD(t *testing.T) {
	b, err := Pack(nil, &header, []byte("yes"))
	require.NoError(t, err)
	other := header
	other.Conversation = id(0x12)
	_, err = Unpack(&other, Sender(alice), b)
	require.ErrorIs(t, err, ErrMismatch)
}

// Errors say nothing of what they are about.
func TestErrorsHoldNoData(t *testing.T) {
	for _, err := range []error{ErrMalformed, ErrVersion, ErrTooLarge, ErrInvalid, ErrMismatch} {
		require.Regexp(t, `^envelope: [a-z ]+$`, err.Error())
	}
	b, err := Pack(nil, &header, []byte("secret"))
	require.NoError(t, err)
	_, err = Unpack(&ephemeral, Sender(bob), b)
	require.Equal(t, ErrMismatch, err, "the bare sentinel")
}
