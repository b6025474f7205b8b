package sesame

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/sotto-im/sotto/internal/wire"
	"github.com/sotto-im/sotto/senderkey"
)

// maxGroupName is the length in bytes of the longest name of a group.
const maxGroupName = 128

func validGroup(name string) bool { return name != "" && len(name) <= maxGroupName }

// A Group is a group as the application knows it, now.
type Group struct {
	// Name is what the application calls the group: 1 to 128 bytes, compared
	// byte by byte. It is in the keys of rows, and in no message.
	Name string

	// Revision counts up with the membership. A group that is older than one
	// that was used is refused. Groups without one leave it 0.
	Revision uint64

	// Devices are all that are to read the next message: those of all members,
	// and our user's other ones.
	Devices []Address
}

// A GroupMessage is what [Device.EncryptGroup] made.
type GroupMessage struct {
	// Ciphertext is one message for all devices without Err in Messages, for
	// their [Device.DecryptGroup]. It is nil if there are none, and in groups
	// that get pairwise messages.
	Ciphertext []byte

	// Messages has one entry for each device, in their order. Its Bytes go to
	// the device, and before the Ciphertext: with one, they bring the
	// distribution, and are nil if the device has it; without one, they are the
	// message itself. If Err is set the device gets nothing.
	Messages []Message

	// Chain is for [Device.Distributed].
	Chain senderkey.DistributionID
}

// EncryptGroup encrypts one plaintext for the devices of a group and for nobody
// else (SPEC.md §10.10): once for all of them, with a chain that is replaced when
// a device that may read it is gone, has registered anew or has another identity
// key, and after 100 messages or 7 days. The devices that are not known to have the
// chain get its distribution, each in its session with us. In groups of up to
// [Config].PairwiseGroups devices it is Encrypt.
//
// The plaintext says which group it is for, in the application's own form: the
// receiver of a pairwise message, or of one that was sent again, learns it from
// nothing else. wrap makes of a distribution, about 110 bytes, the plaintext of
// the pairwise messages that bring it, in that form too and with the name of the
// group; the receiver gives both to [Device.ProcessDistribution]. It is called
// once at most.
//
// timestamp is as in [Device.EncryptLogged], which this is if it is not 0. When the
// server refuses the message because of its devices nobody has it: [Device.Reset]
// those that are extra or stale, Start the missing ones, and call EncryptGroup for
// the right devices again, with the same timestamp. [Device.Repair] is for groups
// with pairwise messages only.
//
// Store the messages in the same transaction and send them when it has committed,
// the distributions first; call [Device.Distributed] when the server has accepted
// them. An error is the transaction's or the caller's, and means: roll back. It may
// be senderkey.ErrOldRevision: get the group anew, somebody may have been removed;
// [ErrTimestamp], [ErrAddress] for the name of the group, [ErrCorrupt],
// [ErrUninitialized]. What keeps a single device from reading is in its entry.
func (d *Device) EncryptGroup(tx Tx, timestamp uint64, g Group, plaintext []byte, wrap func(distribution []byte) []byte) (*GroupMessage, error) {
	if wrap == nil {
		return nil, ErrUninitialized
	}
	r, rev, err := d.group(tx, g.Name)
	if err != nil {
		return nil, err
	}
	if g.Revision < r.revision {
		return nil, senderkey.ErrOldRevision
	}
	var s *sentRecord
	var sentRev uint64
	if timestamp != 0 {
		if s, sentRev, err = d.logEntry(tx, timestamp, plaintext); err != nil {
			return nil, err
		}
	}
	var out *GroupMessage
	if devices := distinct(g.Devices); len(devices) <= d.config.PairwiseGroups {
		out, err = d.encryptPairwise(tx, r, rev, g, devices, plaintext)
	} else {
		out, err = d.encryptShared(tx, r, rev, g, devices, plaintext, wrap)
	}
	if err != nil || s == nil {
		return out, err
	}
	if out.Ciphertext != nil {
		s.group, s.chain = g.Name, out.Chain
	}
	return out, s.log(tx, timestamp, sentRev, out.Messages)
}

