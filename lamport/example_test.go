package lamport_test

import (
	"fmt"
	"slices"

	"github.com/sotto-im/sotto/lamport"
)

func uuid(b byte) (v [16]byte) {
	for i := range v {
		v[i] = b
	}
	return v
}

// The server's transaction: load three rows, decide, store. The rows stand in a
// map here; in a database it is one transaction of one key each.
func ExampleConversation_Submit() {
	rows := map[string][]byte{}
	phone := lamport.Device{User: uuid(0xa1), ID: 1}

	submit := func(s lamport.Submission) string {
		// Load. The receipt is found by sender and message ID together.
		receiptKey := fmt.Sprintf("receipt/%x/%d/%x", s.Sender.User, s.Sender.ID, s.ID)
		conversation, err := lamport.NewConversation(s.Conversation, 1)
		check(err)
		if b, ok := rows["conversation"]; ok {
			check(conversation.UnmarshalBinary(b))
		}
		window, err := lamport.NewWindow(s.Sender)
		check(err)
		if b, ok := rows["window"]; ok {
			check(window.UnmarshalBinary(b))
		}
		var prior *lamport.Receipt
		if b, ok := rows[receiptKey]; ok {
			prior = new(lamport.Receipt)
			check(prior.UnmarshalBinary(b))
		}

		// Decide.
		receipt, err := conversation.Submit(window, s, prior)
		switch err {
		case nil:
		case lamport.ErrDuplicate:
			return fmt.Sprint("duplicate of ", receipt.Position.Number)
		default:
			return err.Error()
		}

		// Store, with the mailbox rows of the recipients.
		rows["conversation"], err = conversation.AppendBinary(nil)
		check(err)
		rows["window"], err = window.AppendBinary(nil)
		check(err)
		rows[receiptKey], err = receipt.AppendBinary(nil)
		check(err)
		return fmt.Sprint("accepted as ", receipt.Position.Number)
	}

	first := lamport.Submission{Conversation: uuid(0xc0), ID: uuid(1), Sender: phone, Counter: 1, Stamp: 1}
	second := lamport.Submission{Conversation: uuid(0xc0), ID: uuid(2), Sender: phone, Counter: 2, Stamp: 2}
	fmt.Println(submit(first))
	fmt.Println(submit(first)) // the answer was lost
	fmt.Println(submit(second))
	for key := range rows { // a year later: receipts are deleted
		if key[:3] == "rec" {
			delete(rows, key)
		}
	}
	fmt.Println(submit(first))
	// Output:
	// accepted as 1
	// duplicate of 1
	// accepted as 2
	// lamport: accepted before, receipt forgotten
}

// A message that is still on its way stands behind what its author had seen, and
// moves once.
func ExamplePendingKey() {
	alice, bob := lamport.Device{User: uuid(0xa1), ID: 1}, lamport.Device{User: uuid(0xb0), ID: 1}
	type line struct {
		key  lamport.Key
		text string
	}
	pending := lamport.PendingKey(lamport.Position{Epoch: 1, Number: 1}, 2, alice, uuid(2))
	screen := []line{
		{pending, "alice: at eight?"},
		{lamport.ConfirmedKey(lamport.Position{Epoch: 1, Number: 2}, 2, bob, uuid(3)), "bob: and where?"},
		{lamport.ConfirmedKey(lamport.Position{Epoch: 1, Number: 1}, 1, bob, uuid(1)), "bob: when?"},
	}
	show := func() {
		slices.SortFunc(screen, func(a, b line) int { return a.key.Compare(b.key) })
		for _, l := range screen {
			fmt.Println(l.text)
		}
	}
	show()
	fmt.Println("– the answer: 3 –")
	for i := range screen {
		if screen[i].key == pending {
			var err error
			screen[i].key, err = pending.Confirm(lamport.Position{Epoch: 1, Number: 3})
			check(err)
		}
	}
	show()
	// Output:
	// bob: when?
	// alice: at eight?
	// bob: and where?
	// – the answer: 3 –
	// bob: when?
	// bob: and where?
	// alice: at eight?
}

// A client's mailbox: deliveries come late and twice, and are processed in order
// and once.
func ExampleInbox() {
	var inbox lamport.Inbox
	process := func(p lamport.Position, frame []byte) {
		// In one transaction: store the plaintext, Advance, store the record.
		check(inbox.Advance(p))
		fmt.Printf("%d: %s, acknowledged\n", p.Number, frame)
	}
	for _, d := range []struct {
		n     uint64
		frame string
	}{{1, "one"}, {3, "three"}, {1, "one"}, {2, "two"}} {
		p := lamport.Position{Epoch: 1, Number: d.n}
		verdict, err := inbox.Receive(p, []byte(d.frame))
		check(err)
		if verdict == lamport.Resync { // a new device, or the mailbox began anew
			check(inbox.Restart(p.Epoch))
			verdict, err = inbox.Receive(p, []byte(d.frame))
			check(err)
		}
		switch verdict {
		case lamport.Process:
			process(p, []byte(d.frame))
			for p, frame, ok := inbox.Next(); ok; p, frame, ok = inbox.Next() {
				process(p, frame)
			}
		case lamport.Acknowledge:
			fmt.Println("acknowledge", inbox.At().Number, "again")
		case lamport.Fetch:
			fmt.Println("fetch after", inbox.At().Number)
		}
	}
	// Output:
	// 1: one, acknowledged
	// fetch after 1
	// acknowledge 1 again
	// 2: two, acknowledged
	// 3: three, acknowledged
}

// A reaction is a register of its author: devices converge, nobody else writes.
func ExampleRegister() {
	phone := lamport.Device{User: uuid(0xa1), ID: 1}
	laptop := lamport.Device{User: uuid(0xa1), ID: 2}
	stranger := lamport.Device{User: uuid(0x66), ID: 1}
	reaction, err := lamport.NewRegister(uuid(0xa1))
	check(err)
	for _, w := range []lamport.Write{
		{Device: phone, Stamp: 7, Value: []byte("+1")},
		{Device: laptop, Stamp: 9, Deleted: true},
		{Device: phone, Stamp: 8, Value: []byte("-1")}, // written earlier, arrives later
		{Device: stranger, Stamp: 10, Value: []byte("?")},
	} {
		won, err := reaction.Apply(w)
		fmt.Println(won, err)
	}
	_, ok := reaction.Value()
	fmt.Println("has a value:", ok)
	// Output:
	// true <nil>
	// true <nil>
	// false <nil>
	// false lamport: not the author
	// has a value: false
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
