package verify

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/internal/replay"
	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

// A given is a private key that a step gives, and whether it was asked for: it has
// to be, once, if it is there, and must not be if it is not.
type given struct {
	key   testvectors.Hex
	asked int
}

func (g *given) draw() (k [32]byte) {
	g.asked++
	copy(k[:], g.key)
	return k
}

func (g *given) check() error {
	want := 0
	if g.key != nil {
		want = 1
	}
	return equal("private keys drawn", want, g.asked)
}

func ratchetKey(r *testvectors.SessionRandom) (*given, error) {
	if r == nil {
		return new(given), nil
	}
	_, err := privateKey(r.RatchetKey)
	return &given{key: r.RatchetKey}, err
}

// families by their name in the vectors.
var families = map[string]ratchet.Family{"signal": ratchet.Signal, "whatsapp": ratchet.WhatsApp}

// A conversation is a session transcript as it is replayed. Each step starts from
// the record that the one before it has in the vectors.
type conversation struct {
	*testvectors.SessionTranscript
	family  uint8
	records map[string][]byte // by party
	read    map[string]bool   // messages that were decrypted
}

func sessionTranscript(t *testvectors.SessionTranscript, p *progress) error {
	c := &conversation{t, uint8(families[t.Family]), map[string][]byte{}, map[string]bool{}}
	for i := range t.Steps {
		p.next()
		s := &t.Steps[i]
		var err error
		switch s.Op {
		case "keys":
			err = c.keys(s)
		case "initiate":
			err = c.initiate(s)
		case "encrypt":
			err = c.encrypt(s)
		case "decrypt":
			err = c.decrypt(s)
		default:
			err = fmt.Errorf("unknown op %q", s.Op)
		}
		if err != nil {
			return fmt.Errorf("%s, %s: %w", s.Party, s.Op, err)
		}
		if s.Op != "keys" {
			c.records[s.Party] = s.Record
		}
	}
	return nil
}

// keys checks the keys of a device against each other, and their records.
func (c *conversation) keys(s *testvectors.SessionStep) error {
	d := c.Alice
	if s.Party == "bob" {
		d = c.Bob
	}
	identity, err := x3dh.ParseIdentityKey(identityRecord(&d))
	if err != nil {
		return fmt.Errorf("identity key: %w", err)
	}
	if err := pair("identity key", d.IdentityPrivate, d.IdentityPublic); err != nil || d.SignedPreKey == nil {
		return err
	}
	signed, err := x3dh.ParseSignedPreKey(d.SignedPreKey.Record)
	if err != nil {
		return fmt.Errorf("signed prekey: %w", err)
	}
	// A bundle exists only if the signature verifies.
	if _, err := x3dh.NewBundle(x3dh.BundleInfo{IdentityKey: identity.Public(), SignedPreKey: signed.Public()}); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	public := signed.Public()
	err = errors.Join(pair("signed prekey", d.SignedPreKey.Private, d.SignedPreKey.Public),
		equal("ID of the signed prekey", d.SignedPreKey.ID, public.ID),
		same("public half in the record", d.SignedPreKey.Public, public.Key.Bytes()),
		same("signature in the record", d.SignedPreKey.Signature, public.Signature[:]),
		equal("creation of the signed prekey", d.SignedPreKey.Created, signed.Created().UnixMilli()),
		contains("record", d.SignedPreKey.Record, d.SignedPreKey.Private),
		writtenAgain(signed, d.SignedPreKey.Record))
	if err != nil || d.OneTimePreKey == nil {
		return err
	}
	oneTime, err := x3dh.ParsePreKey(d.OneTimePreKey.Record)
	if err != nil {
		return fmt.Errorf("one-time prekey: %w", err)
	}
	return errors.Join(pair("one-time prekey", d.OneTimePreKey.Private, d.OneTimePreKey.Public),
		equal("ID of the one-time prekey", d.OneTimePreKey.ID, oneTime.Public().ID),
		same("public half in the record", d.OneTimePreKey.Public, oneTime.Public().Key.Bytes()),
		contains("record", d.OneTimePreKey.Record, d.OneTimePreKey.Private),
		writtenAgain(oneTime, d.OneTimePreKey.Record))
}

func identityRecord(d *testvectors.Device) []byte {
	return wire.AppendBytes(wire.AppendBytes(nil, 1, d.IdentityPublic), 2, d.IdentityPrivate)
}

// pair checks that the halves of a key belong together.
func pair(what string, private, public []byte) error {
	k, err := privateKey(private)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return same(what, public, k.Public().Append(nil))
}

// contains checks that a record has the private half as field 3.
func contains(what string, record, private []byte) error {
	d := wire.Decode(record)
	var got []byte
	for d.Next() {
		if d.Num() == 3 {
			got = d.Bytes()
		} else {
			d.Skip()
		}
	}
	return errors.Join(d.Close(3), same("private half in the "+what, private, got))
}

// writtenAgain compares a record with what is written after it was read.
func writtenAgain(v interface {
	AppendBinary([]byte) ([]byte, error)
}, record []byte) error {
	b, err := v.AppendBinary(nil)
	return errors.Join(err, same("record written again", record, b))
}

