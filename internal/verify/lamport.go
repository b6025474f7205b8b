package verify

import (
	"errors"
	"fmt"

	"github.com/sotto-im/sotto/lamport"
	"github.com/sotto-im/sotto/testvectors"
)

// A machine is what a log of events is replayed on, with the rows beside it that a
// server keeps.
type machine struct {
	clock        lamport.Clock
	window       lamport.Window
	conversation lamport.Conversation
	inbox        lamport.Inbox
	register     lamport.Register

	windows  map[lamport.Device]*lamport.Window
	receipts map[receiptKey]*lamport.Receipt
}

type receiptKey struct {
	sender lamport.Device
	id     [16]byte
}

func lamportSequence(t *testvectors.LamportSequence, p *progress) error {
	m := &machine{windows: map[lamport.Device]*lamport.Window{}, receipts: map[receiptKey]*lamport.Receipt{}}
	state, step := m.of(t.Machine)
	if step == nil {
		return fmt.Errorf("unknown machine %q", t.Machine)
	}
	if t.Start != nil {
		if err := state.UnmarshalBinary(t.Start); err != nil {
			return err
		}
	}
	for i := range t.Steps {
		p.next()
		s := &t.Steps[i]
		got, differs := step(s)
		err := errors.Join(verdict(s.Error, got), differs)
		if err == nil && s.Record != nil {
			err = writtenAgain(state, s.Record)
		}
		if err != nil {
			return fmt.Errorf("%s, %s: %w", t.Machine, s.Event, err)
		}
	}
	return nil
}

// of returns the state of a machine, and what does a step: it returns what the
// library answered, and what differs from the vector.
func (m *machine) of(name string) (state row, step func(s *testvectors.LamportStep) (got, differs error)) {
	switch name {
	case "clock":
		return &m.clock, m.clockStep
	case "order":
		return nil, m.orderStep
	case "window":
		return &m.window, m.windowStep
	case "conversation":
		return &m.conversation, m.conversationStep
	case "inbox":
		return &m.inbox, m.inboxStep
	case "register":
		return &m.register, m.registerStep
	}
	return nil, nil
}

func unknownEvent(s *testvectors.LamportStep) error { return fmt.Errorf("unknown event %q", s.Event) }

func id16(b []byte) (id [16]byte) {
	copy(id[:], b)
	return id
}

func device(s *testvectors.LamportStep) lamport.Device {
	return lamport.Device{User: id16(s.User), ID: s.Device}
}

func (m *machine) clockStep(s *testvectors.LamportStep) (got, differs error) {
	switch s.Event {
	case "seal":
		stamp, err := m.clock.Tick()
		if err != nil {
			return err, nil
		}
		return nil, equal("stamp", lamport.Stamp(s.Stamp), stamp)
	case "observe":
		return m.clock.Observe(lamport.Stamp(s.Stamp)), nil
	case "lower":
		return m.clock.Lower(lamport.Stamp(s.Stamp), lamport.Stamp(s.Bound)), nil
	}
	return nil, unknownEvent(s)
}

// orderStep makes a key, which has no error: what names no message has the zero key.
func (m *machine) orderStep(s *testvectors.LamportStep) (got, differs error) {
	if s.Event != "key" {
		return nil, unknownEvent(s)
	}
	f := lamport.ConfirmedKey
	if s.Waiting {
		f = lamport.PendingKey
	}
	k := f(lamport.Position{Epoch: s.Epoch, Number: s.Number}, lamport.Stamp(s.Stamp), device(s), id16(s.MessageID))
	if k == (lamport.Key{}) {
		return lamport.ErrInvalid, nil
	}
	return nil, same("key", s.Key, k[:])
}

func (m *machine) windowStep(s *testvectors.LamportStep) (got, differs error) {
	switch s.Event {
	case "ask":
		err := m.window.Check(s.Counter)
		if errors.Is(err, lamport.ErrTooOld) && s.Error == "" {
			return nil, equal("accepted before", s.Accepted, true)
		}
		if err != nil {
			return err, nil
		}
		return nil, equal("accepted before", s.Accepted, false)
	case "mark":
		err := m.window.Mark(s.Counter)
		if errors.Is(err, lamport.ErrTooOld) && s.Error == "" {
			err = nil // it was marked before; the record says that nothing changed
		}
		return err, nil
	}
	return nil, unknownEvent(s)
}

