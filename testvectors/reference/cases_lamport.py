"""lamport_sequence.json."""

from envelope import valid_device, valid_name
from lamport import TOP, Clock, Conversation, Inbox, Register, Window, display_key
from make import File, draw
from refused import Refused

JUMP = 65_536
CONVERSATION, OTHER = draw("conversation", 16), draw("another conversation", 16)
ALICE, BOB = draw("user/alice", 16), draw("user/bob", 16)
ZERO, ONES = bytes(16), b"\xff" * 16


class Log:
    """A machine, its value, and the steps so far."""

    def __init__(self, machine, value=None, start=None):
        self.machine, self.value, self.start, self.steps = machine, value, start, []

    def step(self, event, call, outcome=None, comment=None, error=None, **given):
        """outcome: a function of the call's result, to fields. error: the one that has to come."""
        fields = {"event": event, "comment": comment} | given
        try:
            result = call()
        except Refused as refusal:
            assert refusal.name == "lamport." + (error or ""), (comment, refusal.name)
            fields["error"] = refusal.name
        else:
            assert error is None, comment
            fields |= outcome(result) if outcome else {}
        if self.value is not None:
            fields["record"] = self.value.write()
        self.steps.append(fields)
        return fields

    def done(self, f, comment, *flags):
        f.test(comment, *flags, machine=self.machine, start=self.start, steps=self.steps)


def _clocks(f):
    def log(time=0, heard=0):
        c = Clock(time, heard)
        return Log("clock", c, c.write())

    def seal(l, comment=None, error=None):
        l.step("seal", l.value.seal, lambda s: {"stamp": s}, comment, error)

    def observe(l, stamp, comment=None, error=None):
        l.step("observe", lambda: l.value.observe(stamp), None, comment, error, stamp=stamp)

    def lower(l, stamp, bound, comment=None, error=None):
        l.step("lower", lambda: l.value.lower(stamp, bound), None, comment, error, stamp=stamp, bound=bound)
    l = log()
    seal(l, "the first stamp is 1"), seal(l)
    observe(l, 1, "an own one is answered")
    observe(l, 7, "a higher one moves the clock"), seal(l)
    observe(l, 5, "a lower one does not"), observe(l, 7)
    observe(l, 0, "0 is no stamp", "ErrInvalid")
    l.done(f, "clock: seal and observe")
    l = log(10, 10)
    observe(l, 10 + JUMP, "a jump of 65,536 whole")
    observe(l, 10 + 2 * JUMP + 1, "of 65,537: it counts as 65,536 (R-9.2-3)")
    observe(l, TOP, "the highest stamp"), seal(l)
    l.done(f, "clock: jumps", "Limits")
    l = log(TOP - 1, 1)
    seal(l, "the last stamp"), seal(l, "there is none after it", "ErrExhausted"), observe(l, TOP), seal(l, error="ErrExhausted")
    l.done(f, "clock: the end", "Limits")
    l = log(500_000, 300)
    lower(l, 500_000, 500_000 - JUMP, "the stamp is within the bound: the server contradicts itself", "ErrOrder")
    lower(l, 500_000, 100, "to f, which is higher than the bound")
    lower(l, 500_000, 200, "again: nothing lower"), seal(l)
    l.done(f, "clock: lowered to what was heard", "Bound")
    l = log(500_000, 300)
    lower(l, 500_000, 1_000, "to the bound, which is higher than f"), seal(l)
    lower(l, 200_000, 5_000, "never raised")
    l.done(f, "clock: lowered to the bound", "Bound")
    l = log(500_000, 100_000)
    lower(l, 500_000, 100_000 - JUMP, "f + 1 is over the bound: the server contradicts itself", "ErrOrder")
    lower(l, 500_000, 100_001 - JUMP, "f + 1 is the bound")
    l.done(f, "clock: a server that contradicts what it delivered", "Bound")


def _order(f):
    l = Log("order")

    def key(epoch, number, waiting, stamp, user=ALICE, device=1, message_id=draw("message/1", 16), comment=None, error=None):
        l.step("key", lambda: display_key(epoch, number, waiting, stamp, user, device, message_id), lambda k: {"key": k}, comment, error,
               epoch=epoch, number=number, waiting=waiting, stamp=stamp, user=user, device=device, messageId=message_id)
    key(1, 1, False, 10, comment="the cycle of R-9.3-2: sequence 1, stamp 10")
    key(1, 2, False, 5, comment="sequence 2, stamp 5")
    key(1, 1, True, 7, comment="waits, anchor 1, stamp 7")
    key(0, 0, True, 1, comment="waits, and nothing had been seen")
    key(2**32 - 1, TOP, False, TOP, BOB, 2**31 - 1, draw("message/2", 16), "the highest of everything")
    l.done(f, "display keys")


