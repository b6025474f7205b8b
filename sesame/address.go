package sesame

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/sotto-im/sotto/x3dh"
)

// MaxUserSize is the length in bytes of the longest user name.
const MaxUserSize = 256

// An Address names a device: its user, as the application does, and its number
// there. Names are compared byte by byte. The zero value is invalid.
type Address struct {
	User   string
	Device uint32
}

func (a Address) valid() bool {
	return a.User != "" && len(a.User) <= MaxUserSize && a.Device <= x3dh.MaxDeviceID
}

// key is the address as part of a row key: no user name can make it run into
// what follows.
func (a Address) key() string { return string(a.appendKey(nil)) }

func (a Address) appendKey(b []byte) []byte {
	b = append(hex.AppendEncode(b, []byte(a.User)), '.')
	return strconv.AppendUint(b, uint64(a.Device), 10)
}

// userPrefix is what the keys of all devices of a user begin with.
func userPrefix(user string) string { return hex.EncodeToString([]byte(user)) + "." }

// parseAddress reads what key wrote.
func parseAddress(key string) (Address, error) {
	user, device, ok := strings.Cut(key, ".")
	name, err := hex.DecodeString(user)
	n, err2 := strconv.ParseUint(device, 10, 32)
	a := Address{User: string(name), Device: uint32(n)}
	if !ok || err != nil || err2 != nil || a.key() != key || !a.valid() {
		return Address{}, ErrCorrupt
	}
	return a, nil
}
