package ratchet

import (
	"time"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/x3dh"
)

// A Session is a conversation between two devices. It must not be copied, and
// is not safe for concurrent use: of two calls at the same time one fails with
// [ErrConcurrentUse], if not worse. The zero value is refused by every method.
type Session struct{ box secret.Box[state] }

func newSession(s *state) *Session {
	session := new(Session)
	session.box.Store(s)
	return session
}

func (s *Session) load() *state {
	if s == nil {
		return nil
	}
	return s.box.Load()
}

// commit makes next the state. It is the only place where a session changes.
func (s *Session) commit(old, next *state) error {
	if !s.box.Replace(old, next) {
		return ErrConcurrentUse
	}
	*old = state{} // keys that are no longer in use
	return nil
}

// New makes the initiator's session (SPEC.md §4.4). It takes the agreement,
// which cannot be used again. Every message is an initial message until the
// peer's first answer has been decrypted.
//
// Errors: [ErrUninitialized], and [ErrAuthentication] if the agreement on the
// first ratchet key fails.
func New(a *x3dh.Agreement, c Config) (*Session, error) {
	return initiate(a, c, curve.GenerateKey)
}

// initiate is New; fresh draws the first ratchet key.
func initiate(a *x3dh.Agreement, c Config, fresh func() curve.PrivateKey) (*Session, error) {
	if a == nil {
		return nil, ErrUninitialized
	}
	h := secret.Take(&a.Handoff)
	if h == nil {
		return nil, ErrUninitialized
	}
	defer h.Clear()
	s := newState(h, c)
	s.pending = &pendingPreKey{
		oneTimeID: h.OneTimePreKeyID,
		signedID:  h.SignedPreKeyID,
		created:   uint64(max(0, c.Created.Unix())),
	}
	if err := s.initiate(h, fresh()); err != nil {
		return nil, err
	}
	return newSession(s), nil
}

// newState is what the first states of both sides have in common.
func newState(h *secret.Handshake, c Config) *state {
	return &state{
		version:     h.Version,
		family:      c.Family,
		local:       encode(h.LocalIdentity),
		remote:      encode(h.RemoteIdentity),
		baseKey:     h.BaseKey,
		localRegID:  c.RegistrationID,
		remoteRegID: h.RemoteRegistrationID,
	}
}

// initiate makes the first state of the initiator: the peer's signed prekey is
// its first ratchet key, and starts a receiving chain; private is our first
// one, and starts the sending chain.
func (s *state) initiate(h *secret.Handshake, private curve.PrivateKey) (err error) {
	signed := curve.PublicKey(h.SignedPreKey)
	s.receiving[0] = receivingChain{
		ratchetKey: signed,
		ck:         receivingChainKey{chainKey{key: h.ChainKey}},
	}
	s.nReceiving = 1
	s.sending.private = private
	s.sending.public = private.Public()
	root := rootKey(h.RootKey)
	s.root, s.sending.ck.chainKey, err = root.step(&private, &signed)
	return err
}

// Accept makes the responder's session by decrypting the initial message that
// the acceptance answers, and appends the plaintext to dst (SPEC.md §4.4). A
// session exists only if that message is genuine. It takes the acceptance,
// which cannot be used again.
//
// On success store, in one transaction: the session, the plaintext, the peer's
// identity key, and that the one-time prekey is gone. On an error store
// nothing; dst is returned as it was. Errors: those of [Session.Decrypt].
func Accept(dst []byte, a *x3dh.Acceptance, c Config) (*Session, []byte, error) {
	return accept(dst, a, c, curve.GenerateKey)
}

// accept is Accept; fresh draws the ratchet key of the DH step.
func accept(dst []byte, a *x3dh.Acceptance, c Config, fresh func() curve.PrivateKey) (*Session, []byte, error) {
	if a == nil {
		return nil, dst, ErrUninitialized
	}
	h := secret.Take(&a.Handoff)
	if h == nil {
		return nil, dst, ErrUninitialized
	}
	defer h.Clear()
	s := newState(h, c)
	s.respond(h)
	session := newSession(s)
	plaintext, err := session.decrypt(dst, h.Message, fresh)
	if err != nil {
		*s = state{}
		return nil, dst, err
	}
	return session, plaintext, nil
}

