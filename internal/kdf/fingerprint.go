package kdf

import "crypto/sha512"

// FingerprintIterations is how often the hash of a safety number runs; all
// applications use this number (SPEC.md §7.1).
const FingerprintIterations = 5200

// Fingerprint hashes an identity key, 33 bytes encoded, and the identifier of
// its owner for a safety number (SPEC.md §7.1). Only 32 bytes are ever shown.
func Fingerprint(iterations int, key, id []byte) [32]byte {
	h := sha512.New()
	h.Write([]byte{0, 0}) // the version of the hash, which never changed
	h.Write(key)
	h.Write(id)
	h.Write(key)
	var sum [sha512.Size]byte
	h.Sum(sum[:0])
	for range iterations - 1 {
		h.Reset()
		h.Write(sum[:])
		h.Write(key)
		h.Sum(sum[:0])
	}
	return [32]byte(sum[:32])
}
