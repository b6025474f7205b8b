package inspect

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/senderkey"
	"github.com/sotto-im/sotto/x3dh"
)

// Errors of [Report.Judge], which are the caller's.
var (
	ErrNotMessage = errors.New("only a message, a PreKey message or a group message can be decrypted")
	ErrRecord     = errors.New("not a valid record of a session, of sender keys, of an identity key or of a prekey")
)

// records are what a receiver has, as far as it was given.
type records struct {
	sessions []*storedSession
	groups   []*Report
	identity []*x3dh.IdentityKey
	signed   []*x3dh.SignedPreKey
	oneTime  []*x3dh.PreKey
}

// A storedSession is a session as its record has it.
type storedSession struct {
	name   string
	record []byte
	head   bool
	raw    *found
}

func (s *storedSession) parse() (*ratchet.Session, error) {
	if s.head {
		return ratchet.ParseHead(s.record, ratchet.Signal, nil)
	}
	return ratchet.ParseSession(s.record, ratchet.Signal)
}

func (s *storedSession) key(num int) [33]byte { return [33]byte(s.raw.get(num).b) }

// judged are the kinds of records that Judge takes, in the order in which they
// are tried.
var judged = []string{"session", "session-head", "record", "sender-key-record", "receiver", "row-receiver", "row-local", "identity", "signed-prekey", "prekey"}

// Judge says whether the message would decrypt with these records of its
// receiver, and why: the library decrypts, or does not, and then its reasons
// are looked for. Nothing is kept, and the records are not changed. The verdict
// is in r.Verdict. Errors: [ErrNotMessage], [ErrRecord].
func (r *Report) Judge(o Options, files ...[]byte) error {
	group := r.Kind == "group-message"
	if !group && r.Kind != "message" && r.Kind != "prekey-message" {
		return ErrNotMessage
	}
	var rs records
	for _, b := range files {
		if err := rs.add(b, o.Family, group); err != nil {
			return err
		}
	}
	switch {
	case !r.Valid:
		r.Verdict = &Verdict{Reason: fmt.Sprintf("malformed: %s, at byte %d", r.Problems[0].Text, r.Problems[0].Offset)}
	case group:
		r.Verdict = rs.judgeGroup(r)
	case r.Kind == "prekey-message":
		r.Verdict = rs.judgeInitial(r.input)
	default:
		r.Verdict = rs.judge(r.input, nil)
	}
	return nil
}

func (rs *records) add(b []byte, family string, group bool) error {
	var best *Report
	for _, name := range judged {
		r, err := Inspect(b, Options{Kind: name, Family: family})
		if err == nil && r.Valid && (best == nil || r.better(best)) {
			best = r
		}
	}
	if best == nil || best.walk.known == 0 && best.Kind != "receiver" {
		return ErrRecord
	}
	session := func(name string, raw *found) {
		rs.sessions = append(rs.sessions, &storedSession{
			name: fmt.Sprintf("%s (base key %x…)", name, raw.get(13).b[1:5]), record: b[raw.at:raw.end], head: best.Kind == "session-head", raw: raw,
		})
	}
	root := best.walk.root
	switch best.Kind {
	case "session", "session-head":
		session("the session", root)
	case "record":
		current := root.has(1) && root.get(1).in != nil
		for i, raw := range sessionsOf(root) {
			switch {
			case current && i == 0:
				session("the current session", raw)
			case current:
				session(fmt.Sprintf("archived session %d", i), raw)
			default:
				session(fmt.Sprintf("archived session %d", i+1), raw)
			}
		}
	case "identity", "row-local":
		if best.Kind == "row-local" {
			d := wire.Decode(b)
			d.Next()
			b = d.Bytes()
		}
		k, err := x3dh.ParseIdentityKey(b)
		rs.identity = append(rs.identity, k)
		return err
	case "signed-prekey":
		k, err := x3dh.ParseSignedPreKey(b)
		rs.signed = append(rs.signed, k)
		return err
	case "prekey":
		k, err := x3dh.ParsePreKey(b)
		rs.oneTime = append(rs.oneTime, k)
		return err
	default:
		rs.groups = append(rs.groups, best)
	}
	return nil
}

