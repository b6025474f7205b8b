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
)
