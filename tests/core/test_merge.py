"""Many sources' series into one; M numbers are the vectors of the merging research."""

from collections.abc import Sequence

import numpy as np
import pytest

from telemetry_mcp.catalog import BUILT_IN, Catalog, Metric
from telemetry_mcp.merge import Merged, merge
from telemetry_mcp.model import Outcome, Reply, Series
from telemetry_mcp.question import Window
from telemetry_mcp.reading import latest

MINUTE = 60_000
START = 1_700_000_040_000  # a whole minute
NAN = np.nan
CATALOG = Catalog(
    {**BUILT_IN, "cpu": Metric(unit="percent", owner="owner"), "load": Metric(), "ticks": Metric(unit="count")}
)


def series(
    values: Sequence[float],
    metric: str = "cpu",
    *,
    step_ms: int = MINUTE,
    offset_ms: int = 0,
    unit: str = "",
    service: str = "checkout",
    query: str = "",
) -> Series:
    times = START + offset_ms + step_ms * np.arange(len(values), dtype=np.int64)
    return Series(service, metric, times, np.array(values, np.float64), unit, {}, query)


def outcome(source: str, *items: Series) -> Outcome[Series]:
    return Outcome(source, "plugin", "ok", Reply(items))


def merged(*outcomes: Outcome[Series], minutes: float = 6, step_ms: int = MINUTE) -> Merged:
    window = Window(START, START + int(minutes * MINUTE))
    (only,) = merge(outcomes, CATALOG, window, step_ms)
    return only


def sources(one: Merged) -> list[str]:
    return [part.source for part in one.parts]


# ---- the vectors


def test_m1_a_small_offset_is_within_the_tolerance() -> None:
    x = [50.0, 52, 51, 53, 49, 50]
    one = merged(
        outcome("owner", series(x, "ticks", unit="count")),
        outcome("other", series([v + 1 for v in x], "ticks", unit="count")),
    )
    found = one.parts[1].difference
    assert found is not None
    assert (found.bias, found.relative, found.significant, found.shared) == (1, 1 / 50.5, False, 6)
    assert (found.verdict, one.warnings) == ("agree", ())


def test_m2_a_unit_that_nobody_declared_is_inferred_marked_and_said() -> None:
    x = [50.0, 52, 51, 53, 49, 50]
    one = merged(
        outcome("owner", series(x, "cpu", unit="percent")),
        outcome("other", series([(v + 1) / 100 for v in x], "cpu")),
    )
    other = one.parts[1]
    assert (other.factor, other.declared, other.inferred) == (100, False, True)
    assert other.values == pytest.approx([v + 1 for v in x])
    assert other.difference is not None
    assert other.difference.bias == pytest.approx(1)
    assert other.difference.verdict == "agree"
    assert one.warnings == (
        "other declares no unit for cpu of checkout and reads 0.01 times what owner does: divided by 0.01",
    )


def test_m3_buckets_are_means_and_half_the_samples_are_enough() -> None:
    one = merged(outcome("owner", series([1, 2, 3, 4, 5, 6], step_ms=15_000)), minutes=2)
    assert one.values.tolist() == [2.5, 5.5]
    assert one.timestamps_ms.tolist() == [START, START + MINUTE]


def test_m3_less_than_half_the_samples_are_a_gap() -> None:
    one = merged(outcome("owner", series([1, 2, 3, 4, 5], step_ms=15_000)), minutes=2)
    np.testing.assert_array_equal(one.values, [2.5, NAN])


def test_m4_a_constant_offset_beyond_the_tolerance_differs() -> None:
    one = merged(
        outcome("owner", series([100] * 6, "ticks", unit="count")),
        outcome("other", series([112] * 6, "ticks", unit="count")),
    )
    found = one.parts[1].difference
    assert found is not None
    assert (found.bias, found.relative, found.shared, found.verdict) == (12, 0.12, 6, "offset")
    assert found.significant
    assert one.warnings == ("ticks of checkout: other reads 12 % above owner (bias +12 count): owner is shown",)


def test_m5_sources_of_different_steps_are_compared_on_the_coarser() -> None:
    fine = series([1, 2, 3, 4] * 6, step_ms=15_000)
    coarse = series([2.5] * 6)
    one = merged(outcome("owner", fine), outcome("other", coarse), step_ms=15_000)
    assert (one.step_ms, one.parts[0].step_ms, one.parts[1].step_ms) == (15_000, 15_000, 60_000)
    found = one.parts[1].difference
    assert found is not None
    assert (found.bias, found.shared, found.verdict) == (0, 6, "agree")


def test_m5_the_owners_step_is_the_finest_that_the_grid_can_have() -> None:
    one = merged(outcome("owner", series([2.5] * 6)), step_ms=15_000)
    assert (one.step_ms, one.values.tolist()) == (60_000, [2.5] * 6)


