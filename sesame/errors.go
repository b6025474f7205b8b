package sesame

import "errors"

// Each error says what the caller does next. Test them with [errors.Is]; the
// texts carry no key, plaintext or address.
var (
	// ErrConflict: another transaction changed the row since it was read, or
	// made one that was not there. Roll back and run the transaction again from
	// the start: it reads the new state.
	ErrConflict = errors.New("sesame: row changed since it was read")

	// ErrSealed: a stored value does not open: it was altered, moved here from
	// another row, never sealed, or the [SealKey] is another one. Roll back and
	// do not acknowledge. Try again with the right key; if the key is right,
	// the database is damaged or somebody wrote into it: do not go on with it.
	ErrSealed = errors.New("sesame: stored value does not open")

	// ErrRowKey: the caller's bug: the key of a row is empty or longer than
	// [MaxRowKeySize].
	ErrRowKey = errors.New("sesame: row key is empty or too long")

	// ErrUninitialized: the caller's bug: a zero or nil value, or a transaction
	// that has ended.
	ErrUninitialized = errors.New("sesame: use of an uninitialized or spent value")

	// ErrConfig: the caller's bug: a Config without a clock, or with a value
	// that there is not.
	ErrConfig = errors.New("sesame: unusable configuration")

	// ErrTimestamp: the caller's bug: a timestamp of 0, or one under which another
	// plaintext was logged in the last 14 days. Roll back and take another one.
	ErrTimestamp = errors.New("sesame: timestamp names another message")

	// ErrCorrupt: a row of the database does not make sense. Roll back and do
	// not acknowledge. Restore the database, or, if it is a session's or a
	// peer's, Forget that device. In [Message].Err it is about the rows of that
	// device: commit, the messages for the others are good.
	ErrCorrupt = errors.New("sesame: corrupt row")
)

// Verdicts: what is wrong with a message, or keeps one device from getting
// one. They stand in [Result].Err and [Message].Err: commit, and then act.
var (
	// ErrDuplicate: the message was decrypted before. Acknowledge and drop.
	ErrDuplicate = errors.New("sesame: duplicate message")

	// ErrUndecryptable: no session opens the message: it was altered, is not
	// from that device, or belongs to a session that is lost. It wraps the
	// reason. Acknowledge it, ask for it with RetryRequest, and tell the user
	// that a message is missing.
	ErrUndecryptable = errors.New("sesame: message does not decrypt")

	// ErrUnknownPreKey: an initial message to a prekey that is gone, or, without a
	// one-time prekey, of a session that was accepted before and is not there any
	// more, or not under this address. As ErrUndecryptable; the sender has to
	// start again from a fresh bundle. It does not know, so Start from its bundle
	// before you write: if your own session is to a prekey that is gone, neither
	// reads the other.
	ErrUnknownPreKey = errors.New("sesame: initial message to a prekey that is gone")

	// ErrNoSession: there is no session with that device, or none that may be
	// written in. Fetch its bundle and Start.
	ErrNoSession = errors.New("sesame: no session with the device")

	// ErrIdentityChanged: the device shows an identity key that is not the
	// trusted one. Ask the user, then Confirm.
	ErrIdentityChanged = errors.New("sesame: identity key waits for confirmation")

	// ErrHeld: a group message has come before its distribution. It is held, and
	// [Device.ProcessDistribution] gives it. Acknowledge it. To be sure of it make
	// a RetryRequest now, and send it if the message is not there in a while.
	ErrHeld = errors.New("sesame: group message waits for its distribution")

	// ErrRetryRefused: a retry request that nothing is sent for. It wraps the
	// reason. Acknowledge and drop it; do not answer.
	ErrRetryRefused = errors.New("sesame: retry request refused")

	// ErrAddress: not an address: no user, one of over 256 bytes, or a device
	// number over 127. Or no name of a group, or one of over 128 bytes.
	ErrAddress = errors.New("sesame: invalid address")
)
