package hostile

import "github.com/sotto-im/sotto/envelope"

// A pair is a device that writes to another one.
type pair struct{ from, to envelope.Device }

// A sealed message is a pairwise one.
type sealed struct {
	ciphertext string
	part       int  // of the run, in which it was sealed
	unsent     bool // it never leaves its device
	opened     bool
	overtaken  bool // by one that was opened before it
}

func (w *world) seals(p pair, ciphertext []byte, unsent bool) {
	w.sealed[p] = append(w.sealed[p], &sealed{ciphertext: string(ciphertext), part: w.part, unsent: unsent})
}

// opened looks at a pairwise message that was opened, and after which so many are
// said to be missing. That is never more than have not come. (It is less where a
// session has ended.) It returns how many of them were sent in this part of the run:
// what an earlier attack has suppressed can come out at any time.
func (w *world) opened(p pair, ciphertext []byte, missing uint32) (sent uint32) {
	overtaken := uint32(0)
	for _, s := range w.sealed[p] {
		if s.ciphertext == string(ciphertext) {
			s.opened = true
			break
		}
		if !s.opened && !s.overtaken {
			s.overtaken = true
			if overtaken++; s.part == w.part && !s.unsent {
				sent++
			}
		}
	}
	if missing > overtaken {
		w.violation("%v is told that it misses %d messages, and %d have not come", nameOf(p.to), missing, overtaken)
	}
	return min(sent, missing)
}
