package senderkey

import (
	"slices"
	"time"

	"github.com/sotto-im/sotto/internal/secret"
	"github.com/sotto-im/sotto/internal/wire"
)

// A Sender is what this device writes with in one group: a chain, and the ledger
// of who may read it and who has it (SPEC.md §11.6). It replaces the chain by
// itself. It must not be copied, and is not safe for concurrent use: of two
// calls at the same time one fails with [ErrConcurrentUse], if not worse. The
// zero value is refused by every method.
type Sender struct{ box secret.Box[sender] }

// A sender is all of a Sender, as a value.
type sender struct {
	config   Config
	started  bool           // there is a chain: always, after the first message
	revision uint64         // of the last roster
	id       DistributionID // of the chain; in the WhatsApp family only its name here
	created  uint64         // the chain: seconds since 1970
	chain    chain
	ledger   ledger // of the chain
}

// NewSender makes the sender of a group in which this device has written
// nothing yet.
func NewSender(c Config) *Sender { return newSender(&sender{config: c}) }

func newSender(s *sender) *Sender {
	out := new(Sender)
	out.box.Store(s)
	return out
}

func (s *Sender) load() *sender {
	if s == nil {
		return nil
	}
	return s.box.Load()
}

// Sent is a message as [Sender.Encrypt] gives it.
type Sent struct {
	// Message is the ciphertext for all members.
	Message []byte

	// Missing are the members, ascending, who are not known to have the chain.
	// Distribution is for each of them, through the pairwise session with that
	// device, and lets them read from this message on. It is nil if Missing is
	// empty.
	Missing      []Member
	Distribution *Distribution

	// Chain names the chain, for [Sender.Delivered].
	Chain DistributionID

	// Rotated says that a new chain begins with this message.
	Rotated bool
}

// Encrypt makes the next message, for the members of the roster and for nobody
// else (SPEC.md §11.6). If somebody who may read the current chain is not among
// them, if it is [Config.MaxMessages] long or [Config.MaxAge] old at the time
// now, or began after now, a new chain starts before the message.
//
// All members may read the message from here on, whatever becomes of it: store
// the sender, the message and the distributions in one transaction before any
// of them leaves the device. The result is the caller's, r is not kept.
//
// Errors: [ErrRoster], [ErrOldRevision], [ErrConcurrentUse],
// [ErrUninitialized].
func (s *Sender) Encrypt(r Roster, now time.Time, plaintext []byte) (*Sent, error) {
	old := s.load()
	if old == nil {
		return nil, ErrUninitialized
	}
	return s.encrypt(old, r, now, plaintext, drawNamed)
}

// drawNamed draws a chain and its distribution ID.
func drawNamed() (fresh, DistributionID) { return drawFresh(), newDistributionID() }

// encrypt is Encrypt with the random values of a new chain, if there is one.
func (s *Sender) encrypt(old *sender, r Roster, now time.Time, plaintext []byte, draw func() (fresh, DistributionID)) (*Sent, error) {
	members, err := r.sorted()
	if err != nil {
		return nil, err
	}
	if r.Revision < old.revision {
		return nil, ErrOldRevision
	}
	seconds := uint64(max(0, now.Unix()))
	next := new(sender)
	*next = *old
	next.revision = r.Revision
	rotated := old.due(members, seconds)
	if rotated {
		f, id := draw()
		next.start(f, id, seconds)
	}
	next.ledger = next.ledger.admit(members)

	sent := &Sent{Missing: slices.Clone(next.ledger.waiting), Chain: next.id, Rotated: rotated}
	if len(sent.Missing) > 0 {
		sent.Distribution = newDistribution(next.chain.current()) // from this message on
	}
	if sent.Message, next.chain, err = next.chain.encrypt(nil, plaintext); err != nil {
		return nil, err
	}
	if err := s.commit(old, next); err != nil {
		return nil, err
	}
	return sent, nil
}

// commit makes next the state. It is the only place where a sender changes.
func (s *Sender) commit(old, next *sender) error {
	if !s.box.Replace(old, next) {
		return ErrConcurrentUse
	}
	*old = sender{} // keys that are no longer in use
	return nil
}

// due reports whether a new chain has to start before the next message.
func (s *sender) due(members []Member, now uint64) bool {
	messages, age := s.config.limits()
	return !s.started || !s.ledger.within(members) ||
		s.chain.ck.iteration >= messages ||
		now < s.created || now-s.created >= age
}

