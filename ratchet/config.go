package ratchet

import "time"

// sessionVersion is the version of sessions that this package speaks.
const sessionVersion = 3

// A Family is one of the two living families of session version 3 (SPEC.md
// §2.2). A session writes one of them and reads both. The zero value is Signal.
type Family uint8

// The families.
const (
	Signal   Family = iota // libsignal up to 0.72.1: version byte 0x34
	WhatsApp               // the libsignal-protocol-java lineage: 0x33, which is all that it reads
)

func (f Family) versionByte() byte {
	if f == WhatsApp {
		return 0x33
	}
	return 0x34
}

// A Type is the type of a message, which travels outside of it: an initial
// message and an ordinary one cannot be told apart by their bytes. The numbers
// are libsignal's.
type Type uint8

// The types. 0 is none.
const (
	Ordinary Type = 2 // SignalMessage: for Session.Decrypt
	Initial  Type = 3 // PreKeySignalMessage: for x3dh.ParseInitialMessage

	// PlaintextContent is the type of a retry request: for package sesame. It is
	// not encrypted, and no session takes it.
	PlaintextContent Type = 8
)

// Config is what a new session needs beside the agreement.
type Config struct {
	Family         Family
	RegistrationID uint32    // of this device
	Created        time.Time // now; at the initiator it ages a session that nobody answers
}
