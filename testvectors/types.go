package testvectors

import "encoding/json"

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
	Public    Hex           `json:"public"`
	Message   Hex           `json:"message"`
	Signature Hex           `json:"signature"`
	Private   Hex           `json:"private,omitempty"` // nil if the signature is only verified
	Random    *XEdDSARandom `json:"random,omitempty"`  // together with Private
}

// XEdDSARandom is what a signature draws.
type XEdDSARandom struct{ Z Hex }

// Fingerprint is a test of fingerprint_v1.json.
type Fingerprint struct {
	Case
	Version    uint32 `json:"version"`
	Iterations int    `json:"iterations,omitempty"`
	LocalID    Hex    `json:"localId"`
	LocalKey   Hex    `json:"localKey"`
	RemoteID   Hex    `json:"remoteId"`
	RemoteKey  Hex    `json:"remoteKey"`
	Display    string `json:"display"`
	Scannable  Hex    `json:"scannable"`
	Scanned    Hex    `json:"scanned,omitempty"`
	Match      *bool  `json:"match,omitempty"`
}

// RetryRequest is a test of retry_request_v1.json.
type RetryRequest struct {
	Case
	Original               Hex    `json:"original"`
	OriginalType           uint8  `json:"originalType"`
	Timestamp              uint64 `json:"timestamp"`
	Device                 uint32 `json:"device"`
	RatchetKey             Hex    `json:"ratchetKey"`
	DecryptionErrorMessage Hex    `json:"decryptionErrorMessage,omitempty"`
	PlaintextContent       Hex    `json:"plaintextContent,omitempty"`
}

// PlaintextContent is a test of plaintext_content_v1.json.
type PlaintextContent struct {
	Case
	PlaintextContent Hex     `json:"plaintextContent"`
	Timestamp        *uint64 `json:"timestamp,omitempty"`
	Device           *uint32 `json:"device,omitempty"`
	RatchetKey       Hex     `json:"ratchetKey,omitempty"`
}

// SessionTranscript is a test of session_transcript_v1.json.
type SessionTranscript struct {
	Case
	Family string        `json:"family"`
	Now    int64         `json:"now"`
	Alice  Device        `json:"alice"`
	Bob    Device        `json:"bob"`
	Steps  []SessionStep `json:"steps"`
}

// A Device is the keys of one in a [SessionTranscript].
type Device struct {
	RegistrationID  uint32     `json:"registrationId"`
	IdentityPrivate Hex        `json:"identityPrivate"`
	IdentityPublic  Hex        `json:"identityPublic"`
	SignedPreKey    *DeviceKey `json:"signedPreKey,omitempty"`
	OneTimePreKey   *DeviceKey `json:"oneTimePreKey,omitempty"`
}

// A DeviceKey is a prekey of a [Device].
type DeviceKey struct {
	ID        uint32 `json:"id"`
	Private   Hex    `json:"private"`
	Public    Hex    `json:"public"`
	Signature Hex    `json:"signature,omitempty"` // of a signed prekey
	Created   int64  `json:"created,omitempty"`   // likewise
	Record    Hex    `json:"record"`
}

// A SessionStep is a step of a [SessionTranscript].
type SessionStep struct {
	Party     string         `json:"party"`
	Op        string         `json:"op"`
	Plaintext *Hex           `json:"plaintext,omitempty"`
	Type      uint8          `json:"type,omitempty"`
	Message   Hex            `json:"message,omitempty"`
	Random    *SessionRandom `json:"random,omitempty"`
	Error     string         `json:"error,omitempty"`
	Record    Hex            `json:"record,omitempty"`
}

// SessionRandom is what a step of a session draws.
type SessionRandom struct {
	RatchetKey Hex `json:"ratchetKey"`
}

// GroupTranscript is a test of group_transcript_v1.json.
type GroupTranscript struct {
	Case
	DistributionID Hex         `json:"distributionId"`
	Random         GroupRandom `json:"random"`
	Steps          []GroupStep `json:"steps"`
}

// GroupRandom is what a new chain of a group draws.
type GroupRandom struct {
	ChainID    uint32 `json:"chainId"`
	ChainKey   Hex    `json:"chainKey"`
	SigningKey Hex    `json:"signingKey"`
}

// A GroupStep is a step of a [GroupTranscript].
type GroupStep struct {
	Party     string  `json:"party"`
	Op        string  `json:"op"`
	Iteration *uint32 `json:"iteration,omitempty"`
	Plaintext *Hex    `json:"plaintext,omitempty"`
	Message   Hex     `json:"message,omitempty"`
	Error     string  `json:"error,omitempty"`
	Record    Hex     `json:"record"`
}

// X3DHAgreement is a test of x3dh_agree_v1.json.
type X3DHAgreement struct {
	Case
	Role, Family                     string
	IdentityPrivate                  Hex
	RegistrationID                   uint32
	Bundle                           Hex
	TrustedIdentity                  Hex
	Now                              int64
	Plaintext                        Hex
	SignedPreKeyRecord, PreKeyRecord Hex
	Message                          Hex
	Random                           struct{ BaseKey, RatchetKey Hex }
	Terms                            []Hex
	RootKey0, ChainKey0              Hex
	Record, RecordAfter              Hex
}

