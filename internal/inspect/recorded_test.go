package inspect

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/testvectors"
)

// values are the fields of a report by their path, and the bytes of the input
// that each stands for.
func values(r *Report) (text map[string]string, raw map[string]string) {
	text, raw = map[string]string{}, map[string]string{}
	var walk func(prefix string, fields []*Field)
	walk = func(prefix string, fields []*Field) {
		for _, f := range fields {
			text[prefix+f.Name] = f.Value
			raw[prefix+f.Name] = hex.EncodeToString(r.input[f.At : f.At+f.Length])
			walk(prefix+f.Name+".", f.Fields)
		}
	}
	walk("", r.Fields)
	return text, raw
}

func guess(t testing.TB, b []byte, kind string) *Report {
	t.Helper()
	r, err := Inspect(b, Options{})
	require.NoError(t, err)
	require.True(t, r.Valid)
	require.Equal(t, kind, r.Kind)
	return r
}

// Each recorded message and record is guessed, and shows the values that were
// recorded beside it or that the library reads.
func TestRecordedFields(t *testing.T) {
	tr := recorded(t, testvectors.LoadConversation)
	for _, s := range tr.Steps {
		if s.Message == nil {
			continue
		}
		kind, prefix := "message", ""
		inner := []byte(s.Message)
		r := &Report{}
		if ratchet.Type(s.Type) == ratchet.Initial {
			kind, prefix = "prekey-message", "message."
			r = guess(t, s.Message, kind)
			text, raw := values(r)
			require.Equal(t, fmt.Sprint(tr.Bob.OneTimePreKeyID), text["pre_key_id"])
			require.Equal(t, fmt.Sprint(tr.Bob.SignedPreKeyID), text["signed_pre_key_id"])
			require.Equal(t, fmt.Sprint(tr.Alice.RegistrationID), text["registration_id"])
			require.Equal(t, hex.EncodeToString(tr.Alice.IdentityPublic), text["identity_key"])
			inner = unhex(t, raw["message"])
		} else {
			r = guess(t, s.Message, kind)
		}
		m, err := ratchet.ParseMessage(inner)
		require.NoError(t, err)
		text, raw := values(r)
		require.Equal(t, hex.EncodeToString(m.RatchetKey.Bytes()), text[prefix+"ratchet_key"])
		require.Equal(t, fmt.Sprint(m.Counter), text[prefix+"counter"])
		require.Equal(t, fmt.Sprint(m.PreviousCounter), text[prefix+"previous_counter"])
		require.Equal(t, hex.EncodeToString(m.Ciphertext), raw[prefix+"ciphertext"])
		require.Equal(t, hex.EncodeToString(m.MAC), text[prefix+"mac"])
		require.Contains(t, text[prefix+"version"], "34: version 3")
	}

	records := 0
	for _, s := range tr.Steps {
		for who, b := range [][]byte{s.AliceSession, s.BobSession} {
			if len(b) == 0 {
				continue
			}
			records++
			text, raw := values(guess(t, b, "record"))
			local, remote := tr.Alice, tr.Bob
			if who == 1 {
				local, remote = remote, local
			}
			const p = "current_session."
			require.Equal(t, hex.EncodeToString(local.IdentityPublic), text[p+"local_identity_public"])
			require.Equal(t, hex.EncodeToString(remote.IdentityPublic), text[p+"remote_identity_public"])
			require.Equal(t, fmt.Sprint(local.RegistrationID), text[p+"local_registration_id"])
			require.Equal(t, fmt.Sprint(remote.RegistrationID), text[p+"remote_registration_id"])
			session, err := ratchet.ParseSession(unhex(t, raw["current_session"]), ratchet.Signal)
			require.NoError(t, err)
			require.Equal(t, hex.EncodeToString(session.RatchetKey().Bytes()), text[p+"sender_chain.sender_ratchet_key"])
			require.Equal(t, hex.EncodeToString(session.BaseKey().Bytes()), text[p+"alice_base_key"])
			for _, secret := range []string{"root_key", "sender_chain.sender_ratchet_key_private", "sender_chain.chain_key.key"} {
				require.Equal(t, "32 bytes, secret, not shown", text[p+secret])
				require.Len(t, raw[p+secret], 64)
			}
		}
	}
	require.Greater(t, records, 40)

	text, raw := values(guess(t, tr.Bob.SignedPreKeyRecord, "signed-prekey"))
	require.Equal(t, fmt.Sprint(tr.Bob.SignedPreKeyID), text["id"])
	require.Equal(t, hex.EncodeToString(tr.Bob.SignedPreKeyPublic), text["public_key"])
	require.Equal(t, hex.EncodeToString(tr.Bob.SignedPreKeySignature), text["signature"])
	require.Equal(t, hex.EncodeToString(tr.Bob.SignedPreKeyPrivate), raw["private_key"])
	text, _ = values(guess(t, tr.Bob.OneTimePreKeyRecord, "prekey"))
	require.Equal(t, fmt.Sprint(tr.Bob.OneTimePreKeyID), text["id"])
	text, _ = values(guess(t, bundleOf(t, &tr.Bob), "bundle"))
	require.Equal(t, hex.EncodeToString(tr.Bob.SignedPreKeyPublic), text["signed_pre_key"])
	require.Equal(t, "3", text["device_id"])
	text, _ = values(guess(t, identityOf(&tr.Bob), "identity"))
	require.Equal(t, hex.EncodeToString(tr.Bob.IdentityPublic), text["public_key"])
}

