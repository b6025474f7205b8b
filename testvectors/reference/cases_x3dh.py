"""x3dh_agree.json and fingerprint.json."""

import fingerprint
import ratchet
import records
import x3dh
from make import File, draw, refused
from primitives import L, P, add, clamp, compress, decompress, edwards_y, inverse
from xeddsa import public, sign


def identity(name):
    return clamp(draw("identity/" + name))


def bob(name="bob", one_time=True, signed_id=22, one_time_id=31337):
    """The responder's identity, its records and its bundle."""
    signed, prekey = clamp(draw("signed prekey/" + name)), clamp(draw("one-time prekey/" + name))
    signature = sign(identity(name), public(signed), draw("signature/" + name, 64))
    signed_record = {"id": signed_id, "public": public(signed), "private": signed, "signature": signature, "timestamp": 1_700_000_000_000}
    prekey_record = {"id": one_time_id, "public": public(prekey), "private": prekey} if one_time else None
    bundle = {"registration_id": 1383, "device_id": 3, "identity_key": public(identity(name)),
              "prekey_id": one_time_id if one_time else None, "prekey": public(prekey) if one_time else None,
              "signed_prekey_id": signed_id, "signed_prekey": public(signed), "signature": signature}
    return signed_record, prekey_record, bundle


ALICE = identity("alice")
NOW = 1_700_000_000
RANDOM = {"baseKey": draw("base key"), "ratchetKey": draw("ratchet key/alice")}
BOB_RATCHET = draw("ratchet key/bob")

# u coordinates that are not a key, §3.2. What to do with a key that has a torsion part: R-4.4-2.
BAD_KEYS = {
    "bit 255 of u": lambda k: k[:32] + bytes([k[32] | 128]),
    "u = p": lambda k: b"\x05" + P.to_bytes(32, "little"),
    "u = p + 9": lambda k: b"\x05" + (P + 9).to_bytes(32, "little"),
    "u = 0": lambda k: b"\x05" + bytes(32),
    "u = 1": lambda k: b"\x05\x01" + bytes(31),
    "u = p - 1": lambda k: b"\x05" + (P - 1).to_bytes(32, "little"),
    "order 8, one": lambda k: b"\x05" + bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "order 8, the other": lambda k: b"\x05" + bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    "type 04": lambda k: b"\x04" + k[1:],
}


