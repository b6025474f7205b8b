package simulate

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// Making keys and first sessions would take half of a run. Of four runs three
// begin with devices that were made before, have published, and of which some
// talk; the fourth, and installations in the course of a run, make their own.

// casts is how many of them there are.
const casts = 16

// A cast is the devices of a world when it begins.
type cast [maxDevices]preparation

// A preparation is a device that has published.
type preparation struct {
	friends []int // with lower numbers
	keys    []string
	values  [][]byte
	server  mailbox
	made    map[x3dh.PublicKey]time.Time
	signed  map[uint32]time.Time
}

var prepared [casts]func() *cast

func init() {
	for i := range prepared {
		prepared[i] = sync.OnceValue(func() *cast { return newCast(uint64(i)) })
	}
}

func newCast(seed uint64) *cast {
	w := newWorld(Config{Seed: seed}, rand.New(rand.NewPCG(seed, 11)), maxDevices)
	w.acquaint()
	for _, d := range w.devices {
		for d.server.publication == nil || len(d.server.oneTime) == 0 {
			d.publish(0)
		}
		for _, o := range d.friends {
			if w.number(o) < w.number(d) && w.percent(60) {
				d.exchange(o)
				o.exchange(d)
			}
		}
	}
	c := new(cast)
	for n, d := range w.devices {
		p := &c[n]
		for _, o := range d.friends {
			if w.number(o) < n {
				p.friends = append(p.friends, w.number(o))
			}
		}
		p.keys, p.values = d.rows("sotto/")
		p.server, p.made, p.signed = d.server, d.made, d.signed
	}
	return c
}

// begin gives the devices of w what those of a cast have.
func (w *world) begin(c *cast) {
	for i, d := range w.devices {
		p := &c[i]
		d.observe(func(tx sesame.Tx) error {
			for i, key := range p.keys {
				if err := tx.Put(key, p.values[i], 0); err != nil {
					return err
				}
			}
			return nil
		})
		d.server, d.made, d.signed = p.server, maps.Clone(p.made), maps.Clone(p.signed)
		d.server.oneTime, d.server.mail = slices.Clone(p.server.oneTime), nil
		d.identity, d.registration = p.server.publication.IdentityKey, p.server.publication.RegistrationID
		for _, o := range p.friends {
			d.befriend(w.devices[o])
		}
	}
}
