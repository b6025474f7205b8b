package ratchet

import (
	"time"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/replay"
	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/x3dh"
)

func init() {
	key := func(k replay.Key) func() curve.PrivateKey {
		return func() curve.PrivateKey { return curve.NewPrivateKey(k()) }
	}
	config := func(c replay.SessionConfig) Config {
		return Config{Family: Family(c.Family), RegistrationID: c.RegistrationID, Created: time.Unix(c.Created, 0)}
	}
	replay.NewSession = func(h *secret.Handshake, c replay.SessionConfig, k replay.Key) ([]byte, error) {
		a := new(x3dh.Agreement)
		secret.Give(&a.Handoff, h)
		s, err := initiate(a, config(c), key(k))
		if err != nil {
			return nil, err
		}
		return s.AppendBinary(nil)
	}
	replay.AcceptSession = func(h *secret.Handshake, c replay.SessionConfig, k replay.Key) (record, plaintext []byte, err error) {
		a := new(x3dh.Acceptance)
		secret.Give(&a.Handoff, h)
		s, plaintext, err := accept(nil, a, config(c), key(k))
		if err != nil {
			return nil, nil, err
		}
		return s.load().appendBinary(nil), plaintext, nil
	}
	replay.DecryptSession = func(record []byte, family uint8, message []byte, k replay.Key) (next, plaintext []byte, missing uint32, err error) {
		s, err := ParseSession(record, Family(family))
		if err != nil {
			return nil, nil, 0, err
		}
		plaintext, verdict := s.decrypt(nil, message, key(k))
		return s.load().appendBinary(nil), plaintext, s.Missing(), verdict
	}
}
