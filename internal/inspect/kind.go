// Package inspect says what bytes are: which message, record, frame or safety
// number, field by field, with the offset of each, what is authenticated, and
// which byte is wrong. It is "sotto inspect".
//
// It needs no keys. With records of a device it says whether and why a message
// would decrypt (judge….go). It changes nothing, and shows nothing that is
// secret: private keys, chain keys and plaintexts are there by their size only.
//
// Whether an input is valid is the answer of the library's decoder, the one that
// a device would ask. Where and why it is not is found by a second one (walk.go)
// over the formats of SPEC.md, written down once more as tables: schema_….go.
// Tests and a fuzz target hold that both agree. (Rows of package sesame have no
// exported decoder; there the tables answer, and tests of sesame hold that they
// agree with it.)
package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// A kind is what an input can be.
type kind struct {
	name    string // for people who name it
	family  string // "" if both have the same form
	title   string // as in SPEC.md
	section string
	about   string // what is authenticated
	secret  bool   // the input holds keys
	walk    func(w *walker)
	parse   func(b []byte) error // the library's; nil if it is not exported
}

const (
	familySignal   = "signal"
	familyWhatsApp = "whatsapp"
)

// whole walks over an input that is one protobuf message.
func whole(s *message) func(w *walker) {
	return func(w *walker) { w.root = w.message(s, 0, len(w.b)) }
}

// err takes a decoder for its error only.
func err[T any](parse func([]byte) (T, error)) func([]byte) error {
	return func(b []byte) error {
		_, err := parse(b)
		return err
	}
}

