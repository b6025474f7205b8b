package main

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/testvectors"
)

// device says of one of the two what was recorded.
func device(d *testvectors.RecordedDevice, created int64) testvectors.Device {
	out := testvectors.Device{RegistrationID: d.RegistrationID, IdentityPrivate: d.IdentityPrivate, IdentityPublic: d.IdentityPublic}
	if d.SignedPreKeyRecord != nil {
		out.SignedPreKey = &testvectors.DeviceKey{ID: d.SignedPreKeyID, Private: d.SignedPreKeyPrivate, Public: d.SignedPreKeyPublic,
			Signature: d.SignedPreKeySignature, Created: created, Record: d.SignedPreKeyRecord}
		out.OneTimePreKey = &testvectors.DeviceKey{ID: d.OneTimePreKeyID, Private: d.OneTimePreKeyPrivate, Public: d.OneTimePreKeyPublic,
			Record: d.OneTimePreKeyRecord}
	}
	return out
}

func session() (*file, error) {
	tr, err := testvectors.LoadConversation()
	if err != nil {
		return nil, err
	}
	f := &file{
		Schema: "session_transcript_v1.json", Algorithm: "X3DH, Double Ratchet", Spec: "SPEC.md §4, §5, §6.1, §6.2",
		Header: []string{
			"A conversation of two devices of a released peer, with throw-away keys, replayed in both roles.",
			"The ratchet keys that were drawn are taken out of the records. libsignal's outer record, which holds the current session alone, is left out.",
		},
		Notes:  map[string]testvectors.Note{},
		Groups: []group{{"SessionTranscript", recorded(tr.LibraryVersion), nil}},
	}
	t := testvectors.SessionTranscript{
		Case:   f.next("messages of both kinds, an empty one, late ones, a duplicate, eight turns of each side", testvectors.Valid),
		Family: "signal", Now: tr.NowMS / 1000, Alice: device(&tr.Alice, tr.NowMS), Bob: device(&tr.Bob, tr.NowMS),
		Steps: []testvectors.SessionStep{{Party: "alice", Op: "keys"}, {Party: "bob", Op: "keys"}},
	}
	messages := map[string]testvectors.Hex{}
	types := map[string]uint8{}
	for _, s := range tr.Steps {
		if s.Message != nil {
			messages[s.ID], types[s.ID] = s.Message, s.Type
		}
	}
	ratchetKeys := map[string]string{} // of each side
	for i, s := range tr.Steps {
		party, op, _ := strings.Cut(s.Op, ".")
		record := s.AliceSession
		if party == "bob" {
			record = s.BobSession
		}
		step := testvectors.SessionStep{Party: party, Op: op}
		var err error
		var ratchetKey testvectors.Hex
		if step.Record, ratchetKey, err = takeSession(record); err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		if ratchetKeys[party] != string(ratchetKey) {
			ratchetKeys[party] = string(ratchetKey)
			step.Random = &testvectors.SessionRandom{RatchetKey: ratchetKey}
		}
		id := strings.TrimSuffix(s.ID, "-duplicate")
		switch op {
		case "process_prekey_bundle":
			step.Op, id = "initiate", "a0"
		case "encrypt", "decrypt":
			step.Type = types[id]
			if s.Error != "" {
				step.Error = "ratchet.ErrDuplicate"
			} else {
				step.Plaintext = new(testvectors.Hex(s.Plaintext))
			}
		default:
			return nil, fmt.Errorf("step %d: unknown op %q", i, s.Op)
		}
		step.Message = messages[id]
		t.Steps = append(t.Steps, step)
	}
	f.Declared = len(t.Steps)
	f.Groups[0].Tests = []any{t}
	return f, nil
}

// takeSession takes the current session out of a RecordStructure, which holds
// nothing else, and the private ratchet key out of the session.
func takeSession(record []byte) (session, ratchetKey []byte, err error) {
	d := wire.Decode(record)
	for d.Next() {
		if d.Num() == 1 {
			session = d.Bytes()
		} else {
			d.Fail()
		}
	}
	if err := d.Close(1); err != nil {
		return nil, nil, err
	}
	d = wire.Decode(session)
	for d.Next() {
		if d.Num() != 6 {
			skip(&d)
			continue
		}
		chain := wire.Decode(d.Bytes())
		for chain.Next() {
			if chain.Num() == 2 {
				ratchetKey = chain.Bytes()
			} else {
				chain.Skip()
			}
		}
		if err := chain.Close(2); err != nil {
			return nil, nil, err
		}
	}
	return session, ratchetKey, d.Close(6)
}

