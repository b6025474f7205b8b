package modeltest

import (
	"context"
	"errors"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"github.com/sotto-im/sotto/envelope"
)

// frameType is the message Frame, from the schema that other languages use.
func frameType(t require.TestingT) protoreflect.MessageDescriptor {
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{ImportPaths: []string{"../../envelope"}}}
	files, err := c.Compile(context.Background(), "envelope.proto")
	require.NoError(t, err)
	d := files[0].Messages().ByName("Frame")
	require.NotNil(t, d)
	return d
}

func drawRecipients(t *rapid.T, sealed bool) []envelope.Recipient {
	list := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) envelope.Recipient {
		r := envelope.Recipient{Device: envelope.Device{User: drawID(t), ID: drawDeviceID(t)}, RegistrationID: rapid.Uint32().Draw(t, "registration")}
		if sealed {
			r.Type = rapid.ByteRange(1, 255).Draw(t, "type")
			r.Ciphertext = rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "ciphertext")
		}
		return r
	}), 1, 5, func(r envelope.Recipient) envelope.Device { return r.Device }).Draw(t, "recipients")
	return list
}

func drawTable(t *rapid.T, sealed bool) envelope.Recipients {
	r, err := envelope.NewRecipients(drawRecipients(t, sealed)...)
	require.NoError(t, err)
	return r
}

const maxNumber = 1<<53 - 1

// drawMessage draws a valid frame of any kind.
func drawMessage(t *rapid.T) envelope.Message {
	number := func(label string) uint64 { return rapid.Uint64Range(1, maxNumber).Draw(t, label) }
	epoch := func(label string) uint32 { return rapid.Uint32Min(1).Draw(t, label) }
	ephemeral := rapid.Bool().Draw(t, "ephemeral")
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		m := &envelope.Submit{Header: drawHeader(t, ephemeral), Ephemeral: ephemeral}
		if !ephemeral {
			m.Counter, m.Urgent = number("counter"), rapid.Bool().Draw(t, "urgent")
		}
		shared := rapid.Bool().Draw(t, "shared")
		if shared {
			m.SharedType, m.Shared = rapid.ByteRange(1, 255).Draw(t, "type"), rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "bytes")
		}
		m.Recipients = drawTable(t, !shared)
		return m
	case 1:
		m := &envelope.Result{ID: drawID(t), Code: envelope.Code(rapid.IntRange(int(envelope.Accepted), int(envelope.Refused)).Draw(t, "code"))}
		switch m.Code {
		case envelope.Accepted, envelope.Duplicate:
			m.Epoch, m.Sequence = epoch("epoch"), number("sequence")
		case envelope.DeviceMismatch:
			lists := rapid.IntRange(1, 7).Draw(t, "lists")
			for i, r := range []*envelope.Recipients{&m.Missing, &m.Extra, &m.Stale} {
				if lists>>i&1 == 1 {
					*r = drawTable(t, false)
				}
			}
		case envelope.Quota:
			m.RetryAfter = epoch("retry")
		case envelope.ClockBound:
			m.MaxStamp = number("stamp") - 1
		}
		return m
	case 2:
		m := &envelope.Deliver{Header: drawHeader(t, ephemeral), Ephemeral: ephemeral, Type: rapid.ByteRange(1, 255).Draw(t, "type"),
			Ciphertext: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "ciphertext")}
		if !ephemeral {
			m.Untrusted = envelope.Untrusted{MailboxEpoch: epoch("mailbox"), Position: number("position"), Epoch: epoch("epoch"), Sequence: number("sequence")}
		}
		m.Untrusted.Time = number("time") - 1
		return m
	case 3:
		return &envelope.Ack{MailboxEpoch: epoch("epoch"), Position: number("position")}
	case 4:
		if rapid.Bool().Draw(t, "new device") {
			return &envelope.Fetch{}
		}
		return &envelope.Fetch{MailboxEpoch: epoch("epoch"), After: number("after") - 1}
	case 5:
		from := number("from")
		return &envelope.Gap{MailboxEpoch: epoch("epoch"), From: from, To: rapid.Uint64Range(from, maxNumber).Draw(t, "to"),
			Reason: rapid.SampledFrom([]envelope.Code{envelope.Trimmed, envelope.Expired}).Draw(t, "reason")}
	default:
		if rapid.Bool().Draw(t, "drain") {
			return &envelope.Error{Code: envelope.Quota, RetryAfter: epoch("retry")}
		}
		return &envelope.Error{Code: rapid.SampledFrom([]envelope.Code{envelope.Refused, envelope.Replaced}).Draw(t, "code")}
	}
}

// A builder sets fields by their names in the schema, as a program in another
// language would.
type builder struct{ m *dynamicpb.Message }

func (b builder) set(name string, v any) builder {
	f := b.m.Descriptor().Fields().ByName(protoreflect.Name(name))
	if f == nil {
		panic("no field " + name)
	}
	var p protoreflect.Value
	switch v := v.(type) {
	case [16]byte:
		p = protoreflect.ValueOfBytes(v[:])
	case []byte:
		if len(v) == 0 {
			return b
		}
		p = protoreflect.ValueOfBytes(v)
	case envelope.Code:
		p = protoreflect.ValueOfEnum(protoreflect.EnumNumber(v))
	case uint8:
		p = protoreflect.ValueOfUint32(uint32(v))
	default:
		p = protoreflect.ValueOf(v)
	}
	b.m.Set(f, p)
	return b
}

