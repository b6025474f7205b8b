package lamport

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func conversation(t testing.TB) *Conversation {
	c, err := NewConversation(id(1), 1)
	require.NoError(t, err)
	return c
}

// R-9.5-8: however far the epoch goes up, the bound of stamps does not come down.
func TestRestartSaturates(t *testing.T) {
	for _, stamp := range []Stamp{0, 1 << 40, Max} {
		c := conversation(t)
		c.maxStamp = stamp
		require.NoError(t, c.Restart(1<<32-1))
		require.Equal(t, Stamp(Max), c.MaxStamp())
		require.Equal(t, Position{1<<32 - 1, 0}, c.Last())
	}
}

// R-9.5-1: sequence numbers are 1, 2, 3, … whoever sends.
func TestSequenceIsDense(t *testing.T) {
	c := conversation(t)
	a, b := window(t, alice), window(t, bob)
	require.Equal(t, Position{1, 0}, c.Last())
	for n := uint64(1); n <= 100; n++ {
		w, d := a, alice
		if n%3 == 0 {
			w, d = b, bob
		}
		r, err := c.Submit(w, Submission{id(1), num(n), d, n, Stamp(n)}, nil)
		require.NoError(t, err)
		require.Equal(t, Receipt{id(1), num(n), d, Position{1, n}}, r)
		require.Equal(t, r.Position, c.Last())
		require.Equal(t, Stamp(n), c.MaxStamp())
	}
}

// R-9.5-2, R-9.5-3: the answer to a message that was accepted is the first
// answer, also from another epoch, with any counter and stamp; nothing changes.
func TestDuplicateAnswersTheReceipt(t *testing.T) {
	c, w := conversation(t), window(t, alice)
	s := Submission{id(1), num(1), alice, 1, 5}
	first, err := c.Submit(w, s, nil)
	require.NoError(t, err)
	for n := uint64(2); n < 10; n++ {
		_, err := c.Submit(w, Submission{id(1), num(n), alice, n, 5}, nil)
		require.NoError(t, err)
	}
	again := func() {
		before := [2]string{string(record0(t, c)), string(record0(t, w))}
		for _, v := range []Submission{s, {id(1), num(1), alice, 99, 6}, {id(1), num(1), alice, 1, Max}} {
			got, err := c.Submit(w, v, &first)
			require.ErrorIs(t, err, ErrDuplicate)
			require.Equal(t, first, got)
			require.Equal(t, before, [2]string{string(record0(t, c)), string(record0(t, w))})
		}
	}
	again()
	require.NoError(t, c.Restart(2))
	again()
}

// R-9.5-4: without its receipt a message is too old, and not accepted again.
func TestForgottenReceiptIsTooOld(t *testing.T) {
	c, w := conversation(t), window(t, alice)
	s := Submission{id(1), num(1), alice, 1, 1}
	_, err := c.Submit(w, s, nil)
	require.NoError(t, err)
	before := [2]string{string(record0(t, c)), string(record0(t, w))}
	_, err = c.Submit(w, s, nil)
	require.ErrorIs(t, err, ErrTooOld)
	require.Equal(t, before, [2]string{string(record0(t, c)), string(record0(t, w))})
}

// R-9.5-5: one ID of one device is one message, in one conversation.
func TestIdentityConflict(t *testing.T) {
	c, w := conversation(t), window(t, alice)
	first, err := c.Submit(w, Submission{id(1), num(1), alice, 1, 1}, nil)
	require.NoError(t, err)
	other, err := NewConversation(id(2), 1)
	require.NoError(t, err)
	before := [2]string{string(record0(t, other)), string(record0(t, w))}
	_, err = other.Submit(w, Submission{id(2), num(1), alice, 2, 1}, &first)
	require.ErrorIs(t, err, ErrConflict)
	require.Equal(t, before, [2]string{string(record0(t, other)), string(record0(t, w))})
}

