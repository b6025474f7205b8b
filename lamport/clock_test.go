package lamport

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// R-9.2-1: local stamps strictly increase, and start from 1.
func TestTickIncreases(t *testing.T) {
	var c Clock
	require.Zero(t, c.Now())
	for want := Stamp(1); want < 100; want++ {
		s, err := c.Tick()
		require.NoError(t, err)
		require.Equal(t, want, s)
		require.Equal(t, s, c.Now())
	}
}

// R-9.2-2: observing takes the higher one, and the next stamp is above both.
func TestObserveTakesTheHigher(t *testing.T) {
	var c Clock
	for _, s := range []Stamp{5, 3, 5, 1, 6} {
		before := c.Now()
		require.NoError(t, c.Observe(s))
		require.Equal(t, max(before, s), c.Now())
	}
	s, err := c.Tick()
	require.NoError(t, err)
	require.Equal(t, Stamp(7), s)
}

// L01. R-9.2-3: one message must not push everybody to the end of the range.
func TestObserveMaxInt64Rejected(t *testing.T) {
	for _, at := range []Stamp{0, 1000, Max - MaxLead - 1} {
		c, err := NewClock(at)
		require.NoError(t, err)
		for _, s := range []Stamp{1<<63 - 1, 1<<64 - 1, Max + 1, 0} {
			require.ErrorIs(t, c.Observe(s), ErrInvalid, s)
			require.Equal(t, Clock{now: at}, c, "nothing has changed")
		}
		for _, s := range []Stamp{at + MaxLead, at + MaxLead + 1, Max} {
			c, err := NewClock(at)
			require.NoError(t, err)
			require.NoError(t, c.Observe(s))
			require.Equal(t, at+MaxLead, c.Now())
		}
	}
}

// R-9.2-3: a device that joins late, or has missed much, catches up by 2^16 a
// message, and is where the others are then.
func TestClockCatchesUp(t *testing.T) {
	var c Clock
	const theirs = 10*MaxLead + 5
	for n := range Stamp(11) {
		require.Equal(t, n*MaxLead, c.Now())
		require.NoError(t, c.Observe(theirs+n))
	}
	require.Equal(t, Stamp(theirs+10), c.Now())
}

// R-9.2-6: a clock that began too high comes down, not below what was accepted,
// and not for a server that contradicts itself.
func TestLower(t *testing.T) {
	high := func(seen ...Stamp) Clock {
		c, err := NewClock(Max - 10)
		require.NoError(t, err)
		for _, s := range seen {
			require.NoError(t, c.Observe(s))
		}
		return c
	}
	for name, v := range map[string]struct {
		clock         Clock
		refused, told Stamp
		want          Stamp // or
		err           error
	}{
		"to what is told":              {high(), Max - 20, 700, 700, nil},
		"to nothing":                   {high(), MaxLead + 1, 0, 0, nil},
		"to what was accepted":         {high(650, 900, 5), Max - 20, 700, 900, nil},
		"just below the bound":         {high(700 + MaxLead - 1), Max - 20, 700, 700 + MaxLead - 1, nil},
		"no stamp is left":             {high(700 + MaxLead), Max - 20, 700, 0, ErrOrder},
		"it was within the bound":      {high(), 700 + MaxLead, 700, 0, ErrOrder},
		"it was just beyond the bound": {high(), 701 + MaxLead, 700, 700, nil},
		"never up":                     {Clock{now: 600}, Max - 20, 700, 600, nil},
		"the last stamp":               {high(), Max, 700, 700, nil},
		"told the last stamp":          {high(), Max, Max, 0, ErrOrder},
		"no stamp":                     {high(), 0, 0, 0, ErrInvalid},
		"stamp over 2^53-1":            {high(), Max + 1, 0, 0, ErrInvalid},
		"told over 2^53-1":             {high(), Max, Max + 1, 0, ErrInvalid},
	} {
		c := v.clock
		require.ErrorIs(t, c.Lower(v.refused, v.told), v.err, name)
		if v.err != nil {
			require.Equal(t, v.clock, c, name)
			continue
		}
		require.Equal(t, v.want, c.Now(), name)
		require.Equal(t, v.clock.seen, c.seen, name)
	}
}

