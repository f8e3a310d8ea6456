"""The same events through slo-generator and through rules of Sloth's shape: where we agree, and where we do not.

The differences are meant: each is asserted for both sides.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from telemetry_mcp.analysis.burn import Evaluation, evaluate, pairs
from telemetry_mcp.analysis.event import increase, of_events
from telemetry_mcp.analysis.grid import Grid
from telemetry_mcp.analysis.slo import Assessment, assess, objective_ppm
from telemetry_mcp.analysis.tally import Tally, Total, total, trailing
from tests.real.program import binary

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
MONTH_MS = 30 * 24 * HOUR_MS

# ---- slo-generator


class Counts:
    """A backend of slo-generator that hands out the (good, bad) of the configuration."""

    def __init__(self, client: None = None) -> None: ...

    def given(self, timestamp: int, window: int, config: dict[str, Any]) -> tuple[int, int]:
        good, bad = config["spec"]["service_level_indicator"]["counts"]
        return good, bad


class Peer(NamedTuple):
    """What slo-generator reports, and what we make of the same events."""

    report: dict[str, Any]
    ours: Assessment
    pages: bool


Compute = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def compute() -> Compute:
    module = pytest.importorskip("slo_generator.compute", reason="slo-generator is not installed")
    found: Compute = module.compute
    return found


def both(
    compute: Compute,
    good: int,
    bad: int,
    goal: str = "99.9",
    *,
    window_ms: int = MONTH_MS,
    threshold: float = 14.4,
) -> Peer:
    backend = f"{__name__}.Counts"
    step = {
        "name": "only",
        "window": window_ms // 1000,
        "burn_rate_threshold": threshold,
        "message_alert": "",
        "message_ok": "",
    }
    spec = {
        "description": "",
        "backend": backend,
        "method": "given",
        "exporters": [],
        "goal": float(goal) / 100,
        "service_level_indicator": {"counts": (good, bad)},
    }
    shared = {"backends": {backend: {}}, "error_budget_policies": {"default": {"steps": [step]}}}
    config = {"apiVersion": "sre.google.com/v2", "kind": "ServiceLevelObjective", "metadata": {"name": "peer"}}
    (report,) = compute({**config, "spec": spec}, shared, timestamp=1_700_000_000)
    ppm = objective_ppm(goal)
    amounts = (
        np.array([[bad], [good + bad]], dtype=np.float64) if min(good, bad) >= 0 else np.full((2, 1), math.nan)
    )
    ours = assess(Tally(0, window_ms, *amounts), ppm)
    fired = evaluate(lambda _: ours.total, ppm, pairs(MONTH_MS)[:1])
    return Peer(report, ours, fired.state == "critical")


@pytest.mark.parametrize(
    ("good", "bad", "window_ms"),
    [
        pytest.param(999_500, 500, MONTH_MS, id="G1"),
        pytest.param(997_000, 3000, MONTH_MS, id="G2"),
        pytest.param(98_500, 1500, HOUR_MS, id="an-hour-15-times-too-fast"),
        pytest.param(0, 100_000, 24 * HOUR_MS, id="a-day-on-which-all-is-bad"),
    ],
)
def test_slo_generator_agrees_on_plain_counts(compute: Compute, good: int, bad: int, window_ms: int) -> None:
    report, ours, pages = both(compute, good, bad, window_ms=window_ms)
    spent = ours.budget
    assert report["sli_measurement"] == ours.total.ratio
    assert report["error_budget_burn_rate"] == spent.consumed
    assert report["error_budget_consumed_ratio"] == pytest.approx(100 * (spent.consumed or 0))
    assert report["error_budget_minutes"] == pytest.approx(spent.allowed_minutes)
    # Its "error minutes" and "minutes" are named the other way round: the latter is the budget.
    assert report["error_budget_remaining_minutes"] == pytest.approx(spent.remaining_minutes)
    assert report["alert"] is pages


def test_slo_generator_sees_no_burn_where_there_is_no_budget(compute: Compute) -> None:
    report, ours, pages = both(compute, 99, 1, "100")
    assert (report["error_budget_burn_rate"], report["alert"]) == (0, False)
    assert (ours.budget.consumed, ours.verdict, pages) == (math.inf, "BREACHED", True)


def test_slo_generator_rounds_a_small_burn_to_0(compute: Compute) -> None:
    report, ours, _ = both(compute, 99_999_999, 1, "99.999")
    assert (report["sli_measurement"], report["error_budget_burn_rate"]) == (1.0, 0)
    assert ours.budget.consumed == 0.001


def test_slo_generator_rounds_a_burn_down_to_the_threshold(compute: Compute) -> None:
    report, ours, pages = both(compute, 985_551, 14_449, window_ms=HOUR_MS)
    assert (report["error_budget_burn_rate"], report["alert"]) == (14.4, False)
    assert (ours.budget.consumed, pages) == (14.449, True)


def test_slo_generator_does_not_tell_no_traffic_from_no_data(compute: Compute) -> None:
    quiet, absent = both(compute, 0, 0), both(compute, -1, -1)
    assert (quiet.report["valid"], absent.report["valid"]) == (False, False)
    assert (quiet.ours.data, absent.ours.data) == ("no_traffic", "no_data")


def test_slo_generator_takes_a_half_that_is_missing_for_0(compute: Compute) -> None:
    assert both(compute, 100, -1).report["sli_measurement"] == 1.0
    at = np.array([0, MINUTE_MS])
    good, bad = (at, np.array([50.0, 50])), (at[:0], np.zeros(0))
    grid = Grid(0, 2 * MINUTE_MS, MINUTE_MS)
    assert total(of_events(grid, good=good, bad=bad)).data == "no_data"
    assert total(of_events(grid, good=good, bad=bad, absent="zero")).ratio == 1.0


# ---- Sloth

SLOTH_BUDGET = 0.0009999999999999432
"""What Sloth writes for 1 - 0.999."""
SLOTH_WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
QUIET, CALM, FAILING, BROKEN = (10, 0), (100, 0), (97, 3), (90, 10)


class Stretch(NamedTuple):
    """So many minutes with so many good and bad events in each."""

    minutes: int
    good: int
    bad: int


def rules() -> str:
    recordings = "\n".join(
        f"""\
  - record: slo:sli_error:ratio_rate{window}
    expr: sum(rate(requests_total{{code="500"}}[{window}])) / sum(rate(requests_total[{window}]))
    labels: {{sloth_id: peer, sloth_window: {window}}}"""
        for window in SLOTH_WINDOWS
    )
    return f"""\
