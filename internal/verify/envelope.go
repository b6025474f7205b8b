package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/testvectors"
)

func envelopeParse(c *testvectors.EnvelopeParse) error {
	b := bytes.Clone(c.Bytes)
	for _, p := range c.Pieces {
		b = append(b, bytes.Repeat(p.Bytes, p.Times)...)
	}
	switch c.Form {
	case "frame":
		return frame(c, b)
	case "packed":
		return packed(c, b)
	}
	return fmt.Errorf("unknown form %q", c.Form)
}

// frameNames are the types of frames as the vectors name them.
var frameNames = map[string]string{"*envelope.Submit": "submit", "*envelope.Result": "result", "*envelope.Deliver": "deliver",
	"*envelope.Ack": "ack", "*envelope.Fetch": "fetch", "*envelope.Gap": "gap", "*envelope.Error": "error"}

// frame parses a frame and writes it again. A frame has one encoding, so that the
// bytes say what was read; of the value in the vector the type is compared, and
// that each of its byte strings stands in the frame.
func frame(c *testvectors.EnvelopeParse, b []byte) error {
	m, err := new(envelope.Frame).Parse(b)
	if err := answer(&c.Case, err); err != nil || m == nil {
		return err
	}
	again, err := m.AppendBinary(nil)
	if err := errors.Join(err, same("written again", b, again)); err != nil || c.Value == nil {
		return err
	}
	for name, raw := range c.Value {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return err
		}
		if err := errors.Join(equal("type", name, frameNames[fmt.Sprintf("%T", m)]), stand(b, v)); err != nil {
			return err
		}
	}
	return nil
}

// stand checks that each byte string of a value stands in b.
func stand(b []byte, value any) (err error) {
	switch v := value.(type) {
	case map[string]any:
		for _, x := range v {
			err = errors.Join(err, stand(b, x))
		}
	case []any:
		for _, x := range v {
			err = errors.Join(err, stand(b, x))
		}
	case string:
		var h testvectors.Hex
		if err := h.UnmarshalJSON([]byte(`"` + v + `"`)); err != nil {
			return err
		}
		return equal("a byte string of the value stands in the frame", true, bytes.Contains(b, h))
	}
	return err
}

func header(h *testvectors.EnvelopeHeader) (out envelope.Header) {
	copy(out.Conversation[:], h.Conversation)
	copy(out.ID[:], h.MessageID)
	copy(out.Sender.User[:], h.User)
	out.Sender.ID, out.Stamp = h.Device, h.Stamp
	return out
}

// packed unpacks a plaintext. Without another header to compare with, it is
// compared with its own, or, if that is not given, as in what is refused for its
// form, with one that is never reached.
func packed(c *testvectors.EnvelopeParse, b []byte) error {
	var h envelope.Header
	if c.Header != nil {
		h = header(c.Header)
	}
	from := envelope.Sender(h.Sender)
	if c.Expected != nil {
		h = header(&c.Expected.Header)
		copy(from.User[:], c.Expected.User)
		from.ID = c.Expected.Device
	}
	body, err := envelope.Unpack(&h, from, b)
	if err := answer(&c.Case, err); err != nil || c.Result != testvectors.Valid {
		return err
	}
	again, err := envelope.Pack(nil, &h, body)
	return errors.Join(err, same("body", c.Body, body), same("packed again", b, again))
}

func envelopeStream(c *testvectors.EnvelopeStream) error {
	r := bytes.NewReader(c.Stream)
	var err error
	frames := 0
	for ; ; frames++ {
		var b []byte
		if b, err = envelope.ReadDelimited(r, nil); err != nil {
			break
		}
		if frames == len(c.Frames) {
			return errors.New("more frames than there are")
		}
		if err := same(fmt.Sprintf("frame %d", frames), c.Frames[frames], b); err != nil {
			return err
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(equal("frames", len(c.Frames), frames), answer(&c.Case, err))
}