@pytest.mark.parametrize(
    ("x", "y", "unit", "agreement"),
    [
        (100, 105, "count", "agree"),
        (100, 105.1, "count", "offset"),
        (0.1, 1.1, "percent", "agree"),
        (0.1, 1.2, "percent", "offset"),
        (0.001, 0.0105, "ratio", "agree"),
        (0, 0, "count", "agree"),
        (0, 1, "count", "offset"),
        (-100, -104, "count", "agree"),
    ],
)
def test_the_tolerance_is_a_share_or_near_zero_a_point(x: float, y: float, unit: str, agreement: str) -> None:
    metric = {"count": "ticks", "percent": "cpu", "ratio": "apdex"}[unit]
    one = merged(
        outcome("a", series([x] * 3, metric, unit=unit)), outcome("b", series([y] * 3, metric, unit=unit))
    )
    found = one.parts[1].difference
    assert found is not None
    assert found.verdict == agreement


# ---- units


@pytest.mark.parametrize(
    ("metric", "unit", "raw", "shown"),
    [
        ("cpu", "ratio", 0.5, 50.0),
        ("cpu", "%", 50.0, 50.0),
        ("latency_p95", "s", 0.25, 250.0),
        ("cpu", "", 50.0, 50.0),
    ],
)
def test_values_are_shown_in_the_metrics_unit(metric: str, unit: str, raw: float, shown: float) -> None:
    one = merged(outcome("owner", series([raw], metric, unit=unit)), minutes=1)
    assert one.values.tolist() == [shown]
    assert one.unit == CATALOG[metric].unit
    assert one.parts[0].factor == shown / raw


def test_a_unit_that_cannot_be_converted_is_not_merged_and_said() -> None:
    one = merged(
        outcome("odd", series([5] * 6, unit="parsecs")), outcome("other", series([50] * 6, unit="percent"))
    )
    assert one.values.tolist() == [50] * 6
    assert sources(one) == ["other", "odd"]
    assert one.warnings == (
        "odd gives cpu of checkout in parsecs, which is not convertible to percent: not merged",
    )
    odd = one.parts[1]
    assert odd.difference is not None
    assert (odd.factor, odd.unit, odd.difference.verdict) == (None, "parsecs", "insufficient")


def test_values_that_cannot_be_converted_are_not_passed_off_as_the_metrics() -> None:
    one = merged(outcome("odd", series([5] * 6, unit="parsecs")))
    assert np.isnan(one.values).all()
    assert one.warnings


def test_a_metric_without_a_unit_takes_its_sources() -> None:
    assert merged(outcome("a", series([5], "load", unit="count")), minutes=1).unit == "count"


# ---- who is shown


def test_the_owner_named_in_the_catalog_is_shown_first() -> None:
    one = merged(outcome("first", series([50] * 6)), outcome("owner", series([60] * 6)))
    assert sources(one) == ["owner", "first"]
    assert one.values.tolist() == [60] * 6
    found = one.parts[1].difference
    assert found is not None
    assert (found.bias, found.verdict, one.parts[0].difference) == (-10, "offset", None)


@pytest.mark.parametrize("values", [[], [NAN] * 6, [np.inf, -np.inf]])
def test_an_owner_without_a_number_gives_way_to_the_next(values: list[float]) -> None:
    one = merged(
        outcome("owner", series(values)), outcome("next", series([50] * 6)), outcome("third", series([51] * 6))
    )
    assert one.values.tolist() == [50] * 6
    assert sources(one) == ["next", "owner", "third"]
    assert [part.difference.verdict for part in one.parts[1:] if part.difference] == [
        *("insufficient", "agree"),
    ]


def test_sources_that_disagree_are_never_averaged() -> None:
    one = merged(outcome("owner", series([10] * 6)), outcome("other", series([90] * 6)))
    assert set(one.values) == {10.0}


def test_without_an_owner_the_order_of_the_sources_decides() -> None:
    one = merged(outcome("a", series([1], "ticks")), outcome("b", series([2], "ticks")), minutes=1)
    assert sources(one) == ["a", "b"]


def test_every_service_and_metric_is_one_and_what_nobody_knows_is_left_out() -> None:
    first = outcome("a", series([1], service="x"), series([2], "ticks"), series([3], "unheard_of"))
    second = outcome("b", series([4], service="y"))
    found = merge([first, second], CATALOG, Window(START, START + MINUTE), MINUTE)
    assert [(one.service, one.metric) for one in found] == [("x", "cpu"), ("checkout", "ticks"), ("y", "cpu")]
    assert merge([], CATALOG, Window(START, START + MINUTE), MINUTE) == []


# ---- the grid


def test_one_source_on_the_grid_comes_out_bit_for_bit() -> None:
    values = np.random.default_rng(7).standard_normal(1000) * 10.0 ** np.arange(-150, 150, 0.3)
    for metric in ("ticks", "latency_p95"):
        one = merged(outcome("a", series(values.tolist(), metric)), minutes=1000)
        assert one.values.tobytes() == values.tobytes()
        assert one.timestamps_ms.tolist() == [START + MINUTE * n for n in range(1000)]


