package conformance

import (
	"slices"
	"strings"
)

// A difference is a way in which Sotto and the reference answer otherwise to the
// same, and why that is as it should be.
type difference struct {
	name, reason string
	is           func(s step, theirs, ours outcome) bool
}

var differences = []difference{
	{
		"a key that is not canonical", "SPEC.md R-3.2-1: libsignal takes it for another, and goes on, where nothing authenticates it",
		func(s step, theirs, ours outcome) bool { return s.damages() && ours.refused == "InvalidKey" },
	},
	{
		"protobuf that is not strict", "SPEC.md R-2.3-1: libsignal goes on, where nothing authenticates it",
		func(s step, theirs, ours outcome) bool {
			return s.damages() && ours.refused == "InvalidProtobufEncoding"
		},
	},
	{
		"a field of version 4", "SPEC.md R-2.3-3: unknown in a PreKey message of version 3, where nothing authenticates it; libsignal refuses half a KEM prekey",
		func(s step, theirs, ours outcome) bool {
			return s.damages() && theirs.refused == "InvalidMessage" && ours.took(initial) && len(fields(ours.raw[1:])[7]) > 0
		},
	},
	{
		"a first message again", "SPEC.md R-10.3-5: without a one-time prekey, and its session is gone",
		func(s step, theirs, ours outcome) bool {
			return theirs.again && theirs.parcel.kind == initial && ours.refused == "DuplicatedMessage" &&
				(theirs.refused == "" || s.damages() && theirs.refused == "InvalidMessage")
		},
	},
	{
		"the end of a counter", "SPEC.md R-5.4-2, R-11.4-2: libsignal's wraps",
		func(s step, theirs, ours outcome) bool {
			return strings.Contains(theirs.done, " 4294967295,") && (ours.refused == "SessionNotFound" || ours.refused == "InvalidMessage")
		},
	},
	{
		"a chain that comes back", "SPEC.md R-11.5-2: libsignal takes a distribution of a chain that was dropped, or replaced",
		func(s step, theirs, ours outcome) bool {
			return theirs.again && theirs.took(distribution) && ours.refused == "DuplicatedMessage"
		},
	},
	{
		"a UUID without version", "libsignal's JavaScript layer reads the UUIDs of RFC 9562 only",
		func(s step, theirs, ours outcome) bool {
			return s.damages() && theirs.refused == "InvalidMessage" && (ours.refused == "NoSenderKeyState" || ours.took(distribution)) &&
				(ours.raw[9]>>4-1 > 7 || ours.raw[11]>>6 != 2)
		},
	},
}

// formErrors are the errors of what is not of the form that it should have, or not
// authentic. Which of them it is where a length was damaged, random bytes decide.
var formErrors = []string{"InvalidKey", "InvalidMessage", "InvalidProtobufEncoding"}

// took reports whether a parcel of a kind was accepted.
func (o outcome) took(k kind) bool { return o.refused == "" && o.parcel != nil && o.parcel.kind == k }

// documented is the difference between two outcomes of one request, or nil.
func documented(s step, theirs, ours outcome) *difference {
	for i, known := range differences {
		if known.is(s, theirs, ours) {
			return &differences[i]
		}
	}
	return nil
}

// malformed reports whether two outcomes refuse a damaged parcel for its form.
func malformed(s step, theirs, ours outcome) bool {
	return s.damages() && slices.Contains(formErrors, theirs.refused) && slices.Contains(formErrors, ours.refused)
}
