// Package fuzz holds the fuzz targets that need more than one package. There
// is nothing to import: it is what auditors run.
//
//	go test -fuzz=FuzzConversation ./fuzz
//
// FuzzConversation reads each byte of its input as an action of two devices,
// or of the network between them, and compares what the sessions do with a
// model that knows no cryptography: which message opens, once, which is a
// duplicate, and which came too late. After every step it reads the stored
// record of the session and compares that with the model as well. The targets
// for one decoder stand beside the decoder.
package fuzz
