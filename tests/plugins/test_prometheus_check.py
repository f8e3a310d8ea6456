"""What `doctor` is told of a Prometheus, permission by permission, and what each flavor of it is asked."""

from __future__ import annotations

import re
import textwrap
import time
import tomllib
from collections.abc import Mapping
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import orjson
import pytest
from pydantic import ValidationError

import telemetry_mcp_prometheus as prometheus
from telemetry_mcp import Check, Context, Http, SeriesQuery, ServiceQuery, Window
from telemetry_mcp_prometheus import Prometheus
from telemetry_mcp_prometheus.flavor import FLAVORS

NOW = int(time.time() * 1000)
WINDOW = Window(NOW - 3_600_000, NOW)
GOOD: Mapping[str, Any] = {
    "query": {"resultType": "scalar", "result": [1, "1"]},
    "label/service/values": ["a", "b"],
    "alerts": {"alerts": []},
    "rules": {"groups": [{"name": "g", "rules": [{"type": "alerting", "name": "Down", "health": "ok"}]}]},
    "status/buildinfo": {"version": "2.53.0"},
}


class Backend:
    """Answers by path; what it was told nothing about it answers well."""

    def __init__(self, **headers: str) -> None:
        self.headers = headers
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.requests: list[httpx.Request] = []

    def on(self, path: str, body: Any, status: int = 200) -> None:
        self.answers[path] = status, body if isinstance(body, bytes) else orjson.dumps(body)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path.partition("/api/v1/")[2]
        status, body = self.answers.get(path) or (200, success(GOOD.get(path, [])))
        return httpx.Response(status, stream=httpx.ByteStream(body), headers=self.headers)

    def source(self, **settings: Any) -> Prometheus:
        table = {"plugin": "prometheus", "url": "http://prometheus.test", **settings}
        parsed = Prometheus.Settings.model_validate(table)
        client = partial(
            httpx.AsyncClient,
            transport=httpx.MockTransport(self),
            base_url=parsed.base_url,
            headers=Prometheus.headers(parsed),
        )
        return Prometheus(parsed, Context("prometheus", http=Http(client)))

    async def checks(self, **settings: Any) -> dict[str, Check]:
        return {check.name: check for check in (await self.source(**settings).check()).items}


def success(data: Any) -> bytes:
    return orjson.dumps({"status": "success", "data": data})


async def test_every_permission_is_named_with_what_it_enables() -> None:
    found = await Backend().checks()
    assert {name: (check.ok, check.enables) for name, check in found.items()} == {
        "query": (True, "series of metrics"),
        "clock": (True, ""),
        "services": (True, "services"),
        "alerts": (True, "incidents: alerts that fire or fired"),
        "rules": (True, "incidents: alerts that fire or fired"),
        "build": (True, "the parameters and limits of its kind"),
    }


@pytest.mark.parametrize(("ahead_s", "ok"), [(0, True), (20, True), (-90, False), (90, False)])
async def test_a_clock_that_is_off_is_a_fault(ahead_s: int, ok: bool) -> None:
    found = await Backend(date=formatdate(time.time() + ahead_s, usegmt=True)).checks()
    assert (found["clock"].ok, found["query"].ok) == (ok, True)
    assert ("NTP" in found["clock"].fix) is not ok


async def test_a_check_that_cannot_get_in_says_why_once() -> None:
    backend = Backend()
    for path in GOOD:
        backend.on(path, b"Unauthorized", 401)
    only, clock = (await backend.checks()).values()
    assert (only.name, only.ok, only.detail, clock.name) == ("query", False, "HTTP 401: Unauthorized", "clock")
    assert "bearer_token" in only.fix


@pytest.mark.parametrize("flavor", ["mimir", "thanos"])
async def test_a_missing_tenant_is_mended_by_org_id(flavor: str) -> None:
    backend = Backend()
    for path in GOOD:
        backend.on(path, b"no org id\n", 401)
    only = (await backend.checks(flavor=flavor))["query"]
    assert only.fix == 'name the tenant: org_id = "<tenant>" in this source\'s table'


