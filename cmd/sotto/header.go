package main

import (
	"errors"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

// A header is what anybody on the way can read of a message: the ratchet key of
// its sender and its number under that key.
type header struct {
	ratchetKey [x3dh.PublicKeySize]byte
	counter    uint32
}

// readHeader reads the header of a message. It proves nothing: only the MAC
// does, which Decrypt checks.
func readHeader(typ ratchet.Type, body []byte) (h header, err error) {
	if typ == ratchet.Initial {
		m, err := x3dh.ParseInitialMessage(body)
		if err != nil {
			return header{}, err
		}
		body = m.Message
	}
	const version, mac = 1, 8 // bytes around the protobuf
	if len(body) < version+mac {
		return header{}, errors.New("message too short")
	}
	d := wire.Decode(body[version : len(body)-mac])
	for d.Next() {
		switch d.Num() {
		case 1:
			d.Fixed(h.ratchetKey[:])
		case 2:
			h.counter = d.Uint32()
		default:
			d.Skip()
		}
	}
	return h, d.Close(1, 2)
}