// L05. R-9.5-6: the receipt of another device's message is not an answer, so an
// ID that somebody occupied suppresses nothing. A server that looks receipts up
// by message ID alone is told.
func TestDedupeKeyIncludesAuthenticatedSender(t *testing.T) {
	c := conversation(t)
	m, a := window(t, mallory), window(t, alice)
	squat, err := c.Submit(m, Submission{id(1), num(1), mallory, 1, 1}, nil)
	require.NoError(t, err)
	s := Submission{id(1), num(1), alice, 1, 1}
	_, err = c.Submit(a, s, &squat)
	require.ErrorIs(t, err, ErrInvalid)
	r, err := c.Submit(a, s, nil)
	require.NoError(t, err)
	require.Equal(t, Position{1, 2}, r.Position)

	for name, wrong := range map[string]Receipt{
		"the user's other device": {id(1), num(1), Device{alice.User, 2}, Position{1, 2}},
		"another message":         {id(1), num(2), alice, Position{1, 2}},
		"no position":             {id(1), num(1), alice, Position{}},
		"zero":                    {},
	} {
		_, err = c.Submit(a, s, &wrong)
		require.ErrorIs(t, err, ErrInvalid, name)
	}
}

// R-9.5-7: the bound is relative to stamps accepted, and is told.
func TestClockBound(t *testing.T) {
	c, w := conversation(t), window(t, alice)
	before := [2]string{string(record0(t, c)), string(record0(t, w))}
	for _, s := range []Stamp{MaxLead + 1, Max} {
		_, err := c.Submit(w, Submission{id(1), num(1), alice, 1, s}, nil)
		require.ErrorIs(t, err, ErrClockBound)
		require.Equal(t, before, [2]string{string(record0(t, c)), string(record0(t, w))}, "the counter is not spent")
	}
	_, err := c.Submit(w, Submission{id(1), num(1), alice, 1, MaxLead}, nil)
	require.NoError(t, err)
	require.Equal(t, Stamp(MaxLead), c.MaxStamp())
	_, err = c.Submit(w, Submission{id(1), num(2), alice, 2, 1}, nil)
	require.NoError(t, err, "low stamps are welcome")
	require.Equal(t, Stamp(MaxLead), c.MaxStamp())
	_, err = c.Submit(w, Submission{id(1), num(3), alice, 3, 2*MaxLead + 1}, nil)
	require.ErrorIs(t, err, ErrClockBound)
	_, err = c.Submit(w, Submission{id(1), num(3), alice, 3, 2 * MaxLead}, nil)
	require.NoError(t, err)
}

// R-9.5-8: a new epoch starts again from 1, and never goes back. Its bound of
// stamps allows for what may be lost.
func TestRestart(t *testing.T) {
	c, w := conversation(t), window(t, alice)
	_, err := c.Submit(w, Submission{id(1), num(1), alice, 1, 9}, nil)
	require.NoError(t, err)
	require.NoError(t, c.Restart(1))
	require.Equal(t, Position{1, 1}, c.Last())
	require.NoError(t, c.Restart(5))
	require.Equal(t, Position{5, 0}, c.Last())
	require.Equal(t, Stamp(9+4<<32), c.MaxStamp())
	require.ErrorIs(t, c.Restart(4), ErrInvalid)
	require.ErrorIs(t, c.Restart(0), ErrInvalid)
	r, err := c.Submit(w, Submission{id(1), num(2), alice, 2, 9}, nil)
	require.NoError(t, err)
	require.Equal(t, Position{5, 1}, r.Position)

	// The messages that the store has lost have moved the clocks of devices, by
	// the most they could. They are not refused, also not in a conversation
	// that was lost altogether.
	lost := conversation(t)
	for n := uint64(1); n <= 1000; n++ {
		_, err := lost.Submit(window(t, mallory), Submission{id(1), num(n), mallory, n, lost.MaxStamp() + MaxLead}, nil)
		require.NoError(t, err)
	}
	for _, c := range []func() *Conversation{
		func() *Conversation { c := conversation(t); require.NoError(t, c.Restart(2)); return c },
		func() *Conversation { c, err := NewConversation(id(1), 2); require.NoError(t, err); return c },
	} {
		_, err = c().Submit(window(t, alice), Submission{id(1), num(1), alice, 1, lost.MaxStamp() + 1}, nil)
		require.NoError(t, err)
		_, err = c().Submit(window(t, alice), Submission{id(1), num(1), alice, 1, 1<<32 + MaxLead + 1}, nil)
		require.ErrorIs(t, err, ErrClockBound, "and not more")
	}
	for _, epoch := range []uint32{1 << 21, 1<<21 + 1, 1<<32 - 1} {
		c, err := NewConversation(id(1), epoch)
		require.NoError(t, err)
		require.LessOrEqual(t, c.MaxStamp(), Stamp(Max))
		require.GreaterOrEqual(t, c.MaxStamp(), Stamp(Max-1<<32))
	}
}

