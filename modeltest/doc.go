// Package modeltest holds the tests of envelope and lamport that need more than
// the library may depend on: properties with shrinking, and the protobuf runtime
// reading our frames through envelope.proto. It is a module of its own, so that
// who imports the library downloads none of it.
//
//	cd modeltest && go test ./...
package modeltest
