package main

import (
	"encoding/hex"
	"strings"

	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/testvectors"
)

// Where libsignal takes what SPEC.md refuses.
var stricterNote = map[string]testvectors.Note{
	"Stricter": {
		Kind:        "Deviation",
		Description: "The recorded releases accept this; SPEC.md refuses it.",
		Effect:      "An implementation that accepts it talks to every honest peer, and to some that are not.",
		Links:       []string{"SPEC.md appendix A.1"},
	},
}

func xeddsa() (*file, error) {
	v, err := testvectors.LoadSignatures()
	if err != nil {
		return nil, err
	}
	const version = "0.60.2, 0.90.0 and 0.103.0, which agree"
	f := &file{
		Schema: "xeddsa_v1.json", Algorithm: "XEdDSA", Spec: "SPEC.md §3.2, §3.4, §3.5",
		Header: []string{"Signatures under throw-away keys, edge cases among them, and what three releases of a peer answer."},
		Notes:  stricterNote,
		Groups: []group{{"XEdDSA", recorded(version), nil}, {"XEdDSA", stricter("SPEC.md §3.5", version), nil}},
	}
	// Which of those that the peer accepts have an invalid key, or a signature that we refuse.
	refused := map[string]string{"S+1L": "x3dh.ErrAuthentication", "public key with bit 255 set": "x3dh.ErrInvalidKey",
		"u=p+9": "x3dh.ErrInvalidKey", "forged under low-order key": "x3dh.ErrInvalidKey"}
	invalidKey := map[string]bool{"u=p-1 (=-1)": true} // of low order, as all peers say
	for _, ours := range []bool{false, true} {
		for _, c := range v.Vectors {
			deviation := ""
			for prefix, err := range refused {
				if strings.HasPrefix(c.Name, prefix) {
					deviation = err
				}
			}
			if (deviation != "") != ours {
				continue
			}
			t := testvectors.XEdDSA{
				Case:   f.next(c.Name, testvectors.Valid),
				Public: append(testvectors.Hex{5}, c.Public...), Message: c.Message, Signature: c.Signature,
			}
			switch {
			case ours:
				t.Result, t.Error, t.Flags = testvectors.Invalid, deviation, []string{"Stricter"}
			case invalidKey[c.Name]:
				t.Result, t.Error = testvectors.Invalid, "x3dh.ErrInvalidKey"
			case !c.V01030:
				t.Result, t.Error = testvectors.Invalid, "x3dh.ErrAuthentication"
			}
			if _, private, ok := strings.Cut(c.Note, "private="); ok {
				k, err := hex.DecodeString(private[:64])
				if err != nil {
					return nil, err
				}
				z := make(testvectors.Hex, 64) // Z=07*64
				for i := range z {
					z[i] = 7
				}
				t.Private, t.Random = k, &testvectors.XEdDSARandom{Z: z}
			}
			g := &f.Groups[0]
			if ours {
				g = &f.Groups[1]
			}
			g.Tests = append(g.Tests, t)
		}
	}
	return f, nil
}

func fingerprint() (*file, error) {
	v, err := testvectors.LoadFingerprints()
	if err != nil {
		return nil, err
	}
	f := &file{
		Schema: "fingerprint_v1.json", Algorithm: "safety numbers", Spec: "SPEC.md §7.1, §7.2",
		Header: []string{"Safety numbers of a released peer, of throw-away keys."},
		Notes:  map[string]testvectors.Note{},
		Groups: []group{{"Fingerprint", recorded(v.LibraryVersion), nil}},
	}
	for _, c := range v.Vectors {
		t := testvectors.Fingerprint{
			Case: f.next(c.Comment, testvectors.Valid), Version: c.Version,
			LocalID: c.LocalID, LocalKey: c.LocalKey, RemoteID: c.RemoteID, RemoteKey: c.RemoteKey,
			Display: c.Display, Scannable: c.Scannable,
		}
		if c.Iterations != kdf.FingerprintIterations {
			t.Iterations = c.Iterations
		}
		f.Groups[0].Tests = append(f.Groups[0].Tests, t)
	}
	return f, nil
}