func TestRecordedGroupFields(t *testing.T) {
	tr := recorded(t, testvectors.LoadGroup)
	for _, s := range tr.Steps {
		if s.Op == "encrypt" {
			text, _ := values(guess(t, s.Message, "group-message"))
			require.Equal(t, tr.DistributionID, text["distribution_uuid"])
			require.Equal(t, fmt.Sprint(tr.SKDMChainID), text["chain_id"])
			require.Equal(t, fmt.Sprint(s.Iteration), text["iteration"])
			text, _ = values(guess(t, s.SenderRecord, "sender-key-record"))
			require.Equal(t, fmt.Sprint(tr.SKDMChainID), text["sender_key_states[0].chain_id"])
			require.Equal(t, fmt.Sprint(s.Iteration+1), text["sender_key_states[0].sender_chain_key.iteration"])
			require.Equal(t, "32 bytes, secret, not shown", text["sender_key_states[0].sender_signing_key.private"])
		}
	}
	for _, d := range []struct {
		b []byte
		n uint32
	}{{tr.SKDM, tr.SKDMIteration}, {tr.LateSKDM, tr.LateIteration}} {
		text, raw := values(guess(t, d.b, "distribution"))
		require.Equal(t, fmt.Sprint(d.n), text["iteration"])
		require.Equal(t, "32 bytes, secret, not shown", text["chain_key"])
		if d.n == 0 {
			require.Equal(t, hex.EncodeToString(tr.SKDMChainKey), raw["chain_key"])
		}
	}
	guess(t, tr.ReceiverRecordInitial, "sender-key-record")
}

func TestRecordedNumbersAndRequests(t *testing.T) {
	for _, v := range recorded(t, testvectors.LoadFingerprints).Vectors {
		b, as := Decode([]byte(groups(v.Display)))
		require.Equal(t, "60 digits", as)
		text, _ := values(guess(t, b, "safety-number"))
		require.Equal(t, groups(v.Display[:30]), text["first side"])
		require.Equal(t, groups(v.Display[30:]), text["second side"])
		text, _ = values(guess(t, v.Scannable, "scannable"))
		require.Equal(t, fmt.Sprint(v.Version), text["version"])
	}
	for _, q := range recorded(t, testvectors.LoadRetries).Requests {
		for kind, b := range map[string][]byte{"retry": q.PlaintextContent, "decryption-error": q.DecryptionErrorMessage} {
			text, _ := values(guess(t, b, kind))
			p := ""
			if kind == "retry" {
				p = "decryption_error_message."
			}
			require.Equal(t, hex.EncodeToString(q.RatchetKey), text[p+"ratchet_key"])
			require.Equal(t, fmt.Sprint(q.Timestamp), strings.Fields(text[p+"timestamp"])[0])
			require.Equal(t, fmt.Sprint(q.DeviceID), text[p+"device"])
		}
	}
}

// 10,000 mutated inputs: a report that is bounded, with a problem or a verdict,
// and no panic.
func TestMutatedInputs(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	all := samples(t)
	rng := rand.New(rand.NewPCG(6, 3))
	tr := recorded(t, testvectors.LoadConversation)
	var record []byte
	for _, s := range tr.Steps {
		if len(s.BobSession) > 0 {
			record = s.BobSession
		}
	}
	group := recorded(t, testvectors.LoadGroup)
	invalid, judged := 0, 0
	for i := range 10_000 {
		s := all[rng.IntN(len(all))]
		b := mutate(rng, s.b)
		o := Options{Kind: s.kind}
		if i%8 == 0 {
			o.Kind = ""
		}
		r, err := Inspect(b, o)
		require.NoError(t, err)
		require.Equal(t, r.Valid, len(r.Problems) == 0)
		for _, p := range r.Problems {
			require.NotEqual(t, disagree, p.Text, "%s: %x", r.Kind, b)
		}
		if !r.Valid {
			invalid++
		}
		if err := r.Judge(o, record, identityOf(&tr.Bob), tr.Bob.SignedPreKeyRecord, tr.Bob.OneTimePreKeyRecord, group.ReceiverRecordInitial); err == nil {
			judged++
			require.NotEmpty(t, r.Verdict.Reason)
		} else {
			require.ErrorIs(t, err, ErrNotMessage)
		}
		var out bytes.Buffer
		require.NoError(t, r.Text(&out))
		bounded(t, out.String(), b)
	}
	require.Greater(t, invalid, 3000)
	require.Greater(t, judged, 500)
}