@pytest.mark.parametrize(
    ("settings", "words"),
    [({}, "set bearer_token"), ({"bearer_token": "t"}, "let these credentials read /api/v1")],
)
async def test_a_403_is_mended_by_what_is_configured(settings: dict[str, Any], words: str) -> None:
    backend = Backend(date=formatdate(time.time() - 3600, usegmt=True))
    for path in GOOD:
        backend.on(path, b"forbidden", 403)
    only, clock = (await backend.checks(**settings)).values()
    assert words in only.fix
    assert not clock.ok


async def test_a_path_that_is_the_flavors_fault_is_not_blamed_on_the_url() -> None:
    backend = Backend()
    for path in GOOD:
        backend.on(path, b"404 page not found", 404)
    assert (await backend.checks(flavor="mimir"))["query"].fix == (
        "is it really Mimir? The flavor mimir adds /prometheus to the url's path"
    )
    assert "flavor" not in (await backend.checks(flavor="mimir", url="http://p.test/prom"))["query"].fix


async def test_no_alert_rules_are_no_fault() -> None:
    backend = Backend()
    backend.on("rules", success({"groups": []}))
    rules = (await backend.checks())["rules"]
    assert (rules.ok, rules.fix) == (True, "")
    assert "no alert rules" in rules.detail


async def test_what_the_plan_lacks_is_optional() -> None:
    backend = Backend()
    backend.on("label/service/values", b"", 402)
    backend.on("query", b"", 402)
    found = await backend.checks()
    assert [check.optional for check in found.values() if not check.ok] == [True, True]


@pytest.mark.parametrize("path", [path for path in GOOD if path != "query"])
async def test_one_permission_that_is_missing_hides_no_other(path: str) -> None:
    backend = Backend()
    backend.on(path, b"forbidden", 403)
    found = await backend.checks()
    bad = [check for check in found.values() if not check.ok]
    assert [check.detail for check in bad] == ["HTTP 403: forbidden"]
    assert bad[0].fix
    assert len(found) == 6


@pytest.mark.parametrize(
    ("flavor", "words"),
    [("mimir", "-ruler.enable-api"), ("victoriametrics", "-vmalert.proxyURL"), ("thanos", "sidecar")],
)
async def test_alerts_that_are_not_there_are_mended_where_the_flavor_keeps_them(flavor: str, words: str) -> None:
    backend = Backend()
    backend.on("alerts", b"404 page not found", 404)
    found = await backend.checks(flavor=flavor)
    assert words in found["alerts"].fix
    assert found["alerts"].optional


async def test_no_service_by_the_label_is_said_with_the_setting_that_mends_it() -> None:
    backend = Backend()
    backend.on("label/service/values", success([]))
    found = await backend.checks()
    assert (found["services"].ok, found["services"].optional) == (False, True)
    assert "service_label" in found["services"].fix


@pytest.mark.parametrize(
    ("told", "headers", "flavor"),
    [
        ({"version": "2.12.0", "application": "Grafana Mimir"}, {}, "mimir"),
        ({"version": "0.34.1"}, {}, "thanos"),
        ({}, {"x-server-hostname": "vm-0"}, "victoriametrics"),
    ],
)
async def test_another_flavor_than_the_configured_is_noticed(
    told: dict[str, str], headers: dict[str, str], flavor: str
) -> None:
    backend = Backend(**headers)
    backend.on("status/buildinfo", success(told))
    wrong, right = (await backend.checks())["build"], (await backend.checks(flavor=flavor))["build"]
    assert (wrong.ok, wrong.optional, wrong.fix) == (
        False,
        True,
        f'set flavor = "{flavor}" in this source\'s table',
    )
    assert (right.ok, right.fix) == (True, "")


@pytest.mark.parametrize(
    "data", [None, [], "x", {"alerts": 1}, {"alerts": [1]}, {"groups": [{"rules": [None]}]}, {"groups": [7]}]
)
async def test_odd_answers_leave_a_check_standing(data: object) -> None:
    backend = Backend()
    for path in GOOD:
        if path != "query":
            backend.on(path, success(data))
    found = await backend.checks()
    assert found["query"].ok
    assert set(found) == {"query", "clock", "services", "alerts", "rules", "build"}


# Flavors

THANOS = {"dedup": "true", "partial_response": "true", "max_source_resolution": "auto"}


