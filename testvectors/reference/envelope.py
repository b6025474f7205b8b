"""Frames between client and server: SPEC.md chapter 8. What a frame says is a dict, keyed as in the
vectors; bytes stay bytes. Absent fields are not in it."""

import wire
from refused import Refused
from wire import BOOL, BYTES, UINT32, UINT64

MALFORMED, TOO_LARGE, VERSION = "envelope.ErrMalformed", "envelope.ErrTooLarge", "envelope.ErrVersion"
FRAME, CIPHERTEXT, TABLE = 1 << 20, 96 << 10, 5000
TOP = 2**53 - 1
ACCEPTED, DUPLICATE, DEVICE_MISMATCH, QUOTA, CLOCK_BOUND, TOO_OLD, REFUSED, TRIMMED, EXPIRED, REPLACED = range(1, 11)

_HEADER = {1: ("conversation", 16), 2: ("messageId", 16), 3: ("user", 16), 4: ("device", UINT32), 5: ("stamp", UINT64)}
_RECIPIENT = {1: ("user", 16), 2: ("device", UINT32), 3: ("registrationId", UINT32), 4: ("type", UINT32), 5: ("ciphertext", BYTES)}
_BODIES = {
    1: ("submit", {1: ("header", BYTES), 2: ("counter", UINT64), 3: ("ephemeral", BOOL), 4: ("urgent", BOOL),
                   5: ("sharedType", UINT32), 6: ("shared", BYTES), 7: ("recipients", BYTES)}),
    2: ("result", {2: ("messageId", 16), 3: ("code", UINT32), 4: ("epoch", UINT32), 5: ("sequence", UINT64), 6: ("missing", BYTES),
                   7: ("extra", BYTES), 8: ("stale", BYTES), 9: ("retryAfter", UINT32), 10: ("maxStamp", UINT64)}),
    3: ("deliver", {1: ("header", BYTES), 3: ("ephemeral", BOOL), 5: ("type", UINT32), 6: ("ciphertext", BYTES),
                    8: ("mailboxEpoch", UINT32), 9: ("position", UINT64), 10: ("epoch", UINT32), 11: ("sequence", UINT64),
                    12: ("serverTime", UINT64)}),
    4: ("ack", {1: ("mailboxEpoch", UINT32), 2: ("position", UINT64)}),
    5: ("fetch", {3: ("mailboxEpoch", UINT32), 4: ("after", UINT64)}),
    6: ("gap", {1: ("mailboxEpoch", UINT32), 5: ("from", UINT64), 6: ("to", UINT64), 7: ("reason", UINT32)}),
    7: ("error", {8: ("code", UINT32), 9: ("retryAfter", UINT32)}),
}
_TABLES = ("recipients", "missing", "extra", "stale")


def _check(ok, error=MALFORMED):
    if not ok:
        raise Refused(error)


def _read(data, schema):
    try:
        fields = wire.read_canonical(data, schema, [n for n in _TABLES if (n, BYTES) in schema.values()], ("header",))
    except wire.Malformed:
        raise Refused(MALFORMED) from None
    for name, kind in schema.values():
        _check(kind != UINT64 or fields[name] <= TOP)  # R-8.1-3
    return fields


def valid_name(name):
    """R-8.1-1."""
    return len(name) == 16 and name not in (bytes(16), b"\xff" * 16)


def valid_device(device):
    """R-8.1-2."""
    return 1 <= device < 2**31


def _read_ciphertext(kind, ciphertext):
    """R-8.3-2: whether there is one."""
    _check(len(ciphertext) <= CIPHERTEXT, TOO_LARGE)
    _check(kind <= 255 and (kind > 0) == (len(ciphertext) > 0))
    return kind > 0


def _read_header(data, ephemeral):
    _check(data is not None)
    h = _read(data, _HEADER)
    _check(all(valid_name(h[n]) for n in ("conversation", "messageId", "user")) and valid_device(h["device"]))
    _check((h["stamp"] == 0) == bool(ephemeral))
    return _present(h)


def _read_table(items):
    """§8.5: the entries, and how many have a ciphertext."""
    _check(len(items) <= TABLE, TOO_LARGE)
    table, sealed, last = [], 0, (b"", 0)
    for item in items:
        r = _read(item, _RECIPIENT)
        _check(valid_name(r["user"]) and valid_device(r["device"]) and (r["user"], r["device"]) > last)
        sealed += _read_ciphertext(r["type"], r["ciphertext"])
        last = (r["user"], r["device"])
        table.append(_present(r))
    return table, sealed


def _present(fields):
    return {name: bool(value) if name in ("ephemeral", "urgent") else value
            for name, value in fields.items() if value not in (0, b"", None) and value != []}


def _submit(b):
    b["header"] = _read_header(b["header"], b["ephemeral"])
    _check((b["counter"] == 0) == bool(b["ephemeral"]) and not (b["ephemeral"] and b["urgent"]))
    shared = _read_ciphertext(b["sharedType"], b["shared"])
    b["recipients"], sealed = _read_table(b["recipients"])
    _check(b["recipients"] and sealed == (0 if shared else len(b["recipients"])))