// judge says whether an ordinary message, or the one inside of a PreKey message,
// decrypts in one of the sessions.
func (rs *records) judge(b []byte, initial *x3dh.InitialMessage) *Verdict {
	v := &Verdict{Reason: "no session was given"}
	for i, s := range rs.sessions {
		session, err := s.parse()
		if err != nil {
			continue // it was parsed before
		}
		var plaintext []byte
		if initial != nil {
			plaintext, err = session.DecryptInitial(nil, initial)
		} else {
			plaintext, err = session.Decrypt(nil, b)
		}
		reason := s.name + ": " + rs.explain(s, b, initial, err)
		if err == nil {
			clear(plaintext)
			return &Verdict{Decrypts: true, Reason: reason + fmt.Sprintf("; %d bytes of plaintext, not shown", len(plaintext)), Details: v.Details}
		}
		if i == 0 {
			v.Reason = reason
		} else {
			v.Details = append(v.Details, reason)
		}
		// A session that knows the ratchet key is the only one that can (R-10.5-1).
		if _, _, known := s.chain(b); known && !errors.Is(err, ratchet.ErrAuthentication) {
			v.Details = append(v.Details[:0:0], v.Details...)
			v.Reason = reason
			return v
		}
	}
	return v
}

// A chainState is a receiving chain as a record has it.
type chainState struct {
	index  uint32
	key    [32]byte
	stored map[uint64]*found
}

// chain is the chain for a message: one of the record, or, not known, the one
// that a DH step would make.
func (s *storedSession) chain(b []byte) (m *ratchet.Message, c chainState, known bool) {
	m, err := ratchet.ParseMessage(b)
	if err != nil {
		return nil, c, false
	}
	key := [33]byte(m.RatchetKey.Bytes())
	for _, v := range s.raw.values[7] {
		if [33]byte(v.in.get(1).b) != key {
			continue
		}
		ck := v.in.get(3).in
		c = chainState{index: uint32(ck.uint(1)), key: [32]byte(ck.get(2).b), stored: map[uint64]*found{}}
		for _, k := range v.in.values[4] {
			c.stored[k.in.uint(1)] = k.in
		}
		return m, c, true
	}
	private := curve.NewPrivateKey([32]byte(s.raw.get(6).in.get(2).b))
	public := curve.PublicKey(key[1:])
	root := [32]byte(s.raw.get(4).b)
	var dh [32]byte
	if curve.X25519(&dh, &private, &public) == nil {
		_, c.key = kdf.RootKey(&root, &dh)
	}
	return m, c, false
}

// keys are the keys of message n of the chain, if it has them.
func (c *chainState) keys(n uint32) (k kdf.MessageKeys, ok bool) {
	if n < c.index {
		m := c.stored[uint64(n)]
		if m == nil {
			return k, false
		}
		if v := m.get(5); v != nil {
			seed := [32]byte(v.b)
			return kdf.ExpandSeed(&seed, nil), true
		}
		copy(k.Cipher[:], m.get(2).b)
		copy(k.MAC[:], m.get(3).b)
		copy(k.IV[:], m.get(4).b)
		return k, true
	}
	if n-c.index > ratchet.MaxForwardJump {
		return k, false
	}
	ck := c.key
	for range n - c.index {
		ck = kdf.ChainKey(ck)
	}
	seed := kdf.MessageSeed(ck)
	return kdf.ExpandSeed(&seed, nil), true
}

