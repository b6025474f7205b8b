package x3dh

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/internal/wire"
)

// H20, R-4.3-1: each term enters, once, in its place. The agreement and the
// derivation are restated from SPEC.md §4.2 and §4.3, over the standard library,
// and compared; then each private key in turn is another, and each term.
func TestEveryDHTermContributes(t *testing.T) {
	eachOPK(t, func(t *testing.T, opk bool) {
		alice, bob := newSide(t), newSide(t)
		base := curve.GenerateKey()
		info := bob.info(opk)

		terms := func(ik, ek, spk, opkPriv curve.PrivateKey, bobID curve.PrivateKey) [][32]byte {
			term := func(k, p curve.PrivateKey) (dh [32]byte) {
				pub := p.Public()
				require.NoError(t, curve.X25519(&dh, &k, &pub))
				return dh
			}
			dh := [][32]byte{term(ik, spk), term(ek, bobID), term(ek, spk)}
			if opk {
				dh = append(dh, term(ek, opkPriv))
			}
			return dh
		}
		derive := func(ik, ek, spk, opkPriv curve.PrivateKey, bobID curve.PrivateKey) [2][32]byte {
			ikm := bytes.Repeat([]byte{0xff}, 32)
			for _, dh := range terms(ik, ek, spk, opkPriv, bobID) {
				ikm = append(ikm, dh[:]...)
			}
			okm, err := hkdf.Key(sha256.New, ikm, nil, "WhisperText", 64)
			require.NoError(t, err)
			return [2][32]byte{[32]byte(okm), [32]byte(okm[32:])}
		}
		ik, spk := alice.identity.load().private, bob.signed.load().private
		opkPriv, bobID := bob.oneTime.load().private, bob.identity.load().private

		h, err := initiate(alice.identity.load(), &info, &base)
		require.NoError(t, err)
		want := [2][32]byte{h.RootKey, h.ChainKey}
		require.Equal(t, want, derive(ik, base, spk, opkPriv, bobID))

		other := curve.GenerateKey()
		require.NotEqual(t, want, derive(other, base, spk, opkPriv, bobID))
		require.NotEqual(t, want, derive(ik, other, spk, opkPriv, bobID))
		require.NotEqual(t, want, derive(ik, base, other, opkPriv, bobID))
		require.NotEqual(t, want, derive(ik, base, spk, opkPriv, other))
		require.Equal(t, opk, want != derive(ik, base, spk, other, bobID))

		// Most keys are in two terms: without one of these, the other would tell.
		dh := terms(ik, base, spk, opkPriv, bobID)
		for i := range dh {
			dh[i][5] ^= 1
			rk, ck := kdf.X3DH(dh)
			require.NotEqual(t, want, [2][32]byte{rk, ck}, "term %d", i)
			dh[i][5] ^= 1
		}
	})
}

// H19, the table of SPEC.md §4.6: which private keys together let a third party
// compute the secret, and that fewer do not. The public halves are known to
// all. A term is computable with either of its private keys.
func TestCompromiseMatrix(t *testing.T) {
	type keys struct{ ikA, ek, ikB, spk, opk bool }
	readable := func(k keys, opk bool) bool {
		return (k.ikA || k.spk) && // DH1
			(k.ek || k.ikB) && // DH2
			(k.ek || k.spk) && // DH3
			(!opk || k.ek || k.opk) // DH4
	}
	for _, c := range []struct {
		name           string
		k              keys
		noopk, withOPK bool
	}{
		{"nothing", keys{}, false, false},
		{"IK_A", keys{ikA: true}, false, false},
		{"IK_B", keys{ikB: true}, false, false},
		{"both identity keys", keys{ikA: true, ikB: true}, false, false},
		{"SPK_B", keys{spk: true}, false, false},
		{"EK", keys{ek: true}, false, false},
		{"OPK_B", keys{opk: true}, false, false},
		{"IK_A and EK", keys{ikA: true, ek: true}, true, true},
		{"SPK_B and IK_B", keys{spk: true, ikB: true}, true, false},
		{"SPK_B, IK_B and OPK_B", keys{spk: true, ikB: true, opk: true}, true, true},
		{"SPK_B and EK", keys{spk: true, ek: true}, true, true},
	} {
		require.Equal(t, c.noopk, readable(c.k, false), c.name)
		require.Equal(t, c.withOPK, readable(c.k, true), c.name)
		for _, opk := range []bool{false, true} {
			alice, bob := newSide(t), newSide(t)
			base := curve.GenerateKey()
			info := bob.info(opk)
			h, err := initiate(alice.identity.load(), &info, &base)
			require.NoError(t, err)
			want := [2][32]byte{h.RootKey, h.ChainKey}
			got := attack(t, h, info, alice, bob, base, c.k.ikA, c.k.ek, c.k.ikB, c.k.spk, c.k.opk)
			require.Equal(t, readable(c.k, opk), got == want, "%s, opk %v", c.name, opk)
		}
	}
}