def _result(b):
    code = b["code"]
    _check(valid_name(b["messageId"]) and ACCEPTED <= code <= REFUSED)
    _check((code in (ACCEPTED, DUPLICATE)) == (b["epoch"] > 0) == (b["sequence"] > 0))
    devices = 0
    for name in ("missing", "extra", "stale"):
        b[name], sealed = _read_table(b[name])
        _check(sealed == 0)
        devices += len(b[name])
    _check((code == DEVICE_MISMATCH) == (devices > 0) and (code == QUOTA) == (b["retryAfter"] > 0))
    _check(code == CLOCK_BOUND or b["maxStamp"] == 0)


def _deliver(b):
    b["header"] = _read_header(b["header"], b["ephemeral"])
    _check(_read_ciphertext(b["type"], b["ciphertext"]))
    _check(all((b[n] == 0) == bool(b["ephemeral"]) for n in ("mailboxEpoch", "position", "epoch", "sequence")))


def _ack(b):
    _check(b["mailboxEpoch"] and b["position"])


def _fetch(b):
    _check(b["mailboxEpoch"] or not b["after"])


def _gap(b):
    _check(b["mailboxEpoch"] and 1 <= b["from"] <= b["to"] and b["reason"] in (TRIMMED, EXPIRED))


def _error(b):
    _check(b["code"] in (REFUSED, QUOTA, REPLACED) and (b["code"] == QUOTA) == (b["retryAfter"] > 0))


_CHECKS = {"submit": _submit, "result": _result, "deliver": _deliver, "ack": _ack, "fetch": _fetch, "gap": _gap, "error": _error}


def read_frame(data):
    """§8.2 to §8.8: {kind of the body: its fields}."""
    _check(len(data) <= FRAME, TOO_LARGE)
    _check(data)
    _check(data[0] == 1, VERSION)
    schema = {n: (name, BYTES) for n, (name, _) in _BODIES.items()}
    try:
        frame = wire.read_canonical(data[1:], schema, messages=[name for name, _ in _BODIES.values()])
    except wire.Malformed:
        raise Refused(MALFORMED) from None
    bodies = [(name, fields, frame[name]) for name, fields in _BODIES.values() if frame[name] is not None]
    _check(len(bodies) == 1)
    kind, fields, body = bodies[0]
    values = _read(body, fields)
    _CHECKS[kind](values)
    return {kind: _present(values)}


def _write(values, schema):
    out = b""
    for n, (name, _) in sorted(schema.items()):
        value = values.get(name)
        if name == "header":
            out += wire.block(n, _write(value, _HEADER))
        elif name in _TABLES:
            out += b"".join(wire.block(n, _write(r, _RECIPIENT)) for r in value or ())
        elif isinstance(value, bytes):
            out += wire.block(n, value)
        else:
            out += wire.number(n, value)
    return out


def write_frame(frame):
    """Whatever the values: the makers of bad vectors need it too."""
    (kind, values), = frame.items()
    n, fields = next((n, fields) for n, (name, fields) in _BODIES.items() if name == kind)
    return b"\x01" + wire.block(n, _write(values, fields))


def read_stream(data):
    """§8.9: the frames, and the error that ended them, or None. Frames are not parsed."""
    frames, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at:at + 4], "big")
        if len(data) - at < 4:
            return frames, "io.ErrUnexpectedEOF"
        if size == 0:
            return frames, MALFORMED
        if size > FRAME:
            return frames, TOO_LARGE
        if len(data) - at - 4 < size:
            return frames, "io.ErrUnexpectedEOF"
        frames.append(data[at + 4:at + 4 + size])
        at += 4 + size
    return frames, None


# Packed plaintext, §8.10 and §8.11.


def _buckets():
    out = [80]
    while True:
        b = out[-1]
        b += max(80, -(-(b // 20) // 16) * 16)
        if b >= 97_280:
            return out + [97_280]
        out.append(b)


BUCKETS = _buckets()


def bucket(size):
    return next(b for b in BUCKETS if b >= size)


def pack(header, body):
    """header: a dict as in the frames; the stamp of an ephemeral message is absent."""
    if len(body) > 97_218:
        raise Refused(TOO_LARGE)
    packed = (b"\x01" + header["conversation"] + header["messageId"] + header["user"] + header["device"].to_bytes(4, "big")
              + header.get("stamp", 0).to_bytes(8, "big") + body + b"\x80")
    return packed.ljust(bucket(len(packed)), b"\0")


def unpack(data):
    """(header, body)."""
    _check(data)
    _check(data[0] == 1, VERSION)
    end = len(data.rstrip(b"\0")) - 1
    _check(len(data) in BUCKETS and end >= 61 and data[end] == 0x80 and bucket(end + 1) == len(data))
    header = {"conversation": data[1:17], "messageId": data[17:33], "user": data[33:49],
              "device": int.from_bytes(data[49:53], "big"), "stamp": int.from_bytes(data[53:61], "big")}
    _check(all(valid_name(header[n]) for n in ("conversation", "messageId", "user")) and valid_device(header["device"]))
    _check(header["stamp"] <= TOP)
    if not header["stamp"]:
        del header["stamp"]
    return header, data[61:end]


def open_packed(data, header, user, device):
    """R-8.10-3: the body, if what the sender wrote is what the frame and the session say."""
    packed, body = unpack(data)
    if packed != header or (packed["user"], packed["device"]) != (user, device):
        raise Refused("envelope.ErrMismatch")
    return body
