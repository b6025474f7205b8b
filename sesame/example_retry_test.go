package sesame_test

import (
	"fmt"
	"log"
	"time"

	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/x3dh"
)

// Bob gets a message that he cannot read, and asks for it. Alice is told to start
// a new session, and sends it again.
func ExampleDevice_HandleRetry() {
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
	alice, bob := sesame.Address{User: "alice", Device: 1}, sesame.Address{User: "bob", Device: 1}
	aliceDB, aliceDev, _ := open()
	bobDB, bobDev, bobKeys := open()
	start := func(tx sesame.Tx) error {
		b, err := x3dh.NewBundle(x3dh.BundleInfo{ // from the server
			RegistrationID: bobKeys.RegistrationID, DeviceID: bob.Device,
			IdentityKey: bobKeys.IdentityKey, SignedPreKey: bobKeys.SignedPreKey,
		})
		if err != nil {
			return err
		}
		return aliceDev.Start(tx, bob, b)
	}

	// Alice writes, and something goes wrong on the way.
	var out []sesame.Message
	do(aliceDB, func(tx sesame.Tx) (err error) {
		if err = start(tx); err != nil {
			return err
		}
		out, err = aliceDev.EncryptLogged(tx, 1700000000000, []byte("hello"), bob)
		return err
	})
	lost := out[0]
	lost.Bytes[len(lost.Bytes)-20] ^= 1

	// Bob: one call more in the transaction of every Decrypt.
	var request *sesame.Message
	do(bobDB, func(tx sesame.Tx) error {
		r, err := bobDev.Decrypt(tx, alice, lost.Type, lost.Bytes)
		if err != nil {
			return err
		}
		fmt.Println("bob:", r.Err)
		request, err = bobDev.RetryRequest(tx, r, lost.Timestamp)
		return err // store both the verdict and the request
	})

	// Alice: what comes with type PlaintextContent goes to HandleRetry.
	var again sesame.Message
	handle := func(tx sesame.Tx) (err error) {
		again, err = aliceDev.HandleRetry(tx, bob, alice.Device, request.Bytes,
			func(timestamp uint64) (bool, error) { return true, nil }) // is Bob a member still?
		return err
	}
	do(aliceDB, handle)
	fmt.Println("alice:", again.Err)
	do(aliceDB, func(tx sesame.Tx) error {
		if err := start(tx); err != nil {
			return err
		}
		return handle(tx)
	})

	do(bobDB, func(tx sesame.Tx) error {
		r, err := bobDev.Decrypt(tx, alice, again.Type, again.Bytes)
		if err == nil {
			fmt.Printf("bob: %s, of %d\n", r.Plaintext, again.Timestamp)
		}
		return err
	})
	// Output:
	// bob: sesame: message does not decrypt: ratchet: message does not authenticate
	// alice: sesame: no session with the device
	// bob: hello, of 1700000000000
}

func do(db *sesame.Memory, f func(tx sesame.Tx) error) {
	if err := db.Do(f); err != nil {
		log.Fatal(err)
	}
}
