package fuzz

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// An action is what happens, as a byte of the input says.
type action = byte

// act is action a, in the low four bits, with an argument, 0 to 15.
func act(a action, arg byte) byte { return arg<<4 | a }

// maxSchedule bounds the time that one input takes.
const maxSchedule = 200

// A stage is what the worlds of all three targets have: where in the schedule they
// are, what has happened, and whom to tell of a broken rule.
type stage struct {
	broken  func(format string, args ...any) // does not return
	step    int
	reached map[string]int // what happened: seeds that do not reach it all would let it rot
}

func newStage(broken func(format string, args ...any)) stage {
	return stage{broken: broken, reached: map[string]int{}}
}

func (s *stage) fail(format string, args ...any) {
	s.broken("step %d: "+format, append([]any{s.step}, args...)...)
}

func (s *stage) must(ok bool, format string, args ...any) {
	if !ok {
		s.fail(format, args...)
	}
}

func (s *stage) reach(what string) { s.reached[what]++ }

// peek is the n-th of what is under way, counted around, and the zero value if
// nothing is; take takes it off.
func peek[T any](queue []T, n int) (v T) {
	if len(queue) == 0 {
		return v
	}
	return queue[n%len(queue)]
}

func take[T any](queue *[]T, n int) T {
	v := peek(*queue, n)
	if len(*queue) > 0 {
		n %= len(*queue)
		*queue = slices.Delete(*queue, n, n+1)
	}
	return v
}

// flipped is a copy of b with one bit flipped.
func flipped(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

// whichBit is the bit to flip of a message of size bytes: any, or, with bit 3 of n,
// one of the first byte or of the last six, where headers and MACs are.
func (s *stage) whichBit(n, size int) int {
	bit := n*7919 + s.step*104729
	if n&8 != 0 {
		return (bit%56 + 8*(size-6)) % (8 * size)
	}
	return bit % (8 * size)
}

// mangled is a copy of b that is cut, longer, or twice in one.
func (s *stage) mangled(b []byte, kind int) []byte {
	switch kind {
	case 0:
		s.reach("cut")
		return bytes.Clone(b[:s.step*31%len(b)])
	case 1:
		s.reach("longer")
		return append(bytes.Clone(b), byte(s.step))
	default:
		s.reach("twice in one")
		return slices.Concat(b, b)
	}
}

// saysTheSame reports whether a copy of an initial message differs from it in
// nothing but what nothing authenticates: the low half of the version byte, the
// registration ID, and, unless it is the first of its session, the IDs of the
// prekeys.
func saysTheSame(genuine, altered []byte, typ ratchet.Type, first bool) bool {
	if typ != ratchet.Initial {
		return false
	}
	g, err := x3dh.ParseInitialMessage(genuine)
	if err != nil {
		return false
	}
	c, err := x3dh.ParseInitialMessage(altered)
	if err != nil {
		return false
	}
	preKeys := c.SignedPreKeyID == g.SignedPreKeyID && (c.OneTimePreKeyID == nil) == (g.OneTimePreKeyID == nil) &&
		(c.OneTimePreKeyID == nil || *c.OneTimePreKeyID == *g.OneTimePreKeyID)
	return c.BaseKey == g.BaseKey && c.IdentityKey == g.IdentityKey && bytes.Equal(c.Message, g.Message) && (!first || preKeys)
}

// A violation is a rule that was found broken.
type violation string

// violationIn runs a schedule, and returns what it found.
func violationIn(run func(fail func(format string, args ...any))) (v violation) {
	defer func() {
		r := recover()
		if found, ok := r.(violation); ok {
			v = found
		} else if r != nil {
			panic(r)
		}
	}()
	run(func(format string, args ...any) { panic(violation(fmt.Sprintf(format, args...))) })
	return ""
}
