package senderkey

import (
	"crypto/rand"
	"time"
)

// A Family is one of the two living forms of group messages (SPEC.md §2.2,
// §11.3). They share the version byte, and nothing in the bytes tells them
// apart: a device speaks one. The zero value is Signal.
type Family uint8

// The families.
const (
	Signal   Family = iota // libsignal since 2021: with a distribution ID
	WhatsApp               // the libsignal-protocol-java lineage: without
)

// The older form is today's without its first field, so that all others are one
// lower. Field numbers in this package are today's: wireNumber says how the
// family writes one, and number, which one it read.
func (f Family) wireNumber(n int) int {
	if f == WhatsApp {
		return n - 1
	}
	return n
}

func (f Family) number(n int) int {
	if f == WhatsApp {
		return n + 1
	}
	return n
}

// version is the version of sender keys, versionByte what both families write.
const (
	version     = 3
	versionByte = 0x33
)

// A DistributionID names the chains of one device in one group: a UUID, 16
// bytes in the order of its text. In the Signal family it is in every message
// and under its signature, and is what ties a message to a group: the caller
// keeps which group it was first used for. The WhatsApp family has none on the
// wire.
type DistributionID [16]byte

// newDistributionID draws a UUID of version 4.
func newDistributionID() (id DistributionID) {
	rand.Read(id[:]) // never fails: crypto/rand
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// wireID is what of an ID is on the wire.
func (f Family) wireID(id DistributionID) DistributionID {
	if f == WhatsApp {
		return DistributionID{}
	}
	return id
}

// Limits of a chain (SPEC.md §11.6). They are libsignal's.
const (
	MaxForwardJump = 25_000 // messages that may be missing before one that decrypts
	MaxSkippedKeys = 2_000  // stored message keys of one chain
	MaxChains      = 5      // chains of one device whose messages decrypt
)

// Config is what a [Sender] is to do. It is not in the record, so that a change
// takes effect at the next start.
type Config struct {
	Family Family

	// MaxMessages is after how many messages a chain is replaced. 0 is 100.
	// Above 2,000 it is 2,000: no receiver then loses a message because others
	// of the chain are missing, in no family.
	MaxMessages uint32

	// MaxAge is the age at which a chain is replaced by the next message. 0 and
	// below is 7 days, above 90 days it is 90 days. A second is the unit.
	MaxAge time.Duration
}

const day = 24 * time.Hour

// limits are MaxMessages and MaxAge in seconds, as they apply.
func (c Config) limits() (messages uint32, age uint64) {
	messages, d := c.MaxMessages, c.MaxAge
	if messages == 0 {
		messages = 100
	}
	if d <= 0 {
		d = 7 * day
	}
	d = min(d, 90*day)
	return min(messages, MaxSkippedKeys), uint64((d + time.Second - 1) / time.Second)
}