// attack computes the secret with the private keys that were stolen. A term for
// which none was stolen is taken for zero: if it does not count, that is as good.
func attack(t *testing.T, h *secret.Handshake, info BundleInfo, alice, bob side, base curve.PrivateKey, ikA, ek, ikB, spk, opk bool) [2][32]byte {
	type half struct {
		stolen  bool
		private curve.PrivateKey
		peer    curve.PublicKey
	}
	aliceID, bobID := alice.identity.load(), bob.identity.load()
	signed, oneTime := bob.signed.load(), bob.oneTime.load()
	terms := [][2]half{
		{{ikA, aliceID.private, signed.public}, {spk, signed.private, aliceID.public}},
		{{ek, base, bobID.public}, {ikB, bobID.private, h.BaseKey}},
		{{ek, base, signed.public}, {spk, signed.private, h.BaseKey}},
	}
	if info.OneTimePreKey != nil {
		terms = append(terms, [2]half{{ek, base, oneTime.public}, {opk, oneTime.private, h.BaseKey}})
	}
	dh := make([][32]byte, len(terms))
	for i, term := range terms {
		for _, half := range term {
			if half.stolen {
				require.NoError(t, curve.X25519(&dh[i], &half.private, &half.peer))
			}
		}
	}
	rk, ck := kdf.X3DH(dh)
	return [2][32]byte{rk, ck}
}

// H21, R-4.1-1: of a bad bundle there is nothing that could be used. Every bit
// of what is signed, of the signature and of the signing key counts.
func TestBadBundleTouchesNothing(t *testing.T) {
	good := newSide(t).info(true)
	signedKey := good.SignedPreKey.Key
	for i := range 512 {
		bad := good
		bad.SignedPreKey.Signature[i/8] ^= 1 << (i % 8)
		b, err := NewBundle(bad)
		require.ErrorIs(t, err, ErrAuthentication, "bit %d of the signature", i)
		require.Nil(t, b)
	}
	for i := range 255 {
		for _, key := range []*PublicKey{&good.SignedPreKey.Key, &good.IdentityKey} {
			original := *key
			key.p[i/8] ^= 1 << (i % 8)
			b, err := NewBundle(good)
			require.Error(t, err, "bit %d", i)
			require.Nil(t, b)
			*key = original
		}
	}
	require.Equal(t, signedKey, good.SignedPreKey.Key)
	_, err := NewBundle(good)
	require.NoError(t, err)

	other := good
	other.IdentityKey = GenerateIdentityKey().Public()
	_, err = NewBundle(other)
	require.ErrorIs(t, err, ErrAuthentication, "somebody else's prekey")

	_, err = Initiate(GenerateIdentityKey(), new(Bundle))
	require.ErrorIs(t, err, ErrUninitialized, "the zero bundle was not verified")
}

// H27: a PreKey message without one of its fields is malformed, except for the
// one-time prekey ID, which says that there was none, and the registration ID,
// which is 0. Nothing is taken from the context instead.
func TestPreKeyMessageFieldDeletionMatrix(t *testing.T) {
	alice, bob := newSide(t), newSide(t)
	a, err := Initiate(alice.identity, bob.bundle(t, true))
	require.NoError(t, err)
	whole := initial(alice.identity, secret.Take(&a.Handoff))
	b, err := whole.AppendBinary(nil)
	require.NoError(t, err)
	for mask := range 1 << 6 {
		cut := b[1:]
		want := *whole
		ok := true
		for num := 1; num <= 6; num++ {
			if mask>>(num-1)&1 == 0 {
				continue
			}
			cut = without(t, cut, num)
			switch num {
			case 1:
				want.OneTimePreKeyID = nil
			case 5:
				want.RegistrationID = 0
			default:
				ok = false
			}
		}
		m, err := ParseInitialMessage(append([]byte{0x34}, cut...))
		if !ok {
			require.ErrorIs(t, err, ErrMalformed, "mask %06b", mask)
			require.Nil(t, m)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, &want, m)
	}
}

