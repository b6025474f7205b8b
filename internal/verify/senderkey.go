package verify

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/replay"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/testvectors"
)

var groupFamilies = map[string]senderkey.Family{"signal": senderkey.Signal, "whatsapp": senderkey.WhatsApp}

// A group is a sender key transcript as it is replayed: the records of its chains
// and receivers, by name.
type group struct {
	family            senderkey.Family
	chains, receivers map[string][]byte
	ids               map[string]senderkey.DistributionID // of the chains
	signing           map[string]curve.PrivateKey
}

func senderKeyTranscript(t *testvectors.SenderKeyTranscript, p *progress) error {
	g := &group{groupFamilies[t.Family], map[string][]byte{}, map[string][]byte{},
		map[string]senderkey.DistributionID{}, map[string]curve.PrivateKey{}}
	for i := range t.Steps {
		p.next()
		s := &t.Steps[i]
		records, name := g.chains, s.Chain
		if s.Receiver != "" {
			records, name = g.receivers, s.Receiver
		}
		before := records[name]
		next, err := g.step(s)
		if err == nil {
			err = sameRecord(s.Record, s.RecordSHA256, next)
		}
		if err == nil && s.Error != "" && before != nil {
			err = same("record that did not change", before, next)
		}
		if err != nil {
			return fmt.Errorf("%s, %s: %w", name, s.Op, err)
		}
		records[name] = next
	}
	return nil
}

// step does one and returns the record after it.
func (g *group) step(s *testvectors.SenderKeyStep) ([]byte, error) {
	switch s.Op {
	case "create":
		g.name(s)
		g.signing[s.Chain] = clamped(s.Random.SigningKey)
		return replay.NewChain(uint8(g.family), g.ids[s.Chain], s.Random.ChainID>>1, [32]byte(s.Random.ChainKey), g.signing[s.Chain]), nil
	case "load":
		if s.Receiver != "" {
			r, err := senderkey.ParseReceiver(s.Record, g.family)
			if err != nil {
				return nil, err
			}
			return r.AppendBinary(nil)
		}
		g.name(s)
		c, err := senderkey.ParseChain(s.Record, g.family, g.ids[s.Chain])
		if err != nil {
			return nil, err
		}
		g.signing[s.Chain] = chainSigningKey(s.Record)
		return c.AppendBinary(nil)
	case "distribute", "encrypt":
		c, err := senderkey.ParseChain(g.chains[s.Chain], g.family, g.ids[s.Chain])
		if err != nil {
			return nil, err
		}
		if s.Op == "distribute" {
			d, err := c.Distribution()
			if err != nil {
				return nil, err
			}
			b, err := d.AppendBinary(nil)
			if err := errors.Join(err, same("distribution", s.Message, b)); err != nil {
				return nil, err
			}
		} else if err := g.encrypt(s, c); err != nil {
			return nil, err
		}
		return c.AppendBinary(nil)
	case "process", "decrypt":
		r := senderkey.NewReceiver(g.family)
		if before := g.receivers[s.Receiver]; before != nil {
			var err error
			if r, err = senderkey.ParseReceiver(before, g.family); err != nil {
				return nil, err
			}
		}
		f := g.decrypt
		if s.Op == "process" {
			f = g.process
		}
		if err := f(s, r); err != nil {
			return nil, err
		}
		return r.AppendBinary(nil)
	}
	return nil, fmt.Errorf("unknown op %q", s.Op)
}

func (g *group) name(s *testvectors.SenderKeyStep) {
	if s.DistributionID != nil {
		g.ids[s.Chain] = senderkey.DistributionID(s.DistributionID)
	}
}

// chainSigningKey takes the private signing key out of the record of a chain, which
// was parsed before and has one state.
func chainSigningKey(record []byte) (k curve.PrivateKey) {
	for _, num := range []int{1, 3, 2} {
		d := wire.Decode(record)
		for d.Next() {
			if d.Num() == num {
				record = d.Bytes()
			} else {
				d.Skip()
			}
		}
	}
	copy(k[:], record)
	return k
}

// encrypt compares the message, whose signature is made again with the random
// bytes of the vector: the library draws its own.
func (g *group) encrypt(s *testvectors.SenderKeyStep, c *senderkey.Chain) error {
	if s.Plaintext == nil {
		return errors.New("no plaintext")
	}
	message, err := c.Encrypt(nil, *s.Plaintext)
	if err := verdict(s.Error, err); err != nil || s.Error != "" {
		return err
	}
	n := len(message) - curve.SignatureSize
	key := g.signing[s.Chain]
	signature := key.SignWith((*[64]byte)(s.Random.Z), message[:n])
	return errors.Join(same("message", s.Message, append(message[:n:n], signature[:]...)),
		equal("signature of our own verifies", true, key.Public().Verify(message[:n], message[n:])),
		g.seed(s))
}

// seed checks the seed of a step against its message.
func (g *group) seed(s *testvectors.SenderKeyStep) error {
	m, err := senderkey.ParseMessage(s.Message, g.family)
	if err != nil {
		return err
	}
	keys := kdf.ExpandGroupSeed((*[32]byte)(s.Seed))
	plaintext, ok := cbc.Decrypt(&keys.Cipher, &keys.IV, make([]byte, cbc.BlockSize), append([]byte(nil), m.Ciphertext...))
	return errors.Join(equal("padding under the seed", true, ok), same("plaintext under the seed", *s.Plaintext, plaintext))
}

func (g *group) process(s *testvectors.SenderKeyStep, r *senderkey.Receiver) error {
	d, err := senderkey.ParseDistribution(s.Message, g.family)
	if err == nil {
		err = r.Process(d)
	}
	return verdict(s.Error, err)
}

func (g *group) decrypt(s *testvectors.SenderKeyStep, r *senderkey.Receiver) error {
	plaintext, missing, err := r.Decrypt(nil, s.Message)
	if err := verdict(s.Error, err); err != nil || s.Error != "" {
		return err
	}
	if s.Plaintext == nil || s.Missing == nil {
		return errors.New("no plaintext, or not how many are missing")
	}
	return errors.Join(same("plaintext", *s.Plaintext, plaintext), equal("missing", *s.Missing, missing), g.seed(s))
}
