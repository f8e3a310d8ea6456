"""NOT Splunk: a stub of its HTTP Event Collector, written from Splunk's documentation; Splunk runs nowhere here.

It is strict: it refuses, with the documented status, code and text, whatever the documentation does not allow.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Literal
from uuid import UUID

KEYS = {"time", "host", "source", "sourcetype", "index", "event", "fields"}
TEXTS: Mapping[int, tuple[int, str]] = {
    0: (200, "Success"),
    1: (403, "Token disabled"),
    2: (401, "Token is required"),
    3: (401, "Invalid authorization"),
    4: (403, "Invalid token"),
    5: (400, "No data"),
    6: (400, "Invalid data format"),
    7: (400, "Incorrect index"),
    8: (500, "Internal server error"),
    9: (503, "Server is busy"),
    10: (400, "Data channel is missing"),
    11: (400, "Invalid data channel"),
    12: (400, "Event field is required"),
    13: (400, "Event field cannot be blank"),
    14: (400, "ACK is disabled"),
    15: (400, "Error in handling indexed fields"),
    23: (503, "Server is shutting down"),
    27: (413, "Content-Length is too large"),
    404: (404, "The requested URL was not found on this server."),
}
Fault = Literal["busy", "too many", "shutting down", "broken", "cut", "cut after indexing", "login page"]


class Refused(Exception):
    """An answer that is not a success."""

    def __init__(self, code: int, *, event: int | None = None) -> None:
        self.code, self.event = code, event


@dataclass
class Collector:
    """What the stub knows. `indexed` are the events it took, in order; `faults` are spent one a request.

    `ack_after`: how many times it is asked before it says that a batch is indexed; None: it never says so.
    """

    token: str = "11111111-2222-3333-4444-555555555555"
    disabled: bool = False
    ack: bool = False
    ack_after: int | None = 2
    indexes: tuple[str, ...] = ("main", "audit")
    most_bytes: int = 10**7
    unwanted: str = ""
    faults: list[Fault] = field(default_factory=list)
    indexed: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    zipped: int = 0
    pending: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    acks: int = 0
    lock: Lock = field(default_factory=Lock)

    def admit(self, authorization: str | None) -> None:
        if authorization is None:
            raise Refused(2)
        scheme, _, token = authorization.partition(" ")
        if scheme != "Splunk" or not token:
            raise Refused(3)
        if token != self.token:
            raise Refused(4)
        if self.disabled:
            raise Refused(1)

    def channel(self, given: str | None) -> str:
        if given is None:
            raise Refused(10)
        try:
            return str(UUID(given))
        except ValueError:
            raise Refused(11) from None

    def take(self, body: bytes, channel: str | None) -> dict[str, Any]:
        """Those before an event that is refused are indexed."""
        own = self.channel(channel) if self.ack or channel is not None else ""
        events = 0
        for event in self.events(body):
            self.indexed.append(event)
            events += 1
        if not events:
            raise Refused(5)
        if not self.ack:
            return {}
        self.acks += 1
        self.pending[own][self.acks] = 0
        return {"ackId": self.acks}

    def events(self, body: bytes) -> Any:
        decoder, at = json.JSONDecoder(), 0
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise Refused(6, event=0) from None
        nth = 0
        while at < len(text):
            try:
                event, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError:
                raise Refused(6, event=nth) from None
            self.examine(event, nth)
            yield event
            nth += 1

    def examine(self, event: Any, nth: int) -> None:
        if not isinstance(event, dict) or set(event) - KEYS:
            raise Refused(6, event=nth)
        if "event" not in event:
            raise Refused(12, event=nth)
        if event["event"] in ("", None):
            raise Refused(13, event=nth)
        if event.get("index", "main") not in self.indexes:
            raise Refused(7, event=nth)
        fields = event.get("fields", {})
        if not isinstance(fields, dict) or any(isinstance(value, dict) for value in fields.values()):
            raise Refused(15, event=nth)
        time = event.get("time", 0)
        if not isinstance(time, int | float) or (self.unwanted and self.unwanted in json.dumps(event["event"])):
            raise Refused(6, event=nth)

    def acknowledge(self, body: bytes, channel: str | None) -> dict[str, Any]:
        """An acknowledgement is told once and then forgotten."""
        if not self.ack:
            raise Refused(14)
        pending, told = self.pending[self.channel(channel)], {}
        try:
            wanted = [int(ack) for ack in json.loads(body)["acks"]]
        except (ValueError, KeyError, TypeError):
            raise Refused(6) from None
        for ack in wanted:
            if ack in pending:
                pending[ack] += 1
            ready = ack in pending and self.ack_after is not None and pending[ack] >= self.ack_after
            told[str(ack)] = ready
            if ready:
                del pending[ack]
        return {"acks": told}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SplunkStub

    def do_POST(self) -> None:
        hec = self.server.collector
        raw = self.rfile.read(int(self.headers["content-length"]))
        with hec.lock:
            hec.requests += 1
            fault = hec.faults.pop(0) if hec.faults and not self.path.endswith("/ack") else None
            if fault is not None and fault != "cut after indexing":
                self.fail(fault)
                return
            try:
                answer = self.answered(hec, raw)
            except Refused as refused:
                more = {} if refused.event is None else {"invalid-event-number": refused.event}
                self.say(*TEXTS[refused.code], refused.code, more)
                return
            if fault:
                self.close_connection = True
            elif "acks" in answer:
                self.send(200, json.dumps(answer))
            else:
                self.say(200, "Success", 0, answer)

    def answered(self, hec: Collector, raw: bytes) -> dict[str, Any]:
        hec.admit(self.headers["authorization"])
        if len(raw) > hec.most_bytes:
            raise Refused(27)
        body = self.unzipped(hec, raw)
        channel = self.headers["x-splunk-request-channel"]
        if self.path == "/services/collector/event":
            return hec.take(body, channel)
        if self.path == "/services/collector/ack":
            return hec.acknowledge(body, channel)
        raise Refused(404)

    def unzipped(self, hec: Collector, raw: bytes) -> bytes:
        if self.headers["content-encoding"] is None:
            return raw
        try:
            body = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error):
            raise Refused(6) from None
        hec.zipped += 1
        return body

    def fail(self, fault: Fault) -> None:
        if fault == "cut":
            self.close_connection = True
        elif fault == "login page":
            self.send(200, "<html>please sign in</html>")
        elif fault == "too many":
            self.send(429, "slow down", {"retry-after": "7"})
        else:
            code = {"busy": 9, "shutting down": 23, "broken": 8}[fault]
            self.say(*TEXTS[code], code, {}, {"retry-after": "3"} if fault == "busy" else {})

    def say(
        self, status: int, text: str, code: int, more: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        self.send(status, json.dumps({"text": text, "code": code, **more}), headers or {})

    def send(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *words: Any) -> None:
        pass


class SplunkStub(ThreadingHTTPServer):
    """The stub on loopback, at `url`; `collector` says what it wants and what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.collector = Collector()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was closed early is what a test wants."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
