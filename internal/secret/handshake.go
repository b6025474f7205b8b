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

	// Message is the ratchet message inside the initial message that the
	// responder answers.
	Message []byte
}

// Clear erases the keys.
func (h *Handshake) Clear() { *h = Handshake{} }

// A Handoff carries a Handshake from x3dh to ratchet inside an exported type of
// x3dh. It has no methods: only who can import this package can open it.
type Handoff struct{ box Box[Handshake] }

// Give puts h in.
func Give(to *Handoff, h *Handshake) { to.box.Store(h) }

// Take takes out what is in, once; nil if there is nothing.
func Take(from *Handoff) *Handshake { return from.box.Take() }