func (b builder) sub(name string) builder {
	f := b.m.Descriptor().Fields().ByName(protoreflect.Name(name))
	return builder{b.m.Mutable(f).Message().Interface().(*dynamicpb.Message)}
}

func (b builder) header(h envelope.Header) {
	b.sub("header").set("conversation", h.Conversation).set("message_id", h.ID).set("user", h.Sender.User).
		set("device", h.Sender.ID).set("stamp", h.Stamp)
}

func (b builder) table(name string, r envelope.Recipients) builder {
	if r.Len() == 0 {
		return b
	}
	list := b.m.Mutable(b.m.Descriptor().Fields().ByName(protoreflect.Name(name))).List()
	for v := range r.All() {
		e := builder{list.AppendMutable().Message().Interface().(*dynamicpb.Message)}
		e.set("user", v.Device.User).set("device", v.Device.ID).set("registration_id", v.RegistrationID).
			set("type", v.Type).set("ciphertext", v.Ciphertext)
	}
	return b
}

func build(frame protoreflect.MessageDescriptor, m envelope.Message) *dynamicpb.Message {
	top := builder{dynamicpb.NewMessage(frame)}
	switch m := m.(type) {
	case *envelope.Submit:
		b := top.sub("submit")
		b.header(m.Header)
		b.set("counter", m.Counter).set("ephemeral", m.Ephemeral).set("urgent", m.Urgent).set("shared_type", m.SharedType).
			set("shared", m.Shared).table("recipients", m.Recipients)
	case *envelope.Result:
		top.sub("result").set("message_id", m.ID).set("code", m.Code).set("epoch", m.Epoch).set("sequence", m.Sequence).
			table("missing", m.Missing).table("extra", m.Extra).table("stale", m.Stale).
			set("retry_after", m.RetryAfter).set("max_stamp", m.MaxStamp)
	case *envelope.Deliver:
		b := top.sub("deliver")
		b.header(m.Header)
		b.set("ephemeral", m.Ephemeral).set("type", m.Type).set("ciphertext", m.Ciphertext).
			set("mailbox_epoch", m.Untrusted.MailboxEpoch).set("position", m.Untrusted.Position).
			set("epoch", m.Untrusted.Epoch).set("sequence", m.Untrusted.Sequence).set("server_time", m.Untrusted.Time)
	case *envelope.Ack:
		top.sub("ack").set("mailbox_epoch", m.MailboxEpoch).set("position", m.Position)
	case *envelope.Fetch:
		top.sub("fetch").set("mailbox_epoch", m.MailboxEpoch).set("after", m.After)
	case *envelope.Gap:
		top.sub("gap").set("mailbox_epoch", m.MailboxEpoch).set("from", m.From).set("to", m.To).set("reason", m.Reason)
	case *envelope.Error:
		top.sub("error").set("code", m.Code).set("retry_after", m.RetryAfter)
	}
	return top.m
}

var deterministic = proto.MarshalOptions{Deterministic: true}

// known fails if a message, or one within it, has fields that the schema does
// not know.
func known(t require.TestingT, m protoreflect.Message) {
	require.Empty(t, m.GetUnknown())
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				known(t, v.List().Get(i).Message())
			}
		case f.Message() != nil:
			known(t, v.Message())
		}
		return true
	})
}

// R-8.2-8: the protobuf runtime reads every frame that we write, without
// unknown fields, and writes the same bytes; built from the schema by another
// program the frame is the same; and we read it.
func TestRuntimeAndCodecAgree(t *testing.T) {
	frame := frameType(t)
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		ours, err := m.AppendBinary(nil)
		require.NoError(t, err)
		require.Equal(t, byte(1), ours[0])

		read := dynamicpb.NewMessage(frame)
		require.NoError(t, proto.Unmarshal(ours[1:], read))
		known(t, read)
		theirs, err := deterministic.Marshal(read)
		require.NoError(t, err)
		require.Equal(t, ours[1:], theirs)

		built, err := deterministic.Marshal(build(frame, m))
		require.NoError(t, err)
		require.Equal(t, ours[1:], built)

		var f envelope.Frame
		got, err := f.Parse(append([]byte{1}, built...))
		require.NoError(t, err)
		again, err := got.AppendBinary(nil)
		require.NoError(t, err)
		require.Equal(t, ours, again)
	})
}

// Whatever bytes we accept the runtime reads as the same message. The converse
// does not hold, and must not: the runtime reads many encodings of one message.
func FuzzRuntime(f *testing.F) {
	frame := frameType(f)
	rapidSeeds := 0
	gen := rapid.Custom(drawMessage)
	for i := range 50 {
		b, err := gen.Example(i).AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		rapidSeeds++
	}
	if rapidSeeds == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var room envelope.Frame
		m, err := room.Parse(b)
		if err != nil {
			if !errors.Is(err, envelope.ErrMalformed) && !errors.Is(err, envelope.ErrVersion) && !errors.Is(err, envelope.ErrTooLarge) {
				t.Fatal(err)
			}
			return
		}
		read := dynamicpb.NewMessage(frame)
		require.NoError(t, proto.Unmarshal(b[1:], read))
		known(t, read)
		require.True(t, proto.Equal(read, build(frame, m)))
		theirs, err := deterministic.Marshal(read)
		require.NoError(t, err)
		require.Equal(t, b[1:], theirs)
	})
}