def test_a_gap_is_not_a_number_and_never_zero() -> None:
    one = merged(outcome("owner", series([5, NAN, NAN, 8, NAN, 7])))
    np.testing.assert_array_equal(one.values, [5, NAN, NAN, 8, NAN, 7])


def test_samples_outside_the_window_are_left_out() -> None:
    one = merged(outcome("owner", series([9, 1, 2, 9], offset_ms=-MINUTE)), minutes=2)
    assert one.values.tolist() == [1, 2]


def test_buckets_lie_on_whole_steps_of_the_epoch_whatever_the_windows_start() -> None:
    window = Window(START + 17_000, START + 17_000 + 2 * MINUTE)
    (one,) = merge([outcome("owner", series([1, 2, 3]))], CATALOG, window, MINUTE)
    assert one.timestamps_ms.tolist() == [START, START + MINUTE, START + 2 * MINUTE]
    assert one.values.tolist() == [1, 2, 3]


def test_samples_out_of_order_are_sorted() -> None:
    shuffled = series([1, 2, 3])
    backwards = Series("checkout", "cpu", shuffled.timestamps_ms[::-1], shuffled.values[::-1])
    assert merged(outcome("owner", backwards), minutes=3).values.tolist() == [1, 2, 3]


def test_a_source_without_any_series_is_no_part() -> None:
    assert sources(merged(outcome("none"), outcome("a", series([1])), minutes=1)) == ["a"]


# ---- several series of one service


@pytest.mark.parametrize(
    ("metric", "shown", "how"), [("cpu", [2.0, 3.0], "mean"), ("latency_p95", [3.0, 4.0], "max")]
)
def test_several_series_of_a_service_become_one_with_a_warning(metric: str, shown: list[float], how: str) -> None:
    one = merged(outcome("a", series([1, 2], metric), series([3, 4], metric)), minutes=2)
    assert one.values.tolist() == shown
    assert one.warnings == (
        f"a gave 2 series of {metric} for checkout: their {how} is used; aggregate in its query",
    )


@pytest.mark.parametrize(("metric", "shown"), [("cpu", [2.0, 4.0]), ("latency_p95", [3.0, 4.0])])
def test_a_gap_in_one_of_several_series_does_not_hide_the_others(metric: str, shown: list[float]) -> None:
    one = merged(outcome("a", series([1, NAN], metric), series([3, 4], metric)), minutes=2)
    assert one.values.tolist() == shown


def test_percentiles_of_one_bucket_become_their_maximum() -> None:
    one = merged(outcome("a", series([1, 9, 2, 3], "latency_p99", step_ms=15_000)), minutes=1)
    assert one.values.tolist() == [9]


def test_a_percentile_is_compared_by_means_with_a_source_that_sends_means() -> None:
    fine = np.tile([10.0, 10.0, 10.0, 14.0], 30)
    coarse = fine.reshape(-1, 4).mean(axis=1)
    one = merged(
        outcome("fine", series(list(fine), "latency_p99", step_ms=15_000)),
        outcome("coarse", series(list(coarse), "latency_p99", step_ms=60_000)),
        minutes=30,
    )
    assert one.values[0] == 14
    assert one.parts[1].difference is not None
    assert (one.parts[1].difference.bias, one.parts[1].difference.verdict) == (0, "agree")


# ---- now


def test_the_newest_reading_is_the_last_finite_sample() -> None:
    (reading,), warnings = latest([outcome("owner", series([1, 2, NAN], query="up"))], CATALOG)
    assert (reading.value, reading.at_ms, reading.source, reading.query) == (2, START + MINUTE, "owner", "up")
    assert (reading.unit, reading.others, warnings) == ("percent", (), [])


def test_the_others_newest_readings_stand_beside_the_owners() -> None:
    outcomes = [
        outcome("ratio", series([0.7], unit="ratio")),
        outcome("empty", series([NAN])),
        outcome("owner", series([60], unit="percent")),
        outcome("odd", series([1], unit="parsecs")),
    ]
    (reading,), warnings = latest(outcomes, CATALOG)
    (other,) = reading.others
    assert (reading.source, reading.value) == ("owner", 60)
    assert (other.source, other.value, other.at_ms) == ("ratio", 70, START)
    assert (other.difference, other.agrees) == (10, False)
    assert len(warnings) == 1


def test_an_owner_without_a_number_is_not_the_reading() -> None:
    (reading,), _ = latest([outcome("owner", series([NAN])), outcome("next", series([50]))], CATALOG)
    assert (reading.source, reading.value) == ("next", 50)


def test_no_reading_at_all_is_none() -> None:
    assert latest([outcome("owner", series([NAN]))], CATALOG) == ([], [])
