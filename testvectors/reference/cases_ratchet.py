"""ratchet_transcript.json."""

import copy

import ratchet
import records
import wire
import x3dh
from cases_x3dh import ALICE, BAD_KEYS, FAMILY, NOW, RANDOM, bob, identity
from make import LONG, File, draw
from primitives import cbc_encrypt, hmac, sha256
from refused import Refused
from xeddsa import public


def record_fields(record):
    return {"record": record} if len(record) <= LONG else {"recordSha256": sha256(record)}


class Log:
    """A transcript in the making: two sessions and the steps so far."""

    def __init__(self, name, family="signal", alice=None, bob=None):
        self.name, self.family = name, family
        self.start = {"alice": alice and records.write_session(alice), "bob": bob and records.write_session(bob)}
        self.sessions = {"alice": alice, "bob": bob}
        self.steps, self.drawn = [], 0

    def _step(self, party, op, **fields):
        self.steps.append({"party": party, "op": op} | fields | record_fields(records.write_session(self.sessions[party])))

    def encrypt(self, party, plaintext, comment=None):
        """The message, as (type, bytes)."""
        try:
            after, kind, message, keys = ratchet.encrypt(self.sessions[party], FAMILY[self.family], plaintext)
        except Refused as error:
            self._step(party, "encrypt", comment=comment, plaintext=plaintext, error=error.name)
            return None
        self.sessions[party] = after
        self._step(party, "encrypt", comment=comment, plaintext=plaintext, type=kind, message=message, keys=keys)
        return kind, message

    def decrypt(self, party, message, comment=None, error=None):
        """error: the one that has to come, for what the transcript is about."""
        kind, data = message
        self.drawn += 1
        random = {"ratchetKey": draw("%s/ratchet key/%d" % (self.name, self.drawn))}
        function = ratchet.decrypt if kind == 2 else ratchet.decrypt_prekey
        given = dict(comment=comment, type=kind, message=data, random=random)
        try:
            after, plaintext, missing, keys = function(self.sessions[party], data, random["ratchetKey"])
        except Refused as refusal:
            assert error in (refusal.name, refusal.name.partition(".")[2]), (comment, refusal.name)
            self._step(party, "decrypt", error=refusal.name, **given)
            return
        assert error is None, comment
        self.sessions[party] = after
        self._step(party, "decrypt", plaintext=plaintext, missing=missing, keys=keys, **given)

    def done(self, f, comment, *flags):
        f.test(comment, *flags, family=self.family, alice=self.start["alice"], bob=self.start["bob"], steps=self.steps)


def sessions(one_time=True, family="signal", bob_name="bob", alice=ALICE):
    """Alice's session after the agreement and Bob's before its first message (§4.4)."""
    signed, prekey, bundle = bob(bob_name, one_time)
    a = x3dh.initiate(alice, 4660, bundle, RANDOM["baseKey"], RANDOM["ratchetKey"], NOW).session
    first = x3dh.read_prekey_message(ratchet.encrypt(a, FAMILY[family], b"")[2])
    return a, x3dh.respond(identity(bob_name), 1383, signed, prekey, first).session


def begun(log):
    """Both sides have written once, so that nothing is pending any more."""
    log.decrypt("bob", log.encrypt("alice", b"first"))
    log.decrypt("alice", log.encrypt("bob", b"answer"))


def forge(session, counter, ciphertext=None, plaintext=b"forged", version=0x34, build=None, ratchet_key=None):
    """A SignalMessage with a good MAC of the sender's chain as it is, for what an honest sender does not write. build: a
    function of the four fields' bytes."""
    chain = session.sending
    key = chain.key
    for _ in range(counter - chain.index):
        key = hmac(key, b"\x02")
    keys = ratchet.expand(hmac(key, b"\x01"))
    if ciphertext is None:
        ciphertext = ratchet.cbc_seal(keys["cipherKey"], keys["iv"], plaintext)
    elif callable(ciphertext):
        ciphertext = ciphertext(keys)
    parts = [wire.block(1, ratchet_key or chain.ratchet_key), wire.number(2, counter, zero=True), wire.number(3, session.previous_counter, zero=True),
             wire.block(4, ciphertext)]
    covered = bytes([version]) + (build(*parts) if build else b"".join(parts))
    return 2, covered + hmac(keys["macKey"], session.local + session.remote + covered)[:8]


