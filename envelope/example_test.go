package envelope_test

import (
	"errors"
	"fmt"
	"net"

	"github.com/sotto-im/sotto/envelope"
)

func uuid(b byte) (v [16]byte) {
	for i := range v {
		v[i] = b
	}
	return v
}

// What a sender does: pack, encrypt for each device, submit.
func ExampleSubmit() {
	header := envelope.Header{
		Conversation: uuid(0xc0),
		ID:           uuid(0x1d), // a random UUID
		Sender:       envelope.Device{User: uuid(0xa1), ID: 1},
		Stamp:        42, // lamport.Clock.Tick
	}
	plaintext, err := envelope.Pack(nil, &header, []byte("see you at eight"))
	if err != nil {
		panic(err)
	}
	encrypt := func(plaintext []byte) []byte { return plaintext } // ratchet.Session.Encrypt

	table, err := envelope.NewRecipients(
		envelope.Recipient{Device: envelope.Device{User: uuid(0xb0), ID: 1}, RegistrationID: 4711, Type: 2, Ciphertext: encrypt(plaintext)},
		envelope.Recipient{Device: envelope.Device{User: uuid(0xb0), ID: 2}, RegistrationID: 815, Type: 2, Ciphertext: encrypt(plaintext)},
	)
	if err != nil {
		panic(err)
	}
	frame, err := (&envelope.Submit{Header: header, Counter: 7, Urgent: true, Recipients: table}).AppendBinary(nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(plaintext), "bytes of plaintext,", len(frame), "bytes of frame")
	// Output: 80 bytes of plaintext, 286 bytes of frame
}

// What a receiver does: decrypt with the session of the device that the header
// claims, then compare. A server that shows the message in another conversation
// is found out.
func ExampleUnpack() {
	alice := envelope.Device{User: uuid(0xa1), ID: 1}
	header := envelope.Header{Conversation: uuid(0xc0), ID: uuid(0x1d), Sender: alice, Stamp: 42}
	plaintext, err := envelope.Pack(nil, &header, []byte("yes, do it"))
	if err != nil {
		panic(err)
	}

	body, err := envelope.Unpack(&header, envelope.Sender(alice), plaintext)
	fmt.Printf("%s, %v\n", body, err)

	header.Conversation = uuid(0xc1)
	body, err = envelope.Unpack(&header, envelope.Sender(alice), plaintext)
	fmt.Printf("%d bytes, %v\n", len(body), errors.Is(err, envelope.ErrMismatch))
	// Output:
	// yes, do it, <nil>
	// 0 bytes, true
}

// One Frame and one buffer serve a whole connection.
func ExampleReadDelimited() {
	client, server := net.Pipe()
	go func() {
		for _, m := range []envelope.Message{&envelope.Fetch{MailboxEpoch: 1, After: 17}, &envelope.Ack{MailboxEpoch: 1, Position: 18}} {
			b, err := envelope.AppendDelimited(nil, m)
			if err != nil {
				panic(err)
			}
			if _, err := client.Write(b); err != nil {
				panic(err)
			}
		}
		client.Close()
	}()

	var f envelope.Frame
	var buf []byte
	var err error
	for {
		if buf, err = envelope.ReadDelimited(server, buf); err != nil {
			fmt.Println(err)
			return
		}
		m, err := f.Parse(buf)
		if err != nil {
			fmt.Println(err)
			return
		}
		switch m := m.(type) {
		case *envelope.Fetch:
			fmt.Println("everything after", m.After)
		case *envelope.Ack:
			fmt.Println("may forget up to", m.Position)
		}
	}
	// Output:
	// everything after 17
	// may forget up to 18
	// EOF
}
