"""senderkey_transcript.json and senderkey_rotation.json."""

import copy

import senderkey
from cases_ratchet import record_fields
from cases_x3dh import BAD_KEYS
from make import File, draw
from primitives import cbc_encrypt, hmac
from refused import Refused
from senderkey import Receiver, Sender
from xeddsa import sign


class Log:
    def __init__(self, name, family):
        self.name, self.family, self.signal = name, family, family == "signal"
        self.chains, self.receivers, self.steps, self.drawn = {}, {}, [], 0

    def _random(self, what, size=32):
        self.drawn += 1
        return draw("%s/%s/%s/%d" % (self.name, self.family, what, self.drawn), size)

    def _chain(self, op, chain, **fields):
        self.steps.append({"op": op, "chain": chain} | fields | record_fields(senderkey.write_chains([self.chains[chain]])))

    def _receiver(self, op, name, **fields):
        record = senderkey.write_receiver(self.receivers.get(name, Receiver()))
        self.steps.append({"op": op, "receiver": name} | fields | record_fields(record))

    def create(self, chain, distribution_id=None, chain_id=None, comment=None):
        if self.signal:
            distribution_id = distribution_id or self._random("distribution ID", 16)
        random = {"chainId": int.from_bytes(self._random("chain ID", 4), "big") if chain_id is None else chain_id,
                  "chainKey": self._random("chain key"), "signingKey": self._random("signing key")}
        self.chains[chain] = senderkey.new_chain(distribution_id, *random.values())
        self._chain("create", chain, comment=comment, distributionId=distribution_id, random=random)
        return distribution_id

    def load_chain(self, chain, value):
        self.chains[chain] = value
        self._chain("load", chain, distributionId=value.distribution_id)

    def load_receiver(self, name, value):
        self.receivers[name] = value
        self._receiver("load", name)

    def distribute(self, chain):
        message = senderkey.write_distribution(self.chains[chain], self.signal)
        self._chain("distribute", chain, message=message)
        return message

    def encrypt(self, chain, plaintext, comment=None):
        z = self._random("z", 64)
        given = dict(comment=comment, plaintext=plaintext, random={"z": z})
        try:
            self.chains[chain], message, seed = senderkey.encrypt(self.chains[chain], self.signal, plaintext, z)
        except Refused as error:
            self._chain("encrypt", chain, error=error.name, **given)
            return None
        self._chain("encrypt", chain, message=message, seed=seed, **given)
        return message

    def _call(self, op, name, message, function, comment, error):
        try:
            result = function(self.receivers.get(name, Receiver()), self.signal, message)
        except Refused as refusal:
            assert error in (refusal.name, refusal.name.partition(".")[2]), (comment, refusal.name)
            self._receiver(op, name, comment=comment, message=message, error=refusal.name)
            return None
        assert error is None, comment
        return result

    def process(self, name, message, comment=None, error=None):
        after = self._call("process", name, message, senderkey.process, comment, error)
        if after:
            self.receivers[name] = after
            self._receiver("process", name, comment=comment, message=message)

    def decrypt(self, name, message, comment=None, error=None):
        result = self._call("decrypt", name, message, senderkey.decrypt, comment, error)
        if result:
            self.receivers[name], plaintext, missing, seed = result
            self._receiver("decrypt", name, comment=comment, message=message, plaintext=plaintext, missing=missing, seed=seed)

    def done(self, f, comment, *flags):
        f.test("%s: %s" % (self.family, comment), *flags, family=self.family, steps=self.steps)


def forge(chain, signal, iteration, padded=None, tail=b"", plaintext=b"forged", resign=None):
    """A message of a number of one's choice, correctly signed. padded: the plaintext with its padding."""
    c = copy.deepcopy(chain)
    while c.iteration < iteration:
        c.key, c.iteration = hmac(c.key, b"\x02"), c.iteration + 1
    _, message, seed = senderkey.encrypt(c, signal, plaintext, draw("forge/z", 64))
    covered = message[:-64]
    if padded is not None:
        key, iv = senderkey.expand(seed)
        head, n = senderkey._write_head(c, signal)
        covered = head + senderkey.wire.block(n, cbc_encrypt(key, iv, padded) if len(padded) % 16 == 0 else padded)
    covered += tail
    return covered + sign(c.private, covered, draw("forge/z", 64))