def _windows(f):
    def ask(l, counter, comment=None, error=None):
        l.step("ask", lambda: l.value.accepted(counter), lambda a: {"accepted": a}, comment, error, counter=counter)

    def mark(l, counter, comment=None):
        l.step("mark", lambda: l.value.mark(counter), None, comment, counter=counter)

    def log(floor=0, marked=()):
        w = Window(ALICE, 3, floor, marked)
        return Log("window", w, w.write())
    l = log()
    for c in (1, 2, 3):
        mark(l, c)
    ask(l, 3), ask(l, 4), mark(l, 6, "4 and 5 are left out"), ask(l, 4), ask(l, 5), ask(l, 6)
    mark(l, 5), mark(l, 5, "again: nothing"), mark(l, 4, "no hole any more"), ask(l, 4)
    ask(l, 0, "0 is no counter", "ErrInvalid")
    mark(l, 20), mark(l, 15, "bit 8 of the bits is in their second byte"), mark(l, 14)
    l.done(f, "window: in order, and not")
    l = log()
    mark(l, 4_097, "the window is 2 to 4,097: 1 counts as accepted")
    ask(l, 1), ask(l, 2), mark(l, 2), ask(l, 3), mark(l, 4_099), ask(l, 3), ask(l, 4)
    mark(l, 20_000, "far ahead: all before the window counts as accepted")
    ask(l, 15_904), ask(l, 15_905), mark(l, 15_905), mark(l, TOP, "the highest counter"), ask(l, TOP - 4_096), ask(l, TOP - 4_095)
    l.done(f, "window: its edge", "Limits")
    l = log(10, {12, 13, 4_106})
    mark(l, 11, "11 to 13 close"), mark(l, 4_110), ask(l, 14), ask(l, 15)
    l.done(f, "window: full width", "Limits")


class Server:
    """The rows of a server, and the log."""

    def __init__(self, epoch=1, last=None, stamp=None):
        self.windows, self.receipts = {}, {}
        if last is None:
            self.log = Log("conversation", Conversation(CONVERSATION, epoch))
            self.log.step("begin", lambda: None, None, None, conversation=CONVERSATION, epoch=epoch)
        else:
            value = Conversation(CONVERSATION, epoch, last, stamp)
            self.log = Log("conversation", value, value.write())

    def submit(self, message, stamp, counter, comment=None, error=None, user=ALICE, device=1, conversation=CONVERSATION, match=True, answer="accepted"):
        message_id = draw("message/%s" % message, 16) if isinstance(message, str) else message
        author = (user, device)
        named = valid_name(user) and valid_device(device)
        window = self.windows.get(author) or Window(*author) if named else None
        header = {"conversation": conversation, "messageId": message_id, "user": user, "device": device, "stamp": stamp}
        receipt = self.receipts.get((*author, message_id))

        def outcome(result):
            assert result[0] == answer, (comment, result)
            name, epoch, number, new = result
            if name == "accepted":
                self.windows[author], self.receipts[(*author, message_id)] = window, new
            return {"answer": name, "epoch": epoch or None, "number": number or None, "receiptRecord": new and new.write()}
        fields = self.log.step("submit", lambda: self.log.value.submit(window, receipt, header, counter, match), outcome, comment, error,
                               **header, counter=counter, devicesMatch=match)
        fields["windowRecord"] = window and window.write()

    def forget(self, message, user=ALICE, device=1):
        message_id = draw("message/%s" % message, 16)
        self.log.step("forget", lambda: self.receipts.pop((user, device, message_id)) and None, None, "the receipt is deleted in time",
                      user=user, device=device, messageId=message_id)

    def raise_epoch(self, epoch, comment=None, error=None):
        self.log.step("raise", lambda: self.log.value.raise_epoch(epoch), None, comment, error, epoch=epoch)


