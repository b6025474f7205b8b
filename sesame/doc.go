// Package sesame is one device and its conversations with every other device,
// in the caller's own database transaction.
//
// It is what client applications import. The state of all sessions is in rows
// of the application's database and nowhere else: what a call changes is
// committed, or rolled back, together with what the application writes in the
// same transaction. No crash, retry, second process or lost answer uses a
// message key twice or loses a message that was acknowledged. For a single
// session without a database see package ratchet; servers need neither.
//
// # Usage
//
// [Open] the device in a transaction. [Device.Publish] what other devices need,
// after the commit. Write with [Device.Encrypt], after [Device.Start] from a
// bundle for devices that there is no session with; read with [Device.Decrypt].
//
// A user has several devices, and so do we: encrypt for all that [Device.Devices]
// yields, own ones included. When the server refuses the message because it knows
// others, [Device.Repair] makes the difference and keeps the rest.
//
// For messages that do not decrypt: write with [Device.EncryptLogged] instead,
// call [Device.RetryRequest] after each Decrypt, and [Device.HandleRetry] with
// messages of type ratchet.PlaintextContent. All counts and limits are in rows.
//
// For groups, [Device.EncryptGroup] makes one ciphertext for all, and for who
// still needs it the distribution of the chain that it is written with, in a
// pairwise message. The application wraps the distribution in a plaintext of its
// own, and gives what it finds in one to [Device.ProcessDistribution]; the ciphertext
// is for [Device.DecryptGroup]. [Device.Distributed] notes what the server accepted.
// Nobody has to think of replacing a chain: each call says who is to read.
//
// # Persistence
//
// Two rules carry everything. An error means: roll back, and do not
// acknowledge. What is wrong with a message is a value, in [Result].Err or
// [Message].Err: commit it, then acknowledge. In the transaction of a Decrypt
// stores the application the plaintext, or the verdict; in that of an Encrypt
// the messages, and sends them from there after the commit, the same bytes as
// often as it takes. On [ErrConflict] run the transaction again.
//
// # Security
//
// What a session gives is said in package ratchet. This package adds: one-time
// prekeys are used up by the message that opens with them, and by no other; an
// initial message without one is accepted once; an identity key that replaces
// a trusted one is shown, and nothing is encrypted for it before the user
// confirmed it; a message costs at most the work of one at the limit, however
// many sessions are tried; what a server leaves out shows in the next message of
// its session or chain that it lets through, by [Result].Missing; a group's chain is that of the device, and of the
// identity key, whose session brought it, and who left the group, registered anew or
// changed its key reads nothing that is sent afterwards. What sender keys do not
// give is in SPEC.md §11.8. Rows are secret: [Seal] encrypts them. A database
// that is restored from a backup uses message keys again; nothing here can
// see it.
//
// # Specification
//
// SPEC.md §10.
package sesame
