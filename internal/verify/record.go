package verify

import (
	"errors"
	"fmt"
	"time"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

func stateRecord(c *testvectors.StateRecord) error {
	written, err := rewrite(c)
	if err := answer(&c.Case, err); err != nil || c.Result != testvectors.Valid {
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
		return rewriteSessions(c)
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

// rewriteSessions imports a RecordStructure into a device that is brought along, as
// a final migration, and exports it.
func rewriteSessions(c *testvectors.StateRecord) (out []byte, err error) {
	private := curve.NewPrivateKey([32]byte(c.IdentityPrivate))
	identity, err := x3dh.ParseIdentityKey(wire.AppendBytes(wire.AppendBytes(nil, 1, private.Public().Append(nil)), 2, private[:]))
	if err != nil {
		return nil, err
	}
	store := new(sesame.Memory)
	err = store.Do(func(tx sesame.Tx) error {
		d, err := sesame.Open(tx, sesame.Config{Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
		if err != nil {
			return err
		}
		if err := d.Adopt(tx, identity, 4660, nil, nil); err != nil {
			return err
		}
		a := sesame.Address{User: "alice", Device: 1}
		if err := d.ImportFinal(tx, a, c.Record); err != nil {
			return err
		}
		if out, err = d.Export(tx, a); errors.Is(err, sesame.ErrNoSession) {
			return nil // the record is empty
		}
		return err
	})
	return out, err
}