// respond makes the first state of the responder: the signed prekey is our
// first ratchet key. There is no receiving chain yet; the first message brings
// it with a DH step.
func (s *state) respond(h *secret.Handshake) {
	s.root = h.RootKey
	s.sending = sendingChain{
		private: h.SignedPreKeyPrivate,
		public:  h.SignedPreKey,
		ck:      sendingChainKey{chainKey{key: h.ChainKey}},
	}
}

// Encrypt appends the next message to dst and returns it with its type, which
// the receiver needs (SPEC.md §5.4, §4.5). Store the session before the message
// leaves the device: a message key that is used twice gives both messages away.
//
// plaintext may be empty, and may overlap dst. It is not padded: its length
// shows. On an error dst is returned as it was. Errors: [ErrChainExhausted],
// [ErrConcurrentUse], [ErrUninitialized].
func (s *Session) Encrypt(dst, plaintext []byte) ([]byte, Type, error) {
	old := s.load()
	if old == nil {
		return dst, 0, ErrUninitialized
	}
	if old.pending != nil {
		return s.encryptInitial(old, dst, plaintext)
	}
	out, next, err := old.encrypt(dst, plaintext)
	if err == nil {
		err = s.commit(old, next)
	}
	if err != nil {
		return dst, 0, err
	}
	return out, Ordinary, nil
}

func (s *Session) encryptInitial(old *state, dst, plaintext []byte) ([]byte, Type, error) {
	inner, next, err := old.encrypt(nil, plaintext)
	if err != nil {
		return dst, 0, err
	}
	m := x3dh.InitialMessage{
		Version:         old.family.versionByte(),
		RegistrationID:  old.localRegID,
		SignedPreKeyID:  old.pending.signedID,
		OneTimePreKeyID: old.pending.oneTimeID,
		BaseKey:         publicKey(encode(old.baseKey)),
		IdentityKey:     publicKey(old.local),
		Message:         inner,
	}
	out, err := m.AppendBinary(dst)
	if err == nil {
		err = s.commit(old, next)
	}
	if err != nil {
		return dst, 0, err
	}
	return out, Initial, nil
}

// publicKey is the exported form of a key, which was parsed before.
func publicKey(k encodedKey) x3dh.PublicKey {
	p, _ := x3dh.ParsePublicKey(k[:])
	return p
}

// Decrypt appends the plaintext of an ordinary message to dst (SPEC.md §5.5).
// Store the session together with the plaintext, and only then acknowledge the
// message to the server. [Session.Missing] says what has not come before it.
//
// The message is not changed and not kept, unless dst overlaps it, which is
// allowed. On an error dst is returned as it was, and the session is what it
// was, to the encoded byte. Errors: [ErrAuthentication], [ErrDuplicate],
// [ErrTooFarAhead], [ErrChainExhausted], [ErrMalformed] (with
// x3dh.ErrInvalidKey if that is why), [ErrVersion], [ErrConcurrentUse],
// [ErrUninitialized].
func (s *Session) Decrypt(dst, message []byte) ([]byte, error) {
	return s.decrypt(dst, message, curve.GenerateKey)
}

// decrypt is Decrypt; fresh draws the next ratchet key, if there is a DH step.
func (s *Session) decrypt(dst, message []byte, fresh func() curve.PrivateKey) ([]byte, error) {
	old := s.load()
	if old == nil {
		return dst, ErrUninitialized
	}
	m, err := parseMessage(message, old.version)
	if err != nil {
		return dst, err
	}
	plaintext, next, discarded, err := old.decrypt(dst, &m, fresh)
	if err != nil {
		return dst, err
	}
	if err := s.commit(old, next); err != nil {
		clear(plaintext[len(dst):])
		return dst, err
	}
	discarded.erase()
	return plaintext, nil
}

// DecryptInitial appends the plaintext of a repeated initial message to dst:
// one that belongs to this session, as [Session.Matches] says. It is as
// [Session.Decrypt], and refuses besides with [ErrOtherSession], and with
// [ErrIdentityMismatch] if the identity key that the message names is not the
// session's: nothing authenticates that key, and a receiver that stored it
// would trust whoever changed it (SPEC.md §4.5).
func (s *Session) DecryptInitial(dst []byte, m *x3dh.InitialMessage) ([]byte, error) {
	st := s.load()
	if st == nil || m == nil {
		return dst, ErrUninitialized
	}
	if !s.Matches(m) {
		return dst, ErrOtherSession
	}
	if m.IdentityKey != publicKey(st.remote) {
		return dst, ErrIdentityMismatch
	}
	return s.Decrypt(dst, m.Message)
}

