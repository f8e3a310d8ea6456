"""What doctor gives to be pasted mends what is wrong, and nothing that is wrong is passed over."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from anyio import sleep_forever

from telemetry_mcp.config import Config, PluginTable, read
from telemetry_mcp.engine import opened
from telemetry_mcp.errors import (
    BadQueryError,
    ForbiddenError,
    NotFoundError,
    SourceError,
    SourceTimeoutError,
)
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.guard import Guard
from telemetry_mcp.model import Check, Reply, Series
from telemetry_mcp.question import CheckQuery, SeriesQuery
from telemetry_mcp.registry import Instance, Registry, sound
from telemetry_mcp.secret import Redactor
from telemetry_mcp.setting import SourceSettings
from telemetry_mcp.source import Context, Source
from telemetry_mcp.terminal.doctor import examined
from telemetry_mcp.terminal.finding import Report
from telemetry_mcp.terminal.measure import put
from telemetry_mcp.terminal.table import console
from telemetry_mcp.terminal.verdict import show

QUERIES = {"cpu": 'cpu{a="b"}', "memory": "memory", "disk": "disk"}


class Settings(SourceSettings):
    flavor: str = "plain"
    service_label: str = "service"


class Failing(Source):
    """Raises `errors` by metric; what has none is without data."""

    Settings = Settings
    presets = {"usual": QUERIES}  # noqa: RUF012

    def __init__(self, errors: dict[str, SourceError], checks: list[Check] | None = None, **more: Any) -> None:
        super().__init__(Settings.model_validate({"plugin": "x", **more}), Context("a"))
        self.errors, self.checks = errors, checks or []

    async def check(self) -> Reply[Check]:
        return Reply(self.checks)

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        if error := self.errors.get(query.metrics[0]):
            raise error
        return Reply()


async def doctored(timeout_s: float = 5, own: bool = True, **sources: Source) -> Report:
    raw = {"metrics": QUERIES} if own else {}
    tables = [PluginTable("sources", name, {}, raw, ()) for name in sources]
    present = tuple(
        Instance(name, "x", source, Guard(timeout_s=timeout_s, max_concurrency=16), Redactor(source.settings))
        for name, source in sources.items()
    )
    async with opened(Config(Path("plugins.toml"), sources=tables), registry=Registry(present)) as engine:
        return await examined(engine, (), lambda source, doing: None)


def text_of(report: Report) -> str:
    out = console()
    with out.capture() as captured:
        show(report, out)
    return captured.get()


def pasted(report: Report) -> dict[str, Any]:
    """All the fixes as one document, which they must be."""
    text = text_of(report)
    return tomllib.loads(text[text.index("# ") : text.index("needs attention")])


async def test_metrics_that_all_fail_by_one_error_are_mended_by_its_hint_and_not_by_their_queries() -> None:
    errors: dict[str, SourceError] = {name: NotFoundError("HTTP 404", hint="check the url") for name in QUERIES}
    report = await doctored(a=Failing(errors, metrics=QUERIES))
    assert [finding.fix for finding in report.fixes] == ["check the url"]


async def test_a_preset_on_a_url_that_leads_nowhere_is_a_fault_and_not_merely_absent() -> None:
    errors: dict[str, SourceError] = {name: NotFoundError("HTTP 404") for name in QUERIES}
    report = await doctored(own=False, a=Failing(errors, metrics=QUERIES, preset=["usual"]))
    assert report.code == 1


async def test_queries_that_are_refused_stand_under_one_heading_with_the_backends_words() -> None:
    errors: dict[str, SourceError] = {
        "cpu": BadQueryError("unexpected bracket"),
        "memory": BadQueryError("no such function"),
    }
    report = await doctored(a=Failing(errors, metrics=QUERIES))
    text = text_of(report)
    assert text.count("[sources.a.metrics]") == 1
    assert 'memory = "memory"  # no such function' in text.splitlines()
    block = text[text.index("# a, metric cpu") : text.index("# a, metric disk")]
    assert tomllib.loads(block) == {"sources": {"a": {"metrics": {k: QUERIES[k] for k in ("cpu", "memory")}}}}


@pytest.mark.parametrize(
    ("timeout_s", "lines"),
    [
        (2.0, {"sources": {"a": {"timeout": "4s"}}}),
        (6.0, {"sources": {"a": {"timeout": "9s"}}}),
        (8.0, {"sources": {"a": {"timeout": "16s"}}, "defaults": {"deadline": "20s"}}),
    ],
)
async def test_more_time_is_given_only_where_a_call_waits_that_long(
    timeout_s: float, lines: dict[str, Any]
) -> None:
    errors: dict[str, SourceError] = dict.fromkeys(QUERIES, SourceTimeoutError("no answer"))
    assert pasted(await doctored(timeout_s, a=Failing(errors, metrics=QUERIES))) == lines


async def test_tables_that_several_sources_share_are_pasted_once() -> None:
    errors: dict[str, SourceError] = dict.fromkeys(QUERIES, SourceTimeoutError("no answer"))
    a, b = (Failing(errors, metrics=QUERIES) for _ in range(2))
    found = pasted(await doctored(8, a=a, b=b))
    assert (list(found["sources"]), found["defaults"]) == (["a", "b"], {"deadline": "20s"})


class Hanging(Source):
    async def check(self) -> Reply[Check]:
        await sleep_forever()
        raise AssertionError


async def test_what_doctors_own_limit_ends_is_not_given_longer() -> None:
    source = Hanging(SourceSettings(plugin="x"), Context("a"))
    instance = Instance("a", "x", source, Guard(timeout_s=60, max_concurrency=1), Redactor(source.settings))
    async with opened(Config(Path("plugins.toml")), registry=Registry((instance,))) as engine:
        failure = (await put(engine, instance, CheckQuery(), Deadline(0.1))).failure
    assert failure is not None
    assert (failure.kind, failure.message) == ("doctor", "no answer within the 0.1 s that doctor waits")


async def test_the_breaker_that_doctor_itself_opens_is_not_what_is_told() -> None:
    many = [*QUERIES, "error_rate", "apdex", "availability", "restarts"]
    errors: dict[str, SourceError] = dict.fromkeys(many, SourceTimeoutError("no answer in time"))
    source = Failing(errors, metrics=dict.fromkeys(many, "q"), max_concurrency=1)
    report = await doctored(a=source)
    assert [finding.detail for finding in report.findings] == ["no answer in time"]


async def test_statements_come_as_lines_for_psql_and_apart_from_the_toml() -> None:
    grants = "CREATE ROLE reader LOGIN PASSWORD '...'; GRANT SELECT ON a, b TO reader;"
    checks = [
        Check("role", False, "may write", grants, optional=True),
        Check("build", False, "another", 'set flavor = "other" in this source\'s table', "its limits", True),
    ]
    errors: dict[str, SourceError] = {"cpu": ForbiddenError("no right", hint="GRANT SELECT ON c TO reader;")}
    report = await doctored(a=Failing(errors, checks, metrics={"cpu": "q"}))
    lines = text_of(report).splitlines()
    role = lines.index("# a, role: may write")
    assert lines[role + 1 : role + 5] == [
        "# in psql, as the owner:",
        "CREATE ROLE reader LOGIN PASSWORD '...';",
        "GRANT SELECT ON a, b TO reader;",
        "",
    ]
    flavor = lines.index("[sources.a]")
    assert lines[flavor + 1 : flavor + 3] == ['flavor = "other"', ""]
    assert "GRANT SELECT ON c TO reader;" in lines


async def test_a_backend_of_another_kind_is_a_warning_with_the_line_that_says_so() -> None:
    check = Check("build", False, "Other 2.1", 'set flavor = "other" in this source\'s table', "its limits", True)
    (finding,) = (await doctored(a=Failing({}, [check], metrics={}))).fixes
    assert (finding.check, finding.level) == ("build", "warning")
    assert finding.detail == "Other 2.1; costs: its limits"


async def test_a_preset_without_any_data_is_a_warning_that_shows_its_first_query() -> None:
    report = await doctored(own=False, a=Failing({}, metrics=QUERIES, preset=["usual"]))
    (finding,) = report.fixes
    assert (finding.check, finding.level, report.code) == ("data", "warning", 0)
    assert "do the presets usual fit this backend, and does service_label say" in finding.fix
    assert finding.fix.endswith(QUERIES["cpu"])
    assert "all is well" not in text_of(report)


async def test_a_source_that_names_no_metric_is_asked_for_one_all_the_same() -> None:
    sound = await doctored(own=False, a=Failing({}))
    broken = await doctored(own=False, a=Failing({"cpu": SourceError("the socket is gone")}))
    assert (sound.code, sound.findings) == (0, [])
    (finding,) = broken.findings
    assert (broken.code, finding.check) == (1, "series")
    assert finding.detail == "asked for cpu: the socket is gone"


async def test_no_source_at_all_is_not_well() -> None:
    report = await doctored()
    assert report.code == 1
    assert "all is well" not in text_of(report)
    assert text_of(report).splitlines()[-1] == "no source is on"
    assert "prometheus" in tomllib.loads(report.fixes[0].fix.partition("\n")[2])["sources"]


async def test_sources_that_are_all_off_are_switched_on_by_their_variables(tmp_path: Path) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text('[sources.a]\nplugin = "prometheus"\nurl = "${TELEMETRY_TEST_UNSET}"\noptional = true\n')
    config = read(path, {})
    async with opened(config, registry=sound(config)) as engine:
        report = await examined(engine, (), lambda source, doing: None)
    assert (report.code, report.fixes[0].fix.splitlines()[1:]) == (1, ['export TELEMETRY_TEST_UNSET="..."'])
