package envelope

import "errors"

var (
	// ErrMalformed: the bytes are not the one encoding of a valid message. Drop
	// them and close the connection: a frame that does not parse has no position
	// to be acknowledged. The same bytes will never parse.
	ErrMalformed = errors.New("envelope: malformed")

	// ErrVersion: the version byte is not one that this package reads. Keep the
	// bytes if the program can be updated, and tell the user that it should be.
	ErrVersion = errors.New("envelope: unknown version")

	// ErrTooLarge: over one of the limits of this package. A reader drops the
	// input and closes a stream, which has lost its frame boundaries; a writer
	// sends less, or sends it as an attachment.
	ErrTooLarge = errors.New("envelope: too large")

	// ErrInvalid: the caller's own value breaks a rule of SPEC.md §8 and cannot
	// be written. Fix the code that made it.
	ErrInvalid = errors.New("envelope: value breaks a rule of the format")

	// ErrMismatch: the plaintext is authentic and belongs to another header or
	// another sender. The server, or the sender, lied: show nothing, store the
	// verdict, acknowledge, and count it as an attack.
	ErrMismatch = errors.New("envelope: plaintext belongs to another header")
)

// malformed turns the error of a value that we would not write into the error
// of one that we do not read.
func malformed(err error) error {
	if err == ErrInvalid {
		return ErrMalformed
	}
	return err
}
