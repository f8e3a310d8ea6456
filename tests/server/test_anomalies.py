"""detect_anomalies over sources that do as they are told: its history, its ranking, and what it cannot know."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio import create_task_group
from numpy.typing import NDArray

from telemetry_mcp import Detector, PluginSettings, Reply, Series, SeriesQuery, Service, Source, UpstreamError
from telemetry_mcp.analysis.anomaly import Options
from telemetry_mcp.catalog import BUILT_IN, Catalog
from telemetry_mcp.config import Config
from telemetry_mcp.engine import opened
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.judge import Judge
from telemetry_mcp.model import Outcome
from telemetry_mcp.question import Window
from telemetry_mcp.server import anomalies
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.finding import LATE, looked
from telemetry_mcp.server.scan import scan_of
from telemetry_mcp.testing.fake import Scripted, registry_of, scripted

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOW_MS = 20_500 * DAY + 15 * HOUR + 7 * MINUTE
METRICS = ("cpu", "error_rate", "latency_p95", "request_rate")

Times = NDArray[np.int64]
Numbers = NDArray[np.float64]
Make = Callable[[Times], Numbers]
Asking = Callable[..., Any]


def daily(times: Times, seed: int = 1) -> Numbers:
    """Between 20 at three in the morning and 80 at three in the afternoon, and some noise."""
    noise = np.random.default_rng(seed).normal(0, 1, len(times))
    return 50 - 30 * np.cos(2 * np.pi * (times % DAY - 3 * HOUR) / DAY) + noise


def raised(start_ms: int, end_ms: int, by: float, seed: int = 1) -> Make:
    """The same, and `by` more from start to end."""
    return lambda times: daily(times, seed) + by * ((times >= start_ms) & (times < end_ms))


def told(series: Mapping[tuple[str, str], Make], since_ms: int = 0, until_ms: int = NOW_MS) -> Any:
    """A reply of these series, by a backend that began at `since_ms` and stopped at `until_ms`."""

    def reply(query: SeriesQuery) -> Reply[Series]:
        times = np.arange(query.window.start_ms, query.window.end_ms, query.step_ms)
        kept = times[(times >= since_ms) & (times < until_ms)]
        return Reply(
            [
                Series(service, metric, kept, make(kept))
                for (service, metric), make in series.items()
                if metric in query.metrics and service in (query.services or (service,))
            ]
        )

    return reply


def source(name: str, series: Mapping[tuple[str, str], Make], **when: int) -> Scripted:
    services = Reply([Service(service) for service in sorted({service for service, _ in series})])
    made = scripted(name, series=told(series, **when), services=services)
    return listing(made, *sorted({metric for _, metric in series}))


def listing(made: Scripted, *metrics: str) -> Scripted:
    """The source, which says that it has these metrics and no others."""
    made.settings = made.settings.model_copy(update={"metrics": dict.fromkeys(metrics)})
    return made


@asynccontextmanager
async def asking(*sources: Source, detector: Detector | None = None, **defaults: float) -> AsyncIterator[Asking]:
    """Puts questions to detect_anomalies over these sources at NOW_MS; `defaults` are those of plugins.toml."""
    registry = registry_of(*sources)
    if detector is not None:
        registry = replace(registry, detectors={"own": detector})
    config = Config(Path("plugins.toml"))
    config.defaults = config.defaults.model_copy(update=defaults)
    async with opened(config, registry=registry, clock_ms=lambda: NOW_MS) as engine:

        async def ask(
            service: str = "*", metric: str = "*", hours: float = 24, deadline_s: float = 10, **options: Any
        ) -> dict[str, Any]:
            detector = options.pop("detector", None)
            call = Call(engine, Deadline(deadline_s))
            answer = await anomalies.answer(call, service, metric, hours, Options(**options), detector)
            return answer.model_dump(mode="json")

        yield ask


Opened = AbstractAsyncContextManager[Asking]
QUIET = source("metrics", {("checkout", "cpu"): daily})


# ---- the history


@pytest.mark.parametrize(
    ("question", "lookback_d", "history_d", "step_s"),
    [
        ({"service": "checkout", "metric": "cpu"}, 90, 28, 300),
        ({"service": "checkout"}, 90, 7, 300),
        ({}, 90, 7, 300),
        ({"metric": "cpu"}, 90, 7, 300),
        # Never beyond the look-back, and a longer window is judged by a week before it
        ({"service": "checkout", "metric": "cpu"}, 10, 10, 300),
        ({"hours": 20 * 24}, 90, 27, 1800),
        ({"service": "checkout", "metric": "cpu", "hours": 60 * 24}, 90, 67, 900),
        ({"hours": 20 * 24}, 21, 21, 900),
    ],
)
async def test_the_history_is_as_long_as_the_season_needs(
    question: dict[str, Any], lookback_d: float, history_d: float, step_s: int
) -> None:
    own = listing(source("metrics", {("checkout", "cpu"): daily}), *METRICS)
    async with asking(own, lookback=lookback_d * 86_400) as ask:
        answer = await ask(**question)
    (asked,) = [question for question in own.asked if isinstance(question, SeriesQuery)]
    assert asked.window.duration_ms == pytest.approx(history_d * DAY, abs=2 * step_s * 1000)
    assert asked.step_ms == step_s * 1000
    assert asked.window.end_ms % asked.step_ms == 0
    assert NOW_MS - asked.step_ms < asked.window.end_ms <= NOW_MS
    assert answer["baseline"]["hours"] == pytest.approx(history_d * 24, abs=1)
    assert answer["baseline"]["step_s"] == step_s


async def test_only_what_touches_the_asked_window_is_told_of() -> None:
    start = NOW_MS - 30 * HOUR
    own = source("metrics", {("checkout", "cpu"): raised(start, start + HOUR, 60)})
    async with asking(own) as ask:
        assert (await ask(hours=24))["anomalies_detected"] == 0
        (found,) = (await ask(hours=48))["anomalies"]
        within = await ask(hours=29.5)
    assert found["start"] <= "2026-02-15T09:10:00Z" <= found["end"]
    assert within["anomalies_detected"] == 1


@pytest.mark.parametrize("question", [{}, {"service": "checkout", "metric": "cpu"}])
async def test_the_busy_hours_of_every_day_are_expected(question: dict[str, str]) -> None:
    async with asking(QUIET) as ask:
        answer = await ask(**question)
    assert (answer["anomalies_detected"], answer["anomalies"], answer["services"]) == (0, [], [])
    assert answer["summary"] == "nothing unusual in the 1 series that could be judged well"


async def test_a_value_that_is_ordinary_at_another_time_of_day_is_found_with_its_reason() -> None:
    # 60 in the night, where 20 is expected, and 80 at the best of times.
    night = NOW_MS // DAY * DAY + 3 * HOUR
    own = source("metrics", {("checkout", "cpu"): raised(night, night + HOUR, 40)})
    async with asking(own) as ask:
        answer = await ask()
    (found,) = answer["anomalies"]
    assert (found["direction"], found["unit"], found["ongoing"]) == ("up", "percent", False)
    assert found["value"] == pytest.approx(60, abs=4)
    assert found["expected"] == pytest.approx(20, abs=7)
    assert found["lower"] < found["expected"] < found["upper"] < found["value"]
    assert found["relative_deviation"] == pytest.approx(
        (found["value"] - found["expected"]) / found["expected"], 0.01
    )
    assert found["why"].startswith(f"expected {found['expected']:g} +/- ")
    assert "percent at this time of day" in found["why"]
    assert answer["baseline"]["periods"] == {"1d": 1}
    assert answer["summary"] == "1 anomaly of checkout"


# ---- the ranking


async def test_services_are_ranked_by_how_many_metrics_agree_and_not_by_the_loudest() -> None:
    start, end = NOW_MS - 3 * HOUR, NOW_MS - 2 * HOUR
    loud = {("loud", metric): raised(0, 0, 0, seed) for seed, metric in enumerate(METRICS)}
    loud["loud", "cpu"] = raised(start, end, 900)
    many = {("many", metric): raised(start, end, 25, seed) for seed, metric in enumerate(METRICS, 10)}
    calm = {("calm", metric): raised(0, 0, 0, seed) for seed, metric in enumerate(METRICS, 20)}
    async with asking(source("metrics", {**loud, **many, **calm})) as ask:
        answer = await ask()
    assert answer["anomalies"][0]["service"] == "loud"
    first, second = answer["services"]
    assert (first["service"], second["service"]) == ("many", "loud")
    assert sorted(first["metrics"]) == sorted(METRICS)
    assert (second["metrics"], second["judged"]) == (["cpu"], 4)
    assert first["score"] > answer["baseline"]["threshold"] > second["score"]
    assert first["start"] <= "2026-02-16T12:10:00Z" <= first["end"] <= "2026-02-16T13:10:00Z"
    assert answer["summary"] == "5 anomalies in 2 of 3 services"


# ---- what is not known


async def test_too_little_history_is_unknown_and_no_all_clear() -> None:
    young = source("metrics", {("checkout", "cpu"): daily}, since_ms=NOW_MS - 30 * HOUR)
    async with asking(young) as ask:
        answer = await ask()
    assert answer["anomalies_detected"] is None
    assert answer["summary"].startswith("Unknown: nothing unusual was seen")
    (said,) = answer["baseline"]["low_confidence"]
    assert said.startswith("cpu of checkout: ")
    assert "1.2 days of history: no daily pattern can be known" in said
    assert answer["baseline"]["series_judged"] == 1


async def test_a_finding_in_little_history_is_told_and_its_doubt_too() -> None:
    series = {("checkout", "cpu"): raised(NOW_MS - 2 * HOUR, NOW_MS - HOUR, 900)}
    async with asking(source("metrics", series, since_ms=NOW_MS - 30 * HOUR)) as ask:
        answer = await ask()
    assert answer["anomalies_detected"] == 1
    assert answer["summary"] == "1 anomaly of checkout; of 1 of 1 series too little is known"


@pytest.mark.parametrize(
    ("step_min", "unsure"),
    [(60, []), (120, ["cpu of checkout: a point every 120 min: what is shorter cannot be seen"])],
)
async def test_a_source_too_coarse_for_the_window_is_judged_and_doubted(step_min: int, unsure: list[str]) -> None:
    def coarse(query: Any) -> Reply[Series]:
        reply: Reply[Series] = told({("checkout", "cpu"): daily})(replace(query, step_ms=step_min * MINUTE))
        return reply

    async with asking(listing(scripted("metrics", series=coarse), "cpu")) as ask:
        answer = await ask(hours=24)
    assert answer["baseline"]["low_confidence"] == unsure
    assert answer["anomalies_detected"] == (None if unsure else 0)
    assert answer["baseline"]["series_judged"] == 1


async def test_a_source_that_gives_a_long_history_in_long_steps_only_is_asked_for_a_shorter_one() -> None:
    series = told({("checkout", "cpu"): raised(NOW_MS - 2 * HOUR, NOW_MS - HOUR, 40)})

    def limited(query: Any) -> Reply[Series]:
        """As New Relic, which gives 366 buckets."""
        least_ms = -(-query.window.duration_ms // 366 // MINUTE) * MINUTE
        reply: Reply[Series] = series(replace(query, step_ms=max(query.step_ms, least_ms)))
        return reply

    own = listing(scripted("metrics", series=limited), "cpu")
    async with asking(own) as ask:
        answer = await ask(service="checkout", metric="cpu")
    days = [question.window.duration_ms / DAY for question in own.asked if isinstance(question, SeriesQuery)]
    assert days == pytest.approx([28, 7], abs=0.1)
    assert answer["anomalies_detected"] == 1
    assert answer["baseline"]["hours"] == pytest.approx(7 * 24, abs=1)
    assert answer["baseline"]["low_confidence"] == []


async def test_who_asks_for_no_season_is_not_told_that_there_is_none() -> None:
    flat = {("checkout", "cpu"): lambda times: 50 + np.random.default_rng(1).normal(0, 1, len(times))}
    async with asking(source("metrics", flat, since_ms=NOW_MS - 30 * HOUR)) as ask:
        answer = await ask(period="none")
    assert answer["baseline"]["low_confidence"] == []
    assert answer["anomalies_detected"] == 0


async def test_what_a_failed_source_would_have_answered_is_named_as_not_judged() -> None:
    there = source("metrics", {("checkout", "cpu"): daily, ("basket", "cpu"): daily, ("basket", "memory"): daily})
    down = listing(scripted("traces", series=UpstreamError("HTTP 503"), services=Reply()), "cpu", "error_rate")
    async with asking(there, down) as ask:
        answer = await ask()
        one = await ask(service="checkout", metric="error_rate")
    assert answer["anomalies_detected"] == 0
    assert answer["summary"].startswith("nothing unusual in the 3 series that could be judged well; ")
    assert answer["summary"].endswith("what else traces would have said is unknown")
    assert answer["baseline"]["not_judged"] == [
        "error_rate of basket: traces failed: HTTP 503",
        "error_rate of checkout: traces failed: HTTP 503",
    ]
    assert "; 2 of 5 series could not be judged; " in answer["summary"]
    assert one["anomalies_detected"] is None
    assert one["baseline"]["not_judged"] == ["error_rate of checkout: traces failed: HTTP 503"]
    assert one["summary"].startswith("Unknown: ")


async def test_of_a_source_that_gave_a_part_the_rest_is_not_judged() -> None:
    def part(query: Any) -> Reply[Series]:
        return replace(told({("checkout", "cpu"): daily})(query), partial="error_rate: timed out")

    async with asking(listing(scripted("metrics", series=part), "cpu", "error_rate")) as ask:
        answer = await ask()
    assert answer["anomalies_detected"] == 0
    assert answer["baseline"]["not_judged"] == [
        "error_rate of checkout: metrics gave a part only: error_rate: timed out"
    ]


async def test_metrics_without_any_data_are_named() -> None:
    there = listing(source("metrics", {("checkout", "cpu"): daily}), "cpu", "error_rate")
    async with asking(there) as ask:
        one = await ask(service="checkout", metric="error_rate")
        every = await ask(metric="error_rate")
        both = await ask()
    assert both["baseline"]["not_judged"] == every["baseline"]["not_judged"]
    assert both["anomalies_detected"] == 0
    assert one["baseline"]["not_judged"] == ["error_rate of checkout: no data"]
    assert every["baseline"]["not_judged"] == ["error_rate of any service: no data"]
    for answer in (one, every):
        assert answer["anomalies_detected"] is None
        assert answer["summary"].startswith("Unknown: ")
        assert answer["baseline"]["series_not_judged"] == 1


async def test_a_source_that_takes_any_metric_is_not_expected_to_have_each() -> None:
    async with asking(scripted("metrics", series=told({("checkout", "cpu"): daily}))) as ask:
        answer = await ask()
    assert answer["baseline"]["not_judged"] == []
    assert answer["baseline"]["series_judged"] == 1


async def test_a_series_that_ended_before_the_window_is_not_judged() -> None:
    gone = source("metrics", {("checkout", "cpu"): daily}, until_ms=NOW_MS - 30 * HOUR)
    async with asking(gone) as ask:
        answer = await ask(metric="cpu")
    assert answer["anomalies_detected"] is None
    assert answer["baseline"]["not_judged"] == ["cpu of checkout: no data since 2026-02-15T09:05:00Z"]


async def test_a_series_that_stopped_inside_the_window_is_no_all_clear() -> None:
    gone = source("metrics", {("checkout", "cpu"): daily}, until_ms=NOW_MS - HOUR)
    async with asking(gone, source("other", {("basket", "cpu"): daily})) as ask:
        one = await ask(service="checkout", metric="cpu")
        every = await ask(metric="cpu")
    assert one["anomalies_detected"] is None
    assert one["summary"] == "Unknown: nothing unusual was seen; of 1 of 1 series too little is known"
    assert one["baseline"]["low_confidence"] == ["cpu of checkout: no data since 2026-02-16T14:05:00Z"]
    assert every["anomalies_detected"] == 0
    assert every["summary"].endswith("that could be judged well; of 1 of 2 series too little is known")


async def test_a_series_with_data_of_a_small_part_of_the_window_is_no_all_clear() -> None:
    def seldom(times: Times) -> Numbers:
        return np.where((times < NOW_MS - 20 * HOUR) | (times >= NOW_MS - HOUR), daily(times), np.nan)

    async with asking(source("metrics", {("checkout", "cpu"): seldom})) as ask:
        answer = await ask()
    assert answer["anomalies_detected"] is None
    assert answer["baseline"]["low_confidence"] == ["cpu of checkout: data of 21 % of the window only"]


async def test_a_series_that_stopped_in_the_middle_of_an_outage_is_not_said_to_go_on() -> None:
    series = {("checkout", "cpu"): raised(NOW_MS - 4 * HOUR, NOW_MS, 900)}
    async with asking(source("metrics", series, until_ms=NOW_MS - 2 * HOUR), source("other", {})) as ask:
        stopped = await ask()
    async with asking(source("metrics", series)) as ask:
        going_on = await ask()
    assert [found["ongoing"] for found in stopped["anomalies"]] == [False]
    assert stopped["baseline"]["gaps"] == ["cpu of checkout: no data 2026-02-16T13:05:00Z to 2026-02-16T15:05:00Z"]
    assert [found["ongoing"] for found in going_on["anomalies"]] == [True]
    assert going_on["baseline"]["gaps"] == []


# ---- options


async def test_a_series_that_leaves_its_one_value_and_one_that_stands_still_say_so() -> None:
    start, end = NOW_MS - 5 * HOUR, NOW_MS - 2 * HOUR

    def left(times: Times) -> Numbers:
        return np.where((times >= start) & (times < end), 5.0, 0.0)

    def stuck(times: Times) -> Numbers:
        return np.where((times >= start) & (times < end), 42.0, daily(times))

    async with asking(source("metrics", {("checkout", "error_rate"): left, ("checkout", "cpu"): stuck})) as ask:
        answer = await ask()
    said = {found["metric"]: (found["lens"], found["why"]) for found in answer["anomalies"]}
    assert said == {
        "error_rate": ("left constant value", "it had held 0 percent"),
        "cpu": ("flatline", "it moves all the time, but stood still at 42 percent"),
    }
    # Nothing was expected but 0: there is no share of it.
    assert ["relative_deviation" in found for found in answer["anomalies"]] == [False, True]


async def test_what_is_looked_for_can_be_narrowed() -> None:
    start = NOW_MS - 3 * HOUR
    series = {
        ("up", "cpu"): raised(start, start + HOUR, 60),
        ("down", "cpu"): raised(start, start + HOUR, -30),
    }

    def found(answer: dict[str, Any]) -> list[str]:
        return sorted(row["service"] for row in answer["anomalies"])

    async with asking(source("metrics", series)) as ask:
        assert found(await ask()) == ["down", "up"]
        assert found(await ask(direction="up")) == ["up"]
        assert found(await ask(direction="down")) == ["down"]
        assert found(await ask(min_relative=0.6)) == ["up"]


async def test_habitual_excursions_are_ordinary_unless_the_guard_is_off() -> None:
    def bursts(times: Times) -> Numbers:
        """Every few hours, never at the same time of day, 30 more for a moment; and once 200."""
        hours = times // HOUR
        burst = (times % HOUR < 5 * MINUTE) & ((hours * 7919) % 10 < 3)
        once = (times >= NOW_MS - 3 * HOUR) & (times < NOW_MS - 3 * HOUR + 10 * MINUTE)
        noise = np.random.default_rng(1).normal(50, 1, len(times))
        return np.asarray(noise + 30 * burst + 200 * once)

    async with asking(source("metrics", {("checkout", "cpu"): bursts})) as ask:
        guarded = await ask()
        unguarded = await ask(guard=False)
    (found,) = guarded["anomalies"]
    assert found["value"] > 200
    assert "habitual excursions up to +/-" in found["why"]
    assert unguarded["anomalies_detected"] > 3
    assert not any("habitual" in row["why"] for row in unguarded["anomalies"])


# ---- while it works


class Waiting(Detector):
    """Gives its scores when it is let."""

    def __init__(self) -> None:
        super().__init__(PluginSettings(plugin="waiting"))
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def score(self, timestamps_ms: Times, values: Numbers, *, causal: bool = False) -> Numbers:
        self.asked.set()
        assert self.may_answer.wait(10)
        return np.zeros(len(values))


async def test_other_calls_go_on_while_a_scan_is_judged() -> None:
    waiting = Waiting()
    answers = []
    async with asking(QUIET, detector=waiting) as ask, create_task_group() as tasks:

        async def scan() -> None:
            answers.append(await ask(detector="own"))

        tasks.start_soon(scan)
        # Were the detector run in the event loop, this call could only be answered after it had given up waiting.
        assert (await ask())["anomalies_detected"] == 0
        waiting.may_answer.set()
    assert answers[0]["baseline"]["method"] == "own"
    assert answers[0]["anomalies_detected"] == 0


async def test_a_detector_that_does_not_come_to_an_end_leaves_everything_unknown() -> None:
    waiting = Waiting()
    async with asking(QUIET, detector=waiting) as ask:
        answer = await ask(detector="own", deadline_s=0.1)
        waiting.may_answer.set()
    assert waiting.asked.is_set()
    assert answer["anomalies_detected"] is None
    assert answer["summary"].startswith("Unknown: ")
    (said,) = answer["baseline"]["not_judged"]
    assert said.startswith("cpu of any service: not judged within the deadline")


def test_a_slow_detector_is_not_asked_once_more_for_every_series_that_is_too_late() -> None:
    waiting = Waiting()
    waiting.may_answer.set()
    scan = scan_of((), ("cpu",), Window(NOW_MS - DAY, NOW_MS), 90 * 86_400)
    outcome = Outcome("metrics", "scripted", "ok", told({("basket", "cpu"): daily})(scan.question))
    seen = looked(scan, [outcome], Catalog(BUILT_IN), Judge(Options(), "own", waiting), lambda: True)
    assert [finding.blind for finding in seen.findings] == [LATE]
    assert not waiting.asked.is_set()


def test_what_is_not_judged_in_time_is_named_and_the_rest_is_told() -> None:
    series = {("basket", "cpu"): daily, ("checkout", "cpu"): daily, ("search", "cpu"): daily}
    scan = scan_of((), ("cpu",), Window(NOW_MS - DAY, NOW_MS), 90 * 86_400)
    outcome = Outcome("metrics", "scripted", "ok", told(series)(scan.question))
    turns = iter([False, False, True])
    seen = looked(scan, [outcome], Catalog(BUILT_IN), Judge(), lambda: next(turns))
    assert [finding.blind for finding in seen.findings] == ["", "", LATE]
