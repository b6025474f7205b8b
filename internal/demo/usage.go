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

The last line is for scripts. The exit code is 1 if a message that was accepted
is missing on one of the three screens, or stands there twice, changed, or in
another order than the server's; if a key seals two messages; or if a message of
Bob's new phone is not marked before Alice has compared. One seed gives one
account, but for the keys.
`
