package secret

// A Handshake is what the key agreement leaves for the Double Ratchet
// (SPEC.md §4.4). Keys are raw here: x3dh writes it, ratchet takes it once and
// clears it.
type Handshake struct {
	// Version is the session version. Version 4 will add the key of the
	// post-quantum ratchet beside RootKey and ChainKey.
	Version uint32

	RootKey  [32]byte
	ChainKey [32]byte

	LocalIdentity  [32]byte // u coordinates
	RemoteIdentity [32]byte
	BaseKey        [32]byte // the initiator's; names the session

	// SignedPreKey is the responder's signed prekey, which is its first
	// ratchet key. Only the responder has the private half.
	SignedPreKey        [32]byte
	SignedPreKeyPrivate [32]byte

	RemoteRegistrationID uint32

	// What the initiator repeats in each PreKey message.
	SignedPreKeyID  uint32
	OneTimePreKeyID *uint32
}

// Clear erases the keys.
func (h *Handshake) Clear() { *h = Handshake{} }