def _group(f, family):
    log = Log("group", family)
    log.create("alice")
    early = log.distribute("alice")
    log.process("bob", early)
    messages = [log.encrypt("alice", text) for text in (b"zero", b"", b"two, over more than one block of it", b"three")]
    late = log.distribute("alice")
    log.process("carol", late, "joins at number 4")
    messages.append(log.encrypt("alice", b"four"))
    log.decrypt("bob", messages[2], "two are missing")
    log.decrypt("bob", messages[0], "late")
    log.decrypt("bob", messages[0], "again", "ErrDuplicate")
    log.decrypt("bob", messages[3])
    log.decrypt("bob", messages[1], "late")
    log.decrypt("bob", messages[3], "again", "ErrDuplicate")
    log.decrypt("carol", messages[3], "from before she joined", "ErrDuplicate")
    log.decrypt("carol", messages[4])
    log.decrypt("dave", messages[4], "has no chain", "ErrNoChain")
    log.process("bob", early, "the same distribution again: nothing is rewound")
    log.process("bob", late, "a later one of the same chain: nothing is moved ahead")
    log.decrypt("bob", messages[4])
    log.done(f, "a group, a late joiner")


def _forged(f, family):
    log = Log("forged", family)
    log.create("alice")
    distribution = log.distribute("alice")
    log.process("bob", distribution)
    chain, signal = copy.deepcopy(log.chains["alice"]), log.signal
    good = log.encrypt("alice", b"good")

    def change(i, bit=1):
        i %= len(good)
        return good[:i] + bytes([good[i] ^ bit]) + good[i + 1:]
    for i, what in ((-1, "sign bit and s: the last byte"), (-33, "R: the last byte"), (-64, "R: the first byte"), (-65, "ciphertext: the last byte"), (0, "nibble")):
        log.decrypt("bob", change(i), what + " changed", "ErrAuthentication")
    log.decrypt("bob", change(-1, 128), "sign bit changed", "ErrAuthentication")
    log.decrypt("bob", good[:-64] + bytes(64), "a signature of zeros", "ErrAuthentication")
    log.decrypt("bob", b"\x43" + good[1:], "version 4", "ErrVersion")
    log.decrypt("bob", b"\x23" + good[1:], "version 2", "ErrVersion")
    log.decrypt("bob", good[:64], "64 bytes", "ErrMalformed")
    log.decrypt("bob", good[1:], "no version byte", "ErrMalformed" if good[1] >> 4 == 3 else "ErrVersion")
    other = Log("forged by a member", family)
    other.create("mallory", chain.distribution_id, chain.chain_id << 1)
    forged = senderkey.encrypt(copy.copy(chain), signal, b"in her name", draw("z", 64))[1][:-64]
    log.decrypt("bob", forged + sign(other.chains["mallory"].private, forged, draw("z", 64)), "by a member, who has the chain key and another signing key", "ErrAuthentication")
    log.decrypt("bob", forge(chain, signal, 0, padded=b"x" * 15 + b"\0"), "signed, padding of 0", "ErrAuthentication")
    log.decrypt("bob", forge(chain, signal, 0, padded=b"x" * 14 + b"\x01\x02"), "signed, padding of 2 with another byte first", "ErrAuthentication")
    log.decrypt("bob", forge(chain, signal, 0, padded=b""), "signed, an empty ciphertext", "ErrAuthentication")
    log.decrypt("bob", forge(chain, signal, 0, padded=b"x" * 17), "signed, 17 bytes of ciphertext", "ErrAuthentication")
    log.decrypt("bob", forge(chain, signal, 1, padded=b"x" * 15 + b"\0"), "signed, a skipped number, padding of 0: no key is stored", "ErrAuthentication")
    log.decrypt("bob", forge(chain, signal, 0, tail=b"\x30\x01", plaintext=b"unknown"), "signed, with an unknown field")
    log.decrypt("bob", good, "the good one has the same number", "ErrDuplicate")
    number = 5 if signal else 4  # of the last field of the distribution
    at = len(distribution) - 35
    for what, bad in BAD_KEYS.items():
        log.process("eve", distribution[:at] + senderkey.wire.block(number, bad(chain.signing)), "distribution, signing key: " + what, "ErrMalformed")
    log.process("eve", distribution[:-1], "distribution: truncated", "ErrMalformed")
    log.process("eve", distribution[:at], "distribution: no signing key", "ErrMalformed")
    log.process("eve", b"\x43" + distribution[1:], "distribution: version 4", "ErrVersion")
    other_form = senderkey.write_distribution(copy.copy(chain) if not signal else chain, not signal) if signal else \
        senderkey.write_distribution(senderkey.Chain(chain.chain_id, chain.key, chain.signing, distribution_id=draw("id", 16)), True)
    log.process("eve", other_form, "distribution: in the other family's form", "ErrMalformed")
    log.done(f, "what is not hers changes nothing", "Forged")


