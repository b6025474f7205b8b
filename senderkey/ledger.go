package senderkey

import (
	"encoding/binary"
	"slices"
)

// A Member is who is to read, as the caller knows it: one device. It is opaque,
// and has to be another value when the device has registered anew or has
// another identity key. The zero value is refused.
type Member [32]byte

func compareMembers(a, b Member) int {
	for i := 0; i < len(a); i += 8 {
		x, y := binary.BigEndian.Uint64(a[i:]), binary.BigEndian.Uint64(b[i:])
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
	}
	return 0
}

// A Roster is the truth about a group: everybody who is to read the next
// message, without this device and with the user's other ones. Members may come
// in any order; ascending order is faster.
type Roster struct {
	// Revision is the group's, counting up with its membership. A roster that
	// is older than the last one is refused. Groups without one leave it 0.
	Revision uint64
	Members  []Member
}

// sorted returns the members in ascending order, or [ErrRoster]. It does not
// change r.
func (r *Roster) sorted() ([]Member, error) {
	members := sortMembers(r.Members)
	if len(members) == 0 || members[0] == (Member{}) {
		return nil, ErrRoster
	}
	for i := range members[1:] {
		if members[i] == members[i+1] {
			return nil, ErrRoster
		}
	}
	return members, nil
}

// sortMembers returns the members in ascending order, and leaves them alone.
func sortMembers(m []Member) []Member {
	if slices.IsSortedFunc(m, compareMembers) {
		return m
	}
	m = slices.Clone(m)
	slices.SortFunc(m, compareMembers)
	return m
}

// A ledger is who may read a chain: those who are known to have it, and those to
// whom a distribution may have come, or may still come. Both ascend, share no
// member, and are never written.
type ledger struct{ has, waiting []Member }

// within reports whether all who may read are among the members.
func (l ledger) within(members []Member) bool {
	return subset(l.has, members) && subset(l.waiting, members)
}

// admit lets all members read. Those in waiting afterwards need a distribution.
func (l ledger) admit(members []Member) ledger {
	return ledger{l.has, without(members, l.has)}
}

// delivered notes that those of the members who wait have the chain.
func (l ledger) delivered(members []Member) ledger {
	return ledger{merge(l.has, common(l.waiting, members)), without(l.waiting, members)}
}

// lacks notes that those of the members who have the chain do not have it. They
// may read it all the same: they may have lost it to somebody.
func (l ledger) lacks(members []Member) ledger {
	return ledger{without(l.has, members), merge(l.waiting, common(l.has, members))}
}

// The functions below take ascending lists and return new ones.

func subset(a, b []Member) bool { return len(without(a, b)) == 0 }

// without returns those of a that are not in b.
func without(a, b []Member) (out []Member) { return split(a, b, false) }

// common returns those of a that are in b.
func common(a, b []Member) (out []Member) { return split(a, b, true) }

func split(a, b []Member, in bool) (out []Member) {
	for _, m := range a {
		for len(b) > 0 && compareMembers(b[0], m) < 0 {
			b = b[1:]
		}
		if (len(b) > 0 && b[0] == m) == in {
			out = append(out, m)
		}
	}
	return out
}

// merge returns those of both, which share none.
func merge(a, b []Member) []Member {
	out := slices.Concat(a, b)
	slices.SortFunc(out, compareMembers)
	return out
}
