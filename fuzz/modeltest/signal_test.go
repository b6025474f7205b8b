package modeltest

import (
	"context"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

// signalSchema is signal.proto, which is for other languages.
func signalSchema(t *testing.T) func(name string) protoreflect.MessageDescriptor {
	t.Helper()
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{ImportPaths: []string{"../../testvectors"}}}
	files, err := c.Compile(context.Background(), "signal.proto")
	require.NoError(t, err)
	return func(name string) protoreflect.MessageDescriptor {
		d := files[0].Messages().ByName(protoreflect.Name(name))
		require.NotNil(t, d, name)
		return d
	}
}

// roundTrip has the protobuf runtime read bytes of ours, all of whose fields it
// has to know, and write them back the same.
func roundTrip(t *testing.T, d protoreflect.MessageDescriptor, b []byte) {
	t.Helper()
	m := dynamicpb.NewMessage(d)
	require.NoError(t, proto.Unmarshal(b, m))
	noUnknown(t, m)
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	require.NoError(t, err)
	require.Equal(t, b, again, "%s", d.Name())
}

func noUnknown(t *testing.T, m protoreflect.Message) {
	t.Helper()
	require.Empty(t, m.GetUnknown())
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				noUnknown(t, v.List().Get(i).Message())
			}
		default:
			noUnknown(t, v.Message())
		}
		return true
	})
}

// The recorded conversation: each message and each session record.
func TestSchemaOfRecordedConversation(t *testing.T) {
	schema := signalSchema(t)
	v, err := testvectors.LoadConversation()
	require.NoError(t, err)
	messages, records := 0, 0
	for _, step := range v.Steps {
		if b := []byte(step.Message); len(b) > 0 {
			messages++
			if step.Type == 3 {
				roundTrip(t, schema("PreKeySignalMessage"), b[1:])
				m, err := x3dh.ParseInitialMessage(b)
				require.NoError(t, err)
				b = m.Message
			}
			roundTrip(t, schema("SignalMessage"), b[1:len(b)-8])
		}
		for _, b := range [][]byte{step.AliceSession, step.BobSession} {
			if len(b) > 0 {
				records++
				// A RecordStructure with one session: its tag, its length, and it.
				_, _, n := protowire.ConsumeTag(b)
				session, m := protowire.ConsumeBytes(b[n:])
				require.Len(t, b, n+m)
				roundTrip(t, schema("SessionStructure"), session)
			}
		}
	}
	require.Equal(t, 20, messages)
	require.Equal(t, 42, records)
}

// The recorded retry requests, which ours equal (package sesame).
func TestSchemaOfRetryRequests(t *testing.T) {
	content := signalSchema(t)("Content")
	v, err := testvectors.LoadRetries()
	require.NoError(t, err)
	for _, r := range v.Requests {
		roundTrip(t, content, r.PlaintextContent[1:len(r.PlaintextContent)-1])
	}
}

// Fresh values of everything that has a schema, with sessions in every shape:
// waiting, with stored keys, with several chains.
func TestSchemaOfFreshValues(t *testing.T) {
	schema := signalSchema(t)
	check := func(name string, v interface {
		AppendBinary([]byte) ([]byte, error)
	}) []byte {
		b, err := v.AppendBinary(nil)
		require.NoError(t, err)
		roundTrip(t, schema(name), b)
		return b
	}
	now := time.UnixMilli(1_700_000_000_123)
	alice, bob := x3dh.GenerateIdentityKey(), x3dh.GenerateIdentityKey()
	check("IdentityKeyPairStructure", alice)
	signed, err := x3dh.GenerateSignedPreKey(bob, 7, now)
	require.NoError(t, err)
	check("SignedPreKeyRecordStructure", signed)
	oneTime, err := x3dh.GeneratePreKeys(300, 1)
	require.NoError(t, err)
	check("PreKeyRecordStructure", oneTime[0])
	fingerprint, err := x3dh.NewFingerprint(2, []byte("a"), alice.Public(), []byte("b"), bob.Public())
	require.NoError(t, err)
	check("Fingerprint", fingerprint)

	for _, opk := range []bool{true, false} {
		info := x3dh.BundleInfo{RegistrationID: 5, DeviceID: 1, IdentityKey: bob.Public(), SignedPreKey: signed.Public()}
		var key *x3dh.PreKey
		if opk {
			key = oneTime[0]
			info.OneTimePreKey = new(key.Public())
		}
		bundle, err := x3dh.NewBundle(info)
		require.NoError(t, err)
		check("Bundle", bundle)
		agreement, err := x3dh.Initiate(alice, bundle)
		require.NoError(t, err)
		a, err := ratchet.New(agreement, ratchet.Config{RegistrationID: 4660, Created: now})
		require.NoError(t, err)
		check("SessionStructure", a)
		var last []byte
		for range 5 {
			last, _, err = a.Encrypt(nil, []byte("text"))
			require.NoError(t, err)
		}
		roundTrip(t, schema("PreKeySignalMessage"), last[1:])
		m, err := x3dh.ParseInitialMessage(last)
		require.NoError(t, err)
		acceptance, err := x3dh.Respond(bob, m, signed, key)
		require.NoError(t, err)
		b, _, err := ratchet.Accept(nil, acceptance, ratchet.Config{RegistrationID: 1383})
		require.NoError(t, err)
		check("SessionStructure", b) // four stored keys
		for range 3 {
			for _, s := range [][2]*ratchet.Session{{b, a}, {a, b}} {
				message, _, err := s[0].Encrypt(nil, nil)
				require.NoError(t, err)
				roundTrip(t, schema("SignalMessage"), message[1:len(message)-8])
				_, err = s[1].Decrypt(nil, message)
				require.NoError(t, err)
				check("SessionStructure", s[1])
			}
		}
	}
}
