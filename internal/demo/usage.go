package demo

// Story is what a user reads before the account.
const Story = `Alice has a phone and a laptop, Bob has a phone. They talk through a server that
cannot read them, over connections that break in the middle of a frame, lose
answers, repeat, delay and reorder. One device goes offline for a while; what it
writes waits in its outbox, and what it is written waits in its mailbox. Now and
then they hint at what they are about to write, in ephemeral messages that nobody
stores. Apps are killed, between any two steps of a transaction, and go on from
their rows. Half way Bob loses his phone and installs anew: the server refuses
what is sealed for the old one, Alice's devices show that his identity key has
changed, and write to him again when the two have compared safety numbers.

The account has a line for each message, and one for each that arrives:
  #3          a message; ~3 is a hint
  to Bob f1e2d3/4
              what it is sealed for: the start of the sender's public ratchet
              key, and the number of the message under it
  initial     it carries the handshake, which the sender repeats until the
              first answer
  is number 5 the place in the conversation that the server gave it; "as
              before" if it was accepted before: the first answer, again
  comes to Bob after 3
              the network holds it back until 3 more were written
  DH step     the message brought a new ratchet key: the reader takes secrets
              from it and will answer under a new key of its own
  late        newer messages were read before; the reader had kept the key
  MARKED      Bob's identity key is not the one that the reader trusts
  recognises  a second copy, which is dropped

Then five people found a group, one of them with two devices. A message is one
ciphertext for all, in a chain whose keys go to those who lack them, each in its
own session. Frank joins, Erin is removed while Bob still writes to her, and
Carol loses her tablet. The account of it has more words:
  keys to Frank
              the distribution of the chain, in a session with each
  chain f00e1b/2
              the start of the chain's distribution ID, and the message's number
  is NEW      another chain begins before the message, and why
  holds g5    the message came before its keys, and is kept until they come
  is given g10
              a leaky server shows somebody what is not for him; he tries it
In the end there is a table of who can read what. What is not for a device is
tried with the rows that it has, those of Erin and of the tablet too.

The last line of each part is for scripts. The exit code is 1 if a message that
was accepted is missing on a screen, or stands there twice, changed, or in another
order than the server's; if a key seals two messages; if a message of Bob's new
phone is not marked before Alice has compared; or if a device opens a message that
was written when it was no member's, or goes to others than the members. One seed
gives one account, but for the keys.
`
