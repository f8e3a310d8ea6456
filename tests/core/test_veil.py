"""What masks make of one item: numbers by their unit and kind, text by its field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from telemetry_mcp.access.pseudonym import Pseudonyms
from telemetry_mcp.access.setting import FIELDS, Mask
from telemetry_mcp.catalog import BUILT_IN, Catalog, Metric
from telemetry_mcp.model import Change, Entry, Incident, OnCall, Outcome, Reply, Series, Service, Slo
from telemetry_mcp.part import collected
from telemetry_mcp.veil import WITHHELD, Notes, Veil, mask_is_for, significant, stepped

CATALOG = Catalog({**BUILT_IN, "sold": Metric(kind="counter", unit="per_s"), "any": Metric()})
ITEMS: dict[str, Any] = {
    "incident": Incident("i", "text", "triggered", 1, severity="text", url="text"),
    "change": Change("c", "text", 1, author="text", version="text", url="text"),
    "entry": Entry("e", 1, "note", "text", author="text", url="text"),
    "oncall": OnCall("text", 1, policy="text", schedule="text", url="text"),
    "slo": Slo("s", "text", 99, 1, reason="text", url="text"),
    "service": Service("s", team="text", environment="text", tags={"k": "text"}, url="text"),
}


def put_on(item: Any, **mask: Any) -> Any:
    made = Mask(**mask)
    return Veil({}, CATALOG, Pseudonyms("x" * 32, "user:kim")).over(item, {"rule": made}, Notes())


def series(metric: str, values: list[float], unit: str = "") -> Series:
    return Series("shop", metric, 60_000 * np.arange(len(values)), np.array(values, float), unit)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FIELDS.items() for name in names])
def test_every_field_that_can_be_named_is_masked_and_no_other(kind: str, name: str) -> None:
    item = ITEMS[kind]
    for fields in ((name,), (f"{kind}.{name}",)):
        for action, shown in (("hide", (None, WITHHELD, {})), ("hash", "h~"), ("pseudonymise", "p~")):
            masked = put_on(item, fields=fields, action=action)
            value = getattr(masked, name)
            text = value.get("k", "") if isinstance(value, dict) else value
            assert value in shown if action == "hide" else text.startswith(shown)
            others = {n for n in item.__dataclass_fields__ if getattr(masked, n) != getattr(item, n)}
            assert others == {name}
    elsewhere = put_on(item, fields=("nothing.of.this",), action="hide")
    assert elsewhere is item


def test_a_field_of_one_kind_is_left_alone_in_the_others() -> None:
    assert put_on(ITEMS["change"], fields=("incident.title",), action="hide") is ITEMS["change"]


def test_what_is_missing_stays_missing() -> None:
    assert put_on(Change("c", "t", 1), fields=("author",), action="pseudonymise").author is None


def test_numbers_are_rounded_to_their_significant_digits_whatever_their_size() -> None:
    values = np.array([0.0, 1234.5, -0.00678, np.nan, 9.99, 4e99])
    assert significant(values, 1) == pytest.approx([0, 1000, -0.007, np.nan, 10, 4e99], nan_ok=True)
    assert significant(values, 2) == pytest.approx([0, 1200, -0.0068, np.nan, 10, 4e99], nan_ok=True)
    assert stepped(values[:4], 500.0) == pytest.approx([0, 1000, 0, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("unit", "values", "shown"),
    [
        ("percent", [41.0, 58.0], [40, 60]),
        ("ratio", [0.41, 0.58], [0.4, 0.6]),  # steps of 10 are percent, as the metric is
        ("", [41.0, 58.0], [40, 60]),
        ("bytes", [41.0, 58.0], [np.nan, np.nan]),
    ],
)
def test_the_width_of_a_step_is_in_the_metrics_own_unit(
    unit: str, values: list[float], shown: list[float]
) -> None:
    masked = put_on(series("cpu", values, unit), metrics=("cpu",), action="bucket", width=10)
    assert masked.values == pytest.approx(shown, nan_ok=True)


@pytest.mark.parametrize("unit", ["", "count"])
def test_a_counter_becomes_its_rate_before_it_is_rounded(unit: str) -> None:
    # 7.3 a second, on a count so high that one digit of it would not move at all.
    counter = series("sold", [1e6 + 438 * n for n in range(6)], unit)
    masked = put_on(counter, metrics=("sold",), action="round")
    (shares,) = collected([Outcome("a", "a", "ok", Reply([masked]))], CATALOG).values()
    (part,) = shares.parts
    assert set(part.values) == {7}


def test_the_weights_of_masked_numbers_are_gone() -> None:
    weighted = Series("shop", "error_rate", np.array([1, 2]), np.array([1.0, 2.0]), weights=np.array([9.0, 8.0]))
    assert put_on(weighted, metrics=("error_rate",), action="round").weights is None


def test_a_mask_is_for_what_is_named_and_for_what_nobody_can_place() -> None:
    mask = Mask(metrics=("cpu",), action="hide", services=("shop*",), environments=("prod*",))
    prod, test, unknown = frozenset({"prod"}), frozenset({"test"}), frozenset[str]()
    assert mask_is_for(mask, ("shop",), (prod,))
    assert mask_is_for(mask, ("shop",), (unknown,))
    assert mask_is_for(mask, ("shop",), (prod | test,))
    assert mask_is_for(mask, (None,), (unknown,))
    assert mask_is_for(mask, (), ())
    assert not mask_is_for(mask, ("shop",), (test,))
    assert not mask_is_for(mask, ("bank",), (prod,))