// distinct are the addresses, each one once.
func distinct(addresses []Address) (out []Address) {
	seen := make(map[Address]bool, len(addresses))
	for _, a := range addresses {
		if !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	return out
}

func (d *Device) encryptPairwise(tx Tx, r *groupRecord, rev uint64, g Group, devices []Address, plaintext []byte) (*GroupMessage, error) {
	messages, err := d.Encrypt(tx, plaintext, devices...)
	if err != nil {
		return nil, err
	}
	out := &GroupMessage{Messages: messages}
	if g.Revision == 0 || !slices.ContainsFunc(messages, func(m Message) bool { return m.Err == nil }) {
		return out, nil
	}
	r.revision = g.Revision // written also if it is the same: it guards against a newer one
	return out, put(tx, rowGroup(g.Name), r, rev)
}

func (d *Device) encryptShared(tx Tx, r *groupRecord, rev uint64, g Group, devices []Address, plaintext []byte, wrap func([]byte) []byte) (*GroupMessage, error) {
	// Who cannot be written to is no member: its chain would be out of our sight.
	outbounds := make([]*outbound, 0, len(devices))
	members := make([]senderkey.Member, 0, len(devices))
	for _, a := range devices {
		o, err := d.outbound(tx, a)
		if err != nil {
			return nil, err
		}
		outbounds = append(outbounds, o)
		if o.Err == nil {
			o.member = o.memberName()
			members = append(members, o.member)
		}
	}
	out := &GroupMessage{Messages: make([]Message, 0, len(devices))}
	if len(members) > 0 {
		if err := d.encryptFor(tx, out, r, g, members, outbounds, plaintext, wrap); err != nil {
			return nil, err
		}
		r.revision = g.Revision
		if err := put(tx, rowGroup(g.Name), r, rev); err != nil {
			return nil, err
		}
	}
	for _, o := range outbounds {
		out.Messages = append(out.Messages, o.Message)
	}
	return out, nil
}

// encryptFor makes the ciphertext for members, of whom there are some, and the
// distributions that they need.
func (d *Device) encryptFor(tx Tx, out *GroupMessage, r *groupRecord, g Group, members []senderkey.Member, outbounds []*outbound, plaintext []byte, wrap func([]byte) []byte) error {
	sent, err := r.sender.Encrypt(senderkey.Roster{Revision: g.Revision, Members: members}, d.config.Now(), plaintext)
	if err != nil {
		return err
	}
	out.Ciphertext, out.Chain = sent.Message, sent.Chain
	if len(sent.Missing) == 0 {
		return nil
	}
	distribution, err := sent.Distribution.AppendBinary(nil)
	if err != nil {
		return err
	}
	distribution = wrap(distribution)
	missing := make(map[senderkey.Member]bool, len(sent.Missing))
	for _, m := range sent.Missing {
		missing[m] = true
	}
	for _, o := range outbounds {
		if o.Err == nil && missing[o.member] {
			if err := o.seal(distribution); err != nil {
				return err
			}
		}
	}
	return nil
}

// memberName names the device, this installation of it and its identity key
// (R-11.6-2).
func (o *outbound) memberName() senderkey.Member {
	b := append(make([]byte, 0, 128), "sotto group member\x00"...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(o.To.User)))
	b = append(b, o.To.User...)
	b = binary.BigEndian.AppendUint32(b, o.To.Device)
	b = binary.BigEndian.AppendUint32(b, o.RegistrationID)
	return sha256.Sum256(append(b, o.identity.Bytes()...))
}

// Distributed notes that the server has accepted the distributions of a chain,
// which [GroupMessage].Chain names, for devices of a group: they need no other.
// To call it without that knowledge locks them out until they ask
// ([Device.HandleRetry]). A chain that has been replaced, and devices that were
// not given it, are passed over.
//
// Errors: those of the transaction, [ErrCorrupt], [ErrAddress],
// [ErrUninitialized].
func (d *Device) Distributed(tx Tx, group string, chain senderkey.DistributionID, to ...Address) error {
	return d.noteChain(tx, group, chain, to, (*senderkey.Sender).Delivered)
}

func (d *Device) noteChain(tx Tx, group string, chain senderkey.DistributionID, to []Address, note func(*senderkey.Sender, senderkey.DistributionID, ...senderkey.Member) error) error {
	r, rev, err := d.group(tx, group)
	if err != nil || rev == 0 {
		return err
	}
	// Had one of them changed since, the chain would have been replaced for it.
	var members []senderkey.Member
	for _, a := range to {
		o, err := d.outbound(tx, a)
		if err != nil {
			return err
		}
		if o.Err == nil {
			members = append(members, o.memberName())
		}
	}
	if err := note(r.sender, chain, members...); err != nil {
		return err
	}
	return put(tx, rowGroup(group), r, rev)
}

// ForgetGroup deletes our chain in a group, and those of all other devices there.
// Call it when we have left. The revision is forgotten, too.
//
// Errors: those of the transaction, [ErrAddress], [ErrUninitialized].
func (d *Device) ForgetGroup(tx Tx, group string) error {
	if d == nil || d.config.Now == nil {
		return ErrUninitialized
	}
	if !validGroup(group) {
		return ErrAddress
	}
	if err := forgetReceivers(tx, "", func(name, _ string) bool { return name == group }); err != nil {
		return err
	}
	return forgetRow(tx, rowGroup(group))
}

// A groupRecord is a group in which this device has written.
type groupRecord struct {
	revision uint64 // the last one
	sender   *senderkey.Sender
}

// group reads what this device writes with in a group; a new record and
// revision 0 if it has not written there.
func (d *Device) group(tx Tx, name string) (*groupRecord, uint64, error) {
	if d == nil || d.config.Now == nil {
		return nil, 0, ErrUninitialized
	}
	if !validGroup(name) {
		return nil, 0, ErrAddress
	}
	c := senderkey.Config{Family: d.groupFamily()}
	r, rev, err := get(tx, rowGroup(name), func(b []byte) (*groupRecord, error) { return parseGroup(b, c) })
	if err == nil && rev == 0 {
		r = &groupRecord{sender: senderkey.NewSender(c)}
	}
	return r, rev, err
}

func parseGroup(b []byte, c senderkey.Config) (*groupRecord, error) {
	r := new(groupRecord)
	var sender []byte
	d := wire.Decode(b)
	for d.Next() {
		switch d.Num() {
		case 1:
			r.revision = d.Uint64()
		case 2:
			sender = d.Bytes()
		default:
			d.Fail()
		}
	}
	if err := d.Close(2); err != nil {
		return nil, err
	}
	var err error
	r.sender, err = senderkey.ParseSender(sender, c)
	return r, err
}

func (r *groupRecord) AppendBinary(b []byte) ([]byte, error) {
	sender, err := r.sender.AppendBinary(nil)
	if err != nil {
		return b, err
	}
	b = wire.AppendUintNonZero(slices.Grow(b, len(sender)+20), 1, r.revision)
	return wire.AppendBytes(b, 2, sender), nil
}

// groupKey is the name of a group as part of a row key.
func groupKey(name string) string { return hex.EncodeToString([]byte(name)) }
