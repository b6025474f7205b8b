package main

import (
	"encoding/hex"

	"github.com/sotto-im/sotto/ratchet"
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
	message, typ, err := s.encrypt(to, plaintext, now)
	if err != nil {
		return nil, err
	}
	return struct {
		Type       ratchet.Type `json:"type"`
		Ciphertext string       `json:"ciphertext"`
	}{typ, hex.EncodeToString(message)}, nil
}

func decrypt(s *party, a *args) (any, error) {
	from, typ, message := a.address("address"), a.uint32("type"), a.bytes("ciphertext")
	if err := a.close(); err != nil {
		return nil, err
	}
	var plaintext []byte
	var err error
	switch typ {
	case uint32(ratchet.Ordinary):
		plaintext, err = s.decryptOrdinary(from, message)
	case uint32(ratchet.Initial):
		plaintext, err = s.decryptInitial(from, message)
	default:
		err = badRequest("type %d is neither 2 nor 3", typ)
	}
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
	return struct {
		Record *string `json:"record"`
	}{nullHex(s.sessions[with])}, nil
}

// importSession takes a record, of which the sessions of the past are only read
// when they are needed.
func importSession(s *party, a *args) (any, error) {
	with, b := a.address("address"), a.bytes("record")
	if err := a.close(); err != nil {
		return nil, err
	}
	if _, err := parseRecord(b, s.family); err != nil {
		return nil, err
	}
	s.sessions[with] = b
	return none{}, nil
}

func deleteSession(s *party, a *args) (any, error) {
	with := a.address("address")
	if err := a.close(); err != nil {
		return nil, err
	}
	delete(s.sessions, with)
	return none{}, nil
}

func archiveSession(s *party, a *args) (any, error) {
	with := a.address("address")
	if err := a.close(); err != nil {
		return nil, err
	}
	if _, ok := s.sessions[with]; !ok {
		return nil, fail(nameSessionNotFound, "no session to archive")
	}
	r, err := s.load(with)
	if err != nil {
		return nil, err
	}
	if err := r.archive(); err != nil {
		return nil, err
	}
	b, err := r.encode()
	if err != nil {
		return nil, err
	}
	s.sessions[with] = b
	return none{}, nil
}

func sessionInfo(s *party, a *args) (any, error) {
	with := a.address("address")
	if err := a.close(); err != nil {
		return nil, err
	}
	r, err := s.load(with)
	if err != nil {
		return nil, err
	}
	b, ok := s.sessions[with]
	return struct {
		Exists          bool `json:"exists"`
		HasCurrentState bool `json:"hasCurrentState"`
		Size            int  `json:"size"`
	}{ok, r.current != nil, len(b)}, nil
}
