"""state_record.json and message_parse.json."""

import copy

import lamport
import ratchet
import records
import retry
import senderkey
import wire
import x3dh
from cases_lamport import ALICE as USER, CONVERSATION
from cases_ratchet import Log, begun, sessions
from cases_x3dh import ALICE, BAD_KEYS, bob, identity
from make import File, draw, refused
from primitives import clamp
from xeddsa import public

TOP = 2**53 - 1
READERS = {
    "session": lambda d, s: records.write_session(records.read_session(d)),
    "sessions": lambda d, s: records.write_sessions(*records.read_sessions(d)),
    "identityKeyPair": lambda d, s: records.write_identity(records.read_identity(d)),
    "preKey": lambda d, s: records.write_prekey(records.read_prekey(d)),
    "signedPreKey": lambda d, s: records.write_signed_prekey(records.read_signed_prekey(d)),
    "senderKeyOwn": lambda d, s: senderkey.write_chains(senderkey.read_chains(d, True)),
    "senderKeyOther": lambda d, s: senderkey.write_chains(senderkey.read_chains(d, False)),
    "sender": lambda d, s: senderkey.write_sender(senderkey.read_sender(d)),
    "receiver": lambda d, s: senderkey.write_receiver(senderkey.read_receiver(d, s)),
}
for machine in (lamport.Clock, lamport.Window, lamport.Conversation, lamport.Receipt, lamport.Register, lamport.Inbox):
    READERS[machine.__name__.lower()] = lambda d, s, m=machine: m.read(d).write()


def split(data):
    """A protobuf message as its fields' bytes, to change it with."""
    out, at = [], 0
    for number, kind, _ in wire.fields(data):
        start = at
        _, at = wire.read_varint(data, at)
        if kind == 0:
            _, at = wire.read_varint(data, at)
        elif kind == 2:
            size, at = wire.read_varint(data, at)
            at += size
        else:
            at += 8 if kind == 1 else 4
        out.append((number, data[start:at]))
    return out


def body(field):
    """The bytes in a bytes field."""
    _, at = wire.read_varint(field, 0)
    _, at = wire.read_varint(field, at)
    return field[at:]


class Records:
    def __init__(self, f):
        self.f = f

    def good(self, kind, comment, record, family=None, *flags):
        written = READERS[kind](record, family != "whatsapp")
        self.f.test(kind + ": " + comment, *flags, kind=kind, family=family, identityPrivate=_owner(kind), record=record, written=None if written == record else written)

    def bad(self, kind, comment, record, family=None, *flags, error=None):
        name = refused(READERS[kind], record, family != "whatsapp")
        assert error in (None, name), (comment, name)
        self.f.test(kind + ": " + comment, *flags, error=name, kind=kind, family=family, identityPrivate=_owner(kind), record=record)

    def fields(self, kind, record, required, family=None, prefix=b"", repeated=()):
        """What goes wrong with the fields of any record of §2.3."""
        parts = split(record[len(prefix):])
        for number, field in parts:
            rest = prefix + b"".join(p for n, p in parts if n != number)
            if number in required:
                self.bad(kind, "no field %d" % number, rest, family)
            if number not in repeated:
                self.bad(kind, "field %d twice" % number, record + field, family)
            if field[0] & 7 == 2:
                self.bad(kind, "field %d a byte short" % number, rest + wire.block(number, body(field)[:-1]), family)
            self.bad(kind, "field %d of wire type 5" % number, rest + wire.varint(number << 3 | 5) + bytes(4), family)
        self.bad(kind, "truncated", record[:-1], family)


def _owner(kind):
    """The device whose sessions are read: they are of its identity key."""
    return ALICE if kind == "sessions" else None


def _wrap(parts, number, change):
    """parts with the content of each field of that number changed."""
    return b"".join(wire.block(n, change(body(p))) if n == number else p for n, p in parts)