def _conversation(f, family, one_time):
    log = Log("conversation/%s/%s" % (family, one_time), family, *sessions(one_time, family))
    a = [log.encrypt("alice", text) for text in (b"zero", b"one", b"", b"three, over more than one block of the cipher")]
    log.decrypt("bob", a[1], "the first to come is the second")
    log.decrypt("bob", a[0], "late")
    log.decrypt("bob", a[0], "again", error="ErrDuplicate")
    log.decrypt("bob", a[1], "again", error="ErrDuplicate")
    b = [log.encrypt("bob", b"b%d" % i) for i in range(3)]
    log.decrypt("alice", b[2], "new chain, two skipped")
    log.decrypt("alice", b[2], "again", error="ErrDuplicate")
    a.append(log.encrypt("alice", b"new chain"))
    log.decrypt("bob", a[4], "a chain behind one that still lacks two")
    log.decrypt("bob", a[3], "late, of the chain before")
    log.decrypt("bob", a[2], "late, of the chain before")
    log.decrypt("alice", b[0], "late")
    b.append(log.encrypt("bob", b"b3"))
    log.decrypt("alice", b[3])
    log.decrypt("alice", b[1], "late, of the chain before")
    log.decrypt("alice", b[1], "again", error="ErrDuplicate")
    log.done(f, "a conversation, %s, %s one-time prekey" % (family, "with" if one_time else "without"))


def _crossing(f):
    log = Log("crossing", "signal", *sessions())
    begun(log)
    a, b = log.encrypt("alice", b"a"), log.encrypt("bob", b"b")
    log.decrypt("alice", b, "both have written at once")
    log.decrypt("bob", a)
    a2, b2 = log.encrypt("alice", b"a2"), log.encrypt("bob", b"b2")
    log.decrypt("bob", a2)
    log.decrypt("alice", b2)
    log.done(f, "messages that cross")


def _missing(f):
    log = Log("missing", "signal", *sessions())
    most = lambda k, c, p, t: k + c + wire.number(3, 2**32 - 1) + t
    a = [log.encrypt("alice", b"a%d" % i) for i in range(4)]
    log.decrypt("bob", a[2], "two are missing")
    log.decrypt("bob", a[0], "counted")
    log.decrypt("alice", forge(log.sessions["bob"], 1, build=most), "previous counter 4294967295 behind a chain in which nobody writes: one is missing")
    a = [log.encrypt("alice", b"a%d" % i) for i in (4, 5)]
    log.decrypt("bob", a[1], "one of this chain and one of the last")
    log.decrypt("alice", log.encrypt("bob", b"turn"))
    log.decrypt("bob", forge(log.sessions["alice"], 2, build=most), "previous counter 4294967295: 2^32 would be missing, and 2^32 - 1 are reported")
    log.decrypt("alice", log.encrypt("bob", b"turn"))
    log.decrypt("bob", log.encrypt("alice", b"a6"), "a previous counter below what has come: none")
    log.done(f, "messages that are missing", "Missing")


def _five_chains(f):
    log = Log("five chains", "signal", *sessions())
    begun(log)
    late = []
    for i in range(6):
        late.append(log.encrypt("alice", b"late %d" % i))
        log.decrypt("bob", log.encrypt("alice", b"a%d" % i))
        log.decrypt("alice", log.encrypt("bob", b"b%d" % i))
    log.decrypt("bob", late[5], "the newest chain")
    log.decrypt("bob", late[1], "the oldest chain that is there")
    log.decrypt("bob", late[0], "a chain that is gone looks like a new one (R-5.6-4)", "ErrAuthentication")
    log.decrypt("bob", late[1], "again", "ErrDuplicate")
    log.done(f, "six chains: the oldest goes, with its stored keys", "Chains")


