"""Datadog's services, from APM and from the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import ServiceQuery, Window
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


async def test_services_are_united_from_apm_and_the_catalog(stub: Stub, connect_datadog: ConnectDatadog) -> None:
    stub.on("/api/v2/apm/services", apm("b", "c"))
    stub.on("/api/v2/catalog/entity", catalog("a", "b"))
    one = connect_datadog(stub.url, env="staging")
    reply = await one.list_services(ServiceQuery(WINDOW))
    assert [(item.name, item.team, item.environment) for item in reply.items] == [
        ("a", "team-a", "prod"),
        ("b", "team-b", "prod"),
        ("c", None, "staging"),
    ]
    assert reply.items[0].tags == {"env": "prod", "tier": "1", "bare": ""}
    asked = {request.path: request.params for request in stub.asked}
    assert asked["/api/v2/apm/services"] == {"filter[env]": ["staging"]}
    assert asked["/api/v2/catalog/entity"]["filter[kind]"] == ["service"]
    assert asked["/api/v2/catalog/entity"]["includeDiscovered"] == ["true"]


@pytest.mark.parametrize(
    ("path", "scope"),
    [("/api/v2/apm/services", "apm_read"), ("/api/v2/catalog/entity", "apm_service_catalog_read")],
)
async def test_a_missing_scope_thins_the_inventory_audibly(
    stub: Stub, path: str, scope: str, connect_datadog: ConnectDatadog
) -> None:
    stub.on("/api/v2/apm/services", apm("b"))
    stub.on("/api/v2/catalog/entity", catalog("a"))
    stub.on(path, {"errors": ["Forbidden"]}, 403)
    one = connect_datadog(stub.url, env="prod")
    reply = await one.list_services(ServiceQuery(WINDOW))
    assert len(reply.items) == 1
    assert scope in (reply.partial or "")


async def test_the_catalogs_paging_ends_on_a_page_that_repeats(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v2/catalog/entity", catalog(*(f"s{i}" for i in range(100))))
    reply = await datadog.list_services(ServiceQuery(WINDOW))
    assert (len(reply.items), len(stub.asked)) == (100, 2)


async def test_the_catalogs_paging_has_a_cap_that_is_said(stub: Stub, datadog: Datadog) -> None:
    def endless(asked: Asked) -> Answer:
        first = int(asked.params["page[offset]"][0])
        return stub.answer(catalog(*(f"s{first + i}" for i in range(100))))

    stub.answers["/api/v2/catalog/entity"] = endless
    reply = await datadog.list_services(ServiceQuery(WINDOW))
    assert (len(reply.items), len(stub.asked)) == (5000, 50)
    assert "more than 5000" in (reply.partial or "")
