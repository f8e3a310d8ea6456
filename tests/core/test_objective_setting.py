"""What an objective may say in plugins.toml, and what is refused in words that lead on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp.config import Config, read
from telemetry_mcp.registry import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOURCES = """
[sources.prometheus]
plugin = "prometheus"
url = "http://127.0.0.1:9090"
metrics.cpu = 'avg by (service) (cpu{service=~"$service"})'
metrics.availability = 'avg by (service) (up{service=~"$service"})'

[sources.datadog]
plugin = "datadog"
api_key = "k"
app_key = "a"
metrics.latency_p95 = "p95:trace.http.request{service:$service} by {service}"

[metrics.served]
unit = "count"
[metrics.failed]
unit = "count"
[metrics.total_hits]
kind = "counter"
"""


@pytest.fixture
def reading(tmp_path: Path) -> Callable[[str], Config]:
    """Reads a plugins.toml with two sources, and one [slos.x] with these lines."""

    def of(lines: str) -> Config:
        path = tmp_path / "plugins.toml"
        path.write_text(f"{SOURCES}\n[slos.x]\n{lines}\n")
        return read(path, {})

    return of


def problems(config: Config) -> dict[str, str]:
    return {problem.key: f"{problem.found}. {problem.valid}" for problem in config.problems}


GOOD = {
    "threshold": ('metric = "cpu"', "threshold"),
    "alias": ('metric = "cpu_percent"', "threshold"),
    "slices": ('metric = "cpu"\nslice = "5m"', "threshold"),
    "events": ('good = "served"\ntotal = "total_hits"\namounts = "count"', "events"),
    "bad and total": ('bad = "failed"\ntotal = "served"', "events"),
    "slices of events": ('bad = "failed"\ntotal = "served"\nslice = "5m"\nslice_objective = 99', "events"),
    "mean of slices": ('bad = "failed"\ntotal = "served"\nslice = "5m"\nslice_ratio = "mean"', "events"),
    "ratio": ('ratio = "availability"', "ratio"),
    "calendar": ('metric = "cpu"\ncalendar = "month"\ntime_zone = "Europe/Berlin"', "threshold"),
}


@pytest.mark.parametrize("name", GOOD)
def test_each_kind_of_objective_can_be_written(reading: Callable[[str], Config], name: str) -> None:
    lines, kind = GOOD[name]
    config = reading(f'service = "shop"\n{lines}')
    assert problems(config) == {}
    assert config.objectives["x"].kind == kind


BAD = {
    'metric = "cpu"\nratio = "availability"': "name one thing to measure",
    "": "name one thing to measure",
    'good = "served"': "exactly two of good, bad and total",
    'good = "served"\nbad = "failed"\ntotal = "served"': "exactly two of good, bad and total",
    'metric = "cpu"\ncalendar = "month"\nwindow = "7d"': "either window or calendar",
    'ratio = "availability"\nthreshold = 1': "threshold has no meaning for an objective on ratio",
    'metric = "cpu"\nmin_events = 3': "min_events has no meaning for an objective on threshold",
    'bad = "failed"\ntotal = "served"\nslice = "5m"': "slices of events need both slice and slice_objective",
    'metric = "cpu"\nslice = "90s"': "a slice is a whole number of minutes",
    'metric = "cpu"\ntime_zone = "Europe/Berlin"': "time_zone is for calendar windows",
    'metric = "cpu"\nwindow = "1h"\nslice = "2h"': "slice is longer than the window",
    'metric = "cpu"\ncalendar = "day"\nslice = "24h"': "slice is longer than the window",
    'bad = "failed"\ntotal = "served"\nslice = "5m"\nslice_ratio = "mean"\nslice_objective = 9': "slice_objec",
    'bad = "failed"\ntotal = "served"\nslice = "5m"\nslice_objective = 9\nmin_events = 3': "min_events has no",
    'good = "failed"\ntotal = "served"\nabsent = "zero"': "absent has no meaning",
    'all_of = ["x"]\nsources = "prometheus"': "sources has no meaning for an objective on composite",
    'worst_of = ["x"]\nmissing = "bad"': "missing has no meaning for an objective on composite",
    "weighted = { x = 0 }": "greater than 0",
    "added = { x = inf }": "finite number",
    "added = { x = 1 }\nobjective = 100": "burn rates need an error budget",
    'metric = "cpu"\nobjective = 99.99999': "at most four decimals",
    'metric = "cpu"\ncalendar = "day"\ntime_zone = "Mars/Olympus"': "It is no time zone, such as Europe/Berlin",
    'metric = "cpu"\ncalendar = "year"': "It must not be longer than the look-back (90 days)",
    'metric = "cpu"\nsources = "grafana"': "No source is called that",
    'good = "served"\ntotal = "total_hits"': "say what both are",
    'metric = "request_rate"': "request_rate has no warning limit to take instead",
    'metric = "sum(up)"': "for a native query name its source: sources = [...]",
    'metric = "sum(up)"\nsources = "prometheus"': "a native query has no warning limit to take instead",
    'all_of = ["nothing"]': "No objective is called that",
    'worst_of = ["x"]': "It is a composite itself",
}


@pytest.mark.parametrize("lines", BAD)
def test_what_cannot_be_meant_is_refused_with_what_can(reading: Callable[[str], Config], lines: str) -> None:
    found = problems(reading(f'service = "shop"\n{lines}'))
    assert len(found) == 1
    (said,) = found.values()
    assert BAD[lines] in said


def test_an_objective_without_a_service_says_so(reading: Callable[[str], Config]) -> None:
    assert "whose objective is it?" in str(problems(reading('metric = "cpu"')))


def test_a_native_query_becomes_a_hidden_metric_of_its_source(reading: Callable[[str], Config]) -> None:
    good, total = 'sum(increase(ok{a="b"}[$__interval]))', "sum(increase(all[$__interval]))"
    config = reading(f"service = 'shop'\ngood = '{good}'\ntotal = '{total}'\nsources = 'prometheus'")
    assert problems(config) == {}
    objective = config.objectives["x"]
    assert (objective.good, objective.total, objective.amounts) == ("slo:x:good", "slo:x:total", "count")
    registry = load(config)
    asked: Any = registry["prometheus"].source.settings.metrics
    assert asked["slo:x:good"].query == good
    assert {"cpu", "availability"} <= set(asked)
    assert not registry["datadog"].offers("slo:x:good")
    assert config.catalog["slo:x:good"].hidden


def test_queries_of_two_sources_are_put_to_both(reading: Callable[[str], Config]) -> None:
    config = reading(
        "service = 'a'\nbad = 'x'\ntotal = 'y'\nsources = ['prometheus', 'datadog']\namounts = 'rate'"
    )
    registry = load(config)
    assert [i.name for i in registry.instances if i.offers("slo:x:bad")] == ["prometheus", "datadog"]
    assert config.catalog["slo:x:bad"].unit == "per_s"


def test_what_samples_say_is_taken_from_the_metrics_where_they_agree(reading: Callable[[str], Config]) -> None:
    assert reading('service = "a"\nbad = "failed"\ntotal = "served"').objectives["x"].amounts == "count"
    rates = reading('service = "a"\nbad = "request_rate"\ntotal = "request_rate"').objectives["x"]
    assert rates.amounts == "rate"
    counters = reading('service = "a"\nbad = "total_hits"\ntotal = "total_hits"').objectives["x"]
    assert counters.amounts == "counter"


def test_a_budget_is_exact_to_the_ppm(reading: Callable[[str], Config]) -> None:
    assert reading('service = "a"\nmetric = "cpu"\nobjective = 99.95').objectives["x"].ppm == 500
    assert reading('service = "a"\nmetric = "cpu"\nobjective = 99.9999').objectives["x"].ppm == 1
    assert reading('service = "a"\nmetric = "cpu"\nobjective = 100').objectives["x"].ppm == 0
