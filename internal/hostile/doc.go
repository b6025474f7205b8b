// Package hostile plays a server that attacks its users, and judges what they
// see. It is what "sotto simulate --hostile" runs.
//
// # World
//
// Four devices of three users, and guests who come for one attack, each with
// relay.Client, sesame.Device and lamport's clocks on rows in memory: world.go and
// device.go, with the application's own rules in trust.go, and what it encrypts and
// decrypts in encryption.go. Between them stands an honest
// relay.Server, and before it a layer that keeps the mailboxes and the bundles,
// and does with them what it likes: server.go. Honest messages are written
// between the attacks, and in them nothing may be refused or reported. Before that,
// what could not be read is asked for, so that a session that an attack has used up
// ends.
//
// There is no goroutine, no clock and one source of chance: a seed is a run, but
// for the keys.
//
// # Classes
//
// [Classes] is the table of attacks: what each does, as what it may surface, and,
// where nothing can be noticed, why, and what holds instead. deliveries.go alters
// what comes, answers.go what the server answers, keys.go whom it hands out,
// groups.go sender keys.
//
// # Oracle
//
// After each attack, in oracle.go:
//
//   - Each line on a screen is what that author wrote to that conversation under
//     that message ID, once, on a device of a user who is in it.
//   - Lines of one author stand in his order, unless the user was told that the
//     server contradicts itself.
//   - What the server accepted for a device, and what is not on its screen, was
//     announced to its user, or the class says why it cannot be.
//   - Nobody is told of more missing messages than have not come (missing.go).
//   - The attack surfaced as the class allows, and in no other way; or the class
//     says that it is harmless, and nothing surfaced.
//   - No message key is used twice, nothing is encrypted for a device that is not
//     in the conversation, the server's own devices read nothing after first
//     contact, and no clock is pushed.
package hostile
