package main

import (
	"errors"
	"fmt"
	"strings"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/libsignal/signalerror"
)

type peerError struct{ name, msg string }

func (e *peerError) Error() string { return e.msg }

func fail(name, format string, a ...any) { panic(&peerError{name, fmt.Sprintf(format, a...)}) }
func bad(format string, a ...any)        { fail("BadRequest", format, a...) }
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// names maps the library's sentinels, first match wins: a wrapped error may hold several.
var names = []struct {
	err  error
	name string
}{
	{signalerror.ErrOldCounter, "DuplicatedMessage"},
	{signalerror.ErrUntrustedIdentity, "UntrustedIdentity"},
	{signalerror.ErrNoOneTimeKeyFound, "InvalidPreKeyId"},
	{signalerror.ErrNoSignedPreKey, "InvalidSignedPreKeyId"},
	{signalerror.ErrInvalidSignature, "SignatureValidationFailed"},
	{signalerror.ErrSenderKeyStateVerificationFailed, "SignatureValidationFailed"},
	{signalerror.ErrNoSenderKeyForUser, "NoSenderKeyState"},
	{signalerror.ErrNoSenderKeyStateForID, "NoSenderKeyState"},
	{signalerror.ErrNoSenderKeyStatesInRecord, "NoSenderKeyState"},
	{signalerror.ErrNoSessionForUser, "SessionNotFound"},
	{signalerror.ErrOldMessageVersion, "LegacyCiphertextVersion"},
	{signalerror.ErrUnknownMessageVersion, "UnrecognizedCiphertextVersion"},
	{signalerror.ErrIncompleteMessage, "InvalidProtobufEncoding"},
	{ecc.ErrBadKeyType, "InvalidKey"},
	{signalerror.ErrBadMAC, "InvalidMessage"},
	{signalerror.ErrNoValidSessions, "InvalidMessage"},
	{signalerror.ErrTooFarIntoFuture, "InvalidMessage"},
	{signalerror.ErrUninitializedSession, "InvalidMessage"},
	{signalerror.ErrWrongMessageVersion, "InvalidMessage"},
}

func errorName(v any) (name, msg string) {
	err, ok := v.(error)
	if !ok {
		return "InvalidMessage", fmt.Sprintf("panic: %v", v)
	}
	var pe *peerError
	if errors.As(err, &pe) {
		return pe.name, pe.msg
	}
	for _, n := range names {
		if errors.Is(err, n.err) {
			return n.name, err.Error()
		}
	}
	if strings.Contains(err.Error(), "proto") {
		return "InvalidProtobufEncoding", err.Error()
	}
	if re, ok := v.(interface{ RuntimeError() }); ok {
		return "InvalidMessage", fmt.Sprintf("panic: %v", re)
	}
	return "InvalidMessage", err.Error()
}
