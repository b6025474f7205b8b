// Package simulate plays devices of package sesame, each with an application, a
// database that fails and a network that does worse, and judges what comes of
// it. It is what "sotto simulate" runs.
//
// # World
//
// Three to five devices, each with one database that two processes of it use at
// once. Any step of any transaction may fail, done or not, or be the last one
// of its process (txtest.Inject); at any step the other process may run whole
// transactions, which makes conflicts. Messages are dropped, delivered twice,
// late and in any order, and lost for good; acknowledgements and uploads of
// prekeys get lost; prekeys run out; time jumps by days. Devices start at the
// same time, start anew, restart, and are installed anew: then their database
// is empty, and their identity key another one.
//
// Every second run has one group or two. Its members change while messages are
// under way, and a process may write to the members that it knew before. Devices
// forget groups, write a hundred messages in a row, and ask for what they could
// not read, also for ordinary messages. In some runs small groups get pairwise
// messages.
//
// There is no goroutine, no clock and one source of chance: a seed is a run,
// but for the keys.
//
// # Oracle
//
// When the faults have stopped, every message that is under way is delivered,
// and these must hold:
//
//   - No message key is used for two plaintexts: no two ciphertexts ever leave
//     a device under one ratchet key and number.
//   - Nothing is lost: a message that was acknowledged stands in the inbox of
//     the database that it was acknowledged for, as it was written, or has an
//     excuse. There are four: it was for an identity key that the device had
//     before it was installed anew; it is from such a key, and the receiver
//     confirmed another one since (R-10.6-3); it is an initial message to a
//     signed prekey of over 30 days that was replaced (R-10.3-3); the receiver has read five
//     newer ratchet keys of the sender (SPEC.md §5.6).
//   - Nothing is delivered twice: no message stands in an inbox twice.
//   - Every two devices that have talked converge: they write to each other in
//     turn, and of at most ten messages two in a row, one each way, are
//     ordinary ones under ratchet keys that were never seen before, and are
//     read. Then both write in one session, and it heals: only a message of the
//     session that a device writes in turns the key that it writes under.
//   - Of groups: no message key is used for two plaintexts there either. A
//     message opens for the devices that it was for and for no others: each one
//     is tried with all distributions that another installation was ever given,
//     late ones too, with its database as it was when it left, and as it is in
//     the end. So nobody who was removed reads what is written to the members
//     without him, and nobody who joins reads what was before. A distribution
//     goes to members only, and a message comes without one only if the server
//     has accepted one for that device. A chain is replaced when somebody who may
//     read it is gone, after 100 messages and after 7 days, and never else.
//   - A group message that was held comes out with its distribution. All that are
//     acknowledged are in the inbox when what was not read has been asked for, or
//     cannot be sent again: its writer or its reader was installed anew, it is
//     14 days old, its reader is no member any more, it was sent again five times.
//   - Groups converge: all members write in turn, and of at most four messages
//     of each the last ones are read by all, without a distribution and without
//     a request.
//   - No call answers an error that the fault did not make.
package simulate
