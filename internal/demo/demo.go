// Package demo is the two parts of `sotto demo`: a conversation of Alice's phone
// and laptop and Bob's phone, and a group of five people and a newcomer; each with
// a server, a bad network, and an account that tells what happens and judges it.
// The devices keep their rows where the caller says: cmd/sotto in memory,
// sesame/sqlkv/sqltest/demo in SQLite files.
//
// Read device.go for what an application does with package sesame, and account.go
// for what is judged. For groups read member.go, member_send.go and
// member_receive.go, with parcel.go for their rows, and group_judge.go; the story is
// in group.go.
package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/sotto-im/sotto/sesame"
)

// A Do runs a function in a transaction of a device's database, and runs it
// again after sesame.ErrConflict.
type Do = func(func(sesame.Tx) error) error

// Options of a demo.
type Options struct {
	Seed     uint64 // what the network does, who writes when, and who is killed
	Messages int    // how many are written in the conversation; in the group it is always the same ones

	// Open opens a database without rows for an installation of a device:
	// "phone", "laptop", "bob", and "bob2" after he has installed anew; in the
	// group "group-" and the name of the device.
	Open func(name string) (Do, error)
}

// MaxMessages is the longest conversation.
const MaxMessages = 10_000

// Memory opens databases that end with the process.
func Memory(string) (Do, error) {
	store := new(sesame.Memory)
	return func(f func(sesame.Tx) error) error {
		for {
			if err := store.Do(f); !errors.Is(err, sesame.ErrConflict) {
				return err
			}
		}
	}, nil
}

var errJudged = errors.New("something that must hold did not")

// Run runs a conversation, and then a group, and writes the account of both. It
// returns an error if something that must hold did not, or could not be written.
func Run(o Options, w io.Writer) error {
	c, err := newConversation(o)
	if err != nil {
		return err
	}
	if err := c.show(o.Messages, w); err != nil {
		return err
	}
	g, err := newGroup(o)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return g.show(w)
}

// show runs the conversation and writes the account of it.
func (c *conversation) show(messages int, w io.Writer) error {
	out := bufio.NewWriter(w)
	c.account.w = out
	err := c.run(messages)
	c.account.endPart()
	if err == nil {
		fmt.Fprintln(out, c.account.summary(c.seed))
		if !c.account.ok() {
			err = errJudged
		}
	}
	return errors.Join(err, out.Flush())
}