def _sessions(r):
    log = Log("records", "signal", *sessions())
    r.good("session", "an initiator's, with a pending prekey", records.write_session(log.sessions["alice"]))
    no_prekey = records.write_session(sessions(False)[0])
    r.good("session", "an initiator's, without one-time prekey", no_prekey)
    begun(log)
    late = [log.encrypt("alice", b"%d" % i) for i in range(3)]
    log.decrypt("bob", log.encrypt("alice", b"three"))
    s = log.sessions["bob"]
    full = records.write_session(s)
    r.good("session", "three stored keys", full)
    r.fields("session", full, {1, 2, 3, 4, 6, 13}, repeated={7})
    parts = split(full)
    pending = records.write_session(log_start())
    pparts = split(pending)
    r.good("session", "an unknown field: not written back", full + b"\xa0\x06\x01", None, "Other")
    r.good("session", "an explicit zero: not written back", full + b"\x50\x00" if not s.remote_registration else b"".join(p for n, p in parts if n != 5) + b"\x28\x00", None, "Other")
    r.good("session", "empty fields 14 and 15", full + b"\x72\x00\x7a\x00", None, "Other")
    r.bad("session", "field 14", full + b"\x72\x01\x00")
    r.bad("session", "field 15", full + b"\x7a\x01\x00")
    r.bad("session", "version 4", _version(parts, 4))
    r.bad("session", "version 2", _version(parts, 2))
    for n, what in ((2, "local identity key"), (3, "remote identity key"), (13, "base key")):
        for name in ("u = 0", "bit 255 of u", "type 04"):
            r.bad("session", "%s: %s" % (what, name), _wrap(parts, n, BAD_KEYS[name]))
    chain = lambda change: b"".join(wire.block(7, change(split(body(p)))) if n == 7 and len(body(p)) > 100 else p for n, p in parts)
    keys = [p for n, p in split(body([p for n, p in parts if n == 7][-1])) if n == 4]
    numbers = lambda c: b"".join(p for n, p in c if n != 4)
    r.good("session", "stored keys ascending: written descending", chain(lambda c: numbers(c) + b"".join(reversed(keys))), None, "Other")
    r.bad("session", "a stored number twice", chain(lambda c: numbers(c) + keys[0] + keys[0]))
    r.bad("session", "a stored number that is the chain's index", chain(lambda c: numbers(c) + wire.block(4, wire.number(1, 4) + wire.block(5, bytes(32)))))
    r.bad("session", "a stored key without a key", chain(lambda c: numbers(c) + wire.block(4, wire.number(1, 1))))
    r.bad("session", "a stored key in both forms", chain(lambda c: numbers(c) + wire.block(4, wire.block(2, bytes(32)) + wire.block(3, bytes(32)) + wire.block(4, bytes(16)) + wire.block(5, bytes(32)))))
    r.bad("session", "a stored key in half of the old form", chain(lambda c: numbers(c) + wire.block(4, wire.block(2, bytes(32)) + wire.block(3, bytes(32)))))
    r.good("session", "stored keys in the old form", chain(lambda c: numbers(c) + wire.block(4, wire.number(1, 2) + wire.block(2, draw("k")) + wire.block(3, draw("m")) + wire.block(4, draw("i", 16)))))
    r.bad("session", "a receiving chain without chain key", chain(lambda c: b"".join(p for n, p in c if n != 3)))
    r.bad("session", "a receiving chain without ratchet key", chain(lambda c: b"".join(p for n, p in c if n != 1)))
    r.bad("session", "a receiving chain's ratchet key of low order", chain(lambda c: wire.block(1, BAD_KEYS["u = 1"](b"")) + b"".join(p for n, p in c if n != 1)))
    r.bad("session", "a chain key of 31 bytes", chain(lambda c: b"".join(p for n, p in c if n not in (3, 4)) + wire.block(3, wire.number(1, 4) + wire.block(2, bytes(31)))))
    receiving = [p for n, p in parts if n == 7]
    without = b"".join(p for n, p in parts if n != 7)
    r.good("session", "no receiving chain", without)
    r.bad("session", "two receiving chains of one ratchet key", without + receiving[0] * 2)
    many = [records._write_chain(records.Chain(public(draw("chain/%d" % i)), draw("ck/%d" % i), i)) for i in range(6)]
    r.good("session", "five receiving chains", without[:len(without) - 35] + b"".join(wire.block(7, c) for c in many[:5]) + without[len(without) - 35:], None, "Other")
    r.bad("session", "six receiving chains", without + b"".join(wire.block(7, c) for c in many))
    r.bad("session", "a sending chain without private key", _wrap(parts, 6, lambda c: b"".join(p for n, p in split(c) if n != 2)))
    r.bad("session", "pending prekey: another base key", _wrap(pparts, 9, lambda p: b"".join(wire.block(2, public(draw("other"))) if n == 2 else x for n, x in split(p))))
    r.bad("session", "pending prekey: no base key", _wrap(pparts, 9, lambda p: b"".join(x for n, x in split(p) if n != 2)))
    r.good("session", "pending prekey: one-time prekey 0", _wrap(pparts, 9, lambda p: b"\x08\x00" + b"".join(x for n, x in split(p) if n != 1)))
    negative = lambda value: _wrap(pparts, 9, lambda p: b"".join(wire.number(3, value) if n == 3 else x for n, x in split(p)))
    r.good("session", "pending prekey: signed prekey ID 2^32 - 1, which is int32 -1", negative(-1))
    r.good("session", "pending prekey: signed prekey ID 2^31", negative(-2**31))
    r.bad("session", "pending prekey: signed prekey ID as uint32 in five bytes", negative(2**31))
    r.bad("session", "a root key of 33 bytes", _wrap(parts, 4, lambda k: k + b"\0"))
    r.bad("session", "previous counter over 32 bits", b"".join(p for n, p in parts if n != 5) + wire.number(5, 2**32))
    r.bad("session", "empty", b"")
    a, b = sessions()
    a2 = copy.deepcopy(a)
    a2.base_key = a2.pending.base_key = public(draw("second"))
    r.good("sessions", "empty: no session", b"")
    r.good("sessions", "an empty current session", b"\x0a\x00", None, "Other")
    r.good("sessions", "a current one", records.write_sessions(a, []))
    r.good("sessions", "one of the past", records.write_sessions(None, [a2]))
    r.good("sessions", "a current one and one of the past", records.write_sessions(a, [a2]))
    r.bad("sessions", "a base key twice", records.write_sessions(a, [a]))
    r.bad("sessions", "one of the past of version 4", wire.block(2, _version(split(records.write_session(a)), 4)))
    r.bad("sessions", "a current one twice", records.write_sessions(a, []) * 2)