// bounded checks the size of a report, and of its lines.
func bounded(t testing.TB, out string, b []byte) {
	t.Helper()
	require.Less(t, len(out), 20_000+40*len(b))
	require.Less(t, len(out), 2_000_000)
	for line := range strings.Lines(out) {
		require.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), 100, line)
	}
}

// A report of a megabyte is bounded: no list is shown whole.
func TestOutputIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and many seconds under the race detector")
	}
	for _, piece := range []string{"1a00", "0a00", "3a00", "0a043a002200", "7a00", "4801"} {
		b := bytes.Repeat(unhex(t, piece), (1<<18)/(len(piece)/2))
		for _, k := range kinds {
			r := k.inspect(b)
			var out bytes.Buffer
			require.NoError(t, r.Text(&out))
			require.Less(t, out.Len(), 400_000, "%s %s", k.name, piece)
		}
	}
}

// No secret of a record is in any form of a report.
func TestSecretsAreNotShown(t *testing.T) {
	tr := recorded(t, testvectors.LoadConversation)
	group := recorded(t, testvectors.LoadGroup)
	secrets := []string{
		hex.EncodeToString(tr.Bob.IdentityPrivate), hex.EncodeToString(tr.Bob.SignedPreKeyPrivate),
		hex.EncodeToString(tr.Bob.OneTimePreKeyPrivate), hex.EncodeToString(group.SKDMChainKey),
		hex.EncodeToString([]byte("a plaintext that is secret")), "a plaintext that is secret",
	}
	for _, s := range samples(t) {
		r, err := Inspect(s.b, Options{Kind: s.kind, Family: s.family})
		require.NoError(t, err)
		_, raw := values(r)
		text, _ := values(r)
		for name, v := range text {
			if strings.Contains(v, "secret") && len(raw[name]) >= 32 {
				secrets = append(secrets, raw[name])
			}
		}
	}
	require.Greater(t, len(secrets), 100)
	joined := map[string]bool{}
	for _, s := range samples(t) {
		r, err := Inspect(s.b, Options{Kind: s.kind, Family: s.family})
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, r.Text(&out))
		joined[strings.Join(strings.Fields(out.String()), "")] = true
	}
	for out := range joined {
		for _, secret := range secrets {
			require.False(t, strings.Contains(out, strings.ReplaceAll(secret, " ", "")), "%.8s…", secret)
		}
	}
}

var update = flag.Bool("update", false, "write the golden reports")

// The reports of a few inputs, as people see them: -update writes them.
func TestGolden(t *testing.T) {
	tr := recorded(t, testvectors.LoadConversation)
	first := []byte(nil)
	for _, s := range tr.Steps {
		if s.Message != nil {
			first = s.Message
			break
		}
	}
	group := recorded(t, testvectors.LoadGroup)
	frame := unhex(t, "010a3e0a380a10"+strings.Repeat("01", 16)+"1210"+strings.Repeat("02", 16)+"1a10"+strings.Repeat("07", 16)+"2002"+"1003"+"2001")
	for name, b := range map[string][]byte{
		"prekey-message": first, "truncated": first[:120], "group-message": group.Steps[0].Message,
		"receiver-record": group.ReceiverRecordInitial, "bundle": bundleOf(t, &tr.Bob), "retry": recorded(t, testvectors.LoadRetries).Requests[0].PlaintextContent, "frame": frame,
	} {
		r, err := Inspect(b, Options{})
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, r.Text(&out))
		file := filepath.Join("testdata", name+".txt")
		if *update {
			require.NoError(t, os.WriteFile(file, out.Bytes(), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(want), out.String(), name)
	}
}

// FuzzInspect reads any bytes as every kind: the library and the tables agree,
// and the report is bounded.
func FuzzInspect(f *testing.F) {
	all := samples(f)
	require.NotEmpty(f, all)
	for i, s := range all {
		if i%7 == 0 || i > len(all)-40 {
			f.Add(s.b)
		}
	}
	tr := recorded(f, testvectors.LoadConversation)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<14 {
			return
		}
		agree(t, b)
		r, err := Inspect(b, Options{})
		require.NoError(t, err)
		if err := r.Judge(Options{}, tr.Steps[0].AliceSession, identityOf(&tr.Bob), tr.Bob.SignedPreKeyRecord); err != nil {
			require.ErrorIs(t, err, ErrNotMessage)
		}
		var out bytes.Buffer
		require.NoError(t, r.Text(&out))
		bounded(t, out.String(), b)
		Decode(b)
	})
}