// kinds are all of them, those first that are looked for most.
var kinds = slices.Concat([]kind{
	{
		name: "message", title: "SignalMessage", section: "5.3", parse: err(ratchet.ParseMessage),
		about: "all of it by the MAC, under a key of the session and both identity keys (§5.4, §5.7): version byte, fields, their order and unknown ones. " +
			"Not the sender's address, nor the type beside the message.",
		walk: func(w *walker) { w.signalMessage(0, len(w.b)) },
	}, {
		name: "prekey-message", title: "PreKeySignalMessage", section: "4.5", parse: parsePreKeyMessage,
		about: "only the message inside. When it begins a session, other prekey IDs, another base key or identity key give other keys, and the message inside does not decrypt; " +
			"registration ID and low nibble of the version are not authenticated at all.",
		walk: (*walker).preKeySignalMessage,
	},
}, groupKinds(familySignal, senderkey.Signal), groupKinds(familyWhatsApp, senderkey.WhatsApp), []kind{
	{
		name: "retry", title: "PlaintextContent", section: "10.7", walk: (*walker).plaintextContent,
		about: "nothing: a request to send again is in the clear, and authenticated by the channel alone.",
	}, {
		name: "decryption-error", title: "DecryptionErrorMessage", section: "10.7", walk: whole(&decryptionErrorMessage),
		about: "nothing. It travels in a PlaintextContent.",
	}, {
		name: "bundle", title: "Bundle", section: "4.1", walk: whole(&bundle), parse: err(x3dh.ParseBundle),
		about: "signed_pre_key, by a signature under identity_key. Whose identity key it is, the safety number says. Nothing else is signed: " +
			"not the one-time prekey, nor the IDs (§4.6).",
	}, {
		name: "session", title: "SessionStructure", section: "6.1", secret: true, walk: whole(sessionStructure),
		parse: func(b []byte) error { _, err := ratchet.ParseSession(b, ratchet.Signal); return err },
	}, {
		name: "session-head", title: "head of a SessionStructure", section: "6.3", secret: true, walk: whole(sessionHead),
		parse: func(b []byte) error { _, err := ratchet.ParseHead(b, ratchet.Signal, nil); return err },
	}, {
		name: "record", title: "RecordStructure", section: "10.8", secret: true, walk: whole(&recordStructure),
	}, {
		name: "sender-key-record", title: "SenderKeyRecordStructure", section: "11.7", secret: true, walk: whole(anySenderKeyRecord),
		parse: func(b []byte) error {
			if _, err := senderkey.ParseChain(b, senderkey.Signal, senderkey.DistributionID{}); err == nil {
				return nil
			}
			return senderkey.NewReceiver(senderkey.Signal).ImportRecord(b, senderkey.DistributionID{})
		},
	}, {
		name: "sender", title: "record of a sender", section: "11.7", secret: true,
		walk:  func(w *walker) { w.sender(0, len(w.b)) },
		parse: func(b []byte) error { _, err := senderkey.ParseSender(b, senderkey.Config{}); return err },
	}, {
		name: "identity", title: "IdentityKeyPairStructure", section: "6.2", secret: true, walk: whole(&identityKeyPair), parse: err(x3dh.ParseIdentityKey),
	}, {
		name: "signed-prekey", title: "SignedPreKeyRecordStructure", section: "6.2", secret: true, walk: whole(&signedPreKeyRecord), parse: err(x3dh.ParseSignedPreKey),
	}, {
		name: "prekey", title: "PreKeyRecordStructure", section: "6.2", secret: true, walk: whole(&preKeyRecord), parse: err(x3dh.ParsePreKey),
	}, {
		name: "frame", title: "Frame", section: "8.2", walk: func(w *walker) { w.frame(0, len(w.b)) },
		parse: func(b []byte) error { _, err := new(envelope.Frame).Parse(b); return err },
		about: "nothing by the frame: the channel is. What the sender knows of the header is inside the plaintext, and is compared there (§8.10).",
	}, {
		name: "stream", title: "stream of frames", section: "8.9", walk: (*walker).stream, parse: parseStream,
		about: "nothing by the frames: the channel is.",
	}, {
		name: "safety-number", title: "safety number", section: "7.1", walk: (*walker).digits,
		about: "nothing: it is what two people compare. It depends on both identity keys and both identifiers, and says which belong to it of none.",
	}, {
		name: "scannable", title: "scannable safety number", section: "7.2", walk: whole(&fingerprint), parse: err(x3dh.ParseFingerprint),
		about: "nothing: it is compared with the other side's, whose halves stand in the other order (R-7.2-1).",
	},
	{name: "clock", title: "record of a clock", section: "9.9", walk: func(w *walker) { w.lamport(0x11, &clock) }, parse: func(b []byte) error { return new(lamport.Clock).UnmarshalBinary(b) }},
	{name: "window", title: "record of a replay window", section: "9.9", walk: func(w *walker) { w.lamport(0x21, &window) }, parse: func(b []byte) error { return new(lamport.Window).UnmarshalBinary(b) }},
	{name: "conversation", title: "record of a conversation", section: "9.9", walk: func(w *walker) { w.lamport(0x31, &conversation) }, parse: func(b []byte) error { return new(lamport.Conversation).UnmarshalBinary(b) }},
	{name: "receipt", title: "record of a receipt", section: "9.9", walk: func(w *walker) { w.lamport(0x41, &receipt) }, parse: func(b []byte) error { return new(lamport.Receipt).UnmarshalBinary(b) }},
	{name: "register", title: "record of a register", section: "9.9", walk: func(w *walker) { w.lamport(0x51, &register) }, parse: func(b []byte) error { return new(lamport.Register).UnmarshalBinary(b) }},
	{name: "inbox", title: "record of an inbox", section: "9.9", walk: func(w *walker) { w.lamport(0x61, &inbox) }, parse: func(b []byte) error { return new(lamport.Inbox).UnmarshalBinary(b) }},
	{name: "row-local", title: "row local", section: "10.2", secret: true, walk: whole(&localRow)},
	{name: "row-peer", title: "row peer/…", section: "10.2", walk: whole(&peerRow)},
	{name: "row-sent", title: "row sent/…", section: "10.2", secret: true, walk: whole(&sentRow)},
	{name: "row-group", title: "row group/…", section: "10.2", secret: true, walk: whole(&groupRow)},
	{name: "row-receiver", family: familySignal, title: "row receiver/…", section: "10.2", secret: true, walk: whole(receiverRow(senderkey.Signal))},
	{name: "row-receiver", family: familyWhatsApp, title: "row receiver/…", section: "10.2", secret: true, walk: whole(receiverRow(senderkey.WhatsApp))},
	{name: "row-chain", title: "row chain/…", section: "10.2", walk: whole(&chainRow)},
	{name: "row-held", title: "row held/…", section: "10.2", walk: whole(&heldRow)},
	{name: "row-retry", title: "row retry/…", section: "10.2", walk: whole(&retryRow)},
})

// groupKinds are those that differ between the families.
func groupKinds(name string, f senderkey.Family) []kind {
	return []kind{{
		name: "group-message", family: name, title: "SenderKeyMessage", section: "11.3", walk: func(w *walker) { w.senderKeyMessage(f) },
		parse: func(b []byte) error { _, err := senderkey.ParseMessage(b, f); return err },
		about: "all before the signature, by the signature: by the device whose chain it is. Not which group it is for, nor the author's name (§11.8).",
	}, {
		name: "distribution", family: name, title: "SenderKeyDistributionMessage", section: "11.3", secret: true, walk: func(w *walker) { w.senderKeyDistribution(f) },
		parse: func(b []byte) error { _, err := senderkey.ParseDistribution(b, f); return err },
		about: "nothing: it is secret, and travels as the plaintext of a pairwise message (R-11.3-4).",
	}, {
		name: "receiver", family: name, title: "record of a receiver", section: "11.7", secret: true, walk: func(w *walker) { w.receiver(f, 0, len(w.b)) },
		parse: func(b []byte) error { _, err := senderkey.ParseReceiver(b, f); return err },
	}}
}