// explain says why the library answered err.
func (rs *records) explain(s *storedSession, b []byte, initial *x3dh.InitialMessage, err error) string {
	switch {
	case errors.Is(err, ratchet.ErrOtherSession):
		return fmt.Sprintf("another session: the message begins, or is of, one with the base key %x…", initial.BaseKey.Bytes()[1:5])
	case errors.Is(err, ratchet.ErrIdentityMismatch):
		return fmt.Sprintf("the message is of this session, and names the identity key %x… where the session has %x…: it was changed on the way, or the peer was installed anew with an old session (R-4.5-2)",
			initial.IdentityKey.Bytes()[1:5], s.raw.get(3).b[1:5])
	}
	m, c, known := s.chain(b)
	if m == nil {
		return err.Error()
	}
	at := fmt.Sprintf("its ratchet key %x… has a chain here, whose next message is %d", m.RatchetKey.Bytes()[1:5], c.index)
	if !known {
		at = fmt.Sprintf("no chain for its ratchet key %x…: it needs a DH step", m.RatchetKey.Bytes()[1:5])
	}
	switch {
	case err == nil && m.Counter < c.index:
		return fmt.Sprintf("%s; message %d came late, and its key is stored; MAC verified", at, m.Counter)
	case err == nil:
		return fmt.Sprintf("%s; message %d skips %d keys; MAC verified", at, m.Counter, m.Counter-c.index)
	case errors.Is(err, ratchet.ErrDuplicate):
		return fmt.Sprintf("%s, and message %d was read already (duplicate), or its key was evicted (R-5.6-4)", at, m.Counter)
	case errors.Is(err, ratchet.ErrTooFarAhead):
		return fmt.Sprintf("%s; message %d is too far ahead: it would skip %d keys, and the limit is 25,000 (R-5.6-1)", at, m.Counter, m.Counter-c.index)
	case errors.Is(err, ratchet.ErrKeysApart):
		return fmt.Sprintf("%s; message %d needs stored keys, which stand apart from this head (§6.3)", at, m.Counter)
	case errors.Is(err, ratchet.ErrAuthentication):
		return at + "; " + rs.macDiffers(s, b, m, &c, known)
	}
	return at + "; " + err.Error()
}

// macDiffers looks for what makes a MAC differ.
func (rs *records) macDiffers(s *storedSession, b []byte, m *ratchet.Message, c *chainState, known bool) string {
	ours, theirs := s.key(2), s.key(3)
	if [33]byte(s.raw.get(6).in.get(1).b) == [33]byte(m.RatchetKey.Bytes()) {
		return "the ratchet key is this device's own: the message was written in this session, and is not for it. This is the sender's record, or the message was sent back"
	}
	k, ok := c.keys(m.Counter)
	if !ok {
		return "the MAC differs"
	}
	verifies := func(sender, receiver [33]byte, b []byte) bool {
		return len(b) > macSize && distance(k, sender, receiver, b) == 0
	}
	if verifies(theirs, ours, b) {
		return "the MAC verifies, and the padding of the plaintext does not: the sender's fault"
	}
	if verifies(ours, theirs, b) {
		return "MAC differs; it verifies with the identity keys swapped: the record has ours for the peer's, or the message was written by this device"
	}
	for name, id := range rs.identities() {
		switch {
		case verifies(id, ours, b):
			return fmt.Sprintf("MAC differs; it verifies with %s %x… as the sender's, where the session has %x…: the peer's identity key is another one", name, id[1:5], theirs[1:5])
		case verifies(theirs, id, b):
			return fmt.Sprintf("MAC differs; it verifies with %s %x… as the receiver's, where the session has %x…: this device's identity key is another one", name, id[1:5], ours[1:5])
		}
	}
	if found := altered(b, func(b []byte) bool { return verifies(theirs, ours, b) }); found != "" {
		return "MAC differs; " + found
	}
	if d := distance(k, theirs, ours, b); d <= 8 {
		return fmt.Sprintf("MAC differs in %d of 64 bits: the MAC itself was altered", d)
	}
	what := fmt.Sprintf("MAC differs: it was checked with the identity keys %x… (sender) and %x… (receiver). ", theirs[1:5], ours[1:5])
	if known {
		return what + "The chain is the right one, so the message was altered on the way, in more than one place, or an identity key is another one"
	}
	return what + "Usual reasons: the message is of another session (one that was replaced or archived, another device's); this record is older or newer than the message (a restored backup); " +
		"its chain is gone (5 are kept); its ratchet key was altered"
}