def _servers(f):
    s = Server()
    s.submit("a", 1, 1)
    s.submit("a", 1, 1, "again", answer="duplicate")
    s.submit("a", 9, 5, "again, under another counter and stamp: the answer that it first got", answer="duplicate")
    s.submit("b", 2, 2)
    s.submit("a", 3, 1, "the same ID of another user is another message (I-07)", user=BOB)
    s.submit("a", 3, 1, "and of another device", device=2)
    s.submit("c", 3, 2, "a counter that was used", "ErrTooOld")
    s.submit("c", 3, 4, "devices do not match: nothing is stored", match=False, answer="mismatch")
    s.submit("c", 3, 4, "repaired")
    s.submit("d", 2, 3, "a late counter, a low stamp")
    s.forget("a")
    s.submit("a", 1, 1, "again, without a receipt", "ErrTooOld")
    s.submit("a", 1, 1, "too old goes before a mismatch", "ErrTooOld", match=False)
    s.submit("b", 2, 2, "a receipt goes before a mismatch", match=False, answer="duplicate")
    s.log.done(f, "server: once each")

    s = Server()
    for comment, change in (("conversation of zeros", {"conversation": ZERO}), ("conversation of ff", {"conversation": ONES}), ("user of zeros", {"user": ZERO}),
                            ("device 0", {"device": 0}), ("device 2^31", {"device": 2**31})):
        s.submit("a", 1, 1, comment, "ErrInvalid", **change)
    s.submit(ONES, 1, 1, "message ID of ff", "ErrInvalid")
    s.submit("a", 0, 1, "stamp 0", "ErrInvalid")
    s.submit("a", 1, 0, "counter 0", "ErrInvalid")
    s.submit("a", 1, 1, "nothing of all that has an effect")
    s.log.done(f, "server: names and numbers")

    s = Server()
    s.submit("a", JUMP + 1, 1, "65,537 in a new conversation", "ErrClockBound")
    s.submit("a", JUMP, 1, "65,536, under the same counter")
    s.submit("b", 2 * JUMP + 1, 2, "65,537 over the highest", "ErrClockBound")
    s.submit("b", 2 * JUMP, 2, "65,536 over the highest")
    s.submit("c", 1, 3, "a low one moves nothing")
    s.submit("d", 3 * JUMP, 4)
    s.log.done(f, "server: the bound of stamps", "Limits")

    s = Server(1, 7, 1000)
    s.submit("a", 1001, 1)
    s.raise_epoch(1, "the same epoch: nothing")
    s.raise_epoch(2, "numbers begin again, the bound moves by 2^32")
    s.submit("a", 1001, 1, "accepted before: the position is of the old epoch", answer="duplicate")
    s.submit("b", 1002, 2)
    s.raise_epoch(1, "never lower", "ErrInvalid")
    s.submit("c", 2**32 + 1001 + JUMP + 1, 3, "over the bound", "ErrClockBound")
    s.submit("c", 2**32 + 1001 + JUMP, 3)
    s.raise_epoch(5, "by three at once")
    s.submit("d", 1, 4)
    s.raise_epoch(2**32 - 1, "the highest epoch: the bound is the end of the range")
    s.submit("e", TOP, 5)
    s.log.done(f, "server: epochs")

    s = Server(3)
    s.submit("a", 2 * 2**32 + JUMP + 1, 1, "over", "ErrClockBound")
    s.submit("a", 2 * 2**32 + JUMP, 1, "a conversation that begins in epoch 3 may be one that was lost (R-9.5-8)")
    s.log.done(f, "server: a conversation that begins in a later epoch")

    s = Server(1, TOP - 1, 5)
    s.submit("a", 6, 1, "the last sequence number")
    s.submit("b", 7, 2, "there is none after it: the server's failure", "ErrExhausted")
    s.submit("a", 6, 1, "what is accepted stays so", answer="duplicate")
    s.raise_epoch(2)
    s.submit("b", 7, 2, "the next epoch has")
    s.log.done(f, "server: the end of an epoch", "Limits")


