package conformance

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// schedule is the bytes of steps.
func schedule(all ...[]step) (b []byte) {
	for _, s := range slices.Concat(all...) {
		first := byte(s.act) | byte(s.who)<<7
		if s.third {
			first |= withThird
		}
		b = append(b, first, byte(s.what), byte(s.how))
	}
	return b
}

// by is a step of an account.
func by(who int, a action, how int) []step { return []step{{act: a, who: who, how: how}} }

// on is a step with a parcel, or one for each how.
func on(what int, a action, how ...int) []step {
	if len(how) == 0 {
		how = []int{0}
	}
	var s []step
	for _, h := range how {
		s = append(s, step{act: a, what: what, how: h})
	}
	return s
}

// third is steps with the third account in place of the second.
func third(all []step) (s []step) {
	for _, st := range all {
		st.third = true
		s = append(s, st)
	}
	return s
}

// everywhere is to do something to a parcel at 51 places, from its last byte to one near
// the first.
func everywhere(what int, a action) (s []step) {
	for how := 255; how > 0; how -= 5 {
		s = append(s, step{act: a, what: what + how<<5&0xe0, how: how})
	}
	return s
}

func jumpOf(n uint64) int { return slices.Index(jumps, n) }

var one = by(0, send, 4)

// differs is the documented difference that a seed has to reach.
var differs = map[string]string{
	"a prekey ID twice":               "protobuf that is not strict",
	"a first message again":           "a first message again",
	"bit 255 of a base key":           "a key that is not canonical",
	"a field of version 4":            "a field of version 4",
	"the last counter":                "the end of a counter",
	"a dropped chain":                 "a chain that comes back",
	"whatsapp a prekey ID twice":      "protobuf that is not strict",
	"whatsapp a first message again":  "a first message again",
	"whatsapp bit 255 of a base key":  "a key that is not canonical",
	"whatsapp the last counter":       "the end of a counter",
	"whatsapp a dropped chain":        "a chain that comes back",
	"whatsapp a version byte damaged": "a version byte",
	"whatsapp another base key":       "another base key",
	"whatsapp jump of 1998":           "a jump of more than 2,000",
	"whatsapp group jump of 1998":     "a jump of more than 2,000",
	"whatsapp at once":                "a session that comes back",
	"whatsapp distributions again":    "a distribution again",
}

