"""envelope_parse.json and envelope_stream.json."""

import copy

import envelope
import wire
from envelope import pack, write_frame
from make import File, draw, refused

TOP = 2**53 - 1
CONVERSATION, MESSAGE, ALICE = draw("conversation", 16), draw("message/1", 16), draw("user/alice", 16)
BOB, CAROL = sorted((draw("user/bob", 16), draw("user/carol", 16)))
HEADER = {"conversation": CONVERSATION, "messageId": MESSAGE, "user": ALICE, "device": 1, "stamp": 5}
WHISPER = {k: v for k, v in HEADER.items() if k != "stamp"}


def entry(user=BOB, device=1, **more):
    return {"user": user, "device": device} | more


def sealed(user=BOB, device=1):
    return entry(user, device, registrationId=77, type=2, ciphertext=b"sealed")


SUBMIT = {"submit": {"header": HEADER, "counter": 9, "recipients": [sealed(), sealed(BOB, 2), sealed(CAROL)]}}
SHARED = {"submit": {"header": HEADER, "counter": 9, "urgent": 1, "sharedType": 7, "shared": b"for all", "recipients": [entry(), entry(BOB, 2), entry(CAROL, 2**31 - 1, registrationId=2**32 - 1)]}}
TYPING = {"submit": {"header": WHISPER, "ephemeral": 1, "recipients": [sealed()]}}
DELIVER = {"deliver": {"header": HEADER, "type": 2, "ciphertext": b"sealed", "mailboxEpoch": 1, "position": 8, "epoch": 1, "sequence": 3, "serverTime": 1_700_000_000_000}}
WHISPERED = {"deliver": {"header": WHISPER, "ephemeral": 1, "type": 2, "ciphertext": b"sealed", "serverTime": 1}}
RESULTS = {
    "ACCEPTED": {"code": 1, "epoch": 1, "sequence": 3}, "DUPLICATE": {"code": 2, "epoch": 1, "sequence": 3},
    "DEVICE_MISMATCH": {"code": 3, "missing": [entry(registrationId=5), entry(CAROL)], "extra": [entry(BOB, 2)], "stale": [entry(BOB, 3, registrationId=6)]},
    "QUOTA": {"code": 4, "retryAfter": 1000}, "CLOCK_BOUND": {"code": 5, "maxStamp": 70_000}, "TOO_OLD": {"code": 6}, "REFUSED": {"code": 7},
}


def change(frame, **fields):
    """The frame with other fields; None takes one out."""
    (kind, values), = copy.deepcopy(frame).items()
    values |= fields
    return {kind: {k: v for k, v in values.items() if v is not None}}


def head(frame, **fields):
    (_, values), = frame.items()
    return change(frame, header={k: v for k, v in (values["header"] | fields).items() if v is not None})


