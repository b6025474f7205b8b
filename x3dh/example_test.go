package x3dh_test

import (
	"fmt"
	"log"

	"github.com/sotto-im/sotto/x3dh"
)

// Two people compare the safety number: by reading 60 digits to each other, or
// by scanning a code.
func ExampleFingerprint() {
	alice, bob := x3dh.GenerateIdentityKey().Public(), x3dh.GenerateIdentityKey().Public()

	onAlicesPhone, err := x3dh.NewFingerprint(2, []byte("alice's account"), alice, []byte("bob's account"), bob)
	if err != nil {
		log.Fatal(err)
	}
	onBobsPhone, err := x3dh.NewFingerprint(2, []byte("bob's account"), bob, []byte("alice's account"), alice)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("same digits:", onAlicesPhone.String() == onBobsPhone.String())

	code, err := onBobsPhone.AppendBinary(nil) // Bob's phone shows this
	if err != nil {
		log.Fatal(err)
	}
	scanned, err := x3dh.ParseFingerprint(code)
	if err != nil {
		log.Fatal(err)
	}
	same, err := onAlicesPhone.Matches(scanned)
	fmt.Println("scanned:", same, err)
	// Output:
	// same digits: true
	// scanned: true <nil>
}
