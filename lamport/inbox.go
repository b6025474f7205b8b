package lamport

import (
	"bytes"

	"github.com/sotto-im/sotto/internal/wire"
)

// Bounds of what an Inbox holds back: SPEC.md §9.6.
const (
	// MaxHeld is the number of frames that an [Inbox] holds back.
	MaxHeld = 256

	maxHeldBytes = 4 << 20
)

// A Verdict says what to do with a delivery. The zero value is none. SPEC.md §9.6.
type Verdict uint8

const (
	// Process: it is the next one. In one transaction store the plaintext (or
	// the verdict about it), call Advance, and store the record; commit; then
	// acknowledge At, and look at Next.
	Process Verdict = 1 + iota
	// Acknowledge: it was processed before. Drop it and acknowledge At again,
	// for the server has not heard it; unless the Number of At is 0.
	Acknowledge
	// Hold: nothing to do. It is kept, or will come again with what was asked
	// for.
	Hold
	// Fetch: something before it is missing. Ask for everything after At.
	Fetch
	// Resync: the mailbox has started again, for the server may have lost
	// messages: tell the user, unless the Epoch of At is 0, which is a new
	// device. Call Restart, ask for everything after At, and call Receive again
	// with this frame. What comes again is told by sender and message ID.
	Resync
)

// An Inbox is the client's half of a mailbox: it takes deliveries in any order,
// also twice, and gives them out in order, once. The zero value is the inbox of a
// new device, and ready. SPEC.md §9.6.
//
// Positions in a mailbox have no holes, so a hole means that something is on its
// way or lost, and it is asked for. The frames that arrive meanwhile are held
// back, at most [MaxHeld] and 4 MiB; they are not part of the record, for the
// server still has them. There are no timers: if Waiting is true for too long,
// ask again.
type Inbox struct {
	at    Position
	held  map[uint64][]byte
	bytes int
	asked uint64 // the position whose arrival showed a hole that was asked for
	lost  uint64 // the end of the last gap, which may go on behind frames that are held
}

// At is the position up to which everything is processed: what to acknowledge
// and what to fetch after. Its Number may be 0.
func (in *Inbox) At() Position { return in.at }

// Waiting tells whether [Fetch] was answered and what it asked for has not come.
func (in *Inbox) Waiting() bool { return in.asked != 0 }

// Receive takes the frame that was delivered at position p and says what to do.
// A frame that is held is copied. An invalid position fails with [ErrInvalid].
func (in *Inbox) Receive(p Position, frame []byte) (Verdict, error) {
	switch {
	case !p.valid():
		return 0, ErrInvalid
	case p.Epoch > in.at.Epoch:
		return Resync, nil
	case p.Compare(in.at) <= 0:
		return Acknowledge, nil
	case p.Number == in.at.Number+1:
		return Process, nil
	}
	in.hold(p.Number, frame)
	return in.ask(p.Number), nil
}

// ask is the verdict when position n shows a hole. What follows At is asked for
// once, until n is reached.
func (in *Inbox) ask(n uint64) Verdict {
	if in.asked != 0 {
		return Hold
	}
	in.asked = n
	return Fetch
}

// hold keeps a frame if it is within the bounds. The positions that are kept are
// those next to At, so a server that numbers wildly cannot crowd them out.
func (in *Inbox) hold(n uint64, frame []byte) {
	if n > in.at.Number+MaxHeld || in.held[n] != nil || in.bytes+len(frame) > maxHeldBytes {
		return
	}
	if in.held == nil {
		in.held = make(map[uint64][]byte)
	}
	in.held[n] = append(make([]byte, 0, len(frame)), frame...)
	in.bytes += len(frame)
}

// Next returns the next frame if it was held back; it stays held until Advance.
// Treat it as after [Process].
func (in *Inbox) Next() (p Position, frame []byte, ok bool) {
	frame, ok = in.held[in.at.Number+1]
	if !ok {
		return Position{}, nil, false
	}
	return Position{in.at.Epoch, in.at.Number + 1}, bytes.Clone(frame), true
}

// Advance notes that the frame at p is processed. p has to be the next position;
// any other fails with [ErrOrder]. If a gap follows that Skip has taken, At moves
// over it, too. Call it within the transaction that stores what the frame said.
// If that fails, drop the Inbox and load it again.
func (in *Inbox) Advance(p Position) error {
	if p.Epoch == 0 || p.Epoch != in.at.Epoch || p.Number != in.at.Number+1 || p.Number > Max {
		return ErrOrder
	}
	in.bytes -= len(in.held[p.Number])
	delete(in.held, p.Number)
	in.moveTo(p.Number)
	return nil
}

// moveTo moves At to n, and over what is lost behind it.
func (in *Inbox) moveTo(n uint64) {
	end := in.lost
	for held := range in.held {
		end = min(end, held-1)
	}
	n = max(n, end)
	in.at.Number = n
	if n >= in.asked {
		in.asked = 0
	}
}

// Skip takes a gap marker: the positions from to to are lost at the server. On
// [Process] At has moved over the gap, or up to the first frame in it that is
// held, and moves on when that is processed: store the record and the fact, show
// the gap to the user, acknowledge At, and look at Next. The other verdicts are
// those of Receive. It fails with [ErrInvalid].
func (in *Inbox) Skip(epoch uint32, from, to uint64) (Verdict, error) {
	switch next := in.at.Number + 1; {
	case epoch == 0 || from == 0 || to < from || to > Max:
		return 0, ErrInvalid
	case epoch > in.at.Epoch:
		return Resync, nil
	case epoch < in.at.Epoch || to < next:
		return Acknowledge, nil
	case from > next:
		return in.ask(from), nil
	}
	in.lost = max(in.lost, to)
	in.moveTo(in.at.Number)
	return Process, nil
}

// Restart moves to the beginning of a higher epoch, after [Resync]; frames that
// were held are dropped. The same or a lower epoch fails with [ErrOrder].
func (in *Inbox) Restart(epoch uint32) error {
	if epoch <= in.at.Epoch {
		return ErrOrder
	}
	*in = Inbox{at: Position{Epoch: epoch}}
	return nil
}

// AppendBinary appends the record, at most 16 bytes; frames that are held are not
// in it. The error is always nil. SPEC.md §9.9.
func (in *Inbox) AppendBinary(b []byte) ([]byte, error) {
	b = wire.AppendUintNonZero(append(b, recordInbox), 1, uint64(in.at.Epoch))
	return wire.AppendUintNonZero(b, 2, in.at.Number), nil
}

// UnmarshalBinary reads a record; nothing is held then. On [ErrMalformed] in is
// as it was.
func (in *Inbox) UnmarshalBinary(b []byte) error {
	var at Position
	d := record(recordInbox, b)
	for d.Next() {
		switch d.Num() {
		case 1:
			at.Epoch = d.Uint32()
		case 2:
			at.Number = d.Uint64()
		default:
			d.Skip()
		}
	}
	if d.Close() != nil || at.Number > Max || at.Epoch == 0 && at.Number != 0 {
		return ErrMalformed
	}
	*in = Inbox{at: at}
	return nil
}
