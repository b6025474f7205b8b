package senderkey

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
)

// recordedSeeds are what the recorded group has of each kind.
func recordedSeeds(f *testing.F) (distributions, messages, records [][]byte) {
	f.Helper()
	tr, _ := loadTranscript(f)
	distributions = [][]byte{tr.SKDM, tr.LateSKDM}
	records = [][]byte{tr.SenderRecordInitial, tr.ReceiverRecordInitial}
	for _, s := range tr.Steps {
		if len(s.Message) > 0 {
			messages = append(messages, s.Message)
		}
		records = append(records, slices.Concat([]byte(s.SenderRecord), []byte(s.ReceiverRecord)))
	}
	// A target that starts from nothing finds nothing, and still passes.
	require.Len(f, messages, 5)
	require.Len(f, records, 13)
	return distributions, messages, records
}

func familyOf(whatsApp bool) Family {
	if whatsApp {
		return WhatsApp
	}
	return Signal
}

func FuzzDistributionMessage(f *testing.F) {
	recorded, messages, _ := recordedSeeds(f)
	for _, b := range append(recorded, messages...) {
		f.Add(b, false)
	}
	f.Add(record(f, distributionOf(f, NewChain(WhatsApp, testID))), true)
	f.Fuzz(func(t *testing.T, b []byte, whatsApp bool) {
		family := familyOf(whatsApp)
		given := bytes.Clone(b)
		d, err := ParseDistribution(b, family)
		require.Equal(t, given, b)
		if err != nil {
			require.Nil(t, d)
			require.True(t, err == ErrMalformed || err == ErrVersion, "%v", err)
			return
		}
		require.True(t, d.load().signing.Valid())
		require.Equal(t, whatsApp, d.ID() == DistributionID{} && whatsApp)
		encoded := record(t, d)
		require.LessOrEqual(t, len(encoded), len(b))
		again, err := ParseDistribution(encoded, family)
		require.NoError(t, err)
		require.Equal(t, d.load(), again.load())

		// Whatever it says, a receiver takes it, once, and can store it.
		c, r := newPair(t, family)
		require.NoError(t, r.Process(d))
		require.NoError(t, r.Process(again))
		require.Equal(t, d.load().ck, r.load().chains[0].ck)
		reload(t, r)
		if r.load().n == 2 {
			receive(t, r, send(t, c, "the other chain"), "the other chain")
		}
	})
}

func FuzzSenderKeyMessage(f *testing.F) {
	distributions, recorded, _ := recordedSeeds(f)
	for _, b := range append(recorded, distributions...) {
		f.Add(b, false)
	}
	for _, family := range families {
		c := NewChain(family, testID)
		f.Add(send(f, c, "seed"), family == WhatsApp)
	}
	f.Fuzz(func(t *testing.T, b []byte, whatsApp bool) {
		family := familyOf(whatsApp)
		given := bytes.Clone(b)
		m, err := parseMessage(b, family)
		require.Equal(t, given, b)
		if err != nil {
			require.Zero(t, m)
			require.True(t, err == ErrMalformed || err == ErrVersion, "%v", err)
		} else {
			require.Equal(t, b, append(bytes.Clone(m.body), m.signature...), "the signature covers all that came before it")
			require.Len(t, m.signature, curve.SignatureSize)
			require.Equal(t, len(m.ciphertext), cap(m.ciphertext), "an append would write into the signature")
			f := fields{family, b[0], m.id[:], uint64(m.chainID), uint64(m.iteration), m.ciphertext, m.signature}
			again, err := parseMessage(f.encode(), family)
			require.NoError(t, err)
			require.Equal(t, []any{m.id, m.chainID, m.iteration, m.ciphertext, m.signature},
				[]any{again.id, again.chainID, again.iteration, again.ciphertext, again.signature})
		}

		// Nothing but what the device signed decrypts, and nothing else changes
		// a receiver; but with its signature, any of it may come.
		c, r := newPair(t, family)
		genuine := sendN(t, c, 3)
		receive(t, r, genuine[1], number(1))
		before := record(t, r)
		_, _, err = r.Decrypt(nil, b)
		require.Error(t, err)
		if m.body != nil {
			st := c.load()
			v := fields{family, b[0], st.distribution[:], uint64(st.id), uint64(m.iteration), m.ciphertext, nil}
			body := v.body()
			signature := st.signing.Sign(body)
			_, _, err = reload(t, r).Decrypt(nil, append(body, signature[:]...))
			require.True(t, err == nil || slices.Contains([]error{ErrAuthentication, ErrDuplicate, ErrTooFarAhead, ErrChainExhausted}, err), "%v", err)
		}
		require.Equal(t, before, record(t, r))
		receive(t, r, genuine[0], number(0))
		receive(t, r, genuine[2], number(2))
	})
}

