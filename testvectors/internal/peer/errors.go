package peer

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// The names of errors. They are those of the test protocol, which other peers
// answer with as well; Sotto's own errors are fewer and coarser, on purpose.
const (
	nameBadRequest                    = "BadRequest"
	nameInvalidMessage                = "InvalidMessage"
	nameDuplicatedMessage             = "DuplicatedMessage"
	nameUntrustedIdentity             = "UntrustedIdentity"
	nameSessionNotFound               = "SessionNotFound"
	nameInvalidPreKeyID               = "InvalidPreKeyId"
	nameInvalidSignedPreKeyID         = "InvalidSignedPreKeyId"
	nameSignatureValidationFailed     = "SignatureValidationFailed"
	nameInvalidKey                    = "InvalidKey"
	nameLegacyCiphertextVersion       = "LegacyCiphertextVersion"
	nameUnrecognizedCiphertextVersion = "UnrecognizedCiphertextVersion"
	nameInvalidProtobufEncoding       = "InvalidProtobufEncoding"
	nameInvalidKeyAgreement           = "InvalidKeyAgreement"
)

// A failure is an error with the name that the answer gives it.
type failure struct {
	Name    string `json:"name"`
	Message string `json:"message"`
}

func (f *failure) Error() string { return f.Name + ": " + f.Message }

func fail(name, format string, v ...any) error {
	return &failure{name, fmt.Sprintf(format, v...)}
}

func badRequest(format string, v ...any) error { return fail(nameBadRequest, format, v...) }

// refuse makes the answer of an error. One without a name is a bug of this
// program: no request is to blame, and no other name would tell the reader so.
func refuse(id []byte, err error) answer {
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{nameBadRequest, "unexpected: " + err.Error()}
	}
	return answer{ID: id, Error: f}
}

// messageError names what the library says about a message. Everything that is
// not the form of the message, or its repetition, is InvalidMessage: so also a
// base key with a torsion part, which is ErrInvalidKey alone.
func messageError(err error) error {
	malformed := errors.Is(err, x3dh.ErrMalformed) || errors.Is(err, ratchet.ErrMalformed)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ratchet.ErrDuplicate):
		return fail(nameDuplicatedMessage, "%v", err)
	case malformed && errors.Is(err, x3dh.ErrInvalidKey):
		return fail(nameInvalidKey, "%v", err)
	case malformed:
		return fail(nameInvalidProtobufEncoding, "%v", err)
	}
	return fail(nameInvalidMessage, "%v", err)
}

// verdictError names what a device says about a message.
func verdictError(err error) error {
	switch {
	case errors.Is(err, sesame.ErrDuplicate):
		return fail(nameDuplicatedMessage, "%v", err)
	case errors.Is(err, sesame.ErrNoSession):
		return fail(nameSessionNotFound, "%v", err)
	}
	return messageError(err)
}

// recordError names what is wrong with a session record.
func recordError(err error) error {
	return fail(nameInvalidProtobufEncoding, "session record: %v", err)
}