func TestSequenceExhausted(t *testing.T) {
	c := &Conversation{id: id(1), last: Position{1, Max - 1}}
	w := window(t, alice)
	_, err := c.Submit(w, Submission{id(1), num(1), alice, 1, 1}, nil)
	require.NoError(t, err)
	before := [2]string{string(record0(t, c)), string(record0(t, w))}
	_, err = c.Submit(w, Submission{id(1), num(2), alice, 2, 1}, nil)
	require.ErrorIs(t, err, ErrExhausted)
	_, err = c.Submit(w, Submission{id(1), num(1), alice, 1, 1}, nil)
	require.ErrorIs(t, err, ErrTooOld, "what was accepted stays accepted")
	require.Equal(t, before, [2]string{string(record0(t, c)), string(record0(t, w))})
	require.NoError(t, c.Restart(2))
	_, err = c.Submit(w, Submission{id(1), num(2), alice, 2, 1}, nil)
	require.NoError(t, err)
}

// R-9.1-1, R-9.5-9: what is invalid, or loaded for somebody else, changes nothing.
func TestSubmitRefusesInvalid(t *testing.T) {
	c, w := conversation(t), window(t, alice)
	before := [2]string{string(record0(t, c)), string(record0(t, w))}
	good := Submission{id(1), num(1), alice, 1, 1}
	for name, f := range map[string]func(*Submission){
		"nil conversation":     func(s *Submission) { s.Conversation = [16]byte{} },
		"another conversation": func(s *Submission) { s.Conversation = id(2) },
		"nil message ID":       func(s *Submission) { s.ID = [16]byte{} },
		"max message ID":       func(s *Submission) { s.ID = id(0xff) },
		"nil user":             func(s *Submission) { s.Sender.User = [16]byte{} },
		"device 0":             func(s *Submission) { s.Sender.ID = 0 },
		"device 2^31":          func(s *Submission) { s.Sender.ID = 1 << 31 },
		"another device":       func(s *Submission) { s.Sender.ID = 2 },
		"another user":         func(s *Submission) { s.Sender.User = bob.User },
		"counter 0":            func(s *Submission) { s.Counter = 0 },
		"counter 2^53":         func(s *Submission) { s.Counter = Max + 1 },
		"stamp 0":              func(s *Submission) { s.Stamp = 0 },
		"stamp 2^53":           func(s *Submission) { s.Stamp = Max + 1 },
	} {
		s := good
		f(&s)
		_, err := c.Submit(w, s, nil)
		require.ErrorIs(t, err, ErrInvalid, name)
	}
	for name, wrong := range map[string]*Window{"nil": nil, "zero": {}, "another device's": window(t, bob)} {
		_, err := c.Submit(wrong, good, nil)
		require.ErrorIs(t, err, ErrInvalid, name)
	}
	require.Equal(t, before, [2]string{string(record0(t, c)), string(record0(t, w))})

	c.maxStamp = Max
	r, err := c.Submit(w, Submission{id(1), num(1), alice, Max, Max}, nil)
	require.NoError(t, err, "the last counter and stamp")
	require.Equal(t, Position{1, 1}, r.Position)
}

// L12: state does not grow with what happens.
func TestConversationStateBounded(t *testing.T) {
	c, w := conversation(t), window(t, alice)
	for n := uint64(1); n <= 50_000; n++ {
		r, err := c.Submit(w, Submission{id(1), num(n), alice, 3 * n, c.MaxStamp() + MaxLead}, nil)
		require.NoError(t, err)
		if n%1000 == 0 {
			require.LessOrEqual(t, len(record0(t, c)), 43)
			require.LessOrEqual(t, len(record0(t, w)), 549)
			require.LessOrEqual(t, len(record0(t, &r)), 64)
		}
	}
	c.last, c.maxStamp = Position{1<<32 - 1, Max}, Max
	require.Len(t, record0(t, c), 43)
	r := Receipt{id(1), num(1), Device{alice.User, 1<<31 - 1}, Position{1<<32 - 1, Max}}
	require.Len(t, record0(t, &r), 76)
}
