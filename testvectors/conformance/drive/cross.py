#!/usr/bin/env python3
"""Crosses the primitives of two peers: signatures, agreement, key import, fingerprints, parsed fields, and sessions and sender keys that
move from one process to the other in the middle of a conversation. Exits 1 at the first difference; what a peer lacks is skipped and said.
A case, as counted at the end, is an answer that both must give, or one must give to the other's bytes.

    cross.py --a 'node ../signal-peer/peer.mjs' --b './sotto-peer' --seed 1 --rounds 40
"""
import argparse, random, sys, time, uuid
from collections import Counter
from peerlib import Mismatch, Msg, Peer, Refused

st = Counter()
skipped = set()


def check(cond, text, *a):
    if not cond:
        raise Mismatch(text % a if a else text)


def case(what):
    st["cases"] += 1
    st[what] += 1


def can(cmd, *peers):
    ok = True
    for p in peers:
        if not p.has(*cmd.split()):
            skipped.add(f"{cmd.split()[0]} ({p.label} lacks it)")
            ok = False
    return ok


def refused(f, what, *names):
    case("refused")
    try:
        f()
    except Refused as e:
        check(not names or e.name in names, "%s: want %s, got %s", what, "/".join(names), e)
        return
    raise Mismatch(f"{what}: accepted")


def keys(rng, p, q):
    """A private key (unclamped) and its public key, the same in both peers."""
    priv = rng.randbytes(32).hex()
    i = [x("newIdentity", store="cross-k", identityPrivate=priv, registrationId=1) for x in (p, q)]
    check(i[0]["identityPublic"] == i[1]["identityPublic"], "public key of %s: %s, %s", priv, i[0]["identityPublic"], i[1]["identityPublic"])
    check(i[0]["identityPrivate"] == i[1]["identityPrivate"], "clamped %s: %s, %s", priv, i[0]["identityPrivate"], i[1]["identityPrivate"])
    case("keys")
    return priv, i[0]["identityPublic"]


