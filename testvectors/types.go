package testvectors

// The types of the tests, one for each schema. Names and meaning of the fields
// are the schema's.

// X25519 is a test of x25519_v1.json.
type X25519 struct {
	Case
	Private, Public Hex
	Iterations      int
	Shared          Hex
}

// HKDF is a test of hkdf_sha256_v1.json.
type HKDF struct {
	Case
	IKM, Salt, Info Hex
	Length          int
	PRK, OKM        Hex
}

// HMAC is a test of hmac_sha256_v1.json.
type HMAC struct {
	Case
	Key, Message, Tag Hex
}

// Ed25519 is a test of ed25519_v1.json.
type Ed25519 struct {
	Case
	Seed, Public, Message, Signature Hex
}

// AESCBC is a test of aes_cbc_v1.json.
type AESCBC struct {
	Case
	Padding                        string // "none" or "pkcs7"
	Key, IV, Plaintext, Ciphertext Hex
}

// PublicKey is a test of public_key_v1.json.
type PublicKey struct {
	Case
	Encoded Hex
}

// XEdDSA is a test of xeddsa_v1.json.
type XEdDSA struct {
	Case
	Public, Message, Signature Hex
	Private                    Hex           // nil if the signature is only verified
	Random                     *XEdDSARandom // together with Private
}

// XEdDSARandom is what a signature draws.
type XEdDSARandom struct{ Z Hex }

// Fingerprint is a test of fingerprint_v1.json.
type Fingerprint struct {
	Case
	Version    uint32
	Iterations int
	LocalID    Hex `json:"local_id"`
	LocalKey   Hex `json:"local_key"`
	RemoteID   Hex `json:"remote_id"`
	RemoteKey  Hex `json:"remote_key"`
	Display    string
	Scannable  Hex
}

// RetryRequest is a test of retry_request_v1.json.
type RetryRequest struct {
	Case
	Original               Hex
	OriginalType           uint8 `json:"original_type"`
	Timestamp              uint64
	DeviceID               uint32 `json:"device_id"`
	RatchetKey             Hex    `json:"ratchet_key"`
	DecryptionErrorMessage Hex    `json:"decryption_error_message"`
	PlaintextContent       Hex    `json:"plaintext_content"`
}

// PlaintextContent is a test of plaintext_content_v1.json.
type PlaintextContent struct {
	Case
	PlaintextContent Hex `json:"plaintext_content"`
}
