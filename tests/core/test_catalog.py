"""What a normalized metric is, and what a name that nobody knows is answered with."""

import re

import pytest
from pydantic import ValidationError

from telemetry_mcp.catalog import BUILT_IN, Catalog, Metric, echo, suggest
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.unit import known

CATALOG = Catalog(BUILT_IN)


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("cpu", "cpu"),
        ("cpu_percent", "cpu"),
        ("errors", "error_rate"),
        ("latency", "latency_p95"),
        ("uptime", "availability"),
    ],
)
def test_a_metric_is_known_by_its_name_its_key_and_its_aliases(name: str, metric: str) -> None:
    assert CATALOG.resolve(name) == metric


def test_a_name_stands_before_another_metrics_alias() -> None:
    catalog = Catalog({"load": Metric(aliases=("cpu",)), "cpu": Metric()})
    assert catalog.resolve("cpu") == "cpu"


def test_an_unknown_metric_is_answered_with_the_nearest_and_the_valid_names() -> None:
    with pytest.raises(QuestionError, match=r"'memry'; did you mean 'memory'\? Valid: apdex, availability, cpu"):
        CATALOG.resolve("memry")


def test_a_key_is_the_name_unless_it_is_given() -> None:
    assert (CATALOG.key("cpu"), CATALOG.key("error_rate")) == ("cpu_percent", "error_rate")


@pytest.mark.parametrize("limit", ["warning", "critical"])
def test_a_limit_is_a_number(limit: str) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        Metric.model_validate({limit: "nan"})


def test_a_name_is_quoted_in_one_line_and_cut() -> None:
    assert echo("a\u202e\nb") == "'a b'"
    assert echo("x" * 10_000) == repr("x" * 79 + "…")


def test_a_suggestion_stays_short_and_clean_whatever_the_names_are() -> None:
    text = suggest("x" * 1_000_000, ["x" * 1_000_000, "a\nb", *(f"{n:04}" + "y" * 500 for n in range(60))])
    assert len(text) < 1700
    assert "\n" not in text
    assert text.startswith(f"; did you mean '{'x' * 79}…'? Valid: 0000y")
    assert re.search(r" and \d+ more$", text)


@pytest.mark.parametrize(
    ("metric", "value", "status"),
    [
        ("cpu", 74.9, "OK"),
        ("cpu", 75, "WARNING"),
        ("cpu", 90, "CRITICAL"),
        ("availability", 99.95, "OK"),
        ("availability", 99.9, "WARNING"),
        ("availability", 99, "CRITICAL"),
        ("availability", 0, "CRITICAL"),
        ("request_rate", 1e9, "OK"),
    ],
)
def test_a_value_is_judged_on_the_side_where_it_is_bad(metric: str, value: float, status: str) -> None:
    assert CATALOG[metric].status(value) == status


def test_good_is_below_the_limit_or_above_it() -> None:
    assert (CATALOG["cpu"].comparison, CATALOG["availability"].comparison) == ("<=", ">=")


def test_every_built_in_unit_is_known_and_percentiles_are_never_averaged() -> None:
    assert all(known(metric.unit) for metric in CATALOG.values())
    assert {metric.aggregate for name, metric in CATALOG.items() if name.startswith("latency_p")} == {"max"}


def test_a_unit_is_kept_in_its_short_spelling_and_an_unknown_one_refused() -> None:
    assert Metric(unit="seconds").unit == "s"
    with pytest.raises(ValidationError, match="not a unit that is known"):
        Metric(unit="parsecs")


def test_a_long_list_of_names_is_cut_and_counted() -> None:
    assert (
        suggest("x", (f"service-{n:02}" for n in range(50)), limit=2)
        == "; Valid: service-00, service-01 and 48 more"
    )
    assert suggest("x", []) == "; none is known"


def test_a_percentile_is_shown_by_its_largest_and_never_averaged() -> None:
    assert Metric(kind="percentile").aggregate == "max"
    with pytest.raises(ValidationError, match="percentiles are never averaged"):
        Metric(kind="percentile", aggregate="mean")


def test_a_counter_is_shown_as_a_rate_and_so_is_its_unit() -> None:
    assert Metric(kind="counter", unit="per_min").unit == "per_min"
    assert Metric(kind="counter").unit == ""
    with pytest.raises(ValidationError, match="a counter is shown as its rate"):
        Metric(kind="counter", unit="count")


def test_every_built_in_metric_has_its_kind() -> None:
    kinds = {name: metric.kind for name, metric in CATALOG.items() if metric.kind != "gauge"}
    assert kinds == {
        **dict.fromkeys(("error_rate", "availability", "apdex"), "ratio"),
        **dict.fromkeys(("latency_p50", "latency_p95", "latency_p99"), "percentile"),
    }
    assert (CATALOG["disk"].kind, CATALOG["disk"].aggregate) == ("gauge", "max")
