#!/usr/bin/env python3
"""Drives random conversations between a party in peer A and a party in peer B; exits 1 at the first mismatch.

    drive.py --a 'node ../signal-peer/peer.mjs' --b '../mau-peer/mau-peer' --seed 1 --schedules 200 [--mode talk]

Modes
  talk          one session, initiated by A or by B, with or without a one-time prekey: loss, duplicates, reordering in and
                across turns, bit flips, empty and large plaintexts, repeated PreKey messages, long jumps.
  simultaneous  both initiate at once; every message decrypts and both sides converge on one session.
  reset         as simultaneous, and now and then a side archives its session and starts anew from a fresh bundle.
  archived      up to 41 sessions one after the other, of each some messages held back; at the end all of them arrive.
  skipped       2,000 skipped keys each way, all of which are used, before and after the next turn; and one more, which is not.
  group         sender keys: loss, reordering, duplicates, flips, late joiners, removed members, both ways (same sender-key format on both sides).

A case, as counted at the end, is a message with the plaintext or the error that it must give, or a distribution message with its content.
The schedule depends on --seed and its number alone: --only N runs one again. The keys the peers draw are their own.
"""
import argparse, json, os, random, sys, time, uuid
from collections import Counter
from peerlib import Mismatch, Msg, Peer, Refused, base_keys, fields

CHAINS = 5          # receiver chains, and chains of a group's sender, that both families keep
MAX_SKIP = 1900     # in one chain; the WhatsApp family stops at 2000
SKIPPED = 2000      # keys that are kept of one chain
ARCHIVED = 40       # sessions that are kept beside the current one


def check(cond, text, *a):
    if not cond:
        raise Mismatch(text % a if a else text)


class Side:
    """A party in one peer process, and what the other side ought to see of it."""

    def __init__(self, peer, rng, name, first_prekey_id):
        self.peer, self.store, self.rng = peer, "drive-" + name, rng
        self.name, self.device = str(uuid.UUID(int=rng.getrandbits(128), version=4)), rng.randint(1, 127)
        self.prekey_id = rng.choice([first_prekey_id, first_prekey_id + 1, rng.randint(2, 0xFFFF00)])
        self.signed_id = rng.choice([first_prekey_id - 1, 1, rng.randint(2, 0xFFFF00)])
        self.prekey_id -= 1
        self.ident = self("newIdentity", name=self.name, deviceId=self.device, registrationId=rng.randint(1, 16380),
                          identityPrivate=rng.randbytes(32).hex())
        self.address = {"name": self.name, "deviceId": self.device}
        self.session = False         # can encrypt
        self.acked = None            # initiator: has decrypted a reply; None: not an initiator
        self.keys = []               # ratchet keys used, in order
        self.next = 0                # counter of the next message in the newest chain
        self.prev_len = None         # messages in the chain before (0 for a responder's unused first one)
        self.turn = False            # a new chain has arrived since the last send: the next message has a new key
        self.latest = -1             # newest chain of the other side that was delivered here

    def __call__(self, cmd, **kw):
        return self.peer(cmd, store=self.store, **kw)

    def record(self, other):
        return self("exportSession", address=other.address)["record"] if self.peer.has("exportSession") else None

    def bundle(self, prekey):
        self.prekey_id += 1
        self.signed_id += 1   # never twice: the old private half must stay for messages on their way
        b = self("makeBundle", preKey=prekey, preKeyId=self.prekey_id, signedPreKeyId=self.signed_id)
        check((b["preKeyId"] is not None) == prekey, "bundle with preKey=%s has preKeyId %s", prekey, b["preKeyId"])
        check(b["identityKey"] == self.ident["identityPublic"] and b["registrationId"] == self.ident["registrationId"], "bundle of another identity")
        return b


