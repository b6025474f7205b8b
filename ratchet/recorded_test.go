package ratchet

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

// currentSession takes the current session out of a RecordStructure.
func currentSession(t testing.TB, record []byte) []byte {
	t.Helper()
	d := wire.Decode(record)
	require.True(t, d.Next())
	require.Equal(t, 1, d.Num())
	b := d.Bytes()
	require.NoError(t, d.Close(1), "the record holds the current session and nothing else")
	return b
}

func parseState(t *testing.T, session []byte) *state {
	t.Helper()
	s, err := ParseSession(session, Signal)
	require.NoError(t, err)
	return s.load()
}

// H20: the whole conversation again, in both roles and through every kind of
// message: each message that we make and each record that we would store has the
// bytes of the peer's. Fresh keys are taken from the records.
func TestRecordedTranscript(t *testing.T) {
	tr, err := testvectors.LoadConversation()
	require.NoError(t, err)

	// The keys of both sides.
	key := func(private, public testvectors.Hex) (curve.PrivateKey, curve.PublicKey) {
		k := curve.NewPrivateKey([32]byte(private))
		pub := k.Public()
		require.Equal(t, []byte(public), pub.Append(nil))
		return k, pub
	}
	_, aliceID := key(tr.Alice.IdentityPrivate, tr.Alice.IdentityPublic)
	bobPrivate, bobID := key(tr.Bob.IdentityPrivate, tr.Bob.IdentityPublic)
	_, signed := key(tr.Bob.SignedPreKeyPrivate, tr.Bob.SignedPreKeyPublic)
	key(tr.Bob.OneTimePreKeyPrivate, tr.Bob.OneTimePreKeyPublic)
	require.True(t, bobID.Verify(tr.Bob.SignedPreKeyPublic, tr.Bob.SignedPreKeySignature))

	identityRecord := wire.AppendBytes(wire.AppendBytes(nil, 1, tr.Bob.IdentityPublic), 2, bobPrivate[:])
	bob, err := x3dh.ParseIdentityKey(identityRecord)
	require.NoError(t, err)
	signedPreKey, err := x3dh.ParseSignedPreKey(tr.Bob.SignedPreKeyRecord)
	require.NoError(t, err)
	oneTimePreKey, err := x3dh.ParsePreKey(tr.Bob.OneTimePreKeyRecord)
	require.NoError(t, err)
	for _, r := range []struct {
		key interface {
			AppendBinary([]byte) ([]byte, error)
		}
		record testvectors.Hex
	}{{signedPreKey, tr.Bob.SignedPreKeyRecord}, {oneTimePreKey, tr.Bob.OneTimePreKeyRecord}} {
		b, err := r.key.AppendBinary(nil)
		require.NoError(t, err)
		require.Equal(t, []byte(r.record), b)
	}

	messages := map[string][]byte{}
	for _, s := range tr.Steps {
		if s.Message != nil {
			messages[s.ID] = s.Message
		}
	}
	respond := func(b []byte) *secret.Handshake {
		m, err := x3dh.ParseInitialMessage(b)
		require.NoError(t, err)
		a, err := x3dh.Respond(bob, m, signedPreKey, oneTimePreKey)
		require.NoError(t, err)
		return secret.Take(&a.Handoff)
	}

	records := map[string][]byte{}                            // by side
	sent, counted := map[string][]string{}, map[string]bool{} // IDs by side; those that came or are known to be missing
	duplicates, turns, missing := 0, 0, 0
	for i, step := range tr.Steps {
		side, op, _ := strings.Cut(step.Op, ".")
		recorded := step.AliceSession
		if side == "bob" {
			recorded = step.BobSession
		}
		want := currentSession(t, recorded)
		after := parseState(t, want)
		fresh := func() curve.PrivateKey { turns++; return after.sending.private }

		require.Equal(t, want, after.appendBinary(nil), "step %d: records read and write back", i)

		switch op {
		case "process_prekey_bundle":
			// Alice's base key is not in the record, but the agreement is Bob's
			// too; her first ratchet key is in the record.
			h := respond(messages["a0"])
			require.Equal(t, &tr.Bob.OneTimePreKeyID, h.OneTimePreKeyID)
			s := newState(&secret.Handshake{
				Version: 3, LocalIdentity: aliceID, RemoteIdentity: bobID,
				BaseKey: h.BaseKey, RemoteRegistrationID: tr.Bob.RegistrationID,
			}, Config{RegistrationID: tr.Alice.RegistrationID})
			s.pending = &pendingPreKey{h.OneTimePreKeyID, tr.Bob.SignedPreKeyID, uint64(tr.NowMS) / 1000}
			h.SignedPreKey = signed
			require.NoError(t, s.initiate(h, after.sending.private))
			require.Equal(t, want, s.appendBinary(nil), "step %d: record", i)

		case "encrypt":
			s := newSession(parseState(t, records[side]))
			got, typ, err := s.Encrypt(nil, []byte(step.Plaintext))
			require.NoError(t, err)
			require.Equal(t, Type(step.Type), typ)
			require.Equal(t, []byte(step.Message), got, "step %d: message", i)
			sent[side] = append(sent[side], step.ID)
			require.Equal(t, want, s.load().appendBinary(nil), "step %d: record", i)

		case "decrypt":
			wire := messages[strings.TrimSuffix(step.ID, "-duplicate")]
			var before *state
			if records[side] == nil {
				h := respond(wire)
				before = newState(h, Config{RegistrationID: tr.Bob.RegistrationID})
				before.respond(h)
				wire = h.Message
			} else {
				before = parseState(t, records[side])
				if m, err := x3dh.ParseInitialMessage(wire); err == nil && side == "bob" {
					require.True(t, newSession(before).Matches(m))
					wire = m.Message
				}
			}
			m, err := parseMessage(wire, 3)
			require.NoError(t, err)
			plaintext, next, _, err := before.decrypt(nil, &m, fresh)
			if step.Error != "" {
				duplicates++
				require.ErrorIs(t, err, ErrDuplicate)
				require.Equal(t, want, before.appendBinary(nil), "step %d: the record is unchanged", i)
				break
			}
			require.NoError(t, err, "step %d", i)
			require.Equal(t, step.Plaintext, string(plaintext))
			require.Equal(t, want, next.appendBinary(nil), "step %d: record", i)
			newly := 0
			for _, id := range sent[map[string]string{"alice": "bob", "bob": "alice"}[side]] {
				if id == step.ID {
					break
				}
				if !counted[id] {
					counted[id] = true
					newly++
				}
			}
			counted[step.ID] = true
			require.EqualValues(t, newly, next.missing, "step %d", i)
			missing += newly

		default:
			t.Fatalf("step %d: unknown op %q", i, step.Op)
		}
		records[side] = want
	}
	require.Equal(t, 1, duplicates)
	require.Equal(t, 16, turns)
	require.Equal(t, 2, missing)
}
