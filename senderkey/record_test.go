package senderkey

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
)

// numbered is {1 iteration, 2 seed} as a record has it.
func numbered(n uint64, size int) []byte {
	return wire.AppendBytes(wire.AppendUintNonZero(nil, 1, n), 2, make([]byte, size))
}

// stateFields builds a SenderKeyStateStructure by hand.
type stateFields struct {
	id       uint64
	chainKey []byte
	signing  []byte
	stored   [][]byte
	version  []byte
}

func goodState() stateFields {
	key := privateOf(3)
	return stateFields{
		id: 9, chainKey: numbered(10, 32), signing: appendKey(nil, 1, key.Public()),
		version: wire.AppendUint(nil, 5, 3),
	}
}

func (s stateFields) encode() []byte {
	b := wire.AppendUintNonZero(nil, 1, s.id)
	if s.chainKey != nil {
		b = wire.AppendBytes(b, 2, s.chainKey)
	}
	if s.signing != nil {
		b = wire.AppendBytes(b, 3, s.signing)
	}
	for _, k := range s.stored {
		b = wire.AppendBytes(b, 4, k)
	}
	return wire.AppendBytes(nil, 1, append(b, s.version...))
}

func (s stateFields) private() stateFields {
	key := privateOf(3)
	s.signing = wire.AppendBytes(bytes.Clone(s.signing), 2, key[:])
	return s
}

// R23, R-11.7-2: what a state must not hold, for both who read it.
func TestStateRecordRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*stateFields)
		want   error
	}{
		"good":                     {func(*stateFields) {}, nil},
		"no version":               {func(s *stateFields) { s.version = nil }, nil},
		"version 0":                {func(s *stateFields) { s.version = wire.AppendUint(nil, 5, 0) }, nil},
		"version 2":                {func(s *stateFields) { s.version = wire.AppendUint(nil, 5, 2) }, ErrVersion},
		"version 4":                {func(s *stateFields) { s.version = wire.AppendUint(nil, 5, 4) }, ErrVersion},
		"version twice":            {func(s *stateFields) { s.version = append(s.version, s.version...) }, ErrCorrupt},
		"unknown field":            {func(s *stateFields) { s.version = wire.AppendUint(s.version, 9, 4) }, nil},
		"no chain key":             {func(s *stateFields) { s.chainKey = nil }, ErrCorrupt},
		"short chain key":          {func(s *stateFields) { s.chainKey = numbered(10, 31) }, ErrCorrupt},
		"empty chain key":          {func(s *stateFields) { s.chainKey = []byte{} }, ErrCorrupt},
		"no signing key":           {func(s *stateFields) { s.signing = nil }, ErrCorrupt},
		"empty signing key":        {func(s *stateFields) { s.signing = []byte{} }, ErrCorrupt},
		"weak signing key":         {func(s *stateFields) { s.signing = appendKey(nil, 1, [32]byte{1}) }, ErrCorrupt},
		"explicit zero":            {func(s *stateFields) { s.chainKey = append(wire.AppendUint(nil, 1, 0), numbered(0, 32)...) }, nil},
		"stored keys":              {func(s *stateFields) { s.stored = [][]byte{numbered(0, 32), numbered(9, 32)} }, nil},
		"stored keys, other order": {func(s *stateFields) { s.stored = [][]byte{numbered(9, 32), numbered(0, 32)} }, nil},
		"of the next message":      {func(s *stateFields) { s.stored = [][]byte{numbered(10, 32)} }, ErrCorrupt},
		"of a later message":       {func(s *stateFields) { s.stored = [][]byte{numbered(11, 32), numbered(1, 32)} }, ErrCorrupt},
		"twice":                    {func(s *stateFields) { s.stored = [][]byte{numbered(5, 32), numbered(1, 32), numbered(5, 32)} }, ErrCorrupt},
		"short":                    {func(s *stateFields) { s.stored = [][]byte{numbered(5, 31)} }, ErrCorrupt},
		"empty":                    {func(s *stateFields) { s.stored = [][]byte{{}} }, ErrCorrupt},
		"2,000": {func(s *stateFields) {
			s.chainKey = numbered(5_000, 32)
			for i := range MaxSkippedKeys {
				s.stored = append(s.stored, numbered(uint64(i), 32))
			}
		}, nil},
		"2,001": {func(s *stateFields) {
			s.chainKey = numbered(5_000, 32)
			for i := range MaxSkippedKeys + 1 {
				s.stored = append(s.stored, numbered(uint64(i), 32))
			}
		}, ErrCorrupt},
	} {
		s := goodState()
		c.change(&s)
		r := NewReceiver(Signal)
		require.Equal(t, c.want, r.ImportRecord(s.encode(), testID), name)
		if c.want != nil {
			require.Equal(t, record(t, NewReceiver(Signal)), record(t, r), name)
		}
		if len(s.signing) == 0 {
			continue
		}
		chain, err := ParseChain(s.private().encode(), Signal, testID)
		require.Equal(t, c.want, err, name)
		require.Equal(t, err == nil, chain != nil)
	}

	// The private half, explicit and empty, or of no size.
	s := goodState()
	s.signing = wire.AppendBytes(s.signing, 2, nil)
	require.NoError(t, NewReceiver(Signal).ImportRecord(s.encode(), testID))
	_, err := ParseChain(s.encode(), Signal, testID)
	require.Equal(t, ErrCorrupt, err)
	s = goodState()
	s.signing = wire.AppendBytes(s.signing, 2, make([]byte, 31))
	_, err = ParseChain(s.encode(), Signal, testID)
	require.Equal(t, ErrCorrupt, err)
	require.Equal(t, ErrCorrupt, NewReceiver(Signal).ImportRecord(s.encode(), testID))
}

