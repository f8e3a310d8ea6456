"""Replies as bytes: every class of the model comes back as it was, and nothing else is taken for one."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, fields, replace
from time import perf_counter
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from telemetry_mcp import model
from telemetry_mcp.cache import Entry
from telemetry_mcp.contract import ITEMS
from telemetry_mcp.model import Dependency, Reply, Series, Service, Slo
from telemetry_mcp.shared import parcel
from telemetry_mcp.shared.parcel import FRONT, MODELS, MOST_BYTES, pack, unpack

TEXT = st.text(max_size=12)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
NUMBERS = st.floats(width=64)
LENGTHS = st.integers(0, 40)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXT,
    "str | None": st.none() | TEXT,
    "int": INTEGERS,
    "int | None": st.none() | INTEGERS,
    "bool": st.booleans(),
    "float": NUMBERS | st.integers(-5, 5),
    "float | None": st.none() | NUMBERS,
    "tuple[str, ...]": st.lists(TEXT, max_size=3).map(tuple),
    "Mapping[str, str]": st.dictionaries(TEXT, TEXT, max_size=3),
}


@st.composite
def items(draw: st.DrawFn, cls: type) -> Any:
    length = draw(LENGTHS)
    numbers = arrays(np.float64, length, elements=NUMBERS)
    by_kind = {
        **FIELDS,
        "NDArray[np.int64]": arrays(np.int64, length),
        "NDArray[np.float64]": numbers,
        "NDArray[np.float64] | None": st.none() | numbers,
    }
    return cls(**{field.name: draw(by_kind[str(field.type)]) for field in fields(cls)})


REPLIES = st.builds(
    Reply,
    st.one_of([st.lists(items(cls), max_size=4) for cls in MODELS]),
    st.lists(TEXT, max_size=2),
    st.lists(TEXT, max_size=2),
    st.none() | TEXT,
)


def same(one: Any, other: Any) -> bool:
    """Equal in value and type; what is not a number equals itself."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one.view(np.int64), other.view(np.int64))
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    if hasattr(one, "__dataclass_fields__"):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


@given(REPLIES, st.integers(0, 2**45), st.floats(0.001, 1e6))
def test_every_reply_comes_back_as_it_was(reply: Reply[Any], at_ms: int, ttl_s: float) -> None:
    raw = pack(Entry(reply, at_ms), ttl_s)
    assert raw is not None
    found = unpack(raw)
    assert found is not None
    assert (found.entry.at_ms, found.ttl_s) == (at_ms, ttl_s)
    assert same(found.entry.reply, reply)


def test_every_class_that_a_source_answers_with_can_travel() -> None:
    assert set(MODELS) == set(ITEMS.values())
    declared = {c for c in vars(model).values() if isinstance(c, type) and hasattr(c, "__dataclass_fields__")}
    assert declared - set(MODELS) == {model.Reply, model.Outcome, model.Failure}


@given(st.binary(max_size=200) | st.none())
def test_garbage_is_a_miss(raw: bytes | None) -> None:
    assert unpack(raw) is None


ENTRY = Entry(Reply([Series("checkout", "cpu", np.arange(50), np.ones(50))], ["up"]), 1000)


def packed() -> bytes:
    raw = pack(ENTRY, 10)
    assert raw is not None
    return raw


@given(st.data())
def test_a_parcel_that_was_damaged_on_the_way_is_a_miss(data: st.DataObject) -> None:
    raw = bytearray(packed())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    assert unpack(bytes(raw)) is None
    assert unpack(packed()[:place]) is None
    assert unpack(packed() + b"x") is None


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | INTEGERS
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXT
        | st.sampled_from(["Series"]),
        lambda inner: st.lists(inner, max_size=9) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=30,
    )
)
@settings(max_examples=300)
def test_a_head_that_says_anything_at_all_is_a_miss_and_no_error(head: Any) -> None:
    for document in (head, [1, 2.0, head, [], [], None], [1, 2.0, [["Series", *[head] * 8]], [], [], None]):
        text = parcel.written(document)
        raw = FRONT.pack(parcel.MAGIC, parcel.VERSION, parcel.SCHEMA, crc32(text), len(text)) + text
        found = unpack(raw)
        assert found is None or not found.entry.reply.items


@pytest.mark.parametrize("place", [0, 3, 4], ids=["magic", "version", "schema"])
def test_what_another_version_wrote_is_a_miss(place: int) -> None:
    raw = bytearray(packed())
    raw[place] += 1
    assert unpack(bytes(raw)) is None


def test_a_pickle_is_not_loaded() -> None:
    assert unpack(pickle.dumps(ENTRY)) is None


@dataclass(frozen=True, slots=True)
class Stranger:
    name: str


class Special(Service):
    pass


ODD: Any = {"number": 1, "type": str}


@pytest.mark.parametrize(
    "item",
    [
        Stranger("x"),
        Special("x"),
        Service("x", tags={"a": ODD["number"]}),
        Service("\ud800"),
        Dependency("a", ODD["type"]),
        object(),
        None,
    ],
)
def test_what_is_not_of_the_model_stays_at_home(item: Any) -> None:
    assert pack(Entry(Reply([item]), 0), 1) is None


def test_numbers_of_numpy_arrive_as_numbers() -> None:
    slo = Slo("a", "b", np.float64(99.9), np.int64(60_000), sli=np.float64("nan"))  # type: ignore[arg-type]
    raw = pack(Entry(Reply([slo]), 0), 1)
    found = unpack(raw)
    assert found
    (arrived,) = found.entry.reply.items
    assert (arrived.objective, arrived.window_ms, type(arrived.window_ms)) == (99.9, 60_000, int)
    assert math.isnan(arrived.sli)


def test_a_reply_beyond_the_bound_stays_at_home() -> None:
    points = MOST_BYTES // 16
    fits, too_large = (
        Entry(Reply([Series("a", "cpu", np.arange(n), np.ones(n))]), 0) for n in (points - 50, points + 50)
    )
    assert len(pack(fits, 1) or b"") > MOST_BYTES - 1000
    assert pack(too_large, 1) is None


def test_arrays_that_arrived_cannot_be_written_to() -> None:
    found = unpack(packed())
    assert found
    with pytest.raises(ValueError, match="read-only"):
        found.entry.reply.items[0].values[0] = 5


def test_a_day_of_eight_series_is_packed_and_unpacked_in_less_than_a_millisecond() -> None:
    one = Series(
        "checkout", "cpu", np.arange(1441) * 60_000, np.random.default_rng(1).normal(size=1441), "percent"
    )
    entry = Entry(Reply([replace(one, service=f"s{nth}") for nth in range(8)], ["q"] * 8), 0)

    def once() -> float:
        started = perf_counter()
        unpack(pack(entry, 1))
        return perf_counter() - started

    assert min(once() for _ in range(50)) < 0.001
