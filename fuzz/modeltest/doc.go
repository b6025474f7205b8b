// Package modeltest holds the tests that need more than the library may depend
// on: properties of envelope and lamport with shrinking, and the protobuf runtime
// reading and writing everything of ours through the schemas that other languages
// use. It is a module of its own, so that who imports the library downloads none
// of it.
//
//	cd fuzz/modeltest && go test ./...
package modeltest
