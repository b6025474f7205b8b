"""Makes our own vector files in testvectors/vectors: every byte is the same each time.

    python3 make.py [DIR]

What the protocol draws at random comes from draw, by a name, and stands in the files as an input.
"""

import json
import pathlib
import sys

from primitives import sha512
from refused import Refused

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors"
SOURCE = {"name": "Sotto: made by testvectors/reference", "version": "", "independent": False, "licence": "the licence of this repository"}
LONG = 2048  # bytes of a record that is given by its SHA-256 instead


def draw(name, size=32):
    """size bytes that stand for random ones, by a name."""
    out, i = b"", 0
    while len(out) < size:
        out += sha512(b"sotto vectors/%d/" % i + name.encode())
        i += 1
    return out[:size]


def refused(function, *arguments, **named):
    """The name of the error that the call ends with. The call must fail."""
    try:
        function(*arguments, **named)
    except Refused as error:
        return error.name
    raise AssertionError("not refused: " + str(arguments))


class File:
    """One vector file in the making."""

    def __init__(self, schema, algorithm, spec, kind, header=()):
        self.top = {"schema": schema, "algorithm": algorithm, "spec": spec, "numberOfTests": 0, "header": list(header), "notes": {},
                    "testGroups": [{"type": kind, "source": SOURCE, "tests": []}]}
        self.tests = self.top["testGroups"][0]["tests"]

    def note(self, flag, kind, description, *links):
        self.top["notes"][flag] = {"kind": kind, "description": description}
        if links:
            self.top["notes"][flag]["links"] = list(links)

    def test(self, comment, *flags, error=None, **fields):
        """A test; with error it is an invalid one. With steps each of them counts."""
        result = {"result": "valid"} if error is None else {"result": "invalid", "error": error}
        self.tests.append({"tcId": len(self.tests) + 1, "comment": comment, "flags": list(flags)} | result | _plain(fields))
        self.top["numberOfTests"] += len(fields.get("steps", [0]))

    def text(self):
        return json.dumps(self.top, indent=1, ensure_ascii=False) + "\n"


def _plain(value):
    """Bytes as hex, and without what is None."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def files():
    """Name → text of every file."""
    import cases_envelope
    import cases_lamport
    import cases_ratchet
    import cases_records
    import cases_senderkey
    import cases_x3dh
    out = {}
    for module in (cases_x3dh, cases_ratchet, cases_senderkey, cases_records, cases_envelope, cases_lamport):
        for name, file in module.files().items():
            out[name + ".json"] = file.text()
    return out


if __name__ == "__main__":
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else VECTORS
    for name, text in files().items():
        (directory / name).write_text(text, encoding="utf-8")
        print("%8d bytes  %4d cases  %s" % (len(text.encode()), json.loads(text)["numberOfTests"], name))
