"""OpenSLO v1 and slo-generator v2 files: every form of an indicator becomes an objective, or a problem that says
what is wrong in which document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.config import Config, read
from telemetry_mcp.objective import promql

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOURCES = """
[sources.prom]
plugin = "prometheus"
url = "http://127.0.0.1:9090"
metrics.cpu = 'avg by (service) (cpu{service=~"$service"})'
[sources.dog]
plugin = "datadog"
api_key = "k"
app_key = "a"
metrics.cpu = "avg:system.cpu.user{service:$service} by {service}"
"""


@pytest.fixture
def reading(tmp_path: Path) -> Callable[..., Config]:
    """Reads a plugins.toml beside these SLO files."""

    def of(*documents: str, own: str = "", **environ: str) -> Config:
        for place, text in enumerate(documents):
            (tmp_path / f"{place}.yaml").write_text(text)
        path = tmp_path / "plugins.toml"
        path.write_text(f'{SOURCES}\n[slo_files.all]\npath = "*.yaml"\n{own}')
        return read(path, environ)

    return of


def slo(indicator: str, objectives: str, method: str = "Occurrences", window: str = "") -> str:
    window = window or "[{duration: 28d, isRolling: true}]"
    return f"""
apiVersion: openslo/v1
kind: SLO
metadata: {{name: shop}}
spec:
  service: web-shop
  {indicator}
  timeWindow: {window}
  budgetingMethod: {method}
  objectives: {objectives}
"""


def metric(kind: str, query: str) -> str:
    return f"{{metricSource: {{type: {kind}, spec: {{query: '{query}'}}}}}}"


def ratio(good: str, total: str, kind: str = "Prometheus", counter: str = "false") -> str:
    parts = f"counter: {counter}, good: {metric(kind, good)}, total: {metric(kind, total)}"
    return f"indicator: {{metadata: {{name: i}}, spec: {{ratioMetric: {{{parts}}}}}}}"


def queries(config: Config, source: str) -> dict[str, str]:
    return {name: str(q) for table in config.sources if table.name == source for name, q in table.queries.items()}


def told(config: Config) -> list[str]:
    return [str(problem) for problem in config.problems]


# ---- OpenSLO


def test_a_ratio_of_counts_is_an_objective_on_events(reading: Callable[..., Config]) -> None:
    config = reading(slo(ratio("ok", "all"), "[{target: 0.9995}]"))
    assert told(config) == []
    objective = config.objectives["shop"]
    assert (objective.kind, objective.service, objective.ppm) == ("events", "web-shop", 500)
    assert (objective.window, objective.sources, objective.amounts) == (28 * 86_400, ("prom",), "count")
    assert queries(config, "prom") == {"slo:shop:good": "ok", "slo:shop:total": "all"}


def test_counters_of_prometheus_are_asked_for_their_rate(reading: Callable[..., Config]) -> None:
    config = reading(slo(ratio('sum(ok{a="x"})', "all", counter="true"), "[{targetPercent: 99.9}]"))
    assert queries(config, "prom") == {
        "slo:shop:good": 'sum(rate(ok{a="x"}[$__rate_interval]))',
        "slo:shop:total": "sum(rate(all[$__rate_interval]))",
    }
    assert config.objectives["shop"].amounts == "rate"


def test_a_counter_that_is_no_plain_sum_stays_one(reading: Callable[..., Config]) -> None:
    config = reading(slo(ratio("sum(a) + sum(b)", "sum(c)", counter="true"), "[{target: 0.99}]"))
    assert config.objectives["shop"].amounts == "counter"
    assert config.catalog["slo:shop:good"].kind == "counter"
    assert queries(config, "prom")["slo:shop:total"] == "sum(c)"


def test_datadogs_counts_are_asked_of_datadog(reading: Callable[..., Config]) -> None:
    config = reading(slo(ratio("sum:ok{*}.as_count()", "sum:all{*}.as_count()", "Datadog"), "[{target: 0.99}]"))
    assert config.objectives["shop"].sources == ("dog",)


def test_a_threshold_is_one_on_time_and_by_slices(reading: Callable[..., Config]) -> None:
    indicator = f"indicator: {{spec: {{thresholdMetric: {metric('Prometheus', 'latency')}}}}}"
    config = reading(slo(indicator, "[{op: lt, value: 0.5, target: 0.99}]"))
    plain = config.objectives["shop"]
    assert (plain.kind, plain.threshold, plain.comparison, plain.slice) == ("threshold", 0.5, "<", None)
    goal = "[{op: lte, value: 0.5, target: 0.99, timeSliceWindow: 5m}]"
    assert reading(slo(indicator, goal, "Timeslices")).objectives["shop"].slice == 300


def test_slices_of_events_count_slices_or_their_ratios(reading: Callable[..., Config]) -> None:
    events = ratio("a", "b")
    kept = reading(slo(events, "[{target: 0.99, timeSliceTarget: 0.95, timeSliceWindow: 1}]", "Timeslices"))
    assert (kept.objectives["shop"].slice, kept.objectives["shop"].slice_objective) == (60, 95)
    mean = reading(slo(events, "[{target: 0.99, timeSliceWindow: 1m}]", "RatioTimeslices")).objectives["shop"]
    assert (mean.slice_ratio, mean.slice) == ("mean", 60)


def test_a_raw_ratio_may_be_of_failures(reading: Callable[..., Config]) -> None:
    raw = f"raw: {metric('Prometheus', 'errors_ratio')}, rawType: failure"
    config = reading(slo(f"indicator: {{spec: {{ratioMetric: {{{raw}}}}}}}", "[{target: 0.99}]"))
    assert told(config) == []
    assert (config.objectives["shop"].kind, config.objectives["shop"].ratio_of) == ("ratio", "bad")


def test_a_calendar_window_has_its_time_zone(reading: Callable[..., Config]) -> None:
    calendar = "[{duration: 1M, calendar: {startTime: 2022-01-01 12:00:00, timeZone: America/New_York}}]"
    objective = reading(slo(ratio("a", "b"), "[{target: 0.99}]", window=calendar)).objectives["shop"]
    assert (objective.calendar, objective.time_zone) == ("month", "America/New_York")


def test_several_targets_are_several_objectives(reading: Callable[..., Config]) -> None:
    config = reading(slo(ratio("a", "b"), "[{target: 0.995}, {target: 0.99}]"))
    assert {name: each.ppm for name, each in config.objectives.items()} == {"shop-1": 5000, "shop-2": 10_000}


def test_an_indicator_and_a_data_source_may_stand_in_another_file(reading: Callable[..., Config]) -> None:
    sli = """