def signatures(rng, p, q):
    priv, pub = keys(rng, p, q)
    for m in (b"", rng.randbytes(33), rng.randbytes(rng.randint(1, 3000))):
        s = p("sign", private=priv, message=m.hex())["signature"]
        check(len(s) == 128, "signature of %d bytes", len(s) // 2)
        bad = bytearray.fromhex(s)
        bad[rng.randrange(64)] ^= 1 << rng.randrange(8)
        for v in (p, q):
            check(v("verify", public=pub, message=m.hex(), signature=s)["valid"], "%s signed, %s refuses", p.label, v.label)
            check(not v("verify", public=pub, message=m.hex(), signature=bad.hex())["valid"], "%s accepts a flipped signature", v.label)
            check(not v("verify", public=pub, message=(m + b"\0").hex(), signature=s)["valid"], "%s accepts another message", v.label)
            case("signatures")
    s = p("sign", store="cross-k", message="00")["signature"]   # the identity's key is the default
    check(q("verify", public=pub, message="00", signature=s)["valid"], "default signing key")


def agreements(rng, p, q):
    (a, A), (b, B) = keys(rng, p, q), keys(rng, p, q)
    s = {x("agree", private=k, public=K)["secret"] for x in (p, q) for k, K in ((a, B), (b, A))}
    check(len(s) == 1, "agreement of %s and %s: %s", a, b, s)
    for x in (p, q):
        refused(lambda: x("agree", private=a, public="06" + B[2:]), "public key of type 6", "InvalidKey")
        refused(lambda: x("agree", private=a, public=B[:-2]), "public key of 32 bytes", "InvalidKey")
        refused(lambda: x("agree", private=a[:-2], public=B), "private key of 31 bytes", "InvalidKey")
    case("agreements")


def fingerprints(rng, p, q):
    if not can("fingerprint", p, q):
        return
    (_, A), (_, B) = keys(rng, p, q), keys(rng, p, q)
    la, lb = rng.randbytes(rng.choice([1, 12, 16, 17, rng.randint(1, 80)])).hex(), rng.randbytes(16).hex()
    for it, v in ((None, None), (5200, 1), (2, 0), (rng.randint(2, 300), rng.choice([2, 3, 127, 128, 70000]))):
        kw = {k: x for k, x in (("iterations", it), ("version", v)) if x is not None}
        f = [x("fingerprint", localId=la, localKey=A, remoteId=lb, remoteKey=B, **kw) for x in (p, q)]
        g = q("fingerprint", localId=lb, localKey=B, remoteId=la, remoteKey=A, **kw)
        check(f[0] == f[1], "fingerprint %s: %s, %s", kw, f[0], f[1])
        check(g["display"] == f[0]["display"] and len(g["display"]) == 60, "fingerprint from the other side")
        case("fingerprints")


def same_fields(rng, cmd, raw, p, q):
    if can(cmd, p, q):
        a, b = (x(cmd, message=raw) for x in (p, q))
        both = [k for k in a if k in b]
        check(both, "%s: no field in common: %s, %s", cmd, sorted(a), sorted(b))
        for k in both:
            # mau gives the public type's re-encoding and no UUID
            if a[k] is not None and b[k] is not None:
                check(a[k] == b[k], "%s %s: %s, %s", cmd, k, a[k], b[k])
        case("parsed")


class Party:
    def __init__(self, rng, peer, store, prekey_base=1):
        self.peer, self.store, self.rng = peer, store, rng
        self.name = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        self.ident = {"name": self.name, "deviceId": 1, "registrationId": rng.randint(1, 16380), "identityPrivate": rng.randbytes(32).hex()}
        self.me = self("newIdentity", **self.ident)
        self.address = {"name": self.name, "deviceId": 1}
        self.n = 0

    def __call__(self, cmd, **kw):
        return self.peer(cmd, store=self.store, **kw)

    def move(self, peer, other):
        """The same device in another process: identity and session, nothing else."""
        rec = self("exportSession", address=other.address)["record"]
        check(rec, "nothing to export")
        self.n += 1
        self.peer, self.store = peer, f"{self.store[:9]}-moved{self.n % 4}"
        again = self("newIdentity", **self.ident)
        check(again["identityPublic"] == self.me["identityPublic"], "identity changed on the way")
        self("saveIdentity", address=other.address, identityKey=other.me["identityPublic"])
        self("importSession", address=other.address, record=rec)
        out = self("exportSession", address=other.address)["record"]
        check(out == rec, "export after import differs:\n  %s\n  %s", rec, out)
        info = self("sessionInfo", address=other.address)
        check(info["exists"] and info["hasCurrentState"], "sessionInfo after import: %s", info)
        case("sessions moved")
        st["record bytes"] += len(rec) // 2


def sessions(rng, p, q):
    """A conversation during which both parties change processes, with skipped keys in the state and messages on the way."""
    if not can("encrypt decrypt", p, q):
        return
    can_move = can("exportSession importSession", p, q) and not (p.mau or q.mau)   # mau stores keys without their seeds
    x, y = Party(rng, p, "cross-x"), Party(rng, q, "cross-y")
    b = y("makeBundle", preKey=rng.random() < .5, preKeyId=rng.randint(1, 9999), signedPreKeyId=rng.randint(1, 9999))
    x("processBundle", address=y.address, bundle=b)
    flying = []

    def send(f, t):
        pt = rng.randbytes(rng.choice([0, 1, 16, 400])).hex()
        m = f("encrypt", address=t.address, plaintext=pt)
        same_fields(rng, "parsePreKeySignalMessage" if m["type"] == 3 else "parseSignalMessage", m["ciphertext"], p, q)
        flying.append((f, t, m, pt))

    def deliver(i):
        f, t, m, pt = flying.pop(i)
        got = t("decrypt", address=f.address, type=m["type"], ciphertext=m["ciphertext"])["plaintext"]
        check(got == pt, "plaintext")
        refused(lambda: t("decrypt", address=f.address, type=m["type"], ciphertext=m["ciphertext"]), "duplicate", "DuplicatedMessage")
        case("messages")

    if can_move:   # the initiator moves before a single message: pending prekey fields in the record
        x.move(q if x.peer is p else p, y)
    send(x, y)
    send(x, y)
    if p.mau or q.mau:
        first = Msg(flying[0][2]["type"], bytes.fromhex(flying[0][2]["ciphertext"]))
        if q.mau and first.version != 0x33:
            st["unreadable by mau"] += 1
            return
    deliver(1)
    for turn in range(8):
        for f, t in ((y, x), (x, y)):
            if t.peer.mau and not f.peer.mau and Msg(2, bytes.fromhex(f("encrypt", address=t.address, plaintext="00")["ciphertext"])).version != 0x33:
                st["unreadable by mau"] += 1
                return
            n0 = len(flying)
            for _ in range(rng.randint(1, 4)):
                send(f, t)
            deliver(rng.randrange(n0, len(flying)))
            if can_move and rng.random() < .5:
                w = rng.choice([x, y])
                w.move(q if w.peer is p else p, y if w is x else x)
        while len(flying) > 3 or turn % 3 == 2 and flying:   # five receiver chains are kept: nothing waits longer than three turns
            deliver(rng.randrange(len(flying)))


def sender_keys(rng, p, q):
    cmds = "senderKeyDistributionCreate senderKeyDistributionProcess groupEncrypt groupDecrypt"
    if not can(cmds, p, q):
        return
    s, r = Party(rng, p, "cross-s"), Party(rng, q, "cross-r")
    gid = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    d = s("senderKeyDistributionCreate", distributionId=gid)
    probe = r("senderKeyDistributionCreate", distributionId=str(uuid.UUID(int=rng.getrandbits(128), version=4)))
    if d["message"][2:4] != probe["message"][2:4]:   # field 1 is the UUID (0a) or the id (08)
        refused(lambda: r("senderKeyDistributionProcess", sender=s.address, message=d["message"]), "distribution message of the other family")
        st["sender keys of the other family refused"] += 1
        return
    r("senderKeyDistributionProcess", sender=s.address, message=d["message"])
    msgs = []
    for _ in range(6):
        pt = rng.randbytes(rng.choice([0, 5, 160])).hex()
        msgs.append((pt, s("groupEncrypt", distributionId=gid, plaintext=pt)["ciphertext"]))
    same_fields(rng, "parseSenderKeyMessage", msgs[0][1], p, q)
    order = list(range(6))
    rng.shuffle(order)
    move = can("exportSenderKey importSenderKey", p, q)
    for n, i in enumerate(order):
        check(r("groupDecrypt", sender=s.address, ciphertext=msgs[i][1])["plaintext"] == msgs[i][0], "group plaintext")
        if move and n == 2:
            rec = r("exportSenderKey", distributionId=gid, sender=s.address)["record"]
            r.peer, r.store = p, "cross-r2"
            r("newIdentity", **r.ident)
            r("importSenderKey", distributionId=gid, sender=s.address, record=rec)
            out = r("exportSenderKey", distributionId=gid, sender=s.address)["record"]
            check(out == rec, "sender key record after import:\n  %s\n  %s", rec, out)
            rec = s("exportSenderKey", distributionId=gid)["record"]   # and the sender moves the other way
            s.peer, s.store = q, "cross-s2"
            s("newIdentity", **s.ident)
            s("importSenderKey", distributionId=gid, record=rec)
            check(s("exportSenderKey", distributionId=gid)["record"] == rec, "the sender's record after import")
            m = s("groupEncrypt", distributionId=gid, plaintext="aabb")["ciphertext"]
            check(r("groupDecrypt", sender=s.address, ciphertext=m)["plaintext"] == "aabb", "after the move")
            case("sender keys moved")
        case("group messages")


def names(rng, p, q):
    """The error names of the protocol, p starting and q answering."""
    if not can("encrypt decrypt", p, q):
        return
    x, y = Party(rng, p, "cross-n"), Party(rng, q, "cross-m")
    b = y("makeBundle", preKeyId=9, signedPreKeyId=8)
    enc = lambda **kw: x("encrypt", address=y.address, plaintext="00", **kw)
    dec = lambda t, c: y("decrypt", address=x.address, type=t, ciphertext=c)
    refused(enc, "encrypt without a session", "SessionNotFound")
    flip = bytearray.fromhex(b["signedPreKeySignature"])
    flip[rng.randrange(63)] ^= 1 << rng.randrange(8)
    refused(lambda: x("processBundle", address=y.address, bundle=dict(b, signedPreKeySignature=flip.hex())), "bundle with a bad signature", "SignatureValidationFailed")
    refused(enc, "encrypt after a refused bundle", "SessionNotFound")
    check(x("getIdentity", address=y.address)["identityKey"] is None, "identity of a refused bundle saved")
    refused(lambda: x("processBundle", address=y.address, bundle=dict(b, identityKey="04" + b["identityKey"][2:])), "identity key of type 4", "InvalidKey")
    x("processBundle", address=y.address, bundle=b)
    first = enc()
    if q.mau and first["ciphertext"][:2] != "33":
        st["unreadable by mau"] += 1
        return
    raw = first["ciphertext"]
    refused(lambda: dec(2, raw), "PreKey message as type 2")
    for v, n in (("2", "LegacyCiphertextVersion"), ("1", "LegacyCiphertextVersion"), ("5", "UnrecognizedCiphertextVersion"), ("f", "UnrecognizedCiphertextVersion")):
        if v == "2" and q.mau:   # takes it: only the inner message's version counts there
            continue
        refused(lambda: dec(3, v + raw[1:]), "PreKey message of version " + v, n)
    inner = Msg(3, bytes.fromhex(raw)).spans["inner"]
    sm = bytes.fromhex(raw)[slice(*inner)].hex()
    refused(lambda: dec(2, sm), "a SignalMessage without a session", "SessionNotFound")
    refused(lambda: dec(2, "5" + sm[1:]), "a SignalMessage of version 5", "UnrecognizedCiphertextVersion")
    old = "1" if q.mau else "2"   # mau still parses version 2
    refused(lambda: dec(2, old + sm[1:]), "a SignalMessage of version " + old, "LegacyCiphertextVersion")
    refused(lambda: dec(2, "34ff" * 9), "garbage", "InvalidProtobufEncoding")
    check(not y("sessionInfo", address=x.address)["exists"] and y("getIdentity", address=x.address)["identityKey"] is None, "something stored by refused messages")
    check(dec(3, raw)["plaintext"] == "00", "plaintext")
    check(y("getIdentity", address=x.address)["identityKey"] == x.me["identityPublic"], "identity not saved")
    y("deleteSession", address=x.address)
    refused(lambda: dec(3, raw), "one-time prekey used twice", "InvalidPreKeyId")
    y("newIdentity", **y.ident)
    refused(lambda: dec(3, raw), "unknown signed prekey", "InvalidSignedPreKeyId")
    y("makeBundle", preKeyId=9, signedPreKeyId=8)   # other keys under the same ids
    refused(lambda: dec(3, raw), "another prekey", "InvalidMessage")
    # a changed identity, both directions
    other = Party(rng, p, "cross-o")
    x("saveIdentity", address=y.address, identityKey=other.me["identityPublic"])
    refused(enc, "encrypt to a changed identity", "UntrustedIdentity")
    refused(lambda: x("processBundle", address=y.address, bundle=y("makeBundle", preKey=False)), "bundle of a changed identity", "UntrustedIdentity")
    c = [x("saveIdentity", address=y.address, identityKey=k)["change"] for k in (y.me["identityPublic"],) * 2]
    check(c[0] != c[1], "saveIdentity says %s", c)
    st["change " + "/".join(map(str, c))] += 1
    y("saveIdentity", address=x.address, identityKey=other.me["identityPublic"])
    x("processBundle", address=y.address, bundle=y("makeBundle", preKey=False, signedPreKeyId=12))
    m = enc()
    refused(lambda: dec(m["type"], m["ciphertext"]), "message of a changed identity", "UntrustedIdentity")
    y("saveIdentity", address=x.address, identityKey=x.me["identityPublic"])
    check(dec(m["type"], m["ciphertext"])["plaintext"] == "00", "after the identity was saved")
    # an unacknowledged session is 30 days old (mau has no such rule)
    if not p.mau:
        now, day = 1_700_000_000_000, 86_400_000
        x("processBundle", address=y.address, bundle=y("makeBundle"), now=now)
        check(enc(now=now + 30 * day - 2000)["type"] == 3, "at 30 days less 2 s")
        refused(lambda: enc(now=now + 30 * day + 2000), "at 30 days and 2 s", "SessionNotFound")
        check(enc(now=now + 1000)["type"] == 3, "younger again")
    st["error names"] += 1


def requests(p):
    """Any line gets an answer."""
    for line in (b"", b"{", b"[]", b"null", b'{"id":1}', b'{"id":"x","cmd":"nope"}', b'{"id":2,"cmd":"encrypt","store":"nobody"}',
                 b'{"id":3,"cmd":"decrypt","type":2,"ciphertext":"zz"}', b'{"id":4,"cmd":"agree","private":5,"public":[]}', b"\xff\xfe", b'"\\ud800"', b'{"id":5,"cmd":"version"'):
        p.p.stdin.write(line + b"\n")
        a = p._line()
        check(a.get("ok") is False and a["error"]["name"] == "BadRequest", "%s answers %s to %r", p.label, a, line)
        st["broken requests"] += 1


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--a", required=True)
    ap.add_argument("--b", required=True)
    ap.add_argument("--seed", default="1")
    ap.add_argument("--rounds", type=int, default=25)
    opt = ap.parse_args()
    t0 = time.time()
    where = "start"
    try:
        a, b = Peer(opt.a, "A"), Peer(opt.b, "B")
        print(f"A: {a.package}\nB: {b.package}")
        for p in (a, b):
            where = "requests"
            requests(p)
        for n in range(opt.rounds):
            for f in (signatures, agreements, fingerprints, names, sessions, sender_keys):
                for p, q in ((a, b), (b, a)):
                    where = f"round {n}, {f.__name__}, first peer {p.label}"
                    f(random.Random(f"{opt.seed}/{n}/{f.__name__}/{p.label}"), p, q)
        a.close()
        b.close()
    except (Mismatch, Refused, OSError, KeyError, ValueError, IndexError) as e:
        print(f"MISMATCH seed {opt.seed}, {where}: {type(e).__name__}: {e}")
        sys.exit(1)
    print(f"ok: {opt.rounds} rounds, seed {opt.seed}, {time.time() - t0:.1f} s: " + ", ".join(f"{k} {st[k]}" for k in sorted(st))
          + ("; skipped: " + "; ".join(sorted(skipped)) if skipped else ""))


if __name__ == "__main__":
    main()
