package senderkey

import "errors"

// Each error says what the caller does next. Test them with [errors.Is]; the
// texts carry no key, plaintext or name. After any of them the value is what
// it was, to the encoded byte.
var (
	// ErrAuthentication: the message was not written by the device whose chain
	// it names: signature and padding fail alike. Drop it.
	ErrAuthentication = errors.New("senderkey: message does not authenticate")

	// ErrNoChain: no chain of this device has that name, or not any more. Hold
	// the message for a while: its distribution may be on the way. Then ask the
	// sender for it.
	ErrNoChain = errors.New("senderkey: unknown chain")

	// ErrDuplicate: the key of this message was used, or the distribution is of
	// a chain that was here and is gone. Not a failure: acknowledge and drop.
	// A key that was evicted, being one of over 2,000 skipped in a chain,
	// answers this too, and so does a message from before the distribution that
	// brought the chain: who keeps where each chain began can tell that it was
	// never read (SPEC.md §11.4).
	ErrDuplicate = errors.New("senderkey: duplicate")

	// ErrTooFarAhead: over 25,000 messages of this chain are missing before
	// this one. Drop it; the sender's next chain is readable again.
	ErrTooFarAhead = errors.New("senderkey: message too far ahead")

	// ErrChainExhausted: the chain is at its end. To send in a bare [Chain],
	// start a new one; a message received with that number is dropped.
	ErrChainExhausted = errors.New("senderkey: chain exhausted")

	// ErrMalformed: not a group message, or not a distribution. Drop it.
	ErrMalformed = errors.New("senderkey: malformed")

	// ErrVersion: a message, distribution or record of a version, or of a
	// family, that this value does not speak. Drop it.
	ErrVersion = errors.New("senderkey: unsupported version")

	// ErrRoster: the caller's bug: a roster without members, with one twice, or
	// with the zero Member in it. To nobody there is nothing to send.
	ErrRoster = errors.New("senderkey: invalid roster")

	// ErrOldRevision: the roster is older than one that was used. Get the
	// newest one and encrypt again: somebody may have been removed.
	ErrOldRevision = errors.New("senderkey: old revision of the roster")

	// ErrCorrupt: not a record of this type. Restore the row. If that cannot
	// be, start a new [Sender], and ask for the chain of a [Receiver].
	ErrCorrupt = errors.New("senderkey: corrupt record")

	// ErrConcurrentUse: the caller's bug: two calls on one value at the same
	// time. This one did nothing.
	ErrConcurrentUse = errors.New("senderkey: concurrent use")

	// ErrUninitialized: the caller's bug: a zero or nil value.
	ErrUninitialized = errors.New("senderkey: use of an uninitialized value")
)
