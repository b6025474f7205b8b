package sesame

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/sotto-im/sotto/x3dh"
)

// The rows (SPEC.md §10.2). Every key begins with prefix.
const (
	prefix       = "sotto/"
	rowLocal     = prefix + "local"    // this device: localRecord
	rowsPreKey   = prefix + "prekey/"  // by ID: x3dh.PreKey
	rowsSigned   = prefix + "signed/"  // by ID: x3dh.SignedPreKey
	rowsAccepted = prefix + "accept/"  // by signed prekey ID and base key: empty
	rowsPeer     = prefix + "peer/"    // by address: peerRecord
	rowsSession  = prefix + "session/" // by address and base key: head of a ratchet.Session
	rowsSkipped  = prefix + "skipped/" // by address, base key, ratchet key and number: a block of stored keys
	rowsRetry    = prefix + "retry/"   // by address: retryRecord
	rowsSent     = prefix + "sent/"    // by timestamp: sentRecord

	rowsGroup    = prefix + "group/"    // by group: groupRecord
	rowsReceiver = prefix + "receiver/" // by address, group and identity key: receiverRecord
	rowsChain    = prefix + "chain/"    // by address and distribution ID: chainRecord
	rowsHeld     = prefix + "held/"     // by address: heldRecord
)

func rowPreKey(id uint32) string { return fmt.Sprintf("%s%08x", rowsPreKey, id) }
func rowSigned(id uint32) string { return fmt.Sprintf("%s%08x", rowsSigned, id) }
func rowPeer(a Address) string   { return string(a.appendKey(append(newKey(), rowsPeer...))) }
func rowRetry(a Address) string  { return rowsRetry + a.key() }
func rowSent(t uint64) string    { return fmt.Sprintf("%s%016x", rowsSent, t) }

func rowGroup(name string) string { return rowsGroup + groupKey(name) }
func rowHeld(a Address) string    { return rowsHeld + a.key() }

func rowReceiver(a Address, group string, identity x3dh.PublicKey) string {
	return rowsReceiver + a.key() + "/" + groupKey(group) + "/" + identityKey(identity)
}

func rowChain(a Address, tie string) string { return rowsChain + a.key() + "/" + tie }

// newKey is where the keys are put together that every message needs: unless the
// user name is a long one, only the string is allocated.
func newKey() []byte { return make([]byte, 0, 192) }

func rowSession(a Address, base x3dh.PublicKey) string {
	b := append(a.appendKey(append(newKey(), rowsSession...)), '/')
	return string(hex.AppendEncode(b, base.Bytes()[1:]))
}

func rowSkipped(a Address, base, ratchetKey x3dh.PublicKey, block uint32) string {
	b := appendSkipped(newKey(), a, base, ratchetKey)
	return string(hex.AppendEncode(b, binary.BigEndian.AppendUint32(nil, block)))
}

func rowsSkippedIn(a Address, base, ratchetKey x3dh.PublicKey) string {
	return string(appendSkipped(newKey(), a, base, ratchetKey))
}

func appendSkipped(b []byte, a Address, base, ratchetKey x3dh.PublicKey) []byte {
	b = hex.AppendEncode(append(b, rowsSkippedOf(a, base)...), ratchetKey.Bytes()[1:])
	return append(b, '/')
}

func rowsSkippedOf(a Address, base x3dh.PublicKey) string {
	b := append(a.appendKey(append(newKey(), rowsSkipped...)), '/')
	return string(append(hex.AppendEncode(b, base.Bytes()[1:]), '/'))
}

// rowAccepted marks that an initial message without a one-time prekey was
// accepted. It lives as long as the signed prekey.
func rowAccepted(signedID uint32, base x3dh.PublicKey) string {
	return rowsAcceptedOf(signedID) + hex.EncodeToString(base.Bytes()[1:])
}

func rowsAcceptedOf(signedID uint32) string { return fmt.Sprintf("%s%08x/", rowsAccepted, signedID) }

// A record is what a row holds.
type record interface {
	AppendBinary(b []byte) ([]byte, error)
}

// put encodes r and writes it over revision rev.
func put(tx Tx, key string, r record, rev uint64) error {
	b, err := r.AppendBinary(nil)
	if err != nil {
		return err
	}
	return tx.Put(key, b, rev)
}

// get reads a row with a parser; absent is the zero T and revision 0.
func get[T any](tx Tx, key string, parse func([]byte) (T, error)) (v T, rev uint64, err error) {
	b, rev, err := tx.Get(key)
	if err != nil || rev == 0 {
		return v, 0, err
	}
	v, err = parse(b)
	if err != nil {
		return v, 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return v, rev, nil
}
