package verify

import (
	"errors"
	"fmt"
	"time"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/testvectors"
)

const groupMessage = 7 // the type of a SenderKeyMessage

// ask has a device that knows nobody get a message, and returns the request that
// it makes for it, nil if none, and what is wrong with the message.
func ask(typ uint8, message []byte, from uint32, timestamp uint64) (request []byte, verdict error, err error) {
	store := new(sesame.Memory)
	err = store.Do(func(tx sesame.Tx) error {
		d, err := sesame.Open(tx, sesame.Config{Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
		if err != nil {
			return err
		}
		sender := sesame.Address{User: "alice", Device: from}
		var r *sesame.Result
		if typ == groupMessage {
			// libsignal looks at no byte of it. Sotto asks for group messages only, so
			// it gets one, of a chain that it does not have.
			if message, err = senderkey.NewChain(senderkey.Signal, senderkey.DistributionID{}).Encrypt(nil, nil); err != nil {
				return err
			}
			r, err = d.DecryptGroup(tx, sender, timestamp, "group", message)
		} else {
			r, err = d.Decrypt(tx, sender, ratchet.Type(typ), message)
		}
		if err != nil {
			return err
		}
		verdict = r.Err
		m, err := d.RetryRequest(tx, r, timestamp)
		if m != nil {
			request = m.Bytes
			err = errors.Join(err, equal("type of the request", ratchet.PlaintextContent, m.Type), equal("receiver", sender, m.To))
		}
		return err
	})
	return request, verdict, err
}

func retryRequest(c *testvectors.RetryRequest) error {
	request, verdict, err := ask(c.OriginalType, c.Original, c.Device, c.Timestamp)
	if err != nil {
		return err
	}
	if verdict == nil {
		return errors.New("the message was read")
	}
	if request == nil {
		return answer(&c.Case, verdict)
	}
	if err := answer(&c.Case, nil); err != nil {
		return err
	}
	if len(request) < 4 {
		return errors.New("the request is too short")
	}
	inner := wire.AppendBytes(nil, 8, c.DecryptionErrorMessage)
	key := []byte{}
	if c.OriginalType != groupMessage {
		key = wire.AppendBytes(nil, 1, c.RatchetKey)
	}
	return errors.Join(
		same("plaintextContent", c.PlaintextContent, request),
		same("decryptionErrorMessage", inner, request[1:len(request)-1]),
		same("ratchetKey", key, c.DecryptionErrorMessage[:min(len(key), len(c.DecryptionErrorMessage))]))
}

// plaintextContent gives a content to a device. It can be told only from the reason
// whether it was read; that it was, and what, shows in that a device that makes
// the request for those values writes the same bytes.
func plaintextContent(c *testvectors.PlaintextContent) error {
	m, err := handle(c.PlaintextContent, c.Device)
	if err != nil {
		return err
	}
	if c.Result != testvectors.Valid {
		if !errors.Is(m.Err, wire.ErrMalformed) {
			return fmt.Errorf("answered with %q, and not because of its form", m.Err)
		}
		return answer(&c.Case, m.Err)
	}
	if errors.Is(m.Err, wire.ErrMalformed) {
		return answer(&c.Case, m.Err)
	}
	if c.Timestamp == nil || c.Device == nil {
		return errors.New("no timestamp or device to compare with")
	}
	typ, original := uint8(groupMessage), []byte{}
	if len(c.RatchetKey) > 0 {
		typ, original = uint8(ratchet.Ordinary), ordinary(c.RatchetKey)
	}
	request, _, err := ask(typ, original, *c.Device, *c.Timestamp)
	return errors.Join(err, equal("timestamp", *c.Timestamp, m.Timestamp), same("written again", c.PlaintextContent, request))
}

// handle gives a request to a device that has sent nothing.
func handle(content []byte, self *uint32) (m sesame.Message, err error) {
	if self == nil {
		self = new(uint32(1))
	}
	store := new(sesame.Memory)
	err = store.Do(func(tx sesame.Tx) error {
		d, err := sesame.Open(tx, sesame.Config{Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
		if err != nil {
			return err
		}
		m, err = d.HandleRetry(tx, sesame.Address{User: "bob", Device: 1}, *self, content, func(uint64) (bool, error) { return true, nil })
		return err
	})
	return m, err
}

// ordinary is a message of a session that nobody has, with a ratchet key.
func ordinary(ratchetKey []byte) []byte {
	m := wire.AppendBytes([]byte{0x33}, 1, ratchetKey)
	m = wire.AppendUint(m, 2, 0)
	m = wire.AppendUint(m, 3, 0)
	m = wire.AppendBytes(m, 4, make([]byte, 16))
	return append(m, make([]byte, 8)...)
}