// R23, R-11.7-2: what a record must not hold.
func TestRecordRefused(t *testing.T) {
	state := func(id uint64) []byte { s := goodState(); s.id = id; return s.encode() }
	var five []byte
	for id := range uint64(5) {
		five = append(five, state(id)...)
	}
	r := NewReceiver(Signal)
	require.NoError(t, r.ImportRecord(nil, testID), "a record without chains")
	require.NoError(t, r.ImportRecord(five, testID))
	require.Equal(t, MaxChains, r.load().n)
	b, err := r.AppendRecord(nil, testID)
	require.NoError(t, err)
	require.Equal(t, five, b, "R-11.7-1")
	for name, bad := range map[string][]byte{
		"six":           append(bytes.Clone(five), state(5)...),
		"one ID twice":  append(state(1), state(1)...),
		"our own chain": goodState().private().encode(),
		"own, second":   append(state(1), goodState().private().encode()...),
		"cut":           five[:len(five)-1],
		"not a message": {0x0a},
	} {
		before := record(t, r)
		require.Equal(t, ErrCorrupt, r.ImportRecord(bad, testID), name)
		require.Equal(t, before, record(t, r), name)
	}

	_, err = ParseChain(nil, Signal, testID)
	require.Equal(t, ErrCorrupt, err, "no chain")
	_, err = ParseChain(five, Signal, testID)
	require.Equal(t, ErrCorrupt, err, "another device's")
	// Of several states the first one sends.
	c, err := ParseChain(append(goodState().private().encode(), state(1)...), Signal, testID)
	require.NoError(t, err)
	require.Equal(t, goodState().private().encode(), record(t, c))
	require.Equal(t, []any{testID, uint32(9), uint32(10)},
		[]any{distributionOf(t, c).ID(), distributionOf(t, c).ChainID(), distributionOf(t, c).Iteration()})
}

// The records of libsignal-protocol-java: explicit zeros, no version, an empty
// private half.
func TestJavaRecord(t *testing.T) {
	key := privateOf(3)
	inner := wire.AppendUint(nil, 1, 0)
	inner = wire.AppendBytes(inner, 2, append(wire.AppendUint(nil, 1, 0), numbered(0, 32)...))
	inner = wire.AppendBytes(inner, 3, wire.AppendBytes(appendKey(nil, 1, key.Public()), 2, nil))
	r := NewReceiver(WhatsApp)
	require.NoError(t, r.ImportRecord(wire.AppendBytes(nil, 1, inner), DistributionID{}))
	st := fresh{0, [32]byte{}, key}.chain(WhatsApp, testID)
	c := newChain(&st)
	receive(t, r, send(t, c, "from long ago"), "from long ago")
}

