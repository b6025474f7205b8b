"""Bundles, the agreement, PreKey messages: SPEC.md chapter 4."""

from dataclasses import dataclass

import wire
from primitives import clamp, hkdf, torsion_free
from records import Chain, Pending, Session
from refused import Refused
from wire import BYTES, UINT32
from xeddsa import agree, parse_key, public, verify

MALFORMED = "x3dh.ErrMalformed"


def _read(*args, **kwargs):
    try:
        return wire.read(*args, **kwargs)
    except wire.Malformed:
        raise Refused(MALFORMED) from None


def read_bundle(data):
    """§4.1. A dict; prekey_id and prekey are None if there is no one-time prekey."""
    b = _read(data, {
        1: ("registration_id", UINT32), 2: ("device_id", UINT32), 3: ("identity_key", 33), 4: ("prekey_id", UINT32),
        5: ("prekey", 33), 6: ("signed_prekey_id", UINT32), 7: ("signed_prekey", 33), 8: ("signature", 64),
    }, ("registration_id", "device_id", "identity_key", "signed_prekey_id", "signed_prekey", "signature"), unknown=False)
    if b["device_id"] > 127 or (b["prekey_id"] is None) != (b["prekey"] is None):
        raise Refused(MALFORMED)
    for name in ("identity_key", "prekey", "signed_prekey"):
        if b[name] is not None:
            parse_key(b[name])
    return b


def write_bundle(b):
    return (wire.number(1, b["registration_id"], zero=True) + wire.number(2, b["device_id"], zero=True)
            + wire.block(3, b["identity_key"]) + wire.number(4, b["prekey_id"], zero=True) + wire.block(5, b["prekey"])
            + wire.number(6, b["signed_prekey_id"], zero=True) + wire.block(7, b["signed_prekey"])
            + wire.block(8, b["signature"]))


def kdf_rk(root, dh):
    """§5.2."""
    okm = hkdf(root, dh, b"WhisperRatchet", 64)
    return okm[:32], okm[32:]


def _root(terms):
    """§4.3."""
    okm = hkdf(b"", b"\xff" * 32 + b"".join(terms), b"WhisperText", 64)
    return okm[:32], okm[32:]


@dataclass
class Agreement:
    """What the agreement gives: the terms DH1 to DH4, RK0, CK0, and the first state of the session."""
    terms: list
    root: bytes
    chain: bytes
    session: Session


def initiate(identity, registration_id, bundle, base, ratchet, now):
    """§4.2, §4.4. identity: the private key; base, ratchet: 32 random bytes each; now in seconds."""
    base, ratchet = clamp(base), clamp(ratchet)
    if not verify(bundle["identity_key"], bundle["signed_prekey"], bundle["signature"]):
        raise Refused("x3dh.ErrAuthentication")
    signed = bundle["signed_prekey"]
    terms = [agree(identity, signed), agree(base, bundle["identity_key"]), agree(base, signed)]
    if bundle["prekey"]:
        terms.append(agree(base, bundle["prekey"]))
    root0, chain0 = _root(terms)
    root, chain = kdf_rk(root0, agree(ratchet, signed))
    session = Session(
        local=public(identity), remote=bundle["identity_key"], root=root,
        sending=Chain(public(ratchet), chain, private=ratchet), receiving=[Chain(signed, chain0)],
        base_key=public(base), pending=Pending(bundle["signed_prekey_id"], public(base), now, bundle["prekey_id"]),
        remote_registration=bundle["registration_id"], local_registration=registration_id)
    return Agreement(terms, root0, chain0, session)


def respond(identity, registration_id, signed_prekey, prekey, message):
    """§4.4. signed_prekey, prekey: records as records.py reads them, prekey None if the message names none;
    message as read_prekey_message reads it. The session counts only when its first message has decrypted."""
    if (signed_prekey["id"] or 0) != message["signed_prekey_id"]:
        raise Refused("x3dh.ErrPreKey")
    if (None if prekey is None else prekey["id"] or 0) != message["prekey_id"]:
        raise Refused("x3dh.ErrPreKey")
    base, signed = message["base_key"], signed_prekey["private"]
    if not torsion_free(base[1:]):
        raise Refused("x3dh.ErrInvalidKey")
    terms = [agree(signed, message["identity_key"]), agree(identity, base), agree(signed, base)]
    if prekey:
        terms.append(agree(prekey["private"], base))
    root, chain = _root(terms)
    session = Session(
        local=public(identity), remote=message["identity_key"], root=root,
        sending=Chain(signed_prekey["public"], chain, private=signed), base_key=base,
        remote_registration=message["registration_id"], local_registration=registration_id)
    return Agreement(terms, root, chain, session)


def check_version(data, malformed=MALFORMED, version="x3dh.ErrVersion"):
    """§2.2: the high nibble of the first byte."""
    if not data:
        raise Refused(malformed)
    if data[0] >> 4 != 3:
        raise Refused(version)


def read_prekey_message(data):
    """§4.5. A dict; prekey_id is None if no one-time prekey was used."""
    check_version(data)
    m = _read(data[1:], {
        1: ("prekey_id", UINT32), 2: ("base_key", 33), 3: ("identity_key", 33), 4: ("message", BYTES),
        5: ("registration_id", UINT32), 6: ("signed_prekey_id", UINT32),
    }, ("base_key", "identity_key", "message", "signed_prekey_id"))
    parse_key(m["base_key"])
    parse_key(m["identity_key"])
    m["registration_id"] = m["registration_id"] or 0
    return m


def write_prekey_message(version, m):
    return (bytes([version]) + wire.number(1, m["prekey_id"], zero=True) + wire.block(2, m["base_key"])
            + wire.block(3, m["identity_key"]) + wire.block(4, m["message"])
            + wire.number(5, m["registration_id"], zero=True) + wire.number(6, m["signed_prekey_id"], zero=True))
