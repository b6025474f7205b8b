"""Protobuf, as strict as SPEC.md §2.3 and §8.2 want it."""


class Malformed(Exception):
    """The callers turn it into the error of their package."""


# Types of fields. Where SPEC.md fixes the size of bytes, the type is that size.
UINT32, UINT64, INT32, BOOL, FIXED64, BYTES = "uint32", "uint64", "int32", "bool", "fixed64", "bytes"
_MAX = {UINT32: 2**32, UINT64: 2**64, BOOL: 2}


def read_varint(data, at):
    """The value at data[at:] and the place behind it: at most 64 bits, in the shortest form."""
    value = 0
    for i in range(10):
        if at + i >= len(data):
            raise Malformed
        byte = data[at + i]
        value |= (byte & 127) << 7 * i
        if byte < 128:
            if (byte == 0 and i > 0) or value >= 2**64:
                raise Malformed
            return value, at + i + 1
    raise Malformed


def fields(data):
    """(number, wire type, value) of each field, as they stand."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number < 2**29:
            raise Malformed
        if wire == 0:
            value, at = read_varint(data, at)
        elif wire in (1, 2, 5):
            size = 8 if wire == 1 else 4
            if wire == 2:
                size, at = read_varint(data, at)
            if size > len(data) - at:
                raise Malformed
            value, at = data[at:at + size], at + size
        else:
            raise Malformed
        yield number, wire, value


def _value(kind, wire, value):
    if isinstance(kind, int) or kind == BYTES:
        if wire != 2 or (isinstance(kind, int) and len(value) != kind):
            raise Malformed
        return value
    if kind == FIXED64:
        if wire != 1:
            raise Malformed
        return int.from_bytes(value, "little")
    if wire != 0:
        raise Malformed
    if kind == INT32:
        value = value - 2**64 if value >= 2**63 else value
        if not -(2**31) <= value < 2**31:
            raise Malformed
        return value
    if value >= _MAX[kind]:
        raise Malformed
    return value


def read(data, schema, required=(), repeated=(), unknown=True):
    """The fields of data by name (§2.3). schema: number → (name, type). An absent field is None, a repeated
    one a list. unknown: fields that the schema does not have are passed over."""
    out = {name: [] if name in repeated else None for name, _ in schema.values()}
    for number, wire, value in fields(data):
        if number not in schema:
            if unknown:
                continue
            raise Malformed
        name, kind = schema[number]
        value = _value(kind, wire, value)
        if name in repeated:
            out[name].append(value)
        elif out[name] is not None:
            raise Malformed
        else:
            out[name] = value
    if any(out[name] is None for name in required):
        raise Malformed
    return out


def read_canonical(data, schema, repeated=(), messages=()):
    """The fields of data in the one form of §8.2: ascending, none unknown, none with its default value.
    An absent number is 0, absent bytes are empty, an absent message is None. messages: the names of those
    bytes fields that are messages, which may be empty."""
    last = 0
    for number, _, _ in fields(data):
        if number not in schema or number < last or (number == last and schema[number][0] not in repeated):
            raise Malformed
        last = number
    out = read(data, schema, (), repeated, unknown=False)
    for name, kind in schema.values():
        if name in repeated or name in messages:
            continue
        if out[name] in (0, b""):
            raise Malformed
        if out[name] is None:
            out[name] = b"" if kind == BYTES or isinstance(kind, int) else 0
    return out


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def number(n, value, zero=False):
    """A varint field. None is always left out, 0 unless zero is set. A negative int32 has ten bytes."""
    if value is None or (value == 0 and not zero):
        return b""
    return varint(n << 3) + varint(value % 2**64)


def block(n, value):
    """A bytes field or a message. None is left out, empty bytes are not."""
    if value is None:
        return b""
    return varint(n << 3 | 2) + varint(len(value)) + value


def fixed64(n, value):
    return varint(n << 3 | 1) + value.to_bytes(8, "little") if value else b""
