"""Sender keys: SPEC.md chapter 11. Where a function takes a family, it is True for Signal's form, with a
distribution ID, and False for the WhatsApp family's, without."""

import copy
from dataclasses import dataclass, field

import wire
import x3dh
from primitives import clamp, decrypt as cbc_open, encrypt as cbc_seal, hkdf, hmac
from refused import Refused
from wire import BYTES, UINT32, UINT64
from xeddsa import good_key, parse_key, public, sign, verify

JUMP, STORED, CHAINS, RETIRED, LAST = 25_000, 2_000, 5, 64, 2**32 - 1
MALFORMED, CORRUPT = "senderkey.ErrMalformed", "senderkey.ErrCorrupt"


@dataclass
class Chain:
    """One chain. private: at its own device only. keys: stored seeds of skipped messages by iteration.
    distribution_id is None in the WhatsApp family and inside of libsignal's record."""
    chain_id: int
    key: bytes
    signing: bytes
    iteration: int = 0
    private: bytes = None
    keys: dict = field(default_factory=dict)
    distribution_id: bytes = None


@dataclass
class Receiver:
    """§11.5. Both lists have the newest first."""
    chains: list = field(default_factory=list)
    retired: list = field(default_factory=list)


@dataclass
class Sender:
    """§11.6. The ledger: has and may_read, sets of members of 32 bytes."""
    revision: int = 0
    chain: Chain = None
    start: int = 0
    has: set = field(default_factory=set)
    may_read: set = field(default_factory=set)


def new_chain(distribution_id, chain_id, key, private):
    """§11.2, of what is drawn: a uint32, 32 bytes, 32 bytes."""
    private = clamp(private)
    return Chain(chain_id >> 1, key, public(private), 0, private, {}, distribution_id)


def expand(seed):
    """§11.2: cipher key and IV."""
    okm = hkdf(b"", seed, b"WhisperGroup", 48)
    return okm[16:], okm[:16]


# Messages, §11.3.


def _read_message(data, family, names, sizes):
    shift = 1 if family else 0
    schema = {i + shift: field for i, field in enumerate(zip(names, sizes), 1)}
    if family:
        schema[1] = ("distribution_id", 16)
    try:
        return wire.read(data, schema, [name for name, _ in schema.values()])
    except wire.Malformed:
        raise Refused(MALFORMED) from None


def _write_head(chain, family):
    n = 1 if family else 0
    return b"\x33" + wire.block(1, chain.distribution_id if family else None) + wire.number(n + 1, chain.chain_id, zero=True) \
        + wire.number(n + 2, chain.iteration, zero=True), n + 3


def write_distribution(chain, family):
    head, n = _write_head(chain, family)
    return head + wire.block(n, chain.key) + wire.block(n + 1, chain.signing)


def read_distribution(data, family):
    x3dh.check_version(data, MALFORMED, "senderkey.ErrVersion")
    m = _read_message(data[1:], family, ("chain_id", "iteration", "chain_key", "signing_key"), (UINT32, UINT32, 32, 33))
    parse_key(m["signing_key"], MALFORMED)
    return m


def read_message(data, family):
    if len(data) < 65:
        raise Refused(MALFORMED)
    x3dh.check_version(data, MALFORMED, "senderkey.ErrVersion")
    m = _read_message(data[1:-64], family, ("chain_id", "iteration", "ciphertext"), (UINT32, UINT32, BYTES))
    return m | {"covered": data[:-64], "signature": data[-64:]}


# Encrypting and decrypting, §11.4.


def encrypt(chain, family, plaintext, z):
    """The chain after it, the message, its seed."""
    if chain.iteration == LAST:
        raise Refused("senderkey.ErrChainExhausted")
    seed = hmac(chain.key, b"\x01")
    head, n = _write_head(chain, family)
    covered = head + wire.block(n, cbc_seal(*expand(seed), plaintext))
    after = copy.deepcopy(chain)
    after.key, after.iteration = hmac(chain.key, b"\x02"), chain.iteration + 1
    return after, covered + sign(chain.private, covered, z), seed


