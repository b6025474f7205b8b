package verify

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
	"github.com/sotto-im/sotto/internal/replay"
	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/testvectors"
	"github.com/sotto-im/sotto/x3dh"
)

// ratchetTranscript replays a transcript. Each step starts from the record that the
// library made in the one before it, which was compared.
func ratchetTranscript(t *testvectors.RatchetTranscript, p *progress) error {
	family := families[t.Family]
	records := map[string][]byte{"alice": t.Alice, "bob": t.Bob}
	for i := range t.Steps {
		p.next()
		s := &t.Steps[i]
		before := records[s.Party]
		var next []byte
		var err error
		switch s.Op {
		case "encrypt":
			next, err = encryptStep(s, before, family)
		case "decrypt":
			next, err = decryptStep(s, before, family)
		default:
			err = fmt.Errorf("unknown op %q", s.Op)
		}
		if err == nil {
			err = sameRecord(s.Record, s.RecordSHA256, next)
		}
		if err == nil && s.Error != "" {
			err = same("record that did not change", before, next)
		}
		if err != nil {
			return fmt.Errorf("%s, %s: %w", s.Party, s.Op, err)
		}
		records[s.Party] = next
	}
	return nil
}

// sameRecord compares a record, of which a long one is given by its sum.
func sameRecord(want, sum, got []byte) error {
	if sum != nil {
		h := sha256.Sum256(got)
		return same("SHA-256 of the record", sum, h[:])
	}
	return same("record", want, got)
}

func encryptStep(s *testvectors.RatchetStep, before []byte, family ratchet.Family) ([]byte, error) {
	session, err := ratchet.ParseSession(before, family)
	if err != nil {
		return nil, err
	}
	if s.Plaintext == nil {
		return nil, errors.New("no plaintext")
	}
	message, typ, err := session.Encrypt(nil, *s.Plaintext)
	next, appendErr := session.AppendBinary(nil)
	if err := errors.Join(verdict(s.Error, err), appendErr); err != nil || s.Error != "" {
		return next, err
	}
	if err := errors.Join(equal("type", ratchet.Type(s.Type), typ), same("message", s.Message, message)); err != nil {
		return nil, err
	}
	return next, checkKeys(s, before, session, true)
}

func decryptStep(s *testvectors.RatchetStep, before []byte, family ratchet.Family) ([]byte, error) {
	session, err := ratchet.ParseSession(before, family)
	if err != nil {
		return nil, err
	}
	k := new(given)
	if s.Random != nil {
		key := clamped(s.Random.RatchetKey)
		k.key = key[:]
	}
	message, refused := ordinaryMessage(s, session)
	next, plaintext, missing := before, []byte(nil), uint32(0)
	if refused == nil {
		next, plaintext, missing, refused = replay.DecryptSession(before, uint8(family), message, k.draw)
	}
	if err := verdict(s.Error, refused); err != nil || s.Error != "" {
		return next, err
	}
	drawn := 0
	if s.Keys.DHSending != nil {
		drawn = 1
	}
	if s.Plaintext == nil || s.Missing == nil {
		return nil, errors.New("no plaintext, or not how many are missing")
	}
	if err := errors.Join(same("plaintext", *s.Plaintext, plaintext), equal("missing", *s.Missing, missing), equal("private keys drawn", drawn, k.asked)); err != nil {
		return nil, err
	}
	return next, checkKeys(s, before, session, false)
}

// ordinaryMessage is the message of a step, of a PreKey message of this session the
// one inside.
func ordinaryMessage(s *testvectors.RatchetStep, session *ratchet.Session) ([]byte, error) {
	if ratchet.Type(s.Type) != ratchet.Initial {
		return s.Message, nil
	}
	m, err := x3dh.ParseInitialMessage(s.Message)
	if err != nil {
		return nil, err
	}
	if !session.Matches(m) {
		return nil, ratchet.ErrOtherSession
	}
	if m.IdentityKey != session.RemoteIdentity() {
		return nil, ratchet.ErrIdentityMismatch
	}
	return m.Message, nil
}