def log_start():
    return sessions()[0]


def _version(parts, version):
    return wire.number(1, version) + b"".join(p for n, p in parts if n != 1)


def _keys(r):
    signed, prekey, _ = bob()
    own = identity("bob")
    pair = {"public": public(own), "private": own}
    for kind, value, write in (("identityKeyPair", pair, records.write_identity), ("preKey", prekey, records.write_prekey), ("signedPreKey", signed, records.write_signed_prekey)):
        record = write(value)
        r.good(kind, "as libsignal stores it", record)
        key_fields = {1, 2} if kind == "identityKeyPair" else {2, 3} if kind == "preKey" else {2, 3, 4}
        r.fields(kind, record, key_fields)
        r.bad(kind, "halves that do not belong together", write(value | {"private": clamp(draw("x"))}))
        for what in ("u = 0", "bit 255 of u", "u = p + 9", "type 04"):
            r.bad(kind, "public key: " + what, write(value | {"public": BAD_KEYS[what](value["public"])}))
        r.good(kind, "an unknown field: not written back", record + b"\x98\x06\x01", None, "Other")
        if kind != "identityKeyPair":
            r.good(kind, "ID 0", write(value | {"id": 0}))
            r.good(kind, "ID 2^32 - 1", write(value | {"id": 2**32 - 1}))
            r.bad(kind, "ID 2^32", write(value | {"id": 2**32}))
    unclamped = bytes([own[0] | 7]) + own[1:31] + bytes([own[31] | 128])
    r.good("identityKeyPair", "a private key that is not clamped: stored clamped (R-3.1-2)", records.write_identity({"public": public(own), "private": unclamped}), None, "Other")
    r.good("signedPreKey", "timestamp 0", records.write_signed_prekey(signed | {"timestamp": 0}))
    r.good("signedPreKey", "timestamp 2^64 - 1", records.write_signed_prekey(signed | {"timestamp": 2**64 - 1}))