// conversationStep does what a server does around a conversation: it finds receipt
// and window, and asks the window before it compares devices.
func (m *machine) conversationStep(s *testvectors.LamportStep) (got, differs error) {
	switch s.Event {
	case "begin":
		c, err := lamport.NewConversation(id16(s.Conversation), s.Epoch)
		if err == nil {
			m.conversation = *c
		}
		return err, nil
	case "raise":
		return m.conversation.Restart(s.Epoch), nil
	case "forget":
		delete(m.receipts, receiptKey{device(s), id16(s.MessageID)})
		return nil, nil
	case "submit":
		return m.submit(s)
	}
	return nil, unknownEvent(s)
}

func (m *machine) submit(s *testvectors.LamportStep) (got, differs error) {
	sender := device(s)
	key := receiptKey{sender, id16(s.MessageID)}
	w := m.windows[sender]
	if w == nil {
		var err error
		if w, err = lamport.NewWindow(sender); err != nil {
			return err, nil
		}
		m.windows[sender] = w
	}
	prior := m.receipts[key]
	if prior == nil && !s.DevicesMatch && w.Check(s.Counter) == nil {
		return nil, errors.Join(equal("answer", s.Answer, "mismatch"), writtenAgain(w, s.WindowRecord))
	}
	r, err := m.conversation.Submit(w, lamport.Submission{Conversation: id16(s.Conversation), ID: key.id, Sender: sender,
		Counter: s.Counter, Stamp: lamport.Stamp(s.Stamp)}, prior)
	answer := "accepted"
	switch {
	case errors.Is(err, lamport.ErrDuplicate) && s.Error == "":
		answer = "duplicate"
	case err != nil:
		return err, writtenAgain(w, s.WindowRecord)
	default:
		m.receipts[key] = &r
	}
	return nil, errors.Join(equal("answer", s.Answer, answer), equal("position", lamport.Position{Epoch: s.Epoch, Number: s.Number}, r.Position),
		writtenAgain(&r, s.ReceiptRecord), writtenAgain(w, s.WindowRecord))
}

var verdicts = map[lamport.Verdict]string{lamport.Resync: "resync", lamport.Acknowledge: "acknowledge", lamport.Process: "process",
	lamport.Fetch: "fetch", lamport.Hold: "hold"}

func (m *machine) inboxStep(s *testvectors.LamportStep) (got, differs error) {
	switch s.Event {
	case "deliver", "gap":
		var v lamport.Verdict
		var err error
		if s.Event == "deliver" {
			v, err = m.inbox.Receive(lamport.Position{Epoch: s.Epoch, Number: s.Number}, s.Frame)
		} else {
			v, err = m.inbox.Skip(s.Epoch, s.Number, s.Last)
		}
		if err != nil {
			return err, nil
		}
		return nil, equal("verdict", s.Verdict, verdicts[v])
	case "processed":
		at := m.inbox.At()
		if err := m.inbox.Advance(lamport.Position{Epoch: at.Epoch, Number: at.Number + 1}); err != nil {
			return err, nil
		}
		p, frame, _ := m.inbox.Next()
		return nil, errors.Join(equal("next", s.Next, p.Number), same("frame", s.Frame, frame))
	case "resync":
		return m.inbox.Restart(s.Epoch), nil
	}
	return nil, unknownEvent(s)
}

func (m *machine) registerStep(s *testvectors.LamportStep) (got, differs error) {
	switch s.Event {
	case "author":
		r, err := lamport.NewRegister(id16(s.User))
		if err == nil {
			m.register = *r
		}
		return err, nil
	case "write":
		w := lamport.Write{Device: device(s), Stamp: lamport.Stamp(s.Stamp), Deleted: s.Deleted, Value: s.Value}
		contradicts := m.register.Contradicts(w)
		won, err := m.register.Apply(w)
		if err != nil {
			return err, nil
		}
		return nil, errors.Join(equal("changed", s.Changed, won), equal("equivocation", s.Equivocation, contradicts))
	case "merge":
		o := new(lamport.Register)
		if err := o.UnmarshalBinary(s.Value); err != nil {
			return err, nil
		}
		won, err := m.register.Merge(o)
		if err != nil {
			return err, nil
		}
		return nil, equal("changed", s.Changed, won)
	}
	return nil, unknownEvent(s)
}