def _frames(f):
    def good(comment, frame, *flags):
        data = write_frame(frame)
        value = envelope.read_frame(data)
        assert write_frame(value) == data, comment
        f.test(comment, *flags, form="frame", bytes=data, value=value)

    def bad(comment, frame, *flags):
        data = frame if isinstance(frame, bytes) else write_frame(frame)
        f.test(comment, *flags, error=refused(envelope.read_frame, data), form="frame", bytes=data)
    good("submit, a ciphertext for each", SUBMIT)
    good("submit, one for all, urgent", SHARED)
    good("submit, ephemeral", TYPING)
    good("submit, the highest device, stamp, counter, type", change(head(SUBMIT, device=2**31 - 1, stamp=TOP), counter=TOP, recipients=[entry(BOB, 2**31 - 1, registrationId=2**32 - 1, type=255, ciphertext=b"\0")]))
    for name, fields in RESULTS.items():
        good("result " + name, {"result": {"messageId": MESSAGE} | fields})
    result = {"result": {"messageId": MESSAGE} | RESULTS["ACCEPTED"]}
    good("result, the highest position", change(result, epoch=2**32 - 1, sequence=TOP))
    for name in ("missing", "extra", "stale"):
        good("result DEVICE_MISMATCH, %s only" % name, {"result": {"messageId": MESSAGE, "code": 3, name: [entry()]}})
    good("result CLOCK_BOUND, max stamp 0", {"result": {"messageId": MESSAGE, "code": 5}})
    good("result QUOTA, the longest", {"result": {"messageId": MESSAGE, "code": 4, "retryAfter": 2**32 - 1}})
    good("deliver", DELIVER)
    good("deliver, ephemeral", WHISPERED)
    good("deliver, no server time", change(DELIVER, serverTime=None))
    good("deliver, the highest numbers", change(DELIVER, mailboxEpoch=2**32 - 1, position=TOP, epoch=2**32 - 1, sequence=TOP, serverTime=TOP))
    good("ack", {"ack": {"mailboxEpoch": 1, "position": 1}})
    good("ack, the highest", {"ack": {"mailboxEpoch": 2**32 - 1, "position": TOP}})
    good("fetch of a new device", {"fetch": {}})
    good("fetch from the beginning of an epoch", {"fetch": {"mailboxEpoch": 1}})
    good("fetch", {"fetch": {"mailboxEpoch": 1, "after": TOP}})
    good("gap, trimmed", {"gap": {"mailboxEpoch": 1, "from": 1, "to": 1, "reason": 8}})
    good("gap, expired", {"gap": {"mailboxEpoch": 1, "from": 1, "to": TOP, "reason": 9}})
    good("error REFUSED", {"error": {"code": 7}})
    good("error QUOTA", {"error": {"code": 4, "retryAfter": 1}})
    good("error REPLACED", {"error": {"code": 10}})

    data = write_frame(SUBMIT)
    for version in (0, 2, 0x34, 0xFF):
        bad("first byte %02x" % version, bytes([version]) + data[1:])
    bad("nothing at all", b"")
    bad("no body", b"\x01")
    bad("two bodies", data + write_frame({"ack": {"mailboxEpoch": 1, "position": 1}})[1:])
    bad("the same body twice", write_frame({"ack": {"mailboxEpoch": 1, "position": 1}}) + write_frame({"ack": {"mailboxEpoch": 1, "position": 1}})[1:])
    bad("body 8", b"\x01" + wire.block(8, b""), "Encoding")
    bad("bytes behind the end", data + b"\0", "Encoding")
    bad("an unknown field behind the body", data + b"\x48\x01", "Encoding")
    for cut in (2, 3, 20, len(data) - 1):
        bad("truncated to %d bytes" % cut, data[:cut], "Encoding")
    ack = lambda inner: b"\x01" + wire.block(4, inner)
    for comment, inner in (("fields out of order", b"\x10\x01\x08\x01"), ("an overlong value", b"\x08\x81\x00\x10\x01"), ("an overlong tag", b"\x88\x00\x01\x10\x01"), ("a field twice", b"\x08\x01\x08\x01\x10\x01"),
                           ("an unknown field", b"\x08\x01\x10\x01\x18\x01"), ("a field of wire type 2", b"\x0a\x01\x01\x10\x01"), ("a group", b"\x08\x01\x10\x01\x1b\x1c"), ("epoch over 32 bits", wire.number(1, 2**32 + 1) + b"\x10\x01"),
                           ("an explicit zero", b"\x08\x01\x10\x00"), ("position over 2^53 - 1", b"\x08\x01" + wire.number(2, 2**53)), ("position over 64 bits", b"\x08\x01\x10" + b"\xff" * 9 + b"\x02"), ("no epoch", b"\x10\x01"), ("no position", b"\x08\x01")):
        bad("ack: " + comment, ack(inner), "Encoding")
    bad("ack: an overlong length", b"\x01\x22\x84\x00\x08\x01\x10\x01", "Encoding")
    bad("ack: a length over the end", b"\x01\x22\x05\x08\x01\x10\x01", "Encoding")
    bad("submit: ephemeral is 2", b"\x01" + wire.block(1, wire.block(1, envelope._write(WHISPER, envelope._HEADER)) + b"\x18\x02" + wire.block(7, envelope._write(sealed(), envelope._RECIPIENT))), "Encoding")
    bad("submit: an empty ciphertext written", b"\x01" + wire.block(1, wire.block(1, envelope._write(HEADER, envelope._HEADER)) + b"\x10\x09\x32\x00" + wire.block(7, envelope._write(sealed(), envelope._RECIPIENT))), "Encoding")

    for kind, frame in (("submit", SUBMIT), ("deliver", DELIVER)):
        for name in ("conversation", "messageId", "user"):
            for comment, value in (("zeros", bytes(16)), ("ff", b"\xff" * 16), ("15 bytes", b"x" * 15), ("17 bytes", b"x" * 17), ("absent", None)):
                bad("%s: %s: %s" % (kind, name, comment), head(frame, **{name: value}), "Names")
        bad("%s: no device" % kind, head(frame, device=None), "Names")
        bad("%s: device 2^31" % kind, head(frame, device=2**31), "Names")
        bad("%s: device over 32 bits" % kind, head(frame, device=2**32 + 1), "Names")
        bad("%s: no stamp" % kind, head(frame, stamp=None))
        bad("%s: stamp 2^53" % kind, head(frame, stamp=2**53))
        bad("%s: ephemeral with a stamp" % kind, change(TYPING if kind == "submit" else WHISPERED, header=HEADER))
        bad("%s: an empty header" % kind, change(frame, header={}))
    bad("submit: no header", b"\x01" + wire.block(1, b"\x10\x09" + wire.block(7, envelope._write(sealed(), envelope._RECIPIENT))))
    bad("submit: no counter", change(SUBMIT, counter=None))
    bad("submit: counter 2^53", change(SUBMIT, counter=2**53))
    bad("submit: ephemeral with a counter", change(TYPING, counter=1))
    bad("submit: ephemeral and urgent", change(TYPING, urgent=1))
    bad("submit: no recipients", change(SUBMIT, recipients=[]))
    bad("submit: one for all, no recipients", change(SHARED, recipients=[]))
    bad("submit: one for all and one for a recipient", change(SHARED, recipients=[entry(), sealed(CAROL)]))
    bad("submit: one without ciphertext", change(SUBMIT, recipients=[sealed(), entry(CAROL)]))
    bad("submit: a shared type without ciphertext", change(SUBMIT, sharedType=7))
    bad("submit: a shared ciphertext without type", change(SHARED, sharedType=None))
    bad("submit: shared type 256", change(SHARED, sharedType=256))
    table = lambda *entries: change(SUBMIT, recipients=list(entries))
    bad("table: a device twice", table(sealed(), sealed()))
    bad("table: devices descending", table(sealed(BOB, 2), sealed(BOB, 1)))
    bad("table: users descending", table(sealed(CAROL), sealed(BOB)))
    bad("table: device 0", table(entry(BOB, 0, type=2, ciphertext=b"x")))
    bad("table: device 2^31", table(sealed(BOB, 2**31)))
    for comment, value in (("zeros", bytes(16)), ("ff", b"\xff" * 16), ("15 bytes", b"x" * 15)):
        bad("table: user of " + comment, table(sealed(value)))
    bad("table: a type without ciphertext", table(entry(type=2)))
    bad("table: a ciphertext without type", table(entry(ciphertext=b"x")))
    bad("table: type 256", table(entry(type=256, ciphertext=b"x")))
    bad("table: registration ID over 32 bits", table(entry(registrationId=2**32, type=2, ciphertext=b"x")))
    bad("table: not next to each other", b"\x01" + wire.block(1, split_submit()), "Encoding")

    for name, fields in RESULTS.items():
        base = {"result": {"messageId": MESSAGE} | fields}
        if name not in ("ACCEPTED", "DUPLICATE"):
            bad("result %s with a position" % name, change(base, epoch=1, sequence=1))
        if name != "QUOTA":
            bad("result %s with retry after" % name, change(base, retryAfter=1))
        if name != "CLOCK_BOUND":
            bad("result %s with max stamp" % name, change(base, maxStamp=1))
        if name != "DEVICE_MISMATCH":
            bad("result %s with a table" % name, change(base, missing=[entry()]))
    bad("result ACCEPTED without epoch", change(result, epoch=None))
    bad("result ACCEPTED without sequence", change(result, sequence=None))
    bad("result, sequence 2^53", change(result, sequence=2**53))
    bad("result DEVICE_MISMATCH without devices", {"result": {"messageId": MESSAGE, "code": 3}})
    bad("result DEVICE_MISMATCH with a ciphertext", {"result": {"messageId": MESSAGE, "code": 3, "extra": [sealed()]}})
    bad("result DEVICE_MISMATCH, a device twice", {"result": {"messageId": MESSAGE, "code": 3, "stale": [entry(), entry()]}})
    bad("result QUOTA without retry after", {"result": {"messageId": MESSAGE, "code": 4}})
    bad("result CLOCK_BOUND, 2^53", {"result": {"messageId": MESSAGE, "code": 5, "maxStamp": 2**53}})
    for code in (None, 8, 9, 10, 11, 255):
        bad("result, code %s" % (code or 0), {"result": {k: v for k, v in {"messageId": MESSAGE, "code": code}.items() if v}})
    bad("result without message ID", {"result": {"code": 7}})
    bad("result, message ID of zeros", {"result": {"messageId": bytes(16), "code": 7}})
    for name in ("type", "ciphertext", "mailboxEpoch", "position", "epoch", "sequence"):
        bad("deliver without " + name, change(DELIVER, **{name: None}))
    for name in ("mailboxEpoch", "position", "epoch", "sequence"):
        bad("deliver, ephemeral, with " + name, change(WHISPERED, **{name: 1}))
    bad("deliver, type 256", change(DELIVER, type=256))
    bad("deliver, server time 2^53", change(DELIVER, serverTime=2**53))
    bad("deliver, position 2^53", change(DELIVER, position=2**53))
    bad("fetch: after without epoch", {"fetch": {"after": 1}})
    bad("fetch: after 2^53", {"fetch": {"mailboxEpoch": 1, "after": 2**53}})
    gap = {"gap": {"mailboxEpoch": 1, "from": 2, "to": 3, "reason": 8}}
    for comment, fields in (("no epoch", {"mailboxEpoch": None}), ("from 0", {"from": None}), ("no to", {"to": None}), ("to below from", {"to": 1}), ("to 2^53", {"to": 2**53}), ("no reason", {"reason": None}), ("reason REFUSED", {"reason": 7}), ("reason REPLACED", {"reason": 10})):
        bad("gap: " + comment, change(gap, **fields))
    for comment, fields in (("code ACCEPTED", {"code": 1}), ("no code", {}), ("QUOTA without retry after", {"code": 4}), ("REFUSED with retry after", {"code": 7, "retryAfter": 1}), ("code TRIMMED", {"code": 8}), ("code 11", {"code": 11})):
        bad("error: " + comment, {"error": fields})

    def long(comment, n):
        frame = write_frame(change(DELIVER, ciphertext=bytes(n)))
        at = frame.index(bytes(n))
        pieces = [{"bytes": frame[:at], "times": 1}, {"bytes": b"\0", "times": n}, {"bytes": frame[at + n:], "times": 1}]
        try:
            envelope.read_frame(frame)
            f.test(comment, "Limits", form="frame", pieces=pieces)
        except envelope.Refused as error:
            f.test(comment, "Limits", error=error.name, form="frame", pieces=pieces)
    long("deliver, a ciphertext of 96 KiB", 98_304)
    long("deliver, a ciphertext of 96 KiB and a byte", 98_305)
    huge = b"\x01" + bytes(1 << 20)
    f.test("a frame of 1 MiB and a byte: refused before it is parsed", "Limits", error=refused(envelope.read_frame, huge), form="frame", pieces=[{"bytes": b"\x01", "times": 1}, {"bytes": b"\0", "times": 1 << 20}])
    full = b"\x01" + bytes((1 << 20) - 1)
    f.test("a frame of 1 MiB, malformed", "Limits", error=refused(envelope.read_frame, full), form="frame", pieces=[{"bytes": b"\x01", "times": 1}, {"bytes": b"\0", "times": (1 << 20) - 1}])


