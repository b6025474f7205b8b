package simulate

import (
	"slices"
	"strings"

	"github.com/sotto-im/sotto/sesame"
)

// breakRoster has the application lie to sesame about a group.
func (c *circular) breakRoster(g *sesame.Group) {
	switch c.from.Break {
	case OldRoster:
		c.roster = c.group.newest()
		g.Revision = c.group.revision(c.roster)
	case NoRevision:
		g.Revision = 0
	case RemoveQuietly:
		for _, roster := range c.group.rosters {
			for _, o := range roster {
				if o != c.from && !slices.Contains(g.Devices, o.at) {
					g.Devices = append(g.Devices, o.at)
				}
			}
		}
	}
}

// breakLedger has the application say that all have their distribution before
// any is sent.
func (c *circular) breakLedger(tx sesame.Tx, dev *sesame.Device) error {
	if c.from.Break != DistributedEarly {
		return nil
	}
	var to []sesame.Address
	for _, e := range c.entries {
		if e.err == nil && e.bytes != nil {
			to = append(to, e.to.at)
		}
	}
	return dev.Distributed(tx, c.group.name, c.made, to...)
}

// heldNowhere is a store that loses what is held.
type heldNowhere struct{ memory *sesame.Memory }

func (s heldNowhere) Do(fn func(sesame.Tx) error) error {
	return s.memory.Do(func(tx sesame.Tx) error { return fn(heldTx{tx}) })
}

type heldTx struct{ sesame.Tx }

func (t heldTx) Put(key string, value []byte, rev uint64) error {
	if strings.HasPrefix(key, "sotto/held/") {
		value = nil
	}
	return t.Tx.Put(key, value, rev)
}
