"""Single fields of New Relic's JSON: times in any unit, numbers in any spelling, and everything that is none."""

from __future__ import annotations

from math import isnan
from typing import Any

import pytest

from telemetry_mcp_newrelic.field import moment, number, record, records, tag_pairs, text, texts

AT = 1_700_000_040_000
ODD: list[Any] = [None, [], {}, True, "", "strange", [[]], float("nan"), float("inf"), 10**400, -1, 0, 10**30]


@pytest.mark.parametrize(
    "value",
    [
        AT,
        AT // 1000,
        AT * 1000,
        AT * 10**6,
        str(AT),
        AT / 1000,
        "2023-11-14T22:14:00Z",
        "2023-11-14T23:14:00+01:00",
    ],
)
def test_a_time_is_the_same_in_every_unit_and_spelling(value: Any) -> None:
    assert moment(value) == AT


@pytest.mark.parametrize("value", ODD)
def test_what_is_no_time_is_none(value: Any) -> None:
    assert moment(value) is None


@pytest.mark.parametrize(("value", "found"), [(3, 3.0), ("3", 3.0), (0.5, 0.5), ("1e3", 1000.0), (-1, -1.0)])
def test_a_number_is_one_also_as_a_text(value: Any, found: float) -> None:
    assert number(value) == found


@pytest.mark.parametrize("value", [None, True, [], {}, "", "x", "1_000", "NaN", "Infinity", 10**400, float("inf")])
def test_what_is_no_finite_number_is_nan(value: Any) -> None:
    assert isnan(number(value))


def test_large_identifiers_stay_exact() -> None:
    assert text(1773950568354017) == "1773950568354017"
    assert text(9007199254740993) == "9007199254740993"


def test_a_text_may_be_alone_or_in_a_list() -> None:
    assert texts("a") == texts(["a"]) == ["a"]
    assert texts(["a", None, {}, "", "b\nc"]) == ["a", "b c"]
    strange: list[Any] = [[], None, {}, [None, "x"]]
    assert [text(value) for value in strange] == ["", "", "", "x"]


@pytest.mark.parametrize("value", ODD)
def test_nothing_raises_on_a_strange_value(value: Any) -> None:
    assert isinstance(record(value), dict)
    assert records(value)[0] == []
    assert list(tag_pairs(value)) == []
    pairs = list(tag_pairs([value, {"key": value, "values": value}, {"key": "k", "values": [value, "v"]}]))
    assert pairs[-1][0] == "k"
    assert all(isinstance(part, str) and part for pair in pairs for part in pair)


@pytest.mark.parametrize("value", ["1899-12-31T00:00:00Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"])
def test_a_text_before_1970_is_no_time(value: str) -> None:
    assert moment(value) is None