@pytest.mark.parametrize(
    ("settings", "path", "params"),
    [
        ({}, "/api/v1/", {}),
        ({"flavor": "mimir"}, "/prometheus/api/v1/", {}),
        ({"flavor": "mimir", "url": "http://grafana.test/api/prom/"}, "/api/prom/api/v1/", {}),
        ({"flavor": "thanos"}, "/api/v1/", THANOS),
        ({"flavor": "thanos", "params": {"dedup": "false"}}, "/api/v1/", {**THANOS, "dedup": "false"}),
        ({"flavor": "victoriametrics"}, "/api/v1/", {"nocache": "1"}),
        ({"flavor": "victoriametrics", "org_id": "7:2"}, "/select/7:2/prometheus/api/v1/", {"nocache": "1"}),
    ],
)
async def test_each_flavor_is_asked_at_its_path_with_its_parameters(
    settings: dict[str, Any], path: str, params: dict[str, str]
) -> None:
    backend = Backend()
    source = backend.source(metrics={"cpu": "cpu"}, **settings)
    await source.list_services(ServiceQuery(WINDOW))
    await source.fetch_series(SeriesQuery(("a",), ("cpu",), WINDOW, 60_000, latest=True))

    listing, query = backend.requests
    form = {name: text[0] for name, text in parse_qs(query.content.decode()).items()}
    assert (listing.url.path, query.url.path) == (f"{path}label/service/values", f"{path}query")
    assert {name: listing.url.params[name] for name in params} == params
    assert {name: form[name] for name in params} == params
    assert set(form) == {"query", "limit", "time", *params}


@pytest.mark.parametrize(
    ("flavor", "headers"),
    [
        ("prometheus", {"x-scope-orgid": "7"}),
        ("mimir", {"x-scope-orgid": "7"}),
        ("thanos", {"thanos-tenant": "7"}),
        ("victoriametrics", {}),
    ],
)
def test_the_tenant_goes_where_the_flavor_looks_for_it(flavor: str, headers: dict[str, str]) -> None:
    table = {"plugin": "prometheus", "url": "http://backend.test", "flavor": flavor, "org_id": "7"}
    assert Prometheus.headers(Prometheus.Settings.model_validate(table)) == headers


@pytest.mark.parametrize(
    ("url", "org_id", "words"),
    [
        ("http://vm.test/select/0/prometheus", "7", "has a path already"),
        ("http://vm.test", "../admin", "is a number"),
    ],
)
def test_a_tenant_that_would_be_lost_or_lead_elsewhere_is_refused(url: str, org_id: str, words: str) -> None:
    table = {"plugin": "prometheus", "flavor": "victoriametrics", "url": url, "org_id": org_id}
    with pytest.raises(ValidationError, match=words):
        Prometheus.Settings.model_validate(table)


async def test_a_thanos_that_lacks_a_store_gives_what_it_has_and_says_so() -> None:
    backend = Backend()
    result = [{"metric": {"service": "a"}, "value": [(NOW - 1) / 1000, "1"]}]
    envelope = {"status": "success", "data": {"resultType": "vector", "result": result}}
    backend.on("query", {**envelope, "warnings": ["No StoreAPIs matched for this query"]})
    source = backend.source(flavor="thanos", metrics={"cpu": "cpu"})
    reply = await source.fetch_series(SeriesQuery((), ("cpu",), WINDOW, 60_000, latest=True))
    assert [series.service for series in reply.items] == ["a"]
    assert reply.partial == "No StoreAPIs matched for this query"


def test_every_table_of_the_readme_is_good_and_the_five_line_ones_are_five_lines() -> None:
    readme = Path(prometheus.__file__).with_name("README.md").read_text(encoding="utf-8")
    tables = [textwrap.dedent(block) for block in re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)]
    whole = [table for table in tables if "plugin =" in table]
    flavors = set()
    for text in whole:
        (table,) = tomllib.loads(text)["sources"].values()
        presets = [Prometheus.presets[name] for name in table["preset"]]
        metrics = {name: query for preset in presets for name, query in preset.items()}
        flavors.add(Prometheus.Settings.model_validate({**table, "metrics": metrics}).flavor)
        assert len(text.strip().splitlines()) <= 6
    assert flavors == set(FLAVORS)
    for text in set(tables) - set(whole):
        (more,) = tomllib.loads(text)["sources"].values()
        Prometheus.Settings.model_validate({"plugin": "prometheus", "url": "http://prometheus.test", **more})