// checkKeys checks the keys on the way of a step by themselves: each against the
// one that it comes from, and the last against the message.
func checkKeys(s *testvectors.RatchetStep, before []byte, session *ratchet.Session, sending bool) error {
	message, err := []byte(s.Message), error(nil)
	if sending && ratchet.Type(s.Type) == ratchet.Initial {
		var initial *x3dh.InitialMessage
		if initial, err = x3dh.ParseInitialMessage(s.Message); err == nil {
			message = initial.Message
		}
	} else {
		message, err = ordinaryMessage(s, session)
	}
	if err != nil {
		return err
	}
	m, err := ratchet.ParseMessage(message)
	if err != nil {
		return err
	}
	k := s.Keys
	if k.DHReceiving != nil {
		if err := checkTurn(s, before, m); err != nil {
			return err
		}
	}
	if k.ChainKey != nil {
		seed := kdf.MessageSeed([32]byte(k.ChainKey))
		if err := same("seed", k.Seed, seed[:]); err != nil {
			return err
		}
	}
	if k.Seed != nil {
		keys := kdf.ExpandSeed((*[32]byte)(k.Seed), nil)
		if err := errors.Join(same("cipherKey", k.CipherKey, keys.Cipher[:]), same("macKey", k.MACKey, keys.MAC[:]), same("iv", k.IV, keys.IV[:])); err != nil {
			return err
		}
	}
	local, remote := [33]byte(session.LocalIdentity().Bytes()), [33]byte(session.RemoteIdentity().Bytes())
	if !sending {
		local, remote = remote, local
	}
	mac := kdf.MessageMAC((*[32]byte)(k.MACKey), &local, &remote, message[:len(message)-len(m.MAC)])
	plaintext, ok := cbc.Decrypt((*[32]byte)(k.CipherKey), (*[cbc.BlockSize]byte)(k.IV), make([]byte, cbc.BlockSize), slices.Clone(m.Ciphertext))
	return errors.Join(same("MAC", m.MAC, mac[:len(m.MAC)]), equal("padding", true, ok), same("plaintext under cipherKey", *s.Plaintext, plaintext))
}

// checkTurn checks the keys of a DH step.
func checkTurn(s *testvectors.RatchetStep, before []byte, m *ratchet.Message) error {
	k := s.Keys
	private, root := ownRatchet(before)
	public, err := curve.ParsePublicKey(m.RatchetKey.Bytes())
	if err != nil {
		return err
	}
	var dh [32]byte
	if err := curve.X25519(&dh, &private, &public); err != nil {
		return err
	}
	next, ck := kdf.RootKey(&root, &dh)
	for range m.Counter {
		ck = kdf.ChainKey(ck)
	}
	if err := errors.Join(same("dhReceiving", k.DHReceiving, dh[:]), same("rootKeyReceiving", k.RootKeyReceiving, next[:]),
		same("chainKey", k.ChainKey, ck[:])); err != nil {
		return err
	}
	fresh := clamped(s.Random.RatchetKey)
	if err := curve.X25519(&dh, &fresh, &public); err != nil {
		return err
	}
	root, ck = kdf.RootKey(&next, &dh)
	return errors.Join(same("dhSending", k.DHSending, dh[:]), same("rootKey", k.RootKey, root[:]), same("sendingChainKey", k.SendingChainKey, ck[:]))
}

// ownRatchet takes the private ratchet key and the root key out of a record, which
// was parsed before.
func ownRatchet(record []byte) (private curve.PrivateKey, root [32]byte) {
	d := wire.Decode(record)
	for d.Next() {
		switch d.Num() {
		case 4:
			d.Fixed(root[:])
		case 6:
			chain := wire.Decode(d.Bytes())
			for chain.Next() {
				if chain.Num() == 2 {
					chain.Fixed(private[:])
				} else {
					chain.Skip()
				}
			}
		case 7:
			d.Repeated()
		default:
			d.Skip()
		}
	}
	return private, root
}