def _limits(f, family):
    log = Log("limits", family)
    log.create("alice")
    log.process("bob", log.distribute("alice"))
    chain, signal = copy.deepcopy(log.chains["alice"]), log.signal
    log.decrypt("bob", forge(chain, signal, 25_001), "a jump of 25,001", "ErrTooFarAhead")
    log.decrypt("bob", forge(chain, signal, 25_000, plaintext=b"far"), "a jump of 25,000")
    log.decrypt("bob", forge(chain, signal, 22_999), "the key below the 2,000 last", "ErrDuplicate")
    log.decrypt("bob", forge(chain, signal, 23_000, plaintext=b"low"), "the lowest stored key")
    log.decrypt("bob", forge(chain, signal, 24_999, plaintext=b"high"), "the highest stored key")
    log.decrypt("bob", forge(chain, signal, 25_004, plaintext=b"on"), "three more are missing, 2,001 in all: the lowest goes")
    log.decrypt("bob", forge(chain, signal, 23_001), "which is this one", "ErrDuplicate")
    last = copy.deepcopy(chain)
    last.iteration, last.key = 2**32 - 2, draw("last chain key")
    log.load_chain("last", last)
    log.process("carol", log.distribute("last"))
    message = log.encrypt("last", b"the last", "number 4294967294")
    log.encrypt("last", b"one too many", "number 4294967295")
    log.decrypt("carol", message)
    log.decrypt("carol", message, "again", "ErrDuplicate")
    wrapped = log.chains["last"]
    head, n = senderkey._write_head(wrapped, signal)
    covered = head + senderkey.wire.block(n, bytes(16))
    log.decrypt("carol", covered + sign(wrapped.private, covered, draw("z", 64)), "number 4294967295, signed", "ErrChainExhausted")
    log.done(f, "jumps, stored keys, the last number", "Limits")


