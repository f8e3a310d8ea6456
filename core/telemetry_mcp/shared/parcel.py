"""A kept reply as bytes, and back: what instances hand each other through Redis.

    magic, version, schema, checksum, length of the head | head: JSON | the arrays, one after the other

Arrays are raw little-endian int64 or float64; everything else is in the head, an item as the values of its fields.
Only the classes of model.py travel, by their names. What another version wrote, or nobody, is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from numbers import Integral, Real
from struct import Struct, error
from types import NoneType
from typing import Any
from zlib import crc32

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry_mcp.cache import Entry, size
from telemetry_mcp.model import Change, Check, Dependency, Incident, OnCall, Reply, Series, Service, Slo
from telemetry_mcp.model import Entry as Line

VERSION = 2
MAGIC = b"TMP"
MOST_BYTES = 8 * 2**20
"""A reply that is larger is not handed on: it would hold up everything else that goes the same way."""
SLOW_HEAD, SLOW_BYTES = 2**16, 2**20
"""Beyond this it takes milliseconds: a thing for a worker thread."""
FRONT = Struct("<3sBIII")
WORD = 8
NEVER_NUMBERS = ("nan", "inf", "-inf")
OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS

Array = NDArray[Any]
Write = Callable[[Any, list[Array]], Any]
Read = Callable[[Any, "Buffers"], Any]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What was unpacked: the entry, and for how long it was good when it was put there."""

    entry: Entry
    ttl_s: float


class Buffers:
    """The arrays of a parcel, handed out in the order in which they were put in. They cannot be written to."""

    def __init__(self, raw: bytes, offset: int) -> None:
        self.raw, self.offset = raw, offset

    def take(self, kind: str, length: Any) -> Array:
        if type(length) is not int or length < 0:
            raise ValueError("an array without a length")
        array = np.frombuffer(self.raw, kind, length, self.offset)
        self.offset += array.nbytes
        return array


def plain(*types: type) -> tuple[Write, Read]:
    def write(value: Any, _arrays: list[Array]) -> Any:
        return value

    def read(value: Any, _buffers: Buffers) -> Any:
        if not isinstance(value, types):
            raise TypeError(f"{type(value).__name__} where there should be {types[0].__name__}")
        return value

    return write, read


def write_float(value: Any, _arrays: list[Array]) -> Any:
    """JSON has no word for what is not a number; to lose it would make an unknown value a missing one."""
    return value if value is None or isfinite(value) else str(float(value))


def read_float(value: Any, _buffers: Buffers) -> Any:
    if isinstance(value, str):
        if value not in NEVER_NUMBERS:
            raise ValueError("text in place of a number")
        return float(value)
    if not isinstance(value, float | int | NoneType):
        raise TypeError("no number")
    return value


def write_texts(value: Any, _arrays: list[Array]) -> Any:
    if not all(isinstance(text, str) for text in value):
        raise TypeError("only text can be in a list of texts")
    return list(value)


def read_texts(value: Any, _buffers: Buffers) -> Any:
    return tuple(write_texts(value, []))


def labels(value: Any, _: object) -> Any:
    if not all(isinstance(name, str) and isinstance(text, str) for name, text in value.items()):
        raise TypeError("labels are texts")
    return dict(value)


def array(kind: str, *, optional: bool = False) -> tuple[Write, Read]:
    def write(value: Any, arrays: list[Array]) -> Any:
        if value is None and optional:
            return None
        arrays.append(np.ascontiguousarray(value, kind))
        return len(value)

    def read(value: Any, buffers: Buffers) -> Any:
        return None if value is None and optional else buffers.take(kind, value)

    return write, read


CODECS: Mapping[str, tuple[Write, Read]] = {
    "str": plain(str),
    "str | None": plain(str, NoneType),
    "int": plain(int),
    "int | None": plain(int, NoneType),
    "bool": plain(bool),
    "float": (write_float, read_float),
    "float | None": (write_float, read_float),
    "tuple[str, ...]": (write_texts, read_texts),
    "Mapping[str, str]": (labels, labels),
    "NDArray[np.int64]": array("<i8"),
    "NDArray[np.float64]": array("<f8"),
    "NDArray[np.float64] | None": array("<f8", optional=True),
}
"""The annotation of a field -> how it is written and read."""

