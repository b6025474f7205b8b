package ratchet

import "errors"

// Each error says what the caller does next. Test them with [errors.Is]; the
// texts carry no key, plaintext or address. After any of them the session is
// what it was, to the encoded byte.
var (
	// ErrAuthentication: the message is not from this session, or was altered:
	// MAC and padding fail alike. Try the other sessions with this peer; if
	// none opens it, drop it, and perhaps ask the peer to send again.
	ErrAuthentication = errors.New("ratchet: message does not authenticate")

	// ErrDuplicate: the key of this message was used. Not a failure:
	// acknowledge the message and drop it. A key that was evicted, being one
	// of over 2,000 skipped in a chain, answers this too (SPEC.md §5.6).
	ErrDuplicate = errors.New("ratchet: duplicate message")

	// ErrTooFarAhead: over 25,000 messages of this chain are missing before
	// this one. Drop it; the session continues with the next DH step.
	ErrTooFarAhead = errors.New("ratchet: message too far ahead")

	// ErrChainExhausted: the counter of the chain is at its end. To send,
	// start a new session; a message received with that counter is dropped.
	ErrChainExhausted = errors.New("ratchet: chain exhausted")

	// ErrMalformed: not a message. Drop it.
	ErrMalformed = errors.New("ratchet: malformed message")

	// ErrVersion: a message, or a record, of a protocol version that this
	// session does not speak. Drop the message; the peer needs another client.
	ErrVersion = errors.New("ratchet: unsupported version")

	// ErrOtherSession: an initial message of another session. Find the session
	// with that base key, or start it with x3dh.Respond.
	ErrOtherSession = errors.New("ratchet: initial message of another session")

	// ErrIdentityMismatch: a repeated initial message that names another
	// identity key than the session has. No honest peer sends it: drop it, and
	// do not store the key.
	ErrIdentityMismatch = errors.New("ratchet: identity key is not the session's")

	// ErrCorrupt: not a session record. Restore it or start a new session.
	ErrCorrupt = errors.New("ratchet: corrupt session record")

	// ErrKeysApart: the session was read from its head alone, and this needs
	// stored keys. Give [ParseHead] where they stand.
	ErrKeysApart = errors.New("ratchet: stored keys stand apart")

	// ErrConcurrentUse: the caller's bug: two calls on one session at the same
	// time. This one did nothing.
	ErrConcurrentUse = errors.New("ratchet: concurrent use of a session")

	// ErrUninitialized: the caller's bug: a zero or nil value, or an agreement
	// that was used before.
	ErrUninitialized = errors.New("ratchet: use of an uninitialized or spent value")
)
