package peer

import (
	"encoding/hex"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/x3dh"
)

// sign signs with a given key, or with the party's identity.
func sign(p *peer, store string, a *args) (any, error) {
	message := a.bytes("message")
	private := a.privateKeyOr("private", func() (k curve.PrivateKey) {
		s, err := p.party(store)
		if err != nil {
			a.fail(err)
			return k
		}
		return s.private
	})
	if err := a.close(); err != nil {
		return nil, err
	}
	signature := private.Sign(message)
	return struct {
		Signature string `json:"signature"`
	}{hex.EncodeToString(signature[:])}, nil
}

func verify(a *args) (any, error) {
	public, message, signature := a.curveKey("public"), a.bytes("message"), a.bytes("signature")
	if err := a.close(); err != nil {
		return nil, err
	}
	return struct {
		Valid bool `json:"valid"`
	}{public.Verify(message, signature)}, nil
}

func agree(a *args) (any, error) {
	private, public := a.privateKey("private"), a.curveKey("public")
	if err := a.close(); err != nil {
		return nil, err
	}
	var shared [32]byte
	if err := curve.X25519(&shared, &private, &public); err != nil {
		return nil, fail(nameInvalidKeyAgreement, "%v", err)
	}
	return struct {
		Secret string `json:"secret"`
	}{hex.EncodeToString(shared[:])}, nil
}

// curveKey takes a public key for bare arithmetic.
func (a *args) curveKey(name string) curve.PublicKey {
	return curve.PublicKey(a.publicKey(name).Bytes()[1:])
}

func fingerprint(a *args) (any, error) {
	iterations, version := a.uint32Or("iterations", kdf.FingerprintIterations), a.uint32Or("version", 2)
	localID, local := a.bytes("localId"), a.publicKey("localKey")
	remoteID, remote := a.bytes("remoteId"), a.publicKey("remoteKey")
	if iterations < 2 || iterations > 1_000_000 {
		a.failf("iterations is not in 2 to 1000000")
	}
	if err := a.close(); err != nil {
		return nil, err
	}
	f, err := newFingerprint(int(iterations), version, localID, local, remoteID, remote)
	if err != nil {
		return nil, err
	}
	scannable, err := f.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	return struct {
		Display   string `json:"display"`
		Scannable string `json:"scannable"`
	}{f.String(), hex.EncodeToString(scannable)}, nil
}

// newFingerprint is the library's for the number of iterations that everybody
// uses. The others, which it does not offer, are hashed here and brought in as
// if they had been scanned.
func newFingerprint(iterations int, version uint32, localID []byte, local x3dh.PublicKey, remoteID []byte, remote x3dh.PublicKey) (x3dh.Fingerprint, error) {
	if iterations == kdf.FingerprintIterations {
		return x3dh.NewFingerprint(version, localID, local, remoteID, remote)
	}
	hashes := [][32]byte{
		kdf.Fingerprint(iterations, local.Bytes(), localID),
		kdf.Fingerprint(iterations, remote.Bytes(), remoteID),
	}
	b := wire.AppendUint(nil, 1, uint64(version))
	for i, h := range hashes {
		b = wire.AppendBytes(b, 2+i, wire.AppendBytes(nil, 1, h[:]))
	}
	return x3dh.ParseFingerprint(b)
}

func runParseSignalMessage(a *args) (any, error) {
	b := a.bytes("message")
	if err := a.close(); err != nil {
		return nil, err
	}
	m, err := parseSignalMessage(b)
	if err != nil {
		return nil, err
	}
	return struct {
		Version         byte   `json:"version"`
		RatchetKey      string `json:"ratchetKey"`
		Counter         uint32 `json:"counter"`
		PreviousCounter uint32 `json:"previousCounter"`
		Ciphertext      string `json:"ciphertext"`
		MAC             string `json:"mac"`
	}{
		m.Version >> 4, hex.EncodeToString(m.RatchetKey.Bytes()), m.Counter, m.PreviousCounter,
		hex.EncodeToString(m.Ciphertext), hex.EncodeToString(m.MAC),
	}, nil
}

func runParsePreKeySignalMessage(a *args) (any, error) {
	b := a.bytes("message")
	if err := a.close(); err != nil {
		return nil, err
	}
	m, err := parsePreKeySignalMessage(b)
	if err != nil {
		return nil, err
	}
	return struct {
		Version        byte    `json:"version"`
		PreKeyID       *uint32 `json:"preKeyId"`
		BaseKey        string  `json:"baseKey"`
		IdentityKey    string  `json:"identityKey"`
		Message        string  `json:"message"`
		RegistrationID uint32  `json:"registrationId"`
		SignedPreKeyID uint32  `json:"signedPreKeyId"`
	}{
		m.Version >> 4, m.OneTimePreKeyID, hex.EncodeToString(m.BaseKey.Bytes()),
		hex.EncodeToString(m.IdentityKey.Bytes()), hex.EncodeToString(m.Message),
		m.RegistrationID, m.SignedPreKeyID,
	}, nil
}
