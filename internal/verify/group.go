package verify

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/replay"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/testvectors"
)

// A chain is a group transcript as it is replayed. Each step starts from the
// record that the one before it has in the vectors.
type chain struct {
	*testvectors.GroupTranscript
	id      senderkey.DistributionID
	signing curve.PrivateKey
	records map[string][]byte // by party
	read    map[string]bool   // messages that were decrypted
}

func groupTranscript(t *testvectors.GroupTranscript, p *progress) error {
	c := &chain{t, senderkey.DistributionID(t.DistributionID), curve.NewPrivateKey([32]byte(t.Random.SigningKey)),
		map[string][]byte{}, map[string]bool{}}
	for i := range t.Steps {
		p.next()
		s := &t.Steps[i]
		var err error
		switch s.Op {
		case "create":
			_, err = privateKey(t.Random.SigningKey)
			err = errors.Join(err, same("record", s.Record,
				replay.NewChain(uint8(senderkey.Signal), c.id, t.Random.ChainID, [32]byte(t.Random.ChainKey), c.signing)))
		case "distribute":
			err = c.distribute(s)
		case "encrypt":
			err = c.encrypt(s)
		case "process":
			err = c.process(s)
		case "decrypt":
			err = c.decrypt(s)
		default:
			err = fmt.Errorf("unknown op %q", s.Op)
		}
		if err != nil {
			return fmt.Errorf("%s, %s: %w", s.Party, s.Op, err)
		}
		c.records[s.Party] = s.Record
	}
	return nil
}

func (c *chain) distribute(s *testvectors.GroupStep) error {
	own, err := senderkey.ParseChain(c.records[s.Party], senderkey.Signal, c.id)
	if err != nil {
		return err
	}
	d, err := own.Distribution()
	if err != nil {
		return err
	}
	b, err := d.AppendBinary(nil)
	return errors.Join(err, c.iteration(s, d.Iteration()), same("distribution", s.Message, b), writtenAgain(own, s.Record))
}

func (c *chain) iteration(s *testvectors.GroupStep, got uint32) error {
	if s.Iteration == nil {
		return errors.New("no iteration")
	}
	return equal("iteration", *s.Iteration, got)
}

// encrypt compares the message up to its signature, which is random; both
// signatures have to verify.
func (c *chain) encrypt(s *testvectors.GroupStep) error {
	own, err := senderkey.ParseChain(c.records[s.Party], senderkey.Signal, c.id)
	if err != nil {
		return err
	}
	if s.Plaintext == nil {
		return errors.New("no plaintext")
	}
	message, err := own.Encrypt(nil, *s.Plaintext)
	if err != nil {
		return err
	}
	if len(message) != len(s.Message) || len(message) < curve.SignatureSize {
		return fmt.Errorf("message: %d bytes, want %d", len(message), len(s.Message))
	}
	n := len(message) - curve.SignatureSize
	public := c.signing.Public()
	m, err := senderkey.ParseMessage(s.Message, senderkey.Signal)
	if err != nil {
		return err
	}
	return errors.Join(c.iteration(s, m.Iteration), same("message without its signature", s.Message[:n], message[:n]),
		equal("signature verifies", true, public.Verify(s.Message[:n], s.Message[n:])),
		equal("signature of our own verifies", true, public.Verify(message[:n], message[n:])),
		writtenAgain(own, s.Record))
}

// receiver makes a receiver of the record before a step.
func (c *chain) receiver(s *testvectors.GroupStep) (*senderkey.Receiver, error) {
	r := senderkey.NewReceiver(senderkey.Signal)
	if before := c.records[s.Party]; before != nil {
		return r, r.ImportRecord(before, c.id)
	}
	return r, nil
}

func (c *chain) process(s *testvectors.GroupStep) error {
	r, err := c.receiver(s)
	if err != nil {
		return err
	}
	d, err := senderkey.ParseDistribution(s.Message, senderkey.Signal)
	if err != nil {
		return err
	}
	if err := r.Process(d); err != nil {
		return err
	}
	// A receiver may have the chain already and keep it as it is; so what is in
	// the message is checked by itself.
	b, appendErr := d.AppendBinary(nil)
	public := c.signing.Public()
	record, err := r.AppendRecord(nil, c.id)
	if d.Iteration() > 0 { // what the sender said
		err = errors.Join(err, equal("a distribution that the sender made", true, c.sent(s.Message)))
	}
	return errors.Join(appendErr, err, same("distribution written again", s.Message, b), equal("distribution ID", c.id, d.ID()),
		equal("chain ID", c.Random.ChainID, d.ChainID()), c.iteration(s, d.Iteration()),
		same("signing key", public[:], s.Message[len(s.Message)-len(public):]), same("record", s.Record, record))
}

// sent reports whether the transcript has the sender make that distribution.
func (c *chain) sent(message []byte) bool {
	for i := range c.Steps {
		if s := &c.Steps[i]; s.Op == "distribute" && string(s.Message) == string(message) {
			return true
		}
	}
	return false
}

func (c *chain) decrypt(s *testvectors.GroupStep) error {
	r, err := c.receiver(s)
	if err != nil {
		return err
	}
	plaintext, _, got := r.Decrypt(nil, s.Message)
	record, err := r.AppendRecord(nil, c.id)
	if err = errors.Join(err, verdict(s.Error, got), same("record", s.Record, record)); err != nil {
		return err
	}
	if s.Error != "" {
		if s.Error == "senderkey.ErrDuplicate" && !c.read[string(s.Message)] {
			return errors.New("a duplicate of no message that was read")
		}
		return same("record that did not change", c.records[s.Party], s.Record)
	}
	if s.Plaintext == nil {
		return errors.New("no plaintext")
	}
	c.read[string(s.Message)] = true
	m, err := senderkey.ParseMessage(s.Message, senderkey.Signal)
	if err != nil {
		return err
	}
	return errors.Join(c.iteration(s, m.Iteration), same("plaintext", *s.Plaintext, plaintext))
}