def _chains(f, family):
    log = Log("chains", family)
    first_id = log.create("1")
    first = log.distribute("1")
    log.process("bob", first)
    message = log.encrypt("1", b"of the first")
    distributions = [first]
    for i in range(2, 6):
        log.create(str(i))
        distributions.append(log.distribute(str(i)))
        log.process("bob", distributions[-1])
    log.process("bob", first, "the first again moves to the front")
    log.create("6")
    log.process("bob", log.distribute("6"), "a sixth: the second goes and is retired")
    log.process("bob", distributions[1], "a retired chain does not come back", "ErrDuplicate")
    log.decrypt("bob", log.encrypt("2", b"of the second"), "nor do its messages", "ErrNoChain")
    log.decrypt("bob", message)
    log.create("7", first_id, log.chains["1"].chain_id << 1, "the chain ID of the first")
    log.process("bob", log.distribute("7"), "takes the first one's place")
    log.decrypt("bob", log.encrypt("1", b"again of the first"), "is not signed by the chain of that ID", "ErrAuthentication")
    log.process("bob", first, "the first does not come back", "ErrDuplicate")
    log.decrypt("bob", log.encrypt("7", b"of the seventh"))
    if log.signal:
        log.create("8", None, log.chains["7"].chain_id << 1, "the same chain ID under another distribution ID")
        log.process("bob", log.distribute("8"), "is another chain: the last one goes")
        log.decrypt("bob", log.encrypt("7", b"of the seventh"))
        log.decrypt("bob", log.encrypt("8", b"of the eighth"))
    log.create("9", None, 2**32 - 1, "the highest chain ID")
    log.create("0", None, 1, "chain ID 0")
    for name in "90":
        log.process("carol", log.distribute(name))
        log.decrypt("carol", log.encrypt(name, b"in it"))
    log.done(f, "five chains, and those that are retired", "Chains")


# Rotation.


def member(name):
    return draw("member/" + name)


ALICE, BOB, CAROL, DAVE = (member(n) for n in ("alice's tablet", "bob", "carol", "dave"))
DAY, NOW = 86_400, 1_700_000_000


class Rotation:
    def __init__(self, name, family, messages=100, seconds=7 * DAY, start=None):
        self.name, self.family, self.messages, self.seconds = name, family, messages, seconds
        self.sender, self.steps, self.drawn = start or Sender(), [], 0
        self.start = senderkey.write_sender(self.sender)

    def _step(self, op, members, **fields):
        self.steps.append({"op": op, "members": members} | fields | record_fields(senderkey.write_sender(self.sender)))

    def encrypt(self, members, revision, now, comment=None, expect="", error=None):
        self.drawn += 1

        def random(what, size=32):
            return draw("%s/%s/%d/%s" % (self.name, self.family, self.drawn, what), size)
        drawn = {"distribution_id": random("distribution ID", 16), "chain_id": int.from_bytes(random("chain ID", 4), "big"),
                 "chain_key": random("chain key"), "signing_key": random("signing key"), "z": random("z", 64)}
        plaintext = b"message %d" % self.drawn
        names = {"distribution_id": "distributionId", "chain_id": "chainId", "chain_key": "chainKey", "signing_key": "signingKey", "z": "z"}
        given = dict(comment=comment, revision=revision, now=now, plaintext=plaintext)
        try:
            self.sender, reason, distribution, readers, message = senderkey.encrypt_group(
                self.sender, self.family == "signal", members, revision, now, plaintext, drawn, self.messages, self.seconds)
        except Refused as refusal:
            assert refusal.name == "senderkey." + (error or ""), (comment, refusal.name)
            self._step("encrypt", members, error=refusal.name, **given)
            return
        assert error is None and expect == (reason or ""), (comment, reason)
        if not reason:
            drawn = {"z": drawn["z"]}
        self._step("encrypt", members, random={names[k]: v for k, v in drawn.items()}, newChain=reason or "",
                   distribution=distribution, readers=readers, message=message, **given)

    def has(self, members, distribution_id=None, comment=None):
        distribution_id = distribution_id or self.sender.chain.distribution_id
        self.sender = senderkey.mark_has(self.sender, distribution_id, members)
        self._step("has", members, comment=comment, distributionId=distribution_id)

    def lacks(self, who, comment=None):
        self.sender = senderkey.mark_lacks(self.sender, who)
        self._step("lacks", [who], comment=comment)

    def done(self, f, comment):
        f.test("%s: %s" % (self.family, comment), family=self.family, maxMessages=self.messages, maxSeconds=self.seconds, sender=self.start, steps=self.steps)


