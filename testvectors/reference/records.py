"""Stored state as libsignal stores it: SPEC.md chapter 6 and §10.8. A record is read into the values below
and written from them; what is read and written again has the same bytes, if it was in the form of §6."""

from dataclasses import dataclass, field

import wire
from primitives import clamp
from refused import Refused
from wire import BYTES, FIXED64, INT32, UINT32, UINT64
from xeddsa import good_key, public

CORRUPT = "ratchet.ErrCorrupt"


@dataclass
class Chain:
    """A sending or a receiving chain. keys: stored keys of skipped messages by number; each is a seed of
    32 bytes or, from before there were seeds, (cipher key, MAC key, IV)."""
    ratchet_key: bytes
    key: bytes
    index: int = 0
    private: bytes = None
    keys: dict = field(default_factory=dict)


@dataclass
class Pending:
    signed_prekey_id: int
    base_key: bytes
    timestamp: int
    prekey_id: int = None


@dataclass
class Session:
    local: bytes
    remote: bytes
    root: bytes
    sending: Chain
    base_key: bytes
    receiving: list = field(default_factory=list)
    previous_counter: int = 0
    pending: Pending = None
    remote_registration: int = 0
    local_registration: int = 0


def _check(ok, error=CORRUPT):
    if not ok:
        raise Refused(error)


def _read(error, *args, **kwargs):
    try:
        return wire.read(*args, **kwargs)
    except wire.Malformed:
        raise Refused(error) from None


# SessionStructure, §6.1.


def _read_keys(messages, index):
    _check(len(messages) <= 2000)
    keys = {}
    for message in messages:
        m = _read(CORRUPT, message, {1: ("index", UINT32), 2: ("cipher", 32), 3: ("mac", 32), 4: ("iv", 16), 5: ("seed", 32)})
        old = (m["cipher"], m["mac"], m["iv"])
        number = m["index"] or 0
        _check(number < index and number not in keys)
        if m["seed"] is None:
            _check(None not in old)
            keys[number] = old
        else:
            _check(old == (None, None, None))
            keys[number] = m["seed"]
    return keys


def _read_chain(data, sending):
    c = _read(CORRUPT, data, {1: ("ratchet_key", 33), 2: ("private", 32), 3: ("chain_key", BYTES), 4: ("keys", BYTES)},
              ("ratchet_key", "chain_key"), ("keys",))
    k = _read(CORRUPT, c["chain_key"], {1: ("index", UINT32), 2: ("key", 32)}, ("key",))
    _check(good_key(c["ratchet_key"]) and sending == (c["private"] is not None))
    index = k["index"] or 0
    _check(not (sending and c["keys"]))
    return Chain(c["ratchet_key"], k["key"], index, c["private"], _read_keys(c["keys"], index))


def read_session(data):
    s = _read(CORRUPT, data, {
        1: ("version", UINT32), 2: ("local", 33), 3: ("remote", 33), 4: ("root", 32), 5: ("previous_counter", UINT32),
        6: ("sending", BYTES), 7: ("receiving", BYTES), 9: ("pending", BYTES), 10: ("remote_registration", UINT32),
        11: ("local_registration", UINT32), 13: ("base_key", 33), 14: ("v4_prekey", BYTES), 15: ("v4_state", BYTES),
    }, ("version", "local", "remote", "root", "sending", "base_key"), ("receiving",))
    _check(s["version"] == 3, "ratchet.ErrVersion")
    _check(not s["v4_prekey"] and not s["v4_state"], "ratchet.ErrVersion")
    _check(good_key(s["local"]) and good_key(s["remote"]) and good_key(s["base_key"]))
    receiving = [_read_chain(c, False) for c in s["receiving"]]
    _check(len(receiving) <= 5 and len({c.ratchet_key for c in receiving}) == len(receiving))
    pending = None
    if s["pending"] is not None:
        p = _read(CORRUPT, s["pending"], {1: ("prekey_id", UINT32), 2: ("base_key", 33), 3: ("signed", INT32), 4: ("timestamp", UINT64)},
                  ("base_key",))
        _check(p["base_key"] == s["base_key"])
        pending = Pending((p["signed"] or 0) % 2**32, p["base_key"], p["timestamp"] or 0, p["prekey_id"])
    return Session(s["local"], s["remote"], s["root"], _read_chain(s["sending"], True), s["base_key"], receiving,
                   s["previous_counter"] or 0, pending, s["remote_registration"] or 0, s["local_registration"] or 0)


