package demo

import (
	"cmp"
	"slices"
	"sync"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// A directory is the part of a server that keeps the public keys of devices, and
// hands them out in bundles.
type directory struct {
	mu        sync.Mutex
	published map[envelope.Device]*sesame.Publication
}

// publish replaces what a device had published.
func (x *directory) publish(d envelope.Device, p *sesame.Publication) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.published[d] = p
}

// withdraw removes a device.
func (x *directory) withdraw(d envelope.Device) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.published, d)
}

// devices lists the devices of a user by number.
func (x *directory) devices(user [16]byte) (list []envelope.Device) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for d := range x.published {
		if d.User == user {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b envelope.Device) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// bundle is an encoded bundle of a device. It gives each one-time prekey out
// once; without one the bundle is good as well.
func (x *directory) bundle(d envelope.Device) ([]byte, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.published[d]
	info := x3dh.BundleInfo{RegistrationID: p.RegistrationID, DeviceID: d.ID, IdentityKey: p.IdentityKey, SignedPreKey: p.SignedPreKey}
	if len(p.OneTimePreKeys) > 0 {
		info.OneTimePreKey, p.OneTimePreKeys = &p.OneTimePreKeys[0], p.OneTimePreKeys[1:]
	}
	b, err := x3dh.NewBundle(info)
	if err != nil {
		return nil, err
	}
	return b.AppendBinary(nil)
}
