package inspect

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// A device of these tests, with the records that "--session" takes.
type device struct {
	identity *x3dh.IdentityKey
	signed   *x3dh.SignedPreKey
	oneTime  *x3dh.PreKey
}

func newDevice(t *testing.T, id uint32) *device {
	d := &device{identity: x3dh.GenerateIdentityKey()}
	var err error
	d.signed, err = x3dh.GenerateSignedPreKey(d.identity, id, time.Unix(1_700_000_000, 0))
	require.NoError(t, err)
	keys, err := x3dh.GeneratePreKeys(id, 1)
	require.NoError(t, err)
	d.oneTime = keys[0]
	return d
}

func (d *device) records(t *testing.T) [][]byte {
	return [][]byte{encode(t, d.identity), encode(t, d.signed), encode(t, d.oneTime)}
}

// write starts a session of a with b and writes the first message.
func write(t *testing.T, a, b *device) (*ratchet.Session, []byte) {
	oneTime := b.oneTime.Public()
	bundle, err := x3dh.NewBundle(x3dh.BundleInfo{IdentityKey: b.identity.Public(), SignedPreKey: b.signed.Public(), OneTimePreKey: &oneTime})
	require.NoError(t, err)
	agreement, err := x3dh.Initiate(a.identity, bundle)
	require.NoError(t, err)
	s, err := ratchet.New(agreement, ratchet.Config{})
	require.NoError(t, err)
	return s, encrypt(t, s)
}

func encrypt(t *testing.T, s *ratchet.Session) []byte {
	m, _, err := s.Encrypt(nil, []byte("a plaintext"))
	require.NoError(t, err)
	return m
}

// pair is a session at both ends, in which both have written.
func pair(t *testing.T, a, b *device) (alice, bob *ratchet.Session) {
	alice, first := write(t, a, b)
	m, err := x3dh.ParseInitialMessage(first)
	require.NoError(t, err)
	acceptance, err := x3dh.Respond(b.identity, m, b.signed, b.oneTime)
	require.NoError(t, err)
	bob, _, err = ratchet.Accept(nil, acceptance, ratchet.Config{})
	require.NoError(t, err)
	_, err = alice.Decrypt(nil, encrypt(t, bob))
	require.NoError(t, err)
	_, err = bob.Decrypt(nil, encrypt(t, alice))
	require.NoError(t, err)
	return alice, bob
}

func judgeAs(t *testing.T, o Options, message []byte, records ...[]byte) *Verdict {
	t.Helper()
	var before [][]byte
	for _, r := range records {
		before = append(before, slices.Clone(r))
	}
	r, err := Inspect(message, o)
	require.NoError(t, err)
	require.NoError(t, r.Judge(o, records...))
	require.Equal(t, before, records, "records are not changed")
	return r.Verdict
}

func says(t *testing.T, v *Verdict, decrypts bool, what string) {
	t.Helper()
	require.Equal(t, decrypts, v.Decrypts, v.Reason)
	require.Equal(t, strings.Contains(v.Reason, "cannot be said"), v.Unknown, v.Reason)
	require.Contains(t, v.Reason, what)
}

func flip(b []byte, i int, mask byte) []byte {
	b = slices.Clone(b)
	b[i] ^= mask
	return b
}