// distance is in how many bits the MAC differs from that of b.
func distance(k kdf.MessageKeys, sender, receiver [33]byte, b []byte) (n int) {
	n = len(b) - macSize
	mac := kdf.MessageMAC(&k.MAC, &sender, &receiver, b[:n])
	d := 0
	for i, c := range b[n:] {
		d += bits.OnesCount8(c ^ mac[i])
	}
	return d
}

// identities are the identity keys that were given, or that sessions have.
func (rs *records) identities() map[string][33]byte {
	keys := map[string][33]byte{}
	for i, k := range rs.identity {
		keys[fmt.Sprintf("identity key %d of those given,", i+1)] = [33]byte(k.Public().Bytes())
	}
	for _, s := range rs.sessions {
		keys["the peer's identity key of "+s.name] = s.key(3)
		keys["our identity key of "+s.name] = s.key(2)
	}
	return keys
}

// altered looks for a small change that verifies does not know: another version
// byte, bytes behind the end, one bit.
func altered(b []byte, verifies func([]byte) bool) string {
	try := append([]byte(nil), b...)
	for nibble := range byte(16) {
		if try[0] = 3<<4 | nibble; verifies(try) {
			return fmt.Sprintf("it verifies with %02x for the version byte: byte 0 was changed to %02x", try[0], b[0])
		}
	}
	try[0] = b[0]
	for n := 1; n <= min(64, len(b)-1); n++ {
		if verifies(b[:len(b)-n]) {
			return fmt.Sprintf("it verifies without the last %d bytes: they were added", n)
		}
	}
	for i := range min(len(try), 2048) {
		for bit := range 8 {
			try[i] ^= 1 << bit
			if verifies(try) {
				return fmt.Sprintf("it verifies with bit %d of byte %d flipped: byte %d was %02x and came as %02x", bit, i, i, try[i], b[i])
			}
			try[i] ^= 1 << bit
		}
	}
	return ""
}

