package wire

import "google.golang.org/protobuf/encoding/protowire"

// The encoders below write one field each. Callers keep ascending order of
// field numbers, which is what every peer writes. Messages (proto2) write
// zeros; records (proto3) leave them out, through the functions named …NonZero.

// AppendUint writes field num as a varint.
func AppendUint(b []byte, num int, v uint64) []byte {
	b = protowire.AppendTag(b, protowire.Number(num), protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

// AppendBytes writes field num as bytes.
func AppendBytes(b []byte, num int, v []byte) []byte {
	b = protowire.AppendTag(b, protowire.Number(num), protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

// AppendFixed64 writes field num as a fixed64.
func AppendFixed64(b []byte, num int, v uint64) []byte {
	b = protowire.AppendTag(b, protowire.Number(num), protowire.Fixed64Type)
	return protowire.AppendFixed64(b, v)
}

// AppendUintNonZero writes field num as a varint unless v is 0.
func AppendUintNonZero(b []byte, num int, v uint64) []byte {
	if v == 0 {
		return b
	}
	return AppendUint(b, num, v)
}

// AppendBytesHeader writes the tag and length of a bytes field of n bytes,
// which the caller appends next.
func AppendBytesHeader(b []byte, num, n int) []byte {
	b = protowire.AppendTag(b, protowire.Number(num), protowire.BytesType)
	return protowire.AppendVarint(b, uint64(n))
}

// SizeUint is the encoded size of a varint field.
func SizeUint(num int, v uint64) int {
	return protowire.SizeTag(protowire.Number(num)) + protowire.SizeVarint(v)
}

// SizeBytes is the encoded size of a bytes field of n bytes.
func SizeBytes(num, n int) int {
	return protowire.SizeTag(protowire.Number(num)) + protowire.SizeBytes(n)
}
