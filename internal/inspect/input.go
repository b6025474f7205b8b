package inspect

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// MaxInput is the number of bytes that an input may have, in the form in which it
// is given.
const MaxInput = 16 << 20

// Decode returns the bytes that an input stands for, and what it was written
// as: the 60 digits of a safety number, hexadecimal, base64 (also for URLs, with
// or without padding), or the bytes themselves. Space is ignored in text, and in
// hexadecimal colons and a leading 0x.
func Decode(b []byte) (decoded []byte, as string) {
	text := strings.Join(strings.Fields(string(b)), "")
	if len(text) == 0 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return b, "bytes"
	}
	if len(text) == 60 && !strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
		return []byte(text), "60 digits"
	}
	digits := strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(text, "0x"), "0X"), ":", "")
	if v, err := hex.DecodeString(digits); err == nil {
		return v, "hex"
	}
	unpadded := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	if v, err := base64.RawStdEncoding.DecodeString(unpadded); err == nil {
		return v, "base64"
	}
	return b, "bytes"
}
