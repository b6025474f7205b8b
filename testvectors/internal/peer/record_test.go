package peer

import "github.com/sotto-im/sotto/internal/wire"

// A record is libsignal's RecordStructure: the session with another device that
// is in use, if any, and those of the past, all encoded.
type record struct {
	current  []byte
	archived [][]byte // the newest first
}

func parseRecord(b []byte) (*record, error) {
	r := new(record)
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			r.current = d.Bytes()
		case 2:
			r.archived = append(r.archived, d.Repeated())
		default:
			d.Skip()
		}
	}
	return r, d.Close()
}

func (r *record) encode() []byte {
	var b []byte
	if r.current != nil {
		b = wire.AppendBytes(b, 1, r.current)
	}
	for _, s := range r.archived {
		b = wire.AppendBytes(b, 2, s)
	}
	return b
}
