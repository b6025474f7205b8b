// Package replay is the door to the cores of the protocol for "sotto verify",
// which has to give them the keys that they otherwise draw: a known answer is
// one for known keys.
//
// Packages x3dh, ratchet and senderkey put functions here when they are
// initialized, and read nothing here: whatever these variables hold, no session
// of a program changes. Only internal/verify calls them; a test of the import
// rules holds that. Records go in and come out as bytes, so that each call is a
// function of its arguments. On an error the record that comes out is that of
// the unchanged state.
package replay

import "github.com/sotto-im/sotto/internal/secret"

// A Key is a private key that a function asks for, clamped: 32 bytes.
type Key = func() [32]byte

// Initiate is x3dh.Initiate with the base key given. identity is the record of
// the identity key, bundle the encoded bundle.
var Initiate func(identity, bundle []byte, base [32]byte) (*secret.Handshake, error)

// A SessionConfig is ratchet.Config.
type SessionConfig struct {
	Family         uint8
	RegistrationID uint32
	Created        int64 // seconds since 1970
}

// NewSession is ratchet.New with the first ratchet key given. It takes the
// handshake.
var NewSession func(h *secret.Handshake, c SessionConfig, ratchetKey Key) (record []byte, err error)

// AcceptSession is ratchet.Accept with the ratchet key of the DH step given. It
// takes the handshake.
var AcceptSession func(h *secret.Handshake, c SessionConfig, ratchetKey Key) (record, plaintext []byte, err error)

// DecryptSession is ratchet.Session.Decrypt with the ratchet key given, which
// is asked for if there is a DH step, and ratchet.Session.Missing.
var DecryptSession func(record []byte, family uint8, message []byte, ratchetKey Key) (next, plaintext []byte, missing uint32, err error)

// NewChain is senderkey.NewChain with everything given that it draws.
var NewChain func(family uint8, distribution [16]byte, chainID uint32, chainKey, signing [32]byte) (record []byte)

// A SenderConfig is senderkey.Config.
type SenderConfig struct {
	Family                  uint8
	MaxMessages, MaxSeconds uint32
}

// A Roster is senderkey.Roster.
type Roster struct {
	Revision uint64
	Members  [][32]byte
}

// A NewGroupChain is all that a sender draws for a new chain.
type NewGroupChain struct {
	ChainID           uint32
	ChainKey, Signing [32]byte
	Distribution      [16]byte
}

// Sent is senderkey.Sent, with the distribution encoded.
type Sent struct {
	Message, Distribution []byte
	Missing               [][32]byte
	Rotated               bool
}

// EncryptGroup is senderkey.Sender.Encrypt with the values of a new chain given, which
// are asked for if one begins. now is in seconds since 1970.
var EncryptGroup func(record []byte, c SenderConfig, r Roster, now int64, plaintext []byte, draw func() NewGroupChain) (next []byte, sent Sent, err error)
