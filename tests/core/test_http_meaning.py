"""What a status, a header and a body mean, without a connection."""

from __future__ import annotations

from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.errors import (
    AuthError,
    BadQueryError,
    ForbiddenError,
    NotFoundError,
    PlanError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
)
from telemetry_mcp.http import OFF_LOOP_BYTES, decode_json, error_for_status, parse_json, retry_after

if TYPE_CHECKING:
    pass


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 99 Oct 2015 99:28:00 GMT"}, None),
        ({"x-ratelimit-reset": "4"}, 4),
        ({"ratelimit-reset": "5"}, 5),
        ({"retry-after": "soon", "ratelimit-reset": "5"}, 5),
        ({"retry-after": "1", "x-ratelimit-reset": "9"}, 1),
    ],
)
def test_how_long_to_wait_is_read_from_the_usual_headers(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after(headers) == wait_s


def test_a_date_to_wait_for_is_seconds_from_now() -> None:
    wait_s = retry_after({"retry-after": formatdate(time() + 30, usegmt=True)})
    assert wait_s is not None
    assert 25 < wait_s <= 30


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadQueryError),
        (401, AuthError),
        (402, PlanError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (408, SourceTimeoutError),
        (422, BadQueryError),
        (429, RateLimitedError),
        (302, ProtocolError),
        (500, UpstreamError),
        (503, UpstreamError),
    ],
)
def test_each_status_is_the_error_it_means(status: int, kind: type[SourceError]) -> None:
    error = error_for_status(status, "why\x00\u202e not")
    assert type(error) is kind
    assert str(error).startswith(f"HTTP {status}: why not")
    assert "without a word" in str(error_for_status(status, "  "))


@pytest.mark.parametrize("body", [b'{"v": NaN, "w": Infinity, "x": -Infinity}', b'{"v":NaN,"w":1e999,"x":-1e999}'])
def test_numbers_that_json_does_not_know_are_read(body: bytes) -> None:
    found = parse_json(body)
    assert found["v"] != found["v"]
    assert (found["w"], found["x"]) == (float("inf"), float("-inf"))


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 5000])
def test_what_is_not_json_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="not JSON; it begins with: "):
        parse_json(body)


async def test_a_large_body_is_decoded_as_a_small_one_is() -> None:
    large = b"[" + b"1," * OFF_LOOP_BYTES + b"1]"
    assert len(await decode_json(large)) == OFF_LOOP_BYTES + 1
    with pytest.raises(ProtocolError):
        await decode_json(large[:-1])
