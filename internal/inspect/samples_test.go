package inspect

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

// A sample is a valid input of a kind.
type sample struct {
	kind, family string
	b            []byte
}

// recorded is what a loader of testvectors gives.
func recorded[T any](t testing.TB, load func() (*T, error)) *T {
	t.Helper()
	v, err := load()
	require.NoError(t, err)
	return v
}

func encode(t testing.TB, v interface{ AppendBinary([]byte) ([]byte, error) }) []byte {
	t.Helper()
	b, err := v.AppendBinary(nil)
	require.NoError(t, err)
	return b
}

func id16(b byte) (id [16]byte) {
	for i := range id {
		id[i] = b
	}
	return id
}

// bundleOf is the bundle of a recorded device.
func bundleOf(t testing.TB, d *testvectors.RecordedDevice) []byte {
	b := wire.AppendUint(nil, 1, uint64(d.RegistrationID))
	b = wire.AppendUint(b, 2, 3)
	b = wire.AppendBytes(b, 3, d.IdentityPublic)
	b = wire.AppendUint(b, 4, uint64(d.OneTimePreKeyID))
	b = wire.AppendBytes(b, 5, d.OneTimePreKeyPublic)
	b = wire.AppendUint(b, 6, uint64(d.SignedPreKeyID))
	b = wire.AppendBytes(b, 7, d.SignedPreKeyPublic)
	b = wire.AppendBytes(b, 8, d.SignedPreKeySignature)
	_, err := x3dh.ParseBundle(b)
	require.NoError(t, err)
	return b
}

func identityOf(d *testvectors.RecordedDevice) []byte {
	return wire.AppendBytes(wire.AppendBytes(nil, 1, d.IdentityPublic), 2, d.IdentityPrivate)
}

