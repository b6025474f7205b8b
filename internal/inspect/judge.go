package inspect

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/internal/wire"
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
