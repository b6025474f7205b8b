package main

import (
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// macSize is the size of the MAC behind a SignalMessage, in bytes.
const macSize = 8

// A signalMessage holds the fields of a SignalMessage, as they are sent. The
// library does not give them away: nothing in them is authenticated before the
// message has been decrypted.
type signalMessage struct {
	version         byte
	ratchetKey      x3dh.PublicKey
	counter         uint32
	previousCounter uint32
	ciphertext, mac []byte
}

// parseSignalMessage reads a message as package ratchet does, before there is a
// session: the protocol tells malformed messages from those that no session
// opens.
func parseSignalMessage(b []byte) (*signalMessage, error) {
	if len(b) < 1+macSize {
		return nil, messageError(ratchet.ErrMalformed)
	}
	if err := checkVersion(b[0]); err != nil {
		return nil, err
	}
	body := len(b) - macSize
	m := &signalMessage{version: b[0] >> 4, mac: b[body:]}
	var key []byte
	d := wire.Decode(b[1:body])
	for d.Next() {
		switch d.Num() {
		case 1:
			key = d.Bytes()
		case 2:
			m.counter = d.Uint32()
		case 3:
			m.previousCounter = d.Uint32()
		case 4:
			m.ciphertext = d.Bytes()
		default:
			d.Skip()
		}
	}
	if d.Close(1, 2, 4) != nil {
		return nil, messageError(ratchet.ErrMalformed)
	}
	var err error
	if m.ratchetKey, err = x3dh.ParsePublicKey(key); err != nil {
		return nil, fail(nameInvalidKey, "ratchet key: %v", err)
	}
	return m, nil
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
