package simulate

import (
	"slices"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// A mailbox is what the server keeps for an address.
type mailbox struct {
	publication *sesame.Publication // of the installation that is registered; nil if none is
	oneTime     []x3dh.PublicPreKey // not given out yet
	lastOneTime uint32              // highest ID ever uploaded
	mail        []*parcel           // not acknowledged
}

// A parcel is a message at the server.
type parcel struct {
	*letter
	sender, receiver x3dh.PublicKey // identity keys, as the session has them
	typ              ratchet.Type
	bytes            []byte
}

// upload takes what a device publishes, once.
func (d *device) upload(p *sesame.Publication) {
	b := &d.server
	if b.publication == nil || b.publication.IdentityKey != p.IdentityKey {
		b.oneTime, b.lastOneTime = nil, 0
	}
	b.publication = p
	for _, k := range p.OneTimePreKeys {
		if k.ID > b.lastOneTime {
			b.oneTime, b.lastOneTime = append(b.oneTime, k), k.ID
		}
	}
	d.signed[p.SignedPreKey.ID] = d.made[p.SignedPreKey.Key]
}

// bundle gives out a bundle of d, with a one-time prekey if there is one left,
// and nil if the device is not registered.
func (d *device) bundle() *x3dh.Bundle {
	b := &d.server
	if b.publication == nil {
		return nil
	}
	info := x3dh.BundleInfo{
		RegistrationID: b.publication.RegistrationID, DeviceID: d.at.Device,
		IdentityKey: b.publication.IdentityKey, SignedPreKey: b.publication.SignedPreKey,
	}
	if len(b.oneTime) > 0 {
		info.OneTimePreKey, b.oneTime = &b.oneTime[0], b.oneTime[1:]
	}
	bundle, err := x3dh.NewBundle(info)
	if err != nil {
		d.violation(Failed, "%v: bundle: %v", d, err)
	}
	return bundle
}

// post is one submission of a message. It reports whether the writer got an
// answer.
func (w *world) post(m *parcel) (answered bool) {
	w.look(m)
	if m.brings != nil {
		w.trace("  #%d brings the distribution for #%d", m.number, m.brings.number)
	}
	if w.faulty && w.percent(12) {
		w.count(Dropped)
		w.countUnbrought(m)
		w.trace("  #%d does not reach the server", m.number)
		return false
	}
	b := &m.to.server
	b.mail = append(b.mail, m)
	if w.faulty && w.percent(10) {
		w.trace("  #%d is in the mailbox twice", m.number)
		b.mail = append(b.mail, m)
	}
	if w.faulty && w.percent(10) {
		return false
	}
	if m.brings != nil {
		m.accept()
	}
	return true
}

// countUnbrought counts what did not come if it is a distribution.
func (w *world) countUnbrought(m *parcel) {
	if m.brings != nil {
		w.count(Unbrought)
	}
}

// anyMail is a message that some device has not acknowledged.
func (w *world) anyMail() *parcel {
	n := w.rng.IntN(len(w.devices))
	for i := range w.devices {
		if m := w.devices[(n+i)%len(w.devices)].anyMail(); m != nil {
			return m
		}
	}
	return nil
}

// anyMail is a message that d has not acknowledged: the first one, or any.
func (d *device) anyMail() *parcel {
	mail := d.server.mail
	if len(mail) == 0 {
		return nil
	}
	if d.percent(50) {
		return mail[0]
	}
	return mail[d.rng.IntN(len(mail))]
}

// remove deletes one copy of m.
func (b *mailbox) remove(m *parcel) {
	if i := slices.Index(b.mail, m); i >= 0 {
		b.mail = slices.Delete(b.mail, i, i+1)
	}
}
