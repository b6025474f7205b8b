package hostile

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/sesame"
)

// A Defect is something wrong with all devices on purpose, to show that the
// oracle sees it. The library is the same.
type Defect string

// The defects.
const (
	Sound          Defect = ""
	IgnoreHeader   Defect = "ignore-header"
	IgnorePosition Defect = "ignore-position"
	IgnoreGaps     Defect = "ignore-gaps"
	IgnoreMissing  Defect = "ignore-missing"
	BelieveBound   Defect = "believe-bound"
	BelieveServer  Defect = "believe-server"
	ShowDuplicates Defect = "show-duplicates"
	ShowGarbage    Defect = "show-garbage"
	HideGarbage    Defect = "hide-garbage"
	AnyIdentity    Defect = "any-identity"
	AnyDevice      Defect = "any-device"
	AnyAuthor      Defect = "any-author"
	NoMembers      Defect = "no-members"
	NeverCompare   Defect = "never-compare"
)

// Defects are what can be wrong with the devices.
var Defects = []struct {
	Defect Defect
	Does   string
}{
	{IgnoreHeader, "the packed header is not compared with the frame's"},
	{IgnorePosition, "every delivery is taken for the next"},
	{IgnoreGaps, "nobody is told of a gap"},
	{IgnoreMissing, "nobody is told of what is missing in a session or a chain"},
	{BelieveBound, "the clock goes to whatever bound the server names"},
	{BelieveServer, "nobody is told when the server contradicts itself"},
	{ShowDuplicates, "what comes again is shown again"},
	{ShowGarbage, "what does not decrypt is shown as it came"},
	{HideGarbage, "nobody is told of what does not decrypt"},
	{AnyIdentity, "another identity key is trusted at once"},
	{AnyDevice, "every device that the server names is trusted"},
	{AnyAuthor, "a group message is tried with everybody's chain"},
	{NoMembers, "nobody looks whether the sender is in the conversation"},
	{NeverCompare, "users never compare safety numbers"},
}

// Known reports whether f is Sound or one of [Defects].
func (f Defect) Known() bool {
	for _, v := range Defects {
		if f == v.Defect {
			return true
		}
	}
	return f == Sound
}

// deaf reports whether a defect keeps the user from being told.
func (d *device) deaf(v Verdict) bool {
	switch d.w.Break {
	case IgnoreGaps:
		return v == GapShown
	case IgnoreMissing:
		return v == Missing
	case BelieveServer:
		return v == Contradiction || v == Disorder
	case HideGarbage:
		return v == Undecryptable
	case NeverCompare:
		return v == SafetyNumber
	}
	return false
}

// misread is a frame as a defect reads it; nil if it does something else with it.
func (d *device) misread(m envelope.Message, frame []byte) []byte {
	switch m := m.(type) {
	case *envelope.Deliver:
		if d.w.Break == IgnorePosition && !m.Ephemeral {
			v := copyOf(m)
			v.Untrusted.Position = min(d.at+1, lamport.Max)
			return encode(v)
		}
	case *envelope.Result:
		if d.w.Break == BelieveBound && m.Code == envelope.ClockBound {
			for _, l := range d.w.letters {
				if l.id == m.ID {
					c, err := lamport.NewClock(lamport.Stamp(m.MaxStamp))
					must(err)
					b, err := c.AppendBinary(nil)
					must(err)
					must(d.rows.Do(func(tx sesame.Tx) error {
						return relay.Update(tx, func(tx *relay.Tx) error { tx.Put(fmt.Sprintf("clock/%x", l.chat.id), b); return nil })
					}))
				}
			}
			return nil
		}
	}
	return frame
}

// misjudge is the plaintext that a defect makes of a message, nil if none.
func (d *device) misjudge(tx sesame.Tx, r *sesame.Result, m *envelope.Deliver, typ uint8) []byte {
	repack := func(plaintext []byte) []byte {
		const header = 61
		end := bytes.LastIndexByte(plaintext, 0x80)
		if end < header {
			return nil
		}
		d.reading = true
		b, err := envelope.Pack(nil, &m.Header, plaintext[header:end])
		must(err)
		return b
	}
	switch d.w.Break {
	case IgnoreHeader:
		if r.Err == nil && !r.IdentityChanged {
			r.Plaintext = repack(r.Plaintext)
		}
	case ShowDuplicates:
		if r.Err == nil {
			d.read[string(m.Ciphertext)] = bytes.Clone(r.Plaintext)
		}
		if errors.Is(r.Err, sesame.ErrDuplicate) && d.read[string(m.Ciphertext)] != nil {
			must(relay.Update(tx, func(tx *relay.Tx) error {
				for _, k := range tx.Keys("had/") {
					tx.Delete(k)
				}
				return nil
			}))
			return d.read[string(m.Ciphertext)]
		}
	case ShowGarbage:
		if errors.Is(r.Err, sesame.ErrUndecryptable) && len(m.Ciphertext) < envelope.MaxBody {
			b, err := envelope.Pack(nil, &m.Header, m.Ciphertext)
			must(err)
			return b
		}
	case AnyIdentity:
		if r.Err == nil && r.IdentityChanged {
			must(d.sesame.Confirm(tx, address(m.Header.Sender), r.Identity))
			return r.Plaintext
		}
	case AnyAuthor:
		if typ != groupType || r.Err == nil {
			return nil
		}
		for _, o := range d.w.devices {
			if v, err := d.sesame.DecryptGroup(tx, address(o.id), m.Header.Stamp, "", m.Ciphertext); err == nil && v.Err == nil {
				return repack(v.Plaintext)
			}
		}
	}
	return nil
}
