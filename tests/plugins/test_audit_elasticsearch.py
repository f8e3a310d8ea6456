"""The elasticsearch sink: an emulated Elasticsearch (tests/real/noida.py), and answers that it does not give."""

from __future__ import annotations

import gzip
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from telemetry_mcp import (
    AuthError,
    ForbiddenError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
)
from telemetry_mcp.testing.backend import Backend, Request, Response, relay
from telemetry_mcp_audit.elasticsearch import DATA_STREAM, Elasticsearch
from tests.plugins.audit_record import hand_over, record, records
from tests.real.noida import NoidaServer

Connect = Callable[..., Elasticsearch]
MAPPING = {"dynamic": "strict", "properties": {"labels": {"properties": {"number": {"type": "integer"}}}}}


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    made = []

    def connect(url: str, **more: Any) -> Elasticsearch:
        table = {"plugin": "elasticsearch", "url": url, "timeout": "5s", **more}
        made.append(Elasticsearch(Elasticsearch.Settings.model_validate(table)))
        return made[-1]

    yield connect
    for sink in made:
        await sink.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoidaServer]:
    server = NoidaServer(tmp_path_factory.mktemp("noida"))
    server.start()
    yield server
    server.kill()


# ---- over the emulator


@pytest.mark.real
async def test_records_are_kept_in_a_data_stream_once_however_often_they_are_handed_over(
    connect: Connect, server: NoidaServer
) -> None:
    template = {"index_patterns": ["logs-*-*"], "data_stream": {}, "priority": 100}
    server.put("_index_template/logs", template)
    sink = connect(server.url)
    for _ in range(2):
        assert await hand_over(sink, records(5000), 1000) == 0
    assert server.count(DATA_STREAM) == 5000
    assert sink.refused == 0


@pytest.mark.real
@pytest.mark.parametrize("state", ["reset", "truncated", "503", "gzip bomb", "redirect"])
async def test_a_batch_whose_answer_was_lost_is_kept_once_all_the_same(
    connect: Connect, server: NoidaServer, state: str
) -> None:
    index = state.replace(" ", "-")
    with Backend(lambda request: relay(request, server.url), redirect_to=server.url) as between:
        sink = connect(between.url, index=index, max_body_mb=1)
        between.state = state
        with pytest.raises(SourceError):
            await sink.write_batch(records(20))
        between.state = "healthy"
        await sink.write_batch(records(20))
        assert between.mistakes == []
    assert sorted(server.ids(index)) == sorted(f"id-{nth}" for nth in range(20))