// start begins a chain that nobody can read yet. Nothing of it comes from the
// one before.
func (s *sender) start(f fresh, id DistributionID, now uint64) {
	s.started = true
	s.id = id
	s.created = now
	s.chain = f.chain(s.config.Family, s.id)
	s.ledger = ledger{}
}

// Delivered notes that the server has accepted the distributions of a chain,
// which [Sent.Chain] names, for the members: they need no other. To call it
// without that knowledge locks them out. A chain that is not the current one,
// and members who were not given it, are passed over. Store the sender. Errors:
// [ErrConcurrentUse], [ErrUninitialized].
func (s *Sender) Delivered(chain DistributionID, members ...Member) error {
	return s.note(chain, members, ledger.delivered)
}

// Lacks notes that the members say that they do not have the chain: the next
// message brings them a distribution, which opens that message and later ones.
// It takes what Delivered takes, and has the same errors.
func (s *Sender) Lacks(chain DistributionID, members ...Member) error {
	return s.note(chain, members, ledger.lacks)
}

func (s *Sender) note(chain DistributionID, members []Member, f func(ledger, []Member) ledger) error {
	old := s.load()
	if old == nil {
		return ErrUninitialized
	}
	if !old.started || chain != old.id {
		return nil
	}
	next := new(sender)
	*next = *old
	next.ledger = f(old.ledger, sortMembers(members))
	return s.commit(old, next)
}

// AppendBinary appends the record of the sender to b (SPEC.md §11.7). It is
// secret. It takes about 170 bytes, and 32 for each member. The only error is
// [ErrUninitialized].
func (s *Sender) AppendBinary(b []byte) ([]byte, error) {
	st := s.load()
	if st == nil {
		return b, ErrUninitialized
	}
	return st.appendBinary(b), nil
}

func (s *sender) appendBinary(b []byte) []byte {
	b = slices.Grow(b, 180+len(Member{})*(len(s.ledger.has)+len(s.ledger.waiting)))
	b = append(b, recordSender)
	if !s.started {
		return b
	}
	b = wire.AppendUintNonZero(b, 1, s.revision)
	b = wire.AppendBytes(b, 2, s.id[:])
	b = wire.AppendUintNonZero(b, 3, s.created)
	b = wire.AppendBytes(b, 4, s.chain.appendRecord(nil))
	b = appendMembers(b, 5, s.ledger.has)
	return appendMembers(b, 6, s.ledger.waiting)
}

func appendMembers(b []byte, num int, members []Member) []byte {
	if len(members) == 0 {
		return b
	}
	b = wire.AppendBytesHeader(b, num, len(members)*len(Member{}))
	for i := range members {
		b = append(b, members[i][:]...)
	}
	return b
}

// ParseSender reads what [Sender.AppendBinary] wrote. Limits and family are
// those of the configuration.
//
// Only the last record of a sender may go on encrypting: a copy restored from a
// backup would use message keys again, and forget who may read. record is not
// kept. Errors: [ErrCorrupt], [ErrVersion].
func ParseSender(record []byte, c Config) (*Sender, error) {
	if len(record) == 0 || record[0] != recordSender {
		return nil, ErrCorrupt
	}
	s := &sender{config: c}
	if len(record) == 1 {
		return newSender(s), nil
	}
	s.started = true
	var chainRecord []byte
	d := wire.DecodeCanonical(record[1:])
	for d.Next() {
		switch d.Num() {
		case 1:
			s.revision = d.Uint64()
		case 2:
			d.Fixed(s.id[:])
		case 3:
			s.created = d.Uint64()
		case 4:
			chainRecord = d.Bytes()
		case 5:
			s.ledger.has = readMembers(&d)
		case 6:
			s.ledger.waiting = readMembers(&d)
		default:
			d.Skip()
		}
	}
	if d.Close(2, 4) != nil || len(common(s.ledger.has, s.ledger.waiting)) > 0 {
		return nil, ErrCorrupt
	}
	var err error
	if s.chain, err = parseChain(chainRecord, c.Family, s.id); err != nil {
		return nil, err
	}
	return newSender(s), nil
}

// readMembers reads a list that ascends.
func readMembers(d *wire.Decoder) []Member {
	b := d.Bytes()
	if len(b)%len(Member{}) != 0 {
		d.Fail()
		return nil
	}
	members := make([]Member, 0, len(b)/len(Member{}))
	for m := range slices.Chunk(b, len(Member{})) {
		if n := len(members); n > 0 && compareMembers(members[n-1], Member(m)) >= 0 || Member(m) == (Member{}) {
			d.Fail()
			return nil
		}
		members = append(members, Member(m))
	}
	return members
}
