package conformance

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/sotto-im/sotto/internal/wire"
)

// Where a record has the chain key under which its owner writes next.
var (
	sendingChainKey = []int{1, 6, 3} // of a RecordStructure: current session, sender chain, chain key
	groupChainKey   = []int{1, 2}    // of a SenderKeyRecordStructure: first state, chain key
)

// edited is a message of which f has replaced what is at path, or nil if nothing
// is there.
func edited(b []byte, path []int, f func([]byte) []byte) []byte {
	if len(path) == 0 {
		return f(b)
	}
	for d := wire.Decode(b); d.Next(); d.Skip() {
		if d.Num() != path[0] {
			continue
		}
		value := d
		old := value.Repeated()
		next := edited(old, path[1:], f)
		if next == nil {
			return nil
		}
		end := len(b) - value.Unread()
		head := b[: end-wire.SizeBytes(path[0], len(old)) : end-wire.SizeBytes(path[0], len(old))]
		return append(wire.AppendBytes(head, path[0], next), b[end:]...)
	}
	return nil
}

// mostJump is one more than the limit of SPEC.md §5.6.
const mostJump = 25_001

// walked is a chain key n steps later (SPEC.md §5.2, §11.2), nil if that would be
// more than a chain has. Of a longer jump the key stays as it is.
func walked(n uint64) func([]byte) []byte {
	return func(b []byte) []byte {
		m := fields(b)
		key, n := sub(m, 2), n
		index := number(m, 1) + n
		if index >= 1<<32-1 {
			return nil
		}
		if n > mostJump {
			n = 0
		}
		for range n {
			h := hmac.New(sha256.New, key)
			h.Write([]byte{2})
			key = h.Sum(nil)
		}
		return wire.AppendBytes(wire.AppendUintNonZero(nil, 1, index), 2, key)
	}
}
