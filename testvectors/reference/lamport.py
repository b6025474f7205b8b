"""Clocks, windows, conversations, inboxes, registers: SPEC.md chapter 9. Each machine is a small mutable value
that checks before it changes; write() gives its record (§9.9)."""

import wire
from envelope import valid_device, valid_name
from refused import Refused
from wire import BOOL, BYTES, UINT32, UINT64

TOP = 2**53 - 1
JUMP, WINDOW = 65_536, 4_096
INVALID, MALFORMED = "lamport.ErrInvalid", "lamport.ErrMalformed"


def _check(ok, error=INVALID):
    if not ok:
        raise Refused(error)


def _read(data, first, schema):
    _check(data[:1] == bytes([first]), MALFORMED)
    try:
        fields = wire.read_canonical(data[1:], schema)
    except wire.Malformed:
        raise Refused(MALFORMED) from None
    for name, kind in schema.values():
        _check(kind != UINT64 or fields[name] <= TOP, MALFORMED)
    return fields


class Clock:
    """§9.2: L and f."""

    def __init__(self, time=0, heard=0):
        self.time, self.heard = time, heard

    def seal(self):
        """R-9.2-1: the stamp of a new message."""
        _check(self.time < TOP, "lamport.ErrExhausted")
        self.time += 1
        return self.time

    def observe(self, stamp):
        """R-9.2-2, R-9.2-3."""
        _check(1 <= stamp <= TOP)
        stamp = min(stamp, self.time + JUMP)
        self.time, self.heard = max(self.time, stamp), max(self.heard, stamp)

    def lower(self, stamp, bound):
        """R-9.2-6: the server has refused a stamp, and its highest one is bound."""
        _check(1 <= stamp <= TOP and bound <= TOP)
        _check(stamp > bound + JUMP and self.heard + 1 <= bound + JUMP, "lamport.ErrOrder")
        self.time = min(self.time, max(self.heard, bound))

    def write(self):
        return b"\x11" + wire.number(1, self.time) + wire.number(2, self.heard)

    @classmethod
    def read(cls, data):
        c = _read(data, 0x11, {1: ("time", UINT64), 2: ("heard", UINT64)})
        _check(c["heard"] <= c["time"], MALFORMED)
        return cls(c["time"], c["heard"])


def display_key(epoch, number, waiting, stamp, user, device, message_id):
    """§9.3. waiting: epoch and number are the anchor, and may both be 0."""
    _check(valid_name(user) and valid_device(device) and valid_name(message_id) and 1 <= stamp <= TOP and number <= TOP)
    _check((epoch > 0) == (number > 0) and (waiting or epoch > 0))
    return (epoch.to_bytes(4, "big") + number.to_bytes(8, "big") + bytes([waiting]) + stamp.to_bytes(8, "big") + user
            + device.to_bytes(4, "big") + message_id)


