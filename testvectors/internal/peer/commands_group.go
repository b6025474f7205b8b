package peer

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
)

// senderKeys are the group chains of a party, as records: bare chains, which
// nothing replaces. It is a value: a command makes another one.
type senderKeys struct {
	own    map[senderkey.DistributionID][]byte // of Chain
	others map[senderKeyName][]byte            // of Receiver
}

// A senderKeyName is libsignal's key of a record. The WhatsApp family has no
// distribution ID on the wire: there it is zero, and all groups of a device
// share a receiver.
type senderKeyName struct {
	sender address
	id     senderkey.DistributionID
}

func (s *party) groupFamily() senderkey.Family {
	if s.family == ratchet.WhatsApp {
		return senderkey.WhatsApp
	}
	return senderkey.Signal
}

func (s *party) senderKeyName(sender address, id senderkey.DistributionID) senderKeyName {
	if s.family == ratchet.WhatsApp {
		id = senderkey.DistributionID{}
	}
	return senderKeyName{sender, id}
}

func (s *party) storeChain(id senderkey.DistributionID, c *senderkey.Chain) error {
	b, err := c.AppendBinary(nil)
	if err != nil {
		return err
	}
	own := maps.Clone(s.senderKeys.own)
	if own == nil {
		own = map[senderkey.DistributionID][]byte{}
	}
	own[id] = b
	s.senderKeys.own = own
	return nil
}

func (s *party) storeReceiver(name senderKeyName, r *senderkey.Receiver) error {
	b, err := r.AppendBinary(nil)
	if err != nil {
		return err
	}
	others := maps.Clone(s.senderKeys.others)
	if others == nil {
		others = map[senderKeyName][]byte{}
	}
	others[name] = b
	s.senderKeys.others = others
	return nil
}

// receiver is the one of a name, a new one if there is none.
func (s *party) receiver(name senderKeyName) (*senderkey.Receiver, error) {
	b, ok := s.senderKeys.others[name]
	if !ok {
		return senderkey.NewReceiver(s.groupFamily()), nil
	}
	return senderkey.ParseReceiver(b, s.groupFamily())
}

const nameNoSenderKeyState = "NoSenderKeyState"

// groupError names what the library says about a group message or a
// distribution.
func groupError(err error) error {
	name := nameInvalidMessage
	switch {
	case err == nil:
		return nil
	case errors.Is(err, senderkey.ErrNoChain):
		name = nameNoSenderKeyState
	case errors.Is(err, senderkey.ErrAuthentication):
		name = nameSignatureValidationFailed
	case errors.Is(err, senderkey.ErrDuplicate):
		name = nameDuplicatedMessage
	case errors.Is(err, senderkey.ErrMalformed), errors.Is(err, senderkey.ErrCorrupt):
		name = nameInvalidProtobufEncoding
	}
	return fail(name, "%v", err)
}

// A distribution is what both commands about distributions answer.
type distribution struct {
	Message        *string `json:"message,omitempty"`
	DistributionID string  `json:"distributionId"`
	ChainID        uint32  `json:"chainId"`
	Iteration      uint32  `json:"iteration"`
}

func senderKeyDistributionCreate(s *party, a *args) (any, error) {
	id := a.uuid("distributionId")
	if err := a.close(); err != nil {
		return nil, err
	}
	c := senderkey.NewChain(s.groupFamily(), id)
	if b, ok := s.senderKeys.own[id]; ok {
		var err error
		if c, err = senderkey.ParseChain(b, s.groupFamily(), id); err != nil {
			return nil, err
		}
	}
	d, err := c.Distribution()
	if err != nil {
		return nil, err
	}
	b, err := d.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	return distribution{new(hex.EncodeToString(b)), formatUUID(id), d.ChainID(), d.Iteration()}, s.storeChain(id, c)
}

func senderKeyDistributionProcess(s *party, a *args) (any, error) {
	sender, b := a.address("sender"), a.bytes("message")
	if err := a.close(); err != nil {
		return nil, err
	}
	if len(b) > 0 {
		if err := checkVersion(b[0]); err != nil {
			return nil, err
		}
	}
	d, err := senderkey.ParseDistribution(b, s.groupFamily())
	if err != nil {
		return nil, groupError(err)
	}
	name := s.senderKeyName(sender, d.ID())
	r, err := s.receiver(name)
	if err != nil {
		return nil, err
	}
	if err := r.Process(d); err != nil {
		return nil, groupError(err)
	}
	return distribution{nil, formatUUID(d.ID()), d.ChainID(), d.Iteration()}, s.storeReceiver(name, r)
}

