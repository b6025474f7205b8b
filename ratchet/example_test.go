package ratchet_test

import (
	"fmt"
	"log"
	"time"

	"github.com/sotto-im/sotto/ratchet"
	"github.com/sotto-im/sotto/x3dh"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Alice writes to Bob, who is offline, and he answers. What a real client adds
// is a database: see the comments.
func Example() {
	now := time.Now()

	// Bob's device makes its keys, stores them, and then publishes a bundle.
	bobKey := x3dh.GenerateIdentityKey()
	signed, err := x3dh.GenerateSignedPreKey(bobKey, 1, now)
	check(err)
	oneTime, err := x3dh.GeneratePreKeys(1, 1)
	check(err)
	bundle, err := x3dh.NewBundle(x3dh.BundleInfo{
		IdentityKey:   bobKey.Public(),
		SignedPreKey:  signed.Public(),
		OneTimePreKey: new(oneTime[0].Public()),
	})
	check(err)

	// Alice fetches it, and checks that the identity key is the one that she
	// has for Bob, if she has one.
	aliceKey := x3dh.GenerateIdentityKey()
	agreement, err := x3dh.Initiate(aliceKey, bundle)
	check(err)
	alice, err := ratchet.New(agreement, ratchet.Config{Created: now})
	check(err)
	message, _, err := alice.Encrypt(nil, []byte("Are you there?")) // store alice, then send
	check(err)

	// Bob's device looks up the prekeys that the message names.
	initial, err := x3dh.ParseInitialMessage(message)
	check(err)
	acceptance, err := x3dh.Respond(bobKey, initial, signed, oneTime[0])
	check(err)
	bob, plaintext, err := ratchet.Accept(nil, acceptance, ratchet.Config{})
	check(err) // store bob and the plaintext, delete the one-time prekey, then acknowledge
	fmt.Printf("Bob reads: %s\n", plaintext)

	message, _, err = bob.Encrypt(nil, []byte("Always."))
	check(err)
	plaintext, err = alice.Decrypt(nil, message)
	check(err)
	fmt.Printf("Alice reads: %s\n", plaintext)

	// Output:
	// Bob reads: Are you there?
	// Alice reads: Always.
}

// A session lives in a database between two calls. The record is secret.
func ExampleSession_AppendBinary() {
	session := newSession()
	record, err := session.AppendBinary(nil)
	check(err)

	session, err = ratchet.ParseSession(record, ratchet.Signal)
	check(err)
	message, typ, err := session.Encrypt(nil, []byte("text"))
	check(err)
	record, err = session.AppendBinary(record[:0])
	check(err)
	// In one transaction: the record, and the message in an outbox. Then send.

	fmt.Println(typ == ratchet.Initial, len(message) > 0, len(record) < 400)
	// Output: true true true
}

func newSession() *ratchet.Session {
	peer := x3dh.GenerateIdentityKey()
	signed, err := x3dh.GenerateSignedPreKey(peer, 1, time.Now())
	check(err)
	bundle, err := x3dh.NewBundle(x3dh.BundleInfo{IdentityKey: peer.Public(), SignedPreKey: signed.Public()})
	check(err)
	agreement, err := x3dh.Initiate(x3dh.GenerateIdentityKey(), bundle)
	check(err)
	session, err := ratchet.New(agreement, ratchet.Config{Created: time.Now()})
	check(err)
	return session
}