// bytesAllocated is what f allocates, as far as one goroutine runs.
func bytesAllocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// checkReceiver checks what the other code relies on.
func checkReceiver(t *testing.T, r *receiver) {
	t.Helper()
	require.LessOrEqual(t, r.n, MaxChains)
	require.LessOrEqual(t, len(r.retired), maxRetired)
	for i := range r.n {
		c := &r.chains[i]
		at, _ := r.find(c.distribution, c.id)
		require.Equal(t, i, at)
		require.True(t, c.signing.Valid())
		require.LessOrEqual(t, len(c.skipped), MaxSkippedKeys)
		for j := range c.skipped {
			require.Less(t, c.skipped[j].iteration, c.ck.iteration)
			require.True(t, j == 0 || c.skipped[j-1].iteration < c.skipped[j].iteration)
		}
	}
}

// R23: libsignal's record, in both roles: total, no memory by a claimed count, and
// what is accepted works.
func FuzzSenderKeyRecord(f *testing.F) {
	_, _, recorded := recordedSeeds(f)
	many := NewReceiver(Signal)
	for range MaxChains {
		c := NewChain(Signal, testID)
		process(f, many, distributionOf(f, c))
		receive(f, many, sendN(f, c, 9)[8], number(8))
	}
	b, err := many.AppendRecord(nil, testID)
	require.NoError(f, err)
	for _, b := range append(recorded, b, record(f, NewChain(Signal, testID)), nil) {
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, whatsApp bool) {
		family := familyOf(whatsApp)
		given := bytes.Clone(b)
		var c *Chain
		var err error
		allocated := bytesAllocated(func() { c, err = ParseChain(b, family, testID) })
		require.LessOrEqual(t, allocated, uint64(16<<10+8*len(b)), "for %d bytes", len(b))
		require.Equal(t, given, b)
		if err != nil {
			require.Nil(t, c)
			require.True(t, err == ErrCorrupt || err == ErrVersion, "%v", err)
		} else {
			encoded := record(t, c)
			require.LessOrEqual(t, len(encoded), len(b)+2, "but for the version")
			again, err := ParseChain(encoded, family, testID)
			require.NoError(t, err)
			require.Equal(t, c.load(), again.load())
			distributionOf(t, c)
			if _, err := c.Encrypt(nil, []byte("x")); err != nil {
				require.Equal(t, ErrChainExhausted, err)
			}
		}

		r := NewReceiver(family)
		empty := record(t, r)
		if err := r.ImportRecord(b, testID); err != nil {
			require.True(t, err == ErrCorrupt || err == ErrVersion, "%v", err)
			require.Equal(t, empty, record(t, r))
			return
		}
		require.Nil(t, c, "a record is our own or another's")
		checkReceiver(t, r.load())
		out, err := r.AppendRecord(nil, testID)
		require.NoError(t, err)
		again := NewReceiver(family)
		require.NoError(t, again.ImportRecord(out, testID))
		require.Equal(t, r.load(), again.load())
		reload(t, r)
	})
}

