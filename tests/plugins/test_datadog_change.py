"""Datadog's changes: events and DORA deployments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import Change, ChangeQuery, ProtocolError, Window
from telemetry_mcp_datadog import Datadog

if TYPE_CHECKING:
    from tests.plugins.conftest import Answer, Asked, ConnectDatadog, Failure, Stub

EVENTS = "/api/v2/events/search"
DORA = "/api/v2/dora/deployments"
AT_MS = 1_770_000_000_000
AT = "2026-02-02T02:40:00Z"
WINDOW = Window(AT_MS - 3_600_000, AT_MS + 3_600_000)


def event(name: Any = "e1", *, tags: Any = (), timestamp: Any = AT, **inner: Any) -> dict[str, Any]:
    inner = {"title": "Config changed", "evt": {"id": "6567977849972254562"}, **inner}
    outer = {"attributes": inner, "message": "m", "tags": list(tags), "timestamp": timestamp}
    return {"id": name, "type": "event", "attributes": outer}


def deployed(name: Any = "d1", **about: Any) -> dict[str, Any]:
    about = {"service": "a", "version": "v1", "started_at": AT, "finished_at": AT, "env": "prod", **about}
    return {"id": name, "type": "dora_deployment", "attributes": about}


@pytest.fixture
def both(stub: Stub) -> Stub:
    stub.on(EVENTS, {"data": []})
    stub.on(DORA, {"data": []})
    return stub


async def test_events_and_deployments_come_together_newest_first(both: Stub, datadog: Datadog) -> None:
    changed = event(
        service="undefined",
        author={"name": "Ann", "type": "user"},
        changed_resource={"name": "checkout-v2", "type": "feature_flag"},
        impacted_resources=[{"name": "b", "type": "service"}],
        evt={"uid": "AZs", "id": "1"},
    )
    both.on(EVENTS, {"data": [changed]})
    both.on(DORA, {"data": [deployed(started_at="2026-02-02T02:30:00+00:00")]})
    reply = await datadog.list_changes(ChangeQuery(WINDOW))
    url = "https://app.datadoghq.com/event/event?uid=AZs"
    assert list(reply.items) == [
        Change("e1", "Config changed", AT_MS, "flag", "b", "Ann", url),
        Change("d1", "Deploy a v1", AT_MS - 600_000, "deployment", "a", version="v1"),
    ]
    sent = {request.path: request.json for request in both.asked}
    span = {"from": "2026-02-02T01:40:00.000+00:00", "to": "2026-02-02T03:40:00.000+00:00"}
    query = "@evt.category:change OR source:deployment"
    assert sent[EVENTS] == {"filter": {"query": query, **span}, "page": {"limit": 1000}, "sort": "-timestamp"}
    attributes = {**span, "limit": 1000, "sort": "-started_at"}
    assert sent[DORA] == {"data": {"type": "dora_deployments_list_request", "attributes": attributes}}


async def test_a_deployment_of_which_both_lists_tell_is_one(both: Stub, datadog: Datadog) -> None:
    tags = ["service:a", "version:v1"]
    soon, late = "2026-02-02T02:45:00Z", "2026-02-02T03:30:00Z"
    again = event("again", tags=tags, timestamp=late, title="Deploy a v1")
    both.on(
        EVENTS, {"data": [event(tags=tags, timestamp=soon, title="Deploy a v1", author={"name": "Ann"}), again]}
    )
    both.on(DORA, {"data": [deployed(), deployed("d2", service="b")]})
    reply = await datadog.list_changes(ChangeQuery(WINDOW))
    assert {(item.id, item.service, item.author) for item in reply.items} == {
        ("d1", "a", "Ann"),
        ("d2", "b", None),
        ("again", "a", None),
    }


async def test_pages_follow_the_cursor_and_never_the_link(both: Stub, stranger: Stub, datadog: Datadog) -> None:
    cursor = "x" * 400

    def answer(asked: Asked) -> Answer:
        given = asked.json["page"].get("cursor")
        rows = [event(f"{given is None}{n}") for n in range(1000 if given is None else 3)]
        links = {"next": f"{stranger.url}/api/v2/events?page[cursor]=y"}
        return both.answer({"data": rows, "meta": {"page": {"after": cursor}}, "links": links})

    both.answers[EVENTS] = answer
    reply = await datadog.list_changes(ChangeQuery(WINDOW, limit=5000))
    cursors = [asked.json["page"].get("cursor") for asked in both.asked if asked.path == EVENTS]
    assert (len(reply.items), cursors, stranger.asked) == (1003, [None, cursor], [])


async def test_a_cursor_that_stays_the_same_ends_the_paging(both: Stub, datadog: Datadog) -> None:
    pages = iter(range(100))

    def answer(asked: Asked) -> Answer:
        place = next(pages)
        rows = [event(f"{place}-{n}") for n in range(1000)]
        return both.answer({"data": rows, "meta": {"page": {"after": "same"}}})

    both.answers[EVENTS] = answer
    await datadog.list_changes(ChangeQuery(WINDOW))
    assert len([asked for asked in both.asked if asked.path == EVENTS]) == 2


async def test_services_window_and_limit_are_kept_to(both: Stub, datadog: Datadog) -> None:
    mine = [event(str(n), tags=["service:A"]) for n in range(3)]
    both.on(EVENTS, {"data": [*mine, event("early", tags=["service:a"], timestamp="2020-01-01T00:00:00Z")]})
    both.on(DORA, {"data": [deployed(service="other")]})
    reply = await datadog.list_changes(ChangeQuery(WINDOW, ("a",), limit=2))
    assert (len(reply.items), reply.partial) == (2, "1 older changes were left out")


@pytest.mark.parametrize(
    ("path", "scope", "left"), [(EVENTS, "events_read", ["d1"]), (DORA, "dora_metrics_read", ["e1"])]
)
async def test_either_permission_may_be_missing_without_harm_to_the_other(
    both: Stub, datadog: Datadog, path: str, scope: str, left: list[str]
) -> None:
    both.on(EVENTS, {"data": [event()]})
    both.on(DORA, {"data": [deployed()]})
    both.on(path, {"errors": [{"title": "Forbidden"}]}, 403)
    reply = await datadog.list_changes(ChangeQuery(WINDOW))
    assert [item.id for item in reply.items] == left
    assert scope in (reply.partial or "")


async def test_which_events_are_changes_is_the_users_to_say(both: Stub, connect_datadog: ConnectDatadog) -> None:
    await connect_datadog(both.url, change_query="source:argocd").list_changes(ChangeQuery(WINDOW))
    assert [asked.json["filter"]["query"] for asked in both.asked if asked.path == EVENTS] == ["source:argocd"]


@pytest.mark.parametrize(
    ("inner", "tags", "kind"),
    [
        ({"changed_resource": {"type": "configuration"}}, [], "config"),
        ({"title": "Deployed a"}, [], "deployment"),
        ({}, ["event_type:deployment"], "deployment"),
        ({}, ["version:v2"], "deployment"),
        ({"changed_resource": None}, ["x"], "change"),
    ],
)
async def test_what_kind_of_change_it_is_stands_in_the_event(
    both: Stub, datadog: Datadog, inner: dict[str, Any], tags: list[str], kind: str
) -> None:
    both.on(EVENTS, {"data": [event(tags=tags, **inner)]})
    assert [item.kind for item in (await datadog.list_changes(ChangeQuery(WINDOW))).items] == [kind]


async def test_odd_rows_are_counted_and_the_others_stay(both: Stub, datadog: Datadog) -> None:
    nameless = event("n", title=None)
    nameless["attributes"]["message"] = None
    odd = [None, {"id": "x"}, event(None), event("t", timestamp="then"), nameless]
    plain = event("ok", timestamp=None) | {"id": 2**63}
    plain["attributes"]["attributes"] |= {
        "timestamp": AT_MS,
        "evt": None,
        "author": "Ann",
        "impacted_resources": {},
    }
    both.on(EVENTS, {"data": [plain, *odd]})
    sha = {"commit_sha": "66adc9350f2cc9b250b69abddab733dd55e1a588"}
    both.on(DORA, {"data": [deployed(version=None, git=sha), deployed("z", started_at=None, finished_at=None), 7]})
    reply = await datadog.list_changes(ChangeQuery(WINDOW))
    assert {(item.id, item.version) for item in reply.items} == {(str(2**63), None), ("d1", "66adc9350f2c")}
    assert reply.warnings == ["5 events could not be read", "2 deployments could not be read"]


@pytest.mark.parametrize("body", [{}, [], None, {"data": {}}, {"data": [None]}])
async def test_an_answer_of_another_shape_is_a_protocol_error(
    both: Stub, datadog: Datadog, body: Any, failure: Failure
) -> None:
    both.on(EVENTS, body)
    both.on(DORA, body)
    assert type(await failure(datadog.list_changes(ChangeQuery(WINDOW)))) is ProtocolError
