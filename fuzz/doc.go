// Package fuzz holds the fuzz targets that need more than one package. There
// is nothing to import: it is what auditors run.
//
//	go test -fuzz=FuzzConversation ./fuzz
//	go test -fuzz=FuzzDelivery ./fuzz
//
// FuzzConversation reads each byte of its input as an action of two devices,
// or of the network between them, and compares what the sessions do with a
// model that knows no cryptography: which message opens, once, which is a
// duplicate, and which came too late. After every step it reads the stored
// record of the session and compares that with the model as well. The targets
// for one decoder stand beside the decoder.
//
// FuzzDelivery does the same with the server: three devices and the server of
// package relay, over connections that break, lose, repeat and reorder frames,
// with devices that sleep and a server that restarts, loses its last commit and
// forgets receipts. Its model knows what was written and reads every frame of
// the server: nothing is accepted twice, numbers and positions have no holes, an
// answer never changes; and in the end all devices show everything once, in one
// order. Which of them a server that lost a commit may lack, it knows too.
package fuzz