// samples are valid inputs of all kinds: all messages and records of the recorded
// files, and one or more of each kind that is ours.
func samples(t testing.TB) (all []sample) {
	add := func(kind, family string, b []byte) { all = append(all, sample{kind, family, b}) }

	tr := recorded(t, testvectors.LoadConversation)
	var session []byte
	for _, s := range tr.Steps {
		if s.Message != nil {
			add(map[ratchet.Type]string{ratchet.Ordinary: "message", ratchet.Initial: "prekey-message"}[ratchet.Type(s.Type)], "", s.Message)
		}
		for _, record := range [][]byte{s.AliceSession, s.BobSession} {
			if len(record) == 0 {
				continue
			}
			add("record", "", record)
			d := wire.Decode(record)
			d.Next()
			session = d.Bytes()
			add("session", "", session)
			parsed, err := ratchet.ParseSession(session, ratchet.Signal)
			require.NoError(t, err)
			head, err := parsed.AppendHead(nil)
			require.NoError(t, err)
			add("session-head", "", head)
		}
	}
	add("record", "", wire.AppendBytes(wire.AppendBytes(nil, 1, nil), 2, session))
	add("identity", "", identityOf(&tr.Bob))
	add("signed-prekey", "", tr.Bob.SignedPreKeyRecord)
	add("prekey", "", tr.Bob.OneTimePreKeyRecord)
	add("bundle", "", bundleOf(t, &tr.Bob))

	for _, r := range recorded(t, testvectors.LoadRetries).Requests {
		add("retry", "", r.PlaintextContent)
		add("decryption-error", "", r.DecryptionErrorMessage)
	}
	for _, v := range recorded(t, testvectors.LoadFingerprints).Vectors {
		add("safety-number", "", []byte(v.Display))
		add("scannable", "", v.Scannable)
	}

	group := recorded(t, testvectors.LoadGroup)
	for _, s := range group.Steps {
		if s.Message != nil && s.Error == "" {
			add("group-message", "signal", s.Message)
		}
		for _, record := range [][]byte{s.SenderRecord, s.ReceiverRecord} {
			if record != nil {
				add("sender-key-record", "", record)
			}
		}
	}
	add("distribution", "signal", group.SKDM)
	add("distribution", "signal", group.LateSKDM)
	for _, f := range []senderkey.Family{senderkey.Signal, senderkey.WhatsApp} {
		name := []string{"signal", "whatsapp"}[f]
		sender := senderkey.NewSender(senderkey.Config{Family: f})
		receiver := senderkey.NewReceiver(f)
		for n := range 3 {
			add("sender", "", encode(t, sender))
			roster := senderkey.Roster{Revision: uint64(n), Members: []senderkey.Member{{1}, {2, byte(n)}}}
			m, err := sender.Encrypt(roster, time.Unix(1_700_000_000, 0), []byte("group"))
			require.NoError(t, err)
			add("group-message", name, m.Message)
			add("distribution", name, encode(t, m.Distribution))
			require.NoError(t, receiver.Process(m.Distribution))
			for range 2 {
				m, err = sender.Encrypt(roster, time.Unix(1_700_000_000, 0), []byte("more"))
				require.NoError(t, err)
			}
			_, _, err = receiver.Decrypt(nil, m.Message)
			require.NoError(t, err)
			require.NoError(t, sender.Delivered(m.Chain, senderkey.Member{1}))
			add("receiver", name, encode(t, receiver))
			row := wire.AppendBytes(nil, 1, encode(t, receiver))
			add("row-receiver", name, wire.AppendBytes(row, 2, []byte("tie")))
		}
		add("row-group", "", wire.AppendBytes(wire.AppendUint(nil, 1, 7), 2, encode(t, sender)))
	}

	device := envelope.Device{User: id16(7), ID: 2}
	other := envelope.Device{User: id16(9), ID: 1}
	header := envelope.Header{Conversation: id16(1), ID: id16(2), Sender: device, Stamp: 5}
	own, err := envelope.NewRecipients(
		envelope.Recipient{Device: other, RegistrationID: 4, Type: 2, Ciphertext: []byte("sealed")},
		envelope.Recipient{Device: device, Type: 3, Ciphertext: []byte("other")})
	require.NoError(t, err)
	bare, err := envelope.NewRecipients(envelope.Recipient{Device: other, RegistrationID: 4}, envelope.Recipient{Device: device})
	require.NoError(t, err)
	whisper := header
	whisper.Stamp = 0
	var stream []byte
	for _, m := range []envelope.Message{
		&envelope.Submit{Header: header, Counter: 3, Urgent: true, Recipients: own},
		&envelope.Submit{Header: whisper, Ephemeral: true, SharedType: 7, Shared: []byte("shared"), Recipients: bare},
		&envelope.Result{ID: id16(2), Code: envelope.Accepted, Epoch: 1, Sequence: 9},
		&envelope.Result{ID: id16(2), Code: envelope.DeviceMismatch, Missing: bare, Stale: bare},
		&envelope.Result{ID: id16(2), Code: envelope.Quota, RetryAfter: 100},
		&envelope.Result{ID: id16(2), Code: envelope.ClockBound, MaxStamp: 100},
		&envelope.Result{ID: id16(2), Code: envelope.TooOld},
		&envelope.Deliver{Header: header, Type: 2, Ciphertext: []byte("sealed"), Untrusted: envelope.Untrusted{MailboxEpoch: 1, Position: 2, Epoch: 3, Sequence: 4, Time: 1_700_000_000_000}},
		&envelope.Deliver{Header: whisper, Ephemeral: true, Type: 2, Ciphertext: []byte("sealed")},
		&envelope.Ack{MailboxEpoch: 1, Position: 300},
		&envelope.Fetch{}, &envelope.Fetch{MailboxEpoch: 2, After: 4},
		&envelope.Gap{MailboxEpoch: 1, From: 2, To: 5, Reason: envelope.Expired},
		&envelope.Error{Code: envelope.Quota, RetryAfter: 5}, &envelope.Error{Code: envelope.Replaced},
	} {
		add("frame", "", encode(t, m))
		stream, err = envelope.AppendDelimited(stream, m)
		require.NoError(t, err)
		add("stream", "", append([]byte(nil), stream...))
	}

	var c lamport.Clock
	add("clock", "", encode(t, &c))
	_, err = c.Tick()
	require.NoError(t, err)
	add("clock", "", encode(t, &c))
	w, err := lamport.NewWindow(lamport.Device(device))
	require.NoError(t, err)
	conv, err := lamport.NewConversation(id16(1), 1)
	require.NoError(t, err)
	for _, n := range []uint64{1, 2, 9, 30} {
		add("window", "", encode(t, w))
		add("conversation", "", encode(t, conv))
		r, err := conv.Submit(w, lamport.Submission{Conversation: id16(1), ID: id16(byte(n)), Sender: lamport.Device(device), Counter: n, Stamp: lamport.Stamp(n)}, nil)
		require.NoError(t, err)
		add("receipt", "", encode(t, &r))
	}
	register, err := lamport.NewRegister(id16(7))
	require.NoError(t, err)
	for n, write := range []lamport.Write{{}, {Value: []byte("value")}, {Deleted: true}} {
		if n > 0 {
			write.Device, write.Stamp = lamport.Device(device), lamport.Stamp(n)
			_, err = register.Apply(write)
			require.NoError(t, err)
		}
		add("register", "", encode(t, register))
	}
	var in lamport.Inbox
	add("inbox", "", encode(t, &in))
	require.NoError(t, in.Restart(4))
	add("inbox", "", encode(t, &in))

	// Rows of sesame, whose tests compare more of them.
	row := wire.AppendBytes(nil, 1, identityOf(&tr.Bob))
	row = wire.AppendUint(wire.AppendUint(wire.AppendUint(row, 2, 77), 3, 101), 4, 2)
	add("row-local", "", row)
	row = wire.AppendBytes(nil, 1, tr.Alice.IdentityPublic)
	row = wire.AppendBytes(row, 3, tr.Bob.SignedPreKeyPublic)
	add("row-peer", "", wire.AppendUint(row, 4, 1))
	to := wire.AppendBytes(wire.AppendBytes(nil, 1, []byte("bob")), 3, tr.Bob.IdentityPublic)
	row = wire.AppendBytes(wire.AppendUint(nil, 1, 1_700_000_000_000), 2, []byte("a plaintext that is secret"))
	row = wire.AppendBytes(wire.AppendBytes(row, 3, to), 3, wire.AppendUint(wire.AppendBytes(wire.AppendUint(wire.AppendBytes(nil, 1, []byte("bob")), 2, 2), 3, tr.Bob.IdentityPublic), 4, 1))
	add("row-sent", "", wire.AppendBytes(wire.AppendBytes(row, 4, []byte("group")), 5, make([]byte, 16)))
	row = wire.AppendBytes(wire.AppendBytes(nil, 1, tr.Bob.IdentityPublic), 2, []byte("group"))
	add("row-chain", "", wire.AppendBytes(row, 3, wire.AppendUint(wire.AppendUint(nil, 1, 6), 2, 0)))
	add("row-held", "", wire.AppendBytes(nil, 1, wire.AppendBytes(wire.AppendUint(nil, 1, 1_700_000_000_000), 4, group.Steps[0].Message)))
	asked := wire.AppendUint(wire.AppendUint(wire.AppendUint(nil, 1, 5), 2, 1_700_000_000_000), 3, 1)
	add("row-retry", "", wire.AppendBytes(wire.AppendUint(nil, 1, 1_700_000_000_000), 2, asked))
	return all
}