class Run:
    def __init__(self, opt, a, b):
        self.opt, self.a, self.b = opt, a, b
        self.stats, self.steps, self.pool = Counter(), [], None
        # What a peer writes, and whether the other can read it: go.mau.fi/libsignal checks the MAC over a re-encoding with 0x33.
        self.writes, self.readable = {}, {}
        self.first_prekey_id = 1 if a.mau or b.mau else 0

    def probe(self):
        rng = random.Random(0)
        if self.opt.mode == "group":
            gid, first = str(uuid.UUID(int=rng.getrandbits(128), version=4)), []
            for x in (self.a, self.b):
                Side(x, rng, "probe", 1)
                f = x("senderKeyDistributionCreate", store="drive-probe", distributionId=gid)["message"]
                first.append("pre-2021" if f[2:4] == "08" else "UUID")
                print(f"{x.label}: {x.package}, sender-key format {first[-1]}")
            if first[0] != first[1]:
                sys.exit("the sender-key formats differ: nothing to drive (cross.py checks that they refuse each other)")
            return
        for x, y in ((self.a, self.b), (self.b, self.a)):
            s, t = Side(x, rng, "probe", 1), Side(y, rng, "probe2", 1)
            s("processBundle", address=t.address, bundle=t.bundle(True))
            c = s("encrypt", address=t.address, plaintext="00")
            m = Msg(c["type"], bytes.fromhex(c["ciphertext"]))
            check(c["type"] == 3 and m.version == m.inner_version and m.version in (0x33, 0x34), "first message of %s: type %d, %#x/%#x", x.label, c["type"], m.version, m.inner_version)
            self.writes[x] = m.version
            self.readable[x] = not (y.mau and m.version != 0x33)
            print(f"{x.label}: {x.package}, writes {m.version:#x}" + ("" if self.readable[x] else f"; {y.label} cannot read that: refusals are checked instead"))

    # ---- plaintexts and damage ----
    def plaintext(self, rng):
        k = rng.random()
        if k < .15:
            return b""
        if k < .55:
            return rng.randbytes(rng.randint(1, 64))
        if k < .75:
            return rng.randbytes(16 * rng.randint(1, 20) + rng.choice([-1, 0, 1]))
        return rng.randbytes(rng.randint(65, 5000))

    def damage(self, rng, m, to):
        """A copy that no peer may accept. What libsignal does not authenticate is left alone: the low nibble of the outer version, prekey
        ids and registration id of a PreKey message, bit 255 of its base key. mau re-encodes, so for it only values are touched."""
        raw = bytearray(m.raw)
        if m.type == 2 and rng.random() < .15:
            if rng.random() < .5:
                return bytes(raw[:rng.randrange(len(raw))]), "truncated"
            return bytes(raw) + rng.randbytes(rng.randint(1, 20)), "extended"
        inner = ["ratchet", "counter", "ciphertext", "mac"] + ([] if to.mau else ["inner", "inner"])
        # (mau falls back to the old session when a PreKey message with another base key does not decrypt in the new one.)
        where = rng.choice(inner + (["identity"] + ([] if to.mau and m.to.session else ["base"]) if m.type == 3 else []))
        s, e = m.spans[where]
        i, bit = rng.randrange(s, e), rng.randrange(8)
        if where == "base" and i == e - 1 and bit == 7:
            bit = 3
        if where == "ciphertext" and rng.random() < .3:
            i = e - 1 - rng.randrange(min(16, e - s))
        raw[i] ^= 1 << bit
        return bytes(raw), f"{where} byte {i} bit {bit}"

    # ---- operations with their oracles ----
    def note(self, *a):
        self.steps.append(" ".join(str(x) for x in a))

    def send(self, rng, s, t, plain=None):
        pt = self.plaintext(rng) if plain is None else plain
        c = s("encrypt", address=t.address, plaintext=pt.hex())
        m = Msg(c["type"], bytes.fromhex(c["ciphertext"]))
        m.pt, m.frm, m.to, m.id, m.state = pt, s, t, len(self.all), "queued"
        self.all.append(m)
        self.note("send", m.id, "from", s.peer.label, "type", m.type, "counter", m.counter, "len", len(pt))
        check(m.version == self.writes[s.peer] and m.inner_version == m.version, "version byte %#x/%#x", m.version, m.inner_version)
        check(len(m.ciphertext) == len(pt) // 16 * 16 + 16, "%d bytes of ciphertext for %d", len(m.ciphertext), len(pt))
        check(m.inner_order == [1, 2, 3, 4], "fields of the SignalMessage: %s", m.inner_order)
        if m.type == 3:
            check(m.order in ([1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6]), "fields of the PreKeySignalMessage: %s", m.order)
            check(m.identity.hex() == s.ident["identityPublic"], "identity key in the PreKey message")
        self.stats[f"sent {s.peer.label}{m.type}"] += 1
        self.stats["bytes"] += len(pt)
        if m.ratchet not in s.keys:
            s.keys.append(m.ratchet)
            m.fresh = True
        else:
            m.fresh = False
        m.chain = s.keys.index(m.ratchet)
        return m

    def decrypt(self, t, s, typ, raw):
        return bytes.fromhex(t("decrypt", address=s.address, type=typ, ciphertext=raw.hex())["plaintext"])

    def good(self, m, what="deliver"):
        self.note(what, m.id, "to", m.to.peer.label)
        self.stats["cases"] += 1
        try:
            got = self.decrypt(m.to, m.frm, m.type, m.raw)
        except Refused as e:
            raise Mismatch(f"message {m.id} (type {m.type}, chain {m.chain}, counter {m.counter}): {e}")
        check(got == m.pt, "message %d: %d bytes out, %d in", m.id, len(got), len(m.pt))
        m.state = "delivered"
        self.stats["delivered"] += 1

    def refused(self, m, raw, what, name=None):
        """Must fail (with this name), and leave the stored record as it was."""
        self.note(what, m.id, "to", m.to.peer.label)
        self.stats["cases"] += 1
        before = m.to.record(m.frm) if self.opt.records else None
        try:
            self.decrypt(m.to, m.frm, m.type, raw)
        except Refused as e:
            check(name is None or e.name == name, "message %d, %s: want %s, got %s", m.id, what, name, e)
            check(e.name != "BadRequest", "message %d, %s: %s", m.id, what, e)
            self.stats[f"error {e.name}"] += 1
        else:
            raise Mismatch(f"message {m.id}, {what}: accepted")
        if self.opt.records:
            check(m.to.record(m.frm) == before, "message %d, %s: the stored session changed", m.id, what)

    # ---- talk ----
    def talk(self, rng):
        one_way = None
        x, y = (self.a, self.b) if rng.random() < .5 else (self.b, self.a)
        s, t = Side(x, rng, "init", self.first_prekey_id), Side(y, rng, "resp", self.first_prekey_id)
        prekey = rng.random() < .6
        self.note("initiator", x.label, "one-time prekey", prekey)
        self.stats["with prekey" if prekey else "without prekey"] += 1
        self.stats["initiator " + x.label] += 1
        s("processBundle", address=t.address, bundle=t.bundle(prekey))
        s.session, s.acked, t.prev_len = True, False, 0
        if not self.readable[x]:   # nothing of the initiator's arrives; it must fail cleanly
            for _ in range(rng.randint(1, 4)):
                m = self.send(rng, s, t)
                self.refused(m, m.raw, "unreadable family")
                self.stats["unreadable"] += 1
            check(not t("sessionInfo", address=s.address)["exists"], "a session after refused messages")
            return
        queue, done = [], []
        deaf = not self.readable[y]

        def send(f):
            g = t if f is s else s
            m = self.send(rng, f, g)
            # type: PreKey until the initiator has decrypted something
            check(m.type == (3 if f.acked is False else 2), "type %d with acked=%s", m.type, f.acked)
            if m.type == 3:
                check((m.pre_key_id is not None) == prekey, "prekey id %s", m.pre_key_id)
            # chain: a new ratchet key exactly after a new chain of the other side
            first = len(f.keys) == 1 and f.next == 0 and m.fresh
            check(m.fresh == (f.turn or first), "new ratchet key: %s, turn: %s", m.fresh, f.turn)
            if m.fresh and not (f is s and first):
                want = f.next if not first else f.prev_len
                f.prev_len, f.next, f.turn = want, 0, False
                self.stats["turns"] += 1
            check(m.counter == f.next, "counter %d, want %d", m.counter, f.next)
            n = f.prev_len
            ok = {0} if n is None else {max(n - 1, 0)} | ({0xFFFFFFFF} if n == 0 and m.version == 0x33 else set())
            check(m.previous in ok, "previous_counter %d, want %s", m.previous, sorted(ok))
            f.next += 1
            if f is t and deaf:
                self.refused(m, m.raw, "unreadable family")
                self.stats["unreadable"] += 1
            else:
                queue.append(m)
            return m

        def alive(m):
            return m.chain > m.to.latest - CHAINS

        def deliver(m, what="deliver"):
            queue.remove(m)
            f, g = m.frm, m.to
            if not g.session and m.type != 3:
                raise Mismatch("responder without a session got a type 2")  # cannot happen: the driver's own error
            if not alive(m):
                self.refused(m, m.raw, "expired chain")
                self.stats["expired"] += 1
                return
            if m.chain < g.latest:
                self.stats["across turns"] += 1
            elif any(q.frm is f and q.chain == m.chain and q.counter < m.counter for q in queue):
                self.stats["out of order"] += 1
            if m.type == 3 and g.session:
                self.stats["repeated PreKey"] += 1
            self.good(m, what)
            done.append(m)
            g.session = True
            if m.chain > g.latest:
                check(m.chain == g.latest + 1, "driver: a chain was jumped")
                g.latest, g.turn = m.chain, True
            if g.acked is False:
                g.acked = True

        if self.opt.jumps and rng.random() < self.opt.jumps:
            jump_at = rng.randint(0, self.opt.steps)
        else:
            jump_at = -1
        hoard, chatty = rng.choice([0, 0, .05, .15]), rng.random() < .4   # some messages are set aside for long; some talks turn often
        for step in range(rng.randint(self.opt.steps // 4, self.opt.steps)):
            f = rng.choice([p for p in (s, t) if p.session])
            k = rng.random()
            for m in queue:
                if not hasattr(m, "until"):
                    m.until = step + rng.randint(10, self.opt.steps) if rng.random() < hoard else -1
            now = [m for m in queue if m.until <= step or rng.random() < .02]
            if chatty and step % 2 and now:
                newest = max(now, key=lambda m: m.id)
                deliver(newest)
                send(newest.to)
                continue
            if step == jump_at and not (deaf and f is t):
                n = rng.randint(300, MAX_SKIP) - f.next
                if n > 0 and not f.turn:
                    burst = [send(f) for _ in range(n)]
                    self.stats["jump"] += 1
                    self.stats["longest jump"] = max(self.stats["longest jump"], n)
                    deliver(burst[-1], "jump to")
                    for m in rng.sample(burst[:-1], min(25, n - 1)):
                        deliver(m, "from the gap")
                    for m in burst:
                        if m in queue and rng.random() < .97:
                            queue.remove(m)
                            self.stats["dropped"] += 1
            elif k < .40 or not now:
                for _ in range(rng.choice([1, 1, 1, 2, 3, rng.randint(1, 12)])):
                    if f.next < MAX_SKIP:
                        send(f)
            elif k < .72:
                m = rng.choice(now) if rng.random() < .5 else now[0]
                deliver(m)
                if rng.random() < .2:
                    if alive(m):
                        self.refused(m, m.raw, "duplicate", "DuplicatedMessage")
                        self.stats["duplicates"] += 1
            elif k < .80:
                m = rng.choice(now)
                bad, how = self.damage(rng, m, m.to.peer)
                self.refused(m, bad, "damaged: " + how)
                self.stats["damaged"] += 1
                if rng.random() < .7:
                    deliver(m, "genuine after damage")
            elif k < .88 and done:
                m = rng.choice(done[-60:])
                if rng.random() < .7:
                    self.refused(m, m.raw, "late duplicate", "DuplicatedMessage" if alive(m) else None)
                    self.stats["duplicates"] += 1
                else:
                    bad, how = self.damage(rng, m, m.to.peer)
                    self.refused(m, bad, "damaged after delivery: " + how)
                    self.stats["damaged"] += 1
            elif k < .94:
                m = rng.choice(now)
                queue.remove(m)
                self.note("drop", m.id)
                self.stats["dropped"] += 1
            else:   # a flush, in order or shuffled
                q = now[:]
                if rng.random() < .7:
                    rng.shuffle(q)
                for m in q:
                    deliver(m)
        q = queue[:]
        rng.shuffle(q)
        for m in q:
            deliver(m, "drain")
        for _ in range(3):   # and the conversation still works
            for f in (s, t):
                if f.session:
                    m = send(f)
                    if m in queue:
                        deliver(m, "last words")
        if t.session and not deaf:
            check(s.acked, "never acknowledged")

    # ---- simultaneous and reset ----
    def tangle(self, rng, resets):
        p = [Side(self.a, rng, "a", self.first_prekey_id), Side(self.b, rng, "b", self.first_prekey_id)]
        queue = []

        def start(f, g):
            self.note("start", f.peer.label)
            f("processBundle", address=g.address, bundle=g.bundle(rng.random() < .6))
            self.stats["starts"] += 1

        def late(m):   # at most three newer chains of its sender: surely kept by the receiver
            return len(m.frm.keys) - 1 - m.chain > 3

        def settle(keep):
            """Deliver most of the queue in random order."""
            rng.shuffle(queue)
            for m in queue[:]:
                if keep and rng.random() < .25 and not late(m):
                    continue
                queue.remove(m)
                if rng.random() < .1:
                    self.note("drop", m.id)
                    self.stats["dropped"] += 1
                    continue
                if rng.random() < .1:
                    bad, how = self.damage(rng, m, m.to.peer)
                    self.refused(m, bad, "damaged: " + how)
                    self.stats["damaged"] += 1
                self.good(m)
                if rng.random() < .2:
                    self.refused(m, m.raw, "duplicate", "DuplicatedMessage")
                    self.stats["duplicates"] += 1

        def expire():
            for m in queue[:]:
                if late(m):
                    queue.remove(m)
                    self.good(m, "deliver before it expires") if len(m.frm.keys) - 1 - m.chain <= 4 else self.note("drop", m.id)

        start(p[0], p[1])
        start(p[1], p[0])
        for rnd in range(rng.randint(2, 12)):
            for f, g in rng.sample([(p[0], p[1]), (p[1], p[0])], 2):
                if resets and rnd and rng.random() < .2:
                    f("archiveSession", address=g.address)
                    start(f, g)
                for _ in range(rng.randint(1, 4)):
                    queue.append(self.send(rng, f, g))
                    expire()
                if rng.random() < .4:
                    settle(True)
            settle(True)
            expire()
        settle(False)
        self.quiesce(rng, p)

    def quiesce(self, rng, p):
        """Within ten exchanges both hold the same session."""
        for n in range(10):
            types = []
            for f, g in ((p[0], p[1]), (p[1], p[0])):
                m = self.send(rng, f, g)
                types.append(m.type)
                self.good(m, "quiesce")
            recs = [p[0].record(p[1]), p[1].record(p[0])]
            same = None if None in recs else base_keys(recs[0]) == base_keys(recs[1])
            if types == [2, 2] and same is not False:
                self.stats["converged after %d" % (n + 1)] += 1
                return
        raise Mismatch(f"no convergence: types {types}, same base key {same}")

    # ---- archived ----
    def archived(self, rng):
        p = [Side(self.a, rng, "a", self.first_prekey_id), Side(self.b, rng, "b", self.first_prekey_id)]
        held = []

        def post(f, g, hold):
            m = self.send(rng, f, g)
            if rng.random() < hold:
                held.append(m)
                return False
            self.good(m)
            return True

        sessions = rng.choice([ARCHIVED + 1, rng.randint(2, 12), rng.randint(2, ARCHIVED)])
        for k in range(sessions):
            f, g = rng.sample(p, 2)
            self.note("session", k, "by", f.peer.label)
            if rng.random() < .5 and f("sessionInfo", address=g.address)["exists"]:
                f("archiveSession", address=g.address)
            f("processBundle", address=g.address, bundle=g.bundle(rng.random() < .6))
            known = [post(f, g, .4) for _ in range(rng.randint(1, 4))]
            if not any(known) and rng.random() < .85:
                known = [post(f, g, 0)]
            if any(known):   # one turn each way at most: no chain expires
                for _ in range(rng.randint(0, 3)):
                    post(g, f, .4)
                for _ in range(rng.randint(0, 3)):
                    post(f, g, .4)
        self.stats["sessions"] += sessions
        self.stats["most sessions"] = max(self.stats["most sessions"], sessions)
        self.stats["late"] += len(held)
        for m in rng.sample(held, len(held)):
            if rng.random() < .1:
                bad, how = self.damage(rng, m, m.to.peer)
                self.refused(m, bad, "damaged: " + how)
                self.stats["damaged"] += 1
            self.good(m, "late")
            if rng.random() < .2:
                self.refused(m, m.raw, "duplicate", "DuplicatedMessage")
                self.stats["duplicates"] += 1
        self.quiesce(rng, p)

    # ---- skipped ----
    def skipped(self, rng):
        x, y = (self.a, self.b) if rng.random() < .5 else (self.b, self.a)
        s, t = Side(x, rng, "init", self.first_prekey_id), Side(y, rng, "resp", self.first_prekey_id)
        s("processBundle", address=t.address, bundle=t.bundle(rng.random() < .6))
        talk = rng.randint(0, 3)
        for _ in range(1 + talk):
            for f, g in ((s, t), (t, s)):
                self.good(self.send(rng, f, g))
        for f, g in ((s, t), (t, s)):
            over = rng.randint(0, 3)   # keys beyond the limit: the oldest go
            burst = [self.send(rng, f, g, rng.randbytes(rng.randint(0, 40))) for _ in range(over + SKIPPED + 1)]
            self.good(burst[-1], "jump to")
            for m in burst[:over]:
                self.refused(m, m.raw, "over the limit", "DuplicatedMessage")
                self.stats["evicted"] += 1
            rest = rng.sample(burst[over:-1], SKIPPED)
            half = rng.randint(0, SKIPPED)
            for m in rest[:half]:
                self.good(m, "from the gap")
            for a, b in ((g, f), (f, g)):   # the keys outlive a turn
                self.good(self.send(rng, a, b))
            for m in rest[half:]:
                self.good(m, "from the gap, a turn later")
            for m in rng.sample(burst[over:], 20):
                self.refused(m, m.raw, "duplicate", "DuplicatedMessage")
                self.stats["duplicates"] += 1
            self.stats["skipped and read"] += SKIPPED
        self.good(self.send(rng, t, s))

    # ---- group ----
    def group(self, rng):
        x, y = (self.a, self.b) if rng.random() < .5 else (self.b, self.a)
        s, rs = Side(x, rng, "g", 1), [Side(y, rng, f"m{i}", 1) for i in range(3)]
        new_id = lambda: str(uuid.UUID(int=rng.getrandbits(128), version=4))
        gid, chains, msgs = new_id(), [], []   # of a chain its ID, length, distribution ID; of a message its plaintext, bytes, chain, iteration
        seen, has = {r: set() for r in rs}, {r: {} for r in rs}   # has: chain -> iteration that its distribution began with
        members, removed = [], []

        def chain():
            d = s("senderKeyDistributionCreate", distributionId=gid)
            check(d["iteration"] == 0 and d["chainId"] not in [c[0] for c in chains], "distribution %s of a new chain", d)
            chains.append([d["chainId"], 0, gid])

        def join(r):
            c, (id, n, _) = len(chains) - 1, chains[-1]
            d = s("senderKeyDistributionCreate", distributionId=gid)
            check((d["chainId"], d["iteration"]) == (id, n), "distribution %s at message %d", d, n)
            q = r("senderKeyDistributionProcess", sender=s.address, message=d["message"])
            check((q["chainId"], q["iteration"]) == (id, n), "processed as %s", q)
            has[r].setdefault(c, n)
            self.stats["cases"] += 1
            self.stats["late joins"] += n > 0
            self.note("join", r.store, "chain", c, "at", n)

        def remove(r):
            """The others get a chain that r never sees: in place of the old one, or under a distribution ID of its own."""
            nonlocal gid
            members.remove(r)
            removed.append(r)
            if s.peer.has("exportSenderKey", "importSenderKey") and rng.random() < .5:
                w = Side(x, rng, "fresh", 1)
                w("senderKeyDistributionCreate", distributionId=gid)
                s("importSenderKey", distributionId=gid, record=w("exportSenderKey", distributionId=gid)["record"])
            else:
                gid = new_id()
            chain()
            self.note("remove", r.store, "chain", len(chains) - 1)
            self.stats["removed"] += 1
            for m in members:
                if rng.random() < .7:   # some distributions come later
                    join(m)

        def record(r, i):
            if self.opt.records and r.peer.has("exportSenderKey"):
                return r("exportSenderKey", distributionId=chains[msgs[i][2]][2], sender=s.address)["record"]

        def receive(r, i, raw, name=None):
            before = record(r, i)
            self.stats["cases"] += 1
            try:
                pt = bytes.fromhex(r("groupDecrypt", sender=s.address, ciphertext=raw.hex())["plaintext"])
            except Refused as e:
                check(record(r, i) == before, "group message %d: refused, and the stored record changed", i)
                check(name is not None, "group message %d: %s", i, e)
                check(name in ("", e.name), "group message %d: want %s, got %s", i, name, e)
                check(e.name != "BadRequest", "group message %d: %s", i, e)
                self.stats[f"error {e.name}"] += 1
                return
            check(name is None, "group message %d: accepted, want %s", i, name or "an error")
            check(pt == msgs[i][0], "group message %d: wrong plaintext", i)
            seen[r].add(i)
            self.stats["delivered"] += 1

        chain()
        for r in rs:
            if rng.random() < .6:
                members.append(r)
                join(r)
        for step in range(rng.randint(10, self.opt.steps)):
            k = rng.random()
            if k < .35 or not msgs:
                pt = self.plaintext(rng)
                e = s("groupEncrypt", distributionId=gid, plaintext=pt.hex())
                check(e["type"] == 7, "type %s", e["type"])
                msgs.append((pt, bytes.fromhex(e["ciphertext"]), len(chains) - 1, chains[-1][1]))
                chains[-1][1] += 1
                self.note("group send", len(msgs) - 1, "len", len(pt))
                self.stats[f"sent {s.peer.label}7"] += 1
                continue
            if k < .38 and members and len(chains) < CHAINS:
                remove(rng.choice(members))
                continue
            r, i = rng.choice(rs), rng.randrange(max(0, len(msgs) - 15), len(msgs))
            _, raw, c, n = msgs[i]
            if c not in has[r]:
                self.note("removed" if r in removed else "stranger", r.store, i)
                receive(r, i, raw, "NoSenderKeyState")
                self.stats["removed and refused"] += r in removed
                again = len(chains) - 1 in has[r]   # go.mau.fi/libsignal takes a repeated distribution for a new one, and loses keys
                if r not in removed and rng.random() < .3 and not (again and y.mau):
                    if r not in members:
                        members.append(r)
                    join(r)
            elif n < has[r][c]:
                self.note("before joining", r.store, i)
                receive(r, i, raw, "DuplicatedMessage")
            elif i in seen[r]:
                self.note("duplicate", r.store, i)
                receive(r, i, raw, "DuplicatedMessage")
                self.stats["duplicates"] += 1
            else:
                if rng.random() < .3:
                    bad = bytearray(raw)
                    j = rng.randrange(len(bad) - 64 if y.mau else 0, len(bad))
                    bad[j] ^= 1 << rng.randrange(8)
                    self.note("damaged", r.store, i, "byte", j)
                    receive(r, i, bytes(bad), "")
                    self.stats["damaged"] += 1
                self.note("group deliver", r.store, i)
                receive(r, i, raw)
        for r in rs:   # what is not lost arrives at last, in any order: also at those who were removed, what was sent before
            rest = [i for i, (_, _, c, n) in enumerate(msgs) if n >= has[r].get(c, n + 1) and i not in seen[r]]
            for i in rng.sample(rest, len(rest) * 3 // 4):
                self.note("drain", r.store, i)
                receive(r, i, msgs[i][1])

    # ---- all ----
    def schedule(self, i):
        rng = random.Random(f"{self.opt.seed}/{i}/{self.opt.mode}")
        self.steps, self.all = [], []
        self.a.log.clear()
        self.b.log.clear()
        if self.opt.mode == "talk":
            self.talk(rng)
        elif self.opt.mode in ("group", "archived", "skipped"):
            getattr(self, self.opt.mode)(rng)
        else:
            self.tangle(rng, self.opt.mode == "reset")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--a", required=True, help="command of peer A")
    ap.add_argument("--b", required=True, help="command of peer B")
    ap.add_argument("--seed", default="1")
    ap.add_argument("--schedules", type=int, default=100)
    ap.add_argument("--mode", choices=["talk", "simultaneous", "reset", "archived", "skipped", "group"], default="talk")
    ap.add_argument("--steps", type=int, default=60, help="most actions in a schedule")
    ap.add_argument("--jumps", type=float, default=.03, help="share of schedules with a jump of up to %d messages" % MAX_SKIP)
    ap.add_argument("--no-records", dest="records", action="store_false", help="do not compare stored records around refused messages")
    ap.add_argument("--only", type=int, help="run this schedule only")
    ap.add_argument("--seconds", type=float, default=55, help="stop (successfully) after so long")
    ap.add_argument("--force", action="store_true", help="run modes in which go.mau.fi/libsignal is known to lose messages")
    ap.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "out"), help="where a mismatch's transcript goes")
    opt = ap.parse_args()
    a = b = None
    i, t0, done = -1, time.time(), 0
    try:
        a, b = Peer(opt.a, "A"), Peer(opt.b, "B")
        run = Run(opt, a, b)
        if (a.mau or b.mau) and opt.mode in ("simultaneous", "reset", "archived") and not opt.force:
            sys.exit("go.mau.fi/libsignal loses messages with two sessions (README.md); --force to see it")
        run.probe()
        for i in ([opt.only] if opt.only is not None else range(opt.schedules)):
            run.schedule(i)
            done += 1
            if time.time() - t0 > opt.seconds:
                print(f"stopped after {opt.seconds:.0f} s")
                break
        i = -1
        a.close()
        b.close()
    except (Mismatch, Refused, OSError, KeyError, ValueError, IndexError) as e:
        if a is None or b is None or not (a and b):
            print(f"MISMATCH at the start: {e}")
            sys.exit(1)
        print(f"MISMATCH {type(e).__name__}: {e}")
        print(f"seed {opt.seed} schedule {i} mode {opt.mode} steps {opt.steps} jumps {opt.jumps}")
        for s in run.steps[-60:]:
            print("   ", s)
        os.makedirs(opt.out, exist_ok=True)
        path = os.path.join(opt.out, f"mismatch-{opt.mode}-{opt.seed}-{i}.jsonl")
        with open(path, "w") as f:
            f.write(json.dumps({"a": opt.a, "b": opt.b, "error": str(e), "steps": run.steps}) + "\n")
            for x in (a, b):
                for l, q, r in x.log:
                    f.write(json.dumps({"peer": l, "request": q, "answer": r}) + "\n")
        print("transcript:", path)
        print("again: add --only", i)
        for x in (a, b):
            x.p.kill()
        sys.exit(1)
    st = run.stats
    print(f"ok: {done} schedules, mode {opt.mode}, seed {opt.seed}, {time.time() - t0:.1f} s: " + ", ".join(f"{k} {st[k]}" for k in sorted(st)))


if __name__ == "__main__":
    main()
