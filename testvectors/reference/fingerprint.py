"""Safety numbers: SPEC.md chapter 7."""

import hmac

import wire
from primitives import sha512
from refused import Refused
from wire import BYTES, UINT32


def digest(key, identifier, iterations=5200):
    """§7.1: h of one side. 5,200 iterations are Sotto's and Signal's; some recorded cases have others."""
    h = sha512(b"\0\0" + key + identifier + key)
    for _ in range(iterations - 1):
        h = sha512(h + key)
    return h


def display(local, remote):
    """The 60 digits of two digests."""
    def digits(h):
        return "".join("%05d" % (int.from_bytes(h[i:i + 5], "big") % 100_000) for i in range(0, 30, 5))
    return "".join(sorted((digits(local), digits(remote))))


def scannable(version, local, remote):
    """§7.2."""
    return (wire.number(1, version, zero=True) + wire.block(2, wire.block(1, local[:32]))
            + wire.block(3, wire.block(1, remote[:32])))


def compare(version, local, remote, scanned):
    """R-7.2-1: whether the other side's scannable form fits ours."""
    half = {1: ("content", 32)}
    try:
        f = wire.read(scanned, {1: ("version", UINT32), 2: ("local", BYTES), 3: ("remote", BYTES)}, ("local", "remote"))
        theirs, ours = (wire.read(f[name], half, ("content",))["content"] for name in ("local", "remote"))
    except wire.Malformed:
        raise Refused("x3dh.ErrMalformed") from None
    if (f["version"] or 0) != version:
        raise Refused("x3dh.ErrVersion")
    return hmac.compare_digest(theirs + ours, remote[:32] + local[:32])