// H01, H02, R-3.2-1, R-3.2-2: in every slot that holds a public key, the 14
// encodings of points of low order and the non-canonical ones are refused.
// (ParsePublicKey itself is tested in internal/curve, on the same values.)
func TestDHRejectsAllLowOrderPoints(t *testing.T) {
	bob := newSide(t)
	bundle, err := bob.bundle(t, true).AppendBinary(nil)
	require.NoError(t, err)
	base := curve.GenerateKey()
	m := InitialMessage{
		Version: 0x34, SignedPreKeyID: 7, BaseKey: PublicKey{base.Public()},
		IdentityKey: GenerateIdentityKey().Public(), Message: []byte("m"),
	}
	message, err := m.AppendBinary(nil)
	require.NoError(t, err)
	identity, err := bob.identity.AppendBinary(nil)
	require.NoError(t, err)
	preKey, err := bob.oneTime.AppendBinary(nil)
	require.NoError(t, err)
	signed, err := bob.signed.AppendBinary(nil)
	require.NoError(t, err)

	for _, slot := range []struct {
		name    string
		encoded []byte
		key     PublicKey
		parse   func([]byte) error
	}{
		{"bundle, identity key", bundle, bob.identity.Public(), func(b []byte) error { _, err := ParseBundle(b); return err }},
		{"bundle, signed prekey", bundle, bob.signed.Public().Key, func(b []byte) error { _, err := ParseBundle(b); return err }},
		{"bundle, one-time prekey", bundle, bob.oneTime.Public().Key, func(b []byte) error { _, err := ParseBundle(b); return err }},
		{"message, base key", message, m.BaseKey, func(b []byte) error { _, err := ParseInitialMessage(b); return err }},
		{"message, identity key", message, m.IdentityKey, func(b []byte) error { _, err := ParseInitialMessage(b); return err }},
		{"identity record", identity, bob.identity.Public(), func(b []byte) error { _, err := ParseIdentityKey(b); return err }},
		{"prekey record", preKey, bob.oneTime.Public().Key, func(b []byte) error { _, err := ParsePreKey(b); return err }},
		{"signed prekey record", signed, bob.signed.Public().Key, func(b []byte) error { _, err := ParseSignedPreKey(b); return err }},
	} {
		require.NoError(t, slot.parse(slot.encoded), slot.name)
		require.Equal(t, 1, bytes.Count(slot.encoded, slot.key.Bytes()), slot.name)
		for _, u := range badKeys(t) {
			bad := bytes.Replace(slot.encoded, slot.key.Bytes(), append([]byte{5}, u...), 1)
			require.ErrorIs(t, slot.parse(bad), ErrMalformed, "%s: %x", slot.name, u)
		}
	}
	for _, zero := range []func(*BundleInfo){
		func(i *BundleInfo) { i.IdentityKey = PublicKey{} },
		func(i *BundleInfo) { i.SignedPreKey.Key = PublicKey{} },
		func(i *BundleInfo) { i.OneTimePreKey.Key = PublicKey{} },
	} {
		info := bob.info(true)
		zero(&info)
		_, err := NewBundle(info)
		require.ErrorIs(t, err, ErrInvalidKey)
	}
}

// H03, R-3.3-2, R-4.4-2: seven more encodings of a base key give the same
// agreement; a replay cache keyed by base keys would take each for a new
// message. With bit 255 set they do not parse.
func TestInitialMessageReplayTorsionVariants(t *testing.T) {
	alice, bob := newSide(t), newSide(t)
	base := curve.GenerateKey()
	variants := torsionVariants(t, base)
	require.Len(t, variants, 8)
	accepted := 0
	for _, v := range variants {
		m := &InitialMessage{
			Version: 0x34, SignedPreKeyID: 7,
			BaseKey: PublicKey{v}, IdentityKey: alice.identity.Public(), Message: []byte("m"),
		}
		b, err := m.AppendBinary(nil)
		require.NoError(t, err)
		m, err = ParseInitialMessage(b)
		require.NoError(t, err)
		if _, err = Respond(bob.identity, m, bob.signed, nil); err == nil {
			accepted++
			require.Equal(t, base.Public(), v)
			continue
		}
		require.ErrorIs(t, err, ErrInvalidKey)

		high := v
		high[31] |= 0x80
		_, err = ParseInitialMessage(bytes.Replace(b, v.Append(nil), high.Append(nil), 1))
		require.ErrorIs(t, err, ErrInvalidKey)
	}
	require.Equal(t, 1, accepted)
}

