"""Answers recorded from PagerDuty, through the source: a few looked at closely, and all of them in general."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from telemetry_mcp import (
    ChangeQuery,
    DependencyQuery,
    IncidentQuery,
    OnCallQuery,
    RelatedQuery,
    Reply,
    ServiceQuery,
    SourceError,
    TimelineQuery,
    Window,
)
from telemetry_mcp_pagerduty import PagerDuty
from telemetry_mcp_pagerduty.secret import is_secret
from telemetry_mcp_pagerduty.wire import epoch_ms, rfc3339

if TYPE_CHECKING:
    from tests.plugins.conftest import Answer, Asked, Failure, Page, Replayed, Stub, Verdict, WireCase

CASES = Path(__file__).parents[3] / "shared" / "wire" / "pagerduty"
HOUR = 3_600_000
START = 1_730_000_000_000
EVERY = ServiceQuery(Window(START, START + 3_600_000))
MANY = 10_000

PLACES = {
    "incidents": "/incidents",
    "services": "/services",
    "oncalls": "/oncalls",
    "change_events": "/change_events",
    "alerts": "/incidents/Q1/alerts",
    "log_entries": "/incidents/Q1/log_entries",
    "notes": "/incidents/Q1/notes",
    "related_change_events": "/incidents/Q1/related_change_events",
    "past_incidents": "/incidents/Q1/past_incidents",
    "related_incidents": "/incidents/Q1/related_incidents",
    "relationships": "/service_dependencies/technical_services/P1",
}
"""Name of a list -> where the source finds it."""
TIMES = {"change_events": "timestamp", "related_change_events": "timestamp"}
"""Name of a list -> the time of its entries, where it is not created_at."""
TIMED = ("incidents", "alerts", "log_entries", "notes", *TIMES)
NOT_FOR_US = {
    "schedules": "who is on call comes from /oncalls, resolved to persons",
    "escalation_policies": "comes expanded inside /oncalls",
    "users": "people are named where they are on call or acted",
    "teams": "a service names its team",
    "priorities": "an incident names its priority",
    "outlier_incident": "how rare an incident is has no place in the model",
    "business_services": "views for customers, not services that run",
    "maintenance_windows": "a service's status says maintenance",
    "abilities": "only tried by the check, never read",
    "data": "analytics are not asked",
    "records": "the audit trail is not asked",
    "types": "an incident's type says nothing that its title does not",
    "custom_fields": "what an account adds to its incidents and services has no place in the model",
    "subscribers": "who follows an incident is not asked",
    "other": "an endpoint that the plugin does not ask",
}
"""Name of a document's member, or its type -> why nothing of ours asks for it."""


def recorded(case: str) -> dict[str, Any]:
    path = CASES / f"{case}.json"
    if not path.is_file():
        pytest.skip("the recorded payloads are not beside the repository")
    response: dict[str, Any] = json.loads(path.read_text())["interactions"][0]["response"]
    return response


@pytest.mark.parametrize("case", ["incidents_a", "incidents_b", "incidents_c", "incident_with_priority"])
async def test_recorded_incidents_are_read(stub: Stub, pagerduty: PagerDuty, case: str, page: Page) -> None:
    recorded_entry = json.loads(recorded(case)["body"])
    stub.on("/incidents", page("incidents", [recorded_entry]))
    opened_ms = epoch_ms(recorded_entry["created_at"]) or 0
    window = Window(opened_ms - HOUR, opened_ms + HOUR)
    (found,) = (await pagerduty.list_incidents(IncidentQuery(window))).items
    assert (found.id, found.service) == (recorded_entry["id"], recorded_entry["service"]["summary"])
    assert (found.status, found.opened_ms) == (recorded_entry["status"], opened_ms)
    assert found.severity == (recorded_entry["priority"] or {}).get("summary")


async def test_a_recorded_page_of_incidents_is_read(stub: Stub, pagerduty: PagerDuty) -> None:
    body = json.loads(recorded("incidents_list_page_more_true")["body"])
    stub.on("/incidents", {**body, "more": False})
    window = Window(epoch_ms("2023-11-19T00:00:00Z") or 0, epoch_ms("2023-11-20T00:00:00Z") or 0)
    (found,) = (await pagerduty.list_incidents(IncidentQuery(window))).items
    assert (found.id, found.service) == ("1578", "API Service")
    assert found.resolved_ms == epoch_ms("2023-11-19T05:51:28Z")