// respond derives Bob's side of an initial message.
func (c *conversation) respond(message []byte) (*secret.Handshake, error) {
	bob, err := x3dh.ParseIdentityKey(identityRecord(&c.Bob))
	if err != nil {
		return nil, err
	}
	signed, err := x3dh.ParseSignedPreKey(c.Bob.SignedPreKey.Record)
	if err != nil {
		return nil, err
	}
	m, err := x3dh.ParseInitialMessage(message)
	if err != nil {
		return nil, err
	}
	var oneTime *x3dh.PreKey
	if m.OneTimePreKeyID != nil {
		if oneTime, err = x3dh.ParsePreKey(c.Bob.OneTimePreKey.Record); err != nil {
			return nil, err
		}
	}
	a, err := x3dh.Respond(bob, m, signed, oneTime)
	if err != nil {
		return nil, err
	}
	return secret.Take(&a.Handoff), nil
}

// initiate makes Alice's session. The private half of her base key is not known,
// so the agreement is Bob's, which is the same.
func (c *conversation) initiate(s *testvectors.SessionStep) error {
	h, err := c.respond(s.Message)
	if err != nil {
		return err
	}
	m, err := x3dh.ParseInitialMessage(s.Message)
	if err != nil {
		return err
	}
	k, err := ratchetKey(s.Random)
	if err != nil {
		return err
	}
	h.LocalIdentity, h.RemoteIdentity = h.RemoteIdentity, h.LocalIdentity
	h.RemoteRegistrationID = c.Bob.RegistrationID
	h.Message, h.SignedPreKeyPrivate = nil, [32]byte{}
	h.SignedPreKeyID = m.SignedPreKeyID
	record, err := replay.NewSession(h, replay.SessionConfig{Family: c.family, RegistrationID: c.Alice.RegistrationID, Created: c.Now}, k.draw)
	return errors.Join(err, k.check(), same("record", s.Record, record))
}

func (c *conversation) encrypt(s *testvectors.SessionStep) error {
	session, err := ratchet.ParseSession(c.records[s.Party], ratchet.Family(c.family))
	if err != nil {
		return err
	}
	if s.Plaintext == nil {
		return errors.New("no plaintext")
	}
	message, typ, err := session.Encrypt(nil, *s.Plaintext)
	if err != nil {
		return err
	}
	return errors.Join(equal("type", ratchet.Type(s.Type), typ), same("message", s.Message, message), writtenAgain(session, s.Record))
}

func (c *conversation) decrypt(s *testvectors.SessionStep) error {
	k, err := ratchetKey(s.Random)
	if err != nil {
		return err
	}
	var record, plaintext []byte
	before := c.records[s.Party]
	if before == nil {
		record, plaintext, err = c.accept(s.Message, k)
	} else {
		record, plaintext, err = c.open(s, before, k)
	}
	if s.Error != "" {
		if s.Error == "ratchet.ErrDuplicate" && !c.read[string(s.Message)] {
			return errors.New("a duplicate of no message that was read")
		}
		return errors.Join(verdict(s.Error, err), same("record that did not change", before, s.Record), same("record", s.Record, record))
	}
	if err != nil {
		return err
	}
	if s.Plaintext == nil {
		return errors.New("no plaintext")
	}
	c.read[string(s.Message)] = true
	return errors.Join(k.check(), same("plaintext", *s.Plaintext, plaintext), same("record", s.Record, record))
}

// accept makes Bob's session with its first message.
func (c *conversation) accept(message []byte, k *given) (record, plaintext []byte, err error) {
	h, err := c.respond(message)
	if err != nil {
		return nil, nil, err
	}
	return replay.AcceptSession(h, replay.SessionConfig{Family: c.family, RegistrationID: c.Bob.RegistrationID}, k.draw)
}

// open decrypts a message with a session that is there.
func (c *conversation) open(s *testvectors.SessionStep, before []byte, k *given) (record, plaintext []byte, err error) {
	message := []byte(s.Message)
	if ratchet.Type(s.Type) == ratchet.Initial {
		m, err := x3dh.ParseInitialMessage(message)
		if err != nil {
			return before, nil, err
		}
		session, err := ratchet.ParseSession(before, ratchet.Family(c.family))
		if err != nil {
			return nil, nil, err
		}
		if err := c.repeated(m, session); err != nil {
			return before, nil, err
		}
		message = m.Message
	}
	record, plaintext, _, err = replay.DecryptSession(before, c.family, message, k.draw)
	return record, plaintext, err
}

// repeated checks that an initial message repeats the handshake of the session:
// all of it, though a session looks at two of its keys only.
func (c *conversation) repeated(m *x3dh.InitialMessage, session *ratchet.Session) error {
	if !session.Matches(m) {
		return ratchet.ErrOtherSession
	}
	if m.IdentityKey != session.RemoteIdentity() {
		return ratchet.ErrIdentityMismatch
	}
	err := errors.Join(equal("registration ID", session.RemoteRegistrationID(), m.RegistrationID),
		equal("ID of the signed prekey", c.Bob.SignedPreKey.ID, m.SignedPreKeyID))
	if m.OneTimePreKeyID != nil {
		err = errors.Join(err, equal("ID of the one-time prekey", c.Bob.OneTimePreKey.ID, *m.OneTimePreKeyID))
	}
	return err
}