def _forged(f):
    log = Log("forged", "signal", *sessions())
    begun(log)
    _, good = log.encrypt("alice", b"good")
    m = ratchet.read_message(good)

    def change(i, bit=1):
        i %= len(good)
        return 2, good[:i] + bytes([good[i] ^ bit]) + good[i + 1:]
    head = 1 + 35  # version byte, ratchet key
    log.decrypt("bob", change(-1), "MAC: last bit", "ErrAuthentication")
    log.decrypt("bob", change(-8, 128), "MAC: first bit", "ErrAuthentication")
    log.decrypt("bob", (2, good[:-8] + bytes(8)), "MAC of zeros", "ErrAuthentication")
    log.decrypt("bob", (2, good[:-8] + m["mac"][1:]), "MAC of 7 bytes: the last byte of the message is taken for its first", "ErrMalformed")
    log.decrypt("bob", change(0, 7), "nibble 3 in place of 4: it is under the MAC", "ErrAuthentication")
    log.decrypt("bob", change(head + 1), "counter 1 in place of 0", "ErrAuthentication")
    log.decrypt("bob", change(head + 3), "previous counter changed", "ErrAuthentication")
    log.decrypt("bob", change(-9), "ciphertext changed", "ErrAuthentication")
    log.decrypt("bob", (2, good[:-8] + b"\x28\x01" + good[-8:]), "an unknown field put in", "ErrAuthentication")
    log.decrypt("bob", (2, good[:1] + good[head:-8] + good[1:head] + good[-8:]), "fields in another order", "ErrAuthentication")
    log.decrypt("bob", (2, good[:1] + wire.block(1, public(draw("forged/key"))) + good[head:]), "another ratchet key", "ErrAuthentication")
    for what, bad in BAD_KEYS.items():
        log.decrypt("bob", (2, good[:1] + wire.block(1, bad(m["ratchet_key"])) + good[head:]), "ratchet key: " + what, "x3dh.ErrInvalidKey")
    log.decrypt("alice", (2, good), "sent back to its author", "ErrAuthentication")
    log.decrypt("bob", (2, good), "the good one, after all that")
    log.decrypt("bob", (2, good), "again", "ErrDuplicate")
    log.decrypt("bob", change(-1), "again, with another MAC", "ErrDuplicate")
    log.done(f, "forged messages change nothing", "Forged")

    log = Log("one's own identity key", "signal", *sessions(bob_name="alice"))
    begun(log)
    message = log.encrypt("alice", b"to myself")
    log.decrypt("alice", message, "sent back: both sides have one identity key (R-5.7-1)", "ErrAuthentication")
    log.decrypt("bob", message)
    log.done(f, "both devices have one identity key", "Forged")


def _unusual(f):
    """Well-formed and authentic, but not as an honest sender of this library writes it."""
    log = Log("unusual", "signal", *sessions())
    begun(log)
    s = log.sessions["alice"]

    def sealed(padded):
        return lambda keys: cbc_encrypt(keys["cipherKey"], keys["iv"], padded)
    pad = b"padding: " + b"!" * 3
    for comment, padded in (("padding of 0", pad + b"\0\0\0\0"), ("padding of 17", pad + b"\x11" * 4), ("padding of 4 with another byte first", pad + b"\x05\4\4\4"),
                            ("padding of 16 over another block", b"x" * 16 + b"\x0f" + b"\x10" * 15)):
        log.decrypt("bob", forge(s, 0, sealed(padded)), "a good MAC, " + comment, "ErrAuthentication")
    log.decrypt("bob", forge(s, 0, b""), "a good MAC, an empty ciphertext", "ErrAuthentication")
    log.decrypt("bob", forge(s, 0, b"x" * 15), "a good MAC, 15 bytes of ciphertext", "ErrAuthentication")
    log.decrypt("bob", forge(s, 0, b"x" * 17), "a good MAC, 17 bytes of ciphertext", "ErrAuthentication")
    log.decrypt("bob", forge(s, 0, version=0x44), "version 4", "ErrVersion")
    log.decrypt("bob", forge(s, 0, version=0x24), "version 2", "ErrVersion")
    log.decrypt("bob", forge(s, 0, build=lambda k, c, p, t: k + c + p + t + b"\x28\x01"), "an unknown field under the MAC")
    log.decrypt("bob", forge(s, 1, build=lambda k, c, p, t: t + p + c + k), "fields in another order")
    log.decrypt("bob", forge(s, 2, build=lambda k, c, p, t: k + c + t), "no previous counter")
    log.decrypt("bob", forge(s, 3, build=lambda k, c, p, t: k + c + wire.number(3, 2**32 - 1) + t), "previous counter 4294967295")
    log.decrypt("bob", forge(s, 4, version=0x33), "the other family's nibble")
    log.decrypt("bob", forge(s, 5, version=0x3f), "a nibble of nobody")
    log.decrypt("bob", forge(s, 6, build=lambda k, c, p, t: k + c + p + c + t), "a counter twice", "ErrMalformed")
    log.decrypt("bob", forge(s, 6, build=lambda k, c, p, t: k + c[:1] + b"\x86\x00" + p + t), "an overlong counter", "ErrMalformed")
    log.decrypt("bob", forge(s, 6), "the number of those two")
    log.done(f, "good MACs over unusual messages", "Unusual")


