package relay_test

import (
	"fmt"
	"net"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
)

func uuid(b byte) (v [16]byte) {
	for i := range v {
		v[i] = b
	}
	return v
}

// A server, the phone of one user, and two devices of another: one of them
// sleeps. Two ciphertexts of each message wait in mailboxes; the sleeper finds
// all of them, in the order of the server. Connections are pipes; nothing else
// would change over TCP.
func Example() {
	alice := envelope.Device{User: uuid(0xa1), ID: 1}
	bobsPhone := envelope.Device{User: uuid(0xb0), ID: 1}
	bobsTablet := envelope.Device{User: uuid(0xb0), ID: 2}
	chat := uuid(0xc0)

	server := &relay.Server{Store: &relay.Store{}}
	directory := map[envelope.Device]uint32{alice: 11, bobsPhone: 21, bobsTablet: 22} // registration IDs
	for d, registration := range directory {
		check(server.Register(d, registration))
	}
	recipients := func(from envelope.Device) (list []envelope.Recipient) {
		for d, registration := range directory {
			if d != from {
				list = append(list, envelope.Recipient{Device: d, RegistrationID: registration})
			}
		}
		return list
	}

	// A device: its rows, and the two functions that encrypt. Here nothing is
	// encrypted; an application calls its ratchet sessions, or sesame.
	changed := make(chan struct{}, 100)
	device := func(d envelope.Device) *relay.Client {
		return &relay.Client{Self: d, Store: &relay.Store{}, Changed: func() { changed <- struct{}{} },
			Seal: func(_ *relay.Tx, _ envelope.Device, _ uint32, plaintext []byte) (uint8, []byte, error) {
				return 2, plaintext, nil
			},
			Open: func(_ *relay.Tx, _ envelope.Device, _ uint8, ciphertext []byte) ([]byte, error) {
				return ciphertext, nil
			},
		}
	}
	connect := func(c *relay.Client) (disconnect func()) {
		client, accepted := net.Pipe()
		ended := make(chan struct{}, 2)
		go func() { _ = server.Serve(accepted, c.Self); ended <- struct{}{} }()
		go func() { _ = c.Run(client); ended <- struct{}{} }()
		return func() { client.Close(); <-ended; <-ended }
	}
	until := func(done func() bool) {
		for !done() {
			<-changed
		}
	}
	sent := func(c *relay.Client, n int) func() bool {
		return func() bool {
			list := c.Messages(chat)
			for _, m := range list {
				if m.State != relay.Sent {
					return false
				}
			}
			return len(list) == n
		}
	}

	a, b, tablet := device(alice), device(bobsPhone), device(bobsTablet)
	check(a.Send(chat, uuid(1), recipients(alice), []byte("when?"))) // not connected: it waits
	fmt.Println("waiting:", a.Messages(chat)[0].State == relay.Pending)

	disconnectA, disconnectB := connect(a), connect(b)
	until(sent(b, 1))
	check(b.Send(chat, uuid(2), recipients(bobsPhone), []byte("at eight")))
	until(sent(a, 2))
	disconnectA()
	disconnectB()

	disconnect := connect(tablet) // it wakes up
	until(sent(tablet, 2))
	disconnect()
	for _, m := range tablet.Messages(chat) {
		fmt.Printf("%s\n", m.Body)
	}
	// Output:
	// waiting: true
	// when?
	// at eight
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