def _groups(r):
    def chain(name, own=False, iteration=0, keys=(), distribution=True, **change):
        c = senderkey.new_chain(draw(name + "/distribution", 16) if distribution else None, int.from_bytes(draw(name + "/id", 4), "big"), draw(name + "/key"), draw(name + "/signing"))
        c.iteration, c.keys = iteration, {n: draw("%s/%d" % (name, n)) for n in keys}
        c.private = c.private if own else None
        for k, v in change.items():
            setattr(c, k, v)
        return c
    own, other = chain("own", True), chain("other", False, 5, (1, 3))
    r.good("senderKeyOwn", "a new chain", senderkey.write_chains([own]))
    r.good("senderKeyOwn", "chain ID 0, iteration 2^32 - 1", senderkey.write_chains([chain("own", True, 2**32 - 1, chain_id=0)]))
    r.good("senderKeyOther", "stored keys", senderkey.write_chains([other]))
    r.good("senderKeyOther", "five states", senderkey.write_chains([chain(str(i)) for i in range(5)]))
    r.bad("senderKeyOther", "six states", senderkey.write_chains([chain(str(i)) for i in range(6)]))
    r.bad("senderKeyOther", "two states of one chain ID", senderkey.write_chains([chain("1", chain_id=7), chain("2", chain_id=7)]))
    r.bad("senderKeyOwn", "no private key", senderkey.write_chains([other]))
    r.bad("senderKeyOther", "a private key", senderkey.write_chains([own]))
    r.bad("senderKeyOther", "a stored number that is the chain's iteration", senderkey.write_chains([chain("o", False, 3, (3,))]))
    state = senderkey._write_state(other)
    parts = split(state)
    wrap = lambda s: wire.block(1, s)
    keys = [p for n, p in parts if n == 4]
    rest = b"".join(p for n, p in parts if n != 4)
    r.bad("senderKeyOther", "a stored number twice", wrap(rest + keys[0] * 2))
    r.good("senderKeyOther", "stored keys descending: written ascending", wrap(rest + keys[1] + keys[0]), None, "Other")
    r.bad("senderKeyOther", "a stored key without a key", wrap(rest + wire.block(4, b"\x08\x01")))
    version = lambda v: wrap(b"".join(p for n, p in parts if n != 5) + (b"" if v is None else wire.number(5, v, zero=True)))
    r.good("senderKeyOther", "no message version: 3", version(None), None, "Other")
    r.good("senderKeyOther", "message version 0: 3", version(0), None, "Other")
    r.bad("senderKeyOther", "message version 4", version(4))
    r.bad("senderKeyOther", "message version 2", version(2))
    for n, what in ((2, "chain key"), (3, "signing key")):
        r.bad("senderKeyOther", "no " + what, wrap(b"".join(p for m, p in parts if m != n)))
        r.bad("senderKeyOther", what + " twice", wrap(state + next(p for m, p in parts if m == n)))
    r.bad("senderKeyOther", "signing key of low order", wrap(_wrap(parts, 3, lambda k: wire.block(1, BAD_KEYS["u = 0"](b"")))))
    r.bad("senderKeyOther", "truncated", wrap(state)[:-1])
    r.good("senderKeyOther", "an unknown field", wrap(state) + b"\x10\x01", None, "Other")

    names = sorted(draw("m/%d" % i) for i in range(3))
    S = senderkey.Sender
    for family in ("signal", "whatsapp"):
        r.good("sender", "before the first message", b"\x11", family)
        r.good("sender", "a ledger", senderkey.write_sender(S(7, own, 1_700_000_000, {names[0]}, {names[1], names[2]})), family)
    good = senderkey.write_sender(S(7, own, 1_700_000_000, {names[0]}, {names[1], names[2]}))
    r.good("sender", "revision 0, start 0, all have it", senderkey.write_sender(S(0, own, 0, {names[0]}, set())), "signal")
    r.good("sender", "the highest revision", senderkey.write_sender(S(2**64 - 1, own, 1, set(), {names[0]})), "signal")
    sp = split(good[1:])
    put = lambda n, v: b"\x11" + b"".join(wire.block(n, v) if m == n else p for m, p in sp)
    r.bad("sender", "nothing at all", b"", "signal")
    r.bad("sender", "first byte of a receiver", b"\x21" + good[1:], "signal")
    r.bad("sender", "an unknown field", good + b"\x38\x01", "signal")
    r.bad("sender", "no distribution ID", b"\x11" + b"".join(p for m, p in sp if m != 2), "signal")
    r.bad("sender", "a distribution ID of 15 bytes", put(2, bytes(15) + b""), "signal")
    r.bad("sender", "no chain", b"\x11" + b"".join(p for m, p in sp if m != 4), "signal")
    r.bad("sender", "a chain without private key", put(4, senderkey.write_chains([other])), "signal")
    r.bad("sender", "an explicit revision 0", b"\x11\x08\x00" + b"".join(p for m, p in sp if m != 1), "signal")
    r.bad("sender", "fields out of order", b"\x11" + sp[1][1] + sp[0][1] + b"".join(p for _, p in sp[2:]), "signal")
    r.bad("sender", "members descending", put(6, names[2] + names[1]), "signal")
    r.bad("sender", "a member twice in one list", put(6, names[1] * 2), "signal")
    r.bad("sender", "a member in both lists", put(6, names[0] + names[1]), "signal")
    r.bad("sender", "a member of zeros", put(5, bytes(32)), "signal")
    r.bad("sender", "a list of 33 bytes", put(5, names[0] + b"\0"), "signal")
    r.bad("sender", "an empty list", put(5, b""), "signal")
    r.bad("sender", "truncated", good[:-1], "signal")

    R = senderkey.Receiver
    retired = [draw("retired/%d" % i, 8) for i in range(65)]
    r.good("receiver", "empty", b"\x21", "signal")
    full = senderkey.write_receiver(R([other, chain("second")], retired[:2]))
    r.good("receiver", "two chains, two retired", full, "signal")
    r.good("receiver", "five chains, 64 retired", senderkey.write_receiver(R([chain(str(i)) for i in range(5)], retired[:64])), "signal")
    r.good("receiver", "one chain", senderkey.write_receiver(R([chain("wa", distribution=False)])), "whatsapp")
    same = [chain("1", chain_id=7), chain("2", chain_id=7)]
    r.good("receiver", "one chain ID under two distribution IDs", senderkey.write_receiver(R(same)), "signal")
    r.bad("receiver", "one chain ID and distribution ID twice", senderkey.write_receiver(R([chain("1", chain_id=7, distribution_id=bytes(15) + b"1"), chain("2", chain_id=7, distribution_id=bytes(15) + b"1")])), "signal")
    r.bad("receiver", "one chain ID twice", senderkey.write_receiver(R([chain("1", distribution=False, chain_id=7), chain("2", distribution=False, chain_id=7)])), "whatsapp")
    r.bad("receiver", "no distribution ID", senderkey.write_receiver(R([chain("wa", distribution=False)])), "signal")
    r.bad("receiver", "a distribution ID", senderkey.write_receiver(R([chain("s")])), "whatsapp")
    r.bad("receiver", "six chains", senderkey.write_receiver(R([chain(str(i)) for i in range(6)])), "signal")
    r.bad("receiver", "65 retired", senderkey.write_receiver(R([other], retired)), "signal")
    r.bad("receiver", "a retired key of 7 bytes", full[:-1 - 16 - 1] + wire.block(2, bytes(7)), "signal")
    r.bad("receiver", "a private key", senderkey.write_receiver(R([own])), "signal")
    r.bad("receiver", "an unknown field", full + b"\x18\x01", "signal")
    r.bad("receiver", "first byte of a sender", b"\x11" + full[1:], "signal")
    r.bad("receiver", "nothing at all", b"", "signal")
    r.bad("receiver", "truncated", full[:-1], "signal")


