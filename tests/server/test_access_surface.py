"""Every role before every surface: nothing that a caller receives tells of what it may not see."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from itertools import product
from typing import TYPE_CHECKING

import pytest
from mcp.server.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp.types import PromptReference, ResourceTemplateReference

from tests.server.realm import (
    ALL,
    NORTH,
    SERVICES,
    SOUTH,
    Realm,
    Seat,
    Sit,
    estate,
    realm,
    running,
    seated,
)

if TYPE_CHECKING:
    from pathlib import Path

ACCESS = """
[access.roles.payments]
tools = ["*"]
services = ["payment-*"]
sources = ["*"]

[access.roles.northern]
tools = ["*"]
services = ["*"]
sources = ["northsrc"]

[access.roles.falcons]
tools = ["*"]
services = ["*"]
sources = ["*"]
teams = ["falcon"]

[access.roles.eastern]
tools = ["*"]
services = ["*"]
sources = ["*"]
environments = ["prod*"]

[access.roles.lister]
tools = ["list_services"]
services = ["*"]
sources = ["*"]

[access.roles.brief]
tools = ["*"]
services = ["*"]
sources = ["*"]
lookback = "1h"

[access.roles.asker]
tools = ["*"]
services = ["*"]
sources = ["northsrc"]
native = true

[access.roles.left]
tools = ["*"]
services = ["payment-*"]
sources = ["northsrc"]

