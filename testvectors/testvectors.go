// Package testvectors holds the known answers that Sotto is checked against.
// README.md beside it says where each file comes from and which are
// independent evidence.
package testvectors

import (
	"bytes"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

//go:embed standard/*.json recorded/*.json
var files embed.FS

// Load reads the JSON file name, such as "standard/rfc7748_x25519.json", into
// v. A field of the file that v does not have is an error: a check that
// overlooks half of a vector looks just like one that passes.
func Load(name string, v any) error {
	b, err := files.ReadFile(name)
	if err != nil {
		return fmt.Errorf("testvectors: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("testvectors: %s: %w", name, err)
	}
	return nil
}

// Hex is a byte string, in the files lower-case hex.
type Hex []byte

// UnmarshalJSON reads a JSON string of hex digits.
func (h *Hex) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := hex.DecodeString(s)
	if err != nil {
		return err
	}
	*h = v
	return nil
}
