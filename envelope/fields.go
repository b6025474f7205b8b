package envelope

import "github.com/sotto-im/sotto/internal/wire"

// Fields of proto3: a default value is left out.

func sizeNonZero(num int, v uint64) int {
	if v == 0 {
		return 0
	}
	return wire.SizeUint(num, v)
}

func appendBytesNonEmpty(b []byte, num int, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return wire.AppendBytes(b, num, v)
}

func sizeNonEmpty(num int, v []byte) int {
	if len(v) == 0 {
		return 0
	}
	return wire.SizeBytes(num, len(v))
}

func appendBool(b []byte, num int, v bool) []byte {
	if !v {
		return b
	}
	return wire.AppendUint(b, num, 1)
}

func sizeBool(num int, v bool) int {
	if !v {
		return 0
	}
	return wire.SizeUint(num, 1)
}