def decrypt(receiver, family, data):
    """The receiver after it, the plaintext, how many messages are newly missing (R-11.4-9), the seed."""
    r = copy.deepcopy(receiver)
    m = read_message(data, family)
    chain = next((c for c in r.chains if (c.distribution_id, c.chain_id) == (m.get("distribution_id"), m["chain_id"])), None)
    if chain is None:
        raise Refused("senderkey.ErrNoChain")
    if not verify(chain.signing, m["covered"], m["signature"]):
        raise Refused("senderkey.ErrAuthentication")
    iteration, missing = m["iteration"], 0
    if iteration < chain.iteration:
        if iteration not in chain.keys:
            raise Refused("senderkey.ErrDuplicate")
        seed = chain.keys.pop(iteration)
    else:
        missing = iteration - chain.iteration
        if missing > JUMP:
            raise Refused("senderkey.ErrTooFarAhead")
        if iteration == LAST:
            raise Refused("senderkey.ErrChainExhausted")
        while chain.iteration < iteration:
            chain.keys[chain.iteration] = hmac(chain.key, b"\x01")
            chain.key, chain.iteration = hmac(chain.key, b"\x02"), chain.iteration + 1
        seed = hmac(chain.key, b"\x01")
        chain.key, chain.iteration = hmac(chain.key, b"\x02"), iteration + 1
        for n in sorted(chain.keys)[:-STORED]:
            del chain.keys[n]
    plaintext = cbc_open(*expand(seed), m["ciphertext"])
    if plaintext is None:
        raise Refused("senderkey.ErrAuthentication")
    return r, plaintext, missing, seed


def process(receiver, family, data):
    """§11.5: the receiver after a distribution."""
    r = copy.deepcopy(receiver)
    m = read_distribution(data, family)
    new = Chain(m["chain_id"], m["chain_key"], m["signing_key"], m["iteration"], distribution_id=m.get("distribution_id"))
    same = next((c for c in r.chains if (c.distribution_id, c.chain_id) == (new.distribution_id, new.chain_id)), None)
    if same and same.signing == new.signing:
        r.chains.remove(same)
        r.chains.insert(0, same)
        return r
    if new.signing[1:9] in r.retired:
        raise Refused("senderkey.ErrDuplicate")
    if same is None and len(r.chains) == CHAINS:
        same = r.chains[-1]
    if same:
        r.chains.remove(same)
        r.retired = ([same.signing[1:9]] + r.retired)[:RETIRED]
    r.chains.insert(0, new)
    return r


# Sending chains, §11.6.


def encrypt_group(sender, family, members, revision, now, plaintext, random, messages=100, seconds=7 * 86400):
    """The sender after it; why there is a new chain, or None; the distribution or None, and for whom; the message.

    random: distribution_id, chain_id, chain_key, signing_key and z, all drawn whether they are used or not."""
    s = copy.deepcopy(sender)
    if not members or len(set(members)) < len(members) or bytes(32) in members:
        raise Refused("senderkey.ErrRoster")
    if revision < s.revision:
        raise Refused("senderkey.ErrOldRevision")
    s.revision = revision
    reason = None
    if s.chain is None:
        reason = "first"
    elif not (s.has | s.may_read) <= set(members):
        reason = "left"
    elif s.chain.iteration >= messages:
        reason = "messages"
    elif now - s.start >= seconds:
        reason = "age"
    elif now < s.start:
        reason = "clock"
    if reason:
        s.chain = new_chain(random["distribution_id"], random["chain_id"], random["chain_key"], random["signing_key"])
        s.start, s.has, s.may_read = now, set(), set()
    s.may_read |= set(members) - s.has
    readers = sorted(s.may_read)
    distribution = write_distribution(s.chain, family) if readers else None
    s.chain, message, _ = encrypt(s.chain, family, plaintext, random["z"])
    return s, reason, distribution, readers, message


def mark_has(sender, distribution_id, members):
    """R-11.6-5: the server has accepted the distribution of that very chain for them."""
    s = copy.deepcopy(sender)
    if s.chain and s.chain.distribution_id == distribution_id:
        told = s.may_read & set(members)
        s.may_read, s.has = s.may_read - told, s.has | told
    return s


def mark_lacks(sender, member):
    s = copy.deepcopy(sender)
    if member in s.has:
        s.has, s.may_read = s.has - {member}, s.may_read | {member}
    return s


# Records, §11.7.


def _check(ok, error=CORRUPT):
    if not ok:
        raise Refused(error)


def _read(*args, **kwargs):
    try:
        return wire.read(*args, **kwargs)
    except wire.Malformed:
        raise Refused(CORRUPT) from None


def _read_canonical(*args, **kwargs):
    try:
        return wire.read_canonical(*args, **kwargs)
    except wire.Malformed:
        raise Refused(CORRUPT) from None