[access.roles.right]
tools = ["*"]
services = ["ledger-*"]
sources = ["southsrc"]
"""
TEAMS_AND_ENVIRONMENTS = {name for team, environment, _ in SERVICES.values() for name in (team, environment)}
NOTHING = Realm(frozenset(), frozenset())
ROLES: dict[str, tuple[tuple[str, ...], Realm]] = {
    "viewer": (("viewer",), ALL),
    "responder": (("responder",), ALL),
    "admin": (("admin",), ALL),
    "no role": ((), NOTHING),
    "a role that there is not": (("ghost",), NOTHING),
    "services": (("payments",), realm({"payment-api", "payment-batch"})),
    "one source": (("northern",), realm(SERVICES, {NORTH})),
    "a team": (("falcons",), realm({"payment-api"})),
    "an environment": (("eastern",), realm({"payment-api", "ledger-core"})),
    "few tools": (("lister",), ALL),
    "an hour": (("brief",), ALL),
    "native": (("asker",), realm(SERVICES, {NORTH})),
    "two roles": (
        ("left", "right"),
        Realm(
            frozenset({("payment-api", NORTH), ("payment-batch", NORTH), ("ledger-core", SOUTH)}),
            frozenset({NORTH, SOUTH}),
        ),
    ),
    "two roles, one unknown": (("payments", "ghost"), realm({"payment-api", "payment-batch"})),
}
START = "2026-02-16T14:40:00Z"
OF_METRIC = ResourceTemplateReference(
    type="ref/resource", uri="telemetry://services/{service}/metrics/{metric}{?hours}"
)


def metric_uri(service: str) -> str:
    return f"telemetry://services/{service}/metrics/cpu"


Surface = Callable[[Seat, str], Awaitable[object]]
"""Asked with the name of a service; not every surface makes use of it."""

SURFACES: dict[str, Surface] = {
    "tools/list": lambda seat, name: seat.told(seat.client.list_tools()),
    "prompts/list": lambda seat, name: seat.told(seat.client.list_prompts()),
    "resources/list": lambda seat, name: seat.told(seat.client.list_resources()),
    "templates/list": lambda seat, name: seat.told(seat.client.list_resource_templates()),
    "list_services": lambda seat, name: seat.ask("list_services"),
    "list_services by team": lambda seat, name: seat.ask("list_services", team="nobodys"),
    "list_services by environment": lambda seat, name: seat.ask("list_services", environment="nowhere"),
    "get_current_metrics": lambda seat, name: seat.ask("get_current_metrics", service=name),
    "an unknown metric": lambda seat, name: seat.ask("get_current_metrics", service=name, metrics=["cpuu"]),
    "query_historical_metrics": lambda seat, name: seat.ask(
        "query_historical_metrics",
        service=name,
        metric_type="cpu",
        hours=0.5,
        per_source=True,
        compare_to="previous",
    ),
    "check_sli_compliance": lambda seat, name: seat.ask(
        "check_sli_compliance", service=name, metric="latency_p95", threshold=30, time_window_hours=0.5
    ),
    "an unknown slo": lambda seat, name: seat.ask("check_sli_compliance", slo="none-good"),
    "detect_anomalies": lambda seat, name: seat.ask("detect_anomalies", service=name, metric="*", hours=0.5),
    "detect_anomalies everywhere": lambda seat, name: seat.ask(
        "detect_anomalies", service="*", metric="*", hours=0.5
    ),
    "list_incidents": lambda seat, name: seat.ask("list_incidents", status="all", since="1h"),
    "list_incidents of one": lambda seat, name: seat.ask("list_incidents", service=name, status="all"),
    "list_changes": lambda seat, name: seat.ask("list_changes", hours=1),
    "list_changes of one": lambda seat, name: seat.ask("list_changes", service=name, hours=1),
    "investigate_incident": lambda seat, name: seat.ask(
        "investigate_incident", service=name, start=START, lookback="20m", guard="2m"
    ),
    "an unknown incident": lambda seat, name: seat.ask("investigate_incident", incident_id="NONE"),
    "list_sources": lambda seat, name: seat.ask("list_sources"),
    "query_source": lambda seat, name: seat.ask("query_source", source="nosrc", query="x", hours=0.5),
    "an unknown tool": lambda seat, name: seat.ask("no_tool"),
    "health_check": lambda seat, name: seat.told(seat.client.get_prompt("health_check", {})),
    "an unknown prompt": lambda seat, name: seat.told(seat.client.get_prompt("none", {})),
    "sli-report": lambda seat, name: seat.told(seat.client.read_resource("telemetry://sli-report")),
    "sources": lambda seat, name: seat.told(seat.client.read_resource("telemetry://sources")),
    "catalog": lambda seat, name: seat.told(seat.client.read_resource("telemetry://catalog")),
    "a metric": lambda seat, name: seat.told(seat.client.read_resource(metric_uri(name))),
    "an unknown resource": lambda seat, name: seat.told(seat.client.read_resource("telemetry://none")),
    "completion of a service": lambda seat, name: seat.told(
        seat.client.complete(OF_METRIC, {"name": "service", "value": ""})
    ),
    "completion of a metric": lambda seat, name: seat.told(
        seat.client.complete(OF_METRIC, {"name": "metric", "value": ""})
    ),
    "completion of a prompt": lambda seat, name: completed(seat, "health_check", "service"),
    "completion of an incident": lambda seat, name: completed(seat, "investigate", "incident_id"),
    "completion of a source": lambda seat, name: completed(seat, "health_check", "source"),
}
UNKNOWN_NAME = "nothing-here"


async def completed(seat: Seat, prompt: str, argument: str) -> str:
    reference = PromptReference(type="ref/prompt", name=prompt)
    return await seat.told(seat.client.complete(reference, {"name": argument, "value": ""}))


def betrayed(texts: Collection[str], names: Collection[str]) -> list[tuple[str, str]]:
    """Which of the names are in the texts, and where."""
    return [
        (name, text[max(0, at - 60) : at + 60])
        for name, text in product(names, texts)
        if (at := text.lower().find(name.lower())) >= 0
    ]


@pytest.fixture
async def sit(tmp_path: Path) -> AsyncIterator[Sit]:
    """Seats for callers of one and the same engine."""
    async with running(estate(tmp_path, ACCESS)) as engine, AsyncExitStack() as stack:

        async def enter(*roles: str, legacy: bool = False) -> Seat:
            return await stack.enter_async_context(seated(engine, *roles, legacy=legacy))

        yield enter


@pytest.mark.parametrize("warm", [False, True], ids=["alone", "after everybody else"])
@pytest.mark.parametrize("who", ROLES)
async def test_no_surface_tells_a_role_of_what_it_may_not_see(sit: Sit, who: str, warm: bool) -> None:
    roles, may = ROLES[who]
    for others in ("admin", "northern", "payments") if warm else ():
        other = await sit(others)
        for surface, name in product(SURFACES, ("payment-api", "search-web")):
            await SURFACES[surface](other, name)
    seat = await sit(*roles)
    for surface in SURFACES:
        seat.heard.clear()
        for name in (*sorted(may.services), UNKNOWN_NAME):
            await SURFACES[surface](seat, name)
        assert seat.heard, surface
        assert betrayed(seat.heard, may.hidden) == [], surface


@pytest.mark.parametrize("who", ROLES)
async def test_all_that_a_role_may_see_is_there(sit: Sit, who: str) -> None:
    # Without it, a server that says nothing at all would pass everything else.
    roles, may = ROLES[who]
    seat = await sit(*roles)
    for surface in ("list_services", "list_incidents", "list_sources", "list_changes", "sli-report"):
        await SURFACES[surface](seat, "")
    told = " ".join(seat.heard)
    shown = {name for name in may.names if name in told}
    # Who may list services only is told of their teams, but neither of incidents nor of objectives.
    services = realm(SERVICES).names & {*SERVICES, NORTH, SOUTH, *TEAMS_AND_ENVIRONMENTS}
    assert shown == (services if roles == ("lister",) else may.names)


def alike(text: str, name: str) -> str:
    """An answer without the name that was asked for, how long it took, and which name is the nearest to it."""
    text = text.replace(name, "NAME")
    return re.sub(r"latency_ms\W+[0-9.]+|progress .* in \d+ ms|(?<=;) did you mean '[^']*'\?", "", text)


HIDDEN_FROM = {who: sorted(may.hidden & {*SERVICES}) for who, (_, may) in ROLES.items()}


NAMING = (
    *("get_current_metrics", "an unknown metric", "query_historical_metrics", "check_sli_compliance"),
    *("detect_anomalies", "list_incidents of one", "list_changes of one", "investigate_incident", "a metric"),
)


@pytest.mark.parametrize("who", [who for who, hidden in HIDDEN_FROM.items() if hidden])
async def test_a_hidden_service_is_answered_as_one_that_there_is_not(sit: Sit, who: str) -> None:
    roles, _ = ROLES[who]
    seat = await sit(*roles)
    for surface, hidden in product(NAMING, HIDDEN_FROM[who]):
        answers = []
        await SURFACES[surface](seat, UNKNOWN_NAME)  # so that both find the same in the cache
        for name in (hidden, f"z{hidden[1:]}"):
            seat.heard.clear()
            await SURFACES[surface](seat, name)
            answers.append([alike(text, name) for text in seat.heard])
        assert answers[0] == answers[1], surface


@pytest.mark.parametrize("who", [who for who, (_, may) in ROLES.items() if may.hidden])
async def test_hidden_incidents_objectives_teams_and_sources_are_answered_as_unknown_ones(
    sit: Sit, who: str
) -> None:
    roles, may = ROLES[who]
    seat = await sit(*roles)
    for name in sorted(may.hidden - {*SERVICES}):
        asks: list[tuple[str, dict[str, object]]] = [
            ("investigate_incident", {"incident_id": name}),
            ("check_sli_compliance", {"slo": name}),
            ("check_sli_compliance", {"service": "payment-api", "metric": f"slo:{name}:ratio"}),
            ("list_services", {"team": name}),
            ("list_services", {"environment": name}),
            ("query_source", {"source": name, "query": "x"}),
            ("detect_anomalies", {"service": "*", "detector": name}),
        ]
        for tool, arguments in asks:
            told = alike(await seat.ask(tool, **arguments), name)
            other = f"Q{name[1:]}"
            unknown = {key: str(value).replace(name, other) for key, value in arguments.items()}
            assert told == alike(await seat.ask(tool, **unknown), other), tool


@pytest.mark.parametrize("who", ROLES)
async def test_news_of_hidden_services_never_arrive(sit: Sit, who: str) -> None:
    roles, may = ROLES[who]
    seat = await sit(*roles)
    if who in ("no role", "a role that there is not", "few tools"):
        allowed: set[str] = set()
    else:
        allowed = may.services
    uris = {service: metric_uri(service) for service in SERVICES}
    odd = ["telemetry://services/search%2Dweb/metrics/cpu", "telemetry://services/%73earch-web/metrics/cpu"]
    if not may.sources:
        told = await seat.told(opened_stream(seat, [*uris.values()]))
        assert "has no role here" in told
        return
    async with seat.client.listen(resource_subscriptions=[*uris.values(), *odd]) as stream:
        honored = set(stream.honored.resource_subscriptions or ())
        assert honored - set(odd) == {uris[service] for service in allowed}
        assert bool(honored & set(odd)) == ("search-web" in allowed)
        for service in SERVICES:
            await seat.server._subscriptions.publish(ResourceUpdated(uri=uris[service]))
        for _ in range(len(allowed)):
            event = await anext(stream)
            assert isinstance(event, ResourceUpdated)
            seat.heard.append(event.uri)
    assert betrayed(seat.heard, may.hidden) == []
    assert {uris[service] for service in allowed} == set(seat.heard)


async def opened_stream(seat: Seat, uris: list[str]) -> None:
    async with seat.client.listen(resource_subscriptions=uris):
        pass


@pytest.mark.parametrize("who", [who for who, (_, may) in ROLES.items() if may.hidden & {*SERVICES}])
async def test_an_older_client_cannot_subscribe_to_a_hidden_service(sit: Sit, who: str) -> None:
    roles, may = ROLES[who]
    seat = await sit(*roles, legacy=True)
    for hidden in sorted(may.hidden & {*SERVICES}):
        answers = []
        for name in (hidden, f"z{hidden[1:]}"):
            with pytest.warns(MCPDeprecationWarning):
                told = await seat.told(seat.client.session.subscribe_resource(metric_uri(name)))
            answers.append(alike(told, name))
        assert answers[0] == answers[1]
