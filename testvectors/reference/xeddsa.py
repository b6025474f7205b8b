"""Keys and signatures: SPEC.md chapter 3."""

from primitives import (BASE, L, P, add, clamp, compress, decompress, edwards_y, multiply, negate, sha512,
                        x25519)
from refused import Refused

LOW_ORDER = {bytes.fromhex(u) for u in (
    "00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")}


def good_key(key):
    """§3.2: whether 33 bytes are a public key."""
    u = key[1:]
    return (len(key) == 33 and key[0] == 5 and int.from_bytes(u, "little") < P and u not in LOW_ORDER)


def parse_key(key, error="x3dh.ErrInvalidKey"):
    if not good_key(key):
        raise Refused(error)
    return key


def public(private):
    """§3.1."""
    return b"\x05" + x25519(private, b"\x09" + bytes(31))


def agree(private, key):
    """§3.3. Zeros cannot come out of a key that §3.2 takes."""
    secret = x25519(private, key[1:])
    assert secret != bytes(32)
    return secret


def _number(data):
    return int.from_bytes(data, "little")


def sign(private, message, z):
    """§3.4."""
    k = clamp(private)
    a = _number(k) % L
    A = compress(multiply(a, BASE))
    r = _number(sha512(b"\xfe" + b"\xff" * 31 + k + message + z)) % L
    R = compress(multiply(r, BASE))
    h = _number(sha512(R + A + message)) % L
    s = ((r + h * a) % L).to_bytes(32, "little")
    return R + s[:31] + bytes([s[31] | A[31] & 128])


def verify(key, message, signature):
    """§3.5, of a key of 33 bytes."""
    if not good_key(key) or len(signature) != 64:
        return False
    y = edwards_y(key[1:])
    A = y[:31] + bytes([y[31] | signature[63] & 128])
    point = decompress(A)
    R, s = signature[:32], _number(signature[32:63] + bytes([signature[63] & 127]))
    if point is None or s >= L:
        return False
    h = _number(sha512(R + A + message)) % L
    return compress(add(multiply(s, BASE), negate(multiply(h, point)))) == R
