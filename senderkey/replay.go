package senderkey

import (
	"time"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/replay"
)

func init() {
	replay.NewChain = func(family uint8, distribution [16]byte, chainID uint32, chainKey, signing [32]byte) []byte {
		c := fresh{chainID, chainKey, curve.NewPrivateKey(signing)}.chain(Family(family), distribution)
		return c.appendRecord(nil)
	}
	replay.EncryptGroup = func(record []byte, c replay.SenderConfig, r replay.Roster, now int64, plaintext []byte,
		draw func() replay.NewGroupChain) (next []byte, out replay.Sent, err error) {
		s, err := ParseSender(record, Config{Family(c.Family), c.MaxMessages, time.Duration(c.MaxSeconds) * time.Second})
		if err != nil {
			return nil, out, err
		}
		members := make([]Member, len(r.Members))
		for i, m := range r.Members {
			members[i] = m
		}
		sent, verdict := s.encrypt(s.load(), Roster{r.Revision, members}, time.Unix(now, 0), plaintext, func() (fresh, DistributionID) {
			c := draw()
			return fresh{c.ChainID, c.ChainKey, curve.NewPrivateKey(c.Signing)}, c.Distribution
		})
		if next, err = s.AppendBinary(nil); err != nil || verdict != nil {
			return next, out, verdict
		}
		out.Message, out.Rotated = sent.Message, sent.Rotated
		for _, m := range sent.Missing {
			out.Missing = append(out.Missing, m)
		}
		if sent.Distribution != nil {
			out.Distribution, err = sent.Distribution.AppendBinary(nil)
		}
		return next, out, err
	}
}
