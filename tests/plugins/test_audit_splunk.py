"""The splunk sink and a strict stub of the HTTP Event Collector (tests/real/splunk_stub.py; not Splunk itself)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from telemetry_mcp import (
    AuthError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
)
from telemetry_mcp_audit.splunk import Splunk
from tests.plugins.audit_record import AT_MS, hand_over, number_of, record, records
from tests.real.splunk_stub import Collector, Fault, SplunkStub

Connect = Callable[..., Splunk]


@pytest.fixture
def stub() -> Iterator[SplunkStub]:
    server = SplunkStub()
    yield server
    server.stop()


@pytest.fixture
def hec(stub: SplunkStub) -> Collector:
    return stub.collector


@pytest.fixture
async def connect(stub: SplunkStub) -> Any:
    made = []

    def connect(**more: Any) -> Splunk:
        table = {"plugin": "splunk", "url": stub.url, "token": stub.collector.token, "timeout": "5s", **more}
        made.append(Splunk(Splunk.Settings.model_validate(table)))
        return made[-1]

    yield connect
    for sink in made:
        await sink.close()


def numbers(hec: Collector) -> list[int]:
    return [number_of(json.dumps(event["event"])) for event in hec.indexed]


async def test_a_batch_is_one_compressed_request_and_each_event_says_when_and_where_from(
    connect: Connect, hec: Collector
) -> None:
    await connect(index="audit", host="gateway-1").write_batch(records(1000))
    assert (hec.requests, hec.zipped) == (1, 1)
    assert numbers(hec) == list(range(1000))
    first = hec.indexed[0]
    assert first.pop("event") == json.loads(record(0).line)
    assert first == {
        "time": AT_MS / 1000,
        "host": "gateway-1",
        "source": "telemetry-mcp",
        "sourcetype": "telemetry_mcp:audit",
        "index": "audit",
        "fields": {"event_id": "id-0"},
    }


async def test_it_can_be_sent_as_it_is(connect: Connect, hec: Collector) -> None:
    await connect(gzip=False).write_batch(records(3))
    assert (numbers(hec), hec.zipped) == ([0, 1, 2], 0)
    assert "index" not in hec.indexed[0]


async def test_it_returns_only_when_the_batch_is_indexed(connect: Connect, hec: Collector) -> None:
    hec.ack, hec.ack_after = True, 3
    await connect(ack=True).write_batch(records(5))
    assert hec.requests == 1 + 3
    assert not any(hec.pending.values())


async def test_acknowledgements_are_fetched_also_where_nobody_insists_on_them(
    connect: Connect, hec: Collector
) -> None:
    hec.ack = True
    await connect().write_batch(records(5))
    assert not any(hec.pending.values())


async def test_a_batch_that_is_never_indexed_is_handed_over_again(connect: Connect, hec: Collector) -> None:
    hec.ack, hec.ack_after = True, None
    sink = connect(ack=True, ack_timeout="400ms")
    with pytest.raises(SourceTimeoutError, match=r"did not say that it is indexed within 0\.4 s"):
        await sink.write_batch(records(5))
    hec.ack_after = 1
    await sink.write_batch(records(5))
    assert [event["fields"]["event_id"] for event in hec.indexed] == [f"id-{nth}" for nth in range(5)] * 2


async def test_a_token_without_acknowledgement_is_told_apart_where_it_is_insisted_on(
    connect: Connect, hec: Collector
) -> None:
    with pytest.raises(ForbiddenError, match="enable it for the token in Splunk, or set ack = false"):
        await connect(ack=True).write(record(0))


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [
        ({"disabled": True}, AuthError, "the token is disabled: enable it .*HTTP 403, Token disabled"),
        ({"token": "another"}, AuthError, "does not know the token: set token"),
        ({"indexes": ("main",)}, ForbiddenError, "may not write to the index audit: allow it"),
    ],
)
async def test_what_somebody_must_put_right_is_said(
    connect: Connect, hec: Collector, state: dict[str, Any], kind: type[SourceError], said: str
) -> None:
    sink = connect(index="audit")
    for name, value in state.items():
        setattr(hec, name, value)
    with pytest.raises(kind, match=said) as caught:
        await sink.write_batch(records(3))
    assert Collector.token not in str(caught.value) + caught.value.hint
    assert sink.refused == 0


async def test_a_url_that_leads_elsewhere_is_said(connect: Connect, stub: SplunkStub) -> None:
    with pytest.raises(NotFoundError, match="HTTP 404"):
        await connect(url=f"{stub.url}/services/collector").write(record(0))


@pytest.mark.parametrize(
    ("fault", "kind", "said", "wait_s"),
    [
        ("busy", RateLimitedError, "busy or stops: HTTP 503: Server is busy", 3),
        ("too many", RateLimitedError, "HTTP 429: slow down", 7),
        ("shutting down", RateLimitedError, "Server is shutting down", None),
        ("broken", UpstreamError, "HTTP 500: Internal server error", None),
        ("cut", UpstreamError, "could not be reached", None),
        ("cut after indexing", UpstreamError, "could not be reached", None),
        ("login page", ProtocolError, "not JSON", None),
    ],
)
async def test_a_failure_is_raised_and_the_batch_can_be_handed_over_again(
    connect: Connect, hec: Collector, fault: Fault, kind: type[SourceError], said: str, wait_s: float | None
) -> None:
    hec.faults = [fault]
    sink = connect()
    with pytest.raises(kind, match=said) as caught:
        await sink.write_batch(records(10))
    assert getattr(caught.value, "retry_after_s", None) == wait_s
    await sink.write_batch(records(10))
    assert numbers(hec) == list(range(10)) * (2 if fault == "cut after indexing" else 1)


async def test_an_answer_that_does_not_come_ends_at_the_deadline(connect: Connect, hec: Collector) -> None:
    with hec.lock, pytest.raises(SourceTimeoutError, match=r"no answer within 0\.2 s"):
        await connect(timeout="200ms").write(record(0))


async def test_nothing_is_lost_and_the_order_is_kept_through_faults_of_every_kind(
    connect: Connect, hec: Collector
) -> None:
    hec.ack = True
    hec.faults = ["busy", "cut", "cut after indexing", "broken", "too many"] * 2
    failed = await hand_over(connect(ack=True), records(5000), 500)
    assert failed == 10
    assert list(dict.fromkeys(numbers(hec))) == list(range(5000))
    assert len(hec.indexed) == 5000 + 2 * 500


async def test_one_event_that_splunk_will_never_take_does_not_hold_up_the_others(
    connect: Connect, hec: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    hec.unwanted = '"number": 4}'
    sink = connect()
    with caplog.at_level(logging.ERROR):
        await sink.write_batch(records(8))
    assert list(dict.fromkeys(numbers(hec))) == [0, 1, 2, 3, 5, 6, 7]
    assert sink.refused == 1
    assert "the audit record id-4 was refused for good and is left out (1 so far): Invalid data" in caplog.text


async def test_when_every_event_is_refused_they_wait(connect: Connect, hec: Collector) -> None:
    hec.unwanted = "number"
    sink = connect()
    with pytest.raises(UpstreamError, match=r"Splunk refused the batch: Invalid data format \(code 6\)"):
        await sink.write_batch(records(3))
    assert sink.refused == 0


async def test_a_batch_that_is_too_large_is_sent_in_parts(connect: Connect, hec: Collector) -> None:
    hec.most_bytes = 20_000
    sink = connect(gzip=False)
    large = record(50, line=b'{"labels":{"number":50},"message":"' + b"x" * 70_000 + b'"}')
    await sink.write_batch([*records(50), large, *records(50, first=51)])
    assert numbers(hec) == [nth for nth in range(101) if nth != 50]
    assert sink.refused == 1
    hec.most_bytes = 10
    with pytest.raises(UpstreamError, match="not even one record may be sent at once: raise the limit"):
        await sink.write_batch(records(2))
    assert sink.refused == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"metrics": {}}, "metrics is for sources"),
        ({"username": "u", "password": "p"}, "token is what lets in"),
        ({"bearer_token": "t"}, "token is what lets in"),
        ({"ack_timeout": "0s"}, "greater than 0"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Splunk.Settings.model_validate({"plugin": "splunk", "url": "http://x.test", "token": "t", **more})


# ---- the stub itself


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"authorization": ""}, '{"event": 1}', 401, 3),
        ({"authorization": "Bearer x"}, '{"event": 1}', 401, 3),
        ({"authorization": "Splunk x"}, '{"event": 1}', 403, 4),
        ({}, "", 400, 5),
        ({}, '{"event": 1} {"event"', 400, 6),
        ({}, '{"event": 1, "colour": "red"}', 400, 6),
        ({}, '{"time": "now", "event": 1}', 400, 6),
        ({}, '{"event": 1, "index": "secret"}', 400, 7),
        ({"x-splunk-request-channel": "1"}, '{"event": 1}', 400, 11),
        ({}, '{"time": 1}', 400, 12),
        ({}, '{"event": ""}', 400, 13),
        ({}, '{"event": 1, "fields": {"a": {}}}', 400, 15),
        ({"content-encoding": "gzip"}, '{"event": 1}', 400, 6),
        ({}, '{"event": 1}', 200, 0),
    ],
)
def test_the_stub_refuses_what_the_documentation_does_not_allow(
    stub: SplunkStub, headers: dict[str, str], body: str, status: int, code: int
) -> None:
    sent = {"authorization": f"Splunk {stub.collector.token}", **headers}
    answer = httpx.post(f"{stub.url}/services/collector/event", content=body, headers=sent)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_the_stub_wants_a_token_and_with_acknowledgement_a_channel(stub: SplunkStub) -> None:
    def code(path: str, **headers: str) -> int:
        answer = httpx.post(f"{stub.url}/services/collector/{path}", content='{"event": 1}', headers=headers)
        return int(answer.json()["code"])

    known = {"authorization": f"Splunk {stub.collector.token}"}
    assert code("event") == 2
    assert code("ack", **known) == 14
    stub.collector.ack = True
    assert code("event", **known) == 10
    assert code("ack", **known) == 10
