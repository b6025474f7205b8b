package envelope

import (
	"bytes"
	"encoding/binary"
)

// MaxBody is the number of bytes of the largest body that [Pack] takes. What is
// larger travels as an attachment.
const MaxBody = maxPacked - packedHeader - 1

// The packed plaintext of SPEC.md §8.10:
//
//	version 1 ‖ conversation 16 ‖ message ID 16 ‖ user 16 ‖ device 4 ‖ stamp 8 ‖ body ‖ 0x80 ‖ 00…
const (
	packedVersion = 1
	packedHeader  = 1 + 16 + 16 + 16 + 4 + 8
)

// A Sender is the device whose session decrypted a message: an authenticated
// fact, where a [Device] in a header is a claim. The conversion is the
// application's statement that it took the device from the session. The zero
// value is refused.
type Sender Device

// Pack appends to dst the plaintext that is to be encrypted: what the sender
// knows of the header, the body, and padding up to the next bucket, so that the
// size reveals the bucket only. The body may be empty. A header that breaks a
// rule gives [ErrInvalid], a body over [MaxBody] [ErrTooLarge], and dst as it
// was. body must not overlap the spare capacity of dst; it is not kept. A stamp
// of 0 makes the message ephemeral. SPEC.md §8.10.
func Pack(dst []byte, h *Header, body []byte) ([]byte, error) {
	if !h.valid(h.Stamp == 0) {
		return dst, ErrInvalid
	}
	if len(body) > MaxBody {
		return dst, ErrTooLarge
	}
	start := len(dst)
	dst = append(dst, packedVersion)
	dst = append(dst, h.Conversation[:]...)
	dst = append(dst, h.ID[:]...)
	dst = append(dst, h.Sender.User[:]...)
	dst = binary.BigEndian.AppendUint32(dst, h.Sender.ID)
	dst = binary.BigEndian.AppendUint64(dst, h.Stamp)
	dst = append(dst, body...)
	dst = append(dst, 0x80)
	return append(dst, make([]byte, bucket(len(dst)-start)-(len(dst)-start))...), nil
}

// Unpack returns the body of a decrypted plaintext if the packed header, the
// header h of the frame and the authenticated sender agree, and no other way
// leads to the body. h and from both name the sending device; so a server that
// moves a ciphertext to another conversation, message ID, sender or device, or
// changes the stamp, is found here, and so is a member who packs the name of
// another.
//
// Errors: [ErrVersion] and [ErrMalformed] for a plaintext that Pack did not
// write, [ErrMismatch] if it belongs to another header. After any error there is
// no body: store the verdict and acknowledge, and send no receipt. The body is a
// subslice of plaintext without spare capacity, and secret. Unpack does not know
// who may write in a conversation: check that from is a member of
// h.Conversation, which also keeps a contact out of the conversation that the
// user's own devices share. SPEC.md §8.10.
func Unpack(h *Header, from Sender, plaintext []byte) ([]byte, error) {
	switch {
	case len(plaintext) == 0:
		return nil, ErrMalformed
	case plaintext[0] != packedVersion:
		return nil, ErrVersion
	}
	packed, marked := bytes.CutSuffix(bytes.TrimRight(plaintext, "\x00"), []byte{0x80})
	end := len(packed)
	if !marked || end < packedHeader || len(plaintext) != bucket(end+1) {
		return nil, ErrMalformed
	}
	var p Header
	b := plaintext[1:packedHeader]
	b = b[copy(p.Conversation[:], b):]
	b = b[copy(p.ID[:], b):]
	b = b[copy(p.Sender.User[:], b):]
	p.Sender.ID = binary.BigEndian.Uint32(b)
	p.Stamp = binary.BigEndian.Uint64(b[4:])
	if !p.valid(p.Stamp == 0) {
		return nil, ErrMalformed
	}
	if p != *h || p.Sender != Device(from) {
		return nil, ErrMismatch
	}
	return plaintext[packedHeader:end:end], nil
}
