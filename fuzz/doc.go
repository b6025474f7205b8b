// Package fuzz holds the fuzz targets that need more than one package. There
// is nothing to import: it is what auditors run.
//
//	go test -fuzz=FuzzConversation ./fuzz
//	go test -fuzz=FuzzDelivery ./fuzz
//	go test -fuzz=FuzzGroup ./fuzz
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
//
// FuzzGroup does it with two groups of three to five devices of package sesame, one
// person having two, whose members change while messages are written for the group as
// somebody still knows it, refused, lost, overtaken and damaged, while transactions
// fail, processes run in each other's, databases go back to a snapshot, and devices are
// installed anew. No key is for two plaintexts; what is delivered is what was written,
// once, and only for whom it was written: everybody else tries it with his rows and
// with every distribution that he ever got; a message that is refused changes no row; who
// remains reads everything that was written for him; and when the faults stop, everybody
// reads everybody within ten exchanges. After a snapshot some of that holds no more (SPEC.md
// §11.7): the device uses keys again, has forgotten who may read the chain that it had then, and
// how far it was, and what it wrote then may never be read. All else holds, the end too.
//
// README.md beside this file lists all targets of the repository.
package fuzz