def _prekey_messages(f):
    log = Log("repeated", "signal", *sessions())
    log.decrypt("bob", log.encrypt("alice", b"first"))
    _, data = log.encrypt("alice", b"second, before any answer")
    m = x3dh.read_prekey_message(data)

    def changed(**change):
        return 3, x3dh.write_prekey_message(0x34, m | change)
    log.decrypt("bob", changed(identity_key=public(identity("mallory"))), "another identity key (R-4.5-2)", "ErrIdentityMismatch")
    log.decrypt("bob", changed(base_key=public(draw("another base key"))), "another base key: not of this session", "ErrOtherSession")
    log.decrypt("bob", changed(message=m["message"][:-1]), "the message inside is a byte short: the MAC's first byte is of the ciphertext's length", "ErrMalformed")
    log.decrypt("bob", changed(message=m["message"] + b"\0"), "the message inside has a byte more", "ErrMalformed")
    log.decrypt("bob", changed(prekey_id=None, signed_prekey_id=0, registration_id=0), "other prekey IDs and registration ID are not looked at any more")
    log.decrypt("bob", (3, data), "again", "ErrDuplicate")
    log.decrypt("bob", (2, data), "a PreKey message said to be an ordinary one", "ErrMalformed")
    log.decrypt("bob", (3, m["message"]), "an ordinary message said to be a PreKey message", "x3dh.ErrMalformed")
    log.decrypt("alice", log.encrypt("bob", b"answer"), "nothing is pending any more")
    log.decrypt("bob", log.encrypt("alice", b"ordinary"))
    log.done(f, "PreKey messages in a session that is there", "PreKey")


