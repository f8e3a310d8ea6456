"""The PagerDuty plugin against a small server on loopback: what it asks, what it answers, what it survives."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    Context,
    ForbiddenError,
    Incident,
    IncidentQuery,
    NotFoundError,
    PlanError,
    ProtocolError,
    RateLimitedError,
    ServiceQuery,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
)
from telemetry_mcp_pagerduty import PagerDuty, telemetry_sources
from telemetry_mcp_pagerduty.wire import epoch_ms, text

CASES = Path(__file__).parents[3] / "shared" / "wire" / "pagerduty"
HOUR = 3_600_000
START = 1_730_000_000_000
WINDOW = Window(START, START + HOUR)


@dataclass
class Asked:
    path: str
    params: dict[str, list[str]]
    headers: dict[str, str]


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None
    """Content-Length, where it is not the body's."""
    drips: bool = False
    """Go on for ever, a byte at a time."""


def missing(asked: Asked) -> Answer:
    return Answer(b'{"error":{"message":"Not Found","code":2100}}', 404)


@dataclass
class Stub:
    """Answers by path and keeps what it was asked."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, Callable[[Asked], Answer]] = field(default_factory=dict)

    def on(self, path: str, body: Any = None, status: int = 200, **more: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers[path] = lambda asked: Answer(raw, status, **more)


class serving:
    """A `with` block in which a stub is served."""

    def __enter__(self) -> Stub:
        stub = self.stub = Stub()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                lowered = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(parts.path, parse_qs(parts.query), lowered)
                stub.asked.append(asked)
                answer = stub.answers.get(parts.path, missing)(asked)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                length = len(answer.body) if answer.promised is None else answer.promised
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(answer.body)
                pause = threading.Event()
                while answer.drips and not pause.wait(0.02):
                    self.wfile.write(b" ")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that gave up is what some tests are about."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        stub.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return stub

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as one:
        yield one


@pytest.fixture
def stranger() -> Iterator[Stub]:
    with serving() as other:
        yield other


def source(url: str, **more: Any) -> PagerDuty:
    table = {"plugin": "pagerduty", "url": url, "api_key": "pd-key-1", **more}
    return PagerDuty(PagerDuty.Settings.model_validate(table), Context("pd"))


@pytest.fixture
async def pagerduty(stub: Stub) -> AsyncIterator[PagerDuty]:
    one = source(stub.url, timeout="500ms", max_body_mb=1)
    yield one
    await one.close()


def entry(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": f"Q{number}",
        "title": "It broke",
        "status": "triggered",
        "urgency": "high",
        "created_at": "2024-10-27T03:40:00Z",
        "resolved_at": None,
        "service": {"id": "P1", "type": "service_reference", "summary": "checkout"},
        "html_url": "https://acme.pagerduty.com/incidents/Q1",
        "acknowledgements": [],
        "priority": None,
        **more,
    }


def page(name: str, entries: list[Any], more: bool = False) -> dict[str, Any]:
    return {name: entries, "limit": 100, "offset": 0, "total": None, "more": more}


def recent_only(*entries: dict[str, Any]) -> Callable[[Asked], Answer]:
    """The incidents for the question about the window; none for the one about what is open from before."""

    def answer(asked: Asked) -> Answer:
        found = list(entries) if asked.params["until"] == ["2024-10-27T04:33:20Z"] else []
        return Answer(json.dumps(page("incidents", found)).encode())

    return answer


async def incidents(pagerduty: PagerDuty, *services: str, **more: Any) -> list[Incident]:
    return list((await pagerduty.list_incidents(IncidentQuery(WINDOW, services, **more))).items)


async def failure(pagerduty: PagerDuty) -> SourceError:
    with pytest.raises(SourceError) as raised:
        await pagerduty.list_services(ServiceQuery(WINDOW))
    return raised.value


async def test_an_incident_is_normalized(stub: Stub, pagerduty: PagerDuty) -> None:
    stub.answers["/incidents"] = recent_only(
        entry(
            title="It\nbroke ‮now",
            status="acknowledged",
            created_at="2024-10-27T06:40:00+03:00",
            acknowledgements=[{"at": "2024-10-26T22:50:00-05:00"}, {"at": "2024-10-27T03:45:00Z"}, {"at": None}],
            priority={"summary": "P2", "name": "P2"},
        )
    )
    assert await incidents(pagerduty) == [
        Incident(
            id="Q1",
            title="It broke now",
            status="acknowledged",
            opened_ms=START + 400_000,
            service="checkout",
            urgency="high",
            severity="P2",
            acknowledged_ms=START + 700_000,
            resolved_ms=None,
            url="https://acme.pagerduty.com/incidents/Q1",
        )
    ]


async def test_both_ends_of_the_time_are_always_sent_and_the_earlier_open_ones_asked_too(
    stub: Stub, pagerduty: PagerDuty
) -> None:
    stub.on("/incidents", page("incidents", []))
    assert await incidents(pagerduty) == []
    asked = sorted((request.params for request in stub.asked), key=lambda params: params["until"], reverse=True)
    assert [(params["since"], params["until"], params["statuses[]"]) for params in asked] == [
        (["2024-10-26T03:33:20Z"], ["2024-10-27T04:33:20Z"], ["triggered", "acknowledged", "resolved"]),
        (["2024-04-29T03:33:20Z"], ["2024-10-26T03:33:20Z"], ["triggered", "acknowledged"]),
    ]
    assert {request.headers["authorization"] for request in stub.asked} == {"Token token=pd-key-1"}
    assert {request.headers["accept"] for request in stub.asked} == {"application/vnd.pagerduty+json;version=2"}


async def test_only_resolved_ones_are_one_question(stub: Stub, pagerduty: PagerDuty) -> None:
    stub.on("/incidents", page("incidents", []))
    await incidents(pagerduty, statuses=("resolved",))
    assert [request.params["statuses[]"] for request in stub.asked] == [["resolved"]]


async def test_an_unknown_status_is_named_with_the_valid_ones(stub: Stub, pagerduty: PagerDuty) -> None:
    with pytest.raises(BadQueryError, match=r"open.*triggered, acknowledged, resolved"):
        await incidents(pagerduty, statuses=("open",))
    assert stub.asked == []


async def test_what_was_not_open_in_the_window_or_not_asked_is_left_out(stub: Stub, pagerduty: PagerDuty) -> None:
    before = entry(1, created_at="2024-10-27T01:00:00Z", status="resolved", resolved_at="2024-10-27T02:00:00Z")
    across = entry(2, created_at="2024-10-27T01:00:00Z", status="resolved", resolved_at="2024-10-27T04:00:00Z")
    after = entry(3, created_at="2024-10-27T05:00:00Z")
    other = entry(4, service={"summary": "billing"})
    undated = entry(5, created_at=None)
    stub.answers["/incidents"] = recent_only(before, across, after, other, undated)
    assert [found.id for found in await incidents(pagerduty, "checkout")] == ["Q2"]
    assert [found.id for found in await incidents(pagerduty)] == ["Q4", "Q2"]


async def test_nulls_references_and_missing_parts_do_not_matter(stub: Stub, pagerduty: PagerDuty) -> None:
    bare = {"id": "", "incident_number": 7, "created_at": "2024-10-27T03:40:00Z", "status": "resolved"}
    resolved = {**bare, "last_status_change_at": "2024-10-27T03:50:00Z", "service": None, "html_url": None}
    stub.answers["/incidents"] = recent_only({**resolved, "acknowledgements": None})
    (found,) = await incidents(pagerduty)
    assert (found.id, found.title, found.service, found.url) == ("7", "(without a title)", None, None)
    assert found.resolved_ms == START + 1_000_000


async def test_the_newest_are_given_when_there_are_more_than_asked(stub: Stub, pagerduty: PagerDuty) -> None:
    entries = [entry(number, created_at=f"2024-10-27T03:4{number}:00Z") for number in range(5)]
    stub.answers["/incidents"] = recent_only(*entries)
    reply = await pagerduty.list_incidents(IncidentQuery(WINDOW, limit=2))
    assert [found.id for found in reply.items] == ["Q4", "Q3"]
    assert "newest 2" in (reply.partial or "")


async def test_services_come_with_team_and_status(stub: Stub, pagerduty: PagerDuty) -> None:
    entries = [
        {"name": "a", "status": "active", "teams": [{"summary": "edge"}], "html_url": "https://acme/s"},
        {"name": "b", "status": "critical", "teams": [], "html_url": None},
        {"name": "c", "status": "maintenance"},
    ]
    stub.on("/services", page("services", entries))
    reply = await pagerduty.list_services(ServiceQuery(WINDOW))
    assert [(item.name, item.team, item.status, item.url) for item in reply.items] == [
        ("a", "edge", "OK", "https://acme/s"),
        ("b", None, "CRITICAL", None),
        ("c", None, "MAINTENANCE", None),
    ]
    assert reply.partial is None


async def test_pages_are_followed_to_the_last(stub: Stub, pagerduty: PagerDuty) -> None:
    def two(asked: Asked) -> Answer:
        offset = int(asked.params["offset"][0])
        return Answer(json.dumps(page("services", [{"name": f"s{offset}"}], more=offset == 0)).encode())

    stub.answers["/services"] = two
    reply = await pagerduty.list_services(ServiceQuery(WINDOW))
    assert [item.name for item in reply.items] == ["s0", "s100"]
    assert reply.partial is None


async def test_more_with_an_empty_page_ends_and_is_said(stub: Stub, pagerduty: PagerDuty) -> None:
    stub.on("/services", page("services", [], more=True))
    reply = await pagerduty.list_services(ServiceQuery(WINDOW))
    assert len(stub.asked) == 1
    assert reply.partial == "PagerDuty promises more services but gives none"


async def test_paging_never_asks_beyond_the_ten_thousandth(stub: Stub, pagerduty: PagerDuty) -> None:
    stub.on("/services", page("services", [{"name": "s"}], more=True))
    reply = await pagerduty.list_services(ServiceQuery(WINDOW))
    last = stub.asked[-1].params
    assert int(last["offset"][0]) + int(last["limit"][0]) == 10_000
    assert "10000" in (reply.partial or "")


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({}, b"", None),
        ({"ratelimit-reset": "30"}, b'{"error":{"message":"Rate Limit Exceeded","code":2020}}', 30.0),
        ({"Retry-After": "3600"}, b"", 3600.0),
    ],
)
async def test_a_429_is_one_request_and_reports_the_wait(
    stub: Stub, pagerduty: PagerDuty, headers: dict[str, str], body: bytes, wait: float | None
) -> None:
    stub.on("/services", body, 429, headers=headers)
    raised = await failure(pagerduty)
    assert isinstance(raised, RateLimitedError)
    assert (raised.retry_after_s, len(stub.asked)) == (wait, 1)


async def test_a_redirect_is_not_followed_and_carries_no_key_along(
    stub: Stub, stranger: Stub, pagerduty: PagerDuty
) -> None:
    stub.on("/services", b"", 302, headers={"Location": f"{stranger.url}/services"})
    assert isinstance(await failure(pagerduty), ProtocolError)
    assert (len(stub.asked), stranger.asked) == (1, [])


async def test_a_gzip_bomb_stays_small(stub: Stub, pagerduty: PagerDuty) -> None:
    bomb = gzip.compress(b" " * 40 * 2**20)
    for status in (200, 500):
        stub.on("/services", bomb, status, headers={"Content-Encoding": "gzip"})
        raised = await failure(pagerduty)
        assert isinstance(raised, ProtocolError)
        assert "larger than 1 MB after decompression" in str(raised)


async def test_gzip_is_asked_for_and_understood(stub: Stub, pagerduty: PagerDuty) -> None:
    body = gzip.compress(json.dumps(page("services", [{"name": "a"}])).encode())
    stub.on("/services", body, headers={"Content-Encoding": "gzip"})
    assert len((await pagerduty.list_services(ServiceQuery(WINDOW))).items) == 1
    assert stub.asked[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(b'{"services": [', promised=100), UpstreamError),
        (Answer(b"not gzip", headers={"Content-Encoding": "gzip"}), ProtocolError),
        (Answer(b"<html>Log in, caf\xe9</html>", headers={"Content-Type": "text/html"}), ProtocolError),
        (Answer(b"<html><h1>Bad caf\xe9</h1></html>", 502), UpstreamError),
        (Answer(b""), ProtocolError),
        (Answer(b"[]"), ProtocolError),
        (Answer(b'{"services": null}'), ProtocolError),
        (Answer(b'{"error":{"message":"Invalid token","code":2006}}', 401), AuthError),
        (Answer(b'{"error":{"message":"Token expired","code":"2012"}}', 400), AuthError),
        (Answer(b'{"error":{"message":"Access Denied","code":2010}}', 403), ForbiddenError),
        (Answer(b'{"error":{"message":"Account lacks the ability","code":2014}}', 402), PlanError),
        (Answer(b'{"error":{"message":"Not Found","code":2100}}', 404), NotFoundError),
        (Answer(b'{"error":{"message":"Took too long","code":2016}}', 408), SourceTimeoutError),
        (Answer(b'{"error":{"message":"Since must be before Until","code":2004}}', 400), BadQueryError),
        (Answer(b'{"error":{"message":"Broken","code":2000}}', 500), UpstreamError),
        (Answer(b"", 503), UpstreamError),
    ],
)
async def test_every_kind_of_bad_answer_is_its_own_error_after_one_request(
    stub: Stub, pagerduty: PagerDuty, answer: Answer, error: type[SourceError]
) -> None:
    stub.answers["/services"] = lambda _: answer
    raised = await failure(pagerduty)
    assert type(raised) is error
    assert len(stub.asked) == 1
    assert "ey-1" not in f"{raised} {raised.hint}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "M", "code": 42, "errors": ["one", "two"]}}, "HTTP 400: M; one; two (code 42)"),
        ({"error": {"message": "M", "code": "42", "errors": "only"}}, "HTTP 400: M; only (code 42)"),
        ({"error": ["links should be few"]}, "HTTP 400: links should be few"),
        ({"error": "plain"}, "HTTP 400: plain"),
        ({"error": None}, "HTTP 400 without a word of why"),
        ({"message": "elsewhere"}, "HTTP 400: elsewhere"),
    ],
)
async def test_the_vendors_words_are_kept_in_whichever_shape(
    stub: Stub, pagerduty: PagerDuty, body: Any, said: str
) -> None:
    stub.on("/services", body, 400)
    assert str(await failure(pagerduty)) == said


async def test_nobody_listening_is_an_upstream_error_at_once() -> None:
    one = source("http://127.0.0.1:1")
    assert isinstance(await failure(one), UpstreamError)
    await one.close()


async def test_silence_ends_at_the_sources_timeout_with_one_request(stub: Stub) -> None:
    gate = threading.Event()
    stub.answers["/services"] = lambda _: Answer(b"{}") if gate.wait(5) else Answer()
    one = source(stub.url, timeout="50ms")
    assert isinstance(await failure(one), SourceTimeoutError)
    assert len(stub.asked) == 1
    gate.set()
    await one.close()


async def test_a_body_that_drips_ends_at_the_sources_timeout(stub: Stub) -> None:
    stub.answers["/services"] = lambda _: Answer(promised=10**9, drips=True)
    one = source(stub.url, timeout="100ms")
    raised = await failure(one)
    assert isinstance(raised, SourceTimeoutError)
    assert "not complete within 0.1 s" in str(raised)
    await one.close()


async def test_a_cancelled_call_returns_at_once_and_its_thread_is_counted(stub: Stub) -> None:
    arrived, gate = threading.Event(), threading.Event()

    def hang(asked: Asked) -> Answer:
        arrived.set()
        gate.wait(5)
        return Answer(b'{"services":[]}')

    stub.answers["/services"] = hang
    one = source(stub.url)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.list_services, ServiceQuery(WINDOW))
        assert await anyio.to_thread.run_sync(arrived.wait, 5)
        tasks.cancel_scope.cancel()
    assert one.context.threads.abandoned == 1
    assert not gate.is_set()
    gate.set()
    await one.close()


async def test_the_environment_has_no_say(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    stub.on("/services", page("services", []))
    one = source(stub.url)
    await one.list_services(ServiceQuery(WINDOW))
    assert stub.asked[0].headers["authorization"] == "Token token=pd-key-1"
    await one.close()


async def test_two_tenants_in_one_process_keep_their_keys_and_cookies_apart(stub: Stub, stranger: Stub) -> None:
    one, other = source(stub.url), source(stranger.url, api_key="pd-key-2")
    for server in (stub, stranger):
        server.on("/services", page("services", []), headers={"Set-Cookie": "session=1"})
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(one.list_services, ServiceQuery(WINDOW))
            tasks.start_soon(other.list_services, ServiceQuery(WINDOW))
    assert {asked.headers["authorization"] for asked in stub.asked} == {"Token token=pd-key-1"}
    assert {asked.headers["authorization"] for asked in stranger.asked} == {"Token token=pd-key-2"}
    assert not any("cookie" in asked.headers for asked in stub.asked)
    await one.close()
    await other.close()


def test_the_region_says_where_to_ask() -> None:
    settings = PagerDuty.Settings.model_validate({"plugin": "pagerduty", "api_key": "k", "region": "EU"})
    assert (settings.base_url, settings.lookback) == ("https://api.eu.pagerduty.com", 86_400.0)


async def test_the_check_names_each_permission(stub: Stub, pagerduty: PagerDuty) -> None:
    stub.on("/abilities", {"abilities": []})
    stub.on("/incidents", {"error": {"message": "Access Denied", "code": 2010}}, 403)
    stub.on("/services", page("services", []))
    checks = (await pagerduty.check()).items
    assert [(check.name, check.ok) for check in checks] == [
        ("api key", True),
        ("read incidents", False),
        ("read services", True),
    ]
    assert "Access Denied" in checks[1].detail
    stub.on("/abilities", {"error": {"message": "Invalid token", "code": 2006}}, 401)
    (key,) = (await pagerduty.check()).items
    assert not key.ok


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("use R0ABCDEFGHIJKLMNOPQRSTUVWXYZ0123 now", "use *** now"),
        ('routing_key="0123456789abcdef0123456789abcdef"', "routing_key***"),
        ("commit 0123456789abcdef0123456789abcdef", "commit 0123456789abcdef0123456789abcdef"),
    ],
)
def test_routing_keys_do_not_get_out(given: str, shown: str) -> None:
    assert text(given).startswith(shown)


@pytest.mark.parametrize("value", [None, "", "yesterday", 5, {}])
def test_a_time_that_cannot_be_read_is_none(value: Any) -> None:
    assert epoch_ms(value) is None


def test_the_client_loads_silently_under_warnings_as_errors_and_only_when_asked() -> None:
    code = (
        "import sys, telemetry_mcp_pagerduty; assert 'pdpyras' not in sys.modules; "
        "import telemetry_mcp_pagerduty.port; assert 'pdpyras' in sys.modules; "
        "import warnings; warnings.warn('still an error')"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("UserWarning: still an error")


@pytest.mark.parametrize("case", ["incidents_a", "incidents_b", "incidents_c", "incident_with_priority"])
async def test_recorded_incidents_are_read(stub: Stub, pagerduty: PagerDuty, case: str) -> None:
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
async def test_recorded_services_are_read(stub: Stub, pagerduty: PagerDuty, case: str) -> None:
    recorded_entry = json.loads(recorded(case)["body"])
    stub.on("/services", page("services", [recorded_entry]))
    (found,) = (await pagerduty.list_services(ServiceQuery(WINDOW))).items
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
async def test_recorded_errors_keep_their_words(stub: Stub, pagerduty: PagerDuty, case: str, said: str) -> None:
    response = recorded(case)
    stub.on("/services", response["body"].encode(), response["status"])
    assert said in str(await failure(pagerduty))


def recorded(case: str) -> dict[str, Any]:
    path = CASES / f"{case}.json"
    if not path.is_file():
        pytest.skip("the recorded payloads are not beside the repository")
    response: dict[str, Any] = json.loads(path.read_text())["interactions"][0]["response"]
    return response


def test_the_hook_hands_over_the_class() -> None:
    assert telemetry_sources() == [PagerDuty]