groups:
- name: sloth
  rules:
{recordings}
  - record: slo:sli_error:ratio_rate30d
    expr: |
      sum_over_time(slo:sli_error:ratio_rate5m[30d])
      / ignoring (sloth_window) count_over_time(slo:sli_error:ratio_rate5m[30d])
    labels: {{sloth_window: 30d}}
  - alert: Page
    expr: {alert("5m", "1h", 14.4)} or ignoring (sloth_window) {alert("30m", "6h", 6)}
  - alert: Ticket
    expr: {alert("2h", "1d", 3)} or ignoring (sloth_window) {alert("6h", "3d", 1)}
"""


def alert(short: str, long: str, factor: float) -> str:
    low, high = (f"(slo:sli_error:ratio_rate{window} > ({factor} * {SLOTH_BUDGET}))" for window in (short, long))
    return f"({low} and ignoring (sloth_window) {high})"


def counter(rates: Sequence[tuple[int, int]]) -> str:
    """promtool's notation of a counter that starts at 0 and grows by a rate for so many minutes, and so on."""
    text, count = ["0"], 0
    for minutes, rate in rates:
        text.append(f"{count + rate}+{rate}x{minutes - 1}")
        count += minutes * rate
    return " ".join(text)


def tally_of(story: Sequence[Stretch]) -> Tally:
    """The same counters through our own reading."""
    minutes = np.repeat(np.arange(len(story)), [part.minutes for part in story])
    grown = [
        np.array(rates, dtype=np.float64)[minutes] for rates in zip(*((p.good, p.bad) for p in story), strict=True)
    ]
    good, bad = (np.concatenate(([0.0], np.cumsum(each))) for each in grown)
    at = np.arange(good.size) * MINUTE_MS
    grid = Grid(0, int(at[-1]), MINUTE_MS)
    return of_events(grid, bad=(at, bad), valid=(at, good + bad), kind="counter")


def promtool(
    folder: Path, story: Sequence[Stretch], expected: Sequence[tuple[str, int, float]], every: int = 1
) -> None:
    """Fails unless each (expression, minute, value) is what promtool finds with Sloth's rules, which it evaluates
    `every` so many minutes."""
    tests = "\n".join(
        f"""\
    - expr: {expr}
      eval_time: {minute}m
      exp_samples: [{{value: {value}}}]"""
        for expr, minute, value in expected
    )
    (folder / "rules.yml").write_text(rules(), encoding="utf-8")
    (folder / "test.yml").write_text(
        f"""\
rule_files: [rules.yml]
evaluation_interval: {every}m
tests:
- interval: 1m
  input_series:
  - series: requests_total{{code="200"}}
    values: {counter([(part.minutes, part.good) for part in story])}
  - series: requests_total{{code="500"}}
    values: {counter([(part.minutes, part.bad) for part in story])}
  promql_expr_test:
{tests}
""",
        encoding="utf-8",
    )
    command = [binary("promtool", "prometheus"), "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def near(metric: str, value: float, *, within: float = 0.001) -> str:
    """1 where the metric is within such a part of the value."""
    return f"count(abs({metric} - {value}) <= {abs(value) * within})"


def fires(name: str) -> str:
    return f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)'