def _lamport(r):
    w, n = wire, wire.number
    device = 2**31 - 1
    good = {
        "clock": [("zero", b"\x11"), ("5 and 3", b"\x11" + n(1, 5) + n(2, 3)), ("the highest", lamport.Clock(TOP, TOP).write())],
        "window": [("empty", lamport.Window(USER, 1).write()), ("floor only", lamport.Window(USER, device, TOP).write()),
                   ("bits", lamport.Window(USER, 1, 9, {11, 19, 20}).write()), ("full", lamport.Window(USER, 1, 9, {9 + 4096, 20}).write())],
        "conversation": [("new", lamport.Conversation(CONVERSATION, 1).write()), ("the highest", lamport.Conversation(CONVERSATION, 2**32 - 1, TOP, TOP).write())],
        "receipt": [("one", lamport.Receipt(CONVERSATION, USER, 1, draw("message/1", 16), 1, 1).write()),
                    ("the highest", lamport.Receipt(CONVERSATION, USER, device, draw("message/1", 16), 2**32 - 1, TOP).write())],
        "register": [("never written", lamport.Register(USER).write()), ("a value", lamport.Register(USER, (5, 1, False, b"value")).write()),
                     ("an empty value", lamport.Register(USER, (5, 1, False, b"")).write()), ("a deletion", lamport.Register(USER, (TOP, device, True, b"")).write()),
                     ("4,096 bytes", lamport.Register(USER, (5, 1, False, b"v" * 4096)).write())],
        "inbox": [("new", b"\x61"), ("before the first", lamport.Inbox(3, 0).write()), ("the highest", lamport.Inbox(2**32 - 1, TOP).write())],
    }
    for kind, cases in good.items():
        for comment, record in cases:
            r.good(kind, comment, record)
        record = cases[1][1]
        r.bad(kind, "nothing at all", b"")
        r.bad(kind, "another first byte", bytes([record[0] ^ 0x30]) + record[1:])
        r.bad(kind, "another version", bytes([record[0] + 1]) + record[1:])
        r.bad(kind, "an unknown field", record + b"\x78\x01")
        r.bad(kind, "truncated", record[:-1] if len(record) > 2 else record + b"\x08")
        parts = split(record[1:])
        for number, field in parts:
            rest = b"".join(p for m, p in parts if m != number)
            r.bad(kind, "field %d twice" % number, record[:1] + b"".join(p * 2 if m == number else p for m, p in parts))
            zero = b"\0" * 16 if len(body(field)) == 16 and field[0] & 7 == 2 else b""
            r.bad(kind, "field %d zero" % number, record[:1] + b"".join((wire.block(m, zero) if field[0] & 7 == 2 else wire.varint(m << 3) + b"\0") if m == number else p for m, p in parts))
            if field[0] & 7 == 0:
                r.bad(kind, "field %d overlong" % number, record[:1] + b"".join(field[:-1] + bytes([field[-1] | 128, 0]) if m == number else p for m, p in parts))
    p = b"\x21" + w.block(1, USER) + n(2, 1)
    r.bad("window", "bits that begin with a set one", p + n(3, 9) + w.block(4, b"\x03"))
    r.bad("window", "bits with a last byte of 0", p + n(3, 9) + w.block(4, b"\x02\x00"))
    r.bad("window", "513 bytes of bits", p + w.block(4, bytes(512) + b"\x01"))
    r.bad("window", "a counter over 2^53 - 1", p + n(3, TOP - 1) + w.block(4, b"\x02"))
    r.bad("window", "floor over 2^53 - 1", p + n(3, TOP + 1))
    r.bad("window", "device 2^31", b"\x21" + w.block(1, USER) + n(2, 2**31))
    r.bad("window", "user of ff", b"\x21" + w.block(1, b"\xff" * 16) + n(2, 1))
    r.bad("clock", "over 2^53 - 1", b"\x11" + n(1, TOP + 1))
    r.bad("clock", "f above L", b"\x11" + n(1, 3) + n(2, 4))
    r.bad("clock", "fields out of order", b"\x11" + n(2, 3) + n(1, 5))
    r.bad("conversation", "no epoch", b"\x31" + w.block(1, CONVERSATION))
    r.bad("conversation", "epoch over 32 bits", b"\x31" + w.block(1, CONVERSATION) + n(2, 2**32))
    r.bad("conversation", "a name of 15 bytes", b"\x31" + w.block(1, CONVERSATION[:15]) + n(2, 1))
    r.bad("receipt", "no number", b"\x41" + w.block(1, CONVERSATION) + w.block(2, USER) + n(3, 1) + w.block(4, draw("message/1", 16)) + n(5, 1))
    reg = b"\x51" + w.block(1, USER)
    r.bad("register", "a device and no stamp", reg + n(2, 1))
    r.bad("register", "a stamp and no device", reg + n(3, 1))
    r.bad("register", "a value that nobody wrote", reg + w.block(5, b"v"))
    r.bad("register", "a deletion with a value", reg + n(2, 1) + n(3, 1) + n(4, 1) + w.block(5, b"v"))
    r.bad("register", "deleted is 2", reg + n(2, 1) + n(3, 1) + n(4, 2))
    r.bad("register", "4,097 bytes", reg + n(2, 1) + n(3, 1) + w.block(5, b"v" * 4097))
    r.bad("inbox", "a number without epoch", b"\x61" + n(2, 1))
    r.bad("inbox", "number over 2^53 - 1", b"\x61" + n(1, 1) + n(2, TOP + 1))