def _limits(f):
    a, b = sessions()
    log = Log("begin", "signal", a, b)
    begun(log)
    a, b = log.sessions["alice"], log.sessions["bob"]

    def at(index):
        """Both sides of Alice's chain as if index messages had been read."""
        x, y = copy.deepcopy(a), copy.deepcopy(b)
        y = ratchet.decrypt(y, ratchet.encrypt(x, 0x34, b"")[2], draw("limits/ratchet key"))[0]
        x.sending.index, y.receiving[-1].index = index, index
        x.sending.key = y.receiving[-1].key = draw("limits/chain key")
        return x, y
    x, y = at(2**32 - 2)
    log = Log("last numbers", "signal", x, y)
    message = log.encrypt("alice", b"the last one of a chain", "number 4294967294")
    log.encrypt("alice", b"one too many", "number 4294967295")
    log.decrypt("bob", message)
    log.decrypt("bob", message, "again", "ErrDuplicate")
    wrapped = copy.deepcopy(log.sessions["alice"])
    log.decrypt("bob", forge(wrapped, 2**32 - 1), "number 4294967295 with a good MAC", "ErrChainExhausted")
    log.decrypt("alice", log.encrypt("bob", b"a new chain heals"))
    log.encrypt("alice", b"previous counter 4294967294")
    log.done(f, "the last numbers of a chain", "Limits")

    x, y = at(100)
    log = Log("jump", "signal", x, y)
    far = [forge(x, 100 + n, plaintext=b"jump of %d" % n) for n in (25_001, 25_000)]
    log.decrypt("bob", far[0], "a jump of 25,001", "ErrTooFarAhead")
    log.decrypt("bob", far[1], "a jump of 25,000; 2,000 keys are stored")
    log.decrypt("bob", forge(x, 23_099), "the key below the 2,000 last", "ErrDuplicate")
    log.decrypt("bob", forge(x, 23_100, plaintext=b"the lowest key"), "the lowest stored key")
    log.decrypt("bob", forge(x, 25_099, plaintext=b"the highest key"), "the highest stored key")
    log.decrypt("bob", far[0], "the next")
    log.decrypt("bob", forge(x, 25_104, plaintext=b"skips two"), "skips two: 2,000 again")
    log.decrypt("bob", forge(x, 25_106, plaintext=b"skips one"), "skips one: the lowest goes")
    log.decrypt("bob", forge(x, 23_101), "which is this one", "ErrDuplicate")
    log.done(f, "a jump of 25,000, stored keys over 2,000", "Limits")

    log = Log("new chain jump", "signal", *sessions())
    begun(log)
    x = log.sessions["alice"]
    log.decrypt("bob", forge(x, 25_001), "a jump of 25,001 in a new chain", "ErrTooFarAhead")
    log.decrypt("bob", forge(x, 25_000, plaintext=b"far"), "a jump of 25,000 in a new chain")
    log.done(f, "jumps in a new chain", "Limits")

    log = Log("wrong far", "signal", *sessions())
    begun(log)
    x = log.sessions["alice"]
    kind, data = forge(x, 2000)
    log.decrypt("bob", (kind, data[:-1] + bytes([data[-1] ^ 1])), "a jump of 2,000 with a bad MAC: nothing is stored", "ErrAuthentication")
    log.decrypt("bob", forge(x, 0))
    log.done(f, "a jump that does not authenticate", "Limits")


def _old_form(f):
    x, y = sessions()
    log = Log("old form", "signal", x, y)
    begun(log)
    late = [log.encrypt("alice", b"late %d" % i) for i in range(3)]
    log.decrypt("bob", log.encrypt("alice", b"three"))
    y = copy.deepcopy(log.sessions["bob"])
    chain = y.receiving[-1]
    for n in (0, 2):
        keys = ratchet.expand(chain.keys[n])
        chain.keys[n] = (keys["cipherKey"], keys["macKey"], keys["iv"])
    log = Log("old form, bob", "signal", log.sessions["alice"], y)
    log.decrypt("bob", late[1], "stored as a seed; the others keep their form")
    log.decrypt("bob", log.encrypt("alice", b"four"))
    log.decrypt("bob", late[2], "stored in the old form")
    log.decrypt("bob", late[0], "stored in the old form")
    log.decrypt("bob", late[0], "again", "ErrDuplicate")
    log.done(f, "keys that were stored before libsignal 0.67.2", "OldForm")


def files():
    f = File("ratchet_transcript_v1.json", "Double Ratchet", "SPEC.md §4.5, §5, §6.1", "RatchetTranscript",
             ["Bob's record before his first step is the state of SPEC.md §4.4, which a device keeps in memory only."])
    f.note("Missing", "ATTACK", "messages that were left out, and peers that lie about how many (R-5.5-8)")
    f.note("Chains", "LIMIT", "more receiving chains than five")
    f.note("Forged", "ATTACK", "messages that nobody wrote, or not so, or not to this device")
    f.note("Unusual", "INTEROPERABILITY", "messages that other writers may make, with a good MAC")
    f.note("PreKey", "ATTACK", "what is outside of the MAC in a PreKey message, changed")
    f.note("Limits", "LIMIT", "the limits of SPEC.md §5.6 and the last number of a chain")
    f.note("OldForm", "INTEROPERABILITY", "stored keys as cipher key, MAC key and IV (R-6.1-1)")
    for family in ("signal", "whatsapp"):
        for one_time in (True, False):
            _conversation(f, family, one_time)
    for make in (_crossing, _five_chains, _forged, _unusual, _prekey_messages, _limits, _old_form, _missing):
        make(f)
    return {"ratchet_transcript": f}
