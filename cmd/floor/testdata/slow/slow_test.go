package slow

import (
	"crypto/sha256"
	"fmt"
	"testing"
)

var block [64]byte

func hash(b *testing.B, n int) {
	b.ReportAllocs()
	for b.Loop() {
		for range n {
			sha256.Sum256(block[:])
		}
	}
}

func BenchmarkFast(b *testing.B)      { hash(b, 100) }
func BenchmarkFloorFast(b *testing.B) { hash(b, 100) }

func BenchmarkSlow(b *testing.B)      { hash(b, 200) }
func BenchmarkFloorSlow(b *testing.B) { hash(b, 100) }

func BenchmarkNoFloor(b *testing.B) { hash(b, 1) }

func BenchmarkScaleLinear(b *testing.B) { scale(b, func(n int) int { return n }) }
func BenchmarkScaleSquare(b *testing.B) { scale(b, func(n int) int { return n * n }) }

func scale(b *testing.B, cost func(int) int) {
	for _, n := range []int{10, 20, 40} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) { hash(b, cost(n)) })
	}
}
