package relay_test

import (
	"fmt"
	"net"

	"github.com/sotto-im/sotto/envelope"
	"github.com/sotto-im/sotto/internal/relay"
	"github.com/sotto-im/sotto/sesame"
)

func uuid(b byte) (v [16]byte) {
	for i := range v {
		v[i] = b
	}
	return v
}

// A line is a connection to the server that may lose the server's first answer:
// it breaks instead.
type line struct {
	net.Conn
	loses bool
}

func (l line) Write(b []byte) (int, error) {
	if l.loses {
		l.Close()
		return 0, net.ErrClosed
	}
	return l.Conn.Write(b)
}

// A server, the phone of one user, and two devices of another: one of them
// sleeps. The first answer of the server is lost, so the phone connects and sends
// again, and the server recognises the message. Two ciphertexts of each message
// wait in mailboxes; the sleeper finds all of them, in the order of the server.
// Connections are pipes; nothing else would change over TCP.
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
	// encrypted; an application calls its sesame.Device.
	changed := make(chan struct{}, 100)
	device := func(d envelope.Device) *relay.Client {
		return &relay.Client{Self: d, Do: new(relay.Store).Do, Changed: func() { changed <- struct{}{} },
			Seal: func(_ sesame.Tx, _ envelope.Device, _ uint32, plaintext []byte) (uint8, []byte, error) {
				return 2, plaintext, nil
			},
			Open: func(_ sesame.Tx, from envelope.Device, _ uint8, ciphertext []byte) ([]byte, envelope.Sender, error) {
				return ciphertext, envelope.Sender(from), nil
			},
		}
	}
	start := func(c *relay.Client, loses bool) (client net.Conn, ended chan struct{}) {
		client, accepted := net.Pipe()
		ended = make(chan struct{}, 2)
		go func() { _ = server.Serve(line{accepted, loses}, c.Self); ended <- struct{}{} }()
		go func() { _ = c.Run(client); ended <- struct{}{} }()
		return client, ended
	}
	connect := func(c *relay.Client) (disconnect func()) {
		client, ended := start(c, false)
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
	_, ended := start(a, true)                                       // accepted, but the answer is lost
	<-ended
	<-ended
	fmt.Println("waiting:", a.Messages(chat)[0].State == relay.Pending)

	disconnectA, disconnectB := connect(a), connect(b)
	until(sent(a, 1)) // sent again, and answered as the first time
	until(sent(b, 1)) // once
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
