"""Bad arguments: one clear sentence, and nobody is asked anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp.catalog import BUILT_IN
from telemetry_mcp.demo.fault import Fault
from telemetry_mcp.objective.setting import Objective

if TYPE_CHECKING:
    from telemetry_mcp.config import Config
    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Ask, OpenDesk

PAYMENT = "payment-processor"
HISTORY: dict[str, Any] = {"service": PAYMENT, "metric_type": "cpu"}
SLI: dict[str, Any] = {"service": PAYMENT, "metric": "cpu"}
METRICS = ", ".join(sorted(BUILT_IN))
SERVICES = (
    "api-gateway, auth-service, cache-redis, database-primary, database-replica, notification-service, "
    "payment-processor, user-service"
)
INVENTORIES = {
    *("/api/v1/label/service/values", "/api/v1/series", "/api/v2/catalog/entity", "/api/v2/apm/services"),
    *("/api/v2/services/definitions", "/api/v2/metrics/system.cpu.total/all-tags"),
    *("/graphql", "/services"),
}

# Tool, arguments, what the refusal says.
BAD: list[tuple[str, dict[str, Any], str]] = [
    # Windows
    (
        "query_historical_metrics",
        {**HISTORY, "start": "2026-02-16T12:00:00Z", "end": "2026-02-16T10:00:00Z"},
        "ends before it starts",
    ),
    ("query_historical_metrics", {**HISTORY, "start": "2026-02-17", "end": "2026-02-18"}, "lies in the future"),
    ("query_historical_metrics", {**HISTORY, "end": "2026-02-17"}, "end can be no later than now"),
    ("query_historical_metrics", {**HISTORY, "start": "1771250400000"}, "epoch seconds: 1771250400"),
    ("query_historical_metrics", {**HISTORY, "hours": 0}, "hours=0 must be a number greater than 0"),
    ("query_historical_metrics", {**HISTORY, "hours": -3}, "hours=-3 must be"),
    ("query_historical_metrics", {**HISTORY, "hours": 2200}, "look-back of 90 days (2160 hours)"),
    ("query_historical_metrics", {**HISTORY, "hours": 1e300}, "look-back of 90 days"),
    ("query_historical_metrics", {**HISTORY, "hours": 1e308}, "look-back of 90 days"),
    ("query_historical_metrics", {**HISTORY, "hours": 1e-9}, "the window is shorter than a second"),
    ("query_historical_metrics", {**HISTORY, "start": "now-500ms"}, "the window is shorter than a second"),
    ("query_historical_metrics", {**HISTORY, "start": "9" * 200}, "is not a time; write RFC 3339"),
    ("query_historical_metrics", {**HISTORY, "start": "9" * 400}, "at most 300 characters"),
    ("query_historical_metrics", {**HISTORY, "start": 10**400}, "at most 300 characters"),
    ("query_historical_metrics", {**HISTORY, "start": f"now-{'9' * 290}d"}, "look-back of 90 days"),
    ("query_historical_metrics", {**HISTORY, "compare_to": f"{'9' * 290}d"}, "look-back of 90 days"),
    ("query_historical_metrics", {**HISTORY, "start": "0001-01-01"}, "look-back of 90 days"),
    ("query_historical_metrics", {**HISTORY, "compare_to": "200d"}, "look-back of 90 days"),
    ("query_historical_metrics", {**HISTORY, "compare_to": "1s"}, "shorter than one step"),
    (
        "query_historical_metrics",
        {**HISTORY, "compare_to": "last week"},
        "compare_to='last week' is not a duration",
    ),
    (
        "query_historical_metrics",
        {**HISTORY, "start": "yesterday"},
        "start='yesterday' is not a time; write RFC 3339",
    ),
    ("query_historical_metrics", {**HISTORY, "start": "now-6x"}, "not a duration"),
    ("query_historical_metrics", {**HISTORY, "step": "0s"}, "step=0 must be"),
    ("query_historical_metrics", {**HISTORY, "step": "-1m"}, "step='-1m' is not a duration"),
    ("query_historical_metrics", {**HISTORY, "step": "400d"}, "step='400d' is longer than the window of 24 hours"),
    ("query_historical_metrics", {**HISTORY, "step": "9" * 20 + "d"}, "longer than the window"),
    ("query_historical_metrics", {**HISTORY, "step": "9" * 290 + "d"}, "longer than the window"),
    ("query_historical_metrics", {**HISTORY, "step": "1ms"}, "step='1ms' is too short; the least step is 1s"),
    ("query_historical_metrics", {**HISTORY, "step": "999ms"}, "the least step is 1s"),
    ("check_sli_compliance", {**SLI, "time_window_hours": 1e308}, "look-back of 90 days"),
    ("detect_anomalies", {"hours": 1e308}, "look-back of 90 days"),
    ("query_source", {"source": "prometheus", "query": "up", "step": "1ms"}, "the least step is 1s"),
    ("list_incidents", {"since": f"{'9' * 290}d"}, "look-back of 90 days"),
    ("check_sli_compliance", {**SLI, "time_window_hours": 0}, "time_window_hours=0 must be"),
    ("detect_anomalies", {"hours": -1}, "hours=-1 must be"),
    ("query_source", {"source": "prometheus", "query": "up", "hours": 0}, "hours=0 must be"),
    ("list_incidents", {"since": "tomorrow"}, "since='tomorrow' is not a time"),
    ("list_incidents", {"since": "7x"}, "since='7x' is not a duration"),
    ("list_incidents", {"since": "2027-01-01"}, "lies in the future"),
    ("list_incidents", {"since": "400d"}, "look-back"),
    # Numbers that are none: JSON has no NaN, but a text is taken for a number
    ("query_historical_metrics", {**HISTORY, "hours": "nan"}, "hours=nan must be"),
    ("query_historical_metrics", {**HISTORY, "hours": "inf"}, "hours=inf must be"),
    ("query_historical_metrics", {**HISTORY, "hours": "many"}, "'hours' is not valid"),
    ("query_historical_metrics", {**HISTORY, "hours": None}, "'hours' is not valid"),
    ("query_historical_metrics", {**HISTORY, "deadline_s": "nan"}, "deadline_s=nan must be"),
    ("query_historical_metrics", {**HISTORY, "deadline_s": 0}, "deadline_s=0 must be"),
    ("query_historical_metrics", {**HISTORY, "max_points": 5}, "greater than or equal to 10"),
    ("query_historical_metrics", {**HISTORY, "max_points": 5000}, "less than or equal to 2000"),
    ("check_sli_compliance", {**SLI, "threshold": "nan"}, "threshold=nan must be a finite number"),
    ("check_sli_compliance", {**SLI, "threshold": "-inf"}, "threshold=-inf must be a finite number"),
    ("check_sli_compliance", {**SLI, "time_window_hours": "nan"}, "time_window_hours=nan must be"),
    ("check_sli_compliance", {**SLI, "objective": "nan"}, "above 0 and at most at 100"),
    ("check_sli_compliance", {**SLI, "objective": 101}, "above 0 and at most at 100"),
    ("detect_anomalies", {"sensitivity": "nan"}, "sensitivity=nan must be"),
    ("detect_anomalies", {"sensitivity": "inf"}, "sensitivity=inf must be"),
    ("detect_anomalies", {"sensitivity": 0}, "sensitivity=0 must be"),
    ("detect_anomalies", {"min_relative": -0.1}, "min_relative=-0.1 must be 0 or a number greater than 0"),
    ("detect_anomalies", {"min_relative": "nan"}, "min_relative=nan must be 0 or a number greater than 0"),
    ("detect_anomalies", {"min_relative": "inf"}, "min_relative=inf must be"),
    ("detect_anomalies", {"direction": "sideways"}, "should be 'both', 'up' or 'down'"),
    ("detect_anomalies", {"period": "1w"}, "should be 'auto', 'none', '1d' or '7d'"),
    ("detect_anomalies", {"guard": "perhaps"}, "'guard' is not valid"),
    # Names
    ("query_historical_metrics", {**HISTORY, "hour": 3}, "no argument 'hour'; did you mean 'hours'? Valid: "),
    ("list_services", {"tema": "edge"}, "no argument 'tema'; did you mean 'team'?"),
    ("list_sources", {"verbose": True}, "takes no arguments"),
    (
        "query_historical_metrics",
        {"service": PAYMENT},
        "needs the argument 'metric_type'; needed: service, metric",
    ),
    ("get_current_metrics", {}, "needs the argument 'service'"),
    ("get_current_metrics", {"service": ""}, "'service' is not valid"),
    ("get_current_metrics", {"service": "x" * 301}, "at most 300 characters"),
    ("get_current_metrics", {"service": PAYMENT, "metrics": "cpu"}, "'metrics' is not valid"),
    (
        "get_current_metrics",
        {"service": PAYMENT, "metrics": ["memry"]},
        f"did you mean 'memory'? Valid: {METRICS}",
    ),
    ("query_historical_metrics", {**HISTORY, "metric_type": "cpuu"}, f"did you mean 'cpu'? Valid: {METRICS}"),
    ("check_sli_compliance", {**SLI, "metric": "avalability"}, f"did you mean 'availability'? Valid: {METRICS}"),
    ("check_sli_compliance", {"service": PAYMENT}, "name a service and a metric, or a configured slo"),
    (
        "check_sli_compliance",
        {**SLI, "metric": "latency_p99"},
        "latency_p99 has no threshold of its own; give one",
    ),
    ("check_sli_compliance", {**SLI, "comparison": "=="}, "should be '<=', '<', '>=' or '>'"),
    (
        "check_sli_compliance",
        {"slo": "checkout-latncy"},
        "did you mean 'checkout-latency'? Valid: checkout-latency",
    ),
    ("detect_anomalies", {"metric": "memori"}, f"did you mean 'memory'? Valid: {METRICS}"),
    (
        "list_incidents",
        {"status": "closed"},
        "should be 'open', 'triggered', 'acknowledged', 'resolved' or 'all'",
    ),
    (
        "query_source",
        {"source": "promethius", "query": "up"},
        "did you mean 'prometheus'? Valid: datadog, newrelic, pagerduty, prometheus",
    ),
    ("query_source", {"source": "datadog", "query": "up"}, "set allow_native = true under [sources.datadog]"),
    ("query_source", {"source": "prometheus", "query": "  "}, "query is empty; write PromQL"),
    ("query_source", {"source": "prometheus", "query": "u" * 8001}, "at most 8000 characters"),
    # What is long or odd is cut and cleaned before it is quoted
    ("get_current_metrics", {"service": PAYMENT, "metrics": ["cpu"] * 51}, "at most 50 items"),
    ("get_current_metrics", {"service": PAYMENT, "metrics": ["x" * 301]}, "'metrics' is not valid"),
    ("query_historical_metrics", {**HISTORY, "metric_type": "x" * 300}, f"no metric is called '{'x' * 79}…'"),
    ("query_historical_metrics", {**HISTORY, "metric_type": "c\u202epu\n"}, "no metric is called 'c pu'"),
    ("query_historical_metrics", {**HISTORY, "start": "x" * 300}, f"start='{'x' * 79}…' is not a time"),
    ("query_historical_metrics", {**HISTORY, "step": "x" * 300}, f"step='{'x' * 79}…' is not a duration"),
    ("query_historical_metrics", {**HISTORY, "x" * 9000: 1}, f"no argument '{'x' * 79}…'"),
    ("list_sources", {"x" * 9000: 1}, f"not even '{'x' * 79}…'"),
    ("check_sli_compliance", {"slo": "x" * 300}, f"no SLO is called '{'x' * 79}…'"),
    ("query_source", {"source": "x" * 300, "query": "up"}, f"no source is called '{'x' * 79}…'"),
    *[
        (tool, {**arguments, name: "x" * 301}, f"'{name}' is not valid: String should have at most 300 characters")
        for tool, arguments, names in (
            ("list_services", {}, ("query", "environment", "team")),
            ("query_historical_metrics", HISTORY, ("metric_type", "end", "step", "compare_to")),
            ("check_sli_compliance", {}, ("service", "metric", "slo")),
            ("detect_anomalies", {}, ("service", "metric")),
            ("list_incidents", {}, ("service", "since")),
            ("query_source", {"query": "up"}, ("source",)),
        )
        for name in names
    ],
]

# The services' own names have to be known first, so that the inventories, and they alone, may be asked.
UNKNOWN: list[tuple[str, dict[str, Any]]] = [
    ("get_current_metrics", {}),
    ("query_historical_metrics", {"metric_type": "cpu"}),
    ("check_sli_compliance", {"metric": "cpu"}),
    ("detect_anomalies", {}),
    ("list_incidents", {}),
]


@pytest.fixture
async def ask(open_desk: OpenDesk, config: Config) -> Ask:
    config.objectives = {"checkout-latency": Objective(service=PAYMENT, metric="latency_p95")}
    return (await open_desk(config)).ask


def asked(world: Emulators) -> list[str]:
    return [request.path for requests in world.requests.values() for request in requests]


def check_sentence(text: str) -> None:
    assert "\n" not in text
    assert len(text) < 400
    assert not re.search(r"https?://|pydantic|validation error|input_value|Error executing", text)


@pytest.mark.parametrize(("tool", "arguments", "says"), BAD)
async def test_a_bad_argument_is_refused_in_one_sentence_before_anybody_is_asked(
    ask: Ask, world: Emulators, tool: str, arguments: dict[str, Any], says: str
) -> None:
    answer = await ask(tool, **arguments)
    assert answer.is_error
    assert says in answer.text
    check_sentence(answer.text)
    assert asked(world) == []


@pytest.mark.parametrize(("tool", "arguments"), UNKNOWN)
async def test_an_unknown_service_is_answered_with_the_valid_ones_from_the_inventories_alone(
    ask: Ask, world: Emulators, tool: str, arguments: dict[str, Any]
) -> None:
    answer = await ask(tool, service="payment-procesor", **arguments)
    assert answer.is_error
    assert answer.text == (
        f"no service is called 'payment-procesor'; did you mean 'payment-processor'? Valid: {SERVICES}"
    )
    assert set(asked(world)) <= INVENTORIES
    assert len(asked(world)) <= len(INVENTORIES)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"environment": "prod"}, "no service has the environment 'prod'; did you mean 'production'? Valid: "),
        (
            {"team": "payment"},
            "did you mean 'payments'? Valid: data-platform, edge, identity, messaging, payments",
        ),
    ],
)
async def test_an_unknown_team_or_environment_is_answered_with_the_valid_ones(
    ask: Ask, arguments: dict[str, str], says: str
) -> None:
    answer = await ask("list_services", **arguments)
    assert answer.is_error
    assert says in answer.text
    check_sentence(answer.text)


@pytest.mark.parametrize("argument", ["environment", "team"])
async def test_a_team_or_environment_is_not_called_unknown_while_a_list_is_missing(
    ask: Ask, world: Emulators, argument: str
) -> None:
    world.faults["datadog"].set("/", Fault("status", code=503))
    answer = await ask("list_services", **{argument: "nobody"})
    assert not answer.is_error
    assert (answer["services"], answer.ledger["datadog"]["status"]) == ([], "failed")
    (warning,) = [said for said in answer["warnings"] if "nobody" in said]
    assert warning.startswith(
        f"the list of datadog could not be had; of the others, no service has the {argument}"
    )


async def test_the_status_of_a_service_is_that_of_all_its_metrics(ask: Ask) -> None:
    rows = (await ask("list_services"))["services"]
    told = {row["name"]: (await ask("get_current_metrics", service=row["name"]))["status"] for row in rows}
    assert {row["name"]: row["status"] for row in rows} == told
    assert told["notification-service"] == "CRITICAL"


@pytest.mark.parametrize("tool", ["get_current_metrics", "detect_anomalies"])
async def test_an_unknown_tool_argument_cannot_be_smuggled_past_the_check_by_nesting(ask: Ask, tool: str) -> None:
    answer = await ask(tool, service={"name": PAYMENT})
    assert answer.is_error
    check_sentence(answer.text)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-02-16T09:00:00Z", None),
        ("2026-02-16T09:00:00", "2026-02-16T15:00:00+00:00"),
        ("2026-02-16T10:00:00+01:00", "now"),
        ("1771232400", "1771254000"),
        ("now-6h", None),
        ("now - 6h", "now"),
        ("now-5h60m", None),
    ],
)
async def test_a_time_may_be_written_in_every_form_that_the_tools_name(
    ask: Ask, start: str, end: str | None
) -> None:
    answer = await ask("query_historical_metrics", **HISTORY, start=start, **({"end": end} if end else {}))
    assert answer["window"]["start"] == "2026-02-16T09:00:00Z"
    assert answer["window"]["end"] == "2026-02-16T15:00:00Z"


async def test_a_date_is_its_midnight_in_utc(ask: Ask) -> None:
    answer = await ask("query_historical_metrics", **HISTORY, start="2026-02-15", end="2026-02-16")
    assert (answer["window"]["start"], answer["window"]["end"]) == ("2026-02-15T00:00:00Z", "2026-02-16T00:00:00Z")


async def test_a_metric_may_go_by_its_key_or_its_alias(ask: Ask) -> None:
    by_key = await ask("query_historical_metrics", service=PAYMENT, metric_type="cpu_percent", hours=1)
    by_alias = await ask("query_historical_metrics", service=PAYMENT, metric_type="latency", hours=1)
    assert (by_key["metric"], by_alias["metric"]) == ("cpu", "latency_p95")


async def test_an_unknown_tool_is_named(ask: Ask, world: Emulators) -> None:
    answer = await ask("list_service")
    assert answer.is_error
    assert "list_service" in answer.text
    assert asked(world) == []
