"""Whose values are shown, what fills their gaps, and what is said about the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from telemetry_mcp.catalog import BUILT_IN, Catalog, Metric
from telemetry_mcp.merge import Merged, merge, remarks
from telemetry_mcp.model import Outcome, Reply, Series
from telemetry_mcp.part import Floats, Part
from telemetry_mcp.question import Window

MINUTE = 60_000
START = 1_700_000_100_000 // 300_000 * 300_000
NAN = np.nan
SIZE = 120
CATALOG = Catalog(
    {
        **BUILT_IN,
        "cpu": Metric(unit="percent", owner="owner"),
        "load": Metric(),
        "calls": Metric(kind="counter", unit="per_s"),
        "ticks": Metric(kind="counter"),
        "bytes": Metric(kind="counter", unit="bytes_per_s"),
    }
)


def given(
    source: str, values: Sequence[float] | Floats, metric: str = "load", unit: str = "count", step_ms: int = MINUTE
) -> Outcome[Series]:
    times = START + step_ms * np.arange(len(values), dtype=np.int64)
    return replied(source, Series("checkout", metric, times, np.asarray(values, np.float64), unit))


def replied(source: str, *items: Series) -> Outcome[Series]:
    return Outcome(source, "plugin", "ok", Reply(items))


def merged(*outcomes: Outcome[Series], minutes: int = SIZE, step_ms: int = MINUTE) -> Merged:
    (one,) = merge(outcomes, CATALOG, Window(START, START + minutes * MINUTE), step_ms)
    return one


def wave(size: int = SIZE, seed: int = 1) -> Floats:
    return 50 + np.cumsum(np.random.default_rng(seed).normal(0, 0.5, size))


def parts(one: Merged) -> dict[str, Part]:
    return {part.source: part for part in one.parts}


# ---- who is shown


def test_the_configured_owner_is_shown_however_coarse_it_is() -> None:
    fine, coarse = given("fine", wave(), "cpu", "percent"), given("owner", wave()[::5], "cpu", "percent", 300_000)
    one = merged(fine, coarse)
    assert (one.rule, one.parts[0].source, one.step_ms) == ("owner", "owner", 300_000)


def test_a_much_finer_source_is_shown_before_an_earlier_one() -> None:
    one = merged(given("coarse", wave()[::5], step_ms=300_000), given("fine", wave()))
    assert (one.rule, one.parts[0].source) == ("finest", "fine")


@pytest.mark.parametrize("left_out", [slice(60, None), slice(None, 60)])
def test_a_source_that_lacks_half_gives_way_to_a_later_one(left_out: slice) -> None:
    holes = wave()
    holes[left_out] = NAN
    assert merged(given("holes", holes), given("whole", wave())).parts[0].source == "whole"


def test_a_few_samples_less_do_not_change_who_is_shown() -> None:
    holes = wave()
    holes[::20] = NAN
    one = merged(given("a", holes), given("b", wave()))
    assert (one.rule, one.parts[0].source) == ("first", "a")


def test_the_only_one_with_a_number_is_shown_and_nobody_without_any() -> None:
    assert merged(given("a", [NAN] * 3), given("b", [1.0])).rule == "only"
    assert merged(given("a", [NAN] * 3), given("b", [NAN])).rule is None


@pytest.mark.parametrize("days", [-1, 1])
def test_a_source_whose_clock_is_a_day_off_is_not_shown_in_place_of_one_that_has_the_window(days: int) -> None:
    (series,) = given("astray", wave()).reply.items
    times = series.timestamps_ms + days * 86_400_000
    one = merged(replied("astray", Series("checkout", "load", times, wave(), "count")), given("b", wave()))
    assert (one.rule, one.parts[0].source) == ("only", "b")
    np.testing.assert_array_equal(one.values, wave())
    assert parts(one)["astray"].samples == 0
    assert one.warnings == (
        "all that astray gave of load of checkout lies outside the window: is its clock right?",
    )


def test_what_lies_outside_the_window_makes_nobody_more_complete() -> None:
    (series,) = given("a", wave()).reply.items
    late = replied("a", Series("checkout", "load", series.timestamps_ms + SIZE // 2 * MINUTE, wave(), "count"))
    one = merged(late, given("b", wave(seed=2)))
    assert one.parts[0].source == "b"
    assert parts(one)["a"].samples == SIZE // 2


# ---- gaps


def test_gaps_are_filled_from_a_source_that_agrees_without_its_bias_and_counted() -> None:
    values = wave()
    holes = values.copy()
    holes[40:47] = NAN
    one = merged(given("a", holes), given("b", values + 1))
    assert one.values == pytest.approx(values)
    assert parts(one)["b"].filled == 7
    assert parts(one)["a"].filled == 0


def test_a_gap_is_never_filled_with_more_than_anybody_measured() -> None:
    good, other = np.full(SIZE, 99.9), np.full(SIZE, 99.2)
    good[40:47], other[40:47] = NAN, 100
    one = merged(given("a", good, "availability", "percent"), given("b", other, "availability", "percent"))
    assert parts(one)["b"].filled == 7
    assert one.values[40:47].tolist() == [100] * 7


@pytest.mark.parametrize("other", [2 * wave(), wave(seed=2) * 3 - 100], ids=["offset", "diverge"])
def test_a_source_that_differs_never_fills(other: Floats) -> None:
    holes = wave()
    holes[40:47] = NAN
    one = merged(given("a", holes), given("b", other))
    assert np.isnan(one.values[40:47]).all()
    np.testing.assert_array_equal(one.values, holes)
    assert parts(one)["b"].filled == 0


def test_a_source_that_is_late_fills_nothing_for_its_values_are_of_other_times() -> None:
    values = wave(SIZE + 3)
    holes = values[3:].copy()
    holes[40:47] = NAN
    one = merged(given("a", holes), given("b", values[:-3]))
    assert parts(one)["b"].filled == 0
    np.testing.assert_array_equal(one.values, holes)


def test_a_shown_value_is_never_a_mean_of_sources_whatever_their_number() -> None:
    one = merged(given("a", wave()), given("b", wave() + 1), given("c", wave() + 2), given("d", wave() + 1))
    np.testing.assert_array_equal(one.values, wave())


def test_a_coarser_source_that_agrees_fills_only_what_it_measured() -> None:
    values = np.repeat(wave(24), 5)
    holes = values.copy()
    holes[50:60] = NAN
    one = merged(given("a", holes), given("b", values[::5], step_ms=300_000))
    assert np.flatnonzero(np.isnan(one.values)).tolist() == [51, 52, 53, 54, 56, 57, 58, 59]
    assert parts(one)["b"].filled == 2


def test_a_lag_is_told_and_moves_no_timestamp() -> None:
    values = wave(SIZE + 3)
    one = merged(given("a", values[3:]), given("b", values[:-3]))
    b = parts(one)["b"]
    assert b.difference is not None
    assert (b.difference.lag_ms, b.difference.verdict) == (3 * MINUTE, "agree")
    assert b.timestamps_ms[0] == START
    assert b.difference.bias == pytest.approx(0, abs=1e-9)


def test_a_lag_finer_than_the_grid_is_found_in_the_sources_own_steps() -> None:
    fine = wave(SIZE * 5 + 2)
    one = merged(given("a", fine[2:]), given("b", fine[:-2]), minutes=SIZE * 5, step_ms=300_000)
    difference = parts(one)["b"].difference
    assert difference is not None
    assert difference.lag_ms == 2 * MINUTE


# ---- what is said


def test_an_offset_is_one_sentence_with_its_figures() -> None:
    one = merged(given("a", wave()), given("b", wave() * 1.12))
    assert one.warnings == ("load of checkout: b reads 12 % above a (bias +5.82 count, r 1.00): a is shown",)


def test_several_that_differ_share_a_sentence_and_those_that_agree_are_not_in_it() -> None:
    turned = np.roll(wave() * 2, 40)
    (said,) = merged(
        given("a", wave()), given("b", wave() * 0.8), given("c", wave() + 0.1), given("d", turned)
    ).warnings
    assert said.startswith("load of checkout: b reads 20 % below a (bias -")
    assert "; d does not follow a (bias +" in said
    assert " c " not in said


def test_in_percent_a_bias_is_in_points() -> None:
    (said,) = merged(given("owner", wave(), "cpu", "percent"), given("b", wave() + 9, "cpu", "percent")).warnings
    assert "(bias +9 points, r 1.00)" in said


# ---- units


def test_a_declared_unit_is_never_overruled_but_its_contradiction_is_said() -> None:
    one = merged(given("owner", wave(), "cpu", "percent"), given("b", wave() / 100, "cpu", "percent"))
    b = parts(one)["b"]
    assert (b.factor, b.inferred, b.odd) == (1, False, 0.01)
    assert b.values == pytest.approx(wave() / 100)
    assert one.warnings == (
        "cpu of checkout: b reads 0.01 times what owner does, as if percent were not its unit"
        " (not converted, r 1.00): owner is shown",
    )


def test_a_shown_source_that_declares_nothing_is_measured_by_one_that_does() -> None:
    one = merged(given("a", wave() / 100, "memory", ""), given("b", wave() + 0.1, "memory", "percent"))
    a = parts(one)["a"]
    assert one.parts[0] is a
    assert (a.inferred, a.factor) == (True, 100)
    assert one.values == pytest.approx(wave())


def test_the_configured_owner_is_not_rescaled_by_anybody() -> None:
    one = merged(given("owner", wave() / 100, "cpu", ""), given("b", wave(), "cpu", "percent"))
    assert one.values == pytest.approx(wave() / 100)
    assert "b reads 100 times what owner does" in one.warnings[0]


def test_a_metric_without_a_unit_is_shown_in_the_first_that_is_declared() -> None:
    one = merged(given("a", wave(), unit="ms"), given("b", wave() / 1000, unit="s"))
    assert (one.unit, parts(one)["b"].factor, one.warnings) == ("ms", 1000, ())
    assert one.parts[1].difference is not None
    assert one.parts[1].difference.verdict == "agree"


def test_label_sets_in_several_units_are_put_into_one_before_they_are_put_together() -> None:
    both = replied(
        "a", *given("a", wave(), unit="ms").reply.items, *given("a", wave() / 1000, unit="s").reply.items
    )
    one = merged(both)
    assert one.unit == "ms"
    assert one.values == pytest.approx(wave())
    (undeclared,) = given("a", wave(), unit="").reply.items
    assert merged(replied("a", undeclared, *both.reply.items)).values == pytest.approx(wave())


def test_a_label_set_whose_unit_fits_no_other_is_left_out_and_that_is_said() -> None:
    (odd,) = given("a", wave() * 7, unit="bananas").reply.items
    one = merged(replied("a", *given("a", wave(), unit="ms").reply.items, odd))
    np.testing.assert_array_equal(one.values, wave())
    (said,) = one.warnings
    assert "their mean is used without the 1 whose unit is not convertible to ms" in said


# ---- kinds


def test_m6_a_counter_with_a_reset_agrees_with_the_gauge_of_its_rate() -> None:
    counter = given("counter", [0, 60, 120, 30], "calls", "count")
    one = merged(counter, given("gauge", [1, 1, 0.5], "calls", "per_s"), minutes=3)
    assert one.values.tolist() == [1, 1, 0.5]
    assert one.unit == "per_s"
    difference = one.parts[1].difference
    assert difference is not None
    assert (difference.verdict, difference.bias, difference.shared) == ("agree", 0, 3)


def test_a_counter_of_bits_is_a_rate_of_bytes_and_one_in_a_wrong_unit_is_said() -> None:
    one = merged(given("a", [0, 480, 960], "bytes", "bits"), minutes=2)
    assert one.values.tolist() == [1, 1]
    assert "not convertible to bytes_per_s" in merged(given("a", [0, 1], "bytes", "percent")).warnings[0]


@pytest.mark.parametrize(("declared", "unit"), [("", ""), ("count", "per_s"), ("B", "bytes_per_s")])
def test_a_counter_without_a_unit_in_the_catalog_has_that_of_its_rate(declared: str, unit: str) -> None:
    one = merged(given("a", [0, 60, 120], "ticks", declared), minutes=2)
    assert (one.unit, one.values.tolist(), one.warnings) == (unit, [1, 1], ())


def test_a_counter_on_a_coarse_grid_is_its_increase_over_the_step() -> None:
    counter = np.cumsum(np.random.default_rng(1).integers(0, 100, 61)).astype(np.float64)
    one = merged(given("a", counter, "calls"), minutes=60, step_ms=300_000)
    assert one.values == pytest.approx(np.diff(counter[::5]) / 300)


def test_counters_of_several_instances_are_rates_before_they_are_put_together() -> None:
    first, second = given("a", [0, 60, 0], "calls"), given("a", [100, 220, 340], "calls")
    both = replied("a", *first.reply.items, *second.reply.items)
    assert merged(both, minutes=2).values.tolist() == [1.5, 1]


def test_ratios_with_denominators_become_the_ratio_of_the_sums() -> None:
    bad, valid = np.array([1.0, 30, 0, 0]), np.array([1000.0, 100, 0, 100])
    share = np.array([0.001, 0.3, 0.5, 0])
    times = START + 30_000 * np.arange(4, dtype=np.int64)
    series = Series("checkout", "error_rate", times, share, "ratio", weights=valid)
    one = merged(replied("a", series), minutes=2)
    assert one.values == pytest.approx([100 * bad[:2].sum() / 1100, 0])
    assert merged(replied("a", series, series), minutes=2).values == pytest.approx(one.values)


@pytest.mark.parametrize(("step_ms", "upper"), [(15_000, True), (MINUTE, False)])
def test_the_largest_of_several_percentiles_is_marked_as_an_upper_estimate(step_ms: int, upper: bool) -> None:
    one = merged(given("a", wave(), "latency_p95", "ms", step_ms), minutes=30)
    assert one.upper is upper
    assert not merged(given("a", wave(), "load", "ms", 15_000), minutes=30).upper


def test_a_bucket_that_the_window_cuts_is_left_out_when_it_is_made_of_several_samples() -> None:
    window = Window(START + 2 * MINUTE, START + 13 * MINUTE)
    (one,) = merge([given("a", np.arange(20.0))], CATALOG, window, 300_000)
    np.testing.assert_array_equal(one.values, [NAN, 7, NAN])


# ---- what must hold of any samples


@pytest.mark.parametrize("seed", range(5))
def test_order_duplicates_and_samples_without_a_number_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plain = [given("a", wave()), given("b", wave() * 1.2 + rng.normal(0, 1, SIZE))]
    mixed = []
    for outcome in plain:
        (series,) = outcome.reply.items
        again = rng.choice(SIZE, 20, replace=False)
        times = np.concatenate([series.timestamps_ms, series.timestamps_ms[again], series.timestamps_ms[again]])
        values = np.concatenate([series.values, series.values[again], np.full(20, NAN)])
        order = rng.permutation(len(times))
        shuffled = Series("checkout", "load", times[order], values[order], "count")
        mixed.append(replied(outcome.source, shuffled))
    one, other = merged(*plain), merged(*mixed)
    np.testing.assert_array_equal(one.values, other.values)
    assert one.parts[1].difference == other.parts[1].difference
    assert one.warnings == other.warnings


def test_swapping_two_sources_turns_the_sign_of_bias_and_lag() -> None:
    values = wave(SIZE + 2)
    a, b = values[2:], values[:-2] * 1.2
    one = merged(given("a", a), given("b", b)).parts[1].difference
    back = merged(given("b", b), given("a", a)).parts[1].difference
    assert one is not None
    assert back is not None
    assert one.bias is not None
    assert back.bias == pytest.approx(-one.bias)
    assert (one.lag_ms, back.lag_ms) == (2 * MINUTE, -2 * MINUTE)


@pytest.mark.parametrize("nonsense", [[], [NAN] * 9, [np.inf, -np.inf, 0], [1e308] * 9, [1e308, -1e308] * 9])
def test_nothing_that_a_source_can_say_breaks_the_merge(nonsense: list[float]) -> None:
    for several in ([given("a", nonsense), given("b", wave())], [given("b", wave()), given("a", nonsense)]):
        one = merged(*several)
        assert len(one.values) == SIZE
        assert {part.source for part in one.parts} == {"a", "b"}


def test_a_source_that_is_off_everywhere_leaves_room_for_what_else_is_to_be_said() -> None:
    ones = [merged(given("a", wave(seed=n)), given("b", wave(seed=n) * (1.5 + n / 10))) for n in range(9)]
    said = remarks(ones)
    assert len(said) == 6
    assert said[:5] == [one.warnings[0] for one in ones[:5]]
    assert said[5].startswith("4 more series with remarks on their sources")
    assert remarks(ones[:5] * 2) == said[:5]
