package verify

import (
	"io"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// named are the errors of the library by the name that the vectors give them. A
// test holds the list to the packages.
var named = map[string]error{
	"io.ErrUnexpectedEOF":         io.ErrUnexpectedEOF,
	"x3dh.ErrAuthentication":      x3dh.ErrAuthentication,
	"x3dh.ErrInvalidKey":          x3dh.ErrInvalidKey,
	"x3dh.ErrMalformed":           x3dh.ErrMalformed,
	"x3dh.ErrPreKey":              x3dh.ErrPreKey,
	"x3dh.ErrPreKeyID":            x3dh.ErrPreKeyID,
	"x3dh.ErrUninitialized":       x3dh.ErrUninitialized,
	"x3dh.ErrVersion":             x3dh.ErrVersion,
	"ratchet.ErrAuthentication":   ratchet.ErrAuthentication,
	"ratchet.ErrChainExhausted":   ratchet.ErrChainExhausted,
	"ratchet.ErrConcurrentUse":    ratchet.ErrConcurrentUse,
	"ratchet.ErrCorrupt":          ratchet.ErrCorrupt,
	"ratchet.ErrDuplicate":        ratchet.ErrDuplicate,
	"ratchet.ErrIdentityMismatch": ratchet.ErrIdentityMismatch,
	"ratchet.ErrKeysApart":        ratchet.ErrKeysApart,
	"ratchet.ErrMalformed":        ratchet.ErrMalformed,
	"ratchet.ErrOtherSession":     ratchet.ErrOtherSession,
	"ratchet.ErrTooFarAhead":      ratchet.ErrTooFarAhead,
	"ratchet.ErrUninitialized":    ratchet.ErrUninitialized,
	"ratchet.ErrVersion":          ratchet.ErrVersion,
	"senderkey.ErrAuthentication": senderkey.ErrAuthentication,
	"senderkey.ErrChainExhausted": senderkey.ErrChainExhausted,
	"senderkey.ErrConcurrentUse":  senderkey.ErrConcurrentUse,
	"senderkey.ErrCorrupt":        senderkey.ErrCorrupt,
	"senderkey.ErrDuplicate":      senderkey.ErrDuplicate,
	"senderkey.ErrMalformed":      senderkey.ErrMalformed,
	"senderkey.ErrNoChain":        senderkey.ErrNoChain,
	"senderkey.ErrOldRevision":    senderkey.ErrOldRevision,
	"senderkey.ErrRoster":         senderkey.ErrRoster,
	"senderkey.ErrTooFarAhead":    senderkey.ErrTooFarAhead,
	"senderkey.ErrUninitialized":  senderkey.ErrUninitialized,
	"senderkey.ErrVersion":        senderkey.ErrVersion,
	"sesame.ErrAddress":           sesame.ErrAddress,
	"sesame.ErrConfig":            sesame.ErrConfig,
	"sesame.ErrConflict":          sesame.ErrConflict,
	"sesame.ErrCorrupt":           sesame.ErrCorrupt,
	"sesame.ErrDuplicate":         sesame.ErrDuplicate,
	"sesame.ErrHeld":              sesame.ErrHeld,
	"sesame.ErrIdentityChanged":   sesame.ErrIdentityChanged,
	"sesame.ErrNoSession":         sesame.ErrNoSession,
	"sesame.ErrRetryRefused":      sesame.ErrRetryRefused,
	"sesame.ErrRowKey":            sesame.ErrRowKey,
	"sesame.ErrSealed":            sesame.ErrSealed,
	"sesame.ErrTimestamp":         sesame.ErrTimestamp,
	"sesame.ErrUndecryptable":     sesame.ErrUndecryptable,
	"sesame.ErrUninitialized":     sesame.ErrUninitialized,
	"sesame.ErrUnknownPreKey":     sesame.ErrUnknownPreKey,
	"envelope.ErrInvalid":         envelope.ErrInvalid,
	"envelope.ErrMalformed":       envelope.ErrMalformed,
	"envelope.ErrMismatch":        envelope.ErrMismatch,
	"envelope.ErrTooLarge":        envelope.ErrTooLarge,
	"envelope.ErrVersion":         envelope.ErrVersion,
	"lamport.ErrAuthor":           lamport.ErrAuthor,
	"lamport.ErrClockBound":       lamport.ErrClockBound,
	"lamport.ErrConflict":         lamport.ErrConflict,
	"lamport.ErrDuplicate":        lamport.ErrDuplicate,
	"lamport.ErrExhausted":        lamport.ErrExhausted,
	"lamport.ErrInvalid":          lamport.ErrInvalid,
	"lamport.ErrMalformed":        lamport.ErrMalformed,
	"lamport.ErrOrder":            lamport.ErrOrder,
	"lamport.ErrTooOld":           lamport.ErrTooOld,
}