// judgeInitial says whether a PreKey message decrypts: in the session that it
// belongs to, or in one that it begins.
func (rs *records) judgeInitial(b []byte) *Verdict {
	m, err := x3dh.ParseInitialMessage(b)
	if err != nil {
		return &Verdict{Reason: err.Error()}
	}
	for _, s := range rs.sessions {
		if s.key(13) == [33]byte(m.BaseKey.Bytes()) {
			one := &records{sessions: []*storedSession{s}, identity: rs.identity}
			return one.judge(m.Message, m)
		}
	}
	needs := fmt.Sprintf("signed prekey %d and no one-time prekey", m.SignedPreKeyID)
	if m.OneTimePreKeyID != nil {
		needs = fmt.Sprintf("signed prekey %d and one-time prekey %d", m.SignedPreKeyID, *m.OneTimePreKeyID)
	}
	v := &Verdict{Reason: fmt.Sprintf("it begins a new session (base key %x…) with %s", m.BaseKey.Bytes()[1:5], needs)}
	if len(rs.sessions) > 0 {
		v.Details = append(v.Details, fmt.Sprintf("none of the %d sessions given has its base key", len(rs.sessions)))
	}
	if len(rs.identity) == 0 || len(rs.signed) == 0 {
		v.Unknown = true
		v.Reason += ": whether it decrypts cannot be said without the records of the identity key and of these prekeys (--session)"
		return v
	}
	var signed *x3dh.SignedPreKey
	for _, k := range rs.signed {
		if k.Public().ID == m.SignedPreKeyID {
			signed = k
		}
	}
	var oneTime *x3dh.PreKey
	for _, k := range rs.oneTime {
		if m.OneTimePreKeyID != nil && k.Public().ID == *m.OneTimePreKeyID {
			oneTime = k
		}
	}
	missing := ""
	switch {
	case signed == nil:
		missing = fmt.Sprintf("signed prekey %d is not among those given: it was deleted, or the ID was changed", m.SignedPreKeyID)
	case m.OneTimePreKeyID != nil && oneTime == nil:
		missing = fmt.Sprintf("one-time prekey %d is not among those given: it was used before (then the message is a replay, or its session is lost), or the ID was changed", *m.OneTimePreKeyID)
	}
	for _, identity := range rs.identity {
		if missing != "" {
			break
		}
		n, err := accept(identity, m, signed, oneTime)
		if err == nil {
			v.Decrypts = true
			v.Reason += fmt.Sprintf("; MAC verified, %d bytes of plaintext, not shown", n)
			return v
		}
		v.Details = append(v.Details, fmt.Sprintf("with the identity key %x…: %s", identity.Public().Bytes()[1:5], err))
		if errors.Is(err, x3dh.ErrInvalidKey) {
			v.Reason += ": its base key has a torsion part (R-4.4-2)"
			return v
		}
	}
	// Any prekeys of those given, whatever the message names.
	tries := 0
	for _, identity := range rs.identity {
		for _, s := range rs.signed {
			for _, o := range append([]*x3dh.PreKey{nil}, rs.oneTime...) {
				if tries++; tries > 200 {
					break
				}
				changed := *m
				changed.SignedPreKeyID, changed.OneTimePreKeyID = s.Public().ID, nil
				name := fmt.Sprintf("signed prekey %d and no one-time prekey", s.Public().ID)
				if o != nil {
					changed.OneTimePreKeyID = new(o.Public().ID)
					name = fmt.Sprintf("signed prekey %d and one-time prekey %d", s.Public().ID, o.Public().ID)
				}
				if _, err := accept(identity, &changed, s, o); err == nil {
					v.Reason += "; it decrypts with " + name + ": a prekey ID was changed on the way"
					return v
				}
			}
		}
	}
	if missing != "" {
		v.Reason += ": " + missing
		return v
	}
	v.Reason += "; MAC differs with them. Usual reasons: the sender used another identity key of this device (it was installed anew); " +
		"its bundle had other prekeys under these IDs; base key, identity key or the message inside was altered"
	return v
}

// accept makes the session of a PreKey message, and returns the size of the
// plaintext.
func accept(identity *x3dh.IdentityKey, m *x3dh.InitialMessage, signed *x3dh.SignedPreKey, oneTime *x3dh.PreKey) (int, error) {
	a, err := x3dh.Respond(identity, m, signed, oneTime)
	if err != nil {
		return 0, err
	}
	_, plaintext, err := ratchet.Accept(nil, a, ratchet.Config{})
	clear(plaintext)
	return len(plaintext), err
}

// judgeGroup says whether a group message decrypts with one of the records.
func (rs *records) judgeGroup(r *Report) *Verdict {
	f := senderkey.Signal
	if r.Family == familyWhatsApp {
		f = senderkey.WhatsApp
	}
	v := &Verdict{Reason: "no record of sender keys was given"}
	m, err := senderkey.ParseMessage(r.input, f)
	if err != nil {
		return &Verdict{Reason: err.Error()}
	}
	for _, record := range rs.groups {
		receiver, states, err := openGroup(record, f, m.ID)
		reason := ""
		var skipped uint32
		var plaintext []byte
		if err == nil {
			plaintext, skipped, err = receiver.Decrypt(nil, r.input)
			reason = explainGroup(m, r.input, states, skipped, err)
		} else {
			reason = "the record does not fit: " + err.Error()
			if record.Kind == "sender-key-record" {
				reason = "the record is that of the device's own chain, which writes: a receiver's is needed"
			}
		}
		if err == nil {
			clear(plaintext)
			return &Verdict{Decrypts: true, Reason: fmt.Sprintf("%s; %d bytes of plaintext, not shown", reason, len(plaintext)), Details: v.Details}
		}
		if v.Reason == "no record of sender keys was given" {
			v.Reason = reason
		} else {
			v.Details = append(v.Details, reason)
		}
	}
	return v
}

// A groupState is a chain of a record, with its distribution ID if the record
// has one.
type groupState struct {
	id    [16]byte
	state *found
}