MODELS = (Series, Service, Incident, Change, Line, OnCall, Slo, Dependency, Check)


@dataclass(frozen=True, slots=True)
class Form:
    """How the items of one class travel."""

    cls: type
    codecs: tuple[tuple[str, Write, Read], ...]

    def write(self, item: Any, arrays: list[Array]) -> list[Any]:
        return [self.cls.__name__, *[write(getattr(item, name), arrays) for name, write, _ in self.codecs]]

    def read(self, row: Sequence[Any], buffers: Buffers) -> Any:
        values = [read(value, buffers) for value, (_, _, read) in zip(row[1:], self.codecs, strict=True)]
        return self.cls(*values)


FORMS = {cls.__name__: Form(cls, tuple((f.name, *CODECS[str(f.type)]) for f in fields(cls))) for cls in MODELS}
SCHEMA = crc32(repr([(c.__name__, [(f.name, f.type) for f in fields(c)]) for c in MODELS]).encode())
"""Another one where model.py is another one: what that wrote cannot be read, whatever its version says."""


def pack(entry: Entry, ttl_s: float) -> bytes | None:
    """The bytes; None when the reply is too large, or holds something that is not in model.py."""
    if size(entry.reply.items) > 2 * MOST_BYTES:
        return None
    arrays: list[Array] = []
    try:
        reply = entry.reply
        rows = [form(item).write(item, arrays) for item in reply.items]
        head = written(
            [
                entry.at_ms,
                ttl_s,
                rows,
                write_texts(reply.queries, []),
                write_texts(reply.warnings, []),
                reply.partial,
                [int(place) for place in reply.concealing],
            ]
        )
    except (TypeError, ValueError, AttributeError):
        return None
    head += b" " * (-len(head) % WORD)
    body = b"".join([head, *(one.tobytes() for one in arrays)])
    if len(body) + FRONT.size > MOST_BYTES:
        return None
    return FRONT.pack(MAGIC, VERSION, SCHEMA, crc32(body), len(head)) + body


def form(item: Any) -> Form:
    found = FORMS.get(type(item).__name__)
    if found is None or found.cls is not type(item):
        raise TypeError(f"{type(item).__name__} is not in model.py")
    return found


def unpack(raw: bytes | None) -> Parcel | None:
    """What `pack` packed; None for everything else."""
    if raw is None or not FRONT.size < len(raw) <= MOST_BYTES:
        return None
    try:
        magic, version, schema, checksum, length = FRONT.unpack_from(raw)
        body = memoryview(raw)[FRONT.size :]
        if (magic, version, schema) != (MAGIC, VERSION, SCHEMA) or crc32(body) != checksum:
            return None
        return read_parcel(orjson.loads(body[:length]), Buffers(raw, FRONT.size + length))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError, error):
        return None


def is_slow(raw: bytes) -> bool:
    """Whether to unpack it takes milliseconds."""
    return len(raw) > SLOW_BYTES or (len(raw) > FRONT.size and FRONT.unpack_from(raw)[-1] > SLOW_HEAD)


def read_parcel(head: Any, buffers: Buffers) -> Parcel:
    at_ms, ttl_s, rows, queries, warnings, partial, hiding = head
    if type(at_ms) is not int or not isinstance(ttl_s, float | int) or not isinstance(partial, str | None):
        raise TypeError("no entry")
    if not isinstance(hiding, list) or not all(type(place) is int for place in hiding):
        raise TypeError("no entry")
    items = [FORMS[row[0]].read(row, buffers) for row in rows]
    reply = Reply(items, write_texts(queries, []), write_texts(warnings, []), partial, tuple(hiding))
    return Parcel(Entry(reply, at_ms), ttl_s)


def written(document: Any) -> bytes:
    """TypeError for what JSON cannot say: half a surrogate pair, an integer beyond 64 bits."""
    return orjson.dumps(document, simplified, OPTIONS)


def simplified(value: Any) -> Any:
    """NumPy's scalars and subclasses of our own types, which the contract lets through."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"{type(value).__name__} cannot travel")
