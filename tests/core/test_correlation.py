"""The ranking of services around a page, on incidents made here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from telemetry_mcp.analysis.correlation import Ranking, Suspect, rank
from telemetry_mcp.analysis.signal import Change, Kind, Signal

MINUTE = 60_000
PAGE = 1_795_000_020_000
START, END = PAGE - 150 * MINUTE, PAGE + 10 * MINUTE
LEVEL: dict[Kind, float] = {
    "availability": 99.9,
    "error": 0.5,
    "latency": 80.0,
    "traffic": 200.0,
    "resource": 30.0,
}
NOISE: dict[Kind, float] = {"availability": 0.02, "error": 0.05, "latency": 2.0, "traffic": 6.0, "resource": 1.0}


def signal(
    service: str,
    kind: Kind,
    *,
    metric: str = "",
    onset: int | None = None,
    by: float = 0.0,
    until: int = END,
    seed: int = 0,
    noise: float | None = None,
) -> Signal:
    """One point a minute around a level, `by` higher from `onset` to `until`."""
    times = np.arange(START, END + 1, MINUTE, dtype=np.int64)
    chance = np.random.default_rng([seed, *service.encode(), *kind.encode()])
    values = LEVEL[kind] + chance.normal(size=times.size) * (NOISE[kind] if noise is None else noise)
    if onset is not None:
        values[(times >= onset) & (times < until)] += by
    return Signal(service, metric or kind, kind, times, values)


def healthy(*services: str, seed: int = 0) -> list[Signal]:
    return [signal(service, kind, seed=seed) for service in services for kind in LEVEL]


def ill(service: str, onset: int, *kinds: Kind, by: float = 20.0, seed: int = 0) -> list[Signal]:
    """A service of which some kinds leave their level for the worse, `by` sigmas, and the others do not."""
    return [
        signal(
            service, kind, onset=onset if kind in kinds else None, by=_worse(kind) * by * NOISE[kind], seed=seed
        )
        for kind in LEVEL
    ]


def _worse(kind: Kind) -> int:
    return -1 if kind == "availability" else 1


def names(ranking: Ranking) -> list[str]:
    return [one.service for one in ranking.services]


def of(ranking: Ranking, service: str) -> Suspect:
    return next(one for one in ranking.services if one.service == service)


# ---- the order


def test_the_one_service_that_left_its_level_is_first_with_its_onset_and_its_evidence() -> None:
    onset = PAGE - 6 * MINUTE
    ranking = rank(PAGE, healthy("cart", "search") + ill("pay", onset, "latency", "resource"))
    first = ranking.services[0]
    assert first.service == "pay"
    assert first.share > 0.5
    assert sum(one.share for one in ranking.services) == pytest.approx(1)
    assert first.onset_ms == onset
    assert first.lead_ms == 6 * MINUTE
    assert {one.metric for one in first.evidence[:2]} == {"latency", "resource"}
    latency = next(one for one in first.evidence if one.metric == "latency")
    assert latency.before == pytest.approx(80, abs=1)
    assert latency.after == pytest.approx(120, abs=2)
    assert latency.direction == "up"
    assert latency.deviation > 10
    assert not latency.harmless
    assert not ranking.nothing_found
    assert ranking.guard_ms == 15 * MINUTE
    assert (ranking.baseline_start_ms, ranking.baseline_end_ms) == (PAGE - 135 * MINUTE, PAGE - 15 * MINUTE)
    assert ranking.end_ms == END


@pytest.mark.parametrize("seed", range(20))
def test_the_onset_is_right_within_two_steps(seed: int) -> None:
    onset = PAGE - (2 + seed % 10) * MINUTE
    ranking = rank(PAGE, healthy("cart", seed=seed) + ill("pay", onset, "latency", "error", by=12, seed=seed))
    assert ranking.services[0].service == "pay"
    assert abs((ranking.services[0].onset_ms or 0) - onset) <= 2 * MINUTE


def test_the_onset_of_a_service_is_that_of_the_first_metric_that_tells() -> None:
    onset = PAGE - 10 * MINUTE
    signals = [
        signal("pay", "resource", onset=onset, by=15),
        signal("pay", "latency", onset=onset + 3 * MINUTE, by=60),
        signal("pay", "error", onset=onset + 6 * MINUTE, by=5),
    ]
    assert rank(PAGE, signals).services[0].onset_ms == onset


def test_a_slow_rise_is_dated_back_to_its_first_points() -> None:
    onset = PAGE - 10 * MINUTE
    rising = signal("pay", "latency")
    rising.values[:] += np.clip((rising.timestamps_ms - onset) / MINUTE, 0, 10) * 6
    (evidence,) = rank(PAGE, [rising]).services[0].evidence
    assert evidence.onset_ms is not None
    assert abs(evidence.onset_ms - onset) <= 2 * MINUTE


@pytest.mark.parametrize("seed", range(20))
def test_where_nothing_happened_nothing_is_found(seed: int) -> None:
    ranking = rank(PAGE, healthy(*(f"service-{place}" for place in range(20)), seed=seed))
    assert ranking.nothing_found
    assert len(ranking) == 20


def test_callers_that_suffer_later_stand_behind_what_they_call() -> None:
    onset = PAGE - 9 * MINUTE
    signals = [
        *ill("db", onset, "latency", "resource"),
        *ill("api", onset + 2 * MINUTE, "latency", "error", by=22),
        *ill("web", onset + 3 * MINUTE, "latency", "error", by=22),
        *healthy("mail"),
    ]
    ranking = rank(PAGE, signals, dependencies=[("web", "api"), ("api", "db"), ("web", "mail")])
    assert names(ranking) == ["db", "api", "web", "mail"]
    assert rank(PAGE, signals).services[0].service != "web"


def test_what_is_called_explains_what_the_caller_suffers() -> None:
    onset = PAGE - 5 * MINUTE
    signals = ill("api", onset, "latency", "error", by=24) + ill("db", onset, "latency", "error")
    assert names(rank(PAGE, signals)) == ["api", "db"]
    assert names(rank(PAGE, signals, dependencies=[("api", "db")])) == ["db", "api"]


def test_what_suffers_because_more_is_asked_of_it_explains_nothing() -> None:
    onset = PAGE - 5 * MINUTE
    signals = ill("web", onset, "traffic", "latency", by=24) + ill("db", onset, "traffic", "latency")
    assert names(rank(PAGE, signals, dependencies=[("web", "db")])) == ["web", "db"]
    calm = [one for one in signals if one.kind != "traffic"]
    assert names(rank(PAGE, calm, dependencies=[("web", "db")])) == ["db", "web"]


def test_what_began_to_suffer_afterwards_explains_nothing() -> None:
    onset = PAGE - 9 * MINUTE
    signals = ill("api", onset, "latency", "error") + ill("db", onset + 4 * MINUTE, "latency", "error", by=21)
    plain, known = rank(PAGE, signals), rank(PAGE, signals, dependencies=[("api", "db")])
    assert of(known, "api").score == of(plain, "api").score


def test_a_service_that_the_symptom_does_not_reach_counts_half() -> None:
    onset = PAGE - 5 * MINUTE
    signals = ill("batch", onset, "resource", "latency", by=30) + ill("db", onset, "resource", "latency", by=12)
    signals += healthy("web")
    dependencies = [("web", "db"), ("cron", "batch")]
    assert names(rank(PAGE, signals, dependencies=dependencies))[0] == "batch"
    assert names(rank(PAGE, signals, dependencies=dependencies, symptom=("web", "latency")))[0] == "db"


def test_a_metric_that_hardly_ever_moves_does_not_win() -> None:
    onset = PAGE - 5 * MINUTE
    still = [
        signal("config", "resource", metric="memory", noise=0.0, onset=onset, by=0.3),
        signal("config", "latency", noise=1e-6, onset=onset, by=0.5),
        signal("config", "traffic", noise=0.0),
    ]
    ranking = rank(PAGE, still + ill("pay", onset, "latency", "error"))
    assert names(ranking) == ["pay", "config"]
    assert max(one.deviation for one in of(ranking, "config").evidence) < 1


def test_a_change_for_the_better_counts_half_and_is_said() -> None:
    onset = PAGE - 5 * MINUTE
    better = [signal("cart", "latency", onset=onset, by=-40), signal("cart", "error", onset=onset, by=-0.45)]
    ranking = rank(PAGE, better + ill("pay", onset, "latency", "error", by=8))
    assert names(ranking) == ["pay", "cart"]
    assert [one.harmless for one in ranking.services[1].evidence] == [True, True]
    assert ranking.services[1].onset_ms is None


def test_changes_for_the_better_alone_are_no_finding() -> None:
    better = [signal("cart", "latency", onset=PAGE - 5 * MINUTE, by=-20)]
    assert rank(PAGE, better).nothing_found


def test_one_metric_from_two_sources_is_one_metric() -> None:
    onset = PAGE - 5 * MINUTE
    once = [signal("pay", "latency", onset=onset, by=40), signal("pay", "resource")]
    assert rank(PAGE, [*once, once[0]]).services[0].score == rank(PAGE, once).services[0].score


# ---- the guard


@pytest.mark.parametrize("late", [20, 30, 40])
def test_with_a_late_page_the_guard_grows_until_the_onset_is_inside(late: int) -> None:
    onset = PAGE - late * MINUTE
    ranking = rank(PAGE, healthy("cart", "search") + ill("pay", onset, "latency", "resource"))
    first = ranking.services[0]
    assert ranking.guard_ms in (30 * MINUTE, 60 * MINUTE)
    assert ranking.guard_ms > late * MINUTE
    assert (first.service, first.onset_ms) == ("pay", onset)


def test_a_guard_is_cut_where_the_data_begin_late() -> None:
    begin = PAGE - 20 * MINUTE
    signals = [
        Signal(
            s.service,
            s.metric,
            s.kind,
            s.timestamps_ms[s.timestamps_ms >= begin],
            s.values[s.timestamps_ms >= begin],
        )
        for s in healthy("cart") + ill("pay", PAGE - 2 * MINUTE, "latency", "error")
    ]
    ranking = rank(PAGE, signals)
    assert ranking.guard_ms == 5 * MINUTE
    assert ranking.services[0].service == "pay"
    assert ranking.services[0].onset_ms == PAGE - 2 * MINUTE


def test_seconds_are_ranked_as_minutes_are() -> None:
    times = np.arange(PAGE - 900_000, PAGE + 300_000, 1000, dtype=np.int64)
    chance = np.random.default_rng(3)
    signals = [
        Signal(service, "cpu", "resource", times, 20 + chance.normal(size=times.size))
        for service in ("a", "b", "c")
    ]
    signals[1].values[times >= PAGE - 120_000] += 40
    ranking = rank(PAGE, signals, guard_ms=60_000)
    assert ranking.services[0].service == "b"
    assert ranking.services[0].onset_ms == PAGE - 120_000
    assert ranking.guard_ms > 120_000


def test_of_deviations_that_ended_before_the_page_and_one_that_lasts_the_onset_is_of_that_which_lasts() -> None:
    onset = PAGE - 4 * MINUTE
    values = signal("pay", "latency", onset=onset, by=60)
    early = (values.timestamps_ms >= PAGE - 13 * MINUTE) & (values.timestamps_ms < PAGE - 10 * MINUTE)
    values.values[early] += 60
    assert rank(PAGE, [values]).services[0].onset_ms == onset


# ---- changes


def test_a_change_settles_a_tie_and_nothing_else() -> None:
    onset = PAGE - 5 * MINUTE
    twins = [
        Signal(name, s.metric, s.kind, s.timestamps_ms, s.values)
        for name in "ab"
        for s in ill("x", onset, "latency")
    ]
    change = Change("b", onset - 3 * MINUTE, "deploy-7")
    assert names(rank(PAGE, twins)) == ["a", "b"]
    ranking = rank(PAGE, twins, changes=[change])
    assert names(ranking) == ["b", "a"]
    (candidate,) = ranking.services[0].changes
    assert (candidate.change, candidate.offset_ms) == (change, 3 * MINUTE)
    clear = ill("pay", onset, "latency", "error") + ill("cart", onset, "latency", "error", by=12)
    changed = rank(PAGE, clear, changes=[Change("cart", onset - MINUTE)])
    assert names(changed) == names(rank(PAGE, clear)) == ["pay", "cart"]


def test_a_change_after_the_onset_is_no_candidate_but_for_the_first_minute() -> None:
    onset = PAGE - 5 * MINUTE
    changes = [
        ("pay", onset + MINUTE, "at once"),
        ("pay", onset + 2 * MINUTE, "later"),
        ("pay", onset - MINUTE, "before"),
    ]
    first = rank(PAGE, ill("pay", onset, "latency", "error"), changes=changes).services[0]
    assert {(one.change.id, one.offset_ms) for one in first.changes} == {("at once", -MINUTE), ("before", MINUTE)}


# ---- what cannot be judged


def test_without_signals_nothing_is_found_and_nothing_is_said_to_be_well() -> None:
    ranking = rank(PAGE, [], dependencies=[("web", "db")], symptom=("web", "latency"), changes=[("db", PAGE)])
    assert ranking.nothing_found
    assert ranking.services == ()
    assert [(one.service, one.reason) for one in ranking.not_examined] == [
        ("db", "no metrics"),
        ("web", "no metrics"),
    ]


def test_a_service_whose_data_end_before_the_page_is_not_examined() -> None:
    ends = PAGE - 5 * MINUTE
    silent = [
        Signal(
            s.service,
            s.metric,
            s.kind,
            s.timestamps_ms[s.timestamps_ms <= ends],
            s.values[s.timestamps_ms <= ends],
        )
        for s in healthy("db")
    ]
    ranking = rank(PAGE, silent + healthy("web"))
    assert names(ranking) == ["web"]
    assert {(one.service, one.reason) for one in ranking.not_examined} == {("db", "its data end before the page")}
    assert len(ranking.not_examined) == len(LEVEL)


def spoilt(change: Callable[[Signal], tuple[Any, Any]]) -> Signal:
    given = signal("db", "latency")
    return Signal("db", "latency", "latency", *change(given))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (spoilt(lambda s: (s.timestamps_ms[:0], s.values[:0])), "no data"),
        (spoilt(lambda s: (s.timestamps_ms, np.full(s.values.size, math.nan))), "no data"),
        (spoilt(lambda s: (s.timestamps_ms[-3:], s.values[-3:])), "too few points before"),
        (spoilt(lambda s: (s.timestamps_ms + 14 * 24 * 60 * MINUTE, s.values)), "too few points before"),
        (spoilt(lambda s: (np.append(s.timestamps_ms[:100], PAGE), s.values[:101])), "too few points since"),
    ],
    ids=["empty", "no numbers", "new", "all after the page", "one point since"],
)
def test_a_signal_without_enough_data_is_not_examined_and_the_reason_is_said(bad: Signal, reason: str) -> None:
    ranking = rank(PAGE, [bad, *ill("pay", PAGE - 5 * MINUTE, "latency", "error"), *healthy("cart")])
    assert [(one.service, one.metric, one.reason) for one in ranking.not_examined] == [("db", "latency", reason)]
    assert names(ranking)[0] == "pay"


def test_a_page_before_all_data_leaves_nothing_examined() -> None:
    ranking = rank(START - 60 * MINUTE, healthy("pay", "cart"))
    assert ranking.services == ()
    assert ranking.nothing_found
    assert {one.reason for one in ranking.not_examined} == {"too few points before"}


@pytest.mark.parametrize("level", [0.0, 100.0])
@pytest.mark.parametrize("kind", list(LEVEL))
def test_a_constant_series_does_not_deviate(kind: Kind, level: float) -> None:
    times = np.arange(START, END + 1, MINUTE, dtype=np.int64)
    ranking = rank(PAGE, [Signal("pay", "x", kind, times, np.full(times.size, level))])
    (evidence,) = ranking.services[0].evidence
    assert (evidence.deviation, evidence.direction, evidence.onset_ms) == (0.0, "none", None)
    assert ranking.nothing_found


def test_order_duplicates_and_missing_numbers_change_nothing() -> None:
    given = ill("pay", PAGE - 5 * MINUTE, "latency", "error") + healthy("cart")
    order = np.random.default_rng(1).permutation(given[0].values.size)
    odd = [
        Signal(
            s.service,
            s.metric,
            s.kind,
            np.concatenate((s.timestamps_ms[order], s.timestamps_ms[order], s.timestamps_ms[:5] + 1000)),
            np.concatenate((s.values[order], s.values[order], np.full(5, math.nan))),
        )
        for s in given
    ]
    assert rank(PAGE, odd) == rank(PAGE, given)


def test_plain_tuples_and_lists_are_taken() -> None:
    given = ill("pay", PAGE - 5 * MINUTE, "latency", "error")
    tuples = [(s.service, s.metric, s.kind, s.timestamps_ms.tolist(), s.values.tolist()) for s in given]
    changes = [("pay", PAGE - 6 * MINUTE, "deploy-7", "ignored")]
    assert rank(PAGE, tuples, changes=changes) == rank(
        PAGE, given, changes=[Change("pay", PAGE - 6 * MINUTE, "deploy-7")]
    )


def test_a_kind_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="kinds are availability, error, latency, traffic, resource, not gauge"):
        rank(PAGE, [("pay", "x", "gauge", [1], [1.0])])


def test_two_services_that_call_each_other_are_ranked() -> None:
    signals = ill("a", PAGE - 5 * MINUTE, "latency") + ill("b", PAGE - 4 * MINUTE, "latency")
    ranking = rank(PAGE, signals, dependencies=[("a", "b"), ("b", "a"), ("a", "a")], symptom=("a", "latency"))
    assert names(ranking)[0] == "a"