// seeds reach every action and every documented difference.
func seeds() map[string][]byte {
	talking := slices.Concat(by(0, startSession, 1), by(0, turns, 0))
	group := slices.Concat(by(0, distribute, 0), on(0, deliver), by(0, groupSend, 5))
	chain := func(held int) []step { // a new one, and a message that joins those that are held back
		return slices.Concat(by(0, rotate, 0), by(0, distribute, 0), on(held, deliver), by(0, groupSend, 5))
	}
	m := map[string][]byte{
		"in order, and not": schedule(by(0, startSession, 1), one, by(0, send, 0), by(0, send, 6), on(2, deliver), on(0, duplicate), on(0, deliver),
			on(0, drop), by(1, send, 5), by(1, send, 1), on(1, deliver), one, on(2, replay), on(0, replay), by(1, turns, 2), by(0, flush, 1)),
		"without a one-time prekey": schedule(by(1, startSession, 0), by(1, send, 2), by(1, send, 3), on(1, deliver), on(0, replay), by(0, turns, 1)),
		"at once": schedule(by(0, startBoth, 1), one, by(1, send, 4), by(1, send, 4), on(1, deliver), on(0, deliver), one, by(0, turns, 5),
			by(0, startBoth, 2), by(1, send, 1), one, by(0, flush, 1), by(1, turns, 3)),
		"a first message damaged":          schedule(by(0, startSession, 1), one, everywhere(0, cut), everywhere(0, corrupt), on(0, deliver)),
		"a message damaged":                schedule(talking, one, one, everywhere(0, cut), everywhere(0, corrupt), on(5<<5, corrupt, 0), on(6<<5, corrupt, 0), by(0, flush, 0)),
		"a repeated first message damaged": schedule(by(0, startSession, 1), one, one, on(0, deliver), everywhere(0, corrupt), on(0, deliver)),
		"of another ratchet key, damaged":  schedule(talking, by(1, send, 3), on(0, deliver), one, everywhere(0, corrupt), on(0, deliver), by(0, turns, 0)),
		"a prekey ID twice":                schedule(by(0, startSession, 1), one, one, on(0, deliver), on(5<<5, corrupt, 249)),
		"bit 255 of a base key":            schedule(by(0, startSession, 1), one, on(7<<5, corrupt, 60)),
		"another base key":                 schedule(by(0, startSession, 0), one, one, on(0, deliver), on(3<<5, corrupt, 25), on(0, deliver)),
		"another base key, read before":    schedule(by(0, startSession, 0), one, one, on(0, deliver), on(0, duplicate), on(3<<5, corrupt, 25)),
		"a field of version 4":             schedule(by(0, startSession, 1), one, on(4<<5, corrupt, 249)),
		// 42 with the first two: one that is gone, whose message then comes again, and the oldest that is kept.
		"sessions": schedule(by(0, startSession, 0), one, on(0, duplicate), by(0, startSession, 0), one, one, on(1, deliver),
			slices.Repeat(by(0, sessions, 7), 5), on(1, duplicate), by(0, reset, 0), by(1, reset, 0), by(1, sessions, 1), on(3<<5, corrupt, 200), on(0, replay)),
		"a first message again": schedule(by(0, startSession, 0), one, on(0, deliver), slices.Repeat(by(0, sessions, 7), 6), on(0, replay)),
		"receiving chains":      schedule(talking, by(0, send, 1), by(0, turns, 3), on(0, duplicate), by(0, send, 1), by(0, turns, 5), on(0, deliver), on(0, deliver)),
		"reloaded":              schedule(by(0, startSession, 1), by(0, reload, 0), one, one, on(1, deliver), by(1, reload, 0), on(0, deliver), by(1, turns, 0), by(0, reload, 0), by(0, turns, 1)),
		"reset": schedule(by(0, reset, 0), talking, one, by(1, send, 1), by(0, reset, 0), by(0, send, 1), by(0, flush, 0), by(0, send, 2), by(1, reset, 0), by(0, flush, 0),
			by(1, startSession, 0), by(1, turns, 1)),
		"three": schedule(talking, third(talking), one, third(one), by(1, send, 1), third(by(1, send, 1)), third(on(0, duplicate)), third(on(1, duplicate)), third(on(2, duplicate)),
			by(0, flush, 1), third(by(0, reload, 0)), third(by(0, startBoth, 1)), third(one), third(by(1, send, 2)), by(0, flush, 0), by(0, turns, 1), third(by(0, turns, 0))),
		"three in a group": schedule(group, third(by(0, distribute, 0)), on(1, deliver), by(0, groupSend, 1), third(on(0, duplicate)), third(on(1, duplicate)), by(0, flush, 1),
			third(by(1, distribute, 0)), third(by(1, groupSend, 1)), third(on(1, duplicate)), third(on(0, duplicate)), third(on(1, duplicate)), by(0, flush, 0),
			by(0, rotate, 1), by(0, distribute, 0), by(0, groupSend, 1), third(on(1, duplicate)), by(0, flush, 0)),
		"astray":                 schedule(by(0, startSession, 1), one, on(0, stray, 0, 1, 2), on(0, deliver), by(1, turns, 0), one, on(0, stray, 0, 1, 2), by(0, flush, 0)),
		"without a session":      schedule(one, by(1, send, 1), by(0, startSession, 1), by(1, send, 1), one, by(0, reinstall, 0), on(0, deliver), one),
		"reinstalled":            schedule(talking, one, by(1, reinstall, 0), on(0, deliver), by(0, startSession, 1), by(0, trust, 0), by(0, startSession, 1), by(0, turns, 1)),
		"a version byte damaged": schedule(talking, one, on(4<<5, corrupt, 0), on(0, corrupt, 0)),
		"the last counter":       schedule(talking, by(0, jump, jumpOf(1<<32-3)), one, one, one),
		"group": schedule(by(0, groupSend, 1), group, by(0, groupSend, 0), by(0, groupSend, 1), on(2, deliver), on(1, duplicate), on(1, deliver), on(0, deliver),
			by(1, distribute, 0), by(1, groupSend, 1), on(1, deliver), by(0, flush, 0), by(1, groupReload, 0), by(0, groupReload, 0), by(1, groupSend, 1), on(0, replay)),
		"late in a group":         schedule(group, by(0, groupSend, 1), by(0, distribute, 0), on(2, deliver), by(0, flush, 0)),
		"a group message damaged": schedule(group, on(0, stray, 0, 1, 2), everywhere(0, cut), everywhere(0, corrupt), on(6<<5, corrupt, 14), on(0, deliver)),
		"a distribution damaged":  schedule(by(0, distribute, 0), on(0, stray, 0, 1, 2), everywhere(0, cut), everywhere(0, corrupt), on(0, deliver)),
		"chains of a group":       schedule(chain(0), chain(1), chain(2), chain(3), by(0, rotate, 1), chain(4), by(0, rotate, 1), by(0, flush, 1)),
		"distributions again":     schedule(chain(0), by(0, groupSend, 1), on(1, deliver), on(0, replay), on(2, replay), on(0, deliver), chain(0), on(0, replay)),
		"a dropped chain":         schedule(chain(0), chain(1), chain(2), chain(3), chain(4), chain(5), on(2, replay), on(3, deliver), on(0, deliver), on(0, replay)),
	}
	m["a jump too far"] = schedule(talking, by(0, jump, jumpOf(25_001)), one, on(0, deliver))
	m["a group jump too far"] = schedule(group, on(0, deliver), by(0, groupJump, jumpOf(25_001)), by(0, groupSend, 2), on(0, deliver))
	// 2,000 messages, which is as far as go.mau.fi/libsignal jumps.
	m["a long jump"] = schedule(talking, one, one, by(0, jump, jumpOf(1998)), one, on(2, deliver), on(1, deliver), on(0, deliver), one)
	m["a long group jump"] = schedule(group, by(0, groupSend, 1), by(0, groupJump, jumpOf(1998)), by(0, groupSend, 2), on(2, deliver), on(1, deliver), on(0, deliver), by(0, groupSend, 2))
	for _, n := range []uint64{2, 1998} {
		m["jump of "+fmt.Sprint(n)] = schedule(talking, one, one, one, by(0, jump, jumpOf(n)), one, on(3, deliver), on(2, deliver), on(1, deliver), on(0, deliver), one)
		m["group jump of "+fmt.Sprint(n)] = schedule(group, by(0, groupSend, 1), by(0, groupSend, 1), by(0, groupJump, jumpOf(n)), by(0, groupSend, 2),
			on(3, deliver), on(2, deliver), on(1, deliver), on(0, deliver), by(0, groupSend, 2))
	}
	for name, b := range maps.Clone(m) {
		b = bytes.Clone(b)
		b[0] |= inWhatsApp
		m["whatsapp "+name] = b
	}
	return m
}