// H26, R-3.6-2: IDs go up from where the caller's stored counter is, survive
// their records, and end instead of wrapping.
func TestPrekeyIDNeverReused(t *testing.T) {
	seen := map[uint32]PublicKey{}
	next := uint32(1)
	for range 5 {
		keys, err := GeneratePreKeys(next, 10)
		require.NoError(t, err)
		for _, k := range keys {
			b, err := k.AppendBinary(nil) // export, import
			require.NoError(t, err)
			k, err := ParsePreKey(b)
			require.NoError(t, err)
			require.NotContains(t, seen, k.Public().ID)
			seen[k.Public().ID] = k.Public().Key
			next = k.Public().ID + 1
		}
	}
	require.Len(t, seen, 50)
	require.Equal(t, uint32(51), next)

	last, err := GeneratePreKeys(MaxPreKeyID, 1)
	require.NoError(t, err)
	require.Equal(t, uint32(0xffffff), last[0].Public().ID)
	none, err := GeneratePreKeys(5, 0)
	require.NoError(t, err)
	require.Empty(t, none)
	for _, c := range []struct {
		first uint32
		n     int
	}{{0, 1}, {MaxPreKeyID, 2}, {MaxPreKeyID + 1, 1}, {1<<32 - 1, 1}, {1, -1}, {1, 1 << 30}} {
		_, err := GeneratePreKeys(c.first, c.n)
		require.ErrorIs(t, err, ErrPreKeyID)
	}
	for id, ok := range map[uint32]bool{0: false, 1: true, MaxPreKeyID: true, MaxPreKeyID + 1: false} {
		_, err := GenerateSignedPreKey(GenerateIdentityKey(), id, testTime)
		require.Equal(t, ok, err == nil)
	}
}

// H09, R-3.6-1: signatures have no label in this format. What holds instead:
// the identity key signs encoded prekeys and nothing else, and a signature
// verifies over exactly those 33 bytes, for no other type and no part of them.
func TestSignatureContextMatrix(t *testing.T) {
	s := newSide(t)
	signed := s.signed.Public()
	id := s.identity.load().public
	key := signed.Key.Bytes()
	require.True(t, id.Verify(key, signed.Signature[:]))
	bundle, err := s.bundle(t, true).AppendBinary(nil)
	require.NoError(t, err)
	for name, message := range map[string][]byte{
		"the bare u coordinate":             key[1:],
		"the key as a KEM key (type 08)":    append([]byte{8}, key[1:]...),
		"a key padded to the size of a KEM": append(bytes.Clone(key), make([]byte, 1569-33)...),
		"the identity key":                  s.identity.Public().Bytes(),
		"a one-time prekey":                 s.oneTime.Public().Key.Bytes(),
		"the bundle":                        bundle,
		"nothing":                           nil,
	} {
		require.False(t, id.Verify(message, signed.Signature[:]), name)
	}
	typ := reflect.TypeFor[*IdentityKey]()
	var methods []string
	for i := range typ.NumMethod() {
		methods = append(methods, typ.Method(i).Name)
	}
	require.Equal(t, []string{"AppendBinary", "Public"}, methods, "no general Sign")
}

// H31: an initial message is exactly its documented fields, none of which is
// long enough for a signature except the ratchet message, which has a MAC that
// both sides can make.
func TestTranscriptHasNoIdentitySignature(t *testing.T) {
	alice, bob := newSide(t), newSide(t)
	a, err := Initiate(alice.identity, bob.bundle(t, true))
	require.NoError(t, err)
	m := initial(alice.identity, secret.Take(&a.Handoff))
	b, err := m.AppendBinary(nil)
	require.NoError(t, err)
	d := wire.Decode(b[1:])
	nums := []int{}
	for d.Next() {
		nums = append(nums, d.Num())
		if d.Num() == 2 || d.Num() == 3 {
			require.Len(t, d.Bytes(), PublicKeySize)
			continue
		}
		d.Skip()
	}
	require.NoError(t, d.Close())
	require.Equal(t, []int{1, 2, 3, 4, 5, 6}, nums)
}