apiVersion: openslo/v1
kind: SLI
metadata: {name: shared}
spec:
  thresholdMetric: {metricSource: {metricSourceRef: main, spec: {query: latency}}}
---
apiVersion: openslo/v1
kind: DataSource
metadata: {name: main}
spec: {type: Prometheus, connectionDetails: {}}
"""
    config = reading(sli, slo("indicatorRef: shared", "[{op: gte, value: 3, target: 0.9}]"))
    assert told(config) == []
    assert config.objectives["shop"].sources == ("prom",)


@pytest.mark.parametrize(("method", "kind"), [("Timeslices", "all_of"), ("Occurrences", "added")])
def test_a_composite_is_made_of_its_objectives(reading: Callable[..., Config], method: str, kind: str) -> None:
    sliced = "timeSliceTarget: 0.9, timeSliceWindow: 5m, " if method == "Timeslices" else ""
    one = f"{{target: 0.99, {sliced}{ratio('a', 'b')}, compositeWeight: 2}}"
    other = f"{{target: 0.999, {sliced}{ratio('c', 'd')}}}"
    config = reading(slo("description: both", f"[{one}, {other}]", method))
    assert told(config) == []
    whole = config.objectives["shop"]
    assert tuple(getattr(whole, kind)) == whole.members == ("shop-1", "shop-2")
    assert whole.ppm == 1000
    assert whole.weights == ((1.0, 1.0) if kind == "all_of" else (2.0, 1.0))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (slo(ratio("a", "b"), "[{target: 0.99}]", "Sometimes"), "shop: spec.budgetingMethod: found 'Sometimes'"),
        (slo("indicatorRef: none", "[{target: 0.9}]"), "It must name an SLI of the files (there are: none)"),
        (slo(ratio("a", "b"), "[{target: high}]"), "spec.objectives[0].target: found 'high'. It must be a number"),
        (
            slo(
                f"indicator: {{spec: {{ratioMetric: {{raw: {metric('Prometheus', 'r')}, rawType: success}}}}}}",
                "[{target: 0.9, timeSliceTarget: 0.9, timeSliceWindow: 5m}]",
                "Timeslices",
            ),
            "shop: spec.budgetingMethod: found 'Timeslices'. Of a raw ratio it must be Occurrences",
        ),
        (slo(ratio("a", "b"), "[]"), "An SLO needs at least one objective"),
        (slo(ratio("a", "b", "Splunk"), "[{target: 0.9}]"), "its queries are for splunk. Name the source under"),
        (slo(ratio("a", "b"), "[{target: 0.9}]", window="[{duration: soon}]"), "It must be a duration such as 5m"),
        (
            slo(ratio("a", "b"), "[{target: 0.9}]", window="[{duration: 2M, calendar: {timeZone: UTC}}]"),
            "1M, 1Q or 1Y",
        ),
        (
            "apiVersion: openslo/v3\nkind: SLO",
            "apiVersion: found 'openslo/v3'. Valid: openslo/v1, sre.google.com/v2",
        ),
        (slo("indicatorRef: [a]", "[{target: 0.9}]"), "spec.indicatorRef: found \"['a']\". It must be a text"),
        (
            slo(ratio("a", "b").replace("type: Prometheus", "metricSourceRef: {a: b}"), "[{target: 0.9}]"),
            "be a text",
        ),
        ("apiVersion: openslo/v1\nkind: SLI\nmetadata: {}", "metadata.name: is missing"),
        ("apiVersion: openslo/v1\nkind: DataSource\nmetadata: {name: d}", "d: spec.type: is missing"),
        ("a: [", "is not valid YAML"),
        ("a: 2024-13-45", "is not valid YAML: month must be in 1..12"),
        ("&a [*a]", "is nested too deeply"),
        ("apiVersion: openslo/v1\nkind: SLO\nmetadata: {}", "metadata.name: is missing"),
    ],
)
def test_what_is_wrong_with_a_document_is_said(reading: Callable[..., Config], text: str, says: str) -> None:
    (problem,) = told(reading(text))
    assert says in problem
    assert "0.yaml" in problem


def test_one_bad_document_spoils_no_other(reading: Callable[..., Config]) -> None:
    bad = slo(ratio("a", "b"), "[{target: high}]").replace("shop}", "bad}")
    config = reading(bad, slo(ratio("a", "b"), "[{target: 0.99}]"))
    assert list(config.objectives) == ["shop"]
    assert len(config.problems) == 1


def test_the_same_name_twice_is_reported(reading: Callable[..., Config]) -> None:
    text = slo(ratio("a", "b"), "[{target: 0.99}]")
    assert "there is an objective 'shop' already" in told(reading(text, text))[0]


def test_a_secret_that_is_in_the_wrong_place_is_not_quoted(reading: Callable[..., Config]) -> None:
    text = slo(ratio("a", "b"), "[{target: '${TOKEN}'}]")
    (problem,) = told(reading(text, TOKEN="hunter2-secret"))
    assert "found '${TOKEN}'" in problem
    assert "hunter2" not in problem


def test_burn_rates_add_up_over_the_strictest_objective_that_leaves_a_budget(
    reading: Callable[..., Config],
) -> None:
    one, other = f"{{target: 1, {ratio('a', 'b')}}}", f"{{target: 0.999, {ratio('c', 'd')}}}"
    config = reading(slo("description: both", f"[{one}, {other}]"))
    assert told(config) == []
    assert {name: each.ppm for name, each in config.objectives.items()} == {
        "shop-1": 0,
        "shop-2": 1000,
        "shop": 1000,
    }


@pytest.mark.parametrize("pattern", ["*.yaml", "**/*.yaml", "{folder}/*.yaml", "{folder}/0.yaml"])
def test_a_pattern_may_be_absolute_too(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "0.yaml").write_text(slo(ratio("a", "b"), "[{target: 0.99}]"))
    path = tmp_path / "plugins.toml"
    path.write_text(f'{SOURCES}\n[slo_files.all]\npath = "{pattern.format(folder=tmp_path)}"\n')
    assert list(read(path, {}).objectives) == ["shop"]


@pytest.mark.parametrize("pattern", ["", ".", "**x/*.yaml"])
def test_what_is_no_pattern_is_a_problem(tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text(f'[slo_files.all]\npath = "{pattern}"\n')
    assert len(told(read(path, {}))) == 1


def test_no_file_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text('[slo_files.all]\npath = "slos/*.yaml"\n')
    assert "no such file. The path starts at plugins.toml" in told(read(path, {}))[0]


# ---- slo-generator


def generated(backend: str, method: str, indicator: str) -> str:
    return f"""