def split_submit():
    """A submit whose table stands on both sides of another field."""
    r = wire.block(7, envelope._write(sealed(), envelope._RECIPIENT))
    r2 = wire.block(7, envelope._write(sealed(CAROL), envelope._RECIPIENT))
    return wire.block(1, envelope._write(HEADER, envelope._HEADER)) + r + b"\x10\x09" + r2


def _packed(f):
    def good(comment, header, body):
        data = pack(header, body)
        assert envelope.unpack(data) == (header, body)
        f.test("packed: " + comment, form="packed", bytes=data, header=header, body=body)

    def bad(comment, data, *flags):
        f.test("packed: " + comment, *flags, error=refused(envelope.unpack, data), form="packed", bytes=data)
    good("an empty body", HEADER, b"")
    good("an ephemeral one, stamp 0", WHISPER, b"typing")
    good("18 bytes fill the first bucket", HEADER, b"x" * 18)
    good("19 bytes go into the second", HEADER, b"x" * 19)
    good("a body of 80 and zeros", HEADER, b"\x80\0\0")
    good("a body of zeros", HEADER, bytes(5))
    good("the highest device and stamp", HEADER | {"device": 2**31 - 1, "stamp": TOP}, b"x")
    good("bucket 1,680 is full", HEADER, b"x" * (1680 - 62))
    good("a byte more: bucket 1,776", HEADER, b"x" * (1680 - 61))
    data = pack(HEADER, b"body")
    bad("nothing at all", b"")
    bad("first byte 0", b"\0" + data[1:])
    bad("first byte 2", b"\2" + data[1:])
    bad("a byte short", data[:-1])
    bad("a byte long", data + b"\0")
    bad("in the next bucket", data + bytes(80))
    bad("no byte 80", data[:61] + bytes(19))
    bad("another byte behind the 80", data[:-1] + b"\1")
    bad("the 80 is in the stamp", data[:60] + b"\x80" + bytes(19))
    bad("61 bytes", data[:61])
    for name, at in (("conversation", 1), ("message ID", 17), ("user", 33)):
        bad(name + " of zeros", data[:at] + bytes(16) + data[at + 16:], "Names")
        bad(name + " of ff", data[:at] + b"\xff" * 16 + data[at + 16:], "Names")
    bad("device 0", data[:49] + bytes(4) + data[53:], "Names")
    bad("device 2^31", data[:49] + b"\x80\0\0\0" + data[53:], "Names")
    bad("stamp 2^53", data[:53] + (2**53).to_bytes(8, "big") + data[61:])
    expected = {"header": HEADER, "user": ALICE, "device": 1}
    f.test("packed: as the frame and the session say", form="packed", bytes=data, header=HEADER, body=b"body", expected=expected)
    others = {"conversation": draw("another conversation", 16), "messageId": draw("message/2", 16), "user": BOB, "device": 2, "stamp": 6}
    for name, value in others.items():
        header = HEADER | {name: value}
        f.test("packed: the frame has another " + name, "Names", error=refused(envelope.open_packed, data, header, header["user"], header["device"]), form="packed", bytes=data,
               expected={"header": header, "user": header["user"], "device": header["device"]})
    for name, user, device in (("user", BOB, 1), ("device", ALICE, 2)):
        f.test("packed: the session is with another " + name, "Names", error=refused(envelope.open_packed, data, HEADER, user, device), form="packed", bytes=data, expected={"header": HEADER, "user": user, "device": device})


