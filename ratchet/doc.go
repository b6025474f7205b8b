// Package ratchet is the Double Ratchet: a conversation between two devices in
// which every message has a key of its own.
//
// It is for whoever assembles sessions from parts: it knows one session, no
// database, no clock and no other device. Servers do not need it.
//
// # Usage
//
// The initiator makes a [Session] with [New], the responder with [Accept],
// both from what package x3dh agreed on. [Session.Encrypt] gives a message and
// its [Type]; an [Ordinary] one is for the peer's [Session.Decrypt], an
// [Initial] one for x3dh.ParseInitialMessage, and then for
// [Session.DecryptInitial] of the session that it [Session.Matches], or for
// Accept if there is none. Messages may be lost, repeated and reordered.
//
// # Persistence
//
// A session is a value that the caller stores: [Session.AppendBinary] and
// [ParseSession]. The rule is: persist before you send, persist before you
// acknowledge. Store the session together with the outgoing message before
// that leaves, and together with the plaintext before the server is told that
// the message has arrived. After an error of the store, or in doubt, throw the
// session away and read it again. Never keep two copies in use, and never
// restore one from a backup: a message key that is used twice gives both
// messages away.
//
// A call that returns an error has changed nothing, to the encoded byte.
//
// # Security
//
// Messages are confidential and authenticated between the two identity keys;
// who learns the state of a session reads neither earlier messages whose keys
// were used, nor, after one round trip that he only watches, later ones. The
// length of a message and its counter show. Up to 2,000 keys of missing
// messages are kept for each of five chains; with them those messages can be
// read. The tag has 8 bytes, as the wire format has it. Nothing binds user or
// device names: SPEC.md §5.7 says what holds instead.
//
// # Specification
//
// SPEC.md §5 and §6. Byte-compatible with libsignal's session version 3 in
// messages and records, and with the WhatsApp family's.
package ratchet