apiVersion: sre.google.com/v2
kind: ServiceLevelObjective
metadata:
  name: shop
  labels: {{service_name: web, feature_name: all, slo_name: shop}}
spec:
  description: what it is for
  backend: {backend}
  method: {method}
  exporters: []
  service_level_indicator: {indicator}
  goal: 0.999
"""


@pytest.mark.parametrize(
    ("backend", "method", "indicator", "asked"),
    [
        (
            *("prometheus", "good_bad_ratio"),
            '{filter_good: \'hits{code="200"}[window]\', filter_valid: "hits"}',
            {
                "good": 'sum(rate(hits{code="200"}[$__rate_interval]))',
                "total": "sum(rate(hits[$__rate_interval]))",
            },
        ),
        (
            *("prometheus/eu", "good_bad_ratio", "{filter_good: a, filter_bad: b, operators: [rate, sum]}"),
            {"good": "sum(rate(a[$__rate_interval]))", "bad": "sum(rate(b[$__rate_interval]))"},
        ),
        (
            *("prometheus", "distribution_cut", "{expression: 'd_bucket{x=\"y\"}', threshold_bucket: 0.25}"),
            {
                "good": 'sum(rate(d_bucket{x="y", le="0.25"}[$__rate_interval]))',
                "total": 'sum(rate(d_count{x="y"}[$__rate_interval]))',
            },
        ),
        (
            *("prometheus", "query_sli", "{expression: 'sum(rate(a[window])) / sum(rate(b[window]))'}"),
            {"ratio": "sum(rate(a[$__rate_interval])) / sum(rate(b[$__rate_interval]))"},
        ),
        (
            *("datadog", "good_bad_ratio", "{query_good: 'ok{a:b}', query_valid: 'all{a:b}'}"),
            {"good": "sum:ok{a:b}.as_count()", "total": "sum:all{a:b}.as_count()"},
        ),
        ("datadog", "query_sli", "{query: 'sum:ok{*} / sum:all{*}'}", {"ratio": "sum:ok{*} / sum:all{*}"}),
    ],
)
def test_a_method_of_slo_generator_becomes_queries(
    reading: Callable[..., Config], backend: str, method: str, indicator: str, asked: dict[str, str]
) -> None:
    config = reading(generated(backend, method, indicator))
    assert told(config) == []
    objective = config.objectives["shop"]
    assert (objective.service, objective.ppm, objective.window) == ("web", 1000, 28 * 86_400)
    (source,) = objective.sources
    assert source == ("dog" if backend == "datadog" else "prom")
    assert queries(config, source) == {f"slo:shop:{key}": query for key, query in asked.items()}


def test_what_a_file_does_not_say_stands_in_plugins_toml(reading: Callable[..., Config]) -> None:
    own = 'window = "7d"\nservice = "shop"\nsource = "prom"\n'
    config = reading(generated("prometheus/unknown", "query_sli", "{expression: a}"), own=own)
    assert (config.objectives["shop"].window, config.objectives["shop"].service) == (7 * 86_400, "shop")


def test_variables_are_filled_in_and_a_missing_one_is_named(reading: Callable[..., Config]) -> None:
    text = generated("prometheus", "query_sli", "{expression: '${METRIC}'}")
    assert queries(reading(text, METRIC="up"), "prom") == {"slo:shop:ratio": "up"}
    assert "METRIC is not set" in told(reading(text))[0]


@pytest.mark.parametrize(
    ("backend", "method", "says"),
    [
        ("splunk", "query_sli", "Read are those of prometheus, datadog"),
        ("datadog", "query_slo", "Valid: good_bad_ratio, query_sli"),
    ],
)
def test_what_slo_generator_knows_and_we_do_not_is_said(
    reading: Callable[..., Config], backend: str, method: str, says: str
) -> None:
    assert says in told(reading(generated(backend, method, "{}")))[0]


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("sum(up)", ("sum(rate(up[$__rate_interval]))", "rate")),
        ('up{a="}"}', ('sum(rate(up{a="}"}[$__rate_interval]))', "rate")),
        ("sum(up", ("sum(up", "counter")),
        ("sum by (a) (up)", ("sum by (a) (up)", "counter")),
        ("rate(up[5m])", ("rate(up[5m])", "counter")),
    ],
)
def test_only_a_plain_sum_of_counters_is_rewritten(query: str, asked: tuple[str, str]) -> None:
    assert promql.counter(query) == asked


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("increase(ok[5m])", ("rate(ok[5m])", "rate")),
        ('sum(increase(ok{a="b"}[5m]))', ('sum(rate(ok{a="b"}[5m]))', "rate")),
        ("sum by (job) (rate(ok[1m]))", ("sum by (job) (rate(ok[1m]))", "rate")),
        ("irate(ok[1m])", ("irate(ok[1m])", "rate")),
        ("sum(rate(ok[5m])) * 300", ("sum(rate(ok[5m])) * 300", "count")),
        ("sum_over_time(ok[5m])", ("sum_over_time(ok[5m])", "count")),
        ("ok", ("ok", "count")),
    ],
)
def test_increases_over_a_range_are_asked_as_rates(query: str, asked: tuple[str, str]) -> None:
    assert promql.change(query) == asked


def test_an_event_is_counted_once_however_often_it_is_asked_for(reading: Callable[..., Config]) -> None:
    config = reading(slo(ratio("sum(increase(ok[5m]))", "sum(increase(all[5m]))"), "[{target: 0.9}]"))
    assert config.objectives["shop"].amounts == "rate"
    assert queries(config, "prom")["slo:shop:total"] == "sum(rate(all[5m]))"
