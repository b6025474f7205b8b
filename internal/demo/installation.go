package demo

import "fmt"

// What a user has to do with another installation of the same person: to notice
// it, to compare safety numbers, and to say so.

// goUnderground takes Bob to where there is no signal.
func (c *conversation) goUnderground() {
	c.account.printf("---- Bob goes underground")
	c.tunnel = true
	if l := c.lines[c.bob]; l != nil {
		c.hangUp(l)
	}
}

// installAnew is Bob's phone that is lost, with its rows, and the app on a new
// one: another identity key, another registration ID, and nothing of before.
func (c *conversation) installAnew() error {
	c.account.printf("---- Bob's phone is lost there with all its rows. He installs anew: another identity key, another registration ID")
	c.account.lose(c.bob)
	if err := c.install(c.bob, "bob2"); err != nil {
		return err
	}
	c.tunnel = false
	if c.offline == c.bob {
		return nil
	}
	return c.connect(c.bob)
}

// lose notes what was in the outbox of a phone that is lost.
func (a *account) lose(d *device) {
	for _, m := range a.messages {
		if m.from == d && !m.accepted {
			a.gone++
			a.note("%s is gone with it", m.name)
		}
	}
}

// compare is two people who meet and compare what their screens show. Meanwhile
// everything arrives: what the phone before has sent is to be read before its key
// is given up.
func (c *conversation) compare(d *device) error {
	if err := c.arrive(); err != nil || !d.mustConfirm(c.bob) { // or that has come meanwhile
		return err
	}
	if _, err := c.bob.recipients(); err != nil { // he has to know whom he looks at
		return err
	}
	ours, err := d.safetyNumber(c.bob)
	if err != nil {
		return err
	}
	theirs, err := c.bob.safetyNumber(d)
	if err != nil {
		return err
	}
	if ours != theirs {
		return fmt.Errorf("the safety numbers of %s and Bob differ", d.name)
	}
	if err := d.confirm(c.bob); err != nil {
		return err
	}
	c.account.trusted[d] = c.bob.installation
	c.account.printf("---- %s and Bob both show %s. Alice confirms his new key", d.name, ours)
	if c.lines[d] == nil {
		return nil
	}
	c.hangUp(c.lines[d])
	return c.connect(d)
}
