// Package x3dh is the X3DH key agreement: how two devices that were never
// online together come to share a secret.
//
// It is for whoever assembles sessions from parts. Most applications want a
// device with all its sessions in a database; package ratchet and this one are
// what that is made of. Servers need neither: to them a bundle is bytes.
//
// # Usage
//
// The receiving device generates an identity key, signed prekeys and one-time
// prekeys, stores the private halves, and only then publishes a [Bundle]. The
// initiator fetches it, checks whose identity key it is, and calls [Initiate];
// ratchet.New makes a session of the result, whose messages are initial
// messages until the first answer. The receiver parses such a message with
// [ParseInitialMessage], looks up the prekeys that it names, calls [Respond],
// and lets ratchet.Accept decrypt it.
//
// # Persistence
//
// Private halves are on disk before public halves leave the device. A one-time
// prekey is deleted in the transaction that stores the session whose first
// message decrypted, never earlier and never later. IDs come from a stored
// counter.
//
// # Security
//
// Both sides are authenticated by their identity keys, and by nothing else:
// compare a [Fingerprint], or trust the server. Neither side can prove to a
// third party who wrote what. Who learns a device's signed prekey and identity
// key can impersonate anybody to it until the signed prekey is replaced. An
// initial message that used no one-time prekey can be replayed, which the
// caller has to notice. There is no protection against a quantum computer:
// that is version 4, PQXDH. SPEC.md §4.6 says all of it in full.
//
// Public keys are stricter than libsignal's: one key, one encoding, and none
// of low order (SPEC.md §3.2).
//
// # Specification
//
// SPEC.md §3, §4 and §7. Byte-compatible with libsignal's version 3.
package x3dh
