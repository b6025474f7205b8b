"""A peer-protocol process, and a reader for the two message formats. Standard library only."""
import json, os, selectors, shlex, subprocess


class Mismatch(Exception):
    """An oracle did not hold."""


class Refused(Exception):
    """A peer answered ok:false."""

    def __init__(self, error):
        super().__init__(f"{error.get('name')}: {error.get('message')}")
        self.name = error.get("name")


class Peer:
    def __init__(self, command, label, timeout=30):
        self.label, self.timeout, self.n, self.buf, self.log = label, timeout, 0, b"", []
        self.p = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.sel = selectors.DefaultSelector()
        self.sel.register(self.p.stdout, selectors.EVENT_READ)
        ready = self._line()
        if not (ready.get("id") == 0 and ready.get("ok") and ready["result"].get("ready") is True):
            raise Mismatch(f"{label}: bad first line {ready}")
        v = self("version")
        self.package, self.commands = v["package"], set(v["commands"])
        self.mau = "go.mau.fi/libsignal" in self.package

    def _line(self):
        while b"\n" not in self.buf:
            if not self.sel.select(self.timeout):
                raise Mismatch(f"{self.label}: no answer within {self.timeout} s")
            b = os.read(self.p.stdout.fileno(), 1 << 20)
            if not b:
                raise Mismatch(f"{self.label}: process ended (status {self.p.wait()})")
            self.buf += b
        line, self.buf = self.buf.split(b"\n", 1)
        try:
            return json.loads(line)
        except ValueError:
            raise Mismatch(f"{self.label}: not JSON on standard output: {line[:200]!r}")

    def __call__(self, cmd, **kw):
        self.n += 1
        req = {"id": self.n, "cmd": cmd, **kw}
        self.p.stdin.write(json.dumps(req).encode() + b"\n")
        ans = self._line()
        self.log.append((self.label, req, ans))
        if ans.get("id") != self.n or not isinstance(ans.get("ok"), bool):
            raise Mismatch(f"{self.label}: bad answer {ans} to {req}")
        if ans["ok"]:
            return ans["result"]
        if set(ans["error"]) < {"name", "message"}:
            raise Mismatch(f"{self.label}: bad error {ans}")
        raise Refused(ans["error"])

    def has(self, *cmds):
        return all(c in self.commands for c in cmds)

    def close(self):
        """End of input must end the process with status 0."""
        self.p.stdin.close()
        try:
            rc = self.p.wait(10)
        except subprocess.TimeoutExpired:
            self.p.kill()
            raise Mismatch(f"{self.label}: still running after end of input")
        if rc != 0:
            raise Mismatch(f"{self.label}: exit status {rc} at end of input")


def fields(b, base=0):
    """[(number, wire type, value, start of value, end of value)] of a protobuf; offsets + base."""
    out, i = [], 0

    def varint():
        nonlocal i
        n = s = 0
        while True:
            c = b[i]
            i += 1
            n |= (c & 127) << s
            if c < 128:
                return n
            s += 7

    while i < len(b):
        t = varint()
        if t & 7 == 0:
            s = i
            v = varint()
        elif t & 7 == 2:
            n = varint()
            s, v, i = i, b[i:i + n], i + n
            if len(v) != n:
                raise ValueError("truncated")
        else:
            raise ValueError(f"wire type {t & 7}")
        out.append((t >> 3, t & 7, v, base + s, base + i))
    return out


class Msg:
    """A SignalMessage (type 2) or PreKeySignalMessage (3), read structurally."""

    def __init__(self, typ, raw):
        self.type, self.raw, self.version = typ, raw, raw[0]
        self.spans = {}  # name -> (start, end) in raw
        inner, base = raw, 0
        self.base_key = self.pre_key_id = None
        if typ == 3:
            f = fields(raw[1:], 1)
            self.outer = f
            d = {x[0]: x for x in f}
            self.base_key, self.identity = d[2][2], d[3][2]
            self.pre_key_id = d[1][2] if 1 in d else None
            self.spans["base"], self.spans["identity"] = d[2][3:], d[3][3:]
            inner, base = d[4][2], d[4][3]
            self.spans["inner"] = d[4][3:]
            self.order = [x[0] for x in f]
        f = fields(inner[1:-8], base + 1)
        d = {x[0]: x for x in f}
        self.inner_version = inner[0]
        self.inner_order = [x[0] for x in f]
        self.ratchet, self.counter, self.ciphertext = d[1][2], d[2][2], d[4][2]
        self.previous = d[3][2] if 3 in d else 0
        self.spans.update(ratchet=d[1][3:], counter=d[2][3:], ciphertext=d[4][3:], mac=(base + len(inner) - 8, base + len(inner)))
        if typ == 2:
            self.spans["inner"] = (0, len(raw))


def base_keys(record):
    """alice_base_key of the current session of a RecordStructure, or None."""
    cur = [x[2] for x in fields(bytes.fromhex(record)) if x[0] == 1]
    if not cur:
        return None
    k = [x[2] for x in fields(cur[0]) if x[0] == 13]
    return k[0] if k else None
