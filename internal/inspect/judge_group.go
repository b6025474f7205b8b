package inspect

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/senderkey"
)

// judgeGroup says whether a group message decrypts with one of the records.
func (rs *records) judgeGroup(r *Report) *Verdict {
	f := senderkey.Signal
	if r.Family == familyWhatsApp {
		f = senderkey.WhatsApp
	}
	v := &Verdict{Reason: "no record of sender keys was given"}
	m, err := senderkey.ParseMessage(r.input, f)
	if err != nil {
		return &Verdict{Reason: err.Error()}
	}
	for _, record := range rs.groups {
		receiver, states, err := openGroup(record, f, m.ID)
		reason := ""
		var skipped uint32
		var plaintext []byte
		if err == nil {
			plaintext, skipped, err = receiver.Decrypt(nil, r.input)
			reason = explainGroup(m, r.input, states, skipped, err)
		} else {
			reason = "the record does not fit: " + err.Error()
			if record.Kind == "sender-key-record" {
				reason = "the record is that of the device's own chain, which writes: a receiver's is needed"
			}
		}
		if err == nil {
			clear(plaintext)
			return &Verdict{Decrypts: true, Reason: fmt.Sprintf("%s; %d bytes of plaintext, not shown", reason, len(plaintext)), Details: v.Details}
		}
		if v.Reason == "no record of sender keys was given" {
			v.Reason = reason
		} else {
			v.Details = append(v.Details, reason)
		}
	}
	return v
}

// A groupState is a chain of a record, with its distribution ID if the record
// has one.
type groupState struct {
	id    [16]byte
	state *found
}

// openGroup makes a receiver of a record. libsignal's have no distribution ID:
// it is taken from the message.
func openGroup(r *Report, f senderkey.Family, id senderkey.DistributionID) (*senderkey.Receiver, []groupState, error) {
	b, root := r.input, r.walk.root
	var states []groupState
	if r.Kind == "sender-key-record" {
		for _, v := range root.values[1] {
			states = append(states, groupState{id, v.in})
		}
		receiver := senderkey.NewReceiver(f)
		return receiver, states, receiver.ImportRecord(b, id)
	}
	if r.Kind == "row-receiver" {
		d := wire.Decode(b)
		d.Next()
		b = d.Bytes()
		inner, err := Inspect(b, Options{Kind: "receiver", Family: r.Family})
		if err != nil || inner.walk.root == nil {
			return nil, nil, ErrRecord
		}
		root = inner.walk.root
	}
	if root != nil {
		for _, v := range root.values[1] {
			s := groupState{state: v.in.get(2).in}
			if d := v.in.get(1); d != nil {
				s.id = [16]byte(d.b)
			}
			states = append(states, s)
		}
	}
	receiver, err := senderkey.ParseReceiver(b, f)
	return receiver, states, err
}

func explainGroup(m *senderkey.Message, b []byte, states []groupState, skipped uint32, err error) string {
	if errors.Is(err, senderkey.ErrNoChain) {
		reason := fmt.Sprintf("no chain %d of this distribution ID: its distribution has not come, or was dropped. Here are %d chains", m.ChainID, len(states))
		for _, s := range states {
			reason += fmt.Sprintf(", %d", s.state.uint(1))
			if s.id != [16]byte(m.ID) && s.state.uint(1) == uint64(m.ChainID) {
				reason += " (under another distribution ID)"
			}
		}
		return reason
	}
	var state *found
	for _, s := range states {
		if s.id == [16]byte(m.ID) && s.state.uint(1) == uint64(m.ChainID) {
			state = s.state
		}
	}
	if state == nil {
		return fmt.Sprint(err)
	}
	next := state.get(2).in.uint(1)
	at := fmt.Sprintf("chain %d, whose next message is %d", m.ChainID, next)
	switch {
	case err == nil && uint64(m.Iteration) < next:
		return fmt.Sprintf("%s; message %d came late, and its key is stored; signature verified", at, m.Iteration)
	case err == nil:
		return fmt.Sprintf("%s; message %d skips %d keys; signature verified", at, m.Iteration, skipped)
	case errors.Is(err, senderkey.ErrDuplicate):
		return fmt.Sprintf("%s; message %d was read already (duplicate), or was written before this distribution, or its key was evicted", at, m.Iteration)
	case errors.Is(err, senderkey.ErrTooFarAhead):
		return fmt.Sprintf("%s; message %d is too far ahead: it would skip %d keys, and the limit is 25,000 (R-11.4-6)", at, m.Iteration, uint64(m.Iteration)-next)
	case errors.Is(err, senderkey.ErrAuthentication):
		verifies := func(s *found, b []byte) bool {
			k, err := curve.ParsePublicKey(s.get(3).in.get(1).b)
			n := len(b) - curve.SignatureSize
			return err == nil && n > 0 && k.Verify(b[:n], b[n:])
		}
		if verifies(state, b) {
			return at + "; the signature verifies, and the padding of the plaintext does not: the chain key is not the sender's"
		}
		for _, s := range states {
			if verifies(s.state, b) {
				return fmt.Sprintf("%s; signature differs: it verifies with the signing key of chain %d", at, s.state.uint(1))
			}
		}
		if found := altered(b[:min(len(b), 512)], func(try []byte) bool { return len(b) <= 512 && verifies(state, try) }); found != "" {
			return at + "; signature differs; " + found
		}
		return at + "; signature differs: the message was altered, or was not written by the device of this chain (another device's record, or a forgery)"
	}
	return at + "; " + err.Error()
}