// R23: our record of a receiver, likewise.
func FuzzReceiverRecord(f *testing.F) {
	for _, family := range families {
		r := NewReceiver(family)
		for i := range MaxChains + 3 {
			f.Add(record(f, r), family == WhatsApp)
			c := NewChain(family, DistributionID{byte(i)})
			process(f, r, distributionOf(f, c))
			receive(f, r, sendN(f, c, 4)[3], number(3))
		}
		f.Add(record(f, r), family == WhatsApp)
	}
	f.Fuzz(func(t *testing.T, b []byte, whatsApp bool) {
		family := familyOf(whatsApp)
		given := bytes.Clone(b)
		var r *Receiver
		var err error
		allocated := bytesAllocated(func() { r, err = ParseReceiver(b, family) })
		require.LessOrEqual(t, allocated, uint64(16<<10+8*len(b)), "for %d bytes", len(b))
		require.Equal(t, given, b)
		if err != nil {
			require.Nil(t, r)
			require.True(t, err == ErrCorrupt || err == ErrVersion, "%v", err)
			return
		}
		checkReceiver(t, r.load())
		reload(t, r)
		again, err := ParseReceiver(record(t, r), family)
		require.NoError(t, err)
		require.Equal(t, r.load(), again.load())
		c := NewChain(family, testID)
		process(t, r, distributionOf(t, c))
		receive(t, r, send(t, c, "goes on"), "goes on")
		checkReceiver(t, r.load())
	})
}

// R23: our record of a sender, likewise.
func FuzzSenderRecord(f *testing.F) {
	for _, family := range families {
		s := NewSender(Config{Family: family})
		f.Add(record(f, s), family == WhatsApp)
		for i := range byte(4) {
			sent, err := s.Encrypt(Roster{Revision: uint64(i), Members: members(1, 2, 3+i)}, testTime, nil)
			require.NoError(f, err)
			f.Add(record(f, s), family == WhatsApp)
			require.NoError(f, s.Delivered(sent.Chain, members(i)...))
			f.Add(record(f, s), family == WhatsApp)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, whatsApp bool) {
		config := Config{Family: familyOf(whatsApp)}
		given := bytes.Clone(b)
		var s *Sender
		var err error
		allocated := bytesAllocated(func() { s, err = ParseSender(b, config) })
		require.LessOrEqual(t, allocated, uint64(16<<10+8*len(b)), "for %d bytes", len(b))
		require.Equal(t, given, b)
		if err != nil {
			require.Nil(t, s)
			require.True(t, err == ErrCorrupt || err == ErrVersion, "%v", err)
			return
		}
		require.Equal(t, s.load(), reloadSender(t, s).load())
		mayRead := append(slices.Clone(s.load().ledger.has), s.load().ledger.waiting...)
		was := s.load().id

		// Whatever it holds, it goes on, and a chain that somebody else may read
		// does not.
		roster := Roster{Revision: 1<<64 - 1, Members: members(1, 2)}
		sent, err := s.Encrypt(roster, testTime, []byte("x"))
		require.NoError(t, err)
		for _, m := range mayRead {
			require.True(t, slices.Contains(roster.Members, m) || sent.Rotated)
		}
		require.Equal(t, sent.Rotated, sent.Chain != was)
		reloadSender(t, s)
	})
}

// Messages come from strangers: reading one takes no memory, whatever it says.
func TestParsingMessagesAllocatesNothing(t *testing.T) {
	c, r := newPair(t, Signal)
	sound := send(t, c, "message")
	huge := append([]byte{0x33, 0x22, 0xff, 0xff, 0xff, 0xff, 0x0f}, make([]byte, 100)...) // 4 GiB of ciphertext
	for name, b := range map[string][]byte{"sound": sound, "huge": huge, "cut": sound[:70], "empty": nil} {
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = parseMessage(b, Signal) }), name)
	}
	other := send(t, NewChain(Signal, testID), "of no chain")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, _, err := r.Decrypt(nil, other); !errors.Is(err, ErrNoChain) {
			t.Fatal(err)
		}
	}))
}
