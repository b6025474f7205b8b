package sqltest

import (
	"testing"

	"github.com/sotto-im/sotto/sesame/internal/benchtest"
	"github.com/sotto-im/sotto/sesame/txtest"
)

// A device on SQLite, as sqlkv advises, against the bare ratchet step. What is
// measured is mostly the file system: the transaction that is waited for.

func onSQLite(b *testing.B) txtest.Store { return newStore(b, sqlite(b, advised)) }

func BenchmarkDeviceEncrypt(b *testing.B) { benchtest.Encrypt(b, onSQLite) }

func BenchmarkDeviceDecrypt(b *testing.B) { benchtest.Decrypt(b, onSQLite) }

func BenchmarkDeviceDecryptSwapped(b *testing.B) { benchtest.DecryptSwapped(b, onSQLite) }

func BenchmarkFanout1000(b *testing.B) { benchtest.Fanout1000(b, onSQLite) }

func BenchmarkGroupFanout(b *testing.B) {
	b.Run("1000", func(b *testing.B) { benchtest.GroupFanout1000(b, onSQLite) })
}
