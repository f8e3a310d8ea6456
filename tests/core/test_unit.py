"""Units: exact factors between what measures the same, None between what does not."""

import pytest

from telemetry_mcp.unit import COUNTED, SPELLINGS, UNITS, canonical, factor, known, per_second


@pytest.mark.parametrize(
    ("unit", "wanted", "by"),
    [
        ("ratio", "percent", 100),
        ("percent", "ratio", 0.01),
        ("s", "ms", 1000),
        ("us", "ms", 0.001),
        ("ns", "s", 1e-9),
        ("h", "min", 60),
        ("per_min", "per_s", 1 / 60),
        ("GiB", "bytes", 2**30),
        ("MB", "kB", 1000),
        ("bytes", "bits", 8),
        ("millicores", "cores", 0.001),
        ("%", "ratio", 0.01),
        ("rpm", "rps", 1 / 60),
        ("parsecs", "parsecs", 1),
    ],
)
def test_units_of_one_kind_are_converted_exactly(unit: str, wanted: str, by: float) -> None:
    assert factor(unit, wanted) == by


@pytest.mark.parametrize(("unit", "wanted"), [("s", "percent"), ("parsecs", "s"), ("s", "parsecs"), ("", "s")])
def test_what_measures_different_things_is_not_converted(unit: str, wanted: str) -> None:
    assert factor(unit, wanted) is None


@pytest.mark.parametrize("micro", ["\u00b5s", "\u03bcs"])
def test_either_letter_mu_is_micro(micro: str) -> None:
    assert canonical(micro) == "us"


def test_every_spelling_is_of_a_known_unit_and_hides_none() -> None:
    assert set(SPELLINGS.values()) <= set(UNITS)
    assert not set(SPELLINGS) & set(UNITS)
    assert not known("parsecs")


def test_every_counter_has_a_unit_by_the_second_and_only_rates_are_that() -> None:
    assert all(known(unit) and per_second(rate) for unit, rate in COUNTED.items())
    assert [unit for unit in ("count", "percent", "s", "parsecs", "") if per_second(unit)] == []
