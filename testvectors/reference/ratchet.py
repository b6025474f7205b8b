"""The Double Ratchet: SPEC.md chapter 5."""

import copy
import hmac as _hmac

import wire
import x3dh
from primitives import clamp, decrypt as cbc_open, encrypt as cbc_seal, hkdf, hmac
from records import Chain, Session
from refused import Refused
from wire import BYTES, UINT32
from x3dh import kdf_rk
from xeddsa import agree, parse_key, public

SIGNAL, WHATSAPP = 0x34, 0x33  # what the two families write for a version byte, §2.2
JUMP, STORED, CHAINS, LAST = 25_000, 2_000, 5, 2**32 - 1  # §5.6


def expand(seed):
    """§5.2. A key that was stored in the old form is expanded already."""
    if isinstance(seed, tuple):
        return dict(zip(("cipherKey", "macKey", "iv"), seed))
    okm = hkdf(b"", seed, b"WhisperMessageKeys", 80)
    return {"seed": seed, "cipherKey": okm[:32], "macKey": okm[32:64], "iv": okm[64:]}


def read_message(data):
    """§5.3. A dict with the bytes under the MAC as "covered"."""
    if len(data) < 9:
        raise Refused("ratchet.ErrMalformed")
    x3dh.check_version(data, "ratchet.ErrMalformed", "ratchet.ErrVersion")
    try:
        m = wire.read(data[1:-8], {1: ("ratchet_key", 33), 2: ("counter", UINT32), 3: ("previous_counter", UINT32), 4: ("ciphertext", BYTES)},
                      ("ratchet_key", "counter", "ciphertext"))
    except wire.Malformed:
        raise Refused("ratchet.ErrMalformed") from None
    parse_key(m["ratchet_key"])
    m["previous_counter"] = m["previous_counter"] or 0
    return m | {"covered": data[:-8], "mac": data[-8:]}


def _mac(keys, sender, receiver, covered):
    return hmac(keys["macKey"], sender + receiver + covered)[:8]


def encrypt(session, family, plaintext):
    """§5.4: the session after it, the type (§4.5), the message, every key on the way. family: SIGNAL or WHATSAPP."""
    s = copy.deepcopy(session)
    chain = s.sending
    if chain.index == LAST:
        raise Refused("ratchet.ErrChainExhausted")
    keys = {"chainKey": chain.key} | expand(hmac(chain.key, b"\x01"))
    covered = (bytes([family]) + wire.block(1, chain.ratchet_key) + wire.number(2, chain.index, zero=True)
               + wire.number(3, s.previous_counter, zero=True) + wire.block(4, cbc_seal(keys["cipherKey"], keys["iv"], plaintext)))
    message = covered + _mac(keys, s.local, s.remote, covered)
    chain.key, chain.index = hmac(chain.key, b"\x02"), chain.index + 1
    if not s.pending:
        return s, 2, message, keys
    return s, 3, x3dh.write_prekey_message(family, {
        "prekey_id": s.pending.prekey_id, "base_key": s.pending.base_key, "identity_key": s.local, "message": message,
        "registration_id": s.local_registration, "signed_prekey_id": s.pending.signed_prekey_id}), keys


def decrypt(session, data, ratchet):
    """§5.5: the session after it, the plaintext, how many messages are newly missing (R-5.5-8), every key on the way.
    ratchet: the 32 bytes that step 7 draws, if it comes to that. The session given stays as it is."""
    s: Session = copy.deepcopy(session)
    m = read_message(data)
    key, counter = m["ratchet_key"], m["counter"]
    chain = next((c for c in s.receiving if c.ratchet_key == key), None)
    new, keys = chain is None, {}
    if new:  # step 2
        dh = agree(s.sending.private, key)
        root, chain_key = kdf_rk(s.root, dh)
        keys = {"dhReceiving": dh, "rootKeyReceiving": root}
        chain = Chain(key, chain_key)
    if counter < chain.index:  # step 3
        if counter not in chain.keys:
            raise Refused("ratchet.ErrDuplicate")
        keys |= expand(chain.keys.pop(counter))
    else:  # step 4
        if counter - chain.index > JUMP:
            raise Refused("ratchet.ErrTooFarAhead")
        if counter == LAST:
            raise Refused("ratchet.ErrChainExhausted")
        while chain.index < counter:
            chain.keys[chain.index] = hmac(chain.key, b"\x01")
            chain.key, chain.index = hmac(chain.key, b"\x02"), chain.index + 1
        keys |= {"chainKey": chain.key} | expand(hmac(chain.key, b"\x01"))
        chain.key, chain.index = hmac(chain.key, b"\x02"), counter + 1
    if not _hmac.compare_digest(_mac(keys, s.remote, s.local, m["covered"]), m["mac"]):  # step 5
        raise Refused("ratchet.ErrAuthentication")
    plaintext = cbc_open(keys["cipherKey"], keys["iv"], m["ciphertext"])
    if plaintext is None:
        raise Refused("ratchet.ErrAuthentication")
    missing = _newly_missing(session, m)
    for number in sorted(chain.keys)[:-STORED]:  # step 6: the lowest go
        del chain.keys[number]
    if new:  # step 7
        s.receiving = (s.receiving + [chain])[-CHAINS:]
        s.previous_counter = max(s.sending.index - 1, 0)
        private = clamp(ratchet)
        dh = agree(private, key)
        s.root, chain_key = kdf_rk(root, dh)
        s.sending = Chain(public(private), chain_key, private=private)
        keys |= {"dhSending": dh, "rootKey": s.root, "sendingChainKey": chain_key}
    s.pending = None
    return s, plaintext, missing, keys


def _newly_missing(s, m):
    """R-5.5-8, by the session before the message."""
    newest = s.receiving[-1] if s.receiving else None
    if newest and newest.ratchet_key == m["ratchet_key"]:
        return max(m["counter"] - newest.index, 0)
    if any(c.ratchet_key == m["ratchet_key"] for c in s.receiving):
        return 0
    missing = m["counter"]
    if newest and newest.index > 0:
        missing += max(m["previous_counter"] + 1 - newest.index, 0)
    return min(missing, 2**32 - 1)


def decrypt_prekey(session, data, ratchet):
    """A PreKey message of a session at hand: R-4.5-1, R-4.5-2."""
    m = x3dh.read_prekey_message(data)
    if m["base_key"] != session.base_key:
        raise Refused("ratchet.ErrOtherSession")
    if m["identity_key"] != session.remote:
        raise Refused("ratchet.ErrIdentityMismatch")
    return decrypt(session, m["message"], ratchet)