def _inboxes(f):
    def log(epoch=0, at=0):
        i = Inbox(epoch, at)
        return Log("inbox", i, i.write())

    def state(l):
        return {"held": sorted(l.value.held)}

    def deliver(l, epoch, number, comment=None, error=None, frame=b""):
        frame = frame or draw("frame/%d/%d" % (epoch, number), 4)
        step = l.step("deliver", lambda: l.value.deliver(epoch, number, frame), lambda v: {"verdict": v}, comment, error, epoch=epoch, number=number, frame=frame)
        step |= state(l)

    def gap(l, epoch, number, last, comment=None, error=None):
        step = l.step("gap", lambda: l.value.marker(epoch, number, last), lambda v: {"verdict": v}, comment, error, epoch=epoch, number=number, last=last)
        step |= state(l)

    def processed(l, comment=None, error=None):
        step = l.step("processed", l.value.processed, lambda frame: {"next": l.value.at + 1 if frame is not None else 0, "frame": frame}, comment, error)
        step |= state(l)

    def resync(l, epoch, comment=None, error=None):
        step = l.step("resync", lambda: l.value.resync(epoch), None, comment, error, epoch=epoch)
        step |= state(l)
    l = log()
    deliver(l, 1, 1, "a new device"), resync(l, 1), deliver(l, 1, 1, "the frame again"), processed(l)
    deliver(l, 1, 1, "again: acknowledged again"), deliver(l, 1, 2), processed(l)
    l.done(f, "inbox: in order")
    l = log(2, 10)
    deliver(l, 2, 13, "11 and 12 are missing: asked for"), deliver(l, 2, 15, "asked already"), deliver(l, 2, 13, "held already")
    deliver(l, 2, 11), processed(l), deliver(l, 2, 12), processed(l, "13 was held"), processed(l)
    deliver(l, 2, 16, "14 is missing: 13, whose arrival showed the hole, is reached"), deliver(l, 2, 14), processed(l, "15 was held"), processed(l), processed(l)
    l.done(f, "inbox: a hole")
    l = log(2, 10)
    deliver(l, 2, 266, "the last that is held"), deliver(l, 2, 267, "not held any more"), deliver(l, 2, 12)
    l.done(f, "inbox: what is held back", "Limits")
    l = log(3, 5)
    deliver(l, 2, 900, "a lower epoch"), deliver(l, 3, 8), deliver(l, 4, 6, "a higher epoch"), resync(l, 4, "what was held is gone"), deliver(l, 4, 1), processed(l)
    deliver(l, 3, 6, "of the old epoch")
    l.done(f, "inbox: epochs")
    l = log(1, 4)
    gap(l, 1, 3, 4, "not above at"), gap(l, 1, 5, 5, "the next one"), gap(l, 1, 2, 7, "begins before the next"), gap(l, 2, 1, 1, "a higher epoch"), gap(l, 1, 8, 12)
    deliver(l, 1, 13), processed(l)
    l.done(f, "inbox: gaps", "Gap")
    l = log(1, 4)
    deliver(l, 1, 7, "held"), gap(l, 1, 5, 9, "to just before the frame that is held"), processed(l, "and on to its end"), deliver(l, 1, 10)
    l.done(f, "inbox: a gap over a frame that is held", "Gap")
    l = log(1, TOP - 1)
    deliver(l, 1, TOP), processed(l), deliver(l, 1, TOP)
    l.done(f, "inbox: the last position", "Limits")
    l = log(1, 4)
    deliver(l, 1, 0, "position 0", "ErrInvalid"), deliver(l, 0, 5, "epoch 0", "ErrInvalid"), gap(l, 1, 6, 5, "ends before it begins", "ErrInvalid"), gap(l, 1, 0, 5, "from 0", "ErrInvalid")
    l.done(f, "inbox: numbers")


def _registers(f):
    def log():
        r = Register(ALICE)
        l = Log("register", r)
        l.step("author", lambda: None, None, None, user=ALICE)
        return l

    def write(l, stamp, device, value=b"", deleted=False, comment=None, error=None, user=ALICE):
        l.step("write", lambda: l.value.apply(user, device, stamp, deleted, value), lambda r: {"changed": r[0], "equivocation": r[1]}, comment, error,
               user=user, device=device, stamp=stamp, deleted=deleted, value=value)
    l = log()
    write(l, 5, 1, b"five"), write(l, 4, 9, b"four", comment="older, whatever the device"), write(l, 5, 1, b"five", comment="the same again")
    write(l, 5, 2, b"", comment="a higher device of one stamp; an empty value"), write(l, 6, 1, deleted=True, comment="a deletion"), write(l, 5, 3, b"late", comment="older than the deletion")
    write(l, 7, 1, b"seven", comment="written again")
    l.done(f, "register: the highest write wins")
    l = log()
    write(l, 5, 1, b"b"), write(l, 5, 1, b"a", comment="the lower value loses", ), write(l, 5, 1, b"c", comment="the higher wins"), write(l, 5, 1, b"ca", comment="and a longer one")
    write(l, 5, 1, deleted=True, comment="a deletion is above all"), write(l, 5, 1, b"z", comment="and stays"), write(l, 4, 1, b"x", comment="an older stamp is none")
    l.done(f, "register: one device uses a stamp twice (R-9.7-6)", "Equivocation")
    l = log()
    write(l, 1, 1, b"x", user=BOB, comment="another user", error="ErrAuthor"), write(l, 0, 1, b"x", comment="stamp 0", error="ErrInvalid"), write(l, 1, 0, b"x", comment="device 0", error="ErrInvalid")
    write(l, 1, 2**31, b"x", comment="device 2^31", error="ErrInvalid"), write(l, 1, 1, b"x", True, "a deletion with a value", "ErrInvalid"), write(l, 1, 1, b"x" * 4097, comment="4,097 bytes", error="ErrInvalid")
    write(l, 1, 1, b"x" * 4096, comment="4,096 bytes"), write(l, TOP, 2**31 - 1, b"top", comment="the highest stamp and device")
    l.done(f, "register: what is refused")


def files():
    f = File("lamport_sequence_v1.json", "sequencing", "SPEC.md §9", "LamportSequence")
    f.note("Limits", "LIMIT", "the ends of ranges, windows and tables")
    f.note("Bound", "ATTACK", "a server that refuses stamps (R-9.2-6)")
    f.note("Gap", "LOSS", "positions that the server has lost (R-9.6-6)")
    f.note("Equivocation", "ATTACK", "two writes of one device under one stamp")
    for make in (_clocks, _order, _windows, _servers, _inboxes, _registers):
        make(f)
    return {"lamport_sequence": f}