// L01: a peer that always sends the highest stamp allowed moves the clock by
// 2^16 a message, and not by more, and everybody can still write.
func TestInflationCannotStallPeer(t *testing.T) {
	conv, err := NewConversation(id(1), 1)
	require.NoError(t, err)
	attacker, err := NewWindow(mallory)
	require.NoError(t, err)
	honest, err := NewWindow(alice)
	require.NoError(t, err)
	var clock Clock
	for n := uint64(1); n <= 1000; n++ {
		_, err := conv.Submit(attacker, Submission{id(1), num(n), mallory, n, conv.MaxStamp() + MaxLead + 1}, nil)
		require.ErrorIs(t, err, ErrClockBound)
		_, err = conv.Submit(attacker, Submission{id(1), num(n), mallory, n, conv.MaxStamp() + MaxLead}, nil)
		require.NoError(t, err)
		require.Equal(t, Stamp(n*MaxLead), conv.MaxStamp()-Stamp(n-1), "2^16 for each message of the attacker, 1 for ours")
		require.NoError(t, clock.Observe(conv.MaxStamp()))
		s, err := clock.Tick()
		require.NoError(t, err)
		_, err = conv.Submit(honest, Submission{id(1), num(n), alice, n, s}, nil)
		require.NoError(t, err)
	}
	bound := conv.MaxStamp()
	_, err = conv.Submit(attacker, Submission{id(1), num(1001), mallory, 1001, 1}, nil)
	require.NoError(t, err)
	require.Equal(t, bound, conv.MaxStamp(), "nor does a low stamp lower the bound, so that others would be refused")
}

// L02. R-9.2-4: a clock at its end stays there.
func TestTickAtMaxReturnsError(t *testing.T) {
	c, err := NewClock(Max - 1)
	require.NoError(t, err)
	s, err := c.Tick()
	require.NoError(t, err)
	require.Equal(t, Stamp(Max), s)
	for range 3 {
		s, err = c.Tick()
		require.ErrorIs(t, err, ErrExhausted)
		require.Zero(t, s)
		require.Equal(t, Stamp(Max), c.Now())
	}
	require.NoError(t, c.Observe(Max))
	c, err = NewClock(Max)
	require.NoError(t, err)
	require.Equal(t, Stamp(Max), c.Now())
	_, err = NewClock(Max + 1)
	require.ErrorIs(t, err, ErrInvalid)
}

// L03. R-9.2-5: the clock is stored with the message, before the message leaves.
// Whatever the crash, no stamp is sent for two messages.
func TestClockPersistedBeforeEmit(t *testing.T) {
	for crash := range 3 {
		stored, err := new(Clock).AppendBinary(nil)
		require.NoError(t, err)
		sent := map[Stamp]int{}
		for message := range 50 {
			var c Clock // a start of the program
			require.NoError(t, c.UnmarshalBinary(stored))
			s, err := c.Tick()
			require.NoError(t, err)
			if message%7 == 3 && crash == 0 {
				continue // before the commit: nothing has left
			}
			stored, err = c.AppendBinary(nil)
			require.NoError(t, err)
			if message%7 == 3 && crash == 1 {
				continue // after the commit, before sending
			}
			sent[s]++
		}
		for s, n := range sent {
			require.Equal(t, 1, n, s)
		}
	}
}

// L03. R-9.1-2: a clock that went back with a backup gives stamps again; under
// another device ID they are other keys, and another window.
func TestRestoreUsesNewDeviceEpoch(t *testing.T) {
	restored := Device{alice.User, alice.ID + 1}
	a := ConfirmedKey(Position{1, 1}, 5, alice, id(9))
	b := ConfirmedKey(Position{1, 1}, 5, restored, id(9))
	require.NotEqual(t, a, b)

	conv, err := NewConversation(id(1), 1)
	require.NoError(t, err)
	w, err := NewWindow(alice)
	require.NoError(t, err)
	_, err = conv.Submit(w, Submission{id(1), id(9), alice, 1, 1}, nil)
	require.NoError(t, err)
	_, err = conv.Submit(w, Submission{id(1), id(8), restored, 1, 1}, nil)
	require.ErrorIs(t, err, ErrInvalid, "the window of the old device does not do")
	fresh, err := NewWindow(restored)
	require.NoError(t, err)
	_, err = conv.Submit(fresh, Submission{id(1), id(8), restored, 1, 1}, nil)
	require.NoError(t, err)
}
