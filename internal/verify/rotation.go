package verify

import (
	"errors"
	"fmt"
	"time"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/replay"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/testvectors"
)

// senderKeyRotation replays what a sender is asked to encrypt, and for whom: when
// a new chain begins, who gets it, and the ledger after each step.
func senderKeyRotation(t *testvectors.SenderKeyRotation, p *progress) error {
	record := []byte(t.Sender)
	for i := range t.Steps {
		p.next()
		s := &t.Steps[i]
		next, err := rotationStep(t, s, record)
		if err == nil {
			err = sameRecord(s.Record, s.RecordSHA256, next)
		}
		if err == nil && s.Error != "" {
			err = same("record that did not change", record, next)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.Op, err)
		}
		record = next
	}
	return nil
}

func rotationStep(t *testvectors.SenderKeyRotation, s *testvectors.RotationStep, record []byte) ([]byte, error) {
	members := make([][32]byte, len(s.Members))
	for i, m := range s.Members {
		members[i] = [32]byte(m)
	}
	config := replay.SenderConfig{Family: uint8(groupFamilies[t.Family]), MaxMessages: t.MaxMessages, MaxSeconds: t.MaxSeconds}
	if s.Op != "encrypt" {
		return note(s, record, config, members)
	}
	if s.Plaintext == nil {
		return nil, errors.New("no plaintext")
	}
	drawn := false
	next, sent, err := replay.EncryptGroup(record, config, replay.Roster{Revision: s.Revision, Members: members}, s.Now, *s.Plaintext,
		func() replay.NewGroupChain {
			drawn = true
			return replay.NewGroupChain{ChainID: s.Random.ChainID >> 1, ChainKey: [32]byte(s.Random.ChainKey),
				Signing: clamped(s.Random.SigningKey), Distribution: [16]byte(s.Random.DistributionID)}
		})
	if err := verdict(s.Error, err); err != nil || s.Error != "" {
		return next, err
	}
	n := len(sent.Message) - curve.SignatureSize
	_, chain := senderChain(next)
	key := chainSigningKey(chain)
	signature := key.SignWith((*[64]byte)(s.Random.Z), sent.Message[:n])
	differs := errors.Join(equal("a new chain", s.NewChain != "", sent.Rotated), equal("a chain drawn", sent.Rotated, drawn),
		same("message", s.Message, append(sent.Message[:n:n], signature[:]...)),
		equal("signature of our own verifies", true, key.Public().Verify(sent.Message[:n], sent.Message[n:])),
		same("distribution", s.Distribution, sent.Distribution), equal("readers", len(s.Readers), len(sent.Missing)))
	for i := range min(len(s.Readers), len(sent.Missing)) {
		differs = errors.Join(differs, same("reader", s.Readers[i], sent.Missing[i][:]))
	}
	return next, differs
}

// note notes who has a chain, or lacks it: the current one, if the step names none.
func note(s *testvectors.RotationStep, record []byte, c replay.SenderConfig, members [][32]byte) ([]byte, error) {
	sender, err := senderkey.ParseSender(record, senderkey.Config{Family: senderkey.Family(c.Family), MaxMessages: c.MaxMessages,
		MaxAge: time.Duration(c.MaxSeconds) * time.Second})
	if err != nil {
		return nil, err
	}
	f := map[string]func(senderkey.DistributionID, ...senderkey.Member) error{"has": sender.Delivered, "lacks": sender.Lacks}[s.Op]
	if f == nil {
		return nil, errors.New("unknown op")
	}
	id, _ := senderChain(record)
	if s.DistributionID != nil {
		id = senderkey.DistributionID(s.DistributionID)
	}
	list := make([]senderkey.Member, len(members))
	for i, m := range members {
		list[i] = m
	}
	if err := verdict(s.Error, f(id, list...)); err != nil {
		return nil, err
	}
	return sender.AppendBinary(nil)
}

// senderChain takes the distribution ID and the chain's record out of the record of a
// sender, which was parsed before.
func senderChain(record []byte) (id senderkey.DistributionID, chain []byte) {
	d := wire.Decode(record[1:])
	for d.Next() {
		switch d.Num() {
		case 2:
			d.Fixed(id[:])
		case 4:
			chain = d.Bytes()
		default:
			d.Skip()
		}
	}
	return id, chain
}