def write_keys(keys):
    """Field 4 of a chain, once for each key, the highest number first."""
    out = b""
    for n in sorted(keys, reverse=True):
        key = keys[n]
        if isinstance(key, bytes):
            parts = wire.block(5, key)
        else:
            parts = wire.block(2, key[0]) + wire.block(3, key[1]) + wire.block(4, key[2])
        out += wire.block(4, wire.number(1, n) + parts)
    return out


def _write_chain(c):
    return (wire.block(1, c.ratchet_key) + wire.block(2, c.private)
            + wire.block(3, wire.number(1, c.index) + wire.block(2, c.key)) + write_keys(c.keys))


def write_session(s):
    pending = None
    if s.pending:
        p = s.pending
        signed = p.signed_prekey_id - 2**32 if p.signed_prekey_id >= 2**31 else p.signed_prekey_id
        pending = (wire.number(1, p.prekey_id, zero=True) + wire.block(2, p.base_key) + wire.number(3, signed)
                   + wire.number(4, p.timestamp))
    return (wire.number(1, 3) + wire.block(2, s.local) + wire.block(3, s.remote) + wire.block(4, s.root)
            + wire.number(5, s.previous_counter) + wire.block(6, _write_chain(s.sending))
            + b"".join(wire.block(7, _write_chain(c)) for c in s.receiving) + wire.block(9, pending)
            + wire.number(10, s.remote_registration) + wire.number(11, s.local_registration) + wire.block(13, s.base_key))


# RecordStructure, §10.8: (current session or None, sessions of the past, the newest first).


def read_sessions(data):
    r = _read(CORRUPT, data, {1: ("current", BYTES), 2: ("previous", BYTES)}, (), ("previous",))
    current = read_session(r["current"]) if r["current"] else None
    previous = [read_session(s) for s in r["previous"]]
    sessions = previous + [current] if current else previous
    _check(len(previous) <= 40 and len({s.base_key for s in sessions}) == len(sessions))
    return current, previous


def write_sessions(current, previous):
    return (wire.block(1, write_session(current) if current else None)
            + b"".join(wire.block(2, write_session(s)) for s in previous))


# Keys, §6.2. They are read into dicts.

MALFORMED = "x3dh.ErrMalformed"


def _read_pair(data, schema, *required):
    k = _read(MALFORMED, data, schema, ("public", "private") + required)
    if not good_key(k["public"]) or public(k["private"]) != k["public"]:
        raise Refused(MALFORMED)
    k["private"] = clamp(k["private"])  # R-3.1-2
    return k


def read_identity(data):
    return _read_pair(data, {1: ("public", 33), 2: ("private", 32)})


def read_prekey(data):
    return _read_pair(data, {1: ("id", UINT32), 2: ("public", 33), 3: ("private", 32)})


def read_signed_prekey(data):
    return _read_pair(data, {1: ("id", UINT32), 2: ("public", 33), 3: ("private", 32), 4: ("signature", 64), 5: ("timestamp", FIXED64)},
                      "signature")


def write_identity(k):
    return wire.block(1, k["public"]) + wire.block(2, k["private"])


def write_prekey(k):
    return wire.number(1, k["id"]) + wire.block(2, k["public"]) + wire.block(3, k["private"])


def write_signed_prekey(k):
    return write_prekey(k) + wire.block(4, k["signature"]) + wire.fixed64(5, k["timestamp"])
