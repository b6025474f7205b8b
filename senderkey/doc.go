// Package senderkey encrypts group messages once for all members: sender keys.
// Each device of a group writes in a chain of its own, which the others got
// from it through their pairwise sessions, and signs what it writes.
//
// It is for whoever assembles groups from parts: it knows no session, no
// database, no clock, and of members nothing but opaque names. Servers do not
// need it.
//
// # Usage
//
// A device has one [Sender] in each group. [Sender.Encrypt] takes the message
// and everybody who is to read it, now; it starts a new chain by itself when
// somebody who could read the old one is gone. It returns the one ciphertext,
// and says who still needs the [Distribution], which travels to each of them
// inside a pairwise session. [Sender.Delivered] notes what the server accepted.
//
// A device has one [Receiver] for each other device in each group.
// [Receiver.Process] takes the distributions that came through the pairwise
// session of that very device, [Receiver.Decrypt] its group messages. Messages
// may be lost, repeated and reordered.
//
// [Chain] is the bare chain, with libsignal's records and without a memory of
// who may read it. It is for tests, and for moving from libsignal.
//
// # Persistence
//
// Chain, Sender and Receiver are values that the caller stores. The rule is:
// persist before you send, persist before you acknowledge. Store the sender
// together with the ciphertext and the distributions before any of them leaves,
// and the receiver together with the plaintext. After an error of the store, or
// in doubt, throw the value away and read it again. Never keep two copies in
// use, and never restore one from a backup: a message key that is used twice
// gives both messages away.
//
// A call that returns an error has changed nothing, to the encoded byte.
//
// # Security
//
// Members read a message and nobody else does, and no member can write as
// another one's device. Who has left reads nothing that is sent afterwards, who
// joins nothing that was sent before. That is as true as the member set that
// the caller gives.
//
// A chain does not heal: who steals the state of a member reads what the others
// write in their chains until these are replaced, after 100 messages, 7 days or
// the next departure; who steals a sender's signs in its name until then. A
// member can show others a message that somebody else does not get. The server
// sees the size of the group. SPEC.md §11.8 says all of it in full.
//
// # Specification
//
// SPEC.md §11. Byte-compatible with libsignal in messages and in the records of
// a Chain, and with the WhatsApp family's.
package senderkey
