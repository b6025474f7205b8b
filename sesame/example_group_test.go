package sesame_test

import (
	"bytes"
	"fmt"
	"time"

	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// The application's own form of plaintexts, here a word in front of them.
const (
	text       = "text for friends: "
	groupChain = "chain for friends: "
)

// Alice writes to a group. Bob's device gets the message before the distribution,
// which travels in a pairwise message. Then Bob is not in the group any more.
func ExampleDevice_EncryptGroup() {
	open := func() (db *sesame.Memory, dev *sesame.Device, keys *sesame.Publication) {
		db = new(sesame.Memory)
		do(db, func(tx sesame.Tx) (err error) {
			if dev, err = sesame.Open(tx, sesame.Config{Now: time.Now}); err != nil {
				return err
			}
			keys, err = dev.Publish(tx, 0)
			return err
		})
		return db, dev, keys
	}
	alice, bob, carol := sesame.Address{User: "alice", Device: 1}, sesame.Address{User: "bob", Device: 1}, sesame.Address{User: "carol", Device: 1}
	aliceDB, aliceDev, _ := open()
	bobDB, bobDev, bobKeys := open()
	_, _, carolKeys := open()
	start := func(tx sesame.Tx, a sesame.Address, keys *sesame.Publication) error {
		b, err := x3dh.NewBundle(x3dh.BundleInfo{ // from the server
			RegistrationID: keys.RegistrationID, DeviceID: a.Device, IdentityKey: keys.IdentityKey, SignedPreKey: keys.SignedPreKey,
		})
		if err != nil {
			return err
		}
		return aliceDev.Start(tx, a, b)
	}
	wrap := func(distribution []byte) []byte { return append([]byte(groupChain), distribution...) }

	// Alice: who is in the group is read in the same transaction.
	write := func(revision uint64, message string, to ...sesame.Address) (out *sesame.GroupMessage) {
		do(aliceDB, func(tx sesame.Tx) (err error) {
			group := sesame.Group{Name: "friends", Revision: revision, Devices: to}
			out, err = aliceDev.EncryptGroup(tx, 0, group, []byte(text+message), wrap)
			return err // store out in the outbox: the ciphertext once, and the messages
		})
		return out
	}
	do(aliceDB, func(tx sesame.Tx) error {
		if err := start(tx, bob, bobKeys); err != nil {
			return err
		}
		return start(tx, carol, carolKeys)
	})
	hello := write(1, "hello", bob, carol)
	for _, m := range hello.Messages {
		fmt.Println(m.To.User, "needs the distribution:", m.Bytes != nil)
	}
	do(aliceDB, func(tx sesame.Tx) error { // the server has accepted them
		return aliceDev.Distributed(tx, "friends", hello.Chain, bob, carol)
	})
	again := write(1, "and again", bob, carol)
	fmt.Println("bob needs it again:", again.Messages[0].Bytes != nil)

	// Bob.
	readGroup := func(m *sesame.GroupMessage) {
		do(bobDB, func(tx sesame.Tx) error {
			r, err := bobDev.DecryptGroup(tx, alice, 0, "friends", m.Ciphertext)
			if err == nil {
				fmt.Printf("bob: %s, %v\n", r.Plaintext, r.Err)
			}
			return err // store the plaintext or the verdict, then acknowledge
		})
	}
	do(bobDB, func(tx sesame.Tx) error {
		m := hello.Messages[0]
		r, err := bobDev.Decrypt(tx, alice, m.Type, m.Bytes)
		if err != nil {
			return err
		}
		// The next message has come meanwhile.
		if early, err := bobDev.DecryptGroup(tx, alice, 0, "friends", again.Ciphertext); err != nil {
			return err
		} else {
			fmt.Println("bob:", early.Err)
		}
		distribution, ok := bytes.CutPrefix(r.Plaintext, []byte(groupChain))
		if !ok {
			return nil // a message like any other
		}
		held, err := bobDev.ProcessDistribution(tx, r, "friends", distribution)
		for _, h := range held {
			fmt.Printf("bob: %s\n", h.Plaintext)
		}
		return err
	})
	readGroup(hello)

	// Bob has left.
	alone := write(2, "without bob", carol)
	fmt.Println("a new chain:", alone.Chain != hello.Chain)
	readGroup(alone)

	// Output:
	// bob needs the distribution: true
	// carol needs the distribution: true
	// bob needs it again: false
	// bob: sesame: group message waits for its distribution
	// bob: text for friends: and again
	// bob: text for friends: hello, <nil>
	// a new chain: true
	// bob: , sesame: group message waits for its distribution
}