// The usual reasons for "Bad MAC", and those that are not one.
func TestVerdicts(t *testing.T) {
	a, b := newDevice(t, 5), newDevice(t, 6)
	alice, bob := pair(t, a, b)
	before := encode(t, bob)
	var messages [][]byte
	for range 15 {
		messages = append(messages, encrypt(t, alice))
	}
	m, writer := messages[0], encode(t, alice)
	says(t, judgeAs(t, Options{}, m, before), true, "message 1 skips 0 keys; MAC verified; 11 bytes of plaintext")
	says(t, judgeAs(t, Options{}, messages[12], before), true, "message 13 skips 12 keys")
	_, err := bob.Decrypt(nil, messages[12])
	require.NoError(t, err)
	says(t, judgeAs(t, Options{}, messages[12], encode(t, bob)), false, "message 13 was read already (duplicate)")
	says(t, judgeAs(t, Options{}, messages[3], encode(t, bob)), true, "message 4 came late, and its key is stored")
	head, err := bob.AppendHead(nil)
	require.NoError(t, err)
	says(t, judgeAs(t, Options{}, messages[3], head), false, "stand apart from this head")
	says(t, judgeAs(t, Options{}, messages[3], wire.AppendBytes(nil, 1, encode(t, bob))), true, "the current session")

	// A new chain of the peer.
	_, err = alice.Decrypt(nil, encrypt(t, bob))
	require.NoError(t, err)
	says(t, judgeAs(t, Options{}, encrypt(t, alice), encode(t, bob)), true, "it needs a DH step")
	_, err = bob.Decrypt(nil, encrypt(t, alice))
	require.NoError(t, err)
	_, err = alice.Decrypt(nil, encrypt(t, bob))
	require.NoError(t, err)
	says(t, judgeAs(t, Options{}, encrypt(t, alice), before), false, "this record is older or newer than the message")

	// Altered.
	says(t, judgeAs(t, Options{Kind: "message"}, flip(m, 0, 7), before), false, "with 34 for the version byte: byte 0 was changed to 33")
	says(t, judgeAs(t, Options{}, flip(m, len(m)-12, 0x10), before), false, "it verifies with bit 4 of byte")
	says(t, judgeAs(t, Options{}, flip(m, len(m)-2, 0x11), before), false, "differs in 2 of 64 bits: the MAC itself")
	v := judgeAs(t, Options{Kind: "message"}, append(slices.Clone(m), 0x28, 1), before)
	says(t, v, false, "")
	says(t, judgeAs(t, Options{Kind: "message"}, m[:len(m)-3], before), false, "malformed: claims 16 bytes, and 13 follow: truncated")
	says(t, judgeAs(t, Options{Kind: "message"}, flip(m, 0, 0x70), before), false, "malformed: version 4, where only 3 is read, at byte 0")
	far := wire.AppendUint(wire.AppendBytes([]byte{0x34}, 1, m[3:36]), 2, 25_002+1)
	far = append(wire.AppendBytes(wire.AppendUint(far, 3, 0), 4, make([]byte, 16)), make([]byte, 8)...)
	says(t, judgeAs(t, Options{}, far, before), false, "it would skip 25002 keys, and the limit is 25,000")

	// Identity keys, and records of somebody else.
	says(t, judgeAs(t, Options{}, m, writer), false, "This is the sender's record")
	swapped := swapIdentities(before)
	says(t, judgeAs(t, Options{}, m, swapped), false, "identity keys swapped")
	other := newDevice(t, 7)
	says(t, judgeAs(t, Options{}, m, replaceKey(before, 3, other.identity.Public()), encode(t, a.identity)), false, "as the sender's, where the session has")
	says(t, judgeAs(t, Options{}, m, replaceKey(before, 2, other.identity.Public()), encode(t, b.identity)), false, "as the receiver's, where the session has")
	_, stranger := pair(t, other, b)
	says(t, judgeAs(t, Options{}, m, encode(t, stranger)), false, "another device's")

	// The message is of an archived session.
	record := wire.AppendBytes(wire.AppendBytes(nil, 1, encode(t, stranger)), 2, before)
	says(t, judgeAs(t, Options{}, m, record), true, "archived session 1")

	// PreKey messages.
	_, first := write(t, a, b)
	says(t, judgeAs(t, Options{}, first, b.records(t)...), true, "with signed prekey 6 and one-time prekey 6; MAC verified")
	says(t, judgeAs(t, Options{}, first, before), false, "cannot be said without the records")
	says(t, judgeAs(t, Options{}, first, b.records(t)[:2]...), false, "one-time prekey 6 is not among those given: it was used before")
	says(t, judgeAs(t, Options{}, first, encode(t, b.identity), encode(t, a.signed)), false, "signed prekey 6 is not among those given: it was deleted")
	says(t, judgeAs(t, Options{}, first, append(b.records(t)[1:], encode(t, a.identity))...), false, "MAC differs with them")
	says(t, judgeAs(t, Options{}, flip(first, 2, 2), b.records(t)...), false, "a prekey ID was changed on the way")
	initiator, begun := write(t, a, b)
	parsed, err := x3dh.ParseInitialMessage(begun)
	require.NoError(t, err)
	acceptance, err := x3dh.Respond(b.identity, parsed, b.signed, b.oneTime)
	require.NoError(t, err)
	responder, _, err := ratchet.Accept(nil, acceptance, ratchet.Config{})
	require.NoError(t, err)
	again := encrypt(t, initiator)
	says(t, judgeAs(t, Options{}, again, encode(t, responder)), true, "message 1 skips 0 keys")
	parsed, err = x3dh.ParseInitialMessage(again)
	require.NoError(t, err)
	parsed.IdentityKey = other.identity.Public()
	says(t, judgeAs(t, Options{}, encode(t, parsed), encode(t, responder)), false, "R-4.5-2")

	r, err := Inspect(encode(t, a.identity), Options{})
	require.NoError(t, err)
	require.ErrorIs(t, r.Judge(Options{}, before), ErrNotMessage)
	r, err = Inspect(m, Options{})
	require.NoError(t, err)
	require.ErrorIs(t, r.Judge(Options{}, []byte("no record")), ErrRecord)
}

