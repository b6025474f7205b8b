package senderkey_test

import (
	"fmt"
	"log"
	"time"

	"github.com/sotto-im/sotto/senderkey"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Alice's device writes to a group of two, and then to one of them. What a real
// client adds are pairwise sessions, and a database: see the comments.
func Example() {
	now := time.Now()
	bob, carol := senderkey.Member{1}, senderkey.Member{2} // made of address, registration and identity key

	alice := senderkey.NewSender(senderkey.Config{})
	sent, err := alice.Encrypt(senderkey.Roster{Revision: 1, Members: []senderkey.Member{bob, carol}}, now, []byte("Hello, both."))
	check(err)
	distribution, err := sent.Distribution.AppendBinary(nil)
	check(err)
	// In one transaction: alice, and in the outbox the message for all, and the
	// distribution for each of sent.Missing, encrypted in the session with that
	// device. Then send. When the server has accepted them:
	check(alice.Delivered(sent.Chain, bob, carol))

	// Bob's device has a receiver for Alice's device in this group. The
	// distribution came out of the session with her.
	fromAlice := senderkey.NewReceiver(senderkey.Signal)
	d, err := senderkey.ParseDistribution(distribution, senderkey.Signal)
	check(err)
	check(fromAlice.Process(d)) // d.ID() belongs to this group from now on
	plaintext, _, err := fromAlice.Decrypt(nil, sent.Message)
	check(err) // store fromAlice and the plaintext, then acknowledge
	fmt.Printf("Bob reads: %s\n", plaintext)

	// Bob is removed. Alice's device does nothing about it but to say who is to
	// read the next message.
	sent, err = alice.Encrypt(senderkey.Roster{Revision: 2, Members: []senderkey.Member{carol}}, now, []byte("Hello, Carol."))
	check(err)
	_, _, err = fromAlice.Decrypt(nil, sent.Message)
	fmt.Println("Bob:", err)
	fmt.Println("a new chain:", sent.Rotated, "for", len(sent.Missing))

	// Output:
	// Bob reads: Hello, both.
	// Bob: senderkey: unknown chain
	// a new chain: true for 1
}
