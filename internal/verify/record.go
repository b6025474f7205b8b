package verify

import (
	"errors"
	"fmt"
	"time"

	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

func stateRecord(c *testvectors.StateRecord) error {
	written, err := rewrite(c)
	if err := answer(&c.Case, err); err != nil || c.Result != testvectors.Valid || c.Kind == "sessions" {
		return err
	}
	want := c.Record
	if c.Written != nil {
		want = c.Written
	}
	return same("written again", want, written)
}

// rewrite reads a record and writes it again.
func rewrite(c *testvectors.StateRecord) ([]byte, error) {
	var v interface {
		AppendBinary([]byte) ([]byte, error)
	}
	var err error
	switch c.Kind {
	case "session":
		v, err = ratchet.ParseSession(c.Record, ratchet.Signal)
	case "sessions":
		return readSessions(c.Record)
	case "identityKeyPair":
		v, err = x3dh.ParseIdentityKey(c.Record)
	case "preKey":
		v, err = x3dh.ParsePreKey(c.Record)
	case "signedPreKey":
		v, err = x3dh.ParseSignedPreKey(c.Record)
	case "senderKeyOwn":
		v, err = senderkey.ParseChain(c.Record, senderkey.Signal, senderkey.DistributionID{})
	case "senderKeyOther":
		r := senderkey.NewReceiver(senderkey.Signal)
		if err := r.ImportRecord(c.Record, senderkey.DistributionID{}); err != nil {
			return nil, err
		}
		return r.AppendRecord(nil, senderkey.DistributionID{})
	case "sender":
		v, err = senderkey.ParseSender(c.Record, senderkey.Config{Family: groupFamilies[c.Family]})
	case "receiver":
		v, err = senderkey.ParseReceiver(c.Record, groupFamilies[c.Family])
	case "clock":
		v, err = parseInto(new(lamport.Clock), c.Record)
	case "window":
		v, err = parseInto(new(lamport.Window), c.Record)
	case "conversation":
		v, err = parseInto(new(lamport.Conversation), c.Record)
	case "receipt":
		v, err = parseInto(new(lamport.Receipt), c.Record)
	case "register":
		v, err = parseInto(new(lamport.Register), c.Record)
	case "inbox":
		v, err = parseInto(new(lamport.Inbox), c.Record)
	default:
		return nil, fmt.Errorf("unknown kind %q", c.Kind)
	}
	if err != nil {
		return nil, err
	}
	return v.AppendBinary(nil)
}

type row interface {
	UnmarshalBinary([]byte) error
	AppendBinary([]byte) ([]byte, error)
}

func parseInto(v row, b []byte) (row, error) { return v, v.UnmarshalBinary(b) }

// readSessions gives a RecordStructure to a device. It is of another device, whose
// private key the vector does not have: so one that is good is refused for that
// alone, after all of it was read, and is not written again.
func readSessions(record []byte) ([]byte, error) {
	store := new(sesame.Memory)
	err := store.Do(func(tx sesame.Tx) error {
		d, err := sesame.Open(tx, sesame.Config{Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
		if err != nil {
			return err
		}
		return d.ImportFinal(tx, sesame.Address{User: "alice", Device: 1}, record)
	})
	if errors.Is(err, ratchet.ErrIdentityMismatch) {
		err = nil
	}
	return nil, err
}
