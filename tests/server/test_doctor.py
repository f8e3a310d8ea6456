"""What doctor makes of sources that do as they are told, and how it shows it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from anyio import Event, sleep_forever

from telemetry_mcp.config import Config, PluginTable
from telemetry_mcp.engine import opened
from telemetry_mcp.errors import AuthError, BadQueryError, SourceError, UpstreamError
from telemetry_mcp.guard import Guard
from telemetry_mcp.model import Check, Reply, Series
from telemetry_mcp.question import SeriesQuery
from telemetry_mcp.registry import Absent, Instance, Registry
from telemetry_mcp.secret import Redactor
from telemetry_mcp.setting import SourceSettings
from telemetry_mcp.source import Context, Source
from telemetry_mcp.terminal.doctor import document, examined
from telemetry_mcp.terminal.finding import Report
from telemetry_mcp.terminal.table import console
from telemetry_mcp.terminal.verdict import show

Answers = Sequence[str] | SourceError
"""The services that have a value; or what is raised instead."""


class Scripted(Source):
    """Says its `checks`, or raises them; has for each metric the services of `answers`."""

    presets = {"usual": {"disk": "disk", "cpu": "cpu", "apdex": "apdex"}}  # noqa: RUF012
    native_language = "Scripts"

    def __init__(
        self, checks: Sequence[Check] | SourceError = (), answers: dict[str, Answers] | None = None, **more: Any
    ) -> None:
        self.answers = answers or {}
        queries = {metric: f"query of {metric}" for metric in self.answers}
        settings = SourceSettings.model_validate({"plugin": "scripted", "metrics": queries, **more})
        super().__init__(settings, Context("scripted"))
        self.checks = checks

    async def check(self) -> Reply[Check]:
        if isinstance(self.checks, SourceError):
            raise self.checks
        return Reply(self.checks)

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        (metric,) = query.metrics
        answer = self.answers.get(metric, ())
        if isinstance(answer, SourceError):
            raise answer
        moment = np.array([query.window.end_ms - 1000], np.int64)
        return Reply([Series(name, metric, moment, np.ones(1)) for name in answer], [f"ran {metric}"])


async def doctored(
    *absent: Absent, tables: dict[str, Any] | None = None, timeout_s: float = 5, **sources: Source
) -> Report:
    """The report on these sources; `tables` are what plugins.toml says of them besides their metrics."""
    rows = [
        PluginTable(
            "sources", name, {}, {"metrics": getattr(source, "answers", {}), **(tables or {}).get(name, {})}, ()
        )
        for name, source in sources.items()
    ]
    rows += [PluginTable("sources", one.name, {"plugin": one.plugin}, {}, ()) for one in absent]
    present = tuple(
        Instance(
            name, "scripted", source, Guard(timeout_s=timeout_s, max_concurrency=16), Redactor(source.settings)
        )
        for name, source in sources.items()
    )
    async with opened(Config(Path("plugins.toml"), sources=rows), registry=Registry(present, absent)) as engine:
        return await examined(engine, (), lambda source, doing: None)


def text_of(report: Report) -> str:
    stream = StringIO()
    show(report, console(stream))
    return stream.getvalue()


async def test_a_metric_is_told_with_its_services_and_how_slow_it_was() -> None:
    report = await doctored(a=Scripted(answers={"cpu": ["checkout", "cart"], "memory": ["cart"]}))
    (source,) = report.sources
    assert [(metric.metric, metric.status, metric.services) for metric in source.metrics] == [
        ("cpu", "data", 2),
        ("memory", "data", 1),
    ]
    assert all(metric.latency_ms is not None for metric in source.metrics)
    assert source.slowest is not None
    assert (report.code, source.status) == (0, "ok")
    assert "2 of 2 metrics" in text_of(report)
    assert "cpu (2 services, " in text_of(report)


async def test_what_a_preset_asks_for_and_the_backend_lacks_is_no_fault() -> None:
    answers: dict[str, Answers] = {"cpu": ["cart"], "disk": [], "apdex": BadQueryError("no such metric")}
    source = Scripted(answers=answers, preset=["usual"])
    report = await doctored(a=source, tables={"a": {"metrics": {}}})
    (found,) = report.sources
    assert (report.code, found.status) == (0, "ok")
    assert [(metric.metric, metric.level, metric.preset) for metric in found.metrics] == [
        ("cpu", "ok", "preset usual"),
        ("disk", "absent", "preset usual"),
        ("apdex", "absent", "preset usual"),
    ]
    assert "not on this backend (preset usual): no such metric" in text_of(report)
    assert "no data (preset usual): not on this backend, or too young for a rate" in text_of(report)
    assert "all is well" in text_of(report)


async def test_a_query_of_the_users_own_that_is_refused_is_a_fault_with_the_query_to_correct() -> None:
    report = await doctored(
        a=Scripted(answers={"cpu": BadQueryError("unexpected bracket")}),
        tables={"a": {"metrics": {"cpu": {"query": 'cpu{a="b"}', "unit": "percent"}}}},
    )
    (finding,) = report.findings
    assert (report.code, finding.check, finding.detail) == (1, "metric cpu", "unexpected bracket")
    paste = finding.fix.partition("\n")[2]
    assert tomllib.loads(paste)["sources"]["a"]["metrics"]["cpu"] == {"query": 'cpu{a="b"}', "unit": "percent"}


async def test_a_query_without_data_is_shown_as_it_ran() -> None:
    report = await doctored(a=Scripted(answers={"cpu": []}))
    (finding,) = report.findings
    assert (report.code, finding.level) == (0, "warning")
    assert finding.fix.endswith("try this Scripts in the backend's own console:\nran cpu")


async def test_metrics_that_fail_alike_are_one_fault() -> None:
    down: dict[str, Answers] = {
        metric: UpstreamError(f"cut off after {place} bytes")
        for place, metric in enumerate(("cpu", "memory", "disk"))
    }
    report = await doctored(a=Scripted(answers=down))
    (finding,) = report.findings
    assert finding.check == "metrics cpu, memory, disk"
    assert text_of(report).count("# a, metrics cpu") == 1


async def test_what_is_optional_costs_something_but_is_no_fault() -> None:
    checks = [
        Check("related incidents", False, "HTTP 402", "buy AIOps", "related incidents", optional=True),
        Check("quota", False, "3 of 100 left", "wait", optional=True),
    ]
    report = await doctored(a=Scripted(checks))
    (source,) = report.sources
    assert [finding.level for finding in source.findings] == ["warning", "absent"]
    assert (report.code, source.status) == (0, "warning")
    assert "HTTP 402; costs: related incidents; buy AIOps" in text_of(report)
    assert [finding.check for finding in report.fixes] == ["quota"]


async def test_a_permission_is_named_with_what_it_enables() -> None:
    report = await doctored(a=Scripted([Check("incident_read", True, enables="incidents")]))
    (line,) = (line for line in text_of(report).splitlines() if "incident_read" in line)
    assert line.split()[-2:] == ["ok", "incidents"]


async def test_checks_that_cannot_be_made_are_one_fault_and_the_metrics_are_asked_all_the_same() -> None:
    source = Scripted(AuthError("HTTP 401: no such key", hint="make a new key"), {"cpu": ["cart"]})
    (found,) = (await doctored(a=source)).sources
    assert [(check.name, check.ok, check.fix) for check in found.checks[1:]] == [
        ("checks", False, "make a new key")
    ]
    assert found.metrics[0].status == "data"


async def test_sources_are_in_the_order_of_the_file_and_one_that_is_off_is_no_fault() -> None:
    off = Absent("b", "x", False, "B_KEY not set", "set B_KEY to switch it on")
    broken = Absent("c", "x", True, "it cannot be imported", "reinstall it")
    report = await doctored(off, broken, a=Scripted())
    assert [(source.source, source.status) for source in report.sources] == [
        ("a", "ok"),
        ("b", "off"),
        ("c", "fault"),
    ]
    assert [finding.source for finding in report.findings] == ["c"]
    assert text_of(report).splitlines()[-2:] == ["switched off: b", "needs attention: c"]


class Hanging(Scripted):
    async def check(self) -> Reply[Check]:
        await sleep_forever()
        raise AssertionError


async def test_a_source_that_does_not_answer_is_given_longer_by_its_fix() -> None:
    report = await doctored(timeout_s=0.2, a=Hanging(answers={"cpu": ["cart"]}))
    (finding,) = report.fixes
    assert (finding.check, finding.detail) == ("checks", "no answer within its timeout of 0.2 s")
    assert finding.fix.endswith('[sources.a]\ntimeout = "0.4s"')
    assert report.sources[0].metrics[0].status == "data"


class Meeting(Source):
    """Answers its check only when all of a party have come."""

    def __init__(self, arrived: list[str], size: int, everybody: Event) -> None:
        super().__init__(SourceSettings(plugin="meeting"), Context("meeting"))
        self.arrived, self.size, self.everybody = arrived, size, everybody

    async def check(self) -> Reply[Check]:
        self.arrived.append("one")
        if len(self.arrived) == self.size:
            self.everybody.set()
        await self.everybody.wait()
        return Reply()


async def test_all_sources_are_examined_at_the_same_moment() -> None:
    arrived, everybody = list[str](), Event()
    party: dict[str, Any] = {name: Meeting(arrived, 3, everybody) for name in "abc"}
    report = await doctored(**party)
    assert report.code == 0
    assert len(arrived) == 3


async def test_the_document_keeps_its_keys() -> None:
    report = await doctored(a=Scripted([Check("api key", True)], {"cpu": []}))
    whole = json.loads(json.dumps(document(report)))
    (source,) = whole["sources"]
    assert sorted(source) == ["checks", "latency_ms", "metrics", "plugin", "source", "status"]
    assert sorted(source["checks"][0]) == ["detail", "enables", "fix", "name", "ok", "optional"]
    assert sorted(source["metrics"][0]) == [
        *("detail", "fix", "latency_ms", "metric", "preset", "services", "status"),
    ]
    assert sorted(whole["fixes"][0]) == ["check", "detail", "fix", "level", "source"]
