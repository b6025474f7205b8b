package envelope

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
)

// R-8.5-1, R-8.5-2: the table is in ascending order whatever the order of the
// list, which is left alone; a device stands in it once.
func TestRecipientsAscendOnce(t *testing.T) {
	list := []Recipient{{carol, 1, 2, []byte("c")}, {Device{bob.User, 300}, 2, 3, []byte("b300")}, {bob, 3, 3, []byte("b")}}
	before := slices.Clone(list)
	r, err := NewRecipients(list...)
	require.NoError(t, err)
	require.Equal(t, before, list)
	require.Equal(t, []Recipient{list[2], list[1], list[0]}, lines(r))
	require.Equal(t, 3, r.Len())

	list[0].Ciphertext[0] = 'x' // copied
	require.Equal(t, []byte("c"), lines(r)[2].Ciphertext)

	_, err = NewRecipients(list[0], list[1], list[0])
	require.ErrorIs(t, err, ErrInvalid)

	parse := func(list ...Recipient) error {
		b := wire.AppendBytes(nil, 1, header.append(nil, 1)[2:])
		b = wire.AppendUint(b, 2, 1)
		for _, v := range list {
			b = v.append(b)
		}
		_, err := new(Frame).Parse(wire.AppendBytes([]byte{1}, kindSubmit, b))
		return err
	}
	require.NoError(t, parse(list[2], list[1], list[0]))
	require.ErrorIs(t, parse(list[2], list[0], list[1]), ErrMalformed, "descending user")
	require.ErrorIs(t, parse(list[1], list[2], list[0]), ErrMalformed, "descending device")
	require.ErrorIs(t, parse(list[2], list[2]), ErrMalformed, "twice")
}

// R-8.5-3: a type stands with its ciphertext, and the device is a device.
func TestRecipientRules(t *testing.T) {
	for name, v := range map[string]Recipient{
		"no device":          {},
		"no user":            {Device: Device{ID: 1}},
		"device 0":           {Device: Device{User: bob.User}},
		"device 2^31":        {Device: Device{User: bob.User, ID: 1 << 31}},
		"type only":          {Device: bob, Type: 1},
		"ciphertext only":    {Device: bob, Ciphertext: []byte("x")},
		"empty, not missing": {Device: bob, Type: 1, Ciphertext: []byte{}},
	} {
		_, err := NewRecipients(v)
		require.ErrorIs(t, err, ErrInvalid, name)
		var w Recipient
		b := v.append(nil)
		require.ErrorIs(t, w.parse(b[2:]), ErrMalformed, name)
	}
	for _, typ := range []uint64{256, 257, 1 << 31} {
		b := wire.AppendBytes(wire.AppendUint(wire.AppendUint(wire.AppendBytes(nil, 1, bob.User[:]), 2, 1), 4, typ), 5, []byte("x"))
		require.ErrorIs(t, new(Recipient).parse(b), ErrMalformed, "type %d", typ)
	}
}

// A table that was parsed from one field can be written into another one.
func TestRecipientsMoveBetweenFields(t *testing.T) {
	all := table(t, Recipient{Device: bob, RegistrationID: 12}, Recipient{Device: carol})
	var f, g Frame
	m, err := f.Parse(frame(t, &Result{ID: id(1), Code: DeviceMismatch, Missing: all}))
	require.NoError(t, err)
	again := &Submit{Header: header, Counter: 1, SharedType: 7, Shared: []byte("x"), Recipients: m.(*Result).Missing}
	m, err = g.Parse(frame(t, again))
	require.NoError(t, err)
	require.Equal(t, lines(all), lines(m.(*Submit).Recipients))
}

// The loop over a table can be left early.
func TestRecipientsBreak(t *testing.T) {
	r := table(t, Recipient{Device: bob}, Recipient{Device: carol})
	n := 0
	for range r.All() {
		n++
		break
	}
	require.Equal(t, 1, n)
}

// Ciphertexts of a parsed table have no spare capacity: an append of the caller
// cannot write into the next recipient.
func TestParsedBytesHaveNoSpareCapacity(t *testing.T) {
	for _, m := range samples(t) {
		got, err := new(Frame).Parse(frame(t, m))
		require.NoError(t, err)
		switch got := got.(type) {
		case *Submit:
			require.Equal(t, len(got.Shared), cap(got.Shared))
			for v := range got.Recipients.All() {
				require.Equal(t, len(v.Ciphertext), cap(v.Ciphertext))
			}
		case *Deliver:
			require.Equal(t, len(got.Ciphertext), cap(got.Ciphertext))
		}
	}
}

func TestDeviceCompare(t *testing.T) {
	order := []Device{{id(1), 1}, {id(1), 2}, {id(1), 256}, {id(2), 1}}
	for i, a := range order {
		for j, b := range order {
			require.Equal(t, i < j, a.Compare(b) < 0)
			require.Equal(t, i == j, a.Compare(b) == 0)
		}
	}
}
