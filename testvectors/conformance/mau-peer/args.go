package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math"
	"strings"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/libsignal/protocol"
)

type args map[string]any

func (a args) has(k string) bool { return a[k] != nil }

func (a args) bytes(k string) []byte {
	s, ok := a[k].(string)
	if !ok {
		bad("%s is missing or not a string", k)
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		bad("%s is not hex", k)
	}
	return b
}

func (a args) int(k string, def, max int64) int64 {
	v, ok := a[k]
	if !ok || v == nil {
		if def < 0 {
			bad("%s is missing", k)
		}
		return def
	}
	f, ok := v.(float64)
	if !ok || f != math.Trunc(f) || f < 0 || f > float64(max) {
		bad("%s is not an integer in 0..%d", k, max)
	}
	return int64(f)
}

func (a args) u32(k string, def int64) uint32 { return uint32(a.int(k, def, math.MaxUint32)) }

func (a args) str(k, def string) string {
	v, ok := a[k]
	if !ok || v == nil {
		return def
	}
	s, ok := v.(string)
	if !ok {
		bad("%s is not a string", k)
	}
	return s
}

func (a args) sub(k string) args {
	m, ok := a[k].(map[string]any)
	if !ok {
		bad("%s is missing or not an object", k)
	}
	return m
}

func (a args) address(k string) *protocol.SignalAddress {
	m := a.sub(k)
	if _, ok := m["name"].(string); !ok {
		bad("%s.name is missing", k)
	}
	return protocol.NewSignalAddress(m.str("name", ""), uint32(m.int("deviceId", -1, 127)))
}

// The library zero-pads short keys, so lengths are checked here.
func public(b []byte) ecc.ECPublicKeyable {
	if len(b) != 33 {
		fail("InvalidKey", "public key of %d bytes", len(b))
	}
	k, err := ecc.DecodePoint(b, 0)
	if err != nil {
		fail("InvalidKey", "%v", err)
	}
	return k
}

func clamp(b []byte) (k [32]byte) {
	if len(b) != 32 {
		fail("InvalidKey", "private key of %d bytes", len(b))
	}
	copy(k[:], b)
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

func (a args) private(k string) [32]byte { return clamp(a.bytes(k)) }

// keyPair takes a private key, or makes one.
func (a args) keyPair(k string) (*ecc.ECKeyPair, [32]byte) {
	if a.has(k) {
		priv := a.private(k)
		return ecc.CreateKeyPair(priv[:]), priv
	}
	kp, err := ecc.GenerateKeyPair()
	must(err)
	return kp, kp.PrivateKey().Serialize()
}

func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&15|64, b[8]&63|128
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (a args) group() string {
	id := a.str("distributionId", "")
	if id == "" {
		bad("distributionId is missing")
	}
	return strings.ToLower(id)
}

func (a args) party() *party {
	p := parties[a.str("store", "main")]
	if p == nil {
		bad("store %q has no identity: newIdentity first", a.str("store", "main"))
	}
	return p
}
