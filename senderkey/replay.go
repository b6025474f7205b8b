package senderkey

import (
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/replay"
)

func init() {
	replay.NewChain = func(family uint8, distribution [16]byte, chainID uint32, chainKey, signing [32]byte) []byte {
		c := fresh{chainID, chainKey, curve.NewPrivateKey(signing)}.chain(Family(family), distribution)
		return c.appendRecord(nil)
	}
}
