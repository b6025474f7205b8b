package demo

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
)

// Each sabotage breaks one thing that keeps a group to its members, and each is
// found in what devices can open, or cannot.
func TestGroupSabotage(t *testing.T) {
	leaked := func(a *groupAccount) int { return a.leaked }
	for _, test := range []struct {
		name     string
		sabotage func(*group)
		found    func(*groupAccount) int
		word     string
	}{
		{"a writer that keeps its chain when a member was removed", func(g *group) {
			erin := address(g.erin.id)
			seals(g.bob, func(seal sealer, tx sesame.Tx, v sesame.Group, plaintext []byte, wrap func([]byte) []byte) (*sesame.GroupMessage, error) {
				if slices.Contains(v.Devices, erin) {
					return seal(tx, v, plaintext, wrap)
				}
				v.Devices = append(v.Devices, erin) // so nobody is gone
				out, err := seal(tx, v, plaintext, wrap)
				if err == nil {
					out.Messages = out.Messages[:len(out.Messages)-1]
				}
				return out, err
			})
		}, leaked, "OPENED: Erin is given g12"},
		{"a distribution for a device that was removed", func(g *group) {
			erin := address(g.erin.id)
			var stolen []sesame.Message
			seals(g.bob, func(seal sealer, tx sesame.Tx, v sesame.Group, plaintext []byte, wrap func([]byte) []byte) (*sesame.GroupMessage, error) {
				var raw []byte
				out, err := seal(tx, v, plaintext, func(b []byte) []byte { raw = b; return wrap(b) })
				if err == nil && raw != nil && !slices.Contains(v.Devices, erin) {
					stolen, err = g.bob.sesame.Encrypt(tx, raw, erin)
				}
				return out, err
			})
			open := g.erin.openGroup
			g.erin.openGroup = func(tx sesame.Tx, from sesame.Address, stamp uint64, b []byte) (*sesame.Result, error) {
				for _, v := range stolen {
					r, err := g.erin.sesame.Decrypt(tx, address(g.bob.id), v.Type, v.Bytes)
					if err == nil {
						_, err = g.erin.sesame.ProcessDistribution(tx, r, g.erin.group(), r.Plaintext)
					}
					if err != nil {
						return nil, err
					}
				}
				return open(tx, from, stamp, b)
			}
		}, leaked, "OPENED: Erin is given g12"},
		{"a newcomer who gets a chain from its beginning", func(g *group) {
			first := map[senderkey.DistributionID][]byte{}
			seals(g.alice, func(seal sealer, tx sesame.Tx, v sesame.Group, plaintext []byte, wrap func([]byte) []byte) (*sesame.GroupMessage, error) {
				return seal(tx, v, plaintext, func(b []byte) []byte {
					d, err := senderkey.ParseDistribution(b, senderkey.Signal)
					require.NoError(t, err)
					if first[d.ID()] == nil {
						first[d.ID()] = slices.Clone(b)
					}
					return wrap(first[d.ID()])
				})
			})
		}, leaked, "OPENED: Frank is given g1"},
		{"a message that is lost", func(g *group) {
			open, n := g.carol.openGroup, 0
			g.carol.openGroup = func(tx sesame.Tx, from sesame.Address, stamp uint64, b []byte) (*sesame.Result, error) {
				r, err := open(tx, from, stamp, b)
				if n++; n == 5 && err == nil {
					r = &sesame.Result{From: from, Err: sesame.ErrUndecryptable}
				}
				return r, err
			}
		}, func(a *groupAccount) int { return min(a.lost, a.refused) }, "LOST: Carol"},
		{"a reader that takes one member's keys for another's", func(g *group) {
			take := g.carol.takeKeys
			g.carol.takeKeys = func(tx sesame.Tx, r *sesame.Result, b []byte) ([]*sesame.Result, error) {
				if r.From == address(g.dave.id) {
					forged := *r
					forged.From = address(g.bob.id)
					r = &forged
				}
				return take(tx, r, b)
			}
		}, func(a *groupAccount) int { return a.lost }, "LOST: Carol does not have g14"},
		{"a writer whose roster is not the one that it has read", func(g *group) {
			seals(g.carol, func(seal sealer, tx sesame.Tx, v sesame.Group, plaintext []byte, wrap func([]byte) []byte) (*sesame.GroupMessage, error) {
				if erin := address(g.erin.id); !slices.Contains(v.Devices, erin) {
					v.Devices = append(v.Devices, erin)
				}
				return seal(tx, v, plaintext, wrap)
			})
		}, func(a *groupAccount) int { return a.wrong }, "WRONG: that g13 is for Erin is true"},
		{"a writer that does not store its chain with the message", func(g *group) {
			seals(g.alice, func(seal sealer, tx sesame.Tx, v sesame.Group, plaintext []byte, wrap func([]byte) []byte) (*sesame.GroupMessage, error) {
				return seal(forgetful{tx, "sotto/group/"}, v, plaintext, wrap)
			})
		}, func(a *groupAccount) int { return a.reused }, "KEY USED TWICE:"},
		{"a server that tells the devices different orders", func(g *group) {
			g.net = shuffling{g.net, g.carol}
		}, func(a *groupAccount) int { return a.outOfOrder }, "OUT OF ORDER: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, err := newGroup(Options{Seed: 1, Open: Memory})
				require.NoError(t, err)
				test.sabotage(g)
				var out bytes.Buffer
				require.ErrorIs(t, g.show(&out), errJudged)
				require.Positive(t, test.found(g.account), out.String())
				require.Contains(t, out.String(), test.word)
			})
		})
	}
}

type sealer = func(tx sesame.Tx, g sesame.Group, plaintext []byte, wrap func([]byte) []byte) (*sesame.GroupMessage, error)

// seals replaces how a member encrypts.
func seals(m *member, f func(seal sealer, tx sesame.Tx, g sesame.Group, plaintext []byte, wrap func([]byte) []byte) (*sesame.GroupMessage, error)) {
	seal := m.sealGroup
	m.sealGroup = func(tx sesame.Tx, g sesame.Group, plaintext []byte, wrap func([]byte) []byte) (*sesame.GroupMessage, error) {
		return f(seal, tx, g, plaintext, wrap)
	}
}

// shuffling changes the numbers of messages to the group.
type shuffling struct {
	network
	not *member
}

func (l shuffling) deliver(frame []byte) deliverFate {
	if d, err := parse[*envelope.Deliver](frame); err == nil && d.Type == sharedType && d.Header.Sender == l.not.id {
		m := *d
		m.Untrusted.Sequence ^= 64
		if b, err := m.AppendBinary(nil); err == nil && len(b) == len(frame) {
			copy(frame, b)
		}
	}
	return l.network.deliver(frame)
}
