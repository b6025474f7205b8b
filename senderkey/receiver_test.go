package senderkey

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// R-11.5-1: a known chain stays to the byte, and only moves to the front.
func TestKnownChainStays(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		r := NewReceiver(f)
		var chains []*Chain
		var first []*Distribution
		for range 3 {
			c := NewChain(f, testID)
			chains, first = append(chains, c), append(first, distributionOf(t, c))
			process(t, r, first[len(first)-1])
			messages := sendN(t, c, 5)
			receive(t, r, messages[3], number(3))
		}
		was := map[uint32]peerChain{}
		for _, c := range r.load().chains[:3] {
			was[c.id] = c
		}
		for i, c := range chains {
			for _, d := range []*Distribution{first[i], distributionOf(t, c)} {
				process(t, r, d)
				require.Equal(t, 3, r.load().n)
				require.Equal(t, c.load().id, r.load().chains[0].id, "in front")
				for _, now := range r.load().chains[:3] {
					require.Equal(t, was[now.id], now)
				}
			}
		}
		require.Equal(t, []uint32{chains[2].load().id, chains[1].load().id, chains[0].load().id},
			[]uint32{r.load().chains[0].id, r.load().chains[1].id, r.load().chains[2].id})
		require.Empty(t, r.load().retired)
		// Only the order: the middle one to the front.
		process(t, r, first[1])
		require.Equal(t, []uint32{chains[1].load().id, chains[2].load().id, chains[0].load().id},
			[]uint32{r.load().chains[0].id, r.load().chains[1].id, r.load().chains[2].id})
	})
}

// R-11.5-4, R-11.5-2: of six chains the oldest goes, and does not come back by
// its distribution, whether that is old or new, nor after a restart.
func TestRetiredChainStaysAway(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		r := NewReceiver(f)
		var chains []*Chain
		var distributions []*Distribution
		var messages [][]byte
		for i := range MaxChains + 3 {
			c := NewChain(f, DistributionID{1, 15: byte(i / 2)}) // some share their ID
			chains, distributions = append(chains, c), append(distributions, distributionOf(t, c))
			process(t, r, distributions[i])
			messages = append(messages, send(t, c, number(i)))
			receive(t, r, messages[i], number(i))
		}
		require.Equal(t, MaxChains, r.load().n)
		require.Len(t, r.load().retired, 3)
		for range 2 {
			for i := range 3 {
				refuse(t, r, messages[i], ErrNoChain)
				before := record(t, r)
				require.Equal(t, ErrDuplicate, r.Process(distributions[i]))
				require.Equal(t, ErrDuplicate, r.Process(distributionOf(t, chains[i])))
				require.NoError(t, r.ImportRecord(peerRecord(chains[i]), distributions[i].ID()))
				require.Equal(t, before, record(t, r))
				refuse(t, r, messages[i], ErrNoChain)
			}
			r = reload(t, r)
		}
		for i := 3; i < len(chains); i++ {
			refuse(t, r, messages[i], ErrDuplicate)
			receive(t, r, send(t, chains[i], "next"), "next")
		}

		// 64 are remembered, the newest ones.
		for range maxRetired - 3 {
			process(t, r, distributionOf(t, NewChain(f, testID)))
		}
		require.Len(t, r.load().retired, maxRetired)
		require.Equal(t, ErrDuplicate, r.Process(distributions[0]))
		process(t, r, distributionOf(t, NewChain(f, testID)))
		require.NoError(t, r.Process(distributions[0]), "one a year old")
		require.Equal(t, ErrDuplicate, r.Process(distributions[2]))
	})
}

// peerRecord is the record that a receiver of libsignal's has of a chain.
func peerRecord(c *Chain) []byte {
	st := c.load()
	s := stateRecord{id: st.id, ck: st.ck.chainKey, public: st.public}
	return s.append(nil, 1)
}

// Records of libsignal's, one for each distribution ID, become one receiver and
// come out again.
func TestImportAndExport(t *testing.T) {
	r := NewReceiver(Signal)
	ids := []DistributionID{{1}, {2}}
	var chains []*Chain
	var records [2][]byte
	for i := range 4 {
		c := NewChain(Signal, ids[i%2])
		sendN(t, c, i)
		chains = append(chains, c)
		records[i%2] = append(peerRecord(c), records[i%2]...) // the newest first
	}
	for i, id := range ids {
		require.NoError(t, r.ImportRecord(records[i], id))
	}
	for i, id := range ids {
		b, err := r.AppendRecord(nil, id)
		require.NoError(t, err)
		require.Equal(t, records[i], b)
	}
	b, err := r.AppendRecord(nil, DistributionID{3})
	require.NoError(t, err)
	require.Empty(t, b)
	for i, c := range chains {
		receive(t, r, send(t, c, number(i)), number(i))
	}
	// What is known stays as it is.
	before := record(t, r)
	require.NoError(t, r.ImportRecord(records[1], ids[1]))
	require.Equal(t, before, record(t, r))

	before = record(t, r)
	require.Equal(t, ErrCorrupt, r.ImportRecord(record(t, chains[0]), ids[0]), "our own chain")
	require.Equal(t, ErrCorrupt, r.ImportRecord([]byte{1}, ids[0]))
	require.Equal(t, before, record(t, r))
}
