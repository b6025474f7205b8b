package sesame

import (
	"crypto/cipher"
	"crypto/rand"
	"iter"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/sotto-im/sotto/internal/secret"
)

// sealOverhead is by how many bytes a sealed value is longer than the value.
const sealOverhead = 1 + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead

// sealVersion is the first byte of a sealed value.
const sealVersion = 1

// A SealKey encrypts the values of a store ([Seal]). The application keeps it
// where the database's files and backups are not: the system's key store. It
// prints under no verb, is safe for concurrent use, and must not be copied.
// The zero value is no key: every use of it is [ErrUninitialized].
type SealKey struct{ box secret.Box[sealKey] }

type sealKey struct {
	raw  [chacha20poly1305.KeySize]byte
	aead cipher.AEAD
}

// GenerateSealKey makes a key.
func GenerateSealKey() *SealKey {
	var raw [chacha20poly1305.KeySize]byte
	rand.Read(raw[:]) // never fails
	return NewSealKey(raw)
}

// NewSealKey makes a key of 32 secret, uniformly random bytes, such as
// [SealKey.AppendBinary] has written. It is not for passwords.
func NewSealKey(raw [32]byte) *SealKey {
	aead, err := chacha20poly1305.NewX(raw[:])
	if err != nil {
		panic("sesame: XChaCha20-Poly1305 refused a key of 32 bytes") // cannot be
	}
	k := new(SealKey)
	k.box.Store(&sealKey{raw, aead})
	return k
}

// AppendBinary appends the 32 bytes of the key to b, in clear.
func (k *SealKey) AppendBinary(b []byte) ([]byte, error) {
	s, err := k.load()
	if err != nil {
		return nil, err
	}
	return append(b, s.raw[:]...), nil
}

func (k *SealKey) load() (*sealKey, error) {
	if k == nil {
		return nil, ErrUninitialized
	}
	if s := k.box.Load(); s != nil {
		return s, nil
	}
	return nil, ErrUninitialized
}

// Seal returns tx with values encrypted under XChaCha20-Poly1305 (SPEC.md
// §10.1), each under a nonce of its own and bound to the key of its row, so
// that a value that was altered, or moved to another row, does not open: Get
// is then [ErrSealed].
//
// It hides values from who reads the database, not the keys of rows, which
// name users and devices, and not how long values are and when they change. It
// does not notice who puts back an older value of the same row, or removes a
// row: somebody who can write to the database can still make a session use
// message keys again. Backups do that without meaning to.
func Seal(tx Tx, key *SealKey) Tx { return &sealedTx{tx, key} }

type sealedTx struct {
	tx  Tx
	key *SealKey
}

// Get implements [Tx]: it opens the value.
func (t *sealedTx) Get(key string) ([]byte, uint64, error) {
	k, err := t.key.load()
	if err != nil {
		return nil, 0, err
	}
	sealed, rev, err := t.tx.Get(key)
	if err != nil || rev == 0 {
		return nil, 0, err
	}
	if len(sealed) < sealOverhead || sealed[0] != sealVersion {
		return nil, 0, ErrSealed
	}
	nonce, ciphertext := sealed[1:1+chacha20poly1305.NonceSizeX], sealed[1+chacha20poly1305.NonceSizeX:]
	value, err := k.aead.Open(nil, nonce, ciphertext, []byte(key))
	if err != nil {
		return nil, 0, ErrSealed
	}
	return value, rev, nil
}

// Put implements [Tx]: it seals the value.
func (t *sealedTx) Put(key string, value []byte, rev uint64) error {
	k, err := t.key.load()
	if err != nil {
		return err
	}
	sealed := make([]byte, 1+chacha20poly1305.NonceSizeX, len(value)+sealOverhead)
	sealed[0] = sealVersion
	rand.Read(sealed[1:]) // never fails
	return t.tx.Put(key, k.aead.Seal(sealed, sealed[1:], value, []byte(key)), rev)
}

// Delete implements [Tx].
func (t *sealedTx) Delete(key string, rev uint64) error {
	if _, err := t.key.load(); err != nil {
		return err
	}
	return t.tx.Delete(key, rev)
}

// Scan implements [Tx]. Keys are not sealed.
func (t *sealedTx) Scan(prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if _, err := t.key.load(); err != nil {
			yield("", err)
			return
		}
		t.tx.Scan(prefix)(yield)
	}
}
