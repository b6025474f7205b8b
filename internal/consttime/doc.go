// Package consttime checks that no branch and no address depends on a secret.
//
// Valgrind's memcheck follows, bit by bit, which memory was never written, and
// reports each branch and each address that comes from such memory. The test
// tells it that secrets are such memory, and runs the library on them: what
// memcheck reports is then what an attacker could measure. It needs valgrind and
// the runtime's own annotations:
//
//	go test -tags valgrind ./internal/consttime
//
// Every report fails the test, but for those at a line on the list of verdicts:
// places where a secret has become something that everybody may know, such as
// whether a MAC is right. A planted leak of each kind shows that the test can fail.
package consttime
