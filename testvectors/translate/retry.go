package main

import (
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/testvectors"
)

func retryRequest() (*file, error) {
	v, err := testvectors.LoadRetries()
	if err != nil {
		return nil, err
	}
	f := &file{
		Schema: "retry_request_v1.json", Algorithm: "Retry requests", Spec: "SPEC.md §10.7",
		Header: []string{"What a released peer asks with for messages that it is given, and messages for which it does not ask."},
		Notes:  map[string]testvectors.Note{},
		Groups: []group{{"RetryRequest", recorded(v.LibraryVersion), nil}},
	}
	g := &f.Groups[0]
	for _, r := range v.Requests {
		g.Tests = append(g.Tests, testvectors.RetryRequest{
			Case: f.next(r.Comment, testvectors.Valid), Original: r.Original, OriginalType: r.OriginalType,
			Timestamp: r.Timestamp, Device: r.DeviceID, RatchetKey: r.RatchetKey,
			DecryptionErrorMessage: r.DecryptionErrorMessage, PlaintextContent: r.PlaintextContent,
		})
	}
	for _, r := range v.RefusedOriginals {
		c := f.next(r.Comment, testvectors.Invalid)
		c.Error = "sesame.ErrUndecryptable"
		if r.OriginalType == 2 { // it is not looked at before there is a session
			c.Error = "sesame.ErrNoSession"
		}
		g.Tests = append(g.Tests, testvectors.RetryRequest{Case: c, Original: r.Original, OriginalType: r.OriginalType, Timestamp: 1, Device: 1})
	}
	return f, nil
}

// Of the contents that a peer takes, those that SPEC.md §10.7 refuses.
var stricterContents = map[string]bool{
	"field 8 twice":                          true,
	"another field of the content before it": true,
	"another field of the content behind it": true,
	"no device":                              true,
	"fields out of order":                    true,
	"timestamp twice":                        true,
	"an unknown field":                       true,
	"an overlong timestamp":                  true,
	"an overlong length":                     true,
	"a device over 32 bits":                  true,
}

func plaintextContent() (*file, error) {
	v, err := testvectors.LoadRetries()
	if err != nil {
		return nil, err
	}
	f := &file{
		Schema: "plaintext_content_v1.json", Algorithm: "Plaintext contents", Spec: "SPEC.md §2.3, §10.7",
		Header: []string{"What a released peer takes for a retry request. It ignores more than SPEC.md allows: see the note."},
		Notes:  stricterNote,
		Groups: []group{{"PlaintextContent", recorded(v.LibraryVersion), nil}, {"PlaintextContent", stricter("SPEC.md §10.7", v.LibraryVersion), nil}},
	}
	for i, ours := range []bool{false, true} {
		for _, r := range v.Contents {
			if stricterContents[r.Comment] != ours {
				continue
			}
			t := testvectors.PlaintextContent{Case: f.next(r.Comment, testvectors.Valid), PlaintextContent: r.PlaintextContent}
			if ours {
				t.Flags = []string{"Stricter"}
			}
			if ours || !r.Accepted {
				t.Result, t.Error = testvectors.Invalid, "sesame.ErrRetryRefused"
			} else if err := fields(&t); err != nil {
				return nil, err
			}
			f.Groups[i].Tests = append(f.Groups[i].Tests, t)
		}
	}
	return f, nil
}

// fields reads the request in a content that a peer accepts.
func fields(t *testvectors.PlaintextContent) error {
	d := wire.Decode(t.PlaintextContent[1 : len(t.PlaintextContent)-1])
	d.Next()
	m := wire.Decode(d.Bytes())
	for m.Next() {
		switch m.Num() {
		case 1:
			t.RatchetKey = m.Bytes()
		case 2:
			t.Timestamp = new(m.Uint64())
		case 3:
			t.Device = new(m.Uint32())
		}
	}
	return m.Close(2, 3)
}