class Window:
    """§9.4. Every counter up to floor counts as accepted; marked are those above."""

    def __init__(self, user, device, floor=0, marked=()):
        self.user, self.device, self.floor, self.marked = user, device, floor, set(marked)
        _check(valid_name(user) and valid_device(device))

    def accepted(self, counter):
        _check(1 <= counter <= TOP)
        return counter <= self.floor or counter in self.marked

    def mark(self, counter):
        if self.accepted(counter):
            return
        self.marked.add(counter)
        self.floor = max(self.floor, max(self.marked) - WINDOW)
        while self.floor + 1 in self.marked:
            self.floor += 1
        self.marked = {c for c in self.marked if c > self.floor}

    def write(self):
        bits = sum(1 << c - self.floor - 1 for c in self.marked)
        size = -(-bits.bit_length() // 8)
        return (b"\x21" + wire.block(1, self.user) + wire.number(2, self.device) + wire.number(3, self.floor)
                + wire.block(4, bits.to_bytes(size, "little") if bits else None))

    @classmethod
    def read(cls, data):
        w = _read(data, 0x21, {1: ("user", 16), 2: ("device", UINT32), 3: ("floor", UINT64), 4: ("bits", BYTES)})
        _check(valid_name(w["user"]) and valid_device(w["device"]), MALFORMED)
        data = w["bits"]
        bits = int.from_bytes(data, "little")
        _check(len(data) <= WINDOW // 8 and (not data or data[-1] != 0) and bits & 1 == 0, MALFORMED)
        _check(w["floor"] + bits.bit_length() <= TOP, MALFORMED)
        return cls(w["user"], w["device"], w["floor"], {w["floor"] + 1 + i for i in range(bits.bit_length()) if bits >> i & 1})


class Receipt:
    """§9.5: where the message of this ID of this device was accepted."""

    def __init__(self, conversation, user, device, message_id, epoch, number):
        self.conversation, self.user, self.device, self.message_id = conversation, user, device, message_id
        self.epoch, self.number = epoch, number

    def write(self):
        return (b"\x41" + wire.block(1, self.conversation) + wire.block(2, self.user) + wire.number(3, self.device)
                + wire.block(4, self.message_id) + wire.number(5, self.epoch) + wire.number(6, self.number))

    @classmethod
    def read(cls, data):
        r = _read(data, 0x41, {1: ("conversation", 16), 2: ("user", 16), 3: ("device", UINT32), 4: ("message_id", 16),
                               5: ("epoch", UINT32), 6: ("number", UINT64)})
        _check(all(valid_name(r[n]) for n in ("conversation", "user", "message_id")) and valid_device(r["device"]), MALFORMED)
        _check(r["epoch"] and r["number"], MALFORMED)
        return cls(**r)


class Conversation:
    """§9.5."""

    def __init__(self, conversation, epoch, last=0, stamp=None):
        _check(valid_name(conversation) and 1 <= epoch < 2**32)
        self.conversation, self.epoch, self.last = conversation, epoch, last
        self.stamp = min((epoch - 1) * 2**32, TOP) if stamp is None else stamp  # R-9.5-8

    def submit(self, window, receipt, header, counter, devices_match=True):
        """Steps 1 to 7 for one submission, with the rows as they were loaded: receipt is None if there is none.
        The answer is ("accepted" or "duplicate", epoch, number, receipt); the window is marked."""
        _check(all(valid_name(header[n]) for n in ("conversation", "messageId", "user")) and valid_device(header["device"]))
        _check(1 <= header["stamp"] <= TOP and 1 <= counter <= TOP)
        author = (header["user"], header["device"])
        _check(header["conversation"] == self.conversation and author == (window.user, window.device))  # R-9.5-9
        if receipt:
            _check((receipt.user, receipt.device, receipt.message_id) == (*author, header["messageId"]))
            _check(receipt.conversation == self.conversation, "lamport.ErrConflict")
            return "duplicate", receipt.epoch, receipt.number, receipt
        _check(not window.accepted(counter), "lamport.ErrTooOld")
        if not devices_match:
            return "mismatch", 0, 0, None
        _check(header["stamp"] <= self.stamp + JUMP, "lamport.ErrClockBound")
        _check(self.last < TOP, "lamport.ErrExhausted")
        self.last, self.stamp = self.last + 1, max(self.stamp, header["stamp"])
        window.mark(counter)
        return "accepted", self.epoch, self.last, Receipt(self.conversation, *author, header["messageId"], self.epoch, self.last)

    def raise_epoch(self, epoch):
        """R-9.5-8, one epoch after the other."""
        _check(self.epoch <= epoch < 2**32)
        if epoch > self.epoch:
            self.stamp = min(self.stamp + (epoch - self.epoch) * 2**32, TOP)
            self.epoch, self.last = epoch, 0

    def write(self):
        return (b"\x31" + wire.block(1, self.conversation) + wire.number(2, self.epoch) + wire.number(3, self.last)
                + wire.number(4, self.stamp))

    @classmethod
    def read(cls, data):
        c = _read(data, 0x31, {1: ("conversation", 16), 2: ("epoch", UINT32), 3: ("last", UINT64), 4: ("stamp", UINT64)})
        _check(valid_name(c["conversation"]) and c["epoch"], MALFORMED)
        return cls(**c)


class Inbox:
    """§9.6. held: position → frame, or the end of a gap marker as a number. Nothing but at is stored."""

    def __init__(self, epoch=0, at=0):
        self.epoch, self.at = epoch, at
        self._restart()

    def _restart(self):
        self.held, self.asked, self.gap = {}, 0, 0

    def deliver(self, epoch, position, frame):
        """The verdict: resync, acknowledge, process, fetch or hold."""
        _check(1 <= epoch < 2**32 and 1 <= position <= TOP)
        if epoch > self.epoch:
            return "resync"
        if epoch < self.epoch or position <= self.at:
            return "acknowledge"
        if position == self.at + 1:
            return "process"
        return self._hold(position, frame)

    def _hold(self, position, frame):
        size = sum(len(f) for f in self.held.values())
        if position not in self.held and position <= self.at + 256 and len(self.held) < 256 and size + len(frame) <= 4 << 20:
            self.held[position] = frame
        if self.asked > self.at:
            return "hold"
        self.asked = position
        return "fetch"

    def processed(self):
        """The next position is durable: R-9.6-1. The frame that is next now, if it was held, or None."""
        _check(self.at < TOP)
        self.at += 1
        self.held.pop(self.at, None)
        self._through_gap()
        return self.held.get(self.at + 1)

    def marker(self, epoch, first, last):
        """A gap marker, R-9.6-6. The verdict: as of deliver; process if at has moved."""
        _check(1 <= epoch < 2**32 and 1 <= first <= last <= TOP)
        if epoch > self.epoch:
            return "resync"
        if epoch < self.epoch or last <= self.at:
            return "acknowledge"
        if first > self.at + 1:
            return self._hold(first, b"")
        self.gap = max(self.gap, last)
        self._through_gap()
        return "process"

    def _through_gap(self):
        """Up to the end of the marker, or to just before the first frame in it that is held."""
        if self.gap > self.at:
            stops = [p - 1 for p in self.held if self.at < p <= self.gap]
            self.at = min(stops + [self.gap])

    def resync(self, epoch):
        _check(epoch > self.epoch and epoch < 2**32)
        self.epoch, self.at = epoch, 0
        self._restart()

    def write(self):
        return b"\x61" + wire.number(1, self.epoch) + wire.number(2, self.at)

    @classmethod
    def read(cls, data):
        i = _read(data, 0x61, {1: ("epoch", UINT32), 2: ("number", UINT64)})
        _check(i["epoch"] or not i["number"], MALFORMED)
        return cls(i["epoch"], i["number"])


class Register:
    """§9.7. current: (stamp, device, deleted, value), which is the order of writes, or None."""

    def __init__(self, author, current=None):
        _check(valid_name(author))
        self.author, self.current = author, current

    def apply(self, user, device, stamp, deleted, value):
        """Whether the register has changed. An equivocation (R-9.7-6) is told beside."""
        _check(valid_name(user) and valid_device(device) and 1 <= stamp <= TOP)
        _check(len(value) <= 4096 and not (deleted and value))
        _check(user == self.author, "lamport.ErrAuthor")
        write = (stamp, device, deleted, value)
        equivocation = self.current is not None and self.current[:2] == write[:2] and self.current != write
        changed = self.current is None or write > self.current
        if changed:
            self.current = write
        return changed, equivocation

    def write(self):
        out = b"\x51" + wire.block(1, self.author)
        if self.current:
            stamp, device, deleted, value = self.current
            out += wire.number(2, device) + wire.number(3, stamp) + wire.number(4, int(deleted)) + wire.block(5, value or None)
        return out

    @classmethod
    def read(cls, data):
        r = _read(data, 0x51, {1: ("author", 16), 2: ("device", UINT32), 3: ("stamp", UINT64), 4: ("deleted", BOOL), 5: ("value", BYTES)})
        _check(valid_name(r["author"]), MALFORMED)
        if not r["device"]:
            _check(not (r["stamp"] or r["deleted"] or r["value"]), MALFORMED)
            return cls(r["author"])
        _check(valid_device(r["device"]) and r["stamp"], MALFORMED)
        _check(len(r["value"]) <= 4096 and not (r["deleted"] and r["value"]), MALFORMED)
        return cls(r["author"], (r["stamp"], r["device"], bool(r["deleted"]), r["value"]))