// E09: device IDs are at most 127.
func TestDeviceIDRange(t *testing.T) {
	info := newSide(t).info(true)
	for device := range uint32(300) {
		info.DeviceID = device
		_, err := NewBundle(info)
		require.Equal(t, device <= 127, err == nil, "device %d", device)
	}
	info.DeviceID = 1<<32 - 1
	_, err := NewBundle(info)
	require.ErrorIs(t, err, ErrMalformed)
}

func TestVersionMatrix(t *testing.T) { // E07, R-2.2-2
	base := curve.GenerateKey()
	m := InitialMessage{Version: 0x34, BaseKey: PublicKey{base.Public()}, IdentityKey: GenerateIdentityKey().Public()}
	b, err := m.AppendBinary(nil)
	require.NoError(t, err)
	for v := range 256 {
		b[0] = byte(v)
		got, err := ParseInitialMessage(b)
		if v>>4 == 3 {
			require.NoError(t, err)
			require.Equal(t, byte(v), got.Version)
			continue
		}
		require.ErrorIs(t, err, ErrVersion)
	}
	_, err = ParseInitialMessage(nil)
	require.ErrorIs(t, err, ErrMalformed)
	_, err = ParseInitialMessage(b[:1])
	require.ErrorIs(t, err, ErrVersion)
}

// E02, E03, E04, E05, R-2.3-1: the encodings that only an attacker writes.
func TestInitialMessageStrictProtobuf(t *testing.T) {
	base := curve.GenerateKey()
	m := InitialMessage{Version: 0x34, SignedPreKeyID: 7, BaseKey: PublicKey{base.Public()}, IdentityKey: GenerateIdentityKey().Public()}
	b, err := m.AppendBinary(nil)
	require.NoError(t, err)
	for name, extra := range map[string][]byte{
		"registration ID twice":        {0x28, 0xd0, 0x0f},
		"message twice":                {0x22, 0},
		"one-time prekey ID over u32":  {0x08, 0x80, 0x80, 0x80, 0x80, 0x10},
		"one-time prekey ID overlong":  {0x08, 0x81, 0x00},
		"one-time prekey ID as bytes":  {0x0a, 0},
		"unknown group":                {0x4b, 0x4c},
		"nested unknown groups":        bytes.Repeat([]byte{0x4b}, 10000),
		"unknown field, bad length":    {0x4a, 0x7f},
		"unknown field, overlong":      {0x48, 0x80, 0x00},
		"field 0":                      {0x00, 0x00},
		"truncated tag":                {0x80},
		"one-time prekey ID truncated": {0x08, 0xff},
	} {
		_, err := ParseInitialMessage(append(bytes.Clone(b), extra...))
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	// R-2.3-2, R-2.3-3
	reversed := []byte{0x34}
	for _, num := range []int{6, 5, 4, 3, 2} {
		only := b[1:]
		for n := 1; n <= 6; n++ {
			if n != num {
				only = without(t, only, n)
			}
		}
		reversed = append(reversed, only...)
	}
	require.Len(t, reversed, len(b))
	got, err := ParseInitialMessage(append(reversed, 0x38, 1, 0x42, 1, 0)) // 7 and 8: version 4 has them
	require.NoError(t, err)
	require.Equal(t, m.BaseKey, got.BaseKey)
	require.Equal(t, m.SignedPreKeyID, got.SignedPreKeyID)
}

// H01, R-3.3-1: the agreements are checked again where they are used. No key
// that parses can give zero.
func TestZeroAgreementIsRefusedAtUse(t *testing.T) {
	k := curve.GenerateKey()
	pub := k.Public()
	for i := range 4 {
		terms := []term{{&k, &pub}, {&k, &pub}, {&k, &pub}, {&k, &pub}}
		terms[i].public = &curve.PublicKey{}
		h := new(secret.Handshake)
		require.ErrorIs(t, derive(h, terms), ErrInvalidKey)
		require.Zero(t, *h)
	}
}
