"""Retry requests: SPEC.md §10.7."""

import wire
from refused import Refused
from wire import BYTES, UINT32, UINT64
from xeddsa import good_key

MALFORMED = "sesame.ErrRetryRefused"


def write_request(ratchet_key, timestamp, device):
    """ratchet_key is None for a group message."""
    m = wire.block(1, ratchet_key) + wire.number(2, timestamp, zero=True) + wire.number(3, device, zero=True)
    return b"\xc0" + wire.block(8, m) + b"\x80"


def read_request(data):
    """(ratchet key or None, timestamp, device)."""
    if len(data) < 2 or data[0] != 0xC0 or data[-1] != 0x80:
        raise Refused(MALFORMED)
    try:
        content = wire.read(data[1:-1], {8: ("error", BYTES)}, ("error",))
        m = wire.read(content["error"], {1: ("key", 33), 2: ("timestamp", UINT64), 3: ("device", UINT32)}, ("timestamp", "device"))
    except wire.Malformed:
        raise Refused(MALFORMED) from None
    if m["key"] is not None and not good_key(m["key"]):
        raise Refused(MALFORMED)
    if write_request(m["key"], m["timestamp"], m["device"]) != data:  # R-10.7-1
        raise Refused(MALFORMED)
    return m["key"], m["timestamp"], m["device"]