def with_torsion(key, order=8):
    """The same key with a point of low order added: every agreement with it gives the same secret."""
    low = decompress(edwards_y(bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")))
    for _ in range({8: 0, 4: 1, 2: 2}[order]):
        low = add(low, low)
    y = compress(add(decompress(edwards_y(key[1:])), low))
    y = int.from_bytes(y, "little") % 2**255
    return b"\x05" + ((1 + y) * inverse(1 - y) % P).to_bytes(32, "little")


def on_twist():
    """A canonical u without an Edwards point over the field."""
    u = 2
    while decompress(edwards_y(u.to_bytes(32, "little"))) is not None:
        u += 1
    return b"\x05" + u.to_bytes(32, "little")


def _initiate(f, comment, bundle, family="signal", plaintext=b"hello bob", registration_id=4660, now=NOW, random=RANDOM, flags=()):
    a = x3dh.initiate(ALICE, registration_id, bundle, random["baseKey"], random["ratchetKey"], now)
    after, _, message, _ = ratchet.encrypt(a.session, FAMILY[family], plaintext)
    f.test(comment, *flags, role="initiator", family=family, identityPrivate=ALICE, registrationId=registration_id,
           bundle=x3dh.write_bundle(bundle), now=now, plaintext=plaintext, random=random, terms=a.terms, rootKey0=a.root, chainKey0=a.chain,
           record=records.write_session(a.session), message=message, recordAfter=records.write_session(after))
    return message


FAMILY = {"signal": ratchet.SIGNAL, "whatsapp": ratchet.WHATSAPP}


def respond(signed, prekey, data, private, registration_id=1383, random=BOB_RATCHET):
    """Parse, agree, decrypt: what makes a session at Bob, or fails."""
    m = x3dh.read_prekey_message(data)
    a = x3dh.respond(private, registration_id, signed, prekey, m)
    return a, *ratchet.decrypt(a.session, m["message"], random)


def _respond(f, comment, signed, prekey, message, family="signal", private=identity("bob"), *flags, error=False):
    given = {"role": "responder", "family": family, "identityPrivate": private, "registrationId": 1383,
             "signedPreKeyRecord": records.write_signed_prekey(signed),
             "preKeyRecord": records.write_prekey(prekey) if prekey else None, "message": message, "random": {"ratchetKey": BOB_RATCHET}}
    if error:
        f.test(comment, *flags, error=refused(respond, signed, prekey, message, private), **given)
        return
    a, after, plaintext, *_ = respond(signed, prekey, message, private)
    f.test(comment, *flags, terms=a.terms, rootKey0=a.root, chainKey0=a.chain, plaintext=plaintext,
           record=records.write_session(after), **given)


def _agree():
    f = File("x3dh_agree_v1.json", "X3DH", "SPEC.md §3.2, §3.3, §4", "X3dhAgree",
             ["Each valid message of an initiator is a responder's input, in the test behind it."])
    f.note("LowOrder", "ATTACK", "a public key of low order: agreements with it are zero (R-3.2-2)")
    f.note("NonCanonical", "ATTACK", "a second encoding of a key (R-3.2-1)")
    f.note("Torsion", "ATTACK", "a base key that is another key's with a point of low order added: the same session under another name (R-4.4-2)")
    f.note("Signature", "ATTACK", "the signed prekey is not signed by the identity key (R-4.1-1)")
    for family in ("signal", "whatsapp"):
        for one_time in (True, False):
            signed, prekey, bundle = bob(one_time=one_time)
            what = "%s, %s one-time prekey" % (family, "with" if one_time else "without")
            message = _initiate(f, what, bundle, family)
            _respond(f, what, signed, prekey, message, family)
    signed, prekey, bundle = bob(one_time_id=0, signed_id=0)
    message = _initiate(f, "prekey IDs 0", bundle, plaintext=b"")
    _respond(f, "prekey IDs 0", signed, prekey, message)
    signed, prekey, bundle = bob(one_time_id=2**32 - 1, signed_id=2**31)
    message = _initiate(f, "the highest one-time prekey ID, a signed prekey ID of 2^31", bundle, registration_id=0, now=1)
    _respond(f, "the highest one-time prekey ID, a signed prekey ID of 2^31", signed, prekey, message)
    signed, prekey, bundle = bob("alice")
    message = _initiate(f, "a bundle of one's own identity key", bundle)
    _respond(f, "a message of one's own identity key", signed, prekey, message, "signal", ALICE)
    # The identity key of a bundle with a torsion part is taken: only base keys have to be free of it.
    signed, prekey, bundle = bob()
    for order in (2, 4, 8):
        _initiate(f, "a one-time prekey with a torsion part of order %d: taken" % order, bundle | {"prekey": with_torsion(bundle["prekey"], order)}, flags=("Torsion",))
    _initiate(f, "a one-time prekey on the twist: taken", bundle | {"prekey": on_twist()})

    def bad_bundle(comment, change, *flags):
        b = bundle | change
        f.test(comment, *flags, error=refused(lambda: x3dh.initiate(ALICE, 4660, x3dh.read_bundle(x3dh.write_bundle(b)), RANDOM["baseKey"], RANDOM["ratchetKey"], NOW)),
               role="initiator", family="signal", identityPrivate=ALICE, registrationId=4660, bundle=x3dh.write_bundle(b), now=NOW, plaintext=b"hello bob", random=RANDOM)
    sig = bundle["signature"]
    for i in (0, 31, 32, 62):
        bad_bundle("signature: bit 0 of byte %d changed" % i, {"signature": sig[:i] + bytes([sig[i] ^ 1]) + sig[i + 1:]}, "Signature")
    bad_bundle("signature: sign bit changed", {"signature": sig[:63] + bytes([sig[63] ^ 128])}, "Signature")
    s = (int.from_bytes(sig[32:63] + bytes([sig[63] & 127]), "little") + L).to_bytes(32, "little")
    bad_bundle("signature: s + L", {"signature": sig[:32] + s[:31] + bytes([s[31] | sig[63] & 128])}, "Signature")
    bad_bundle("signature of zeros", {"signature": bytes(64)}, "Signature")
    bad_bundle("signature by another identity key", {"signature": sign(ALICE, bundle["signed_prekey"], draw("signature/wrong", 64))}, "Signature")
    bad_bundle("signature over the u coordinate only", {"signature": sign(identity("bob"), bundle["signed_prekey"][1:], draw("signature/short", 64))}, "Signature")
    bad_bundle("another signed prekey", {"signed_prekey": public(draw("another signed prekey"))}, "Signature")
    bad_bundle("another identity key", {"identity_key": public(identity("mallory"))}, "Signature")
    for name in ("identity_key", "signed_prekey", "prekey"):
        for what, change in BAD_KEYS.items():
            flag = "LowOrder" if what in ("u = 0", "u = 1", "u = p - 1") or "order" in what else "NonCanonical"
            bad_bundle("%s: %s" % (name.replace("_", " "), what), {name: change(bundle[name])}, flag)
    message = x3dh.read_prekey_message(_message(bundle))

    def bad_message(comment, change, *flags, signed=signed, prekey=prekey):
        _respond(f, comment, signed, prekey, x3dh.write_prekey_message(0x34, message | change), "signal", identity("bob"), *flags, error=True)
    bad_message("no one-time prekey is named, one is given", {"prekey_id": None})
    bad_message("a one-time prekey is named, none is given", {}, prekey=None)
    bad_message("another one-time prekey is named", {"prekey_id": 31338})
    bad_message("another signed prekey is named", {"signed_prekey_id": 23})
    bad_message("another one-time prekey under the ID", {}, prekey=prekey | {"private": clamp(draw("x")), "public": public(draw("x"))})
    bad_message("another signed prekey under the ID", {}, signed=signed | {"private": clamp(draw("x")), "public": public(draw("x"))})
    for order in (2, 4, 8):
        bad_message("base key with a torsion part of order %d" % order, {"base_key": with_torsion(message["base_key"], order)}, "Torsion")
    bad_message("base key on the twist", {"base_key": on_twist()}, "Torsion")
    bad_message("identity key with a torsion part: the agreement is the same, the MAC is not", {"identity_key": with_torsion(message["identity_key"])}, "Torsion")
    bad_message("another identity key", {"identity_key": public(identity("mallory"))})
    bad_message("another base key", {"base_key": public(draw("x"))})
    for name in ("identity_key", "base_key"):
        for what, change in BAD_KEYS.items():
            flag = "LowOrder" if what in ("u = 0", "u = 1", "u = p - 1") or "order" in what else "NonCanonical"
            bad_message("%s: %s" % (name.replace("_", " "), what), {name: change(message[name])}, flag)
    inner = message["message"]
    bad_message("the message inside: MAC changed", {"message": inner[:-1] + bytes([inner[-1] ^ 1])})
    bad_message("the message inside: version byte of the other family", {"message": b"\x33" + inner[1:]})
    bad_message("the message inside: version 4", {"message": b"\x44" + inner[1:]})
    bad_message("the message inside: 8 bytes", {"message": inner[:8]})
    # What is not authenticated in a first message, §4.5.
    _respond(f, "registration ID changed: taken", signed, prekey, x3dh.write_prekey_message(0x34, message | {"registration_id": 7}))
    _respond(f, "outer nibble changed: taken", signed, prekey, x3dh.write_prekey_message(0x33, message))
    return f


def _message(bundle):
    a = x3dh.initiate(ALICE, 4660, bundle, RANDOM["baseKey"], RANDOM["ratchetKey"], NOW)
    return ratchet.encrypt(a.session, ratchet.SIGNAL, b"hello bob")[2]


def _fingerprint():
    f = File("fingerprint_v1.json", "safety numbers", "SPEC.md §7", "Fingerprint")
    a, b = public(identity("alice")), public(identity("bob"))

    def case(comment, version, local, local_id, remote, remote_id, **more):
        x, y = fingerprint.digest(local, local_id), fingerprint.digest(remote, remote_id)
        given = dict(version=version, localId=local_id, localKey=local, remoteId=remote_id, remoteKey=remote,
                     display=fingerprint.display(x, y), scannable=fingerprint.scannable(version, x, y))
        if "scanned" not in more:
            f.test(comment, **given)
            return
        scanned = more["scanned"]
        if more.get("error"):
            f.test(comment, error=refused(fingerprint.compare, version, x, y, scanned), scanned=scanned, **given)
        else:
            f.test(comment, scanned=scanned, match=fingerprint.compare(version, x, y, scanned), **given)
    phone, other = b"+14155550100", b"+14155550101"
    x, y = fingerprint.digest(a, phone), fingerprint.digest(b, other)
    one = (1, a, phone, b, other)
    case("phone numbers", *one)
    case("phone numbers, the other side", 1, b, other, a, phone)
    case("account IDs", 2, a, draw("account/alice", 16), b, draw("account/bob", 16))
    case("version 0 is written", 0, a, phone, b, other)
    case("the highest version", 2**32 - 1, a, phone, b, other)
    case("one byte, and 256", 2, a, b"\0", b, draw("long", 256))
    case("one identity key on both sides", 2, a, phone, a, other)
    case("one side twice", 2, a, phone, a, phone)
    case("scanned: the other side's", *one, scanned=fingerprint.scannable(1, y, x))
    case("scanned: one's own", *one, scanned=fingerprint.scannable(1, x, y))
    case("scanned: another key of the other side", *one, scanned=fingerprint.scannable(1, fingerprint.digest(public(identity("mallory")), other), x))
    case("scanned: another key of one's own", *one, scanned=fingerprint.scannable(1, y, fingerprint.digest(public(identity("mallory")), phone)))
    case("scanned: last bit of the half", *one, scanned=fingerprint.scannable(1, y[:31] + bytes([y[31] ^ 1]), x))
    case("scanned: an unknown field", *one, scanned=fingerprint.scannable(1, y, x) + b"\x20\x01")
    case("scanned: version 0", *one, scanned=fingerprint.scannable(0, y, x), error=True)
    case("scanned: version 2", *one, scanned=fingerprint.scannable(2, y, x), error=True)
    good = fingerprint.scannable(1, y, x)
    case("scanned: nothing", *one, scanned=b"", error=True)
    case("scanned: truncated", *one, scanned=good[:-1], error=True)
    case("scanned: no second half", *one, scanned=good[:38], error=True)
    case("scanned: a half of 31 bytes", *one, scanned=good[:38] + b"\x1a\x21\x0a\x1f" + x[:31], error=True)
    case("scanned: a half of 33 bytes", *one, scanned=good[:38] + b"\x1a\x23\x0a\x21" + x[:33], error=True)
    case("scanned: a half twice", *one, scanned=good + good[38:], error=True)
    return f


def files():
    return {"x3dh_agree": _agree(), "fingerprint": _fingerprint()}