// A chain goes on from its record.
func TestChainRecord(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		c, r := newPair(t, f)
		for range 10 {
			again, err := ParseChain(record(t, c), f, testID)
			require.NoError(t, err)
			require.Equal(t, c.load(), again.load())
			c = again
			receive(t, r, send(t, c, "message"), "message")
		}
		require.LessOrEqual(t, len(record(t, c)), 130)
	})
}

// R23, R-11.7-3: our own records have one encoding.
func TestOwnRecordsRefused(t *testing.T) {
	s := NewSender(Config{})
	require.Equal(t, []byte{recordSender}, record(t, s), "before the first message")
	reloadSender(t, s)
	sent := encrypt(t, s, Roster{Revision: 3, Members: members(1, 2, 3)}, testTime, "")
	require.NoError(t, s.Delivered(sent.Chain, members(2)...))
	sender := record(t, s)
	require.LessOrEqual(t, len(sender), 175+3*32)

	r := NewReceiver(Signal)
	for i := range MaxChains + 2 {
		c := NewChain(Signal, DistributionID{byte(i)})
		process(t, r, distributionOf(t, c))
		receive(t, r, sendN(t, c, 3)[2], number(2)) // two are stored
	}
	receiver := record(t, r)

	parse := map[byte]func([]byte) (recorder, error){
		recordSender:   func(b []byte) (recorder, error) { return ParseSender(b, Config{}) },
		recordReceiver: func(b []byte) (recorder, error) { return ParseReceiver(b, Signal) },
	}
	for _, good := range [][]byte{sender, receiver} {
		read := parse[good[0]]
		v, err := read(good)
		require.NoError(t, err)
		require.Equal(t, good, record(t, v))
		for first := range 256 {
			if byte(first) != good[0] {
				_, err := read(append([]byte{byte(first)}, good[1:]...))
				require.Equal(t, ErrCorrupt, err)
			}
		}
		for n := range good {
			_, err := read(good[:n])
			if err == nil { // at the end of a field that may be absent
				v, _ := read(good[:n])
				require.Equal(t, good[:n], record(t, v))
			}
		}
		for i, extra := range [][]byte{{0x50, 1}, {0x38, 0x50}, {0x08, 1}, {0}, {0x12, 0}} {
			_, err := read(append(bytes.Clone(good), extra...))
			require.Equal(t, ErrCorrupt, err, "%d", i)
		}
	}

	chainRecord := s.load().chain.appendRecord(nil)
	build := func(id []byte, created uint64, chain, has, may []byte) []byte {
		b := append([]byte{recordSender}, wire.AppendBytes(nil, 2, id)...)
		b = wire.AppendUint(b, 3, created)
		b = wire.AppendBytes(b, 4, chain)
		if has != nil {
			b = wire.AppendBytes(b, 5, has)
		}
		if may != nil {
			b = wire.AppendBytes(b, 6, may)
		}
		return b
	}
	list := func(m ...Member) (b []byte) {
		for i := range m {
			b = append(b, m[i][:]...)
		}
		return b
	}
	id := s.load().id[:]
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"good":            {build(id, 5, chainRecord, list(members(1, 2)...), list(members(3)...)), nil},
		"nobody":          {build(id, 5, chainRecord, nil, nil), nil},
		"explicit 0":      {build(id, 0, chainRecord, nil, nil), ErrCorrupt},
		"short ID":        {build(id[1:], 5, chainRecord, nil, nil), ErrCorrupt},
		"no chain":        {build(id, 5, nil, nil, nil), ErrCorrupt},
		"another's chain": {build(id, 5, goodState().encode(), nil, nil), ErrCorrupt},
		"empty list":      {build(id, 5, chainRecord, []byte{}, nil), ErrCorrupt},
		"descending":      {build(id, 5, chainRecord, list(members(2, 1)...), nil), ErrCorrupt},
		"twice":           {build(id, 5, chainRecord, nil, list(members(2, 2)...)), ErrCorrupt},
		"in both":         {build(id, 5, chainRecord, list(members(1, 2)...), list(members(2, 3)...)), ErrCorrupt},
		"zero member":     {build(id, 5, chainRecord, list(Member{}), nil), ErrCorrupt},
		"half a member":   {build(id, 5, chainRecord, list(members(1)...)[:31], nil), ErrCorrupt},
	} {
		v, err := ParseSender(c.b, Config{})
		require.Equal(t, c.want, err, name)
		require.Equal(t, err == nil, v != nil, name)
	}

	entry := func(id []byte, state []byte) []byte {
		var b []byte
		if id != nil {
			b = wire.AppendBytes(b, 1, id)
		}
		if state != nil {
			b = wire.AppendBytes(b, 2, state)
		}
		return wire.AppendBytes(nil, 1, b)
	}
	bare := func(n uint64) []byte { // less the field header of a record
		s := goodState()
		s.id = n
		b := s.encode()
		return b[2:]
	}
	many := []byte{recordReceiver}
	for i := range uint64(MaxChains + 1) {
		many = append(many, entry(testID[:], bare(i))...)
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"good":          {entry(testID[:], bare(1)), nil},
		"two":           {append(entry(testID[:], bare(1)), entry(make([]byte, 16), bare(1))...), nil},
		"no ID":         {entry(nil, bare(1)), ErrCorrupt},
		"short ID":      {entry(testID[1:], bare(1)), ErrCorrupt},
		"no state":      {entry(testID[:], nil), ErrCorrupt},
		"one ID twice":  {append(entry(testID[:], bare(1)), entry(testID[:], bare(1))...), ErrCorrupt},
		"six":           {many[1:], ErrCorrupt},
		"our own":       {entry(testID[:], goodState().private().encode()[2:]), ErrCorrupt},
		"retired":       {wire.AppendBytes(nil, 2, make([]byte, 8*maxRetired)), nil},
		"retired, 65":   {wire.AppendBytes(nil, 2, make([]byte, 8*maxRetired+8)), ErrCorrupt},
		"retired, half": {wire.AppendBytes(nil, 2, make([]byte, 12)), ErrCorrupt},
	} {
		v, err := ParseReceiver(append([]byte{recordReceiver}, c.b...), Signal)
		require.Equal(t, c.want, err, name)
		require.Equal(t, err == nil, v != nil, name)
	}
}

