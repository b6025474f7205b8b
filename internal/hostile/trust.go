package hostile

import (
	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// recipients lists the devices that a message is for. The server says which a
// user has of whom none was met; further ones are not believed.
func (d *device) recipients(c *chat) (list []envelope.Recipient, err error) {
	for _, u := range c.users {
		d.encounter(u)
		for _, o := range d.w.devicesOf(u) {
			if !d.known[o] {
				continue
			}
			if err := d.meet(o, 0); err != nil {
				return nil, err
			}
			p := d.peer(o)
			list = append(list, envelope.Recipient{Device: o, RegistrationID: p.RegistrationID})
		}
	}
	return list, nil
}

func (d *device) peer(o envelope.Device) (p sesame.Peer) {
	must(d.rows.Do(func(tx sesame.Tx) (err error) { p, err = d.sesame.Peer(tx, address(o)); return err }))
	return p
}

// meet makes a session from a bundle, unless there is one with the installation.
func (d *device) meet(o envelope.Device, registrationID uint32) error {
	p := d.peer(o)
	if p.Connected && (registrationID == 0 || p.RegistrationID == registrationID) {
		return nil
	}
	b, err := x3dh.ParseBundle(d.w.bundle(d, o))
	if err != nil {
		return err
	}
	return d.rows.Do(func(tx sesame.Tx) error { return d.sesame.Start(tx, address(o), b) })
}

func (d *device) meetAll(list []envelope.Recipient) error {
	for _, v := range list {
		if !d.trusts(v.Device) {
			continue // nothing will be sealed for it
		}
		if err := d.meet(v.Device, v.RegistrationID); err != nil {
			return err
		}
	}
	return nil
}

// trusts reports whether the user has met a device.
func (d *device) trusts(o envelope.Device) bool { return d.known[o] || d.w.Break == AnyDevice }

// encounter takes the devices of a user of whom none was met for his.
func (d *device) encounter(u [16]byte) {
	for o := range d.known {
		if o.User == u {
			return
		}
	}
	for _, o := range d.w.devicesOf(u) {
		d.known[o] = o != d.id
	}
}

// member is who may write in a conversation, as this user knows: in his
// conversations the devices that he has met.
func (d *device) member(conversation [16]byte, from envelope.Device) bool {
	reading := d.reading
	d.reading = false
	if d.w.Break == NoMembers {
		return true
	}
	c := d.w.chats[conversation]
	if c != nil && c.has(d.id) && c.has(from) {
		if d.encounter(from.User); d.trusts(from) {
			return true
		}
	}
	if reading {
		d.note(NotMember)
		d.opened++
	}
	return false
}