@pytest.mark.real
async def test_a_record_that_the_mapping_will_never_take_does_not_hold_up_the_others(
    connect: Connect, server: NoidaServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.put("narrow", {"mappings": MAPPING})
    sink = connect(server.url, index="narrow")

    def made(number: object) -> bytes:
        return orjson.dumps({"labels": {"number": number}})

    with caplog.at_level(logging.ERROR):
        await sink.write_batch([record(nth, line=made("many" if nth == 1 else nth)) for nth in range(4)])
    assert sorted(server.ids("narrow")) == ["id-0", "id-2", "id-3"]
    assert sink.refused == 1
    assert "the audit record id-1 was refused for good" in caplog.text
    assert "failed to parse field [labels.number]" in caplog.text


@pytest.mark.real
async def test_when_the_mapping_takes_none_of_them_they_wait(connect: Connect, server: NoidaServer) -> None:
    server.put("wrong", {"mappings": MAPPING})
    sink = connect(server.url, index="wrong")
    with pytest.raises(UpstreamError, match=r"3 of 3 records .*strict_dynamic.*is it the mapping of wrong\?"):
        await sink.write_batch(records(3))
    assert sink.refused == 0
    server.put("wrong/_mapping", {"dynamic": True})
    await sink.write_batch(records(3))
    assert len(server.ids("wrong")) == 3


# ---- over a server of the test's own, for what the emulator does not say


def bulk(*statuses: int, type: str = "es_rejected_execution_exception") -> dict[str, Any]:
    """The answer to as many records."""
    items = [
        {"create": {"status": status, **({} if status < 300 else {"error": {"type": type, "reason": "full"}})}}
        for status in statuses
    ]
    return {"took": 1, "errors": max(statuses) >= 300, "items": items}


async def test_what_is_sent_is_compressed_and_says_create_and_who_we_are(connect: Connect) -> None:
    with Backend(lambda request: bulk(201, 201)) as backend:
        await connect(backend.url, api_key="a2V5", index="audit").write_batch(records(2))
        (request,) = backend.requests
    assert (request.method, request.path) == ("POST", "/audit/_bulk")
    assert request.headers["authorization"] == "ApiKey a2V5"
    assert request.headers["content-type"] == "application/x-ndjson"
    first, line, second, _ = gzip.decompress(request.body).splitlines()
    assert orjson.loads(first) == {"create": {"_id": "id-0"}}
    assert orjson.loads(second) == {"create": {"_id": "id-1"}}
    assert line == record(0).line


@pytest.mark.parametrize(
    ("statuses", "kind", "said"),
    [
        ((201, 429, 429), RateLimitedError, "2 of 3 records were not taken: HTTP 429, es_rejected.*: full"),
        ((429, 400, 201), RateLimitedError, "1 of 3"),
        ((201, 503, 429), UpstreamError, "2 of 3 .*HTTP 503"),
        ((403, 403, 403), ForbiddenError, "privilege create_doc on audit"),
        ((404, 404, 404), UpstreamError, "create the data stream or index audit"),
        ((400, 400, 400), UpstreamError, "is it the mapping of audit"),
    ],
)
async def test_records_that_may_be_taken_later_are_handed_over_again(
    connect: Connect, statuses: tuple[int, ...], kind: type[SourceError], said: str
) -> None:
    with Backend(lambda request: bulk(*statuses)) as backend:
        sink = connect(backend.url, index="audit")
        with pytest.raises(kind, match=said):
            await sink.write_batch(records(3))
    assert sink.refused == 0


async def test_one_that_is_there_already_counts_as_kept_and_lets_a_bad_one_go(connect: Connect) -> None:
    with Backend(lambda request: bulk(409, 400, 409)) as backend:
        sink = connect(backend.url)
        await sink.write_batch(records(3))
    assert sink.refused == 1


@pytest.mark.parametrize(
    ("response", "kind", "said"),
    [
        (Response(401, b'{"error":{"reason":"unable to authenticate"}}'), AuthError, "unable .*check api_key"),
        (Response(403, b'{"error":{"reason":"no"}}'), ForbiddenError, "privilege create_doc on logs-"),
        (Response(429, b'{"error":"full"}', {"retry-after": "9"}), RateLimitedError, "HTTP 429: full"),
        (Response(503, b""), UpstreamError, "HTTP 503"),
        (Response(200, b"<html>"), ProtocolError, "not that of the bulk API"),
        (Response(200, b"[]"), ProtocolError, "not that of the bulk API"),
        (Response(200, orjson.dumps(bulk(201))), ProtocolError, "3 records were sent, the answer speaks of 1"),
    ],
)
async def test_an_answer_that_is_no_success_is_an_error_without_the_key(
    connect: Connect, response: Response, kind: type[SourceError], said: str
) -> None:
    with Backend(lambda request: response) as backend:
        sink = connect(backend.url, api_key="c2VjcmV0LWtleQ")
        with pytest.raises(kind, match=said) as caught:
            await sink.write_batch(records(3))
    assert "c2VjcmV0LWtleQ" not in str(caught.value) + caught.value.hint
    assert getattr(caught.value, "retry_after_s", None) == (9 if response.status == 429 else None)


async def test_silence_ends_at_the_deadline(connect: Connect) -> None:
    with (
        Backend(lambda request: bulk(201), "drip") as backend,
        pytest.raises(SourceTimeoutError, match=r"no answer within 0\.2 s"),
    ):
        await connect(backend.url, timeout="200ms").write(record(0))


async def test_a_batch_that_is_too_large_is_sent_in_parts(connect: Connect) -> None:
    taken: list[str] = []

    def respond(request: Request) -> object:
        if len(request.body) > 5000:
            return Response(413, b"too large")
        ids = [orjson.loads(line)["create"]["_id"] for line in request.body.splitlines()[::2]]
        taken.extend(ids)
        return bulk(*(201 for _ in ids))

    with Backend(respond) as backend:
        sink = connect(backend.url, gzip=False)
        await sink.write_batch([*records(30), record(30, line=b'{"x":"' + b"x" * 70_000 + b'"}')])
        assert backend.mistakes == []
    assert taken == [f"id-{nth}" for nth in range(30)]
    assert sink.refused == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"api_key": "k", "username": "u"}, "either api_key or username"),
        ({"index": "a/b"}, "String should match"),
        ({"preset": ["x"]}, "preset is for sources"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Elasticsearch.Settings.model_validate({"plugin": "elasticsearch", "url": "http://x.test", **more})
