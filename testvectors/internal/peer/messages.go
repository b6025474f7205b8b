package peer

import (
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// parseSignalMessage reads a message before there is a session: the protocol
// tells malformed messages from those that no session opens.
func parseSignalMessage(b []byte) (*ratchet.Message, error) {
	if len(b) > 0 {
		if err := checkVersion(b[0]); err != nil {
			return nil, err
		}
	}
	m, err := ratchet.ParseMessage(b)
	return m, messageError(err)
}

// parsePreKeySignalMessage reads a PreKey message, and for its form also the
// message inside, as libsignal does.
func parsePreKeySignalMessage(b []byte) (*x3dh.InitialMessage, error) {
	if len(b) > 0 {
		if err := checkVersion(b[0]); err != nil {
			return nil, err
		}
	}
	m, err := x3dh.ParseInitialMessage(b)
	if err != nil {
		return nil, messageError(err)
	}
	if _, err := parseSignalMessage(m.Message); err != nil {
		return nil, err
	}
	return m, nil
}

// checkVersion looks at the version byte of a message: its high nibble alone
// counts. The library has one error for a version that is too old and one that
// is too new, the protocol two.
func checkVersion(b byte) error {
	switch v := b >> 4; {
	case v < 3:
		return fail(nameLegacyCiphertextVersion, "message version %d", v)
	case v > 3:
		return fail(nameUnrecognizedCiphertextVersion, "message version %d", v)
	}
	return nil
}
