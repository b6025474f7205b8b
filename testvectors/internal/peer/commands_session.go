package peer

import (
	"encoding/hex"
	"errors"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
)

func processBundle(s *party, a *args) (any, error) {
	with, info, now := a.address("address"), a.bundle("bundle"), a.timeOr("now")
	if err := a.close(); err != nil {
		return nil, err
	}
	return none{}, s.startSession(with, info, now)
}

func encrypt(s *party, a *args) (any, error) {
	to, plaintext, now := a.address("address"), a.bytes("plaintext"), a.timeOr("now")
	if err := a.close(); err != nil {
		return nil, err
	}
	m, err := s.encrypt(to, plaintext, now)
	if err != nil {
		return nil, err
	}
	return struct {
		Type       ratchet.Type `json:"type"`
		Ciphertext string       `json:"ciphertext"`
	}{m.Type, hex.EncodeToString(m.Bytes)}, nil
}

func decrypt(s *party, a *args) (any, error) {
	from, typ, message := a.address("address"), a.uint32("type"), a.bytes("ciphertext")
	if err := a.close(); err != nil {
		return nil, err
	}
	if typ != uint32(ratchet.Ordinary) && typ != uint32(ratchet.Initial) {
		return nil, badRequest("type %d is neither 2 nor 3", typ)
	}
	plaintext, err := s.decrypt(from, ratchet.Type(typ), message)
	if err != nil {
		return nil, err
	}
	return struct {
		Plaintext string `json:"plaintext"`
	}{hex.EncodeToString(plaintext)}, nil
}

func exportSession(s *party, a *args) (any, error) {
	with := a.address("address")
	if err := a.close(); err != nil {
		return nil, err
	}
	b, err := s.record(with)
	if err != nil {
		return nil, err
	}
	return struct {
		Record *string `json:"record"`
	}{nullHex(b)}, nil
}

func (s *party) record(with address) (b []byte, err error) {
	err = s.store.Do(func(tx sesame.Tx) (err error) {
		if b, err = s.device.Export(tx, with.sesame()); errors.Is(err, sesame.ErrNoSession) {
			return nil // and no record
		}
		return err
	})
	return b, err
}

func importSession(s *party, a *args) (any, error) {
	with, b := a.address("address"), a.bytes("record")
	if err := a.close(); err != nil {
		return nil, err
	}
	return none{}, s.store.Do(func(tx sesame.Tx) error {
		if err := deleteSessions(tx, with); err != nil {
			return err
		}
		if err := s.device.ImportFinal(tx, with.sesame(), b); err != nil {
			return recordError(err)
		}
		p, err := getPeer(tx, with)
		if err != nil {
			return err
		}
		return putPeer(tx, with, p)
	})
}

func deleteSession(s *party, a *args) (any, error) {
	with := a.address("address")
	if err := a.close(); err != nil {
		return nil, err
	}
	return none{}, s.store.Do(func(tx sesame.Tx) error { return deleteSessions(tx, with) })
}

func archiveSession(s *party, a *args) (any, error) {
	with := a.address("address")
	if err := a.close(); err != nil {
		return nil, err
	}
	return none{}, s.store.Do(func(tx sesame.Tx) error {
		p, err := getPeer(tx, with)
		if err != nil {
			return err
		}
		if len(p.sessions) == 0 {
			return fail(nameSessionNotFound, "no session to archive")
		}
		return s.device.Reset(tx, with.sesame())
	})
}

func sessionInfo(s *party, a *args) (any, error) {
	with := a.address("address")
	if err := a.close(); err != nil {
		return nil, err
	}
	b, err := s.record(with)
	if err != nil {
		return nil, err
	}
	var known sesame.Peer
	err = s.store.Do(func(tx sesame.Tx) (err error) {
		known, err = s.device.Peer(tx, with.sesame())
		return err
	})
	return struct {
		Exists          bool `json:"exists"`
		HasCurrentState bool `json:"hasCurrentState"`
		Size            int  `json:"size"`
	}{b != nil, known.Connected, len(b)}, err
}