def _rotation(f, family):
    log = Rotation("roster", family)
    log.encrypt([BOB, CAROL], 1, NOW, "the first message", "first")
    log.encrypt([BOB, CAROL], 1, NOW + 1, "nobody is known to have it: another distribution, of its own iteration")
    log.has([BOB])
    log.encrypt([BOB, CAROL], 1, NOW + 2, "only Carol may lack it")
    log.has([CAROL])
    log.encrypt([CAROL, BOB], 1, NOW + 3, "all have it: no distribution; the order of the roster is nothing")
    log.encrypt([BOB, CAROL, DAVE], 2, NOW + 4, "Dave joins: he gets the iteration as it is now")
    log.has([ALICE, DAVE], comment="Alice's tablet is no reader")
    log.lacks(BOB, "Bob says that he lacks the chain")
    log.encrypt([BOB, CAROL, DAVE], 2, NOW + 5, "he gets another distribution")
    old = log.sender.chain.distribution_id
    log.has([BOB])
    log.encrypt([BOB, DAVE], 3, NOW + 6, "Carol has left", "left")
    log.has([BOB, DAVE], old, "of the chain before: passed over")
    log.encrypt([BOB, CAROL, DAVE], 2, NOW + 7, "an older roster", error="ErrOldRevision")
    log.encrypt([], 4, NOW + 8, "nobody", error="ErrRoster")
    log.encrypt([BOB, BOB], 4, NOW + 8, "Bob twice", error="ErrRoster")
    log.encrypt([BOB, DAVE], 3, NOW + 9, "the refused ones have changed nothing")
    log.encrypt([DAVE], 2**53, NOW + 10, "Bob only may have read it, and is gone", "left")
    log.encrypt([DAVE], 2**53 - 1, NOW + 11, "one revision less", error="ErrOldRevision")
    log.done(f, "who reads")

    log = Rotation("age", family)
    log.encrypt([BOB], 0, NOW, "revision 0", "first")
    log.has([BOB])
    log.encrypt([BOB], 0, NOW + 7 * DAY - 1, "a second less than 7 days")
    log.encrypt([BOB], 0, NOW + 7 * DAY, "7 days", "age")
    log.encrypt([BOB], 0, NOW + 7 * DAY, "the same second")
    log.encrypt([BOB], 0, NOW + 7 * DAY - 1, "a second back", "clock")
    log.encrypt([BOB], 0, NOW + 8 * DAY)
    log.encrypt([BOB], 0, NOW, "days back", "clock")
    log.done(f, "the age of a chain")

    log = Rotation("count", family, messages=3, seconds=3600)
    for i, reason in enumerate(("first", "", "", "messages", "", "", "messages")):
        log.encrypt([BOB], 1, NOW + i, expect=reason)
        if i == 4:
            log.has([BOB])
    log.encrypt([BOB], 1, NOW + 6 + 3600, "an hour", "age")
    log.done(f, "3 messages, an hour")

    start = Rotation("hundred", family)
    start.encrypt([BOB], 1, NOW, expect="first")
    sender = copy.deepcopy(start.sender)
    sender.chain.iteration = 99
    log = Rotation("hundred, from 99", family, start=sender)
    log.encrypt([BOB], 1, NOW, "the 100th message of the chain")
    log.encrypt([BOB], 1, NOW, "the next", "messages")
    log.done(f, "100 messages")


def files():
    f = File("senderkey_transcript_v1.json", "sender keys", "SPEC.md §11.2, §11.3, §11.4, §11.5, §11.7", "SenderKeyTranscript")
    f.note("Forged", "ATTACK", "messages and distributions that are not as their device wrote them")
    f.note("Limits", "LIMIT", "the limits of SPEC.md §11.4 and the last number of a chain")
    f.note("Chains", "LIMIT", "five chains of a receiver, and the memory of those that went (R-11.5-2)")
    r = File("senderkey_rotation_v1.json", "sender key rotation", "SPEC.md §11.6, §11.7", "SenderKeyRotation")
    for family in ("signal", "whatsapp"):
        for make in (_group, _forged, _limits, _chains):
            make(f, family)
        _rotation(r, family)
    return {"senderkey_transcript": f, "senderkey_rotation": r}
