//go:build valgrind

package consttime

import "unsafe"

// Requests of memcheck.
const (
	runningOnValgrind = 0x1001
	makeMemUndefined  = 'M'<<24 | 'C'<<16 + 1
	makeMemDefined    = 'M'<<24 | 'C'<<16 + 2
)

//go:noescape
func request(args *[6]uint64) uint64

func underValgrind() bool { return request(&[6]uint64{runningOnValgrind}) != 0 }

// secret makes b something that nothing may depend on.
func secret(b []byte) {
	request(&[6]uint64{makeMemUndefined, uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), uint64(len(b))})
}

// public ends it.
func public(b []byte) {
	request(&[6]uint64{makeMemDefined, uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), uint64(len(b))})
}
