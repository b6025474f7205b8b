// Package lamport puts the messages of a conversation in one order that all
// devices agree on, and makes sure that none is accepted twice or lost.
//
// A server uses [Conversation], [Window] and [Receipt] to accept messages; a
// client uses [Clock] and [Key] to order them, [Inbox] to receive each of them
// once, and [Register] for state that changes, such as reactions, edits and
// settings. The frames that carry all this are in package envelope. Neither
// package knows a key. For the sessions of a device use sesame.
//
// # Usage
//
// Server, for each submission, within one transaction: load the rows of the
// conversation, of the sending device and of the message; decide; store.
//
//	receipt, err := conversation.Submit(window, submission, prior)
//	switch err {
//	case nil:                  // store conversation, window, receipt and mailbox rows; commit; answer
//	case lamport.ErrDuplicate: // store nothing; answer receipt as before
//	…                          // store nothing; answer what the error says
//	}
//
// Client, sending: at the time of sealing, in the transaction that moves the
// session, Clock.Tick and the next send counter; the message is shown at its
// [PendingKey] until the answer gives the [ConfirmedKey], and Clock.Observe notes
// that its stamp was accepted.
//
// Client, receiving: Inbox.Receive says what to do with a delivery. Store the
// plaintext and the advanced Inbox in one transaction, then acknowledge.
//
// # Persistence
//
// All types are state machines without I/O, clock or goroutine, and not safe for
// concurrent use. Each has a compact record (AppendBinary, UnmarshalBinary) that
// belongs into the caller's transaction. A method that returns an error has
// changed nothing. If the transaction fails, or may have failed, drop the values
// and load them again: that is the only recovery there is, and it is always
// right. Persist before you send, persist before you acknowledge.
//
// # Security
//
// The server is trusted to order, not to read. What it can do is withhold,
// delay, and order as it likes, and lie about time; positions without holes,
// [Key.Confirm] and envelope.Unpack limit what passes unseen. A client can spend
// its own counters and inflate a conversation's clock by 2¹⁶ per accepted
// message, so that 2³⁷ messages are needed to exhaust it; it cannot suppress or
// repeat the message of another device, because every rule here is per sending
// device, user and number together. Register is last-writer-wins among the
// devices of one author only: a forged stamp pins what is its author's anyway.
//
// SPEC.md §9 is the specification.
package lamport
