"""The server's own metrics: read at the moment of the scrape, and with labels that nobody can make up."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import pytest
from mcp import Client, MCPError

from telemetry_mcp.access.caller import Caller
from telemetry_mcp.access.visit import VISIT, Visit
from telemetry_mcp.server.metric import Metrics
from telemetry_mcp.terminal.target import server_over
from tests.real.program import binary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mcp.server.context import HandlerResult, ServerRequestContext

    from telemetry_mcp.config import Config
    from telemetry_mcp.demo.emulator import Emulators
    from tests.conftest import StartPrometheus
    from tests.server.conftest import Serve


DOCS = Path(__file__).parents[2] / "docs"


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"telemetry_mcp_{name}", labels)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def client(config: Config, metrics: Metrics) -> Any:
    async with Client(server_over(config, metrics)) as client:
        yield client


# ---- what is counted


async def test_what_the_cache_had_is_counted_by_source(client: Client, metrics: Metrics) -> None:
    for fresh in (False, False, True):
        await client.call_tool("list_incidents", {"fresh": fresh})
    found = [
        value(metrics, "cache_lookups_total", source="pagerduty", result=r) for r in ("miss", "hit", "bypassed")
    ]
    assert found == [1, 1, 1]


async def test_a_request_that_several_calls_share_is_counted_for_each(client: Client, metrics: Metrics) -> None:
    async with anyio.create_task_group() as calls:
        for _ in range(3):
            calls.start_soon(client.call_tool, "list_incidents", {"fresh": True})
    lookups = [value(metrics, "cache_lookups_total", source="pagerduty", result=r) for r in ("bypassed", "shared")]
    assert lookups == [1, 2]
    made = [
        value(metrics, "source_requests_total", source="pagerduty", status=s, kind="") for s in ("ok", "no_data")
    ]
    assert sum(count or 0 for count in made) == 1


async def test_only_names_that_are_ours_become_labels(client: Client, metrics: Metrics) -> None:
    series = []
    for nth in range(20):
        await client.call_tool(f"made_up_{nth}", {})
        with pytest.raises(MCPError):
            await client.get_prompt(f"made_up_{nth}", {})
        await client.call_tool("get_current_metrics", {"service": f"made_up_{nth}"})
        told = metrics.exposition().decode()
        assert "made_up" not in told
        series.append(len(told.splitlines()))
    assert len(set(series[3:])) == 1
    assert value(metrics, "requests_total", method="prompts/get", outcome="error") == 20


async def test_a_call_that_its_caller_gives_up_is_no_error(
    client: Client, metrics: Metrics, world: Emulators
) -> None:
    from telemetry_mcp.demo.fault import Fault

    world.faults["pagerduty"].set("/", Fault("hang"))
    with pytest.raises(MCPError):
        await client.call_tool("list_incidents", {}, read_timeout_seconds=0.3)
    with anyio.fail_after(5):
        while not value(metrics, "tool_calls_total", tool="list_incidents", outcome="cancelled"):
            await anyio.wait_all_tasks_blocked()
    assert value(metrics, "tool_calls_running", tool="list_incidents") == 0


@pytest.mark.parametrize("refusal", ["denied", "limited"])
async def test_what_the_server_turned_away_is_counted_by_reason_and_kind_of_caller(
    metrics: Metrics, config: Config, refusal: str
) -> None:
    class Context:
        method, params = "tools/call", {"name": "list_sources"}

    async def refuse(ctx: ServerRequestContext[Any, Any]) -> HandlerResult:
        VISIT.get().refusal = refusal
        return {"isError": True}

    count = metrics.watch(server_over(config))
    token = VISIT.set(Visit(Caller("alice", "user")))
    await count(Context(), refuse)
    VISIT.reset(token)
    assert value(metrics, "refusals_total", reason=refusal, caller="user") == 1


# ---- how things stand


async def test_the_state_of_each_source_is_read_at_the_scrape(
    client: Client, metrics: Metrics, world: Emulators
) -> None:
    from telemetry_mcp.demo.fault import Fault

    def state(of: str) -> list[float | None]:
        return [
            value(metrics, "source_breaker_state", source=of, state=state)
            for state in ("closed", "open", "half_open")
        ]

    assert state("newrelic") == [1, 0, 0]
    world.faults["newrelic"].set("/", Fault("status", code=503))
    for _ in range(5):
        await client.call_tool("list_incidents", {"fresh": True})
    assert state("newrelic") == [0, 1, 0]
    assert value(metrics, "source_ready", source="newrelic") == 0
    assert value(metrics, "source_ready", source="prometheus") == 1
    assert value(metrics, "source_failures_in_a_row", source="newrelic") == 5
    assert value(metrics, "source_requests_total", source="newrelic", status="failed", kind="upstream") == 5
    assert value(metrics, "source_concurrency", source="newrelic") == 0
    assert (value(metrics, "source_concurrency_limit", source="newrelic") or 0) > 0
    assert (value(metrics, "cache_bytes") or 0) > 0


async def test_the_back_off_and_the_quota_of_a_source_are_shown(
    client: Client, metrics: Metrics, world: Emulators
) -> None:
    from telemetry_mcp.demo.fault import Fault

    world.faults["newrelic"].set("/", Fault("rate_limit", headers={"Retry-After": "30"}))
    await client.call_tool("list_incidents", {"fresh": True})
    pause = value(metrics, "source_backoff_seconds", source="newrelic")
    assert pause is not None
    assert 25 < pause < 40
    left = value(metrics, "source_quota_remaining", source="datadog")
    limit = value(metrics, "source_quota_limit", source="datadog")
    assert left is not None
    assert limit is not None
    assert 0 < left < limit


async def test_the_metrics_outlive_the_engine(config: Config, metrics: Metrics) -> None:
    async with Client(server_over(config, metrics)) as client:
        await client.call_tool("list_sources", {})
    assert value(metrics, "source_ready", source="datadog") is None
    assert value(metrics, "tool_calls_total", tool="list_sources", outcome="ok") == 1


@dataclass
class Sink:
    waiting: int = 7
    waiting_bytes: int = 700
    delivered: int = 93
    dropped: int = 2
    failures: int = 1


@dataclass
class Audit:
    fault: str | None = "the disk is full"
    recorded: int = 100
    pending: int = 3
    lost: int = 1
    spool_bytes: int = 900
    sinks: Mapping[str, Sink] = field(default_factory=lambda: {"splunk": Sink()})


async def test_the_audit_is_shown_by_sink(config: Config) -> None:
    metrics = Metrics(audit=lambda engine: Audit())
    async with Client(server_over(config, metrics)):
        assert value(metrics, "audit_waiting_records", sink="splunk") == 7
        assert value(metrics, "audit_dropped_total", sink="splunk") == 2
        assert value(metrics, "audit_lost_total") == 1
        assert value(metrics, "audit_fault") == 1


# ---- a real Prometheus


def documented() -> str:
    """The page of the documentation that tells of the metrics."""
    pages = [path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")]
    (page,) = [page for page in pages if "## Watching it" in page]
    return page


async def test_every_metric_is_documented_and_every_documented_one_is_there(config: Config) -> None:
    metrics = Metrics(audit=lambda engine: Audit())
    async with Client(server_over(config, metrics)):
        there = {family.name for family in metrics.registry.collect() if family.name.startswith("telemetry_mcp_")}
    rows = [line for line in documented().splitlines() if line.startswith("| `telemetry_mcp_")]
    told = {name.removesuffix("_total") for row in rows for name in re.findall(r"`(telemetry_mcp_\w+)`", row)}
    assert told == there


@pytest.mark.real
def test_the_alerts_of_the_documentation_are_rules_of_metrics_that_exist(tmp_path: Path) -> None:
    (rules,) = [block for block in re.findall(r"```yaml\n(.*?)```", documented(), re.DOTALL) if "groups:" in block]
    (tmp_path / "rules.yml").write_text(rules)
    command = [binary("promtool", "prometheus"), "check", "rules", str(tmp_path / "rules.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 rules found" in done.stdout
    known = documented().replace(rules, "")
    for name in re.findall(r"telemetry_mcp_\w+", rules):
        assert f"`{name.removesuffix('_bucket')}`" in known


@pytest.mark.real
def test_promtool_finds_nothing_to_complain_of(config: Config) -> None:
    metrics = Metrics(audit=lambda engine: Audit())

    async def told() -> bytes:
        async with Client(server_over(config, metrics)) as client:
            for tool in ("list_services", "list_incidents", "nonsense"):
                await client.call_tool(tool, {})
            metrics.answered(200)
            return metrics.exposition()

    command = [binary("promtool", "prometheus"), "check", "metrics"]
    done = subprocess.run(command, input=anyio.run(told), capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@pytest.mark.real
def test_a_prometheus_scrapes_and_answers_what_an_operator_asks(
    serve: Serve, start_prometheus: StartPrometheus
) -> None:
    served = serve("--demo", "--fault", "newrelic=status:503")
    prometheus = start_prometheus(targets=[urlsplit(served.url).netloc])
    until(lambda: prometheus.ask("telemetry_mcp_build_info") != {})

    async def calls() -> None:
        async with Client(served.url) as client:
            for _ in range(6):
                await client.call_tool("list_incidents", {"fresh": True})

    anyio.run(calls)
    by_tool = "sum by (tool, outcome) (telemetry_mcp_tool_calls_total)"
    until(lambda: prometheus.ask(by_tool) == {"outcome=ok,tool=list_incidents": 6})
    broken = 'telemetry_mcp_source_breaker_state{state="open"} == 1'
    assert prometheus.ask(broken) == {"source=newrelic,state=open": 1}
    errors = prometheus.ask('sum by (kind) (telemetry_mcp_source_requests_total{source="newrelic"})')
    assert errors["kind=upstream"] == 5
    quantile = "histogram_quantile(0.95, sum by (le, source) (telemetry_mcp_source_seconds_bucket))"
    assert set(prometheus.ask(quantile)) >= {"source=newrelic", "source=pagerduty"}
    assert prometheus.ask("telemetry_mcp_source_ready == 0") == {"source=newrelic": 0}
    assert prometheus.ask("process_resident_memory_bytes")[""] > 2**25


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
