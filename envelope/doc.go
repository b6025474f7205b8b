// Package envelope is the language between a messaging client and its server:
// the frames that carry ciphertexts, and the header that is packed inside each
// plaintext so that a server which lies about a frame is found out.
//
// Server teams use the frames, client teams the frames and [Pack] and [Unpack].
// The order of messages and the suppression of duplicates are in package
// lamport, whose state machines take their input from these frames. To encrypt,
// use ratchet and senderkey, or sesame which puts them together: this package
// imports no cryptography and has no function that takes a key.
//
// # Usage
//
// Send: pack, encrypt for each device, submit.
//
//	plaintext, err := envelope.Pack(nil, &header, body)
//	list, err := envelope.NewRecipients(recipients...) // one ciphertext for each device
//	frame, err := (&envelope.Submit{Header: header, Counter: n, Recipients: list}).AppendBinary(nil)
//
// Serve, or receive: parse into a Frame that is used again and again.
//
//	var f envelope.Frame
//	m, err := f.Parse(frame)
//	switch m := m.(type) {
//	case *envelope.Deliver:
//		…
//
// Read: decrypt with the session of the device that Deliver.Header claims, then
// compare. The body is reachable only through the comparison.
//
//	body, err := envelope.Unpack(&m.Header, envelope.Sender(authenticated), plaintext)
//
// # Persistence
//
// A submission is sealed once: store the bytes of the frame in the transaction
// that moves the sessions, and send those bytes until there is a [Result]. The
// server answers a frame that it knows with the first answer. Encrypting again
// under the same message ID burns session keys and repairs nothing, except
// after [DeviceMismatch], which accepted nothing: keep the ciphertexts that
// still fit, add and drop the rest, keep message ID and counter.
//
// # Security
//
// Every decoder is total: for any bytes it returns a value or an error, follows
// no claimed length, allocates nothing and leaves its receiver alone on
// failure. Each message has one encoding, so two programs that read the same
// bytes read the same values, and nothing can be smuggled through a relay.
//
// A server reads exactly what a [Submit] shows: the opaque conversation tag, the
// message ID, the devices, the send counter, the stamp, two flags, and the size
// of a ciphertext, which Pack rounds up to a bucket. It cannot move a ciphertext
// to another conversation, sender, device or message ID: Unpack refuses it. It
// can withhold, delay and reorder, and what it tells about time and order is
// its word; those fields stand apart in [Untrusted].
//
// The frames are not authenticated: run them inside TLS. Nothing in this package
// sends a receipt, a retry or anything else by itself.
//
// SPEC.md §8 is the specification; envelope.proto beside this file is the schema
// for other languages.
package envelope
