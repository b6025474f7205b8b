package sesame_test

import (
	"testing"

	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/internal/benchtest"
	"github.com/sotto-im/sotto/sesame/txtest"
)

// A device in memory against the bare ratchet step; sqltest has the same on
// SQLite.

func inMemory(*testing.B) txtest.Store { return new(sesame.Memory) }

func BenchmarkDeviceEncrypt(b *testing.B) { benchtest.Encrypt(b, inMemory) }

func BenchmarkDeviceDecrypt(b *testing.B) { benchtest.Decrypt(b, inMemory) }

func BenchmarkDeviceDecryptSwapped(b *testing.B) { benchtest.DecryptSwapped(b, inMemory) }

func BenchmarkFanout1000(b *testing.B) { benchtest.Fanout1000(b, inMemory) }

func BenchmarkGroupFanout(b *testing.B) {
	b.Run("1000", func(b *testing.B) { benchtest.GroupFanout1000(b, inMemory) })
}
