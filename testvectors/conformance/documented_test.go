package conformance

import (
	"bytes"
	"slices"
	"strings"

	"github.com/sotto-im/sotto/ratchet"
)

// A difference is a way in which Sotto and the reference answer otherwise to the
// same, and why that is as it should be.
type difference struct {
	name, reason string
	is           func(s step, theirs, ours outcome) bool
}

// common are those of both references.
var common = []difference{
	{
		"a key that is not canonical", "SPEC.md R-3.2-1: the peers take it for another, and go on, where nothing authenticates it",
		func(s step, theirs, ours outcome) bool { return s.damages() && ours.refused == "InvalidKey" },
	},
	{
		"protobuf that is not strict", "SPEC.md R-2.3-1: libsignal goes on, where nothing authenticates it; go.mau.fi/libsignal authenticates the values",
		func(s step, theirs, ours outcome) bool {
			return s.damages() && ours.refused == "InvalidProtobufEncoding"
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
		"the end of a counter", "SPEC.md R-5.4-2, R-11.4-2: theirs wraps",
		func(s step, theirs, ours outcome) bool {
			return strings.Contains(theirs.done, " 4294967295,") && (ours.refused == "SessionNotFound" || ours.refused == "InvalidMessage")
		},
	},
	{
		"a chain that comes back", "SPEC.md R-11.5-2: the peers take a distribution of a chain that was dropped, or replaced",
		func(s step, theirs, ours outcome) bool {
			return theirs.again && theirs.took(distribution) && ours.refused == "DuplicatedMessage"
		},
	},
}

var differences = map[ratchet.Family][]difference{
	ratchet.Signal: slices.Concat(common, []difference{
		{
			"a field of version 4", "SPEC.md R-2.3-3: unknown in a PreKey message of version 3, where nothing authenticates it; libsignal refuses half a KEM prekey",
			func(s step, theirs, ours outcome) bool {
				return s.damages() && theirs.refused == "InvalidMessage" && ours.took(initial) && len(fields(ours.raw[1:])[7]) > 0
			},
		},
		{
			"a UUID without version", "libsignal's JavaScript layer reads the UUIDs of RFC 9562 only",
			func(s step, theirs, ours outcome) bool {
				return s.damages() && theirs.refused == "InvalidMessage" && (ours.refused == "NoSenderKeyState" || ours.took(distribution)) &&
					(ours.raw[9]>>4-1 > 7 || ours.raw[11]>>6 != 2)
			},
		},
	}),
	ratchet.WhatsApp: slices.Concat(common, []difference{
		{
			"a version byte", "SPEC.md R-2.2-2, R-2.2-3, R-11.4-1: go.mau.fi/libsignal authenticates what it would have written itself, and reads version 2",
			func(s step, theirs, ours outcome) bool {
				return s.damages() && onlyVersion(theirs.parcel, theirs.raw) &&
					(theirs.refused == "" && ours.refused != "" || ours.refused == "LegacyCiphertextVersion")
			},
		},
		{
			"another base key", "SPEC.md R-4.5-1: go.mau.fi/libsignal tries the sessions that are there as well",
			func(s step, theirs, ours outcome) bool {
				return s.damages() && theirs.parcel.kind == initial && ours.refused == "InvalidMessage" &&
					(theirs.refused == "" || theirs.refused == "DuplicatedMessage") && ours.parcel.baseKey() != string(sub(fields(ours.raw[1:]), 2))
			},
		},
		{
			"a jump of more than 2,000", "SPEC.md R-5.6-1, R-11.4-6: go.mau.fi/libsignal refuses it",
			func(s step, theirs, ours outcome) bool {
				return theirs.refused == "InvalidMessage" && ours.refused == "" && ours.parcel.counter() > 2000
			},
		},
		{
			"a session that comes back", "SPEC.md R-10.4-1, R-1-1: go.mau.fi/libsignal keeps it among the past ones too, and leaves a new chain in each that it tried before",
			func(s step, theirs, ours outcome) bool {
				current, _, _ := strings.Cut(theirs.looks, "\n")
				ofOurs, _, _ := strings.Cut(ours.looks, "\n")
				return theirs.promoted && ours.promoted && current == ofOurs
			},
		},
		{
			"a distribution again", "SPEC.md R-11.5-1: go.mau.fi/libsignal takes it for that of another chain",
			func(s step, theirs, ours outcome) bool {
				others := strings.Split(theirs.looks, "\n")[2:] // without the ID, and the chain that it has begun
				return theirs.again && theirs.took(distribution) && ours.took(distribution) &&
					!slices.ContainsFunc(others, func(chain string) bool { return !strings.Contains(ours.looks, chain) })
			},
		},
	}),
}

// onlyVersion reports whether the version bytes alone are not those of a parcel: the
// first one, and of an initial message the one of the message inside.
func onlyVersion(p *parcel, raw []byte) bool {
	if len(raw) != len(p.raw) {
		return false
	}
	is, was := bytes.Clone(raw), bytes.Clone(p.raw)
	is[0] = was[0]
	if p.kind == initial {
		if inner := bytes.Index(was, sub(fields(was[1:]), 4)); inner > 0 {
			is[inner] = was[inner]
		}
	}
	return bytes.Equal(is, was)
}

// counter is the number of a message of the WhatsApp family in its chain.
func (p *parcel) counter() uint64 {
	b := p.raw
	if p.kind == initial {
		b = sub(fields(b[1:]), 4)
	}
	return number(fields(b[1:]), 2)
}

func (p *parcel) baseKey() string { return string(sub(fields(p.raw[1:]), 2)) }

// formErrors are the errors of what is not of the form that it should have, or not
// authentic. Which of them it is where a length was damaged, random bytes decide.
var formErrors = []string{"InvalidKey", "InvalidMessage", "InvalidProtobufEncoding"}

// took reports whether a parcel of a kind was accepted.
func (o outcome) took(k kind) bool { return o.refused == "" && o.parcel != nil && o.parcel.kind == k }

// documented is the difference between two outcomes of one request, or nil.
func documented(f ratchet.Family, s step, theirs, ours outcome) *difference {
	for i, known := range differences[f] {
		if known.is(s, theirs, ours) {
			return &differences[f][i]
		}
	}
	return nil
}

// malformed reports whether two outcomes refuse a damaged parcel for its form.
func malformed(s step, theirs, ours outcome) bool {
	return s.damages() && slices.Contains(formErrors, theirs.refused) && slices.Contains(formErrors, ours.refused)
}