@pytest.mark.parametrize("case", ["services_a", "services_b", "services_c"])
async def test_recorded_services_are_read(stub: Stub, pagerduty: PagerDuty, case: str, page: Page) -> None:
    recorded_entry = json.loads(recorded(case)["body"])
    stub.on("/services", page("services", [recorded_entry]))
    (found,) = (await pagerduty.list_services(EVERY)).items
    assert (found.name, found.url) == (recorded_entry["name"], recorded_entry["html_url"])
    assert found.status in ("OK", "WARNING", "CRITICAL")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("error_429_shape_0", "Enhance Your Calm; No Seriously, Enhance Your Calm"),
        ("error_429_shape_3", "links should have at most 50 item(s)"),
        ("error_object_variant_0", "test message; first error; second error"),
        ("error_object_variant_1", "other message; only error"),
    ],
)
async def test_recorded_errors_keep_their_words(
    stub: Stub, pagerduty: PagerDuty, case: str, said: str, failure: Failure
) -> None:
    response = recorded(case)
    stub.on("/services", response["body"].encode(), response["status"])
    assert said in str(await failure(pagerduty.list_services(EVERY)))


# ---- every one of them


def documents(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document, however deep."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from documents(inner)


def plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def subject(request: dict[str, Any], body: Any) -> str:
    """The name of the list that an answer is, or belongs to; or of what is not for us, as in `NOT_FOR_US`."""
    known = {**PLACES, **NOT_FOR_US}
    path = urlsplit(str(request.get("url") or "")).path.split("/")
    if named := [part for part in path if part in known]:
        return next((part for part in named if part in NOT_FOR_US), named[-1])
    if any(path):
        return "other"
    if not isinstance(body, dict):
        return "services"
    if "escalation_level" in body:
        return "oncalls"
    sort = str(body.get("type", "")).removesuffix("_reference")
    kinds = [plural("log_entry" if sort.endswith("_log_entry") else sort)] if sort else []
    members = kinds or [name for key in body for name in (key, plural(key))]
    return next((name for name in members if name in known), "services")


def wrapped(name: str, body: Any) -> Any:
    """A single object as the list of one in which the source meets it; None for a list, which goes as it is."""
    member = "change_events" if name == "related_change_events" else name
    if not isinstance(body, dict) or member in body or "error" in body:
        return None
    single = next((body[key] for key in body if plural(key) == member), None)
    entry = single if isinstance(single, dict) else body if "type" in body or "escalation_level" in body else None
    return None if entry is None else {member: [entry], "limit": 100, "offset": 0, "total": None, "more": False}


def span(name: str, body: Any) -> Window:
    """A window in which everything of a list lies."""
    key = TIMES.get(name, "created_at")
    entries = body.get(name) if isinstance(body, dict) else None
    found = [epoch_ms(entry.get(key)) for entry in documents(entries)]
    times = [at for at in found if at is not None] or [START]
    return Window(min(times) - HOUR, max(times) + HOUR)


def asking(pagerduty: PagerDuty, name: str, window: Window) -> Callable[[], Awaitable[Reply[Any]]]:
    """The question that reads such a list."""
    questions: dict[str, Callable[[], Awaitable[Reply[Any]]]] = {
        "incidents": lambda: pagerduty.list_incidents(IncidentQuery(window, limit=MANY)),
        "services": lambda: pagerduty.list_services(ServiceQuery(window)),
        "oncalls": lambda: pagerduty.list_on_call(OnCallQuery(window, limit=MANY)),
        "change_events": lambda: pagerduty.list_changes(ChangeQuery(window, limit=MANY)),
        "past_incidents": lambda: pagerduty.list_related(RelatedQuery("Q1", MANY)),
        "related_incidents": lambda: pagerduty.list_related(RelatedQuery("Q1", MANY)),
        "relationships": lambda: pagerduty.list_dependencies(DependencyQuery(window)),
    }
    return questions.get(name, lambda: pagerduty.list_timeline(TimelineQuery("Q1", MANY)))


def serve(stub: Stub, name: str, response: dict[str, Any], body: bytes, window: Window) -> None:
    """The answer at its place, and an account that is empty otherwise."""
    for other, path in PLACES.items():
        stub.on(path, {"change_events" if other == "related_change_events" else other: [], "more": False})
    if name == "relationships":
        stub.on("/services", {"services": [{"id": "P1", "name": "p1"}], "more": False})
    left_out = ("content-length", "content-encoding", "transfer-encoding", "connection", "date")
    headers = {key: value for key, value in response.get("headers", {}).items() if key.lower() not in left_out}

    def answer(asked: Asked) -> Answer:
        # Of the questions about incidents only the one about the window itself finds them, and only once.
        elsewhen = name == "incidents" and asked.params["until"] != [rfc3339(window.end_ms + 999)]
        if int(asked.params.get("offset", ["0"])[0]) or elsewhen:
            return stub.answer({name: [], "more": False})
        return stub.answer(body, response["status"], headers=headers)

    stub.answers[PLACES[name]] = answer


def check_items(name: str, body: Any, reply: Reply[Any]) -> None:
    """As many items as there are entries that can be read, and nothing of what opens an account in them."""
    entries = body.get("change_events" if name == "related_change_events" else name)
    whole = [entry for entry in entries if isinstance(entry, dict)]
    if name in TIMED:
        whole = [entry for entry in whole if epoch_ms(entry.get(TIMES.get(name, "created_at"))) is not None]
    given = {entry.get("id") or str(number) for number, entry in enumerate(whole)}
    if name in ("change_events", "oncalls", "relationships"):
        assert len(reply.items) >= (len(given) if name == "change_events" else 0)
    elif name in TIMED:
        assert len(reply.items) == len(given)
    planted = [item for document in documents(body) for key, item in document.items() if is_secret(key)]
    for secret in planted:
        assert not isinstance(secret, str) or len(secret) < 12 or secret not in repr(reply)


async def ended(stub: Stub, pagerduty: PagerDuty, interaction: dict[str, Any]) -> tuple[Verdict, str]:
    request, response = interaction.get("request") or {}, interaction["response"]
    raw = str(response.get("body") or "")
    sent = base64.b64decode(raw) if response.get("body_kind") == "base64" else raw.encode()
    if request.get("method", "GET") != "GET" or urlsplit(str(request.get("url") or "")).path.startswith("/v2/"):
        return "not for us", "an endpoint that writes"
    try:
        body = json.loads(sent)
    except ValueError:
        body = None
    if isinstance(body, dict) and set(body) <= {"status", "message", "dedup_key"} and "status" in body:
        return "not for us", "the Events API takes events; nothing is ever written"
    name = subject(request, body)
    if name not in PLACES:
        if response["status"] < 400:
            return "not for us", NOT_FOR_US[name]
        name = "services"  # an error's shape is the same everywhere
    listed = wrapped(name, body)
    window = span(name, listed or body)
    serve(stub, name, response, json.dumps(listed).encode() if listed else sent, window)
    try:
        reply = await asking(pagerduty, name, window)()
    except SourceError as error:
        return "error", f"{type(error).__name__}: {str(error)[:90]}"
    if reply.partial and not reply.items:
        return "error", reply.partial[:120]
    check_items(name, listed or body, reply)
    return "items", f"{len(reply.items)} of {name}{': ' if reply.warnings else ''}{'; '.join(reply.warnings)}"


@pytest.mark.wire("pagerduty")
async def test_every_recorded_payload_ends_as_items_a_typed_error_or_not_for_us(
    wire_case: WireCase, replayed: Replayed, stub: Stub, pagerduty: PagerDuty
) -> None:
    ends = [await ended(stub, pagerduty, interaction) for interaction in wire_case.interactions]
    order: list[Verdict] = ["items", "error", "not for us"]
    verdict = min((one for one, _ in ends), key=order.index)
    replayed(wire_case, verdict, "; ".join(detail for _, detail in ends))
    failed = [one["response"]["status"] >= 400 for one in wire_case.interactions]
    assert all(one != "items" for (one, _), bad in zip(ends, failed, strict=True) if bad)
