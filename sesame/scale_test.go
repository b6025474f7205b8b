package sesame_test

import (
	"testing"

	"github.com/sotto-im/sotto/sesame/internal/benchtest"
)

// How costs grow, in memory: cmd/floor -scale fits the exponents.

func BenchmarkScaleEncryptStored(b *testing.B)  { benchtest.ScaleEncryptStored(b) }
func BenchmarkScaleDecryptStored(b *testing.B)  { benchtest.ScaleDecryptStored(b) }
func BenchmarkScaleDecryptSwapped(b *testing.B) { benchtest.ScaleDecryptSwapped(b) }
func BenchmarkScaleChains(b *testing.B)         { benchtest.ScaleChains(b) }
func BenchmarkScaleArchived(b *testing.B)       { benchtest.ScaleArchived(b) }
func BenchmarkScaleForgedArchived(b *testing.B) { benchtest.ScaleForgedArchived(b) }
func BenchmarkScaleDevices(b *testing.B)        { benchtest.ScaleDevices(b) }
func BenchmarkScaleGroup(b *testing.B)          { benchtest.ScaleGroup(b) }