# Messages.


def _names(m, **names):
    return {new: m[old] for old, new in names.items() if m.get(old) is not None}


def _read_signal(d, _):
    return _names(ratchet.read_message(d), ratchet_key="ratchetKey", counter="counter", previous_counter="previousCounter", ciphertext="ciphertext", mac="mac")


def _read_prekey(d, _):
    return _names(x3dh.read_prekey_message(d), prekey_id="preKeyId", base_key="baseKey", identity_key="identityKey", message="message",
                  registration_id="registrationId", signed_prekey_id="signedPreKeyId")


def _read_bundle(d, _):
    return _names(x3dh.read_bundle(d), registration_id="registrationId", device_id="deviceId", identity_key="identityKey", prekey_id="preKeyId", prekey="preKey",
                  signed_prekey_id="signedPreKeyId", signed_prekey="signedPreKey", signature="signature")


def _read_group(d, signal):
    return _names(senderkey.read_message(d, signal), distribution_id="distributionId", chain_id="chainId", iteration="iteration", ciphertext="ciphertext", signature="signature")


def _read_distribution(d, signal):
    return _names(senderkey.read_distribution(d, signal), distribution_id="distributionId", chain_id="chainId", iteration="iteration", chain_key="chainKey", signing_key="signingKey")


def _read_request(d, _):
    key, timestamp, device = retry.read_request(d)
    return {"timestamp": timestamp, "device": device} | ({"ratchetKey": key} if key else {})


FORMS = {"signalMessage": _read_signal, "preKeySignalMessage": _read_prekey, "senderKeyMessage": _read_group,
         "senderKeyDistributionMessage": _read_distribution, "plaintextContent": _read_request, "bundle": _read_bundle}


