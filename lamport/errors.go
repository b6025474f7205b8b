package lamport

import "errors"

var (
	// ErrInvalid: an argument or the receiver breaks a rule of SPEC.md §9: a
	// zero ID, a number over [Max], a zero value where a constructor is needed,
	// a row that was loaded for another device or message. If the value came
	// out of a frame, refuse the frame; otherwise fix the code.
	ErrInvalid = errors.New("lamport: invalid value")

	// ErrMalformed: bytes are not a record of this type. The row is damaged or
	// a newer program's: stop, and restore the row.
	ErrMalformed = errors.New("lamport: malformed record")

	// ErrDuplicate: the message was accepted before, and Submit returns that
	// receipt. Not a failure: store nothing, answer with the receipt.
	ErrDuplicate = errors.New("lamport: accepted before")

	// ErrTooOld: the send counter was used before, so the message was accepted,
	// and its receipt is forgotten. Store nothing and say so; the client marks
	// the message sent.
	ErrTooOld = errors.New("lamport: accepted before, receipt forgotten")

	// ErrConflict: the device used this message ID in another conversation, or
	// registers of two authors were to be merged. Refuse for good.
	ErrConflict = errors.New("lamport: identity conflict")

	// ErrClockBound: the stamp is more than [MaxLead] above what was accepted.
	// Refuse the message, and tell Conversation.MaxStamp.
	ErrClockBound = errors.New("lamport: stamp too far ahead")

	// ErrExhausted: the number would pass [Max]. A conversation goes on in its
	// next epoch (Restart); a clock does not go on.
	ErrExhausted = errors.New("lamport: numbers exhausted")

	// ErrAuthor: the writer is a device of another user than the register's
	// author. Drop the write and count it as an attack.
	ErrAuthor = errors.New("lamport: not the author")

	// ErrOrder: a number does not follow from what came before. The server
	// contradicts itself: from Key.Confirm, show the message at the position
	// anyway and mark it; from Clock.Lower, the message has failed. From
	// Inbox.Advance: fix the code.
	ErrOrder = errors.New("lamport: number out of order")
)