def _read_state(data, own):
    numbered = {1: ("iteration", UINT32), 2: ("seed", 32)}
    s = _read(data, {1: ("chain_id", UINT32), 2: ("chain", BYTES), 3: ("signing", BYTES), 4: ("keys", BYTES), 5: ("version", UINT32)},
              ("chain", "signing"), ("keys",))
    chain = _read(s["chain"], numbered, ("seed",))
    signing = _read(s["signing"], {1: ("public", 33), 2: ("private", 32)}, ("public",))
    _check(s["version"] in (None, 0, 3), "senderkey.ErrVersion")
    _check(good_key(signing["public"]) and own == (signing["private"] is not None))
    _check(len(s["keys"]) <= STORED)
    iteration, keys = chain["iteration"] or 0, {}
    for key in s["keys"]:
        k = _read(key, numbered, ("seed",))
        n = k["iteration"] or 0
        _check(n < iteration and n not in keys)
        keys[n] = k["seed"]
    return Chain(s["chain_id"] or 0, chain["seed"], signing["public"], iteration, signing["private"], keys)


def _write_state(c):
    return (wire.number(1, c.chain_id) + wire.block(2, wire.number(1, c.iteration) + wire.block(2, c.key))
            + wire.block(3, wire.block(1, c.signing) + wire.block(2, c.private))
            + b"".join(wire.block(4, wire.number(1, n) + wire.block(2, c.keys[n])) for n in sorted(c.keys)) + wire.number(5, 3))


def read_chains(data, own):
    """SenderKeyRecordStructure. own: of the device's own chain."""
    states = [_read_state(s, own) for s in _read(data, {1: ("states", BYTES)}, (), ("states",))["states"]]
    _check(len(states) <= CHAINS and len({s.chain_id for s in states}) == len(states))
    return states


def write_chains(chains):
    return b"".join(wire.block(1, _write_state(c)) for c in chains)


def _members(data):
    _check(len(data) % 32 == 0)
    members = [data[i:i + 32] for i in range(0, len(data), 32)]
    _check(members == sorted(set(members)) and bytes(32) not in members)
    return set(members)


def read_sender(data):
    _check(data[:1] == b"\x11")
    if len(data) == 1:
        return Sender()
    s = _read_canonical(data[1:], {1: ("revision", UINT64), 2: ("distribution_id", 16), 3: ("start", UINT64), 4: ("chain", BYTES),
                                   5: ("has", BYTES), 6: ("may_read", BYTES)})
    _check(s["distribution_id"] and s["chain"])
    chains = read_chains(s["chain"], True)
    _check(len(chains) == 1 and not chains[0].keys)
    chains[0].distribution_id = s["distribution_id"]
    has, may_read = _members(s["has"]), _members(s["may_read"])
    _check(not has & may_read)
    return Sender(s["revision"], chains[0], s["start"], has, may_read)


def write_sender(s):
    if s.chain is None:
        return b"\x11"
    return (b"\x11" + wire.number(1, s.revision) + wire.block(2, s.chain.distribution_id) + wire.number(3, s.start)
            + wire.block(4, write_chains([s.chain])) + wire.block(5, b"".join(sorted(s.has)) or None)
            + wire.block(6, b"".join(sorted(s.may_read)) or None))


def read_receiver(data, family):
    _check(data[:1] == b"\x21")
    r = _read_canonical(data[1:], {1: ("chains", BYTES), 2: ("retired", BYTES)}, ("chains",))
    chains = []
    for item in r["chains"]:
        c = _read_canonical(item, {1: ("distribution_id", 16), 2: ("state", BYTES)}, messages=("state",))
        _check(c["state"] is not None and family == bool(c["distribution_id"]))
        chain = _read_state(c["state"], False)
        chain.distribution_id = c["distribution_id"] or None
        chains.append(chain)
    names = {(c.distribution_id, c.chain_id) for c in chains}
    _check(len(chains) <= CHAINS and len(names) == len(chains))
    _check(len(r["retired"]) % 8 == 0 and len(r["retired"]) <= 8 * RETIRED)
    return Receiver(chains, [r["retired"][i:i + 8] for i in range(0, len(r["retired"]), 8)])


def write_receiver(r):
    return (b"\x21" + b"".join(wire.block(1, wire.block(1, c.distribution_id) + wire.block(2, _write_state(c))) for c in r.chains)
            + wire.block(2, b"".join(r.retired) or None))