def firing(found: Evaluation, severity: str) -> bool:
    return any(each.firing for each in found.pairs if each.pair.severity == severity)


def test_sloth_agrees_on_pages_and_tickets_at_every_instant(tmp_path: Path) -> None:
    before = 3 * 1440
    story = [Stretch(before, *CALM), Stretch(60, *BROKEN), Stretch(720, *QUIET)]
    tally, ppm = tally_of(story), objective_ppm("99.9")
    expected: list[tuple[str, int, float]] = []
    states = set()
    for minute in range(before - 60, before + 780, 10):
        found = evaluate(tally, ppm, pairs(MONTH_MS), end_ms=minute * MINUTE_MS)
        states.add(found.state)
        expected.append((fires("Page"), minute, int(firing(found, "page"))))
        expected.append((fires("Ticket"), minute, int(firing(found, "ticket"))))
    promtool(tmp_path, story, expected, every=10)
    assert states == {"healthy", "critical", "warning", "recovering"}


def test_sloth_agrees_on_the_error_ratio_of_every_window(tmp_path: Path) -> None:
    story = [Stretch(720, *CALM), Stretch(60, *FAILING)]
    tally = tally_of(story)
    lengths = {"5m": 5, "30m": 30, "1h": 60, "2h": 120, "6h": 360, "1d": 1440}
    ours = {name: trailing(tally, minutes * MINUTE_MS).error_ratio or 0.0 for name, minutes in lengths.items()}
    assert [ours[name] for name in ("5m", "1h", "6h")] == [0.03, 0.03, 0.005]
    assert ours["1d"] == pytest.approx(0.0023077, abs=5e-8)
    promtool(tmp_path, story, [(near(f"slo:sli_error:ratio_rate{name}", ours[name]), 780, 1) for name in lengths])


def test_sloth_takes_the_mean_of_ratios_for_the_period(tmp_path: Path) -> None:
    story = [Stretch(720, *CALM), Stretch(60, *FAILING), Stretch(720, *QUIET)]
    assert total(tally_of(story)).error_ratio == pytest.approx(0.0021127, abs=5e-8)
    promtool(tmp_path, story, [(near("slo:sli_error:ratio_rate30d", 0.0012299), 1500, 1)])


def test_sloth_loses_the_period_in_one_hour_without_traffic(tmp_path: Path) -> None:
    story = [Stretch(120, *CALM), Stretch(60, 0, 0), Stretch(60, *FAILING)]
    period = "slo:sli_error:ratio_rate30d"
    promtool(
        tmp_path, story, [(f"count({period} == {period}) or vector(0)", 240, 0), (f"count({period})", 240, 1)]
    )
    tally = tally_of(story)
    assert total(tally).error_ratio == 0.01
    assert trailing(tally, HOUR_MS, end_ms=180 * MINUTE_MS).data == "no_traffic"


def test_sloth_fires_exactly_at_the_threshold_by_the_last_bits_of_its_budget() -> None:
    assert 14.4 * SLOTH_BUDGET < 0.0144
    exact = evaluate(lambda _: Total(144, 10_000), objective_ppm("99.9"), pairs(MONTH_MS)[:1])
    assert exact.state == "healthy"


def test_sloth_judges_three_days_by_any_part_of_them_and_we_say_unknown(tmp_path: Path) -> None:
    story = [Stretch(300, *CALM), Stretch(60, *FAILING)]
    found = evaluate(tally_of(story), objective_ppm("99.9"), pairs(MONTH_MS)[2:])
    assert (found.state, found.pairs[1].long.unknown) == ("unknown", "low_coverage")
    promtool(tmp_path, story, [(fires("Ticket"), 360, 1)])


def test_prometheus_extrapolates_a_counter_to_the_window_and_we_do_not(tmp_path: Path) -> None:
    # The hour up to 119:30 has samples from 60:00 to 119:00: 59 minutes are known, Prometheus guesses the rest.
    story = [Stretch(70, *CALM), Stretch(50, 50, 0)]
    minute = np.arange(60, 120)
    grown, resets = increase(
        minute * MINUTE_MS, np.where(minute <= 70, 100.0 * minute, 7000.0 + 50 * (minute - 70))
    )
    assert (grown, resets) == (3450, 0)
    theirs = 'increase(requests_total{code="200"}[60m] offset 30s)'
    promtool(tmp_path, story, [(near(theirs, grown, within=0.02), 120, 1), (f"count({theirs} > {grown})", 120, 1)])