def _streams():
    f = File("envelope_stream_v1.json", "envelope streams", "SPEC.md §8.9", "EnvelopeStream")
    a, b = write_frame({"fetch": {}}), write_frame(DELIVER)
    frame = lambda d: len(d).to_bytes(4, "big") + d

    def case(comment, stream):
        frames, error = envelope.read_stream(stream)
        f.test(comment, error=error, stream=stream, frames=frames)
    case("an empty stream", b"")
    case("one frame", frame(a))
    case("three frames", frame(a) + frame(b) + frame(a))
    case("frames are not parsed", frame(b"\xff"))
    case("ends in a length", frame(a) + b"\0\0")
    case("ends behind a length", frame(a) + b"\0\0\0\x07")
    case("ends in a frame", frame(a) + frame(b)[:-1])
    case("a length of 0", frame(a) + bytes(4) + frame(a))
    case("a length of 1 MiB and a byte", frame(a) + (2**20 + 1).to_bytes(4, "big") + frame(a))
    case("a length of 2^32 - 1", b"\xff" * 4 + frame(a))
    case("a length of 1 MiB, and no more", (2**20).to_bytes(4, "big") + a)
    return f


def files():
    f = File("envelope_parse_v1.json", "envelope frames", "SPEC.md §8.1, §8.2, §8.3, §8.4, §8.5, §8.6, §8.7, §8.8, §8.10, §8.11", "EnvelopeParse")
    f.note("Encoding", "ATTACK", "another encoding of a frame, or what protobuf decoders take in two ways (§8.2)")
    f.note("Names", "ATTACK", "reserved names, and devices out of range; a header that does not fit (§8.1, §8.10)")
    f.note("Limits", "LIMIT", "the limits of §8.3")
    _frames(f)
    _packed(f)
    return {"envelope_parse": f, "envelope_stream": _streams()}
