package kdf

// Every domain-separation string and constant of the protocol, and nothing
// else. They are the peer's, byte for byte.
const (
	labelX3DH        = "WhisperText"        // SPEC.md §4.3
	labelRatchet     = "WhisperRatchet"     // SPEC.md §5.2
	labelMessageKeys = "WhisperMessageKeys" // SPEC.md §5.2
	labelGroup       = "WhisperGroup"       // SPEC.md §11.2

	constMessageKey = 0x01 // SPEC.md §5.2: HMAC input for the seed of a message key, §11.2
	constChainKey   = 0x02 // SPEC.md §5.2: HMAC input for the next chain key, §11.2

	x3dhDiscontinuity = 0xff // SPEC.md §4.3: 32 of them before the agreements
)
