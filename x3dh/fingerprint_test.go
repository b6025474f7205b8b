package x3dh

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/testvectors"
)

func fingerprints(t testing.TB, version uint32) (alice, bob Fingerprint, keys [2]PublicKey) {
	t.Helper()
	keys = [2]PublicKey{GenerateIdentityKey().Public(), GenerateIdentityKey().Public()}
	alice, err := NewFingerprint(version, []byte("alice"), keys[0], []byte("bob"), keys[1])
	require.NoError(t, err)
	bob, err = NewFingerprint(version, []byte("bob"), keys[1], []byte("alice"), keys[0])
	require.NoError(t, err)
	return alice, bob, keys
}

// H30, R-7.1-1: digits and scannable forms that a peer gave.
func TestFingerprintVectors(t *testing.T) {
	v, err := testvectors.LoadFingerprints()
	require.NoError(t, err)
	whole := 0
	for _, c := range v.Vectors {
		local, err := ParsePublicKey(c.LocalKey)
		require.NoError(t, err)
		remote, err := ParsePublicKey(c.RemoteKey)
		require.NoError(t, err)
		f, err := NewFingerprint(c.Version, c.LocalID, local, c.RemoteID, remote)
		require.NoError(t, err)
		if c.Iterations == 5200 { // what applications show
			whole++
		} else {
			f.local = kdf.Fingerprint(c.Iterations, c.LocalKey, c.LocalID)
			f.remote = kdf.Fingerprint(c.Iterations, c.RemoteKey, c.RemoteID)
		}
		require.Equal(t, c.Display, f.String(), c.Comment)
		b, err := f.AppendBinary(nil)
		require.NoError(t, err)
		require.Equal(t, []byte(c.Scannable), b, c.Comment)
		scanned, err := ParseFingerprint(c.Scannable)
		require.NoError(t, err)
		require.Equal(t, f, scanned, c.Comment)
	}
	require.Greater(t, whole, 10)
}

// H30, R-7.1-1, R-7.2-1: both sides show the same 60 digits, and each one's
// scannable form matches the other's.
func TestFingerprintSymmetric(t *testing.T) {
	for range 4 {
		alice, bob, keys := fingerprints(t, 2)
		require.Len(t, alice.String(), 60)
		require.Empty(t, strings.Trim(alice.String(), "0123456789"))
		require.Equal(t, alice.String(), bob.String())
		require.LessOrEqual(t, alice.String()[:30], alice.String()[30:], "the smaller half first")

		b, err := bob.AppendBinary(nil)
		require.NoError(t, err)
		scanned, err := ParseFingerprint(b)
		require.NoError(t, err)
		require.Equal(t, bob, scanned)
		same, err := alice.Matches(scanned)
		require.NoError(t, err)
		require.True(t, same)

		same, err = alice.Matches(alice)
		require.NoError(t, err)
		require.False(t, same, "our own code, held up to us")

		// Another key, another identifier, exchanged identifiers.
		other := GenerateIdentityKey().Public()
		for _, f := range []func() (Fingerprint, error){
			func() (Fingerprint, error) {
				return NewFingerprint(2, []byte("bob"), keys[1], []byte("alice"), other)
			},
			func() (Fingerprint, error) {
				return NewFingerprint(2, []byte("bob"), keys[1], []byte("alicf"), keys[0])
			},
			func() (Fingerprint, error) {
				return NewFingerprint(2, []byte("alice"), keys[1], []byte("bob"), keys[0])
			},
		} {
			wrong, err := f()
			require.NoError(t, err)
			require.NotEqual(t, alice.String(), wrong.String())
			same, err := alice.Matches(wrong)
			require.NoError(t, err)
			require.False(t, same)
		}
		for half := range 2 { // one half right is not enough
			wrong := bob
			[]*[32]byte{&wrong.local, &wrong.remote}[half][31] ^= 1
			same, err := alice.Matches(wrong)
			require.NoError(t, err)
			require.False(t, same)
		}
	}
}

// H30, R-7.2-2
func TestFingerprintVersionMismatch(t *testing.T) {
	alice, _, _ := fingerprints(t, 1)
	_, bob, _ := fingerprints(t, 2)
	same, err := alice.Matches(bob)
	require.ErrorIs(t, err, ErrVersion)
	require.False(t, same)
}

func TestParseFingerprint(t *testing.T) {
	alice, _, _ := fingerprints(t, 0)
	b, err := alice.AppendBinary(nil)
	require.NoError(t, err)
	require.Equal(t, []byte{0x08, 0x00, 0x12, 0x22, 0x0a, 0x20}, b[:6], "version 0 is written")
	for n := range b {
		_, err := ParseFingerprint(b[:n])
		require.ErrorIs(t, err, ErrMalformed)
	}
	got, err := ParseFingerprint(b[2:])
	require.NoError(t, err, "a missing version is 0")
	require.Equal(t, alice, got)
	_, err = ParseFingerprint(append(b, 0x12, 0x22, 0x0a, 0x20))
	require.ErrorIs(t, err, ErrMalformed)
	_, err = ParseFingerprint(append(append([]byte{0x12, 0x22, 0x0a, 0x20}, make([]byte, 32)...),
		append([]byte{0x1a, 0x22, 0x0a, 0x20}, make([]byte, 32)...)...))
	require.ErrorIs(t, err, ErrMalformed, "all zeros is no fingerprint")
}