// RatchetTranscript is a test of ratchet_transcript_v1.json.
type RatchetTranscript struct {
	Case
	Family     string
	Alice, Bob Hex
	Steps      []RatchetStep
}

// A RatchetStep is a step of a [RatchetTranscript].
type RatchetStep struct {
	Party, Op, Comment   string
	Plaintext            *Hex
	Missing              *uint32
	Type                 uint8
	Message              Hex
	Random               *SessionRandom
	Keys                 *RatchetKeys
	Error                string
	Record, RecordSHA256 Hex
}

// RatchetKeys are the keys on the way through a [RatchetStep].
type RatchetKeys struct {
	DHReceiving, RootKeyReceiving       Hex
	ChainKey, Seed                      Hex
	CipherKey, MACKey, IV               Hex
	DHSending, RootKey, SendingChainKey Hex
}

// SenderKeyTranscript is a test of senderkey_transcript_v1.json.
type SenderKeyTranscript struct {
	Case
	Family string
	Steps  []SenderKeyStep
}

// A SenderKeyStep is a step of a [SenderKeyTranscript].
type SenderKeyStep struct {
	Op, Comment, Chain, Receiver string
	DistributionID               Hex
	Random                       SenderKeyRandom
	Plaintext                    *Hex
	Message, Seed                Hex
	Missing                      *uint32
	Error                        string
	Record, RecordSHA256         Hex
}

// SenderKeyRandom is what a step of a sender key draws. ChainID is before the
// shift, SigningKey before it is clamped.
type SenderKeyRandom struct {
	ChainID                              uint32
	ChainKey, SigningKey, DistributionID Hex
	Z                                    Hex
}

// MessageParse is a test of message_parse_v1.json. The fields that the form does
// not have are nil.
type MessageParse struct {
	Case
	Form, Family string
	Message      Hex
	Value        map[string]json.RawMessage
	Written      Hex
}

// StateRecord is a test of state_record_v1.json.
type StateRecord struct {
	Case
	Kind, Family    string
	IdentityPrivate Hex // of the device that reads "sessions"
	Record, Written Hex
}

// EnvelopeParse is a test of envelope_parse_v1.json. Long bytes are given in
// pieces.
type EnvelopeParse struct {
	Case
	Form     string
	Bytes    Hex
	Pieces   []EnvelopePiece
	Value    map[string]json.RawMessage // by the type of the frame
	Header   *EnvelopeHeader
	Body     Hex
	Expected *EnvelopeExpected
}

// An EnvelopePiece is bytes, and how often they stand one behind the other.
type EnvelopePiece struct {
	Bytes Hex
	Times int
}

// An EnvelopeHeader is a header as the vectors have it.
type EnvelopeHeader struct {
	Conversation, MessageID, User Hex
	Device                        uint32
	Stamp                         uint64
}

// EnvelopeExpected is what the frame says, and whose session it was.
type EnvelopeExpected struct {
	Header EnvelopeHeader
	User   Hex
	Device uint32
}

// EnvelopeStream is a test of envelope_stream_v1.json.
type EnvelopeStream struct {
	Case
	Stream Hex
	Frames []Hex
}

// SenderKeyRotation is a test of senderkey_rotation_v1.json.
type SenderKeyRotation struct {
	Case
	Family                  string
	MaxMessages, MaxSeconds uint32
	Sender                  Hex
	Steps                   []RotationStep
}

// A RotationStep is a step of a [SenderKeyRotation].
type RotationStep struct {
	Op, Comment          string
	Members              []Hex
	Revision             uint64
	Now                  int64
	Plaintext            *Hex
	DistributionID       Hex
	Random               SenderKeyRandom
	NewChain             string
	Distribution         Hex
	Readers              []Hex
	Message              Hex
	Error                string
	Record, RecordSHA256 Hex
}

// LamportSequence is a test of lamport_sequence_v1.json.
type LamportSequence struct {
	Case
	Machine string
	Start   Hex
	Steps   []LamportStep
}

// A LamportStep is a step of a [LamportSequence]: an event, and what the machine
// makes of it.
type LamportStep struct {
	Event, Comment, Error               string
	Stamp, Bound, Counter               uint64
	Accepted                            bool
	Epoch                               uint32
	Number, Last                        uint64
	Waiting                             bool
	Key                                 Hex
	Conversation, User                  Hex
	Device                              uint32
	MessageID                           Hex
	DevicesMatch                        bool
	Answer, Verdict                     string
	Frame                               Hex
	Next                                uint64
	Held                                []uint64
	Deleted                             bool
	Value                               Hex
	Changed, Equivocation               bool
	Record, WindowRecord, ReceiptRecord Hex
}
