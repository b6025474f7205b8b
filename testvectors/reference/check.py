"""Checks this program against what others have computed and recorded, and the vector files against make.py.

    python3 check.py

Prints a line for each set, and ends with status 1 at the first that fails.
"""

import json
import pathlib
import sys

import fingerprint
import make
import primitives
import ratchet
import records
import retry
import senderkey
import x3dh
import xeddsa
from refused import Refused

RECORDED = pathlib.Path(__file__).resolve().parent.parent / "recorded"
H = bytes.fromhex


def recorded(name):
    return json.loads((RECORDED / name).read_text(encoding="utf-8"))


def same(got, want, what):
    if got != want:
        raise SystemExit("FAILED: %s\n got %s\nwant %s" % (what, got, want))


def check_primitives():
    """RFC 7748 §5.2 and §6.1, RFC 5869 A.1 and A.3, RFC 4231 case 2, SP 800-38A F.2.5 and F.2.6."""
    x = primitives.x25519
    same(x(H("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"), H("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")).hex(),
         "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552", "X25519")
    same(x(H("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d"), H("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493")).hex(),
         "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957", "X25519, bit 255 of u set")
    k = u = b"\x09" + bytes(31)
    for _ in range(1000):
        k, u = x(k, u), k
    same(k.hex(), "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51", "X25519, 1,000 times")
    same(primitives.hkdf(H("000102030405060708090a0b0c"), H("0b" * 22), H("f0f1f2f3f4f5f6f7f8f9"), 42).hex(),
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865", "HKDF")
    same(primitives.hkdf(b"", H("0b" * 22), b"", 42).hex(),
         "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8", "HKDF without salt")
    same(primitives.hmac(b"Jefe", b"what do ya want for nothing?").hex(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", "HMAC")
    key, iv = H("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"), bytes(range(16))
    plain = H("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
    cipher = H("f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b")
    same(primitives.cbc_encrypt(key, iv, plain), cipher, "AES-256-CBC")
    same(primitives.cbc_decrypt(key, iv, cipher), plain, "AES-256-CBC, back")
    return 9


def check_xeddsa():
    """Where we refuse what the peer takes, it is one of the cases of SPEC.md A.1."""
    vectors = recorded("xeddsa-libsignal-0.60.2-0.90.0-0.103.0.json")["vectors"]
    stricter = ("S+1L", "public key with bit 255", "u=p+9", "forged under low-order")
    for v in vectors:
        got = xeddsa.verify(b"\x05" + H(v["public_u"]), H(v["message"]), H(v["signature"]))
        same(got, v["libsignal_0.103.0"] and not v["name"].startswith(stricter), v["name"])
        if v["note"].startswith("private="):
            private = H(v["note"][8:72])
            same(xeddsa.public(private)[1:].hex(), v["public_u"], v["name"])
            same(xeddsa.sign(private, H(v["message"]), b"\x07" * 64).hex(), v["signature"], v["name"])
    return len(vectors)


def check_x3dh():
    """Every message, and every stored record after it. The ratchet keys that the peer drew stand in its records."""
    d = recorded("x3dh-v3-libsignal-0.72.1.json")
    alice, bob = d["alice"], d["bob"]
    signed, prekey = records.read_signed_prekey(H(bob["signed_prekey_record"])), records.read_prekey(H(bob["one_time_prekey_record"]))
    same(records.write_signed_prekey(signed).hex(), bob["signed_prekey_record"], "signed prekey record")
    same(records.write_prekey(prekey).hex(), bob["one_time_prekey_record"], "prekey record")
    same(xeddsa.verify(H(bob["identity_public"]), signed["public"], signed["signature"]), True, "signature of the signed prekey")
    same(xeddsa.public(H(alice["identity_private"])).hex(), alice["identity_public"], "identity key")
    sessions, messages = {}, {}
    written, told = {"alice": [], "bob": []}, {"alice": 0, "bob": 0}  # how far a party's messages have come, or are known to be missing
    for step in d["steps"]:
        party, op = step["op"].split(".")
        what = step["op"] + " " + step.get("id", "")
        stored = H(step[party + "_session"])
        after, past = records.read_sessions(stored)
        same(records.write_sessions(after, past), stored, what + ": record read and written")
        if op == "process_prekey_bundle":
            sessions[party] = after
        elif op == "encrypt":
            sessions[party], kind, message, _ = ratchet.encrypt(sessions[party], ratchet.SIGNAL, step["plaintext_utf8"].encode())
            same((kind, message.hex()), (step["type"], step["message"]), what)
            messages[step["id"]] = kind, message
            written[party].append(step["id"])
        else:
            kind, message = messages[step["id"].removesuffix("-duplicate")]
            if party not in sessions:  # Bob's first: the agreement, also Alice's half of it
                m = x3dh.read_prekey_message(message)
                first = x3dh.respond(H(bob["identity_private"]), bob["registration_id"], signed, prekey, m)
                sessions[party] = first.session
                pending = sessions["alice"]
                root, chain = x3dh.kdf_rk(first.root, xeddsa.agree(pending.sending.private, signed["public"]))
                same((pending.root, pending.receiving[0].key), (root, first.chain), "Alice's keys after the agreement")
            function = ratchet.decrypt if kind == 2 else ratchet.decrypt_prekey
            try:
                sessions[party], plaintext, missing, _ = function(sessions[party], message, after.sending.private)
                same(plaintext.decode(), step.get("plaintext_utf8"), what)
                peer = "bob" if party == "alice" else "alice"
                number = written[peer].index(step["id"])
                same(missing, max(number - told[peer], 0), what + ": missing")
                told[peer] = max(told[peer], number + 1)
            except Refused as error:
                same((error.name, "error" in step), ("ratchet.ErrDuplicate", True), what)
        same(records.write_sessions(sessions[party], []), stored, what + ": record")
    return len(d["steps"])


def check_senderkey():
    d = recorded("senderkey-libsignal-0.72.1.json")
    chain, = senderkey.read_chains(H(d["sender_record_initial"]), True)
    same(senderkey.write_chains([chain]).hex(), d["sender_record_initial"], "sender's record")
    chain.distribution_id = H(d["distribution_id"].replace("-", ""))
    same(senderkey.write_distribution(chain, True).hex(), d["skdm"], "distribution")
    receiver = senderkey.process(senderkey.Receiver(), True, H(d["skdm"]))
    same(senderkey.write_chains(receiver.chains).hex(), d["receiver_record_initial"], "receiver's record")
    messages = {}
    for step in d["steps"]:
        what = "%(op)s %(iteration)d" % step
        if step["op"] == "encrypt":
            signed = messages[step["iteration"]] = H(step["message"])
            chain, message, _ = senderkey.encrypt(chain, True, step["plaintext_utf8"].encode(), bytes(64))
            same(message[:-64], signed[:-64], what)  # Z of the signature is not in the recording
            same(senderkey.write_chains([chain]).hex(), step["sender_record"], what + ": record")
            continue
        try:
            receiver, plaintext, _, _ = senderkey.decrypt(receiver, True, messages[step["iteration"]])
            same(plaintext.decode(), step.get("plaintext_utf8"), what)
        except Refused as error:
            same((error.name, "error" in step), ("senderkey.ErrDuplicate", True), what)
        same(senderkey.write_chains(receiver.chains).hex(), step["receiver_record"], what + ": record")
    same(senderkey.write_distribution(chain, True).hex(), d["late_skdm"], "late distribution")
    receiver = senderkey.process(receiver, True, H(d["late_skdm"]))
    same(senderkey.write_chains(receiver.chains).hex(), d["receiver_record_after_reprocessing_late_skdm"], "late distribution: record")
    return len(d["steps"]) + 5


def check_fingerprint():
    vectors = recorded("fingerprint-libsignal-0.72.1.json")["vectors"]
    for v in vectors:
        local, remote = (fingerprint.digest(H(v[s + "_key"]), H(v[s + "_id"]), v["iterations"]) for s in ("local", "remote"))
        same(fingerprint.display(local, remote), v["display"], v["comment"])
        same(fingerprint.scannable(v["version"], local, remote).hex(), v["scannable"], v["comment"])
        same(fingerprint.compare(v["version"], local, remote, fingerprint.scannable(v["version"], remote, local)), True, v["comment"])
    return len(vectors)


def check_retry():
    """R-10.7-1 is stricter than the peer: what it would not write itself it still reads."""
    d = recorded("retry-libsignal-0.72.1.json")
    for v in d["requests"]:
        fields = H(v["ratchet_key"]) or None, v["timestamp"], v["device_id"]
        same(retry.write_request(*fields).hex(), v["plaintext_content"], v["comment"])
        same(retry.read_request(H(v["plaintext_content"])), fields, v["comment"])
    for v in d["contents"]:
        try:
            retry.read_request(H(v["plaintext_content"]))
            same(v["accepted"], True, v["comment"])
        except Refused:
            written_otherwise = ("field 8 twice", "another field", "no device", "fields out of order", "timestamp twice", "an unknown field", "an overlong",
                                 "a device over 32 bits")
            same(v["accepted"], v["comment"].startswith(written_otherwise), v["comment"])
    return len(d["requests"]) + len(d["contents"])


def check_vectors():
    """The files in testvectors/vectors that make.py makes are those that are there."""
    count = 0
    for name, text in make.files().items():
        path = make.VECTORS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            raise SystemExit("FAILED: %s is not what make.py makes" % name)
        count += json.loads(text)["numberOfTests"]
    return count


if __name__ == "__main__":
    for check in (check_primitives, check_xeddsa, check_x3dh, check_senderkey, check_fingerprint, check_retry, check_vectors):
        print("%5d cases  %s" % (check(), check.__name__[6:]))
        sys.stdout.flush()
