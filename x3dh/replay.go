package x3dh

import (
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/replay"
	"github.com/sotto-im/sotto/internal/secret"
)

func init() {
	replay.Initiate = func(record, bundle []byte, base [32]byte) (*secret.Handshake, error) {
		self, err := ParseIdentityKey(record)
		if err != nil {
			return nil, err
		}
		peer, err := ParseBundle(bundle)
		if err != nil {
			return nil, err
		}
		key := curve.NewPrivateKey(base)
		return initiate(self.load(), &peer.info, &key)
	}
}