// Missing returns how many messages the one that the session decrypted last newly
// showed to be missing: on the way, lost or withheld (SPEC.md §5.5). It is the
// peer's word, up to 2³² − 1, and 0 if none was decrypted since the session was
// read from its record.
func (s *Session) Missing() uint32 {
	st := s.load()
	if st == nil {
		return 0
	}
	return st.missing
}

// Matches reports whether an initial message belongs to this session: whether
// it has the same version and base key.
func (s *Session) Matches(m *x3dh.InitialMessage) bool {
	st := s.load()
	return st != nil && m != nil && uint32(m.Version>>4) == st.version &&
		m.BaseKey == publicKey(encode(st.baseKey))
}

// Steps returns what [Session.Decrypt] of an ordinary message would cost before
// it can check the MAC, in chain steps of one HMAC each, and whether the session
// knows the message's ratchet key. If it does, no other session can decrypt the
// message. A caller that tries many sessions keeps account of the steps: what
// a forged message claims is free, to walk there is not. It changes nothing.
// Errors are those of Decrypt for a message that it would not try.
func (s *Session) Steps(message []byte) (steps int, known bool, err error) {
	st := s.load()
	if st == nil {
		return 0, false, ErrUninitialized
	}
	m, err := parseMessage(message, st.version)
	if err != nil {
		return 0, false, err
	}
	i, known := st.findChain(&m.ratchetKey)
	from := uint32(0)
	if known {
		from = st.receiving[i].ck.index
	}
	if m.counter < from {
		return 0, true, nil
	}
	if m.counter-from > MaxForwardJump {
		return 0, known, ErrTooFarAhead
	}
	return int(m.counter - from), known, nil
}

// BaseKey returns the initiator's base key, which names the session; the zero
// key if s is uninitialized.
func (s *Session) BaseKey() x3dh.PublicKey {
	st := s.load()
	if st == nil {
		return x3dh.PublicKey{}
	}
	return publicKey(encode(st.baseKey))
}

// RatchetKey returns our ratchet key, under which messages are written now; the
// zero key if s is uninitialized.
func (s *Session) RatchetKey() x3dh.PublicKey {
	st := s.load()
	if st == nil {
		return x3dh.PublicKey{}
	}
	return publicKey(encode(st.sending.public))
}

// LocalIdentity returns our identity key, the zero key if s is uninitialized.
func (s *Session) LocalIdentity() x3dh.PublicKey {
	st := s.load()
	if st == nil {
		return x3dh.PublicKey{}
	}
	return publicKey(st.local)
}

// RemoteIdentity returns the identity key of the peer, the zero key if s is
// uninitialized.
func (s *Session) RemoteIdentity() x3dh.PublicKey {
	st := s.load()
	if st == nil {
		return x3dh.PublicKey{}
	}
	return publicKey(st.remote)
}

// RemoteRegistrationID returns the registration ID that came with the peer's
// bundle or first message. Nothing authenticates it.
func (s *Session) RemoteRegistrationID() uint32 {
	st := s.load()
	if st == nil {
		return 0
	}
	return st.remoteRegID
}

// Unacknowledged reports whether the peer has not answered yet, so that every
// message is an initial message, and since when, to the second. A session that
// nobody answered in 30 days is better replaced from a fresh bundle.
func (s *Session) Unacknowledged() (since time.Time, ok bool) {
	st := s.load()
	if st == nil || st.pending == nil {
		return time.Time{}, false
	}
	return time.Unix(int64(st.pending.created), 0), true
}

// Archive makes s a session of the past, which is kept for late messages: it
// forgets the prekeys that its initial messages named. Errors:
// [ErrConcurrentUse], [ErrUninitialized].
func (s *Session) Archive() error {
	old := s.load()
	if old == nil {
		return ErrUninitialized
	}
	next := new(state)
	*next = *old
	next.pending = nil
	return s.commit(old, next)
}