def _messages():
    f = File("message_parse_v1.json", "messages", "SPEC.md §2.2, §2.3, §3.2, §4.1, §4.5, §5.3, §10.7, §11.3", "MessageParse")
    f.note("Strict", "ATTACK", "an encoding that usual protobuf decoders take, and read in two ways (R-2.3-1)")
    f.note("Key", "ATTACK", "no public key, or a second encoding of one (§3.2)")

    def good(form, comment, message, family="signal", *flags):
        f.test(form + ": " + comment, *flags, form=form, family=family, message=message, value=FORMS[form](message, family == "signal"))

    def bad(form, comment, message, family="signal", *flags):
        f.test(form + ": " + comment, *flags, error=refused(FORMS[form], message, family == "signal"), form=form, family=family, message=message)

    log = Log("messages", "signal", *sessions())
    _, pre = log.encrypt("alice", b"hello")
    inner = x3dh.read_prekey_message(pre)["message"]
    chain = senderkey.new_chain(draw("parse/id", 16), 2**31 + 12, draw("parse/key"), draw("parse/signing"))
    bundle = x3dh.write_bundle(bob()[2])
    request = retry.write_request(public(draw("r")), 1_700_000_000_000, 3)
    samples = [("signalMessage", "signal", inner, 1, 8, {1, 2, 4}, {1}), ("preKeySignalMessage", "signal", pre, 1, 0, {2, 3, 4, 6}, {2, 3}), ("bundle", "signal", bundle, 0, 0, {1, 2, 3, 6, 7, 8}, {3, 5, 7})]
    for family in ("signal", "whatsapp"):
        signal = family == "signal"
        message = senderkey.encrypt(chain, signal, b"hello all", draw("parse/z", 64))[1]
        samples.append(("senderKeyMessage", family, message, 1, 64, {1, 2, 3} | ({4} if signal else set()), set()))
        samples.append(("senderKeyDistributionMessage", family, senderkey.write_distribution(chain, signal), 1, 0, {1, 2, 3, 4} | ({5} if signal else set()), {5 if signal else 4}))
    for form, family, message, before, after, required, keys in samples:
        head, tail = message[:before], message[len(message) - after:]
        parts = split(message[before:len(message) - after])
        join = lambda ps: head + b"".join(p for _, p in ps) + tail
        good(form, "as it is written", message, family)
        if form != "bundle":
            for version in (0x33, 0x34, 0x30, 0x3F):
                good(form, "first byte %02x" % version, bytes([version]) + message[1:], family)
            for version in (0x03, 0x23, 0x43, 0x44, 0xF3):
                bad(form, "first byte %02x" % version, bytes([version]) + message[1:], family)
            good(form, "an unknown varint", join(parts + [(0, b"\xa0\x06\x01")]), family)
            good(form, "unknown fields of wire types 1, 2 and 5", join([(0, b"\xa1\x06" + bytes(8)), (0, b"\xa2\x06\x01x")] + parts + [(0, b"\xa5\x06" + bytes(4))]), family)
        else:
            bad(form, "an unknown field", join(parts + [(0, b"\x60\x01")]), family)
            bad(form, "a field of version 4", join(parts + [(0, b"\x48\x01")]), family)
        good(form, "fields in reverse order", join(parts[::-1]), family)
        for number, field in parts:
            rest = [(n, p) for n, p in parts if n != number]
            if number in required:
                bad(form, "no field %d" % number, join(rest), family)
            bad(form, "field %d twice" % number, join(parts + [(number, field)]), family, "Strict")
            bad(form, "field %d of wire type 5" % number, join(rest + [(0, wire.varint(number << 3 | 5) + bytes(4))]), family, "Strict")
            if field[0] & 7 == 0:
                value = wire.read_varint(field, 1)[0]
                bad(form, "field %d over 32 bits" % number, join(rest + [(0, wire.number(number, value + 2**32))]), family, "Strict")
                bad(form, "field %d overlong" % number, join(rest + [(0, field[:-1] + bytes([field[-1] | 128, 0]))]), family, "Strict")
                if form != "bundle" or number != 2:
                    good(form, "field %d highest" % number, join(rest + [(0, wire.number(number, 2**32 - 1))]), family)
                good(form, "field %d zero" % number, join(rest + [(0, wire.number(number, 0, zero=True))]), family)
            elif not (form, number) in (("signalMessage", 4), ("preKeySignalMessage", 4), ("senderKeyMessage", 4 if family == "signal" else 3)):
                bad(form, "field %d a byte short" % number, join(rest + [(0, wire.block(number, body(field)[:-1]))]), family)
                bad(form, "field %d a byte long" % number, join(rest + [(0, wire.block(number, body(field) + b"\0"))]), family)
                bad(form, "field %d empty" % number, join(rest + [(0, wire.block(number, b""))]), family)
            if number in keys:
                for what in ("u = 0", "u = p - 1", "u = p", "bit 255 of u", "type 04"):
                    bad(form, "field %d: %s" % (number, what), join(rest + [(0, wire.block(number, BAD_KEYS[what](body(field))))]), family, "Key")
        for comment, junk in (("wire type 3", b"\xa3\x06"), ("wire type 4", b"\xa4\x06"), ("wire type 6", b"\xa6\x06"), ("wire type 7", b"\xa7\x06"), ("field number 0", b"\x00\x00"),
                              ("field number 2^29", b"\x80\x80\x80\x80\x10\x00"), ("an overlong tag", b"\xa0\x86\x00\x01"), ("an unknown varint of 65 bits", b"\xa0\x06" + b"\xff" * 9 + b"\x02"),
                              ("an unknown varint that is overlong", b"\xa0\x06\x80\x00"), ("an unknown length over the end", b"\xa2\x06\x7f"), ("a length of 2^64 - 1", b"\xa2\x06" + b"\xff" * 9 + b"\x01"),
                              ("a tag at the end", b"\xa0"), ("a fixed64 of 7 bytes", b"\xa1\x06" + bytes(7))):
            bad(form, comment, join(parts + [(0, junk)]), family, "Strict")
        bad(form, "truncated", head + b"".join(p for _, p in parts)[:-1] + tail, family)
        bad(form, "nothing at all", b"", family)
        if form != "bundle":
            bad(form, "the first byte alone", message[:1], family)
    good("bundle", "without one-time prekey", x3dh.write_bundle(bob(one_time=False)[2]))
    bp = split(bundle)
    bad("bundle", "a one-time prekey without ID", b"".join(p for n, p in bp if n != 4))
    bad("bundle", "an ID without one-time prekey", b"".join(p for n, p in bp if n != 5))
    good("bundle", "device 127", b"".join(b"\x10\x7f" if n == 2 else p for n, p in bp))
    bad("bundle", "device 128", b"".join(b"\x10\x80\x01" if n == 2 else p for n, p in bp))
    mp = split(inner[1:-8])
    good("signalMessage", "no previous counter: 0", inner[:1] + b"".join(p for n, p in mp if n != 3) + inner[-8:])
    good("signalMessage", "an empty ciphertext", inner[:1] + b"".join(b"\x22\x00" if n == 4 else p for n, p in mp) + inner[-8:])
    bad("signalMessage", "8 bytes", inner[:8])
    bad("signalMessage", "9 bytes: a version byte and a MAC", inner[:1] + inner[-8:])
    pp = split(pre[1:])
    good("preKeySignalMessage", "no one-time prekey", pre[:1] + b"".join(p for n, p in pp if n != 1))
    good("preKeySignalMessage", "no registration ID: 0", pre[:1] + b"".join(p for n, p in pp if n != 5))

    form = "plaintextContent"
    good(form, "an ordinary message is asked for", request)
    good(form, "a group message is asked for", retry.write_request(None, 1_700_000_000_000, 1))
    good(form, "timestamp 0, device 0", retry.write_request(public(draw("r")), 0, 0))
    good(form, "the highest", retry.write_request(public(draw("r")), 2**64 - 1, 2**32 - 1))
    content = request[1:-1]
    m = split(body(content))
    make = lambda ps: b"\xc0" + wire.block(8, b"".join(p for _, p in ps)) + b"\x80"
    for comment, data in (("nothing at all", b""), ("c0 alone", b"\xc0"), ("no content", b"\xc0\x80"), ("first byte 34", b"\x34" + request[1:]), ("last byte 81", request[:-1] + b"\x81"),
                          ("no last byte", request[:-1]), ("a zero behind it", request + b"\0"), ("another field in the content", request[:-1] + b"\x48\x01\x80"),
                          ("no timestamp", make([m[0], m[2]])), ("no device", make(m[:2])), ("another field", make(m + [(4, b"\x20\x01")])), ("fields in another order", make([m[1], m[0], m[2]])),
                          ("timestamp twice", make([m[0], m[1], m[1], m[2]])), ("device over 32 bits", make(m[:2] + [(3, wire.number(3, 2**32))])), ("an overlong device", make(m[:2] + [(3, b"\x18\x83\x00")])),
                          ("an empty ratchet key", make([(1, b"\x0a\x00")] + m[1:])), ("a ratchet key of 32 bytes", make([(1, wire.block(1, body(m[0][1])[:-1]))] + m[1:])),
                          ("ratchet key of low order", make([(1, wire.block(1, BAD_KEYS["u = 0"](b"")))] + m[1:])), ("ratchet key with bit 255", make([(1, wire.block(1, BAD_KEYS["bit 255 of u"](body(m[0][1]))))] + m[1:])),
                          ("an ordinary message", inner)):
        bad(form, comment, data)
    return f


def files():
    f = File("state_record_v1.json", "records", "SPEC.md §3.1, §6.1, §6.2, §9.9, §10.8, §11.7", "StateRecord")
    f.note("Other", "INTEROPERABILITY", "another form of the same state: read, and written in the usual form")
    r = Records(f)
    for make in (_sessions, _keys, _groups, _lamport):
        make(r)
    return {"state_record": f, "message_parse": _messages()}