// R-11.4-3, R-11.4-8, R-11.7-4: what comes of an older record, and why it must
// not be: one message key for two plaintexts, a second reading, and a reader who
// is forgotten.
func TestStoredStateMatters(t *testing.T) {
	s := NewSender(Config{})
	encrypt(t, s, Roster{Members: members(1)}, testTime, "first")
	old := reloadSender(t, s)
	a := encrypt(t, s, Roster{Members: members(1, 2)}, testTime, "one")
	b := encrypt(t, old, Roster{Members: members(1)}, testTime, "two")
	ma, err := ParseMessage(a.Message, Signal)
	require.NoError(t, err)
	mb, err := ParseMessage(b.Message, Signal)
	require.NoError(t, err)
	require.Equal(t, []any{ma.ChainID, ma.Iteration}, []any{mb.ChainID, mb.Iteration}, "one key, two plaintexts")
	reader := NewReceiver(Signal)
	process(t, reader, a.Distribution)
	receive(t, reader, b.Message, "two") // member 2 was not to read it

	c, r := newPair(t, Signal)
	before := reload(t, r)
	m := send(t, c, "once")
	receive(t, r, m, "once")
	receive(t, before, m, "once")
	refuse(t, r, m, ErrDuplicate)
}

// The configuration is not in the record: a change takes effect with the next
// message.
func TestConfigurationOfARecord(t *testing.T) {
	s := NewSender(Config{})
	for range 5 {
		encrypt(t, s, Roster{Members: members(1)}, testTime, "")
	}
	b := record(t, s)
	for _, c := range []struct {
		config  Config
		rotates bool
	}{{Config{}, false}, {Config{MaxMessages: 5}, true}, {Config{MaxMessages: 6}, false}, {Config{MaxAge: time.Second}, true}} {
		again, err := ParseSender(b, c.config)
		require.NoError(t, err)
		require.Equal(t, c.rotates, encrypt(t, again, Roster{Members: members(1)}, testTime.Add(time.Second), "").Rotated)
	}
}
