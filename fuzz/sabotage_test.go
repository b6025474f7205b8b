package fuzz

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
)

// A brokenTx is a transaction of a database that breaks its contract in one way.
type brokenTx struct {
	sesame.Tx
	put func(tx sesame.Tx, key string, value []byte, rev uint64) error
	get func(tx sesame.Tx, key string)
}

func (b *brokenTx) Put(key string, value []byte, rev uint64) error {
	if b.put != nil {
		return b.put(b.Tx, key, value, rev)
	}
	return b.Tx.Put(key, value, rev)
}

func (b *brokenTx) Get(key string) ([]byte, uint64, error) {
	if b.get != nil {
		b.get(b.Tx, key)
	}
	return b.Tx.Get(key)
}

// rows changes the rows with a prefix, of all devices; nil deletes one.
func (c *club) rows(prefix string, change func(p *installation, key string, v []byte) []byte) {
	for _, p := range c.all {
		for key, v := range c.stored(p) {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			err := p.memory.Do(func(tx sesame.Tx) error {
				_, rev, err := tx.Get(key)
				if err != nil {
					return err
				}
				if next := change(p, key, []byte(v)); next != nil {
					return tx.Put(key, next, rev)
				}
				return tx.Delete(key, rev)
			})
			c.must(err == nil, "sabotage: %v", err)
		}
	}
}

// without is a protobuf message without some fields.
func without(b []byte, fields ...int) (out []byte) {
	d := wire.Decode(b)
	for d.Next() {
		n := d.Num()
		if n == 1 || n == 3 { // of a sender's record, and of a group's row
			if v := d.Uint64(); !slices.Contains(fields, n) {
				out = wire.AppendUint(out, n, v)
			}
		} else if v := d.Bytes(); !slices.Contains(fields, n) {
			out = wire.AppendBytes(out, n, v)
		}
	}
	return out
}

// senderWithout is the row of a group, with fields taken out of the sender's record.
func senderWithout(row []byte, fields ...int) []byte {
	var out []byte
	d := wire.Decode(row)
	for d.Next() {
		if d.Num() == 1 {
			if v := d.Uint64(); !slices.Contains(fields, 1) {
				out = wire.AppendUint(out, 1, v)
			}
			continue
		}
		record := d.Bytes()
		out = wire.AppendBytes(out, 2, append([]byte{record[0]}, without(record[1:], fields...)...))
	}
	return out
}

// An oracle that cannot fail shows nothing. Each sabotage breaks one rule, and is
// found: by the seeds, or by schedules from a seed.
func TestGroupOracle(t *testing.T) {
	onGroup := func(key string) bool { return strings.HasPrefix(key, "sotto/group/") }
	firsts := map[string][]byte{}
	for name, s := range map[string]sabotage{
		"a sender that forgets who may read": {before: func(c *club, _ action) {
			c.rows("sotto/group/", func(_ *installation, _ string, v []byte) []byte { return senderWithout(v, 5, 6) })
		}},
		"a sender that forgets the revision": {before: func(c *club, _ action) {
			c.rows("sotto/group/", func(_ *installation, _ string, v []byte) []byte { return senderWithout(v, 1) })
		}},
		"a database that loses what a sender stores": {tx: func(_ *installation, tx sesame.Tx) sesame.Tx {
			return &brokenTx{Tx: tx, put: func(tx sesame.Tx, key string, value []byte, rev uint64) error {
				if onGroup(key) && rev != 0 {
					return nil
				}
				return tx.Put(key, value, rev)
			}}
		}},
		"a database that ignores revisions": {tx: func(_ *installation, tx sesame.Tx) sesame.Tx {
			return &brokenTx{Tx: tx, put: func(tx sesame.Tx, key string, value []byte, _ uint64) error {
				_, rev, err := tx.Get(key)
				if err != nil {
					return err
				}
				return tx.Put(key, value, rev)
			}}
		}},
		"a receiver that loses what it stores": {tx: func(_ *installation, tx sesame.Tx) sesame.Tx {
			return &brokenTx{Tx: tx, put: func(tx sesame.Tx, key string, value []byte, rev uint64) error {
				if strings.HasPrefix(key, "sotto/receiver/") && rev != 0 {
					return nil
				}
				return tx.Put(key, value, rev)
			}}
		}},
		"a refused message that leaves a trace": {tx: func(p *installation, tx sesame.Tx) sesame.Tx {
			return &brokenTx{Tx: tx, get: func(tx sesame.Tx, key string) {
				if strings.HasPrefix(key, "sotto/chain/") {
					_, rev, err := tx.Get("sotto/retry/00.1")
					if err == nil {
						_ = tx.Put("sotto/retry/00.1", []byte{byte(rev)}, rev)
					}
				}
			}}
		}},
		"a distribution from the beginning of the chain": {distribution: func(p *installation, b []byte) []byte {
			d, err := senderkey.ParseDistribution(b, senderkey.Signal)
			if err != nil {
				return b
			}
			id := d.ID()
			if firsts[string(id[:])] == nil {
				firsts[string(id[:])] = b
			}
			return firsts[string(id[:])]
		}},
		"a text that changes on the way":        {text: func(b []byte) []byte { return append(b, '!') }},
		"nobody asks for what does not decrypt": {neverAsk: true},
		"held messages that are lost": {neverAsk: true, before: func(c *club, _ action) {
			c.rows("sotto/held/", func(*installation, string, []byte) []byte { return nil })
		}},
		"distributions that count before they leave":  {accepted: true},
		"what leaves before it is committed":          {sendFirst: true},
		"what is acknowledged before it is committed": {ackFirst: true},
		"sessions that are lost": {before: func(c *club, a action) {
			if a == archive {
				c.rows("sotto/peer/", func(*installation, string, []byte) []byte { return nil })
				c.rows("sotto/sent/", func(*installation, string, []byte) []byte { return nil })
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var found violation
			by := "the seeds"
			run := func(input []byte) {
				found = violationIn(func(fail func(string, ...any)) {
					c, schedule := clubFor(input, fail)
					c.sabotage = s
					playGroup(c, schedule)
				})
			}
			for _, name := range slices.Sorted(maps.Keys(groupSchedules)) {
				if run(groupSchedules[name]); found != "" {
					break
				}
			}
			for seed := uint64(0); found == "" && seed < 1000; seed++ {
				by = "a random schedule"
				run(randomGroup(rand.New(rand.NewPCG(seed, 4))))
			}
			require.NotEmpty(t, found)
			t.Logf("%s, by %s: %s", name, by, found)
		})
	}
}
