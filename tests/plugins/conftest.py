"""A server on loopback that answers as it is told, New Relic without a connection, and the sources over both."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from telemetry_mcp import Context, Http, Source, SourceError
from telemetry_mcp_datadog import Datadog
from telemetry_mcp_newrelic import NewRelic
from telemetry_mcp_pagerduty import PagerDuty

WIRE = Path(__file__).parents[3] / "shared" / "wire"
Verdict = Literal["items", "error", "not for us"]
REPLAYS = pytest.StashKey[list[tuple[str, str, str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPLAYS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--replay-table"):
        return
    kept = config.stash[REPLAYS]
    rows = sorted(kept)
    terminalreporter.section("recorded payloads, replayed")
    for vendor, case, verdict, detail in rows:
        terminalreporter.write_line(f"{vendor:<11} {case:<58} {verdict:<11} {detail}")
    counts = Counter(verdict for _, _, verdict, _ in rows)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    terminalreporter.write_line(f"{len(rows)} payloads: {summary}")


@dataclass(frozen=True)
class WireCase:
    """One recorded payload: `document` as its file has it, `text` that of the file beside it."""

    vendor: str
    name: str
    document: dict[str, Any]
    text: str = ""

    @property
    def interactions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.document.get("interactions", [])
        return found


def wire_cases(vendor: str) -> Iterator[WireCase]:
    """Every case of a vendor's folder, also those that are added to it later."""
    for path in sorted((WIRE / vendor).glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(document, dict) and "case" in document:
            beside = path.parent / str(document.get("file"))
            text = beside.read_text(encoding="utf-8", errors="replace") if beside.is_file() else ""
            yield WireCase(vendor, str(document["case"]), document, text)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test marked `wire("vendor")` that takes `wire_case` runs once for every recorded payload."""
    marker = metafunc.definition.get_closest_marker("wire")
    if marker is None or "wire_case" not in metafunc.fixturenames:
        return
    cases = [pytest.param(case, id=f"{case.vendor}-{case.name}") for case in wire_cases(marker.args[0])]
    absent = pytest.mark.skip(reason="the recorded payloads are not beside the repository")
    metafunc.parametrize("wire_case", cases or [pytest.param(None, id="absent", marks=absent)])


Replayed = Callable[[WireCase, Verdict, str], None]


@pytest.fixture
def replayed(pytestconfig: pytest.Config) -> Replayed:
    """Keep how a payload ended, for the table that `--replay-table` prints."""

    def keep(case: WireCase, verdict: Verdict, detail: str) -> None:
        assert detail
        pytestconfig.stash[REPLAYS].append((case.vendor, case.name, verdict, detail))

    return keep


@dataclass
class Asked:
    path: str
    params: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None
    """Content-Length, where it is not the body's."""
    drips: bool = False
    """Go on for ever, a byte at a time."""


Answering = Callable[[Asked], Answer]


@dataclass
class Stub:
    """Answers by path and keeps what it was asked. A path it was told nothing about is a 404."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, Answering] = field(default_factory=dict)

    def on(self, path: str, body: Any = None, status: int = 200, **more: Any) -> None:
        self.answers[path] = lambda asked: self.answer(body, status, **more)

    @staticmethod
    def answer(body: Any = b"", status: int = 200, **more: Any) -> Answer:
        """Bytes go out as they are, anything else as JSON."""
        return Answer(body if isinstance(body, bytes) else json.dumps(body).encode(), status, **more)


class serving:
    """A `with` block in which a stub is served."""

    def __enter__(self) -> Stub:
        stub = self.stub = Stub()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                lowered = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(lowered.get("content-length", 0)))
                asked = Asked(parts.path, parse_qs(parts.query), lowered, body)
                stub.asked.append(asked)
                told = stub.answers.get(parts.path)
                answer = told(asked) if told else Answer(b"{}", 404)
                dated = "date" in map(str.lower, answer.headers)
                (self.send_response_only if dated else self.send_response)(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                length = len(answer.body) if answer.promised is None else answer.promised
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(answer.body)
                pause = threading.Event()
                while answer.drips and not pause.wait(0.02):
                    self.wfile.write(b" ")

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

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


Failure = Callable[[Awaitable[object]], Awaitable[SourceError]]


@pytest.fixture
def failure() -> Failure:
    """What a question raises, which must be an error of a source."""

    async def raised_by(asking: Awaitable[object]) -> SourceError:
        with pytest.raises(SourceError) as raised:
            await asking
        return raised.value

    return raised_by


@pytest.fixture
async def opened() -> AsyncIterator[list[Source]]:
    """Sources that are put in here are closed after the test."""
    sources: list[Source] = []
    yield sources
    for source in sources:
        await source.close()


# ---- Datadog

ConnectDatadog = Callable[..., Datadog]


@pytest.fixture
def connect_datadog(opened: list[Source]) -> ConnectDatadog:
    """Makes sources of a URL and of settings that differ from the usual ones."""
    usual = {
        "api_key": "api-key-1",
        "app_key": "app-key-1",
        "metrics": {"cpu": "avg:system.cpu.total{service:$service} by {service}"},
    }

    def connect(url: str, **more: Any) -> Datadog:
        settings = Datadog.Settings.model_validate({"plugin": "datadog", "url": url, **usual, **more})
        source = Datadog(settings, Context("dd"))
        opened.append(source)
        return source

    return connect


@pytest.fixture
def datadog(stub: Stub, connect_datadog: ConnectDatadog) -> Datadog:
    return connect_datadog(stub.url, timeout="500ms", max_body_mb=1)


# ---- PagerDuty

ConnectPagerDuty = Callable[..., PagerDuty]
Page = Callable[..., dict[str, Any]]


@pytest.fixture
def connect_pagerduty(opened: list[Source]) -> ConnectPagerDuty:
    """Makes sources of a URL and of settings that differ from the usual ones."""

    def connect(url: str, **more: Any) -> PagerDuty:
        table = {"plugin": "pagerduty", "url": url, "api_key": "pd-key-1", **more}
        source = PagerDuty(PagerDuty.Settings.model_validate(table), Context("pd"))
        opened.append(source)
        return source

    return connect


@pytest.fixture
def pagerduty(stub: Stub, connect_pagerduty: ConnectPagerDuty) -> PagerDuty:
    return connect_pagerduty(stub.url, timeout="500ms", max_body_mb=1)


@pytest.fixture
def page() -> Page:
    """A page of a list as PagerDuty wraps it."""

    def wrapped(name: str, entries: list[Any], more: bool = False) -> dict[str, Any]:
        return {name: entries, "limit": 100, "offset": 0, "total": None, "more": more}

    return wrapped


# ---- New Relic


class NerdGraph:
    """Answers every POST with what `answer` makes of its body, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[dict[str, Any]], httpx.Response] = lambda asked: httpx.Response(404)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(json.loads(request.content))

    def says(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.answer = lambda asked: self.response(body, status, headers)

    def finds(self, rows: Any, **more: Any) -> None:
        self.says(self.found(rows, **more))

    @staticmethod
    def response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
        """A response that is read from a stream, as a real one is."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.Response(status, stream=httpx.ByteStream(raw), headers=headers)

    @staticmethod
    def found(rows: Any, **more: Any) -> dict[str, Any]:
        """The answer to a query that has these rows."""
        metadata = {"facets": ["appName"], "messages": []}
        return {"data": {"actor": {"account": {"nrql": {"results": rows, "metadata": metadata, **more}}}}}

    def sent(self, number: int = 0) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.requests[number].content)
        return body

    @property
    def nrql(self) -> str:
        return str(self.sent()["variables"]["q"])


ConnectNewRelic = Callable[..., NewRelic]
Bucket = Callable[..., dict[str, Any]]


@pytest.fixture
def nerdgraph() -> NerdGraph:
    return NerdGraph()


@pytest.fixture
def connect_newrelic(nerdgraph: NerdGraph) -> ConnectNewRelic:
    """Makes sources of settings that differ from the usual ones."""
    rate = "SELECT rate(count(*), 1 minute) FROM Transaction WHERE appName IN ($service) FACET appName"

    def connect(**more: Any) -> NewRelic:
        table = {"plugin": "newrelic", "api_key": "NRAK-1", "account_id": 7, "metrics": {"rate": rate}, **more}
        settings = NewRelic.Settings.model_validate(table)

        def client() -> httpx.AsyncClient:
            return httpx.AsyncClient(
                transport=httpx.MockTransport(nerdgraph),
                base_url=settings.base_url,
                headers=NewRelic.headers(settings),
            )

        return NewRelic(settings, Context("nr", Http(client, max_body_mb=settings.max_body_mb)))

    return connect


@pytest.fixture
def newrelic(connect_newrelic: ConnectNewRelic) -> NewRelic:
    return connect_newrelic()


@pytest.fixture
def bucket() -> Bucket:
    """One row of a TIMESERIES that begins `at` seconds after the windows of these tests do."""

    def row(at: int, value: Any, service: Any = "a", key: str = "rate.count", **more: Any) -> dict[str, Any]:
        begin = 1_700_000_040 + at
        times = {"beginTimeSeconds": begin, "endTimeSeconds": begin + 60}
        return {"facet": service, "appName": service, **times, key: value, **more}

    return row
