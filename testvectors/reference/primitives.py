"""X25519, the Edwards curve, AES-256-CBC, HMAC and HKDF in plain Python.

Slow, and not constant time: time, memory accesses and errors tell the keys. For checking vectors,
never for use.
"""

import hashlib
import hmac as _hmac

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def inverse(x):
    return pow(x, P - 2, P)


# X25519, RFC 7748 section 5.


def clamp(k):
    """SPEC.md §3.1."""
    return bytes([k[0] & 248]) + k[1:31] + bytes([k[31] & 127 | 64])


def x25519(k, u):
    """The Montgomery ladder; k and u are 32 bytes, and so is the answer."""
    scalar = int.from_bytes(clamp(k), "little")
    x1 = int.from_bytes(u, "little") % 2**255 % P
    x2, z2, x3, z3 = 1, 0, x1, 1
    for t in range(254, -1, -1):
        bit = scalar >> t & 1
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * inverse(z2) % P).to_bytes(32, "little")


# The Edwards curve -x² + y² = 1 + d·x²·y², RFC 8032 section 5.1. A point is (X, Y, Z, T) with
# x = X/Z, y = Y/Z, x·y = T/Z.

IDENTITY = (0, 1, 1, 0)


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(n, p):
    q = IDENTITY
    while n:
        if n & 1:
            q = add(q, p)
        p = add(p, p)
        n >>= 1
    return q


def negate(p):
    return (-p[0] % P, p[1], p[2], -p[3] % P)


def compress(p):
    z = inverse(p[2])
    x, y = p[0] * z % P, p[1] * z % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decompress(data):
    """The point of 32 bytes, or None. y must be below p."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y % 2**255
    if y >= P:
        return None
    x2 = (y * y - 1) * inverse(D * y * y + 1) % P
    x = pow(x2, (P + 3) // 8, P)
    if x * x % P != x2:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != x2 or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = decompress((4 * inverse(5) % P).to_bytes(32, "little"))


def edwards_y(u):
    """y = (u − 1)/(u + 1) of a Montgomery u, 32 bytes; u is not −1."""
    u = int.from_bytes(u, "little")
    return ((u - 1) * inverse(u + 1) % P).to_bytes(32, "little")


def torsion_free(u):
    """R-3.3-2."""
    point = decompress(edwards_y(u))
    return point is not None and compress(multiply(L, point)) == compress(IDENTITY)


# Hashes.


def sha256(data):
    return hashlib.sha256(data).digest()


def sha512(data):
    return hashlib.sha512(data).digest()


def hmac(key, data):
    return _hmac.digest(key, data, "sha256")


def hkdf(salt, ikm, info, n):
    """RFC 5869. salt b"" is no salt: HMAC pads it to zeros."""
    prk, block, out = hmac(salt, ikm), b"", b""
    while len(out) < n:
        block = hmac(prk, block + info + bytes([len(out) // 32 + 1]))
        out += block
    return out[:n]


# AES, FIPS 197, and CBC, SP 800-38A. Keys of 16, 24 and 32 bytes, so that all of the latter's examples run.


def _double(a):
    return a << 1 ^ (0x11B if a & 0x80 else 0)


def _times(a, b):
    r = 0
    while b:
        if b & 1:
            r ^= a
        a, b = _double(a), b >> 1
    return r


def _make_sbox():
    box = []
    for a in range(256):
        inv = next((b for b in range(256) if _times(a, b) == 1), 0)
        s = 0x63
        for i in range(5):
            s ^= (inv << i | inv >> 8 - i) & 255
        box.append(s)
    return box


SBOX = _make_sbox()
UNSBOX = [SBOX.index(a) for a in range(256)]
_TIMES = {n: [_times(a, n) for a in range(256)] for n in (2, 3, 9, 11, 13, 14)}


def _round_keys(key):
    n = len(key) // 4
    words = [list(key[4 * i:4 * i + 4]) for i in range(n)]
    rcon = 1
    for i in range(n, 4 * (n + 7)):
        w = list(words[-1])
        if i % n == 0:
            w = [SBOX[b] for b in w[1:] + w[:1]]
            w[0] ^= rcon
            rcon = _double(rcon)
        elif n > 6 and i % n == 4:
            w = [SBOX[b] for b in w]
        words.append([a ^ b for a, b in zip(w, words[-n])])
    return [sum(words[4 * i:4 * i + 4], []) for i in range(n + 7)]


def _xor(a, b):
    return [x ^ y for x, y in zip(a, b)]


def _encrypt_block(keys, block):
    s = _xor(block, keys[0])
    for i, key in enumerate(keys[1:], 1):
        s = [SBOX[s[(j + 4 * (j % 4)) % 16]] for j in range(16)]  # SubBytes, ShiftRows
        if i < len(keys) - 1:
            s = [
                _TIMES[2][s[c + r]] ^ _TIMES[3][s[c + (r + 1) % 4]] ^ s[c + (r + 2) % 4] ^ s[c + (r + 3) % 4]
                for c in (0, 4, 8, 12) for r in range(4)
            ]
        s = _xor(s, key)
    return bytes(s)


def _decrypt_block(keys, block):
    s = list(block)
    for i in range(len(keys) - 1, 0, -1):
        s = _xor(s, keys[i])
        if i < len(keys) - 1:
            s = [
                _TIMES[14][s[c + r]] ^ _TIMES[11][s[c + (r + 1) % 4]]
                ^ _TIMES[13][s[c + (r + 2) % 4]] ^ _TIMES[9][s[c + (r + 3) % 4]]
                for c in (0, 4, 8, 12) for r in range(4)
            ]
        s = [UNSBOX[s[(j - 4 * (j % 4)) % 16]] for j in range(16)]
    return bytes(_xor(s, keys[0]))


def cbc_encrypt(key, iv, data):
    """Without padding: data is whole blocks."""
    keys, out = _round_keys(key), b""
    for i in range(0, len(data), 16):
        iv = _encrypt_block(keys, _xor(data[i:i + 16], iv))
        out += iv
    return out


def cbc_decrypt(key, iv, data):
    keys, out = _round_keys(key), b""
    for i in range(0, len(data), 16):
        block = data[i:i + 16]
        out += bytes(_xor(_decrypt_block(keys, block), iv))
        iv = block
    return out


def pad(data):
    """PKCS #7."""
    n = 16 - len(data) % 16
    return data + bytes([n]) * n


def unpad(data):
    """What was padded, or None. Every byte of the padding is looked at."""
    n = data[-1] if data else 0
    if len(data) % 16 or not 1 <= n <= 16 or data[-n:] != bytes([n]) * n:
        return None
    return data[:-n]


def encrypt(key, iv, plaintext):
    return cbc_encrypt(key, iv, pad(plaintext))


def decrypt(key, iv, ciphertext):
    """The plaintext, or None."""
    if not ciphertext or len(ciphertext) % 16:
        return None
    return unpad(cbc_decrypt(key, iv, ciphertext))