func replaceKey(record []byte, num int, k x3dh.PublicKey) []byte {
	record = slices.Clone(record)
	at := map[int]int{2: 4, 3: 39}[num]
	copy(record[at:], k.Bytes())
	return record
}

func swapIdentities(record []byte) []byte {
	out := slices.Clone(record)
	copy(out[4:37], record[39:72])
	copy(out[39:72], record[4:37])
	return out
}

func TestGroupVerdicts(t *testing.T) {
	for _, f := range []senderkey.Family{senderkey.Signal, senderkey.WhatsApp} {
		o := Options{Kind: "group-message", Family: []string{"signal", "whatsapp"}[f]}
		now := time.Unix(1_700_000_000, 0)
		roster := senderkey.Roster{Members: []senderkey.Member{{1}}}
		s := senderkey.NewSender(senderkey.Config{Family: f})
		r := senderkey.NewReceiver(f)
		sent, err := s.Encrypt(roster, now, []byte("group"))
		require.NoError(t, err)
		says(t, judgeAs(t, o, sent.Message, encode(t, r)), false, "no chain")
		require.NoError(t, r.Process(sent.Distribution))
		fresh := encode(t, r)
		says(t, judgeAs(t, o, sent.Message, fresh), true, "message 0 skips 0 keys; signature verified; 5 bytes")
		last := sent
		for range 13 {
			last, err = s.Encrypt(roster, now, []byte("group"))
			require.NoError(t, err)
		}
		says(t, judgeAs(t, o, last.Message, fresh), true, "message 13 skips 13 keys")
		_, _, err = r.Decrypt(nil, last.Message)
		require.NoError(t, err)
		record := encode(t, r)
		says(t, judgeAs(t, o, last.Message, record), false, "read already (duplicate)")
		says(t, judgeAs(t, o, sent.Message, record), true, "came late")
		says(t, judgeAs(t, o, flip(sent.Message, len(sent.Message)-70, 4), record), false, "signature differs; it verifies with bit 2")
		says(t, judgeAs(t, o, sent.Message, wire.AppendBytes(nil, 1, record)), true, "came late")

		libsignal, err := r.AppendRecord(nil, sent.Chain)
		require.NoError(t, err)
		says(t, judgeAs(t, o, sent.Message, libsignal), true, "came late")
		chain := senderkey.NewChain(f, sent.Chain)
		message, err := chain.Encrypt(nil, []byte("x"))
		require.NoError(t, err)
		says(t, judgeAs(t, o, message, encode(t, chain)), false, "device's own chain")
		says(t, judgeAs(t, o, message, record), false, "no chain")
		says(t, judgeAs(t, o, message), false, "no record of sender keys was given")
	}
}
