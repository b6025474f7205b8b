// Package relay is the reference server and client of envelope and lamport: one
// loop each, over any connection. The server keeps its rows in memory, the client
// in transactions of the application. It shows what belongs into which of them, it
// is what `sotto demo` sends through, and the tests run it with lost answers,
// crashes and devices that sleep.
//
// It is not a server for production: there is no authentication (the caller of
// Serve says who connects), no quota but the length of a mailbox, and no disk.
// Read server.go for the server's transaction and client.go for the client's
// three: send, answer, receive.
//
// SPEC.md §8 and §9.
package relay