// parsePreKeyMessage reads a PreKey message, and the message inside as its
// session would.
func parsePreKeyMessage(b []byte) error {
	m, err := x3dh.ParseInitialMessage(b)
	if err != nil {
		return err
	}
	_, err = ratchet.ParseMessage(m.Message)
	return err
}

func parseStream(b []byte) error {
	r := bytes.NewReader(b)
	var f envelope.Frame
	for n := 0; ; n++ {
		frame, err := envelope.ReadDelimited(r, nil)
		if errors.Is(err, io.EOF) && n > 0 {
			return nil
		}
		if err == nil {
			_, err = f.Parse(frame)
		}
		if err != nil {
			return err
		}
	}
}

// Options name what is known of an input.
type Options struct {
	Kind   string // "": guess
	Family string // signal, whatsapp; "": both
}

// Kinds are the names of all kinds, each with its name in SPEC.md and the
// section there.
func Kinds() (names [][3]string) {
	for i := range kinds {
		k := &kinds[i]
		if n := ([3]string{k.name, k.title, k.section}); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// Errors of Inspect. They are the caller's; what is wrong with an input is in
// the report.
var (
	ErrKind   = errors.New("no such kind")
	ErrFamily = errors.New("no such family: it is signal or whatsapp")
)

// Inspect says what b is. Fields hold text only: b is not kept but by [Report.Judge].
func Inspect(b []byte, o Options) (*Report, error) {
	if o.Family != "" && o.Family != familySignal && o.Family != familyWhatsApp {
		return nil, ErrFamily
	}
	var reports []*Report
	named := false
	for i := range kinds {
		k := &kinds[i]
		if o.Kind != "" && o.Kind != k.name {
			continue
		}
		named = true
		if k.family != "" && o.Family != "" && o.Family != k.family {
			continue
		}
		reports = append(reports, k.inspect(b))
	}
	if !named {
		return nil, ErrKind
	}
	best := reports[0]
	for _, r := range reports[1:] {
		if r.better(best) {
			best = r
		}
	}
	best.Why = best.why(o, reports)
	for _, r := range reports {
		if r == best || !r.Valid && (best.Valid || r.walk.known == 0 || len(best.Others) == 5) {
			continue
		}
		other := Other{Kind: r.Kind, Family: r.Family, Valid: r.Valid}
		if !r.Valid {
			other.Why = fmt.Sprintf("%s at byte %d", r.Problems[0].Text, r.Problems[0].Offset)
		}
		best.Others = append(best.Others, other)
	}
	return best, nil
}

// inspect reads b as this kind.
func (k *kind) inspect(b []byte) *Report {
	r := &Report{
		Kind: k.name, Family: k.family, Name: k.title, Section: k.section, About: k.about,
		Size: len(b), entry: k, input: b, Fields: []*Field{},
	}
	r.walk = &walker{b: b, rows: &r.Fields}
	k.walk(r.walk)
	r.Problems, r.More = r.walk.problems, r.walk.wrong-len(r.walk.problems)
	r.Hidden = max(0, r.walk.shown-maxFields)
	r.Valid = r.walk.wrong == 0
	if k.parse == nil {
		return r
	}
	err := k.parse(b)
	r.Valid = err == nil
	if err != nil {
		r.Error = err.Error()
	}
	// One of the two decoders has a bug: say so rather than hide it.
	if r.Valid != (r.walk.wrong == 0) {
		r.Problems = append(r.Problems, Problem{Offset: len(b), Text: disagree})
	}
	return r
}

const disagree = "the library and this command do not agree about this input: please report it"

// better reports whether r is the more likely reading: a valid one; of those one
// that knows more of the fields; of the others one that knows any, and then one
// that goes further before it fails.
func (r *Report) better(than *Report) bool {
	switch {
	case r.Valid != than.Valid:
		return r.Valid
	case (r.walk.known == 0) != (than.walk.known == 0):
		return r.walk.known > 0
	case !r.Valid:
		return r.Problems[0].Offset > than.Problems[0].Offset
	}
	return r.walk.unknown < than.walk.unknown
}

func (r *Report) why(o Options, all []*Report) string {
	if o.Kind != "" {
		return "named"
	}
	valid := 0
	for _, other := range all {
		if other.Valid {
			valid++
		}
	}
	switch {
	case valid == 1:
		return "the only kind whose decoder takes it"
	case valid > 1:
		return fmt.Sprintf("the most likely of %d kinds whose decoders take it", valid)
	}
	return "no decoder takes it; as this kind it is well formed furthest"
}
