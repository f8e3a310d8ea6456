"""Datadog's services, from four lists that do not agree, and how they depend on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import AuthError, Dependency, DependencyQuery, ServiceQuery, Window
from telemetry_mcp_datadog import Datadog

if TYPE_CHECKING:
    from tests.plugins.conftest import Answer, Asked, ConnectDatadog, Stub

START = 1_700_000_040_000
WINDOW = Window(START, START + 600_000)


def catalog(*names: str) -> dict[str, Any]:
    rows = [{"name": name, "owner": f"team-{name}", "tags": ["env:prod", "tier:1", "bare"]} for name in names]
    return {"data": [{"type": "entity", "attributes": row} for row in rows]}


def apm(*names: str) -> dict[str, Any]:
    return {"data": {"id": "1", "type": "services_list", "attributes": {"services": list(names)}}}


def definitions(*schemas: Any) -> dict[str, Any]:
    rows = [{"id": str(n), "attributes": {"schema": one, "meta": {}}} for n, one in enumerate(schemas)]
    return {"data": rows}


def tagged(*tags: str) -> dict[str, Any]:
    return {"data": {"type": "metrics", "id": "m", "attributes": {"tags": list(tags)}}}


@pytest.fixture
def lists(stub: Stub) -> Stub:
    stub.on("/api/v2/apm/services", apm("b", "c"))
    stub.on("/api/v2/catalog/entity", catalog("a", "b"))
    stub.on(
        "/api/v2/services/definitions", definitions({"schema-version": "v2.1", "dd-service": "d", "team": "t"})
    )
    stub.on("/api/v2/metrics/system.cpu.total/all-tags", tagged("service:e", "host:h", "service:a", "services:x"))
    return stub


async def test_services_are_united_and_say_where_they_are_listed(
    lists: Stub, connect_datadog: ConnectDatadog
) -> None:
    one = connect_datadog(lists.url, env="staging")
    reply = await one.list_services(ServiceQuery(WINDOW))
    assert [(item.name, item.team, item.environment, item.listed_by) for item in reply.items] == [
        ("a", "team-a", "prod", ("catalog", "tags")),
        ("b", "team-b", "prod", ("catalog", "apm")),
        ("c", None, "staging", ("apm",)),
        ("d", "t", None, ("definitions",)),
        ("e", None, None, ("tags",)),
    ]
    assert (reply.items[0].tags, reply.partial) == ({"env": "prod", "tier": "1", "bare": ""}, None)
    asked = {request.path: request.params for request in lists.asked}
    assert asked["/api/v2/apm/services"] == {"filter[env]": ["staging"]}
    assert asked["/api/v2/catalog/entity"]["filter[kind]"] == ["service"]
    assert asked["/api/v2/catalog/entity"]["includeDiscovered"] == ["true"]
    assert asked["/api/v2/metrics/system.cpu.total/all-tags"] == {"filter[match]": ["service"]}


async def test_all_environments_together_are_none(lists: Stub, connect_datadog: ConnectDatadog) -> None:
    reply = await connect_datadog(lists.url, env="*").list_services(ServiceQuery(WINDOW))
    assert {item.name: item.environment for item in reply.items}["c"] is None


@pytest.mark.parametrize(
    ("path", "scope", "left"),
    [
        ("/api/v2/apm/services", "apm_read", "abde"),
        ("/api/v2/catalog/entity", "apm_service_catalog_read", "abcde"),
        ("/api/v2/services/definitions", "apm_service_catalog_read", "abce"),
        ("/api/v2/metrics/system.cpu.total/all-tags", "metrics_read", "abcd"),
    ],
)
async def test_a_missing_scope_thins_the_inventory_audibly(
    lists: Stub, path: str, scope: str, left: str, connect_datadog: ConnectDatadog
) -> None:
    lists.on(path, {"errors": ["Forbidden"]}, 403)
    reply = await connect_datadog(lists.url, env="prod").list_services(ServiceQuery(WINDOW))
    assert "".join(item.name for item in reply.items) == left
    assert scope in (reply.partial or "")


async def test_a_configured_metric_that_does_not_exist_is_said(
    lists: Stub, connect_datadog: ConnectDatadog
) -> None:
    lists.on("/api/v2/metrics/system.cpu.total/all-tags", {"errors": ["Metric not found"]}, 404)
    reply = await connect_datadog(lists.url).list_services(ServiceQuery(WINDOW))
    assert [item.name for item in reply.items] == ["a", "b", "d"]
    assert reply.partial == "tags: HTTP 404: Metric not found"


async def test_a_401_names_the_scope_too(lists: Stub, datadog: Datadog) -> None:
    lists.on("/api/v2/catalog/entity", {"errors": ["Unauthorized"]}, 401)
    with pytest.raises(AuthError, match="apm_service_catalog_read"):
        await datadog.list_services(ServiceQuery(WINDOW))


async def test_with_a_scope_for_metrics_alone_the_tags_still_name_the_services(
    lists: Stub, connect_datadog: ConnectDatadog
) -> None:
    for path in ("/api/v2/apm/services", "/api/v2/catalog/entity", "/api/v2/services/definitions"):
        lists.on(path, b"Forbidden", 403)
    reply = await connect_datadog(lists.url, env="prod").list_services(ServiceQuery(WINDOW))
    assert [(item.name, item.listed_by) for item in reply.items] == [("a", ("tags",)), ("e", ("tags",))]


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"schema-version": "v1", "info": {"dd-service": "x"}, "org": {"team": "t"}}, ("x", "t")),
        ({"schema-version": "v2", "dd-service": "x", "dd-team": "t", "tags": None}, ("x", "t")),
        ({"schema-version": "v2.2", "dd-service": "x", "team": None, "tags": ["team:t", 5, None]}, ("x", "t")),
    ],
)
async def test_every_version_of_a_definition_is_read(
    lists: Stub, datadog: Datadog, schema: Any, named: tuple[str, str]
) -> None:
    lists.on("/api/v2/services/definitions", definitions(schema, {"dd-service": None}, None))
    reply = await datadog.list_services(ServiceQuery(WINDOW))
    assert named in [(item.name, item.team) for item in reply.items]
    assert reply.warnings == ["2 service definitions could not be read"]


async def test_odd_entities_are_counted_or_passed_over(lists: Stub, datadog: Datadog) -> None:
    page = catalog("a", "b")
    page["data"] += [5, {"attributes": None}, {"attributes": {"kind": "system", "name": "s"}}]
    page["data"][1]["attributes"] |= {"tags": {"env": "x"}, "owner": None}
    lists.on("/api/v2/catalog/entity", page)
    reply = await datadog.list_services(ServiceQuery(WINDOW))
    assert [item.name for item in reply.items] == ["a", "b", "d", "e"]
    assert (reply.items[1].team, reply.warnings) == (None, ["2 services could not be read"])


async def test_the_catalogs_paging_ends_on_a_page_that_repeats(lists: Stub, datadog: Datadog) -> None:
    lists.on("/api/v2/catalog/entity", catalog(*(f"s{i}" for i in range(100))))
    reply = await datadog.list_services(ServiceQuery(WINDOW))
    asked = [request for request in lists.asked if request.path == "/api/v2/catalog/entity"]
    assert (len([item for item in reply.items if "catalog" in item.listed_by]), len(asked)) == (100, 2)


async def test_the_catalogs_paging_has_a_cap_that_is_said(lists: Stub, datadog: Datadog) -> None:
    def endless(asked: Asked) -> Answer:
        first = int(asked.params["page[offset]"][0])
        return lists.answer(catalog(*(f"s{first + i}" for i in range(100))))

    lists.answers["/api/v2/catalog/entity"] = endless
    reply = await datadog.list_services(ServiceQuery(WINDOW))
    assert len([item for item in reply.items if "catalog" in item.listed_by]) == 5000
    assert reply.partial == "there are more than 50 pages of the software catalog; the rest was not asked"


def relation(kind: str, first: str, second: str, ends: str = "service") -> dict[str, Any]:
    pair = [{"kind": ends, "name": name, "namespace": "default"} for name in (first, second)]
    return {"id": f"{first}:{kind}:{second}", "attributes": {"type": kind, "from": pair[0], "to": pair[1]}}


async def test_both_directions_of_a_relation_are_the_same_dependency(stub: Stub, datadog: Datadog) -> None:
    on, of = "RelationTypeDependsOn", "RelationTypeDependencyOf"
    answers = {
        on: [relation(on, "a", "b"), relation(on, "a", "team", "team"), relation("RelationTypeOwnedBy", "a", "t")],
        of: [relation(of, "b", "a"), relation(of, "c", "b"), {"id": "odd", "attributes": [of]}, None],
    }
    stub.answers["/api/v2/catalog/relation"] = lambda asked: stub.answer(
        {"data": answers[asked.params["filter[type]"][0]]}
    )
    reply = await datadog.list_dependencies(DependencyQuery(WINDOW))
    assert set(reply.items) == {Dependency("a", "b"), Dependency("b", "c")}
    assert len(reply.items) == 2
    assert reply.warnings == ["1 relations could not be read"]
