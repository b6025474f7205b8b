package verify

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

// fields are the values of a message as the vectors have them: numbers, and bytes in
// hex.
type fields map[string]any

func messageParse(c *testvectors.MessageParse) error {
	got, written, err := parseMessage(c)
	if err := answer(&c.Case, err); err != nil || c.Result != testvectors.Valid || got == nil {
		return err
	}
	differs := equal("fields", len(c.Value), len(got))
	for name, want := range c.Value {
		b, err := json.Marshal(got[name])
		differs = errors.Join(differs, err, equal(name, string(want), string(b)))
	}
	if written != nil && c.Written != nil {
		differs = errors.Join(differs, same("written again", c.Written, written))
	}
	return differs
}

func text(b []byte) string { return hex.EncodeToString(b) }

// parseMessage reads a message. What the library does not write by itself, because it needs
// keys for it, is nil in written.
func parseMessage(c *testvectors.MessageParse) (got fields, written []byte, err error) {
	switch c.Form {
	case "signalMessage":
		m, err := ratchet.ParseMessage(c.Message)
		if err != nil {
			return nil, nil, err
		}
		return fields{"ratchetKey": text(m.RatchetKey.Bytes()), "counter": m.Counter,
			"previousCounter": m.PreviousCounter, "ciphertext": text(m.Ciphertext), "mac": text(m.MAC)}, nil, nil
	case "preKeySignalMessage":
		m, err := x3dh.ParseInitialMessage(c.Message)
		if err != nil {
			return nil, nil, err
		}
		got = fields{"registrationId": m.RegistrationID, "signedPreKeyId": m.SignedPreKeyID,
			"baseKey": text(m.BaseKey.Bytes()), "identityKey": text(m.IdentityKey.Bytes()), "message": text(m.Message)}
		if m.OneTimePreKeyID != nil {
			got["preKeyId"] = *m.OneTimePreKeyID
		}
		return got, nil, nil
	case "bundle":
		b, err := x3dh.ParseBundle(c.Message)
		if err != nil {
			return nil, nil, err
		}
		i := b.Info()
		got = fields{"registrationId": i.RegistrationID, "deviceId": i.DeviceID, "identityKey": text(i.IdentityKey.Bytes()),
			"signedPreKeyId": i.SignedPreKey.ID, "signedPreKey": text(i.SignedPreKey.Key.Bytes()), "signature": text(i.SignedPreKey.Signature[:])}
		if k := i.OneTimePreKey; k != nil {
			got["preKeyId"], got["preKey"] = k.ID, text(k.Key.Bytes())
		}
		written, err = b.AppendBinary(nil)
		return got, written, err
	case "senderKeyMessage":
		m, err := senderkey.ParseMessage(c.Message, groupFamilies[c.Family])
		if err != nil {
			return nil, nil, err
		}
		got = fields{"chainId": m.ChainID, "iteration": m.Iteration, "ciphertext": text(m.Ciphertext), "signature": text(m.Signature)}
		if c.Family == "signal" {
			got["distributionId"] = text(m.ID[:])
		}
		return got, nil, nil
	case "senderKeyDistributionMessage":
		d, err := senderkey.ParseDistribution(c.Message, groupFamilies[c.Family])
		if err != nil {
			return nil, nil, err
		}
		written, err = d.AppendBinary(nil)
		if err != nil {
			return nil, nil, err
		}
		got, err = secretFields(written, c.Family)
		return got, written, errors.Join(err, equal("chain ID", got["chainId"], any(d.ChainID())), equal("iteration", got["iteration"], any(d.Iteration())))
	case "plaintextContent":
		m, err := handle(c.Message, new(uint32(0)))
		if err != nil {
			return nil, nil, err
		}
		if errors.Is(m.Err, wire.ErrMalformed) || errors.Is(m.Err, sesame.ErrAddress) {
			return nil, nil, m.Err
		}
		return nil, nil, checkRequest(c)
	}
	return nil, nil, fmt.Errorf("unknown form %q", c.Form)
}

// secretFields reads what a distribution does not show, out of what was written again.
func secretFields(b []byte, family string) (fields, error) {
	names := []string{"", "distributionId", "chainId", "iteration", "chainKey", "signingKey"}
	if family == "whatsapp" {
		names = slices.Delete(names, 1, 2)
	}
	got := fields{}
	d := wire.Decode(b[1:])
	for d.Next() {
		switch name := names[d.Num()]; name {
		case "chainId", "iteration":
			got[name] = d.Uint32()
		default:
			got[name] = text(d.Bytes())
		}
	}
	return got, d.Close()
}

// checkRequest has a device make the request with the fields of the vector.
func checkRequest(c *testvectors.MessageParse) error {
	var timestamp uint64
	var device uint32
	var key testvectors.Hex
	for name, v := range map[string]any{"timestamp": &timestamp, "device": &device, "ratchetKey": &key} {
		if raw, ok := c.Value[name]; ok {
			if err := json.Unmarshal(raw, v); err != nil {
				return err
			}
		}
	}
	if device > x3dh.MaxDeviceID {
		return nil // no device of ours has that number
	}
	typ, original := uint8(groupMessage), []byte{}
	if key != nil {
		typ, original = uint8(ratchet.Ordinary), ordinary(key)
	}
	request, _, err := ask(typ, original, device, timestamp)
	return errors.Join(err, same("written again", c.Message, request))
}