// skip passes over a field of a session, of which one may stand there many times.
func skip(d *wire.Decoder) {
	if d.Num() == 7 {
		d.Repeated()
		return
	}
	d.Skip()
}

func senderKey() (*file, error) {
	tr, err := testvectors.LoadGroup()
	if err != nil {
		return nil, err
	}
	f := &file{
		Schema: "group_transcript_v1.json", Algorithm: "Sender keys", Spec: "SPEC.md §11.2, §11.3, §11.4, §11.5, §11.7",
		Header: []string{"A group of a released peer, with throw-away keys: one device writes, another reads, a third joins late."},
		Notes:  map[string]testvectors.Note{},
		Groups: []group{{"GroupTranscript", recorded(tr.LibraryVersion), nil}},
	}
	id, err := hex.DecodeString(strings.ReplaceAll(tr.DistributionID, "-", ""))
	if err != nil {
		return nil, err
	}
	signing, err := signingKey(tr.SenderRecordInitial)
	if err != nil {
		return nil, err
	}
	t := testvectors.GroupTranscript{
		Case: f.next("messages out of order, a duplicate, a late joiner", testvectors.Valid), DistributionID: id,
		Random: testvectors.GroupRandom{ChainID: tr.SKDMChainID, ChainKey: tr.SKDMChainKey, SigningKey: signing},
	}
	record := tr.SenderRecordInitial // of the sender
	distribute := testvectors.GroupStep{Party: "sender", Op: "distribute", Iteration: &tr.SKDMIteration, Message: tr.SKDM, Record: record}
	t.Steps = append(t.Steps, testvectors.GroupStep{Party: "sender", Op: "create", Record: record}, distribute, distribute,
		testvectors.GroupStep{Party: "receiver", Op: "process", Iteration: &tr.SKDMIteration, Message: tr.SKDM, Record: tr.ReceiverRecordInitial})
	if !tr.CreateAgain {
		t.Steps = append(t.Steps[:2], t.Steps[3:]...)
	}
	messages := map[uint32]testvectors.Hex{}
	for i, s := range tr.Steps {
		step := testvectors.GroupStep{Op: s.Op, Iteration: new(s.Iteration), Message: s.Message, Record: s.SenderRecord}
		switch s.Op {
		case "encrypt":
			step.Party, record = "sender", s.SenderRecord
			messages[s.Iteration] = s.Message
		case "decrypt":
			step.Party, step.Message, step.Record = "receiver", messages[s.Iteration], s.ReceiverRecord
		default:
			return nil, fmt.Errorf("step %d: unknown op %q", i, s.Op)
		}
		if s.Error != "" {
			step.Error = "senderkey.ErrDuplicate"
		} else {
			step.Plaintext = new(testvectors.Hex(s.Plaintext))
		}
		t.Steps = append(t.Steps, step)
	}
	t.Steps = append(t.Steps,
		testvectors.GroupStep{Party: "sender", Op: "distribute", Iteration: &tr.LateIteration, Message: tr.LateSKDM, Record: record},
		testvectors.GroupStep{Party: "receiver", Op: "process", Iteration: &tr.LateIteration, Message: tr.LateSKDM, Record: tr.ReceiverRecordAfter})
	f.Declared = len(t.Steps)
	f.Groups[0].Tests = []any{t}
	return f, nil
}

// signingKey takes the private signing key out of a sender's record of one state.
func signingKey(record []byte) (key []byte, err error) {
	for _, num := range []int{1, 3, 2} { // state, its signing key, the private half
		d := wire.Decode(record)
		key = nil
		for d.Next() {
			if d.Num() == num {
				key = d.Bytes()
			} else {
				d.Skip()
			}
		}
		if err := d.Close(num); err != nil {
			return nil, err
		}
		record = key
	}
	return key, nil
}