// openGroup makes a receiver of a record. libsignal's have no distribution ID:
// it is taken from the message.
func openGroup(r *Report, f senderkey.Family, id senderkey.DistributionID) (*senderkey.Receiver, []groupState, error) {
	b, root := r.input, r.walk.root
	var states []groupState
	if r.Kind == "sender-key-record" {
		for _, v := range root.values[1] {
			states = append(states, groupState{id, v.in})
		}
		receiver := senderkey.NewReceiver(f)
		return receiver, states, receiver.ImportRecord(b, id)
	}
	if r.Kind == "row-receiver" {
		d := wire.Decode(b)
		d.Next()
		b = d.Bytes()
		inner, err := Inspect(b, Options{Kind: "receiver", Family: r.Family})
		if err != nil || inner.walk.root == nil {
			return nil, nil, ErrRecord
		}
		root = inner.walk.root
	}
	if root != nil {
		for _, v := range root.values[1] {
			s := groupState{state: v.in.get(2).in}
			if d := v.in.get(1); d != nil {
				s.id = [16]byte(d.b)
			}
			states = append(states, s)
		}
	}
	receiver, err := senderkey.ParseReceiver(b, f)
	return receiver, states, err
}

func explainGroup(m *senderkey.Message, b []byte, states []groupState, skipped uint32, err error) string {
	if errors.Is(err, senderkey.ErrNoChain) {
		reason := fmt.Sprintf("no chain %d of this distribution ID: its distribution has not come, or was dropped. Here are %d chains", m.ChainID, len(states))
		for _, s := range states {
			reason += fmt.Sprintf(", %d", s.state.uint(1))
			if s.id != [16]byte(m.ID) && s.state.uint(1) == uint64(m.ChainID) {
				reason += " (under another distribution ID)"
			}
		}
		return reason
	}
	var state *found
	for _, s := range states {
		if s.id == [16]byte(m.ID) && s.state.uint(1) == uint64(m.ChainID) {
			state = s.state
		}
	}
	if state == nil {
		return fmt.Sprint(err)
	}
	next := state.get(2).in.uint(1)
	at := fmt.Sprintf("chain %d, whose next message is %d", m.ChainID, next)
	switch {
	case err == nil && uint64(m.Iteration) < next:
		return fmt.Sprintf("%s; message %d came late, and its key is stored; signature verified", at, m.Iteration)
	case err == nil:
		return fmt.Sprintf("%s; message %d skips %d keys; signature verified", at, m.Iteration, skipped)
	case errors.Is(err, senderkey.ErrDuplicate):
		return fmt.Sprintf("%s; message %d was read already (duplicate), or was written before this distribution, or its key was evicted", at, m.Iteration)
	case errors.Is(err, senderkey.ErrTooFarAhead):
		return fmt.Sprintf("%s; message %d is too far ahead: it would skip %d keys, and the limit is 25,000 (R-11.4-6)", at, m.Iteration, uint64(m.Iteration)-next)
	case errors.Is(err, senderkey.ErrAuthentication):
		verifies := func(s *found, b []byte) bool {
			k, err := curve.ParsePublicKey(s.get(3).in.get(1).b)
			n := len(b) - curve.SignatureSize
			return err == nil && n > 0 && k.Verify(b[:n], b[n:])
		}
		if verifies(state, b) {
			return at + "; the signature verifies, and the padding of the plaintext does not: the chain key is not the sender's"
		}
		for _, s := range states {
			if verifies(s.state, b) {
				return fmt.Sprintf("%s; signature differs: it verifies with the signing key of chain %d", at, s.state.uint(1))
			}
		}
		if found := altered(b[:min(len(b), 512)], func(try []byte) bool { return len(b) <= 512 && verifies(state, try) }); found != "" {
			return at + "; signature differs; " + found
		}
		return at + "; signature differs: the message was altered, or was not written by the device of this chain (another device's record, or a forgery)"
	}
	return at + "; " + err.Error()
}
