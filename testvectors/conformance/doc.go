// Package conformance holds Sotto against what other people wrote: the test
// vectors of project Wycheproof, and conversations with released peers that run
// as processes of their own. README.md says which, and what is checked. It is a
// module of its own, so that who imports the library downloads none of it.
//
//	cd testvectors/conformance && ./setup && go test ./...
package conformance