func groupEncrypt(s *party, a *args) (any, error) {
	id, plaintext := a.uuid("distributionId"), a.bytes("plaintext")
	if err := a.close(); err != nil {
		return nil, err
	}
	b, ok := s.senderKeys.own[id]
	if !ok {
		return nil, fail(nameNoSenderKeyState, "no chain: senderKeyDistributionCreate comes first")
	}
	c, err := senderkey.ParseChain(b, s.groupFamily(), id)
	if err != nil {
		return nil, err
	}
	message, err := c.Encrypt(nil, plaintext)
	if err != nil {
		return nil, groupError(err)
	}
	return struct {
		Type       int    `json:"type"`
		Ciphertext string `json:"ciphertext"`
	}{7, hex.EncodeToString(message)}, s.storeChain(id, c)
}

func groupDecrypt(s *party, a *args) (any, error) {
	sender, b := a.address("sender"), a.bytes("ciphertext")
	if err := a.close(); err != nil {
		return nil, err
	}
	m, err := parseSenderKeyMessage(b, s.groupFamily())
	if err != nil {
		return nil, err
	}
	name := s.senderKeyName(sender, m.ID)
	r, err := s.receiver(name)
	if err != nil {
		return nil, err
	}
	plaintext, _, err := r.Decrypt(nil, b)
	if err != nil {
		return nil, groupError(err)
	}
	return struct {
		Plaintext string `json:"plaintext"`
	}{hex.EncodeToString(plaintext)}, s.storeReceiver(name, r)
}

// exportSenderKey gives libsignal's record: of the party's own chain, or of the
// chains of another device.
func exportSenderKey(s *party, a *args) (any, error) {
	id, sender := a.uuid("distributionId"), a.optionalAddress("sender")
	if err := a.close(); err != nil {
		return nil, err
	}
	var record []byte
	if sender == nil || *sender == s.address {
		record = s.senderKeys.own[id]
	} else if name := s.senderKeyName(*sender, id); s.senderKeys.others[name] != nil {
		r, err := s.receiver(name)
		if err != nil {
			return nil, err
		}
		if record, err = r.AppendRecord([]byte{}, id); err != nil {
			return nil, err
		}
	}
	return struct {
		Record *string `json:"record"`
	}{nullHex(record)}, nil
}

// importSenderKey puts a record in the place of the one that is there.
func importSenderKey(s *party, a *args) (any, error) {
	id, sender, b := a.uuid("distributionId"), a.optionalAddress("sender"), a.bytes("record")
	if err := a.close(); err != nil {
		return nil, err
	}
	if sender == nil || *sender == s.address {
		c, err := senderkey.ParseChain(b, s.groupFamily(), id)
		if err != nil {
			return nil, recordError(err)
		}
		return none{}, s.storeChain(id, c)
	}
	r := senderkey.NewReceiver(s.groupFamily())
	if err := r.ImportRecord(b, id); err != nil {
		return nil, recordError(err)
	}
	return none{}, s.storeReceiver(s.senderKeyName(*sender, id), r)
}

func parseSenderKeyMessage(b []byte, f senderkey.Family) (*senderkey.Message, error) {
	if len(b) > 0 {
		if err := checkVersion(b[0]); err != nil {
			return nil, err
		}
	}
	m, err := senderkey.ParseMessage(b, f)
	return m, groupError(err)
}

func runParseSenderKeyMessage(p *peer, _ string, a *args) (any, error) {
	b := a.bytes("message")
	if err := a.close(); err != nil {
		return nil, err
	}
	family := senderkey.Signal
	if p.family == ratchet.WhatsApp {
		family = senderkey.WhatsApp
	}
	m, err := parseSenderKeyMessage(b, family)
	if err != nil {
		return nil, err
	}
	var id *string
	if family == senderkey.Signal {
		id = new(formatUUID(m.ID))
	}
	return struct {
		Version        byte    `json:"version"`
		DistributionID *string `json:"distributionId"`
		ChainID        uint32  `json:"chainId"`
		Iteration      uint32  `json:"iteration"`
		Ciphertext     string  `json:"ciphertext"`
		Signature      string  `json:"signature"`
	}{m.Version >> 4, id, m.ChainID, m.Iteration, hex.EncodeToString(m.Ciphertext), hex.EncodeToString(m.Signature)}, nil
}

func formatUUID(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// uuid takes a UUID in its usual text, in letters of either case.
func (a *args) uuid(name string) (id senderkey.DistributionID) {
	s := strings.ToLower(a.string(name))
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err == nil && len(b) == len(id) {
		copy(id[:], b)
	}
	if formatUUID(id) != s {
		a.failf("%s is not a UUID", a.prefix+name)
	}
	return id
}

// optionalAddress is nil if the argument is absent.
func (a *args) optionalAddress(name string) *address {
	if raw, ok := a.fields[name]; !ok || string(raw) == "null" {
		a.take(name)
		return nil
	}
	return new(a.address(name))
}
